"""
The soak of the pool in a reactor, which runs in the main thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random
from typing import Any, ClassVar

from twisted.internet.defer import CancelledError, Deferred, DeferredList, ensureDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import blockingCallFromThread
from twisted.python.failure import Failure

from ganeti_pool.deferred import DeferredWorkerPool, deferToPool
from ganeti_pool.errors import DuplicateTaskID, PoolTerminated, WrongThread
from ganeti_pool.interfaces import ICallInThread
from ganeti_pool.workerpool import BaseWorker

from ._books import Books
from ._operations import IDS, attempt, checkEmpty, drawID, drawPriority, expect
from ._settings import Rounds, Settings
from ._tasks import SoakWorker, Task

__all__ = ["DeferredSoak"]

Operation = Callable[["DeferredSoak", Random], None]

BATCH = 20
"""
So many operations are done in one turn of the reactor.
"""

PLACES = 64
"""
So many Deferreds are remembered, to be cancelled.
"""

LONGEST_PAUSE = 0.05
"""
So many seconds the pool is paused at most.
"""


class DeferredSoak:
    """
    Threads that do random operations on a L{DeferredWorkerPool}: some by
    themselves, the others in batches on the reactor thread.

    Nothing waits on the reactor thread, so any operation may follow any other. What
    was paused, emptied of workers or terminated goes on in a later turn. Submitters
    wait now and then until the pool is quiet, or they would leave it far behind.

    @ivar _answers: the Deferreds of the pool itself that have not fired.
    @ivar _stopping: that of a termination that is under way.
    """

    def __init__(self, books: Books, settings: Settings) -> None:
        from twisted.internet import reactor

        self._reactor: Any = reactor
        self._books = books
        self._settings = settings
        self._pool = DeferredWorkerPool(
            reactor, "soak", settings.workers, SoakWorker, makePool=settings.makePool
        )
        self._recent: list[Deferred[Any] | None] = [None] * PLACES
        self._answers: set[Deferred[Any]] = set()
        self._stopping: Deferred[None] | None = None

    def run(self) -> None:
        """
        Do both rounds in the reactor, and end it, and with it the pool.
        """
        self._books.reactorThread = threading.get_ident()
        finished: list[object] = []

        def begin() -> None:
            life = ensureDeferred(self._life())
            life.addErrback(self._failed)
            life.addCallback(finished.append)
            life.addCallback(lambda _: self._reactor.stop())

        self._reactor.callWhenRunning(begin)
        self._reactor.run()
        if not finished:
            self._books.wrong("the reactor was stopped before the soak was over")

    def _failed(self, failure: Failure) -> None:
        """
        The harness has failed.
        """
        self._books.wrong(failure.getTraceback())

    async def _life(self) -> None:
        """
        Do both rounds. Reactor thread.
        """
        rounds = Rounds(self._books, "DeferredWorkerPool")
        for number in (1, 2):
            ended: list[Deferred[None]] = []
            for each in self._settings.randoms(number):
                ended.append(Deferred())
                threading.Thread(target=self._submit, args=(*each, ended[-1]), daemon=True).start()
            for one in ended:
                await one
            del one, ended
            await self._settle()
            rounds.over()
        rounds.compare()

    async def _settle(self) -> None:
        """
        Let the pool become quiet, and close the books of the round.
        """
        books, pool = self._books, self._pool
        # What the operations have left to a later turn comes first.
        await deferLater(self._reactor, LONGEST_PAUSE)
        if self._stopping is not None:
            await self._stopping
        await pool.resize(self._settings.workers)
        # The workers that a termination has abandoned, with what they still add.
        for thread in threading.enumerate():
            if isinstance(thread, BaseWorker) and thread not in pool.pool._workers:
                thread.join()
        await pool.quiesce()
        await DeferredList(list(self._answers))
        self._recent = [None] * PLACES
        books.settled(pool.statistics(), self._settings.workers)
        books.balance("Deferreds fired", books.of("Deferreds fired"), books.of("Deferreds made"))
        answers = ("answers", "answers of CancelledError", "answers of PoolTerminated")
        books.balance("answers", books.of(*answers), books.of("answers asked for"))
        books.balance("callbacks called", books.of("callbacks called"), books.of("callbacks given"))
        checkEmpty(books, pool.pool)

    def _submit(self, rng: Random, count: int, ended: Deferred[None]) -> None:
        """
        Do so many random operations.
        """
        anywhere, reactors = self._ANYWHERE, self._REACTORS
        try:
            while count:
                batch = min(BATCH, count)
                count -= batch
                operations = rng.choices(
                    (*anywhere, *reactors), (*anywhere.values(), *reactors.values()), k=batch
                )
                for operation in operations:
                    if operation in anywhere:
                        operation(self, rng)
                        self._books.beat()
                blockingCallFromThread(self._reactor, self._do, operations, rng)
        finally:
            self._reactor.callFromThread(ended.callback, None)

    def _do(self, operations: list[Operation], rng: Random) -> None:
        """
        Do those of the operations that are the reactor thread's.
        """
        for operation in operations:
            if operation in self._REACTORS:
                operation(self, rng)
                self._books.beat()

    # The operations of any thread

    def _call(self, rng: Random) -> None:
        task = Task(self._books, rng, None)
        try:
            self._view(rng).callInThread(task.run)
        except PoolTerminated:
            self._books.count("tasks refused")
        else:
            self._books.count("tasks added")

    def _callWithCallback(self, rng: Random) -> None:
        task = Task(self._books, rng, None)
        self._books.count("tasks added")
        self._books.count("callbacks given")
        self._view(rng).callInThreadWithCallback(task.called, task.run)

    def _look(self, rng: Random) -> None:
        self._books.identity(self._pool.statistics())

    def _trespass(self, rng: Random) -> None:
        for call in (self._pool.quiesce, self._pool.terminateWorkers, self._pool.start):
            expect(self._books, WrongThread, call)

    def _waitUntilQuiet(self, rng: Random) -> None:
        quiesce: Callable[[], Any] = self._pool.quiesce
        try:
            blockingCallFromThread(self._reactor, quiesce)
        except PoolTerminated:
            self._books.count("times quiet given up")
        else:
            self._books.count("times quiet")

    _ANYWHERE: ClassVar[dict[Operation, int]] = {
        _call: 100,
        _callWithCallback: 100,
        _look: 20,
        _trespass: 5,
        _waitUntilQuiet: 5,
    }

    # The operations of the reactor thread

    def _add(self, rng: Random) -> None:
        task = Task(self._books, rng, drawID(rng))
        try:
            result = self._pool.addTask((task,), task.priority, task.taskID)
        except DuplicateTaskID:
            self._books.count("tasks refused")
        else:
            self._made(rng, task, result)

    def _addMany(self, rng: Random) -> None:
        # Of many tasks with an ID one is nearly always refused, and all with it.
        ids = rng.sample(IDS, 3) + [None] * rng.randint(0, 20)
        tasks = [Task(self._books, rng, taskID) for taskID in ids]
        try:
            results = self._pool.addManyTasks(
                [(task,) for task in tasks],
                [task.priority for task in tasks],
                [task.taskID for task in tasks],
            )
        except DuplicateTaskID:
            self._books.count("tasks refused", len(tasks))
        else:
            for task, result in zip(tasks, results, strict=True):
                self._made(rng, task, result)

    def _deferTo(self, rng: Random) -> None:
        task = Task(self._books, rng, None)
        self._made(rng, task, deferToPool(self._view(rng), task.run))

    def _made(self, rng: Random, task: Task, result: Deferred[Any]) -> None:
        """
        A task has a Deferred.
        """
        self._books.count("tasks added")
        self._books.count("Deferreds made")
        result.addBoth(task.fired)
        self._recent[rng.randrange(PLACES)] = result

    def _cancelDeferred(self, rng: Random) -> None:
        result = self._recent[rng.randrange(PLACES)]
        if result is not None:
            result.cancel()

    def _move(self, rng: Random) -> None:
        attempt(
            self._books,
            "tasks moved",
            self._pool.changeTaskPriority,
            rng.choice(IDS),
            drawPriority(rng),
        )

    def _cancel(self, rng: Random) -> None:
        attempt(self._books, "tasks withdrawn", self._pool.cancelTask, rng.choice(IDS))

    def _interrupt(self, rng: Random) -> None:
        attempt(self._books, "tasks interrupted", self._pool.pool.InterruptTask, rng.choice(IDS))

    def _pause(self, rng: Random) -> None:
        self._pool.setActive(False)
        self._reactor.callLater(rng.uniform(0, LONGEST_PAUSE), self._pool.setActive, True)

    def _resize(self, rng: Random) -> None:
        size = rng.randint(1, self._settings.workers)
        if rng.random() < 0.2:
            self._answer(self._pool.resize(0))
            self._reactor.callLater(0, lambda: self._answer(self._pool.resize(size)))
        else:
            self._answer(self._pool.resize(size))

    def _quiesce(self, rng: Random) -> None:
        self._answer(self._pool.quiesce())
        fence = self._pool.quiesce()
        self._answer(fence)
        if rng.random() < 0.3:
            self._reactor.callLater(0, fence.cancel)

    def _terminate(self, rng: Random) -> None:
        if self._stopping is None:
            self._books.count("times terminated")
            self._stopping = self._pool.terminateWorkers(
                drain=rng.random() < 0.5, deadline=rng.choice((None, 0, 0.01))
            )
            self._stopping.addCallback(self._startAgain)

    def _startAgain(self, _: None) -> None:
        """
        The pool has stopped.
        """
        self._stopping = None
        self._pool.start()
        self._answer(self._pool.resize(self._settings.workers))

    _REACTORS: ClassVar[dict[Operation, int]] = {
        _add: 250,
        _addMany: 20,
        _deferTo: 100,
        _cancelDeferred: 120,
        _move: 150,
        _cancel: 60,
        _interrupt: 40,
        _pause: 5,
        _resize: 10,
        _quiesce: 10,
        _terminate: 1,
    }

    def _view(self, rng: Random) -> ICallInThread:
        """
        @return: the pool, or a view of it.
        """
        if rng.random() < 0.5:
            return self._pool
        return self._pool.atPriority(drawPriority(rng))

    def _answer(self, result: Deferred[None]) -> None:
        """
        The pool has been asked for something that takes its time.
        """
        self._books.count("answers asked for")
        self._answers.add(result)
        result.addBoth(self._answered, result)

    def _answered(self, outcome: object, result: Deferred[None]) -> None:
        """
        The pool has answered.
        """
        self._answers.remove(result)
        if threading.get_ident() != self._books.reactorThread:
            self._books.wrong(f"an answer was given on {threading.current_thread()}")
        account = "answers"
        if isinstance(outcome, Failure):
            # Anything else is logged in the end, and found there.
            account = f"answers of {outcome.trap(CancelledError, PoolTerminated).__name__}"
        self._books.count(account)
