"""
The measurements of what nothing built on CPython and Twisted gets below: the bare
steps that the way of a task is made of.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from twisted.internet.defer import Deferred

from ._blocking import Figures, echo, perTask, verify
from ._looping import Tally, react

__all__ = ["MEASUREMENTS"]


def _call(count: int, workers: int) -> Figures:
    total = 0

    def work() -> None:
        nonlocal total
        for i in range(count):
            total += echo(i)

    figures = perTask(work, count)
    verify("sum", total, sum(range(count)))
    return figures


def _fire(count: int, workers: int) -> Figures:
    totals: list[int] = []
    tally = Tally(count, totals.append)

    def work() -> None:
        for i in range(count):
            deferred: Deferred[int] = Deferred()
            deferred.addCallback(tally)
            deferred.callback(i)

    figures = perTask(work, count)
    verify("sum", totals, [sum(range(count))])
    return figures


def _fireKept(count: int, workers: int) -> Figures:
    totals: list[int] = []
    tally = Tally(count, totals.append)

    def work() -> None:
        deferreds: list[Deferred[int]] = []
        for _ in range(count):
            deferred: Deferred[int] = Deferred()
            deferred.addCallback(tally)
            deferreds.append(deferred)
        for i, deferred in enumerate(deferreds):
            deferred.callback(i)

    figures = perTask(work, count)
    verify("sum", totals, [sum(range(count))])
    return figures


def _queue(count: int, workers: int) -> Figures:
    items: SimpleQueue[int] = SimpleQueue()
    start, end = threading.Barrier(2), threading.Barrier(2)
    total = 0

    def take() -> None:
        nonlocal total
        start.wait()
        for _ in range(count):
            total += items.get()
        end.wait()

    thread = threading.Thread(target=take)
    thread.start()

    def work() -> None:
        for i in range(count):
            items.put(i)
        start.wait()
        end.wait()

    figures = perTask(work, count)
    thread.join()
    verify("sum", total, sum(range(count)))
    return figures


def _handOver(count: int, workers: int) -> Figures:
    # Each waits on a lock that the other one releases.
    ping, pong = threading.Lock(), threading.Lock()
    ping.acquire()
    pong.acquire()
    total = item = 0

    def take() -> None:
        nonlocal total
        for _ in range(count // 2):
            ping.acquire()
            total += item
            pong.release()

    thread = threading.Thread(target=take)
    thread.start()

    def work() -> None:
        nonlocal item
        for i in range(count // 2):
            item = i
            ping.release()
            pong.acquire()

    # There and back are two of them.
    figures = perTask(work, count // 2 * 2)
    thread.join()
    verify("sum", total, sum(range(count // 2)))
    return figures


def _callFromThread(count: int, workers: int) -> Figures:
    async def main(reactor: Any) -> Figures:
        result: Deferred[Figures] = Deferred()
        totals: list[int] = []
        end = threading.Event()

        def over(total: int) -> None:
            totals.append(total)
            end.set()

        tally = Tally(count, over)

        def work() -> None:
            for i in range(count):
                reactor.callFromThread(tally, i)
            end.wait()

        def run() -> None:
            figures = perTask(work, count)
            reactor.callFromThread(result.callback, figures)

        thread = threading.Thread(target=run)
        thread.start()
        figures = await result
        thread.join()
        verify("sum", totals, [sum(range(count))])
        return figures

    return react(main)


MEASUREMENTS: dict[tuple[str, str], Callable[[int, int], Figures]] = {
    ("floor", "function-call"): _call,
    ("floor", "deferred-fired"): _fire,
    ("floor", "deferred-kept"): _fireKept,
    ("floor", "queue-batch"): _queue,
    ("floor", "lock-hand-over"): _handOver,
    ("floor", "call-from-thread"): _callFromThread,
}
"""
By row and engine: called with how much and how many workers.
"""
