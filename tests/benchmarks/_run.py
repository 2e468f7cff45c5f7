"""
Start the measurements, each in its process, and collect what they found.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ._rows import Row

__all__ = ["ROOT", "Checkout", "Measured", "measureRows", "measurementsOf"]

_LONGEST = 600
"""
Seconds after which a measurement is given up.
"""

ROOT = Path(__file__).parents[2]

# An empty package stands in for C{tests}, which would import Hypothesis, and with it
# pytest: 0.3 seconds, and a heap of objects for the garbage collector to go through in
# the middle of what is timed.
# The measurements come from the working copy, and the package from the checkout.
_CHILD = """
import runpy, sys, types
sys.path[0] = sys.argv.pop(1)
tests = sys.modules["tests"] = types.ModuleType("tests")
tests.__path__ = [sys.argv.pop(1)]
runpy.run_module("tests.benchmarks.measure", run_name="__main__")
"""


@dataclass(frozen=True)
class Checkout:
    """
    The files of one commit, or the working copy.

    @ivar root: the directory with the package.
    @ivar python: the interpreter with its dependencies.
    """

    root: Path = ROOT
    python: str = sys.executable


@dataclass
class Measured:
    """
    What one engine did in all rounds.

    @ivar figures: a list with one value for each round, by the figure's name.
    @ivar missing: the module that it needs and that is not installed.
    @ivar checkout: whose package is measured.
    """

    row: str
    engine: str
    workers: int
    count: int
    figures: dict[str, list[float]] = field(default_factory=dict)
    missing: str | None = None
    checkout: Checkout = Checkout()

    def measure(self) -> None:
        """
        Measure once.
        """
        process = subprocess.run(
            [
                *(self.checkout.python, "-c", _CHILD, self.checkout.root, ROOT / "tests"),
                *(self.row, self.engine, str(self.count), str(self.workers)),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            check=True,
            timeout=_LONGEST,
        )
        answer = json.loads(process.stdout)
        self.missing = answer.pop("missing", None)
        for name, value in answer.items():
            self.figures.setdefault(name, []).append(value)


def measureRows(
    rows: Sequence[Row], rounds: int, quick: bool, progress: Callable[[str], object]
) -> list[Measured]:
    """
    Measure all there is to measure.

    @param quick: do little work, with the fewest and, where these are compared, the
        most workers, and several measurements at once.
    @param progress: told what is being done.
    """
    every: list[Measured] = []
    for row in rows:
        group = [Measured(*one) for one in measurementsOf(row, quick)]
        every += group
        for number in range(rounds):
            progress(f"{row.key}: {row.title}, round {number + 1} of {rounds}")
            turn = [one for one in group if one.missing is None]
            with ThreadPoolExecutor(os.cpu_count() if quick else 1) as children:
                list(children.map(Measured.measure, turn[:: -1 if number % 2 else 1]))
    return every


def measurementsOf(row: Row, quick: bool) -> Iterator[tuple[str, str, int, int]]:
    """
    All that is measured in a round of a row, by row, engine, number of workers and
    amount of work: what is compared stands together.
    """
    some = {row.workers[0], row.workers[0] if row.steady is None else row.workers[-1]}
    for workers in sorted(some) if quick else row.workers:
        for engine in _alternating(row):
            for count in row.quickCounts if quick else row.counts:
                yield row.key, engine, workers, count


def _alternating(row: Row) -> Iterator[str]:
    """
    The engines of a row, ours between the peers.
    """
    ours, peers = list(row.ours), list(row.peers)
    while ours or peers:
        for engines in (ours, peers):
            if engines:
                yield engines.pop(0)
