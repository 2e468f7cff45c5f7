"""
JSON, read strictly.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import isinf
from types import NoneType
from typing import Any

from ..errors import InvalidJob
from ..jobs.limits import MAX_DEPTH, MAX_INTEGER, MIN_INTEGER, loneSurrogate

__all__ = [
    "MAX_BODY",
    "Problem",
    "decode",
    "escaped",
    "refuseIfAny",
]

MAX_BODY = 1 << 20
"""
The longest body that is read, in bytes.
"""

# An answer should not be many times as long as the question.
_MAX_PROBLEMS = 50

Problem = tuple[str, str, str]
"""
What is wrong: a JSON pointer, a code, a sentence.
"""


@dataclass(frozen=True)
class _Unusable:
    """
    Stands in a text that was read for something that no text may hold. The
    parser's hooks know what is wrong and not where; the walk knows where.
    """

    code: str
    sentence: str


def decode(body: bytes) -> Any:
    """
    The value that a body says.

    @raise InvalidJob: if it is not valid UTF-8, not JSON, nested too deep, or holds a
        duplicate key, a number that is none or beyond 64 bits, or text that
        UTF-8 cannot say.
    """
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_members,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except UnicodeDecodeError as error:
        raise InvalidJob(
            [("", "bad_encoding", f"the body is not valid UTF-8 at byte {error.start}")]
        ) from None
    except RecursionError:
        raise InvalidJob([_tooDeep("")]) from None
    except ValueError as error:
        raise InvalidJob([("", "bad_syntax", f"the body is no JSON: {error}")]) from None
    refuseIfAny(_unusable(value, "", 0))
    return value


def refuseIfAny(problems: Iterator[Problem]) -> None:
    """
    @raise InvalidJob: with the first of the problems, if there is one.
    """
    found = list(islice(problems, _MAX_PROBLEMS))
    if found:
        raise InvalidJob(found)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            value = _Unusable("duplicate_key", "this key is there more than once")
        members[key] = value
    return members


def _integer(digits: str) -> int | _Unusable:
    # By length first: to read a million digits takes seconds.
    if len(digits) <= 20 and MIN_INTEGER <= int(digits) <= MAX_INTEGER:
        return int(digits)
    return _Unusable("out_of_range", "this number is beyond 64 bits")


def _float(digits: str) -> float | _Unusable:
    number = float(digits)
    return _Unusable("out_of_range", "this number is beyond 64 bits") if isinf(number) else number


def _constant(name: str) -> _Unusable:
    return _Unusable("not_a_number", f"{name} is no number in JSON")


def _tooDeep(pointer: str) -> Problem:
    return pointer, "too_deep", f"this is nested more than {MAX_DEPTH} levels deep"


def _unusable(value: Any, pointer: str, depth: int) -> Iterator[Problem]:
    members: Iterable[tuple[object, Any]] = ()
    if isinstance(value, _Unusable):
        yield pointer, value.code, value.sentence
    elif isinstance(value, str) and loneSurrogate(value):
        yield pointer, "not_text", "this holds half of a surrogate pair"
    elif isinstance(value, (dict, list)):
        members = value.items() if isinstance(value, dict) else enumerate(value)
        if depth == MAX_DEPTH:
            yield _tooDeep(pointer)
            return
    for key, member in members:
        if loneSurrogate(str(key)):
            yield pointer, "not_text", "a key in this holds half of a surrogate pair"
        # Most of what there is, and nothing can be wrong with it.
        if not isinstance(member, (int, float, NoneType)):
            yield from _unusable(member, f"{pointer}/{escaped(key)}", depth + 1)


def escaped(key: object) -> str:
    """
    A key as a part of a JSON pointer.
    """
    return str(key).replace("~", "~0").replace("/", "~1")
