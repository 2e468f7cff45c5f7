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

__all__ = ["Measured", "measureRows"]

_LONGEST = 600
"""
Seconds after which a measurement is given up.
"""

_ROOT = Path(__file__).parents[2]

# An empty package stands in for C{tests}, which would import Hypothesis, and with it
# pytest: 0.3 seconds, and a heap of objects for the garbage collector to go through in
# the middle of what is timed.
_CHILD = """
import runpy, sys, types
tests = sys.modules["tests"] = types.ModuleType("tests")
tests.__path__ = ["tests"]
runpy.run_module("tests.benchmarks.measure", run_name="__main__")
"""


@dataclass
class Measured:
    """
    What one engine did in all rounds.

    @ivar figures: a list with one value for each round, by the figure's name.
    @ivar missing: the module that it needs and that is not installed.
    """

    row: str
    engine: str
    workers: int
    count: int
    figures: dict[str, list[float]] = field(default_factory=dict)
    missing: str | None = None

    def measure(self) -> None:
        """
        Measure once.
        """
        call = [sys.executable, "-c", _CHILD, self.row, self.engine]
        process = subprocess.run(
            [*call, str(self.count), str(self.workers)],
            cwd=_ROOT,
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
        group = list(_measurements(row, quick))
        every += group
        for number in range(rounds):
            progress(f"{row.key}: {row.title}, round {number + 1} of {rounds}")
            turn = [one for one in group if one.missing is None]
            with ThreadPoolExecutor(os.cpu_count() if quick else 1) as children:
                list(children.map(Measured.measure, turn[:: -1 if number % 2 else 1]))
    return every


def _measurements(row: Row, quick: bool) -> Iterator[Measured]:
    """
    All that is measured in a round of a row: what is compared stands together.
    """
    some = {row.workers[0], row.workers[0] if row.steady is None else row.workers[-1]}
    for workers in sorted(some) if quick else row.workers:
        for engine in _alternating(row):
            for count in row.quickCounts if quick else row.counts:
                yield Measured(row.key, engine, workers, count)


def _alternating(row: Row) -> Iterator[str]:
    """
    The engines of a row, ours between the peers.
    """
    ours, peers = list(row.ours), list(row.peers)
    while ours or peers:
        for engines in (ours, peers):
            if engines:
                yield engines.pop(0)
