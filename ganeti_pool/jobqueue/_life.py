"""
The life of a queue: what it is made of, how it starts, and how it stops.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from time import monotonic
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..deferred import DeferredWorkerPool
from ..errors import StoreError
from ..interfaces import IJobStore
from ..jobs import Job, JobEventKind, OnCrash
from ..paths import StatePaths
from ._claim import Claim
from ._desk import Desk
from ._events import Events, Observer
from ._handover import Handover, ThreadHandover
from ._journal import Changes, Journal
from ._keeping import Keeping
from ._outcome import Requeue, afterCrash
from ._output import InThread, Output
from ._places import Places
from ._room import Room, Waiting
from ._roster import Roster
from ._runs import Runs

__all__ = ["ACTIVE", "QueueLife"]

_log = Logger()

_LAST_WAIT = 15.0
"""
For how many seconds the jobs that were told to stop are waited for. It is longer
than a command that ignores TERM takes until it is killed.
"""

_PAGE = 1_000
"""
So many waiting jobs are taken from the store in one turn of the reactor.
"""

ACTIVE = "active"
"""
The setting that says whether jobs are started.
"""


class QueueLife:
    """
    A queue that is made, starts, and stops, each once.

    Threads: the reactor's.
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
        workerBases: Collection[str] = (),
        onCrash: OnCrash = OnCrash.FAIL,
        argsVersion: int = 1,
        keepsOutput: bool = False,
        keepsTimeout: bool = False,
        isPaused: bool = False,
        maxQueued: int | None = None,
        maxWorkers: int | None = None,
        keepFinished: float | None = None,
        observers: Sequence[Observer] = (),
        inThread: InThread | None = None,
        handover: Handover | None = None,
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
        @param workerBases: the dotted names of the classes that the worker class extends.
        @param onCrash: what a crash does to a job that says nothing of it.
        @param argsVersion: in which form the worker class takes the args of jobs. A
            worker class that changes it says so by its C{argsVersion}.
        @param keepsOutput: whether each attempt has a directory for the files that
            the worker class keeps. A worker class says so by its C{keepsOutput}.
        @param keepsTimeout: whether the worker class ends a job after its timeout itself.
            Otherwise the queue does, and the time counts from the call of C{RunTask}. A
            worker class sets its C{keepsTimeout}.
        @param isPaused: whether it starts with a pause, which lasts as any other does.
        @param maxQueued: how many jobs may wait; L{None} for any number. A job that
            defers itself, or waits again after a crash, always may.
        @param maxWorkers: for how many workers the daemon may open files enough;
            L{None} for any number.
        @param keepFinished: for how many seconds finished jobs are kept, and what
            they have written; L{None} for ever. They are looked for at the start,
            and then each hour, or as often as that time is long if it is less, but
            at most each minute.
        @param observers: each is called on the reactor thread with every L{JobEvent
            <ganeti_pool.jobs.JobEvent>}, once that is in the store. What one raises
            is logged.
        @param inThread: calls a function with arguments, such as one that removes
            directories, and fires with what it returns; by default on a thread of
            the reactor's.
        @param handover: how the workers have things done on the reactor thread.
        @param now: gives the time, aware.
        @param monotonic: gives seconds that no change of the clock touches, by
            which the running time of jobs is measured.
        """
        self.workerName = workerName
        self.workerBases = workerBases
        self.onCrash = onCrash
        self._argsVersion = argsVersion
        self._maxWorkers = maxWorkers
        self._pool = pool
        self._core = pool.pool
        self._store = store
        self._paths = paths
        self._reap = reap
        self._startsPaused = isPaused
        self._checkArgs = checkArgs
        self._now = now
        self._clock = reactor
        self._startedAt = now()
        self._version = version("ganeti-pool")
        # One at a time: a start under way comes to its end before the stop goes on.
        self._life = DeferredLock()
        self._isLost = False
        self._isStopped = False
        self._stoppers: list[Deferred[None]] = []
        # The time at which each wait began.
        self._fences: dict[Deferred[None], datetime] = {}
        self._changes = Changes(reactor)
        self._events = Events(observers)
        self._journal = Journal(reactor, self._changes, self._lose)
        self._waiting = Waiting()
        self._room = Room(self._waiting, maxQueued)
        inThread = inThread or self._inThread
        self._output = Output(paths.output, inThread)
        self._claim = Claim(store, self._journal, self._output, inThread)
        self._keeping = Keeping(reactor, store, self._journal, self._output, now, keepFinished)
        self._roster = Roster(reactor, self._core, self._journal)
        self._runs = Runs(
            reactor,
            self._core,
            store,
            self._journal,
            self._roster,
            self._waiting,
            self._events,
            monotonic,
        )
        desk = Desk(
            self._runs,
            self._core,
            handover or ThreadHandover(pool._delivery),
            self._output if keepsOutput else None,
            paths.directory,
            keepsTimeout,
        )
        self._places = Places(
            desk,
            self._core,
            store,
            self._journal,
            self._runs,
            self._roster,
            self._waiting,
            self._room,
            self._events,
        )
        # Its threads may start when they like; what they find is not there yet.
        pool.setActive(False)

    def _inThread(self, f: Callable[..., Any], *args: Any) -> Deferred[Any]:
        reactor = self._clock
        return deferToThreadPool(reactor, reactor.getThreadPool(), f, *args)

    def start(self) -> Deferred[None]:
        """
        Take the store over, settle what an earlier daemon left running, once its
        processes are gone, and go on with the queue as it was.

        @return: a Deferred that fails with L{StoreError
            <ganeti_pool.errors.StoreError>} if the store cannot be used or has
            unfinished jobs of another worker class or another version of its args, or
            if the output directory belongs to another store. A failure of C{reap} is
            passed on.
        """
        return self._life.run(lambda: Deferred.fromCoroutine(self._start()))

    async def _start(self) -> None:
        self._startedAt = self._now()
        self._journal.epoch = await self._store.acquire(f"{socket.gethostname()}:{os.getpid()}")
        settings = await self._journal.read(self._store.settings)
        await self._claim.check(settings)
        own = (self.workerName, self._argsVersion)
        strangers = await self._journal.read(self._store.workers) - {own}
        if strangers:
            others = ", ".join(itertools.starmap(_describe, sorted(strangers)))
            raise StoreError(
                f"there are unfinished jobs of {others} in the store of {self._paths.directory}, "
                f"and this daemon runs {_describe(*own)}: start it with the class and the version "
                "that these jobs are for, and let it finish or cancel them first"
            )
        swept = await self._claim.take()
        self._core._ReserveOrder(await self._journal.read(self._store.lastPosition) + 1)
        left = await self._journal.read(self._store.runningJobs)
        await self._reap([attempt.handle for _, attempt in left if attempt.handle is not None])
        for job, _ in left:
            await self._settle(job)
        await self._load()
        if self._startsPaused:
            await self._journal.write(self._store.setSettings, {ACTIVE: False})
        elif settings.get(ACTIVE, True):
            self._activate(True)
        self._keeping.start(swept)

    async def _settle(self, job: Job) -> None:
        """
        Record what becomes of a job that an earlier daemon left running.
        """
        become = afterCrash(job)
        if isinstance(become, Requeue):
            kind = JobEventKind.INTERRUPTED
            job = await self._journal.write(
                self._store.requeueAttempt,
                job.id,
                job.attempt,
                become.priority,
                job.position,
                become.deferred,
                become.reason,
            )
        else:
            kind = JobEventKind.FINISHED
            job = await self._journal.write(self._store.finishAttempt, job.id, job.attempt, become)
        self._events.tell(kind, job)

    async def _load(self) -> None:
        """
        Put all that waits in the store into the heap, a page at a time, so that the
        reactor can do something else in between. Nothing is started meanwhile, since
        the pool has not been activated.
        """
        after = None
        while True:
            page = await self._journal.read(self._store.queuedJobs, _PAGE, after)
            self._places.push(page, since=None)
            if len(page) < _PAGE:
                return
            after = (page[-1].priority, page[-1].position)

    def stop(self, grace: float) -> Deferred[None]:
        """
        Start nothing any more, let the running jobs end, and close the store. The
        queue stays in it.

        @param grace: after how many seconds the running jobs are told to stop,
            and end as their C{onCrash} says.
        @return: a Deferred that fires when all threads have ended, or are not
            waited for any more. Whoever asks again is told then too, and the grace is
            that of the first.
        """
        stopped: Deferred[None] = Deferred()
        self._stoppers.append(stopped)
        if not self._runs.isStopping:
            self._beginStop(grace).addBoth(self._endStop)
        elif self._isStopped:
            self._endStop(None)
        return stopped

    def _endStop(self, result: Failure | None) -> None:
        self._isStopped = True
        stoppers, self._stoppers = self._stoppers, []
        for stopped in stoppers:
            stopped.callback(result)

    def _beginStop(self, grace: float) -> Deferred[None]:
        self._runs.isStopping = True
        # A start may be checking a large store at this moment.
        self._store.interrupt()
        self._pool.setActive(False)
        for fence in list(self._fences):
            fence.cancel()
        return Deferred.fromCoroutine(self._stop(grace, self._keeping.stop()))

    async def _stop(self, grace: float, kept: Deferred[Any]) -> None:
        await self._life.acquire()
        await self._roster.whenIdle(grace)
        self._runs.interrupt()
        await self._roster.whenIdle(_LAST_WAIT)
        self._journal.close()
        self._roster.release()
        await self._pool.terminateWorkers(deadline=_LAST_WAIT)
        # Not before: who is answered with nothing new asks again at once.
        self._changes.close()
        await kept
        await self._store.close()
        # All starts have been answered now.
        self._runs.abandon()

    def _lose(self, why: str) -> None:
        """
        Stop starting jobs: another daemon has the store, or its files are gone.
        """
        if not self._isLost:
            self._isLost = True
            _log.critical("No job is started any more: {why}", why=why)
            self._pool.setActive(False)

    def _activate(self, active: bool) -> None:
        self._pool.setActive(active and not self._runs.isStopping)


def _describe(worker: str, argsVersion: int) -> str:
    return f"{worker} with args of version {argsVersion}"
