"""
Tests for what clients have done to the jobs of a job store.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import errors
from ganeti_pool.jobs import JobFailure, JobFilter, JobState, Outcome, OutputSize, QueuedJob

from .storecase import DONE, NOON, InFile, InMemory, StoreCase, new


class ChangesContract(StoreCase):
    """
    What every store does to a job when somebody asks for it.
    """

    def test_changePriority(self) -> None:
        """
        A queued job gets another priority, and keeps its position.
        """
        (job,) = self.add(firstPosition=3)
        moved = self.wait(self.store.changePriority(self.epoch, job.id, -7))
        self.assertEqual((moved.priority, moved.position), (-7, 3))
        self.assertEqual(self.wait(self.store.queuedJobs(9)), [QueuedJob(job.id, -7, 3, 0)])

    def test_leftQueue(self) -> None:
        """
        What holds for a queued job is refused for any other, with its state.
        """
        for state in set(JobState) - {JobState.QUEUED}:
            job = self.inState(state)
            for call in (
                self.store.changePriority(self.epoch, job.id, 1),
                self.store.cancelQueued(self.epoch, job.id),
            ):
                self.assertIn(state.value, self.refused(errors.JobNotQueued, call))
            self.assertEqual(self.wait(self.store.job(job.id)), job)

    def test_cancelQueued(self) -> None:
        """
        A queued job that is cancelled is finished, and never started.
        """
        (job,) = self.add()
        then = self.time.advance(4)
        ended = self.wait(self.store.cancelQueued(self.epoch, job.id))
        self.assertEqual((ended.state, ended.finishedAt), (JobState.CANCELLED, then))
        self.assertEqual(self.wait(self.store.queuedJobs(9)), [])
        self.assertEqual(self.everything(), [(ended, [])])

    def test_requestCancel(self) -> None:
        """
        A running job keeps the time of the first request to cancel it, and the
        second is no change.
        """
        job = self.inState(JobState.RUNNING)
        then = self.time.advance(5)
        told = self.wait(self.store.requestCancel(self.epoch, job.id))
        self.assertEqual((told.state, told.cancelRequestedAt), (JobState.RUNNING, then))
        self.assertGreater(told.revision, job.revision)
        self.time.advance(5)
        self.assertEqual(self.wait(self.store.requestCancel(self.epoch, job.id)), told)
        self.assertEqual(self.wait(self.store.job(job.id)), told)
        for state in set(JobState) - {JobState.RUNNING}:
            other = self.inState(state)
            self.refused(errors.StaleAttempt, self.store.requestCancel(self.epoch, other.id))

    def test_retry(self) -> None:
        """
        A job that failed or was cancelled waits again at another place, as if it had
        not run, with its attempts kept and room for one more.
        """
        output = {"stdout": OutputSize(1, False)}
        for state in (JobState.FAILED, JobState.CANCELLED):
            own: dict[str, Any] = {"key": state.value, "labels": {"a": "b"}, "timeout": 1.5}
            (submitted,) = self.add(new("a", priority=4, **own), firstPosition=3)
            self.start(submitted.id)
            self.wait(self.store.requestCancel(self.epoch, submitted.id))
            ended = self.finish(
                submitted.id, Outcome(state, result=1, error=JobFailure("x", "y"), output=output)
            )
            attempts = self.wait(self.store.attempts(submitted.id))
            self.time.advance(1)
            again = self.wait(self.store.retryJob(self.epoch, submitted.id, 50))
            expected = replace(
                submitted,
                position=50,
                attempt=1,
                maxAttempts=2,
                revision=ended.revision + 1,
            )
            self.assertEqual(again, expected)
            self.assertEqual(self.wait(self.store.job(submitted.id)), again)
            self.assertEqual(self.wait(self.store.attempts(submitted.id)), attempts)
            self.assertEqual(self.wait(self.store.lastPosition()), 50)
            queued = self.wait(self.store.queuedJobs(9))
            self.assertEqual(queued, [QueuedJob(submitted.id, 4, 50, 1)])
            self.refused(errors.StaleAttempt, self.store.startAttempt(self.epoch, submitted.id, 1))
            self.start(submitted.id, 2)
            self.finish(submitted.id, DONE, 2)
            numbers = [attempt.number for attempt in self.wait(self.store.attempts(submitted.id))]
            self.assertEqual(numbers, [1, 2])

    def test_retryKeepsWhatIsEnough(self) -> None:
        """
        The number of attempts is raised only where it would not let the job start,
        and the highest position stays the highest.
        """
        self.add(new(maxAttempts=3), new(), firstPosition=70)
        self.end(1, JobState.FAILED)
        self.assertEqual(self.wait(self.store.retryJob(self.epoch, 1, 60)).maxAttempts, 3)
        self.wait(self.store.cancelQueued(self.epoch, 2))
        never = self.wait(self.store.retryJob(self.epoch, 2, 61))
        self.assertEqual((never.attempt, never.maxAttempts), (0, 1))
        self.assertEqual(self.wait(self.store.lastPosition()), 71)

    def test_retryWithoutOutcome(self) -> None:
        """
        A retry of a job that waits or runs is no change.
        """
        for state in (JobState.QUEUED, JobState.RUNNING):
            job = self.inState(state)
            self.assertEqual(self.wait(self.store.retryJob(self.epoch, job.id, 99)), job)
            self.assertEqual(self.wait(self.store.job(job.id)), job)
        self.assertEqual(self.wait(self.store.lastPosition()), 0)

    def test_retryOfSuccess(self) -> None:
        """
        A job that succeeded cannot be tried again.
        """
        job = self.inState(JobState.SUCCEEDED)
        before = self.everything()
        sentence = self.refused(errors.JobFinished, self.store.retryJob(self.epoch, job.id, 9))
        self.assertIn("succeeded", sentence)
        self.assertEqual(self.everything(), before)
        self.assertEqual(self.wait(self.store.lastPosition()), 0)

    def test_remove(self) -> None:
        """
        A finished job is forgotten with its attempts; its ID is never used again, and
        its key may be.
        """
        self.add(new(key="a"), new(key="b"), new())
        for jobID in (2, 3):
            self.end(jobID)
        before = self.everything()
        self.assertIsNone(self.wait(self.store.removeJob(self.epoch, 2)))
        self.assertIsNone(self.wait(self.store.removeJob(self.epoch, 3)))
        self.assertEqual(self.everything(), before[:1])
        for jobID in (2, 3):
            for call in (
                self.store.job(jobID),
                self.store.attempts(jobID),
                self.store.removeJob(self.epoch, jobID),
            ):
                self.refused(errors.NoSuchJob, call)
        other, same = self.add(new("other", key="b"), new(key="a"))
        self.assertEqual((other.id, other.revision, same.id), (4, 8, 1))
        self.takeOver()
        self.end(4)
        self.wait(self.store.removeJob(self.epoch, 4))
        self.assertEqual(self.add()[0].id, 5)
        self.assertEqual(self.wait(self.store.attempts(5)), [])

    def test_removeUnfinished(self) -> None:
        """
        A job without an outcome is not removed.
        """
        for state in (JobState.QUEUED, JobState.RUNNING):
            job = self.inState(state)
            before = self.everything()
            sentence = self.refused(errors.JobNotFinished, self.store.removeJob(self.epoch, job.id))
            self.assertIn(state.value, sentence)
            self.assertEqual(self.everything(), before)

    def test_removeFinished(self) -> None:
        """
        Jobs that finished before a time are forgotten, the oldest first, so many of
        them at most; the others stay.
        """
        self.add(*(new(str(n), key=str(n)) for n in range(1, 8)))
        ends = [JobState.FAILED, JobState.SUCCEEDED, JobState.CANCELLED, JobState.SUCCEEDED]
        for jobID, state in zip((6, 2, 5, 3), ends, strict=True):
            self.start(jobID)
            self.time.advance(1)
            self.finish(jobID, Outcome(state))
        self.start(4)
        self.wait(self.store.cancelQueued(self.epoch, 7))
        last = self.time.now

        def removed(before: datetime, limit: int) -> list[int]:
            jobIDs: list[int] = self.wait(self.store.removeFinished(self.epoch, before, limit))
            return jobIDs

        self.assertEqual(removed(NOON + timedelta(seconds=1), 9), [])
        self.assertEqual(removed(last, 2), [6, 2])
        self.assertEqual(removed(last, 0), [])
        self.assertEqual(removed(last, 9), [5])
        self.assertEqual(removed(last, 9), [])
        left = self.wait(self.store.listJobs(JobFilter(), False, 9, None))
        self.assertEqual([job.id for job in left], [1, 3, 4, 7])
        self.refused(errors.NoSuchJob, self.store.attempts(5))
        self.assertEqual([attempt.number for attempt in self.wait(self.store.attempts(3))], [1])
        self.assertEqual([job.id for job in self.add(new(key="2"), new("3", key="3"))], [8, 3])
        self.assertEqual(removed(self.time.advance(1), 9), [3, 7])

    def test_unusable(self) -> None:
        """
        A priority of more than 64 bits, a timeout that is no number, and a reason or a handle
        that is no Unicode, are refused by name.
        """
        bad, large = "\udc80", 2**63
        job = self.inState(JobState.RUNNING)
        (waiting,) = self.add()
        before = self.everything()
        store, epoch = self.store, self.epoch
        unusable: list[tuple[str, Any]] = [
            ("priority", -large - 1),
            *(("timeout", seconds) for seconds in (float("nan"), float("inf"), 10**400)),
        ]
        for name, value in unusable:
            added = store.addJobs(epoch, [new(), new(**{name: value})], 0)
            self.assertIn(name, self.refused(errors.InvalidArgument, added))
        for words, call in (
            ("priority", store.changePriority(epoch, waiting.id, large)),
            ("priority", store.requeueAttempt(epoch, job.id, 1, large, 0, True, None)),
            ("reason", store.requeueAttempt(epoch, job.id, 1, 0, 0, True, bad)),
            ("handle", store.recordHandle(epoch, job.id, 1, bad)),
        ):
            self.assertIn(words, self.refused(errors.InvalidArgument, call))
        self.assertEqual(self.everything(), before)
        moved = self.wait(store.changePriority(epoch, waiting.id, large - 1))
        self.assertEqual(moved.priority, large - 1)

    def test_noSuchJob(self) -> None:
        """
        An id that no job has is refused, however large.
        """
        self.add()
        store, epoch = self.store, self.epoch
        for jobID in (0, -1, 2, 2**63, 10**30):
            for call in (
                store.job(jobID),
                store.attempts(jobID),
                store.startAttempt(epoch, jobID, 1),
                store.finishAttempt(epoch, jobID, 1, DONE),
                store.requeueAttempt(epoch, jobID, 1, 0, 0, False, None),
                store.changePriority(epoch, jobID, 1),
                store.cancelQueued(epoch, jobID),
                store.requestCancel(epoch, jobID),
                store.retryJob(epoch, jobID, 0),
                store.removeJob(epoch, jobID),
            ):
                self.refused(errors.NoSuchJob, call)


class MemoryChangesTests(InMemory, ChangesContract, SynchronousTestCase):
    """
    Tests for L{MemoryJobStore}.
    """


class SQLiteChangesTests(InFile, ChangesContract, SynchronousTestCase):
    """
    Tests for L{SQLiteJobStore}.
    """
