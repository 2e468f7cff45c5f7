"""
The command.
"""

from __future__ import annotations

import argparse
import sys
import tracemalloc
from collections.abc import Sequence
from random import randrange
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._settings import MakePool

__all__ = ["main"]

SWITCH_INTERVAL = 1e-6
"""
After so many seconds a thread is asked to let another one go on.
"""

SOAKS = ("threaded", "deferred")
"""
The pools.
"""


def main(
    arguments: Sequence[str] | None = None,
    makePool: MakePool | None = None,
) -> int:
    """
    Soak the pools.

    @param arguments: of the command line; by default, those of this process.
    @param makePool: makes the pools, if not C{WorkerPool} does; for tests.
    @return: the exit code: 1 if something does not fit.
    """
    parser = argparse.ArgumentParser(prog="python -X dev -m tests.soak")
    parser.add_argument(
        "--count", type=int, default=100_000, help="operations of a round (100,000)"
    )
    parser.add_argument("--workers", type=int, default=64, help="of a pool (64)")
    parser.add_argument("--submitters", type=int, default=8, help="threads (8)")
    parser.add_argument("--seed", type=int, default=randrange(10**9), help="to repeat a run")
    parser.add_argument(
        "--patience", type=float, default=120, help="seconds without progress (120)"
    )
    parser.add_argument("soaks", nargs="*", metavar="soak", help=f"of {', '.join(SOAKS)}; all")
    options = parser.parse_args(arguments)
    unknown = set(options.soaks) - set(SOAKS)
    if unknown:
        parser.error(f"no such soak: {', '.join(sorted(unknown))}")
    print(f"seed {options.seed}", flush=True)
    sys.setswitchinterval(SWITCH_INTERVAL)
    tracemalloc.start()
    # What is traced is to be the whole, so all that is used is imported from here on.
    from ._run import run

    return run(options, makePool)


if __name__ == "__main__":
    sys.exit(main())
