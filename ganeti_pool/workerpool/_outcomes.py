"""
What becomes of a task: run it, and tell whoever asked for it.

Everything here runs code of users, so no lock is held.
"""

from __future__ import annotations

from types import CoroutineType
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from .._taskqueue import Entry
from ..errors import DeferTask, DuplicateTaskID, TaskCancelled, TaskNotStarted, UnusableResult
from ..interfaces import ICompletion
from ._arguments import CheckPriority

if TYPE_CHECKING:
    from ._worker import BaseWorker

__all__ = [
    "CANCELLED",
    "DEFERRED",
    "DUPLICATE",
    "FAILED",
    "SUCCEEDED",
    "UNSTARTED",
    "Perform",
    "Tell",
]

_log = Logger()

SUCCEEDED, FAILED, DEFERRED, CANCELLED, UNSTARTED, DUPLICATE = range(6)


def Perform(worker: BaseWorker, entry: Entry) -> int:
    """
    Run a task, without the lock.

    @return: the outcome; its value is C{worker._value}.
    """
    try:
        completion, invoke = entry.completion, entry.invoke
        if completion is not None:
            completion.begin(entry.attempt)
        run = worker.RunTask if entry.function is None else entry.function
        value = run(*entry[3]) if invoke is None else invoke(run, *entry[3])
        # Not isinstance: a Deferred has an abstract base class, whose check takes
        # longer than all else here.
        if value is not None and (
            isinstance(value, CoroutineType) or Deferred in getattr(value.__class__, "__mro__", ())
        ):
            if isinstance(value, CoroutineType):
                value.close()
            raise UnusableResult(value)
        worker._value = value
        return SUCCEEDED
    except DeferTask as error:
        try:
            worker._value = None if error.priority is None else CheckPriority(error.priority)
            return DEFERRED
        except BaseException:
            worker._value = Failure()
            return FAILED
    except BaseException:
        worker._value = Failure()
        return FAILED
    finally:
        if worker._task_name is not None:
            worker.SetTaskName(None)


def Tell(pool: str, entry: Entry, outcome: int, value: Any) -> None:
    """
    Tell the completion of a task what became of it. Called without the lock;
    never raises.
    """
    completion: ICompletion | None = entry.completion
    if outcome == CANCELLED:
        value = Failure(TaskCancelled(pool, entry[2]))
    elif outcome == UNSTARTED:
        value = Failure(TaskNotStarted(pool, entry[2]))
    elif outcome == DUPLICATE:
        value = Failure(DuplicateTaskID(entry[2], pool, "it was queued again while the task ran"))
    try:
        if completion is None:
            if outcome != CANCELLED:
                _log.failure(
                    "Task {task_id!r} of pool {pool!r} failed",
                    failure=value,
                    level=LogLevel.critical,
                    pool=pool,
                    task_id=entry[2],
                )
        elif outcome == SUCCEEDED:
            completion.succeed(value)
        else:
            completion.fail(value)
    except BaseException:
        _log.failure(
            "The completion of task {task_id!r} of pool {pool!r} failed",
            level=LogLevel.critical,
            pool=pool,
            task_id=entry[2],
        )
