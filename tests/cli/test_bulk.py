"""
Tests for how C{cancel}, C{priority}, C{retry} and C{prune} change many jobs.
"""

from __future__ import annotations

import os
from typing import Any, NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from ganeti_pool.client import DaemonUnreachable, RequestRefused
from ganeti_pool.wire import encode

from .case import CommandCase, FakeClient, PagingClient, Stream, ago, makeFailed, makeJob


class Terminal(Stream):
    """
    A person at a terminal.

    @ivar descriptor: where the reactor looks for what is typed.
    """

    def __init__(self) -> None:
        super().__init__(terminal=True)
        self.descriptor, self._keys = os.pipe()

    def fileno(self) -> int:
        """
        The descriptor.
        """
        return self.descriptor

    def press(self, keys: bytes, reactor: MemoryReactorClock) -> None:
        """
        Type something, nothing for Ctrl-D, which the reactor sees.
        """
        if keys:
            os.write(self._keys, keys)
        else:
            os.close(self._keys)
            self._keys = -1
        (reader,) = reactor.getReaders()
        assert reader.fileno() == self.descriptor
        assert reader.logPrefix()
        reader.doRead()

    def hangUp(self) -> None:
        """
        Give the descriptors back.
        """
        os.close(self.descriptor)
        if self._keys >= 0:
            os.close(self._keys)


class BulkCase(CommandCase):
    """
    A daemon with jobs in all states, and nobody at a terminal.
    """

    def setUp(self) -> None:
        """
        Some jobs.
        """
        super().setUp()
        self.client = FakeClient(
            makeJob(1, labels={"a": "1"}),
            makeJob(2, "running", name="two"),
            makeFailed(3, code="interrupted"),
            makeFailed(4, exit_code=3),
            makeJob(5, "cancelled"),
            makeJob(6, "succeeded"),
            makeJob(7),
        )

    def changed(self, method: str) -> list[int]:
        """
        The jobs for which something was asked.
        """
        return [call[1] for call in self.client.calls if call[0] == method]

    def holdBack(self, method: str) -> list[Deferred[Any]]:
        """
        Have the test answer some requests.
        """
        waiting: list[Deferred[Any]] = []

        def ask(jobID: int, **_: bool) -> Deferred[Any]:
            self.client.calls.append((method, jobID))
            return self.client._wait(waiting)

        self.patch(self.client, method, ask)
        return waiting


class WhichTests(BulkCase):
    """
    Tests for which jobs are changed.
    """

    def test_filters(self) -> None:
        """
        A verb changes the jobs that fit, and of these those that are in a state in
        which it can.
        """
        for argv, method, jobs, out in (
            ("cancel --label a=1", "cancel", [1], "1 cancelled\n"),
            ("cancel --name two", "cancel", [2], "1 told to end\n"),
            (
                "cancel --state queued --state running",
                "cancel",
                [7, 1, 2],
                "2 cancelled, 1 told to end\n",
            ),
            ("cancel --state queued --label a=1 --name x", "cancel", [], "0 cancelled\n"),
            (
                "priority -5 --state queued",
                "changePriority",
                [1, 7],
                "2 moved to priority -5\n",
            ),
            ("retry --name job5", "retry", [5], "1 queued again\n"),
            ("retry --state failed", "retry", [3, 4], "2 queued again\n"),
            ("retry --interrupted", "retry", [3], "1 queued again\n"),
            ("retry --interrupted --state failed --name x", "retry", [], "0 queued again\n"),
            ("prune --state succeeded", "remove", [6], "1 removed\n"),
        ):
            self.client.calls.clear()
            self.out = Stream()
            self.check(*argv.split(), "--yes", out=out)
            self.assertEqual(self.changed(method), jobs, argv)

    def test_age(self) -> None:
        """
        What C{prune} takes has finished as long ago as is said.
        """
        for age, finished, removed in (
            ("7d", 7 * 86400, True),
            ("7d", 7 * 86400 - 1, False),
            ("0s", 0, True),
        ):
            self.client = FakeClient(
                makeJob(1, "running"), makeFailed(2, "x"), makeJob(3, "succeeded")
            )
            for jobID in (2, 3):
                self.client.jobs[jobID]["finished_at"] = ago(finished)
            self.assertEqual(self.codeOf(self.start("prune", "--older-than", age, "--yes")), 0)
            self.assertEqual(self.changed("remove"), [2, 3] if removed else [])

    def test_mistakes(self) -> None:
        """
        Jobs in two ways, in none, or in a state in which nothing can be done to
        them, are mistakes; nothing is asked of the daemon.
        """
        which = "Give IDs, or say which jobs by --state, --name or --label; not both."
        for argv, sentence in (
            ("cancel", which),
            ("cancel 1 --state queued", which),
            ("cancel 1 --name x", which),
            ("cancel 1 --label a=1", which),
            ("priority 3", which),
            ("priority 3 1 --name x", which),
            ("retry", which),
            ("retry 1 --interrupted", which),
            (
                "retry --interrupted --state cancelled",
                "--interrupted means jobs that failed: leave out --state.",
            ),
            ("prune", "Say which jobs by --older-than or --state."),
            (
                "cancel --state failed",
                "Invalid value for '--state': 'failed' is not one of 'queued', 'running'.",
            ),
            (
                "prune --older-than 999999999d",
                "Invalid value for '--older-than': '999999999d' is longer than a hundred years.",
            ),
        ):
            self.err = Stream()
            self.check(*argv.split(), "--yes", err=f"ganeti-pool: {sentence} See --help.\n", code=2)
        self.assertEqual(self.client.calls, [])


class QuestionTests(BulkCase):
    """
    Tests for the question that comes before.
    """

    QUESTION = "3 jobs would be cancelled (2 queued, 1 running). Go on? [y/N] "

    def setUp(self) -> None:
        """
        A person at a terminal.
        """
        super().setUp()
        self.terminal = Terminal()
        self.addCleanup(self.terminal.hangUp)
        self.input = self.terminal
        self.err = Stream(terminal=True)

    def ask(self) -> Deferred[NoReturn]:
        """
        A command that asks.
        """
        running = self.start("cancel", "--state", "queued", "--state", "running")
        self.assertNoResult(running)
        self.assertEqual((self.out.text(), self.err.text()), ("", self.QUESTION))
        return running

    def test_yes(self) -> None:
        """
        Who says yes has it done.
        """
        for answer in (b"y\n", b" YES \n"):
            self.out, self.err = Stream(), Stream(terminal=True)
            running = self.ask()
            self.terminal.press(answer, self.reactor)
            self.assertEqual(self.codeOf(running), 0)
            self.assertEqual(self.out.text(), "2 cancelled, 1 told to end\n")
            self.assertEqual(self.reactor.getReaders(), [])

    def test_no(self) -> None:
        """
        Any other answer, and Return alone, is a no.
        """
        for answer in (b"\n", b"n\n", b"yes please\n"):
            self.err = Stream(terminal=True)
            running = self.ask()
            self.terminal.press(answer, self.reactor)
            self.checkEnd(running, err=self.QUESTION + "ganeti-pool: nothing was changed\n", code=1)
        self.assertEqual(self.changed("cancel"), [])

    def test_noAnswer(self) -> None:
        """
        Ctrl-D is a no, and so is a terminal that goes away.
        """
        running = self.ask()
        self.reactor.getReaders()[0].connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.codeOf(running), 1)
        self.err = Stream(terminal=True)
        running = self.ask()
        self.terminal.press(b"", self.reactor)
        self.checkEnd(running, err=self.QUESTION + "\nganeti-pool: nothing was changed\n", code=1)
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(self.changed("cancel"), [])

    def test_interrupted(self) -> None:
        """
        Ctrl-C at the question says on a line of its own that nothing was changed.
        """
        running = self.ask()
        self.interrupt()
        self.checkEnd(
            running,
            err=self.QUESTION + "\nganeti-pool: interrupted: nothing was changed\n",
            code=130,
        )
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(self.changed("cancel"), [])

    def test_nothingToAsk(self) -> None:
        """
        Where no job fits, nobody is asked.
        """
        self.check("cancel", "--name", "nobody", out="0 cancelled\n")

    def test_one(self) -> None:
        """
        One job is one job.
        """
        running = self.start("prune", "--state", "cancelled")
        self.terminal.press(b"y\n", self.reactor)
        self.checkEnd(running, err="1 job would be removed (1 cancelled). Go on? [y/N] ", code=0)

    def test_nobodyToAsk(self) -> None:
        """
        Where nobody is at a terminal to read the question and to answer it, the
        command is a mistake, and nothing is asked of the daemon.
        """
        for stdin, stderr in (
            (self.input, Stream()),
            (Stream(), Stream(terminal=True)),
            (None, Stream(terminal=True)),
        ):
            for argv in ("cancel --state queued", "prune --older-than 7d"):
                self.input, self.err = stdin, stderr
                stderr.memory.truncate(0)
                stderr.memory.seek(0)
                self.check(
                    *argv.split(),
                    err="ganeti-pool: There is no terminal to ask at: say --yes. See --help.\n",
                    code=2,
                )
        self.assertEqual(self.client.calls, [])


class ManyTests(BulkCase):
    """
    Tests for how many jobs are changed.
    """

    def fill(self, count: int) -> None:
        """
        A daemon with many queued jobs.
        """
        self.client = FakeClient(*map(makeJob, range(1, count + 1)))

    def test_json(self) -> None:
        """
        With C{--json}, each job that was changed is printed as it is then.
        """
        jobs = [{**self.client.jobs[jobID], "priority": 3} for jobID in (1, 7)]
        out = "".join(encode(job).decode() + "\n" for job in jobs)
        self.check("priority", "3", "--state", "queued", "--yes", "--json", out=out)

    def test_pruneJSON(self) -> None:
        """
        With C{--json}, each job that was removed is printed as it was.
        """
        out = encode(self.client.jobs[6]).decode() + "\n"
        self.check("prune", "--state", "succeeded", "--yes", "--json", out=out)
        self.assertNotIn(6, self.client.jobs)

    def test_manyPages(self) -> None:
        """
        Of many jobs that are found no more than one page is kept whole.
        """
        for options in ((), ("--json",)):
            jobs = (makeFailed(number, code="interrupted") for number in range(1, 3502))
            self.client = client = PagingClient(*jobs)
            running = self.start("retry", "--interrupted", "--yes", *options)
            self.assertEqual(self.codeOf(running), 0)
            self.assertEqual(len(client.kept), 4)
            self.assertLessEqual(max(client.kept), 1000)
            self.assertEqual(sum(call[0] == "retry" for call in client.calls), 3501)

    def test_changedMeanwhile(self) -> None:
        """
        Jobs that are not any more as they were found are counted, and are no
        failure.
        """
        for status, jobs in ((409, "1 job had changed meanwhile, and was left alone"),):
            self.client.troubles["cancel"] = RequestRefused(status, "finished", "too late")
            self.check(
                *("cancel", "--state", "queued", "--yes"),
                out="1 cancelled\n",
                err=f"ganeti-pool: {jobs}\n",
            )
        self.out, self.err = Stream(), Stream()
        waiting = self.holdBack("cancel")
        running = self.start("cancel", "--state", "queued", "--yes")
        for answer in (RequestRefused(404, "no_such_job", "gone"), RequestRefused(409, "x", "y")):
            waiting.pop().errback(answer)
        self.assertEqual(self.codeOf(running), 0)
        self.assertEqual(self.out.text(), "0 cancelled\n")
        self.assertEqual(
            self.err.text(), "ganeti-pool: 2 jobs had changed meanwhile, and were left alone\n"
        )

    def test_notRunnable(self) -> None:
        """
        Jobs that this daemon cannot run are counted as refused, with why the first of
        them is; the others are changed, and the exit code says that not all were.
        """

        def refusal(jobID: int) -> RequestRefused:
            return RequestRefused(409, "not_runnable", f"job {jobID} has other args")

        for answers, out, refused in (
            (
                [None, refusal(2), None],
                "2 queued again\n",
                "1 job was refused: job 2 has other args",
            ),
            (
                [refusal(1), None, refusal(3)],
                "1 queued again\n",
                "2 jobs were refused: job 1 has other args (and 1 more)",
            ),
            (
                [refusal(1), refusal(2), RequestRefused(409, "finished", "too late")],
                "0 queued again\n",
                "1 job had changed meanwhile, and was left alone\n"
                "ganeti-pool: 2 jobs were refused: job 1 has other args (and 1 more)",
            ),
        ):
            self.client = FakeClient(*map(makeFailed, (1, 2, 3)))
            self.out, self.err = Stream(), Stream()
            waiting = self.holdBack("retry")
            running = self.start("retry", "--state", "failed", "--yes")
            for jobID, answer in enumerate(answers, 1):
                waiting.pop(0).callback(makeJob(jobID) if answer is None else Failure(answer))
            self.checkEnd(running, f"ganeti-pool: {refused}\n", code=4)
            self.assertEqual(self.out.text(), out)

    def test_begunMeanwhile(self) -> None:
        """
        A job that has begun to run since it was found as a queued one is left alone; one
        that ran already is told to end.
        """
        for options, out in (
            (("--state", "queued"), "1 cancelled\n"),
            (("--state", "queued", "--state", "running"), "1 cancelled, 1 told to end\n"),
        ):
            self.out, self.err = Stream(), Stream()
            self.input = Terminal()
            self.addCleanup(self.input.hangUp)
            self.err = Stream(terminal=True)
            self.client.jobs[7] = makeJob(7)
            running = self.start("cancel", *options)
            self.client.jobs[7] = makeJob(7, "running")
            self.input.press(b"y\n", self.reactor)
            self.assertEqual(self.codeOf(running), 0)
            self.assertEqual(self.out.text(), out)
            _, said = self.err.text().split("[y/N] ")
            self.assertEqual(said, "ganeti-pool: 1 job had changed meanwhile, and was left alone\n")

    def test_fewRequestsAtATime(self) -> None:
        """
        However many jobs there are, eight requests are under way at most.
        """
        self.fill(2500)
        waiting = self.holdBack("cancel")
        running = self.start("cancel", "--state", "queued", "--yes")
        for jobID in range(2500, 0, -1):
            self.assertEqual(len(waiting), min(8, jobID))
            waiting.pop(0).callback(makeJob(jobID, "cancelled"))
        self.assertEqual(self.codeOf(running), 0)
        self.assertEqual(self.out.text(), "2500 cancelled\n")
        self.assertEqual(self.changed("cancel"), list(range(2500, 0, -1)))

    def test_lastToStartFirst(self) -> None:
        """
        Those that start last are cancelled first, and what runs after all that waits: in
        their own order, jobs would have begun when it is their turn.
        """
        self.client = FakeClient(
            makeJob(1, "running", priority=20),
            makeJob(2, priority=10),
            makeJob(3, priority=-5),
            makeJob(4),
            makeJob(5, "running"),
            makeJob(6, priority=10),
            makeJob(7),
        )
        running = self.start("cancel", "--state", "queued", "--state", "running", "--yes")
        self.assertEqual(self.codeOf(running), 0)
        self.assertEqual(self.changed("cancel"), [6, 2, 7, 4, 3, 1, 5])
        self.client.calls.clear()
        running = self.start("priority", "3", "--state", "queued", "--yes")
        self.assertEqual(self.codeOf(running), 0)
        self.assertEqual(self.changed("changePriority"), [2, 3, 4, 6, 7])

    def test_interrupted(self) -> None:
        """
        Ctrl-C says how many are done, and gives up the requests that are under way.
        """
        self.fill(20)
        waiting = self.holdBack("cancel")
        running = self.start("cancel", "--state", "queued", "--yes")
        for jobID in (1, 2, 3):
            waiting.pop(0).callback(makeJob(jobID, "cancelled"))
        self.interrupt()
        self.assertEqual(self.codeOf(running), 130)
        self.assertEqual(self.client.cancelled, 8)
        self.assertEqual(
            self.err.text(),
            "ganeti-pool: interrupted: 3 of 20 jobs are known to be cancelled\n",
        )

    def test_trouble(self) -> None:
        """
        A daemon that vanishes, or refuses for a reason that is not the job's, is
        asked no further; what is said tells how many are done.
        """
        for trouble, err, code in (
            (
                DaemonUnreachable("/socket", "it hung up"),
                "there is no answer from a daemon at /socket: it hung up",
                3,
            ),
            (RequestRefused(429, "queue_full", "the queue is full"), "the queue is full", 4),
        ):
            self.fill(20)
            self.err = Stream()
            waiting = self.holdBack("cancel")
            running = self.start("cancel", "--state", "queued", "--yes")
            waiting.pop(0).callback(makeJob(1, "cancelled"))
            waiting.pop(3).errback(trouble)
            self.assertEqual(self.codeOf(running), code)
            self.assertEqual(self.client.cancelled, 7)
            self.assertEqual(
                self.err.text(),
                f"ganeti-pool: {err} (1 of 20 jobs are known to be cancelled)\n",
            )

    def test_bar(self) -> None:
        """
        Somebody who waits for many jobs at a terminal sees a bar, which is drawn not
        too often.
        """
        self.fill(2000)
        self.err = Stream(terminal=True)
        self.check("cancel", "--state", "queued", "--yes", "--json", out=self.jobs())
        self.fill(2000)
        self.out = Stream()
        self.assertEqual(self.codeOf(self.start("cancel", "--state", "queued", "--yes")), 0)
        self.assertEqual(self.out.text(), "2000 cancelled\n")
        self.assertIn("2000/2000", self.err.text())
        self.assertLess(self.err.text().count("/2000"), 300)

    def jobs(self) -> str:
        """
        All jobs as they are when cancelled, as JSON.
        """
        return "".join(
            encode({**job, "state": "cancelled"}).decode() + "\n"
            for job in reversed(self.client.jobs.values())
        )
