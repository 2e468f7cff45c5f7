"""
What a value must be. Each check says it twice, by what it refuses and by its JSON
Schema, so that what is documented is what is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from .._picklable import PicklableException
from ..jobs.limits import MAX_INTEGER, MIN_INTEGER
from ._json import Problem, escaped

__all__ = [
    "ANY_JSON",
    "Check",
    "Members",
    "Schema",
    "Wrong",
    "array",
    "boolean",
    "choice",
    "integer",
    "labels",
    "optional",
    "printable",
    "reference",
    "seconds",
    "text",
]

Schema = Mapping[str, Any]
"""
A JSON Schema of the draft 2020-12, as OpenAPI 3.1 has it.
"""

# Thirty years.
_MOST_SECONDS = 10**9

# Most of what str.isprintable() refuses: what controls, formats or separates, is private
# or is no character. It has no \p, which is an error to a reader without Unicode's tables,
# and no anchor, of which Python has another understanding. So it leaves out what lies
# beyond 16 bits, which cannot be said to all, and what Unicode has yet to assign.
_UNPRINTABLE = (
    r"\x00-\x1f\x7f-\xa0\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u1680\u180e"
    r"\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ue000-\uf8ff\ufdd0-\ufdef\ufeff"
    r"\ufff9-\ufffb\ufffe\uffff"
)


def _without(characters: str) -> Schema:
    """
    The schema of a text in which none of these is.

    @param characters: as they stand in a set of a regular expression.
    """
    return {"not": {"pattern": f"[{characters}]"}}


def reference(name: str) -> Schema:
    """
    The schema of that name.
    """
    return {"$ref": f"#/components/schemas/{name}"}


ANY_JSON = reference("AnyJSON")


class Wrong(PicklableException):
    """
    A value is not what it must be.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


@dataclass(frozen=True)
class Check:
    """
    What a value must be. A call gives the value that it was given, checked, or
    raises L{Wrong}.

    @ivar schema: says the same.
    """

    schema: Schema
    check: Callable[[Any], Any]

    def __call__(self, value: Any) -> Any:
        return self.check(value)

    def saying(self, description: str, **more: Any) -> Check:
        """
        The same, with a sentence for people.

        @param more: what else the schema says.
        """
        return Check({**self.schema, "description": description, **more}, self.check)


def _as(**schema: Any) -> Callable[[Callable[[Any], Any]], Check]:
    return lambda check: Check(schema, check)


@_as(type="boolean")
def boolean(value: Any) -> bool:
    """
    True or false, and nothing that only counts as one.
    """
    if not isinstance(value, bool):
        raise Wrong("wrong_type", "this must be true or false")
    return value


def integer(low: int = MIN_INTEGER, high: int = MAX_INTEGER) -> Check:
    """
    An integer in a range, both ends included. JSON has one kind of number, so C{1.0} is
    the integer 1, as in JSON Schema.
    """

    @_as(type="integer", minimum=low, maximum=high)
    def check(value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong("wrong_type", "this must be an integer")
        if not low <= value <= high:
            raise Wrong("out_of_range", f"this must be from {low} to {high}")
        return value

    return check


def text(longest: int) -> Check:
    """
    Text, not empty, of a length in characters.
    """

    @_as(type="string", minLength=1, maxLength=longest)
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

    return Check({**ofLength.schema, **_without(_UNPRINTABLE)}, check)


def choice(choices: Iterable[str]) -> Check:
    """
    One of some words.
    """
    words = list(choices)

    @_as(type="string", enum=words)
    def check(value: Any) -> str:
        if value not in words:
            raise Wrong("out_of_range", f"this must be one of {', '.join(words)}")
        return str(value)

    return check


def labels(most: int, longest: int) -> Check:
    """
    An object of texts, whose keys are L{printable} and have no C{=}, which ends a
    label in a query.

    @param most: how many there may be.
    @param longest: how many characters a key or value has at most.
    """
    name = printable(longest)

    @_as(
        type="object",
        maxProperties=most,
        propertyNames={**name.schema, **_without(f"={_UNPRINTABLE}")},
        additionalProperties={"type": "string", "maxLength": longest},
    )
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


@_as(type="number", exclusiveMinimum=0, maximum=_MOST_SECONDS)
def seconds(value: Any) -> float:
    """
    A number of seconds above zero.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Wrong("wrong_type", "this must be a number of seconds")
    if not 0 < value <= _MOST_SECONDS:
        sentence = f"this must be more than 0 and at most {_MOST_SECONDS} seconds"
        raise Wrong("out_of_range", sentence)
    return float(value)


def array(sentence: str) -> Check:
    """
    A list of any values.

    @param sentence: what to say of something else.
    """

    @_as(type="array", items=ANY_JSON)
    def check(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise Wrong("wrong_type", sentence)
        return value

    return check


def optional(check: Check) -> Check:
    """
    The same, or null.
    """
    return Check(
        {"anyOf": [check.schema, {"type": "null"}]},
        lambda value: None if value is None else check(value),
    )


@dataclass(frozen=True)
class Members:
    """
    An object, checked key by key.

    @ivar known: its keys.
    @ivar required: those of them that cannot be left out.
    @ivar later: keys that have a meaning, though no function yet.
    @ivar least: how many keys there must be.
    """

    known: Mapping[str, Check]
    required: Set[str] = frozenset()
    later: Set[str] = frozenset()
    least: int = 0

    @property
    def schema(self) -> Schema:
        """
        Says the same.
        """
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {key: check.schema for key, check in self.known.items()},
            "additionalProperties": False,
        }
        if self.required:
            schema["required"] = sorted(self.required)
        if self.least:
            schema["minProperties"] = self.least
        return schema

    def read(self, value: Any, pointer: str = "") -> tuple[dict[str, Any], list[Problem]]:
        """
        Check an object.

        @param pointer: where it stands.
        @return: the members that hold, and what is wrong.
        """
        if not isinstance(value, dict):
            return {}, [(pointer, "wrong_type", "this must be an object")]
        members = {}
        problems = []
        for key, member in value.items():
            where = f"{pointer}/{escaped(key)}"
            if key in self.later:
                sentence = f"{key!r} is not implemented yet: leave it out"
                problems.append((where, "not_implemented", sentence))
            elif key not in self.known:
                allowed = ", ".join(self.known) or "none"
                problems.append((where, "unknown_key", f"{key!r} is not known here ({allowed})"))
            else:
                try:
                    members[key] = self.known[key](member)
                except Wrong as wrong:
                    problems.append((where, wrong.code, wrong.sentence))
        problems.extend(
            (f"{pointer}/{key}", "missing", f"{key!r} is missing")
            for key in self.known
            if key in self.required and key not in value
        )
        if len(value) < self.least:
            some = ", ".join(self.known)
            problems.append((pointer, "missing", f"this says nothing: give any of {some}"))
        return members, problems
