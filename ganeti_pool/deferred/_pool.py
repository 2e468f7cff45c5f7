"""
The pool as seen from a reactor.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure
from zope.interface import implementer

from .._text import safeRepr
from ..errors import InvalidArgument, PoolTerminated
from ..interfaces import ICallInThread, IDeferredWorkerPool, PoolStatistics
from ..workerpool import Entry
from ..workerpool._arguments import CheckPriority
from ._life import TAKES_TASKS, PoolLife, State
from ._tasks import Call, CallbackCompletion, TaskCompletion, currentSurroundings

__all__ = ["DeferredWorkerPool", "deferToPool"]


@implementer(ICallInThread)
class _View:
    """
    A pool at one priority.
    """

    def __init__(self, pool: DeferredWorkerPool, priority: float) -> None:
        self._pool = pool
        self._priority = priority

    def callInThread(self, f: Callable[..., object], *args: object, **kwargs: object) -> None:
        """
        Call C{f} on a worker's thread. See L{ICallInThread.callInThread
        <ganeti_pool.interfaces.ICallInThread.callInThread>}.
        """
        self._pool._call(self._priority, None, f, args, kwargs)

    def callInThreadWithCallback(
        self,
        onResult: Callable[[bool, Any], object] | None,
        f: Callable[..., object],
        *args: object,
        **kwargs: object,
    ) -> None:
        """
        Call C{f} on a worker's thread, and tell C{onResult}. See
        L{ICallInThread.callInThreadWithCallback
        <ganeti_pool.interfaces.ICallInThread.callInThreadWithCallback>}.
        """
        self._pool._call(self._priority, onResult, f, args, kwargs)

    def _defer(
        self, f: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Deferred[Any]:
        """
        Call C{f} on a worker's thread, for L{deferToPool}.
        """
        return self._pool._defer(f, args, kwargs, self._priority)


@implementer(IDeferredWorkerPool)
class DeferredWorkerPool(PoolLife):
    """
    A L{WorkerPool} whose outcomes come back as Deferreds. What each method
    promises stands in L{IDeferredWorkerPool
    <ganeti_pool.interfaces.IDeferredWorkerPool>}.

    Tasks that are added before the reactor runs wait for it.

    Threads: the reactor's, but for what L{IDeferredWorkerPool
    <ganeti_pool.interfaces.IDeferredWorkerPool>} names.
    """

    # Tasks

    def addTask(
        self, args: Sequence[Any], priority: float = 0, taskID: Hashable | None = None
    ) -> Deferred[Any]:
        """
        Add a task. See L{IDeferredWorkerPool.addTask
        <ganeti_pool.interfaces.IDeferredWorkerPool.addTask>}.
        """
        return self._add(args, priority, taskID, "addTask")

    def addManyTasks(
        self,
        tasks: Sequence[Sequence[Any]],
        priority: float | Sequence[float] = 0,
        taskID: Sequence[Hashable | None] | None = None,
    ) -> list[Deferred[Any]]:
        """
        Add tasks, all or none. See L{IDeferredWorkerPool.addManyTasks
        <ganeti_pool.interfaces.IDeferredWorkerPool.addManyTasks>}.
        """
        self._checkThread("addManyTasks")
        pool = self.pool
        entries = pool._NewEntries(tasks, priority, taskID, None, currentSurroundings())
        if self._state not in TAKES_TASKS:
            return [fail(self._refusal()) for _ in entries]
        results = [self._expect(entry) for entry in entries]
        try:
            pool._Submit(entries, hold=True, new=True)
        except PoolTerminated:
            failure = Failure()
            return [fail(failure) for _ in entries]
        return results

    def _add(
        self,
        args: Sequence[Any],
        priority: float,
        taskID: Hashable | None,
        call: str,
        function: Callable[..., object] | None = None,
    ) -> Deferred[Any]:
        """
        Add one task.

        @param call: how whoever adds it calls this.
        @param function: what is called in place of C{RunTask}.
        """
        self._checkThread(call)
        entry = self.pool._NewEntry(args, priority, taskID, None, currentSurroundings())
        entry.function = function
        if self._state not in TAKES_TASKS:
            return fail(self._refusal())
        result = self._expect(entry)
        try:
            self.pool._SubmitOne(entry, hold=True, new=True)
        except PoolTerminated:
            return fail()
        return result

    def _expect(self, entry: Entry) -> Deferred[Any]:
        """
        Have a Deferred told what becomes of an entry.
        """
        entry.completion = completion = TaskCompletion(self.pool, self._delivery, entry)
        result = completion.result
        assert result is not None
        return result

    def changeTaskPriority(self, taskID: Hashable, priority: float) -> None:
        """
        Move a waiting task. See L{IDeferredWorkerPool.changeTaskPriority
        <ganeti_pool.interfaces.IDeferredWorkerPool.changeTaskPriority>}.
        """
        self._checkThread("changeTaskPriority")
        self.pool.ChangeTaskPriority(taskID, priority)

    def cancelTask(self, taskID: Hashable) -> None:
        """
        Withdraw a waiting task. See L{IDeferredWorkerPool.cancelTask
        <ganeti_pool.interfaces.IDeferredWorkerPool.cancelTask>}.
        """
        self._checkThread("cancelTask")
        self.pool.CancelTask(taskID)

    def setActive(self, active: bool) -> None:
        """
        Pause, or go on. See L{IDeferredWorkerPool.setActive
        <ganeti_pool.interfaces.IDeferredWorkerPool.setActive>}.
        """
        self._checkThread("setActive")
        self.pool.SetActive(active)
        if self._state is State.DRAINING and not active:
            self._close()

    def hasRunningTasks(self) -> bool:
        """
        Whether some worker runs a task.
        """
        self._checkThread("hasRunningTasks")
        return self.pool.HasRunningTasks()

    def statistics(self) -> PoolStatistics:
        """
        Take a snapshot. Any thread.
        """
        return self.pool.GetStatistics()

    def quiesce(self) -> Deferred[None]:
        """
        Wait for all that was submitted before. See L{IDeferredWorkerPool.quiesce
        <ganeti_pool.interfaces.IDeferredWorkerPool.quiesce>}.
        """
        self._checkThread("quiesce")
        if self._state not in TAKES_TASKS:
            return fail(self._refusal())
        result: Deferred[None] = Deferred(lambda result: self.pool._LiftFence(fence))

        def fire(failure: Failure | None) -> None:
            if not result.called:
                result.callback(None) if failure is None else result.errback(failure)

        try:
            fence = self.pool._OpenFence(
                lambda failure: self._delivery.putCall(lambda: fire(failure))
            )
        except PoolTerminated:
            return fail()
        return result

    # Calls

    def callInThread(self, f: Callable[..., object], *args: object, **kwargs: object) -> None:
        """
        Call C{f} on a worker's thread, from any thread. See
        L{ICallInThread.callInThread
        <ganeti_pool.interfaces.ICallInThread.callInThread>}.
        """
        self._call(0, None, f, args, kwargs)

    def callInThreadWithCallback(
        self,
        onResult: Callable[[bool, Any], object] | None,
        f: Callable[..., object],
        *args: object,
        **kwargs: object,
    ) -> None:
        """
        Call C{f} on a worker's thread, from any thread, and tell C{onResult}. See
        L{ICallInThread.callInThreadWithCallback
        <ganeti_pool.interfaces.ICallInThread.callInThreadWithCallback>}.
        """
        self._call(0, onResult, f, args, kwargs)

    def atPriority(self, n: float) -> ICallInThread:
        """
        The pool at one priority. See L{IDeferredWorkerPool.atPriority
        <ganeti_pool.interfaces.IDeferredWorkerPool.atPriority>}.
        """
        view: ICallInThread = _View(self, CheckPriority(n))
        return view

    def _call(
        self,
        priority: float,
        onResult: Callable[[bool, Any], object] | None,
        f: Callable[..., object],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """
        Call C{f} on a worker's thread. Any thread.
        """
        completion = CallbackCompletion(self.name, onResult)
        entry = self.pool._NewEntry(args, priority, None, completion, currentSurroundings())
        entry.function = Call(f, kwargs) if kwargs else f
        try:
            if self._state not in TAKES_TASKS:
                raise self._refusal()
            self.pool._SubmitOne(entry, hold=True)
        except PoolTerminated:
            if onResult is None:
                raise
            onResult(False, Failure())

    def _defer(
        self,
        f: Callable[..., object],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        priority: float = 0,
    ) -> Deferred[Any]:
        """
        Call C{f} on a worker's thread, for L{deferToPool}.
        """
        function = Call(f, kwargs) if kwargs else f
        return self._add(args, priority, None, "deferToPool", function)


def deferToPool(
    pool: DeferredWorkerPool | ICallInThread,
    f: Callable[..., object],
    /,
    *args: Any,
    **kwargs: Any,
) -> Deferred[Any]:
    """
    Call a function on a thread of a pool, in the manner of
    L{twisted.internet.threads.deferToThreadPool}. The function is called in place
    of C{RunTask}, so the pool may be one of any worker class.

    Threads: the reactor's.

    @param pool: a L{DeferredWorkerPool}, or a view of one made by its
        C{atPriority}.
    @return: a Deferred as of L{IDeferredWorkerPool.addTask
        <ganeti_pool.interfaces.IDeferredWorkerPool.addTask>}.
    @raise InvalidArgument: if C{pool} is something else.
    @raise WrongThread: on another thread.
    """
    if isinstance(pool, (DeferredWorkerPool, _View)):
        return pool._defer(f, args, kwargs)
    raise InvalidArgument(
        f"deferToPool needs a DeferredWorkerPool or a view of one, not {safeRepr(pool)}"
    )
