"""
What the columns hold of a job and its attempts, and back.

This is written out, since it is done three times for each job: the types of SQLAlchemy
that say the same take several times as long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta, timezone
from json import dumps, loads
from typing import Any

from sqlalchemy import select

from ..jobs import Attempt, Job, JobFailure, JobState, OnCrash, OutputSize
from .schema import attempts, jobs

__all__ = [
    "STATE",
    "allAttempts",
    "allJobs",
    "attemptOf",
    "attemptRow",
    "bodyRow",
    "jobOf",
    "stateRow",
    "timeColumn",
    "timeOf",
]

allJobs = select(*(jobs.c[field.name] for field in fields(Job)))
"""
The columns that make a job, in the order of L{jobOf}.
"""

allAttempts = select(*(attempts.c[field.name] for field in fields(Attempt)))

STATE = (
    "priority",
    "maxAttempts",
    "state",
    "reason",
    "position",
    "attempt",
    "deferrals",
    "startedAt",
    "finishedAt",
    "cancelRequestedAt",
    "result",
    "error",
    "output",
    "revision",
)
"""
The columns of L{stateRow}.
"""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_STATES = {state.value: state for state in JobState}
_ON_CRASH = {word.value: word for word in OnCrash}


def timeColumn(time: datetime | None) -> int | None:
    return None if time is None else (time - _EPOCH) // _MICROSECOND


def timeOf(column: int | None) -> datetime | None:
    return None if column is None else _EPOCH + column * _MICROSECOND


def bodyRow(job: Job) -> dict[str, Any]:
    """
    The columns of what a job is, which never change.
    """
    return {
        "id": job.id,
        "worker": job.worker,
        "args": dumps(job.args),
        "name": job.name,
        "onCrash": job.onCrash.value,
        "key": job.key,
        "owner": job.owner,
        "labels": dumps(job.labels),
        "timeout": job.timeout,
        "submittedAt": timeColumn(job.submittedAt),
    }


def stateRow(job: Job) -> dict[str, Any]:
    """
    The columns of how a job does.
    """
    return {
        "priority": job.priority,
        "maxAttempts": job.maxAttempts,
        "state": job.state.value,
        "reason": job.reason,
        "position": job.position,
        "attempt": job.attempt,
        "deferrals": job.deferrals,
        "startedAt": timeColumn(job.startedAt),
        "finishedAt": timeColumn(job.finishedAt),
        "cancelRequestedAt": timeColumn(job.cancelRequestedAt),
        "result": None if job.result is None else dumps(job.result),
        "error": _errorColumn(job.error),
        "output": _outputColumn(job.output),
        "revision": job.revision,
    }


def jobOf(row: Sequence[Any]) -> Job:
    """
    @param row: what L{allJobs} selects.
    """
    (
        jobID,
        worker,
        args,
        name,
        priority,
        onCrash,
        maxAttempts,
        key,
        owner,
        labels,
        timeout,
        state,
        reason,
        position,
        attempt,
        deferrals,
        submittedAt,
        startedAt,
        finishedAt,
        cancelRequestedAt,
        result,
        error,
        output,
        revision,
    ) = row
    return Job(
        jobID,
        worker,
        tuple(loads(args)),
        name,
        priority,
        _ON_CRASH[onCrash],
        maxAttempts,
        key,
        owner,
        loads(labels),
        timeout,
        _STATES[state],
        reason,
        position,
        attempt,
        deferrals,
        _EPOCH + submittedAt * _MICROSECOND,
        timeOf(startedAt),
        timeOf(finishedAt),
        timeOf(cancelRequestedAt),
        None if result is None else loads(result),
        _errorOf(error),
        _outputOf(output),
        revision,
    )


def attemptRow(attempt: Attempt) -> dict[str, Any]:
    """
    The columns of an attempt that has ended.
    """
    return {
        "number": attempt.number,
        "startedAt": timeColumn(attempt.startedAt),
        "finishedAt": timeColumn(attempt.finishedAt),
        "handle": attempt.handle,
        "outcome": None if attempt.outcome is None else attempt.outcome.value,
        "error": _errorColumn(attempt.error),
        "output": _outputColumn(attempt.output),
    }


def attemptOf(row: Sequence[Any]) -> Attempt:
    """
    @param row: what L{allAttempts} selects.
    """
    number, startedAt, finishedAt, handle, outcome, error, output = row
    return Attempt(
        number,
        _EPOCH + startedAt * _MICROSECOND,
        timeOf(finishedAt),
        handle,
        _STATES[outcome],
        _errorOf(error),
        _outputOf(output),
    )


def _errorColumn(error: JobFailure | None) -> str | None:
    return None if error is None else dumps(vars(error))


def _errorOf(column: str | None) -> JobFailure | None:
    return None if column is None else JobFailure(**loads(column))


def _outputColumn(output: Mapping[str, OutputSize] | None) -> str | None:
    return None if output is None else dumps({name: vars(size) for name, size in output.items()})


def _outputOf(column: str | None) -> Mapping[str, OutputSize] | None:
    if column is None:
        return None
    return {name: OutputSize(**size) for name, size in loads(column).items()}
