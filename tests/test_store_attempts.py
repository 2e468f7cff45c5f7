"""
Tests for the attempts of a job in a job store: their starts, handles and outcomes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import errors
from ganeti_pool.jobs import (
    FINISHED,
    TRANSITIONS,
    Attempt,
    Job,
    JobFailure,
    JobFilter,
    JobState,
    Outcome,
    OutputSize,
)

from .storecase import DONE, NOON, InFile, InMemory, StoreCase, new


class AttemptsContract(StoreCase):
    """
    What becomes of attempts in every store.
    """

    def test_start(self) -> None:
        """
        A started job runs, and its attempt is listed, without an end.
        """
        (job,) = self.add()
        then = self.time.advance(1)
        running = self.start(job.id)
        self.assertEqual(
            (running.state, running.attempt, running.startedAt, running.finishedAt),
            (JobState.RUNNING, 1, then, None),
        )
        attempt = Attempt(1, then, None, None, None, None, None)
        self.assertEqual(self.wait(self.store.attempts(job.id)), [attempt])
        self.assertEqual(self.wait(self.store.runningJobs()), [(running, attempt)])
        self.assertEqual(self.wait(self.store.queuedJobs(9)), [])

    def test_startWrongAttempt(self) -> None:
        """
        Only the attempt after the latest one can start.
        """
        (job,) = self.add()
        for attempt in (0, 2):
            self.refused(errors.StaleAttempt, self.store.startAttempt(self.epoch, job.id, attempt))
        self.assertEqual(self.everything(), [(job, [])])

    def test_handle(self) -> None:
        """
        A handle belongs to the running attempt alone, and changes no job.
        """
        job = self.inState(JobState.RUNNING)
        self.wait(self.store.recordHandle(self.epoch, job.id, 1, "pgid 17"))
        ((found, attempt),) = self.wait(self.store.runningJobs())
        self.assertEqual((found, attempt.handle), (job, "pgid 17"))
        before = self.everything()
        self.refused(errors.StaleAttempt, self.store.recordHandle(self.epoch, job.id, 2, "pgid 18"))
        self.refused(errors.NoSuchJob, self.store.recordHandle(self.epoch, 99, 1, "pgid 18"))
        self.assertEqual(self.everything(), before)

    def test_handleIsOpaque(self) -> None:
        """
        A handle comes back as it was given, whatever is in it, and the last one
        counts, also when the attempt is over.
        """
        job = self.inState(JobState.RUNNING)
        for handle in ("", '{"pgid": 17, "é": "\\u0000\x00"}', "x" * 100_000, " 017 "):
            self.wait(self.store.recordHandle(self.epoch, job.id, 1, handle))
            ((_, attempt),) = self.wait(self.store.runningJobs())
            self.assertEqual(attempt.handle, handle)
        self.finish(job.id)
        (attempt,) = self.wait(self.store.attempts(job.id))
        self.assertEqual(attempt.handle, " 017 ")

    def test_finish(self) -> None:
        """
        An outcome is kept with the job and with its attempt.
        """
        job = self.inState(JobState.RUNNING)
        then = self.time.advance(2)
        failure = JobFailure("exit_nonzero", "it exited with 3", exitCode=3)
        output = {"stdout": OutputSize(120, False), "stderr": OutputSize(9, True)}
        ended = self.finish(
            job.id, Outcome(JobState.FAILED, result={"a": [1]}, error=failure, output=output)
        )
        self.assertEqual(
            (ended.state, ended.finishedAt, ended.result, ended.error, ended.output),
            (JobState.FAILED, then, {"a": [1]}, failure, output),
        )
        self.assertEqual(self.wait(self.store.job(job.id)), ended)
        self.assertEqual(
            self.wait(self.store.attempts(job.id)),
            [Attempt(1, NOON, then, None, JobState.FAILED, failure, output)],
        )
        self.assertEqual(self.wait(self.store.runningJobs()), [])

    def test_firstOutcomeWins(self) -> None:
        """
        A second outcome of an attempt is refused, and the first stays.
        """
        job = self.inState(JobState.SUCCEEDED)
        before = self.everything()
        self.refused(
            errors.StaleAttempt,
            self.store.finishAttempt(self.epoch, job.id, 1, Outcome(JobState.FAILED)),
        )
        self.assertEqual(self.everything(), before)

    def test_unfinishedOutcome(self) -> None:
        """
        An outcome that is none, or that JSON cannot say, is a mistake.
        """
        job = self.inState(JobState.RUNNING)
        before = self.everything()
        for outcome in (
            Outcome(JobState.QUEUED),
            Outcome(JobState.RUNNING),
            Outcome(JobState.SUCCEEDED, result=object()),
        ):
            self.refused(
                errors.InvalidArgument,
                self.store.finishAttempt(self.epoch, job.id, 1, outcome),
            )
        self.assertEqual(self.everything(), before)

    def test_wrongAttempt(self) -> None:
        """
        Outcome and requeue of an attempt that is not the running one are refused.
        """
        job = self.inState(JobState.RUNNING)
        before = self.everything()
        for attempt in (0, 2):
            self.refused(
                errors.StaleAttempt,
                self.store.finishAttempt(self.epoch, job.id, attempt, DONE),
            )
            self.refused(
                errors.StaleAttempt,
                self.store.requeueAttempt(self.epoch, job.id, attempt, 0, 0, True, None),
            )
        self.assertEqual(self.everything(), before)

    def test_deferral(self) -> None:
        """
        A deferral is counted, and the same attempt starts again at another place.
        """
        job = self.inState(JobState.RUNNING)
        then = self.time.advance(3)
        back = self.wait(self.store.requeueAttempt(self.epoch, job.id, 1, 5, 40, True, None))
        self.assertEqual(
            (back.state, back.priority, back.position, back.attempt, back.deferrals),
            (JobState.QUEUED, 5, 40, 0, 1),
        )
        self.assertEqual((back.startedAt, back.finishedAt), (None, None))
        self.assertEqual(self.wait(self.store.job(job.id)), back)
        self.assertEqual(self.wait(self.store.lastPosition()), 40)
        self.start(job.id)
        self.assertEqual(
            self.wait(self.store.attempts(job.id)),
            [
                Attempt(1, NOON, then, None, JobState.QUEUED, None, None),
                Attempt(1, then, None, None, None, None, None),
            ],
        )

    def test_interrupted(self) -> None:
        """
        A job that is tried again after a crash starts with the next attempt.
        """
        job = self.inState(JobState.RUNNING)
        self.add(new(), firstPosition=9)
        back = self.wait(self.store.requeueAttempt(self.epoch, job.id, 1, 0, 3, False, None))
        self.assertEqual((back.attempt, back.deferrals, back.position), (1, 0, 3))
        self.assertEqual(self.wait(self.store.lastPosition()), 9)
        self.refused(errors.StaleAttempt, self.store.startAttempt(self.epoch, job.id, 1))
        self.assertEqual(self.start(job.id, 2).attempt, 2)
        then = self.time.advance(6)
        self.finish(job.id, Outcome(JobState.FAILED), 2)
        self.assertEqual(
            self.wait(self.store.attempts(job.id)),
            [
                Attempt(1, NOON, NOON, None, JobState.QUEUED, None, None),
                Attempt(2, NOON, then, None, JobState.FAILED, None, None),
            ],
        )

    def test_transitions(self) -> None:
        """
        A job goes from each state to those that the table names, by whatever
        call, and a call that is refused changes nothing at all.
        """
        store, epoch = self.store, self.epoch
        calls: list[tuple[JobState, Callable[[Job], Deferred[Job]]]] = [
            (JobState.RUNNING, lambda job: store.startAttempt(epoch, job.id, job.attempt + 1)),
            (JobState.CANCELLED, lambda job: store.cancelQueued(epoch, job.id)),
            (
                JobState.QUEUED,
                lambda job: store.requeueAttempt(epoch, job.id, job.attempt, 0, 0, True, None),
            ),
            (
                JobState.QUEUED,
                lambda job: store.requeueAttempt(epoch, job.id, job.attempt, 0, 0, False, None),
            ),
            (JobState.QUEUED, lambda job: store.retryJob(epoch, job.id, 0)),
        ]

        def finishing(state: JobState) -> Callable[[Job], Deferred[Job]]:
            return lambda job: store.finishAttempt(epoch, job.id, job.attempt, Outcome(state))

        calls.extend((state, finishing(state)) for state in FINISHED)
        seen = set()
        for state in JobState:
            for target, call in calls:
                job = self.inState(state)
                before = self.everything()
                try:
                    moved = self.wait(call(job))
                except (errors.StaleAttempt, errors.JobNotQueued, errors.JobFinished):
                    moved = job
                if moved == job:
                    self.assertEqual(self.everything(), before)
                else:
                    self.assertEqual(moved.state, target)
                    self.assertEqual(self.wait(store.job(job.id)), moved)
                    seen.add((state, target))
        table = {(state, target) for state in JobState for target in TRANSITIONS[state]}
        self.assertEqual(seen, table)

    def test_earlierAttempts(self) -> None:
        """
        Each attempt is listed in its turn, with its own times and handle, by whatever
        the job came to start again.
        """
        (job,) = self.add()
        store, epoch = self.store, self.epoch
        listed: list[Attempt] = []
        for number, isDeferred in ((1, True), (1, True), (1, False), (2, True), (2, False)):
            start = self.time.advance(1)
            self.start(job.id, number)
            handle = f"pgid {len(listed)}"
            self.wait(store.recordHandle(epoch, job.id, number, handle))
            end = self.time.advance(1)
            self.wait(store.requeueAttempt(epoch, job.id, number, 0, 0, isDeferred, None))
            listed.append(Attempt(number, start, end, handle, JobState.QUEUED, None, None))
        self.assertEqual(self.wait(store.attempts(job.id)), listed)
        start = self.time.advance(1)
        self.start(job.id, 3)
        ended = Outcome(JobState.FAILED, error=JobFailure("x", "y"))
        self.finish(job.id, ended, 3)
        self.wait(store.retryJob(epoch, job.id, 9))
        listed.append(Attempt(3, start, start, None, JobState.FAILED, ended.error, None))
        self.assertEqual(self.wait(store.attempts(job.id)), listed)
        self.start(job.id, 4)
        listed.append(Attempt(4, start, None, None, None, None, None))
        self.assertEqual(self.wait(store.attempts(job.id)), listed)

    def test_reason(self) -> None:
        """
        A job that has begun before says why it waits, until it starts or ends.
        """
        waiting = JobFilter(frozenset({JobState.QUEUED}))
        attempt = 1
        for isDeferred in (True, False):
            (job,) = self.add()
            for end in ("start", "cancel"):
                self.start(job.id, attempt)
                requeue = self.store.requeueAttempt
                back = self.wait(
                    requeue(self.epoch, job.id, attempt, 0, 9, isDeferred, "a lock é is held")
                )
                self.assertEqual(back.reason, "a lock é is held")
                self.assertEqual(self.wait(self.store.listJobs(waiting, False, 9, None)), [back])
                attempt = back.attempt + 1
                if end == "start":
                    self.assertIsNone(self.start(job.id, attempt).reason)
                    self.wait(requeue(self.epoch, job.id, attempt, 0, 9, True, None))
                else:
                    ended = self.wait(self.store.cancelQueued(self.epoch, job.id))
                    self.assertIsNone(ended.reason)
                    self.assertEqual(self.wait(self.store.job(job.id)), ended)
            attempt = 1

    def test_nestedResult(self) -> None:
        """
        A result that is nested too deep for those who read it is refused, and the
        job still runs.
        """
        self.add(new(), new())
        for levels, isKept in ((64, True), (65, False)):
            result: Any = 1
            for level in range(levels - 1):
                result = [result] if level % 2 else {"in": result}
            job = self.start(1 if isKept else 2)
            outcome = Outcome(JobState.SUCCEEDED, result=result)
            finished = self.store.finishAttempt(self.epoch, job.id, 1, outcome)
            if isKept:
                self.assertEqual(self.wait(finished).result, result)
            else:
                self.assertIn("64 levels", self.refused(errors.InvalidArgument, finished))
                self.assertEqual(self.wait(self.store.job(2)).state, JobState.RUNNING)

    def test_wideResult(self) -> None:
        """
        A result of many parts is kept, if they are not nested too deep.
        """
        self.add(new())
        result = [[[n]] for n in range(100)]
        job = self.start(1)
        ended = self.finish(job.id, Outcome(JobState.SUCCEEDED, result=result))
        self.assertEqual(ended.result, result)

    def test_resultThatRaises(self) -> None:
        """
        A result that cannot even be looked at is refused, whatever it raises.
        """

        class Sly(dict[str, int]):
            def items(self) -> Any:
                raise KeyError("sly")

        self.add(new())
        job = self.start(1)
        outcome = Outcome(JobState.SUCCEEDED, result=Sly(a=1))
        finished = self.store.finishAttempt(self.epoch, job.id, 1, outcome)
        self.assertIn("sly", self.refused(errors.InvalidArgument, finished))


class MemoryAttemptsTests(InMemory, AttemptsContract, SynchronousTestCase):
    """
    Tests for L{MemoryJobStore}.
    """


class SQLiteAttemptsTests(InFile, AttemptsContract, SynchronousTestCase):
    """
    Tests for L{SQLiteJobStore}.
    """
