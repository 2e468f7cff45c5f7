"""
The measurements of how late a reactor gets to what is due, while tasks are
submitted and their Deferreds fire at a steady pace.

The pace is kept by the clock. Every 10 ms a batch is due; batches that are overdue
are made up for one in each turn of the reactor, so that what is measured is not
the submission of all of them at one go.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import quantiles
from typing import Any

from twisted.internet.defer import Deferred

from ganeti_pool.deferred import DeferredWorkerPool

from ._blocking import Echo, Figures, verify
from ._looping import Tally, react, threadPool

__all__ = ["MEASUREMENTS", "Probe"]

_INTERVAL = 0.01
"""
Seconds from one probe to the next, and from one batch to the next.
"""

_BATCH = 200

Submit = Callable[[int], Deferred[int]]


class Probe:
    """
    Is due every 10 ms, and notes by how much it is late.

    A stall of the reactor is met by all that was due meanwhile, and not by the one
    call that happened to wait: each gets its own lateness.

    @ivar late: in milliseconds.
    """

    def __init__(self, reactor: Any, clock: Callable[[], float] = time.perf_counter) -> None:
        self.late: list[float] = []
        self._reactor = reactor
        self._clock = clock
        self._due = clock() + _INTERVAL
        self._await()

    def _await(self) -> None:
        self._call = self._reactor.callLater(max(0, self._due - self._clock()), self._probe)

    def _probe(self) -> None:
        now = self._clock()
        while self._due <= now:
            self.late.append((now - self._due) * 1e3)
            self._due += _INTERVAL
        self._await()

    def stop(self) -> list[float]:
        """
        Make no more of them.
        """
        self._call.cancel()
        return self.late


def _load(reactor: Any, submit: Submit, count: int) -> Deferred[int]:
    """
    Submit tasks at the pace.

    @return: a Deferred with the sum of the results.
    """
    result: Deferred[int] = Deferred()
    tally = Tally(count, result.callback)
    begin = time.perf_counter()

    def batch(first: int) -> None:
        for i in range(first, min(first + _BATCH, count)):
            submit(i).addCallback(tally)
        following = first + _BATCH
        if following < count:
            due = begin + following / _BATCH * _INTERVAL
            reactor.callLater(max(0, due - time.perf_counter()), batch, following)

    batch(0)
    return result


async def _observe(reactor: Any, submit: Submit, count: int) -> Figures:
    """
    Measure an idle reactor, and then a busy one for as long.
    """
    seconds = count / _BATCH * _INTERVAL
    idle = Probe(reactor)
    rest: Deferred[None] = Deferred()
    reactor.callLater(seconds, rest.callback, None)
    await rest
    figures = _summary("idle_", idle.stop())

    busy = Probe(reactor)
    begin = time.perf_counter()
    total = await _load(reactor, submit, count)
    took = time.perf_counter() - begin
    figures.update(_summary("", busy.stop()))
    verify("sum", total, sum(range(count)))
    figures["pace"] = count / took
    figures["behind"] = max(0.0, took - seconds) * 1e3
    return figures


def _summary(prefix: str, late: list[float]) -> Figures:
    """
    The percentiles.
    """
    hundredths = quantiles(late, n=100, method="inclusive")
    return {
        f"{prefix}p50": hundredths[49],
        f"{prefix}p99": hundredths[98],
        f"{prefix}latest": max(late),
    }


def _addTask(count: int, workers: int) -> Figures:
    async def main(reactor: Any) -> Figures:
        pool = DeferredWorkerPool(reactor, "bench", workers, Echo)
        return await _observe(reactor, lambda i: pool.addTask((i,)), count)

    return react(main)


def _deferToThreadPool(count: int, workers: int) -> Figures:
    async def main(reactor: Any) -> Figures:
        with threadPool(reactor, workers) as submit:
            return await _observe(reactor, submit, count)

    return react(main)


MEASUREMENTS: dict[tuple[str, str], Callable[[int, int], Figures]] = {
    ("lateness", "deferred-add-task"): _addTask,
    ("lateness", "defer-to-thread-pool"): _deferToThreadPool,
}
"""
By row and engine: called with how much and how many workers.
"""
