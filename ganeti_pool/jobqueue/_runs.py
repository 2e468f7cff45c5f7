"""
What the store is told of the attempts, on the reactor thread.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeGuard

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from ..errors import (
    InvalidArgument,
    JobNotFinished,
    NoSuchJob,
    NoSuchTask,
    OwnershipLost,
    QueueStopping,
    StaleAttempt,
    StoreError,
    StoreLost,
    TaskCancelled,
)
from ..interfaces import IJobStore
from ..jobs import Job, JobEventKind, JobState, Outcome
from ..workerpool import WorkerPool
from ._events import Events
from ._journal import Journal
from ._outcome import Requeue, Said, timedOut, unrecordable, unusable
from ._room import Waiting
from ._roster import Roster
from ._task import JobTask, Run, TaskState
from ._turns import Turns

__all__ = ["NotItsTurn", "Runs"]

_log = Logger()


class NotItsTurn(Exception):
    """
    A job cannot be started now, and waits again at its place.
    """


class Runs:
    """
    The starts, deferrals and ends of the attempts of the jobs.

    What changes where a job waits, or whether it does, is done by one at a time
    for each job (C{turns}); so each finds the job as the last one left it, in the
    heap and in the store, also if that one's commit failed.

    What every job does has callbacks, and what some do coroutines, which cost more.

    Threads: the reactor's.

    @ivar turns: whose turn it is with a job.
    @ivar isStopping: whether nothing is started any more.
    @ivar isInterrupted: whether all that runs was told to end, with the daemon.
    @ivar monotonic: gives seconds, by which the running time is measured.
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
        monotonic: Callable[[], float],
    ) -> None:
        """
        @param clock: where the end of a job's time is waited for.
        @param pool: what runs the jobs.
        @param store: what is written to, through the C{journal}.
        @param roster: is told which jobs run.
        @param waiting: is told which do not wait any more, and which do again.
        @param events: is told of what was recorded.
        @param monotonic: gives seconds that no change of the clock touches.
        """
        self.isStopping = False
        self.isInterrupted = False
        self._isAbandoned = False
        self.monotonic = monotonic
        self.turns = Turns()
        self._clock = clock
        self._pool = pool
        self._store = store
        self._journal = journal
        self._roster = roster
        self._waiting = waiting
        self._events = events

    # The life of an attempt

    def holdUp(
        self, task: JobTask, before: JobTask | None, error: OSError, pause: float
    ) -> Deferred[None]:
        """
        A job that is to start has no place for its output: have it wait.

        @param before: as for L{start}.
        @return: a Deferred that fails with L{StaleAttempt} if the job was cancelled,
            with L{QueueStopping} if nothing is started any more, with L{NotItsTurn} if
            the end of what was before is not recorded yet, or with L{StoreError} if the
            journal was closed meanwhile.
        """
        self._checkStart(task)
        if self._isUnrecorded(before):
            return self.turns.alone(task.jobID, self._postpone, task)
        self._journal.hinder(task.jobID, f"the output of jobs cannot be kept: {error}")
        return Deferred.fromCoroutine(self._journal.rest(pause))

    def _postpone(self, task: JobTask) -> Deferred[None]:
        self._checkStart(task)
        return fail(self._giveBack(task))

    def _giveBack(self, task: JobTask) -> Failure:
        """
        Have a job wait in the pool, since its worker waits for one thing at a time; so
        it can be moved, cancelled, or started by another one.
        """
        self._roster.putBack(task)
        return Failure(NotItsTurn())

    def start(self, task: JobTask, before: JobTask | None) -> Deferred[None]:
        """
        Record that an attempt starts.

        @param before: what the worker has done last, whose end is asked to be
            recorded; L{None} for nothing.
        @return: a Deferred that fails with L{StaleAttempt} if the job was cancelled;
            with L{QueueStopping} if nothing is started any more; or with
            L{NotItsTurn} if that end could not be recorded yet.
        """
        # Not alone during a pause of persist: a cancellation need not wait for it.
        return self._journal.persist(
            partial(self.turns.alone, task.jobID, self._start, task, before), isOutcome=False
        )

    def _start(self, task: JobTask, before: JobTask | None) -> Deferred[None]:
        self._checkStart(task)
        self._journal.hindrances.pop(task.jobID, None)
        self._roster.enter(task, before)
        # The store decides whether the end of the job before is there: both may be in
        # one commit, and what is said here of the first comes with what is said of
        # the second.
        after = (before.jobID, before.attempts) if self._isUnrecorded(before) else None
        started = self._journal.write(
            self._store.startAttempt, task.jobID, task.attempts + 1, after
        )
        return started.addCallbacks(self._started, self._notStarted, (task,), {}, (task, before))

    def _isUnrecorded(self, task: JobTask | None) -> TypeGuard[JobTask]:
        return task is not None and self._roster.running.get(task.jobID) is task

    def _notStarted(self, failure: Failure, task: JobTask, before: JobTask | None) -> Failure:
        self._roster.leave(task)
        if failure.check(JobNotFinished) or (
            self._isUnrecorded(before) and not failure.check(StaleAttempt, OwnershipLost)
        ):
            return self._giveBack(task)
        return failure

    def _started(self, job: Job, task: JobTask) -> None:
        now = self.monotonic()
        task.run = Run(job, now)
        task.attempts += 1
        task.state = TaskState.RUNNING
        self._roster.begun(task)
        self._waiting.remove(task.priority)
        waited = None if task.since is None else now - task.since
        self._events.tell(JobEventKind.STARTED, job, waited=waited)

    def beginWork(self, task: JobTask, run: Run, now: float, isLimited: bool) -> Deferred[None]:
        """
        Record that the work of an attempt begins or goes on.

        @param now: when it began, by the monotonic clock.
        @param isLimited: whether to start the timeout of the attempt, at the first report.
        @return: a Deferred that has fired.
        """
        # The run may have ended since its worker posted this.
        if task.run is run and run.ended is None:
            self._journal.hindrances.pop(task.jobID, None)
            timeout = run.job.timeout
            if isLimited and not run.isLimited and not self._isAbandoned and timeout is not None:
                run.isLimited = True
                run.limit(
                    now + timeout, self._clock, self.monotonic, partial(self._tellToEnd, task)
                )
        return succeed(None)

    def waitToBegin(self, task: JobTask, run: Run, why: str) -> Deferred[None]:
        """
        Record why the work of a started attempt cannot begin yet.

        @return: a Deferred that has fired.
        """
        if task.run is run and run.ended is None:
            self._journal.hinder(task.jobID, why)
        return succeed(None)

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
        self._journal.hindrances.pop(task.jobID, None)
        return task.running

    def keepHandle(self, task: JobTask, run: Run, handle: str) -> Deferred[None]:
        """
        Store what finds the processes of an attempt again, unless the attempt has ended.
        If the handle cannot be stored, they are found by their environment.

        @return: a Deferred that fires in any case.
        """
        # The run may have ended since its worker posted this.
        if task.run is not run or run.ended is not None:
            return succeed(None)
        kept = self._journal.write(self._store.recordHandle, task.jobID, task.attempts, handle)
        return kept.addErrback(self._handleNotKept, task)

    def _handleNotKept(self, failure: Failure, task: JobTask) -> None:
        # The attempt may have ended in the meantime; the loss of the ownership ends it.
        if not failure.check(StaleAttempt, OwnershipLost):
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

        @return: a Deferred that fires when nothing is left to do for it. What could
            not be recorded for good is logged, and is for the next daemon.
        """
        return self._record(task, self._succeed, outcome)

    def _succeed(self, task: JobTask, outcome: Outcome) -> Deferred[None]:
        run = self._ended(task)
        if run.isTimedOut:
            outcome = timedOut(run.job, None, run.output)
        return self._end(task, outcome)

    def fail(self, task: JobTask, failure: Failure, said: Said) -> Deferred[None]:
        """
        An attempt has failed: record what becomes of the job.

        @param said: what the failure says of itself.
        @return: a Deferred as that of L{succeed}.
        """
        return self._record(task, self._fail, failure, said)

    def _fail(self, task: JobTask, failure: Failure, said: Said) -> Deferred[None]:
        become = self._ended(task).judge(failure, said, self.isStopping, self.isInterrupted)
        if isinstance(become, Requeue):
            return Deferred.fromCoroutine(self._waitAgain(task, become))
        if become.error is not None and become.error.code == "exception":
            _log.failure("Job {jobID} failed", failure, LogLevel.info, jobID=task.jobID)
        return self._end(task, become)

    def _record(
        self, task: JobTask, f: Callable[..., Deferred[None]], *args: Any
    ) -> Deferred[None]:
        if task.run is None:
            # It was found meanwhile that its outcome is in the store.
            return succeed(None)
        return maybeDeferred(f, task, *args).addErrback(self._unrecorded, task)

    def _unrecorded(self, failure: Failure, task: JobTask) -> None:
        _log.failure(
            "What job {jobID} came to is not recorded",
            failure,
            LogLevel.critical,
            jobID=task.jobID,
        )
        # Nobody is to wait for what does not come.
        self.forget(task)

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
        except (StaleAttempt, OwnershipLost, StoreLost):
            self._lost(Failure(), task)

    def _end(self, task: JobTask, outcome: Outcome) -> Deferred[None]:
        """
        Record an outcome, however long that takes. The first to be recorded wins.
        """
        run = task.running
        return self._finish(task, run, outcome).addCallbacks(
            self._finished, self._notFinished, (task, run), {}, (task, run, outcome)
        )

    def _finish(self, task: JobTask, run: Run, outcome: Outcome) -> Deferred[Job]:
        return self._journal.persist(
            lambda: self._journal.write(
                self._store.finishAttempt, task.jobID, task.attempts, outcome
            ).addErrback(self._notYetFinished, run)
        )

    def _notYetFinished(self, failure: Failure, run: Run) -> Failure:
        if failure.check(StoreError):
            run.isUnwritten = True
        return failure

    def _finished(self, job: Job, task: JobTask, run: Run) -> None:
        self.forget(task)
        self._events.tell(JobEventKind.FINISHED, job, ran=run.seconds)

    def _notFinished(
        self, failure: Failure, task: JobTask, run: Run, outcome: Outcome
    ) -> Deferred[None] | Failure | None:
        if failure.check(StaleAttempt, OwnershipLost, StoreLost, NoSuchJob):
            self._lost(failure, task)
            return None
        if failure.check(StoreError):
            return failure
        return Deferred.fromCoroutine(self._recordInstead(task, run, outcome, failure))

    async def _recordInstead(
        self, task: JobTask, run: Run, outcome: Outcome, failure: Failure
    ) -> None:
        """
        An outcome cannot be stored, now or later: record what says so; and if that
        cannot either, what always can.
        """
        if not failure.check(InvalidArgument):
            _log.failure("What job {jobID} came to cannot be stored", failure, jobID=task.jobID)
        try:
            try:
                job = await self._finish(task, run, unusable(outcome, failure.value))
            except InvalidArgument:
                job = await self._finish(task, run, unrecordable())
        except (StaleAttempt, OwnershipLost, StoreLost, NoSuchJob):
            self._lost(Failure(), task)
        else:
            self._finished(job, task, run)

    def _lost(self, failure: Failure, task: JobTask) -> None:
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
        self._journal.hindrances.pop(task.jobID, None)
        self._roster.leave(task)

    # The end

    def interrupt(self) -> None:
        """
        Tell all that run to end, since the daemon does.
        """
        self.isInterrupted = True
        for task in list(self._roster.running.values()):
            self._tellToEnd(task)

    def abandon(self) -> None:
        """
        Wait no longer for the time of any attempt to be over.
        """
        self._isAbandoned = True
        for task in self._roster.running.values():
            task.running.unlimit()
