"""
Tests for waiting until all is done.
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
        It is quiet.
        """
        self.reactor.run()
        self.assertIsNone(self.successResultOf(quiet))
        self.assertEqual(self.status()["quiesces"], {"count": 0, "since": None})

    def test_empty(self) -> None:
        """
        A queue without a job is quiet at once.
        """
        self.over(self.quiesce())

    def test_waits(self) -> None:
        """
        It waits for the outcome of what was submitted before, and for that alone;
        what comes later starts when it is over.
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
            self.meanwhile += [still, still, recover]

        def still() -> None:
            self.reactor.run()
            self.assertNoResult(quiet)
            self.reactor.advance(1)

        def recover() -> None:
            self.store.failure = None
            self.reactor.advance(30)

        self.tasks["full"] = full
        self.submit(new("full"))
        quiet = self.quiesce()
        self.step()
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
        It waits until a cancellation is committed, and if that fails for the job
        itself, which is still in front of what came later.
        """
        self.submit(new("note", 1))
        quiet = self.quiesce()
        self.submit(new("note", 2))
        self.store.held = True
        refused = self.queue.cancel(1)
        self.reactor.run()
        self.assertNoResult(quiet)
        self.store.failure = FULL
        self.store.commit()
        self.failureResultOf(refused, errors.StoreFull)
        self.store.failure = None
        self.reactor.run()
        self.assertNoResult(quiet)
        self.release()
        self.step()
        self.assertEqual(self.ran, [1])
        self.over(quiet)
        self.successResultOf(self.queue.cancel(2))
        self.over(self.quiesce())

    def test_retryComesLater(self) -> None:
        """
        A job that is retried meanwhile is one that comes later.
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
        A job that has to wait for it can be moved and cancelled.
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
        Whoever does not wait any more holds nothing up.
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
        In a pause it waits, and ends once that is over.
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
        Several may wait, each for what was before.
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
        A queue that stops lets all go who wait, at once, and nobody wait any more.
        """
        self.submit(new(), new())
        waits = [self.quiesce(), self.quiesce()]
        stopped = self.queue.stop(10)
        for quiet in waits:
            self.failureResultOf(quiet, errors.QueueStopping)
        self.failureResultOf(self.queue.quiesce(), errors.QueueStopping)
        self.reactor.run()
        self.successResultOf(stopped)

    def test_quietBeforeTheStopIsHeard(self) -> None:
        """
        Who is told of a stop is told nothing more, though it has become quiet too.
        """
        self.submit(new())
        quiet = self.quiesce()
        self.step()
        self.queue.stop(0)
        self.failureResultOf(quiet, errors.QueueStopping)
        self.reactor.run()

    def test_poolThatEnds(self) -> None:
        """
        A pool that has begun to stop before the queue has does not become quiet.
        """
        self.submit(new())
        quiet = self.quiesce()
        self.pool.terminateWorkers()
        self.reactor.run()
        self.failureResultOf(quiet, errors.QueueStopping)
        self.failureResultOf(self.queue.quiesce(), errors.QueueStopping)

    def test_standing(self) -> None:
        """
        The status counts the quiesces that stand, and says since when the oldest does.
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
    Tests for a quiesce that a job asks for.
    """

    def setUp(self) -> None:
        super().setUp()
        self.own = JobOrigin(1, socket.gethostname(), os.path.realpath(self.directory))

    def test_running(self) -> None:
        """
        It is refused to a job that runs, and holds nothing back.
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
        A job of another daemon, whether of this machine or another, may ask for it.
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
        What a job has left behind may ask for it once the job has ended, even if its end
        is not recorded yet.
        """
        self.isPosting = True
        self.submit(new("note", 1))
        self.store.held = True
        self.meanwhile += [self.store.commit]
        self.step()
        quiet = self.queue.quiesce(self.own)
        self.assertEqual(self.status()["quiesces"]["count"], 1)
        self.release()
        self.reactor.run()
        self.successResultOf(quiet)

    def test_link(self) -> None:
        """
        A daemon whose state directory is named through a link knows its jobs again.
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
