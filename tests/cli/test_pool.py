"""
Tests for what changes the pool as a whole.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from ganeti_pool.client import DaemonSilent, DaemonUnreachable, RequestRefused
from ganeti_pool.wire import encode

from .case import POOL, CommandCase, Stream


class PoolTests(CommandCase):
    """
    Tests for C{pause}, C{resume} and C{resize}.
    """

    def test_pool(self) -> None:
        """
        Pausing, resuming and resizing say how the pool is then.
        """
        self.check("pause", out="paused, 2 of 4 workers busy\n")
        self.out = Stream()
        self.check("resume", out="active, 2 of 4 workers busy\n")
        self.out = Stream()
        self.check("resize", "8", out="active, 2 of 8 workers busy\n")
        self.assertEqual(
            [call[1] for call in self.client.calls],
            [{"active": False}, {"active": True}, {"workers": 8}],
        )

    def test_poolJSON(self) -> None:
        """
        With C{--json} the pool is printed.
        """
        pool = {**POOL, "active": False}
        self.check("pause", "--json", out=encode(pool).decode() + "\n")

    def test_resizeTooFar(self) -> None:
        """
        More workers than a daemon takes are a mistake.
        """
        self.check("resize", "1000", out="active, 2 of 1000 workers busy\n")
        self.client.calls.clear()
        self.out = Stream()
        self.check(
            *("resize", "1001"),
            err="ganeti-pool: A pool has 1000 workers at most. See --help.\n",
            code=2,
        )
        self.assertEqual(self.client.calls, [])

    def test_resizeInterrupted(self) -> None:
        """
        Ctrl-C while workers finish says that the change goes on.
        """
        self.patch(self.client, "changePool", lambda **_: Deferred())
        running = self.start("resize", "1")
        self.interrupt()
        self.checkEnd(
            running,
            err="ganeti-pool: interrupted: the daemon goes on to change the number of workers\n",
            code=130,
        )

    def test_resizeTimeout(self) -> None:
        """
        Who has waited long enough for the surplus workers is told that they go.
        """
        self.patch(self.client, "changePool", lambda **_: Deferred())
        running = self.start("resize", "1", "--timeout", "5")
        self.reactor.advance(5)
        self.checkEnd(
            running,
            err="ganeti-pool: not finished after 5s: the daemon goes on to change the number of "
            "workers\n",
            code=124,
        )

    def test_pauseUnanswered(self) -> None:
        """
        Where no answer comes, the daemon may have done it anyway.
        """
        self.client.troubles["changePool"] = DaemonSilent("/socket", 30)
        running = self.start("pause")
        self.assertEqual(self.codeOf(running), 3)
        self.assertIn("(the daemon may have done it anyway)\n", self.err.text())

    def test_pauseInterrupted(self) -> None:
        """
        Ctrl-C before the answer does not say that nothing was done.
        """
        self.patch(self.client, "changePool", lambda **_: Deferred())
        running = self.start("pause")
        self.interrupt()
        self.checkEnd(
            running,
            err="ganeti-pool: interrupted: the daemon may have done it anyway\n",
            code=130,
        )


class QuiesceTests(CommandCase):
    """
    Tests for C{quiesce}.
    """

    def test_quiet(self) -> None:
        """
        It ends when all is quiet, and leaves no timer.
        """
        for argv, out in ((), "quiesced\n"), (("--json",), '{"quiesced":true}\n'):
            self.out = Stream()
            running = self.start("quiesce", "--timeout", "5", *argv)
            self.assertNoResult(running)
            self.client.fences.pop().callback(True)
            self.assertEqual(self.codeOf(running), 0)
            self.assertEqual((self.out.text(), self.err.text()), (out, ""))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_timeout(self) -> None:
        """
        When the time is up, the request is given up, which lifts the fence.
        """
        running = self.start("quiesce", "--timeout", "1m")
        self.reactor.advance(60)
        self.assertEqual(self.codeOf(running), 124)
        self.assertEqual(self.client.cancelled, 1)
        self.assertEqual(
            self.err.text(),
            "ganeti-pool: not finished after 1m: later jobs start, and earlier ones go on\n",
        )

    def test_interrupted(self) -> None:
        """
        Ctrl-C gives up the request too, and says what that means.
        """
        running = self.start("quiesce")
        self.interrupt()
        self.assertEqual(self.codeOf(running), 130)
        self.assertEqual(self.client.cancelled, 1)
        self.assertEqual(
            self.err.text(),
            "ganeti-pool: interrupted: later jobs start, and earlier ones go on\n",
        )

    def test_paused(self) -> None:
        """
        Jobs that wait for a resume are told of, since they never get finished before.
        """
        self.client.poolStatus = {**POOL, "active": False}
        running = self.start("quiesce")
        self.assertEqual(
            self.err.text(),
            "ganeti-pool: the pool is paused, and 12 queued: this waits until it is resumed\n",
        )
        self.client.fences.pop().errback(RequestRefused(503, "stopping", "the daemon stops"))
        self.assertEqual(self.codeOf(running), 4)

    def test_daemonVanishes(self) -> None:
        """
        A daemon that goes away ends it, with a sentence about what that means.
        """
        running = self.start("quiesce")
        self.client.fences.pop().errback(DaemonUnreachable("/socket", "it hung up"))
        self.checkEnd(
            running,
            err="ganeti-pool: there is no answer from a daemon at /socket: it hung up (a quiesce "
            "ends with its connection: jobs submitted since are no longer held back; "
            "quiesce again when the daemon is back)\n",
            code=3,
        )

    def test_daemonStops(self) -> None:
        """
        A daemon that stops ends it with the same sentence.
        """
        running = self.start("quiesce")
        self.client.fences.pop().errback(RequestRefused(503, "stopping", "the daemon stops"))
        self.assertEqual(self.codeOf(running), 4)
        self.assertIn("the daemon stops (a quiesce ends with its connection", self.err.text())

    def test_daemonRejects(self) -> None:
        """
        A quiesce that the daemon rejects, as inside a job, ends with the daemon's sentence alone.
        """
        running = self.start("quiesce")
        self.client.fences.pop().errback(RequestRefused(409, "inside_job", "job 7 must not wait"))
        self.checkEnd(running, err="ganeti-pool: job 7 must not wait\n", code=4)

    def test_timeoutBeforeTheAnswer(self) -> None:
        """
        C{--timeout} holds from the start, for a daemon that does not answer at all too.
        """
        silent: Deferred[Any] = Deferred()
        self.patch(self.client, "pool", lambda: silent)
        running = self.start("quiesce", "--timeout", "2")
        self.reactor.advance(2)
        self.checkEnd(
            running,
            err="ganeti-pool: not finished after 2s: the daemon has not answered yet\n",
            code=124,
        )

    def test_daemonFallsSilent(self) -> None:
        """
        A daemon that answers nothing any more ends it, half a minute after it was checked.
        """
        running = self.start("quiesce")
        self.client.calls.clear()
        self.client.troubles["pool"] = RequestRefused(503, "busy", "ask again")
        for _ in range(2):
            self.reactor.advance(30)
            self.assertNoResult(running)
        self.client.troubles["pool"] = DaemonSilent("/socket", 30)
        self.reactor.advance(30)
        self.assertEqual(self.client.calls, [("pool",)] * 3)
        self.assertEqual((self.codeOf(running), self.client.cancelled), (3, 1))
        self.assertIn("did not arrive within 30 seconds", self.err.text())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
