"""
What is asked in the query of a URL. A query counts as an object, so that a
problem's pointer names the parameter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from ..errors import InvalidJob
from ..jobs import MAX_LABELS, JobFilter, JobState
from ..jobs.limits import MAX_INTEGER
from ..numerals import parseInteger
from ._checks import Check, Members, Schema, Wrong, choice, integer
from ._json import refuseIfAny

__all__ = [
    "CANCEL_QUERY",
    "JOBS_QUERY",
    "MAX_WAIT",
    "OUTPUT_QUERY",
    "QUIESCE_QUERY",
    "ChangesQuery",
    "ListQuery",
    "OutputQuery",
    "checkNoQuery",
    "parseCancelQuery",
    "parseJobsQuery",
    "parseOutputQuery",
    "parseQuiesceQuery",
]

MAX_WAIT = 86400.0
"""
The longest wait that can be asked for, in seconds.
"""

_MAX_CHANGES_WAIT = 60.0

_MAX_PAGE = 1000
_PAGE = 100


@dataclass(frozen=True)
class ListQuery:
    """
    Which jobs to list, by id.

    @ivar limit: how many are on a page.
    @ivar after: the id that the page begins behind.
    """

    which: JobFilter
    newestFirst: bool
    limit: int
    after: int | None


@dataclass(frozen=True)
class ChangesQuery:
    """
    Since which revision to tell changes.

    @ivar wait: for how many seconds to wait for the first.
    """

    after: int
    limit: int
    wait: float


@dataclass(frozen=True)
class OutputQuery:
    """
    Which bytes of an output to send.

    @ivar attempt: L{None} for the latest.
    @ivar offset: the number of bytes to leave out.
    @ivar wait: for how many seconds to follow an attempt that runs.
    """

    stream: str
    attempt: int | None
    offset: int
    wait: float


def _one(schema: Schema, check: Callable[[str], Any]) -> Check:
    def checkOne(values: list[str]) -> Any:
        if len(values) > 1:
            raise Wrong("duplicate_key", "this can be given once only")
        return check(values[0])

    return Check(schema, checkOne)


def _each(schema: Schema, check: Callable[[str], Any]) -> Check:
    """
    A parameter that may be there more than once.
    """
    return Check({"type": "array", "items": schema}, lambda values: frozenset(map(check, values)))


def _atMost(most: int, each: Check) -> Check:
    """
    A parameter that may be there so many times.
    """

    def check(values: list[str]) -> Any:
        if len(values) > most:
            raise Wrong("out_of_range", f"this can be given {most} times at most")
        return each(values)

    return Check({**each.schema, "maxItems": most}, check)


def _number(low: int, high: int = MAX_INTEGER) -> Check:
    inRange = integer(low, high)

    def check(value: str) -> Any:
        try:
            number = parseInteger(value)
        except ValueError:
            raise Wrong("wrong_type", "this must be an integer") from None
        return inRange(number)

    return _one(inRange.schema, check)


def _seconds(value: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,30})?([eE][-+]?[0-9]{1,3})?", value):
        raise Wrong("wrong_type", "this must be a number of seconds")
    if float(value) > MAX_WAIT:
        raise Wrong("out_of_range", f"this must be {MAX_WAIT:g} seconds at most")
    return float(value)


_WAIT = _one({"type": "number", "minimum": 0, "maximum": MAX_WAIT}, _seconds)


def _label(value: str) -> tuple[str, str]:
    name, equals, content = value.partition("=")
    if not name or not equals:
        raise Wrong("out_of_range", "this must be a label and its text, as K=V")
    return name, content


def _word(words: Iterable[str]) -> Check:
    word = choice(words)
    return _one(word.schema, word)


def _flag(value: str) -> bool:
    if value not in ("true", "false"):
        raise Wrong("wrong_type", "this must be true or false")
    return value == "true"


_state = choice(state.value for state in JobState)

_LIST = Members(
    {
        "state": _each(_state.schema, lambda value: JobState(_state(value))).saying(
            "Any of these states."
        ),
        "name": _one({"type": "string"}, str).saying("Exactly this name."),
        "label": _atMost(
            MAX_LABELS, _each({"type": "string", "pattern": "^[^=]+="}, _label)
        ).saying(f"All of these labels, each as K=V, {MAX_LABELS} at most."),
        "order": _word(["asc", "desc"]).saying("By id, the oldest or the newest first."),
        "limit": _number(1, _MAX_PAGE).saying(
            f"How many jobs at most: {_PAGE} if it is not said, or {_MAX_PAGE} of changes."
        ),
        "after": _number(0).saying("The next of the page before."),
    }
)

_CHANGES = Members(
    {
        "changed_after": _number(0).saying(
            "Jobs that have changed since this revision, by revision. Only limit and wait go "
            "with it."
        ),
        "limit": _LIST.known["limit"],
        "wait": _WAIT.saying(
            "With changed_after: for how many seconds to wait for the first change, cut to "
            f"{_MAX_CHANGES_WAIT:g}."
        ),
    }
)

_OUTPUT = Members(
    {
        "stream": _word(["stdout", "stderr"]).saying("Which stream.", default="stdout"),
        "attempt": _number(1).saying("Which attempt: the latest if it is not said."),
        "offset": _number(0).saying("How many bytes to leave out.", default=0),
        "wait": _WAIT.saying("For how many seconds to follow an attempt that runs.", default=0),
    }
)

_QUIESCE = Members(
    {"wait": _WAIT.saying("For how many seconds at most: as long as it takes if it is not said.")}
)

_CANCEL = Members(
    {
        "only_queued": _one({"type": "boolean"}, _flag).saying(
            "Whether to cancel the job only if it has not begun to run, or does not run again.",
            default=False,
        )
    }
)

JOBS_QUERY: Mapping[str, Check] = {**_LIST.known, **_CHANGES.known}
"""
The parameters that L{parseJobsQuery} takes.
"""

OUTPUT_QUERY = _OUTPUT.known
"""
The parameters that L{parseOutputQuery} takes.
"""

CANCEL_QUERY = _CANCEL.known
"""
The parameters that L{parseCancelQuery} takes.
"""

QUIESCE_QUERY = _QUIESCE.known
"""
The parameters that L{parseQuiesceQuery} takes.
"""


def _split(query: bytes) -> dict[str, list[str]]:
    parameters: dict[str, list[str]] = {}
    if query:
        try:
            pairs = parse_qsl(
                query.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict"
            )
        except ValueError as error:
            raise InvalidJob([("", "bad_syntax", f"the query cannot be read: {error}")]) from None
        for key, value in pairs:
            parameters.setdefault(key, []).append(value)
    return parameters


def _read(parameters: dict[str, list[str]], known: Members) -> dict[str, Any]:
    members, problems = known.read(parameters)
    refuseIfAny(iter(problems))
    return members


def checkNoQuery(query: bytes) -> None:
    """
    @raise InvalidJob: if there is a query where none has a meaning.
    """
    _read(_split(query), Members({}))


def parseJobsQuery(query: bytes) -> ListQuery | ChangesQuery:
    """
    What to tell of the jobs: a page of them, or, with C{changed_after}, what
    has changed. A wait for changes is cut to 60 seconds.

    @raise InvalidJob: if it cannot be understood.
    """
    parameters = _split(query)
    if "changed_after" in parameters:
        members = _read(parameters, _CHANGES)
        return ChangesQuery(
            after=members["changed_after"],
            limit=members.get("limit", _MAX_PAGE),
            wait=min(members.get("wait", 0.0), _MAX_CHANGES_WAIT),
        )
    members = _read(parameters, _LIST)
    return ListQuery(
        which=JobFilter(
            members.get("state", frozenset()),
            members.get("name"),
            members.get("label", frozenset()),
        ),
        newestFirst=members.get("order") == "desc",
        limit=members.get("limit", _PAGE),
        after=members.get("after"),
    )


def parseOutputQuery(query: bytes) -> OutputQuery:
    """
    Which bytes of an output to send: from the first of C{stdout} of the latest
    attempt, unless it says otherwise.

    @raise InvalidJob: if it cannot be understood.
    """
    members = _read(_split(query), _OUTPUT)
    return OutputQuery(
        stream=members.get("stream", "stdout"),
        attempt=members.get("attempt"),
        offset=members.get("offset", 0),
        wait=members.get("wait", 0.0),
    )


def parseCancelQuery(query: bytes) -> bool:
    """
    Whether to cancel a job only while it is queued.

    @raise InvalidJob: if it cannot be understood.
    """
    onlyQueued: bool = _read(_split(query), _CANCEL).get("only_queued", False)
    return onlyQueued


def parseQuiesceQuery(query: bytes) -> float | None:
    """
    For how many seconds to wait until the queue is quiet; L{None} for as long as it
    takes.

    @raise InvalidJob: if it cannot be understood.
    """
    wait: float | None = _read(_split(query), _QUIESCE).get("wait")
    return wait
