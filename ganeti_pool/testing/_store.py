"""
A job store in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from ..errors import NoSuchJob, OwnershipLost, PoolError, StoreClosed
from ..interfaces import IJobStore, Snapshot
from ..jobs import FINISHED, Attempt, Job, JobFilter, JobState, QueuedJob, transitions
from ..jobs.checks import checkFilter
from ..store._base import UnitOfWork

__all__ = ["MemoryJobStore"]

_T = TypeVar("_T")


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass
class _Journal:
    """
    The content of a store: a L{Ledger <ganeti_pool.store._base.Ledger>}.
    """

    jobs: dict[int, Job] = field(default_factory=dict)
    earlier: dict[int, tuple[Attempt, ...]] = field(default_factory=dict)
    handles: dict[int, str] = field(default_factory=dict)
    marks: dict[str, tuple[int, str]] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    removed: list[Job] = field(default_factory=list)
    owner: str | None = None
    epoch: int = 0
    revision: int = 0
    lastPosition: int = -1
    lastID: int = 0

    def copied(self) -> _Journal:
        """
        Return a journal that changes independently of this one.
        """
        return _Journal(**{name: copy(value) for name, value in vars(self).items()})

    def job(self, jobID: int) -> Job:
        if jobID not in self.jobs:
            raise NoSuchJob(jobID)
        return self.jobs[jobID]

    def preload(self, jobIDs: Sequence[int]) -> None:
        """
        Do nothing: everything is in memory.
        """

    def jobsByKey(self, keys: Sequence[str]) -> Mapping[str, tuple[Job, str]]:
        found = ((key, self.marks[key]) for key in keys if key in self.marks)
        return {key: (self.jobs[jobID], mark) for key, (jobID, mark) in found}

    def add(self, job: Job, fingerprint: str | None) -> None:
        if job.key is not None and fingerprint is not None:
            self.marks[job.key] = (job.id, fingerprint)
        self.jobs[job.id] = job

    def change(self, job: Job) -> None:
        self.jobs[job.id] = job

    def setHandle(self, jobID: int, handle: str) -> None:
        self.handles[jobID] = handle

    def setAside(self, job: Job, **values: Any) -> None:
        attempt = self._latestAttempt(job)
        if attempt is not None:
            self.earlier[job.id] = (*self.earlier.get(job.id, ()), replace(attempt, **values))
            self.handles.pop(job.id, None)

    def attempts(self, jobID: int) -> list[Attempt]:
        """
        Return all attempts of a job, oldest first.
        """
        latest = self._latestAttempt(self.job(jobID))
        return [*self.earlier.get(jobID, ()), *([latest] if latest else [])]

    def _latestAttempt(self, job: Job) -> Attempt | None:
        return transitions.latestAttempt(job, self.handles.get(job.id))

    def ended(self, before: datetime, limit: int) -> list[int]:
        ended = (job for job in self.jobs.values() if job.finishedAt and job.finishedAt < before)
        return [job.id for job in sorted(ended, key=lambda job: (job.finishedAt, job.id))[:limit]]

    def remove(self, jobIDs: Sequence[int], since: datetime) -> None:
        self.removed = [job for job in self.removed if _endedSince(job, since)]
        for jobID in jobIDs:
            job = self.jobs.pop(jobID)
            self.removed.append(job)
            self.earlier.pop(jobID, None)
            self.handles.pop(jobID, None)
            if job.key is not None:
                del self.marks[job.key]

    def set(self, settings: Mapping[str, Any]) -> None:
        self.values.update(settings)

    def settings(self) -> dict[str, Any]:
        return dict(self.values)

    def workers(self) -> frozenset[tuple[str, int]]:
        unfinished = (job for job in self.jobs.values() if job.state not in FINISHED)
        return frozenset((job.worker, job.argsVersion) for job in unfinished)

    def runningJobs(self) -> list[tuple[Job, Attempt]]:
        running = sorted(self.inState(JobState.RUNNING), key=lambda job: job.id)
        attempts = [(job, self._latestAttempt(job)) for job in running]
        return [(job, attempt) for job, attempt in attempts if attempt]

    def queuedJobs(self, limit: int, after: tuple[int, int] | None) -> list[QueuedJob]:
        queued = (
            QueuedJob(job.id, job.priority, job.position, job.attempt)
            for job in self.inState(JobState.QUEUED)
            if after is None or (job.priority, job.position) > after
        )
        return sorted(queued, key=lambda job: (job.priority, job.position))[:limit]

    def inState(self, state: JobState) -> list[Job]:
        """
        Return the jobs in a state, by ID.
        """
        return [job for job in self.jobs.values() if job.state is state]


@implementer(IJobStore)
class MemoryJobStore:
    """
    A job store without files or threads, for tests. It passes the same contract tests as
    the store in a file. Reads are answered at once.

    @ivar failure: while it is set, every commit fails with it and changes nothing.
    @ivar readFailure: while it is set, every read fails with it.
    """

    def __init__(self, clock: Callable[[], datetime] = _now) -> None:
        """
        @param clock: returns the time, aware, in UTC.
        """
        self.failure: PoolError | None = None
        self.readFailure: PoolError | None = None
        self._clock = clock
        self._journals = [_Journal()]
        self._isOpen = False
        self._isClosed = False

    @property
    def _journal(self) -> _Journal:
        return self._journals[0]

    def reopened(self) -> MemoryJobStore:
        """
        Return another store over the same content, as a daemon has it that starts again.
        """
        another = MemoryJobStore(self._clock)
        another._journals = self._journals
        return another

    def acquire(self, owner: str) -> int:
        if self.failure is not None:
            raise self.failure
        self._journal.epoch += 1
        self._journal.owner = owner
        self._isOpen = True
        return self._journal.epoch

    @contextmanager
    def transaction(self, epoch: int) -> Iterator[UnitOfWork]:
        if not self._isOpen:
            raise StoreClosed("job store in memory")
        journal = self._journal.copied()
        if epoch != journal.epoch:
            raise OwnershipLost(epoch, journal.epoch, journal.owner)
        yield UnitOfWork(journal, self._clock())
        if self.failure is not None:
            raise self.failure
        self._journals[0] = journal

    def release(self) -> None:
        self._isOpen = False

    def interrupt(self) -> None:
        """
        Do nothing: this store runs no check.
        """

    def close(self) -> Deferred[None]:
        self._isClosed = True
        return succeed(None)

    def job(self, jobID: int) -> Deferred[Snapshot[Job]]:
        return self._read(lambda: self._journal.job(jobID))

    def known(self, jobIDs: Sequence[int]) -> Deferred[Snapshot[frozenset[int]]]:
        return self._read(lambda: frozenset(jobIDs) & self._journal.jobs.keys())

    def attempts(self, jobID: int) -> Deferred[Snapshot[list[Attempt]]]:
        return self._read(lambda: self._journal.attempts(jobID))

    def listJobs(
        self, which: JobFilter, newestFirst: bool, limit: int, after: int | None
    ) -> Deferred[Snapshot[list[Job]]]:
        def isWanted(job: Job) -> bool:
            isBehind = after is None or (job.id < after if newestFirst else job.id > after)
            isNamed = which.name is None or which.name == job.name
            isLabelled = which.labels <= set(job.labels.items())
            isInState = not which.states or job.state in which.states
            return isBehind and isNamed and isLabelled and isInState

        def work() -> list[Job]:
            checkFilter(which)
            found = filter(isWanted, self._journal.jobs.values())
            return sorted(found, key=lambda job: job.id, reverse=newestFirst)[:limit]

        return self._read(work)

    def changedJobs(self, after: int, limit: int) -> Deferred[Snapshot[list[Job]]]:
        def work() -> list[Job]:
            changed = (job for job in self._journal.jobs.values() if job.revision > after)
            return sorted(changed, key=lambda job: job.revision)[:limit]

        return self._read(work)

    def summary(self) -> Deferred[Snapshot[dict[str, Any]]]:
        """
        As L{IJobStore.summary}; the sizes are 0, since nothing is on disk.
        """
        since = self._clock() - timedelta(days=1)

        def work() -> dict[str, Any]:
            journal = self._journal
            queued = journal.inState(JobState.QUEUED)
            running = journal.inState(JobState.RUNNING)
            lastDay = {state.value: 0 for state in JobState if state in FINISHED}
            for job in [*journal.jobs.values(), *journal.removed]:
                if _endedSince(job, since):
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

    def _read(self, work: Callable[[], _T]) -> Deferred[Snapshot[_T]]:
        if self._isClosed:
            return fail(StoreClosed("job store in memory"))
        if self.readFailure is not None:
            return fail(self.readFailure)
        try:
            return succeed(Snapshot(work(), self._journal.revision))
        except PoolError as error:
            return fail(error)


def _endedSince(job: Job, since: datetime) -> bool:
    return job.finishedAt is not None and job.finishedAt >= since
