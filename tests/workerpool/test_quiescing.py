"""
Waiting for quiet, and what others do meanwhile; terminations.
"""

from __future__ import annotations

import threading
from threading import Event
from types import SimpleNamespace

from ganeti_pool.errors import (
    NoSuchTask,
    PoolTerminated,
    TaskCancelled,
    TaskNotStarted,
)
from ganeti_pool.workerpool import BaseWorker, DeferTask, WorkerPool, _pool

from ..poolcontract import FunctionWorker, Recorder
from .threadcase import PATIENCE, Gate, Other, ThreadCase, WatchedPool


class QuiescingTests(ThreadCase):
    """
    Tests for L{WorkerPool.Quiesce} and L{WorkerPool.TerminateWorkers}.
    """

    def test_waitsForCompletion(self) -> None:
        """
        Whoever waits for quiet waits for the last completion.
        """
        pool = self.makePool(1)
        gate = Gate()
        pool.AddTask((self.see, 1), completion=Recorder(succeed=gate))
        gate.reached()
        statistics = pool.GetStatistics()
        self.assertEqual((statistics.running, statistics.succeeded), (0, 1))
        self.assertTrue(pool.HasRunningTasks())
        quiesce = self.quiesce(pool)
        self.assertEqual(len(pool._fences), 1)
        gate.open()
        quiesce.result()
        self.assertFalse(pool.HasRunningTasks())

    def test_blockingBegin(self) -> None:
        """
        While C{begin} blocks the task counts as running.
        """
        pool = self.makePool(1)
        gate = Gate()
        pool.AddTask((self.see, 1), completion=Recorder(begin=gate))
        gate.reached()
        self.assertEqual(pool.GetStatistics().running, 1)
        self.assertEqual(self.seen, [])
        gate.open()
        Other(pool.Quiesce).result()
        self.assertEqual(self.seen, [1])

    def test_othersWait(self) -> None:
        """
        Meanwhile other threads wait in C{AddTask} and C{AddManyTasks}, whose tasks
        come after the quiet.
        """
        pool, gate = self.busyPool()
        quiesce = self.quiesce(pool)
        adders = [
            Other(pool.AddTask, (self.see, 1)),
            Other(pool.AddManyTasks, [(self.see, 2)]),
        ]
        pool.waitUntil(lambda: pool.adding == 2)
        self.assertEqual(pool.GetStatistics().added, 1)
        gate.open()
        for other in (quiesce, *adders):
            other.result()
        Other(pool.Quiesce).result()
        self.assertEqual(set(self.seen), {1, 2})

    def test_duplicateAfterWaiting(self) -> None:
        """
        Whether an ID is taken is decided when the wait is over.
        """
        pool, gate = self.busyPool()
        quiesce = self.quiesce(pool)
        adder = Other(pool.AddTask, (self.see, 1), 0, "busy")
        pool.waitUntil(lambda: pool.adding == 1)
        gate.open()
        quiesce.result()
        adder.result()
        Other(pool.Quiesce).result()
        self.assertEqual(self.seen, [1])

    def test_ownTasksAreLetIn(self) -> None:
        """
        What the pool's own workers add meanwhile is let in, and waited for.
        """
        pool = self.makePool(2)
        gate = Gate()

        def add(worker: BaseWorker) -> None:
            gate()
            pool.AddTask((self.see, 1))
            pool.AddManyTasks([(self.see, 2)])
            self.seen += ["fenced"] * len(pool._fences)

        pool.AddTask((add,))
        gate.reached()
        quiesce = self.quiesce(pool)
        gate.open()
        quiesce.result()
        self.assertCountEqual(self.seen, ["fenced", 1, 2])

    def test_anotherPoolsWorkerWaits(self) -> None:
        """
        A worker of another pool waits like everyone else, and may quiesce the pool.
        """
        pool, gate = self.busyPool()
        quiesce = self.quiesce(pool)
        another = self.makePool(1)
        completion = Recorder()

        def add(worker: BaseWorker) -> None:
            pool.AddTask((self.see, 1))
            pool.Quiesce()

        another.AddTask((add,), completion=completion)
        pool.waitUntil(lambda: pool.adding == 1)
        gate.open()
        quiesce.result()
        Other(another.Quiesce).result()
        self.assertEqual(completion.events, [("begin", 1), ("succeed", None)])
        self.assertEqual(self.seen, [1])

    def test_liftReleases(self) -> None:
        """
        When a fence is lifted those who wait to add go on at once.
        """
        pool, gate = self.busyPool()
        fence = pool._OpenFence(self.seen.append)
        adder = Other(pool.AddTask, (self.see, 1))
        pool.waitUntil(lambda: pool.adding == 1)
        pool._LiftFence(fence)
        adder.result()
        gate.open()
        Other(pool.Quiesce).result()
        self.assertEqual(self.seen, [1])

    def test_interrupted(self) -> None:
        """
        A wait that is interrupted, as by Ctrl-C, leaves no fence behind.
        """

        class InterruptedLock:
            """
            A lock whose second taker is interrupted.
            """

            takers = 0

            def acquire(self) -> None:
                self.takers += 1
                if self.takers > 1:
                    raise KeyboardInterrupt

        pool, gate = self.busyPool()
        self.patch(
            _pool,
            "threading",
            SimpleNamespace(
                Lock=InterruptedLock,
                current_thread=threading.current_thread,
                get_ident=threading.get_ident,
            ),
        )
        self.assertRaises(KeyboardInterrupt, pool.Quiesce)
        self.assertEqual(pool._fences, [])
        pool.AddTask((self.see, 1))
        gate.open()

    def test_quietReleases(self) -> None:
        """
        It is the quiet that lets go on those who wait to add, and nothing else that
        happens in the pool.
        """
        waits = Event()

        class Pool(WorkerPool):
            def _WaitWhileQuiescingUnlocked(self) -> None:
                waits.set()
                super()._WaitWhileQuiescingUnlocked()

        pool = Pool("pool", 1, FunctionWorker)
        self.addCleanup(lambda: Other(pool.TerminateWorkers).result())
        gate = Gate()
        pool.AddTask((gate,))
        gate.reached()
        pool._OpenFence(self.seen.append)
        adder = Other(pool.AddTask, (self.see, 1))
        assert waits.wait(PATIENCE)
        with pool._lock:  # the adder lets go of it when it waits
            self.assertEqual(pool.GetStatistics().added, 1)
        gate.open()
        adder.result()
        Other(pool.Quiesce).result()
        self.assertEqual(self.seen, [None, 1])

    def test_terminateReleases(self) -> None:
        """
        A termination ends the wait for quiet with L{PoolTerminated}, and lets go on
        those who wait to add: without a completion the task waits for a later
        C{Resize}, with one it is refused.
        """
        pool, gate = self.busyPool()
        quiesce = self.quiesce(pool)
        adder = Other(pool.AddTask, (self.see, 1))
        pool.waitUntil(lambda: pool.adding == 1)
        refused = Other(lambda: pool.AddTask((self.see, 2), completion=Recorder()))
        pool.waitUntil(lambda: pool.adding == 2)
        terminate = Other(pool.TerminateWorkers)
        self.assertRaises(PoolTerminated, quiesce.result)
        adder.result()
        self.assertRaises(PoolTerminated, refused.result)
        gate.open()
        terminate.result()
        self.assertEqual(self.seen, [])
        pool.Resize(1)
        Other(pool.Quiesce).result()
        self.assertEqual(self.seen, [1])

    def test_runningTasksFinish(self) -> None:
        """
        A termination waits for the running task, which is told that it should
        terminate; it takes no other one.
        """
        pool = self.makePool(1)
        gate = Gate()
        completion = Recorder()

        def run(worker: BaseWorker) -> bool:
            self.seen.append(worker.ShouldTerminate())
            gate()
            return worker.ShouldTerminate()

        pool.AddTask((run,), completion=completion)
        pool.AddTask((self.see, 1))
        gate.reached()
        (worker,) = pool._workers
        terminate = Other(pool.TerminateWorkers)
        pool.waitUntil(lambda: worker._retired)
        self.assertEqual(pool.GetStatistics().running, 1)
        gate.open()
        terminate.result()
        self.assertEqual(completion.events, [("begin", 1), ("succeed", True)])
        self.assertEqual(self.seen, [False])
        self.assertFalse(worker.is_alive())

    def test_abandon(self) -> None:
        """
        Workers that were told to end and run on can be left to themselves: the pool
        is quiet without them, and can be opened and terminated again. What they do
        is counted and told whenever it ends, and their threads end.
        """
        pool = self.makePool(3)
        gates = [Gate(), Gate()]
        completion = Recorder()
        for gate, told in zip(gates, (completion, None), strict=True):
            self.addCleanup(gate.open)
            pool.AddTask((gate,), completion=told)
            gate.reached()
        pool.waitUntilIdle(1)
        idle = pool._idle[0]
        left = Gate()
        busy = [worker for worker in pool._BeginTerminate(left) if worker is not idle]
        Other(idle.join).result()
        self.assertEqual(pool._AbandonWorkers(), [completion])
        self.assertEqual(pool._AbandonWorkers(), [])
        self.assertFalse(pool.HasRunningTasks())
        Other(pool.Quiesce).result()
        Other(pool.TerminateWorkers).result()
        pool.Resize(1)
        pool.AddTask((self.see, 1))
        Other(pool.Quiesce).result()
        self.assertEqual((self.seen, completion.events), ([1], [("begin", 1)]))
        self.assertEqual(pool.GetStatistics().running, 2)
        for gate in gates:
            gate.open()
        left.reached()
        left.open()
        for worker in busy:
            Other(worker.join).result()
        self.assertEqual(completion.events, [("begin", 1), ("succeed", None)])
        statistics = pool.GetStatistics()
        self.assertEqual((statistics.running, statistics.succeeded), (0, 3))
        self.assertFalse(pool.HasRunningTasks())
        Other(pool.Quiesce).result()

    def test_abandonedToQuiet(self) -> None:
        """
        Whoever waits for quiet goes on when the last busy worker is abandoned.
        """
        pool, gate = self.busyPool()
        with pool._lock:
            (worker,) = pool._workers
        pool._BeginTerminate()
        pool.Resize(0)
        pool._OpenFence(self.seen.append)
        self.assertEqual(pool._AbandonWorkers(), [])
        self.assertEqual(self.seen, [None])
        gate.open()
        Other(worker.join).result()

    def deferring(self, pool: WatchedPool) -> tuple[Gate, Recorder]:
        """
        Run a task that defers itself when the gate is opened.
        """
        gate = self.makeGate()
        completion = Recorder()

        def run(worker: BaseWorker) -> None:
            gate()
            raise DeferTask

        pool.AddTask((run,), task_id="t", completion=completion)
        gate.reached()
        return gate, completion

    def test_deferAfterTermination(self) -> None:
        """
        A task that defers itself after a termination ends as unstarted.
        """
        pool = self.makePool(1)
        gate, completion = self.deferring(pool)
        terminate = Other(pool.TerminateWorkers)
        pool.waitUntil(lambda: pool._terminated)
        gate.open()
        terminate.result()
        self.assertEqual(completion.events, [("begin", 1), ("fail", TaskNotStarted)])
        self.assertEqual(pool.GetStatistics().unstarted, 1)

    def test_deferAfterCancellation(self) -> None:
        """
        A task that defers itself after it was cancelled ends as cancelled; its
        listeners are called on the thread that cancels.
        """
        pool = self.makePool(1)
        gate, completion = self.deferring(pool)
        (worker,) = pool._workers
        worker.CallWhenCancelled(lambda: self.seen.append(threading.current_thread()))
        pool.InterruptTask("t")
        self.assertEqual(self.seen, [threading.current_thread()])
        self.assertTrue(worker.IsCancelled())
        gate.open()
        Other(pool.Quiesce).result()
        self.assertEqual(completion.events, [("begin", 1), ("fail", TaskCancelled)])

    def twins(self) -> tuple[WatchedPool, Gate, Gate]:
        """
        Make a pool in which two tasks called C{busy} run.
        """
        pool, gate = self.busyPool(2)
        second = self.makeGate()
        pool.AddTask((second,), task_id="busy")
        second.reached()
        return pool, gate, second

    def test_twoOfOneIDRun(self) -> None:
        """
        Two tasks of one ID may run; when the earlier ends, the later one keeps the
        ID.
        """
        pool, gate, second = self.twins()
        gate.open()
        pool.waitUntilIdle(1)
        pool.InterruptTask("busy")
        second.open()
        Other(pool.Quiesce).result()
        self.assertRaises(NoSuchTask, pool.InterruptTask, "busy")

    def test_laterOfOneIDEndsFirst(self) -> None:
        """
        When the later of two tasks of one ID ends, the earlier one has the ID again,
        and it is free when both have ended.
        """
        pool, gate, second = self.twins()
        second.open()
        pool.waitUntilIdle(1)
        pool.InterruptTask("busy")
        gate.open()
        Other(pool.Quiesce).result()
        self.assertRaises(NoSuchTask, pool.InterruptTask, "busy")
        self.assertEqual((pool._running_ids, pool._older_twins), ({}, []))

    def test_twinsOfAnID(self) -> None:
        """
        IDs are compared as in a dictionary: never with one of another hash.
        """

        class ID:
            def __init__(self, number: int) -> None:
                self.number = number

            def __hash__(self) -> int:
                return self.number

            def __eq__(self, other: object) -> bool:
                assert isinstance(other, ID), "unlike IDs were compared"
                return self.number == other.number

        pool, gate = self.busyPool(3)
        for _ in range(2):
            second = self.makeGate()
            pool.AddTask((second,), task_id=ID(1))
            second.reached()
        gate.open()
        pool.waitUntilIdle(1)
        pool.InterruptTask(ID(1))
        self.assertEqual(pool.GetStatistics().workers, 3)

    def test_pausedDeferral(self) -> None:
        """
        A deferred task of a paused pool waits, from then on, and can be moved and
        cancelled.
        """
        pool = self.makePool(1)
        now = [10.0]
        pool._clock = lambda: now[0]
        gate, completion = self.deferring(pool)
        pool.SetActive(False)
        now[0] = 20.0
        gate.open()
        pool.waitUntilIdle(1)
        now[0] = 25.0
        self.assertEqual(pool.GetStatistics().waited, 5)
        self.assertRaises(NoSuchTask, pool.InterruptTask, "t")
        pool.ChangeTaskPriority("t", 5)
        self.assertEqual(pool._taskdata["t"][:2], [5, 1])
        pool.CancelTask("t")
        self.assertEqual(
            completion.events, [("begin", 1), ("deferred", 0, 1), ("fail", TaskCancelled)]
        )

    def test_pausedByATask(self) -> None:
        """
        After a task has paused the pool none is started any more.
        """
        pool = self.makePool(1)
        pool.SetActive(False)
        pool.AddTask((lambda worker: pool.SetActive(False),))
        pool.AddTask((self.see, 1))
        pool.SetActive(True)
        pool.waitUntilIdle(1)
        self.assertEqual((self.seen, pool.GetStatistics().queued), ([], 1))
