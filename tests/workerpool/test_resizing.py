"""
Growing, shrinking and terminating, alone and against each other.
"""

from __future__ import annotations

from threading import Barrier, Condition, Event
from typing import Any

from ganeti_pool.errors import WorkersNotStarted
from ganeti_pool.workerpool import BaseWorker

from ..poolcontract import FunctionWorker
from .threadcase import PATIENCE, Gate, Other, ThreadCase, WatchedPool


class ResizingTests(ThreadCase):
    """
    Tests for L{WorkerPool.Resize}.
    """

    def busy(self, pool: WatchedPool) -> tuple[Gate, BaseWorker]:
        """
        Have a worker busy until the gate is opened.

        @return: the gate and the worker.
        """
        gate = self.makeGate()
        workers: list[BaseWorker] = []

        def run(worker: BaseWorker) -> None:
            workers.append(worker)
            gate()

        pool.AddTask((run,))
        gate.reached()
        return gate, workers[0]

    def test_growWithBacklog(self) -> None:
        """
        New workers start on what is queued at once.
        """
        pool = self.makePool(1)
        barrier = Barrier(3)
        pool.AddManyTasks([(lambda worker: barrier.wait(PATIENCE),)] * 3)
        pool.Resize(3)
        Other(pool.Quiesce).result()
        self.assertEqual(pool.GetStatistics().succeeded, 3)

    def test_idleLeaveFirst(self) -> None:
        """
        A shrinking pool lets idle workers go, and does not wait for busy ones if
        those are enough.
        """
        pool = self.makePool(3)
        gate, worker = self.busy(pool)
        pool.waitUntilIdle(2)
        idle = list(pool._idle)
        pool.Resize(1)
        self.assertEqual(pool._workers, [worker])
        self.assertEqual([worker.is_alive() for worker in idle], [False, False])
        self.assertFalse(worker.ShouldTerminate())
        self.assertEqual(pool.GetStatistics().idle, 0)
        gate.open()

    def test_busyFinish(self) -> None:
        """
        A surplus worker that is busy finishes its task and takes no other, whatever
        is queued; the call returns when it has ended.
        """
        pool = self.makePool(2)
        first, _ = self.busy(pool)
        second, _ = self.busy(pool)
        young = pool._workers[1]
        pool.AddTask((lambda worker: self.seen.append(worker is young),))
        done: list[bool] = []
        resize = Other(
            lambda: (pool.Resize(1), done.append(young.is_alive()))  # type: ignore[func-returns-value]
        )
        pool.waitUntil(lambda: young._retired)
        self.assertEqual((pool.GetStatistics().workers, pool._termworkers), (1, [young]))
        self.assertTrue(young.ShouldTerminate())
        self.assertEqual(done, [])
        first.open()
        second.open()
        resize.result()
        Other(pool.Quiesce).result()
        self.assertEqual((done, self.seen), ([False], [False]))

    def test_toNothingAndBack(self) -> None:
        """
        With no worker the queue waits for new ones.
        """
        pool = self.makePool(2)
        gate, _ = self.busy(pool)
        pool.AddTask((self.see, 1))
        with pool._lock:
            pool._active = False
        resize = Other(pool.Resize, 0)
        pool.waitUntil(lambda: not pool._workers)
        gate.open()
        resize.result()
        pool.SetActive(True)
        self.assertEqual((self.seen, pool.GetStatistics().queued), ([], 1))
        pool.Resize(2)
        Other(pool.Quiesce).result()
        self.assertEqual(self.seen, [1])

    def test_terminatedWhileFailingToGrow(self) -> None:
        """
        It waits no longer than that C{Resize} goes on, though no thread starts.
        """
        gate = self.makeGate()
        waits = Event()

        class Watched(Condition):
            def wait(self, timeout: float | None = None) -> bool:
                waits.set()
                return super().wait(timeout)

        def make(pool: Any, workerID: str) -> BaseWorker:
            gate()
            raise OSError

        pool = self.makePool(0, make)
        growing = Other(pool.Resize, 1)
        gate.reached()
        pool._changed = Watched(pool._lock)
        terminate = Other(pool.TerminateWorkers)
        assert waits.wait(PATIENCE)
        with pool._lock:  # whoever waits lets go of it then
            self.assertTrue(pool._terminated)
        gate.open()
        self.assertRaises(WorkersNotStarted, growing.result)
        terminate.result()

    def test_threadsThatDoNotStart(self) -> None:
        """
        Only workers whose threads have started are recorded, and the error says how
        many they are.
        """

        class Stillborn(FunctionWorker):
            def start(self) -> None:
                if self._worker_id == "pool2":
                    raise RuntimeError("can't start new thread")
                super().start()

        pool = self.makePool(0, Stillborn)
        error = self.assertRaises(WorkersNotStarted, pool.Resize, 3)
        self.assertEqual((error.started, error.wanted), (1, 3))
        self.assertIn("can't start new thread", str(error))
        self.assertEqual([worker._worker_id for worker in pool._workers], ["pool1"])
        self.assertEqual(pool._starting, 0)
        pool.AddTask((self.see, 1))
        Other(pool.Quiesce).result()
        self.assertEqual(self.seen, [1])

    def test_failureWhileOthersGrow(self) -> None:
        """
        A C{Resize} that fails takes no worker from another that goes on.
        """
        gates = {"pool1": Gate(), "pool2": Gate()}
        for gate in gates.values():
            self.addCleanup(gate.open)

        def make(pool: Any, workerID: str) -> BaseWorker:
            gates.get(workerID, lambda: None)()
            if workerID == "pool1":
                raise OSError
            return FunctionWorker(pool, workerID)

        pool = self.makePool(0, make)
        failing = Other(pool.Resize, 1)
        gates["pool1"].reached()
        growing = Other(pool.Resize, 3)
        gates["pool2"].reached()
        gates["pool1"].open()
        self.assertRaises(WorkersNotStarted, failing.result)
        gates["pool2"].open()
        growing.result()
        self.assertEqual(pool.GetStatistics().workers, 2)

    def test_constructorCleansUp(self) -> None:
        """
        When not all workers of a new pool start, those that did are ended.
        """
        made: list[BaseWorker] = []

        def make(pool: Any, workerID: str) -> BaseWorker:
            if workerID == "pool2":
                raise OSError
            made.append(FunctionWorker(pool, workerID))
            return made[0]

        self.assertRaises(WorkersNotStarted, WatchedPool, "pool", 2, make)
        self.assertFalse(made[0].is_alive())

    def test_resizeUnlocked(self) -> None:
        """
        A subclass that holds the lock can resize the pool.
        """
        pool = self.makePool(1)
        with pool._lock:
            pool._ResizeUnlocked(3)
            self.assertEqual(len(pool._workers), 3)
            pool._ResizeUnlocked(1)
            self.assertEqual((len(pool._workers), pool._termworkers), (1, []))

    def test_doneComesLast(self) -> None:
        """
        The call that does not wait tells when the surplus workers have left, and
        no other worker's end counts.
        """
        pool = self.makePool(2)
        gate, _ = self.busy(pool)
        other, _ = self.busy(pool)
        told = Gate()
        told.open()
        old, young = pool._workers
        self.assertEqual(pool._BeginResize(1, told), [young])
        resize = Other(pool.Resize, 0)
        pool.waitUntil(lambda: old._retired)
        gate.open()
        other.open()
        told.reached()
        resize.result()
