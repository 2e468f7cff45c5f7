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
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from unittest.mock import patch

from twisted.python.reflect import namedAny
from twisted.scripts.twistd import run

from ganeti_pool.jobqueue._decisions import Effects
from ganeti_pool.jobqueue._items import Asked, Handle
from ganeti_pool.jobqueue._requests import Remove
from ganeti_pool.jobs import Job, JobEventKind, JobState

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


def _dieIf(isIt: Callable[..., bool], original: Function, *args: Any, **kwargs: Any) -> Any:
    if isIt(*args, **kwargs):
        die()
    return original(*args, **kwargs)


def _dieWhenFlushed(isIt: Callable[..., bool], original: Function, ledger: Any) -> None:
    # the changes are written, and not committed
    jobs = [ledger._jobs[jobID] for jobID in (*ledger._added, *ledger._changed)]
    isFlushed = isIt(ledger, jobs)
    original(ledger)
    if isFlushed:
        die()


def _isAdded(ledger: Any, jobs: Sequence[Job]) -> bool:
    return bool(ledger._added)


def _isIn(state: JobState) -> Callable[..., bool]:
    return lambda ledger, jobs: any(job.state is state for job in jobs)


def _hasEvent(kind: JobEventKind) -> Callable[..., bool]:
    def hasEvent(
        dispatcher: object, number: int, items: object, effects: Effects, *rest: object
    ) -> bool:
        return any(event.kind is kind for event in effects.events)

    return hasEvent


def _hasHandle(dispatcher: object, number: int, items: Sequence[object], *rest: object) -> bool:
    return any(isinstance(item, Handle) for item in items)


def _hasRemoval(dispatcher: object, number: int, items: Sequence[object], *rest: object) -> bool:
    return any(isinstance(item, Asked) and isinstance(item.request, Remove) for item in items)


def _dieWhenItRuns(original: Function, *args: Any, **kwargs: Any) -> None:
    # the command has written down that it runs when its first byte is there
    original(*args, **kwargs).stdout.read(1)
    die()


_FLUSH = "ganeti_pool.store.sqlite._ledger.SQLLedger.flush"

# Called after the commit, before a slot is released or a client is answered.
_COMMITTED = "ganeti_pool.jobqueue._dispatcher.Dispatcher._committed"

POINTS: Mapping[str, tuple[str, Function]] = {
    "submit not committed": (_FLUSH, partial(_dieWhenFlushed, _isAdded)),
    "submit not answered": (_COMMITTED, partial(_dieIf, _hasEvent(JobEventKind.SUBMITTED))),
    "start not committed": (_FLUSH, partial(_dieWhenFlushed, _isIn(JobState.RUNNING))),
    "start committed": (_COMMITTED, partial(_dieIf, _hasEvent(JobEventKind.STARTED))),
    "child spawned": ("ganeti_pool.commands._run._spawn", _dieWhenItRuns),
    "handle committed": (_COMMITTED, partial(_dieIf, _hasHandle)),
    "child exited": ("ganeti_pool.store._base.UnitOfWork.finishAttempt", _dieBefore),
    "outcome not committed": (_FLUSH, partial(_dieWhenFlushed, _isIn(JobState.SUCCEEDED))),
    "retry not committed": ("ganeti_pool.store._base.UnitOfWork.retryJob", _dieAfter),
    "retry not answered": (_COMMITTED, partial(_dieIf, _hasEvent(JobEventKind.RETRIED))),
    "removal not committed": ("ganeti_pool.store.sqlite._ledger.SQLLedger.remove", _dieAfter),
    "removal not answered": (_COMMITTED, partial(_dieIf, _hasRemoval)),
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
