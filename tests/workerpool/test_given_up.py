"""
What a worker does that nobody waits for any more, and what happens on a thread in
the middle of something else.
"""

from __future__ import annotations

from threading import Event

from ganeti_pool.errors import TaskNotStarted
from ganeti_pool.workerpool import BaseWorker, DeferTask

from ..poolcontract import Recorder
from .threadcase import PATIENCE, Gate, Other, ThreadCase


class GivenUpTests(ThreadCase):
    """
    Tests for workers that were abandoned or leave, and for finalisers.
    """

    def test_deferralOfAbandoned(self) -> None:
        """
        A task that was abandoned while its deferral was being recorded is not put
        back, though the pool is open again by then.
        """
        pool = self.makePool(1)
        gate = self.makeGate()
        runs: list[BaseWorker] = []
        told = Event()

        def run(worker: BaseWorker) -> None:
            runs.append(worker)
            raise DeferTask

        recorder = Recorder(deferred=gate, fail=told.set)
        pool.AddTask((run,), completion=recorder)
        gate.reached()
        pool._BeginTerminate()
        self.assertEqual(pool._AbandonWorkers(), [recorder])
        pool.Resize(1)
        gate.open()
        self.assertTrue(told.wait(PATIENCE))
        Other(pool.Quiesce).result()
        self.assertEqual(len(runs), 1)
        self.assertEqual(recorder.events[-1], ("fail", TaskNotStarted))

    def test_wakeBeforeRelease(self) -> None:
        """
        A worker that leaves wakes another one for the task that it put back before
        it lets go of the task's objects.
        """
        pool = self.makePool(2)
        ranAgain = Event()
        outcomes: list[bool] = []
        gates: list[Gate] = []

        class Listener:
            def __call__(self) -> None:
                """Nothing is to be done."""

            def __del__(self) -> None:
                outcomes.append(ranAgain.wait(PATIENCE))

        def giveWay(worker: BaseWorker) -> None:
            if gates:
                ranAgain.set()
                return
            worker.CallWhenCancelled(Listener())
            gates.append(gate)
            gate()
            raise DeferTask

        gate = self.makeGate()
        pool.waitUntilIdle(2)
        pool.AddTask((giveWay,))
        gate.reached()
        pool.waitUntilIdle(1)
        with pool._lock:
            (busy,) = [worker for worker in pool._workers if worker._current_task is not None]
            busy._retired = True
            pool._workers.remove(busy)
            pool._termworkers.append(busy)
        gate.open()
        Other(busy.join).result()
        self.assertEqual(outcomes, [True])

    def test_finaliserAddsDuringQuiesce(self) -> None:
        """
        What a finaliser adds in the middle of a section of its thread does not wait
        for the end of a quiesce, which would free the lock.
        """
        pool = self.makePool(1)
        gate = self.makeGate()
        ran: list[int] = []
        pool.AddTask((lambda worker: gate(),))
        gate.reached()
        quiesce = Other(pool.Quiesce)
        pool.waitUntil(lambda: pool._fences)
        with pool._lock:
            pool.AddTask((lambda worker: ran.append(1),))
            self.assertEqual(len(pool._tasks), 1)
        gate.open()
        quiesce.result()
        self.assertEqual(ran, [1])

    def test_cancelledDeferral(self) -> None:
        """
        A task without a completion that defers itself after a cancellation ends as cancelled,
        which nobody is told.
        """
        pool = self.makePool(1)
        gate = self.makeGate()

        def defer(worker: BaseWorker) -> None:
            gate()
            raise DeferTask()

        pool.AddTask((defer,), 0, "t")
        gate.reached()
        pool.InterruptTask("t")
        gate.open()
        pool.Quiesce()
        self.assertEqual(pool.GetStatistics().cancelled, 1)
