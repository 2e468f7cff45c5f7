"""
Which jobs this daemon has, and which of them run.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from ..workerpool import GiveWay, WorkerPool, newEntry
from ._journal import Journal
from ._task import JobTask, TaskState

__all__ = ["Roster"]


class Roster:
    """
    The jobs that have begun, and who waits for their ends.

    Invariant: a job that this daemon is to start or runs is found by its ID in the
    pool until its worker is done with it, and here from the moment at which its
    worker asks to start it until its end is recorded. So one that waits costs
    nothing here.

    Threads: the reactor's.

    @ivar running: by ID, the jobs that have begun, and whose ends are not recorded.
    """

    def __init__(self, clock: IReactorTime, pool: WorkerPool, journal: Journal) -> None:
        self.running: dict[int, JobTask] = {}
        # Of these, by ID, those whose start is asked for, and what their workers had
        # before.
        self._asked: dict[int, JobTask | None] = {}
        self._clock = clock
        self._pool = pool
        self._journal = journal
        # Who waits, and for which jobs.
        self._waiters: dict[Deferred[None], set[JobTask]] = {}
        self._idle: list[Deferred[None]] = []

    def find(self, jobID: int) -> JobTask | None:
        """
        A job that waits in the pool, was taken by a worker, or runs; L{None} if it
        has its outcome, or this daemon does not know it.
        """
        task = self.running.get(jobID)
        if task is None:
            pool = self._pool
            GiveWay(pool)
            with pool._lock:
                entry = pool._WaitingUnlocked(jobID) or pool._running_ids.get(jobID)
            completion = None if entry is None else entry.completion
            if isinstance(completion, JobTask) and completion.state is not TaskState.OVER:
                task = completion
        return task

    @property
    def busy(self) -> int:
        """
        How many workers have a job, one whose end cannot be written and one that cannot
        start included.
        """
        ending = sum(task.hasEnded for task in self.running.values())
        # A job that has started and waits to begin its work counts as running.
        hindered = sum(jobID not in self.running for jobID in self._journal.hindrances)
        held = self._journal.unwritten + hindered
        # A worker that has both is one.
        both = sum(before is not None and before.isUnwritten for before in self._asked.values())
        return len(self.running) - ending + held - both

    def enter(self, task: JobTask, before: JobTask | None) -> None:
        """
        A worker asks to start a job.

        @param before: what it had before; L{None} for nothing.
        """
        self.running[task.jobID] = task
        self._asked[task.jobID] = before

    def begun(self, task: JobTask) -> None:
        """
        The job has been started.
        """
        self._asked.pop(task.jobID, None)

    def putBack(self, task: JobTask) -> None:
        """
        A job that a worker has taken, and cannot start now, waits in the pool again,
        at its place; the task that the worker has is over.

        It is counted there as one that has failed, and one more.
        """
        again = task.again()
        pool = self._pool
        GiveWay(pool)
        with pool._lock:
            taken = pool._running_ids[task.jobID]
            entry = newEntry(taken[0], taken[1], task.jobID, (), again, again, taken.since)
            # Not behind the fences of waits for quiet: the task came before them. A pool that
            # was terminated leaves the task to the next daemon.
            if not pool._terminated:
                pool._AddUnlocked(entry, hold=False, ordered=True)
            wake = pool._NextToWakeUnlocked()
        if wake is not None:
            wake._Wake()

    def release(self) -> None:
        """
        The pool is about to end, and has nothing to tell the jobs that wait: they are
        for the next daemon. Nothing is started any more.
        """
        pool = self._pool
        with pool._lock:
            for queue in pool._QueuesUnlocked():
                for entry in queue.byID.values():
                    # A million Failures that nobody reads would block the reactor for seconds.
                    entry.completion = None

    def leave(self, task: JobTask) -> None:
        """
        It does not run, or its end is recorded.
        """
        # Another task of the ID may run since, if a client has retried the job.
        if self.running.get(task.jobID) is task:
            del self.running[task.jobID]
            self._asked.pop(task.jobID, None)
        for waiter, ending in list(self._waiters.items()):
            ending.discard(task)
            if not ending:
                del self._waiters[waiter]
                waiter.callback(None)
        if not self.running:
            idle, self._idle = self._idle, []
            for waiter in idle:
                waiter.callback(None)

    def whenRecorded(self) -> Deferred[None]:
        """
        @return: a Deferred that fires when all is recorded of the attempts that have
            ended by now.
        """
        ending = {task for task in self.running.values() if task.hasEnded}
        if not ending:
            return succeed(None)
        recorded: Deferred[None] = Deferred(self._waiters.__delitem__)
        self._waiters[recorded] = ending
        return recorded

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
