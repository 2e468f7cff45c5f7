"""
The figures as a picture.
"""

from __future__ import annotations

import json
import textwrap
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

from ._report import short

__all__ = ["drawChart"]

_WORKERS = 4
"""
Of what was measured with several numbers of workers, these are shown.
"""

_OURS, _PEERS, _INK = "#1f6f8b", "#b8bec4", "#222222"

_STYLE = {
    # Text stays text, and a drawing of the same figures is the same file.
    "svg.fonttype": "none",
    "svg.hashsalt": "benchmark",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def drawChart(results: Path) -> Path:
    """
    Draw what a task costs, ours and the peers', beside the JSON.

    Its metadata names the JSON by its digest, so that one can see whether the two
    belong together.

    @param results: the JSON.
    @return: the SVG.
    @raise ModuleNotFoundError: if matplotlib is not installed.
    """
    matplotlib = import_module("matplotlib")
    figures = import_module("matplotlib.figure")
    content = results.read_bytes()
    result = json.loads(content)
    panels = [(row["title"], bars) for row in result["rows"] if (bars := _bars(row))]
    heights = [len(bars) + 1.6 for _, bars in panels]
    with matplotlib.rc_context(_STYLE):
        # Its own ground, so that the ink is readable on a dark page too.
        figure = figures.Figure(figsize=(8, 0.24 * sum(heights) + 1), facecolor="white")
        axes = figure.subplots(len(panels) or 1, squeeze=False, height_ratios=heights or [1])
        for ax, (title, bars) in zip(axes.flat, panels, strict=False):
            _drawPanel(ax, title, bars)
        figure.suptitle("Microseconds a task, less is better: ours in blue", fontsize=11)
        figure.supxlabel(_caption(result), fontsize=7)
        figure.set_layout_engine("constrained")
        place = results.with_suffix(".svg")
        figure.savefig(
            place,
            metadata={
                "Date": None,
                "Source": f"{results.name} sha256:{sha256(content).hexdigest()}",
            },
        )
    return place


def _bars(row: dict[str, Any]) -> list[dict[str, Any]]:
    """
    What is shown of a row: one of its measurements of each engine, if there are
    any in microseconds, and a peer among them.
    """
    timed = [one for one in row["measurements"] if one["figure"] == "microseconds"]
    if not any(one["ours"] for one in timed) or all(one["ours"] for one in timed):
        return []
    workers = {one["workers"] for one in timed}
    shown = _WORKERS if _WORKERS in workers else min(workers)
    count = max(one["count"] for one in timed)
    return [one for one in timed if (one["workers"], one["count"]) == (shown, count)]


def _drawPanel(ax: Any, title: str, bars: list[dict[str, Any]]) -> None:
    """
    Draw one row: a bar for the median, a line for the spread.
    """
    medians = [one["median"] for one in bars]
    spread = [
        [one["median"] - one["low"] for one in bars],
        [one["high"] - one["median"] for one in bars],
    ]
    places = range(len(bars))
    colours = [_OURS if one["ours"] else _PEERS for one in bars]
    drawn = ax.barh(places, medians, xerr=spread, color=colours, ecolor=_INK)
    ax.bar_label(drawn, [short(one) for one in medians], padding=4)
    ax.set_yticks(places, [one["label"] for one in bars])
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.set_title(
        f"{title} (workers {bars[0]['workers']}, {bars[0]['count']:,})", loc="left", fontsize=9
    )
    ax.spines[["top", "right"]].set_visible(False)


def _caption(result: dict[str, Any]) -> str:
    """
    The machine, the versions, and how often it was measured.
    """
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    text = (
        f"{result['python']} on {result['cpus']} CPUs ({result['processor']}), "
        f"{result['platform']}; {versions}; {result['when'][:10]}, rounds: {result['rounds']}"
    )
    trial = "A trial run: these figures say nothing.\n" if result["quick"] else ""
    return trial + textwrap.fill(text, 120)
