"""
Jobs as a table. Pure: no clock, no stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from ._format import Wire, escapeControls, formatSince, toJSON

__all__ = ["COLUMNS", "DEFAULT_COLUMNS", "Row", "formatRows", "makeRow"]

Row = tuple[str, ...]
"""
A text for each column.
"""


def _exitOf(job: Wire) -> str:
    error = job["error"]
    if job["state"] == "succeeded":
        return "0"
    if error is None:
        return "-"
    code = error["code"]
    # How a command ended that was made to end says less than what made it.
    if code != "exit_nonzero":
        return str(code)
    status = error["exit_code"]
    return str(status) if status is not None else str(error["signal"] or code)


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
    "age": lambda job, now: formatSince(job["submitted_at"], None, now),
    "time": lambda job, now: formatSince(job["started_at"], job["finished_at"], now),
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


def makeRow(job: Wire, columns: Sequence[str], now: datetime) -> Row:
    """
    What is shown of a job, to be kept in place of it: that is a tenth of it.
    """
    return tuple(escapeControls(COLUMNS[name](job, now)) for name in columns)


def formatRows(
    rows: Sequence[Row],
    columns: Sequence[str],
    headers: bool,
    style: Callable[[str, str], str],
) -> Iterator[str]:
    """
    A line for each job, and one of headings, in aligned columns.

    @param style: makes the text of a cell from (column, padded text).
    """
    if headers:
        rows = [tuple(name.upper() for name in columns), *rows]
    widths = [max(map(_width, cells)) for cells in zip(*rows, strict=True)]
    # The last column is not padded: it may hold long names, and a line that
    # ends in blanks wraps on a terminal.
    widths[-1:] = [0]
    for row in rows:
        yield "  ".join(
            style(name, cell + " " * (width - _width(cell)))
            for name, cell, width in zip(columns, row, widths, strict=True)
        )
