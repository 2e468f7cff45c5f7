"""
The part of a run that is done on the thread of its slot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.python.failure import Failure

from ..errors import DeferTask, InvalidArgument
from ..jobs import AttemptContext, Job, OutputSize, currentAttempt
from ..jobs.limits import MAX_INTEGER, MIN_INTEGER
from ._inbox import Inbox
from ._items import Began, Handle, Hindered
from ._outcome import Deferral, End, reportOf, resultOf
from ._output import Output
from ._run import Run

__all__ = ["Work"]

_LONGEST_REASON = 1000


class Work:
    """
    The part of a run that is done on the thread of its slot: the context that the worker
    sees, and the facts about the end.

    Threads: those of the slots.
    """

    def __init__(
        self,
        inbox: Inbox,
        output: Output | None,
        stateDirectory: str,
        keepsTimeout: bool,
        monotonic: Callable[[], float],
    ) -> None:
        """
        @param inbox: where what happens is reported to.
        @param output: where runs keep their output; L{None} if they keep nothing.
        @param stateDirectory: the daemon's state directory.
        @param keepsTimeout: whether the worker class ends a job after its timeout itself.
        @param monotonic: the clock.
        """
        self._inbox = inbox
        self._output = output
        self._stateDirectory = stateDirectory
        self._keepsTimeout = keepsTimeout
        self._monotonic = monotonic

    def perform(self, run: Run, runTask: Callable[..., object], *args: Any) -> object:
        """
        Call C{RunTask} in the context of a run.

        @raise InvalidArgument: if it defers the job to a priority that no job can have, or
            for a reason that is not text.
        """
        job = run.job
        context = AttemptContext(
            jobID=job.id,
            attempt=job.attempt,
            makeOutputDirectory=self._directoryMaker(job),
            stateDirectory=self._stateDirectory,
            recordHandle=partial(self._recordHandle, run),
            recordOutput=partial(_recordOutput, run),
            hasRunBefore=job.attempt > 1 or job.deferrals > 0,
            recordStart=partial(self._recordStart, run),
            recordWait=partial(self._recordWait, run),
            timeout=job.timeout,
        )
        if not self._keepsTimeout and job.timeout is not None:
            self._inbox.put(Began(run, self._monotonic(), isLimited=True))
        token = currentAttempt.set(context)
        try:
            return runTask(*args)
        except DeferTask as deferral:
            run.deferral = _understood(deferral, job)
            raise
        finally:
            currentAttempt.reset(token)

    def endOf(self, run: Run, result: object, failure: Failure | None) -> End:
        """
        Return the facts about the end of a run.

        @param result: what C{RunTask} returned.
        @param failure: what it raised, except a deferral.
        """
        if failure is not None:
            return End(
                self._monotonic(), failure=failure, report=reportOf(failure), output=run.output
            )
        if run.deferral is not None:
            return End(self._monotonic(), deferral=run.deferral, output=run.output)
        plain, why = resultOf(result, run.job.id)
        return End(self._monotonic(), plain, why, output=run.output)

    def _directoryMaker(self, job: Job) -> Callable[[], str] | None:
        if self._output is None:
            return None
        return partial(self._output.make, job.id, job.attempt, job.deferrals)

    def _recordHandle(self, run: Run, handle: str) -> None:
        self._inbox.putLazily(Handle(run, handle))

    def _recordStart(self, run: Run) -> None:
        # Most runs begin at once, and nobody needs to know.
        if run.wasHindered:
            run.wasHindered = False
            self._inbox.put(Began(run, self._monotonic(), isLimited=False))

    def _recordWait(self, run: Run, why: str) -> None:
        run.wasHindered = True
        self._inbox.put(Hindered(run, why))


def _understood(deferral: DeferTask, job: Job) -> Deferral:
    """
    Check a deferral.

    @raise InvalidArgument: if no job can be queued like that.
    """
    priority, reason = deferral.priority, deferral.reason
    if priority is None:
        priority = job.priority
    if not isinstance(priority, int) or not MIN_INTEGER <= priority <= MAX_INTEGER:
        raise InvalidArgument(
            f"the priority of a job must be an integer of 64 bits, and job {job.id} deferred "
            f"itself to {priority!r}"
        )
    if reason is not None:
        if not isinstance(reason, str):
            raise InvalidArgument(
                f"the reason for a deferral must be text, and job {job.id} deferred itself for "
                f"{reason!r}"
            )
        # Lone surrogates, as in the names of files, cannot be stored.
        reason = reason[:_LONGEST_REASON].encode("utf-8", "replace").decode("utf-8")
    return Deferral(int(priority), reason)


def _recordOutput(run: Run, output: Mapping[str, OutputSize]) -> None:
    """
    Record how much of each stream was kept, as a store gives it back. The worker may change
    its mapping later.

    @raise InvalidArgument: if it is not a mapping of texts to valid L{OutputSize}s.
    """
    if not (
        isinstance(output, Mapping)
        and all(isinstance(name, str) and _isSize(size) for name, size in output.items())
    ):
        raise InvalidArgument(
            "what a job records of its output must be a mapping of the names of streams to "
            f"OutputSize, and job {run.job.id} recorded {output!r}"
        )
    run.output = {name: OutputSize(size.bytes, size.truncated) for name, size in output.items()}


def _isSize(size: object) -> bool:
    return (
        isinstance(size, OutputSize)
        and type(size.bytes) is int
        and 0 <= size.bytes <= MAX_INTEGER
        and isinstance(size.truncated, bool)
    )
