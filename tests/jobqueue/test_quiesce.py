"""
Tests for quiesces.
"""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from datetime import timedelta

from twisted.internet.defer import CancelledError, Deferred

from ganeti_pool import errors
from ganeti_pool.jobs import JobOrigin, JobState
from ganeti_pool.workerpool import DeferTask

from .queuecase import FULL, NOON, StartedCase, Worker, new


class QuiesceTests(StartedCase):
    """
    Tests for L{JobQueue.quiesce <ganeti_pool.jobqueue.JobQueue.quiesce>}.
    """

    def quiesce(self) -> Deferred[None]:
        quiet = self.queue.quiesce()
        self.reactor.run()
        return quiet

    def over(self, quiet: Deferred[None]) -> None:
        """
        Check that a quiesce is over, and that none is pending.
        """
        self.reactor.run()
        self.assertIsNone(self.successResultOf(quiet))
        self.assertEqual(self.status()["quiesces"], {"count": 0, "since": None})

    def test_empty(self) -> None:
        """
        In an empty queue it is over at once.
        """
        self.over(self.quiesce())

    def test_waits(self) -> None:
        """
        It waits for the outcomes of the jobs that were submitted before, and for no others. Later
        jobs start when it is over.
        """
        self.submit(new("note", 1), new("note", 2))
        quiet = self.quiesce()
        self.submit(new("note", 3, priority=-5))
        self.step()
        self.assertNoResult(quiet)
        self.assertEqual(self.ran, [1])
        self.step()
        self.assertEqual(self.ran, [1, 2])
        self.assertEqual(self.job(3).state, JobState.QUEUED)
        self.over(quiet)
        self.runAll()
        self.assertEqual(self.ran, [1, 2, 3])

    def test_unwrittenOutcome(self) -> None:
        """
        It waits for an outcome that is not written yet.
        """

        def full(worker: Worker) -> None:
            self.store.failure = FULL

        self.tasks["full"] = full
        self.submit(new("full"))
        quiet = self.quiesce()
        self.step()
        self.assertNoResult(quiet)
        self.recover()
        self.over(quiet)

    def test_deferral(self) -> None:
        """
        It waits for a job that defers itself.
        """
        ends: list[Exception] = [DeferTask()]

        def task(worker: Worker) -> None:
            if ends:
                raise ends.pop()

        self.tasks["defer"] = task
        self.submit(new("defer"))
        quiet = self.quiesce()
        self.step()
        self.reactor.run()
        self.assertNoResult(quiet)
        self.step()
        self.over(quiet)

    def test_cancelling(self) -> None:
        """
        A cancelled job is not waited for, unless the cancellation cannot be committed.
        """
        self.submit(new("note", 1))
        quiet = self.quiesce()
        self.submit(new("note", 2))
        self.store.failure = FULL
        self.failureResultOf(self.queue.cancel(1), errors.StoreFull)
        self.assertNoResult(quiet)
        self.recover()
        self.step()
        self.assertEqual(self.ran, [1])
        self.over(quiet)
        quiet = self.quiesce()
        self.successResultOf(self.queue.cancel(2))
        self.over(quiet)

    def test_oneBatch(self) -> None:
        """
        It waits for a job that was submitted just before, and not for one just after, even if
        a slot is idle and the end of a job comes with them.
        """
        self.submit(new("note", 1))
        self.startJobs()
        with self.oneBatch(mayStart=True):
            self.waiting.pop().step()
            self.queue.submit([new("note", 2)])
            quiet = self.queue.quiesce()
            self.queue.submit([new("note", 3, priority=-1)])
        self.assertEqual(self.states(1, 2, 3), ["succeeded", "running", "queued"])
        self.assertNoResult(quiet)
        self.step()
        self.over(quiet)
        self.assertEqual(self.ran, [1, 2])

    def test_undoneBehindIt(self) -> None:
        """
        A submission and a start that cannot be committed leave a quiesce as it is.
        """
        self.submit(new("note", 1))
        quiet = self.quiesce()
        self.store.failure = FULL
        with self.oneBatch(mayStart=True):
            refused = self.queue.submit([new("note", 2)])
        self.failureResultOf(refused, errors.StoreFull)
        self.recover()
        self.submit(new("note", 3))
        self.step()
        self.over(quiet)
        self.runAll()
        self.assertEqual(self.ran, [1, 3])

    def test_liftedInTheMiddle(self) -> None:
        """
        The jobs of a quiesce that is given up wait with those of the quiesce before it.
        """
        self.submit(new("note", 1))
        first = self.quiesce()
        self.submit(new("note", 2))
        second, third = self.quiesce(), self.quiesce()
        self.submit(new("note", 3, priority=-1))
        for quiet in (second, third):
            quiet.cancel()
            self.failureResultOf(quiet, CancelledError)
        self.assertNoResult(first)
        self.step()
        self.over(first)
        self.runAll()
        self.assertEqual(self.ran, [1, 3, 2])

    def test_liftedTooLate(self) -> None:
        """
        Giving up a quiesce whose end is on its way to the reactor changes nothing.
        """
        self.isReactorHeld = True
        quiet = self.queue.quiesce()
        quiet.cancel()
        self.reactor.run()
        self.failureResultOf(quiet, CancelledError)
        self.assertEqual(self.status()["quiesces"]["count"], 0)
        self.assertEqual(self.queue._sender._waiting, {})

    def test_retryComesLater(self) -> None:
        """
        A job that is retried in the meantime is a later one.
        """
        self.submit(new("note", 1), new("note", 2))
        self.successResultOf(self.queue.cancel(1))
        quiet = self.quiesce()
        self.successResultOf(self.queue.retry(1))
        self.step()
        self.assertEqual(self.ran, [2])
        self.over(quiet)
        self.step()
        self.assertEqual(self.ran, [2, 1])

    def test_movedBehindIt(self) -> None:
        """
        A job that waits behind it can be moved and cancelled.
        """
        self.submit(new("note", 1))
        quiet = self.quiesce()
        self.submit(new("note", 2), new("note", 3), new("note", 4))
        self.successResultOf(self.queue.changePriority(3, -1))
        self.successResultOf(self.queue.cancel(2))
        self.step()
        self.over(quiet)
        self.runAll()
        self.assertEqual(self.ran, [1, 3, 4])

    def test_lifted(self) -> None:
        """
        A quiesce that is given up holds no job.
        """
        self.submit(new("note", 1))
        quiet = self.quiesce()
        self.submit(new("note", 2, priority=-1))
        quiet.cancel()
        self.failureResultOf(quiet, CancelledError)
        self.assertEqual(self.status()["quiesces"]["count"], 0)
        self.runAll()
        self.assertEqual(self.ran, [2, 1])

    def test_paused(self) -> None:
        """
        It waits for the end of a pause.
        """
        self.submit(new())
        self.successResultOf(self.queue.setActive(False))
        quiet = self.quiesce()
        self.assertFalse(self.step())
        self.assertNoResult(quiet)
        self.successResultOf(self.queue.setActive(True))
        self.step()
        self.over(quiet)

    def test_several(self) -> None:
        """
        Several quiesces each wait for the jobs before them.
        """
        self.submit(new("note", 1))
        first = self.quiesce()
        self.submit(new("note", 2))
        second = self.quiesce()
        self.step()
        self.reactor.run()
        self.successResultOf(first)
        self.assertNoResult(second)
        self.step()
        self.over(second)

    def test_stop(self) -> None:
        """
        The stop of the queue fails all quiesces at once, and rejects new ones.
        """
        self.submit(new(), new())
        waits = [self.quiesce(), self.quiesce()]
        stopped = self.queue.stop(10)
        self.reactor.run()
        for quiet in waits:
            self.failureResultOf(quiet, errors.QueueStopping)
        self.failureResultOf(self.queue.quiesce(), errors.QueueStopping)
        self.reactor.run()
        self.successResultOf(stopped)

    def test_standing(self) -> None:
        """
        The status has the number of pending quiesces, and the start of the oldest.
        """
        self.submit(new("note", 1))
        first = self.quiesce()
        now = [NOON + timedelta(seconds=5)]
        self.patch(self.queue, "_now", lambda: now[0])
        second = self.quiesce()
        noon = {"count": 2, "since": "2026-01-31T12:00:00.123Z"}
        self.assertEqual(self.status()["quiesces"], noon)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        later = {"count": 1, "since": "2026-01-31T12:00:05.123Z"}
        self.assertEqual(self.status()["quiesces"], later)
        self.step()
        self.over(second)


class InsideTests(StartedCase):
    """
    Tests for a quiesce that a job requests.
    """

    def setUp(self) -> None:
        super().setUp()
        self.own = JobOrigin(1, socket.gethostname(), os.path.realpath(self.directory))

    def test_running(self) -> None:
        """
        The quiesce of a running job is rejected, and holds no job.
        """
        refusals = []

        def ask(worker: Worker) -> None:
            refusals.append(self.failureResultOf(self.queue.quiesce(self.own), errors.InsideJob))
            self.assertEqual(self.status()["quiesces"]["count"], 0)

        self.tasks["ask"] = ask
        self.submit(new("ask"), new("note", 2))
        self.runAll()
        self.assertEqual([refusal.value.jobID for refusal in refusals], [1])
        self.assertEqual(self.ran, [2])

    def test_elsewhere(self) -> None:
        """
        A job of another daemon, on this machine or another, may request it.
        """
        quiets = []

        def ask(worker: Worker) -> None:
            for other in (
                replace(self.own, jobID=2),
                replace(self.own, host="elsewhere"),
                replace(self.own, stateDirectory="/elsewhere"),
            ):
                quiets.append(self.queue.quiesce(other))

        self.tasks["ask"] = ask
        self.submit(new("ask"))
        self.runAll()
        self.reactor.run()
        for quiet in quiets:
            self.assertIsNone(self.successResultOf(quiet))
        self.assertEqual(len(quiets), 3)

    def test_leftBehind(self) -> None:
        """
        A process that a job left behind may ask for it once the job has ended.
        """
        self.submit(new("note", 1))
        self.step()
        self.assertIsNone(self.successResultOf(self.queue.quiesce(self.own)))

    def test_link(self) -> None:
        """
        A daemon whose state directory is named through a link recognises its jobs.
        """
        link = self.mktemp()
        os.symlink(os.path.abspath(self.directory), link)
        own, self.directory = self.own, link
        self.restart()

        def ask(worker: Worker) -> None:
            self.failureResultOf(self.queue.quiesce(own), errors.InsideJob)
            self.ran.append("refused")

        self.tasks["ask"] = ask
        self.submit(new("ask"))
        self.runAll()
        self.assertEqual(self.ran, ["refused"])
