"""
The tasks of a soak. Each knows from the start what it is going to do, and notices
when something is done to it that must not be.
"""

from __future__ import annotations

import threading
from random import Random
from typing import Any

from twisted.python.failure import Failure
from zope.interface import implementer

from ganeti_pool.interfaces import ICompletion, IWorkerPool
from ganeti_pool.workerpool import BaseWorker, DeferTask

from ._books import Books
from ._operations import IDS, SIDES, drawID, drawPriority, submit

__all__ = ["Planned", "SoakWorker", "Task"]

DECIDED = ("succeeded", "Planned")
"""
What a task is told if its last run decided on its outcome.
"""


class Planned(Exception):
    """
    A task fails, as it was to.
    """


@implementer(ICompletion)
class Task:
    """
    One task, and its completion if it has one.

    Threads: the pool hands it from one thread to the next. C{_told} alone is
    guarded by the lock of the books, since a fault of the pool could have two
    threads tell an outcome at once.

    @ivar completes: whether it is added with a completion.
    @ivar other: the ID of the task that it does something to; its result too.
    @ivar pool: where it was added.
    """

    __slots__ = (
        "_child",
        "_childWhenTold",
        "_deferrals",
        "_deferralsTold",
        "_ended",
        "_fails",
        "_moves",
        "_running",
        "_runs",
        "_side",
        "_told",
        "books",
        "completes",
        "other",
        "pool",
        "priority",
        "taskID",
    )

    pool: IWorkerPool

    def __init__(self, books: Books, rng: Random, taskID: int | None) -> None:
        self.books = books
        self.taskID = taskID
        self.priority = drawPriority(rng)
        self.completes = rng.random() < 0.6
        self.other = rng.choice(IDS)
        self._side = rng.choice(SIDES)
        self._deferrals = rng.choice((0, 0, 0, 0, 0, 1, 1, 2, 3))
        self._moves = rng.random() < 0.5
        self._fails = rng.random() < 0.2
        # With the same ID it is the task itself that is added again.
        self._child = (
            Task(books, rng, rng.choice((taskID, drawID(rng)))) if rng.random() < 0.3 else None
        )
        self._childWhenTold = rng.random() < 0.5
        self._runs = 0
        self._running = False
        self._ended = False
        self._deferralsTold = 0
        self._told = 0

    def __repr__(self) -> str:
        return (
            f"<Task {self.taskID}: {self._runs} runs, {self._deferrals} deferrals planned, "
            f"{self._deferralsTold} told>"
        )

    def run(self) -> int:
        """
        Do the next run of the task, on a thread of a pool.

        @return: what is in C{other}.
        """
        worker = threading.current_thread()
        assert isinstance(worker, BaseWorker)
        if self._running or self._ended:
            self.books.wrong(f"{self!r} {'runs' if self._running else 'has ended'}, and is run")
        self._running = True
        self._runs += 1
        try:
            self._side(self, worker)
            if not self._childWhenTold:
                self._addChild(worker.pool)
            if self._runs <= self._deferrals:
                self.books.count("runs deferred")
                raise DeferTask(self.priority - self._runs if self._moves else None)
            self._ended = True
            if self._fails:
                self.books.count("runs failed")
                raise Planned
            self.books.count("runs returned")
            return self.other
        finally:
            self._running = False

    def _addChild(self, pool: IWorkerPool) -> None:
        """
        Add the task that this one is to add, if it has not.
        """
        child, self._child = self._child, None
        if child is not None:
            submit(pool, child)

    # As a completion

    def begin(self, attempt: int) -> None:
        """
        The next run is about to start.
        """
        if attempt != self._runs + 1:
            self.books.wrong(f"{self!r} was told to begin attempt {attempt}")

    def deferred(self, priority: float, order: int) -> None:
        """
        The task is about to be put back.
        """
        self._deferralsTold += 1

    def succeed(self, value: object) -> None:
        """
        The task has a result.
        """
        self._completed("succeeded", value)

    def fail(self, failure: Failure) -> None:
        """
        The task has none.
        """
        self._completed(type(failure.value).__name__, None)

    def _completed(self, outcome: str, value: object) -> None:
        """
        The completion was told.
        """
        # Whatever was waiting when it ended has as many runs as deferrals.
        if self._runs - self._deferralsTold not in ((1,) if outcome in DECIDED else (0, 1)):
            self.books.wrong(f"{self!r} was told {outcome}")
        if outcome == "TaskNotStarted" and isinstance(threading.current_thread(), BaseWorker):
            self.books.count("deferrals given up")
        self.books.count("completions told")
        self.told(outcome, value)
        # The reactor thread must not wait for somebody's Quiesce.
        if threading.get_ident() != self.books.reactorThread:
            self._addChild(self.pool)

    # As something else

    def fired(self, result: Any) -> None:
        """
        The Deferred of the task has fired.
        """
        if threading.get_ident() != self.books.reactorThread:
            self.books.wrong(f"the Deferred of {self!r} fired on {threading.current_thread()}")
        self.books.count("Deferreds fired")
        self._gave(result)

    def called(self, success: bool, result: Any) -> None:
        """
        A pool calls this for C{callInThreadWithCallback}.
        """
        if success is isinstance(result, Failure):
            self.books.wrong(f"{self!r} was told {success}, {result}")
        self.books.count("callbacks called")
        self._gave(result)

    def _gave(self, result: Any) -> None:
        """
        The task has its outcome, or why it has none.
        """
        if isinstance(result, Failure):
            self.told(type(result.value).__name__, None)
        else:
            self.told("succeeded", result)

    def told(self, outcome: str, value: object) -> None:
        """
        The task has its outcome.
        """
        with self.books.lock:
            self._told += 1
            told = self._told
        if told > 1:
            self.books.wrong(f"{self!r} was told {outcome}, as outcome number {told}")
        if outcome in DECIDED and self._runs != self._deferrals + 1:
            self.books.wrong(f"{self!r} was told {outcome}")
        if outcome == "succeeded" and value != self.other:
            self.books.wrong(f"{self!r} was told {value!r}")
        self.books.count(f"told {outcome}")


class SoakWorker(BaseWorker):
    """
    A worker whose tasks are L{Task}s.
    """

    def RunTask(self, task: Task) -> int:
        """
        Run a task.
        """
        return task.run()
