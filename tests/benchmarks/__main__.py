"""
The command.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ._chart import drawChart
from ._report import printReport, report
from ._rows import ROWS
from ._run import measureRows

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Measure, print the table, and write the JSON and the chart.

    @param arguments: of the command line; by default, those of this process.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--quick", action="store_true", help="only see that all of it works")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (5)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("benchmarks-out"),
        help="where benchmark.json and the chart, benchmark.svg, are written (benchmarks-out)",
    )
    parser.add_argument(
        "rows", nargs="*", metavar="row", help=f"of {', '.join(row.key for row in ROWS)}; all"
    )
    options = parser.parse_args(arguments)
    unknown = set(options.rows) - {row.key for row in ROWS}
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    rows = [row for row in ROWS if not options.rows or row.key in options.rows]
    rounds = 1 if options.quick else options.rounds

    def progress(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    measured = measureRows(rows, rounds, options.quick, progress)
    result = report(rows, measured, rounds, options.quick)
    options.out.mkdir(parents=True, exist_ok=True)
    place = options.out / "benchmark.json"
    place.write_text(json.dumps(result, indent=2) + "\n")
    printReport(result)
    print(f"Written to {place}")
    try:
        print(f"Drawn in {drawChart(place)}")
    except ModuleNotFoundError as error:
        print(f"No chart, since {error.name} is not installed")


if __name__ == "__main__":
    main()
