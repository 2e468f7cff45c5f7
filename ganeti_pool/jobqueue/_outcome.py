"""
What becomes of a job whose attempt has ended, or was found after a crash. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from twisted.python.failure import Failure

from ..errors import StoreError, TaskCancelled, TaskNotStarted
from ..jobs import Job, JobFailure, JobState, OnCrash, Outcome, OutputSize
from ..jobs.limits import MAX_INTEGER, MIN_INTEGER

__all__ = [
    "Deferral",
    "Requeue",
    "Said",
    "afterCrash",
    "outcomeOf",
    "saidBy",
    "timedOut",
    "unrecordable",
    "unusable",
]

_LONGEST_MESSAGE = 1000

# An exception of a worker that was told to stop is taken for the answer to that.
_BY_INTERRUPTION = frozenset({"cancelled", "exception"})


class Deferral(NamedTuple):
    """
    What a job has said as it deferred itself.

    @ivar priority: the priority that it is to wait with.
    @ivar reason: why, for people, if it said so.
    """

    priority: int
    reason: str | None


@dataclass(frozen=True)
class Requeue:
    """
    The job waits again.

    @ivar priority: the priority that it waits with.
    @ivar reason: why, for people.
    @ivar deferred: whether it deferred itself, and takes a new place; otherwise
        it is tried again, at the place that it had.
    """

    priority: int
    reason: str | None
    deferred: bool


def afterCrash(job: Job) -> Outcome | Requeue:
    """
    What becomes of a job that was running when its daemon died.
    """
    if job.cancelRequestedAt is not None:
        return Outcome(JobState.CANCELLED)
    return _interrupted(job, "its daemon died while it ran")


class Said(NamedTuple):
    """
    What an exception says of itself.

    @ivar told: what to record of it, if it says that by a L{JobFailure} as its
        attribute C{failure}.
    @ivar message: its class and its text.
    """

    told: JobFailure | None
    message: str


def saidBy(failure: Failure) -> Said:
    """
    Ask an exception what it says of itself, whatever comes of that.

    Threads: the worker's, since this is code of its author.
    """
    error = failure.value
    try:
        told = _plainFailure(getattr(error, "failure", None))
    except BaseException:
        told = None
    # Whatever its text raises, there is one.
    message = f"{type(error).__name__}: {failure.getErrorMessage()}"
    return Said(told, message[:_LONGEST_MESSAGE])


def _plainFailure(told: object) -> JobFailure | None:
    """
    What an exception tells, as a store gives it back; L{None} if it has not what its
    types say, which its author may not have checked, or more than a store can keep.
    """
    if (
        isinstance(told, JobFailure)
        and isinstance(told.code, str)
        and isinstance(told.message, str)
        and isinstance(told.exitCode, int | None)
        and MIN_INTEGER <= (told.exitCode or 0) <= MAX_INTEGER
        and isinstance(told.signal, str | None)
    ):
        return JobFailure(told.code, told.message, told.exitCode, told.signal)
    return None


def outcomeOf(
    failure: Failure,
    said: Said,
    job: Job,
    isCancelled: bool,
    isTimedOut: bool,
    isStopping: bool,
    isInterrupted: bool,
    output: Mapping[str, OutputSize] | None,
    deferral: Deferral | None,
) -> Outcome | Requeue:
    """
    What becomes of a job whose attempt has failed.

    @param said: what the failure says of itself.
    @param isCancelled: whether a client had it cancelled.
    @param isTimedOut: whether it was told to stop since its time was over.
    @param isStopping: whether its daemon ends.
    @param isInterrupted: whether it was told to stop since its daemon ends.
    @param deferral: what it said, if it deferred itself.
    """
    told = said.told
    if isCancelled:
        return Outcome(JobState.CANCELLED, error=told, output=output)
    if isTimedOut:
        return timedOut(job, told, output)
    if deferral is not None and isinstance(
        failure.value, (TaskCancelled, TaskNotStarted, StoreError)
    ):
        # The pool that ends did not take it back, or the store did not. Without a
        # deferral it is what a worker raised that uses a pool of its own.
        return Requeue(*deferral, deferred=True)
    if told is None:
        told = JobFailure("exception", said.message)
    # A worker whose processes the daemon has killed knows of the interruption first.
    # At any other time it is a word like any other.
    if (isStopping and told.code == "interrupted") or (
        isInterrupted and told.code in _BY_INTERRUPTION
    ):
        return _interrupted(job, "its daemon stopped while it ran", told, output)
    return Outcome(JobState.FAILED, error=told, output=output)


def timedOut(job: Job, told: JobFailure | None, output: Mapping[str, OutputSize] | None) -> Outcome:
    """
    What to record of a job that ran for longer than it may.

    @param told: how its attempt ended.
    """
    error = _as(
        "timeout", f"it ran for longer than its timeout of {job.timeout:.12g} seconds", told
    )
    return Outcome(JobState.FAILED, error=error, output=output)


def _as(code: str, why: str, told: JobFailure | None) -> JobFailure:
    if told is None:
        return JobFailure(code, why)
    return JobFailure(code, why, told.exitCode, told.signal)


def unusable(outcome: Outcome, why: object) -> Outcome:
    """
    What to record instead of an outcome whose result cannot be stored.
    """
    return Outcome(JobState.FAILED, error=JobFailure("bad_result", str(why)), output=outcome.output)


def unrecordable() -> Outcome:
    """
    What to record instead of an outcome of which nothing can be stored.
    """
    error = JobFailure("bad_result", "what became of it cannot be stored: see the daemon's log")
    return Outcome(JobState.FAILED, error=error)


def _interrupted(
    job: Job,
    why: str,
    told: JobFailure | None = None,
    output: Mapping[str, OutputSize] | None = None,
) -> Outcome | Requeue:
    if job.onCrash is OnCrash.RETRY and job.attempt < job.maxAttempts:
        return Requeue(job.priority, why, deferred=False)
    return Outcome(JobState.FAILED, error=_as("interrupted", why, told), output=output)
