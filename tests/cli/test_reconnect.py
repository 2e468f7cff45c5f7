"""
Tests for how C{wait}, C{submit --wait} and C{logs -f} get over a restart of the daemon.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError

from ganeti_pool.client import DaemonSilent, DaemonUnreachable, RequestRefused

from .case import CommandCase, FakeClient, Stream, ago, makeFailed, makeJob

AWAY = "ganeti-pool: the daemon is unreachable (it is stopping): reconnecting for up to 1m\n"
BACK = "ganeti-pool: the daemon is back\n"


def stopping() -> RequestRefused:
    """
    What a daemon answers that is about to end.
    """
    return RequestRefused(503, "stopping", "the store has been closed")


def nobody() -> DaemonUnreachable:
    """
    What a request fails with while there is no daemon.
    """
    trouble = DaemonUnreachable("/a/pool.sock", "no such file", False)
    trouble.__cause__ = ConnectError(2, "No such file or directory")
    return trouble


class AwayCase(CommandCase):
    """
    Runs a verb against a daemon that goes away.

    @ivar away: what each request fails with; L{None} while the daemon is there.
    @ivar asked: how many requests failed with it.
    """

    def setUp(self) -> None:
        """
        Job 1 has succeeded unless it says otherwise, 2 is queued, and 7 runs.
        """
        super().setUp()
        self.client = FakeClient(makeJob(1), makeJob(2), makeJob(7, "running"))
        self.away: Exception | None = None
        self.asked = 0
        answer = self.client._answer

        def answerOrFail(call: tuple[Any, ...], value: Any) -> Deferred[Any]:
            if self.away is not None:
                self.asked += 1
                self.client.troubles[call[0]] = self.away
            return answer(call, value)

        self.patch(self.client, "_answer", answerOrFail)

    def pass_(self, seconds: float) -> None:
        """
        Let time pass in steps, as it does.
        """
        for _ in range(int(seconds * 10)):
            self.reactor.advance(0.1)


class WaitTests(AwayCase):
    """
    Tests for C{wait} and C{submit --wait}.
    """

    def test_reconnects(self) -> None:
        """
        A wait goes on when the daemon is back: with what ended in the meantime, and from
        the revision that the store has then. The loss and the return are a line each.
        """
        running = self.start("wait", "1", "2")
        self.away = nobody()
        self.client.changes.pop().errback(stopping())
        self.pass_(30)
        self.assertEqual(self.err.text(), AWAY)
        self.assertNoResult(running)
        self.away = None
        self.client.jobs[1] = makeJob(1, "succeeded", revision=3)
        self.client.jobs[9] = makeJob(9, revision=4)
        self.pass_(2)
        self.assertEqual(self.err.text(), AWAY + BACK)
        self.assertEqual(self.out.text(), "1 succeeded\n")
        self.assertEqual(self.client.calls[-1], ("changedJobs", 4, 60))
        self.client.change(makeFailed(2))
        self.assertEqual(self.codeOf(running), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_submitWait(self) -> None:
        """
        C{submit --wait} gets over a restart too, and over a daemon that is silent.
        """
        running = self.start("submit", "--wait", "ls")
        self.client.changes.pop().errback(DaemonSilent("/socket", 90))
        self.client.jobs[4] = makeJob(4, "succeeded")
        self.pass_(1)
        self.assertEqual(self.codeOf(running), 0)
        self.assertIn("it did not arrive within 90 seconds", self.err.text())
        self.assertTrue(self.err.text().endswith(BACK + "4 succeeded\n"))

    def test_givesUp(self) -> None:
        """
        A daemon that is not back within 60 seconds is given up with what happened, what is
        not known, and what to do; few requests are made until then.
        """
        running = self.start("wait", "1")
        self.away = nobody()
        self.client.changes.pop().errback(DaemonUnreachable("/a/pool.sock", "it hung up"))
        self.pass_(59)
        self.assertNoResult(running)
        self.pass_(4)
        self.assertEqual(self.codeOf(running), 3)
        self.assertRegex(
            self.err.text().splitlines()[-1],
            r"^ganeti-pool: no daemon listens in the state directory /a \(tried again for 1m1?s?; "
            r"job 1 is not known to have finished; the daemon's store keeps it\); to start one: ",
        )
        self.assertLess(self.asked, 40)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_slowStop(self) -> None:
        """
        The 60 seconds begin when a daemon that is stopping has ended.
        """
        running = self.start("wait", "1")
        self.away = stopping()
        self.client.changes.pop().errback(stopping())
        self.pass_(300)
        self.away = nobody()
        self.pass_(55)
        self.assertNoResult(running)
        self.away = None
        self.client.jobs[1] = makeJob(1, "succeeded")
        self.pass_(2)
        self.checkEnd(running, err=AWAY + BACK, code=0)

    def test_otherRefusals(self) -> None:
        """
        Any other refusal ends the wait, before and after the daemon was away.
        """
        running = self.start("wait", "1")
        self.client.changes.pop().errback(RequestRefused(401, "unauthorized", "no"))
        self.assertEqual(self.codeOf(running), 4)
        running = self.start("wait", "1")
        self.away = RequestRefused(401, "unauthorized", "no")
        self.client.changes.pop().errback(stopping())
        self.pass_(1)
        self.assertEqual(self.codeOf(running), 4)

    def test_removed(self) -> None:
        """
        A job that the daemon does not have when it is back ends the wait with its ID.
        """
        running = self.start("wait", "1", "2")
        del self.client.jobs[2]
        self.client.changes.pop().errback(stopping())
        self.pass_(1)
        self.assertEqual(self.codeOf(running), 4)
        self.assertIn(
            "ganeti-pool: there is no job 2 (2 jobs are not known to have finished)\n",
            self.err.text(),
        )

    def test_otherStore(self) -> None:
        """
        A job of another store that has the same ID is not taken for the one of before.
        """
        running = self.start("wait", "1")
        self.client.jobs[1] = makeJob(1, "succeeded", submitted_at=ago(1))
        self.client.changes.pop().errback(stopping())
        self.pass_(1)
        self.assertEqual((self.codeOf(running), self.out.text()), (4, ""))
        self.assertIn("another store, in which 1 is another job", self.err.text())

    def test_interruptedWhileAway(self) -> None:
        """
        Ctrl-C while the daemon is unreachable says what is not known, and not that the job goes on.
        """
        running = self.start("wait", "1")
        self.away = nobody()
        self.client.changes.pop().errback(stopping())
        self.pass_(1)
        self.interrupt()
        self.checkEnd(
            running,
            err=AWAY
            + "ganeti-pool: interrupted: the daemon is unreachable, and job 1 is not known "
            "to have finished; the daemon's store keeps it\n",
            code=130,
        )
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_timeoutWhileAway(self) -> None:
        """
        C{--timeout} goes on while the daemon is unreachable.
        """
        running = self.start("wait", "--timeout", "30", "1")
        self.away = nobody()
        self.client.changes.pop().errback(stopping())
        self.pass_(30.1)
        self.assertEqual(self.codeOf(running), 124)
        self.assertIn("after 30s: the daemon is unreachable, and job 1", self.err.text())

    def test_timeoutBeforeTheAnswer(self) -> None:
        """
        C{--timeout} holds from the start, for a daemon that does not answer at all too.
        """
        silent: Deferred[Any] = Deferred()
        self.patch(self.client, "listJobs", lambda **_: silent)
        running = self.start("wait", "--timeout", "2", "1")
        self.reactor.advance(2)
        self.checkEnd(
            running,
            err="ganeti-pool: not finished after 2s: the daemon has not answered yet\n",
            code=124,
        )

    def test_notThereAtAll(self) -> None:
        """
        A daemon that was not there from the start is not waited for.
        """
        self.away = nobody()
        self.assertEqual(self.codeOf(self.start("wait", "1")), 3)
        self.assertNotIn("away", self.err.text())

    def test_barSurvives(self) -> None:
        """
        On a terminal the bar stays, with the loss and the return above it, once each.
        """
        self.out, self.err = Stream(terminal=True), Stream(terminal=True)
        running = self.start("wait", "1", "2")
        self.client.changes.pop().errback(stopping())
        self.client.jobs[1] = makeJob(1, "succeeded")
        self.pass_(1)
        self.client.change(makeJob(2, "succeeded"))
        self.assertEqual(self.codeOf(running), 0)
        text = self.out.text()
        self.assertIn("2/2", text)
        self.assertEqual((text.count("unreachable"), text.count("is back")), (1, 1))
        self.assertEqual(text.count("\x1b[?25l"), text.count("\x1b[?25h"))
        self.assertEqual(self.err.text(), "")

    def test_barWithLog(self) -> None:
        """
        Standard error that is not a terminal gets the lines itself.
        """
        self.out = Stream(terminal=True)
        running = self.start("wait", "1")
        self.client.changes.pop().errback(stopping())
        self.client.jobs[1] = makeJob(1, "succeeded")
        self.pass_(1)
        self.checkEnd(running, err=AWAY + BACK, code=0)
        self.assertNotIn("unreachable", self.out.text())

    def test_dumbTerminal(self) -> None:
        """
        A terminal that cannot move its cursor gets lines, and no bar.
        """
        for name in ("dumb", "unknown"):
            os.environ["TERM"] = name
            self.out = Stream(terminal=True)
            running = self.start("wait", "1")
            self.client.change(makeJob(1, "succeeded"))
            self.assertEqual(self.codeOf(running), 0)
            self.assertEqual(self.out.text(), "1 succeeded\n")


class LogsTests(AwayCase):
    """
    Tests for C{logs -f}.
    """

    def offsets(self) -> list[tuple[int, int]]:
        """
        The attempt and the offset of each request for output.
        """
        return [call[3:5] for call in self.client.calls if call[0] == "output"]

    def test_reconnects(self) -> None:
        """
        What is followed goes on where it was when the daemon is back.
        """
        self.client.written = b"one\n"
        running = self.start("logs", "-f", "7")
        self.away = nobody()
        self.client.follow.pop().errback(DaemonUnreachable("/socket", "it hung up"))
        self.pass_(10)
        self.away = None
        self.client.written += b"two\n"
        self.pass_(2)
        self.assertEqual(self.out.text(), "one\ntwo\n")
        self.client.jobs[7] = makeJob(7, "succeeded")
        self.client.follow.pop().callback(None)
        self.assertEqual(self.codeOf(running), 0)
        self.assertEqual(self.offsets(), [(1, 0), (1, 4)])
        self.assertTrue(self.err.text().endswith(BACK))

    def test_orderlyStop(self) -> None:
        """
        A daemon that stops in good order ends the answer, and then says that it is stopping:
        the rest of the output is read when it is back.
        """
        running = self.start("logs", "-f", "7")
        self.away = stopping()
        self.client.follow.pop().callback(None)
        self.pass_(5)
        self.assertEqual(self.err.text(), AWAY)
        self.away = None
        self.client.jobs[7] = makeFailed(7, "interrupted", attempt=1)
        self.client.written = b"last words\n"
        self.pass_(2)
        self.client.follow.pop().callback(None)
        self.assertEqual((self.codeOf(running), self.out.text()), (0, "last words\n"))

    def test_triedAgain(self) -> None:
        """
        If the job was started again while the daemon was away, the rest of the old attempt
        comes first, then the new one from its beginning, and a line says so.
        """
        self.client.written = b"one\n"
        running = self.start("logs", "-f", "--json", "7")
        self.client.jobs[7] = makeJob(7, "running", attempt=2)
        self.client.follow.pop().errback(stopping())
        self.client.written = b"one\ntwo\n"
        self.pass_(1)
        self.client.written = b"new\n"
        self.client.follow.pop().callback(None)
        self.assertEqual(self.offsets(), [(1, 0), (1, 4), (2, 0)])
        self.client.jobs[7] = makeJob(7, "succeeded", attempt=2)
        self.client.follow.pop().callback(None)
        self.assertEqual(self.codeOf(running), 0)
        self.assertIn('"attempt":2,"stream":"stdout","text":"new\\n"', self.out.text())
        self.assertIn("the following output is from attempt 2\n", self.err.text())

    def test_givenAttempt(self) -> None:
        """
        An attempt that was named is followed to its end, and no other.
        """
        running = self.start("logs", "-f", "--attempt", "1", "7")
        self.client.jobs[7] = makeJob(7, "running", attempt=2)
        self.client.follow.pop().errback(stopping())
        self.pass_(1)
        self.client.follow.pop().callback(None)
        self.assertEqual(self.codeOf(running), 0)
        self.assertEqual(self.offsets(), [(1, 0), (1, 0)])

    def test_awayBeforeTheStart(self) -> None:
        """
        A wait for the next attempt gets over a restart too.
        """
        self.client.jobs[7] = makeJob(7, attempt=1)
        running = self.start("logs", "-f", "7")
        self.client.changes.pop().errback(stopping())
        self.pass_(1)
        self.assertEqual(self.client.calls[-1], ("changedJobs", 7, 60))
        self.client.jobs[7] = makeJob(7, "running", attempt=2)
        self.client.change(self.client.jobs[7])
        self.assertEqual(self.offsets(), [(2, 0)])
        self.interrupt()
        self.assertEqual(self.codeOf(running), 130)

    def test_givesUp(self) -> None:
        """
        A daemon that is not back within 60 seconds is given up.
        """
        running = self.start("logs", "-f", "7")
        self.away = nobody()
        self.client.follow.pop().errback(DaemonUnreachable("/socket", "it hung up"))
        self.pass_(63)
        self.assertEqual(self.codeOf(running), 3)
        self.assertIn(
            "; job 7 is not known to have ended; the daemon's store keeps it)", self.err.text()
        )

    def test_otherStore(self) -> None:
        """
        A job of another store that has the same ID is not followed.
        """
        running = self.start("logs", "-f", "7")
        self.client.jobs[7] = makeJob(7, "running", submitted_at=ago(1))
        self.client.follow.pop().errback(stopping())
        self.pass_(1)
        self.assertEqual(self.codeOf(running), 4)
        self.assertIn("another store", self.err.text())

    def test_asksAgain(self) -> None:
        """
        A minute without an end is followed by the next, and the job is not looked up.
        """
        running = self.start("logs", "-f", "7")
        self.client.calls.clear()
        self.reactor.advance(60)
        self.client.follow.pop().callback(None)
        self.assertEqual([call[0] for call in self.client.calls], ["output"])
        self.interrupt()
        self.assertEqual(self.codeOf(running), 130)
