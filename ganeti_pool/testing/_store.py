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

from ..errors import NoSuchJob, PoolError, StoreClosed
from ..interfaces import IJobStore
from ..jobs import FINISHED, Attempt, Job, JobFilter, JobState, QueuedJob, transitions
from ..jobs.checks import checkFilter
from ..store._writes import Ledger, Writer

__all__ = ["MemoryJobStore"]

_T = TypeVar("_T")


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass
class _Journal:
    """
    What a file would hold: a L{Ledger <ganeti_pool.store._writes.Ledger>}.
    """

    jobs: dict[int, Job] = field(default_factory=dict)
    attempts: dict[int, list[Attempt]] = field(default_factory=dict)
    handles: dict[int, str] = field(default_factory=dict)
    marks: dict[str, tuple[int, str]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    removed: list[Job] = field(default_factory=list)
    epoch: int = 0
    revision: int = 0
    lastPosition: int = -1
    lastID: int = 0

    def acquire(self, owner: str, now: datetime) -> int:
        self.epoch += 1
        return self.epoch

    def job(self, jobID: int) -> Job:
        if jobID not in self.jobs:
            raise NoSuchJob(jobID)
        return self.jobs[jobID]

    def jobsByKey(self, keys: Sequence[str]) -> Mapping[str, tuple[Job, str]]:
        found = ((key, self.marks[key]) for key in keys if key in self.marks)
        return {key: (self.jobs[jobID], mark) for key, (jobID, mark) in found}

    def add(self, job: Job, fingerprint: str | None) -> None:
        if job.key is not None and fingerprint is not None:
            self.marks[job.key] = (job.id, fingerprint)
        self.jobs[job.id] = job
        self.attempts[job.id] = []

    def change(self, job: Job) -> None:
        self.jobs[job.id] = job

    def setHandle(self, jobID: int, handle: str) -> None:
        self.handles[jobID] = handle

    def setAside(self, job: Job, **values: Any) -> None:
        attempt = self.latestAttempt(job)
        if attempt is not None:
            self.attempts[job.id].append(replace(attempt, **values))
            self.handles.pop(job.id, None)

    def latestAttempt(self, job: Job) -> Attempt | None:
        return transitions.latestAttempt(job, self.handles.get(job.id))

    def ended(self, before: datetime, limit: int) -> list[int]:
        ended = (job for job in self.jobs.values() if job.finishedAt and job.finishedAt < before)
        return [job.id for job in sorted(ended, key=lambda job: (job.finishedAt, job.id))[:limit]]

    def remove(self, jobIDs: Sequence[int], since: datetime) -> None:
        self.removed = [job for job in self.removed if _endedSince(job, since)]
        for jobID in jobIDs:
            job = self.jobs.pop(jobID)
            self.removed.append(job)
            del self.attempts[jobID]
            self.handles.pop(jobID, None)
            if job.key is not None:
                del self.marks[job.key]

    def set(self, settings: Mapping[str, Any]) -> None:
        self.settings.update(settings)


@implementer(IJobStore)
class MemoryJobStore(Writer):
    """
    A job store without files or threads, for tests.

    It passes the same contract tests as the store in a file. Reads are answered
    at once, and so are writes, unless they are held.

    @ivar held: while true, writes wait for L{commit}.
    @ivar failure: while set, every commit fails with it, and changes nothing:
        a L{StoreFull <ganeti_pool.errors.StoreFull>}, say.
    @ivar readFailure: the error with which every read fails while it is set.
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
        super().__init__(clock)
        self.held = False
        self.failure: PoolError | None = None
        self.readFailure: PoolError | None = None
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

    def close(self) -> Deferred[None]:
        self.commit()
        self._isClosed = True
        return succeed(None)

    def interrupt(self) -> None:
        """
        Do nothing: this store runs no check.
        """

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

    def workers(self) -> Deferred[frozenset[tuple[str, int]]]:
        return self._read(
            lambda: frozenset(
                (job.worker, job.argsVersion)
                for state in (JobState.QUEUED, JobState.RUNNING)
                for job in self._inState(state)
            )
        )

    def runningJobs(self) -> Deferred[list[tuple[Job, Attempt]]]:
        def work() -> list[tuple[Job, Attempt]]:
            running = self._inState(JobState.RUNNING)
            attempts = [(job, self._journal.latestAttempt(job)) for job in running]
            return [(job, attempt) for job, attempt in attempts if attempt]

        return self._read(work)

    def lastPosition(self) -> Deferred[int]:
        return self._read(lambda: self._journal.lastPosition)

    def lastID(self) -> Deferred[int]:
        return self._read(lambda: self._journal.lastID)

    def job(self, jobID: int) -> Deferred[Job]:
        return self._read(lambda: self._journal.job(jobID))

    def known(self, jobIDs: Sequence[int]) -> Deferred[frozenset[int]]:
        return self._read(lambda: frozenset(jobIDs) & self._journal.jobs.keys())

    def attempts(self, jobID: int) -> Deferred[list[Attempt]]:
        def work() -> list[Attempt]:
            latest = self._journal.latestAttempt(self._journal.job(jobID))
            return self._journal.attempts[jobID] + ([latest] if latest else [])

        return self._read(work)

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
            checkFilter(which)
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
            for job in [*self._journal.jobs.values(), *self._journal.removed]:
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

    def _read(self, work: Callable[[], _T]) -> Deferred[_T]:
        if self._isClosed:
            return fail(StoreClosed("job store in memory"))
        if self.readFailure is not None:
            return fail(self.readFailure)
        deferred: Deferred[_T] = Deferred()
        _outcome(deferred, work)()
        return deferred

    def _write(self, work: Callable[[Ledger], _T]) -> Deferred[_T]:
        def committed() -> _T:
            if self.failure is not None:
                raise self.failure
            return work(self._journal)

        # None overtakes those that wait still after held was lowered.
        if self._isClosed:
            return self._read(committed)
        deferred: Deferred[_T] = Deferred()
        self._waiting.append((deferred, committed))
        if not self.held and len(self._waiting) == 1:
            self.commit()
        return deferred

    def _inState(self, state: JobState) -> list[Job]:
        return [job for job in self._journal.jobs.values() if job.state is state]


def _endedSince(job: Job, since: datetime) -> bool:
    return job.finishedAt is not None and job.finishedAt >= since


def _outcome(deferred: Deferred[_T], work: Callable[[], _T]) -> Callable[[], None]:
    """
    Do something, and return what tells of it.
    """
    try:
        return partial(deferred.callback, work())
    except PoolError as error:
        return partial(deferred.errback, error)
