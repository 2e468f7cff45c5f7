"""
Tests for what changes jobs and the pool.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from ganeti_pool.client import RequestRefused
from ganeti_pool.wire import encode

from .case import (
    POOL,
    CommandCase,
    FakeClient,
    Stream,
    makeJob,
)


class ChangeTests(CommandCase):
    """
    Tests for C{cancel}, C{priority}, C{pause}, C{resume} and C{resize}.
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

    def test_resizeInterrupted(self) -> None:
        """
        Ctrl-C while workers finish says that the change goes on.
        """
        self.patch(self.client, "changePool", lambda **_: Deferred())
        running = self.start("resize", "1")
        self.interrupt()
        self.assertEqual(self.codeOf(running), 130)
        self.assertEqual(
            self.err.text(),
            "ganeti-pool: interrupted: the daemon goes on to change the number of workers\n",
        )
