"""
The soak of the pool without a reactor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random
from typing import ClassVar

from ganeti_pool.errors import PoolTerminated

from ._books import Books
from ._operations import IDS, attempt, checkEmpty, drawID, drawPriority, submit, submitMany
from ._settings import Rounds, Settings
from ._tasks import SoakWorker, Task

__all__ = ["ThreadedSoak"]


MOST_MOVES = 300
"""
So many priorities are changed at most while the pool is paused.
"""


class ThreadedSoak:
    """
    Threads that do random operations on a L{WorkerPool
    <ganeti_pool.workerpool.WorkerPool>}.

    Some operations wait until the pool is quiet, or block those that add tasks.
    Whoever pauses the pool or takes its last worker mends that without waiting
    for anybody in between; so somebody can always go on.
    """

    def __init__(self, books: Books, settings: Settings) -> None:
        self._books = books
        self._settings = settings
        self._pool = settings.makePool("soak", settings.workers, SoakWorker)

    def run(self) -> None:
        """
        Do both rounds, and end the pool.
        """
        rounds = Rounds(self._books, "WorkerPool")
        for number in (1, 2):
            submitters = [
                threading.Thread(target=self._submit, args=each, daemon=True)
                for each in self._settings.randoms(number)
            ]
            for submitter in submitters:
                submitter.start()
            for submitter in submitters:
                submitter.join()
            del submitter, submitters
            self._settle()
            rounds.over()
        rounds.compare()
        self._pool.TerminateWorkers()

    def _submit(self, rng: Random, count: int) -> None:
        """
        Do so many random operations.
        """
        operations = tuple(self._OPERATIONS)
        weights = tuple(self._OPERATIONS.values())
        for _ in range(count):
            [operation] = rng.choices(operations, weights)
            operation(self, rng)
            self._books.beat()

    def _settle(self) -> None:
        """
        Let the pool become quiet, and close the books of the round.
        """
        books, pool = self._books, self._pool
        pool.Resize(self._settings.workers)
        pool.Quiesce()
        statistics = pool.GetStatistics()
        books.settled(statistics, self._settings.workers)
        # Each run that was deferred was put back, or was the end of its task.
        books.balance(
            "runs deferred",
            books.of("runs deferred"),
            statistics.deferrals
            + statistics.cancelled
            - books.of("tasks withdrawn")
            + books.of("told DuplicateTaskID", "logged DuplicateTaskID")
            + books.of("deferrals given up", "logged TaskNotStarted"),
        )
        books.balance(
            "tasks that were not started",
            statistics.unstarted,
            books.of("told TaskNotStarted", "logged TaskNotStarted"),
        )
        books.balance("abandoned tasks", books.of("tasks that found themselves abandoned"), 0)
        checkEmpty(books, pool)

    # The operations

    def _add(self, rng: Random) -> None:
        submit(self._pool, Task(self._books, rng, drawID(rng)))

    def _addMany(self, rng: Random) -> None:
        # Of many tasks with an ID one is nearly always refused, and all with it.
        ids = rng.sample(IDS, 3) + [None] * rng.randint(0, 20)
        submitMany(self._books, self._pool, [Task(self._books, rng, taskID) for taskID in ids])

    def _move(self, rng: Random) -> None:
        attempt(
            self._books,
            "tasks moved",
            self._pool.ChangeTaskPriority,
            rng.choice(IDS),
            drawPriority(rng),
        )

    def _cancel(self, rng: Random) -> None:
        attempt(self._books, "tasks withdrawn", self._pool.CancelTask, rng.choice(IDS))

    def _interrupt(self, rng: Random) -> None:
        attempt(self._books, "tasks interrupted", self._pool.InterruptTask, rng.choice(IDS))

    def _look(self, rng: Random) -> None:
        self._books.identity(self._pool.GetStatistics())

    def _pause(self, rng: Random) -> None:
        self._pool.SetActive(False)
        # The others fill the queue, and what is moved in it has company. To add or
        # to cancel might wait for a Quiesce, and that waits for the end of the pause.
        for _ in range(rng.randint(0, MOST_MOVES)):
            self._move(rng)
        self._pool.SetActive(True)

    def _resize(self, rng: Random) -> None:
        if rng.random() < 0.2:
            self._pool.Resize(0)
        self._pool.Resize(rng.randint(1, self._settings.workers))

    def _quiesce(self, rng: Random) -> None:
        other = threading.Thread(target=self._becomeQuiet)
        other.start()
        self._becomeQuiet()
        other.join()

    def _becomeQuiet(self) -> None:
        try:
            self._pool.Quiesce()
        except PoolTerminated:
            self._books.count("times quiet given up")
        else:
            self._books.count("times quiet")

    def _terminate(self, rng: Random) -> None:
        self._pool.TerminateWorkers()
        self._books.count("times terminated")
        self._pool.Resize(rng.randint(1, self._settings.workers))

    _OPERATIONS: ClassVar[dict[Callable[[ThreadedSoak, Random], None], int]] = {
        _add: 430,
        _addMany: 40,
        _move: 250,
        _cancel: 120,
        _interrupt: 80,
        _look: 40,
        _pause: 20,
        _resize: 10,
        _quiesce: 8,
        _terminate: 2,
    }
