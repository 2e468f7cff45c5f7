"""
Where jobs wait: in the heap and in the store, and in both at the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from ..errors import (
    JobFinished,
    JobNotQueued,
    NoSuchTask,
    OwnershipLost,
    PoolError,
    PoolTerminated,
    StaleAttempt,
    StoreClosed,
    StoreError,
)
from ..interfaces import IJobStore
from ..jobs import FINISHED, Job, JobEventKind, JobState, QueuedJob
from ..workerpool import WorkerPool, newEntry
from ._desk import Desk
from ._events import Events
from ._journal import Journal
from ._room import Room, Waiting
from ._roster import Roster
from ._runs import Runs
from ._task import JobTask, TaskState

__all__ = ["Places"]


class Places:
    """
    Puts jobs into the heap, moves them, and takes them out.

    Threads: the reactor's.
    """

    def __init__(
        self,
        desk: Desk,
        pool: WorkerPool,
        store: IJobStore,
        journal: Journal,
        runs: Runs,
        roster: Roster,
        waiting: Waiting,
        room: Room,
        events: Events,
    ) -> None:
        """
        @param desk: where the workers of the jobs turn to.
        @param pool: whose heap the jobs wait in.
        @param store: what is written to, through the C{journal}.
        @param runs: whose turns these changes take, and what forgets a job.
        @param roster: knows which jobs this daemon has.
        @param waiting: is told which jobs wait.
        @param room: says whether one more may.
        @param events: is told of what was recorded.
        """
        self._desk = desk
        self._pool = pool
        self._store = store
        self._journal = journal
        self._runs = runs
        self._roster = roster
        self._waiting = waiting
        self._room = room
        self._events = events

    def push(self, jobs: Iterable[Job | QueuedJob], since: float | None) -> None:
        """
        Put jobs into the heap that are not there, at the places that they have.

        @param since: since when they wait, by the monotonic clock; L{None} if that
            was before this daemon.
        """
        now = self._pool._clock()
        entries = []
        for job in jobs:
            task = JobTask(self._desk, job.id, job.priority, job.attempt, since)
            entries.append(newEntry(job.priority, job.position, job.id, (), task, task, now))
            self._waiting.add(job.priority)
        # A pool that has been terminated leaves them to the next daemon.
        with suppress(PoolTerminated):
            self._pool._Submit(entries, hold=True, ordered=True)

    # Moving

    async def move(self, jobID: int, priority: int) -> Job:
        """
        Give a waiting job another priority.

        @raise NoSuchJob: if there is none.
        @raise JobNotQueued: if it does not wait.
        """
        return await self._runs.turns.alone(jobID, self._move, jobID, priority)

    async def _move(self, jobID: int, priority: int) -> Job:
        task = await self._find(jobID)
        if isinstance(task, JobTask):
            return await self._moveTask(task, priority)
        return await self._journal.write(self._store.changePriority, jobID, priority)

    async def _moveTask(self, task: JobTask, priority: int) -> Job:
        try:
            if task.state is not TaskState.WAITING:
                raise NoSuchTask(task.jobID, self._pool._name, self._waiting.total)
            self._pool.ChangeTaskPriority(task.jobID, priority)
        except NoSuchTask:
            job = await self._journal.read(self._store.job, task.jobID)
            # One that a worker has just taken is queued in the store still.
            state = JobState.RUNNING if job.state is JobState.QUEUED else job.state
            raise JobNotQueued(task.jobID, state.value) from None
        try:
            job = await self._journal.write(self._store.changePriority, task.jobID, priority)
        except PoolError:
            with suppress(NoSuchTask):
                self._pool.ChangeTaskPriority(task.jobID, task.priority)
            raise
        self._waiting.remove(task.priority)
        self._waiting.add(priority)
        if priority != task.priority:
            task.priority = priority
            self._events.tell(JobEventKind.MOVED, job)
        return job

    # Cancelling

    async def cancel(self, jobID: int, onlyQueued: bool) -> Job:
        """
        Take a waiting job out, or have a running one told.

        @param onlyQueued: whether a running one is left alone.
        @raise NoSuchJob: if there is none.
        @raise JobNotQueued: if it runs, and so is left alone.
        @raise JobFinished: if it has succeeded or failed.
        @raise StaleAttempt: if that cannot be told now: the store is ahead of this
            daemon, whose write it has kept and called a failure.
        """
        job = await self._runs.turns.alone(jobID, self._cancel, jobID, onlyQueued)
        if job.state in FINISHED and job.state is not JobState.CANCELLED:
            raise JobFinished(jobID, job.state.value)
        return job

    async def _cancel(self, jobID: int, onlyQueued: bool) -> Job:
        found = await self._find(jobID)
        if isinstance(found, JobTask) and found.state is TaskState.RUNNING:
            if onlyQueued:
                raise JobNotQueued(jobID, JobState.RUNNING.value)
            return await self._cancelRunning(found)
        if isinstance(found, JobTask) or found.state is JobState.QUEUED:
            return await self._cancelWaiting(jobID, found)
        return _settled(found)

    async def _cancelRunning(self, task: JobTask) -> Job:
        try:
            job = await self._journal.write(self._store.requestCancel, task.jobID)
        except StaleAttempt:
            # It has found its end meanwhile.
            return _settled(await self._journal.read(self._store.job, task.jobID))
        except StoreError as error:
            if task.run is None:
                # It has found its end meanwhile, and there was room for that.
                return await self._journal.read(self._store.job, task.jobID)
            # It may be what fills the disk, so it ends all the same.
            self._tellToEnd(task)
            if isinstance(error, (OwnershipLost, StoreClosed)):
                raise
            raise type(error)(
                f"job {task.jobID} is told to end, but that cannot be recorded: {error}"
            ) from error
        if self._tellToEnd(task):
            self._events.tell(JobEventKind.CANCEL_REQUESTED, job)
        return job

    def _tellToEnd(self, task: JobTask) -> bool:
        """
        Have a running job end as cancelled.

        @return: whether it has not been told before.
        """
        # An end that was asked for before has been answered, and one after has not.
        isNew = not task.running.isCancelled
        task.running.isCancelled = True
        with suppress(NoSuchTask):
            self._pool.InterruptTask(task.jobID)
        return isNew

    async def _cancelWaiting(self, jobID: int, found: JobTask | Job) -> Job:
        job = await self._journal.write(self._store.cancelQueued, jobID)
        if isinstance(found, JobTask):
            self._waiting.remove(found.priority)
            self._runs.forget(found)
            # Not before: whoever waits for the pool to be quiet waits for this too,
            # and there is nothing to put back if the commit fails. A worker that has
            # taken it meanwhile is refused when it has its turn to begin.
            self._withdraw(jobID)
        self._events.tell(JobEventKind.FINISHED, job)
        return job

    # Once more, and no more

    async def retry(self, jobID: int, check: Callable[[Job], object]) -> Job:
        """
        Put a job that has failed or was cancelled into the heap again.

        @param check: raises what speaks against a start of the job.
        @raise NoSuchJob: if there is none.
        @raise JobFinished: if it has succeeded.
        @raise QueueFull: if there is no room for it.
        """
        return await self._runs.turns.alone(jobID, self._retry, jobID, check)

    async def _retry(self, jobID: int, check: Callable[[Job], object]) -> Job:
        job = await self._journal.read(self._store.job, jobID)
        check(job)
        if job.state is JobState.SUCCEEDED:
            raise JobFinished(jobID, job.state.value)
        if job.state not in FINISHED:
            return job
        return await self._room.forJobs(1, 0, lambda room: self._again(jobID))

    async def _again(self, jobID: int) -> Job:
        order = self._pool._ReserveOrder(1)
        job = await self._journal.write(self._store.retryJob, jobID, order)
        self._disown(jobID)
        # One that was cancelled while it was being put back has come there since.
        self._withdraw(jobID)
        self.push([job], self._runs.monotonic())
        self._events.tell(JobEventKind.RETRIED, job)
        return job

    async def remove(self, jobID: int) -> None:
        """
        Forget the record of a job that has its outcome.

        @raise NoSuchJob: if there is none.
        @raise JobNotFinished: if it has no outcome yet.
        """
        await self._runs.turns.alone(jobID, self._remove, jobID)

    async def _remove(self, jobID: int) -> None:
        await self._journal.write(self._store.removeJob, jobID)
        self._disown(jobID)

    def _disown(self, jobID: int) -> None:
        """
        The outcome of a job was in the store before what has just been written, and
        all answers until then have come: an attempt that is still about to record
        its own has nothing to record.
        """
        task = self._roster.running.get(jobID)
        if task is not None:
            self._runs.forget(task)

    def _withdraw(self, jobID: int) -> None:
        with suppress(NoSuchTask):
            self._pool.CancelTask(jobID)

    # Looking

    async def _find(self, jobID: int) -> JobTask | Job:
        """
        Find a job that this daemon is to start or runs, or else as it is in the
        store.

        @raise NoSuchJob: if there is none.
        """
        task = self._roster.find(jobID)
        if task is not None:
            return task
        job = await self._journal.read(self._store.job, jobID)
        if job.state not in FINISHED:
            # It has been committed, and the answer that puts it into the heap is
            # on its way.
            await self._allAnswered()
            job = await self._journal.read(self._store.job, jobID)
        return self._roster.find(jobID) or job

    async def _allAnswered(self) -> None:
        """
        Wait for the answers of all writes that have been asked for.
        """
        # Answers come in the order of asking, that of a write of nothing too.
        await self._journal.write(self._store.setSettings, {})


def _settled(job: Job) -> Job:
    """
    @return: the job, which has its outcome.
    @raise StaleAttempt: if it has none, though this daemon does not run it.
    """
    if job.state not in FINISHED:
        raise StaleAttempt(job.id, job.attempt, job.state.value)
    return job
