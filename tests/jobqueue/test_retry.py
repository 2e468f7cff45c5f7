"""
Tests for jobs that an operator retries.
"""

from __future__ import annotations

from ganeti_pool import errors
from ganeti_pool.jobqueue import WorkerRules
from ganeti_pool.jobs import JobState, OnCrash
from ganeti_pool.workerpool import DeferTask

from .againcase import AgainCase
from .queuecase import FULL, WORKER, Worker, new


class RetryTests(AgainCase):
    """
    Tests for L{JobQueue.retry <ganeti_pool.jobqueue.JobQueue.retry>}.
    """

    def test_failed(self) -> None:
        """
        A failed job is queued behind the others of its priority, and starts once more.
        """
        self.failOne()
        self.submit(new("note", 2), new("note", 3, priority=5))
        self.takeEvents()
        job = self.retry()
        self.assertEqual((job.state, job.attempt, job.error), (JobState.QUEUED, 1, None))
        self.assertEqual(self.takeEvents(), [(1, "retried")])
        self.runAll()
        self.assertEqual(self.ran, [2, "flaky", 3])
        self.assertEqual((self.job().state, self.job().attempt), (JobState.SUCCEEDED, 2))
        self.assertEqual(
            [attempt.outcome for attempt in self.attempts()],
            [JobState.FAILED, JobState.SUCCEEDED],
        )

    def test_cancelled(self) -> None:
        """
        So does a job that was cancelled before it was started.
        """
        self.submit(new("note", 1))
        self.successResultOf(self.queue.cancel(1))
        self.assertEqual(self.retry().state, JobState.QUEUED)
        self.runAll()
        self.assertEqual((self.ran, self.job().attempt), ([1], 1))

    def test_asksAgain(self) -> None:
        """
        The request may be repeated, even in the same batch: the job starts once.
        """
        self.failOne()
        with self.oneBatch():
            answers = [self.queue.retry(1), self.queue.retry(1)]
        states = [self.successResultOf(answer).state for answer in answers]
        self.assertEqual(states, [JobState.QUEUED] * 2)
        self.assertEqual(self.retry().state, JobState.QUEUED)
        self.runAll()
        self.assertEqual(self.ran, ["flaky"])

    def test_running(self) -> None:
        """
        A running job is left alone.
        """
        seen: list[JobState] = []
        self.tasks["long"] = lambda worker: seen.append(self.retry().state)
        self.submit(new("long"))
        self.runAll()
        self.assertEqual(seen, [JobState.RUNNING])
        self.assertEqual((self.job().state, self.job().attempt), (JobState.SUCCEEDED, 1))

    def test_refused(self) -> None:
        """
        The retry of a job that has succeeded, does not exist, or is for another worker class is
        rejected.
        """
        self.submit(new())
        self.step()
        failure = self.failureResultOf(self.queue.retry(1), errors.JobFinished)
        self.assertEqual(failure.value.state, "succeeded")
        self.failureResultOf(self.queue.retry(2), errors.NoSuchJob)
        self.ends.append(ValueError())
        self.submit(new("flaky"))
        self.step()
        self.flushLoggedErrors(ValueError)
        self.patch(self.queue._dispatcher._decisions, "_rules", WorkerRules("some.Other"))
        failure = self.failureResultOf(self.queue.retry(2), errors.JobNotRunnable)
        self.assertEqual(failure.value.jobID, 2)
        self.assertEqual(
            failure.getErrorMessage(),
            f"job 2 is for {WORKER}, and this daemon runs jobs of some.Other: retry it with a "
            "daemon of that class",
        )
        self.assertEqual(self.job(2).state, JobState.FAILED)

    def test_notCommitted(self) -> None:
        """
        If the commit fails, the job stays as it was, and does not start.
        """
        self.failOne()
        self.store.failure = FULL
        self.failureResultOf(self.queue.retry(1), errors.StoreFull)
        self.recover()
        self.assertEqual(self.job().state, JobState.FAILED)
        self.assertFalse(self.step())
        self.assertEqual((self.takeEvents(), dict(self.queue.waiting)), ([], {}))

    def test_stopping(self) -> None:
        """
        A queue that is stopping retries nothing.
        """
        self.failOne()
        self.queue.stop(0)
        self.failureResultOf(self.queue.retry(1), errors.QueueStopping)

    def test_attempts(self) -> None:
        """
        A retry adds one attempt, whatever the job's C{maxAttempts}, and a crash then finds them
        used up.
        """
        self.failOne(onCrash=OnCrash.RETRY, maxAttempts=1)
        self.assertEqual(self.retry().maxAttempts, 2)
        with self.write() as unit:
            unit.startAttempt(1, 2)
        self.restart()
        self.assertError(1, JobState.FAILED, "interrupted")

    def test_afterRestart(self) -> None:
        """
        A retried job is queued over a restart.
        """
        self.failOne()
        self.retry()
        self.restart()
        self.runAll()
        self.assertEqual((self.ran, self.job().state), (["flaky"], JobState.SUCCEEDED))

    def test_withTheEnd(self) -> None:
        """
        In the batch of its end a job is retried after the end.
        """
        self.submit(new("flaky"))
        self.startJobs()
        with self.oneBatch():
            retried = self.queue.retry(1)
            self.waiting.pop().step()
        self.assertEqual(self.successResultOf(retried).state, JobState.QUEUED)
        self.runAll()
        self.assertEqual((self.job().state, self.job().attempt), (JobState.SUCCEEDED, 2))

    def test_cancelledAfterADeferral(self) -> None:
        """
        A job that is cancelled and retried in the batch of its deferral starts once.
        """

        def task(worker: Worker) -> None:
            self.ran.append("run")
            if len(self.ran) == 1:
                raise DeferTask()

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.startJobs()
        with self.oneBatch():
            self.waiting.pop().step()
            self.queue.cancel(1)
            self.queue.retry(1)
        self.assertEqual(dict(self.queue.waiting), {0: 1})
        self.runAll()
        self.assertEqual((self.ran, self.job().state), (["run"] * 2, JobState.SUCCEEDED))

    def test_cancelledAfterARefusedStart(self) -> None:
        """
        A job that is cancelled and retried while the store refuses its start starts once.
        """
        self.submit(new("note", 1))
        self.store.failure = FULL
        self.assertFalse(self.step())
        self.store.failure = None
        self.successResultOf(self.queue.cancel(1))
        self.retry()
        self.runAll()
        self.assertEqual((self.ran, self.job().attempt), ([1], 1))
