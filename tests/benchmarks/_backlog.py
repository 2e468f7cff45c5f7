"""
The measurements of a long queue: it is filled while nothing is started, and then
worked off.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from ganeti_pool.workerpool import WorkerPool

from ._blocking import Echo, Figures, perTask, verify
from ._textbook import ConditionPool

__all__ = ["MEASUREMENTS"]

_LEAST = 100_000
"""
A short queue is filled so often that as many tasks have been timed.
"""

Priority = Callable[[int], int]


def _one(i: int) -> int:
    """
    All tasks have the same priority.
    """
    return 0


def _thousand(i: int) -> int:
    """
    The priorities come in no order that the heap would like.
    """
    return i * 7919 % 1_000


def _repeated(work: Callable[[], object], count: int) -> tuple[int, Figures]:
    """
    Time some work, several times over if it is short.

    @return: how often it was done, and the figures.
    """
    repeats = max(1, _LEAST // count)

    def every() -> None:
        for _ in range(repeats):
            work()

    return repeats, perTask(every, count * repeats)


def _addTask(priority: Priority, count: int, workers: int) -> Figures:
    with WorkerPool("bench", workers, Echo) as pool:

        def work(count: int = count) -> None:
            pool.SetActive(False)
            for i in range(count):
                pool.AddTask((i,), priority(i))
            pool.SetActive(True)
            pool.Quiesce()

        work(100)
        repeats, figures = _repeated(work, count)
        verify("succeeded", pool.GetStatistics().succeeded, count * repeats + 100)
        return figures


def _conditions(priority: Priority, count: int, workers: int) -> Figures:
    gate = threading.Event()
    pool = ConditionPool(workers, lambda i: i if i >= 0 else gate.wait())

    def work(count: int = count) -> None:
        # It has no pause: its workers are kept busy.
        gate.clear()
        for _ in range(workers):
            pool.addTask((-1,), -1)
        for i in range(count):
            pool.addTask((i,), priority(i))
        gate.set()
        pool.quiesce()

    work(100)
    repeats, figures = _repeated(work, count)
    pool.terminate()
    verify("done", pool.done, (count + workers) * repeats + 100 + workers)
    return figures


MEASUREMENTS: dict[tuple[str, str], Callable[[int, int], Figures]] = {
    ("backlog", "add-task"): partial(_addTask, _one),
    ("backlog", "conditions"): partial(_conditions, _one),
    ("backlog-mixed", "add-task"): partial(_addTask, _thousand),
    ("backlog-mixed", "conditions"): partial(_conditions, _thousand),
}
"""
By row and engine: called with how much and how many workers.
"""
