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

from twisted.logger import Logger
from twisted.python.failure import Failure

from ..interfaces import PoolStatistics
from ._locking import Acquire, Action, Do, Report, Retake
from ._outcomes import CANCELLED, DEFERRED, DUPLICATE, FAILED, SUCCEEDED, UNSTARTED, Perform, Tell
from ._taskheap import Entry
from ._waiting import WaitingTasks

if TYPE_CHECKING:
    from ._worker import BaseWorker

__all__ = ["Scheduler"]

_log = Logger()


class Scheduler(WaitingTasks):
    """
    Takes tasks for slots and finishes them.

    Invariant, whenever the lock is free: C{_busy} counts the slots with a task,
    up to the moment at which its outcome was told or the slot was abandoned;
    C{_running} the tasks without an outcome.
    """

    _isForked: bool

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
        worker._taken = None
        worker._isCounted = worker._isTold = False
        entry.attempt += 1
        self._busy += 1
        self._running += 1
        broken: BaseException | None = None
        if entry[2] is not None:
            try:
                if entry[2] in self._running_ids:
                    self._older_twins.append(self._running_ids[entry[2]])
                self._running_ids[entry[2]] = entry
            except BaseException as error:
                # The hash or the equality of the ID raised. Nobody could interrupt such a
                # task, so it fails without being run.
                broken = error
        wake = self._NextToWakeUnlocked() if self._idle else None
        if self._queue.dropped:
            worker._garbage.append(self._queue.release())
        self._isHeld = False
        self._lock.release()
        if wake is not None:
            wake._Wake()
        worker._garbage.clear()
        if broken is None:
            outcome = Perform(worker, entry)
            if self._isForked:
                # The task forked and this is the child. The parent reports the outcome.
                return
        else:
            worker._value = Failure(broken)
            broken = None
            outcome = FAILED
        self._Finish(worker, entry, outcome)

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
                Acquire(self)
            self._isHeld = True
            self._running -= 1
            self._succeeded += 1
            worker._isCounted = worker._isTold = True
            if entry[2] is not None:
                self._ForgetRunningUnlocked(entry)
        else:
            value, worker._value = worker._value, None
            if not lock.acquire(False):
                Acquire(self)
            self._isHeld = True
            if outcome == DEFERRED:
                try:
                    outcome, value = self._DeferUnlocked(worker, entry, value)
                except BaseException:
                    # The hash or the equality of its ID raised.
                    Retake(lock)
                    outcome, value = FAILED, Failure()
            if outcome != DEFERRED:
                self._CountUnlocked(worker, entry, outcome)
                self._isHeld = False
                lock.release()
                if worker._garbage:
                    worker._garbage.clear()
                worker._isTold = True
                Tell(self._name, entry, outcome, value)
                value = None
                if not lock.acquire(False):
                    Acquire(self)
                self._isHeld = True
        actions: list[Action] = []
        self._PutDownUnlocked(worker, entry, actions)
        if actions:
            self._isHeld = False
            lock.release()
            try:
                Do(actions)
            except BaseException:
                Report(_log, "A wait for pool {pool!r} could not be ended", pool=self._name)
            Acquire(self)

    def _PutDownUnlocked(self, worker: BaseWorker, entry: Entry, actions: list[Action]) -> None:
        """
        Stop counting a slot as busy after the outcome of its task was reported.

        @param actions: receives the actions to run after the lock is released.
        """
        if not worker._abandoned:
            self._busy -= 1
        worker._current_task = None
        worker._garbage.append(entry)
        if entry.cancellation is not None:
            # Nobody is called once the task has ended, or run again.
            worker._garbage.append(entry.cancellation)
            entry.cancellation = None
        if self._fences:
            self._TakeDownFencesUnlocked(actions)

    def _RecoverUnlocked(self, worker: BaseWorker, failure: Failure) -> None:
        """
        Finish the task of a slot after its thread met an exception outside the task, such
        as one that another thread sent (C{PyThreadState_SetAsyncExc}). The task fails with
        that exception unless it already has an outcome.

        The caller may hold the lock or not. The lock is held on return.
        """
        Retake(self._lock)
        entry = worker._current_task
        if entry is None:
            return
        if not worker._isCounted:
            self._CountUnlocked(worker, entry, FAILED)
        self._isHeld = False
        self._lock.release()
        worker._garbage.clear()
        if not worker._isTold:
            worker._isTold = True
            Tell(self._name, entry, FAILED, failure)
        Acquire(self)
        actions: list[Action] = []
        self._PutDownUnlocked(worker, entry, actions)
        self._isHeld = False
        self._lock.release()
        Do(actions)
        Acquire(self)

    def _CountUnlocked(self, worker: BaseWorker, entry: Entry, outcome: int) -> None:
        """
        Count an outcome of a running task, and free its ID.
        """
        worker._isCounted = True
        self._running -= 1
        if outcome == SUCCEEDED:
            self._succeeded += 1
        elif outcome == CANCELLED:
            self._cancelled += 1
        elif outcome == UNSTARTED:
            self._unstarted += 1
        else:
            self._failed += 1
        if type(entry.cancellation) is list:
            # The listeners may hold the task's objects, which must be released before the
            # outcome is reported.
            worker._garbage.append(entry.cancellation)  # see Tell
            entry.cancellation = None
        if entry[2] is not None:
            self._ForgetRunningUnlocked(entry)

    def _ForgetRunningUnlocked(self, entry: Entry) -> None:
        """
        Free the ID of a task that has run.
        """
        try:
            if self._running_ids.get(entry[2]) is entry:
                # Two tasks of one ID may run, if one was added while the other ran.
                # A dictionary compares IDs in the same way as C{_running_ids} does.
                older = {twin[2]: twin for twin in self._older_twins}.get(entry[2])
                if older is not None:
                    self._running_ids[entry[2]] = entry = older
                else:
                    del self._running_ids[entry[2]]
        except BaseException:
            # The hash or the equality of an ID raised.
            self._RebuildRunningUnlocked(entry)
        if self._older_twins:
            self._older_twins = [twin for twin in self._older_twins if twin is not entry]

    def _RebuildRunningUnlocked(self, gone: Entry) -> None:
        """
        Rebuild the index of running tasks without a task whose ID can no longer be found.
        The index has at most one entry per worker.
        """
        running = [entry for entry in self._running_ids.values() if entry is not gone]
        self._running_ids = {}
        for entry in running:
            try:
                self._running_ids[entry[2]] = entry
            except BaseException:
                # The task runs on, but cannot be interrupted by its ID.
                continue

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
            self._isHeld = False
            self._lock.release()
            failure = None
            try:
                entry.completion.deferred(priority, order)
            except BaseException:
                failure = Failure()
            Acquire(self)
            if failure is not None:
                return FAILED, failure
            hindrance = self._HindranceUnlocked(worker, entry)
            if hindrance is not None:
                return hindrance, None
        entry[0] = priority
        entry[1] = order
        entry.since = self._clock()
        self._queue.push(entry)
        worker._isCounted = worker._isTold = True
        self._running -= 1
        self._deferrals += 1
        self._ForgetRunningUnlocked(entry)
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
        queued = self._QueuedUnlocked()
        ended = self._succeeded + self._failed + self._cancelled + self._unstarted
        return PoolStatistics(
            # Not a counter: a signal handler could raise between counting and the push.
            added=queued + self._running + ended,
            queued=queued,
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
