"""
A queue that a test steps through on its own thread.

The dispatcher has no thread: it handles what is in its inbox as soon as something is put there,
unless the test collects items for one batch. It starts jobs only when the test says so, and a
slot runs its job when the test makes a step.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import errors
from ganeti_pool.interfaces import ISlot, IUnitOfWork
from ganeti_pool.jobqueue import Edges, Hooks, JobQueue, QueueLimits, WorkerRules
from ganeti_pool.jobqueue._inbox import Inbox
from ganeti_pool.jobqueue._output import removeTrees
from ganeti_pool.jobqueue._run import Run
from ganeti_pool.jobqueue._slots import ThreadSlot
from ganeti_pool.jobqueue._work import Work
from ganeti_pool.jobs import Attempt, Job, JobEvent, JobFailure, JobState, NewJob
from ganeti_pool.paths import StatePaths
from ganeti_pool.testing import FakeReactor, MemoryJobStore
from ganeti_pool.wire import statusToJSON
from ganeti_pool.workerpool import BaseWorker, WorkerHost

__all__ = [
    "FULL",
    "NOON",
    "WORKER",
    "JobFailed",
    "QueueCase",
    "StartedCase",
    "SteppingSlot",
    "Task",
    "Worker",
    "new",
]

WORKER = "tests.jobqueue.queuecase.Worker"

NOON = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=timezone.utc)

FULL = errors.StoreFull("the disk is full")

Task = Callable[..., object]


class Worker(BaseWorker):
    """
    Runs the function that the test has put under the first argument of the job.
    """

    tasks: ClassVar[dict[str, Task]] = {}

    def RunTask(self, name: str, *args: Any) -> object:
        return self.tasks[name](self, *args)


class JobFailed(Exception):
    """
    An exception that carries the failure to record.
    """

    def __init__(self, failure: JobFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def new(name: str = "note", *args: Any, **fields: Any) -> NewJob:
    """
    Return a job to submit.
    """
    return NewJob(WORKER, (name, *args), fields.pop("title", name), **fields)


class SteppingInbox(Inbox):
    """
    An inbox whose items are handled as soon as they are put there.

    @ivar items: the items that have not been taken.
    @ivar handle: handles the items; does nothing while it is handling some.
    """

    def __init__(self, handle: Callable[[], object]) -> None:
        super().__init__()
        self.items: list[object] = []
        self.handle = handle

    def put(self, item: object) -> None:
        self.items.append(item)
        self.handle()

    def putLazily(self, item: object) -> None:
        self.put(item)

    def take(self, timeout: float) -> list[Any]:
        items, self.items = self.items, []
        return items


class SteppingSlot(ThreadSlot):
    """
    A slot that runs its job when the test makes a step.
    """

    def __init__(
        self, inbox: Inbox, work: Work, host: WorkerHost, waiting: list[SteppingSlot]
    ) -> None:
        super().__init__(inbox, work, host)
        self.host = host
        self.waiting = waiting

    def run(self, task: Run) -> None:
        super().run(task)
        self.waiting.append(self)

    def end(self) -> None:
        super().end()
        self._runNext()

    def step(self) -> None:
        """
        Run the job.
        """
        self._runNext()


class QueueCase(SynchronousTestCase):
    """
    A queue over a store in memory.

    @ivar ran: the arguments of the jobs of the task C{note}, in the order in which they ran.
    @ivar events: the events of the queue.
    @ivar removed: the directories whose removal was asked for in one call, below the state
        directory.
    @ivar removal: the result of that call.
    @ivar reaped: the handles that were reaped at each start.
    @ivar reap: called to reap.
    @ivar broken: the failures with which queues were broken.
    @ivar mayStart: whether the dispatcher may start jobs.
    @ivar isHeld: whether items stay in the inbox.
    @ivar isReactorHeld: whether batches stay with the reactor.
    """

    def setUp(self) -> None:
        self.ran: list[object] = []
        self.events: list[JobEvent] = []
        self.removed: list[list[str]] = []
        self.removal: Deferred[Any] = succeed(None)
        self.reaped: list[Sequence[str]] = []
        self.reap: Callable[[Sequence[str]], object] = lambda handles: None
        self.broken: list[Failure] = []
        self.monotonic = 100.0
        self.journals: object = None
        self.tasks: dict[str, Task] = {"note": lambda worker, what=None: self.ran.append(what)}
        self.patch(Worker, "tasks", self.tasks)
        self.open(MemoryJobStore(lambda: NOON))

    def open(
        self,
        store: MemoryJobStore,
        numWorkers: int = 1,
        limits: QueueLimits = QueueLimits(),
        isPaused: bool = False,
        **rules: Any,
    ) -> None:
        """
        Make a queue over a store, and do not start it.

        @param rules: the rules of the worker class that are not as usual.
        """
        if store._journals is not self.journals:
            # The output of one store is not that of another.
            self.directory = self.mktemp()
        self.journals = store._journals
        self.store = store
        self.mayStart = self.isHeld = self.isReactorHeld = self.isHandling = False
        self.inbox = SteppingInbox(self.handle)
        self.slots: list[SteppingSlot] = []
        self.waiting: list[SteppingSlot] = []
        self.reactor = FakeReactor()
        self.queue = JobQueue(
            self.reactor,
            store,
            WorkerRules(WORKER, **{"keepsOutput": True, **rules}),
            StatePaths.at(self.directory),
            self.makeSlot,
            numWorkers,
            limits,
            isPaused=isPaused,
            hooks=Hooks([lambda event: self.events.append(event)], onBroken=self.broken.append),
            edges=Edges(
                reap=self.reapAll,
                now=lambda: NOON,
                monotonic=lambda: self.monotonic,
                inThread=self.inThread,
                startThread=lambda run: None,
                inbox=self.inbox,
            ),
        )
        self.dispatcher = self.queue._dispatcher
        projection = self.queue._projection
        isCaughtUp = projection.isCaughtUp
        self.patch(projection, "isCaughtUp", lambda: self.mayStart and isCaughtUp())

    def makeSlot(self, inbox: Inbox, work: Work, name: str) -> ISlot:
        slot = SteppingSlot(inbox, work, WorkerHost("ganeti-pool", Worker, name), self.waiting)
        self.slots.append(slot)
        return slot

    def reapAll(self, handles: Sequence[str]) -> None:
        self.reaped.append(handles)
        self.reap(handles)

    def inThread(self, f: Callable[..., Any], *args: Any) -> Deferred[Any]:
        if f is removeTrees:
            return self.removeOutput(*args)
        return maybeDeferred(f, *args)

    def removeOutput(self, directories: Sequence[str]) -> Deferred[Any]:
        self.removed.append([os.path.relpath(one, self.directory) for one in directories])
        return self.removal

    # Stepping

    def handle(self) -> None:
        """
        Handle the items in the inbox and their consequences, except starts.
        """
        if self.isHeld or self.isHandling:
            return
        self.isHandling = True
        try:
            while not self.dispatcher.isOver and (
                self.inbox.items or self.dispatcher._patience() == 0
            ):
                self.dispatcher.step(0)
        finally:
            self.isHandling = False
        if not self.isReactorHeld:
            self.reactor.run()

    def startJobs(self) -> None:
        """
        Start jobs on the idle slots, and do not run them yet.
        """
        before, self.mayStart = self.mayStart, True
        try:
            self.handle()
        finally:
            self.mayStart = before

    def step(self) -> bool:
        """
        Start jobs, and run the next started one.

        @return: whether there was one.
        """
        self.startJobs()
        if not self.waiting:
            return False
        self.waiting.pop(0).step()
        return True

    def runAll(self) -> int:
        """
        Make steps until no job is left to run.

        @return: the number of steps.
        """
        steps = 0
        while self.step():
            steps += 1
        return steps

    @contextmanager
    def oneBatch(self, mayStart: bool = False) -> Iterator[None]:
        """
        Handle all items that the block puts into the inbox in one batch.

        @param mayStart: whether that batch may start jobs.
        """
        self.isHeld = True
        try:
            yield
        finally:
            self.isHeld = False
        if mayStart:
            self.startJobs()
        else:
            self.handle()

    def advance(self, seconds: float) -> None:
        """
        Let time pass.
        """
        self.monotonic += seconds
        self.reactor.advance(seconds)
        self.handle()

    def recover(self) -> None:
        """
        Let the store take changes again, and the next probe find that.
        """
        self.store.failure = None
        self.advance(30)

    # The life

    def start(self) -> None:
        """
        Start the queue.
        """
        self.successResultOf(self.queue.start())

    def restart(self, numWorkers: int = 1, **options: Any) -> None:
        """
        Start another daemon over the same store, after a crash of this one.
        """
        self.open(self.store.reopened(), numWorkers, **options)
        self.start()

    # What there is

    def write(self) -> AbstractContextManager[IUnitOfWork]:
        """
        Change the store behind the back of the queue, which has to be restarted.
        """
        return self.store.transaction(self.store._journal.epoch)

    def obstruct(self) -> Path:
        """
        Put a file in the place of the output directory.

        @return: the file.
        """
        obstacle = Path(self.directory, "output")
        shutil.rmtree(obstacle)
        obstacle.write_text("in the way")
        return obstacle

    def submit(self, *jobs: NewJob) -> list[int]:
        """
        Submit jobs, and return their IDs.
        """
        return [job.id for job in self.successResultOf(self.queue.submit(jobs))]

    def job(self, jobID: int = 1) -> Job:
        return self.successResultOf(self.queue.job(jobID))

    def stored(self, jobID: int = 1) -> Job:
        """
        Return a job as the store has it, even if it is closed.
        """
        return self.store._journal.jobs[jobID]

    def attempts(self, jobID: int = 1) -> list[Attempt]:
        return self.successResultOf(self.queue.attempts(jobID))

    def states(self, *jobIDs: int) -> list[str]:
        return [self.job(jobID).state.value for jobID in jobIDs]

    def status(self) -> dict[str, Any]:
        """
        Return the status as HTTP clients get it.
        """
        return statusToJSON(self.successResultOf(self.queue.poolStatus()))

    def trouble(self) -> str | None:
        """
        Return the latest error in the status.
        """
        error: str | None = self.status()["store"]["last_error"]
        return error

    def takeEvents(self) -> list[tuple[int, str]]:
        """
        Return the job and the kind of each event since the last call.
        """
        events = [(event.job.id, event.kind.value) for event in self.events]
        self.events.clear()
        return events

    def assertError(self, jobID: int, state: JobState, code: str) -> JobFailure:
        """
        Check the outcome of a job, and return its failure.
        """
        job = self.job(jobID)
        assert job.error is not None, job
        self.assertEqual((job.state, job.error.code), (state, code))
        return job.error

    def runNested(self) -> None:
        """
        Let the task C{nested} make a step itself, as if two ran at once.
        """
        self.tasks["nested"] = lambda worker: self.step()


class StartedCase(QueueCase):
    """
    A queue that has started.
    """

    def setUp(self) -> None:
        super().setUp()
        self.start()
