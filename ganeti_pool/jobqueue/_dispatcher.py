"""
The dispatcher: one thread that owns the store's write connection and everything that decides.

The story of a job, with the place to read on:

  1. A client's request comes to L{JobQueue <ganeti_pool.jobqueue.JobQueue>}, which sends a
     L{Submit <ganeti_pool.jobqueue._requests.Submit>} to the inbox
     (L{Sender.send <ganeti_pool.jobqueue._sender.Sender.send>}).
  2. L{Dispatcher.step} takes what is in the inbox: reports of slots, then requests. In one
     transaction it applies the ends of runs (L{Decisions.end}), then the requests
     (L{Request.apply}, which calls L{Decisions.submit}), and takes jobs for the idle slots
     (L{Decisions.take}). So a submission shares its commit with its start if a slot is
     idle, and the end of a job shares it with the start of the next.
  3. After the commit it releases each slot with its run (L{ISlot.run}), and hands one
     L{Batch} to the reactor (L{Projection.post}), which applies it, answers the client and
     sends the events.
  4. The slot calls C{RunTask} and puts L{Returned} into the inbox. That is the request for its
     next run, so we are at 2 again. The slot is idle from the commit that ends its job.

What a failure does, by step:

  - C{apply} raises an error of this package: the request is rejected. It has changed nothing,
    and the others of the transaction go on.
  - The transaction fails: L{Decisions.undo} makes memory as before, and no slot is released.
    A transaction with several items is done again in halves, without starts, until the bad
    item is alone (L{Dispatcher._commitAll}).
  - A request that fails alone is answered with the error. A cancellation reaches its running
    job all the same. An end that can never be stored is replaced by C{bad_result}. Any other
    end keeps its slot and joins every later transaction. A handle is dropped.
  - While the store refuses changes (C{_refusal}), nothing is started until a commit succeeds.
    Requests are tried, since some free space, and a probe tries the unwritten ends after a
    backoff.
  - The files of the store are lost: the same, and every change is rejected with the error
    until the daemon is restarted.
  - The ownership is lost, or anything else raises: the queue is broken (L{Dispatcher.step}).
    The reactor learns it, fails all that wait, and ends the daemon.
  - The reactor falls behind: no job is started while too many batches wait for it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from itertools import count
from typing import Any, NamedTuple

from twisted.internet.defer import CancelledError
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from ..backoff import Backoff
from ..errors import (
    InvalidArgument,
    NoSuchJob,
    OwnershipLost,
    PoolError,
    QueueStopping,
    ResizeFailed,
    StaleAttempt,
    StoreError,
    WorkersNotStarted,
)
from ..interfaces import IJobStore, ISlot, IUnitOfWork
from ..jobs import JobEvent
from ._batch import Batch, Commit
from ._decisions import Decisions, Effects
from ._inbox import Inbox
from ._items import (
    Asked,
    Began,
    CaughtUp,
    Handle,
    Hindered,
    Interrupt,
    Left,
    Lift,
    Quiesce,
    Resize,
    Returned,
    Start,
    Stop,
)
from ._lifecycle import Recovery
from ._outcome import End
from ._projection import Projection
from ._requests import Cancel
from ._run import Run

__all__ = ["Dispatcher"]

_log = Logger()

_LONGEST_WAIT = 30.0
"""
The dispatcher wakes up at least this often, in seconds.
"""

_BATCH_TIME = 0.01
"""
Take no further request into a transaction after this many seconds.
"""

_HANDLE_WAIT = 0.05
"""
The handles of new runs come within this time, in seconds, or wake the dispatcher.
"""

_SPARE = 64
"""
Keep at most this many deadlines of ended runs, and twice the number of running jobs.
"""

_Item = Run | Handle | Asked
"""
What one transaction consists of: the end of a run, a handle, or a request.
"""


class _Waiter(NamedTuple):
    """
    A resize that waits for slots to end.

    @ivar number: of the item.
    @ivar leaving: the slots that it waits for.
    """

    number: int
    leaving: set[ISlot]


class Dispatcher:
    """
    The thread that decides, and its loop.

      1. C{_requests} has the items from the reactor that have not been handled, in order.
      2. C{_unwritten} has the runs that have ended and whose ends are not committed. Each is
         in C{Decisions.running} too, and keeps its slot.
      3. C{_handles} has the handles to write with the next transaction.
      4. C{_refusal} is the error with which the store refuses changes; L{None} while it takes
         them. C{_probeAt} is the time of the next try by itself.
      5. C{_deadlines} has the runs that the queue ends because of their timeout.
      6. C{_hindered} has, by job, why a run cannot begin or go on.
      7. C{_closing} is the number of the L{Close} item, and C{_ending} has the slots whose end
         it waits for.
      8. The rest is what the next batch for the reactor consists of.

    Threads: its own, except for the constructor. In tests, the test's.

    @ivar isOver: whether the last item was handled, or the queue is broken.
    """

    def __init__(
        self,
        inbox: Inbox,
        store: IJobStore,
        decisions: Decisions,
        projection: Projection,
        recovery: Recovery,
        makeSlot: Callable[[str], ISlot],
        slots: int,
        monotonic: Callable[[], float],
    ) -> None:
        """
        @param recovery: acquires the store at the start.
        @param makeSlot: makes a slot with a name and starts it; raises L{RuntimeError} if the
            system cannot start a thread.
        @param slots: the number of slots to start with.
        @param monotonic: the clock, in seconds.
        """
        self.isOver = False
        self._inbox = inbox
        self._store = store
        self._decisions = decisions
        self._projection = projection
        self._recovery = recovery
        self._makeSlot = makeSlot
        self._firstSlots = slots
        self._monotonic = monotonic
        self._epoch: int | None = None
        self._number = 0
        self._slotNumber = 0
        self._requests: deque[Any] = deque()
        self._unwritten: dict[int, Run] = {}
        self._handles: list[Handle] = []
        self._refusal: PoolError | None = None
        self._probeAt = 0.0
        self._backoff = Backoff(first=1.0, longest=30.0)
        self._deadlines: list[tuple[float, int, Run]] = []
        self._sequence = count()
        self._freshUntil = 0.0
        self._hindered: dict[int, str] = {}
        self._resizes: list[_Waiter] = []
        self._closing: int | None = None
        self._ending: set[ISlot] = set()
        # The next batch.
        self._isChanged = False
        self._events: list[JobEvent] = []
        self._depths: dict[int, int] = {}
        self._answers: list[tuple[int, object]] = []
        self._commits: list[Commit] = []

    def run(self) -> None:
        """
        Handle items until the last one, or until the queue breaks.
        """
        while not self.isOver:
            self.step(_LONGEST_WAIT)

    def step(self, timeout: float) -> None:
        """
        Take the items that are there, and handle one transaction or one other item.

        Any exception breaks the queue. The store then still has all that was acknowledged,
        and the next daemon goes on from there.

        @param timeout: how long to wait for an item if nothing is left to do, in seconds.
        """
        try:
            self._collect(min(timeout, self._patience()))
            self._handleDue()
            if self._requests or self._isWorkLeft():
                self._handleNext()
            self._answers += ((number, None) for number in self._decisions.quiesced())
            if self._closing is not None and not self._ending:
                self._release(self._closing)
            self._post()
        except BaseException:
            self._break(Failure())

    def _patience(self) -> float:
        """
        Return for how long nothing falls due, in seconds.
        """
        if self._requests or self._isWorkLeft():
            return 0
        now = self._monotonic()
        due = now + _LONGEST_WAIT
        if self._freshUntil > now:
            due = min(due, self._freshUntil)
        # A probe that is due and not possible waits for the reactor to catch up.
        if self._refusal is not None and self._probeAt > now:
            due = min(due, self._probeAt)
        if self._deadlines:
            due = min(due, self._deadlines[0][0])
        return max(0.0, due - now)

    # Collecting

    def _collect(self, timeout: float) -> None:
        for item in self._inbox.take(timeout):
            if isinstance(item, Returned):
                self._returned(item.run, item.end)
            elif isinstance(item, Began):
                self._began(item)
            elif isinstance(item, Hindered):
                self._hinder(item)
            elif isinstance(item, Handle):
                self._handles.append(item)
            elif isinstance(item, Left):
                self._left(item.slot)
            elif not isinstance(item, CaughtUp):
                self._requests.append(item)

    def _returned(self, run: Run, end: End) -> None:
        run.end = end
        self._unwritten[run.job.id] = run
        self._hindered.pop(run.job.id, None)
        # Tried at once, and not with the next probe.
        self._probeAt = 0.0

    def _began(self, began: Began) -> None:
        run = began.run
        if run.end is not None:
            return
        if self._hindered.pop(run.job.id, None) is not None:
            self._isChanged = True
        if began.isLimited and run.deadline is None and run.job.timeout is not None:
            run.deadline = began.at + run.job.timeout
            if len(self._deadlines) > 2 * len(self._decisions.running) + _SPARE:
                self._deadlines = [one for one in self._deadlines if one[2].end is None]
                heapq.heapify(self._deadlines)
            heapq.heappush(self._deadlines, (run.deadline, next(self._sequence), run))

    def _hinder(self, hindered: Hindered) -> None:
        jobID = hindered.run.job.id
        if hindered.run.end is not None:
            return
        self._isChanged = True
        if jobID not in self._hindered:
            _log.warn("Job {job} waits: {why}", job=jobID, why=hindered.why)
        self._hindered[jobID] = hindered.why

    def _left(self, slot: ISlot) -> None:
        self._isChanged = True
        self._ending.discard(slot)
        self._decisions.removeSlot(slot)
        self._waitNoLonger({slot})

    def _handleDue(self) -> None:
        """
        Tell the runs to end whose time is up.
        """
        now = self._monotonic()
        while self._deadlines:
            deadline, _, run = self._deadlines[0]
            if run.end is None and deadline > now:
                return
            heapq.heappop(self._deadlines)
            if run.end is None:
                run.isTimedOut = True
                run.slot.interrupt(run)

    # Handling

    def _isWorkLeft(self) -> bool:
        """
        Whether a transaction without requests is worth a try.
        """
        if self._epoch is None or self.isOver:
            return False
        if self._refusal is not None and self._probeAt > self._monotonic():
            return False
        return bool(self._unwritten or self._handles) or self._mayTake()

    def _mayTake(self) -> bool:
        """
        Whether the next transaction may start jobs. While the store refuses changes, only a
        probe may, if no end can be its probe.
        """
        if self._refusal is not None and (self._unwritten or self._probeAt > self._monotonic()):
            return False
        return self._closing is None and self._decisions.mayTake and self._projection.isCaughtUp()

    def _handleNext(self) -> None:
        """
        Handle one transaction, or one item of another kind.
        """
        item = self._requests[0] if self._requests else None
        if item is None or isinstance(item, Asked):
            self._transact()
            return
        self._isChanged = True
        self._requests.popleft()
        if isinstance(item, Start):
            self._start(item.number)
        elif isinstance(item, Resize):
            self._resize(item.number, item.slots)
        elif isinstance(item, Quiesce):
            self._quiesce(item.number)
        elif isinstance(item, Lift):
            if self._decisions.lift(item.quiesce):
                self._answers.append((item.quiesce, CancelledError()))
        elif isinstance(item, Stop):
            self._stop(item.number)
        elif isinstance(item, Interrupt):
            self._decisions.isInterrupted = True
            for run in self._decisions.running.values():
                run.slot.interrupt(run)
        else:
            self._close(item.number)

    # Transactions

    def _transact(self) -> None:
        """
        Commit what is to be written: the ends, the handles, and the requests that come next;
        and start jobs.
        """
        handles = [handle for handle in self._handles if handle.run.end is None]
        self._handles.clear()
        items: list[_Item] = [*self._unwritten.values(), *handles]
        if self._requests and isinstance(self._requests[0], Asked):
            # Before the transaction begins: if it cannot, one request at least is answered.
            items.append(self._requests.popleft())
        self._commitAll(items, True)

    def _commitAll(self, items: list[_Item], takesMore: bool) -> None:
        """
        Commit items; if that fails, in halves, until the bad one is alone.

        @param takesMore: whether to add requests and to start jobs.
        """
        error = self._commit(items, takesMore)
        if error is None:
            return
        if isinstance(error, (OwnershipLost, StaleAttempt, NoSuchJob)):
            # Requests are rejected with the latter two; here the store and memory differ.
            raise error
        if len(items) > 1:
            half = len(items) // 2
            self._commitAll(items[:half], False)
            self._commitAll(items[half:], False)
        elif items and self._decisions.hadStarts:
            self._commitAll(items, False)
        else:
            self._failed(items[0] if items else None, error)

    def _commit(self, items: list[_Item], takesMore: bool) -> PoolError | None:
        """
        Commit items in one transaction. If it fails, nothing has changed.

        @param items: is extended by the requests that are added.
        @return: the error; L{None} if the items are committed.
        """
        assert self._epoch is not None  # requests come after the start
        decisions = self._decisions
        start = self._monotonic()
        decisions.begin(start)
        answers: list[tuple[int, object]] = []
        try:
            with self._store.transaction(self._epoch) as unit:
                for item in items:
                    self._apply(unit, item, answers)
                while takesMore and self._requests and isinstance(self._requests[0], Asked):
                    if items and self._monotonic() - start > _BATCH_TIME:
                        break
                    items.append(self._requests.popleft())
                    self._apply(unit, items[-1], answers)
                if takesMore and self._mayTake():
                    decisions.take(unit)
                number = unit.revision
                hasChanged = unit.hasChanged
        except PoolError as error:
            decisions.undo()
            return error
        except BaseException:
            # Unknown: it breaks the queue.
            decisions.undo()
            raise
        self._committed(number, items, decisions.commit(), answers, start)
        if hasChanged:
            # A commit without changes needs no room.
            self._refusal = None
            self._backoff.reset()
        return None

    def _apply(self, unit: IUnitOfWork, item: _Item, answers: list[tuple[int, object]]) -> None:
        if isinstance(item, Run):
            self._decisions.end(unit, item)
        elif isinstance(item, Handle):
            try:
                unit.recordHandle(item.run.job.id, item.run.job.attempt, item.handle)
            except PoolError as error:
                _warnOfHandle(item, error)
        else:
            try:
                answers.append((item.number, item.request.apply(self._decisions, unit)))
            except PoolError as error:
                answers.append((item.number, error))

    def _committed(
        self,
        number: int,
        items: Sequence[_Item],
        effects: Effects,
        answers: Sequence[tuple[int, object]],
        start: float,
    ) -> None:
        """
        Act on a commit: release the slots, and note what the reactor is to know.
        """
        now = self._monotonic()
        for run in effects.started:
            run.slot.run(run)
        for run in effects.interrupted:
            run.slot.interrupt(run)
        for slot in effects.ended:
            slot.end()
        if effects.started:
            self._freshUntil = now + _HANDLE_WAIT
        self._isChanged = True
        self._number = number
        self._commits.append(Commit(len(items) + len(effects.started), now - start))
        self._answers += answers
        self._events += effects.events
        for priority, step in effects.depths.items():
            self._depths[priority] = self._depths.get(priority, 0) + step
        for item in items:
            if isinstance(item, Run):
                del self._unwritten[item.job.id]
                _logFailure(item, effects)

    def _failed(self, item: _Item | None, error: PoolError) -> None:
        """
        Handle the failure of a transaction with one item, or with starts alone.
        """
        self._isChanged = True
        if isinstance(item, Handle):
            _warnOfHandle(item, error)
        elif isinstance(item, Asked):
            if isinstance(item.request, Cancel):
                error = self._cancelUnwritten(item.request.jobID, error)
            self._answers.append((item.number, error))
        elif (
            item is not None
            and isinstance(error, InvalidArgument)
            and self._decisions.substitute(item, error)
        ):
            self._commitAll([item], False)
            return
        if isinstance(error, StoreError) or not isinstance(item, (Asked, Handle)):
            self._refused(item, error)

    def _cancelUnwritten(self, jobID: int, error: PoolError) -> PoolError:
        """
        Tell a running job to end, although the request cannot be recorded: it may be what
        fills the disk.

        @return: the error to answer with.
        """
        run = self._decisions.running.get(jobID)
        if run is None:
            return error
        run.isCancelled = True
        run.slot.interrupt(run)
        answer = copy(error)
        answer.args = (f"job {jobID} is told to end, but that cannot be recorded: {error}",)
        return answer

    def _refused(self, item: _Item | None, error: PoolError) -> None:
        """
        Start nothing until a commit succeeds.
        """
        if isinstance(item, Run) and not item.isUnwritten:
            item.isUnwritten = True
            _log.warn(
                "The outcome of job {job} cannot be written and is tried again later: {error}",
                job=item.job.id,
                error=error,
            )
        self._refusal = error
        self._probeAt = self._monotonic() + self._backoff.next()

    # The other items

    def _start(self, number: int) -> None:
        """
        Make the slots, acquire the store and recover.
        """
        try:
            self._addSlots(self._firstSlots)
            recovered = self._recovery.recover(self._decisions)
        except Exception:
            self._answers.append((number, Failure()))
            return
        self._epoch = recovered.epoch
        self._number = recovered.number
        self._events += recovered.events
        self._depths.update(recovered.depths)
        self._answers.append((number, recovered))
        # A stop may be in the inbox, and then nothing starts.
        self._collect(0)

    def _addSlots(self, wanted: int) -> None:
        """
        @raise WorkersNotStarted: if a worker cannot be made, or the system cannot start a
            thread. Those that were started stay.
        """
        for started in range(wanted):
            self._slotNumber += 1
            try:
                slot = self._makeSlot(f"ganeti-pool{self._slotNumber}")
            except Exception as error:
                raise WorkersNotStarted("ganeti-pool", started, wanted, error) from error
            self._decisions.addSlot(slot)

    def _resize(self, number: int, slots: int) -> None:
        more = slots - self._decisions.slots
        if self._decisions.isStopping:
            self._answers.append((number, QueueStopping()))
        elif more > 0:
            kept = self._decisions.keep(more)
            self._waitNoLonger(kept)
            try:
                self._addSlots(more - len(kept))
            except WorkersNotStarted as error:
                why = error.__cause__
                _log.warn("The queue cannot have {slots} workers: {why}", slots=slots, why=why)
                failed = ResizeFailed(slots, self._decisions.slots, str(why))
                self._answers.append((number, failed))
            else:
                self._answers.append((number, None))
        else:
            idle, leaving = self._decisions.retire(-more)
            for slot in idle:
                slot.end()
            self._resizes.append(_Waiter(number, leaving))
            self._waitNoLonger(set())

    def _waitNoLonger(self, slots: set[ISlot]) -> None:
        """
        Answer the resizes that waited for no other slots than these.
        """
        waiting: list[_Waiter] = []
        for resize in self._resizes:
            resize.leaving.difference_update(slots)
            if resize.leaving:
                waiting.append(resize)
            else:
                # After a stop all slots leave, which is not what the client asked for.
                stopping = QueueStopping() if self._decisions.isStopping else None
                self._answers.append((resize.number, stopping))
        self._resizes = waiting

    def _quiesce(self, number: int) -> None:
        if self._decisions.isStopping:
            self._answers.append((number, QueueStopping()))
        else:
            self._decisions.quiesce(number)

    def _stop(self, number: int) -> None:
        self._decisions.isStopping = True
        stopping = QueueStopping()
        self._answers += ((quiesce, stopping) for quiesce in self._decisions.liftAll())
        self._answers.append((number, None))

    def _close(self, number: int) -> None:
        """
        Write what can still be written, and end the slots. Runs that go on are for the next
        daemon.
        """
        if self._epoch is not None and self._unwritten:
            self._transact()
        self._closing = number
        idle, _ = self._decisions.retire(self._decisions.idle)
        self._ending.update(idle)
        for slot in idle:
            slot.end()

    def _release(self, number: int) -> None:
        self._store.release()
        self._answers += ((resize.number, QueueStopping()) for resize in self._resizes)
        self._answers.append((number, None))
        self._isChanged = self.isOver = True

    # The reactor

    def _post(self) -> None:
        """
        Hand the reactor what has changed.
        """
        if not (self._isChanged or self._answers):
            return
        state = self._decisions.state(len(self._unwritten), self._refusal, self._describeHindered())
        self._projection.post(
            Batch(self._number, state, self._events, self._depths, self._answers, self._commits)
        )
        self._isChanged = False
        self._events, self._depths, self._answers, self._commits = [], {}, [], []

    def _describeHindered(self) -> str | None:
        if not self._hindered:
            return None
        jobID, why = next(iter(self._hindered.items()))
        more = len(self._hindered) - 1
        return f"job {jobID} waits: {why}" + (f" (and {more} more)" if more else "")

    def _break(self, failure: Failure) -> None:
        """
        End the queue after an exception.
        """
        self.isOver = True
        with suppress(Exception):
            self._store.release()
        self._projection.postBreak(failure)


def _warnOfHandle(handle: Handle, error: PoolError) -> None:
    # The processes are found by their environment.
    _log.warn(
        "The handle of job {jobID} is not kept: {error}", jobID=handle.run.job.id, error=error
    )


def _logFailure(run: Run, effects: Effects) -> None:
    """
    Log the traceback of an exception that became the outcome of a job.
    """
    end = run.end
    if end is None or end.failure is None or end.report is None or end.report.failure is not None:
        return
    for event in effects.events:
        job = event.job
        if job.id == run.job.id and job.error is not None and job.error.code == "exception":
            _log.failure("Job {jobID} failed", end.failure, LogLevel.info, jobID=job.id)
