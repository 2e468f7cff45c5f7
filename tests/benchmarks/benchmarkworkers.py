"""
The worker classes that the measurements give to a daemon.

A daemon imports this module by its bare name from this directory, so that it loads
neither C{tests} nor the measurements with it.
"""

from __future__ import annotations

import os
import threading

from ganeti_pool.workerpool import BaseWorker

__all__ = ["STARTED", "Gate", "Nothing"]

STARTED = "BENCHMARK_STARTED"
"""
The environment variable with the path of the pipe that L{Gate} writes to.
"""


class Nothing(BaseWorker):
    """
    Its jobs return their argument.
    """

    def RunTask(self, number: int) -> int:
        """
        Return the number.
        """
        return number


class Gate(BaseWorker):
    """
    Its first job never ends, so that the jobs behind it stay queued.
    """

    def RunTask(self, number: int) -> None:
        """
        Report the start, and block.
        """
        with open(os.environ[STARTED], "wb") as pipe:
            pipe.write(b"!")
        threading.Event().wait()
