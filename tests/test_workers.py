"""
Tests for L{ganeti_pool.workers}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.errors import UnusableResult
from ganeti_pool.interfaces import IWorker
from ganeti_pool.testing import makeSteppingPool
from ganeti_pool.workers import CallableWorker


class CallableWorkerTests(SynchronousTestCase):
    """
    Tests for L{CallableWorker}.
    """

    def test_calls(self) -> None:
        """
        A task is a function and its arguments; its result is the task's.
        """
        pool, stepping, reactor = makeSteppingPool(workerClass=CallableWorker)
        result = pool.addTask((divmod, 17, 5))
        failed = pool.addTask((divmod, 17, 0))
        stepping.runAll()
        reactor.run()
        self.assertEqual(self.successResultOf(result), (3, 2))
        self.failureResultOf(failed, ZeroDivisionError)

    def test_coroutine(self) -> None:
        """
        A function that makes a coroutine is a failure which says so.
        """
        pool, stepping, reactor = makeSteppingPool(workerClass=CallableWorker)

        async def f() -> None:
            raise AssertionError  # pragma: no cover: nothing runs it

        result = pool.addTask((f,))
        stepping.runAll()
        reactor.run()
        self.assertIn("coroutine", str(self.failureResultOf(result, UnusableResult).value))

    def test_isAWorker(self) -> None:
        """
        It implements the contract of workers.
        """
        self.assertTrue(IWorker.implementedBy(CallableWorker))
