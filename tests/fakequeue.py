"""
A queue of jobs that does what a test says, for the tests of both ends of HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from ganeti_pool.errors import (
    InsideJob,
    InvalidJob,
    JobNotFinished,
    JobNotQueued,
    NoSuchJob,
    OutputUnreadable,
)
from ganeti_pool.interfaces import (
    DaemonStatus,
    IJobQueue,
    JobsStatus,
    OutputStatus,
    PoolStatistics,
    QueueStatus,
    QuiescesStatus,
    StoreStatus,
)
from ganeti_pool.jobs import (
    FINISHED,
    Attempt,
    Job,
    JobFilter,
    JobOrigin,
    JobState,
    NewJob,
    OnCrash,
)

__all__ = ["FakeQueue", "makeJob", "makeStatus"]

_T = TypeVar("_T")

_CHUNK = 1 << 18

NOON = datetime(2026, 1, 31, 9, 15, 2, 123456, tzinfo=timezone.utc)


def makeJob(jobID: int = 17, **changes: Any) -> Job:
    """
    A queued job, but for what is given.
    """
    job = Job(
        id=jobID,
        worker=FakeQueue.workerName,
        args=(["sha256sum", "README.md"], {"cwd": "/src"}),
        name="README.md",
        priority=0,
        onCrash=OnCrash.FAIL,
        maxAttempts=1,
        key=None,
        owner=None,
        labels={},
        timeout=None,
        state=JobState.QUEUED,
        reason=None,
        position=3,
        attempt=0,
        deferrals=0,
        submittedAt=NOON,
        startedAt=None,
        finishedAt=None,
        cancelRequestedAt=None,
        result=None,
        error=None,
        output=None,
        revision=jobID * 10,
    )
    return replace(job, **changes)


def makeStatus() -> QueueStatus:
    """
    Return the status of a pool of four workers, of which three have a job.
    """
    return QueueStatus(
        active=True,
        busy=3,
        quiesces=QuiescesStatus(0, None),
        statistics=PoolStatistics(
            added=30,
            queued=17,
            running=3,
            succeeded=5,
            failed=3,
            cancelled=2,
            unstarted=0,
            deferrals=1,
            workers=4,
            idle=1,
            active=True,
            waited=1.5,
        ),
        jobs=JobsStatus(17, 3, NOON, None, {"cancelled": 2, "failed": 3, "succeeded": 5}),
        store=StoreStatus(4096, 100, 2, None),
        output=OutputStatus(False, ("/state/output/aside-1",)),
        daemon=DaemonStatus(
            pid=4242,
            version="1.2.3",
            startedAt=NOON,
            worker=FakeQueue.workerName,
            host="pluto",
            stateDirectory="/state",
            stopping=False,
        ),
    )


@implementer(IJobQueue)
class FakeQueue:
    """
    Holds jobs, and does to them only what it must to be told apart.

    @ivar jobs: by id.
    @ivar calls: each call that came, with its arguments.
    @ivar failure: what every call fails with, if it is not L{None}.
    @ivar over: what the latest wait for the end of an attempt ends with.
    @ivar reads: the reads of output that wait for the test, and what they answer; with
        L{None} they are answered at once.
    @ivar unreadable: why no output can be read, if it is not L{None}.
    @ivar status: the status of the pool.
    @ivar held: what the next call answers instead, if it is not L{None}.
    """

    workerName = "ganeti_pool.commands.CommandWorker"
    workerBases = ("a.Base",)
    onCrash = OnCrash.FAIL
    maxWorkers = 100

    def __init__(self, directory: str = "/nowhere") -> None:
        self.jobs: dict[int, Job] = {}
        self.history: list[Attempt] = []
        self.calls: list[tuple[Any, ...]] = []
        self.failure: Exception | None = None
        self.held: Deferred[Any] | None = None
        self.over: Deferred[None] = Deferred()
        self.waiting: dict[int, int] = {}
        self.reads: list[tuple[Deferred[bytes], bytes]] | None = None
        self.unreadable: str | None = None
        self.status = makeStatus()
        self._directory = Path(directory)

    def add(self, *jobs: Job) -> None:
        """
        Hold these jobs.
        """
        self.jobs.update((job.id, job) for job in jobs)

    def _answer(self, value: _T, *call: object) -> Deferred[_T]:
        self.calls.append(call)
        if self.failure is not None:
            return fail(self.failure)
        held, self.held = self.held, None
        return succeed(value) if held is None else held

    def _job(self, jobID: int, *call: object, **changes: Any) -> Deferred[Job]:
        if jobID not in self.jobs:
            return fail(NoSuchJob(jobID))
        self.jobs[jobID] = replace(self.jobs[jobID], **changes)
        return self._answer(self.jobs[jobID], *call)

    def submit(self, jobs: Sequence[NewJob]) -> Deferred[list[Job]]:
        first = len(self.jobs) + 1
        made = [makeJob(first + index, **vars(new)) for index, new in enumerate(jobs)]
        self.add(*made)
        return self._answer(made, "submit", list(jobs))

    def job(self, jobID: int) -> Deferred[Job]:
        return self._job(jobID, "job", jobID)

    def attempts(self, jobID: int) -> Deferred[list[Attempt]]:
        return self._answer(self.history, "attempts", jobID)

    def listJobs(
        self, which: JobFilter, newestFirst: bool, limit: int, after: int | None
    ) -> Deferred[list[Job]]:
        jobs = sorted(self.jobs.values(), key=lambda job: job.id, reverse=newestFirst)
        if after is not None:
            jobs = [job for job in jobs if (job.id < after if newestFirst else job.id > after)]
        return self._answer(jobs[:limit], "listJobs", which, newestFirst, limit, after)

    def changedJobs(self, after: int, limit: int, wait: float) -> Deferred[list[Job]]:
        jobs = sorted(self.jobs.values(), key=lambda job: job.revision)
        jobs = [job for job in jobs if job.revision > after][:limit]
        return self._answer(jobs, "changedJobs", after, limit, wait)

    def changePriority(self, jobID: int, priority: int) -> Deferred[Job]:
        return self._job(jobID, "changePriority", jobID, priority, priority=priority)

    def cancel(self, jobID: int, onlyQueued: bool = False) -> Deferred[Job]:
        job = self.jobs.get(jobID)
        if onlyQueued and job is not None and job.state is JobState.RUNNING:
            return fail(JobNotQueued(jobID, job.state.value))
        return self._job(jobID, "cancel", jobID, onlyQueued, state=JobState.CANCELLED)

    def retry(self, jobID: int) -> Deferred[Job]:
        return self._job(jobID, "retry", jobID, state=JobState.QUEUED)

    def remove(self, jobID: int) -> Deferred[None]:
        if jobID not in self.jobs:
            return fail(NoSuchJob(jobID))
        job = self.jobs[jobID]
        if job.state not in FINISHED:
            return fail(JobNotFinished(jobID, job.state.value))
        del self.jobs[jobID]
        return self._answer(None, "remove", jobID)

    def quiesce(self, origin: JobOrigin | None = None) -> Deferred[None]:
        return self._answer(None, "quiesce", *filter(None, [origin]))

    def attemptOver(self, jobID: int, attempt: int) -> Deferred[None]:
        self.calls.append(("attemptOver", jobID, attempt))
        if self.failure is not None:
            return fail(self.failure)
        job = self.jobs.get(jobID)
        if job is None or job.state in FINISHED or job.attempt > attempt:
            return succeed(None)
        self.over = Deferred()
        return self.over

    def readOutput(self, jobID: int, attempt: int, stream: str, offset: int) -> Deferred[bytes]:
        path = self._directory / f"{jobID}.{attempt}.{stream}"
        if self.unreadable is not None:
            return fail(OutputUnreadable(jobID, str(path), self.unreadable))
        data = path.read_bytes()[offset:][:_CHUNK] if path.exists() else b""
        if self.reads is None:
            return succeed(data)
        read: Deferred[bytes] = Deferred()
        self.reads.append((read, data))
        return read

    def setActive(self, active: bool) -> Deferred[None]:
        return self._answer(None, "setActive", active)

    def checkWorkers(self, workers: int, origin: JobOrigin | None = None) -> None:
        if origin is not None:
            raise InsideJob(origin.jobID, "change")
        if workers > self.maxWorkers:
            raise InvalidJob([("/workers", "out_of_range", "too many")])

    def resize(self, workers: int) -> Deferred[None]:
        return self._answer(None, "resize", workers)

    def poolStatus(self) -> Deferred[QueueStatus]:
        return self._answer(self.status, "poolStatus")
