"""
How values read: durations, times, sizes and texts. Pure: no clock, no stream.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

__all__ = [
    "Wire",
    "escapeControls",
    "formatDuration",
    "formatSince",
    "formatSize",
    "formatTime",
    "parseDuration",
    "parseTimestamp",
    "toJSON",
]

Wire = dict[str, Any]
"""
A JSON object as the daemon sent it.
"""

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))

_LONGEST = 36525 * 86400.0

_DURATION = re.compile(
    r"(?:(?P<d>\d+)d)?(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+(?:\.\d+)?)s?)?",
    re.ASCII,
)


def escapeControls(text: str) -> str:
    """
    Text that can do nothing to a terminal: what is not printable is written as
    its escape sequence.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def toJSON(value: object) -> str:
    """
    One line of ASCII, which can do nothing to a terminal.
    """
    # DEL is the one control character that json leaves as it is.
    return json.dumps(value, separators=(",", ":")).replace("\x7f", "\\u007f")


def formatDuration(seconds: float) -> str:
    """
    The two largest units, such as C{42s}, C{5m10s} and C{4d}.
    """
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if parts or count:
            parts.append(f"{count}{unit}" if count else "")
    return "".join(parts[:2]) or "0s"


def parseDuration(text: str) -> float:
    """
    What L{formatDuration} writes; a number alone is seconds.

    @raise ValueError: if it is none.
    @raise OverflowError: if it is longer than a hundred years.
    """
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ValueError(f"{text!r} is no duration such as 90, 42s, 5m10s or 4d")
    seconds = sum(float(match[unit]) * size for unit, size in _UNITS if match[unit])
    # Beyond that, there are no dates to reckon with.
    if seconds > _LONGEST:
        raise OverflowError(f"{text!r} is longer than a hundred years")
    return seconds


def formatSize(count: float) -> str:
    """
    Bytes, in the unit that they fill.
    """
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def parseTimestamp(text: str) -> datetime:
    """
    A time as the daemon writes it.
    """
    # Python 3.10 does not read "Z".
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def formatTime(text: str) -> str:
    """
    A time that the daemon wrote, as it is here, with its offset.
    """
    return parseTimestamp(text).astimezone().isoformat(sep=" ", timespec="seconds")


def formatSince(start: str | None, end: str | None, now: datetime) -> str:
    """
    How long it took from one time that the daemon wrote to another, or takes until
    now.
    """
    if start is None:
        return "-"
    stop = now if end is None else parseTimestamp(end)
    return formatDuration((stop - parseTimestamp(start)).total_seconds())
