"""
The measurements that need no reactor.
"""

from __future__ import annotations

import gc
import threading
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from twisted.python.failure import Failure
from zope.interface import implementer

from ganeti_pool.interfaces import ICompletion
from ganeti_pool.workerpool import BaseWorker, WorkerPool

from ._textbook import ConditionPool

__all__ = ["MEASUREMENTS", "Echo", "Figures", "echo", "perTask", "verify"]

Figures = dict[str, float]
"""
What was measured, by name; the report knows their units.
"""


def echo(i: int) -> int:
    """
    The task.
    """
    return i


class Echo(BaseWorker):
    """
    Whose task is the same.
    """

    def RunTask(self, i: int) -> int:
        """
        The task.
        """
        return i


def verify(what: str, is_: object, shouldBe: object) -> None:
    """
    @raise RuntimeError: if the work was not done.
    """
    if is_ != shouldBe:
        raise RuntimeError(f"{what}: {is_!r}, where {shouldBe!r} was to be")


def perTask(work: Callable[[], object], count: int) -> Figures:
    """
    Time some work.

    @param count: of how many tasks it is.
    """
    gc.collect()
    begin = time.perf_counter()
    work()
    return {"microseconds": (time.perf_counter() - begin) / count * 1e6}


@implementer(ICompletion)
class _Result:
    """
    A completion that keeps a result.
    """

    __slots__ = ("value",)

    value: Any

    def begin(self, attempt: int) -> None:
        """
        Nothing speaks against a run.
        """

    def deferred(self, priority: float, order: int) -> None:
        """
        Wait for the outcome.
        """

    def succeed(self, value: object) -> None:
        """
        Keep it.
        """
        self.value = value

    def fail(self, failure: Failure) -> None:
        """
        Not here.
        """
        failure.raiseException()


# Adding


def _addTask(count: int, workers: int) -> Figures:
    with WorkerPool("bench", workers, Echo) as pool:

        def work(count: int = count) -> None:
            for i in range(count):
                pool.AddTask((i,))
            pool.Quiesce()

        work(100)
        figures = perTask(work, count)
        verify("succeeded", pool.GetStatistics().succeeded, count + 100)
        return figures


def _addTaskCompletion(count: int, workers: int) -> Figures:
    with WorkerPool("bench", workers, Echo) as pool:
        results: list[_Result] = []

        def work(count: int = count) -> None:
            for i in range(count):
                result = _Result()
                pool.AddTask((i,), completion=result)
                results.append(result)
            pool.Quiesce()

        work(100)
        results.clear()
        figures = perTask(work, count)
        verify("sum", sum(result.value for result in results), sum(range(count)))
        return figures


def _executor(count: int, workers: int) -> Figures:
    with ThreadPoolExecutor(workers) as pool:
        total = 0

        def work(count: int = count) -> None:
            nonlocal total
            futures = [pool.submit(echo, i) for i in range(count)]
            total = sum(future.result() for future in futures)

        work(100)
        figures = perTask(work, count)
        verify("sum", total, sum(range(count)))
        return figures


def _conditions(count: int, workers: int) -> Figures:
    pool = ConditionPool(workers, echo)

    def work(count: int = count) -> None:
        for i in range(count):
            pool.addTask((i,))
        pool.quiesce()

    work(100)
    figures = perTask(work, count)
    pool.terminate()
    verify("done", pool.done, count + 100)
    return figures


# Moving


def _move(
    changes: int,
    heap: list[Any],
    add: Callable[[int], object],
    change: Callable[[int, int], object],
    run: Callable[[], list[int]],
) -> Figures:
    """
    Change priorities, and see that the tasks run in the order that comes of it.
    """
    tasks = changes // 100

    def priority(i: int) -> int:
        # Never the same twice, at which the textbook's heap would fail: an entry that
        # came back to its priority would be compared with the one that it emptied.
        return (i + 1) * 7919 % 1_000_003

    for i in range(tasks):
        add(i)
    entries = 0

    def work() -> None:
        nonlocal entries
        for i in range(changes):
            change(i % tasks, priority(i))
            if not i % 97:
                entries = max(entries, len(heap))

    figures = perTask(work, changes)
    figures["entries"] = max(entries, len(heap))
    last = {i % tasks: priority(i) for i in range(changes - tasks, changes)}
    verify("order", run(), sorted(last, key=lambda i: (last[i], i)))
    return figures


def _changePriority(count: int, workers: int) -> Figures:
    ran: list[int] = []

    class Recorder(BaseWorker):
        """
        Its tasks are recorded.
        """

        def RunTask(self, i: int) -> None:
            """
            Record a task.
            """
            ran.append(i)

    with WorkerPool("bench", 0, Recorder) as pool:

        def run() -> list[int]:
            pool.Resize(workers)
            pool.Quiesce()
            return ran

        return _move(
            count,
            pool._tasks,
            lambda i: pool.AddTask((i,), task_id=i),
            pool.ChangeTaskPriority,
            run,
        )


def _conditionsChangePriority(count: int, workers: int) -> Figures:
    ran: list[int] = []
    gate = threading.Event()

    def runTask(i: int) -> None:
        gate.wait()
        ran.append(i)

    pool = ConditionPool(workers, runTask)
    # It has no pause: its workers are kept busy.
    for _ in range(workers):
        pool.addTask((-1,), -1)

    def run() -> list[int]:
        gate.set()
        pool.quiesce()
        return ran[workers:]

    try:
        return _move(
            count,
            pool.heap,
            lambda i: pool.addTask((i,), taskID=i),
            pool.changeTaskPriority,
            run,
        )
    finally:
        gate.set()
        pool.terminate()


# Remembering


def _memory(add: Callable[[int], object], count: int) -> Figures:
    """
    Measure what the tasks take that are queued.
    """
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for i in range(count):
        add(i)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"bytes": (after - before) / count}


def _rememberTask(count: int, workers: int) -> Figures:
    with WorkerPool("bench", 0, Echo) as pool:
        figures = _memory(lambda i: pool.AddTask((i,)), count)
        verify("queued", pool.GetStatistics().queued, count)
        return figures


def _rememberTaskID(count: int, workers: int) -> Figures:
    with WorkerPool("bench", 0, Echo) as pool:
        figures = _memory(lambda i: pool.AddTask((i,), task_id=i), count)
        verify("queued", pool.GetStatistics().queued, count)
        return figures


def _rememberFuture(count: int, workers: int) -> Figures:
    gate = threading.Event()
    with ThreadPoolExecutor(workers) as pool:
        for _ in range(workers):
            pool.submit(gate.wait)
        figures = _memory(lambda i: pool.submit(echo, i), count)
        last = pool.submit(echo, -1)
        verify("run", last.done(), False)
        gate.set()
        return figures


def _rememberConditions(count: int, workers: int) -> Figures:
    pool = ConditionPool(0, echo)
    figures = _memory(lambda i: pool.addTask((i,)), count)
    verify("queued", len(pool.heap), count)
    return figures


MEASUREMENTS: dict[tuple[str, str], Callable[[int, int], Figures]] = {
    ("adding", "add-task"): _addTask,
    ("adding", "add-task-completion"): _addTaskCompletion,
    ("adding", "executor"): _executor,
    ("adding", "conditions"): _conditions,
    ("moving", "change-priority"): _changePriority,
    ("moving", "conditions-change-priority"): _conditionsChangePriority,
    ("remembering", "add-task"): _rememberTask,
    ("remembering", "add-task-id"): _rememberTaskID,
    ("remembering", "executor"): _rememberFuture,
    ("remembering", "conditions"): _rememberConditions,
}
"""
By row and engine: called with how much and how many workers.
"""
