"""
Run a task and report its outcome.

Everything here runs user code, so no lock is held. That code may raise anything,
C{SystemExit} and C{KeyboardInterrupt} included, and nothing that it raises leaves this module.
"""

from __future__ import annotations

from types import CoroutineType
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from .._text import safeRepr
from ..errors import DeferTask, DuplicateTaskID, TaskCancelled, TaskNotStarted, UnusableResult
from ._arguments import CheckPriority
from ._locking import Report
from ._taskheap import Entry

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
    "TellUnstarted",
]

_log = Logger()

SUCCEEDED, FAILED, DEFERRED, CANCELLED, UNSTARTED, DUPLICATE = range(6)


def Perform(worker: BaseWorker, entry: Entry) -> int:
    """
    Run a task, without the lock.

    @return: the outcome; its value is C{worker._value}.
    """
    completion, invoke, run, value = entry.completion, entry.invoke, None, None
    try:
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
        # A Failure refers to this frame, which must not keep the task's objects alive.
        del completion, invoke, run, value
        if worker._task_name is not None:
            _EndTaskName(worker)


def _EndTaskName(worker: BaseWorker) -> None:
    """
    Clear the task name of a worker. A subclass may override C{SetTaskName}.
    """
    try:
        worker.SetTaskName(None)
    except BaseException:
        Report(_log, "SetTaskName(None) of worker {worker!r} failed", worker=worker._worker_id)
        worker._task_name = None


def _Release(entry: Entry) -> None:
    """
    Release the arguments and callables of a task.
    """
    entry[3] = ()
    entry.function = entry.invoke = None


def Tell(pool: str, entry: Entry, outcome: int, value: Any) -> None:
    """
    Report the outcome of a task to its completion, after releasing the task's arguments
    and callables. Called without the lock; never raises.
    """
    _Release(entry)
    if outcome == CANCELLED:
        value = Failure(TaskCancelled(pool, entry[2]))
    elif outcome == UNSTARTED:
        value = Failure(TaskNotStarted(pool, entry[2]))
    elif outcome == DUPLICATE:
        value = Failure(DuplicateTaskID(entry[2], pool, "it was queued again while the task ran"))
    completion = entry.completion
    if completion is not None:
        try:
            if outcome == SUCCEEDED:
                completion.succeed(value)
            else:
                completion.fail(value)
        except BaseException:
            _ReportBroken(pool, entry)
    elif outcome != CANCELLED:
        Report(
            _log,
            "Task {task} of pool {pool!r} failed",
            value,
            pool=pool,
            task=safeRepr(entry[2]),
            task_id=entry[2],
        )


def TellUnstarted(pool: str, entry: Entry, cause: type[TaskCancelled | TaskNotStarted]) -> None:
    """
    Report to the completion of a task, if any, that the task has left the queue and will
    not start. A second call does nothing. Called without the lock.
    """
    _Release(entry)  # unstarted
    completion = entry.completion
    if completion is not None:
        failure = Failure(cause(pool, entry[2]))
        try:
            # No signal handler runs between these two steps. If one raised before them, the
            # caller calls again.
            entry.completion = None
            completion.fail(failure)
        except BaseException:
            _ReportBroken(pool, entry)
            if getattr(completion, "isRepeatable", False):
                # A signal handler may have raised inside the call, before it took effect.
                completion.fail(failure)


def _ReportBroken(pool: str, entry: Entry) -> None:
    """
    Log that a completion raised. Never raise.
    """
    Report(
        _log,
        "The completion of task {task} of pool {pool!r} failed",
        pool=pool,
        task=safeRepr(entry[2]),
        task_id=entry[2],
    )
