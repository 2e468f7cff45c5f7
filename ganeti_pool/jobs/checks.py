"""
Checks of the values in a job, and the form in which a store returns them.

Every store uses these, so that none accepts what another one rejects. They differ from
L{ganeti_pool.jobs.limits} in that they raise the package's errors, which import Twisted.

Threads: pure functions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from sys import float_info
from typing import Any

from twisted.python.reflect import safe_str

from ..errors import InvalidArgument
from .limits import MAX_DEPTH, MAX_INTEGER, MIN_INTEGER, loneSurrogate
from .model import MAX_LABELS, JobFilter, NewJob

__all__ = ["checkFilter", "checkPriority", "checkText", "plainJSON", "timeoutOf"]

_encode = json.JSONEncoder(allow_nan=False).encode


def plainJSON(value: Any, what: str) -> Any:
    """
    A value as it comes back from a store.

    @param what: what it is, for the error.
    @raise InvalidArgument: if JSON cannot say it, or it is nested too deep.
    """
    # Most results, which need no encoder. Not by isinstance: an IntEnum becomes an int.
    if value is None or type(value) is int or type(value) is bool:
        return value
    try:
        text = _encode(value)
        plain = json.loads(text)
    # Whatever it may be: the keys and values are a worker's, and so is their code, and
    # that of the error.
    except BaseException as error:
        raise InvalidArgument(f"{what} cannot be stored as JSON: {safe_str(error)}") from error
    # Most have not as many brackets in all, and need no closer look.
    if text.count("[") + text.count("{") < MAX_DEPTH:
        return plain
    level = [plain]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return plain
    raise InvalidArgument(f"{what} is nested more than {MAX_DEPTH} levels deep")


def _inside(value: Any) -> Iterable[Any]:
    """
    What a JSON value is made of.
    """
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def checkText(text: str, what: str) -> None:
    """
    Check that a store can keep a text, before another text replaces it unread.

    @raise InvalidArgument: if it holds a lone surrogate.
    """
    surrogate = loneSurrogate(text)
    if surrogate is not None:
        raise InvalidArgument(
            f"{what} cannot be stored: it holds the lone surrogate {surrogate!a}, which is not "
            "valid text; replace or remove it"
        )


def checkPriority(priority: int, what: str) -> None:
    """
    As L{checkText}, of a priority.

    @raise InvalidArgument: if it has more than 64 bits.
    """
    if not MIN_INTEGER <= priority <= MAX_INTEGER:
        raise InvalidArgument(f"the priority of {what} cannot be stored in 64 bits: {priority}")


def timeoutOf(new: NewJob) -> float | None:
    """
    The timeout of a job as it comes back from a store.

    @raise InvalidArgument: if it is no number that a store has.
    """
    if new.timeout is None:
        return None
    if not abs(new.timeout) <= float_info.max:
        raise InvalidArgument(f"the timeout of the new job {new.name!r} is no number of seconds")
    return float(new.timeout)


def checkFilter(which: JobFilter) -> None:
    """
    See that jobs can be listed by what they are to be.

    @raise InvalidArgument: if there are more than L{MAX_LABELS
        <ganeti_pool.jobs.MAX_LABELS>} labels.
    """
    if len(which.labels) > MAX_LABELS:
        raise InvalidArgument(
            f"jobs cannot be listed by {len(which.labels)} labels: {MAX_LABELS} are taken at most"
        )
