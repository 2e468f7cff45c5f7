"""
A queue whose jobs fail.
"""

from __future__ import annotations

from ganeti_pool.jobs import Job, JobFailure, JobState

from .queuecase import JobFailed, StartedCase, Worker, new

__all__ = ["AgainCase"]


class AgainCase(StartedCase):
    """
    A queue with a job that has failed.
    """

    def setUp(self) -> None:
        super().setUp()
        self.ends: list[Exception] = [JobFailed(JobFailure("exit_nonzero", "it exited", 3))]
        self.tasks["flaky"] = self.flaky

    def flaky(self, worker: Worker, what: object = "flaky") -> None:
        """
        Fail while something is left in C{ends}.
        """
        self.ran.append(what)
        if self.ends:
            raise self.ends.pop()

    def failOne(self, **fields: object) -> None:
        """
        Let job 1 fail.
        """
        self.submit(new("flaky", **fields))
        self.step()
        self.assertEqual(self.job().state, JobState.FAILED)
        self.ran.clear()
        self.takeEvents()

    def retry(self, jobID: int = 1) -> Job:
        return self.successResultOf(self.queue.retry(jobID))
