"""
The queue: what a client may ask for, the start and the end.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import version
from time import monotonic
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import blockingCallFromThread
from twisted.logger import Logger
from zope.interface import implementer

from ..deferred import DeferredWorkerPool
from ..errors import InvalidJob, NoSuchTask, PoolTerminated, QueueStopping, StoreError
from ..interfaces import IJobQueue, IJobStore
from ..jobs import Attempt, Job, JobFilter, JobState, NewJob, OnCrash
from ..paths import StatePaths
from ..wire import timestamp
from ._journal import Changes, Journal
from ._outcome import Requeue, afterCrash
from ._places import Places
from ._runs import CallAndWait, Runs
from ._status import statusToJSON
from ._task import JobTask

__all__ = ["JobQueue"]

_log = Logger()

_LAST_WAIT = 15.0
"""
For how many seconds the jobs that were told to stop are waited for. It is longer
than a command that ignores TERM takes until it is killed.
"""

_ACTIVE = "active"

_MOST_PROBLEMS = 50
"""
So many are told; the rest of what was submitted is not looked at.
"""


@implementer(IJobQueue)
class JobQueue:
    """
    Durable jobs. What each method promises stands in L{IJobQueue
    <ganeti_pool.interfaces.IJobQueue>}.

    The order of writing:

      - submit: the store, then the heap, in the order of commit, then the answer;
      - start: out of the heap, then the store, then C{RunTask};
      - cancel and change of priority of what waits: the heap decides, then the
        store, then the answer; if the commit fails, the heap is as before;
      - cancel of what runs: the store, then the job is told;
      - outcome: the store, and no other job on that worker before.

    Threads: the reactor's. A worker's thread waits for it in the completions.
    """

    def __init__(
        self,
        reactor: Any,
        pool: DeferredWorkerPool,
        store: IJobStore,
        workerName: str,
        paths: StatePaths,
        *,
        reap: Callable[[Sequence[str]], Deferred[Any]],
        checkArgs: Callable[[object], object] | None = None,
        onCrash: OnCrash = OnCrash.FAIL,
        callAndWait: CallAndWait | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        """
        @param reactor: the clock, and where the workers' threads call to.
        @param pool: a new pool, which is the queue's own from now on.
        @param store: where the jobs are; the queue opens and closes it.
        @param workerName: the dotted name of the pool's worker class.
        @param paths: where the jobs' output goes.
        @param reap: ends the processes that an earlier daemon left, which these
            handles tell; fires when there is none.
        @param checkArgs: raises L{InvalidJob <ganeti_pool.errors.InvalidJob>} for
            arguments that the worker class cannot run.
        @param onCrash: what a crash does to a job that says nothing of it.
        @param callAndWait: calls a function on the reactor thread and waits for
            its Deferred; by default C{blockingCallFromThread}.
        @param now: gives the time, aware.
        @param monotonic: gives seconds that no change of the clock touches, by
            which the running time of jobs is measured.
        """
        self.workerName = workerName
        self.onCrash = onCrash
        self._pool = pool
        self._core = pool.pool
        self._store = store
        self._paths = paths
        self._reap = reap
        self._checkArgs = checkArgs
        self._now = now
        self._clock = reactor
        self._startedAt = now()
        self._version = version("ganeti-pool")
        # One at a time: a start under way comes to its end before the stop goes on.
        self._life = DeferredLock()
        self._isLost = False
        self._changes = Changes(reactor)
        self._journal = Journal(reactor, self._changes, self._lose)
        self._runs = Runs(
            reactor,
            self._core,
            store,
            self._journal,
            paths,
            callAndWait or partial(blockingCallFromThread, reactor),
            monotonic,
        )
        self._places = Places(self._core, store, self._journal, self._runs)
        # Its threads may start when they like; what they find is not there yet.
        pool.setActive(False)

    # The start and the end

    def start(self) -> Deferred[None]:
        """
        Take the store over, settle what an earlier daemon left running, once its
        processes are gone, and go on with the queue as it was.

        @return: a Deferred that fails with L{StoreError
            <ganeti_pool.errors.StoreError>} if the store cannot be used, or has
            unfinished jobs of another worker class; and with what C{reap} fails
            with.
        """
        return self._life.run(lambda: Deferred.fromCoroutine(self._start()))

    async def _start(self) -> None:
        self._startedAt = self._now()
        self._journal.epoch = await self._store.acquire(f"{socket.gethostname()}:{os.getpid()}")
        strangers = await self._store.workers() - {self.workerName}
        if strangers:
            raise StoreError(
                f"there are unfinished jobs of {', '.join(sorted(strangers))} in the store, and "
                f"this daemon runs {self.workerName}: start it with the class of these jobs"
            )
        settings = await self._store.settings()
        self._core._ReserveOrder(await self._store.lastPosition() + 1)
        left = await self._store.runningJobs()
        await self._reap([attempt.handle for _, attempt in left if attempt.handle is not None])
        for job, _ in left:
            await self._settle(job)
        waiting = await self._store.queuedJobs()
        self._places.push(
            JobTask(self._runs, job.id, job.priority, job.position, job.attempt) for job in waiting
        )
        if settings.get(_ACTIVE, True):
            self._activate(True)

    def _settle(self, job: Job) -> Deferred[Job]:
        """
        Record what becomes of a job that an earlier daemon left running.
        """
        become = afterCrash(job)
        if isinstance(become, Requeue):
            return self._journal.write(
                self._store.requeueAttempt,
                job.id,
                job.attempt,
                become.priority,
                job.position,
                become.deferred,
            )
        return self._journal.write(self._store.finishAttempt, job.id, job.attempt, become)

    def stop(self, grace: float) -> Deferred[None]:
        """
        Start nothing any more, let the running jobs end, and close the store. The
        queue stays in it.

        @param grace: after how many seconds the running jobs are told to stop,
            and end as their C{onCrash} says.
        @return: a Deferred that fires when all threads have ended, or are not
            waited for any more.
        """
        self._runs.isStopping = True
        self._changes.close()
        self._pool.setActive(False)
        return Deferred.fromCoroutine(self._stop(grace))

    async def _stop(self, grace: float) -> None:
        await self._life.acquire()
        await self._runs.whenIdle(grace)
        for task in list(self._runs.running):
            task.isInterrupted = True
            with suppress(NoSuchTask):
                self._core.InterruptTask(task.jobID)
        await self._runs.whenIdle(_LAST_WAIT)
        self._journal.close()
        await self._pool.terminateWorkers(deadline=_LAST_WAIT)
        await self._store.close()

    def _lose(self) -> None:
        """
        Another daemon has the store: start nothing any more.
        """
        if not self._isLost:
            self._isLost = True
            _log.critical("The store has another owner: no job is started any more")
            self._pool.setActive(False)

    def _activate(self, active: bool) -> None:
        self._pool.setActive(active and not self._runs.isStopping)

    # Asking

    def job(self, jobID: int) -> Deferred[Job]:
        """
        One job. See L{IJobQueue.job <ganeti_pool.interfaces.IJobQueue.job>}.
        """
        return self._store.job(jobID)

    def attempts(self, jobID: int) -> Deferred[list[Attempt]]:
        """
        Its attempts. See L{IJobQueue.attempts
        <ganeti_pool.interfaces.IJobQueue.attempts>}.
        """
        return self._store.attempts(jobID)

    def listJobs(
        self, which: JobFilter, newestFirst: bool, limit: int, after: int | None
    ) -> Deferred[list[Job]]:
        """
        Jobs by id. See L{IJobQueue.listJobs
        <ganeti_pool.interfaces.IJobQueue.listJobs>}.
        """
        return self._store.listJobs(which, newestFirst, limit, after)

    def changedJobs(self, after: int, limit: int, wait: float) -> Deferred[list[Job]]:
        """
        Jobs that have changed. See L{IJobQueue.changedJobs
        <ganeti_pool.interfaces.IJobQueue.changedJobs>}.
        """
        return Deferred.fromCoroutine(self._changed(after, limit, wait))

    async def _changed(self, after: int, limit: int, wait: float) -> list[Job]:
        end = self._clock.seconds() + wait
        while True:
            jobs = await self._store.changedJobs(after, limit)
            left = end - self._clock.seconds()
            if jobs or left <= 0 or self._changes.isClosed:
                return jobs
            # A change may have been committed while the store was asked.
            if self._changes.latest <= after:
                await self._changes.wait(left)

    def outputPath(self, jobID: int, attempt: int, stream: str) -> str:
        """
        Where the output is. See L{IJobQueue.outputPath
        <ganeti_pool.interfaces.IJobQueue.outputPath>}.
        """
        return os.path.join(self._runs.outputDirectory(jobID, attempt), stream)

    def poolStatus(self) -> Deferred[dict[str, Any]]:
        """
        How everything goes. See L{IJobQueue.poolStatus
        <ganeti_pool.interfaces.IJobQueue.poolStatus>}.
        """
        return Deferred.fromCoroutine(self._status())

    async def _status(self) -> dict[str, Any]:
        summary = await self._store.summary()
        daemon = {
            "pid": os.getpid(),
            "version": self._version,
            "started_at": timestamp(self._startedAt),
            "worker": self.workerName,
            "state_directory": self._paths.directory,
            "stopping": self._runs.isStopping,
        }
        return statusToJSON(
            self._pool.statistics(), len(self._runs.running), summary, self._journal, daemon
        )

    # Changing

    def submit(self, jobs: Sequence[NewJob]) -> Deferred[list[Job]]:
        """
        Take jobs. See L{IJobQueue.submit <ganeti_pool.interfaces.IJobQueue.submit>}.
        """
        return self._unlessStopping(lambda: self._submit(jobs))

    async def _submit(self, jobs: Sequence[NewJob]) -> list[Job]:
        self._check(jobs)
        first = self._core._ReserveOrder(len(jobs))
        added = await self._journal.write(self._store.addJobs, list(jobs), first)
        self._places.push(
            JobTask(self._runs, job.id, job.priority, job.position, job.attempt)
            for job in added
            # One that has the key of an older job waits already, or has waited; push
            # makes each known before it takes the next.
            if job.state is JobState.QUEUED and job.id not in self._runs.tasks
        )
        return added

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
                sentence = f"this daemon runs jobs of {self.workerName}, and none of {job.worker}"
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

    def cancel(self, jobID: int) -> Deferred[Job]:
        """
        Cancel a job. See L{IJobQueue.cancel <ganeti_pool.interfaces.IJobQueue.cancel>}.
        """
        return Deferred.fromCoroutine(self._places.cancel(jobID))

    def setActive(self, active: bool) -> Deferred[None]:
        """
        Pause or resume. See L{IJobQueue.setActive
        <ganeti_pool.interfaces.IJobQueue.setActive>}.
        """
        return self._unlessStopping(lambda: self._setActive(active))

    async def _setActive(self, active: bool) -> None:
        await self._journal.write(self._store.setSettings, {_ACTIVE: active})
        self._activate(active)

    def resize(self, workers: int) -> Deferred[None]:
        """
        Change the number of workers. See L{IJobQueue.resize
        <ganeti_pool.interfaces.IJobQueue.resize>}.
        """
        return self._unlessStopping(lambda: self._resize(workers))

    async def _resize(self, workers: int) -> None:
        try:
            await self._pool.resize(workers)
        except PoolTerminated:
            raise QueueStopping() from None

    def _unlessStopping(self, f: Callable[[], Coroutine[Any, Any, Any]]) -> Deferred[Any]:
        """
        Do what makes no sense in a queue that stops.
        """

        async def refuseOr() -> Any:
            if self._runs.isStopping:
                raise QueueStopping()
            return await f()

        return Deferred.fromCoroutine(refuseOr())
