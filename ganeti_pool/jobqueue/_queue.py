"""
The queue: what a client may ask for.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import version
from threading import Thread
from time import monotonic
from types import MappingProxyType
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, fail
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..errors import (
    InsideJob,
    InvalidJob,
    NoSuchJob,
    OwnershipLost,
    QueueBroken,
    QueueStopping,
    StoreClosed,
    StoreError,
)
from ..interfaces import (
    DaemonStatus,
    IJobQueue,
    IJobStore,
    JobsStatus,
    OutputStatus,
    PoolStatistics,
    QueueStatus,
    QuiescesStatus,
    StoreStatus,
)
from ..jobs import FINISHED, Attempt, Job, JobFilter, JobOrigin, JobState, NewJob, OnCrash
from ..paths import StatePaths
from ._claim import Claim
from ._decisions import Decisions
from ._dispatcher import Dispatcher
from ._inbox import Inbox
from ._items import Lift, Quiesce, Resize, Start
from ._lifecycle import Recovered, Recovery, stopQueue
from ._limits import QueueLimits, WorkerRules
from ._output import InThread, Output
from ._projection import Hooks, Projection
from ._requests import Cancel, Move, Remove, Retry, SetActive, Submit
from ._retention import Retention
from ._sender import Sender
from ._slots import MakeSlot
from ._work import Work

__all__ = ["Edges", "JobQueue"]

_log = Logger()


def _startThread(run: Callable[[], None]) -> None:
    Thread(target=run, name="job queue dispatcher", daemon=True).start()


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class Edges:
    """
    What a queue uses of the system. Tests replace it.

    @ivar reap: called on the dispatcher's thread at the start with the handles of the runs
        that an earlier daemon left; kills their processes and returns when they are gone.
    @ivar now: returns the time, aware, in UTC.
    @ivar monotonic: returns seconds that no change of the clock affects.
    @ivar inThread: calls a function with arguments on another thread; L{None} for one of the
        reactor's thread pool.
    @ivar startThread: starts the dispatcher's thread.
    @ivar inbox: the dispatcher's.
    """

    reap: Callable[[Sequence[str]], object] = lambda handles: None
    now: Callable[[], datetime] = _now
    monotonic: Callable[[], float] = monotonic
    inThread: InThread | None = None
    startThread: Callable[[Callable[[], None]], object] = _startThread
    inbox: Inbox = field(default_factory=Inbox)


@implementer(IJobQueue)
class JobQueue:
    """
    Durable jobs. The contract of each method is in L{IJobQueue
    <ganeti_pool.interfaces.IJobQueue>}.

    This class only translates calls into items for the L{Dispatcher
    <ganeti_pool.jobqueue._dispatcher.Dispatcher>}, whose module has the story of a job, and
    reads into calls of the store. It is started once and stopped once.

    Threads: the reactor's.
    """

    def __init__(
        self,
        reactor: Any,
        store: IJobStore,
        rules: WorkerRules,
        paths: StatePaths,
        makeSlot: MakeSlot,
        workers: int,
        limits: QueueLimits = QueueLimits(),
        *,
        isPaused: bool = False,
        hooks: Hooks = Hooks(),
        edges: Edges | None = None,
    ) -> None:
        """
        @param store: a new store, which the queue opens and closes.
        @param rules: the worker class.
        @param paths: where the output of jobs is kept.
        @param makeSlot: makes and starts a slot with a worker of the class.
        @param workers: the number of slots to start with.
        @param isPaused: whether to start with a pause, which lasts like any other.
        @param hooks: what is called for changes, commits and a failure of the queue.
        """
        edges = edges or Edges()
        self._clock = reactor
        self._store = store
        self._rules = rules
        self._limits = limits
        self._paths = paths
        self._now = edges.now
        self._monotonic = edges.monotonic
        self._startThread = edges.startThread
        self._inbox = edges.inbox
        self._version = version("ganeti-pool")
        self._startedAt = edges.now()
        self._isStarted = False
        self._isStopping = False
        # A start under way ends before the stop goes on.
        self._life = DeferredLock()
        self._stopped: Deferred[None] | None = None
        self._quiesces: dict[Deferred[None], datetime] = {}
        self._sender = Sender(self._inbox)
        self._projection = Projection(reactor, self._inbox, self._sender, hooks)
        self._output = Output(paths.output, edges.inThread or partial(_inThread, reactor))
        self._claim = Claim(store, self._output)
        self._retention = Retention(
            reactor,
            store,
            self._projection,
            self._sender,
            self._output,
            edges.now,
            limits.keepFinished,
        )
        work = Work(
            self._inbox,
            self._output if rules.keepsOutput else None,
            paths.directory,
            rules.keepsTimeout,
            edges.monotonic,
        )
        recovery = Recovery(
            store, self._claim, rules, paths.directory, edges.reap, isPaused, edges.monotonic
        )
        self._dispatcher = Dispatcher(
            self._inbox,
            store,
            Decisions(rules, limits),
            self._projection,
            recovery,
            partial(makeSlot, self._inbox, work),
            workers,
            edges.monotonic,
        )

    @property
    def waiting(self) -> Mapping[int, int]:
        """
        How many jobs are queued at each priority. It costs nothing, and stays current.
        """
        return MappingProxyType(self._projection.depths)

    @property
    def workerName(self) -> str:
        """
        The dotted name of the worker class.
        """
        return self._rules.name

    @property
    def workerBases(self) -> Collection[str]:
        """
        The dotted names of the classes that the worker class extends.
        """
        return self._rules.bases

    @property
    def onCrash(self) -> OnCrash:
        """
        The C{OnCrash} of a job that does not set it.
        """
        return self._rules.onCrash

    # The life

    def start(self) -> Deferred[None]:
        """
        Acquire the store, settle what an earlier daemon left running, and continue with the
        queue as it was.

        @return: a Deferred that fails with L{StoreError <ganeti_pool.errors.StoreError>} if
            the store or the output directory cannot be used, with L{QueueStopping
            <ganeti_pool.errors.QueueStopping>} if the queue was stopped, and with what the
            system raises if it cannot start a thread.
        """
        if self._isStopping:
            return fail(QueueStopping())
        return self._life.run(lambda: Deferred.fromCoroutine(self._start()))

    async def _start(self) -> None:
        self._startedAt = self._now()
        self._startThread(self._dispatcher.run)
        self._isStarted = True
        self._sender.open()
        recovered: Recovered = await self._sender.put(Start)
        self._retention.start(recovered.swept)

    def stop(self, grace: float) -> Deferred[None]:
        """
        Start no more jobs, let the running jobs end, and close the store. The queued jobs
        stay in it. May be called again.

        @param grace: how long the running jobs may go on, in seconds. Then they are told to
            end, and end as their C{onCrash} says.
        @return: a Deferred that fires when the store is closed.
        """
        if not self._isStopping:
            self._isStopping = True
            # A start may be checking a large store at this moment.
            self._store.interrupt()
            retained = self._retention.stop()
            self._stopped = Deferred.fromCoroutine(self._stop(grace, retained))
        again: Deferred[None] = Deferred()
        assert self._stopped is not None
        self._stopped.addBoth(_passTo, again)
        return again

    async def _stop(self, grace: float, retained: Deferred[object]) -> None:
        if self._isStarted:
            try:
                await stopQueue(grace, self._inbox, self._sender, self._projection)
            except (QueueBroken, OwnershipLost) as error:
                _log.warn("{error}", error=error)
        await self._life.acquire()
        # Not before: a reader that is answered with nothing new asks again at once.
        self._projection.changes.close()
        await retained
        await self._store.close()

    # Reading

    def job(self, jobID: int) -> Deferred[Job]:
        """
        See L{IJobQueue.job <ganeti_pool.interfaces.IJobQueue.job>}.
        """
        return self._projection.read(self._store.job, jobID)

    def attempts(self, jobID: int) -> Deferred[list[Attempt]]:
        """
        See L{IJobQueue.attempts <ganeti_pool.interfaces.IJobQueue.attempts>}.
        """
        return self._projection.read(self._store.attempts, jobID)

    def listJobs(
        self, which: JobFilter, newestFirst: bool, limit: int, after: int | None
    ) -> Deferred[list[Job]]:
        """
        See L{IJobQueue.listJobs <ganeti_pool.interfaces.IJobQueue.listJobs>}.
        """
        return self._projection.read(self._store.listJobs, which, newestFirst, limit, after)

    def changedJobs(self, after: int, limit: int, wait: float) -> Deferred[list[Job]]:
        """
        See L{IJobQueue.changedJobs <ganeti_pool.interfaces.IJobQueue.changedJobs>}.
        """
        return Deferred.fromCoroutine(self._changed(after, limit, wait))

    async def _changed(self, after: int, limit: int, wait: float) -> list[Job]:
        changes = self._projection.changes
        end = self._clock.seconds() + wait
        while True:
            seen = changes.latest
            jobs = await self._projection.read(self._store.changedJobs, after, limit)
            left = end - self._clock.seconds()
            if jobs or left <= 0 or changes.isClosed:
                return jobs
            # A change may have been announced during the read; the job of one may have been
            # removed since.
            if changes.latest == seen:
                await changes.wait(left)

    def attemptOver(self, jobID: int, attempt: int) -> Deferred[None]:
        """
        See L{IJobQueue.attemptOver <ganeti_pool.interfaces.IJobQueue.attemptOver>}.
        """
        return Deferred.fromCoroutine(self._attemptOver(jobID, attempt))

    async def _attemptOver(self, jobID: int, attempt: int) -> None:
        changes = self._projection.changes
        while not changes.isClosed:
            # Before the read, so that no change in between is missed.
            changed = changes.waitFor(jobID)
            try:
                job = await self._projection.read(self._store.job, jobID)
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
        See L{IJobQueue.readOutput <ganeti_pool.interfaces.IJobQueue.readOutput>}.
        """
        return self._output.read(jobID, attempt, stream, offset)

    def poolStatus(self) -> Deferred[QueueStatus]:
        """
        See L{IJobQueue.poolStatus <ganeti_pool.interfaces.IJobQueue.poolStatus>}.
        """
        return Deferred.fromCoroutine(self._status())

    async def _status(self) -> QueueStatus:
        summary = await self._summary()
        # Everything else is read after the wait, so that it is of one moment.
        state = self._projection.state
        return QueueStatus(
            active=state.active,
            busy=state.running,
            quiesces=QuiescesStatus(
                len(self._quiesces), min(self._quiesces.values(), default=None)
            ),
            statistics=self._statistics(),
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
                unwritten=state.unwritten,
                lastError=self._projection.trouble,
            ),
            output=OutputStatus(self._claim.adopted, tuple(self._output.aside)),
            daemon=DaemonStatus(
                pid=os.getpid(),
                version=self._version,
                startedAt=self._startedAt,
                worker=self._rules.name,
                host=socket.gethostname(),
                stateDirectory=self._paths.directory,
                stopping=self._isStopping,
            ),
        )

    async def _summary(self) -> Mapping[str, Any]:
        """
        Return the summary of the store. If the store cannot be read, return the values that
        are known without it.

        @raise StoreClosed: if the store was closed.
        """
        try:
            return await self._projection.read(self._store.summary)
        except StoreClosed:
            raise
        except StoreError:
            running = self._projection.running
            return {
                "states": {"queued": self._projection.state.queued, "running": len(running)},
                "oldestQueuedAt": None,
                "longestRunningAt": min(filter(None, running.values()), default=None),
                "lastDay": None,
                "bytes": None,
                "freeBytes": None,
            }

    def _statistics(self) -> PoolStatistics:
        state = self._projection.state
        since = state.queuedSince
        return PoolStatistics(
            added=state.added,
            queued=state.queued,
            running=state.running,
            succeeded=state.succeeded,
            failed=state.failed,
            cancelled=state.cancelled,
            unstarted=0,
            deferrals=state.deferrals,
            workers=state.slots,
            idle=state.idle,
            active=state.active,
            waited=None if since is None else self._monotonic() - since,
        )

    # Changing

    def submit(self, jobs: Sequence[NewJob]) -> Deferred[list[Job]]:
        """
        See L{IJobQueue.submit <ganeti_pool.interfaces.IJobQueue.submit>}.
        """
        if self._isStopping:
            return fail(QueueStopping())
        try:
            self._rules.check(jobs)
        except InvalidJob:
            return fail(Failure())
        return self._sender.send(
            Submit(self._rules.stamped(jobs)), sum(_sizeOf(job.args) for job in jobs)
        )

    def changePriority(self, jobID: int, priority: int) -> Deferred[Job]:
        """
        See L{IJobQueue.changePriority <ganeti_pool.interfaces.IJobQueue.changePriority>}.
        """
        return self._sender.send(Move(jobID, priority))

    def cancel(self, jobID: int, onlyQueued: bool = False) -> Deferred[Job]:
        """
        See L{IJobQueue.cancel <ganeti_pool.interfaces.IJobQueue.cancel>}.
        """
        return self._sender.send(Cancel(jobID, onlyQueued))

    def retry(self, jobID: int) -> Deferred[Job]:
        """
        See L{IJobQueue.retry <ganeti_pool.interfaces.IJobQueue.retry>}.
        """
        return self._sender.send(Retry(jobID))

    def remove(self, jobID: int) -> Deferred[None]:
        """
        See L{IJobQueue.remove <ganeti_pool.interfaces.IJobQueue.remove>}.
        """
        removed = self._sender.send(Remove(jobID))
        return _detached(
            removed.addCallback(lambda _: Deferred.fromCoroutine(self._output.remove([jobID])))
        )

    def setActive(self, active: bool) -> Deferred[None]:
        """
        See L{IJobQueue.setActive <ganeti_pool.interfaces.IJobQueue.setActive>}.
        """
        return self._sender.send(SetActive(active))

    def quiesce(self, origin: JobOrigin | None = None) -> Deferred[None]:
        """
        See L{IJobQueue.quiesce <ganeti_pool.interfaces.IJobQueue.quiesce>}.
        """
        if self._isStopping:
            return fail(QueueStopping())
        jobID = self._runningJob(origin)
        if jobID is not None:
            return fail(InsideJob(jobID, "quiesce"))
        answer = self._sender.put(Quiesce)
        number = self._sender.latest

        def lift(quiesce: Deferred[None]) -> None:
            self._inbox.put(Lift(number))

        quiesce: Deferred[None] = Deferred(lift)
        self._quiesces[quiesce] = self._now()

        def over(result: Failure | None) -> Failure | None:
            self._quiesces.pop(quiesce, None)
            return result

        answer.addBoth(_passTo, quiesce)
        return quiesce.addBoth(over)

    def checkWorkers(self, workers: int, origin: JobOrigin | None = None) -> None:
        """
        See L{IJobQueue.checkWorkers <ganeti_pool.interfaces.IJobQueue.checkWorkers>}.
        """
        limit = self._limits.workers
        if limit is not None and workers > limit:
            sentence = (
                f"there can be {limit} workers at most, not {workers}, since the daemon may "
                "open no more files (ulimit -Hn)"
            )
            raise InvalidJob([("/workers", "out_of_range", sentence)])
        jobID = self._runningJob(origin)
        if jobID is not None:
            state = self._projection.state
            # Idle workers leave first, and at once.
            if state.slots - workers > state.idle:
                raise InsideJob(jobID, "change to fewer workers")

    def resize(self, workers: int) -> Deferred[None]:
        """
        See L{IJobQueue.resize <ganeti_pool.interfaces.IJobQueue.resize>}.
        """
        if self._isStopping:
            return fail(QueueStopping())
        try:
            self.checkWorkers(workers)
        except InvalidJob:
            return fail(Failure())
        return self._sender.put(lambda number: Resize(number, workers))

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
        return origin.jobID if origin.jobID in self._projection.running else None


def _inThread(reactor: Any, f: Callable[..., Any], *args: Any) -> Deferred[Any]:
    return deferToThreadPool(reactor, reactor.getThreadPool(), f, *args)


def _sizeOf(value: object) -> int:
    """
    Return the approximate size of a JSON value in bytes.
    """
    if isinstance(value, str):
        return len(value) + 50
    if isinstance(value, (list, tuple)):
        return sum(map(_sizeOf, value)) + 50
    if isinstance(value, dict):
        return sum(map(_sizeOf, value)) + sum(map(_sizeOf, value.values())) + 50
    return 30


def _passTo(result: Any, waiting: Deferred[Any]) -> None:
    """
    Fire a Deferred, unless its caller has cancelled it.
    """
    if not waiting.called:
        waiting.callback(result)


def _detached(work: Deferred[Any]) -> Deferred[Any]:
    """
    Return a Deferred that fires like another one, and whose cancellation does not end that.
    """
    detached: Deferred[Any] = Deferred()
    work.addBoth(_passTo, detached)
    return detached
