"""
Tests for what changes jobs and the pool.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from ganeti_pool.client import RequestRefused
from ganeti_pool.wire import encode

from .case import (
    CommandCase,
    FakeClient,
    Stream,
    makeJob,
)


class ChangeTests(CommandCase):
    """
    Tests for C{cancel}, C{priority} and C{retry} on jobs that are named.
    """

    def setUp(self) -> None:
        """
        A job that is queued and one that runs.
        """
        super().setUp()
        self.client = FakeClient(makeJob(1), makeJob(2, "running"))

    def test_cancel(self) -> None:
        """
        A queued job is cancelled, a running one told.
        """
        self.check("cancel", "1", "2", out="1 cancelled\n2 running, told to end\n")

    def test_cancelRefused(self) -> None:
        """
        A job that is refused does not keep the others from being cancelled.
        """
        self.client.troubles["cancel"] = RequestRefused(409, "finished", "job 2 has failed")
        self.check(
            *("cancel", "2", "1"),
            out="1 cancelled\n",
            err="ganeti-pool: job 2 has failed\n",
            code=4,
        )

    def test_cancelBroken(self) -> None:
        """
        A daemon that is broken is asked no further.
        """
        self.client.troubles["cancel"] = RequestRefused(500, "store_failed", "no disk")
        self.check(
            "cancel",
            "1",
            "2",
            err="ganeti-pool: no disk (0 of 2 jobs are known to be cancelled)\n",
            code=3,
        )
        self.assertEqual(len(self.client.calls), 1)

    def test_priority(self) -> None:
        """
        A priority may be negative or a word; an id may follow.
        """
        self.check("priority", "-5", "1", "2", out="1 priority -5\n2 priority -5\n")
        self.out = Stream()
        self.check("priority", "--", "-10", "1", out="1 priority -10\n")
        self.out = Stream()
        self.check("priority", "low", "1", out="1 priority 10\n")

    def test_retry(self) -> None:
        """
        A job is queued again, or refused for the reason that the daemon gives.
        """
        self.client = FakeClient(makeJob(1, "cancelled"), makeJob(2, "succeeded"))
        self.client.troubles["retry"] = RequestRefused(409, "finished", "job 2 has succeeded")
        self.check(
            *("retry", "2", "1"),
            out="1 queued\n",
            err="ganeti-pool: job 2 has succeeded\n",
            code=4,
        )

    def test_interrupted(self) -> None:
        """
        Ctrl-C between several says how many are done.
        """
        cancel = self.client.cancel
        self.patch(
            self.client, "cancel", lambda jobID, **_: cancel(jobID) if jobID == 1 else Deferred()
        )
        running = self.start("cancel", "1", "2", "3")
        self.interrupt()
        self.checkEnd(
            running,
            err="ganeti-pool: interrupted: 1 of 3 jobs are known to be cancelled\n",
            code=130,
        )

    def test_priorityJSON(self) -> None:
        """
        With C{--json} the job is printed.
        """
        job = {**self.client.jobs[1], "priority": 3}
        self.check("priority", "3", "1", "--json", out=encode(job).decode() + "\n")

    def test_wrongIDs(self) -> None:
        """
        What is no id is a mistake, and so is none at all.
        """
        for argv in (("cancel", "x"), ("cancel", "0"), ("cancel",), ("priority", "1", "-2")):
            self.err = Stream()
            running = self.start(*argv)
            self.assertEqual(self.codeOf(running), 2)
            self.assertEqual(self.err.text().count("\n"), 1)
        self.assertEqual(self.client.calls, [])
