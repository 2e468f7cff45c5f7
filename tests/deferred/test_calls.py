"""
Tests for calls, views and L{deferToPool}.
"""

from __future__ import annotations

from typing import Any

from ganeti_pool.deferred import deferToPool
from ganeti_pool.deferred._tasks import CallbackCompletion
from ganeti_pool.errors import (
    DeferTask,
    InvalidArgument,
    PoolTerminated,
)

from .steppingcase import SteppingCase


class CallTests(SteppingCase):
    """
    Tests for C{callInThread}, C{callInThreadWithCallback}, views and
    L{deferToPool}.
    """

    def tell(self, success: bool, value: Any) -> None:
        """
        A callback that notes what it is told.
        """
        self.seen.append((success, value if success else value.type))

    def test_abandonedAfterItWasTold(self) -> None:
        """
        A callback that has been told the result is not told of a deadline that
        passes meanwhile, and nothing is logged.
        """
        completion = CallbackCompletion("test", self.tell)
        completion.succeed(42)
        completion.abandon(1.0)
        self.assertEqual(self.seen, [(True, 42)])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_argumentsOfAnyName(self) -> None:
        """
        A function may have parameters that are called as those of L{deferToPool}.
        """
        result = deferToPool(self.pool, lambda pool, f: (pool, f), pool=1, f=2)
        self.settle()
        self.assertEqual(self.successResultOf(result), (1, 2))

    def test_call(self) -> None:
        """
        C{callInThread} calls a function with its arguments, in place of
        C{RunTask}; what it raises is logged.
        """
        self.pool.callInThread(lambda a, b: self.seen.append((a, b)), 1, b=2)
        self.pool.callInThread(divmod, 1, 0)
        self.settle()
        self.assertEqual(self.seen, [(1, 2)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_callback(self) -> None:
        """
        C{callInThreadWithCallback} tells the result or the failure; with C{None}
        for a callback it is C{callInThread}.
        """
        self.pool.callInThreadWithCallback(self.tell, divmod, 7, 2)
        self.pool.callInThreadWithCallback(self.tell, divmod, 7, 0)
        self.pool.callInThreadWithCallback(None, self.seen.append, "called")
        self.stepping.runAll()
        self.assertEqual(self.seen, [(True, (3, 1)), (False, ZeroDivisionError), "called"])

    def test_callbackOfDeferredCall(self) -> None:
        """
        A call that defers itself tells its outcome in the end.
        """

        def f() -> int:
            self.seen.append("run")
            if len(self.seen) < 2:
                raise DeferTask
            return 1

        self.pool.callInThreadWithCallback(self.tell, f)
        self.stepping.runAll()
        self.assertEqual(self.seen, ["run", "run", (True, 1)])

    def test_callbackRaises(self) -> None:
        """
        What a callback raises is logged.
        """
        self.pool.callInThreadWithCallback(lambda success, value: 1 // 0, abs, 1)
        self.stepping.runAll()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_views(self) -> None:
        """
        A view submits at its priority.
        """
        urgent, lazy = self.pool.atPriority(-1), self.pool.atPriority(5)
        lazy.callInThread(self.seen.append, "lazy")
        self.pool.callInThread(self.seen.append, "plain")
        lazy.callInThreadWithCallback(self.tell, abs, -5)
        urgent.callInThread(self.seen.append, "urgent")
        urgent.callInThreadWithCallback(self.tell, abs, -1)
        self.settle()
        self.assertEqual(self.seen, ["urgent", (True, 1), "plain", "lazy", (True, 5)])

    def test_deferToPool(self) -> None:
        """
        L{deferToPool} calls a function in place of C{RunTask}, with keywords too,
        through a pool or a view of it.
        """
        results = [
            deferToPool(self.pool.atPriority(3), int, "11", base=3),
            deferToPool(self.pool, int, "11", base=2),
            deferToPool(self.pool, divmod, 1, 0),
        ]
        for name, result in enumerate(results):
            self.note(result, name)
        self.settle()
        self.assertEqual(self.seen, [1, (2, ZeroDivisionError), 0])
        first = deferToPool(self.pool, int, "11", base=2)
        self.settle()
        self.assertEqual(self.successResultOf(first), 3)

    def test_deferToPoolNeedsAPool(self) -> None:
        """
        L{deferToPool} says so when it is given something else.
        """
        error = self.assertRaises(InvalidArgument, deferToPool, self.stepping, abs, 1)
        self.assertIn("SteppingPool", str(error))

    def test_terminated(self) -> None:
        """
        On a pool that is stopping or has stopped a callback gets L{PoolTerminated}
        at once, and C{callInThread} raises it; C{deferToPool} gives a Deferred that
        has failed.
        """
        done = self.pool.terminateWorkers()
        for _ in range(2):
            self.pool.callInThreadWithCallback(self.tell, abs, 1)
            self.assertEqual(self.seen.pop(), (False, PoolTerminated))
            self.assertRaises(PoolTerminated, self.pool.callInThread, abs, 1)
            self.assertRaises(PoolTerminated, self.pool.atPriority(1).callInThread, abs, 1)
            self.failureResultOf(deferToPool(self.pool, abs, 1), PoolTerminated)
            self.settle()
        self.successResultOf(done)

    def test_terminatedBelow(self) -> None:
        """
        The same holds if the pool below was terminated, which this one does not
        know of.
        """
        self.stepping.TerminateWorkers()
        self.pool.callInThreadWithCallback(self.tell, abs, 1)
        self.assertEqual(self.seen, [(False, PoolTerminated)])
        self.assertRaises(PoolTerminated, self.pool.callInThread, abs, 1)
        self.failureResultOf(self.pool.addTask((self.see,)), PoolTerminated)
