"""
Tests for the removal of jobs.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, fail

from ganeti_pool import errors
from ganeti_pool.jobs import JobFailure, JobState

from .againcase import AgainCase
from .queuecase import FULL, JobFailed, Worker, new


class RemoveTests(AgainCase):
    """
    Tests for L{JobQueue.remove <ganeti_pool.jobqueue.JobQueue.remove>}.
    """

    def test_finished(self) -> None:
        """
        A finished job is removed from the store, and then its output is removed.
        """
        self.failOne()
        self.removal = Deferred()
        answer = self.queue.remove(1)
        self.failureResultOf(self.queue.job(1), errors.NoSuchJob)
        self.assertEqual(self.removed, [["output/1"]])
        self.assertNoResult(answer)
        self.removal.callback(None)
        self.assertIsNone(self.successResultOf(answer))
        self.failureResultOf(self.queue.remove(1), errors.NoSuchJob)
        self.failureResultOf(self.queue.retry(1), errors.NoSuchJob)

    def test_notFinished(self) -> None:
        """
        The removal of an unfinished job is rejected, and its output stays.
        """
        states: list[str] = []

        def task(worker: Worker) -> None:
            failure = self.failureResultOf(self.queue.remove(1), errors.JobNotFinished)
            states.append(failure.value.state)

        self.tasks["long"] = task
        self.submit(new("long"))
        failure = self.failureResultOf(self.queue.remove(1), errors.JobNotFinished)
        states.append(failure.value.state)
        self.runAll()
        self.assertEqual(states, ["queued", "running"])
        self.assertEqual(self.removed, [])

    def test_notCommitted(self) -> None:
        """
        If the commit fails, nothing is removed.
        """
        self.failOne()
        self.store.failure = FULL
        self.failureResultOf(self.queue.remove(1), errors.StoreFull)
        self.recover()
        self.assertEqual((self.job().state, self.removed), (JobState.FAILED, []))

    def test_outputStays(self) -> None:
        """
        Output that cannot be removed is logged. The job is gone.
        """
        self.failOne()
        self.removal = fail(OSError("no"))
        self.successResultOf(self.queue.remove(1))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.failureResultOf(self.queue.job(1), errors.NoSuchJob)

    def test_againstRetry(self) -> None:
        """
        Of a removal and a retry in one batch the first wins, and the other is rejected.
        """
        self.failOne()
        with self.oneBatch():
            removed = self.queue.remove(1)
            retried = self.queue.retry(1)
        self.successResultOf(removed)
        self.failureResultOf(retried, errors.NoSuchJob)
        self.ends.append(JobFailed(JobFailure("exit_nonzero", "it exited", 3)))
        self.submit(new("flaky"))
        self.step()
        with self.oneBatch():
            retried = self.queue.retry(2)
            removed = self.queue.remove(2)
        self.assertEqual(self.successResultOf(retried).state, JobState.QUEUED)
        self.failureResultOf(removed, errors.JobNotFinished)
        self.assertEqual(self.removed, [["output/1"]])

    def test_givenUp(self) -> None:
        """
        The output is removed even if the client does not wait for it.
        """
        self.failOne()
        with self.oneBatch():
            removed = self.queue.remove(1)
            removed.cancel()
        self.failureResultOf(removed, CancelledError)
        self.assertEqual(self.removed, [["output/1"]])

    def test_keyIsFree(self) -> None:
        """
        The key of a removed job may be used again.
        """
        self.failOne(key="k")
        self.successResultOf(self.queue.remove(1))
        self.assertEqual(self.submit(new("flaky", key="k")), [2])
