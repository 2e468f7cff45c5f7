"""
The dispatcher and its decisions, compared with a small model.

The machine sends batches of requests and ends of runs, lets commits fail, restarts the daemon,
and quiesces, in any order. The model follows the events and checks that each is allowed: exact
start order, one job for each slot, positions without gaps. What the events say has to be what
the store has.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from ganeti_pool import errors
from ganeti_pool.interfaces import ISlot
from ganeti_pool.jobqueue import Edges, Hooks, JobQueue, QueueLimits, WorkerRules
from ganeti_pool.jobqueue._inbox import Inbox
from ganeti_pool.jobqueue._items import Left, Returned
from ganeti_pool.jobqueue._outcome import Deferral, End, Report
from ganeti_pool.jobqueue._run import Run
from ganeti_pool.jobqueue._work import Work
from ganeti_pool.jobs import FINISHED, Job, JobEvent, JobEventKind, JobState, NewJob, OnCrash
from ganeti_pool.paths import StatePaths
from ganeti_pool.store._base import UnitOfWork
from ganeti_pool.testing import FakeReactor, MemoryJobStore

from .queuecase import NOON, SteppingInbox

QUEUED, RUNNING = JobState.QUEUED, JobState.RUNNING
MOST_QUEUED = 6


@implementer(ISlot)
class Slot:
    """
    A slot that runs its job until the machine ends it.
    """

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.task: Run | None = None
        self.told: list[int] = []

    def run(self, task: Run) -> None:
        assert self.task is None, "a slot got two jobs"
        self.task = task

    def interrupt(self, task: Run) -> None:
        self.told.append(task.job.id)

    def end(self) -> None:
        assert self.task is None, "a busy slot was ended"
        self.inbox.put(Left(self))


class Model:
    """
    The queue as its events describe it.

    @ivar jobs: by ID, the state, the priority and the position.
    @ivar group: by ID, the number of quiesces before which a queued job came.
    """

    def __init__(self) -> None:
        self.jobs: dict[int, tuple[JobState, int, int]] = {}
        self.group: dict[int, int] = {}
        self.position = 0
        self.fences: list[int] = []

    def ids(self, state: JobState) -> list[int]:
        return [jobID for jobID, job in self.jobs.items() if job[0] is state]

    def next(self) -> int | None:
        """
        Return the job that has to start next.
        """
        ready = [jobID for jobID in self.ids(QUEUED) if not self.group[jobID]]
        return min(ready, key=lambda jobID: self.jobs[jobID][1:], default=None)

    def overNow(self) -> list[int]:
        """
        Remove the quiesces that are over.
        """
        over: list[int] = []
        while self.fences and self.next() is None and not self.ids(RUNNING):
            over.append(self.fences.pop(0))
            self.group = {jobID: group - 1 for jobID, group in self.group.items()}
        return over

    def lift(self, number: int) -> None:
        place = self.fences.index(number)
        del self.fences[place]
        for jobID, group in self.group.items():
            self.group[jobID] = group - (group > place)

    def place(self, job: Job, group: int) -> None:
        assert job.position == self.position, (job, self.position)
        self.position += 1
        self.group[job.id] = group


class DispatcherMachine(RuleBasedStateMachine):
    """
    The dispatcher and the model.
    """

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.store = MemoryJobStore(lambda: NOON)
        self.model = Model()
        self.over: set[int] = set()
        self.open()

    def teardown(self) -> None:
        self.directory.cleanup()

    def open(self) -> None:
        self.now = 100.0
        self.failures: list[bool] = []
        self.isHeld = self.isHandling = False
        self.slots: list[Slot] = []
        self.ends: dict[int, End] = {}
        self.quiesces: dict[int, Deferred[None]] = {}
        self.answers: list[Deferred[Any]] = []
        self.inbox = SteppingInbox(self.handle)
        self.reactor = FakeReactor()
        self.transaction = self.store.transaction
        self.store.transaction = self.failing  # type: ignore[method-assign]
        self.queue = JobQueue(
            self.reactor,
            self.store,
            WorkerRules("w"),
            StatePaths.at(self.directory.name),
            self.makeSlot,
            2,
            QueueLimits(MOST_QUEUED),
            hooks=Hooks([self.observe], onBroken=self.broken),
            edges=Edges(
                now=lambda: NOON,
                monotonic=lambda: self.now,
                startThread=lambda run: None,
                inThread=lambda f, *args: Deferred(),
                inbox=self.inbox,
            ),
        )
        started = self.queue.start()
        assert started.called

    def makeSlot(self, inbox: Inbox, work: Work, name: str) -> ISlot:
        slot = Slot(inbox)
        self.slots.append(slot)
        return slot

    def broken(self, failure: Failure) -> None:
        failure.raiseException()

    @contextmanager
    def failing(self, epoch: int) -> Iterator[UnitOfWork]:
        """
        A transaction that fails if the next of C{failures} says so.
        """
        with self.transaction(epoch) as unit:
            yield unit
            if self.failures and self.failures.pop(0):
                raise errors.StoreFull("no room")

    def handle(self) -> None:
        if self.isHeld or self.isHandling:
            return
        self.isHandling = True
        dispatcher = self.queue._dispatcher
        while self.inbox.items or dispatcher._patience() == 0:
            dispatcher.step(0)
            self.reactor.run()
        self.isHandling = False

    def fingerprint(self) -> object:
        """
        Return everything that the decisions remember.
        """
        decisions = self.queue._dispatcher._decisions
        heaps = [
            sorted((*entry[:3], entry.attempt, entry.since) for entry in heap.byID.values())
            for heap in decisions._heaps
        ]
        runs = [
            (jobID, run.job, id(run.slot), run.isCancelled)
            for jobID, run in decisions.running.items()
        ]
        counts = decisions._counts
        counted = [getattr(counts, name) for name in counts.__slots__]
        return heaps, sorted(runs, key=repr), [id(slot) for slot in decisions._idle], counted

    # The model follows the events

    def observe(self, event: JobEvent) -> None:
        job, model = event.job, self.model
        before = model.jobs.get(job.id, (None, 0, 0))
        kind = event.kind
        if kind is JobEventKind.SUBMITTED:
            assert job.id not in model.jobs
            model.place(job, len(model.fences))
        elif kind is JobEventKind.STARTED:
            self.over.update(model.overNow())
            assert job.id == model.next(), "jobs start out of order"
            assert len(model.ids(RUNNING)) < 2
        elif kind is JobEventKind.RETRIED:
            assert before[0] in (JobState.FAILED, JobState.CANCELLED)
            model.place(job, len(model.fences))
        elif kind is JobEventKind.DEFERRED:
            assert before[0] is RUNNING and job.id in self.ends
            model.place(job, 0)
        elif kind is JobEventKind.INTERRUPTED:
            assert before[0] is RUNNING and before[2] == job.position
            model.group[job.id] = 0
        elif kind is JobEventKind.MOVED:
            assert before[0] is QUEUED and before[1] != job.priority
        elif kind is JobEventKind.CANCEL_REQUESTED:
            assert before[0] is RUNNING
        elif before[0] is RUNNING and job.id in self.ends:
            end = self.ends.pop(job.id)
            expected = JobState.SUCCEEDED if end.failure is None else JobState.FAILED
            # It was told, even if the request could not be written.
            isTold = any(job.id in slot.told for slot in self.slots)
            assert isTold or job.cancelRequestedAt is None
            if isTold and expected is JobState.FAILED:
                expected = JobState.CANCELLED
            if end.deferral is not None:
                expected = JobState.CANCELLED
            assert job.state is expected
        else:
            assert before[0] in (QUEUED, RUNNING)
            assert job.state is JobState.CANCELLED or before[0] is RUNNING
        if kind is not JobEventKind.FINISHED:
            self.ends.pop(job.id, None)
        if kind in (JobEventKind.FINISHED, JobEventKind.DEFERRED):
            for slot in self.slots:
                slot.told = [jobID for jobID in slot.told if jobID != job.id]
        model.jobs[job.id] = (job.state, job.priority, job.position)
        if job.state is not QUEUED:
            model.group.pop(job.id, None)

    # Rules

    priorities = st.integers(-1, 1)
    jobIDs = st.integers(1, 9)
    operations = st.one_of(
        st.tuples(st.just("submit"), st.integers(1, 3), priorities, st.booleans()),
        st.tuples(st.just("move"), jobIDs, priorities),
        st.tuples(st.just("cancel"), jobIDs, st.booleans()),
        st.tuples(st.just("retry"), jobIDs),
        st.tuples(st.just("remove"), st.integers(20, 30)),
        st.tuples(st.just("end"), st.integers(0, 1), st.sampled_from(["ok", "no", "defer"])),
        st.tuples(st.just("active"), st.booleans()),
    )

    def ask(self, name: str, *args: Any) -> None:
        queue = self.queue
        if name == "end":
            self.end(*args)
            return
        if name == "submit":
            count, priority, isRetried = args
            onCrash = OnCrash.RETRY if isRetried else OnCrash.FAIL
            job = NewJob("w", (), "job", priority, onCrash, 2)
            answer: Deferred[Any] = queue.submit([job] * count)
        else:
            methods: dict[str, Any] = {
                "move": queue.changePriority,
                "cancel": queue.cancel,
                "retry": queue.retry,
                "remove": queue.remove,
                "active": queue.setActive,
            }
            answer = methods[name](*args)
        self.answers.append(answer)

    def end(self, number: int, kind: str) -> None:
        run = self.slots[number].task
        if run is None:
            return
        self.slots[number].task = None
        failure = report = deferral = None
        if kind == "no":
            failure, report = Failure(ValueError()), Report(None, "no")
        elif kind == "defer":
            deferral = Deferral(run.job.priority, None)
        end = End(self.now, failure=failure, report=report, deferral=deferral)
        self.ends[run.job.id] = end
        self.inbox.put(Returned(run, end))

    @rule(
        operations=st.lists(operations, min_size=1, max_size=6),
        failures=st.lists(st.booleans(), max_size=8),
    )
    def batch(self, operations: list[tuple[Any, ...]], failures: list[bool]) -> None:
        """
        Send a batch, of which some commits fail, and let the store recover.
        """
        self.isHeld, self.failures = True, failures
        for operation in operations:
            self.ask(*operation)
        self.isHeld = False
        self.handle()
        self.recover()
        for answer in self.answers:
            assert answer.called, "a request has no answer"
            answer.addErrback(
                lambda failure: failure.trap(
                    errors.StoreFull,
                    errors.NoSuchJob,
                    errors.JobNotQueued,
                    errors.JobFinished,
                    errors.QueueFull,
                )
            )
        self.answers.clear()
        assert self.queue._sender._waiting.keys() <= self.quiesces.keys()

    def recover(self) -> None:
        self.failures = []
        for _ in range(2):
            self.now += 60
            self.handle()

    @rule(operations=st.lists(operations, min_size=1, max_size=6))
    def refused(self, operations: list[tuple[Any, ...]]) -> None:
        """
        Send requests while the store refuses every change: memory stays as it is, except that
        jobs are told to end.
        """
        before, self.failures = self.fingerprint(), [True] * 99
        self.isHeld = True
        for operation in operations:
            if operation[0] not in ("end", "cancel"):
                self.ask(*operation)
        self.isHeld = False
        self.handle()
        assert self.fingerprint() == before
        for answer in self.answers:
            assert answer.called
            answer.addErrback(lambda failure: failure.trap(errors.JobError))
        self.answers.clear()
        self.recover()

    @rule(operations=st.lists(operations, max_size=3), isWritten=st.booleans())
    def crash(self, operations: list[tuple[Any, ...]], isWritten: bool) -> None:
        """
        Let the daemon die, with ends that are not written or requests that are not read.
        """
        self.isHeld, self.failures = True, [] if isWritten else [True] * 99
        for operation in operations:
            self.ask(*operation)
        if not isWritten:
            self.isHeld = False
            self.handle()
        for answer in self.answers:
            answer.addErrback(lambda failure: None)
        self.model.fences.clear()
        self.model.group = dict.fromkeys(self.model.group, 0)
        self.model.position = self.store._journal.lastPosition + 1
        self.store = self.store.reopened()
        self.open()

    @rule()
    def quiesce(self) -> None:
        """
        Hold later jobs until all earlier ones have their outcomes.
        """
        quiet = self.queue.quiesce()
        number = self.queue._sender.latest
        self.quiesces[number] = quiet
        self.model.fences.append(number)

    @rule(which=st.integers(0, 3))
    def lift(self, which: int) -> None:
        """
        Give up a quiesce.
        """
        numbers = sorted(self.quiesces)
        if which < len(numbers):
            self.model.lift(numbers[which])
            quiet = self.quiesces.pop(numbers[which])
            quiet.cancel()
            quiet.addErrback(lambda failure: failure.trap(CancelledError))
            self.handle()

    @invariant()
    def agrees(self) -> None:
        """
        The model, the store and memory agree, and no job that could start waits.
        """
        self.over.update(self.model.overNow())
        for number in self.over:
            assert self.quiesces.pop(number).called
        self.over.clear()
        assert not any(quiet.called for quiet in self.quiesces.values())
        stored = self.store._journal.jobs
        assert self.model.jobs == {
            jobID: (job.state, job.priority, job.position) for jobID, job in stored.items()
        }
        decisions = self.queue._dispatcher._decisions
        unfinished = [job for job in stored.values() if job.state not in FINISHED]
        assert decisions.queued + len(decisions.running) == len(unfinished)
        running = [slot.task.job.id for slot in self.slots if slot.task is not None]
        assert sorted(running) == sorted(self.model.ids(RUNNING))
        if decisions._counts.isActive and len(running) < 2:
            assert self.model.next() is None, "a job could start"
        depths: dict[int, int] = {}
        for jobID in self.model.ids(QUEUED):
            priority = self.model.jobs[jobID][1]
            depths[priority] = depths.get(priority, 0) + 1
        assert dict(self.queue.waiting) == depths


DispatcherTests = DispatcherMachine.TestCase
DispatcherTests.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
