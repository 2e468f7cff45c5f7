"""
The pool as textbooks have it, for a comparison.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from heapq import heappop, heappush
from typing import Any

__all__ = ["ConditionPool"]


class ConditionPool:
    """
    Worker threads behind one priority queue, with one lock and two conditions on
    it: one on which the workers wait for tasks, and one on which others wait for
    the workers. A task whose priority changes is pushed a second time; its first
    entry stays, emptied, until it comes to the head.

    @ivar heap: the entries C{[priority, order, ID, args]}.
    @ivar done: how many tasks have been run.
    """

    def __init__(self, numWorkers: int, runTask: Callable[..., object]) -> None:
        self.heap: list[list[Any]] = []
        self.done = 0
        self._byID: dict[Hashable, list[Any]] = {}
        self._order = 0
        self._running = 0
        self._ending = False
        self._runTask = runTask
        lock = threading.Lock()
        self._toWorkers = threading.Condition(lock)
        self._toOthers = threading.Condition(lock)
        self._threads = [threading.Thread(target=self._work) for _ in range(numWorkers)]
        for thread in self._threads:
            thread.start()

    def addTask(
        self, args: tuple[Any, ...], priority: float = 0, taskID: Hashable | None = None
    ) -> None:
        """
        Add a task.
        """
        with self._toWorkers:
            self._push([priority, self._order, taskID, args])
            self._order += 1
            self._toWorkers.notify()

    def changeTaskPriority(self, taskID: Hashable, priority: float) -> None:
        """
        Move a queued task.
        """
        with self._toWorkers:
            entry = self._byID[taskID]
            moved = [priority, *entry[1:]]
            entry[3] = None
            self._push(moved)

    def quiesce(self) -> None:
        """
        Wait until no task is queued and none runs.
        """
        with self._toOthers:
            self._toOthers.wait_for(lambda: not self.heap and not self._running)

    def terminate(self) -> None:
        """
        End the threads.
        """
        with self._toWorkers:
            self._ending = True
            self._toWorkers.notify_all()
        for thread in self._threads:
            thread.join()

    def _push(self, entry: list[Any]) -> None:
        """
        Add an entry. The lock is held.
        """
        if entry[2] is not None:
            self._byID[entry[2]] = entry
        heappush(self.heap, entry)

    def _work(self) -> None:
        """
        Run tasks until told to end.
        """
        while True:
            with self._toWorkers:
                self._toWorkers.wait_for(lambda: self.heap or self._ending)
                if self._ending:
                    return
                _, _, taskID, args = heappop(self.heap)
                if args is None:
                    # It may have been the last one that the others wait for.
                    self._toOthers.notify_all()
                    continue
                if taskID is not None:
                    del self._byID[taskID]
                self._running += 1
            try:
                self._runTask(*args)
            finally:
                with self._toOthers:
                    self._running -= 1
                    self.done += 1
                    self._toOthers.notify_all()
