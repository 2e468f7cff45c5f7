"""
What stands between one task and whoever waits for it on the reactor's side.

Which outcome a Deferred gets is decided on the reactor thread alone. A worker
leaves its outcome with the L{TaskCompletion} and has it delivered; by then the
Deferred may have been cancelled or its task abandoned, and the outcome is dropped.
So there is nothing to lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python import context
from twisted.python.failure import Failure
from zope.interface import implementer

from ..errors import TaskAbandoned, TaskNotStarted
from ..interfaces import ICompletion
from ..workerpool import Entry, WorkerPool
from ..workerpool._locking import Report
from ._delivery import Delivery

__all__ = [
    "Abandon",
    "Call",
    "CallbackCompletion",
    "Surroundings",
    "TaskCompletion",
    "currentSurroundings",
]

_log = Logger()


class Surroundings:
    """
    The context variables and the Twisted context of whoever submits a task.
    """

    __slots__ = ("_twisted", "_variables")

    def __init__(self, variables: Context, twisted: dict[Any, Any]) -> None:
        self._variables = variables
        self._twisted = twisted

    def __call__(self, f: Callable[..., object], *args: Any) -> object:
        """
        Call a function in them. Each call enters a copy, since a Context cannot
        be entered twice, and since one run must not see what another set.
        """
        variables = self._variables.copy()
        try:
            # A worker's thread already has the default context.
            if self._twisted is _DEFAULT:
                return variables.run(f, *args)
            return variables.run(context.call, self._twisted, f, *args)
        finally:
            # A Failure refers to this frame, which must not keep the task's objects alive.
            del f, args


_DEFAULT = context.defaultContextDict
_NOTHING = Surroundings(Context(), _DEFAULT)


def currentSurroundings() -> Surroundings:
    """
    Those of the caller.

    @return: the same object whenever there is nothing in them, which is most often:
        two objects less for each task are what the garbage collector notices.
    """
    variables = copy_context()
    twisted: dict[Any, Any] = context.theContextTracker.currentContext().contexts[-1]
    if not variables and twisted is _DEFAULT:
        return _NOTHING
    return Surroundings(variables, twisted)


class Call:
    """
    A function with the keyword arguments that it is to be called with.
    """

    __slots__ = ("_f", "_kwargs")

    def __init__(self, f: Callable[..., object], kwargs: dict[str, Any]) -> None:
        self._f = f
        self._kwargs = kwargs

    def __call__(self, *args: Any) -> object:
        f, kwargs = self._f, self._kwargs
        try:
            return f(*args, **kwargs)
        finally:
            # A Failure refers to this frame, which must not keep the task's objects alive.
            del self, f, args, kwargs


@implementer(ICompletion)
class TaskCompletion:
    """
    What stands between a task and its Deferred. It is the canceller of that as well,
    which saves an object for each task.

    Threads: the L{ICompletion} methods are called on any; the others on the
    reactor thread.

    @cvar isRepeatable: whether a second C{fail} with the same failure does no harm.
    @ivar result: what is to fire, or L{None} once it has.
    @ivar entry: the task in the pool, or L{None} once it has ended.
    """

    __slots__ = ("_delivery", "_pool", "_value", "entry", "result")

    isRepeatable = True

    def __init__(self, pool: WorkerPool, delivery: Delivery, entry: Entry) -> None:
        self._pool = pool
        self._delivery = delivery
        self.entry: Entry | None = entry
        self._value: Any = None
        self.result: Deferred[Any] | None = Deferred(self)

    def begin(self, attempt: int) -> None:
        """
        Nothing speaks against a run.
        """

    def deferred(self, priority: float, order: int) -> None:
        """
        Wait for the outcome that there will be in the end.
        """

    def succeed(self, value: object) -> None:
        """
        Have the result delivered.
        """
        self._value = value
        self.entry = None
        self._delivery.put(self)

    def fail(self, failure: Failure) -> None:
        """
        Have the failure delivered.
        """
        self.succeed(failure)

    def abandon(self, deadline: float) -> None:
        """
        Fire without waiting for the task any longer.
        """
        result = self.result
        if result is not None:
            self.result = None
            result.errback(TaskAbandoned(self._pool._name, deadline))

    def __call__(self, result: Deferred[Any]) -> None:
        """
        The Deferred is being cancelled, and fires by itself.
        """
        self.result = None
        entry = self.entry
        if entry is not None:
            try:
                self._pool._CancelEntry(entry)
            except BaseException:
                # For example, the hash of its ID raised. The Deferred must still fire.
                Report(
                    _log,
                    "A task of pool {pool!r} could not be notified of its cancellation",
                    pool=self._pool._name,
                )

    def deliver(self) -> None:
        """
        Fire the Deferred with what became of the task.
        """
        result, value = self.result, self._value
        self.result = self._value = None
        if result is not None:
            # With a Failure it is an errback.
            result.callback(value)
        # What was given up, or was not put back, by a termination did not fail.
        elif isinstance(value, Failure) and not value.check(CancelledError, TaskNotStarted):
            Report(
                _log,
                "A task of pool {pool!r} that nobody waits for any more failed",
                value,
                pool=self._pool._name,
            )


@implementer(ICompletion)
class CallbackCompletion:
    """
    Tells the outcome to a function, at once, on the thread that decides.

    Threads: any. C{_claim} is taken by whoever tells first: the worker, or the
    reactor thread when a deadline passes.
    """

    __slots__ = ("_claim", "_onResult", "_pool")

    def __init__(self, pool: str, onResult: Callable[[bool, Any], object] | None) -> None:
        self._pool = pool
        self._onResult = onResult
        self._claim = threading.Lock()

    def begin(self, attempt: int) -> None:
        """
        Nothing speaks against a run.
        """

    def deferred(self, priority: float, order: int) -> None:
        """
        Wait for the outcome that there will be in the end.
        """

    def succeed(self, value: object) -> None:
        """
        Tell the result.
        """
        self._tell(True, value)

    def fail(self, failure: Failure) -> None:
        """
        Tell the failure.
        """
        self._tell(False, failure)

    def abandon(self, deadline: float) -> None:
        """
        Tell that the task is not waited for, if nothing else was told.
        """
        if not self._claim.locked():
            self._tell(False, Failure(TaskAbandoned(self._pool, deadline)))

    def _tell(self, success: bool, value: Any) -> None:
        """
        Tell an outcome, or log a failure that nobody is told.
        """
        first = self._claim.acquire(False)
        if first and self._onResult is not None:
            self._onResult(success, value)
        elif not success:
            Report(_log, "A call in a thread of pool {pool!r} failed", value, pool=self._pool)


class Abandon:
    """
    The news that a task is not waited for any more, on its way to the reactor.
    """

    __slots__ = ("_completion", "_deadline")

    def __init__(self, completion: TaskCompletion | CallbackCompletion, deadline: float) -> None:
        self._completion = completion
        self._deadline = deadline

    def deliver(self) -> None:
        """
        Tell it.
        """
        self._completion.abandon(self._deadline)
