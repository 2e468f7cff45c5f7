"""
The measurements of how long the pool's lock is held by one call.

A lock that watches itself stands in for the pool's. It counts the processor time
of the thread, so that a thread that is put to sleep by the system while it holds
the lock is not taken for a slow one; and it tells apart what was held while the
queue was compacted, while the dictionary of the IDs moved to a larger table, or while
the garbage collector ran, which it may do whenever something is allocated.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from statistics import quantiles
from typing import Any

from ganeti_pool.workerpool import WorkerPool

from ._blocking import Echo, Figures, verify

__all__ = ["MEASUREMENTS", "WatchedLock"]


class WatchedLock:
    """
    A lock that notes how long it was held, in microseconds of processor time.

    @ivar held: how often it was.
    @ivar plain: the times of what was nothing special.
    @ivar special: the longest time of what was, by what it was.
    """

    def __init__(self, pool: WorkerPool) -> None:
        self._lock: Any = pool._lock
        self._heap = pool._tasks
        self._byID = pool._taskdata
        self._depth = 0
        self._collections = 0
        self.held = 0
        self.plain: list[float] = []
        self.special: dict[str, float] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lock, name)

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """
        Take the lock, and begin to count.
        """
        taken: bool = self._lock.acquire(blocking, timeout)
        if taken:
            self._depth += 1
            if self._depth == 1:
                self._collected = self._collections
                self._length = len(self._heap)
                self._size = sys.getsizeof(self._byID)
                self._since = time.thread_time_ns()
        return taken

    def release(self) -> None:
        """
        Note the time, and give the lock back.
        """
        self._depth -= 1
        if not self._depth:
            self._note((time.thread_time_ns() - self._since) / 1e3)
        self._lock.release()

    def _note(self, time: float) -> None:
        self.held += 1
        if self._collected != self._collections:
            kind = "collecting"
        elif len(self._heap) < self._length:
            kind = "compacting"
        elif sys.getsizeof(self._byID) > self._size:
            kind = "growing"
        else:
            self.plain.append(time)
            return
        self.special[kind] = max(time, self.special.get(kind, 0))

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exception: object) -> None:
        self.release()

    def collection(self, phase: str, info: dict[str, int]) -> None:
        """
        The garbage collector begins or ends.
        """
        self._collections += 1


def _watch(
    count: int,
    prepare: Callable[[WorkerPool, int], object],
    call: Callable[[WorkerPool, int], object],
    restore: Callable[[WorkerPool, int], object] | None = None,
) -> Figures:
    """
    Watch a call that is made often enough to bring on a compaction, if anything of
    the kind does.

    @param call: what is watched; it gets the numbers from C{count} on.
    @param restore: what is done after each, unwatched, so that the queue is
        about as long as before.
    """
    calls = count + count // 4
    with WorkerPool("bench", 0, Echo) as pool:
        for i in range(count):
            prepare(pool, i)
        plain = pool._lock
        lock = WatchedLock(pool)
        gc.callbacks.append(lock.collection)
        for i in range(count, count + calls):
            pool._lock = lock  # type: ignore[assignment]
            call(pool, i)
            pool._lock = plain
            if restore is not None:
                restore(pool, i)
        gc.callbacks.remove(lock.collection)
        verify("held", lock.held, calls)
    return {
        "p999": quantiles(lock.plain, n=1000, method="inclusive")[998],
        "most": max(lock.plain),
        **lock.special,
    }


def _addTask(count: int, workers: int) -> Figures:
    return _watch(
        count,
        lambda pool, i: pool.AddTask((i,)),
        lambda pool, i: pool.AddTask((i,)),
    )


def _addTaskID(count: int, workers: int) -> Figures:
    return _watch(
        count,
        lambda pool, i: pool.AddTask((i,), task_id=i),
        lambda pool, i: pool.AddTask((i,), task_id=i),
        lambda pool, i: pool.CancelTask(i - count),
    )


def _cancelTask(count: int, workers: int) -> Figures:
    return _watch(
        count,
        lambda pool, i: pool.AddTask((i,), task_id=i),
        lambda pool, i: pool.CancelTask(i - count),
        lambda pool, i: pool.AddTask((i,), task_id=i),
    )


def _changePriority(count: int, workers: int) -> Figures:
    return _watch(
        count,
        lambda pool, i: pool.AddTask((i,), task_id=i),
        lambda pool, i: pool.ChangeTaskPriority(i % count, i * 7919 % 1_000),
    )


MEASUREMENTS: dict[tuple[str, str], Callable[[int, int], Figures]] = {
    ("holding", "add-task"): _addTask,
    ("holding", "add-task-id"): _addTaskID,
    ("holding", "cancel-task"): _cancelTask,
    ("holding", "change-priority"): _changePriority,
}
"""
By row and engine: called with how much and how many workers.
"""
