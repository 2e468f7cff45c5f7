"""
The reactor's view of the queue: it applies the dispatcher's batches, answers the clients, and
sends the events.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from time import perf_counter
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import OwnershipLost, StoreClosed, StoreDamaged, StoreError, StoreLost
from ..interfaces import Snapshot
from ..jobs import JobEvent, JobState
from ._batch import Batch, QueueState
from ._changes import Changes
from ._inbox import Inbox
from ._items import CaughtUp
from ._sender import Sender

__all__ = ["Hooks", "Observer", "Projection"]

_log = Logger()

_T = TypeVar("_T")

_MOST_BATCHES = 10_000
"""
No job is started while more batches than this wait for the reactor.
"""

_TURN = 0.005
"""
Let the reactor do something else after this many seconds of applying batches.
"""

Observer = Callable[[JobEvent], object]


@dataclass(frozen=True)
class Hooks:
    """
    The functions that a queue calls on the reactor thread. What an observer raises is logged,
    and changes nothing.

    @ivar observers: called with every change of a job, once it is in the store.
    @ivar committed: called for each commit with the number of changes and the seconds that it
        took.
    @ivar onBroken: called once if the queue breaks.
    """

    observers: Sequence[Observer] = ()
    committed: Callable[[int, float], object] = lambda changes, seconds: None
    onBroken: Callable[[Failure], object] = lambda failure: None


class Projection:
    """
    What the reactor knows of the queue.

    Order: a batch is applied to memory first, then its clients are answered, then the reads
    that waited for it, then the events are sent. So a client reads what it wrote.

    Invariant: C{_isArmed} is true from the time at which a call of L{_apply} is scheduled
    until that call has begun. The dispatcher adds a batch before it reads it, and the reactor
    clears it before it takes batches; so no batch stays behind.

    Threads: L{post}, L{postBreak} and L{isCaughtUp} belong to the dispatcher's thread. The rest
    belongs to the reactor's.

    @ivar state: the state of the queue.
    @ivar depths: the number of queued jobs by priority, for each that has some.
    @ivar running: by ID, when each running job was started.
    @ivar changes: the readers that wait for a change.
    """

    def __init__(self, reactor: Any, inbox: Inbox, sender: Sender, hooks: Hooks) -> None:
        """
        @param reactor: the clock, and what runs L{_apply}.
        """
        self.state = QueueState()
        self.depths: dict[int, int] = {}
        self.running: dict[int, datetime | None] = {}
        self.changes = Changes(reactor)
        self._reactor = reactor
        self._clock: IReactorTime = reactor
        self._inbox = inbox
        self._sender = sender
        self._hooks = hooks
        self._batches: deque[Batch | Failure] = deque()
        self._isArmed = False
        self._isBehind = False
        self._isBroken = False
        self._applied = 0
        # The reads that wait for a commit number, lowest first.
        self._reads: list[tuple[int, int, Deferred[None]]] = []
        self._sequence = count()
        self._idle: list[Deferred[None]] = []
        self._lasting: str | None = None
        self._readError: str | None = None

    # The dispatcher's thread

    def post(self, batch: Batch) -> None:
        """
        Hand a batch to the reactor.
        """
        self._batches.append(batch)
        self._arm()

    def postBreak(self, failure: Failure) -> None:
        """
        Report to the reactor that the queue is broken.
        """
        self._batches.append(failure)
        self._arm()

    def isCaughtUp(self) -> bool:
        """
        Whether few enough batches wait for the reactor. If not, L{CaughtUp} comes later. If
        the queue is broken, no job is to start any more.
        """
        self._isBehind = len(self._batches) > _MOST_BATCHES
        # Read again: the reactor may have taken them in between, and seen no mark.
        isBehind = self._isBehind and len(self._batches) > _MOST_BATCHES
        return not (isBehind or self._isBroken)

    def _arm(self) -> None:
        if not self._isArmed:
            self._isArmed = True
            self._reactor.callFromThread(self._apply)

    # Batches

    def _apply(self) -> None:
        """
        Apply the batches that are there.
        """
        self._isArmed = False
        end = perf_counter() + _TURN
        while self._batches:
            batch = self._batches.popleft()
            try:
                if isinstance(batch, Failure):
                    self.breakDown(batch)
                elif not self._isBroken:
                    self._applyBatch(batch)
            except Exception:
                self.breakDown(Failure())
            if self._batches and perf_counter() > end:
                self._arm()
                break
        if self._isBehind and len(self._batches) <= _MOST_BATCHES:
            self._isBehind = False
            self._inbox.put(CaughtUp())

    def _applyBatch(self, batch: Batch) -> None:
        self._applied = max(self._applied, batch.number)
        for priority, step in batch.depths.items():
            depth = self.depths.get(priority, 0) + step
            if depth:
                self.depths[priority] = depth
            else:
                self.depths.pop(priority, None)
        for event in batch.events:
            if event.job.state is JobState.RUNNING:
                self.running[event.job.id] = event.job.startedAt
            else:
                self.running.pop(event.job.id, None)
        self.state = batch.state
        self._noteLasting(batch.state.trouble)
        for number, result in batch.answers:
            self._sender.answer(number, result)
        while self._reads and self._reads[0][0] <= self._applied:
            heapq.heappop(self._reads)[2].callback(None)
        for commit in batch.commits:
            self._observe(self._hooks.committed, commit.changes, commit.seconds)
        for event in batch.events:
            for observer in self._hooks.observers:
                self._observe(observer, event)
            self.changes.announce(event.job.id, event.job.revision)
        if self._isIdle():
            idle, self._idle = self._idle, []
            for waiter in idle:
                waiter.callback(None)

    def _observe(self, observer: Callable[..., object], *args: object) -> None:
        try:
            observer(*args)
        except Exception:
            _log.failure("An observer of the queue failed with {args}", args=args)

    def breakDown(self, failure: Failure) -> None:
        """
        Fail everything that waits, and report that the queue is broken.
        """
        if self._isBroken:
            return
        self._isBroken = True
        if not failure.check(OwnershipLost):
            _log.failure("The queue is broken", failure)
        self._lasting = failure.getErrorMessage()
        self._sender.breakDown(failure)
        for _, _, read in self._reads:
            read.callback(None)
        self._reads.clear()
        self.changes.close()
        self._hooks.onBroken(failure)

    # Reading

    def read(self, ask: Callable[..., Deferred[Snapshot[_T]]], *args: object) -> Deferred[_T]:
        """
        Read from the store. The answer waits until the reactor has applied everything that is
        in its snapshot.

        @param ask: a method of the store, called with C{args}.
        @return: a Deferred with the value. It fails with what the store raises.
        """
        return ask(*args).addCallbacks(self._wasRead, self._notRead)

    def _wasRead(self, snapshot: Snapshot[_T]) -> _T | Deferred[_T]:
        self._readError = None
        if snapshot.number <= self._applied or self._isBroken:
            return snapshot.value
        waiting: Deferred[None] = Deferred()
        heapq.heappush(self._reads, (snapshot.number, next(self._sequence), waiting))
        return waiting.addCallback(lambda _: snapshot.value)

    def _notRead(self, failure: Failure) -> Failure:
        if failure.check(StoreError) and not failure.check(StoreClosed):
            self._readError = failure.getErrorMessage()
            self._noteLasting(failure.value)
        return failure

    def _noteLasting(self, error: BaseException | None) -> None:
        """
        Keep an error that lasts until the next start.
        """
        if isinstance(error, (StoreLost, StoreDamaged)):
            if isinstance(error, StoreLost) and self._lasting != str(error):
                _log.critical("No job is started any more: {why}", why=error)
            self._lasting = str(error)

    @property
    def trouble(self) -> str | None:
        """
        Why jobs do not go on, as one sentence; L{None} while they do.
        """
        state = self.state
        refusal = None if state.trouble is None else str(state.trouble)
        return self._lasting or refusal or self._readError or state.hindered

    def _isIdle(self) -> bool:
        """
        Whether no job runs. The outcomes of ended jobs can never be written to a lost store.
        """
        state = self.state
        isLost = isinstance(state.trouble, StoreLost)
        return self._isBroken or state.running == (state.unwritten if isLost else 0)

    def whenIdle(self, timeout: float) -> Deferred[None]:
        """
        @param timeout: in seconds.
        @return: a Deferred that fires when no job runs, or after the timeout.
        """
        if self._isIdle():
            return succeed(None)
        idle: Deferred[None] = Deferred(self._idle.remove)
        self._idle.append(idle)
        return idle.addTimeout(timeout, self._clock, lambda _, seconds: None)
