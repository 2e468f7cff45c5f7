"""
A worker and the reactor thread at once: one is stopped at a point and seen there,
and then the other acts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from threading import current_thread
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.deferred import DeferredWorkerPool, deferToPool
from ganeti_pool.errors import TaskNotStarted, WrongThread
from ganeti_pool.interfaces import IDeferredWorkerPool
from ganeti_pool.testing import FakeReactor
from ganeti_pool.workerpool import BaseWorker

from ..poolcontract import FunctionWorker
from ..workerpool.test_interleavings import WatchedLock
from ..workerpool.threadcase import PATIENCE, Gate, Other


class StoppingReactor(FakeReactor):
    """
    A reactor that stops a worker which has put an outcome, before that outcome's
    completion returns.

    @ivar gate: where the worker is stopped.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()

    def callFromThread(self, f: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """
        Take the call, and stop if this is a worker's.
        """
        super().callFromThread(f, *args, **kwargs)
        if isinstance(current_thread(), BaseWorker):
            self.gate()


class InterleavingTests(SynchronousTestCase):
    """
    Tests with one worker, whose tasks are functions that get it, and a reactor whose
    turns the test makes.
    """

    def setUp(self) -> None:
        self.seen: list[object] = []
        self.reactor = StoppingReactor()
        self.pool = DeferredWorkerPool(self.reactor, "pool", 1, FunctionWorker)
        self.addCleanup(self._end)

    def _end(self) -> None:
        """
        Have the thread end.
        """
        workers = [*self.pool.pool._workers, *self.pool.pool._termworkers]
        self.reactor.gate.open()
        self.pool.terminateWorkers()
        for worker in workers:
            worker.join(PATIENCE)
            self.assertFalse(worker.is_alive())
        self.reactor.run()
        self.assertIn("has stopped", repr(self.pool))

    def see(self, worker: BaseWorker, value: object) -> object:
        """
        A task that notes and returns a value.
        """
        self.seen.append(value)
        return value

    def test_cancelledAfterTheOutcome(self) -> None:
        """
        A Deferred that is cancelled when its task's result is on the way fails at
        once, and the result is dropped.
        """
        result = self.pool.addTask((self.see, 1))
        self.reactor.gate.reached()
        self.assertNoResult(result)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.reactor.gate.open()
        self.reactor.run()
        self.assertEqual((self.seen, self.pool.statistics().succeeded), ([1], 1))

    def test_outcomeWhileCancelling(self) -> None:
        """
        A task whose result comes while the cancellation of its Deferred is being
        told fails with that cancellation, and the result is dropped.
        """
        running = Gate()

        def told() -> None:
            running.open()
            self.reactor.gate.reached()
            self.seen.append("ended")

        def task(worker: BaseWorker) -> str:
            worker.CallWhenCancelled(told)
            running()
            return "late"

        result = self.pool.addTask((task,), taskID="t")
        running.reached()
        result.cancel()
        self.assertEqual(self.seen, ["ended"])
        self.failureResultOf(result, CancelledError)
        self.reactor.gate.open()
        self.reactor.run()
        self.assertEqual(self.pool.statistics().succeeded, 1)

    def test_cancelledWhileWithdrawing(self) -> None:
        """
        A Deferred that is cancelled when another thread has withdrawn its task, and
        has not told it yet, leaves a new task of the same ID alone.
        """
        self.pool.setActive(False)
        result = self.pool.addTask((self.see, 1), taskID="t")
        self.pool.changeTaskPriority("t", 5)
        gate = Gate()
        self.addCleanup(gate.open)
        reactorThread = current_thread()

        def released() -> None:
            if current_thread() is not reactorThread:
                gate()

        WatchedLock(self.pool.pool).released = released
        withdraw = Other(self.pool.pool.CancelTask, "t")
        gate.reached()
        self.assertEqual(self.pool.statistics().queued, 0)
        another = self.pool.addTask((self.see, 2), taskID="t")
        result.cancel()
        self.failureResultOf(result, CancelledError)
        gate.open()
        withdraw.result()
        self.reactor.gate.open()
        quiet = self.quiesce()
        self.pool.setActive(True)
        quiet.reached()
        self.reactor.run()
        self.assertEqual(self.successResultOf(another), 2)

    def test_readdedWhileTelling(self) -> None:
        """
        A Deferred may fire, and its callback add a task with the same ID, while the
        worker still tells the outcome.
        """
        again: list[Deferred[Any]] = []

        def add(result: object) -> None:
            again.append(self.pool.addTask((self.see, 2), taskID="t"))

        self.pool.addTask((self.see, 1), taskID="t").addCallback(add)
        self.reactor.gate.reached()
        self.reactor.run()
        self.assertTrue(self.pool.hasRunningTasks())
        self.assertEqual((self.seen, len(again)), ([1], 1))
        quiet = self.quiesce()
        self.reactor.gate.open()
        quiet.reached()
        self.reactor.run()
        self.assertEqual(self.successResultOf(again[0]), 2)

    def quiesce(self) -> Gate:
        """
        Have a gate reached, and passed, when the pool below is quiet.
        """
        gate = Gate()
        gate.open()
        self.pool.pool._OpenFence(gate)
        return gate

    def test_shutdownWhileDraining(self) -> None:
        """
        A drain that waits for a running task when the reactor is told to stop goes
        on: all that was queued runs, and the reactor stops after the last Deferred.
        """
        running = Gate()
        self.addCleanup(running.open)
        results = [self.pool.addTask((running,))]
        running.reached()
        (worker,) = self.pool.pool._workers
        results += self.pool.addManyTasks([(self.see, n) for n in range(3)])
        results.append(self.pool.terminateWorkers(drain=True))
        stopped = self.reactor.stop()
        self.reactor.run()
        self.assertIn("is draining", repr(self.pool))
        self.assertNoResult(stopped)
        stopped.addCallback(lambda _: [self.successResultOf(result) for result in results])
        quiet = self.quiesce()
        self.reactor.gate.open()
        running.open()
        quiet.reached()
        self.reactor.run()
        worker.join(PATIENCE)
        self.reactor.run()
        self.assertEqual(self.seen, [0, 1, 2])
        self.assertEqual(self.successResultOf(stopped), [None, 0, 1, 2, None])

    def test_shutdownWhileDelivering(self) -> None:
        """
        A reactor that is told to stop while an outcome is on the way waits for it,
        and for the worker that is still at it.
        """
        first = self.pool.addTask((self.see, 1))
        self.reactor.gate.reached()
        second = self.pool.addTask((self.see, 2))
        stopped = self.reactor.stop()
        stopped.addCallback(lambda _: self.successResultOf(first))
        stopped.addCallback(self.seen.append)
        self.reactor.run()
        self.assertNoResult(stopped)
        self.failureResultOf(second, TaskNotStarted)
        (worker,) = self.pool.pool._termworkers
        self.reactor.gate.open()
        worker.join(PATIENCE)
        self.reactor.run()
        self.successResultOf(stopped)
        self.assertEqual(self.seen, [1, 1])

    def test_putWhileADrainEnds(self) -> None:
        """
        An outcome that is put when the reactor thread has just found that there is
        none left is delivered in another turn.
        """
        delivery = self.pool._delivery
        lock = WatchedLock(delivery)

        def put() -> None:
            if self.seen == ["first"]:
                self.seen.append("at the end")
                Other(delivery.putCall, partial(self.seen.append, "second")).result()

        delivery.putCall(partial(self.seen.append, "first"))
        lock.released = put
        self.reactor.turn()
        self.assertEqual(self.seen, ["first", "at the end"])
        self.reactor.turn()
        self.assertEqual(self.seen, ["first", "at the end", "second"])

    def test_everyCallFromATask(self) -> None:
        """
        A running task may call what is any thread's; all else is the reactor
        thread's, and refused.
        """
        pool = self.pool
        refused: dict[str, Callable[[], object]] = {
            "start": pool.start,
            "shutdownPolicy": pool.shutdownPolicy,
            "addTask": lambda: pool.addTask((self.see, 0)),
            "addManyTasks": lambda: pool.addManyTasks([(self.see, 0)]),
            "changeTaskPriority": lambda: pool.changeTaskPriority("t", 1),
            "cancelTask": lambda: pool.cancelTask("t"),
            "setActive": lambda: pool.setActive(False),
            "hasRunningTasks": pool.hasRunningTasks,
            "quiesce": pool.quiesce,
            "resize": lambda: pool.resize(2),
            "terminateWorkers": pool.terminateWorkers,
            "deferToPool": lambda: deferToPool(pool.atPriority(1), abs, 1),
        }

        made = threading.Event()

        def tell(success: bool, value: object) -> None:
            self.seen.append((success, value))

        allowed: dict[str, Callable[[], object]] = {
            "statistics": lambda: self.assertEqual(pool.statistics().running, 1),
            "callInThread": partial(pool.callInThread, self.seen.append, "called"),
            "callInThreadWithCallback": partial(pool.callInThreadWithCallback, tell, abs, -1),
            "atPriority": lambda: pool.atPriority(-1).callInThread(self.seen.append, "first"),
        }
        self.assertEqual(
            {*refused, *allowed, "pool"}, {*IDeferredWorkerPool.names(all=True), "deferToPool"}
        )

        def task(worker: BaseWorker) -> int:
            for name, call in refused.items():
                self.assertEqual(self.assertRaises(WrongThread, call).call, name)
            for call in allowed.values():
                call()
            # What it adds once the fence stands would be held behind that.
            made.set()
            return pool.statistics().added

        self.reactor.gate.open()
        result = self.pool.addTask((task,), taskID="t")
        self.assertTrue(made.wait(PATIENCE))
        self.quiesce().reached()
        self.reactor.run()
        self.assertEqual(self.successResultOf(result), 4)
        self.assertEqual(self.seen, ["first", "called", (True, 1)])
