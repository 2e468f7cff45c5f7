"""
A job as a task of the pool: the side of it that the workers see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

from twisted.python.failure import Failure
from zope.interface import implementer

from ..errors import AlreadyCompleted, DeferTask, InvalidArgument
from ..interfaces import ICompletion
from ..jobs import AttemptContext, Job, JobState, Outcome, OutputSize, currentAttempt
from ..wire import MAX_INTEGER, MIN_INTEGER
from ._outcome import outcomeOf

if TYPE_CHECKING:
    from ._runs import Runs

__all__ = ["JobTask", "TaskState"]


class TaskState(Enum):
    """
    Where a job is, as far as the reactor thread knows.

    C{WAITING} in the store, and in the heap or just taken out of it by a worker;
    C{RUNNING} in the store; C{OVER}: it has its outcome.
    """

    WAITING = "waiting"
    RUNNING = "running"
    OVER = "over"


@implementer(ICompletion)
class JobTask:
    """
    One job between its submission and its outcome. It is the completion of its
    entry in the pool, each time that it is there. The entry holds the job's ID
    alone; the rest is read when an attempt begins.

    Threads: the attributes change on the reactor thread alone, but for C{output}
    and C{deferredTo}, which are its worker's. The methods are called on the
    worker's thread, which waits for the reactor in them; L{fail} on any thread,
    where it does not wait while the job is not running.

    @ivar priority: where it waits, together with C{order}.
    @ivar attempts: how many times it was started, deferred starts not counted.
    @ivar job: the job of the running attempt.
    @ivar output: how much of each stream that attempt has kept.
    @ivar deferredTo: the priority to which that attempt has deferred the job.
    @ivar isCancelled: whether the running attempt was told to end by a client.
    @ivar isTimedOut: whether it was told to end since it ran for too long.
    @ivar isInterrupted: whether it was told to end by the end of the daemon.
    """

    __slots__ = (
        "_runs",
        "attempts",
        "deferredTo",
        "isCancelled",
        "isInterrupted",
        "isTimedOut",
        "job",
        "jobID",
        "order",
        "output",
        "priority",
        "state",
    )

    def __init__(self, runs: Runs, jobID: int, priority: int, order: int, attempts: int) -> None:
        self._runs = runs
        self.jobID = jobID
        self.priority = priority
        self.order = order
        self.attempts = attempts
        self.state = TaskState.WAITING
        self.job: Job | None = None
        self.output: Mapping[str, OutputSize] | None = None
        self.deferredTo: int | None = None
        self.isCancelled = False
        self.isTimedOut = False
        self.isInterrupted = False

    def begin(self, attempt: int) -> None:
        """
        Record that an attempt starts, and read the job, once there is a place for
        its output.

        @raise StaleAttempt: if it was cancelled before.
        @raise QueueStopping: if nothing is started any more.
        @raise StoreError: if this daemon cannot record it for good.
        """
        self.output = None
        self.deferredTo = None
        self._runs.makeOutputDirectory(self)
        self._runs.wait(self._runs.start, self)

    def invoke(self, runTask: Callable[..., object], jobID: int) -> object:
        """
        Call C{RunTask} in the context of the attempt.

        @raise InvalidArgument: if it defers the job to a priority that no job can
            have.
        """
        job = self.job
        assert job is not None  # begin has read it
        context = AttemptContext(
            jobID=jobID,
            attempt=job.attempt,
            outputDirectory=self._runs.outputDirectory(jobID, job.attempt),
            stateDirectory=self._runs.stateDirectory,
            recordHandle=self._recordHandle,
            recordOutput=self._recordOutput,
        )
        token = currentAttempt.set(context)
        try:
            return runTask(*job.args)
        except DeferTask as deferral:
            self.deferredTo = self._priorityOf(deferral)
            raise
        finally:
            currentAttempt.reset(token)

    def deferred(self, priority: float, order: int) -> None:
        """
        Record that the job waits again.

        @raise TaskCancelled: if it was told to end meanwhile.
        """
        self._runs.wait(self._runs.defer, self, self.deferredTo, order)

    def succeed(self, value: object) -> None:
        """
        Record the result.

        @raise AlreadyCompleted: if the job does not run.
        """
        if self.state is not TaskState.RUNNING:
            raise AlreadyCompleted(f"job {self.jobID} does not run")
        outcome = Outcome(JobState.SUCCEEDED, result=value, output=self.output)
        self._runs.wait(self._runs.succeed, self, outcome)

    def fail(self, failure: Failure) -> None:
        """
        Record a failure of the attempt that runs. With none, there is nothing to
        record: what took the job out of the queue does so, or it waits for the
        next daemon.
        """
        if self.state is TaskState.RUNNING:
            self._runs.wait(self._runs.fail, self, failure)

    def judge(self, failure: Failure) -> Any:
        """
        What becomes of the job, whose attempt has failed. See L{outcomeOf}.
        """
        assert self.job is not None  # its attempt has begun
        return outcomeOf(
            failure,
            self.job,
            self.isCancelled,
            self.isTimedOut,
            self.isInterrupted,
            self.output,
            self.deferredTo,
        )

    def _priorityOf(self, deferral: DeferTask) -> int:
        priority = deferral.priority
        if priority is None:
            return self.priority
        if not isinstance(priority, int) or not MIN_INTEGER <= priority <= MAX_INTEGER:
            raise InvalidArgument(
                f"the priority of a job must be a whole number of 64 bits, and job {self.jobID} "
                f"deferred itself to {priority!r}"
            )
        return priority

    def _recordHandle(self, handle: str) -> None:
        self._runs.wait(self._runs.keepHandle, self, handle)

    def _recordOutput(self, output: Mapping[str, OutputSize]) -> None:
        self.output = output
