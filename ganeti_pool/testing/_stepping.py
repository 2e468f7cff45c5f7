"""
A pool that runs one task at a time, when it is told to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.python.failure import Failure

from ..deferred import DeferredWorkerPool
from ..errors import PoolError
from ..workerpool import _TERMINATE, BaseWorker, WorkerPool
from ..workers import CallableWorker
from ._reactor import FakeReactor

__all__ = ["SteppingPool", "makeSteppingPool"]


class SteppingPool(WorkerPool):
    """
    A L{WorkerPool} without threads: L{step} runs the next task, on the thread that
    calls it. Everything else is as in a pool with threads, and what would wait
    there makes steps here.

    A task that calls L{step} has another worker run another task meanwhile, as
    if both ran at once.

    Threads: one, the test's.
    """

    def __init__(
        self, name: str, num_workers: int, worker_class: Callable[[Any, str], object]
    ) -> None:
        # Those that would be looking for a task, and those that run one, the
        # latest last.
        self._ready: list[BaseWorker] = []
        self._stack: list[BaseWorker] = []
        super().__init__(name, num_workers, worker_class)

    def step(self) -> bool:
        """
        Run the next task.

        @return: whether one was run: false when none is queued, all workers
            are busy, or the pool is paused.
        """
        while self._ready:
            worker = self._ready.pop(0)
            with self._lock:
                task = self._WaitForTaskUnlocked(worker)
                if task is _TERMINATE:
                    worker._retired = True
                elif task is not None:
                    self._stack.append(worker)
                    try:
                        self._ExecuteUnlocked(worker, task)
                    finally:
                        self._stack.pop()
                # A thread would look for its next task now; with none it is idle.
                if worker._retired or (self._active and self._tasks):
                    self._ready.insert(0, worker)
                elif not worker._isIdle:
                    worker._isIdle = True
                    self._idle.append(worker)
            worker._garbage.clear()
            self._DismissRetired()
            if task is not None and task is not _TERMINATE:
                return True
        return False

    def runAll(self) -> int:
        """
        Make steps until there is nothing to do.

        @return: how many.
        """
        steps = 0
        while self.step():
            steps += 1
        return steps

    def Quiesce(self) -> None:
        """
        Make steps until the pool is quiet.

        @raise PoolError: if no step can be made, and threads would wait.
        """
        self._RefuseOwnWorker("Quiesce")
        outcome: list[Failure | None] = []
        fence = self._OpenFence(outcome.append)
        while not outcome and self.step():
            pass
        if not outcome:
            self._LiftFence(fence)
            raise self._Stuck("Quiesce")
        if outcome[0] is not None:
            outcome[0].raiseException()

    def _WaitWhileQuiescingUnlocked(self) -> None:
        """
        Make steps until nobody quiesces the pool.
        """
        while self._fences and not self._stack:
            try:
                self._lock.release()
                if not self.step():
                    raise self._Stuck("AddTask")
            finally:
                self._lock.acquire()

    def _WaitForTaskUnlocked(self, worker: BaseWorker) -> Any:
        """
        Take a task for a worker, or make it idle.
        """
        return self._TakeUnlocked(worker)

    def _SetSizeUnlocked(self, size: int) -> tuple[int, list[BaseWorker], list[BaseWorker]]:
        """
        Decide on the number of workers. Those that would be about to look for a
        task need a push to leave.
        """
        missing, surplus, woken = super()._SetSizeUnlocked(size)
        return missing, surplus, woken + [worker for worker in surplus if worker in self._ready]

    def _LaunchWorker(self, worker: BaseWorker) -> None:
        """
        Have the worker look for a task in a step to come, in place of a thread.
        """

        def wake() -> None:
            if worker not in self._ready:
                self._ready.append(worker)
            self._DismissRetired()

        worker._Wake = wake  # type: ignore[method-assign]

    def _JoinWorkers(self, workers: Sequence[BaseWorker]) -> None:
        """
        They have no thread.
        """

    def _DismissRetired(self) -> None:
        """
        Let those leave that would find that they are to end.
        """
        for worker in [worker for worker in self._ready if worker._retired]:
            self._ready.remove(worker)
            with self._lock:
                actions = self._LeaveUnlocked(worker)
            for action in actions:
                action()

    def _OnOwnWorker(self) -> BaseWorker | None:
        """
        The worker whose task makes this call, if any.
        """
        return self._stack[-1] if self._stack else None

    def _Stuck(self, call: str) -> PoolError:
        """
        What is raised where threads would wait.
        """
        return PoolError(
            f"{call} on pool {self._name!r} would wait: no step can be made, since it is "
            "paused or has no worker that is free"
        )


def makeSteppingPool(
    numWorkers: int = 1,
    workerClass: Callable[[Any, str], object] = CallableWorker,
    name: str = "test",
    reactor: FakeReactor | None = None,
) -> tuple[DeferredWorkerPool, SteppingPool, FakeReactor]:
    """
    Make a L{DeferredWorkerPool} that a test drives by hand.

    @param reactor: by default one that runs.
    @return: the pool; its L{SteppingPool}, whose C{step()} runs a task; and its
        reactor, whose C{run()} fires the Deferreds.
    """
    reactor = reactor or FakeReactor()
    pool = DeferredWorkerPool(reactor, name, numWorkers, workerClass, makePool=SteppingPool)
    stepping = pool.pool
    assert isinstance(stepping, SteppingPool)
    return pool, stepping, reactor
