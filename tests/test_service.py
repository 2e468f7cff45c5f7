"""
Tests for L{ganeti_pool.service.WorkerPoolService}.
"""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService, MultiService
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from ganeti_pool.errors import PoolTerminated, TaskAbandoned, TaskNotStarted
from ganeti_pool.service import WorkerPoolService
from ganeti_pool.testing import FakeReactor, makeSteppingPool


class WorkerPoolServiceTests(SynchronousTestCase):
    """
    Tests for L{WorkerPoolService}.
    """

    def setUp(self) -> None:
        self.reactor = FakeReactor(running=False)
        self.pool, self.stepping, _ = makeSteppingPool(reactor=self.reactor)
        self.seen: list[Any] = []

    def settle(self) -> None:
        """
        Run all that can be run, and fire what is to be fired.
        """
        while self.stepping.runAll() or self.reactor.turn():
            pass

    def start(self, service: WorkerPoolService) -> None:
        """
        Start a service, and then the reactor, as C{twistd} does.
        """
        service.startService()
        self.assertEqual(self.pool.statistics().workers, 0)
        self.reactor.start()
        self.assertEqual(self.pool.statistics().workers, 1)

    def test_service(self) -> None:
        """
        It is a service, with a pool, that can be part of another one.
        """
        service = WorkerPoolService(self.pool)
        verifyObject(IService, service)
        self.assertIs(service.pool, self.pool)
        parent = MultiService()
        service.setServiceParent(parent)
        parent.startService()
        self.assertTrue(service.running)
        self.reactor.start()
        result = self.pool.addTask((abs, -1))
        self.settle()
        self.assertEqual(self.successResultOf(result), 1)
        done = parent.stopService()
        self.settle()
        self.successResultOf(done)
        self.assertFalse(service.running)

    def test_givesUp(self) -> None:
        """
        By default a stop gives up what is queued.
        """
        service = WorkerPoolService(self.pool)
        self.start(service)
        result = self.pool.addTask((abs, -1))
        done = service.stopService()
        self.assertNoResult(done)
        self.settle()
        self.failureResultOf(result, TaskNotStarted)
        self.successResultOf(done)

    def test_drains(self) -> None:
        """
        One that is told to drain runs what is queued.
        """
        service = WorkerPoolService(self.pool, drain=True)
        self.start(service)
        result = self.pool.addTask((abs, -1))
        done = service.stopService()
        self.settle()
        self.assertEqual(self.successResultOf(result), 1)
        self.successResultOf(done)

    def test_deadline(self) -> None:
        """
        With a deadline a stop leaves a task that runs past it to itself.
        """
        service = WorkerPoolService(self.pool, deadline=7)
        self.start(service)

        def task() -> None:
            done = service.stopService()
            self.reactor.advance(6.9)
            self.reactor.run()
            self.assertNoResult(done)
            self.reactor.advance(0.1)
            self.reactor.run()
            self.successResultOf(done)
            self.seen.append("goes on")

        result = self.pool.addTask((task,))
        self.settle()
        self.failureResultOf(result, TaskAbandoned)
        self.assertEqual(self.seen, ["goes on"])

    def test_restart(self) -> None:
        """
        It can be started again once it has stopped, and not before.
        """
        service = WorkerPoolService(self.pool)
        self.start(service)
        done = service.stopService()
        self.assertRaises(PoolTerminated, service.startService)
        self.assertFalse(service.running)
        self.settle()
        self.successResultOf(done)
        service.startService()
        self.assertTrue(service.running)
        result = self.pool.addTask((abs, -1))
        self.settle()
        self.assertEqual(self.successResultOf(result), 1)

    def test_shutdown(self) -> None:
        """
        When the reactor stops, a drain that the service was told to make is not
        spoilt by the pool's own stop, whichever of the two comes first.
        """
        for stopFirst in (True, False):
            self.setUp()
            service = WorkerPoolService(self.pool, drain=True, deadline=5)
            if stopFirst:
                self.reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
            self.start(service)
            if not stopFirst:
                self.reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
            result = self.pool.addTask((abs, -1))
            stopped = self.reactor.stop()
            self.assertEqual([call.getTime() for call in self.reactor.getDelayedCalls()], [5])
            self.assertNoResult(stopped)
            self.settle()
            self.assertEqual(self.successResultOf(result), 1)
            self.successResultOf(stopped)

    def test_neverStarted(self) -> None:
        """
        A stop before the start is a stop.
        """
        done = WorkerPoolService(self.pool).stopService()
        self.settle()
        self.successResultOf(done)
