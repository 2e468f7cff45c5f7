"""
What the columns hold of a job and its attempts, and back.

This is written out, since it is done three times for each job: the types of SQLAlchemy
that say the same take several times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta, timezone
from json import dumps, loads
from typing import Any

from sqlalchemy import select

from ...jobs import Attempt, Job, JobFailure, JobState, OnCrash, OutputSize
from .schema import attempts, jobs

__all__ = [
    "REMOVED",
    "REMOVED_END",
    "allAttempts",
    "allJobs",
    "attemptOf",
    "attemptRow",
    "changedRow",
    "jobOf",
    "jobRow",
    "microseconds",
    "removedRow",
    "timeColumn",
    "timeOf",
    "workerKey",
    "workerOf",
]

allJobs = select(*(jobs.c[field.name] for field in fields(Job)))
"""
The columns that make a job, in the order of L{jobOf}.
"""

allAttempts = select(*(attempts.c[field.name] for field in fields(Attempt)))

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_STATES = {state.value: state for state in JobState}
_ON_CRASH = {word.value: word for word in OnCrash}


REMOVED, REMOVED_END = "removed/", "removed0"
"""
Between these names are the rows of the settings that count removed jobs: one for each
minute in which such jobs finished, with a JSON object of their number by state.
"""


def removedRow(ended: int) -> str:
    """
    The name of the row that counts removed jobs which finished at some time.
    """
    return f"{REMOVED}{ended // 60_000_000:010d}"


def microseconds(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND


def timeColumn(time: datetime | None) -> int | None:
    return None if time is None else microseconds(time)


def timeOf(column: int | None) -> datetime | None:
    return None if column is None else _EPOCH + column * _MICROSECOND


def jobRow(job: Job, fingerprint: str | None) -> dict[str, Any]:
    """
    The columns of a job that have something in them.
    """
    row = {
        name: _COLUMNS[name](value) if name in _COLUMNS else value
        for name, value in vars(job).items()
        if value is not None
    }
    if fingerprint is not None:
        row["fingerprint"] = fingerprint
    return row


def changedRow(old: Job, new: Job) -> dict[str, Any]:
    """
    The columns of a job that are to be changed.
    """
    before = vars(old)
    return {
        name: _COLUMNS[name](value) if name in _COLUMNS else value
        for name, value in vars(new).items()
        if value is not before[name]
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
        argsVersion,
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
        argsVersion,
    )


def workerKey(job: Job) -> str:
    """
    What the journal counts the jobs of one worker class and one form of args by.
    """
    return f"{job.argsVersion} {job.worker}"


def workerOf(key: str) -> tuple[str, int]:
    """
    The worker and the version of args that a L{workerKey} stands for.
    """
    version, worker = key.split(" ", 1)
    return worker, int(version)


def attemptRow(attempt: Attempt) -> dict[str, Any]:
    """
    The columns of an attempt that has ended.
    """
    return {
        "number": attempt.number,
        "startedAt": timeColumn(attempt.startedAt),
        "finishedAt": timeColumn(attempt.finishedAt),
        "handle": attempt.handle,
        "outcome": _wordColumn(attempt.outcome),
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


def _wordColumn(word: JobState | OnCrash | None) -> str | None:
    return None if word is None else word.value


def _jsonColumn(value: Any) -> str | None:
    return None if value is None else dumps(value)


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


_COLUMNS: Mapping[str, Callable[[Any], Any]] = {
    "args": dumps,
    "onCrash": _wordColumn,
    "labels": dumps,
    "state": _wordColumn,
    "submittedAt": timeColumn,
    "startedAt": timeColumn,
    "finishedAt": timeColumn,
    "cancelRequestedAt": timeColumn,
    "result": _jsonColumn,
    "error": _errorColumn,
    "output": _outputColumn,
}
"""
What makes a column of an attribute that is not one as it is.
"""
