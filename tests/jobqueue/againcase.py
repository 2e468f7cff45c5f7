"""
A queue whose jobs fail.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail

from ganeti_pool import errors
from ganeti_pool.jobs import Job, JobFailure, JobState, Outcome

from .queuecase import StartedCase, Told, Worker, new


class AgainCase(StartedCase):
    """
    A queue with a job that has failed.
    """

    def setUp(self) -> None:
        super().setUp()
        self.ends: list[Exception] = [Told(JobFailure("exit_nonzero", "it exited", 3))]
        self.tasks["flaky"] = self.flaky

    def flaky(self, worker: Worker, what: object = "flaky") -> None:
        """
        End badly while there is something in C{ends}.
        """
        self.ran.append(what)
        if self.ends:
            raise self.ends.pop()

    def failOne(self, **fields: Any) -> None:
        """
        Have job 1 fail.
        """
        self.submit(new("flaky", **fields))
        self.stepping.step()
        self.assertEqual(self.job().state, JobState.FAILED)
        self.ran.clear()
        self.told()

    def retry(self, jobID: int = 1) -> Job:
        return self.successResultOf(self.queue.retry(jobID))

    def unheard(self) -> None:
        """
        Have the store keep the next outcome, and call that a failure.
        """
        original = self.store.finishAttempt

        def write(epoch: int, jobID: int, attempt: int, outcome: Outcome) -> Deferred[Job]:
            original(epoch, jobID, attempt, outcome)
            self.store.finishAttempt = original  # type: ignore[method-assign]
            return fail(errors.StoreError("the answer is lost"))

        self.store.finishAttempt = write  # type: ignore[method-assign]
