"""
Where jobs wait: in the heap and in the store, and in both at the same place.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial

from .._taskqueue import movedArgs
from ..errors import (
    JobFinished,
    JobNotQueued,
    NoSuchTask,
    PoolError,
    PoolTerminated,
    StaleAttempt,
)
from ..interfaces import IJobStore
from ..jobs import FINISHED, Job, JobState
from ..workerpool import WorkerPool
from ._journal import Journal
from ._runs import Runs
from ._task import JobTask, TaskState

__all__ = ["Places"]


class Places:
    """
    Puts jobs into the heap, moves them, and takes them out.

    Threads: the reactor's.
    """

    def __init__(self, pool: WorkerPool, store: IJobStore, journal: Journal, runs: Runs) -> None:
        self._pool = pool
        self._store = store
        self._journal = journal
        self._runs = runs

    def push(self, tasks: Iterable[JobTask]) -> None:
        """
        Put jobs into the heap, at the places that they have.
        """
        entries = []
        for task in tasks:
            self._runs.tasks[task.jobID] = task
            entry = self._pool._NewEntry(
                (task.jobID,), task.priority, task.jobID, task, task.invoke
            )
            entry[1] = task.order
            # A job that is put back meets what it left in the heap as its twin.
            entry[3] = movedArgs(entry[3])
            entries.append(entry)
        # A pool that has been terminated leaves them to the next daemon.
        with suppress(PoolTerminated):
            self._pool._Submit(entries, hold=True, ordered=True)

    async def move(self, jobID: int, priority: int) -> Job:
        """
        Give a waiting job another priority.

        @raise NoSuchJob: if there is none.
        @raise JobNotQueued: if it does not wait.
        """
        found = await self._find(jobID)
        if isinstance(found, Job):
            raise JobNotQueued(jobID, found.state.value)
        return await self._runs.alone(jobID, partial(self._move, found, priority))

    async def _move(self, task: JobTask, priority: int) -> Job:
        try:
            if task.state is not TaskState.WAITING:
                raise NoSuchTask(task.jobID, self._pool._name, len(self._runs.tasks))
            self._pool.ChangeTaskPriority(task.jobID, priority)
        except NoSuchTask:
            job = await self._store.job(task.jobID)
            # One that a worker has just taken is queued in the store still.
            state = JobState.RUNNING if job.state is JobState.QUEUED else job.state
            raise JobNotQueued(task.jobID, state.value) from None
        try:
            job = await self._journal.write(self._store.changePriority, task.jobID, priority)
        except PoolError:
            with suppress(NoSuchTask):
                self._pool.ChangeTaskPriority(task.jobID, task.priority)
            raise
        task.priority = priority
        return job

    async def cancel(self, jobID: int) -> Job:
        """
        Take a waiting job out, or have a running one told.

        @raise NoSuchJob: if there is none.
        @raise JobFinished: if it has succeeded or failed.
        @raise StaleAttempt: if that cannot be told now: the store is ahead of this
            daemon, whose write it has kept and called a failure.
        """
        found = await self._find(jobID)
        if isinstance(found, JobTask):
            found = await self._runs.alone(jobID, partial(self._cancel, found))
        if found.state in FINISHED and found.state is not JobState.CANCELLED:
            raise JobFinished(jobID, found.state.value)
        return found

    async def _cancel(self, task: JobTask) -> Job:
        if task.state is TaskState.WAITING:
            return await self._cancelWaiting(task)
        if task.state is TaskState.RUNNING:
            with suppress(StaleAttempt):
                job = await self._journal.write(self._store.requestCancel, task.jobID)
                task.isCancelled = True
                with suppress(NoSuchTask):
                    self._pool.InterruptTask(task.jobID)
                return job
        # It has found its end while this waited for its turn, or for the store.
        job = await self._store.job(task.jobID)
        if job.state not in FINISHED:
            raise StaleAttempt(job.id, job.attempt, job.state.value)
        return job

    async def _cancelWaiting(self, task: JobTask) -> Job:
        wasInHeap = self._withdraw(task)
        try:
            job = await self._journal.write(self._store.cancelQueued, task.jobID)
        except PoolError:
            if wasInHeap:
                self.push([task])
            raise
        self._runs.forget(task)
        # One that a worker had taken is refused when it begins; one that was
        # being put back may be in the heap by now.
        self._withdraw(task)
        return job

    async def _find(self, jobID: int) -> JobTask | Job:
        """
        Find a job that has no outcome yet, or else as it is in the store.

        @raise NoSuchJob: if there is none.
        """
        if jobID in self._runs.tasks:
            return self._runs.tasks[jobID]
        job = await self._store.job(jobID)
        if job.state not in FINISHED:
            # It has been committed, and the answer that puts it into the heap is
            # on its way. That of a later write comes behind it.
            await self._journal.write(self._store.setSettings, {})
            job = await self._store.job(jobID)
        return self._runs.tasks.get(jobID, job)

    def _withdraw(self, task: JobTask) -> bool:
        """
        Take a job out of the heap.

        @return: whether it was there.
        """
        try:
            self._pool.CancelTask(task.jobID)
        except NoSuchTask:
            return False
        return True
