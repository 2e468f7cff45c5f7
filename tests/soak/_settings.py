"""
How a soak is to go, and how its memory is compared.
"""

from __future__ import annotations

import _weakrefset
import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from time import monotonic
from typing import Any

from ganeti_pool.workerpool import WorkerPool

from ._books import Books

__all__ = ["MakePool", "Rounds", "Settings"]

MOST_GROWTH = 0.01
"""
The traced memory may grow by this part of it.
"""

MOST_BYTES = 32 * 1024
"""
All but the table of threads may grow by so many bytes. Queues and tables keep the room that
they once needed, which was seen to move by a third of this. An object of 64 bytes
that is lost with one of 200 operations exceeds it in a round of the default length.
"""

_REST = [
    # The table of all threads lies here, which has the room of the most that ever
    # waited for the garbage collector at once: anything from 2 to 128 KiB.
    tracemalloc.Filter(False, _weakrefset.__file__),
    # What the first look has left behind.
    tracemalloc.Filter(False, tracemalloc.__file__),
]


MakePool = Callable[[str, int, Callable[[Any, str], object]], WorkerPool]


@dataclass(frozen=True)
class Settings:
    """
    How a soak is to go.

    @ivar count: the operations of each of its two rounds.
    @ivar workers: the most workers that there are.
    @ivar submitters: the threads that do the operations.
    @ivar seed: of all that is random.
    @ivar makePool: makes the L{WorkerPool}.
    """

    count: int
    workers: int
    submitters: int
    seed: int
    makePool: MakePool

    def randoms(self, number: int) -> list[tuple[Random, int]]:
        """
        @param number: of the round.
        @return: for each submitter what it draws from, and how many operations
            it does.
        """
        each, rest = divmod(self.count, self.submitters)
        return [
            (Random(f"{self.seed} {number} {place}"), each + (place < rest))
            for place in range(self.submitters)
        ]


class Rounds:
    """
    The two rounds of a soak, and the memory that is traced after each.

    All memory that Python hands out from the start of the tracing on is counted,
    that of the harness included, which keeps nothing.
    """

    def __init__(self, books: Books, pool: str) -> None:
        self._books = books
        self._pool = pool
        self._traced: list[tuple[int, int]] = []
        self._begun = monotonic()

    def over(self) -> None:
        """
        A round is over, and the pool is quiet.
        """
        books = self._books
        books.watch()
        # Finalisers of one collection may leave something to the next.
        for _ in range(3):
            gc.collect()
        total = tracemalloc.get_traced_memory()[0]
        snapshot = tracemalloc.take_snapshot().filter_traces(_REST)
        self._traced.append((total, sum(trace.size for trace in snapshot.traces)))
        now = monotonic()
        print(
            f"{self._pool}, round {len(self._traced)}: {now - self._begun:.1f} s, "
            f"{books.of('tasks added'):,} tasks so far, {total:,} bytes traced",
            flush=True,
        )
        self._begun = now

    def compare(self) -> None:
        """
        Enter a fault if memory has grown, and show where it is.
        """
        (first, firstRest), (second, secondRest) = self._traced
        growth, growthOfRest = second - first, secondRest - firstRest
        print(
            f"{self._pool}: memory {growth / first:+.3%} ({growth:+,} bytes; "
            f"without the table of threads {growthOfRest:+,})",
            flush=True,
        )
        if abs(growth) > first * MOST_GROWTH or growthOfRest > MOST_BYTES:
            self._books.wrong(
                f"traced memory grew from {first:,} to {second:,} bytes, "
                f"without the table of threads by {growthOfRest:,}"
            )
            for statistic in tracemalloc.take_snapshot().statistics("lineno")[:10]:
                print(f"  {statistic}")
