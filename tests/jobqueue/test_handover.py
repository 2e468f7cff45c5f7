"""
Tests for what worker threads have done on the reactor thread, and for turns.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Semaphore, Thread
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.deferred._delivery import Delivery, News
from ganeti_pool.jobqueue._handover import ThreadHandover
from ganeti_pool.jobqueue._turns import Turns
from ganeti_pool.testing import FakeReactor


class HandoverTests(SynchronousTestCase):
    """
    Tests for L{ThreadHandover}.
    """

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.delivery = Delivery(self.reactor, lambda: 0.0)
        self.outcomes: list[object] = []
        self.threads: list[Thread] = []

    def work(self, work: Callable[[ThreadHandover], object], errands: int = 1) -> Semaphore:
        """
        Have a thread work, and wait until it has handed over so many errands.

        @return: what is released for each one more.
        """
        put = Semaphore(0)

        def putAndTell(news: News) -> None:
            self.delivery.put(news)
            put.release()

        def run() -> None:
            try:
                self.outcomes.append(work(ThreadHandover(_Puts(putAndTell))))
            except ValueError as error:
                self.outcomes.append(error)

        self.threads.append(Thread(target=run, daemon=True))
        self.threads[-1].start()
        for _ in range(errands):
            self.assertTrue(put.acquire(timeout=10))
        return put

    def assertOutcomes(self, *outcomes: object) -> None:
        """
        The threads have ended so.
        """
        for thread in self.threads:
            thread.join(10)
        self.assertEqual(self.outcomes, list(outcomes))

    def test_waits(self) -> None:
        """
        A thread waits until the Deferred has fired, and gets what it fires with.
        """
        answer: Deferred[str] = Deferred()
        self.work(lambda handover: handover.callAndWait(lambda: answer))
        self.reactor.run()
        self.assertTrue(self.threads[0].is_alive())
        answer.callback("done")
        self.assertOutcomes("done")

    def test_raises(self) -> None:
        """
        What the Deferred fails with is raised there.
        """
        error = ValueError("no")
        self.work(lambda handover: handover.callAndWait(lambda: fail(error)))
        self.reactor.run()
        self.assertOutcomes(error)

    def test_oneWakeUp(self) -> None:
        """
        One wake-up of the reactor serves all that ask meanwhile.
        """
        calls: list[int] = []

        def note() -> Deferred[None]:
            calls.append(1)
            return succeed(None)

        for _ in range(5):
            self.work(lambda handover: handover.callAndWait(note))
        self.reactor.turn()
        self.assertEqual(len(calls), 5)
        self.assertOutcomes(*[None] * 5)

    def postAndAsk(self, posted: Deferred[Any]) -> Semaphore:
        """
        Have a thread post something, ask for something that is done at once, and then
        wait twice for what it has posted.

        @return: what is released when it has what it asked for.
        """
        goesOn = Semaphore(0)

        def work(handover: ThreadHandover) -> object:
            handover.waitForPosted()  # nothing
            handover.post(lambda: posted)
            self.outcomes.append(handover.callAndWait(lambda: succeed("asked")))
            goesOn.release()
            for _ in range(2):
                try:
                    handover.waitForPosted()
                    self.outcomes.append("posted")
                except ValueError as error:
                    self.outcomes.append(error)
            return "end"

        self.work(work, errands=2)
        self.reactor.run()
        self.assertTrue(goesOn.acquire(timeout=10))
        return goesOn

    def test_posted(self) -> None:
        """
        A thread that has posted something goes on, until it waits for that, as often
        as it likes.
        """
        posted: Deferred[str] = Deferred()
        self.postAndAsk(posted)
        self.assertTrue(self.threads[0].is_alive())
        posted.callback("posted")
        self.assertOutcomes("asked", "posted", "posted", "end")

    def test_postedFails(self) -> None:
        """
        What it fails with is raised there.
        """
        posted: Deferred[str] = Deferred()
        self.postAndAsk(posted)
        error = ValueError("no")
        posted.errback(error)
        self.assertOutcomes("asked", error, error, "end")

    def test_fault(self) -> None:
        """
        What is raised on the reactor thread is raised on the one that waits, and what
        others have asked for is done in the same turn.
        """

        def broken() -> Deferred[None]:
            raise ValueError("no")

        self.work(lambda handover: handover.callAndWait(broken))
        self.work(lambda handover: handover.callAndWait(lambda: succeed("other")))
        self.reactor.turn()
        for thread in self.threads:
            thread.join(10)
        self.assertEqual(sorted(map(str, self.outcomes)), ["no", "other"])


class _Puts(Delivery):
    """
    A L{Delivery} that puts its news elsewhere.
    """

    def __init__(self, put: Callable[[News], None]) -> None:
        self.put = put  # type: ignore[assignment,method-assign]


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

    def test_many(self) -> None:
        """
        However many end at once, each has its turn, in order.
        """
        first = self.ask("a")
        count = 5000
        done: list[int] = []

        def end(number: int) -> Deferred[str]:
            done.append(number)
            return fail(ValueError()) if number % 2 else succeed("")

        results = [self.turns.alone(1, end, number) for number in range(count)]
        last = self.ask("b")
        self.ends["a"].callback("A")
        self.successResultOf(first)
        self.assertEqual(done, list(range(count)))
        for result in results[1::2]:
            self.failureResultOf(result, ValueError)
        self.assertNoResult(last)
        self.ends["b"].callback("B")
        self.successResultOf(last)
        self.assertEqual(self.turns._lines, {})

    def test_asksInItsTurn(self) -> None:
        """
        Who asks once more while the turns go on has another behind the others.
        """
        first, second = self.ask("a"), self.turns.alone(1, succeed, "b")
        second.addCallback(lambda _: self.turns.alone(1, self.begin, "d"))
        third = self.ask("c")
        self.ends["a"].callback("A")
        self.successResultOf(first)
        self.assertEqual(self.begun, ["a", "c"])
        self.ends["c"].callback("C")
        self.successResultOf(third)
        self.ends["d"].callback("D")
        self.assertEqual(self.successResultOf(second), "D")
        self.assertEqual(self.turns._lines, {})
