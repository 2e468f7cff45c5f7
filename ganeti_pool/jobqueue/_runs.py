"""
What the store is told of the attempts, on the reactor thread.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from ..errors import (
    InvalidArgument,
    NoSuchJob,
    NoSuchTask,
    OwnershipLost,
    QueueStopping,
    StaleAttempt,
    StoreError,
    TaskCancelled,
)
from ..interfaces import IJobStore
from ..jobs import Job, JobEventKind, JobState, Outcome
from ..workerpool import WorkerPool
from ..workerpool._locking import Acquire
from ._events import Events
from ._journal import FIRST_PAUSE, Journal, longer
from ._outcome import Requeue, timedOut, unusable
from ._output import Output
from ._room import Waiting
from ._task import JobTask, Run, TaskState

__all__ = ["CallAndWait", "Runs"]

_log = Logger()

_T = TypeVar("_T")

CallAndWait = Callable[[Callable[[], Deferred[Any]]], Any]
"""
Calls a function on the reactor thread, from another one, and waits for what its
Deferred fires with.
"""


class Runs:
    """
    The starts, deferrals and ends of the attempts of the jobs.

    What changes where a job waits, or whether it does, is done by one at a time
    for each job (L{alone}); so each finds the job as the last one left it, in the
    heap and in the store, also if that one's commit failed.

    Invariant: a job that this daemon is to start or runs is found by its ID in the
    pool until its worker is done with it, and in C{running} from the moment at which
    its worker asks to start it until its outcome is recorded. So one that waits
    costs nothing here.

    Threads: the reactor's, but for L{wait}, L{makeOutputDirectory},
    L{outputDirectory} and C{stateDirectory}, which are the workers' side.

    @ivar running: by ID, the jobs that have begun and not ended.
    @ivar isStopping: whether nothing is started any more.
    @ivar isInterrupted: whether all that runs was told to end, with the daemon.
    """

    def __init__(
        self,
        clock: IReactorTime,
        pool: WorkerPool,
        store: IJobStore,
        journal: Journal,
        waiting: Waiting,
        events: Events,
        output: Output | None,
        stateDirectory: str,
        callAndWait: CallAndWait,
        monotonic: Callable[[], float],
    ) -> None:
        """
        @param output: where the attempts keep what they write; L{None} if they
            write nothing.
        """
        self.running: dict[int, JobTask] = {}
        self.isStopping = False
        self.isInterrupted = False
        self.stateDirectory = stateDirectory
        self.monotonic = monotonic
        self._clock = clock
        self._pool = pool
        self._store = store
        self._journal = journal
        self._waiting = waiting
        self._events = events
        self._output = output
        self._callAndWait = callAndWait
        self._locks: dict[int, DeferredLock] = {}
        self._idle: list[Deferred[None]] = []

    # For the workers

    def wait(self, f: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """
        Do something on the reactor thread, and wait for its end on this one.
        """
        self._callAndWait(lambda: Deferred.fromCoroutine(f(*args)))

    def outputDirectory(self, job: Job) -> str | None:
        """
        Where an attempt that has begun keeps what it writes.
        """
        return None if self._output is None else self._output.directoryOf(job.id, job.attempt)

    def makeOutputDirectory(self, task: JobTask) -> None:
        """
        Make the directory of the attempt that is to start, however long that takes:
        a job that could not keep its output waits.

        @raise StaleAttempt: if the job was cancelled.
        @raise QueueStopping: if nothing is started any more.
        @raise StoreError: if the journal was closed meanwhile.
        """
        pause = FIRST_PAUSE
        while self._output is not None:
            try:
                self._output.make(task.jobID, task.attempts + 1)
                return
            except OSError as error:
                self.wait(self._holdUp, task, error, pause)
            pause = longer(pause)

    async def _holdUp(self, task: JobTask, error: OSError, pause: float) -> None:
        self._checkStart(task)
        self._journal.hindrance = f"the output of jobs cannot be kept: {error}"
        await self._journal.rest(pause)

    # One at a time

    async def alone(self, jobID: int, f: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """
        Do something with a job while no other does, in the order of asking.
        """
        lock = self._locks.setdefault(jobID, DeferredLock())
        await lock.acquire()
        try:
            return await f()
        finally:
            lock.release()
            if not lock.locked and self._locks.get(jobID) is lock:
                del self._locks[jobID]

    def find(self, jobID: int) -> JobTask | None:
        """
        A job that waits in the pool, was taken by a worker, or runs; L{None} if it
        has its outcome, or this daemon does not know it.
        """
        task = self.running.get(jobID)
        if task is None:
            pool = self._pool
            Acquire(pool._lock)
            entry = pool._WaitingUnlocked(jobID) or pool._running_ids.get(jobID)
            pool._lock.release()
            completion = None if entry is None else entry.completion
            if isinstance(completion, JobTask) and completion.state is not TaskState.OVER:
                task = completion
        return task

    # The life of an attempt

    async def start(self, task: JobTask) -> None:
        """
        Record that an attempt starts.

        @raise StaleAttempt: if the job was cancelled.
        @raise QueueStopping: if nothing is started any more.
        """
        # Not alone during a pause of persist: a cancellation need not wait for it.
        await self._journal.persist(
            lambda: self.alone(task.jobID, partial(self._start, task)), isOutcome=False
        )

    async def _start(self, task: JobTask) -> None:
        self._checkStart(task)
        self._journal.hindrance = None
        self.running[task.jobID] = task
        try:
            job = await self._journal.write(self._store.startAttempt, task.jobID, task.attempts + 1)
        except BaseException:
            self._leave(task)
            raise
        now = self.monotonic()
        task.run = Run(job, now)
        task.attempts += 1
        task.state = TaskState.RUNNING
        self._waiting.remove(task.priority)
        if job.timeout is not None:
            self._limit(task, task.run, now + job.timeout)
        waited = None if task.since is None else now - task.since
        self._events.tell(JobEventKind.STARTED, job, waited=waited)

    def _checkStart(self, task: JobTask) -> None:
        """
        @raise StaleAttempt: if the job was cancelled.
        @raise QueueStopping: if nothing is started any more.
        """
        if task.state is TaskState.OVER:
            raise StaleAttempt(task.jobID, task.attempts + 1, JobState.CANCELLED.value)
        if self.isStopping:
            raise QueueStopping()

    def _limit(self, task: JobTask, run: Run, deadline: float) -> None:
        """
        Tell a job to end, as a cancellation does, when its time is over.

        @param deadline: a time of C{monotonic}.
        """
        left = deadline - self.monotonic()
        # The reactor's clock may be set forward, and then it calls too early.
        if left > 0:
            run.timeout = self._clock.callLater(left, self._limit, task, run, deadline)
            return
        run.timeout = None
        run.isTimedOut = True
        with suppress(NoSuchTask):
            self._pool.InterruptTask(task.jobID)

    def _ended(self, task: JobTask) -> Run:
        """
        The attempt has ended by itself: what is left to do takes none of its time.
        """
        run = task.running
        # Not again, if it fails since its deferral has been refused.
        if run.ended is None:
            run.ended = self.monotonic()
        if run.timeout is not None:
            run.timeout.cancel()
            run.timeout = None
        return run

    async def keepHandle(self, task: JobTask, handle: str) -> None:
        """
        Keep what finds the processes of an attempt again. If there is no room for
        it, they are found by their environment.

        @raise StaleAttempt: if the attempt does not run any more.
        @raise OwnershipLost: if the store is another owner's.
        """
        try:
            await self._journal.write(self._store.recordHandle, task.jobID, task.attempts, handle)
        except (StaleAttempt, OwnershipLost):
            raise
        except StoreError as error:
            _log.warn(
                "The handle of job {jobID} is not kept: {error}", jobID=task.jobID, error=error
            )

    async def defer(self, task: JobTask, order: int) -> None:
        """
        Record that a job has deferred itself.

        @raise TaskCancelled: if it was cancelled, or its time was over.
        """
        deferral = self._ended(task).deferral
        assert deferral is not None
        await self._putBack(task, Requeue(*deferral, deferred=True), order)

    async def _putBack(self, task: JobTask, requeue: Requeue, order: int) -> None:
        requeued = partial(self._requeue, task, requeue, order)
        await self._journal.persist(lambda: self.alone(task.jobID, requeued))

    async def _requeue(self, task: JobTask, requeue: Requeue, order: int) -> None:
        run = task.running
        if run.isCancelled or run.isTimedOut:
            raise TaskCancelled(self._pool._name, task.jobID)
        job = await self._journal.write(
            self._store.requeueAttempt,
            task.jobID,
            task.attempts,
            requeue.priority,
            order,
            requeue.deferred,
            requeue.reason,
        )
        task.priority = requeue.priority
        task.attempts -= requeue.deferred
        task.since = self.monotonic()
        task.run = None
        task.state = TaskState.WAITING
        self._waiting.add(task.priority)
        self._leave(task)
        kind = JobEventKind.DEFERRED if requeue.deferred else JobEventKind.INTERRUPTED
        self._events.tell(kind, job, ran=run.seconds)

    async def succeed(self, task: JobTask, outcome: Outcome) -> None:
        """
        An attempt has succeeded: record that, if it was in time.
        """
        run = self._ended(task)
        if run.isTimedOut:
            outcome = timedOut(run.job, None, run.output)
        await self.end(task, outcome)

    async def fail(self, task: JobTask, failure: Failure) -> None:
        """
        An attempt has failed: record what becomes of the job.
        """
        become = self._ended(task).judge(failure, self.isInterrupted)
        if isinstance(become, Requeue):
            await self._waitAgain(task, become)
            return
        if become.error is not None and become.error.code == "exception":
            _log.failure("Job {jobID} failed", failure, LogLevel.info, jobID=task.jobID)
        await self.end(task, become)

    async def _waitAgain(self, task: JobTask, requeue: Requeue) -> None:
        """
        The queue is stopping: the job is for the next daemon.
        """
        run = task.running
        order = self._pool._ReserveOrder(1) if requeue.deferred else run.job.position
        try:
            await self._putBack(task, requeue, order)
        except TaskCancelled:
            await self.end(task, Outcome(JobState.CANCELLED, output=run.output))
        except (StaleAttempt, OwnershipLost) as error:
            self._lost(task, error)

    async def end(self, task: JobTask, outcome: Outcome) -> None:
        """
        Record an outcome, however long that takes. The first to be recorded wins.
        """
        run = task.running
        try:
            try:
                job = await self._finish(task, outcome)
            except InvalidArgument as error:
                job = await self._finish(task, unusable(outcome, error))
        except (StaleAttempt, OwnershipLost, NoSuchJob) as error:
            self._lost(task, error)
        else:
            self.forget(task)
            self._events.tell(JobEventKind.FINISHED, job, ran=run.seconds)

    async def _finish(self, task: JobTask, outcome: Outcome) -> Job:
        return await self._journal.persist(
            lambda: self._journal.write(
                self._store.finishAttempt, task.jobID, task.attempts, outcome
            )
        )

    def _lost(self, task: JobTask, error: Exception) -> None:
        _log.warn(
            "What job {jobID} came to is not recorded: {error}", jobID=task.jobID, error=error
        )
        self.forget(task)

    def forget(self, task: JobTask) -> None:
        """
        A job has its outcome.
        """
        task.state = TaskState.OVER
        task.run = None
        self._leave(task)

    # The end

    def interrupt(self) -> None:
        """
        Tell all that run to end, since the daemon does.
        """
        self.isInterrupted = True
        for jobID in list(self.running):
            with suppress(NoSuchTask):
                self._pool.InterruptTask(jobID)

    def whenIdle(self, timeout: float) -> Deferred[None]:
        """
        @param timeout: in seconds.
        @return: a Deferred that fires when no job runs, or after the timeout.
        """
        if not self.running:
            return succeed(None)
        idle: Deferred[None] = Deferred(self._idle.remove)
        self._idle.append(idle)
        return idle.addTimeout(timeout, self._clock, lambda _, seconds: None)

    def _leave(self, task: JobTask) -> None:
        if self.running.get(task.jobID) is task:
            del self.running[task.jobID]
        if not self.running:
            idle, self._idle = self._idle, []
            for waiter in idle:
                waiter.callback(None)
