"""
The measurements of tasks that wait, as most tasks of a thread pool do: what the
pool adds to the waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from heapq import heappop

from ganeti_pool.workerpool import BaseWorker, WorkerPool

from ._blocking import Figures, perTask, verify

__all__ = ["MEASUREMENTS"]

_SECONDS = 0.001
"""
How long each task sleeps.
"""


class _Sleeper(BaseWorker):
    """
    Whose tasks sleep.
    """

    def RunTask(self) -> None:
        """
        Sleep.
        """
        time.sleep(_SECONDS)


def _addTask(count: int, workers: int) -> Figures:
    """
    The tasks are queued while the pool is paused, as the bare threads have their work
    before they start. Whoever adds without a pause has the interpreter for 5 ms at a
    time, and all that sleep wait for it: see C{_addTaskMeanwhile}.
    """
    with WorkerPool("bench", workers, _Sleeper) as pool:
        pool.SetActive(False)
        for _ in range(count):
            pool.AddTask(())

        def work() -> None:
            pool.SetActive(True)
            pool.Quiesce()

        figures = perTask(work, count)
        verify("succeeded", pool.GetStatistics().succeeded, count)
        return figures


def _addTaskMeanwhile(count: int, workers: int) -> Figures:
    with WorkerPool("bench", workers, _Sleeper) as pool:

        def work() -> None:
            for _ in range(count):
                pool.AddTask(())
            pool.Quiesce()

        figures = perTask(work, count)
        verify("succeeded", pool.GetStatistics().succeeded, count)
        return figures


def _inThreads(sleep: Callable[[int], None], count: int, workers: int) -> Figures:
    verify("what is left over", count % workers, 0)
    slept: list[int] = []
    start, end = threading.Barrier(workers + 1), threading.Barrier(workers + 1)

    def run() -> None:
        start.wait()
        sleep(count // workers)
        slept.append(count // workers)
        end.wait()

    threads = [threading.Thread(target=run) for _ in range(workers)]
    for thread in threads:
        thread.start()

    def work() -> None:
        start.wait()
        end.wait()

    figures = perTask(work, count)
    for thread in threads:
        thread.join()
    verify("slept", sum(slept), count)
    return figures


def _bareThreads(count: int, workers: int) -> Figures:
    def sleep(times: int) -> None:
        for _ in range(times):
            time.sleep(_SECONDS)

    return _inThreads(sleep, count, workers)


def _bareThreadsHeap(count: int, workers: int) -> Figures:
    """
    The least that a pool with one priority queue does for a task.
    """
    # Sorted, it is a heap. Its entries look like those of the pool.
    heap = [[0, order, None, ()] for order in range(count)]

    def sleep(times: int) -> None:
        for _ in range(times):
            heappop(heap)
            time.sleep(_SECONDS)

    return _inThreads(sleep, count, workers)


def _executor(count: int, workers: int) -> Figures:
    with ThreadPoolExecutor(workers) as pool:
        done = 0

        def work(count: int = count) -> None:
            nonlocal done
            done = len(wait([pool.submit(time.sleep, _SECONDS) for _ in range(count)]).done)

        work(workers)
        figures = perTask(work, count)
        verify("done", done, count)
        return figures


MEASUREMENTS: dict[tuple[str, str], Callable[[int, int], Figures]] = {
    ("sleeping", "add-task"): _addTask,
    ("sleeping", "add-task-meanwhile"): _addTaskMeanwhile,
    ("sleeping", "bare-threads"): _bareThreads,
    ("sleeping", "bare-threads-heap"): _bareThreadsHeap,
    ("sleeping", "executor"): _executor,
}
"""
By row and engine: called with how much and how many workers.
"""
