"""
The start of a queue over what an earlier daemon left, and its end.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from twisted.logger import Logger

from ..errors import StoreError
from ..interfaces import IJobStore, IUnitOfWork
from ..jobs import Job, JobEvent, JobEventKind
from ._claim import Claim
from ._decisions import ACTIVE, Decisions
from ._inbox import Inbox
from ._items import Close, Interrupt, Stop
from ._limits import WorkerRules, describeWorker
from ._outcome import Requeue, afterCrash
from ._projection import Projection
from ._sender import Sender

__all__ = ["Recovered", "Recovery", "stopQueue"]

_log = Logger()

_LAST_WAIT = 15.0
"""
How long to wait for the jobs that were told to end, in seconds. It is longer than a command
that ignores TERM takes until it is killed.
"""

_PAGE = 1_000
"""
Read this many queued jobs at once.
"""


class Recovered(NamedTuple):
    """
    What a start has found and done.

    @ivar epoch: the epoch of the store's owner.
    @ivar number: the commit number.
    @ivar events: what became of the jobs that an earlier daemon left running.
    @ivar depths: the number of queued jobs by priority.
    @ivar swept: the highest job ID whose output may be removed if the job is not in the
        store; L{None} if none may.
    """

    epoch: int
    number: int
    events: Sequence[JobEvent]
    depths: Mapping[int, int]
    swept: int | None


class Recovery:
    """
    Acquires the store, checks that it belongs to this daemon, settles the jobs that an
    earlier daemon left running, once their processes are gone, and loads the queue.

    Threads: the dispatcher's, which it blocks.
    """

    def __init__(
        self,
        store: IJobStore,
        claim: Claim,
        rules: WorkerRules,
        directory: str,
        reap: Callable[[Sequence[str]], object],
        isPaused: bool,
        monotonic: Callable[[], float],
    ) -> None:
        """
        @param directory: the state directory, for errors.
        @param reap: kills the processes that the handles of runs name, and returns when they
            are gone.
        @param isPaused: whether to pause the queue.
        """
        self._store = store
        self._claim = claim
        self._rules = rules
        self._directory = directory
        self._reap = reap
        self._isPaused = isPaused
        self._monotonic = monotonic

    def recover(self, decisions: Decisions) -> Recovered:
        """
        @raise StoreError: if the store cannot be used or has unfinished jobs of another
            worker class or another version of its args, or if the output directory belongs to
            another store. What C{reap} raises is passed on.
        """
        epoch = self._store.acquire(f"{socket.gethostname()}:{os.getpid()}")
        with self._store.transaction(epoch) as unit:
            settings, lastID = unit.settings(), unit.lastID()
            workers, running = unit.workers(), unit.runningJobs()
        self._claim.check(settings, lastID)
        self._checkWorkers(workers)
        swept = self._claim.take(epoch)
        self._reap([attempt.handle for _, attempt in running if attempt.handle is not None])
        with self._store.transaction(epoch) as unit:
            events = [_settle(unit, job) for job, _ in running]
            if self._isPaused:
                unit.setSettings({ACTIVE: False})
            lastPosition, number = unit.lastPosition(), unit.revision
        decisions.begin(self._monotonic())
        decisions.recover(settings.get(ACTIVE, True) and not self._isPaused, lastPosition)
        self._load(epoch, decisions)
        return Recovered(epoch, number, events, decisions.commit().depths, swept)

    def _checkWorkers(self, workers: frozenset[tuple[str, int]]) -> None:
        own = (self._rules.name, self._rules.argsVersion)
        strangers = workers - {own}
        if strangers:
            others = ", ".join(itertools.starmap(describeWorker, sorted(strangers)))
            raise StoreError(
                f"there are unfinished jobs of {others} in the store of {self._directory}, "
                f"and this daemon runs {describeWorker(*own)}: start it with the class and the "
                "version that these jobs are for, and let it finish or cancel them first"
            )

    def _load(self, epoch: int, decisions: Decisions) -> None:
        """
        Read the queued jobs, a page at a time.
        """
        after = None
        while True:
            with self._store.transaction(epoch) as unit:
                page = unit.queuedJobs(_PAGE, after)
            decisions.load(page, self._monotonic())
            if len(page) < _PAGE:
                return
            after = (page[-1].priority, page[-1].position)


def _settle(unit: IUnitOfWork, job: Job) -> JobEvent:
    """
    Record what becomes of a job that an earlier daemon left running.
    """
    become = afterCrash(job)
    if isinstance(become, Requeue):
        job = unit.requeueAttempt(
            job.id, job.attempt, become.priority, job.position, become.deferred, become.reason
        )
        return JobEvent(JobEventKind.INTERRUPTED, job)
    return JobEvent(JobEventKind.FINISHED, unit.finishAttempt(job.id, job.attempt, become))


async def stopQueue(grace: float, inbox: Inbox, sender: Sender, projection: Projection) -> None:
    """
    Stop a queue that was started: start no jobs, let those that run end, and release the
    store. The queued jobs stay in it.

    @param grace: how long the running jobs may go on, in seconds. Then they are told to end.
    @raise QueueBroken: if the queue breaks, or was broken.
    @raise OwnershipLost: if that is why.
    """
    # The answer comes with the counters of all starts.
    await sender.put(Stop)
    await projection.whenIdle(grace)
    inbox.put(Interrupt())
    await projection.whenIdle(_LAST_WAIT)
    await sender.put(Close)
    sender.close()
