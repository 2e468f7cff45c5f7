"""
One measurement, in a process of its own: C{python -m tests.benchmarks.measure row
engine count workers}. It prints a JSON object: the figures, or C{{"missing": …}}
if the peer is not installed.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module

from ._missing import NotInstalled
from ._rows import ROWS

__all__ = ["measure"]


def measure(row: str, engine: str, count: int, workers: int) -> dict[str, object]:
    """
    Measure.

    @return: the figures by name, or what is missing.
    """
    (module,) = (one.module for one in ROWS if one.key == row)
    # What the others import would be met by the garbage collector of this one.
    measurements = import_module(f".{module}", __package__).MEASUREMENTS
    try:
        return dict(measurements[row, engine](count, workers))
    except (ModuleNotFoundError, NotInstalled) as error:
        return {"missing": error.name}


if __name__ == "__main__":
    row, engine, count, workers = sys.argv[1:]
    print(json.dumps(measure(row, engine, int(count), int(workers))))
