"""
The pool as seen from a reactor, and its life.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable, Sequence
from enum import Enum
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from zope.interface import implementer

from .._delivery import Delivery
from .._taskqueue import Entry
from ..errors import InvalidArgument, PoolTerminated, WorkersNotStarted, WrongThread
from ..interfaces import ICallInThread, IDeferredWorkerPool, PoolStatistics
from ..workerpool import BaseWorker, WorkerPool
from ..workerpool._arguments import CheckCount, CheckPriority
from ..workers import CallableWorker
from ._tasks import Abandon, Call, CallbackCompletion, TaskCompletion, currentSurroundings

__all__ = ["DeferredWorkerPool", "deferToPool"]


class _State(Enum):
    """
    Where a pool is in its life.

    C{NEW}, and C{RUNNING} once the reactor runs; C{DRAINING} and then
    C{STOPPING}, or that at once; C{STOPPED}; and C{RUNNING} again by C{start}.
    """

    NEW = "has not been started yet"
    RUNNING = "runs"
    DRAINING = "is draining"
    STOPPING = "is stopping"
    STOPPED = "has stopped"


_TAKES_TASKS = (_State.NEW, _State.RUNNING)
_CLOSING = (_State.DRAINING, _State.STOPPING)


def _checkDeadline(deadline: float | None) -> None:
    """
    @raise InvalidArgument: if it is neither L{None} nor a number of seconds.
    """
    if deadline is not None and not (
        isinstance(deadline, (int, float)) and 0 <= deadline < math.inf
    ):
        raise InvalidArgument(
            f"a deadline must be a finite number of seconds of at least 0, or None, "
            f"not {deadline!r}"
        )


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
        return self._pool._add(args, self._priority, None, Call(f, kwargs), "deferToPool")


@implementer(IDeferredWorkerPool)
class DeferredWorkerPool:
    """
    A L{WorkerPool} whose outcomes come back as Deferreds. What each method
    promises stands in L{IDeferredWorkerPool
    <ganeti_pool.interfaces.IDeferredWorkerPool>}.

    Like the reactor's own thread pool it starts its threads when the reactor
    runs, and stops before the reactor does; so it can be made before a daemon
    forks. Tasks that are added earlier wait.

    Threads: the reactor's, but for what L{IDeferredWorkerPool
    <ganeti_pool.interfaces.IDeferredWorkerPool>} names. C{_state} is written
    there alone; other threads read it to refuse early, and the L{WorkerPool}
    decides.

    @ivar name: the name of the pool.
    @ivar pool: the L{WorkerPool} below.
    """

    def __init__(
        self,
        reactor: Any,
        name: str,
        numWorkers: int,
        workerClass: Callable[[Any, str], object] = CallableWorker,
        *,
        makePool: Callable[[str, int, Callable[[Any, str], object]], WorkerPool] = WorkerPool,
    ) -> None:
        """
        Make a pool, and have it start when the reactor runs.

        @param reactor: provides C{IReactorCore}, C{IReactorFromThreads} and
            C{IReactorTime}.
        @param name: of the pool; its threads are called C{name1}, C{name2}, …
        @param numWorkers: how many.
        @param workerClass: called as C{workerClass(pool, workerID)}; makes an
            L{IWorker <ganeti_pool.interfaces.IWorker>}.
        @param makePool: makes the L{WorkerPool}; for tests.
        @raise InvalidArgument: if an argument cannot be used.
        @raise WorkersNotStarted: if the reactor runs, and a worker could not be
            made or started; the others are ended.
        """
        self.name = name
        self.pool = makePool(name, 0, workerClass)
        self._reactor = reactor
        self._size = CheckCount(numWorkers)
        self._delivery = Delivery(reactor)
        self._thread = threading.get_ident()
        self._state = _State.NEW
        self._policy: tuple[bool, float | None] = (False, None)
        self._startTrigger: Any = None
        self._stopTrigger: Any = None
        self._stopWaiters: list[Deferred[None]] = []
        self._deadline = 0.0
        self._deadlineCall: IDelayedCall | None = None
        self._stops = 0
        # The Deferreds of resize that wait, and the threads that they wait for.
        self._resizes: dict[Deferred[None], list[BaseWorker]] = {}
        try:
            self.start()
        except WorkersNotStarted:
            # Nobody gets this pool, to end the others.
            self.terminateWorkers()
            raise

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}, which {self._state.value}>"

    # Its life

    def start(self) -> None:
        """
        Start the threads when the reactor runs. See L{IDeferredWorkerPool.start
        <ganeti_pool.interfaces.IDeferredWorkerPool.start>}.
        """
        self._checkThread("start")
        if self._state in _CLOSING:
            raise PoolTerminated(self.name, "it can start again once it has stopped")
        if self._state is not _State.RUNNING and self._startTrigger is None:
            # It takes tasks again from now on, even if the reactor does not run yet.
            self.pool._BeginResize(0)
            self._state = _State.NEW
            self._startTrigger = self._reactor.callWhenRunning(self._run)

    def shutdownPolicy(self, drain: bool = False, deadline: float | None = None) -> None:
        """
        Say how the pool is to stop when the reactor shuts down: as
        L{terminateWorkers} with these arguments, which are its defaults until
        this is called.
        """
        self._checkThread("shutdownPolicy")
        _checkDeadline(deadline)
        self._policy = (drain, deadline)

    def terminateWorkers(
        self, drain: bool = False, deadline: float | None = None
    ) -> Deferred[None]:
        """
        Stop. See L{IDeferredWorkerPool.terminateWorkers
        <ganeti_pool.interfaces.IDeferredWorkerPool.terminateWorkers>}.
        """
        self._checkThread("terminateWorkers")
        _checkDeadline(deadline)
        if self._state is _State.STOPPED:
            return succeed(None)
        result: Deferred[None] = Deferred(self._stopWaiters.remove)
        self._stopWaiters.append(result)
        if deadline is not None:
            self._setDeadline(deadline)
        if self._state is _State.RUNNING and drain and self._canDrain():
            self._state = _State.DRAINING
            stop = self._stops
            self.pool._OpenFence(
                lambda failure: self._delivery.putCall(lambda: self._drained(stop))
            )
        elif self._state is not _State.STOPPING and not (drain and self._state is _State.DRAINING):
            self._close()
        return result

    def _run(self) -> None:
        """
        The reactor runs.
        """
        self._thread = threading.get_ident()
        self._startTrigger = None
        self._state = _State.RUNNING
        self._stopTrigger = self._reactor.addSystemEventTrigger(
            "before", "shutdown", self._shutDown
        )
        self.pool._BeginResize(self._size)

    def _shutDown(self) -> Deferred[None]:
        """
        The reactor stops. It waits for the Deferred.
        """
        self._stopTrigger = None
        drain, deadline = self._policy
        # a drain that somebody else has begun goes on
        return self.terminateWorkers(drain or self._state is _State.DRAINING, deadline)

    def _canDrain(self) -> bool:
        """
        Whether what is queued will be started without somebody's help.
        """
        statistics = self.pool.GetStatistics()
        return statistics.active and statistics.workers > 0

    def _drained(self, stop: int) -> None:
        """
        All that was queued has ended.

        @param stop: which stop this is about; another may be on by now.
        """
        if stop == self._stops and self._state is _State.DRAINING:
            self._close()

    def _close(self) -> None:
        """
        Give up the queue, and have the threads end.
        """
        if self._startTrigger is not None:
            self._reactor.removeSystemEventTrigger(self._startTrigger)
            self._startTrigger = None
        self._state = _State.STOPPING
        stop = self._stops
        # Those of an earlier resize may have left the pool and not be gone yet.
        leaving = [worker for surplus in self._resizes.values() for worker in surplus]
        left = self._whenDead(leaving, lambda: self._stopped(stop))
        leaving += self.pool._BeginTerminate(lambda: self._delivery.putCall(left))

    def _whenDead(
        self, threads: Sequence[threading.Thread], call: Callable[[], object]
    ) -> Callable[[], None]:
        """
        Make a function that calls another once threads that have left the pool
        are gone. They run no more code of ours, and are gone in a moment; to
        join them would block the reactor, so it is given a turn for it.
        """

        def check() -> None:
            if any(thread.is_alive() for thread in threads):
                self._delivery.inNextTurn(check)
            else:
                call()

        return check

    def _setDeadline(self, deadline: float) -> None:
        """
        Wait for so many seconds at most, of which the smallest holds.
        """
        if self._deadlineCall is not None:
            if self._deadlineCall.getTime() <= self._reactor.seconds() + deadline:
                return
            self._deadlineCall.cancel()
        self._deadline = deadline
        self._deadlineCall = self._reactor.callLater(deadline, self._expire)

    def _expire(self) -> None:
        """
        The deadline has passed.
        """
        self._deadlineCall = None
        if self._state is _State.DRAINING:
            self._close()
        deadline = self._deadline
        for completion in self.pool._AbandonWorkers():
            if isinstance(completion, (TaskCompletion, CallbackCompletion)):
                self._delivery.put(Abandon(completion, deadline))
        stop = self._stops
        self._delivery.putCall(lambda: self._stopped(stop))

    def _stopped(self, stop: int) -> None:
        """
        All threads have ended, or are not waited for.
        """
        if stop != self._stops:
            return
        self._stops += 1
        self._state = _State.STOPPED
        if self._deadlineCall is not None:
            self._deadlineCall.cancel()
            self._deadlineCall = None
        if self._stopTrigger is not None:
            self._reactor.removeSystemEventTrigger(self._stopTrigger)
            self._stopTrigger = None
        resizes, self._resizes = self._resizes, {}
        for resize, surplus in resizes.items():
            if resize.called:
                continue
            if any(worker._abandoned for worker in surplus):
                resize.errback(
                    PoolTerminated(self.name, "threads that were to leave were still running")
                )
            else:
                resize.callback(None)
        waiters, self._stopWaiters = self._stopWaiters, []
        while waiters:  # a callback may cancel another one
            waiters.pop(0).callback(None)

    # Tasks

    def addTask(
        self, args: Sequence[Any], priority: float = 0, taskID: Hashable | None = None
    ) -> Deferred[Any]:
        """
        Add a task. See L{IDeferredWorkerPool.addTask
        <ganeti_pool.interfaces.IDeferredWorkerPool.addTask>}.
        """
        return self._add(args, priority, taskID, currentSurroundings(), "addTask")

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
        if self._state not in _TAKES_TASKS:
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
        invoke: Callable[..., object],
        call: str,
    ) -> Deferred[Any]:
        """
        Add one task.
        """
        self._checkThread(call)
        entry = self.pool._NewEntry(args, priority, taskID, None, invoke)
        if self._state not in _TAKES_TASKS:
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
        if self._state is _State.DRAINING and not active:
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
        if self._state not in _TAKES_TASKS:
            return fail(self._refusal())
        result: Deferred[None] = Deferred(lambda result: self.pool._LiftFence(fence))

        def fire(failure: Failure | None) -> None:
            if not result.called:
                result.callback(None) if failure is None else result.errback(failure)

        fence = self.pool._OpenFence(lambda failure: self._delivery.putCall(lambda: fire(failure)))
        return result

    def resize(self, n: int) -> Deferred[None]:
        """
        Change the number of workers. See L{IDeferredWorkerPool.resize
        <ganeti_pool.interfaces.IDeferredWorkerPool.resize>}.
        """
        self._checkThread("resize")
        n = CheckCount(n)
        if self._state not in _TAKES_TASKS:
            return fail(self._refusal())
        self._size = n
        if self._state is _State.NEW:
            return succeed(None)
        surplus: list[BaseWorker] = []
        result: Deferred[None] = Deferred(lambda result: None)
        self._resizes[result] = surplus

        def fire() -> None:
            self._resizes.pop(result, None)
            if not result.called:
                result.callback(None)

        left = self._whenDead(surplus, fire)
        try:
            surplus += self.pool._BeginResize(n, lambda: self._delivery.putCall(left))
        except WorkersNotStarted:
            result.errback()
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
        entry = self.pool._NewEntry(args, priority, None, completion, Call(f, kwargs))
        try:
            if self._state not in _TAKES_TASKS:
                raise self._refusal()
            self.pool._SubmitOne(entry, hold=True)
        except PoolTerminated:
            if onResult is None:
                raise
            onResult(False, Failure())

    def _defer(
        self, f: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Deferred[Any]:
        """
        Call C{f} on a worker's thread, for L{deferToPool}.
        """
        return self._add(args, 0, None, Call(f, kwargs), "deferToPool")

    def _refusal(self) -> PoolTerminated:
        """
        Why nothing is taken now.
        """
        return PoolTerminated(self.name, f"it {self._state.value} and takes nothing more")

    def _checkThread(self, call: str) -> None:
        """
        @raise WrongThread: elsewhere than on the reactor thread.
        """
        if threading.get_ident() != self._thread:
            raise WrongThread(call, self.name, threading.current_thread().name)


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
    raise InvalidArgument(f"deferToPool needs a DeferredWorkerPool or a view of one, not {pool!r}")
