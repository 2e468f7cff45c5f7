"""
No wake-up is lost, and none is wasted on the lock.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Barrier, local
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.deferred._delivery import Delivery
from ganeti_pool.testing import FakeReactor
from ganeti_pool.workerpool import _TERMINATE, BaseWorker, _locking
from ganeti_pool.workerpool._locking import GiveWay

from ..poolcontract import FunctionWorker, Recorder
from .threadcase import PATIENCE, Gate, Other, ThreadCase, WatchedPool


class HeldObject:
    """
    An object whose lock seems to be held for a number of looks.
    """

    _lock = None

    def __init__(self, held: int) -> None:
        self.held = held
        self.looks = 0

    @property
    def _isHeld(self) -> bool:
        self.looks += 1
        return self.looks <= self.held


class StaleHintTests(ThreadCase):
    """
    Tests for a hint that says that a lock is held, which nobody holds.
    """

    def test_pool(self) -> None:
        """
        Each call that yields to the hint goes on, and clears it.
        """
        pool, gate = self.busyPool()
        calls: list[Callable[[], object]] = [
            lambda: pool.AddTask((self.see, 1), 0, "t"),
            lambda: pool.AddManyTasks([(self.see, 2)]),
            lambda: pool.ChangeTaskPriority("t", 1),
            lambda: pool.CancelTask("t"),
            lambda: pool.InterruptTask("busy"),
        ]
        for call in calls:
            pool._isHeld = True
            call()
            self.assertFalse(pool._isHeld)
        gate.open()
        pool.Quiesce()
        self.assertEqual(self.seen, [2])

    def test_delivery(self) -> None:
        """
        So do the two calls of a delivery.
        """
        reactor = FakeReactor()
        delivery = Delivery(reactor)
        delivery._isHeld = True
        delivery.putCall(lambda: self.seen.append(1))
        self.assertFalse(delivery._isHeld)
        delivery._isHeld = True
        reactor.run()
        self.assertEqual((self.seen, delivery._isHeld), ([1], False))


class GiveWayTests(SynchronousTestCase):
    """
    Tests for L{GiveWay}.
    """

    def yields(self, held: int) -> list[float]:
        """
        Give way.

        @return: how long the thread slept each time.
        """
        sleeps: list[float] = []
        self.patch(_locking, "time", SimpleNamespace(sleep=sleeps.append))
        owner: Any = HeldObject(held)
        GiveWay(owner)
        return sleeps

    def test_free(self) -> None:
        """
        A thread does not yield to a lock that is free.
        """
        self.assertEqual(self.yields(0), [])

    def test_heldBriefly(self) -> None:
        """
        While a lock is held for a moment the thread yields.
        """
        self.assertEqual(self.yields(5), [0] * 5)

    def test_heldLonger(self) -> None:
        """
        After twenty times the thread does not yield any more, and waits for the lock.
        """
        self.assertEqual(self.yields(99), [0] * 20)


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

    def failingPool(
        self, poolClass: type[WatchedPool] = WatchedPool
    ) -> tuple[WatchedPool, list[BaseWorker]]:
        """
        Make a pool of three workers that are idle. C{pool1} has failed before its second wait,
        and C{pool2} fails after it, and is the next to be woken.
        """

        class Failing(FunctionWorker):
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

        pool = self.makePool(3, make, poolClass)
        return pool, made

    def test_parkFails(self) -> None:
        """
        A worker that meets an exception where it waits goes on: it is idle still, or takes
        the task that it was woken for.
        """
        pool, made = self.failingPool()
        pool.waitUntilIdle(3)
        with pool._lock:
            pool._idle.sort(key=lambda worker: worker is not made[1])
        pool.AddTask((self.seen.append,))
        Other(pool.Quiesce).result()
        pool.waitUntilIdle(3)
        self.assertEqual((self.seen, pool._workers), ([made[1]], made))
        barrier = Barrier(3)
        pool.AddManyTasks([(lambda worker: barrier.wait(PATIENCE),)] * 3)
        Other(pool.Quiesce).result()
        self.assertEqual(pool.GetStatistics().succeeded, 4)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 2)

    def test_leavesWhereItWaits(self) -> None:
        """
        A worker that a hook ends where it waits is neither idle nor being woken any more:
        another one takes the task.
        """

        class Ending(WatchedPool):
            def _WaitForTaskUnlocked(self, worker: BaseWorker) -> Any:
                try:
                    return super()._WaitForTaskUnlocked(worker)
                except LookupError:
                    return _TERMINATE

        pool, (first, second, third) = self.failingPool(Ending)
        Other(first.join, PATIENCE).result()
        pool.waitUntilIdle(2)
        self.assertNotIn(first, pool._idle)
        with pool._lock:
            pool._idle.sort(key=lambda worker: worker is not second)
        pool.AddTask((lambda worker: self.seen.append(worker is third),))
        Other(second.join, PATIENCE).result()
        Other(pool.Quiesce).result()
        self.assertEqual((self.seen, pool._workers), ([True], [third]))

    def test_wokenTwice(self) -> None:
        """
        A worker that is woken without a reason stays idle, once, and can be woken for
        a task.
        """
        pool = self.heldPool(1)
        gate = self.holdNext()
        (worker,) = pool._workers
        worker._Wake()
        worker._Wake()
        gate.reached()
        self.assertEqual(pool._idle, [worker])
        gate.open()
        pool.AddTask((self.see, 1))
        Other(pool.Quiesce).result()
        pool.waitUntilIdle(1)
        self.assertEqual((self.seen, pool._idle), ([1], [worker]))

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
