"""
What the figures come to.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from os import cpu_count
from statistics import median
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from ._rows import LABELS, Row
from ._run import Measured

__all__ = ["printReport", "report"]

_DISTRIBUTIONS = ("ganeti-pool", "twisted", "asynqueue", "anyio", "trio", "pebble")

_UNITS = {"microseconds": "µs", "bytes": "bytes", "entries": "entries"}


def report(
    rows: Sequence[Row], measured: Sequence[Measured], rounds: int, quick: bool
) -> dict[str, Any]:
    """
    Put all of it together, as the JSON has it.
    """
    versions = {}
    for distribution in _DISTRIBUTIONS:
        try:
            versions[distribution] = version(distribution)
        except PackageNotFoundError:
            continue
    return {
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "cpus": cpu_count(),
        "versions": versions,
        "quick": quick,
        "rounds": rounds,
        "rows": [_reportRow(row, measured) for row in rows],
        "skipped": [
            {"engine": engine, "missing": missing}
            for engine, missing in sorted({(m.engine, m.missing) for m in measured if m.missing})
        ],
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    """
    The median, the smallest and the largest.
    """
    return {"median": median(values), "low": min(values), "high": max(values)}


def _reportRow(row: Row, measured: Sequence[Measured]) -> dict[str, Any]:
    """
    The part of one row.
    """
    here = [one for one in measured if one.row == row.key and not one.missing]
    return {
        "row": row.key,
        "title": row.title,
        "measurements": [
            {
                "engine": one.engine,
                "workers": one.workers,
                "count": one.count,
                "figure": figure,
                "rounds": values,
                **_spread(values),
                **_limit(row, one, figure, median(values)),
            }
            for one in here
            for figure, values in one.figures.items()
        ],
        "ratios": [
            _ratio(row, ours, peer, figure)
            for ours in here
            if ours.engine in row.ours
            for peer in here
            if peer.engine in row.peers and peer.workers == ours.workers
            for figure in ours.figures
        ],
    }


def _limit(row: Row, one: Measured, figure: str, value: float) -> dict[str, Any]:
    """
    What there is to say about a limit of a figure.
    """
    limit = row.limits.get(figure) if one.engine in row.ours else None
    return {"limit": limit, "reached": None if limit is None else value <= limit}


def _ratio(row: Row, ours: Measured, peer: Measured, figure: str) -> dict[str, Any]:
    """
    How many times our figure goes into a peer's.
    """
    ratios = [
        theirs / own for own, theirs in zip(ours.figures[figure], peer.figures[figure], strict=True)
    ]
    target = row.ratios.get((ours.engine, peer.engine))
    return {
        "engine": ours.engine,
        "peer": peer.engine,
        "workers": ours.workers,
        "figure": figure,
        **_spread(ratios),
        "target": target,
        "reached": None if target is None else median(ratios) >= target,
    }


def printReport(result: dict[str, Any]) -> None:
    """
    Print the JSON as tables.
    """
    console = Console()
    # Not in the middle of a word, should the output go to a file.
    console = Console(width=max(console.width, 116))
    console.print(
        f"{result['python']}, {result['cpus']} CPUs, {result['rounds']} rounds: the median, "
        "and from the smallest to the largest"
    )
    if result["quick"]:
        console.print("[bold]A trial run: these figures say nothing.[/bold]")
    for row in result["rows"]:
        console.print(_table(row))
    for one in result["skipped"]:
        console.print(f"Left out: {LABELS[one['engine']]}, since {one['missing']} is not installed")


def _table(row: dict[str, Any]) -> Table:
    """
    The table of one row: the figures, and under those of ours the ratios.
    """
    table = Table(title=row["title"], title_justify="left", box=SIMPLE)
    for column in ("workers", "what", "figure", "spread", "to reach", ""):
        table.add_column(column, justify="left" if column == "what" else "right")
    for one in row["measurements"]:
        unit = _UNITS[one["figure"]]
        table.add_row(
            str(one["workers"]),
            LABELS[one["engine"]],
            f"{_short(one['median'])} {unit}",
            f"{_short(one['low'])} to {_short(one['high'])}",
            "" if one["limit"] is None else f"at most {one['limit']:,}",
            _verdict(one["reached"]),
        )
        for ratio in row["ratios"]:
            if all(ratio[key] == one[key] for key in ("engine", "workers", "figure")):
                table.add_row(
                    "",
                    f"  to {LABELS[ratio['peer']]}",
                    f"1 : {_short(ratio['median'])}",
                    f"{_short(ratio['low'])} to {_short(ratio['high'])}",
                    "" if ratio["target"] is None else f"1 : {ratio['target']}",
                    _verdict(ratio["reached"]),
                )
    return table


def _short(value: float) -> str:
    """
    A number with as many digits as mean something.
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _verdict(reached: bool | None) -> str:
    """
    Whether it was reached.
    """
    return {None: "", True: "reached", False: "not reached"}[reached]
