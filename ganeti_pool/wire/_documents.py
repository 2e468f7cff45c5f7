"""
What is sent: jobs, pages of them, problems.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any

from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from ..jobs import Attempt, Job, NewJob
from ._checks import Schema
from ._json import Problem

__all__ = [
    "ATTEMPT_KEYS",
    "JOB_KEYS",
    "PROBLEM",
    "STATUS",
    "encode",
    "encodeJobs",
    "jobToJSON",
    "newJob",
    "problem",
    "snakeCase",
    "statusOf",
    "timestamp",
    "toJSON",
]

STATUS: Mapping[str, int] = {
    "bad_request": 400,
    "invalid_field": 400,
    "unauthorized": 401,
    "no_such_attempt": 404,
    "no_such_job": 404,
    "no_such_path": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "finished": 409,
    "inside_job": 409,
    "key_conflict": 409,
    "not_finished": 409,
    "not_queued": 409,
    "not_runnable": 409,
    "body_too_large": 413,
    "uri_too_long": 414,
    "unsupported_media_type": 415,
    "expectation_failed": 417,
    "queue_full": 429,
    "headers_too_large": 431,
    "unsupported_transfer_encoding": 501,
    "busy": 503,
    "ownership_lost": 503,
    "stopping": 503,
    "version_not_supported": 505,
    "store_full": 507,
}
"""
The HTTP status that goes with each code. Any other code is the daemon's own
trouble, a 500: C{store_failed}, C{store_lost}, C{internal_error}.
"""

JOB_KEYS = (
    "id",
    "key",
    "name",
    "owner",
    "labels",
    "worker",
    "args",
    "priority",
    "state",
    "reason",
    "attempt",
    "max_attempts",
    "deferrals",
    "on_crash",
    "timeout",
    "not_before",
    "depends_on",
    "progress",
    "submitted_at",
    "started_at",
    "finished_at",
    "cancel_requested_at",
    "result",
    "error",
    "output",
    "revision",
)

ATTEMPT_KEYS = ("number", "started_at", "finished_at", "outcome", "error", "output")


def timestamp(moment: datetime) -> str:
    """
    A time in UTC to the millisecond: C{2026-01-31T09:15:02.123Z}.

    @param moment: an aware time.
    """
    inUTC = moment.astimezone(timezone.utc)
    return inUTC.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def snakeCase(name: str) -> str:
    return re.sub("(?=[A-Z])", "_", name).lower()


def _keysOf(shape: type) -> dict[str, Any]:
    return {field.name: override(rename=snakeCase(field.name)) for field in fields(shape)}


def _makeConverter() -> Converter:
    converter = Converter()
    converter.register_unstructure_hook(datetime, timestamp)
    # One rule for all: an attribute's name in camelCase is its key in snake_case.
    converter.register_unstructure_hook_factory(
        is_dataclass,
        lambda shape: make_dict_unstructure_fn(shape, converter, **_keysOf(shape)),
    )
    converter.register_structure_hook(
        NewJob, make_dict_structure_fn(NewJob, converter, **_keysOf(NewJob))
    )
    return converter


_CONVERTER = _makeConverter()


def newJob(members: Mapping[str, Any]) -> NewJob:
    """
    A job of members that have been checked.
    """
    return _CONVERTER.structure(members, NewJob)


def toJSON(value: Any) -> dict[str, Any]:
    """
    Return a dataclass as a JSON object: names in snake_case, times as of L{timestamp}.
    """
    document: dict[str, Any] = _CONVERTER.unstructure(value)
    return document


def _document(value: Job | Attempt, keys: Sequence[str]) -> dict[str, Any]:
    known = toJSON(value)
    return {key: known.get(key) for key in keys}


def jobToJSON(job: Job, attempts: Sequence[Attempt] | None = None) -> dict[str, Any]:
    """
    A job with every key, null for what it has not; what has no function yet is
    null too.

    @param attempts: what to tell under C{attempts}; with L{None} that key is
        not there.
    """
    document = _document(job, JOB_KEYS)
    if attempts is not None:
        document["attempts"] = [_document(attempt, ATTEMPT_KEYS) for attempt in attempts]
    return document


def encodeJobs(jobs: Iterable[bytes], rest: Mapping[str, Any]) -> bytearray:
    """
    An object whose C{jobs} are jobs that have been encoded one by one, so that they
    could be counted.

    @param rest: its other members, of which there is one at least.
    """
    text = bytearray(b'{"jobs":[')
    for number, job in enumerate(jobs):
        text += b"," if number else b""
        text += job
    text += b"],"
    text += encode(rest)[1:]
    return text


_SENTENCE = {"type": "string"}

PROBLEM: Schema = {
    "type": "object",
    "description": "Why a request was refused, as of RFC 9457. The code is the contract.",
    "properties": {
        "type": {"const": "about:blank"},
        "title": _SENTENCE,
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string", "description": "One sentence for a person."},
        "errors": {
            "type": "array",
            "description": "What is wrong in what was sent.",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "description": "Where: a JSON pointer."},
                    "code": _SENTENCE,
                    "detail": _SENTENCE,
                },
                "required": ["pointer", "code", "detail"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["type", "title", "status", "code", "detail", "errors"],
    "additionalProperties": False,
}
"""
What L{problem} gives.
"""


def statusOf(code: str) -> int:
    """
    The HTTP status that goes with a code.
    """
    return STATUS.get(code, 500)


def problem(code: str, detail: str, errors: Sequence[Problem] = ()) -> dict[str, Any]:
    """
    A refusal, as RFC 9457 has it. Its status is the one of the response.

    @param code: the contract.
    @param detail: one sentence for a person.
    @param errors: what is wrong in what was sent.
    """
    status = statusOf(code)
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "errors": [
            {"pointer": pointer, "code": what, "detail": sentence}
            for pointer, what, sentence in errors
        ],
    }


def encode(value: Any) -> bytes:
    """
    A value as JSON. It is ASCII, so that text which UTF-8 cannot say, such as a
    file name in a message, does not stop it.

    @raise ValueError: for a number that is none.
    """
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")
