"""
The heart of the pool: which task comes next, and what became of it.

There are two operations. Take the next task for a slot, and finish it with an
outcome. A slot is whatever can run one task at a time; here that is a worker
with a thread of its own, but nothing in this module starts, joins or names one.

One lock guards every attribute of a L{Scheduler} and of the
L{WaitingTasks} that it is made of, and the C{_current_task} of
its slots. A method whose name ends in C{Unlocked} is called with the lock held;
the others take it. What is decided under it is carried out after its release:
no user code runs, and no object of a user is released, while it is held.

The lock is reentrant for one reason. A collection of cyclic garbage may run a
finaliser between any two steps of a section, on the thread that holds the lock;
if it adds a task, a plain lock would wait for itself. Every section is therefore
a sequence of steps between which an added task does no harm: what is tested and
what is done on the strength of it stand side by side, with no call between them
that could run a finaliser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.python.failure import Failure

from .._taskqueue import Entry
from ..interfaces import PoolStatistics
from ._locking import Acquire, Do
from ._outcomes import CANCELLED, DEFERRED, DUPLICATE, FAILED, SUCCEEDED, UNSTARTED, Perform, Tell
from ._waiting import WaitingTasks

if TYPE_CHECKING:
    from ._worker import BaseWorker

__all__ = ["Scheduler"]


class Scheduler(WaitingTasks):
    """
    Takes tasks for slots and finishes them.

    Invariant, whenever the lock is free: C{_busy} counts the slots with a task,
    up to the moment at which its outcome was told or the slot was abandoned;
    C{_running} the tasks without an outcome.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._running = 0
        self._succeeded = 0
        self._failed = 0
        self._deferrals = 0

    # Taking and finishing

    def _ExecuteUnlocked(self, worker: BaseWorker, entry: Entry) -> None:
        """
        Run a task that a slot has taken, from its start to the end of its
        outcome. The lock, which the caller holds, is free while the task runs.
        """
        worker._current_task = entry
        entry.attempt += 1
        self._busy += 1
        self._running += 1
        if entry[2] is not None:
            if entry[2] in self._running_ids:
                self._older_twins.append(self._running_ids[entry[2]])
            self._running_ids[entry[2]] = entry
        wake = self._NextToWakeUnlocked() if self._idle else None
        if self._queue.dropped:
            worker._garbage.append(self._queue.release())
        self._lock.release()
        if wake is not None:
            wake._Wake()
        worker._garbage.clear()
        self._Finish(worker, entry, Perform(worker, entry))

    def _Finish(self, worker: BaseWorker, entry: Entry, outcome: int) -> None:
        """
        Finish the task of a slot; its value is C{worker._value}. Called without
        the lock, which is held on return, so that the slot can take its next task
        in the same section.

        It goes in three steps. Under the lock the ID is freed and the outcome
        counted; the completion is told; under the lock the slot stops counting as
        busy. So a completion may add its own ID again, and whoever waits for the
        pool to be quiet waits for the completion too.
        """
        lock = self._lock
        if outcome == SUCCEEDED and entry.completion is None:
            # nobody to tell, so the first step and the third are one
            worker._value = None
            if not lock.acquire(False):
                Acquire(lock)
            self._running -= 1
            self._succeeded += 1
            if entry[2] is not None:
                self._ForgetRunningUnlocked(entry)
        else:
            value, worker._value = worker._value, None
            if not lock.acquire(False):
                Acquire(lock)
            if outcome == DEFERRED:
                outcome, value = self._DeferUnlocked(worker, entry, value)
            if outcome != DEFERRED:
                self._CountUnlocked(entry, outcome)
                lock.release()
                Tell(self._name, entry, outcome, value)
                value = None
                if not lock.acquire(False):
                    Acquire(lock)
        if not worker._abandoned:
            self._busy -= 1
        worker._current_task = None
        worker._garbage.append(entry)
        if entry.cancellation is not None:
            # Nobody is called once the task has ended, or run again.
            worker._garbage.append(entry.cancellation)
            entry.cancellation = None
        if self._fences:
            actions = self._TakeDownFencesUnlocked()
            if actions:
                lock.release()
                Do(actions)
                Acquire(lock)

    def _CountUnlocked(self, entry: Entry, outcome: int) -> None:
        """
        Count an outcome of a running task, and free its ID.
        """
        self._running -= 1
        if outcome == SUCCEEDED:
            self._succeeded += 1
        elif outcome == CANCELLED:
            self._cancelled += 1
        elif outcome == UNSTARTED:
            self._unstarted += 1
        else:
            self._failed += 1
        if entry[2] is not None:
            self._ForgetRunningUnlocked(entry)

    def _ForgetRunningUnlocked(self, entry: Entry) -> None:
        """
        Free the ID of a task that has run.
        """
        if self._running_ids.get(entry[2]) is entry:
            # Two tasks of one ID may run, if one was added while the other ran.
            # By a dictionary, which compares IDs as that of the running ones does.
            older = {twin[2]: twin for twin in self._older_twins}.get(entry[2])
            if older is not None:
                self._running_ids[entry[2]] = entry = older
            else:
                del self._running_ids[entry[2]]
        if self._older_twins:
            self._older_twins = [twin for twin in self._older_twins if twin is not entry]

    def _DeferUnlocked(self, worker: BaseWorker, entry: Entry, priority: Any) -> tuple[int, Any]:
        """
        Put a running task back, if nothing speaks against it. The lock is free
        while its completion is told.

        @return: the outcome that came of it, and its value.
        """
        if priority is None:
            priority = entry[0]
        hindrance = self._HindranceUnlocked(worker, entry)
        if hindrance is not None:
            return hindrance, None
        order = self._next_order
        self._next_order += 1
        if entry.completion is not None:
            # It is told before the task can start again, so that what it records
            # of this deferral comes before what it records of the next start.
            self._lock.release()
            failure = None
            try:
                entry.completion.deferred(priority, order)
            except BaseException:
                failure = Failure()
            Acquire(self._lock)
            if failure is not None:
                return FAILED, failure
            hindrance = self._HindranceUnlocked(worker, entry)
            if hindrance is not None:
                return hindrance, None
        self._running -= 1
        self._deferrals += 1
        self._ForgetRunningUnlocked(entry)
        entry[0] = priority
        entry[1] = order
        entry.since = self._clock()
        self._queue.push(entry)
        return DEFERRED, None

    def _HindranceUnlocked(self, worker: BaseWorker, entry: Entry) -> int | None:
        """
        The outcome of a task that may not be put back, else L{None}.
        """
        if entry.cancellation is True:
            return CANCELLED
        # An abandoned task was given up, also if the pool is open again by now.
        if self._terminated or worker._abandoned:
            return UNSTARTED
        if entry[2] is not None and self._WaitingUnlocked(entry[2]) is not None:
            return DUPLICATE
        return None

    # Looking

    def _HasRunningTasksUnlocked(self) -> bool:
        """
        Whether some worker has a task.
        """
        return self._busy > 0

    def HasRunningTasks(self) -> bool:
        """
        Whether some worker has a task. See L{IWorkerPool.HasRunningTasks
        <ganeti_pool.interfaces.IWorkerPool.HasRunningTasks>}.
        """
        with self._lock:
            return self._HasRunningTasksUnlocked()

    def _StatisticsUnlocked(self, workers: int) -> PoolStatistics:
        """
        Take the snapshot.
        """
        heads = (queue.head() for queue in self._QueuesUnlocked())
        head = next((head for head in heads if head is not None), None)
        return PoolStatistics(
            added=self._added,
            queued=self._QueuedUnlocked(),
            running=self._running,
            succeeded=self._succeeded,
            failed=self._failed,
            cancelled=self._cancelled,
            unstarted=self._unstarted,
            deferrals=self._deferrals,
            workers=workers,
            idle=len(self._idle) + (self._waking is not None and not self._waking._retired),
            active=self._active,
            waited=None if head is None else self._clock() - head.since,
        )
