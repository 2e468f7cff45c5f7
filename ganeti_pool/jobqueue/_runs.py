"""
What the store is told of the attempts, on the reactor thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from ..errors import (
    InvalidArgument,
    NoSuchTask,
    OwnershipLost,
    QueueStopping,
    StaleAttempt,
    StoreError,
    TaskCancelled,
)
from ..interfaces import IJobStore
from ..jobs import JobState, Outcome
from ..paths import StatePaths
from ..workerpool import WorkerPool
from ._journal import FIRST_PAUSE, Journal, longer
from ._outcome import Requeue, timedOut, unusable
from ._task import JobTask, TaskState

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
    The jobs that this daemon has, and the starts, deferrals and ends of their
    attempts.

    What changes where a job waits, or whether it does, is done by one at a time
    for each job (L{alone}); so each finds the job as the last one left it, in the
    heap and in the store, also if that one's commit failed.

    Threads: the reactor's, but for L{wait}, L{outputDirectory} and
    C{stateDirectory}, which are the workers' side.

    @ivar tasks: by ID, the jobs without an outcome.
    @ivar running: those that have begun and not ended.
    @ivar isStopping: whether nothing is started any more.
    """

    def __init__(
        self,
        clock: IReactorTime,
        pool: WorkerPool,
        store: IJobStore,
        journal: Journal,
        paths: StatePaths,
        callAndWait: CallAndWait,
        monotonic: Callable[[], float],
    ) -> None:
        self.tasks: dict[int, JobTask] = {}
        self.running: set[JobTask] = set()
        self.isStopping = False
        self.stateDirectory = paths.directory
        self._clock = clock
        self._pool = pool
        self._store = store
        self._journal = journal
        self._output = paths.output
        self._callAndWait = callAndWait
        self._monotonic = monotonic
        self._timeouts: dict[JobTask, IDelayedCall] = {}
        self._locks: dict[int, DeferredLock] = {}
        self._idle: list[Deferred[None]] = []

    # For the workers

    def wait(self, f: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """
        Do something on the reactor thread, and wait for its end on this one.
        """
        self._callAndWait(lambda: Deferred.fromCoroutine(f(*args)))

    def outputDirectory(self, jobID: int, attempt: int) -> str:
        """
        Where an attempt keeps what it writes.
        """
        return os.path.join(self._output, str(jobID), str(attempt))

    def makeOutputDirectory(self, task: JobTask) -> None:
        """
        Make the directory of the attempt that is to start, however long that takes:
        a job that could not keep its output waits.

        @raise StaleAttempt: if the job was cancelled.
        @raise QueueStopping: if nothing is started any more.
        @raise StoreError: if the journal was closed meanwhile.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                os.makedirs(
                    self.outputDirectory(task.jobID, task.attempts + 1), 0o700, exist_ok=True
                )
                return
            except OSError as error:
                self.wait(self._holdUp, task, error, pause)
            pause = longer(pause)

    async def _holdUp(self, task: JobTask, error: OSError, pause: float) -> None:
        if task.state is TaskState.OVER:
            raise StaleAttempt(task.jobID, task.attempts + 1, JobState.CANCELLED.value)
        if self.isStopping:
            raise QueueStopping()
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
        if self.isStopping:
            raise QueueStopping()
        self._journal.hindrance = None
        self.running.add(task)
        try:
            task.job = await self._journal.write(
                self._store.startAttempt, task.jobID, task.attempts + 1
            )
        except BaseException:
            self._leave(task)
            raise
        task.attempts += 1
        task.state = TaskState.RUNNING
        if task.job.timeout is not None:
            self._limit(task, self._monotonic() + task.job.timeout)

    def _limit(self, task: JobTask, deadline: float) -> None:
        """
        Tell a job to end, as a cancellation does, when its time is over.

        @param deadline: a time of C{monotonic}.
        """
        left = deadline - self._monotonic()
        # The reactor's clock may be set forward, and then it calls too early.
        if left > 0:
            self._timeouts[task] = self._clock.callLater(left, self._limit, task, deadline)
            return
        self._timeouts.pop(task, None)
        task.isTimedOut = True
        with suppress(NoSuchTask):
            self._pool.InterruptTask(task.jobID)

    def _unlimit(self, task: JobTask) -> None:
        """
        The attempt has ended by itself: what is left to do takes none of its time.
        """
        timeout = self._timeouts.pop(task, None)
        if timeout is not None:
            timeout.cancel()

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

    async def defer(self, task: JobTask, priority: int, order: int) -> None:
        """
        Record that a job has deferred itself.

        @raise TaskCancelled: if it was cancelled, or its time was over.
        """
        self._unlimit(task)
        requeued = partial(self._requeue, task, priority, order, True)
        await self._journal.persist(lambda: self.alone(task.jobID, requeued))

    async def _requeue(self, task: JobTask, priority: int, order: int, deferred: bool) -> None:
        if task.isCancelled or task.isTimedOut:
            raise TaskCancelled(self._pool._name, task.jobID)
        await self._journal.write(
            self._store.requeueAttempt, task.jobID, task.attempts, priority, order, deferred
        )
        task.priority = priority
        task.order = order
        task.attempts -= deferred
        task.job = None
        task.state = TaskState.WAITING
        self._leave(task)

    async def succeed(self, task: JobTask, outcome: Outcome) -> None:
        """
        An attempt has succeeded: record that, if it was in time.
        """
        self._unlimit(task)
        if task.isTimedOut:
            assert task.job is not None  # its attempt has begun
            outcome = timedOut(task.job, None, task.output)
        await self.end(task, outcome)

    async def fail(self, task: JobTask, failure: Failure) -> None:
        """
        An attempt has failed: record what becomes of the job.
        """
        self._unlimit(task)
        become = task.judge(failure)
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
        order = self._pool._ReserveOrder(1) if requeue.deferred else task.order
        requeued = partial(self._requeue, task, requeue.priority, order, requeue.deferred)
        try:
            await self._journal.persist(lambda: self.alone(task.jobID, requeued))
        except TaskCancelled:
            await self.end(task, Outcome(JobState.CANCELLED, output=task.output))
        except (StaleAttempt, OwnershipLost) as error:
            self._lost(task, error)

    async def end(self, task: JobTask, outcome: Outcome) -> None:
        """
        Record an outcome, however long that takes. The first to be recorded wins.
        """
        try:
            try:
                await self._finish(task, outcome)
            except InvalidArgument as error:
                await self._finish(task, unusable(outcome, error))
        except (StaleAttempt, OwnershipLost) as error:
            self._lost(task, error)
        else:
            self.forget(task)

    async def _finish(self, task: JobTask, outcome: Outcome) -> None:
        await self._journal.persist(
            lambda: self._journal.write(
                self._store.finishAttempt, task.jobID, task.attempts, outcome
            )
        )

    def _lost(self, task: JobTask, error: StoreError) -> None:
        _log.warn(
            "What job {jobID} came to is not recorded: {error}", jobID=task.jobID, error=error
        )
        self.forget(task)

    def forget(self, task: JobTask) -> None:
        """
        A job has its outcome.
        """
        task.state = TaskState.OVER
        del self.tasks[task.jobID]
        self._leave(task)

    # The end

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
        self.running.discard(task)
        if not self.running:
            idle, self._idle = self._idle, []
            for waiter in idle:
                waiter.callback(None)
