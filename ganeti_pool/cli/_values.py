"""
How what is typed is read: priorities, times, labels, columns, numbers and words.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from ..jobs import MAX_LABELS
from ..jobs.limits import MAX_INTEGER, MIN_INTEGER, loneSurrogate
from ..numerals import parseInteger
from ._format import parseDuration
from ._table import COLUMNS

__all__ = [
    "PRIORITIES",
    "Integer",
    "Lines",
    "Number",
    "Word",
    "parseColumns",
    "parseLabels",
    "parseLimit",
    "parseMoment",
    "parsePriority",
    "parseText",
    "parseTime",
]

PRIORITIES = {"low": 10, "normal": 0, "high": -10}


def parsePriority(text: str) -> int:
    """
    A whole number, or C{low}, C{normal} or C{high}.

    @raise click.BadParameter: if it is neither, or larger than a job can hold.
    """
    try:
        priority = PRIORITIES[text] if text in PRIORITIES else parseInteger(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is neither an integer such as -5 nor low, normal or high."
        ) from None
    if not MIN_INTEGER <= priority <= MAX_INTEGER:
        raise click.BadParameter(f"{text} is not from {MIN_INTEGER} to {MAX_INTEGER}.")
    return priority


def parseText(text: str) -> str:
    """
    Text that a job may have as its name or label.

    @raise click.BadParameter: if it is of bytes that are not UTF-8.
    """
    surrogate = loneSurrogate(text)
    if surrogate is not None:
        raise click.BadParameter(f"{surrogate!a} is not UTF-8, which is all that a job can hold.")
    return text


def parseTime(text: str) -> float:
    """
    A duration, in seconds.

    @raise click.BadParameter: if it is none, or too long.
    """
    try:
        return parseDuration(text)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{error}.") from None


def parseLimit(text: str) -> float:
    """
    A duration in which something can be done, in seconds.

    @raise click.BadParameter: if it is none, or too long.
    """
    seconds = parseTime(text)
    if not seconds:
        raise click.BadParameter("it must be more than nothing.")
    return seconds


def parseMoment(text: str) -> float | datetime:
    """
    A moment: how many seconds ago, or a time, local unless it has an offset.

    @raise click.BadParameter: if it is neither, or too long ago.
    """
    try:
        return parseDuration(text)
    except OverflowError as error:
        raise click.BadParameter(f"{error}.") from None
    except ValueError:
        pass
    try:
        # Python 3.10 does not read "Z".
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone()
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is neither a duration such as 2h nor a time such as 2026-01-31 "
            "or '2026-01-31 09:15'."
        ) from None


def parseLabels(pairs: Sequence[str]) -> dict[str, str]:
    """
    Labels, each as C{K=V}.

    @raise click.BadParameter: if one is not, or not UTF-8, its label is there twice, or there
        are more than a daemon takes.
    """
    labels: dict[str, str] = {}
    for pair in map(parseText, pairs):
        label, equals, text = pair.partition("=")
        if not label or not equals:
            raise click.BadParameter(f"{pair!r} is no label as K=V.")
        if label in labels:
            raise click.BadParameter(f"the label {label!r} is there twice.")
        labels[label] = text
    if len(labels) > MAX_LABELS:
        raise click.BadParameter(f"{len(labels)} labels are too many: {MAX_LABELS} can be given.")
    return labels


def parseColumns(text: str) -> Sequence[str]:
    """
    Names of columns, with commas between them.

    @raise click.BadParameter: if there is no such column.
    """
    names = text.lower().split(",")
    for name in names:
        if name not in COLUMNS:
            raise click.BadParameter(f"{name!r} is none of {', '.join(COLUMNS)}.")
    return names


class Word(click.types.StringParamType):
    """
    Text that is not empty, as C{"$UNSET"} is.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """
        The text.

        @raise click.BadParameter: if there is none.
        """
        if not value:
            raise click.BadParameter("it is empty.", ctx, param)
        return super().convert(value, param, ctx)


class Lines(click.File):
    """
    A file that is read, and C{-} for standard input.
    """

    def __init__(self) -> None:
        super().__init__("rb")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """
        The file.

        @raise click.BadParameter: if it cannot be opened, or standard input is closed.
        """
        if value == "-" and sys.stdin is None:
            raise click.BadParameter("standard input is closed.", ctx, param)
        return super().convert(value, param, ctx)


class Integer(click.IntRange):
    """
    An integer within limits, in the digits 0 to 9.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """
        The number.

        @raise click.BadParameter: if it is not one, or out of range.
        """
        try:
            number = parseInteger(value)
        except ValueError:
            raise click.BadParameter(f"{value!r} is not a valid {self.name}.", ctx, param) from None
        return super().convert(number, param, ctx)


class Number(Integer):
    """
    A whole number of at least so much, and one that the daemon takes.
    """

    name = "whole number"

    def __init__(self, least: int) -> None:
        super().__init__(least, MAX_INTEGER)
