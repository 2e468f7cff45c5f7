"""
What is sent to the daemon in a body.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidJob
from ..jobs import MAX_LABELS, NewJob, OnCrash
from ._checks import (
    Check,
    Members,
    Schema,
    Wrong,
    array,
    boolean,
    choice,
    integer,
    labels,
    optional,
    printable,
    reference,
    seconds,
    text,
)
from ._documents import newJob
from ._json import Problem, decode, refuseIfAny

__all__ = [
    "JOBS",
    "MAX_JOBS",
    "MAX_WORKERS",
    "NEW_JOB",
    "POOL_CHANGE",
    "PRIORITY",
    "PoolChange",
    "checkNoBody",
    "parseNewJobs",
    "parsePoolChange",
    "parsePriority",
]

MAX_JOBS = 1000
"""
How many jobs one request submits at most.
"""

MAX_WORKERS = 1000
"""
How many workers a pool can be told to have.
"""

_MAX_NAME = 200

_ATTEMPTS_OF_RETRY = 3


def _isClassName(value: Any) -> str:
    name: str = text(_MAX_NAME)(value)
    if not all(part.isidentifier() for part in name.split(".")):
        raise Wrong("out_of_range", "this must be the dotted name of a class")
    return name


_JOB = Members(
    {
        "name": text(_MAX_NAME).saying(
            "For people. Without it: the last part of the path of its program, or else the name "
            "of its worker class."
        ),
        "worker": Check(text(_MAX_NAME).schema, _isClassName).saying(
            "The dotted name of the class that runs it. Without it: the daemon's, which takes no "
            "other but one that it extends."
        ),
        "args": array("this must be the list of what RunTask gets").saying(
            "What RunTask of the worker class gets. For a command: the list of its program and "
            "arguments, and an object of options."
        ),
        "priority": integer().saying("Lower numbers start first.", default=0),
        "on_crash": choice(choice.value for choice in OnCrash).saying(
            "What becomes of it if the daemon dies while it runs. Without it: what the worker "
            "class says."
        ),
        "max_attempts": integer(1).saying(
            f"How many times it is started at most. Without it: {_ATTEMPTS_OF_RETRY} if on_crash "
            "is retry, else once."
        ),
        "key": optional(printable(_MAX_NAME)).saying(
            "What tells a job that is submitted again: no two jobs have the same."
        ),
        "owner": optional(printable(_MAX_NAME)).saying("Whose it is, for people."),
        "labels": labels(MAX_LABELS, _MAX_NAME).saying(
            f"Words to find it by, {MAX_LABELS} at most."
        ),
        "timeout": optional(seconds).saying(
            "For how many seconds an attempt may run, counted from the start of its command."
        ),
    },
    required={"args"},
    later={"reason", "not_before", "depends_on", "progress"},
)

_PRIORITY = Members({"priority": integer().saying("Lower numbers start first.")}, {"priority"})

_POOL_CHANGE = Members(
    {
        "active": boolean.saying("Whether jobs are started."),
        "workers": integer(0, MAX_WORKERS).saying("How many jobs run at once."),
    },
    least=1,
)

NEW_JOB = _JOB.schema
"""
A job as it is submitted.
"""

_newJob = reference("NewJob")

JOBS: Schema = {
    "anyOf": [
        _newJob,
        {"type": "array", "items": _newJob, "minItems": 1, "maxItems": MAX_JOBS},
    ]
}
"""
What L{parseNewJobs} takes.
"""

PRIORITY = _PRIORITY.schema
"""
What L{parsePriority} takes.
"""

POOL_CHANGE = _POOL_CHANGE.schema
"""
What L{parsePoolChange} takes.
"""


def parseNewJobs(
    body: bytes,
    defaultWorker: str,
    defaultOnCrash: OnCrash = OnCrash.FAIL,
    workerBases: Collection[str] = (),
) -> tuple[list[NewJob], bool]:
    """
    The jobs that a request submits, one object or a list of them.

    A job without a name gets the last part of the path of its program, which is
    the first text of its first argument, or else the name of its worker class.
    One with C{"on_crash": "retry"} that does not say how often is started three
    times at most; any other one once.

    @param defaultWorker: the dotted name of the worker class of a job that
        names none.
    @param defaultOnCrash: what a crash does to a job that says nothing of it.
    @param workerBases: the dotted names of the classes that the worker class extends. A job
        that names one of them becomes one for C{defaultWorker}, and so is the same as one
        that names none.
    @return: the jobs, and whether they came as a list.
    @raise InvalidJob: if one of them cannot be accepted.
    """
    value = decode(body)
    if not isinstance(value, list):
        job, problems = _readJob(value, "", defaultWorker, defaultOnCrash, workerBases)
        refuseIfAny(iter(problems))
        return [job], False
    if not 0 < len(value) <= MAX_JOBS:
        raise InvalidJob(
            [("", "out_of_range", f"from 1 to {MAX_JOBS} jobs fit a list, not {len(value)}")]
        )
    read = [
        _readJob(item, f"/{index}", defaultWorker, defaultOnCrash, workerBases)
        for index, item in enumerate(value)
    ]
    refuseIfAny(problem for _, problems in read for problem in problems)
    return [job for job, _ in read], True


def _readJob(
    value: Any,
    pointer: str,
    defaultWorker: str,
    defaultOnCrash: OnCrash,
    workerBases: Collection[str],
) -> tuple[NewJob, list[Problem]]:
    members, problems = _JOB.read(value, pointer)
    worker = members.setdefault("worker", defaultWorker)
    if worker in workerBases:
        worker = members["worker"] = defaultWorker
    args = members.setdefault("args", [])
    members.setdefault("name", _defaultName(worker, args))
    if members.setdefault("on_crash", defaultOnCrash.value) == OnCrash.RETRY.value:
        members.setdefault("max_attempts", _ATTEMPTS_OF_RETRY)
    return newJob(members), problems


def _defaultName(worker: str, args: list[Any]) -> str:
    first = args[0] if args else None
    if isinstance(first, list) and first:
        first = first[0]
    path = first if isinstance(first, str) else ""
    last = path.rstrip("/").rpartition("/")[2]
    name = path if last in (".", "..") or not _isVisible(last) else last
    return (name if _isVisible(name) else worker.rpartition(".")[2])[:_MAX_NAME]


def _isVisible(name: str) -> bool:
    return any(char.isprintable() and not char.isspace() for char in name)


def checkNoBody(body: bytes) -> None:
    """
    @raise InvalidJob: if there is a body where none has a meaning.
    """
    if body:
        raise InvalidJob([("", "unknown_key", "this takes no body")])


def parsePriority(body: bytes) -> int:
    """
    The priority that a change of a job gives it.

    @raise InvalidJob: if the body says anything else.
    """
    members, problems = _PRIORITY.read(decode(body))
    refuseIfAny(iter(problems))
    priority: int = members["priority"]
    return priority


@dataclass(frozen=True)
class PoolChange:
    """
    What to change of a pool. L{None} leaves it as it is.

    @ivar active: whether it starts tasks.
    @ivar workers: how many workers it has.
    """

    active: bool | None = None
    workers: int | None = None


def parsePoolChange(body: bytes) -> PoolChange:
    """
    A change of the pool, of one thing or both.

    @raise InvalidJob: if the body says anything else, or nothing.
    """
    members, problems = _POOL_CHANGE.read(decode(body))
    refuseIfAny(iter(problems))
    return PoolChange(**members)
