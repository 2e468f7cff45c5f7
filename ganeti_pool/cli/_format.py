"""
How jobs, times and sizes read. Pure: no clock, no stream.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

__all__ = [
    "COLUMNS",
    "DEFAULT_COLUMNS",
    "Wire",
    "describeEnd",
    "describeJob",
    "describePool",
    "describeStatus",
    "escapeControls",
    "formatDuration",
    "formatRows",
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
    One line of ASCII.
    """
    return json.dumps(value, separators=(",", ":"))


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


def _formatSize(count: float) -> str:
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


def _localTime(text: str) -> str:
    return parseTimestamp(text).astimezone().isoformat(sep=" ", timespec="seconds")


def _since(start: str | None, end: str | None, now: datetime) -> str:
    if start is None:
        return "-"
    stop = now if end is None else parseTimestamp(end)
    return formatDuration((stop - parseTimestamp(start)).total_seconds())


def _exitOf(job: Wire) -> str:
    error = job["error"]
    if job["state"] == "succeeded":
        return "0"
    if error is None:
        return "-"
    code = error["exit_code"]
    return str(code) if code is not None else str(error["signal"] or error["code"])


def _rawField(key: str) -> Callable[[Wire, datetime], str]:
    def field(job: Wire, now: datetime) -> str:
        value = job[key]
        if value is None:
            return "-"
        return value if isinstance(value, str) else toJSON(value)

    return field


COLUMNS: Mapping[str, Callable[[Wire, datetime], str]] = {
    "id": _rawField("id"),
    "state": _rawField("state"),
    "prio": _rawField("priority"),
    "try": _rawField("attempt"),
    "age": lambda job, now: _since(job["submitted_at"], None, now),
    "time": lambda job, now: _since(job["started_at"], job["finished_at"], now),
    "exit": lambda job, now: _exitOf(job),
    "name": _rawField("name"),
    **{
        key: _rawField(key)
        for key in (
            "args",
            "attempt",
            "cancel_requested_at",
            "deferrals",
            "error",
            "finished_at",
            "key",
            "labels",
            "max_attempts",
            "on_crash",
            "output",
            "owner",
            "priority",
            "reason",
            "result",
            "revision",
            "started_at",
            "submitted_at",
            "timeout",
            "worker",
        )
    },
}
"""
What C{list} can show of a job: its own columns, then the keys of the JSON
object as they are.
"""

DEFAULT_COLUMNS = ("id", "state", "prio", "try", "age", "time", "exit", "name")


def _width(text: str) -> int:
    """
    How many columns of a terminal a text takes.
    """
    if text.isascii():
        return len(text)
    # Not above: most tables have nothing that is wider than a column.
    from rich.cells import cell_len

    return cell_len(text)


def formatRows(
    jobs: Sequence[Wire],
    columns: Sequence[str],
    headers: bool,
    now: datetime,
    style: Callable[[str, str], str],
) -> list[str]:
    """
    A line for each job, and one of headings, in aligned columns.

    @param style: makes the text of a cell from (column, padded text).
    """
    rows = [[escapeControls(COLUMNS[name](job, now)) for name in columns] for job in jobs]
    if headers:
        rows.insert(0, [name.upper() for name in columns])
    widths = [max(map(_width, cells)) for cells in zip(*rows, strict=True)]
    # The last column is not padded: it may hold long names, and a line that
    # ends in blanks wraps on a terminal.
    widths[-1:] = [0]
    return [
        "  ".join(
            style(name, cell + " " * (width - _width(cell)))
            for name, cell, width in zip(columns, row, widths, strict=True)
        )
        for row in rows
    ]


def describeEnd(job: Wire) -> str:
    """
    What became of a job, on one line.
    """
    text = f"{job['id']} {job['state']}"
    if job["error"] is not None:
        text += f": {job['error']['message']}"
    return escapeControls(text)


def _describeOutput(output: Wire) -> str:
    return ", ".join(
        f"{stream} {_formatSize(size['bytes'])}" + (" (truncated)" if size["truncated"] else "")
        for stream, size in output.items()
    )


def _describeValue(key: str, value: Any) -> str:
    if key.endswith("_at"):
        return _localTime(value)
    if key == "error":
        return f"{value['code']}: {value['message']}"
    if key == "output":
        return _describeOutput(value)
    return value if isinstance(value, str) else toJSON(value)


def _describeFields(fields: Wire, indent: str) -> list[str]:
    return [
        f"{indent}{key.replace('_', ' '):{20 - len(indent)}} "
        + escapeControls(_describeValue(key, value))
        for key, value in fields.items()
        if value not in (None, {}, [])
    ]


def describeJob(job: Wire) -> str:
    """
    Everything about a job, on a line each; times are local, with their offset.
    """
    attempts = job.get("attempts", ())
    lines = _describeFields({k: v for k, v in job.items() if k != "attempts"}, "")
    for attempt in attempts:
        lines.append(f"attempt {attempt['number']}")
        lines += _describeFields({k: v for k, v in attempt.items() if k != "number"}, "  ")
    return "\n".join(lines)


def describePool(pool: Wire) -> str:
    """
    Whether the pool starts jobs, and how many of its workers run one.
    """
    state = "active" if pool["active"] else "paused"
    return f"{state}, {pool['busy']} of {pool['workers']} workers busy"


def describeStatus(status: Wire, now: datetime) -> str:
    """
    The state of the daemon, a line for each of its parts.
    """
    daemon, jobs, store = status["daemon"], status["jobs"], status["store"]
    lastDay = jobs["last_day"]
    stopping = ", stopping" if daemon["stopping"] else ""
    lines = [
        (
            "daemon",
            f"pid {daemon['pid']}, version {daemon['version']}, "
            f"up {_since(daemon['started_at'], None, now)}{stopping}",
        ),
        ("worker", daemon["worker"]),
        ("directory", daemon["state_directory"]),
        ("pool", describePool(status)),
        ("queued", f"{jobs['queued']}{_withAge('oldest', jobs['oldest_queued_at'], now)}"),
        ("running", f"{jobs['running']}{_withAge('longest', jobs['longest_running_at'], now)}"),
        (
            "last 24 h",
            f"{lastDay['succeeded']} succeeded, {lastDay['failed']} failed, "
            f"{lastDay['cancelled']} cancelled",
        ),
        (
            "store",
            f"{_formatSize(store['bytes'])}, {_formatSize(store['free_bytes'])} free",
        ),
    ]
    if store["unwritten"]:
        lines.append(("unwritten", f"{store['unwritten']} outcomes wait for the store"))
    if store["last_error"] is not None:
        lines.append(("last error", store["last_error"]))
    return "\n".join(f"{label:<11}{escapeControls(text)}" for label, text in lines)


def _withAge(which: str, since: str | None, now: datetime) -> str:
    return "" if since is None else f", {which} {_since(since, None, now)}"
