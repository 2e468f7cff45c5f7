"""
Tests for cancellations.
"""

from __future__ import annotations

from collections.abc import Callable

from ganeti_pool import errors
from ganeti_pool.jobs import (
    Job,
    JobEventKind,
    JobFailure,
    JobState,
)
from ganeti_pool.workerpool import DeferTask

from .queuecase import FULL, NOON, JobFailed, StartedCase, Worker, new


class CancelTests(StartedCase):
    """
    Tests for L{JobQueue.cancel}.
    """

    def cancel(self, jobID: int = 1) -> Job:
        return self.successResultOf(self.queue.cancel(jobID))

    def test_queued(self) -> None:
        """
        A queued job is cancelled at once and never runs. The request may be repeated.
        """
        self.submit(new("note", 1), new("note", 2))
        self.assertEqual(self.cancel().state, JobState.CANCELLED)
        self.assertEqual(self.cancel().state, JobState.CANCELLED)
        self.runAll()
        self.assertEqual(self.ran, [2])
        self.assertEqual(self.status()["statistics"]["cancelled"], 1)

    def test_beforeTheStart(self) -> None:
        """
        In one batch a cancellation is decided before any start: the job does not run.
        """
        self.submit(new("note", 1), new("note", 2))
        with self.oneBatch(mayStart=True):
            answer = self.queue.cancel(1)
        self.assertEqual(self.successResultOf(answer).state, JobState.CANCELLED)
        self.runAll()
        self.assertEqual(self.ran, [2])

    def test_afterTheStart(self) -> None:
        """
        A cancellation that comes after the start becomes a cancellation of the running job.
        """
        self.tasks["long"] = lambda worker: self.ran.append(worker.IsCancelled())
        self.submit(new("long"))
        self.startJobs()
        job = self.successResultOf(self.queue.cancel(1))
        self.assertEqual((job.state, job.cancelRequestedAt), (JobState.RUNNING, NOON))
        self.step()
        self.assertEqual(self.ran, [True])

    def test_withTheEnd(self) -> None:
        """
        In one batch the end of a run is decided before a cancellation, which comes too late.
        """
        self.submit(new("note", 1))
        with self.oneBatch():
            self.isHeld = False
            self.startJobs()
            self.isHeld = True
            answer = self.queue.cancel(1)
            self.waiting.pop().step()
        self.failureResultOf(answer, errors.JobFinished)
        self.assertEqual((self.ran, self.job().state), ([1], JobState.SUCCEEDED))

    def test_notCommitted(self) -> None:
        """
        If the commit fails, the job is back where it was.
        """
        self.submit(new("note", 1), new("note", 2, priority=-3), new("note", 3, priority=-3))
        self.store.failure = FULL
        self.failureResultOf(self.queue.cancel(2), errors.StoreFull)
        self.recover()
        self.runAll()
        self.assertEqual(self.ran, [2, 3, 1])

    def test_twoAtOnce(self) -> None:
        """
        Two requests in one batch both get the cancelled job, which is counted once.
        """
        self.submit(new())
        with self.oneBatch():
            answers = [self.queue.cancel(1), self.queue.cancel(1)]
        states = [self.successResultOf(answer).state for answer in answers]
        self.assertEqual(states, [JobState.CANCELLED] * 2)
        self.assertEqual(self.status()["statistics"]["cancelled"], 1)

    def test_finished(self) -> None:
        """
        A job that has succeeded, or does not exist, cannot be cancelled.
        """
        self.submit(new())
        self.step()
        failure = self.failureResultOf(self.queue.cancel(1), errors.JobFinished)
        self.assertEqual(failure.value.state, "succeeded")
        self.failureResultOf(self.queue.cancel(2), errors.NoSuchJob)

    def test_onlyQueued(self) -> None:
        """
        With C{onlyQueued}, a queued job is cancelled, a cancelled one is the answer, a running
        one is left alone, and a finished one is rejected.
        """

        def task(worker: Worker) -> None:
            failure = self.failureResultOf(self.queue.cancel(1, True), errors.JobNotQueued)
            self.assertEqual(failure.value.state, "running")
            self.assertFalse(worker.IsCancelled())

        self.tasks["long"] = task
        self.submit(new("long"), new())
        for _ in range(2):
            job = self.successResultOf(self.queue.cancel(2, True))
            self.assertEqual(job.state, JobState.CANCELLED)
        self.runAll()
        self.assertIsNone(self.job().cancelRequestedAt)
        self.failureResultOf(self.queue.cancel(1, True), errors.JobFinished)

    def test_onlyQueuedAfterTheStart(self) -> None:
        """
        With C{onlyQueued}, a job that has been started is left alone.
        """
        self.submit(new("note", 1))
        self.startJobs()
        self.failureResultOf(self.queue.cancel(1, True), errors.JobNotQueued)
        self.step()
        self.assertEqual((self.ran, self.job().state), ([1], JobState.SUCCEEDED))

    def interrupted(self, end: Callable[[Worker], object]) -> list[Job]:
        """
        Run a job that is cancelled twice while it runs.

        @param end: how it ends.
        @return: the answers to two requests.
        """
        answers: list[Job] = []

        def task(worker: Worker) -> object:
            worker.CallWhenCancelled(lambda: self.ran.append("told"))
            answers.append(self.cancel())
            answers.append(self.cancel())
            self.assertTrue(worker.IsCancelled())
            return end(worker)

        self.tasks["long"] = task
        self.submit(new("long"))
        self.step()
        return answers

    def test_running(self) -> None:
        """
        A running job is told once, stays running in the meantime, and ends as cancelled,
        with the failure that it reports.
        """
        told = JobFailure("cancelled", "it was cancelled", None, "SIGTERM")

        def end(worker: Worker) -> None:
            raise JobFailed(told)

        answers = self.interrupted(end)
        self.assertEqual([job.state for job in answers], [JobState.RUNNING] * 2)
        self.assertEqual([job.cancelRequestedAt for job in answers], [NOON] * 2)
        self.assertEqual(self.ran, ["told"])
        self.assertEqual((self.job().state, self.job().error), (JobState.CANCELLED, told))

    def test_runningRaises(self) -> None:
        """
        Whatever a cancelled job raises, it ends as cancelled.
        """

        def end(worker: Worker) -> None:
            raise ValueError()

        self.interrupted(end)
        self.assertEqual((self.job().state, self.job().error), (JobState.CANCELLED, None))

    def test_runningSucceeds(self) -> None:
        """
        A success stands, even if the job was to be cancelled.
        """
        self.interrupted(lambda worker: "all the same")
        self.assertEqual(self.job().state, JobState.SUCCEEDED)

    def test_runningDefers(self) -> None:
        """
        A cancelled job that defers itself is not put back.
        """

        def end(worker: Worker) -> None:
            raise DeferTask()

        self.interrupted(end)
        self.assertEqual(self.job().state, JobState.CANCELLED)
        self.assertFalse(self.step())

    def test_runningNotCommitted(self) -> None:
        """
        A running job is told to end even if the disk is full, which may be its doing. The
        client gets the error, and there is no event.
        """

        def task(worker: Worker) -> None:
            self.store.failure = FULL
            refused = self.failureResultOf(self.queue.cancel(1), errors.StoreFull)
            self.assertIn("job 1 is told to end, but", refused.getErrorMessage())
            self.recover()
            self.assertTrue(worker.IsCancelled())
            raise errors.TaskCancelled("pool", 1)

        self.tasks["long"] = task
        self.submit(new("long"))
        self.step()
        self.assertEqual(self.job().state, JobState.CANCELLED)
        kinds = [event.kind for event in self.events]
        self.assertNotIn(JobEventKind.CANCEL_REQUESTED, kinds)

    def test_runningNeverWritten(self) -> None:
        """
        A running job is told to end however the store fails, and the answer is an error of
        that kind. The job ends as cancelled once the store takes its end.
        """
        told: list[bool] = []

        def task(worker: Worker) -> None:
            for failure in (errors.StoreError("it is broken"), errors.StoreLost("it is gone")):
                self.store.failure = failure
                refused = self.failureResultOf(self.queue.cancel(1), type(failure))
                self.assertIn(str(failure), refused.getErrorMessage())
                told.append(worker.IsCancelled())
            self.recover()
            raise errors.TaskCancelled("pool", 1)

        self.tasks["long"] = task
        self.submit(new("long"))
        self.step()
        self.assertEqual(told, [True] * 2)
        self.assertEqual(self.job().state, JobState.CANCELLED)

    def test_notRunningUnwritten(self) -> None:
        """
        The error of a request for a job that does not run is the store's.
        """
        self.submit(new())
        self.store.failure = FULL
        refused = self.failureResultOf(self.queue.cancel(1), errors.StoreFull)
        self.assertEqual(refused.getErrorMessage(), str(FULL))

    def test_undone(self) -> None:
        """
        The cancellation of a running job whose transaction fails is as if it had not been
        asked for, except that the job is told; a second request records it.
        """
        self.tasks["long"] = lambda worker: self.ran.append(worker.IsCancelled())
        self.submit(new("long"))
        self.startJobs()
        self.store.failure = FULL
        self.failureResultOf(self.queue.cancel(1), errors.StoreFull)
        self.recover()
        self.assertIsNone(self.job().cancelRequestedAt)
        self.takeEvents()
        self.successResultOf(self.queue.cancel(1))
        self.assertEqual(self.takeEvents(), [(1, "cancel_requested")])
        self.assertEqual(self.job().cancelRequestedAt, NOON)

    def test_whileStartIsRefused(self) -> None:
        """
        A job whose start the store has refused can be cancelled, and does not run.
        """
        self.submit(new("note", 1))
        self.store.failure = FULL
        self.assertFalse(self.step())
        self.recover()
        for _ in range(2):
            self.assertEqual(self.cancel().state, JobState.CANCELLED)
        self.assertFalse(self.step())
        self.assertEqual((self.ran, self.status()["busy"]), ([], 0))

    def test_afterADeferral(self) -> None:
        """
        A job that is cancelled after its deferral does not run again.
        """

        def task(worker: Worker) -> None:
            self.ran.append("once")
            raise DeferTask()

        self.tasks["defer"] = task
        self.submit(new("defer"))
        with self.oneBatch():
            self.isHeld = False
            self.startJobs()
            self.isHeld = True
            answer = self.queue.cancel(1)
            self.waiting.pop().step()
        self.runAll()
        self.assertEqual(self.successResultOf(answer).state, JobState.CANCELLED)
        self.assertEqual((self.ran, self.job().deferrals), (["once"], 1))

    def test_beforeDeferralIsWritten(self) -> None:
        """
        A job that is cancelled while its deferral cannot be written is not queued again.
        """

        def task(worker: Worker) -> None:
            self.store.failure = FULL
            raise DeferTask()

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.step()
        self.assertEqual(self.status()["store"]["unwritten"], 1)
        self.failureResultOf(self.queue.cancel(1), errors.StoreFull)
        self.recover()
        self.advance(30)
        self.assertEqual((self.job().state, self.job().deferrals), (JobState.CANCELLED, 0))
