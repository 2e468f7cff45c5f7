"""
The queue: what a client may ask for.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..errors import (
    InsideJob,
    InvalidJob,
    JobNotRunnable,
    NoSuchJob,
    PoolTerminated,
    QueueStopping,
    ResizeFailed,
    StoreClosed,
    StoreError,
    WorkersNotStarted,
)
from ..interfaces import (
    DaemonStatus,
    IJobQueue,
    JobsStatus,
    OutputStatus,
    QueueStatus,
    QuiescesStatus,
    StoreStatus,
)
from ..jobs import (
    FINISHED,
    Attempt,
    Job,
    JobEventKind,
    JobFilter,
    JobOrigin,
    JobState,
    NewJob,
)
from ._life import ACTIVE, QueueLife

__all__ = ["JobQueue"]

_log = Logger()

_T = TypeVar("_T")

_MOST_PROBLEMS = 50
"""
So many are told; the rest of what was submitted is not looked at.
"""


@implementer(IJobQueue)
class JobQueue(QueueLife):
    """
    Durable jobs. What each method promises stands in L{IJobQueue
    <ganeti_pool.interfaces.IJobQueue>}.

    The order of writing:

      - submit: the store, then the heap, in the order of commit, then the answer;
      - start: out of the heap, then the store, then C{RunTask};
      - change of priority of what waits: the heap decides, then the store, then the
        answer; if the commit fails, the heap is as before;
      - cancel of what waits: the store, then out of the heap; a worker that takes it
        meanwhile waits for that;
      - cancel of what runs: the store, then the job is told;
      - outcome: the store. The worker takes its next job meanwhile, whose start is
        asked for behind it, so both are one commit most often. The store refuses that
        start while the outcome is missing, and the job goes back to its place;
      - retry: the store, then the heap, as a submission;
      - removal: the store, then the output.

    Threads: the reactor's. A worker's thread waits for it in the completions.
    """

    @property
    def waiting(self) -> Mapping[int, int]:
        """
        How many jobs wait at each priority. It costs nothing, and goes on counting.
        """
        return MappingProxyType(self._waiting.byPriority)

    # Asking

    def job(self, jobID: int) -> Deferred[Job]:
        """
        One job. See L{IJobQueue.job <ganeti_pool.interfaces.IJobQueue.job>}.
        """
        return self._journal.read(self._store.job, jobID)

    def attempts(self, jobID: int) -> Deferred[list[Attempt]]:
        """
        Its attempts. See L{IJobQueue.attempts
        <ganeti_pool.interfaces.IJobQueue.attempts>}.
        """
        return self._journal.read(self._store.attempts, jobID)

    def listJobs(
        self, which: JobFilter, newestFirst: bool, limit: int, after: int | None
    ) -> Deferred[list[Job]]:
        """
        Jobs by id. See L{IJobQueue.listJobs
        <ganeti_pool.interfaces.IJobQueue.listJobs>}.
        """
        return self._journal.read(self._store.listJobs, which, newestFirst, limit, after)

    def changedJobs(self, after: int, limit: int, wait: float) -> Deferred[list[Job]]:
        """
        Jobs that have changed. See L{IJobQueue.changedJobs
        <ganeti_pool.interfaces.IJobQueue.changedJobs>}.
        """
        return Deferred.fromCoroutine(self._changed(after, limit, wait))

    async def _changed(self, after: int, limit: int, wait: float) -> list[Job]:
        end = self._clock.seconds() + wait
        while True:
            seen = self._changes.latest
            jobs = await self._journal.read(self._store.changedJobs, after, limit)
            left = end - self._clock.seconds()
            if jobs or left <= 0 or self._changes.isClosed:
                return jobs
            # A change may have been committed while the store was asked; one of a job
            # that was removed since is in it no more.
            if self._changes.latest == seen:
                await self._changes.wait(left)

    def attemptOver(self, jobID: int, attempt: int) -> Deferred[None]:
        """
        Wait for the end of an attempt. See L{IJobQueue.attemptOver
        <ganeti_pool.interfaces.IJobQueue.attemptOver>}.
        """
        return Deferred.fromCoroutine(self._attemptOver(jobID, attempt))

    async def _attemptOver(self, jobID: int, attempt: int) -> None:
        while not self._changes.isClosed:
            # Before the store is asked, so that no change is missed in between.
            changed = self._changes.waitFor(jobID)
            try:
                job = await self._journal.read(self._store.job, jobID)
                if job.state in FINISHED or job.attempt > attempt:
                    return
                await changed
            except NoSuchJob:
                return
            finally:
                changed.addErrback(lambda _: None)
                changed.cancel()

    def readOutput(self, jobID: int, attempt: int, stream: str, offset: int) -> Deferred[bytes]:
        """
        Read output. See L{IJobQueue.readOutput
        <ganeti_pool.interfaces.IJobQueue.readOutput>}.
        """
        return self._output.read(jobID, attempt, stream, offset)

    def poolStatus(self) -> Deferred[QueueStatus]:
        """
        How everything goes. See L{IJobQueue.poolStatus
        <ganeti_pool.interfaces.IJobQueue.poolStatus>}.
        """
        return Deferred.fromCoroutine(self._status())

    async def _status(self) -> QueueStatus:
        summary = await self._summary()
        # Everything else is read after the wait, so that it is of one moment.
        statistics = self._pool.statistics()
        fences = self._fences.values()
        return QueueStatus(
            active=statistics.active,
            busy=self._roster.busy,
            quiesces=QuiescesStatus(len(fences), min(fences, default=None)),
            statistics=statistics,
            jobs=JobsStatus(
                queued=summary["states"][JobState.QUEUED.value],
                running=summary["states"][JobState.RUNNING.value],
                oldestQueuedAt=summary["oldestQueuedAt"],
                longestRunningAt=summary["longestRunningAt"],
                lastDay=summary["lastDay"],
            ),
            store=StoreStatus(
                bytes=summary["bytes"],
                freeBytes=summary["freeBytes"],
                unwritten=self._journal.unwritten,
                lastError=self._journal.trouble,
            ),
            output=OutputStatus(self._claim.adopted, tuple(self._output.aside)),
            daemon=DaemonStatus(
                pid=os.getpid(),
                version=self._version,
                startedAt=self._startedAt,
                worker=self.workerName,
                host=socket.gethostname(),
                stateDirectory=self._paths.directory,
                stopping=self._runs.isStopping,
            ),
        )

    async def _summary(self) -> Mapping[str, Any]:
        """
        Return the summary of the store. If the store cannot be read, return the values that
        are known without it.

        @raise StoreClosed: if the store was closed.
        """
        try:
            return await self._journal.read(self._store.summary)
        except StoreClosed:
            raise
        except StoreError:
            tasks = self._roster.running.values()
            running = [run.job.startedAt for task in tasks if (run := task.run) is not None]
            return {
                "states": {"queued": self._waiting.total, "running": len(running)},
                "oldestQueuedAt": None,
                "longestRunningAt": min(filter(None, running), default=None),
                "lastDay": None,
                "bytes": None,
                "freeBytes": None,
            }

    # Changing

    def submit(self, jobs: Sequence[NewJob]) -> Deferred[list[Job]]:
        """
        Take jobs. See L{IJobQueue.submit <ganeti_pool.interfaces.IJobQueue.submit>}.
        """
        return self._unlessStopping(lambda: self._submit(jobs))

    async def _submit(self, jobs: Sequence[NewJob]) -> list[Job]:
        self._check(jobs)
        keys = [job.key for job in jobs if job.key is not None]
        return await self._room.forJobs(
            len(jobs) - len(keys), len(set(keys)), partial(self._add, jobs)
        )

    async def _add(self, jobs: Sequence[NewJob], room: int | None) -> list[Job]:
        first = self._core._ReserveOrder(len(jobs))
        stamped = [self._stamp(job) for job in jobs]
        added = await self._journal.write(self._store.addJobs, stamped, first, room)
        # One that has the key of an older job waits already, or has waited; unless the
        # store has added it and called that a failure.
        fresh = {
            job.id: job
            for job in added
            if job.state is JobState.QUEUED and self._roster.find(job.id) is None
        }
        self._places.push(fresh.values(), self._runs.monotonic())
        for job in fresh.values():
            self._events.tell(JobEventKind.SUBMITTED, job)
        return added

    def _stamp(self, job: NewJob) -> NewJob:
        """
        A job with the version of args of the worker class, which has checked them.
        """
        if job.argsVersion == self._argsVersion:
            return job
        return replace(job, argsVersion=self._argsVersion)

    def _check(self, jobs: Sequence[NewJob]) -> None:
        """
        @raise InvalidJob: if a worker of this daemon cannot run one.
        """
        problems: list[tuple[str, str, str]] = []
        for number, job in enumerate(jobs):
            if len(problems) >= _MOST_PROBLEMS:
                break
            where = f"/{number}" if len(jobs) > 1 else ""
            if job.worker != self.workerName:
                sentence = (
                    f"this daemon runs jobs of {self.workerName}, not of {job.worker}: submit "
                    "the job to a daemon of that class"
                )
                problems.append((f"{where}/worker", "other_worker", sentence))
            elif self._checkArgs is not None:
                try:
                    self._checkArgs(job.args)
                except InvalidJob as error:
                    problems += (
                        (where + pointer, code, sentence)
                        for pointer, code, sentence in error.problems
                    )
        if problems:
            raise InvalidJob(problems[:_MOST_PROBLEMS])

    def changePriority(self, jobID: int, priority: int) -> Deferred[Job]:
        """
        Move a queued job. See L{IJobQueue.changePriority
        <ganeti_pool.interfaces.IJobQueue.changePriority>}.
        """
        return self._unlessStopping(lambda: self._places.move(jobID, priority))

    def cancel(self, jobID: int, onlyQueued: bool = False) -> Deferred[Job]:
        """
        Cancel a job. See L{IJobQueue.cancel <ganeti_pool.interfaces.IJobQueue.cancel>}.
        """
        return _detached(self._places.cancel(jobID, onlyQueued))

    def retry(self, jobID: int) -> Deferred[Job]:
        """
        Start a job once more. See L{IJobQueue.retry
        <ganeti_pool.interfaces.IJobQueue.retry>}.
        """
        return self._unlessStopping(lambda: self._places.retry(jobID, self._checkRunnable))

    def _checkRunnable(self, job: Job) -> None:
        if job.worker != self.workerName:
            raise JobNotRunnable(
                job.id,
                f"is one of {job.worker}, and this daemon runs jobs of {self.workerName}: retry it "
                "with a daemon of that class",
            )
        if job.argsVersion != self._argsVersion:
            raise JobNotRunnable(
                job.id,
                f"has args of version {job.argsVersion} of {job.worker}, and this daemon runs "
                f"version {self._argsVersion}: submit another with args of that form",
            )

    def remove(self, jobID: int) -> Deferred[None]:
        """
        Forget a finished job. See L{IJobQueue.remove
        <ganeti_pool.interfaces.IJobQueue.remove>}.
        """
        return _detached(self._remove(jobID))

    async def _remove(self, jobID: int) -> None:
        await self._places.remove(jobID)
        await self._output.remove([jobID])

    def quiesce(self, origin: JobOrigin | None = None) -> Deferred[None]:
        """
        Wait for all that was submitted before. See L{IJobQueue.quiesce
        <ganeti_pool.interfaces.IJobQueue.quiesce>}.
        """
        if self._runs.isStopping:
            return fail(QueueStopping())
        jobID = self._runningJob(origin)
        if jobID is not None:
            return fail(InsideJob(jobID, "quiesce"))
        fence = self._pool.quiesce()
        self._fences[fence] = self._now()

        # An outcome may be on its way to the store while its worker is idle again.
        fence.addCallback(lambda _: self._roster.whenRecorded())

        def over(result: Failure | None) -> Failure | None:
            del self._fences[fence]
            # It is cancelled by the stop, if not by the caller.
            if result is not None and (self._runs.isStopping or result.check(PoolTerminated)):
                return Failure(QueueStopping())
            return result

        return fence.addBoth(over)

    def setActive(self, active: bool) -> Deferred[None]:
        """
        Pause or resume. See L{IJobQueue.setActive
        <ganeti_pool.interfaces.IJobQueue.setActive>}.
        """
        return self._unlessStopping(lambda: self._setActive(active))

    async def _setActive(self, active: bool) -> None:
        await self._journal.write(self._store.setSettings, {ACTIVE: active})
        self._activate(active)

    def _runningJob(self, origin: JobOrigin | None) -> int | None:
        """
        Return the ID of the running job that sent a request; L{None} if no running job of
        this queue sent it.
        """
        if (
            origin is None
            or origin.host != socket.gethostname()
            or origin.stateDirectory != os.path.realpath(self._paths.directory)
        ):
            return None
        # A process that an ended job left behind does not wait for that job.
        task = self._roster.running.get(origin.jobID)
        return None if task is None or task.hasEnded else origin.jobID

    def checkWorkers(self, workers: int, origin: JobOrigin | None = None) -> None:
        """
        See that there can be so many. See L{IJobQueue.checkWorkers
        <ganeti_pool.interfaces.IJobQueue.checkWorkers>}.
        """
        if self._maxWorkers is not None and workers > self._maxWorkers:
            sentence = (
                f"there can be {self._maxWorkers} workers at most, not {workers}, since the "
                "daemon may open no more files (ulimit -Hn)"
            )
            raise InvalidJob([("/workers", "out_of_range", sentence)])
        jobID = self._runningJob(origin)
        if jobID is not None:
            statistics = self._pool.statistics()
            # Idle workers leave first, and at once.
            if statistics.workers - workers > statistics.idle:
                raise InsideJob(jobID, "change to fewer workers")

    def resize(self, workers: int) -> Deferred[None]:
        """
        Change the number of workers. See L{IJobQueue.resize
        <ganeti_pool.interfaces.IJobQueue.resize>}.
        """
        return self._unlessStopping(lambda: self._resize(workers))

    async def _resize(self, workers: int) -> None:
        self.checkWorkers(workers)
        try:
            await self._pool.resize(workers)
        except PoolTerminated:
            raise QueueStopping() from None
        except WorkersNotStarted as error:
            cause = error.__cause__ or error
            _log.warn("The pool cannot have {workers} workers: {why}", workers=workers, why=cause)
            now = self._pool.statistics().workers
            raise ResizeFailed(workers, now, str(cause)) from error
        # The surplus workers have ended, but so have all the others.
        if self._runs.isStopping:
            raise QueueStopping()

    def _unlessStopping(self, f: Callable[[], Coroutine[Any, Any, Any]]) -> Deferred[Any]:
        """
        Do what makes no sense in a queue that stops.
        """

        async def refuseOr() -> Any:
            if self._runs.isStopping:
                raise QueueStopping()
            return await f()

        return _detached(refuseOr())


def _detached(write: Coroutine[Deferred[Any], Any, _T]) -> Deferred[_T]:
    """
    Have something written, and what follows from that done, also if whoever waits for
    it cancels the Deferred: the store and the heap are to be one.
    """
    told: Deferred[_T] = Deferred()
    Deferred.fromCoroutine(write).chainDeferred(told)
    return told
