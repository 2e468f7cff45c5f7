"""
Who works for the pool, and who waits for workers to leave.

How many workers there are to be, and which of them go, is decided here, under the
lock. Nothing in this module starts a thread or waits for one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ..errors import WouldWaitForItself
from ..interfaces import ICompletion
from ._locking import Action, Do
from ._scheduler import Scheduler
from ._worker import BaseWorker

__all__ = ["Staff"]


class _Farewell:
    """
    Somebody waits for workers to end.

    @ivar missing: the workers that have not left, and the farewell itself until
        its maker is ready.
    @ivar done: called, with no lock held, when nobody is missing.
    """

    __slots__ = ("done", "missing")

    def __init__(self, workers: Sequence[BaseWorker], done: Callable[[], object] | None) -> None:
        self.missing: set[object] = {self, *workers}
        self.done = done


class Staff(Scheduler):
    """
    The scheduler, and the workers that are its slots.

    @ivar _workers: the workers that the pool has.
    @ivar _termworkers: those that were told to end and have not left yet.
    @ivar _size: how many workers were last decided on.
    @ivar _starting: how many are being started and are not among the others yet.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._workers: list[BaseWorker] = []
        self._termworkers: list[BaseWorker] = []
        self._farewells: list[_Farewell] = []
        self._size = 0
        self._starting = 0

    # Coming and going

    def _SetSizeUnlocked(self, size: int) -> tuple[int, list[BaseWorker], list[BaseWorker]]:
        """
        Decide on the number of workers. All of C{Resize} and C{TerminateWorkers}
        that others can see is decided here, at one go; what follows carries it
        out. So the last one to decide wins.

        @return: how many are to be started (they are counted as starting), those
            that are to leave, and those of them that must be woken for it.
        """
        self._size = size
        missing = max(0, size - len(self._workers) - self._starting)
        self._starting += missing
        excess = max(0, len(self._workers) - size)
        # Idle workers first, then the youngest. One that has just been woken is
        # not idle: it leaves when it looks for its task, and passes the wake on.
        idle: list[BaseWorker] = []
        while self._idle and len(idle) < excess:
            idle.append(self._idle.pop())
        chosen = set(idle)
        busy = [worker for worker in reversed(self._workers) if worker not in chosen]
        surplus = idle + busy[: excess - len(idle)]
        for worker in surplus:
            worker._retired = True
            self._workers.remove(worker)
        self._termworkers += surplus
        return missing, surplus, idle

    def _EnlistUnlocked(self, started: Sequence[BaseWorker], count: int) -> None:
        """
        Count workers in that have been started, and are yet to be woken.

        @param count: how many were counted as starting for them, with those that
            could not be started.
        """
        self._starting -= count
        for worker in started:
            # A termination, or a smaller size, may have come meanwhile.
            worker._retired = len(self._workers) >= self._size
            (self._termworkers if worker._retired else self._workers).append(worker)
        self._changed.notify_all()

    def _AbandonWorkers(self) -> list[ICompletion]:
        """
        Wait no longer for the workers that were told to end and still run a
        task. Whenever that ends, it is counted, its completion is told, and the
        thread ends; but the pool is quiet without it.

        @return: the completions of those tasks.
        """
        completions = []
        with self._lock:
            busy = [worker for worker in self._termworkers if worker._current_task is not None]
            for worker in busy:
                self._termworkers.remove(worker)
                worker._abandoned = True
                self._busy -= 1
                assert worker._current_task is not None
                if worker._current_task.completion is not None:
                    completions.append(worker._current_task.completion)
            actions = self._TakeDownFencesUnlocked()
        Do(actions)
        return completions

    def _LeaveUnlocked(self, worker: BaseWorker) -> list[Action]:
        """
        A worker ends. If it had been woken, another is woken for the task.

        @return: what to do about it without the lock.
        """
        for workers in (self._workers, self._termworkers, self._idle):
            if worker in workers:
                workers.remove(worker)
        if self._waking is worker:
            self._waking = None
        actions = self._PartUnlocked(worker)
        wake = self._NextToWakeUnlocked()
        if wake is not None:
            actions.append(wake._Wake)
        return actions

    def _AwaitUnlocked(
        self, workers: Sequence[BaseWorker], done: Callable[[], object] | None
    ) -> _Farewell:
        """
        Have C{done} called once those workers have left and L{_Part} was called
        with the farewell itself, which says that whoever waits is ready for it.
        """
        farewell = _Farewell(workers, done)
        self._farewells.append(farewell)
        return farewell

    def _Part(self, farewell: _Farewell) -> None:
        """
        Whoever made a farewell has done all that comes before it is over.
        """
        with self._lock:
            actions = self._PartUnlocked(farewell)
        Do(actions)

    def _PartUnlocked(self, who: object) -> list[Action]:
        """
        Strike somebody off all lists of those that are waited for.

        @return: what to do about it without the lock.
        """
        for farewell in self._farewells:
            farewell.missing.discard(who)
        over = [farewell for farewell in self._farewells if not farewell.missing]
        for farewell in over:
            self._farewells.remove(farewell)
        return [farewell.done for farewell in over if farewell.done is not None]

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
        """
        worker = self._OnOwnWorker()
        if worker is not None:
            raise WouldWaitForItself(call, self._name, worker._worker_id)
