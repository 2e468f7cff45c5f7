"""
Tests for cancellations of what is ending, and of what is not there yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail

from ganeti_pool import errors
from ganeti_pool.jobs import (
    Job,
    JobState,
    Outcome,
)
from ganeti_pool.workerpool import DeferTask

from .queuecase import FULL, StartedCase, Worker, new


class LateCancelTests(StartedCase):
    """
    Tests for a cancellation while the store and this daemon differ.
    """

    def test_whileEnding(self) -> None:
        """
        The cancellation of a job whose outcome is being committed comes too late.
        """
        answers: list[Deferred[Job]] = []

        def task(worker: Worker) -> None:
            self.hold(lambda: answers.append(self.queue.cancel(1)))

        self.tasks["end"] = task
        self.submit(new("end"))
        self.step()
        self.failureResultOf(answers[0], errors.JobFinished)
        self.assertEqual(self.job().state, JobState.SUCCEEDED)

    def commitUnheard(self, state: JobState) -> Callable[..., Deferred[Job]]:
        """
        A write of an outcome that the store keeps and calls a failure.
        """
        original = self.store.finishAttempt

        def write(epoch: int, jobID: int, attempt: int, outcome: Outcome) -> Deferred[Job]:
            original(epoch, jobID, attempt, Outcome(state)).addErrback(lambda _: None)
            self.store.finishAttempt = original  # type: ignore[method-assign]
            return fail(errors.StoreError("the answer is lost"))

        return write

    def test_whileOutcomeRests(self) -> None:
        """
        The cancellation of a job whose outcome the store has, though it said
        otherwise, is answered from the store at once.
        """

        def cancel() -> None:
            answers.append(self.queue.cancel(answers[-1]))
            self.reactor.advance(1)

        answers: list[Any] = []
        self.meanwhile += [cancel, cancel]
        for state in (JobState.SUCCEEDED, JobState.CANCELLED):
            self.store.finishAttempt = self.commitUnheard(state)  # type: ignore[method-assign]
            answers += self.submit(new())
            self.step()
        self.failureResultOf(answers[1], errors.JobFinished)
        self.assertEqual(self.successResultOf(answers[3]).state, JobState.CANCELLED)

    def commitSecond(self, outcome: JobState, answers: list[Deferred[Job]]) -> None:
        """
        Have the outcome of job 1 and a request to cancel it on their way, the first
        be committed, and then no room for the second.
        """

        def end(worker: Worker) -> None:
            self.store.held = True
            if outcome is not JobState.SUCCEEDED:
                raise ValueError()

        self.tasks["end"] = end
        self.isPosting = True
        self.submit(new("end"))
        self.step()
        answers.append(self.queue.cancel(1))
        first, *rest = self.store._waiting
        self.store._waiting = [first]
        self.store.commit()
        self.store._waiting = rest
        self.store.failure = FULL
        self.store.commit()

    def test_noRoomAfterOutcome(self) -> None:
        """
        If there is no room for the request, and the outcome was there before it, the
        answer is that.
        """
        answers: list[Deferred[Job]] = []
        self.commitSecond(JobState.SUCCEEDED, answers)
        failure = self.failureResultOf(answers[0], errors.JobFinished)
        self.assertEqual(failure.value.state, "succeeded")
        self.assertEqual(self.job().state, JobState.SUCCEEDED)

    def test_noRoomAfterFailure(self) -> None:
        """
        Also if that is a failure.
        """
        answers: list[Deferred[Job]] = []
        self.commitSecond(JobState.FAILED, answers)
        failure = self.failureResultOf(answers[0], errors.JobFinished)
        self.assertEqual(failure.value.state, "failed")
        self.flushLoggedErrors(ValueError)

    def test_whileDeferralRests(self) -> None:
        """
        That of a job which waits again in the store alone is refused.
        """
        original = self.store.requeueAttempt
        answers: list[Deferred[Job]] = []

        def write(*args: Any) -> Deferred[Job]:
            original(*args)
            return fail(errors.StoreError("the answer is lost"))

        def cancel() -> None:
            answers.append(self.queue.cancel(1))
            self.store.requeueAttempt = original  # type: ignore[method-assign]
            self.reactor.advance(1)

        def task(worker: Worker) -> None:
            self.store.requeueAttempt = write  # type: ignore[assignment,method-assign]
            self.meanwhile += [cancel]
            raise DeferTask()

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.step()
        self.failureResultOf(answers[0], errors.StaleAttempt)
        self.flushLoggedErrors(errors.StaleAttempt)

    def test_afterOutcomeWaitsForItsTurn(self) -> None:
        """
        A cancellation that waits for its turn while the job ends sees the end.
        """
        answers: list[Deferred[Job]] = []

        def task(worker: Worker) -> None:
            self.store.held = True
            answers.append(self.queue.cancel(1))
            answers.append(self.queue.cancel(1))

        self.tasks["end"] = task
        self.submit(new("end"))
        self.step()
        self.release()
        self.assertEqual(self.successResultOf(answers[0]).state, JobState.RUNNING)
        self.failureResultOf(answers[1], errors.JobFinished)

    def test_beforeItIsInTheHeap(self) -> None:
        """
        A job that is committed, and not yet in the heap, is found there when it
        is; so one can cancel it.
        """
        self.store.held = True
        submitted = self.queue.submit([new("note", 1)])
        # what the reading side may see before the writing side has answered
        (_, write), *rest = self.store._waiting
        self.store._waiting = [(Deferred(), lambda: written), *rest]
        written = write()
        waiting = self.store._waiting[0][0]
        waiting.addCallback(lambda jobs: self.queue._places.push(jobs, None))
        answer = self.queue.cancel(1)
        self.assertNoResult(answer)
        self.release()
        self.assertEqual(self.successResultOf(answer).state, JobState.CANCELLED)
        self.runAll()
        self.assertEqual(self.ran, [])
        self.assertNoResult(submitted)
