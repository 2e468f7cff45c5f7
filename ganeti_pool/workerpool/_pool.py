"""
The pool of the reference page: threads as the slots of the scheduler.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from twisted.python.failure import Failure
from zope.interface import implementer

from .._text import safeRepr, safeStr
from ..errors import InvalidArgument, WorkersNotStarted
from ..interfaces import IWorkerPool, PoolStatistics
from ._arguments import CheckCount
from ._fences import Fence
from ._forking import watchForks
from ._locking import Acquire, Action, Do, Retake
from ._staff import ExitBarrier, Staff, Starting
from ._worker import TERMINATE, BaseWorker, ProvideWorker

__all__ = ["DEFAULT_PRIORITY", "WorkerPool"]

DEFAULT_PRIORITY = 0


@implementer(IWorkerPool)
class WorkerPool(Staff):
    """
    Threads behind one priority queue. What each method promises stands in
    L{IWorkerPool <ganeti_pool.interfaces.IWorkerPool>}.

    A subclass may override C{_WaitForTaskUnlocked},
    C{_ShouldWorkerTerminateUnlocked} and C{_NewWorkerIdUnlocked}; the other
    methods with an underscore may be called.

    As a context manager it terminates its workers in the end.

    Threads: every method may be called from any thread.
    """

    _DEFAULT_PRIORITY = DEFAULT_PRIORITY

    def __init__(
        self,
        name: str,
        num_workers: int,
        worker_class: Callable[[Any, str], object],
    ) -> None:
        """
        Start the workers.

        @param name: of the pool; its threads are called C{name1}, C{name2}, …
        @param num_workers: how many.
        @param worker_class: called as C{worker_class(pool, worker_id)}; makes
            an L{IWorker <ganeti_pool.interfaces.IWorker>}.
        @raise InvalidArgument: if an argument cannot be used.
        @raise WorkersNotStarted: if a worker could not be made or started; the
            others have been ended.
        """
        if not callable(worker_class):
            raise InvalidArgument(
                f"the worker class must be callable as worker_class(pool, worker_id), "
                f"and {safeRepr(worker_class)} is not"
            )
        num_workers = CheckCount(num_workers)
        super().__init__(safeStr(name))
        self._worker_class = worker_class
        self._last_worker_id = 0
        watchForks(self)
        try:
            self.Resize(num_workers)
        except BaseException:
            self.TerminateWorkers()
            raise

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name!r}>"

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self,
        exceptionType: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.TerminateWorkers()

    def _RunWorker(self, worker: BaseWorker) -> None:
        """
        Run tasks on the thread of a worker until it is to end.
        """
        worker._RunTasks()

    # The hooks

    def _WaitForTaskUnlocked(self, worker: BaseWorker) -> Any:
        """
        Wait for a task for a worker, on its thread. The lock is free meanwhile.

        @return: an entry of the queue; or C{_TERMINATE} when the worker is to
            end; or L{None} to be asked again.
        """
        while True:
            task = self._TakeUnlocked(worker)
            if task is not None:
                return task
            self._ParkUnlocked(worker)

    def _WaitAfterFailureUnlocked(self, worker: BaseWorker) -> Any:
        """
        Wait for a task as L{_WaitForTaskUnlocked} does, but call no hook. A hook, or some
        other step between two tasks, has just failed.

        @return: an entry, possibly one that the worker took before the failure; or
            C{_TERMINATE}.
        """
        task: Any = worker._taken
        while task is None:
            task = self._TakeOrIdleUnlocked(worker, worker._retired)
            if task is None:
                self._ParkUnlocked(worker)
        return task

    def _ParkUnlocked(self, worker: BaseWorker) -> None:
        """
        Block an idle worker until it is woken. The lock is free in the meantime.
        """
        self._isHeld = False
        self._lock.release()
        try:
            worker._Park()
        finally:
            Acquire(self)

    def _TakeUnlocked(self, worker: BaseWorker) -> Any:
        """
        Take the next task for a worker, or make it idle in the same step.

        @return: an entry of the queue; or C{_TERMINATE} when the worker is to
            end; or L{None} if it is idle now, and will be woken.
        """
        return self._TakeOrIdleUnlocked(worker, self._ShouldWorkerTerminateUnlocked(worker))

    def _TakeOrIdleUnlocked(self, worker: BaseWorker, ends: bool) -> Any:
        """
        Take a task for a worker, or record the worker as idle. See L{_TakeUnlocked}.

        @param ends: whether the worker must end.
        """
        if self._waking is worker:
            self._waking = None
        if ends:
            return TERMINATE
        if worker._isIdle:
            # It was woken twice, or an exception ended its wait: it is still in C{_idle}.
            return None
        if self._active and self._tasks:
            worker._taken = task = self._queue.pop()
            return task
        worker._isIdle = True
        self._idle.append(worker)
        return None

    def _ShouldWorkerTerminateUnlocked(self, worker: BaseWorker) -> bool:
        """
        Whether a worker is to end.
        """
        return worker._retired

    def _NewWorkerIdUnlocked(self) -> str:
        """
        The identifier of a new worker, which no other has had.
        """
        self._last_worker_id += 1
        return f"{self._name}{self._last_worker_id}"

    # Waiting

    def Quiesce(self) -> None:
        """
        Wait until the pool is quiet. See L{IWorkerPool.Quiesce
        <ganeti_pool.interfaces.IWorkerPool.Quiesce>}.
        """
        self._RefuseOwnWorker("Quiesce")
        outcome: list[Failure | None] = []
        over = threading.Lock()
        over.acquire()

        def done(failure: Failure | None) -> None:
            if not outcome:
                outcome.append(failure)
                over.release()

        fence = Fence(done, threading.get_ident())
        try:
            self._SetUpFence(fence)
            over.acquire()
        finally:
            # A no-op, unless the wait was interrupted, by Ctrl-C say.
            self._LiftFence(fence)
        if outcome[0] is not None:
            outcome[0].raiseException()

    # The number of workers

    def Resize(self, num_workers: int) -> None:
        """
        Change the number of workers. See L{IWorkerPool.Resize
        <ganeti_pool.interfaces.IWorkerPool.Resize>}.
        """
        self._JoinWorkers(self._BeginResize(CheckCount(num_workers)))

    def _ResizeUnlocked(self, num_workers: int) -> None:
        """
        Change the number of workers, for a caller that holds the lock once. It
        is free while threads start and end.
        """
        try:
            self._lock.release()
            self._JoinWorkers(self._BeginResize(num_workers))
        finally:
            Retake(self._lock)

    def _BeginResize(
        self, num_workers: int, done: Callable[[], object] | None = None
    ) -> list[BaseWorker]:
        """
        Change the number of workers, without a wait for those that are surplus.

        @param done: called, with no lock held, when they have left; without it
            the caller is about to wait for them.
        @return: the surplus workers.
        @raise WouldWaitForItself: if that caller is a worker of this pool.
        @raise WorkersNotStarted: if some could not be started; C{done} is
            called all the same.
        """
        starting = Starting()
        barrier = ExitBarrier(done)
        woken: list[BaseWorker] = []
        try:
            with self._lock:
                if done is None and num_workers < len(self._workers) + self._starting:
                    self._RefuseOwnWorker("a shrinking Resize")
                missing, surplus, woken = self._SetSizeUnlocked(num_workers)
                self._terminated = False
                self._AwaitUnlocked(barrier, surplus)
                # These two steps call nothing, so the code below undoes exactly this count.
                self._starting += missing
                starting.count = missing
            for worker in woken:
                worker._Wake()
        except BaseException:
            for worker in woken:
                worker._Wake()
            raise
        finally:
            try:
                self._StartWorkers(starting)
            finally:
                if starting.count:
                    # A signal handler raised before it could begin.
                    with self._lock:
                        self._EnlistUnlocked([], starting)
                try:
                    self._Part(barrier)
                except BaseException:
                    self._Part(barrier)
                    raise
        return surplus

    def TerminateWorkers(self) -> None:
        """
        End all workers. See L{IWorkerPool.TerminateWorkers
        <ganeti_pool.interfaces.IWorkerPool.TerminateWorkers>}.
        """
        if self._isForked:
            # The threads belong to the parent.
            return
        self._RefuseOwnWorker("TerminateWorkers")
        self._BeginTerminate()
        with self._lock:
            # A Resize that was under way starts threads, and retires them.
            while self._starting:
                try:
                    self._changed.wait()
                except BaseException:
                    Retake(self._lock)
                    raise
            leaving = list(self._termworkers)
        self._JoinWorkers(leaving)

    def _BeginTerminate(self, done: Callable[[], object] | None = None) -> list[BaseWorker]:
        """
        Retire all workers and give up the queue, without a wait.

        @param done: called, with no lock held, when all workers have left and
            all tasks that were given up have been told.
        @return: the workers that are leaving.
        """
        leaving: list[BaseWorker] = []
        woken: list[BaseWorker] = []
        actions: list[Action] = []
        barrier = ExitBarrier(done)
        try:
            with self._lock:
                self._SetSizeUnlocked(0)
                leaving = list(self._termworkers)
                # Wake every worker without a task: an earlier call may have been
                # interrupted before it woke them.
                woken = [worker for worker in leaving if worker._current_task is None]
                self._AwaitUnlocked(barrier, leaving)
                self._TerminateUnlocked(actions)
            for worker in woken:
                worker._Wake()
            Do(actions)
        except BaseException:
            for worker in woken:
                worker._Wake()
            Do(actions)
            raise
        finally:
            try:
                self._Part(barrier)
            except BaseException:
                self._Part(barrier)
                raise
        return leaving

    def _StartWorkers(self, starting: Starting) -> None:
        """
        Make and start workers that are counted as starting, without the lock.

        @raise WorkersNotStarted: if some could not be.
        """
        count = starting.count
        made: list[BaseWorker] = []
        started: list[BaseWorker] = []
        cause: BaseException | None = None
        try:
            for _ in range(starting.count):
                with self._lock:
                    worker_id = self._NewWorkerIdUnlocked()
                worker = ProvideWorker(self, worker_id)
                made.append(worker)
                self._LaunchWorker(worker)
                started.append(worker)
        except BaseException as error:
            cause = error
        try:
            self._IntroduceWorkers(made, started, starting)
        except BaseException:
            self._IntroduceWorkers(made, started, starting)
            raise
        if isinstance(cause, Exception):
            raise WorkersNotStarted(self._name, len(started), count, cause) from cause
        if cause is not None:
            raise cause

    def _IntroduceWorkers(
        self, made: Sequence[BaseWorker], started: Sequence[BaseWorker], starting: Starting
    ) -> None:
        """
        Add the started workers to the pool and wake them. Repeating this does no harm.

        @param made: the started workers, followed by those that were not started.
        """
        for worker in made[len(started) :]:
            # Its thread may have started despite the error, and then ends at once.
            worker._retired = True
        if starting.count:
            with self._lock:
                self._EnlistUnlocked(started, starting)
        for worker in made:
            worker._Wake()

    def _LaunchWorker(self, worker: BaseWorker) -> None:
        """
        Start the thread of a worker. It waits to be woken.
        """
        worker.start()

    def _JoinWorkers(self, workers: Sequence[BaseWorker]) -> None:
        """
        Wait for the threads of workers that were told to end.
        """
        for worker in workers:
            worker.join()

    # Looking

    def GetStatistics(self) -> PoolStatistics:
        """
        Take a snapshot. See L{IWorkerPool.GetStatistics
        <ganeti_pool.interfaces.IWorkerPool.GetStatistics>}.
        """
        with self._lock:
            return self._StatisticsUnlocked(len(self._workers))
