"""
JSON, read strictly.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import islice
from math import isinf
from types import NoneType
from typing import Any

from ..errors import InvalidJob

__all__ = [
    "MAX_BODY",
    "MAX_INTEGER",
    "MIN_INTEGER",
    "Check",
    "Problem",
    "Wrong",
    "boolean",
    "decode",
    "escaped",
    "integer",
    "labels",
    "optional",
    "printable",
    "readMembers",
    "refuseIfAny",
    "seconds",
    "text",
]

MAX_BODY = 1 << 20
"""
The longest body that is read, in bytes.
"""

MAX_INTEGER = (1 << 63) - 1
MIN_INTEGER = -(1 << 63)

_MAX_DEPTH = 64

# An answer should not be many times as long as the question.
_MAX_PROBLEMS = 50

Problem = tuple[str, str, str]
"""
What is wrong: a JSON pointer, a code, a sentence.
"""

Check = Callable[[Any], Any]
"""
Gives the value that it was given, checked, or raises L{Wrong}.
"""


class Wrong(Exception):
    """
    A value is not what it must be.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


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

    @raise InvalidJob: if it is no UTF-8, no JSON, nested too deep, or holds a
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
            [("", "bad_encoding", f"the body is no UTF-8 at byte {error.start}")]
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
    return pointer, "too_deep", f"this is nested more than {_MAX_DEPTH} levels deep"


def _unusable(value: Any, pointer: str, depth: int) -> Iterator[Problem]:
    members: Iterable[tuple[object, Any]] = ()
    if isinstance(value, _Unusable):
        yield pointer, value.code, value.sentence
    elif isinstance(value, str) and not _isText(value):
        yield pointer, "not_text", "this holds half of a surrogate pair"
    elif isinstance(value, (dict, list)):
        members = value.items() if isinstance(value, dict) else enumerate(value)
        if depth == _MAX_DEPTH:
            yield _tooDeep(pointer)
            return
    for key, member in members:
        if not _isText(str(key)):
            yield pointer, "not_text", "a key in this holds half of a surrogate pair"
        # Most of what there is, and nothing can be wrong with it.
        if not isinstance(member, (int, float, NoneType)):
            yield from _unusable(member, f"{pointer}/{escaped(key)}", depth + 1)


def _isText(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def escaped(key: object) -> str:
    """
    A key as a part of a JSON pointer.
    """
    return str(key).replace("~", "~0").replace("/", "~1")


def readMembers(
    value: Any,
    pointer: str,
    known: Mapping[str, Check],
    required: Set[str] = frozenset(),
    later: Set[str] = frozenset(),
) -> tuple[dict[str, Any], list[Problem]]:
    """
    Check an object key by key.

    @param pointer: where it stands.
    @param known: its keys.
    @param required: those of them that cannot be left out.
    @param later: keys that have a meaning, though no function yet.
    @return: the members that hold, and what is wrong.
    """
    if not isinstance(value, dict):
        return {}, [(pointer, "wrong_type", "this must be an object")]
    members = {}
    problems = []
    for key, member in value.items():
        where = f"{pointer}/{escaped(key)}"
        if key in later:
            problems.append(
                (where, "not_implemented", f"{key!r} is not implemented yet: leave it out")
            )
        elif key not in known:
            allowed = ", ".join(known) or "none"
            problems.append((where, "unknown_key", f"{key!r} is not known here ({allowed})"))
        else:
            try:
                members[key] = known[key](member)
            except Wrong as wrong:
                problems.append((where, wrong.code, wrong.sentence))
    problems.extend(
        (f"{pointer}/{key}", "missing", f"{key!r} is missing")
        for key in known
        if key in required and key not in value
    )
    return members, problems


def boolean(value: Any) -> bool:
    """
    True or false, and nothing that only counts as one.
    """
    if not isinstance(value, bool):
        raise Wrong("wrong_type", "this must be true or false")
    return value


def integer(low: int = MIN_INTEGER, high: int = MAX_INTEGER) -> Check:
    """
    A whole number in a range, both ends included.
    """

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong("wrong_type", "this must be a whole number")
        if not low <= value <= high:
            raise Wrong("out_of_range", f"this must be from {low} to {high}")
        return value

    return check


def text(longest: int) -> Check:
    """
    Text, not empty, of a length in characters.
    """

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise Wrong("wrong_type", "this must be text")
        if not 0 < len(value) <= longest:
            raise Wrong("out_of_range", f"this must have from 1 to {longest} characters")
        return value

    return check


def printable(longest: int) -> Check:
    """
    L{text} without control characters or any other that cannot be seen.
    """
    ofLength = text(longest)

    def check(value: Any) -> str:
        word: str = ofLength(value)
        if not word.isprintable():
            raise Wrong("out_of_range", "this must have printable characters only")
        return word

    return check


def labels(most: int, longest: int) -> Check:
    """
    An object of texts, whose keys are L{printable} and have no C{=}, which ends a
    label in a query.

    @param most: how many there may be.
    @param longest: how many characters a key or value has at most.
    """
    name = printable(longest)

    def check(value: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            raise Wrong("wrong_type", "this must be an object of texts")
        if len(value) > most:
            raise Wrong("out_of_range", f"this must have {most} labels at most")
        for label, content in value.items():
            try:
                name(label)
            except Wrong as wrong:
                raise Wrong(wrong.code, f"the label {label[:40]!r}: {wrong.sentence}") from None
            if "=" in label:
                raise Wrong("out_of_range", f"the label {label[:40]!r} has a '=' in its name")
            if not isinstance(content, str):
                raise Wrong("wrong_type", f"the label {label[:40]!r} must have a text")
            if len(content) > longest:
                sentence = f"the text of {label[:40]!r} has more than {longest} characters"
                raise Wrong("out_of_range", sentence)
        return value

    return check


def seconds(value: Any) -> float:
    """
    A number of seconds above zero.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Wrong("wrong_type", "this must be a number of seconds")
    if value <= 0:
        raise Wrong("out_of_range", "this must be more than 0 seconds")
    return float(value)


def optional(check: Check) -> Check:
    """
    The same, or null.
    """
    return lambda value: None if value is None else check(value)
