"""
The queue as its tests have it.

The pool makes its steps on the test's thread. Where a worker's thread would wait
for the reactor, the test does what is to happen meanwhile, and then commits.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import errors
from ganeti_pool.jobqueue import JobQueue
from ganeti_pool.jobqueue._handover import Ask
from ganeti_pool.jobqueue._output import removeTrees
from ganeti_pool.jobqueue._task import JobTask
from ganeti_pool.jobs import Attempt, Job, JobEvent, JobFailure, JobState, NewJob
from ganeti_pool.paths import StatePaths
from ganeti_pool.testing import MemoryJobStore, makeSteppingPool
from ganeti_pool.wire import statusToJSON
from ganeti_pool.workerpool import BaseWorker

__all__ = [
    "FULL",
    "NOON",
    "WORKER",
    "QueueCase",
    "StartedCase",
    "Task",
    "Told",
    "Worker",
    "new",
]

WORKER = "tests.jobqueue.queuecase.Worker"

NOON = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=timezone.utc)

FULL = errors.StoreFull("the disk is full")

Task = Callable[..., object]


class Worker(BaseWorker):
    """
    Does what the test has put under the name that is the job's first argument.
    """

    tasks: ClassVar[dict[str, Task]] = {}

    def RunTask(self, name: str, *args: Any) -> object:
        """
        Do it.
        """
        return self.tasks[name](self, *args)


class Told(Exception):
    """
    A failure that says what to record.
    """

    def __init__(self, failure: JobFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def new(name: str = "note", *args: Any, **fields: Any) -> NewJob:
    """
    A job to submit.
    """
    return NewJob(WORKER, (name, *args), fields.pop("title", name), **fields)


class QueueCase(SynchronousTestCase):
    """
    A queue over a store in memory.

    @ivar ran: what the jobs of the task C{note} were given, in the order in which
        they ran.
    @ivar events: what the queue has told of its jobs.
    @ivar removed: the directories that were to be removed at once, below the queue's
        own.
    @ivar removal: what that answers.
    @ivar isPosting: whether workers go on before the end of their job is recorded.
    @ivar posted: what has come of the last of them, or will.
    @ivar meanwhile: what is to happen, one after the other, each time that a
        worker waits for the reactor and nothing comes by itself.
    """

    def setUp(self) -> None:
        self.ran: list[object] = []
        self.events: list[JobEvent] = []
        self.removed: list[list[str]] = []
        self.removal: Deferred[Any] = succeed(None)
        self.meanwhile: list[Callable[[], object]] = []
        self.isPosting = False
        self.posted: list[Any] = []
        self.reaped: list[Sequence[str]] = []
        self.reap: Deferred[Any] = succeed(0)
        self.journal: object = None
        self.monotonic = 100.0
        self.tasks: dict[str, Task] = {"note": lambda worker, what=None: self.ran.append(what)}
        self.patch(Worker, "tasks", self.tasks)
        self.open(MemoryJobStore(lambda: NOON))

    def open(
        self,
        store: MemoryJobStore,
        numWorkers: int = 1,
        keepsOutput: bool = True,
        **options: Any,
    ) -> None:
        """
        Make a queue over a store, and do not start it.

        @param options: more arguments for the queue.
        """
        if store._journal is not self.journal:
            # The output of one store is not that of another.
            self.directory = self.mktemp()
        self.journal = store._journal
        self.store = store
        self.pool, self.stepping, self.reactor = makeSteppingPool(numWorkers, Worker)
        self.queue = JobQueue(
            self.reactor,
            self.pool,
            store,
            WORKER,
            StatePaths.at(self.directory),
            reap=self.reapAll,
            handover=self,
            now=lambda: NOON,
            monotonic=lambda: self.monotonic,
            observers=[self.events.append],
            inThread=self.inThread,
            keepsOutput=keepsOutput,
            **options,
        )

    def reapAll(self, handles: Sequence[str]) -> Deferred[Any]:
        self.reaped.append(handles)
        return self.reap

    def inThread(self, f: Callable[..., Any], *args: Any) -> Deferred[Any]:
        if f is removeTrees:
            return self.removeOutput(*args)
        return maybeDeferred(f, *args)

    def removeOutput(self, directories: Sequence[str]) -> Deferred[Any]:
        self.removed.append([os.path.relpath(one, self.directory) for one in directories])
        return self.removal

    def start(self) -> None:
        """
        Start the queue.
        """
        self.successResultOf(self.queue.start())

    def restart(self, numWorkers: int = 1, **options: Any) -> None:
        """
        Another daemon over the same store, after a kill of this one.
        """
        self.open(self.store.reopened(), numWorkers, **options)
        self.start()

    def callAndWait(self, ask: Ask) -> Any:
        """
        What a worker's thread does to have something done by the reactor.
        """
        return self.waitFor(self.ask(ask))

    def waitFor(self, outcome: list[Any]) -> Any:
        self.untilDone(outcome)
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        return outcome[0]

    def post(self, ask: Ask) -> None:
        """
        What it does to have something done while it goes on; with C{isPosting} false
        that is done first.
        """
        self.posted = self.ask(ask)
        if not self.isPosting:
            self.untilDone(self.posted)

    def waitForPosted(self) -> None:
        """
        What it does to wait for that.
        """
        self.waitFor(self.posted)

    def ask(self, ask: Ask) -> list[Any]:
        """
        @return: where the outcome will be.
        """
        outcome: list[Any] = []
        maybeDeferred(ask).addBoth(outcome.append)
        return outcome

    def untilDone(self, outcome: list[Any]) -> None:
        """
        Have happen what happens while a worker waits.
        """
        while not outcome:
            try:
                (self.meanwhile.pop(0) if self.meanwhile else self.store.commit)()
            except BaseException:
                # A worker that is about to start a job would keep it for itself.
                self.addCleanup(Failure().raiseException)
                raise

    def hold(self, *meanwhile: Callable[[], object]) -> None:
        """
        Hold commits, and say what happens meanwhile.
        """
        self.store.held = True
        self.meanwhile += meanwhile

    def release(self) -> None:
        """
        Commit what was held, and hold nothing any more.
        """
        self.store.held = False
        self.store.commit()

    def withoutOutput(self, jobID: int) -> Callable[[], None]:
        """
        Have no place for the output of a job.

        @return: makes one.
        """
        make = self.queue._output.make
        broken = [jobID]

        def makeSome(made: int, attempt: int) -> None:
            if made in broken:
                raise OSError("no place")
            make(made, attempt)

        self.patch(self.queue._output, "make", makeSome)
        return broken.clear

    def obstruct(self) -> Path:
        """
        Have no place for any output.

        @return: what is in the way.
        """
        obstacle = Path(self.directory, "output")
        shutil.rmtree(obstacle)
        obstacle.write_text("in the way")
        return obstacle

    def submit(self, *jobs: NewJob) -> list[int]:
        """
        Submit jobs, and give their ids.
        """
        return [job.id for job in self.successResultOf(self.queue.submit(jobs))]

    def job(self, jobID: int = 1) -> Job:
        return self.successResultOf(self.queue.job(jobID))

    def attempts(self, jobID: int = 1) -> list[Attempt]:
        return self.successResultOf(self.queue.attempts(jobID))

    def status(self) -> dict[str, Any]:
        """
        The status as HTTP clients get it.
        """
        return statusToJSON(self.successResultOf(self.queue.poolStatus()))

    def task(self, jobID: int = 1) -> JobTask:
        """
        What the queue has of a job that waits or runs.
        """
        task = self.queue._roster.find(jobID)
        assert task is not None
        return task

    def told(self) -> list[tuple[int, str]]:
        """
        What the queue has told since this was asked last, as the job and the kind.
        """
        told = [(event.job.id, event.kind.value) for event in self.events]
        self.events.clear()
        return told

    def assertError(self, jobID: int, state: JobState, code: str) -> JobFailure:
        """
        A job has ended so.
        """
        job = self.job(jobID)
        assert job.error is not None, job
        self.assertEqual((job.state, job.error.code), (state, code))
        return job.error

    def runNested(self) -> None:
        """
        Have the task C{nested} make a step itself, as if two ran at once.
        """
        self.tasks["nested"] = lambda worker: self.stepping.step()


class StartedCase(QueueCase):
    """
    A queue that has started.
    """

    def setUp(self) -> None:
        super().setUp()
        self.start()
