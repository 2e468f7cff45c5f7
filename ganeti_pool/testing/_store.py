"""
A job store in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from ..errors import NoSuchJob, OwnershipLost, PoolError, StoreError
from ..interfaces import IJobStore
from ..jobs import (
    FINISHED,
    Attempt,
    Job,
    JobFilter,
    JobState,
    NewJob,
    Outcome,
    QueuedJob,
)
from ..store import _transitions

__all__ = ["MemoryJobStore"]

_T = TypeVar("_T")


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass
class _Journal:
    """
    What a file would hold.
    """

    jobs: dict[int, Job] = field(default_factory=dict)
    attempts: dict[int, list[Attempt]] = field(default_factory=dict)
    keys: dict[str, tuple[int, str]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    epoch: int = 0
    lastID: int = 0
    revision: int = 0
    lastPosition: int = -1


@implementer(IJobStore)
class MemoryJobStore:
    """
    A job store without files or threads, for tests.

    It passes the same contract tests as the store in a file. Reads are answered
    at once, and so are writes, unless they are held.

    @ivar held: while true, writes wait for L{commit}.
    @ivar failure: while set, every commit fails with it, and changes nothing:
        a L{StoreFull <ganeti_pool.errors.StoreFull>}, say.
    """

    def __init__(
        self,
        clock: Callable[[], datetime] = _now,
        onCommit: Callable[[int, float], object] | None = None,
    ) -> None:
        """
        @param clock: gives the time, aware, in UTC.
        @param onCommit: told of each group of writes before those are answered: how
            many there are, and the seconds that they took, which are none here.
        """
        self.held = False
        self.failure: PoolError | None = None
        self._clock = clock
        self._onCommit = onCommit
        self._journal = _Journal()
        self._isClosed = False
        self._waiting: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    def reopened(self) -> MemoryJobStore:
        """
        Another store over the same journal, as a daemon that starts again has
        it. What waits here for L{commit} is not in it.
        """
        another = MemoryJobStore(self._clock, self._onCommit)
        another._journal = self._journal
        return another

    def commit(self) -> None:
        """
        Commit all writes that wait, and then answer them, in order.
        """
        waiting, self._waiting = self._waiting, []
        answers = [_outcome(*write) for write in waiting]
        if answers and self.failure is None and self._onCommit is not None:
            self._onCommit(len(answers), 0.0)
        for answer in answers:
            answer()

    def acquire(self, owner: str) -> Deferred[int]:
        def work() -> int:
            self._journal.epoch += 1
            return self._journal.epoch

        return self._ask(work)

    def close(self) -> Deferred[None]:
        self.commit()
        self._isClosed = True
        return succeed(None)

    def addJobs(
        self, epoch: int, jobs: Sequence[NewJob], firstPosition: int, room: int | None = None
    ) -> Deferred[list[Job]]:
        now = self._clock()

        def work() -> list[Job]:
            journal = self._journal
            known = {key: (journal.jobs[i], mark) for key, (i, mark) in journal.keys.items()}
            addition = _transitions.addedAll(
                jobs, journal.lastID, firstPosition, now, journal.revision, known, room
            )
            for job, mark in addition.new:
                if job.key is not None and mark is not None:
                    journal.keys[job.key] = (job.id, mark)
                journal.jobs[job.id] = job
                journal.attempts[job.id] = []
                journal.lastID = job.id
                journal.revision = job.revision
                journal.lastPosition = max(journal.lastPosition, job.position)
            return addition.jobs

        return self._write(epoch, work)

    def startAttempt(self, epoch: int, jobID: int, attempt: int) -> Deferred[Job]:
        now = self._clock()

        def work() -> Job:
            job = self._save(_transitions.started(self._job(jobID), attempt, now))
            self._journal.attempts[jobID].append(
                Attempt(attempt, now, None, None, None, None, None)
            )
            return job

        return self._write(epoch, work)

    def recordHandle(self, epoch: int, jobID: int, attempt: int, handle: str) -> Deferred[None]:
        def work() -> None:
            _transitions.checkRunning(self._job(jobID), attempt)
            self._changeAttempt(jobID, handle=handle)

        return self._write(epoch, work)

    def finishAttempt(
        self, epoch: int, jobID: int, attempt: int, outcome: Outcome
    ) -> Deferred[Job]:
        now = self._clock()

        def work() -> Job:
            job = self._save(_transitions.finished(self._job(jobID), attempt, outcome, now))
            self._changeAttempt(
                jobID,
                finishedAt=now,
                outcome=outcome.state,
                error=outcome.error,
                output=outcome.output,
            )
            return job

        return self._write(epoch, work)

    def requeueAttempt(
        self,
        epoch: int,
        jobID: int,
        attempt: int,
        priority: int,
        position: int,
        deferred: bool,
        reason: str | None,
    ) -> Deferred[Job]:
        now = self._clock()

        def work() -> Job:
            job = _transitions.requeued(
                self._job(jobID), attempt, priority, position, deferred, reason
            )
            self._changeAttempt(jobID, finishedAt=now, outcome=JobState.QUEUED)
            return self._place(job)

        return self._write(epoch, work)

    def changePriority(self, epoch: int, jobID: int, priority: int) -> Deferred[Job]:
        return self._write(
            epoch,
            lambda: self._save(_transitions.reprioritised(self._job(jobID), priority)),
        )

    def cancelQueued(self, epoch: int, jobID: int) -> Deferred[Job]:
        now = self._clock()
        return self._write(epoch, lambda: self._save(_transitions.withdrawn(self._job(jobID), now)))

    def requestCancel(self, epoch: int, jobID: int) -> Deferred[Job]:
        now = self._clock()
        return self._write(
            epoch, lambda: self._save(_transitions.cancelRequested(self._job(jobID), now))
        )

    def retryJob(self, epoch: int, jobID: int, position: int) -> Deferred[Job]:
        def work() -> Job:
            job = self._job(jobID)
            again = _transitions.retried(job, position)
            return job if again is job else self._place(again)

        return self._write(epoch, work)

    def removeJob(self, epoch: int, jobID: int) -> Deferred[None]:
        def work() -> None:
            job = self._job(jobID)
            _transitions.checkRemovable(job)
            self._remove(job)

        return self._write(epoch, work)

    def removeFinished(self, epoch: int, before: datetime, limit: int) -> Deferred[list[int]]:
        def work() -> list[int]:
            ended = [
                (job.finishedAt, job.id, job)
                for job in self._journal.jobs.values()
                if job.finishedAt is not None and job.finishedAt < before
            ]
            oldest = [job for *_, job in sorted(ended)[:limit]]
            for job in oldest:
                self._remove(job)
            return [job.id for job in oldest]

        return self._write(epoch, work)

    def setSettings(self, epoch: int, settings: Mapping[str, Any]) -> Deferred[None]:
        values = dict(settings)

        def work() -> None:
            plain = {
                name: _transitions.plainJSON(value, f"the setting {name!r}")
                for name, value in values.items()
            }
            self._journal.settings.update(plain)

        return self._write(epoch, work)

    def settings(self) -> Deferred[dict[str, Any]]:
        return self._read(lambda: dict(self._journal.settings))

    def queuedJobs(
        self, limit: int, after: tuple[int, int] | None = None
    ) -> Deferred[list[QueuedJob]]:
        return self._read(
            lambda: sorted(
                (
                    QueuedJob(job.id, job.priority, job.position, job.attempt)
                    for job in self._inState(JobState.QUEUED)
                    if after is None or (job.priority, job.position) > after
                ),
                key=lambda job: (job.priority, job.position),
            )[:limit]
        )

    def workers(self) -> Deferred[frozenset[str]]:
        return self._read(
            lambda: frozenset(
                job.worker
                for state in (JobState.QUEUED, JobState.RUNNING)
                for job in self._inState(state)
            )
        )

    def runningJobs(self) -> Deferred[list[tuple[Job, Attempt]]]:
        return self._read(
            lambda: [
                (job, self._journal.attempts[job.id][-1]) for job in self._inState(JobState.RUNNING)
            ]
        )

    def lastPosition(self) -> Deferred[int]:
        return self._read(lambda: self._journal.lastPosition)

    def job(self, jobID: int) -> Deferred[Job]:
        return self._read(lambda: self._job(jobID))

    def attempts(self, jobID: int) -> Deferred[list[Attempt]]:
        return self._read(lambda: list(self._journal.attempts[self._job(jobID).id]))

    def listJobs(
        self, which: JobFilter, newestFirst: bool, limit: int, after: int | None
    ) -> Deferred[list[Job]]:
        def isWanted(job: Job) -> bool:
            isBehind = after is None or (job.id < after if newestFirst else job.id > after)
            isNamed = which.name is None or which.name == job.name
            isLabelled = which.labels <= set(job.labels.items())
            isInState = not which.states or job.state in which.states
            return isBehind and isNamed and isLabelled and isInState

        def work() -> list[Job]:
            found = filter(isWanted, self._journal.jobs.values())
            return sorted(found, key=lambda job: job.id, reverse=newestFirst)[:limit]

        return self._read(work)

    def changedJobs(self, after: int, limit: int) -> Deferred[list[Job]]:
        def work() -> list[Job]:
            changed = (job for job in self._journal.jobs.values() if job.revision > after)
            return sorted(changed, key=lambda job: job.revision)[:limit]

        return self._read(work)

    def summary(self) -> Deferred[dict[str, Any]]:
        """
        As L{IJobStore.summary}, with no size and no room, since nothing is on disk.
        """
        since = self._clock() - timedelta(days=1)

        def work() -> dict[str, Any]:
            queued = self._inState(JobState.QUEUED)
            running = self._inState(JobState.RUNNING)
            lastDay = {state.value: 0 for state in JobState if state in FINISHED}
            for job in self._journal.jobs.values():
                if job.finishedAt is not None and job.finishedAt >= since:
                    lastDay[job.state.value] += 1
            return {
                "states": {"queued": len(queued), "running": len(running)},
                "oldestQueuedAt": queued[0].submittedAt if queued else None,
                "longestRunningAt": min(
                    (job.startedAt for job in running if job.startedAt), default=None
                ),
                "lastDay": lastDay,
                "bytes": 0,
                "freeBytes": 0,
            }

        return self._read(work)

    def _read(self, work: Callable[[], _T]) -> Deferred[_T]:
        if self._isClosed:
            return fail(StoreError("the job store in memory has been closed"))
        deferred: Deferred[_T] = Deferred()
        _outcome(deferred, work)()
        return deferred

    def _write(self, epoch: int, work: Callable[[], _T]) -> Deferred[_T]:
        def owned() -> _T:
            if epoch != self._journal.epoch:
                raise OwnershipLost(epoch, self._journal.epoch)
            return work()

        return self._ask(owned)

    def _ask(self, work: Callable[[], _T]) -> Deferred[_T]:
        def committed() -> _T:
            if self.failure is not None:
                raise self.failure
            return work()

        # None overtakes those that wait still after held was lowered.
        if self._isClosed:
            return self._read(committed)
        deferred: Deferred[_T] = Deferred()
        self._waiting.append((deferred, committed))
        if not self.held and len(self._waiting) == 1:
            self.commit()
        return deferred

    def _job(self, jobID: int) -> Job:
        if jobID not in self._journal.jobs:
            raise NoSuchJob(jobID)
        return self._journal.jobs[jobID]

    def _inState(self, state: JobState) -> list[Job]:
        return [job for job in self._journal.jobs.values() if job.state is state]

    def _save(self, job: Job) -> Job:
        if job != self._journal.jobs[job.id]:
            self._journal.revision += 1
            job = replace(job, revision=self._journal.revision)
            self._journal.jobs[job.id] = job
        return job

    def _place(self, job: Job) -> Job:
        """
        Save a job that has another position.
        """
        self._journal.lastPosition = max(self._journal.lastPosition, job.position)
        return self._save(job)

    def _remove(self, job: Job) -> None:
        del self._journal.jobs[job.id], self._journal.attempts[job.id]
        if job.key is not None:
            del self._journal.keys[job.key]

    def _changeAttempt(self, jobID: int, **values: Any) -> None:
        runs = self._journal.attempts[jobID]
        runs[-1] = replace(runs[-1], **values)


def _outcome(deferred: Deferred[_T], work: Callable[[], _T]) -> Callable[[], None]:
    """
    Do something, and return what tells of it.
    """
    try:
        return partial(deferred.callback, work())
    except PoolError as error:
        return partial(deferred.errback, error)
