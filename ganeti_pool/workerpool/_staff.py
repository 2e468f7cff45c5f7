"""
Who works for the pool, and who waits for workers to leave.

How many workers there are to be, and which of them go, is decided here, under the
lock. Nothing in this module starts a thread or waits for one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ..errors import PoolForked, WouldWaitForItself
from ..interfaces import ICompletion
from ._locking import Action, Do
from ._scheduler import Scheduler
from ._worker import BaseWorker

__all__ = ["ExitBarrier", "Staff", "Starting"]


def _isIn(worker: BaseWorker, workers: Sequence[BaseWorker]) -> bool:
    """
    Return whether a worker is among others, compared by identity.
    """
    return len(_without(worker, workers)) < len(workers)


def _without(worker: BaseWorker, workers: Sequence[BaseWorker]) -> list[BaseWorker]:
    """
    Return some workers without one of them.
    """
    return [other for other in workers if other is not worker]


class ExitBarrier:
    """
    A wait for workers to end.

    @ivar missing: the workers that have not left, and the barrier itself until its
        creator is ready.
    @ivar done: called, with no lock held, when C{missing} is empty.
    """

    __slots__ = ("done", "missing")

    def __init__(self, done: Callable[[], object] | None) -> None:
        # Keyed by id(): a worker's class may override equality.
        self.missing: dict[int, object] = {id(self): self}
        self.done = done


class Starting:
    """
    The workers that one call is starting.

    @ivar count: the number of workers that the pool counts as starting for this call.
    """

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Staff(Scheduler):
    """
    The scheduler, and the workers that are its slots.

    @ivar _workers: the workers that the pool has.
    @ivar _termworkers: those that were told to end and have not left yet.
    @ivar _size: how many workers were last decided on.
    @ivar _starting: how many are being started and are not among the others yet.
    @ivar _isForked: whether this is a forked child, without the threads of the pool.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._workers: list[BaseWorker] = []
        self._termworkers: list[BaseWorker] = []
        self._barriers: list[ExitBarrier] = []
        self._size = 0
        self._starting = 0
        self._isForked = False

    # Coming and going

    def _SetSizeUnlocked(self, size: int) -> tuple[int, list[BaseWorker], list[BaseWorker]]:
        """
        Decide on the number of workers. All of C{Resize} and C{TerminateWorkers}
        that others can see is decided here, at one go; what follows carries it
        out. So the last one to decide wins.

        @return: how many are to be started (the caller counts them as starting), those
            that are to leave, and those of them that must be woken for it.
        """
        self._size = size
        missing = max(0, size - len(self._workers) - self._starting)
        excess = max(0, len(self._workers) - size)
        # Idle workers first, then the youngest. One that has just been woken is
        # not idle: it leaves when it looks for its task, and passes the wake on.
        kept = len(self._idle) - min(excess, len(self._idle))
        idle = self._idle[kept:][::-1]
        busy = [worker for worker in reversed(self._workers) if not _isIn(worker, idle)]
        surplus = idle + busy[: excess - len(idle)]
        workers = [worker for worker in self._workers if not _isIn(worker, surplus)]
        leaving = self._termworkers + surplus
        for worker in surplus:
            worker._retired = True
        for worker in idle:
            worker._isIdle = False
        # These steps call nothing, so no signal handler interrupts them.
        del self._idle[kept:]
        self._workers = workers
        self._termworkers = leaving
        return missing, surplus, idle

    def _EnlistUnlocked(self, started: Sequence[BaseWorker], starting: Starting) -> None:
        """
        Add workers that were started and have not been woken yet.

        @param starting: the count for them and for the workers that could not be started.
        """
        workers, leaving = self._workers.copy(), self._termworkers.copy()
        for worker in started:
            # The pool may have been terminated or shrunk since the start began.
            worker._retired = len(workers) >= self._size
            (leaving if worker._retired else workers).append(worker)
        # These steps call nothing, so no signal handler interrupts them.
        count, starting.count = starting.count, 0
        self._starting -= count
        self._workers = workers
        self._termworkers = leaving
        self._changed.notify_all()

    def _IsEnlisted(self, worker: BaseWorker) -> bool:
        """
        Return whether a new worker was added to the pool, or never will be.
        """
        with self._lock:
            return worker._retired or _isIn(worker, self._workers)

    def _AbandonWorkers(self) -> list[ICompletion]:
        """
        Wait no longer for the workers that were told to end and still run a
        task. Whenever that ends, it is counted, its completion is told, and the
        thread ends; but the pool is quiet without it.

        @return: the completions of those tasks.
        """
        completions = []
        actions: list[Action] = []
        with self._lock:
            busy = [worker for worker in self._termworkers if worker._current_task is not None]
            for worker in busy:
                self._termworkers = _without(worker, self._termworkers)
                worker._abandoned = True
                self._busy -= 1
                assert worker._current_task is not None
                if worker._current_task.completion is not None:
                    completions.append(worker._current_task.completion)
            self._TakeDownFencesUnlocked(actions)
        Do(actions)
        return completions

    def _LeaveUnlocked(self, worker: BaseWorker) -> list[Action]:
        """
        A worker ends. If it had been woken, another is woken for the task.

        @return: what to do about it without the lock.
        """
        for workers in (self._workers, self._termworkers, self._idle):
            workers[:] = _without(worker, workers)
        if self._waking is worker:
            self._waking = None
        actions = self._PartUnlocked(worker)
        wake = self._NextToWakeUnlocked()
        if wake is not None:
            actions.append(wake._Wake)
        return actions

    def _AwaitUnlocked(self, barrier: ExitBarrier, workers: Sequence[BaseWorker]) -> None:
        """
        Call the C{done} of a barrier once these workers have left and its creator has
        called L{_Part} with the barrier.
        """
        for worker in workers:
            barrier.missing[id(worker)] = worker
        self._barriers.append(barrier)

    def _Part(self, barrier: ExitBarrier) -> None:
        """
        Record that the creator of a barrier has finished its own work.
        """
        with self._lock:
            actions = self._PartUnlocked(barrier)
        Do(actions)

    def _PartUnlocked(self, who: object) -> list[Action]:
        """
        Strike somebody off all lists of those that are waited for.

        @return: what to do about it without the lock.
        """
        for barrier in self._barriers:
            barrier.missing.pop(id(who), None)
        over = [barrier for barrier in self._barriers if not barrier.missing]
        for barrier in over:
            self._barriers.remove(barrier)
        return [barrier.done for barrier in over if barrier.done is not None]

    # On whose thread

    def _OnOwnWorker(self) -> BaseWorker | None:
        """
        The worker of this pool on whose thread this is called, if any.
        """
        thread = threading.current_thread()
        return thread if isinstance(thread, BaseWorker) and thread.pool is self else None

    def _RefuseOwnWorker(self, call: str) -> None:
        """
        @raise WouldWaitForItself: on a worker of this pool.
        @raise PoolForked: in the child of a fork.
        """
        if self._isForked:
            raise PoolForked(self._name)
        worker = self._OnOwnWorker()
        if worker is not None:
            raise WouldWaitForItself(call, self._name, worker._worker_id)
