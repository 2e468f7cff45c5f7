"""
Decide: which jobs are queued and in which order, which run where, and what each request
and each end of a run makes of them.

L{Decisions} is pure: it has no thread, clock, SQL or reactor. The dispatcher opens a
transaction, calls L{Decisions.begin}, then L{Decisions.end} for each ended run, the methods
of the requests in order, and L{Decisions.take}; after the commit L{Decisions.commit}. If
anything in between fails, L{Decisions.undo} restores the state from before C{begin}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from ..errors import (
    InvalidArgument,
    JobFinished,
    JobNotQueued,
    QueueFull,
    QueueStopping,
)
from ..interfaces import ISlot, IUnitOfWork
from ..jobs import FINISHED, Job, JobEvent, JobEventKind, JobState, NewJob, Outcome, QueuedJob
from ..workerpool import Entry, TaskHeap, movedArgs, newEntry
from ._batch import QueueState
from ._limits import QueueLimits, WorkerRules
from ._outcome import Requeue, judge, unrecordable, unusable
from ._run import Run

__all__ = ["ACTIVE", "Decisions", "Effects"]

ACTIVE = "active"
"""
The setting that keeps whether jobs are started.
"""

_ARGS = movedArgs(())
"""
The arguments of every entry of a heap. They compare with those of an abandoned entry that
has the same priority, position and ID: after an undo, the store gives out the same IDs and
positions again.
"""

_BEFORE = float("-inf")
"""
The time since which a job is queued that an earlier daemon has left.
"""


class Effects(NamedTuple):
    """
    What follows from a committed transaction.

    @ivar events: the changes of jobs.
    @ivar depths: see L{Batch.depths <ganeti_pool.jobqueue._batch.Batch>}.
    @ivar started: the runs to release their slots with.
    @ivar interrupted: the runs to tell that they are to end.
    @ivar ended: the slots to end.
    """

    events: list[JobEvent]
    depths: dict[int, int]
    started: list[Run]
    interrupted: list[Run]
    ended: list[ISlot]


class _Counts:
    """
    The counters, which an undo replaces as a whole.
    """

    __slots__ = ("added", "cancelled", "deferrals", "failed", "isActive", "position", "succeeded")

    def __init__(self) -> None:
        self.isActive = False
        # The next position to give out.
        self.position = 0
        self.added = self.succeeded = self.failed = self.cancelled = self.deferrals = 0

    def copied(self) -> _Counts:
        copy = _Counts()
        for name in self.__slots__:
            setattr(copy, name, getattr(self, name))
        return copy


class Decisions:
    """
    The memory that decides.

      1. C{_heaps[0]} has the jobs that may start, by (priority, position). Each further heap
         has the jobs that came after one of C{_fences}, in order: C{_fences[i]} lies between
         C{_heaps[i]} and C{_heaps[i + 1]}.
      2. C{running} has each run from its start until its end is committed. A job is in one
         heap or in C{running}, or finished, and never in two.
      3. Each slot is in C{_idle}, or has one run in C{running}, or ends. A slot in
         C{_retiring} ends instead of becoming idle.
      4. C{isStopping} and C{isInterrupted} only become true.
      5. C{_undo} has what restores the state from before C{begin}, last step first.

    Invariant: C{queued + running} is the number of unfinished jobs in the store.

    Threads: the dispatcher's.
    """

    def __init__(self, rules: WorkerRules, limits: QueueLimits) -> None:
        self.running: dict[int, Run] = {}
        self.isStopping = False
        self.isInterrupted = False
        self._rules = rules
        self._limits = limits
        self._heaps = [TaskHeap()]
        self._fences: list[list[int]] = []
        self._idle: list[ISlot] = []
        self._retiring: set[ISlot] = set()
        self._slots = 0
        self._counts = _Counts()
        self._before = self._counts
        self._now = 0.0
        self._loadedAt = 0.0
        self._undo: list[Callable[[], object]] = []
        self._effects = Effects([], {}, [], [], [])

    # The transaction

    def begin(self, now: float) -> None:
        """
        Begin a transaction.

        @param now: the monotonic clock.
        """
        self._now = now
        self._before = self._counts
        self._counts = self._counts.copied()
        self._effects = Effects([], {}, [], [], [])

    def commit(self) -> Effects:
        """
        Keep the changes since L{begin}.
        """
        self._undo.clear()
        for heap in self._heaps:
            heap.release()
        return self._effects

    @property
    def hadStarts(self) -> bool:
        """
        Whether the latest transaction was to start jobs.
        """
        return bool(self._effects.started)

    def undo(self) -> None:
        """
        Restore the state from before L{begin}.
        """
        while self._undo:
            self._undo.pop()()
        self._counts = self._before

    # What is known

    @property
    def queued(self) -> int:
        """
        The number of queued jobs.
        """
        return sum(map(len, self._heaps))

    @property
    def mayTake(self) -> bool:
        """
        Whether a job could start.
        """
        return bool(
            self._idle and len(self._heaps[0]) and self._counts.isActive and not self.isStopping
        )

    @property
    def idle(self) -> int:
        """
        The number of idle slots.
        """
        return len(self._idle)

    def state(
        self, unwritten: int, trouble: BaseException | None, hindered: str | None
    ) -> QueueState:
        """
        Return the counters, with what the dispatcher knows. See L{QueueState}.
        """
        counts = self._counts
        heads = (head for heap in self._heaps if (head := heap.head()) is not None)
        first = next(heads, None)
        return QueueState(
            counts.isActive and not self.isStopping,
            self.slots,
            len(self._idle),
            counts.added,
            self.queued,
            len(self.running),
            counts.succeeded,
            counts.failed,
            counts.cancelled,
            counts.deferrals,
            None if first is None else max(first.since, self._loadedAt),
            unwritten,
            trouble,
            hindered,
        )

    def _find(self, jobID: int) -> tuple[TaskHeap, Entry] | None:
        for heap in self._heaps:
            entry = heap.find(jobID)
            if entry is not None:
                return heap, entry
        return None

    # Recovery

    def load(self, jobs: Iterable[QueuedJob], now: float) -> None:
        """
        Queue the jobs that an earlier daemon has left.
        """
        self._loadedAt = now
        heap = self._heaps[0]
        for job in jobs:
            self._counts.added += 1
            self._push(heap, job.id, job.priority, job.position, job.attempt, _BEFORE)
        self._undo.clear()

    def recover(self, isActive: bool, lastPosition: int) -> None:
        """
        Take the settings of the store.
        """
        self._counts.isActive = isActive
        self._counts.position = lastPosition + 1

    # The ends of runs

    def end(self, unit: IUnitOfWork, run: Run) -> None:
        """
        Record the end of a run, as L{judge} sees it now, and free its slot.
        """
        assert run.end is not None
        become = run.substitute or judge(
            run.job, run.end, run.isCancelled, run.isTimedOut, self.isStopping, self.isInterrupted
        )
        ran = run.end.at - run.began
        if isinstance(become, Requeue):
            self._requeue(unit, run, become, ran)
        else:
            job = _finish(unit, run.job, become)
            self._count(job)
            self._effects.events.append(JobEvent(JobEventKind.FINISHED, job, ran=ran))
        del self.running[run.job.id]
        self._undo.append(partial(self.running.__setitem__, run.job.id, run))
        if run.slot in self._retiring:
            self._effects.ended.append(run.slot)
        else:
            self._idle.append(run.slot)
            self._undo.append(self._idle.pop)

    def _requeue(self, unit: IUnitOfWork, run: Run, become: Requeue, ran: float) -> None:
        position = run.job.position
        kind = JobEventKind.INTERRUPTED
        if become.deferred:
            kind = JobEventKind.DEFERRED
            position = self._nextPosition()
            self._counts.deferrals += 1
        job = unit.requeueAttempt(
            run.job.id,
            run.job.attempt,
            become.priority,
            position,
            become.deferred,
            become.reason,
        )
        # In front of every fence: the job was running when that was made, or before.
        self._push(self._heaps[0], job.id, job.priority, position, job.attempt, self._now)
        self._effects.events.append(JobEvent(kind, job, ran=ran))

    def substitute(self, run: Run, error: InvalidArgument) -> bool:
        """
        Replace the outcome of a run, which the store cannot keep.

        @return: whether there is another one to try.
        """
        run.substitutes += 1
        if run.substitutes == 1:
            assert run.end is not None
            run.substitute = unusable(str(error), run.end.output)
        else:
            run.substitute = unrecordable()
        return run.substitutes < 3

    def _count(self, job: Job) -> None:
        counts = self._counts
        counts.succeeded += job.state is JobState.SUCCEEDED
        counts.failed += job.state is JobState.FAILED
        counts.cancelled += job.state is JobState.CANCELLED

    # The requests

    def submit(self, unit: IUnitOfWork, jobs: Sequence[NewJob]) -> list[Job]:
        """
        Add jobs, all or none. A job whose key is in the store gives the job that has it.

        @raise QueueStopping: if the daemon is stopping.
        @raise QueueFull: if there is no room for those that are new.
        @raise KeyConflict: if a key belongs to a job with other content.
        """
        self._checkNotStopping()
        limit = self._limits.queued
        room = None if limit is None else max(0, limit - self.queued)
        try:
            every, new = unit.addJobs(jobs, self._counts.position, room)
        except QueueFull as full:
            raise QueueFull(full.count, limit or 0) from None
        self._counts.position += len(jobs)
        heap = self._heaps[-1]
        for job in new:
            self._counts.added += 1
            self._push(heap, job.id, job.priority, job.position, 0, self._now)
            self._effects.events.append(JobEvent(JobEventKind.SUBMITTED, job))
        return every

    def move(self, unit: IUnitOfWork, jobID: int, priority: int) -> Job:
        """
        Change the priority of a queued job.

        @raise NoSuchJob: if there is no such job.
        @raise JobNotQueued: if it is not queued.
        @raise QueueStopping: if the daemon is stopping.
        """
        self._checkNotStopping()
        found = self._find(jobID)
        job = unit.changePriority(jobID, priority)
        assert found is not None  # it is queued
        heap, entry = found
        before = int(entry[0])
        if job.priority != before:
            heap.reprioritise(jobID, priority)
            self._undo.append(partial(heap.reprioritise, jobID, before))
            self._deepen(before, -1)
            self._deepen(priority, 1)
            self._effects.events.append(JobEvent(JobEventKind.MOVED, job))
        return job

    def cancel(self, unit: IUnitOfWork, jobID: int, onlyQueued: bool) -> Job:
        """
        Cancel a queued job, or ask a running one to end.

        @param onlyQueued: reject the request if the job runs.
        @raise NoSuchJob: if there is no such job.
        @raise JobNotQueued: if it runs, and C{onlyQueued} is set.
        @raise JobFinished: if it succeeded or failed.
        """
        found = self._find(jobID)
        if found is not None:
            return self._cancelQueued(unit, *found)
        run = self.running.get(jobID)
        if run is None:
            job = unit.job(jobID)
            if job.state is not JobState.CANCELLED:
                raise JobFinished(jobID, job.state.value)
            return job
        if onlyQueued:
            raise JobNotQueued(jobID, JobState.RUNNING.value)
        job = unit.requestCancel(jobID)
        if run.job.cancelRequestedAt is None:
            self._undo.append(partial(setattr, run, "job", run.job))
            self._effects.events.append(JobEvent(JobEventKind.CANCEL_REQUESTED, job))
            run.job = job
        self._undo.append(partial(setattr, run, "isCancelled", run.isCancelled))
        run.isCancelled = True
        self._effects.interrupted.append(run)
        return job

    def _cancelQueued(self, unit: IUnitOfWork, heap: TaskHeap, entry: Entry) -> Job:
        job = unit.cancelQueued(entry[2])
        withdrawn = heap.withdraw(entry)
        self._undo.append(partial(heap.push, withdrawn))
        self._deepen(withdrawn[0], -1)
        self._counts.cancelled += 1
        self._effects.events.append(JobEvent(JobEventKind.FINISHED, job))
        return job

    def retry(self, unit: IUnitOfWork, jobID: int) -> Job:
        """
        Queue a failed or cancelled job again, behind the others of its priority. An
        unfinished one stays as it is.

        @raise NoSuchJob: if there is no such job.
        @raise JobFinished: if it succeeded.
        @raise JobNotRunnable: if it is for another worker class or version of its args.
        @raise QueueFull: if there is no room.
        @raise QueueStopping: if the daemon is stopping.
        """
        self._checkNotStopping()
        job = unit.job(jobID)
        self._rules.checkRunnable(job)
        if job.state is JobState.SUCCEEDED:
            raise JobFinished(jobID, job.state.value)
        if job.state not in FINISHED:
            return job
        limit = self._limits.queued
        if limit is not None and self.queued >= limit:
            raise QueueFull(1, limit)
        job = unit.retryJob(jobID, self._nextPosition())
        self._counts.added += 1
        heap = self._heaps[-1]
        self._push(heap, job.id, job.priority, job.position, job.attempt, self._now)
        self._effects.events.append(JobEvent(JobEventKind.RETRIED, job))
        return job

    def setActive(self, unit: IUnitOfWork, isActive: bool) -> None:
        """
        Pause or resume, also for later daemons.

        @raise QueueStopping: if the daemon is stopping.
        """
        self._checkNotStopping()
        unit.setSettings({ACTIVE: isActive})
        self._counts.isActive = isActive

    def _checkNotStopping(self) -> None:
        if self.isStopping:
            raise QueueStopping()

    # Starting

    def take(self, unit: IUnitOfWork) -> list[Run]:
        """
        Start jobs on the idle slots, in order.

        @return: their runs.
        """
        heap = self._heaps[0]
        started = self._effects.started
        count = min(len(self._idle), len(heap)) if self.mayTake else 0
        entries = []
        for _ in range(count):
            entries.append(heap.pop())
            self._undo.append(partial(heap.push, entries[-1]))
        unit.preload([entry[2] for entry in entries])
        for entry in entries:
            job = unit.startAttempt(entry[2], entry.attempt + 1)
            slot = self._idle.pop()
            self._undo.append(partial(self._idle.append, slot))
            run = self.running[job.id] = Run(job, slot, self._now)
            self._undo.append(partial(self.running.__delitem__, job.id))
            self._deepen(entry[0], -1)
            waited = None if entry.since == _BEFORE else self._now - entry.since
            self._effects.events.append(JobEvent(JobEventKind.STARTED, job, waited=waited))
            started.append(run)
        return started

    def _push(
        self, heap: TaskHeap, jobID: int, priority: int, position: int, attempt: int, since: float
    ) -> None:
        entry = newEntry(priority, position, jobID, _ARGS, None, None, since)
        entry.attempt = attempt
        heap.push(entry)
        self._undo.append(partial(_remove, heap, jobID))
        self._deepen(priority, 1)

    def _deepen(self, priority: int, step: int) -> None:
        depths = self._effects.depths
        depths[priority] = depths.get(priority, 0) + step

    def _nextPosition(self) -> int:
        position = self._counts.position
        self._counts.position += 1
        return position

    # Between transactions: quiesces and slots. Nothing below is undone.

    def quiesce(self, number: int) -> None:
        """
        Hold later jobs until all earlier ones have their outcomes. See L{quiesced}.
        """
        if self._fences and not len(self._heaps[-1]):
            self._fences[-1].append(number)
        else:
            self._fences.append([number])
            self._heaps.append(TaskHeap())

    def lift(self, number: int) -> bool:
        """
        End a quiesce. The jobs that it alone held may start.

        @return: whether it was still pending.
        """
        for place, numbers in enumerate(self._fences):
            if number in numbers:
                numbers.remove(number)
                if not numbers:
                    del self._fences[place]
                    self._heaps[place].absorb(self._heaps.pop(place + 1))
                    self._heaps[place].release()
                return True
        return False

    def quiesced(self) -> list[int]:
        """
        Remove the quiesces that are over, and return their numbers.
        """
        over: list[int] = []
        while self._fences and not self.running and not len(self._heaps[0]):
            over += self._fences.pop(0)
            del self._heaps[0]
        return over

    def liftAll(self) -> list[int]:
        """
        End all quiesces, and return their numbers.
        """
        numbers = [number for fence in self._fences for number in fence]
        for number in numbers:
            self.lift(number)
        return numbers

    @property
    def slots(self) -> int:
        """
        The number of slots that stay.
        """
        return self._slots - len(self._retiring)

    def addSlot(self, slot: ISlot) -> None:
        """
        Add an idle slot.
        """
        self._slots += 1
        self._idle.append(slot)

    def retire(self, count: int) -> tuple[list[ISlot], set[ISlot]]:
        """
        Give up slots, idle ones first.

        @return: the idle ones, to end now; and all that are to leave.
        """
        idle = [self._idle.pop(0) for _ in range(min(count, len(self._idle)))]
        self._retiring.update(idle)
        for run in self.running.values():
            if count <= len(idle):
                break
            if run.slot not in self._retiring:
                self._retiring.add(run.slot)
                count -= 1
        return idle, set(self._retiring)

    def keep(self, count: int) -> set[ISlot]:
        """
        Keep slots that were to end after their job.

        @return: those that stay, C{count} of them at most.
        """
        busy = [run.slot for run in self.running.values() if run.slot in self._retiring]
        kept = set(busy[:count])
        self._retiring -= kept
        return kept

    def removeSlot(self, slot: ISlot) -> None:
        """
        Forget a slot that has left.
        """
        self._slots -= 1
        self._retiring.discard(slot)


def _remove(heap: TaskHeap, jobID: int) -> None:
    """
    Undo a push. The job may have another entry by now: it was moved, or withdrawn and put back.
    """
    entry = heap.find(jobID)
    assert entry is not None
    heap.abandon(entry)


def _finish(unit: IUnitOfWork, job: Job, outcome: Outcome) -> Job:
    """
    Record an outcome, or if that cannot be stored, an outcome that says so.
    """
    try:
        return unit.finishAttempt(job.id, job.attempt, outcome)
    except InvalidArgument as error:
        try:
            return unit.finishAttempt(job.id, job.attempt, unusable(str(error), outcome.output))
        except InvalidArgument:
            return unit.finishAttempt(job.id, job.attempt, unrecordable())
