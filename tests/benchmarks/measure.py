"""
One measurement, in a process of its own: C{python -m tests.benchmarks.measure row
engine count workers}. It prints a JSON object: the figures, or C{{"missing": …}}
if the peer is not installed.
"""

from __future__ import annotations

import json
import sys

from ._blocking import BLOCKING
from ._looping import LOOPING

__all__ = ["measure"]


def measure(row: str, engine: str, count: int, workers: int) -> dict[str, object]:
    """
    Measure.

    @return: the figures by name, or what is missing.
    """
    try:
        return dict({**BLOCKING, **LOOPING}[row, engine](count, workers))
    except ModuleNotFoundError as error:
        return {"missing": error.name}


if __name__ == "__main__":
    row, engine, count, workers = sys.argv[1:]
    print(json.dumps(measure(row, engine, int(count), int(workers))))
