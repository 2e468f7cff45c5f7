"""
The JSON Schemas of what is sent, made from what it is itself made from.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

from ..interfaces import PoolStatistics
from ..jobs import FINISHED, Attempt, Job, JobState
from ..jobs.limits import MAX_DEPTH, MAX_INTEGER, MIN_INTEGER
from ._bodies import NEW_JOB
from ._checks import Schema, reference
from ._documents import ATTEMPT_KEYS, JOB_KEYS, PROBLEM, snakeCase

__all__ = ["STATISTICS", "components"]

STATISTICS = tuple(
    field.name
    for field in fields(PoolStatistics)
    if field.name not in ("workers", "idle", "active")
)
"""
What is told of a pool's L{PoolStatistics}, but for what has another place.
"""

_PLAIN: Mapping[Any, Schema] = {
    Any: {},
    bool: {"type": "boolean"},
    datetime: {"type": "string", "format": "date-time"},
    float: {"type": "number"},
    int: {"type": "integer"},
    str: {"type": "string"},
    types.NoneType: {"type": "null"},
}

_COUNT: Schema = {"type": "integer", "minimum": 0}
_MOMENT: Schema = {"anyOf": [_PLAIN[datetime], _PLAIN[types.NoneType]]}
_CURSOR: Schema = {"anyOf": [_PLAIN[int], _PLAIN[types.NoneType]]}

_ANY_JSON: Schema = {
    "description": "Any value of JSON, with whole numbers of 64 bits, up to "
    f"{MAX_DEPTH} levels deep.",
    "anyOf": [
        {"type": ["null", "boolean", "string"]},
        {"type": "number", "minimum": MIN_INTEGER, "maximum": MAX_INTEGER},
        {"type": "array", "items": reference("AnyJSON")},
        {"type": "object", "additionalProperties": reference("AnyJSON")},
    ],
}


def _object(members: Mapping[str, Schema]) -> Schema:
    """
    An object that has all of its keys, and no others.
    """
    return {
        "type": "object",
        "properties": dict(members),
        "required": list(members),
        "additionalProperties": False,
    }


def _numbers(*names: str) -> dict[str, Schema]:
    return dict.fromkeys(names, _COUNT)


def _shape(of: type, keys: Iterable[str] | None = None) -> Schema:
    """
    What a dataclass is in JSON.

    @param keys: those that it has there; one that the class has not is null. With
        L{None} they are those of the class.
    """
    known = {snakeCase(name): _schema(hint) for name, hint in get_type_hints(of).items()}
    null = _PLAIN[types.NoneType]
    return _object({key: known.get(key, null) for key in (known if keys is None else keys)})


def _schema(hint: Any) -> Schema:
    """
    What a value of some type is in JSON.
    """
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(argument) for argument in arguments]}
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0])}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(arguments[1])}
    if issubclass(hint, Enum):
        return {"type": "string", "enum": [member.value for member in hint]}
    return _shape(hint)


def _orNull(schema: Schema) -> Schema:
    return {"anyOf": [schema, _PLAIN[types.NoneType]]}


def _pool() -> Schema:
    """
    What the queue tells of itself.
    """
    waited = _orNull({"type": "number", "minimum": 0})
    statistics = {**_numbers(*STATISTICS), "waited": waited}
    jobs = {
        **_numbers(JobState.QUEUED.value, JobState.RUNNING.value),
        "oldest_queued_at": _MOMENT,
        "longest_running_at": _MOMENT,
        # Null while the store cannot be read, as the sizes are.
        "last_day": _orNull(_object(_numbers(*sorted(state.value for state in FINISHED)))),
    }
    store = {
        **dict.fromkeys(("bytes", "free_bytes"), _orNull(_COUNT)),
        **_numbers("unwritten"),
        "last_error": {"type": ["string", "null"]},
    }
    output = {
        "adopted": _PLAIN[bool],
        "set_aside": {"type": "array", "items": _PLAIN[str]},
    }
    daemon = {
        **_numbers("pid"),
        **dict.fromkeys(("version", "worker", "host", "state_directory"), _PLAIN[str]),
        "started_at": _PLAIN[datetime],
        "stopping": _PLAIN[bool],
    }
    return _object(
        {
            "active": _PLAIN[bool],
            **_numbers("workers", "busy"),
            "quiesces": _object({**_numbers("count"), "since": _MOMENT}),
            "statistics": _object(statistics),
            "jobs": _object(jobs),
            "store": _object(store),
            "output": _object(output),
            "daemon": _object(daemon),
        }
    )


def components() -> dict[str, Schema]:
    """
    The schemas of what is sent, either way, by name.
    """
    job = _shape(Job, JOB_KEYS)
    jobs = {"type": "array", "items": reference("Job")}
    attempts = {"type": "array", "items": _shape(Attempt, ATTEMPT_KEYS)}
    return {
        "AnyJSON": _ANY_JSON,
        "Changes": _object({"jobs": jobs, "revision": _PLAIN[int], "next": {"type": "null"}}),
        "Job": job,
        "JobAndAttempts": _object({**job["properties"], "attempts": attempts}),
        "NewJob": NEW_JOB,
        "Page": _object({"jobs": jobs, "next": _CURSOR}),
        "Pool": _pool(),
        "Problem": PROBLEM,
        "Quiet": _object({"quiesced": _PLAIN[bool]}),
    }
