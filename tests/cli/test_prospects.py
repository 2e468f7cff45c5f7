"""
Tests for waiting for jobs that cannot start, or cannot end.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from ganeti_pool.cli._prospects import ownJob
from ganeti_pool.client import DaemonUnreachable

from .case import POOL, CommandCase, FakeClient, Stream, ago, makeJob


class ProspectsCase(CommandCase):
    """
    A daemon whose jobs 1 and 2 run, and whose jobs 3 and 4 are queued.
    """

    def setUp(self) -> None:
        super().setUp()
        self.client = FakeClient(
            makeJob(1, "running"), makeJob(2, "running"), makeJob(3), makeJob(4)
        )
        self.state = os.path.realpath(self.mktemp())
        self.pool(host=socket.gethostname(), state_directory=self.state)

    def pool(self, workers: int = 4, active: bool = True, **daemon: Any) -> None:
        """
        Give the daemon a pool.
        """
        known = {**self.client.poolStatus["daemon"], **daemon}
        self.client.poolStatus = {**POOL, "workers": workers, "active": active, "daemon": known}

    def enter(self, jobID: int) -> None:
        """
        Run the command in a job of the daemon.
        """
        os.environ["GANETI_POOL_JOB"] = str(jobID)
        os.environ["GANETI_POOL_STATE"] = self.state

    def said(self, *argv: str) -> str:
        """
        What a command that waits has said.
        """
        self.err = Stream()
        running = self.start(*argv)
        self.assertNoResult(running)
        return self.err.text()


class StartTests(ProspectsCase):
    """
    Tests for a pool that starts no job.
    """

    def test_paused(self) -> None:
        """
        A wait for queued jobs says that the pool is paused.
        """
        self.pool(active=False)
        self.assertEqual(
            self.said("wait", "3"),
            "ganeti-pool: the pool is paused, and job 3 is queued: this waits until it is "
            "resumed\n",
        )
        self.assertEqual(
            self.said("wait", "--all"),
            "ganeti-pool: the pool is paused, and 2 of the jobs are queued: this waits until it "
            "is resumed\n",
        )

    def test_noWorkers(self) -> None:
        """
        C{wait}, C{submit --wait} and C{quiesce} say that the pool has no workers.
        """
        self.pool(workers=0)
        self.assertEqual(
            self.said("wait", "4"),
            "ganeti-pool: the pool has no workers, and job 4 is queued: this waits until it is "
            "resized\n",
        )
        self.assertEqual(
            self.said("submit", "--wait", "true"),
            "ganeti-pool: the pool has no workers, and job 5 is queued: this waits until it is "
            "resized\n",
        )
        self.assertEqual(
            self.said("quiesce"),
            "ganeti-pool: the pool has no workers, and 12 queued: this waits until it is resized\n",
        )

    def test_onlyWorker(self) -> None:
        """
        In a job that has the pool's only worker, a wait for another job says so.
        """
        self.pool(workers=1)
        self.assertEqual(self.said("wait", "3"), "")
        self.enter(1)
        self.assertEqual(
            self.said("submit", "--wait", "true"),
            "ganeti-pool: the pool's only worker runs job 1, which waits here, and job 5 is "
            "queued: this waits until it is resized\n",
        )

    def test_quiesce(self) -> None:
        """
        A wait for a job that was submitted after a standing quiesce says so; in a job for which
        the quiesce waits, it says that neither ends.
        """
        for since, said in (
            (ago(3601), True),
            (ago(3600), True),
            (ago(3599), False),
            (None, False),
        ):
            self.pool()
            self.client.poolStatus["quiesces"] = {"count": int(said), "since": since}
            sentence = (
                "ganeti-pool: a quiesce holds back jobs submitted after it, and job 3 is queued: "
                "this waits until the quiesce ends\n"
            )
            self.assertEqual(self.said("wait", "3"), said * sentence)
        self.client.poolStatus["quiesces"] = {"count": 1, "since": ago(4000)}
        self.enter(1)
        self.assertEqual(
            self.said("submit", "--wait", "true"),
            "ganeti-pool: a quiesce waits for job 1, which waits here, and holds back jobs "
            "submitted after it, and job 5 is queued: this waits until the quiesce is cancelled\n",
        )
        del self.client.poolStatus["quiesces"]
        self.assertEqual(self.said("wait", "3"), "")

    def test_nothingQueued(self) -> None:
        """
        A wait for jobs that run, or have ended, says nothing of the pool.
        """
        self.pool(active=False)
        self.assertEqual(self.said("wait", "1", "2"), "")
        self.client.jobs[3] = makeJob(3, "succeeded")
        self.client.calls.clear()
        self.check("wait", "3", out="3 succeeded\n")
        self.assertNotIn(("pool",), self.client.calls)

    def test_later(self) -> None:
        """
        A pool that is paused while the command waits is told of once, and again after it
        was resumed.
        """
        running = self.start("wait", "3")
        sentence = (
            "ganeti-pool: the pool is paused, and job 3 is queued: this waits until it is resumed\n"
        )
        for active, said in ((False, 1), (False, 1), (True, 1), (False, 2)):
            self.pool(active=active)
            self.reactor.advance(60)
            self.client.change()
            self.assertEqual(self.err.text(), said * sentence)
        self.assertNoResult(running)

    def test_daemonVanishes(self) -> None:
        """
        A daemon that is gone when it is asked for its pool is waited for like at any other
        request.
        """
        self.client.troubles["pool"] = DaemonUnreachable("/socket", "it hung up")
        self.assertIn("the daemon is unreachable", self.said("wait", "3"))

    def test_resizeToNothing(self) -> None:
        """
        C{resize 0} says that no job can start, and how many run on.
        """
        self.client.poolStatus = {**POOL, "busy": 0}
        text = "active, no workers: no job can start until resize adds some\n"
        self.check("resize", "0", out=text)
        self.client.poolStatus = {**POOL, "active": False}
        self.out = Stream()
        text = "paused, no workers, 2 still running: no job can start until resize adds some\n"
        self.check("resize", "0", out=text)


class OwnJobTests(ProspectsCase):
    """
    Tests for what a job does to wait for itself.
    """

    REFUSED = (
        "ganeti-pool: this command runs in job 1 and would wait for the end of job 1: name other "
        "jobs, or wait outside the job\n"
    )

    def test_wait(self) -> None:
        """
        A wait for the job itself, by its id or with C{--all}, is refused.
        """
        self.enter(1)
        self.check("wait", "1", err=self.REFUSED, code=4)
        self.err = Stream()
        self.check("wait", "--any", "1", err=self.REFUSED, code=4)
        self.err = Stream()
        self.check("wait", "--all", err=self.REFUSED, code=4)
        self.assertEqual(self.client.changes, [])

    def test_waitForOthers(self) -> None:
        """
        A job may wait for others, and for the first of several.
        """
        self.enter(1)
        self.assertEqual(self.said("wait", "2", "3"), "")
        self.assertEqual(self.said("wait", "--any", "1", "2"), "")

    def test_follow(self) -> None:
        """
        To follow the job's own output to its end is refused; to look at it is not, and
        neither is to follow that of another job, or of an earlier attempt.
        """
        self.enter(1)
        self.check("logs", "-f", "1", err=self.REFUSED, code=4)
        self.err = Stream()
        self.check("logs", "1")
        self.client.jobs[1] = makeJob(1, "running", attempt=2)
        self.assertEqual(self.said("logs", "-f", "--attempt", "1", "1"), "")
        self.assertEqual(self.said("logs", "-f", "2"), "")

    def test_whichDaemon(self) -> None:
        """
        The job counts only if the daemon has its host and its state directory.
        """
        pool = self.client.poolStatus
        self.assertIsNone(ownJob(pool))
        self.enter(1)
        self.assertEqual(ownJob(pool), 1)
        for other in ({"host": "elsewhere"}, {"state_directory": "/elsewhere"}):
            self.assertIsNone(ownJob({**pool, "daemon": {**pool["daemon"], **other}}))
        older = {key: value for key, value in pool["daemon"].items() if key != "host"}
        self.assertIsNone(ownJob({**pool, "daemon": older}))
        for variable, value in (
            ("GANETI_POOL_JOB", ""),
            ("GANETI_POOL_JOB", "-1"),
            ("GANETI_POOL_JOB", "\N{ARABIC-INDIC DIGIT ONE}"),
            ("GANETI_POOL_JOB", "1" * 19),
            ("GANETI_POOL_STATE", ""),
            ("GANETI_POOL_STATE", "state"),
            ("GANETI_POOL_STATE", "/" * 4097),
        ):
            self.enter(1)
            os.environ[variable] = value
            self.assertIsNone(ownJob(pool), (variable, value))
