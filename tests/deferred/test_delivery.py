"""
Tests for L{ganeti_pool.deferred._delivery}.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.deferred._delivery import LONGEST_TURN, Delivery
from ganeti_pool.errors import TaskNotStarted
from ganeti_pool.testing import FakeReactor, makeSteppingPool

from ..workerpool.threadcase import Other

FLOOD = 10_000


class GoneReactor:
    """
    A reactor that has gone, as one on a closed asyncio loop.
    """

    def __init__(self) -> None:
        self.asked = 0

    def callFromThread(self, f: Callable[[], object]) -> None:
        self.asked += 1
        raise RuntimeError("Event loop is closed")


class DeliveryTests(SynchronousTestCase):
    """
    Tests for L{Delivery}.
    """

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.now = 0.0
        self.delivery = Delivery(self.reactor, lambda: self.now)
        self.made: list[object] = []

    def put(self, name: object, takes: float = 0.0) -> None:
        """
        Put a call that is noted, and takes so many seconds.
        """

        def call() -> None:
            self.made.append(name)
            self.now += takes

        self.delivery.putCall(call)

    def test_laterInOrder(self) -> None:
        """
        Calls are made in a turn of the reactor, not before, in the order in which
        they were put.
        """
        for name in range(5):
            self.put(name)
        self.assertEqual(self.made, [])
        self.assertTrue(self.reactor.turn())
        self.assertEqual(self.made, [0, 1, 2, 3, 4])
        self.assertFalse(self.reactor.turn())

    def test_oneWakeUp(self) -> None:
        """
        However many calls are ready, the reactor is asked once; and again for what
        comes after they were made.
        """
        asked: list[Callable[[], object]] = []

        class Counting:
            def callFromThread(self, f: Callable[[], object]) -> None:
                asked.append(f)

        delivery = Delivery(Counting(), lambda: self.now)
        for name in range(100):
            delivery.putCall(partial(self.made.append, name))
        self.assertEqual(len(asked), 1)
        asked.pop()()
        self.assertEqual((self.made, asked), (list(range(100)), []))
        delivery.putCall(lambda: self.made.append("again"))
        self.assertEqual(len(asked), 1)
        asked.pop()()
        self.assertEqual(self.made[100:], ["again"])

    def test_putMeanwhile(self) -> None:
        """
        What a call puts is made in the same drain, behind what was ready.
        """
        self.delivery.putCall(lambda: self.put("new"))
        self.put("old")
        self.assertTrue(self.reactor.turn())
        self.assertEqual(self.made, ["old", "new"])
        self.assertFalse(self.reactor.turn())

    def test_endsAfterLongestTurn(self) -> None:
        """
        A drain ends with the first call that brings it to its longest time, not
        before, and goes on in the next turn, in order.
        """
        for name in range(6):
            self.put(name, LONGEST_TURN / 2)
        made = []
        while self.reactor.turn():
            made.append(self.made.copy())
        self.assertEqual(made, [[0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]])

    def test_shortTurns(self) -> None:
        """
        A drain is not cut before its longest time, which is five milliseconds.
        """
        self.assertEqual(LONGEST_TURN, 0.005)
        for name in range(4):
            self.put(name, LONGEST_TURN / 5)
        self.reactor.turn()
        self.assertEqual(self.made, [0, 1, 2, 3])
        self.assertFalse(self.reactor.turn())

    def test_putAfterALongCall(self) -> None:
        """
        A call that is put when a drain was cut with nothing left is made in the
        turn that was asked for then.
        """
        self.put("long", LONGEST_TURN)
        self.reactor.turn()
        self.put("next")
        self.assertTrue(self.reactor.turn())
        self.assertEqual(self.made, ["long", "next"])
        self.assertFalse(self.reactor.turn())

    def test_noLock(self) -> None:
        """
        No lock is held while a call is made: another thread can put one then.
        """
        self.delivery.putCall(lambda: Other(self.put, "from another thread").result())
        self.reactor.run()
        self.assertEqual(self.made, ["from another thread"])

    def test_raising(self) -> None:
        """
        What a call raises goes to the reactor, and the calls behind it are made.
        """

        def fail() -> None:
            raise ZeroDivisionError

        self.put("before")
        self.delivery.putCall(fail)
        self.put("behind")
        self.assertRaises(ZeroDivisionError, self.reactor.run)
        self.put("later")
        self.reactor.run()
        self.assertEqual(self.made, ["before", "behind", "later"])

    def test_reactorGone(self) -> None:
        """
        A reactor that has gone is logged once, and no worker sees it.
        """
        events: list[Any] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        reactor = GoneReactor()
        delivery = Delivery(reactor)
        delivery.putCall(lambda: None)
        delivery.putCall(lambda: None)
        self.assertEqual(reactor.asked, 1)
        (event,) = events
        self.assertIn("reactor has gone", event["log_format"])
        self.assertEqual(event["count"], 1)
        (failure,) = self.flushLoggedErrors(RuntimeError)
        self.assertIn("closed", str(failure.value))

    def test_otherErrorsOfTheReactor(self) -> None:
        """
        Any other error of the reactor is the caller's to see.
        """

        class Broken:
            def callFromThread(self, f: Callable[[], object]) -> None:
                raise TypeError

        self.assertRaises(TypeError, Delivery(Broken()).putCall, lambda: None)


class FloodTests(SynchronousTestCase):
    """
    Tests for many outcomes at one go.
    """

    def setUp(self) -> None:
        self.pool, self.stepping, self.reactor = makeSteppingPool()
        self.fired: list[int] = []
        self.now = 0.0
        self.pool._delivery._clock = lambda: self.now

    def flood(self, *errors: type[Exception]) -> list[Deferred[Any]]:
        """
        Submit many tasks, whose Deferreds will fail and take a millisecond each
        for it.
        """

        def note(failure: Failure, number: int) -> None:
            failure.trap(*errors)
            self.fired.append(number)
            self.now += 0.001

        tasks = self.pool.addManyTasks([(abs, 1)] * FLOOD, taskID=range(FLOOD))
        for number, task in enumerate(tasks):
            task.addErrback(note, number)
        return tasks

    def assertBounded(self) -> None:
        """
        All fire, in order, some in each turn of the reactor.
        """
        while self.reactor.turn():
            self.assertLessEqual(self.now, 0.0051)
            self.now = 0.0
        self.assertEqual(self.fired, list(range(FLOOD)))

    def test_cancellations(self) -> None:
        """
        Ten thousand tasks that are withdrawn tell it in turns that are bounded.
        """
        self.flood(CancelledError)
        for number in range(FLOOD):
            self.pool.cancelTask(number)
        self.assertEqual(self.fired, [])
        self.assertBounded()

    def test_terminated(self) -> None:
        """
        Ten thousand tasks that a termination gives up tell it in turns that are
        bounded, and the termination comes last.
        """
        self.flood(TaskNotStarted)
        done = self.pool.terminateWorkers()
        done.addCallback(lambda _: self.assertEqual(len(self.fired), FLOOD))
        self.assertEqual(self.fired, [])
        self.assertBounded()
        self.successResultOf(done)
