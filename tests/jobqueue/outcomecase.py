"""
A queue whose outcomes can be refused, and whose workers do not wait for them.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail

from ganeti_pool.jobs import Job

from .queuecase import StartedCase

__all__ = ["OutcomeCase"]


class OutcomeCase(StartedCase):
    """
    A queue whose workers take their next job while the end of the last is recorded.
    """

    def setUp(self) -> None:
        super().setUp()
        self.isPosting = True

    def states(self, *jobIDs: int) -> list[str]:
        return [self.job(jobID).state.value for jobID in jobIDs]

    def refuse(self, failure: Exception, times: int = 1) -> None:
        """
        Have the store not take the next outcome.
        """
        original = self.store.finishAttempt
        left = [failure] * times

        def write(*args: Any) -> Deferred[Job]:
            return fail(left.pop()) if left else original(*args)

        self.store.finishAttempt = write  # type: ignore[assignment,method-assign]
