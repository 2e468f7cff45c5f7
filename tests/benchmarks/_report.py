"""
What the figures come to.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
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

__all__ = ["COLUMNS", "printReport", "report", "short", "tableLines"]

_DISTRIBUTIONS = (
    "ganeti-pool",
    "twisted",
    "asynqueue",
    "anyio",
    "trio",
    "pebble",
    "huey",
    "persist-queue",
)

_WORST = {"most", "growing"}
"""
Figures of which not the median but the largest is held to a limit.
"""

_UNITS = {
    "microseconds": "µs",
    "collector": "µs, collecting garbage",
    "bytes": "bytes",
    "seconds": "s",
    "listing": "ms, a list of 50",
    "status": "ms, the status",
    "entries": "entries",
    "idle_p50": "ms when idle, median",
    "idle_p99": "ms when idle, 99 %",
    "idle_latest": "ms when idle, most",
    "p50": "ms, median",
    "p95": "ms, 95 %",
    "p99": "ms, 99 %",
    "latest": "ms, most",
    "pace": "completions a second",
    "behind": "ms behind at the end",
    "p999": "µs, 99.9 %",
    "most": "µs, most",
    "compacting": "µs, most, compacting",
    "growing": "µs, most, enlarging the table of IDs",
    "collecting": "µs, most, with a garbage collection",
}
"""
What the figures are called in the table, by their name.
"""


COLUMNS = ("workers", "count", "what", "figure", "spread", "to reach", "")
"""
Of the table of a row.
"""


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
        "processor": _processor(),
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


def _processor() -> str:
    """
    What the processor calls itself, as far as that can be known.
    """
    try:
        with open("/proc/cpuinfo") as lines:
            names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


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
                "label": LABELS[one.engine],
                "ours": one.engine in row.ours,
                "workers": one.workers,
                "count": one.count,
                "figure": figure,
                "unit": _UNITS[figure],
                "rounds": values,
                **_spread(values),
                **_limit(row, one, figure, (max if figure in _WORST else median)(values)),
            }
            for one in here
            for figure, values in one.figures.items()
        ],
        "ratios": [
            _ratio(row, ours, peer, figure)
            for ours in here
            if ours.engine in row.ours
            for peer in here
            if peer.engine in row.peers and (peer.workers, peer.count) == (ours.workers, ours.count)
            for figure in row.compared
        ],
        "steadiness": [
            _steadiness(row, engine, figure, [one for one in here if one.engine == engine])
            for engine in dict.fromkeys(one.engine for one in here)
            for figure in row.compared
            if row.steady is not None
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
    target = row.ratios.get((ours.engine, peer.engine)) if figure == row.compared[0] else None
    if isinstance(target, Mapping):
        target = target.get(ours.workers)
    return {
        "engine": ours.engine,
        "peer": peer.engine,
        "workers": ours.workers,
        "count": ours.count,
        "figure": figure,
        **_spread(ratios),
        "target": target,
        "reached": None if target is None else median(ratios) >= target,
    }


def _steadiness(row: Row, engine: str, figure: str, measured: Sequence[Measured]) -> dict[str, Any]:
    """
    How many times the least of an engine's figures goes into its largest, over
    all that it was measured with.
    """
    rounds = zip(*(one.figures[figure] for one in measured), strict=True)
    times = [max(values) / min(values) for values in rounds]
    limit = row.steady if engine in row.ours else None
    return {
        "engine": engine,
        "figure": figure,
        **_spread(times),
        "limit": limit,
        "reached": None if limit is None else median(times) <= limit,
    }


def printReport(result: dict[str, Any]) -> None:
    """
    Print the JSON as tables.
    """
    console = Console()
    # Not in the middle of a word, should the output go to a file.
    console = Console(width=max(console.width, 132))
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
    The table of one row.
    """
    table = Table(title=row["title"], title_justify="left", box=SIMPLE)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "what" else "right")
    for line in tableLines(row):
        table.add_row(*line)
    return table


def tableLines(row: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """
    What the table of a row of the JSON says: the figures, under those of ours the
    ratios, and at the end how steady they are.

    @return: a cell for each of L{COLUMNS}.
    """
    for one in row["measurements"]:
        yield (
            str(one["workers"]),
            f"{one['count']:,}",
            one["label"],
            f"{short(one['median'])} {one['unit']}",
            _range(one),
            "" if one["limit"] is None else f"at most {one['limit']:,}",
            _verdict(one["reached"]),
        )
        for ratio in row["ratios"]:
            if all(ratio[key] == one[key] for key in ("engine", "workers", "count", "figure")):
                yield (
                    "",
                    "",
                    f"  to {LABELS[ratio['peer']]}",
                    f"1 : {short(ratio['median'])}",
                    _range(ratio),
                    "" if ratio["target"] is None else f"1 : {ratio['target']}",
                    _verdict(ratio["reached"]),
                )
    for one in row["steadiness"]:
        yield (
            "all",
            "all",
            f"{LABELS[one['engine']]}, slowest to fastest",
            f"1 : {short(one['median'])}",
            _range(one),
            "" if one["limit"] is None else f"at most 1 : {one['limit']}",
            _verdict(one["reached"]),
        )


def _range(one: dict[str, Any]) -> str:
    """
    The spread.
    """
    return f"{short(one['low'])} to {short(one['high'])}"


def short(value: float) -> str:
    """
    A number with as many digits as mean something.
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _verdict(reached: bool | None) -> str:
    """
    Whether it was reached.
    """
    return {None: "", True: "reached", False: "not reached"}[reached]
