"""
Tests for the start of a pool.
"""

from __future__ import annotations

import threading
from typing import Any

from twisted.internet.defer import CancelledError

from ganeti_pool.deferred import DeferredWorkerPool
from ganeti_pool.errors import (
    PoolTerminated,
    TaskNotStarted,
    WorkersNotStarted,
)
from ganeti_pool.testing import FakeReactor, SteppingPool, makeSteppingPool
from ganeti_pool.workerpool import BaseWorker

from ..poolcontract import FunctionWorker
from ..workerpool.threadcase import PATIENCE, Other
from .steppingcase import SteppingCase


class StartTests(SteppingCase):
    """
    Tests for the start of a pool.
    """

    def setUp(self) -> None:
        super().setUp()
        self.reactor = FakeReactor(running=False)
        self.pool, self.stepping, _ = makeSteppingPool(2, FunctionWorker, reactor=self.reactor)

    def test_beforeTheReactorRuns(self) -> None:
        """
        Until the reactor runs, tasks queue, and can be moved and cancelled; there
        is no worker.
        """
        results = self.pool.addManyTasks([(self.see, n) for n in range(3)], taskID=range(3))
        self.pool.changeTaskPriority(2, -1)
        results[0].cancel()
        self.failureResultOf(results[0], CancelledError)
        self.pool.callInThread(self.seen.append, "call")
        self.settle()
        statistics = self.pool.statistics()
        self.assertEqual((self.seen, statistics.workers, statistics.queued), ([], 0, 3))
        self.assertIn("has not been started yet", repr(self.pool))
        self.reactor.start()
        self.settle()
        self.assertEqual(self.seen, [2, 1, "call"])
        self.assertEqual([self.successResultOf(result) for result in results[1:]], [1, 2])

    def test_noThread(self) -> None:
        """
        The making of a pool starts no thread, so that a process may fork after it;
        the start of the reactor does.
        """
        reactor = FakeReactor(running=False)
        before = threading.enumerate()
        pool = DeferredWorkerPool(reactor, "real", 2)
        self.assertEqual(threading.enumerate(), before)
        reactor.start()
        started = [thread.name for thread in threading.enumerate() if thread not in before]
        self.assertEqual(started, ["real1", "real2"])
        threads = pool.pool._workers.copy()
        pool.terminateWorkers()
        for thread in threads:
            thread.join()

    def test_resizeBefore(self) -> None:
        """
        A size that is given before the reactor runs is the one to start with.
        """
        self.successResultOf(self.pool.resize(5))
        self.assertEqual(self.pool.statistics().workers, 0)
        self.reactor.start()
        self.assertEqual(self.pool.statistics().workers, 5)

    def test_terminateBefore(self) -> None:
        """
        A pool that is terminated before the reactor runs gives up what is queued,
        draining or not, and does not start with the reactor.
        """
        for drain in (False, True):
            self.setUp()
            result = self.pool.addTask((self.see,))
            done = self.pool.terminateWorkers(drain)
            self.assertNoResult(done)
            self.reactor.run()
            self.failureResultOf(result, TaskNotStarted)
            self.successResultOf(done)
            self.reactor.start()
            self.assertEqual(self.pool.statistics().workers, 0)
            self.assertIn("has stopped", repr(self.pool))
            self.assertEqual(self.reactor._triggers, [])

    def test_restartBefore(self) -> None:
        """
        A pool that was terminated and is started again before the reactor runs
        takes tasks, which queue.
        """
        self.pool.terminateWorkers()
        self.assertRaises(PoolTerminated, self.pool.start)
        self.reactor.run()
        self.pool.start()
        self.pool.start()
        result = self.pool.addTask((self.see, 1))
        self.pool.callInThread(self.seen.append, "call")
        self.settle()
        self.assertNoResult(result)
        self.assertEqual(self.pool.statistics().workers, 0)
        self.reactor.start()
        self.assertEqual(self.pool.statistics().workers, 2)
        self.assertEqual(len(self.reactor._triggers), 1)
        self.settle()
        self.assertEqual(self.successResultOf(result), 1)
        self.assertEqual(self.seen, [1, "call"])

    def test_anotherThread(self) -> None:
        """
        The reactor thread is the one that the reactor runs on, if that is not the
        one that made the pool.
        """
        pool: Any = Other(
            lambda: makeSteppingPool(2, FunctionWorker, reactor=self.reactor)[0]
        ).result()
        self.reactor.start()
        pool.addTask((self.see,))

    def test_startTwice(self) -> None:
        """
        The start of a pool that runs changes nothing.
        """
        self.reactor.start()
        self.pool.start()
        self.assertEqual(len(self.reactor._triggers), 1)
        self.assertEqual(self.pool.statistics().workers, 2)

    def test_workersNotStarted(self) -> None:
        """
        A pool whose workers cannot be made says so where it is started.
        """

        def make(pool: Any, workerID: str) -> BaseWorker:
            raise OSError("no more")

        makeSteppingPool(1, make, reactor=self.reactor)
        error = self.assertRaises(WorkersNotStarted, self.reactor.start)
        self.assertIn("no more", str(error))

    def test_notMade(self) -> None:
        """
        A pool whose workers cannot be made when the reactor runs is not to be had,
        and nothing of it stays.
        """
        made: list[BaseWorker] = []

        def make(pool: Any, workerID: str) -> BaseWorker:
            if made:
                raise OSError("no more")
            made.append(FunctionWorker(pool, workerID))
            return made[0]

        reactor = FakeReactor()
        self.assertRaises(WorkersNotStarted, DeferredWorkerPool, reactor, "pool", 2, make)
        made[0].join(PATIENCE)
        self.assertFalse(made[0].is_alive())
        reactor.run()
        self.assertEqual(reactor._triggers, [])


class OtherPoolTests(SteppingCase):
    """
    Tests for the edge that makes the pool below.
    """

    def test_makePool(self) -> None:
        """
        The pool below is what C{makePool} makes, at first with no worker.
        """
        made: list[tuple[object, ...]] = []

        def make(name: str, size: int, workerClass: Any) -> SteppingPool:
            made.append((name, size, workerClass))
            return SteppingPool(name, size, workerClass)

        pool = DeferredWorkerPool(self.reactor, "name", 1, FunctionWorker, makePool=make)
        self.assertEqual(made, [("name", 0, FunctionWorker)])
        self.assertEqual(pool.pool.GetStatistics().workers, 1)
