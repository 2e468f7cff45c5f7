"""
What becomes of a job whose attempt has ended, or was found after a crash. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twisted.python.failure import Failure

from ..errors import TaskCancelled, TaskNotStarted
from ..jobs import Job, JobFailure, JobState, OnCrash, Outcome, OutputSize

__all__ = ["Requeue", "afterCrash", "outcomeOf", "unusable"]

_LONGEST_MESSAGE = 1000

# An exception of a worker that was told to stop is taken for the answer to that.
_BY_INTERRUPTION = frozenset({"cancelled", "exception", "interrupted"})


@dataclass(frozen=True)
class Requeue:
    """
    The job waits again.

    @ivar deferred: whether it deferred itself, and takes a new place; otherwise
        it is tried again, at the place that it had.
    """

    deferred: bool


def afterCrash(job: Job) -> Outcome | Requeue:
    """
    What becomes of a job that was running when its daemon died.
    """
    if job.cancelRequestedAt is not None:
        return Outcome(JobState.CANCELLED)
    return _interrupted(job, "its daemon died while it ran")


def outcomeOf(
    failure: Failure,
    job: Job,
    isCancelled: bool,
    isInterrupted: bool,
    output: Mapping[str, OutputSize] | None,
) -> Outcome | Requeue:
    """
    What becomes of a job whose attempt has failed.

    An exception says what to record if it has a L{JobFailure} as its attribute
    C{failure}.

    @param isCancelled: whether a client had it cancelled.
    @param isInterrupted: whether it was told to stop since its daemon ends.
    """
    error = failure.value
    told = getattr(error, "failure", None)
    if isCancelled:
        return Outcome(
            JobState.CANCELLED,
            error=told if isinstance(told, JobFailure) else None,
            output=output,
        )
    if isinstance(error, (TaskCancelled, TaskNotStarted)) and error.__traceback__ is None:
        # It deferred itself, and the pool that ends did not take it back. What has
        # a traceback was raised, by a worker that uses a pool of its own.
        return Requeue(deferred=True)
    if not isinstance(told, JobFailure):
        message = f"{type(error).__name__}: {failure.getErrorMessage()}"
        told = JobFailure("exception", message[:_LONGEST_MESSAGE])
    if isInterrupted and told.code in _BY_INTERRUPTION:
        return _interrupted(job, "its daemon stopped while it ran", told, output)
    return Outcome(JobState.FAILED, error=told, output=output)


def unusable(outcome: Outcome, why: Exception) -> Outcome:
    """
    What to record instead of an outcome whose result cannot be stored.
    """
    return Outcome(JobState.FAILED, error=JobFailure("bad_result", str(why)), output=outcome.output)


def _interrupted(
    job: Job,
    why: str,
    told: JobFailure | None = None,
    output: Mapping[str, OutputSize] | None = None,
) -> Outcome | Requeue:
    if job.onCrash is OnCrash.RETRY and job.attempt < job.maxAttempts:
        return Requeue(deferred=False)
    error = JobFailure(
        "interrupted",
        why,
        None if told is None else told.exitCode,
        None if told is None else told.signal,
    )
    return Outcome(JobState.FAILED, error=error, output=output)
