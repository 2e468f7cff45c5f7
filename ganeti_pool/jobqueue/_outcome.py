"""
Judge how a run ended: the facts that a slot reports, and what they mean for the job. Pure.

L{judge} decides by the first of these that applies:

  - The run succeeded after the queue had told it that its time was up: C{timeout}.
  - It succeeded: the job has succeeded with the result, or has failed with C{bad_result} if JSON
    cannot express it. This holds even if the job was to be cancelled.
  - A client asked to cancel it: the job is cancelled.
  - The queue told it that its time was up: C{timeout}.
  - It deferred itself: the job is queued again. That is not an attempt.
  - It was interrupted by the stop of the daemon: the job's C{on_crash} says whether it is queued
    again or has failed with C{interrupted}.
  - It failed: the job has failed with the code that the exception carries, or C{exception}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from twisted.python.failure import Failure

from ..errors import InvalidArgument
from ..jobs import Job, JobFailure, JobState, OnCrash, Outcome, OutputSize
from ..jobs.checks import plainJSON
from ..jobs.limits import MAX_INTEGER, MIN_INTEGER

__all__ = [
    "Deferral",
    "End",
    "Report",
    "Requeue",
    "afterCrash",
    "judge",
    "reportOf",
    "resultOf",
    "unrecordable",
    "unusable",
]

_LONGEST_MESSAGE = 1000

# An exception of a worker that was told to stop counts as its answer to that.
_BY_INTERRUPTION = frozenset({"cancelled", "exception"})


class Deferral(NamedTuple):
    """
    A deferral that a run asked for.

    @ivar priority: the priority of the queued job.
    @ivar reason: one sentence, or L{None}.
    """

    priority: int
    reason: str | None


class Report(NamedTuple):
    """
    An exception as the record of a job keeps it.

    @ivar failure: the L{JobFailure} in the C{failure} attribute of the exception, if it has
        a valid one.
    @ivar message: its class and its text.
    """

    failure: JobFailure | None
    message: str


class End(NamedTuple):
    """
    The facts about the end of a run. A run that has neither a failure nor a deferral
    succeeded.

    @ivar at: when it ended, by the monotonic clock.
    @ivar result: what it returned, as JSON gives it back.
    @ivar unusable: why that cannot be stored; L{None} if it can.
    @ivar failure: what it raised.
    @ivar report: the same for the record.
    @ivar deferral: the deferral that it asked for.
    @ivar output: how much of each stream it kept.
    """

    at: float
    result: Any = None
    unusable: str | None = None
    failure: Failure | None = None
    report: Report | None = None
    deferral: Deferral | None = None
    output: Mapping[str, OutputSize] | None = None


@dataclass(frozen=True)
class Requeue:
    """
    The job is queued again.

    @ivar priority: its priority.
    @ivar reason: one sentence.
    @ivar deferred: whether it deferred itself and gets a new position. Otherwise it is tried
        again, at the position that it had.
    """

    priority: int
    reason: str | None
    deferred: bool


def afterCrash(job: Job) -> Outcome | Requeue:
    """
    Judge a job that was running when its daemon died.
    """
    if job.cancelRequestedAt is not None:
        return Outcome(JobState.CANCELLED)
    return _interrupted(job, "its daemon died while it ran")


def resultOf(value: object, jobID: int) -> tuple[Any, str | None]:
    """
    Return a result as JSON gives it back, and why it cannot be stored.

    Threads: the worker's, since it may run code of the worker's author.
    """
    try:
        return plainJSON(value, f"the result of job {jobID}"), None
    except InvalidArgument as error:
        return None, str(error)


def reportOf(failure: Failure) -> Report:
    """
    Read an exception for the record. Never raises.

    Threads: the worker's, since it may run code of the worker's author.
    """
    error = failure.value
    try:
        reported = _plainFailure(getattr(error, "failure", None))
    except BaseException:
        reported = None
    # Twisted replaces the text of an exception that cannot be turned into text.
    message = f"{type(error).__name__}: {failure.getErrorMessage()}"
    return Report(reported, message[:_LONGEST_MESSAGE])


def _plainFailure(reported: object) -> JobFailure | None:
    """
    Return the failure that an exception carries, as a store gives it back; L{None} if it is
    not valid.
    """
    if (
        isinstance(reported, JobFailure)
        and isinstance(reported.code, str)
        and isinstance(reported.message, str)
        and isinstance(reported.exitCode, int | None)
        and MIN_INTEGER <= (reported.exitCode or 0) <= MAX_INTEGER
        and isinstance(reported.signal, str | None)
    ):
        return JobFailure(reported.code, reported.message, reported.exitCode, reported.signal)
    return None


def judge(
    job: Job,
    end: End,
    isCancelled: bool,
    isTimedOut: bool,
    isStopping: bool,
    isInterrupted: bool,
) -> Outcome | Requeue:
    """
    Judge a run. See the list at the top of this module.

    @param isCancelled: whether a client asked to cancel it.
    @param isTimedOut: whether the queue told it to end because of its timeout.
    @param isStopping: whether the daemon is stopping.
    @param isInterrupted: whether it was told to end because the daemon is stopping.
    """
    reported = None if end.report is None else end.report.failure
    hasSucceeded = end.failure is None and end.deferral is None
    if hasSucceeded and not isTimedOut:
        if end.unusable is not None:
            return unusable(end.unusable, end.output)
        return Outcome(JobState.SUCCEEDED, result=end.result, output=end.output)
    if isCancelled and not hasSucceeded:
        return Outcome(JobState.CANCELLED, error=reported, output=end.output)
    if isTimedOut:
        return Outcome(JobState.FAILED, error=_timeout(job, reported), output=end.output)
    if end.deferral is not None:
        return Requeue(end.deferral.priority, end.deferral.reason, deferred=True)
    if reported is None:
        message = "" if end.report is None else end.report.message
        reported = JobFailure("exception", message)
    # A worker whose processes the daemon has killed reports the interruption itself. At any
    # other time, its code has no special meaning.
    if (isStopping and reported.code == "interrupted") or (
        isInterrupted and reported.code in _BY_INTERRUPTION
    ):
        return _interrupted(job, "its daemon stopped while it ran", reported, end.output)
    return Outcome(JobState.FAILED, error=reported, output=end.output)


def unusable(why: str, output: Mapping[str, OutputSize] | None) -> Outcome:
    """
    Return the outcome that replaces one whose content cannot be stored.
    """
    return Outcome(JobState.FAILED, error=JobFailure("bad_result", why), output=output)


def unrecordable() -> Outcome:
    """
    Return the outcome that replaces one that cannot be stored in any form.
    """
    error = JobFailure("bad_result", "the outcome cannot be stored: see the daemon's log")
    return Outcome(JobState.FAILED, error=error)


def _timeout(job: Job, reported: JobFailure | None) -> JobFailure:
    why = f"it ran for longer than its timeout of {job.timeout:.12g} seconds"
    return _as("timeout", why, reported)


def _as(code: str, why: str, reported: JobFailure | None) -> JobFailure:
    if reported is None:
        return JobFailure(code, why)
    return JobFailure(code, why, reported.exitCode, reported.signal)


def _interrupted(
    job: Job,
    why: str,
    reported: JobFailure | None = None,
    output: Mapping[str, OutputSize] | None = None,
) -> Outcome | Requeue:
    if job.onCrash is OnCrash.RETRY and job.attempt < job.maxAttempts:
        return Requeue(job.priority, why, deferred=False)
    return Outcome(JobState.FAILED, error=_as("interrupted", why, reported), output=output)
