"""
What can be asked: one table, from which come the routes and their description in
OpenAPI.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any

from .. import wire

__all__ = ["OPERATIONS", "PROMETHEUS", "Operation", "openAPI"]

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"

_JSON = "application/json"

_OF_ALL = (
    "bad_request",
    "invalid_field",
    "unauthorized",
    "request_timeout",
    "body_too_large",
    "uri_too_long",
    "unsupported_media_type",
    "expectation_failed",
    "headers_too_large",
    "internal_error",
    "unsupported_transfer_encoding",
    "version_not_supported",
    "store_failed",
    "store_lost",
    "stopping",
)
_OF_WRITES = ("busy", "ownership_lost", "store_full")


@dataclass(frozen=True)
class Operation:
    """
    A method at a path.

    @ivar name: its name, which is the one of its handler.
    @ivar path: with its parameters as C{{jobID}}.
    @ivar does: a sentence for people.
    @ivar codes: why it can be refused, beside for what every request can be.
    @ivar query: its parameters in the query.
    @ivar headers: its parameters in headers.
    @ivar body: what it takes, L{None} for nothing.
    @ivar status: of its answer.
    @ivar answer: what its answer is, L{None} for nothing.
    @ivar kind: the media type of that.
    """

    name: str
    method: str
    path: str
    does: str
    codes: tuple[str, ...] = ()
    query: Mapping[str, wire.Check] = field(default_factory=dict)
    headers: Mapping[str, wire.Check] = field(default_factory=dict)
    body: wire.Schema | None = None
    status: int = 200
    answer: wire.Schema | None = None
    kind: str = _JSON

    @property
    def route(self) -> str:
        """
        Its path as Klein has it.
        """
        return self.path.replace("{", "<").replace("}", ">")

    @property
    def problems(self) -> Mapping[int, list[str]]:
        """
        The codes of what it can be refused for, by their status.
        """
        codes = [*_OF_ALL, *self.codes]
        if self.method != "GET":
            codes.extend(_OF_WRITES)
        if self.path != self.route:
            # A parameter that is empty, or has a slash, makes another path.
            codes.append("no_such_path")
        problems: dict[int, list[str]] = {}
        for code in codes:
            problems.setdefault(wire.statusOf(code), []).append(code)
        return problems

    def describe(self) -> dict[str, Any]:
        """
        What OpenAPI says of it.
        """
        described: dict[str, Any] = {
            "operationId": self.name,
            "summary": self.does,
            "parameters": list(self._parameters()),
            "responses": dict(self._responses()),
        }
        if self.body is not None:
            content = {_JSON: {"schema": self.body}}
            described["requestBody"] = {"required": True, "content": content}
        return described

    def _parameters(self) -> Iterator[dict[str, Any]]:
        for name in re.findall(r"\{(\w+)\}", self.path):
            schema = {"type": "integer", "minimum": 0}
            yield {"name": name, "in": "path", "required": True, "schema": schema}
        for where, checks in (("query", self.query), ("header", self.headers)):
            for name, check in checks.items():
                schema = dict(check.schema)
                description = schema.pop("description")
                yield {"name": name, "in": where, "description": description, "schema": schema}

    def _responses(self) -> Iterator[tuple[str, dict[str, Any]]]:
        done: dict[str, Any] = {"description": "Done."}
        if self.answer is not None:
            done["content"] = {self.kind: {"schema": self.answer}}
        if self.status == 201:
            done["links"] = dict(_links())
        yield str(self.status), done
        for status, codes in sorted(self.problems.items()):
            codeIsOneOf = {"properties": {"code": {"enum": codes}}}
            schema = {"allOf": [wire.reference("Problem"), codeIsOneOf]}
            yield (
                str(status),
                {
                    "description": "Refused: " + ", ".join(codes) + ".",
                    "content": {"application/problem+json": {"schema": schema}},
                },
            )


def _links() -> Iterator[tuple[str, dict[str, Any]]]:
    """
    What can be done with a job that was made: what has its id in the path.
    """
    for operation in OPERATIONS.values():
        if "{jobID}" in operation.path:
            parameters = {"jobID": "$response.body#/id"}
            yield operation.name, {"operationId": operation.name, "parameters": parameters}


_job = wire.reference("Job")
_pool = wire.reference("Pool")

OPERATIONS: Mapping[str, Operation] = {
    operation.name: operation
    for operation in (
        Operation(
            "submit",
            "POST",
            "/v1/jobs",
            "Submit one job, or a list of them, all or none. One whose key is there already is "
            "answered with the job that has it.",
            ("key_conflict", "queue_full"),
            body=wire.JOBS,
            status=201,
            answer={"anyOf": [_job, {"type": "array", "items": _job}]},
        ),
        Operation(
            "jobs",
            "GET",
            "/v1/jobs",
            "A page of jobs by id; or, with changed_after, the jobs that have changed since a "
            "revision, for which it can wait. Either has fewer jobs than the limit if they are "
            "large. Nothing is told of a job that was removed.",
            query=wire.JOBS_QUERY,
            answer={"anyOf": [wire.reference("Page"), wire.reference("Changes")]},
        ),
        Operation(
            "job",
            "GET",
            "/v1/jobs/{jobID}",
            "One job and its attempts.",
            ("no_such_job",),
            answer=wire.reference("JobAndAttempts"),
        ),
        Operation(
            "changeJob",
            "PATCH",
            "/v1/jobs/{jobID}",
            "Give a job that waits another priority.",
            ("no_such_job", "not_queued"),
            body=wire.PRIORITY,
            answer=_job,
        ),
        Operation(
            "removeJob",
            "DELETE",
            "/v1/jobs/{jobID}",
            "Forget a finished job and its output.",
            ("no_such_job", "not_finished"),
            status=204,
        ),
        Operation(
            "cancelJob",
            "POST",
            "/v1/jobs/{jobID}/cancel",
            "Cancel a job: at once while it waits; one that runs is told. Asking again is fine.",
            ("no_such_job", "finished", "not_queued"),
            query=wire.CANCEL_QUERY,
            answer=_job,
        ),
        Operation(
            "retryJob",
            "POST",
            "/v1/jobs/{jobID}/retry",
            "Put a job that failed or was cancelled back into the queue. Asking again is fine.",
            ("no_such_job", "finished", "not_runnable", "queue_full"),
            answer=_job,
        ),
        Operation(
            "output",
            "GET",
            "/v1/jobs/{jobID}/output",
            "The bytes of an output stream, as they come.",
            ("no_such_job", "no_such_attempt", "output_unreadable"),
            query=wire.OUTPUT_QUERY,
            answer={},
            kind="application/octet-stream",
        ),
        Operation(
            "pool",
            "GET",
            "/v1/pool",
            "The pool, the store, the daemon.",
            answer=_pool,
        ),
        Operation(
            "changePool",
            "PATCH",
            "/v1/pool",
            "Pause, resume, resize. A pool that shrinks answers when the surplus workers have "
            "ended their jobs.",
            ("inside_job",),
            headers=wire.ORIGIN,
            body=wire.POOL_CHANGE,
            answer=_pool,
        ),
        Operation(
            "quiesce",
            "POST",
            "/v1/pool/quiesce",
            "Wait until every job submitted before has its outcome, or the time is over. What is "
            "submitted later is held back until then, or until the client goes.",
            ("inside_job",),
            headers=wire.ORIGIN,
            query=wire.QUIESCE_QUERY,
            answer=wire.reference("Quiet"),
        ),
        Operation(
            "metrics",
            "GET",
            "/metrics",
            "The figures of the daemon, for Prometheus.",
            ("no_such_path",),
            answer={"type": "string"},
            kind=PROMETHEUS,
        ),
        Operation(
            "openAPI",
            "GET",
            "/v1/openapi.json",
            "This document.",
            answer={"type": "object"},
        ),
    )
}
"""
What can be asked, by name.
"""


@cache
def openAPI() -> Mapping[str, Any]:
    """
    The description of all of it, an OpenAPI 3.1 document.
    """
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS.values():
        paths.setdefault(operation.path, {})[operation.method.lower()] = operation.describe()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ganeti-pool",
            "version": version("ganeti-pool"),
            "description": "Jobs that survive a crash. Times are in UTC; a job has each of its "
            "keys, null for none.",
        },
        # Whoever reaches the socket in the state directory needs no token.
        "security": [{"bearer": []}, {}],
        "paths": paths,
        "components": {
            "schemas": wire.components(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }
