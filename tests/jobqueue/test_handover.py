"""
Tests for what worker threads have done on the reactor thread, and for turns.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Barrier, Thread
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool._delivery import Delivery
from ganeti_pool.jobqueue._handover import Handover
from ganeti_pool.jobqueue._turns import Turns
from ganeti_pool.testing import FakeReactor


class HandoverTests(SynchronousTestCase):
    """
    Tests for L{Handover}.
    """

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.delivery = Delivery(self.reactor, lambda: 0.0)
        self.outcomes: list[object] = []
        self.threads: list[Thread] = []

    def ask(self, *asked: Callable[[], Deferred[Any]]) -> None:
        """
        Have threads ask for something, one for each, and wait until all have asked.
        """
        ready = Barrier(len(asked) + 1)

        def work(f: Callable[[], Deferred[Any]]) -> None:
            def putAndTell(news: Any) -> None:
                self.delivery.put(news)
                ready.wait(10)

            try:
                outcome = Handover(_Puts(putAndTell)).callAndWait(f)  # type: ignore[arg-type]
            except ValueError as error:
                outcome = error
            self.outcomes.append(outcome)

        self.threads = [Thread(target=work, args=(f,), daemon=True) for f in asked]
        for thread in self.threads:
            thread.start()
        ready.wait(10)

    def join(self) -> None:
        for thread in self.threads:
            thread.join(10)

    def test_waits(self) -> None:
        """
        A thread waits until the Deferred has fired, and gets what it fires with.
        """
        answer: Deferred[str] = Deferred()
        self.ask(lambda: answer)
        self.reactor.run()
        self.assertTrue(self.threads[0].is_alive())
        answer.callback("done")
        self.join()
        self.assertEqual(self.outcomes, ["done"])

    def test_raises(self) -> None:
        """
        What the Deferred fails with is raised there.
        """
        error = ValueError("no")
        self.ask(lambda: fail(error))
        self.reactor.run()
        self.join()
        self.assertEqual(self.outcomes, [error])

    def test_oneWakeUp(self) -> None:
        """
        One wake-up of the reactor serves all that ask meanwhile.
        """
        calls: list[int] = []

        def note() -> Deferred[None]:
            calls.append(1)
            return succeed(None)

        self.ask(*[note] * 5)
        self.reactor.turn()
        self.assertEqual(len(calls), 5)
        self.join()
        self.assertEqual(self.outcomes, [None] * 5)


class _Puts:
    """
    What L{Handover} needs of a L{Delivery}.
    """

    def __init__(self, put: Callable[[Any], None]) -> None:
        self.put = put


class TurnsTests(SynchronousTestCase):
    """
    Tests for L{Turns}.
    """

    def setUp(self) -> None:
        self.turns = Turns()
        self.begun: list[str] = []
        self.ends: dict[str, Deferred[str]] = {}

    def ask(self, name: str, jobID: int = 1) -> Deferred[str]:
        """
        Ask for something that goes on until its name is in C{ends} and fired.
        """
        return self.turns.alone(jobID, self.begin, name)

    def begin(self, name: str) -> Deferred[str]:
        self.begun.append(name)
        self.ends[name] = Deferred()
        return self.ends[name]

    def test_inOrder(self) -> None:
        """
        One goes on at a time, in the order of asking, and another job's is no matter.
        """
        results = [self.ask(name) for name in "abc"]
        self.ask("x", 2)
        self.assertEqual(self.begun, ["a", "x"])
        self.ends["a"].callback("A")
        self.assertEqual(self.successResultOf(results[0]), "A")
        self.assertEqual(self.begun, ["a", "x", "b"])
        self.ends["b"].errback(ValueError())
        self.failureResultOf(results[1], ValueError)
        self.ends["c"].callback("C")
        self.assertEqual(self.successResultOf(results[2]), "C")
        self.ends["x"].callback("X")
        self.assertEqual(self.turns._lines, {})

    def test_raises(self) -> None:
        """
        One that raises has had its turn; one that is a coroutine function ends with
        its coroutine.
        """

        async def coroutine(name: str) -> str:
            return await self.begin(name)

        def broken() -> Deferred[str]:
            raise ValueError()

        self.failureResultOf(self.turns.alone(1, broken), ValueError)
        result = self.turns.alone(1, coroutine, "a")
        self.assertNoResult(result)
        self.ends["a"].callback("A")
        self.assertEqual(self.successResultOf(result), "A")
        self.assertEqual(self.turns._lines, {})

    def test_givenUp(self) -> None:
        """
        Who does not wait any more is passed over, and holds nobody up.
        """
        first, second, third = (self.ask(name) for name in "abc")
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.ends["a"].callback("A")
        self.successResultOf(first)
        self.assertEqual(self.begun, ["a", "c"])
        third.cancel()
        self.failureResultOf(third, CancelledError)
        self.assertEqual(self.turns._lines, {})
