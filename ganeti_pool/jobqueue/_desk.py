"""
Where the workers' threads turn to.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import local
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..errors import StaleAttempt
from ..jobs import Job, JobState, Outcome
from ..workerpool import WorkerPool
from ._handover import Handover
from ._journal import storeBackoff
from ._outcome import saidBy
from ._output import Output
from ._runs import NotItsTurn, Runs

if TYPE_CHECKING:
    from ._task import JobTask, Run

__all__ = ["Desk"]


class Desk:
    """
    The workers' side of the attempts: each call has something done by L{Runs} on the
    reactor thread, and waits for it unless it says otherwise.

    A worker does not wait for the end of a job to be recorded: it takes its next job
    meanwhile, and asks for the start of that behind it, so both are one commit most
    often. The invariant is the store's, which refuses the start while that end is
    missing: a job is running there only if its worker runs it next. The job that was
    refused is in the heap again, at its place, before the worker waits for the end.

    Threads: the workers'. C{_last} is for each its own.

    @ivar stateDirectory: the daemon's, which marks its processes.
    @ivar keepsTimeout: whether the worker class ends a job after its timeout itself.
    """

    def __init__(
        self,
        runs: Runs,
        pool: WorkerPool,
        handover: Handover,
        output: Output | None,
        stateDirectory: str,
        keepsTimeout: bool,
    ) -> None:
        """
        @param runs: does what is asked for.
        @param pool: whose workers come here.
        @param handover: how it is asked to.
        @param output: where the attempts keep what they write; L{None} if they
            write nothing.
        """
        self.stateDirectory = stateDirectory
        self.keepsTimeout = keepsTimeout
        self._runs = runs
        self._pool = pool
        self._handover = handover
        self._output = output
        self._last = _Last()

    def directoryMaker(self, job: Job) -> Callable[[], str] | None:
        """
        Return a function that makes the output directory of a run that has begun; L{None}
        if the worker class keeps nothing.
        """
        if self._output is None:
            return None
        return partial(self._output.begin, job.id, job.attempt, job.deferrals)

    def begin(self, task: JobTask) -> None:
        """
        Record that an attempt starts, once there is a place for its output.

        @raise StaleAttempt: if the job was cancelled.
        @raise QueueStopping: if nothing is started any more.
        @raise NotItsTurn: if it waits again.
        @raise StoreError: if the journal was closed meanwhile.
        """
        try:
            self._makeOutputDirectory(task)
            self._wait(self._runs.start, task, self._last.task)
        except NotItsTurn:
            # The job is in the heap, so this can take as long as it takes.
            self._handover.waitForPosted()
            self._last.task = None
            raise
        self._last.task = None

    def _makeOutputDirectory(self, task: JobTask) -> None:
        """
        Make the directory of the attempt that is to start, however long that takes:
        a job that could not keep its output waits.
        """
        backoff = storeBackoff()
        while self._output is not None:
            if task.isOver:
                # What it has written may have been removed.
                raise StaleAttempt(task.jobID, task.attempts + 1, JobState.CANCELLED.value)
            try:
                self._output.make(task.jobID, task.attempts + 1)
                return
            except OSError as error:
                self._wait(self._runs.holdUp, task, self._last.task, error, backoff.next())

    def beginWork(self, task: JobTask, run: Run) -> None:
        """
        Record that the work of an attempt begins or goes on, and start its timeout unless
        the worker class keeps it. Does not wait. See L{Runs.beginWork}.
        """
        self._handover.post(
            partial(self._runs.beginWork, task, run, self._runs.monotonic(), not self.keepsTimeout)
        )

    def waitToBegin(self, task: JobTask, run: Run, why: str) -> None:
        """
        Record why the work of an attempt cannot begin, without waiting. See
        L{Runs.waitToBegin}.
        """
        self._handover.post(partial(self._runs.waitToBegin, task, run, why))

    def keepHandle(self, task: JobTask, run: Run, handle: str) -> None:
        """
        Store what finds the processes of an attempt again, without waiting. See
        L{Runs.keepHandle}.
        """
        self._handover.post(partial(self._runs.keepHandle, task, run, handle))

    def defer(self, task: JobTask, order: int) -> None:
        """
        Record that a job has deferred itself. See L{Runs.defer}.
        """
        self._wait(self._runs.defer, task, order)

    def succeed(self, task: JobTask, outcome: Outcome) -> None:
        """
        Have a success recorded, and go on.
        """
        self._handIn(task, partial(self._runs.succeed, task, outcome))

    def fail(self, task: JobTask, failure: Failure) -> None:
        """
        Have a failure recorded, and go on.
        """
        # On this thread: what it says of itself is code of the worker's author.
        self._handIn(task, partial(self._runs.fail, task, failure, saidBy(failure)))

    def _handIn(self, task: JobTask, record: Callable[[], Deferred[None]]) -> None:
        if self._pool._fences:
            # While somebody waits for the pool to be quiet, that is for this too.
            self._handover.callAndWait(record)
        else:
            self._handover.post(record)
            self._last.task = task

    def _wait(self, f: Callable[..., Deferred[None]], *args: Any) -> None:
        self._handover.callAndWait(partial(f, *args))


class _Last(local):
    """
    The job whose end each worker has handed in last, until its next one has begun.
    """

    task: JobTask | None = None
