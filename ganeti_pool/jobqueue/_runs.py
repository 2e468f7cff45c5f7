"""
What the store is told of the attempts, on the reactor thread.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
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
from ._events import Events
from ._handover import Handover
from ._journal import FIRST_PAUSE, Journal, longer
from ._outcome import Requeue, timedOut, unusable
from ._output import Output
from ._room import Waiting
from ._roster import Roster
from ._task import JobTask, Run, TaskState
from ._turns import Turns

__all__ = ["Runs"]

_log = Logger()


class Runs:
    """
    The starts, deferrals and ends of the attempts of the jobs.

    What changes where a job waits, or whether it does, is done by one at a time
    for each job (C{turns}); so each finds the job as the last one left it, in the
    heap and in the store, also if that one's commit failed.

    What every job does has callbacks, and what some do coroutines, which cost more.

    Threads: the reactor's, but for L{wait}, L{makeOutputDirectory},
    L{outputDirectory} and C{stateDirectory}, which are the workers' side.

    @ivar turns: whose turn it is with a job.
    @ivar isStopping: whether nothing is started any more.
    @ivar isInterrupted: whether all that runs was told to end, with the daemon.
    """

    def __init__(
        self,
        clock: IReactorTime,
        pool: WorkerPool,
        store: IJobStore,
        journal: Journal,
        roster: Roster,
        waiting: Waiting,
        events: Events,
        output: Output | None,
        stateDirectory: str,
        handover: Handover,
        monotonic: Callable[[], float],
    ) -> None:
        """
        @param output: where the attempts keep what they write; L{None} if they
            write nothing.
        """
        self.isStopping = False
        self.isInterrupted = False
        self.stateDirectory = stateDirectory
        self.monotonic = monotonic
        self._clock = clock
        self._pool = pool
        self._store = store
        self._journal = journal
        self._roster = roster
        self._waiting = waiting
        self._events = events
        self._output = output
        self._handover = handover
        self.turns = Turns()

    # For the workers

    def wait(self, f: Callable[..., Deferred[None]], *args: Any) -> None:
        """
        Do something on the reactor thread, and wait for its end on this one.
        """
        self._handover.callAndWait(partial(f, *args))

    def handIn(self, f: Callable[[JobTask, Any], Deferred[None]], task: JobTask, end: Any) -> None:
        """
        Have the end of an attempt recorded, by L{succeed} or L{fail}, while its worker
        takes its next job. The start of that is asked for behind it, so both are in
        the same commit most often; and it runs only once both are recorded, so an
        outcome that cannot be written holds its worker.

        While somebody waits for the pool to be quiet, that is for this outcome.
        """
        ask = partial(self._record, f, task, end)
        if self._pool._fences:
            with suppress(StoreError):
                self._handover.callAndWait(ask)
        else:
            self._handover.post(ask)

    def _record(
        self, f: Callable[[JobTask, Any], Deferred[None]], task: JobTask, end: Any
    ) -> Deferred[None]:
        return f(task, end).addErrback(self._unrecorded, task)

    def _unrecorded(self, failure: Failure, task: JobTask) -> None:
        _log.failure(
            "What job {jobID} came to is not recorded",
            failure,
            LogLevel.critical,
            jobID=task.jobID,
        )
        # The journal is closed: the next job must not run. All else is no fault of it.
        if failure.check(StoreError):
            failure.raiseException()

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
                self.wait(Deferred.fromCoroutine, self._holdUp(task, error, pause))
            pause = longer(pause)

    async def _holdUp(self, task: JobTask, error: OSError, pause: float) -> None:
        self._checkStart(task)
        self._journal.hindrance = f"the output of jobs cannot be kept: {error}"
        await self._journal.rest(pause)

    # The life of an attempt

    def start(self, task: JobTask) -> Deferred[None]:
        """
        Record that an attempt starts.

        @return: a Deferred that fails with L{StaleAttempt} if the job was cancelled,
            or with L{QueueStopping} if nothing is started any more.
        """
        # Not alone during a pause of persist: a cancellation need not wait for it.
        return self._journal.persist(
            partial(self.turns.alone, task.jobID, self._start, task), isOutcome=False
        )

    def _start(self, task: JobTask) -> Deferred[None]:
        self._checkStart(task)
        self._journal.hindrance = None
        self._roster.enter(task)
        started = self._journal.write(self._store.startAttempt, task.jobID, task.attempts + 1)
        return started.addCallbacks(self._started, self._notStarted, (task,), {}, (task,))

    def _notStarted(self, failure: Failure, task: JobTask) -> Failure:
        self._roster.leave(task)
        return failure

    def _started(self, job: Job, task: JobTask) -> None:
        now = self.monotonic()
        task.run = Run(job, now)
        task.attempts += 1
        task.state = TaskState.RUNNING
        self._waiting.remove(task.priority)
        if job.timeout is not None:
            task.run.limit(
                now + job.timeout, self._clock, self.monotonic, partial(self._tellToEnd, task)
            )
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

    def _tellToEnd(self, task: JobTask) -> None:
        with suppress(NoSuchTask):
            self._pool.InterruptTask(task.jobID)

    def _ended(self, task: JobTask) -> Run:
        """
        The attempt has ended by itself.
        """
        task.running.end(self.monotonic())
        return task.running

    def keepHandle(self, task: JobTask, handle: str) -> Deferred[None]:
        """
        Keep what finds the processes of an attempt again. If there is no room for
        it, they are found by their environment.

        @return: a Deferred that fails with L{StaleAttempt} if the attempt does not
            run any more, or with L{OwnershipLost} if the store is another owner's.
        """
        kept = self._journal.write(self._store.recordHandle, task.jobID, task.attempts, handle)
        return kept.addErrback(self._handleNotKept, task)

    def _handleNotKept(self, failure: Failure, task: JobTask) -> None:
        if not failure.check(StoreError) or failure.check(StaleAttempt, OwnershipLost):
            failure.raiseException()
        _log.warn(
            "The handle of job {jobID} is not kept: {error}",
            jobID=task.jobID,
            error=failure.value,
        )

    def defer(self, task: JobTask, order: int) -> Deferred[None]:
        """
        Record that a job has deferred itself.

        @return: a Deferred that fails with L{TaskCancelled} if it was cancelled, or
            its time was over.
        """
        deferral = self._ended(task).deferral
        assert deferral is not None
        return self._putBack(task, Requeue(*deferral, deferred=True), order)

    def _putBack(self, task: JobTask, requeue: Requeue, order: int) -> Deferred[None]:
        return self._journal.persist(
            partial(self.turns.alone, task.jobID, self._requeue, task, requeue, order)
        )

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
        self._roster.leave(task)
        kind = JobEventKind.DEFERRED if requeue.deferred else JobEventKind.INTERRUPTED
        self._events.tell(kind, job, ran=run.seconds)

    def succeed(self, task: JobTask, outcome: Outcome) -> Deferred[None]:
        """
        An attempt has succeeded: record that, if it was in time.
        """
        run = self._ended(task)
        if run.isTimedOut:
            outcome = timedOut(run.job, None, run.output)
        return self._end(task, outcome)

    def fail(self, task: JobTask, failure: Failure) -> Deferred[None]:
        """
        An attempt has failed: record what becomes of the job.
        """
        become = self._ended(task).judge(failure, self.isInterrupted)
        if isinstance(become, Requeue):
            return Deferred.fromCoroutine(self._waitAgain(task, become))
        if become.error is not None and become.error.code == "exception":
            _log.failure("Job {jobID} failed", failure, LogLevel.info, jobID=task.jobID)
        return self._end(task, become)

    async def _waitAgain(self, task: JobTask, requeue: Requeue) -> None:
        """
        The queue is stopping: the job is for the next daemon.
        """
        run = task.running
        order = self._pool._ReserveOrder(1) if requeue.deferred else run.job.position
        try:
            await self._putBack(task, requeue, order)
        except TaskCancelled:
            await self._end(task, Outcome(JobState.CANCELLED, output=run.output))
        except (StaleAttempt, OwnershipLost):
            self._lost(Failure(), task)

    def _end(self, task: JobTask, outcome: Outcome) -> Deferred[None]:
        """
        Record an outcome, however long that takes. The first to be recorded wins.
        """
        run = task.running
        return self._finish(task, outcome).addCallbacks(
            self._finished, self._notFinished, (task, run), {}, (task, run, outcome)
        )

    def _finish(self, task: JobTask, outcome: Outcome) -> Deferred[Job]:
        return self._journal.persist(
            lambda: self._journal.write(
                self._store.finishAttempt, task.jobID, task.attempts, outcome
            )
        )

    def _finished(self, job: Job, task: JobTask, run: Run) -> None:
        self.forget(task)
        self._events.tell(JobEventKind.FINISHED, job, ran=run.seconds)

    def _notFinished(
        self, failure: Failure, task: JobTask, run: Run, outcome: Outcome
    ) -> Deferred[None] | None:
        error = failure.value
        if isinstance(error, InvalidArgument):
            # Its result cannot be stored; what says so can.
            return self._finish(task, unusable(outcome, error)).addCallbacks(
                self._finished, self._lost, (task, run), {}, (task,)
            )
        self._lost(failure, task)
        return None

    def _lost(self, failure: Failure, task: JobTask) -> None:
        if not failure.check(StaleAttempt, OwnershipLost, NoSuchJob):
            failure.raiseException()
        _log.warn(
            "What job {jobID} came to is not recorded: {error}",
            jobID=task.jobID,
            error=failure.value,
        )
        self.forget(task)

    def forget(self, task: JobTask) -> None:
        """
        A job has its outcome.
        """
        task.state = TaskState.OVER
        task.run = None
        self._roster.leave(task)

    # The end

    def interrupt(self) -> None:
        """
        Tell all that run to end, since the daemon does.
        """
        self.isInterrupted = True
        for task in list(self._roster.running.values()):
            self._tellToEnd(task)
