"""
Tests for the number of workers, and for threads that take their time to end.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.deferred import DeferredWorkerPool
from ganeti_pool.errors import (
    PoolTerminated,
    TaskAbandoned,
    WorkersNotStarted,
)
from ganeti_pool.testing import FakeReactor, makeSteppingPool
from ganeti_pool.workerpool import BaseWorker
from ganeti_pool.workers import CallableWorker

from ..poolcontract import FunctionWorker
from ..workerpool.threadcase import PATIENCE, Gate
from .steppingcase import SteppingCase


class ResizeTests(SteppingCase):
    """
    Tests for C{resize}.
    """

    def test_grow(self) -> None:
        """
        A pool grows at once, and its Deferred fires in a turn.
        """
        resized = self.pool.resize(5)
        self.assertEqual(self.pool.statistics().workers, 5)
        self.assertNoResult(resized)
        self.settle()
        self.assertIs(self.successResultOf(resized), None)

    def test_slowThread(self) -> None:
        """
        A thread that has left, and is gone a moment later than was looked for,
        makes no failure of a resize that a termination overtakes.
        """
        told: list[object] = []
        worker = self.pool.pool._workers[-1]
        looks = iter([True])
        worker.is_alive = lambda: next(looks, False)  # type: ignore[method-assign]
        self.pool.resize(0).addCallbacks(lambda _: told.append("resized"), told.append)
        self.pool.terminateWorkers().addCallback(lambda _: told.append("terminated"))
        self.settle()
        self.assertEqual(told, ["resized", "terminated"])

    def test_none(self) -> None:
        """
        With no worker the queue waits.
        """
        resized = self.pool.resize(0)
        result = self.pool.addTask((self.see, 1))
        self.settle()
        self.successResultOf(resized)
        self.assertNoResult(result)
        self.pool.resize(1)
        self.settle()
        self.assertEqual(self.successResultOf(result), 1)

    def test_busy(self) -> None:
        """
        The Deferred waits for a busy worker that is to leave.
        """

        def task(worker: BaseWorker) -> None:
            self.note(self.pool.resize(0), "resized")
            self.reactor.run()
            self.seen.append("ran")

        self.pool.addTask((task,))
        self.settle()
        self.assertEqual(self.seen, ["ran", "resized"])

    def test_cancelled(self) -> None:
        """
        The cancellation of its Deferred stops the wait and not the change.
        """
        resized = self.pool.resize(1)
        resized.cancel()
        self.failureResultOf(resized, CancelledError)
        self.settle()
        self.assertEqual(self.pool.statistics().workers, 1)

    def test_workersNotStarted(self) -> None:
        """
        The Deferred fails when a worker cannot be made; those that were, stay.
        """

        def make(pool: Any, workerID: str) -> BaseWorker:
            if workerID == "test3":
                raise OSError("no more")
            return FunctionWorker(pool, workerID)

        pool, _, reactor = makeSteppingPool(1, make)
        error = self.failureResultOf(pool.resize(4), WorkersNotStarted).value
        reactor.run()
        self.assertEqual((error.started, error.wanted), (1, 3))
        self.assertEqual(pool.statistics().workers, 2)
        self.assertEqual(pool._resizes, {})

    def test_terminated(self) -> None:
        """
        A pool that is stopping or has stopped is not resized.
        """
        self.pool.terminateWorkers()
        self.failureResultOf(self.pool.resize(3), PoolTerminated)
        self.settle()
        error = self.failureResultOf(self.pool.resize(3), PoolTerminated).value
        self.assertIn("has stopped", str(error))
        self.pool.start()
        self.assertEqual(self.pool.statistics().workers, 2)

    def test_abandoned(self) -> None:
        """
        When a worker that is to leave is not waited for any more, since the pool
        stops and its deadline passes, the Deferred fails before that of the
        termination.
        """

        def task(worker: BaseWorker) -> None:
            self.note(self.pool.resize(0), "resized")
            self.note(self.pool.terminateWorkers(deadline=1), "terminated")
            self.reactor.advance(1)
            self.reactor.run()

        self.note(self.pool.addTask((task,)), "task")
        self.settle()
        self.assertEqual(
            self.seen,
            [("task", TaskAbandoned), ("resized", PoolTerminated), "terminated"],
        )

    def test_cancelledThenAbandoned(self) -> None:
        """
        A Deferred that was cancelled is left alone then.
        """

        def task(worker: BaseWorker) -> None:
            resized = self.pool.resize(0)
            resized.cancel()
            self.note(resized, "resized")
            self.note(self.pool.terminateWorkers(deadline=1), "terminated")
            self.reactor.advance(1)
            self.reactor.run()

        self.note(self.pool.addTask((task,)), "task")
        self.settle()
        self.assertEqual(
            self.seen,
            [("resized", CancelledError), ("task", TaskAbandoned), "terminated"],
        )


class LingeringWorker(CallableWorker):
    """
    A worker whose thread goes on for a while when it has left the pool.
    """

    def __init__(self, pool: Any, workerID: str) -> None:
        super().__init__(pool, workerID)
        self.gate = Gate()

    def run(self) -> None:
        super().run()
        self.gate()

    def end(self) -> None:
        """
        Let the thread end.
        """
        self.gate.open()
        self.join(PATIENCE)


class LingeringThreadTests(SynchronousTestCase):
    """
    Tests with threads that have left the pool and still live.
    """

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.pool = DeferredWorkerPool(self.reactor, "pool", 2, LingeringWorker)
        self.workers: list[Any] = [*self.pool.pool._workers]
        for worker in self.workers:
            self.addCleanup(worker.end)
        self.addCleanup(self.pool.terminateWorkers)

    def workerThatLeaves(self) -> LingeringWorker:
        """
        Shrink the pool by one, and see whom that concerns.
        """
        self.resized = self.pool.resize(1)
        (worker,) = (one for one in self.workers if one not in self.pool.pool._workers)
        worker.gate.reached()
        assert isinstance(worker, LingeringWorker)
        return worker

    def turns(self) -> None:
        """
        Make a few turns of the reactor.
        """
        for _ in range(3):
            self.reactor.turn()

    def test_resize(self) -> None:
        """
        The Deferred of C{resize} waits for the end of the thread.
        """
        leaving = self.workerThatLeaves()
        self.turns()
        self.assertNoResult(self.resized)
        leaving.end()
        self.turns()
        self.successResultOf(self.resized)

    def test_terminate(self) -> None:
        """
        The Deferred of C{terminateWorkers} waits for the end of every thread.
        """
        done = self.pool.terminateWorkers()
        for worker in self.workers:
            worker.gate.reached()
            self.turns()
            self.assertNoResult(done)
            worker.end()
        self.turns()
        self.successResultOf(done)

    def test_terminateAfterResize(self) -> None:
        """
        It waits for those that left before, in a C{resize}, too, whose Deferred
        comes first.
        """
        leaving = self.workerThatLeaves()
        done = self.pool.terminateWorkers()
        done.addCallback(lambda _: self.successResultOf(self.resized))
        for worker in self.workers:
            if worker is not leaving:
                worker.end()
        self.turns()
        self.assertNoResult(done)
        leaving.end()
        self.turns()
        self.successResultOf(done)
