"""
A soak of a pool that has a fault, to see that it is found::

    python -X dev -m tests.soak.faulty FAULT [OPTION...]
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Hashable, Sequence
from itertools import count
from typing import Any

from twisted.python.failure import Failure
from zope.interface import implementer

from ganeti_pool.interfaces import ICompletion
from ganeti_pool.workerpool import WorkerPool

from .__main__ import main

__all__ = ["FAULTS"]

EVERY = 10
"""
A fault shows with one of so many tasks.
"""


class _FaultyPool(WorkerPool):
    """
    A pool with a fault in its L{AddTask}, for some of the tasks that have a completion.
    """

    def __init__(
        self, name: str, num_workers: int, worker_class: Callable[[Any, str], object]
    ) -> None:
        self.numbers = count(1)
        super().__init__(name, num_workers, worker_class)

    def AddTask(
        self,
        args: Sequence[Any],
        priority: float = 0,
        task_id: Hashable | None = None,
        *,
        completion: Any = None,
    ) -> None:
        if completion is None or next(self.numbers) % EVERY:
            super().AddTask(args, priority, task_id, completion=completion)
        else:
            self.wrongly(args, priority, task_id, completion)

    def wrongly(
        self, args: Sequence[Any], priority: float, task_id: Hashable | None, completion: Any
    ) -> None:
        """
        Add a task as it should not be.
        """
        raise NotImplementedError


class _Lost(_FaultyPool):
    """
    Now and then a task is lost.
    """

    def wrongly(self, *task: Any) -> None:
        """
        Lose a task.
        """


@implementer(ICompletion)
class _Twice:
    """
    A completion that tells another one everything twice.
    """

    def __init__(self, completion: Any) -> None:
        self.begin = completion.begin
        self.deferred = completion.deferred
        self._completion = completion

    def succeed(self, value: object) -> None:
        """
        Tell it.
        """
        for _ in range(2):
            self._completion.succeed(value)

    def fail(self, failure: Failure) -> None:
        """
        Tell it.
        """
        for _ in range(2):
            self._completion.fail(failure)


class _ToldTwice(_FaultyPool):
    """
    Now and then a completion is told twice.
    """

    def wrongly(
        self, args: Sequence[Any], priority: float, task_id: Hashable | None, completion: Any
    ) -> None:
        """
        Add a task with a completion that is told twice.
        """
        super(_FaultyPool, self).AddTask(args, priority, task_id, completion=_Twice(completion))


class _RunTwice(_FaultyPool):
    """
    Now and then a task is run twice.
    """

    def wrongly(
        self, args: Sequence[Any], priority: float, task_id: Hashable | None, completion: Any
    ) -> None:
        """
        Add a task once more.
        """
        super(_FaultyPool, self).AddTask(args, priority, task_id, completion=completion)
        super(_FaultyPool, self).AddTask(args, priority)


class _Leaking(_FaultyPool):
    """
    Now and then a task is kept for ever, and what it was to do with it.
    """

    def __init__(
        self, name: str, num_workers: int, worker_class: Callable[[Any, str], object]
    ) -> None:
        self.kept: list[object] = []
        super().__init__(name, num_workers, worker_class)

    def wrongly(
        self, args: Sequence[Any], priority: float, task_id: Hashable | None, completion: Any
    ) -> None:
        """
        Add a task, and keep its arguments with much beside them.
        """
        self.kept.append((args, bytearray(10_000)))
        super(_FaultyPool, self).AddTask(args, priority, task_id, completion=completion)


class _LeavingThread(WorkerPool):
    """
    A thread stays when the pool has gone.
    """

    def __init__(
        self, name: str, num_workers: int, worker_class: Callable[[Any, str], object]
    ) -> None:
        threading.Thread(target=threading.Event().wait, name="stray", daemon=True).start()
        super().__init__(name, num_workers, worker_class)


class _Stuck(WorkerPool):
    """
    The pool stays paused once it is.
    """

    def SetActive(self, active: bool) -> None:
        super().SetActive(False)


FAULTS = {
    "lost": _Lost,
    "told-twice": _ToldTwice,
    "run-twice": _RunTwice,
    "leaking": _Leaking,
    "leaving-thread": _LeavingThread,
    "stuck": _Stuck,
}
"""
The faulty pools.
"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[2:], FAULTS[sys.argv[1]]))
