"""
A job as a task of the pool: the side of it that the workers see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from ..errors import AlreadyCompleted, DeferTask, InvalidArgument
from ..interfaces import ICompletion
from ..jobs import AttemptContext, Job, JobState, Outcome, OutputSize, currentAttempt
from ..jobs.checks import plainJSON
from ..jobs.limits import MAX_INTEGER, MIN_INTEGER
from ._outcome import Deferral, Requeue, Said, outcomeOf, unusable

if TYPE_CHECKING:
    from ._desk import Desk

__all__ = ["JobTask", "Run", "TaskState"]

_LONGEST_REASON = 1000


class TaskState(Enum):
    """
    Where a job is, as far as the reactor thread knows.

    C{WAITING} in the store, and in the heap or just taken out of it by a worker;
    C{RUNNING} in the store; C{OVER}: it has its outcome.
    """

    WAITING = "waiting"
    RUNNING = "running"
    OVER = "over"


class Run:
    """
    An attempt that has begun, while it lasts.

    Threads: the reactor's, but for C{output} and C{deferral}, which are its
    worker's.

    @ivar job: as it was when the attempt began.
    @ivar began: when that was, by the monotonic clock.
    @ivar ended: when its worker was done with it; L{None} before.
    @ivar timeout: what tells it that its time is over.
    @ivar isLimited: whether its timeout has started.
    @ivar isCancelled: whether it was told to end by a client.
    @ivar isTimedOut: whether it was told to end since it ran for too long.
    @ivar isUnwritten: whether the store has refused its end, for now at least.
    @ivar output: how much of each stream it has kept.
    @ivar deferral: what it has said, if it has deferred the job.
    """

    __slots__ = (
        "began",
        "deferral",
        "ended",
        "isCancelled",
        "isLimited",
        "isTimedOut",
        "isUnwritten",
        "job",
        "output",
        "timeout",
    )

    def __init__(self, job: Job, began: float) -> None:
        self.job = job
        self.began = began
        self.ended: float | None = None
        self.timeout: IDelayedCall | None = None
        self.isLimited = False
        self.isCancelled = False
        self.isTimedOut = False
        self.isUnwritten = False
        self.output: Mapping[str, OutputSize] | None = None
        self.deferral: Deferral | None = None

    def limit(
        self,
        deadline: float,
        clock: IReactorTime,
        monotonic: Callable[[], float],
        tell: Callable[[], object],
    ) -> None:
        """
        Have the attempt told to end, as by a cancellation, when its time is over.

        @param deadline: when that is, by C{monotonic}.
        @param tell: tells it.
        """
        left = deadline - monotonic()
        # The reactor's clock may be set forward, and then it calls too early.
        if left > 0:
            self.timeout = clock.callLater(left, self.limit, deadline, clock, monotonic, tell)
            return
        self.timeout = None
        self.isTimedOut = True
        tell()

    def end(self, now: float) -> None:
        """
        The attempt has ended: what is left to do takes none of its time. Only the
        first end counts, if a deferral is one that is refused.
        """
        if self.ended is None:
            self.ended = now
        self.unlimit()

    def unlimit(self) -> None:
        """
        Tell the attempt nothing when its time is over.
        """
        if self.timeout is not None:
            self.timeout.cancel()
            self.timeout = None

    @property
    def seconds(self) -> float:
        """
        For how many seconds it ran, now that it has ended.
        """
        assert self.ended is not None
        return self.ended - self.began

    def keepOutput(self, output: Mapping[str, OutputSize]) -> None:
        """
        The attempt tells how much of each stream it has kept.

        @raise InvalidArgument: if it tells something else, which no store could keep.
        """
        self.output = _plainOutput(output, self.job.id)

    def judge(
        self, failure: Failure, said: Said, isStopping: bool, isInterrupted: bool
    ) -> Outcome | Requeue:
        """
        What becomes of the job, now that the attempt has failed. See L{outcomeOf}.
        """
        return outcomeOf(
            failure,
            said,
            self.job,
            self.isCancelled,
            self.isTimedOut,
            isStopping,
            isInterrupted,
            self.output,
            self.deferral,
        )


@implementer(ICompletion)
class JobTask:
    """
    One job between its submission and its outcome. It is the completion of its
    entry in the pool, each time that it is there, and what is called there in place
    of C{RunTask}. There may be very many that wait, so it has what is needed to
    begin alone; the rest is read then.

    Threads: the attributes change on the reactor thread alone. The methods are
    called on the worker's thread, which waits for the reactor in them, but for
    L{succeed} and L{fail}, in which it does so only while somebody waits for the pool
    to be quiet. L{fail} is called on any thread while the job is not running.

    @ivar priority: with which it waits, or waited last.
    @ivar attempts: how many times it was started, deferred starts not counted.
    @ivar since: since when it waits, by the monotonic clock; L{None} if that was
        before this daemon.
    @ivar run: the attempt that runs, in C{RUNNING}; L{None} in any other state.
    """

    __slots__ = ("_desk", "attempts", "jobID", "priority", "run", "since", "state")

    def __init__(
        self, desk: Desk, jobID: int, priority: int, attempts: int, since: float | None
    ) -> None:
        """
        @param desk: where its worker turns to.
        """
        self._desk = desk
        self.jobID = jobID
        self.priority = priority
        self.attempts = attempts
        self.since = since
        self.state = TaskState.WAITING
        self.run: Run | None = None

    @property
    def running(self) -> Run:
        """
        The attempt that runs, which there is.
        """
        assert self.run is not None
        return self.run

    @property
    def hasEnded(self) -> bool:
        """
        Whether its worker is done with the attempt that runs.
        """
        return self.run is not None and self.run.ended is not None

    @property
    def isUnwritten(self) -> bool:
        """
        Whether its end is to be written once the store takes it.
        """
        return self.run is not None and self.run.isUnwritten

    @property
    def isOver(self) -> bool:
        """
        Whether there is nothing to begin any more.
        """
        return self.state is TaskState.OVER

    def again(self) -> JobTask:
        """
        The same job for another entry in the pool. This one is over: what its worker
        still tells it is not about the job any more.
        """
        self.state = TaskState.OVER
        return JobTask(self._desk, self.jobID, self.priority, self.attempts, self.since)

    def begin(self, attempt: int) -> None:
        """
        Record that an attempt starts, and read the job, once there is a place for
        its output.

        @raise StaleAttempt: if it was cancelled before.
        @raise QueueStopping: if nothing is started any more.
        @raise NotItsTurn: if it waits again, and its worker can take its next job.
        @raise StoreError: if this daemon cannot record it for good.
        """
        self._desk.begin(self)

    def __call__(self, runTask: Callable[..., object]) -> object:
        """
        Call C{RunTask} in the context of the attempt.

        @raise InvalidArgument: if it defers the job to a priority that no job can
            have, or for a reason that is no text.
        """
        run = self.running
        context = AttemptContext(
            jobID=self.jobID,
            attempt=run.job.attempt,
            makeOutputDirectory=self._desk.directoryMaker(run.job),
            stateDirectory=self._desk.stateDirectory,
            recordHandle=partial(self._desk.keepHandle, self, run),
            recordOutput=run.keepOutput,
            hasRunBefore=run.job.attempt > 1 or run.job.deferrals > 0,
            recordStart=partial(self._desk.beginWork, self, run),
            recordWait=partial(self._desk.waitToBegin, self, run),
            timeout=run.job.timeout,
        )
        if run.job.timeout is not None and not self._desk.keepsTimeout:
            context.recordStart()
        token = currentAttempt.set(context)
        try:
            return runTask(*run.job.args)
        except DeferTask as deferral:
            run.deferral = self._understand(deferral)
            raise
        finally:
            currentAttempt.reset(token)

    def deferred(self, priority: float, order: int) -> None:
        """
        Record that the job waits again.

        @raise TaskCancelled: if it was told to end meanwhile.
        """
        self._desk.defer(self, order)

    def succeed(self, value: object) -> None:
        """
        Have the result recorded, or that it cannot be. What it is in JSON is found out
        here, since that may be code of the worker's author, which takes its time.

        @raise AlreadyCompleted: if the job does not run.
        """
        # Read once: the reactor thread may find just now that it is over.
        run = self.run
        if run is None:
            raise AlreadyCompleted(f"job {self.jobID} does not run")
        outcome = Outcome(JobState.SUCCEEDED, output=run.output)
        try:
            result = plainJSON(value, f"the result of job {self.jobID}")
        except InvalidArgument as error:
            outcome = unusable(outcome, error)
        else:
            outcome = replace(outcome, result=result)
        self._desk.succeed(self, outcome)

    def fail(self, failure: Failure) -> None:
        """
        Have a failure of the attempt that runs recorded. With none, there is nothing to
        record: what took the job out of the queue does so, or it waits for the
        next daemon.
        """
        if self.run is not None:
            self._desk.fail(self, failure)

    def _understand(self, deferral: DeferTask) -> Deferral:
        priority, reason = deferral.priority, deferral.reason
        if priority is None:
            priority = self.priority
        if not isinstance(priority, int) or not MIN_INTEGER <= priority <= MAX_INTEGER:
            raise InvalidArgument(
                f"the priority of a job must be a whole number of 64 bits, and job {self.jobID} "
                f"deferred itself to {priority!r}"
            )
        if reason is not None:
            if not isinstance(reason, str):
                raise InvalidArgument(
                    f"the reason for a deferral must be text, and job {self.jobID} deferred "
                    f"itself for {reason!r}"
                )
            # Halves of characters, as in the name of a file, could not be stored.
            reason = reason[:_LONGEST_REASON].encode("utf-8", "replace").decode("utf-8")
        return Deferral(int(priority), reason)


def _plainOutput(output: object, jobID: int) -> Mapping[str, OutputSize]:
    """
    What a worker tells of its output as a store gives it back, which is not the
    worker's to change any more.

    @raise InvalidArgument: if it is no mapping of texts to sound L{OutputSize}s.
    """
    if isinstance(output, Mapping) and all(
        isinstance(name, str) and _isSize(size) for name, size in output.items()
    ):
        return {name: OutputSize(size.bytes, size.truncated) for name, size in output.items()}
    raise InvalidArgument(
        "what a job records of its output must be a mapping of the names of streams to "
        f"OutputSize, and job {jobID} recorded {output!r}"
    )


def _isSize(size: object) -> bool:
    return (
        isinstance(size, OutputSize)
        and type(size.bytes) is int
        and 0 <= size.bytes <= MAX_INTEGER
        and isinstance(size.truncated, bool)
    )
