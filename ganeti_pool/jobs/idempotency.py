"""
What tells a job from another one with its key. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import islice
from typing import Any

from .checks import plainJSON, timeoutOf
from .model import Job, NewJob

__all__ = ["LASTING", "differences", "fingerprint", "submitted"]

LASTING: Mapping[str, str] = {
    "args": "args",
    "labels": "labels",
    "worker": "worker",
    "name": "name",
    "onCrash": "on_crash",
    "owner": "owner",
    "timeout": "timeout",
}
"""
What stays as it was submitted, and what that is called in a request.
"""

_MOST = 3
"""
So many places are enough to see what is another.
"""

_LONGEST = 80
"""
A name in the arguments may be as long as a request.
"""

_encode = json.JSONEncoder(sort_keys=True).encode


def submitted(new: NewJob) -> dict[str, Any]:
    """
    What a client has said of a job, as it comes back from a store. The version of the
    args has no part in it: a client that asks again has said the same, also if the
    daemon has another version by now.

    @raise InvalidArgument: if JSON cannot say its arguments, or no store can keep its timeout.
    """
    args = plainJSON(new.args, f"the arguments of the new job {new.name!r}")
    said = {**vars(new), "args": args, "labels": dict(new.labels), "timeout": timeoutOf(new)}
    del said["argsVersion"]
    return said


def fingerprint(said: Mapping[str, Any]) -> str:
    """
    A text that two jobs share if they were submitted as the same.

    @param said: what was L{submitted}.
    """
    return sha256(_encode(said).encode("ascii")).hexdigest()


def differences(said: Mapping[str, Any], job: Job) -> list[str]:
    """
    Where a job to submit differs from one that is there, as JSON pointers; not all of
    them, if they are many, and only the beginning of a long one, with an ellipsis.

    Its priority and how often it may start can have changed since that one was
    submitted, so they are not looked at.

    @param said: what is L{submitted}.
    """
    there = {**vars(job), "args": list(job.args)}
    places = (
        place
        for name, called in LASTING.items()
        for place in _places(said[name], there[name], f"/{called}")
    )
    return [
        place if len(place) <= _LONGEST else f"{place[:_LONGEST]}…"
        for place in islice(places, _MOST)
    ]


def _places(one: Any, other: Any, where: str) -> Iterator[str]:
    """
    Where two JSON values differ.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted({*one, *other}):
            place = f"{where}/{name.replace('~', '~0').replace('/', '~1')}"
            if name in one and name in other:
                yield from _places(one[name], other[name], place)
            else:
                yield place
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (mine, yours) in enumerate(zip(one, other, strict=True)):
            yield from _places(mine, yours, f"{where}/{index}")
    # As texts: true is another value there than 1, and than 1.0.
    elif _encode(one) != _encode(other):
        yield where
