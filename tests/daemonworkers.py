"""
Worker classes that the tests give to a daemon by C{--worker-class}.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganeti_pool.commands import CommandFailed, CommandWorker
from ganeti_pool.errors import DeferTask
from ganeti_pool.workerpool import BaseWorker

__all__ = [
    "AgainWorker",
    "CountingWorker",
    "ForkingWorker",
    "HastyWorker",
    "NoWorker",
    "PatientWorker",
]


class AgainWorker(CommandWorker):
    """
    Runs commands. One that exits with status 75, which C{sysexits.h} calls a
    temporary failure, is deferred.
    """

    def RunTask(self, argv: Sequence[str], options: Mapping[str, Any]) -> None:
        """
        Run a command.
        """
        try:
            super().RunTask(argv, options)
        except CommandFailed as error:
            if error.failure.exitCode == os.EX_TEMPFAIL:
                raise DeferTask() from error
            raise


class HastyWorker(CommandWorker):
    """
    Kills soon what does not end when it is told to.
    """

    killDelay = 0.2


class PatientWorker(CommandWorker):
    """
    Leaves a command that is told to end all the time that a test may take.
    """

    killDelay = 60.0


class CountingWorker(BaseWorker):
    """
    Its task has two arguments, a file and a number: it defers itself until the
    file has as many bytes, one for each run.
    """

    def RunTask(self, path: str, wanted: int) -> dict[str, int]:
        """
        Add a byte, and return how many there are.
        """
        with Path(path).open("ab") as file:
            file.write(b".")
        runs = Path(path).stat().st_size
        if runs < wanted:
            raise DeferTask(priority=runs)
        return {"runs": runs}


class ForkingWorker(BaseWorker):
    """
    Its task forks a child, which lives until it is killed.
    """

    def RunTask(self, path: str) -> None:
        """
        Fork. The child writes its ID to a file.
        """
        if os.fork() == 0:
            # Whoever reads the daemon's log waits for the end of its writers.
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in range(3):
                os.dup2(null, descriptor)
            Path(path).write_text(f"{os.getpid()}\n")
            signal.pause()
            os._exit(0)


class NoWorker:
    """
    A class, and no worker.
    """
