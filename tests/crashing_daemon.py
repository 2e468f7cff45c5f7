"""
C{twistd} with a plugin that kills its process at a point of the caller's choice.

Run it as C{python -m tests.crashing_daemon POINT FILE TWISTD-ARGUMENTS}. One
function of the package is replaced by one that dies before or after it, once
there is a C{FILE}; everything else is the daemon as it is.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.python.reflect import namedAny
from twisted.scripts.twistd import run

from ganeti_pool.jobs import JobState

__all__ = ["POINTS"]

Function = Callable[..., Any]


def die() -> None:
    """
    End this process as C{kill -9} does.
    """
    os.kill(os.getpid(), signal.SIGKILL)


def _dieBefore(original: Function, *args: Any, **kwargs: Any) -> None:
    die()


def _dieAfter(original: Function, *args: Any, **kwargs: Any) -> None:
    original(*args, **kwargs)
    die()


def _dieWhenDone(original: Function, *args: Any, **kwargs: Any) -> Deferred[Any]:
    done: Deferred[Any] = original(*args, **kwargs)
    return done.addCallback(lambda _: die())


def _dieInTransaction(state: JobState, original: Function, ledger: Any) -> None:
    # what has come to such a state is written, and not committed
    jobs = [ledger._jobs[jobID] for jobID in (*ledger._added, *ledger._changed)]
    original(ledger)
    if any(job.state is state for job in jobs):
        die()


def _dieWhenItRuns(original: Function, *args: Any, **kwargs: Any) -> None:
    # the command has written down that it runs when its first byte is there
    original(*args, **kwargs).stdout.read(1)
    die()


_STORE = "ganeti_pool.store.sqlite.SQLiteJobStore"
_FLUSH = "ganeti_pool.store.sqlite._ledger.SQLLedger.flush"

POINTS: Mapping[str, tuple[str, Function]] = {
    # a transaction is committed after the first, and before the Deferred of the second
    # fires
    "submit not committed": (_FLUSH, partial(_dieInTransaction, JobState.QUEUED)),
    "submit not answered": (f"{_STORE}.addJobs", _dieWhenDone),
    "start not committed": (_FLUSH, partial(_dieInTransaction, JobState.RUNNING)),
    "start committed": (f"{_STORE}.startAttempt", _dieWhenDone),
    "child spawned": ("ganeti_pool.commands._run._spawn", _dieWhenItRuns),
    "handle committed": (f"{_STORE}.recordHandle", _dieWhenDone),
    "child exited": (f"{_STORE}.finishAttempt", _dieBefore),
    "outcome not committed": (_FLUSH, partial(_dieInTransaction, JobState.SUCCEEDED)),
    "retry not committed": (_FLUSH, partial(_dieInTransaction, JobState.QUEUED)),
    "retry not answered": (f"{_STORE}.retryJob", _dieWhenDone),
    "removal not committed": ("ganeti_pool.store.sqlite._ledger.SQLLedger.remove", _dieAfter),
    "removal not answered": (f"{_STORE}.removeJob", _dieWhenDone),
}
"""
What is replaced, and by what.
"""


def main(point: str, file: str, *arguments: str) -> None:
    """
    Be C{twistd}, with one function replaced.
    """
    target, replacement = POINTS[point]
    owner, _, name = target.rpartition(".")
    original = getattr(namedAny(owner), name)

    def replaced(*args: Any, **kwargs: Any) -> Any:
        if not os.path.exists(file):
            return original(*args, **kwargs)
        return replacement(original, *args, **kwargs)

    sys.argv = ["twistd", *arguments]
    with patch(target, replaced):
        run()


if __name__ == "__main__":
    main(*sys.argv[1:])
