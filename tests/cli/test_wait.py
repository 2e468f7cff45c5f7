"""
Tests for C{wait}.
"""

from __future__ import annotations

from ganeti_pool.wire import encode

from .case import (
    CommandCase,
    FakeClient,
    Stream,
    makeFailed,
    makeJob,
)


class WaitTests(CommandCase):
    """
    Tests for C{wait}.
    """

    def setUp(self) -> None:
        """
        Two jobs that are not finished, one that is, and one of somebody else.
        """
        super().setUp()
        self.client = FakeClient(
            makeJob(1), makeJob(2, "running"), makeJob(3, "succeeded"), makeJob(9, revision=50)
        )

    def test_tellsOfEach(self) -> None:
        """
        Each job is told of when it is finished, one that was finished before at
        once, others not at all; the next request begins where the last one ended.
        """
        running = self.start("wait", "1", "2", "3", "1")
        self.assertEqual(self.out.text(), "3 succeeded\n")
        self.assertEqual(self.client.calls[-1], ("changedJobs", 50, 60))
        self.client.change(makeJob(1, "running", revision=51), makeJob(9, "failed", revision=52))
        self.assertEqual(self.client.calls[-1], ("changedJobs", 52, 60))
        self.client.change(makeJob(2, "succeeded", revision=53))
        self.assertEqual(self.out.text(), "3 succeeded\n2 succeeded\n")
        self.assertNoResult(running)
        self.client.change(makeJob(1, "succeeded", revision=54))
        self.assertEqual(self.codeOf(running), 0)
        self.assertEqual(self.out.text(), "3 succeeded\n2 succeeded\n1 succeeded\n")
        self.assertEqual(self.client.changes, [])

    def test_revisionIsOlderThanTheJobs(self) -> None:
        """
        The revision to ask changes from is learnt before the jobs are looked at, so
        that no change between falls through.
        """
        self.start("wait", "1")
        self.assertEqual(
            [call[3:] for call in self.client.calls[:2]],
            [("desc", 1, None), ("asc", 1, 0)],
        )

    def test_failed(self) -> None:
        """
        The exit code is 1 if one of them failed or was cancelled.
        """
        for end, text in (
            (makeFailed(1), "1 failed: it exited with 3\n"),
            (makeJob(1, "cancelled"), "1 cancelled\n"),
        ):
            self.out = Stream()
            running = self.start("wait", "1", "2")
            self.client.change(end)
            self.client.change(makeJob(2, "succeeded"))
            self.assertEqual(self.codeOf(running), 1)
            self.assertEqual(self.out.text(), text + "2 succeeded\n")

    def test_json(self) -> None:
        """
        With C{--json} each finished job is an object, also on a terminal.
        """
        self.out = Stream(terminal=True)
        self.check("wait", "--json", "3", out=encode(self.client.jobs[3]).decode() + "\n")

    def test_all(self) -> None:
        """
        C{--all} waits for what is queued or running now.
        """
        running = self.start("wait", "--all")
        finished = (makeJob(jobID, "succeeded") for jobID in (1, 2, 9))
        self.client.change(*finished)
        self.assertEqual(self.codeOf(running), 0)

    def test_nothingToWaitFor(self) -> None:
        """
        C{--all} with nothing to wait for ends at once.
        """
        self.client = FakeClient()
        self.check("wait", "--all")
        self.client = FakeClient(makeJob(3, "failed"))
        self.check("wait", "--all", "--any")

    def test_any(self) -> None:
        """
        C{--any} ends with the first, and its outcome is the exit code.
        """
        running = self.start("wait", "--any", "1", "2")
        self.client.change(makeFailed(2))
        self.assertEqual(self.codeOf(running), 1)
        self.check("wait", "--any", "1", "3", out="2 failed: it exited with 3\n3 succeeded\n")

    def test_which(self) -> None:
        """
        Which jobs must be said, in one way.
        """
        for argv in ((), ("--all", "1")):
            self.err = Stream()
            self.check("wait", *argv, err="ganeti-pool: Give IDs, or --all. See --help.\n", code=2)

    def test_noSuchJob(self) -> None:
        """
        A job that does not exist is refused before any waiting.
        """
        self.check("wait", "1", "4", err="ganeti-pool: there is no job 4\n", code=4)

    def test_timeout(self) -> None:
        """
        When the time is up, the request is given up and the exit code is 124.
        """
        running = self.start("wait", "--timeout", "1m30s", "1", "2")
        self.reactor.advance(89)
        self.assertNoResult(running)
        self.reactor.advance(1)
        self.assertEqual(self.codeOf(running), 124)
        self.assertEqual(self.client.cancelled, 1)
        self.assertEqual(self.err.text(), "ganeti-pool: not finished after 1m30s: 2 jobs go on\n")

    def test_timeoutNotReached(self) -> None:
        """
        A wait that ends in time leaves no timer.
        """
        running = self.start("wait", "--timeout", "90", "1")
        self.client.change(makeJob(1, "succeeded"))
        self.assertEqual(self.codeOf(running), 0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_wrongTimeout(self) -> None:
        """
        A time that is none is a mistake.
        """
        self.check(
            *("wait", "--timeout", "soon", "1"),
            err="ganeti-pool: Invalid value for '--timeout': 'soon' is no duration such as 90, "
            "42s, 5m10s or 4d. See --help.\n",
            code=2,
        )

    def test_interrupted(self) -> None:
        """
        Ctrl-C says what goes on, gives up the request, and exits with 130.
        """
        running = self.start("wait", "1", "2")
        self.client.change(makeJob(2, "succeeded"))
        self.interrupt()
        self.assertEqual(self.codeOf(running), 130)
        self.assertEqual(self.client.cancelled, 1)
        self.assertEqual(self.err.text(), "ganeti-pool: interrupted: job 1 goes on\n")

    def test_removed(self) -> None:
        """
        A job that is removed while one waits is said, and not waited for for ever.
        """
        running = self.start("wait", "1", "2")
        self.client.change()
        self.assertNoResult(running)
        del self.client.jobs[1]
        self.client.change()
        self.assertEqual(self.codeOf(running), 4)
        self.assertIn("ganeti-pool: there is no job 1 (2 jobs are not known", self.err.text())

    def test_removedWhileOthersChange(self) -> None:
        """
        Once a minute the jobs are looked for, also if others change all the time; what
        came until then is told first.
        """
        running = self.start("wait", "1", "2")
        del self.client.jobs[1], self.client.jobs[2]
        self.client.change(makeJob(9, "running", revision=51))
        self.reactor.advance(59)
        self.client.change(makeJob(9, revision=52))
        self.assertNoResult(running)
        self.reactor.advance(1)
        self.client.change(makeJob(2, "succeeded", revision=53))
        self.assertEqual(self.codeOf(running), 4)
        self.assertEqual(self.out.text(), "2 succeeded\n")
        self.assertIn("ganeti-pool: there is no job 1 (job 1 is not known", self.err.text())

    def test_lookedForOnceAMinute(self) -> None:
        """
        Jobs that are still there are waited for on, and looked for again a minute
        later.
        """
        running = self.start("wait", "1")
        for minute in range(3):
            self.reactor.advance(60)
            self.client.calls.clear()
            for second in range(2):
                self.client.change(makeJob(9, "running", revision=51 + 2 * minute + second))
            self.assertEqual(
                [call[0] for call in self.client.calls],
                ["listJobs", "pool", "changedJobs", "changedJobs"],
            )
        self.assertNoResult(running)
        self.client.change(makeJob(1, "succeeded"))
        self.assertEqual(self.codeOf(running), 0)

    def test_bar(self) -> None:
        """
        A terminal gets a bar with the count, and a line for each job that did not
        succeed; the cursor is back at the end.
        """
        self.out = Stream(terminal=True)
        running = self.start("wait", "1", "2", "3")
        self.assertIn("1/3", self.out.text())
        self.client.change(makeFailed(2))
        self.client.change(makeJob(1, "succeeded"))
        self.assertEqual(self.codeOf(running), 1)
        text = self.out.text()
        self.assertIn("2 failed: it exited with 3", text)
        self.assertIn("3/3", text)
        self.assertNotIn("succeeded", text)
        self.assertEqual(text.count("\x1b[?25l"), text.count("\x1b[?25h"))
        self.assertIn("\x1b[31m", text)

    def test_barWithoutColour(self) -> None:
        """
        C{--no-color} holds for the bar.
        """
        self.out = Stream(terminal=True)
        running = self.start("wait", "--no-color", "1")
        self.client.change(makeFailed(1))
        self.assertEqual(self.codeOf(running), 1)
        self.assertNotIn("\x1b[3", self.out.text())

    def test_barOfSubmit(self) -> None:
        """
        The bar of C{submit --wait} is on standard error, where the id is not.
        """
        self.err = Stream(terminal=True)
        self.client = FakeClient()
        running = self.start("submit", "--wait", "ls")
        self.client.change(makeJob(1, "succeeded"))
        self.assertEqual(self.codeOf(running), 0)
        self.assertEqual(self.out.text(), "1\n")
        self.assertIn("1/1", self.err.text())
