"""
Tests for jobs that are removed.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail

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
        A finished job is forgotten, and then what it has written is removed.
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
        One that waits or runs is refused, and keeps what it writes.
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
        If the commit fails, all is as before.
        """
        self.failOne()
        self.store.failure = FULL
        self.failureResultOf(self.queue.remove(1), errors.StoreFull)
        self.recover()
        self.assertEqual((self.job().state, self.removed), (JobState.FAILED, []))

    def test_outputStays(self) -> None:
        """
        That what it has written could not be removed is logged; the job is gone.
        """
        self.failOne()
        self.removal = fail(OSError("no"))
        self.successResultOf(self.queue.remove(1))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.failureResultOf(self.queue.job(1), errors.NoSuchJob)

    def test_againstRetry(self) -> None:
        """
        Of a removal and a retry at the same time the first to ask wins, and the other
        is refused.
        """
        self.failOne()
        self.store.held = True
        removed = self.queue.remove(1)
        retried = self.queue.retry(1)
        self.release()
        self.successResultOf(removed)
        self.failureResultOf(retried, errors.NoSuchJob)
        self.ends.append(JobFailed(JobFailure("exit_nonzero", "it exited", 3)))
        self.submit(new("flaky"))
        self.step()
        self.store.held = True
        retried = self.queue.retry(2)
        removed = self.queue.remove(2)
        self.store.commit()
        self.release()
        self.assertEqual(self.successResultOf(retried).state, JobState.QUEUED)
        self.failureResultOf(removed, errors.JobNotFinished)
        self.assertEqual(self.removed, [["output/1"]])

    def test_keyIsFree(self) -> None:
        """
        The key of a job that is gone may be used again.
        """
        self.failOne(key="k")
        self.successResultOf(self.queue.remove(1))
        self.assertEqual(self.submit(new("flaky", key="k")), [2])
