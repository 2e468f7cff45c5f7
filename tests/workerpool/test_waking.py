"""
No wake-up is lost, and none is wasted on the lock.
"""

from __future__ import annotations

from threading import Barrier, local
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.workerpool import BaseWorker
from ganeti_pool.workerpool._locking import Acquire

from ..poolcontract import FunctionWorker, Recorder
from .threadcase import PATIENCE, Gate, Other, ThreadCase, WatchedPool


class FakeLock:
    """
    A lock that is held for a number of attempts.
    """

    def __init__(self, held: int) -> None:
        self.held = held
        self.calls: list[bool] = []

    def acquire(self, blocking: bool = True) -> bool:
        """
        Take it, if it is free by now.
        """
        self.calls.append(blocking)
        return blocking or len(self.calls) > self.held


class AcquireTests(SynchronousTestCase):
    """
    Tests for L{Acquire}.
    """

    def acquire(self, held: int) -> list[bool]:
        """
        The attempts on a lock; whether each was a wait.
        """
        lock: Any = FakeLock(held)
        Acquire(lock)
        calls: list[bool] = lock.calls
        return calls

    def test_free(self) -> None:
        """
        A free lock is taken without a wait.
        """
        self.assertEqual(self.acquire(0), [False])

    def test_heldBriefly(self) -> None:
        """
        A lock that is held for a moment is tried again, without a wait.
        """
        self.assertEqual(self.acquire(20), [False] * 21)

    def test_heldLonger(self) -> None:
        """
        After twenty attempts more it is waited for.
        """
        self.assertEqual(self.acquire(99), [False] * 21 + [True])


class HeldWorker(FunctionWorker):
    """
    A worker that can be stopped just after it was woken.

    @ivar gate: stops the next worker that is woken.
    """

    gate: Gate | None = None

    def _Park(self) -> None:
        super()._Park()
        gate, HeldWorker.gate = HeldWorker.gate, None
        if gate is not None:
            gate()


class ContendedLock:
    """
    A lock that another thread seems to hold each time it is first tried.
    """

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._local = local()
        self.release = lock.release

    def acquire(self, blocking: bool = True) -> bool:
        """
        Take it, but not without a wait, or at the second attempt.
        """
        tried = self._local.__dict__.pop("tried", False)
        if not blocking and not tried:
            self._local.tried = True
            return False
        got: bool = self._lock.acquire(blocking)
        return got

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()


class WakingTests(ThreadCase):
    """
    Tests for the waking of idle workers.
    """

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(setattr, HeldWorker, "gate", None)

    def heldPool(self, workers: int) -> WatchedPool:
        """
        Make a pool whose workers are idle.
        """
        pool = self.makePool(workers, HeldWorker)
        pool.waitUntilIdle(workers)
        return pool

    def holdNext(self) -> Gate:
        """
        Stop the next worker that is woken.
        """
        HeldWorker.gate = gate = self.makeGate()
        return gate

    def test_allAtOnce(self) -> None:
        """
        As many tasks as there are idle workers run at once, though they come at
        one go: each worker that takes one wakes the next.
        """
        pool = self.heldPool(4)
        barrier = Barrier(4)
        pool.AddManyTasks([(lambda worker: barrier.wait(PATIENCE),)] * 4)
        Other(pool.Quiesce).result()
        self.assertEqual(pool.GetStatistics().succeeded, 4)

    def test_oneByOne(self) -> None:
        """
        A task that is added while the others run wakes an idle worker.
        """
        pool = self.heldPool(3)
        barrier = Barrier(3)
        pool.AddTask((lambda worker: barrier.wait(PATIENCE),))
        pool.waitUntilIdle(2)
        with pool._lock:
            pool._AddTaskUnlocked((lambda worker: barrier.wait(PATIENCE),), 0, None)
        pool.waitUntilIdle(1)
        pool._Submit([pool._NewEntry((lambda worker: barrier.wait(PATIENCE),), 0, None)], hold=True)
        Other(pool.Quiesce).result()
        self.assertEqual(pool.GetStatistics().succeeded, 3)

    def test_resume(self) -> None:
        """
        A paused pool that goes on runs its tasks on all workers.
        """
        pool = self.heldPool(3)
        barrier = Barrier(3)
        pool.SetActive(False)
        pool.AddManyTasks([(lambda worker: barrier.wait(PATIENCE),)] * 3)
        self.assertEqual(len(pool._idle), 3)
        pool.SetActive(True)
        Other(pool.Quiesce).result()
        self.assertEqual(pool.GetStatistics().succeeded, 3)

    def test_inTurn(self) -> None:
        """
        The worker that has been idle for longest is woken first.
        """
        pool = self.heldPool(3)
        idle = list(pool._idle)
        for _ in range(4):
            pool.AddTask((self.seen.append,))
            Other(pool.Quiesce).result()
            pool.waitUntilIdle(3)
        self.assertEqual(self.seen, [*idle, idle[0]])

    def test_addedWhileWaking(self) -> None:
        """
        While one worker is being woken no other is, and the one passes the wake on
        when it takes its task.
        """
        pool = self.heldPool(2)
        gate = self.holdNext()
        barrier = Barrier(2)
        pool.AddTask((lambda worker: barrier.wait(PATIENCE),))
        gate.reached()
        pool.AddTask((lambda worker: barrier.wait(PATIENCE),))
        with pool._lock:
            self.assertEqual(len(pool._idle), 1)
        self.assertEqual(pool.GetStatistics().idle, 2)
        gate.open()
        Other(pool.Quiesce).result()
        self.assertEqual(pool.GetStatistics().succeeded, 2)

    def test_wokenForNothing(self) -> None:
        """
        A woken worker whose task is gone is idle again, and is woken for the next.
        """
        pool = self.heldPool(1)
        gate = self.holdNext()
        pool.AddTask((self.see, 1), task_id="t")
        gate.reached()
        pool.CancelTask("t")
        gate.open()
        pool.waitUntilIdle(1)
        pool.AddTask((self.see, 2))
        Other(pool.Quiesce).result()
        self.assertEqual(self.seen, [2])

    def test_pausedWhileWaking(self) -> None:
        """
        A woken worker of a pool that was paused is idle again, and is woken when
        the pool goes on.
        """
        pool = self.heldPool(1)
        gate = self.holdNext()
        pool.AddTask((self.see, 1))
        gate.reached()
        pool.SetActive(False)
        gate.open()
        pool.waitUntilIdle(1)
        self.assertEqual(self.seen, [])
        pool.SetActive(True)
        Other(pool.Quiesce).result()
        self.assertEqual(self.seen, [1])

    def test_leavingPassesTheWakeOn(self) -> None:
        """
        A woken worker that ends instead wakes another for the task.
        """

        class Choosy(WatchedPool):
            leaver: BaseWorker | None = None

            def _ShouldWorkerTerminateUnlocked(self, worker: BaseWorker) -> bool:
                return worker is self.leaver or super()._ShouldWorkerTerminateUnlocked(worker)

        pool = self.makePool(2, HeldWorker, Choosy)
        assert isinstance(pool, Choosy)
        pool.waitUntilIdle(2)
        pool.leaver = pool._idle[0]
        pool.AddTask((lambda worker: self.seen.append(worker is pool.leaver),))
        Other(pool.Quiesce).result()
        self.assertEqual(self.seen, [False])
        Other(pool.leaver.join, PATIENCE).result()
        self.assertEqual(pool.GetStatistics().workers, 1)

    def test_parkFails(self) -> None:
        """
        A worker that fails where it waits is neither idle nor being woken any more:
        another one takes the task.
        """

        class Failing(FunctionWorker):
            """
            The worker C{pool1} fails before its second wait, C{pool2} after it.
            """

            parks = 0

            def _Park(self) -> None:
                self.parks += 1
                if self._worker_id == "pool1" and self.parks == 2:
                    raise LookupError
                super()._Park()
                if self._worker_id == "pool2" and self.parks == 2:
                    raise LookupError

        made: list[BaseWorker] = []

        def make(pool: Any, workerID: str) -> BaseWorker:
            made.append(Failing(pool, workerID))
            return made[-1]

        pool = self.makePool(3, make)
        first, second, third = made
        Other(first.join, PATIENCE).result()
        pool.waitUntilIdle(2)
        self.assertNotIn(first, pool._idle)
        with pool._lock:
            pool._idle.sort(key=lambda worker: worker is not second)
        pool.AddTask((lambda worker: self.seen.append(worker is third),))
        Other(second.join, PATIENCE).result()
        Other(pool.Quiesce).result()
        self.assertEqual((self.seen, pool._workers), ([True], [third]))
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 2)

    def test_heldTasksWake(self) -> None:
        """
        When a fence is over or lifted, an idle worker is woken for what it held.
        """
        pool = self.heldPool(2)
        for lift in (False, True):
            busy = Gate()
            pool.AddTask((busy,))
            busy.reached()
            pool.waitUntilIdle(1)
            fence = pool._OpenFence(self.seen.append)
            barrier = Barrier(2)
            held = [
                pool._NewEntry((lambda worker: barrier.wait(PATIENCE),), 0, None)  # noqa: B023
                for _ in range(2 - lift)
            ]
            pool._Submit(held, hold=True)
            if lift:
                pool._LiftFence(fence)
                barrier.wait(PATIENCE)
            busy.open()
            Other(pool.Quiesce).result()
        self.assertEqual(self.seen, [None])
        self.assertEqual(pool.GetStatistics().failed, 0)

    def test_contendedLock(self) -> None:
        """
        Every step gets the lock in the end, though it is held when it is tried.
        """
        pool = self.makePool(0)
        pool._lock = ContendedLock(pool._lock)  # type: ignore[assignment]
        pool.Resize(1)
        pool.SetActive(False)
        completion = Recorder()
        pool.AddTask((self.see, 1), 1, "t", completion=completion)
        pool.AddTask((self.see, 2), 2)
        pool.ChangeTaskPriority("t", 3)
        pool.SetActive(True)
        Other(pool.Quiesce).result()
        self.assertEqual(self.seen, [2, 1])
        self.assertEqual(completion.events, [("begin", 1), ("succeed", None)])
