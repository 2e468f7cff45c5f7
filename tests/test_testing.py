"""
Tests for L{ganeti_pool.testing}: the pool that steps, and the reactor's side by
hand.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, FirstError
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.deferred import DeferredWorkerPool
from ganeti_pool.errors import PoolError, PoolTerminated, WouldWaitForItself
from ganeti_pool.testing import FakeReactor, SteppingPool, makeSteppingPool
from ganeti_pool.workerpool import BaseWorker, DeferTask, WorkerPool

from .poolcontract import FunctionWorker, PoolContract


class SteppingPoolContractTests(PoolContract, SynchronousTestCase):
    """
    L{SteppingPool} does what every pool does.
    """

    def makePool(
        self, workers: int, workerClass: Callable[[Any, str], object] = FunctionWorker
    ) -> WorkerPool:
        return SteppingPool("pool", workers, workerClass)

    def settle(self, pool: WorkerPool) -> None:
        assert isinstance(pool, SteppingPool)
        pool.runAll()


class SteppingPoolTests(SynchronousTestCase):
    """
    Tests for what is particular to L{SteppingPool}.
    """

    def setUp(self) -> None:
        self.threads = threading.enumerate()
        self.seen: list[object] = []

    def tearDown(self) -> None:
        self.assertEqual(threading.enumerate(), self.threads)

    def makePool(self, workers: int = 1) -> SteppingPool:
        """
        Make a pool whose tasks are functions that get the worker.
        """
        return SteppingPool("pool", workers, FunctionWorker)

    def see(self, worker: BaseWorker, value: object) -> None:
        """
        A task that notes a value.
        """
        self.seen.append(value)

    def test_step(self) -> None:
        """
        A step runs one task, the next one, and says so; without one it does
        nothing.
        """
        pool = self.makePool(2)
        self.assertFalse(pool.step())
        pool.AddTask((self.see, "b"), 1)
        pool.AddTask((self.see, "a"), 0)
        self.assertEqual(self.seen, [])
        self.assertTrue(pool.step())
        self.assertEqual(self.seen, ["a"])
        self.assertTrue(pool.step())
        self.assertFalse(pool.step())
        self.assertEqual(self.seen, ["a", "b"])

    def test_runAll(self) -> None:
        """
        C{runAll} makes steps until there is nothing left, and says how many.
        """
        pool = self.makePool(3)
        pool.AddManyTasks([(self.see, n) for n in range(7)])
        self.assertEqual(pool.runAll(), 7)
        self.assertEqual(self.seen, list(range(7)))
        self.assertEqual(pool.runAll(), 0)

    def test_idle(self) -> None:
        """
        After a step the worker waits, unless another task is queued.
        """
        pool = self.makePool(2)
        pool.runAll()
        pool.AddManyTasks([(self.see, n) for n in range(2)])
        self.assertTrue(pool.step())
        self.assertEqual(pool.GetStatistics().running, 0)
        self.assertTrue(pool.step())
        self.assertFalse(pool.step())
        self.assertEqual(pool.GetStatistics().idle, 2)

    def test_paused(self) -> None:
        """
        A pool that is paused takes no step, from wherever it was paused.
        """
        pool = self.makePool()

        def pause(worker: BaseWorker) -> None:
            pool.SetActive(False)

        pool.AddTask((pause,))
        pool.AddTask((self.see, 1))
        self.assertEqual(pool.runAll(), 1)
        self.assertFalse(pool.step())
        pool.SetActive(True)
        self.assertEqual(pool.runAll(), 1)

    def test_nested(self) -> None:
        """
        A task that makes a step has another worker run another task meanwhile;
        with no other worker there is none.
        """
        pool = self.makePool(2)
        busy: list[int] = []

        def outer(worker: BaseWorker) -> None:
            self.assertTrue(pool.step())
            self.assertIs(pool._OnOwnWorker(), worker)

        def inner(worker: BaseWorker) -> None:
            busy.append(pool.GetStatistics().running)
            self.assertIs(pool._OnOwnWorker(), worker)
            pool.AddTask((self.see, "later"))
            self.assertFalse(pool.step())

        pool.AddTask((outer,))
        pool.AddTask((inner,))
        self.assertEqual(pool.runAll(), 2)
        self.assertEqual((busy, self.seen), ([2], ["later"]))
        self.assertIs(pool._OnOwnWorker(), None)

    def test_deferral(self) -> None:
        """
        A deferred task is run again by a later step.
        """
        pool = self.makePool()

        def task(worker: BaseWorker) -> None:
            self.seen.append("run")
            if len(self.seen) < 2:
                raise DeferTask

        pool.AddTask((task,))
        self.assertTrue(pool.step())
        self.assertEqual(self.seen, ["run"])
        self.assertTrue(pool.step())
        self.assertFalse(pool.step())

    def test_quiesce(self) -> None:
        """
        C{Quiesce} makes the steps that threads would make.
        """
        pool = self.makePool(2)
        pool.AddManyTasks([(self.see, n) for n in range(3)])
        pool.Quiesce()
        self.assertEqual(self.seen, [0, 1, 2])

    def test_quiesceStuck(self) -> None:
        """
        Where threads would wait for ever, C{Quiesce} raises, and leaves no fence.
        """
        pool = self.makePool()
        pool.SetActive(False)
        pool.AddTask((self.see, 1))
        error = self.assertRaises(PoolError, pool.Quiesce)
        self.assertIn("Quiesce on pool 'pool' would wait", str(error))
        self.assertEqual(pool._fences, [])
        pool.SetActive(True)
        pool.Quiesce()
        self.assertEqual(self.seen, [1])

    def test_quiesceTerminated(self) -> None:
        """
        C{Quiesce} on a terminated pool that has tasks raises L{PoolTerminated}.
        """
        pool = self.makePool()
        pool.AddTask((self.see, 1))
        pool.TerminateWorkers()
        self.assertRaises(PoolTerminated, pool.Quiesce)

    def test_addWhileQuiescing(self) -> None:
        """
        C{AddTask} during a quiesce makes steps until it is over.
        """
        pool = self.makePool()
        pool.AddTask((self.see, 1))
        pool._OpenFence(lambda failure: self.seen.append("quiet"))
        pool.AddTask((self.see, 2))
        self.assertEqual(self.seen, [1, "quiet"])
        pool.runAll()
        self.assertEqual(self.seen, [1, "quiet", 2])

    def test_addWhileQuiescingStuck(self) -> None:
        """
        C{AddTask} raises where a thread would wait for ever, and adds nothing; but
        a task may add.
        """
        pool = self.makePool()

        def add(worker: BaseWorker) -> None:
            pool.AddTask((self.see, "let in"))

        pool.SetActive(False)
        pool.AddTask((add,))
        pool._OpenFence(lambda failure: self.seen.append("quiet"))
        error = self.assertRaises(PoolError, pool.AddTask, (self.see, 2))
        self.assertIn("AddTask on pool 'pool' would wait", str(error))
        self.assertEqual(pool.GetStatistics().queued, 1)
        pool.SetActive(True)
        pool.runAll()
        self.assertEqual(self.seen, ["let in", "quiet"])

    def test_ownWorker(self) -> None:
        """
        A task cannot wait for its own end.
        """
        pool = self.makePool(2)

        def task(worker: BaseWorker) -> None:
            self.assertRaises(WouldWaitForItself, pool.Quiesce)
            self.assertRaises(WouldWaitForItself, pool.TerminateWorkers)
            self.assertRaises(WouldWaitForItself, pool.Resize, 1)
            pool.Resize(3)
            self.seen.append("done")

        pool.AddTask((task,))
        pool.runAll()
        self.assertEqual(self.seen, ["done"])
        self.assertEqual(pool.GetStatistics().workers, 3)

    def test_resize(self) -> None:
        """
        Workers that look for a task, wait or run one leave when there are too many.
        """
        pool = self.makePool(3)
        pool.AddTask((self.see, 1))
        pool.step()
        pool.Resize(1)
        self.assertEqual(pool.GetStatistics().workers, 1)
        self.assertEqual(pool._termworkers, [])
        pool.AddTask((self.see, 2))
        pool.AddTask((self.see, 3))
        pool.runAll()
        pool.Resize(0)
        pool.AddTask((self.see, 4))
        self.assertFalse(pool.step())
        pool.Resize(2)
        self.assertEqual(pool.runAll(), 1)
        self.assertEqual(self.seen, [1, 2, 3, 4])

    def test_terminateWhileRunning(self) -> None:
        """
        A worker that is told to end while it runs a task leaves after it.
        """
        pool = self.makePool()
        left: list[str] = []

        def task(worker: BaseWorker) -> None:
            pool._BeginTerminate(lambda: left.append("left"))
            self.assertTrue(worker.ShouldTerminate())
            self.assertEqual(left, [])

        pool.AddTask((task,))
        pool.AddTask((self.see, "unstarted"))
        self.assertTrue(pool.step())
        self.assertEqual((left, self.seen), (["left"], []))
        self.assertEqual((pool._workers, pool._termworkers), ([], []))
        self.assertFalse(pool.step())

    def test_hookSaysEnd(self) -> None:
        """
        A worker that the pool's hook lets end leaves in a step, which then looks
        for another one.
        """
        ending: list[str] = []

        class Pool(SteppingPool):
            def _ShouldWorkerTerminateUnlocked(self, worker: BaseWorker) -> bool:
                return worker._worker_id in ending

        pool = Pool("pool", 2, FunctionWorker)
        ending.append("pool1")
        pool.AddTask((self.see, 1))
        self.assertTrue(pool.step())
        self.assertEqual(self.seen, [1])
        self.assertEqual([worker._worker_id for worker in pool._workers], ["pool2"])

    def test_wokenTwice(self) -> None:
        """
        A worker that is about to look for a task and is told to end leaves once.
        """
        pool = self.makePool(2)
        pool.runAll()
        pool.SetActive(False)
        pool.AddTask((self.see, 1))
        pool.SetActive(True)
        pool.Resize(0)
        self.assertEqual((pool._ready, pool._workers, pool._idle), ([], [], []))


class MakeSteppingPoolTests(SynchronousTestCase):
    """
    Tests for L{makeSteppingPool}.
    """

    def test_byHand(self) -> None:
        """
        A step runs a task, and a turn of the reactor fires its Deferred.
        """
        pool, stepping, reactor = makeSteppingPool()
        self.assertIsInstance(pool, DeferredWorkerPool)
        self.assertIs(pool.pool, stepping)
        result = pool.addTask((abs, -1))
        reactor.run()
        self.assertNoResult(result)
        self.assertTrue(stepping.step())
        self.assertNoResult(result)
        reactor.run()
        self.assertEqual(self.successResultOf(result), 1)

    def test_arguments(self) -> None:
        """
        The number of workers, their class, the name and the reactor are what is
        given.
        """
        given = FakeReactor(running=False)
        pool, stepping, reactor = makeSteppingPool(2, FunctionWorker, "name", given)
        self.assertIs(reactor, given)
        self.assertEqual((pool.name, stepping.GetStatistics().workers), ("name", 0))
        reactor.start()
        self.assertEqual(stepping.GetStatistics().workers, 2)
        result = pool.addTask((lambda worker: worker.name,))
        stepping.runAll()
        reactor.run()
        self.assertEqual(self.successResultOf(result), "name1")


class FakeReactorTests(SynchronousTestCase):
    """
    Tests for L{FakeReactor}.
    """

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.seen: list[object] = []

    def test_turn(self) -> None:
        """
        A turn makes the calls that wait, with their arguments, and not those that
        they ask for.
        """
        self.reactor.callFromThread(self.reactor.callFromThread, self.seen.append, 2)
        self.reactor.callFromThread(lambda *, value: self.seen.append(value), value=1)
        self.assertEqual(self.seen, [])
        self.assertTrue(self.reactor.turn())
        self.assertEqual(self.seen, [1])
        self.assertTrue(self.reactor.turn())
        self.assertEqual(self.seen, [1, 2])
        self.assertFalse(self.reactor.turn())

    def test_run(self) -> None:
        """
        C{run} makes turns until no call waits.
        """
        self.reactor.callFromThread(self.reactor.callFromThread, self.seen.append, 1)
        self.reactor.run()
        self.assertEqual(self.seen, [1])

    def test_clock(self) -> None:
        """
        Its time is the test's.
        """
        self.reactor.callLater(5, self.seen.append, "late")
        self.reactor.advance(4)
        self.assertEqual(self.seen, [])
        self.reactor.advance(1)
        self.assertEqual(self.seen, ["late"])

    def test_callWhenRunning(self) -> None:
        """
        What is to happen when it runs happens at once if it does.
        """
        self.assertTrue(self.reactor.running)
        trigger = self.reactor.callWhenRunning(lambda *, value: self.seen.append(value), value=1)
        self.assertIs(trigger, None)
        self.assertEqual(self.seen, [1])

    def test_start(self) -> None:
        """
        What is to happen when it runs waits for its start, and happens once; what
        was taken back does not.
        """
        reactor = FakeReactor(running=False)
        self.assertFalse(reactor.running)
        reactor.callWhenRunning(self.seen.append, 1)
        trigger: Any = reactor.callWhenRunning(self.seen.append, 2)
        reactor.addSystemEventTrigger("before", "shutdown", self.seen.append, 3)
        reactor.removeSystemEventTrigger(trigger)
        self.assertRaises(ValueError, reactor.removeSystemEventTrigger, trigger)
        self.assertEqual(self.seen, [])
        reactor.start()
        reactor.start()
        self.assertTrue(reactor.running)
        self.assertEqual(self.seen, [1])

    def test_stop(self) -> None:
        """
        A stop waits for what comes before the shutdown, and then the rest comes,
        phase by phase.
        """
        wait: Deferred[None] = Deferred()
        for phase in ("after", "during", "before"):
            self.reactor.addSystemEventTrigger(phase, "shutdown", self.seen.append, phase)
        self.reactor.addSystemEventTrigger("before", "shutdown", lambda: wait)
        stopped = self.reactor.stop()
        self.assertEqual(self.seen, ["before"])
        self.assertTrue(self.reactor.running)
        self.assertNoResult(stopped)
        wait.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.seen, ["before", "during", "after"])
        self.assertFalse(self.reactor.running)

    def test_stopFails(self) -> None:
        """
        What a trigger raises, the test sees.
        """
        self.reactor.addSystemEventTrigger("before", "shutdown", lambda: 1 // 0)
        error = self.failureResultOf(self.reactor.stop(), FirstError)
        self.assertIsInstance(error.value.subFailure.value, ZeroDivisionError)
