"""
The life of a pool in a reactor: how it starts, changes its size, and stops.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall

from .._text import safeRepr, safeStr
from ..errors import (
    InvalidArgument,
    PoolForked,
    PoolTerminated,
    WorkersNotStarted,
    WrongThread,
)
from ..workerpool import BaseWorker, WorkerPool
from ..workerpool._arguments import CheckCount, CheckPriority
from ..workers import CallableWorker
from ._delivery import Delivery
from ._tasks import Abandon, CallbackCompletion, TaskCompletion

__all__ = ["TAKES_TASKS", "PoolLife", "State"]


class State(Enum):
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


TAKES_TASKS = (State.NEW, State.RUNNING)
_CLOSING = (State.DRAINING, State.STOPPING)


def _checkDeadline(deadline: float | None) -> float | None:
    """
    Return a deadline as a plain number of seconds, or L{None}.

    @raise InvalidArgument: if it is neither L{None} nor a number of seconds.
    """
    if deadline is None:
        return None
    try:
        seconds = CheckPriority(deadline)
        if 0 <= seconds < math.inf:
            return seconds
    except InvalidArgument:
        pass
    raise InvalidArgument(
        f"a deadline must be a finite number of seconds of at least 0, or None, "
        f"not {safeRepr(deadline)}"
    )


class PoolLife:
    """
    A L{WorkerPool} that starts its threads when the reactor runs, and stops before
    the reactor does; so it can be made before a daemon forks. It can start again.

    Threads: the reactor's. C{_state} is written there alone; other threads read it
    to refuse early, and the L{WorkerPool} decides.

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
        self.name = name = safeStr(name)
        self.pool = makePool(name, 0, workerClass)
        self._reactor = reactor
        self._size = CheckCount(numWorkers)
        self._delivery = Delivery(reactor)
        self._thread = threading.get_ident()
        self._state = State.NEW
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

    def start(self) -> None:
        """
        Start the threads when the reactor runs. See L{IDeferredWorkerPool.start
        <ganeti_pool.interfaces.IDeferredWorkerPool.start>}.
        """
        self._checkThread("start")
        if self._state in _CLOSING:
            raise PoolTerminated(self.name, "it can start again once it has stopped")
        if self._state is not State.RUNNING and self._startTrigger is None:
            # It takes tasks again from now on, even if the reactor does not run yet.
            self.pool._BeginResize(0)
            self._state = State.NEW
            self._startTrigger = self._reactor.callWhenRunning(self._run)

    def shutdownPolicy(self, drain: bool = False, deadline: float | None = None) -> None:
        """
        Say how the pool is to stop when the reactor shuts down: as
        L{terminateWorkers} with these arguments, which are its defaults until
        this is called.
        """
        self._checkThread("shutdownPolicy")
        self._policy = (drain, _checkDeadline(deadline))

    def terminateWorkers(
        self, drain: bool = False, deadline: float | None = None
    ) -> Deferred[None]:
        """
        Stop. See L{IDeferredWorkerPool.terminateWorkers
        <ganeti_pool.interfaces.IDeferredWorkerPool.terminateWorkers>}.
        """
        if self.pool._isForked:
            # The threads belong to the parent, and their reports too.
            self._state = State.STOPPED
            return succeed(None)
        self._checkThread("terminateWorkers")
        deadline = _checkDeadline(deadline)
        if self._state is State.STOPPED:
            return succeed(None)
        result: Deferred[None] = Deferred(self._stopWaiters.remove)
        self._stopWaiters.append(result)
        if deadline is not None:
            self._setDeadline(deadline)
        if self._state is State.RUNNING and drain and self._canDrain():
            self._state = State.DRAINING
            stop = self._stops
            self.pool._OpenFence(
                lambda failure: self._delivery.putCall(lambda: self._drained(stop))
            )
        elif self._state is not State.STOPPING and not (drain and self._state is State.DRAINING):
            self._close()
        return result

    def _run(self) -> None:
        """
        The reactor runs.
        """
        self._thread = threading.get_ident()
        self._startTrigger = None
        self._state = State.RUNNING
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
        return self.terminateWorkers(drain or self._state is State.DRAINING, deadline)

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
        if stop == self._stops and self._state is State.DRAINING:
            self._close()

    def _close(self) -> None:
        """
        Give up the queue, and have the threads end.
        """
        if self._startTrigger is not None:
            self._reactor.removeSystemEventTrigger(self._startTrigger)
            self._startTrigger = None
        stop = self._stops
        # Those of an earlier resize may have left the pool and not be gone yet.
        leaving = [worker for surplus in self._resizes.values() for worker in surplus]

        def left() -> None:
            self._whenDead(leaving, lambda: self._stopped(stop))

        def done() -> None:
            self._delivery.putCall(left)

        try:
            # No signal handler can run between these two steps.
            self._state = State.STOPPING
            leaving += self.pool._BeginTerminate(done)
        except BaseException:
            # A signal handler raised in the middle. Beginning again does no harm.
            leaving += self.pool._BeginTerminate(done)
            raise

    def _whenDead(self, threads: Sequence[threading.Thread], call: Callable[[], object]) -> None:
        """
        Call a function once threads that have left the pool are gone. They run no
        more code of ours, and are gone in a moment; to join them would block the
        reactor, so it is given a turn for it.
        """
        if any(thread.is_alive() for thread in threads):
            self._delivery.inNextTurn(lambda: self._whenDead(threads, call))
        else:
            call()

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
        if self._state is State.DRAINING:
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
        self._state = State.STOPPED
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
        while waiters:  # a callback may cancel another one, or fire it
            waiter = waiters.pop(0)
            if not waiter.called:
                waiter.callback(None)

    def resize(self, n: int) -> Deferred[None]:
        """
        Change the number of workers. See L{IDeferredWorkerPool.resize
        <ganeti_pool.interfaces.IDeferredWorkerPool.resize>}.
        """
        self._checkThread("resize")
        n = CheckCount(n)
        if self._state not in TAKES_TASKS:
            return fail(self._refusal())
        self._size = n
        if self._state is State.NEW:
            return succeed(None)
        surplus: list[BaseWorker] = []
        result: Deferred[None] = Deferred(lambda result: None)
        self._resizes[result] = surplus

        def fire() -> None:
            self._resizes.pop(result, None)
            if not result.called:
                result.callback(None)

        def left() -> None:
            self._whenDead(surplus, fire)

        try:
            surplus += self.pool._BeginResize(n, lambda: self._delivery.putCall(left))
        except (WorkersNotStarted, PoolForked):
            result.errback()
        return result

    def _refusal(self) -> PoolTerminated:
        """
        Why nothing is taken now.
        """
        return PoolTerminated(self.name, f"it {self._state.value} and takes nothing more")

    def _checkThread(self, call: str) -> None:
        """
        @raise WrongThread: on any thread except the reactor thread.
        @raise PoolForked: on such a thread, in the child of a fork.
        """
        if threading.get_ident() != self._thread:
            if self.pool._isForked:
                raise PoolForked(self.name)
            raise WrongThread(call, self.name, threading.current_thread().name)
