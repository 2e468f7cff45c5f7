"""
Tests for cancellations.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from ganeti_pool import errors
from ganeti_pool.jobs import (
    Job,
    JobEventKind,
    JobFailure,
    JobState,
)
from ganeti_pool.workerpool import DeferTask

from .queuecase import FULL, NOON, StartedCase, JobFailed, Worker, new


class CancelTests(StartedCase):
    """
    Tests for L{JobQueue.cancel}.
    """

    def cancel(self, jobID: int = 1) -> Job:
        return self.successResultOf(self.queue.cancel(jobID))

    def test_queued(self) -> None:
        """
        A queued job is cancelled at once and never runs; to ask again is fine.
        """
        self.submit(new("note", 1), new("note", 2))
        self.assertEqual(self.cancel().state, JobState.CANCELLED)
        self.assertEqual(self.cancel().state, JobState.CANCELLED)
        self.runAll()
        self.assertEqual(self.ran, [2])
        self.assertIsNone(self.queue._roster.find(1))
        self.assertEqual(self.status()["statistics"]["cancelled"], 1)

    def test_notStartedMeanwhile(self) -> None:
        """
        A job that is being cancelled does not start while that is committed, though a
        worker takes it.
        """
        self.submit(new("note", 1), new("note", 2))
        self.store.held = True
        answer = self.queue.cancel(1)
        self.assertNoResult(answer)
        self.step()
        self.assertEqual(self.successResultOf(answer).state, JobState.CANCELLED)
        self.release()
        self.runAll()
        self.assertEqual(self.ran, [2])

    def test_notCommitted(self) -> None:
        """
        If the commit fails, the job is back where it was.
        """
        self.submit(new("note", 1), new("note", 2, priority=-3), new("note", 3, priority=-3))
        self.store.failure = FULL
        self.failureResultOf(self.queue.cancel(2), errors.StoreFull)
        self.store.failure = None
        self.runAll()
        self.assertEqual(self.ran, [2, 3, 1])

    def test_twoAtOnce(self) -> None:
        """
        Two requests at once both get the cancelled job.
        """
        self.submit(new())
        self.store.held = True
        answers = [self.queue.cancel(1), self.queue.cancel(1)]
        self.store.commit()
        states = [self.successResultOf(answer).state for answer in answers]
        self.assertEqual(states, [JobState.CANCELLED] * 2)

    def test_finished(self) -> None:
        """
        A job that has succeeded, or that never was, cannot be cancelled.
        """
        self.submit(new())
        self.step()
        failure = self.failureResultOf(self.queue.cancel(1), errors.JobFinished)
        self.assertEqual(failure.value.state, "succeeded")
        self.failureResultOf(self.queue.cancel(2), errors.NoSuchJob)

    def test_onlyQueued(self) -> None:
        """
        Who asks for that alone cancels a queued job, and gets one that is cancelled; a
        running one is left alone, and a finished one refused as such.
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

    def test_onlyQueuedStartsMeanwhile(self) -> None:
        """
        A job whose start is recorded when the request has its turn is left alone.
        """
        answers: list[Deferred[Job]] = []
        self.submit(new("note", 1))
        self.hold(lambda: answers.append(self.queue.cancel(1, True)))
        self.step()
        self.release()
        self.failureResultOf(answers[0], errors.JobNotQueued)
        self.assertEqual((self.ran, self.job().state), ([1], JobState.SUCCEEDED))

    def interrupted(self, end: Callable[[Worker], object]) -> list[Job]:
        """
        Run a job that is cancelled while it runs, and that ends so.

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
        A running job is told once, stays running meanwhile, and ends as cancelled,
        with what it says of its end.
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
        A job that succeeds although it was told has succeeded.
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
        A running job is told of a request that could not be recorded since the disk is
        full, which may be its doing; it is no event, and whoever asked is refused.
        """

        def task(worker: Worker) -> None:
            self.store.failure = FULL
            refused = self.failureResultOf(self.queue.cancel(1), errors.StoreFull)
            self.assertIn("job 1 is told to end, but", refused.getErrorMessage())
            self.store.failure = None
            self.assertTrue(worker.IsCancelled())
            raise errors.TaskCancelled("pool", 1)

        self.tasks["long"] = task
        self.submit(new("long"))
        self.step()
        self.assertEqual(self.job().state, JobState.CANCELLED)
        kinds = [event.kind for event in self.events]
        self.assertNotIn(JobEventKind.CANCEL_REQUESTED, kinds)

    def test_runningUnwritten(self) -> None:
        """
        It is told to end however the store fails, and the refusal is of the same kind as
        that failure.
        """
        told: list[bool] = []

        def task(worker: Worker) -> None:
            for failure in (
                errors.StoreError("it is broken"),
                errors.StoreLost("it is gone"),
                errors.OwnershipLost(1, 2),
            ):
                self.store.failure = failure
                refused = self.failureResultOf(self.queue.cancel(1), type(failure))
                self.assertIn(str(failure), refused.getErrorMessage())
                told.append(worker.IsCancelled())
            self.store.failure = None
            raise errors.TaskCancelled("pool", 1)

        self.tasks["long"] = task
        self.submit(new("long"))
        self.step()
        self.assertEqual(told, [True] * 3)
        self.assertEqual(self.job().state, JobState.CANCELLED)

    def test_whileStarting(self) -> None:
        """
        A job that is cancelled while its start is committed starts, and is told.
        """
        self.tasks["long"] = lambda worker: self.ran.append(worker.IsCancelled())
        self.submit(new("long"))
        answers: list[Deferred[Job]] = []
        self.hold(lambda: answers.append(self.queue.cancel(1)), self.release)
        self.step()
        self.assertEqual(self.successResultOf(answers[0]).state, JobState.RUNNING)
        self.assertEqual(self.ran, [True])

    def test_whileStartRests(self) -> None:
        """
        A job whose start waits for room can be cancelled, and does not run.
        """
        self.submit(new("note", 1))
        self.store.failure = FULL

        def cancel() -> None:
            self.store.failure = None
            self.assertEqual(self.cancel().state, JobState.CANCELLED)
            self.assertEqual(self.cancel().state, JobState.CANCELLED)
            self.reactor.advance(1)

        self.meanwhile = [cancel]
        self.step()
        self.assertEqual((self.ran, self.job().state), ([], JobState.CANCELLED))
        self.assertEqual(self.status()["busy"], 0)

    def test_whileStartRestsNotCommitted(self) -> None:
        """
        If that cancellation fails, the job starts all the same, and once.
        """
        self.submit(new("note", 1))
        self.store.failure = FULL

        def cancel() -> None:
            self.failureResultOf(self.queue.cancel(1), errors.StoreFull)
            self.store.failure = None
            self.reactor.advance(1)

        self.meanwhile = [cancel]
        self.runAll()
        self.assertEqual(self.ran, [1])

    def test_whileDeferring(self) -> None:
        """
        A job that is cancelled while its deferral is committed does not run again.
        """

        def task(worker: Worker) -> None:
            self.ran.append("once")
            self.hold(lambda: answers.append(self.queue.cancel(1)), self.release)
            raise DeferTask()

        answers: list[Deferred[Job]] = []
        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.runAll()
        self.assertEqual(self.successResultOf(answers[0]).state, JobState.CANCELLED)
        self.assertEqual((self.ran, self.job().deferrals), (["once"], 1))

    def test_beforeDeferralIsWritten(self) -> None:
        """
        A job that is cancelled while its deferral waits for room is not put back.
        """

        def task(worker: Worker) -> None:
            self.store.failure = FULL
            self.meanwhile += [cancel]
            raise DeferTask()

        def cancel() -> None:
            self.store.failure = None
            self.assertEqual(self.cancel().state, JobState.RUNNING)
            self.reactor.advance(1)

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.runAll()
        self.assertEqual((self.job().state, self.job().deferrals), (JobState.CANCELLED, 0))
