"""
The command.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ._base import BaseRejected, checkOut, compareRows, comparison, printPairs
from ._chart import drawChart
from ._report import printReport, report
from ._rows import ROWS
from ._run import ROOT, measureRows

__all__ = ["main"]


def _rounds(text: str) -> int:
    rounds = int(text)
    if rounds < 1:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return rounds


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Measure, print the table, and write the JSON and the chart.

    @param arguments: of the command line; by default, those of this process.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--quick", action="store_true", help="only see that all of it works")
    parser.add_argument(
        "--rounds", type=_rounds, help="how often each is measured (5; 10 with --base)"
    )
    parser.add_argument(
        "--base",
        metavar="COMMIT",
        help="compare the working copy with that commit, in place of the peers, and write "
        "comparison.json",
    )
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
    rounds = 1 if options.quick else options.rounds or (5 if options.base is None else 10)

    def progress(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    if options.base is not None:
        try:
            with checkOut(options.base, ROOT) as base:
                pairs = compareRows(rows, base, rounds, options.quick, progress)
        except BaseRejected as error:
            parser.exit(2, f"{error}\n")
        options.out.mkdir(parents=True, exist_ok=True)
        found = [one for pair in pairs for one in comparison(pair)]
        place = options.out / "comparison.json"
        place.write_text(json.dumps({"base": options.base, "ratios": found}, indent=2) + "\n")
        printPairs(pairs, options.base)
        print(f"Written to {place}")
        return
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
