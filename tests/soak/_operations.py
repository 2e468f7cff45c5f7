"""
What threads and tasks do to a pool, with its refusals: each is entered in the books.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING

from ganeti_pool.errors import (
    DuplicateTaskID,
    NoSuchTask,
    PoolTerminated,
    ProgrammerError,
    WouldWaitForItself,
)
from ganeti_pool.interfaces import IWorkerPool
from ganeti_pool.workerpool import BaseWorker, WorkerPool

from ._books import Books

if TYPE_CHECKING:
    from ._tasks import Task

__all__ = [
    "IDS",
    "SIDES",
    "attempt",
    "checkEmpty",
    "drawID",
    "drawPriority",
    "expect",
    "submit",
    "submitMany",
]

IDS = range(200)
"""
The IDs that tasks may have. They are few, so that operations meet.
"""


def drawPriority(rng: Random) -> float:
    """
    @return: some priority.
    """
    return rng.choice((-7, -1, 0, 0, 0, 0.5, 1, 3, 20))


def drawID(rng: Random) -> int | None:
    """
    @return: some ID, or none.
    """
    return rng.choice(IDS) if rng.random() < 0.6 else None


def submit(pool: IWorkerPool, task: Task) -> None:
    """
    Add a task.
    """
    task.pool = pool
    try:
        pool.AddTask(
            (task,), task.priority, task.taskID, completion=task if task.completes else None
        )
    except (DuplicateTaskID, PoolTerminated):
        task.books.count("tasks refused")
    else:
        task.books.count("tasks added")
        if task.completes:
            task.books.count("completions added")


def submitMany(books: Books, pool: IWorkerPool, tasks: Sequence[Task]) -> None:
    """
    Add tasks, all or none.
    """
    for task in tasks:
        task.pool = pool
    try:
        pool.AddManyTasks(
            [(task,) for task in tasks],
            [task.priority for task in tasks],
            [task.taskID for task in tasks],
            completion=[task if task.completes else None for task in tasks],
        )
    except (DuplicateTaskID, PoolTerminated):
        books.count("tasks refused", len(tasks))
    else:
        books.count("tasks added", len(tasks))
        books.count("completions added", sum(task.completes for task in tasks))


def attempt(books: Books, account: str, call: Callable[..., object], *args: object) -> None:
    """
    Do something to a task that may be there or not.

    @param account: where it is entered if the task was there.
    """
    try:
        call(*args)
    except NoSuchTask:
        books.count("tasks not found")
    else:
        books.count(account)


def checkEmpty(books: Books, pool: WorkerPool) -> None:
    """
    Enter a fault if a pool that is quiet keeps a task or an ID.
    """
    books.balance("entries left", len(pool._tasks) + len(pool._taskdata), 0)
    for taskID in IDS:
        for call in (pool.CancelTask, pool.InterruptTask):
            try:
                call(taskID)
            except NoSuchTask:
                continue
            books.wrong(f"ID {taskID} is still in use, as {call.__name__} finds")


def expect(books: Books, error: type[ProgrammerError], call: Callable[[], object]) -> None:
    """
    Make a call that is to be refused.
    """
    try:
        call()
    except error:
        books.count(f"{error.__name__} raised")
    else:
        books.wrong(f"{call} was not refused with {error.__name__}")


# What a task does while it runs, besides ending

Side = Callable[["Task", BaseWorker], object]


def _nothing(task: Task, worker: BaseWorker) -> None:
    pass


def _name(task: Task, worker: BaseWorker) -> None:
    worker.SetTaskName(f"task {task.other}")
    if worker.name != f"{worker._worker_id}/task {task.other}":
        task.books.wrong(f"a worker that runs {task!r} is called {worker.name!r}")


def _move(task: Task, worker: BaseWorker) -> None:
    attempt(task.books, "tasks moved", worker.pool.ChangeTaskPriority, task.other, task.priority)


def _cancel(task: Task, worker: BaseWorker) -> None:
    attempt(task.books, "tasks withdrawn", worker.pool.CancelTask, task.other)


def _interrupt(task: Task, worker: BaseWorker) -> None:
    attempt(task.books, "tasks interrupted", worker.pool.InterruptTask, task.other)


def _interruptItself(task: Task, worker: BaseWorker) -> None:
    order, taskID = worker._GetCurrentOrderAndTaskId()
    if taskID != task.taskID or order < 0:
        task.books.wrong(f"a worker that runs {task!r} has task {taskID}, order {order}")
    worker.CallWhenCancelled(lambda: task.books.count("listeners called"))
    if taskID is not None:
        attempt(task.books, "tasks interrupted", worker.pool.InterruptTask, taskID)


def _askForTheEnd(task: Task, worker: BaseWorker) -> None:
    if worker.IsCancelled() or worker.ShouldTerminate():
        task.books.count("tasks that saw the end coming")


def _look(task: Task, worker: BaseWorker) -> None:
    statistics = worker.pool.GetStatistics()
    task.books.identity(statistics)
    if not worker.pool.HasRunningTasks() and worker.GetCurrentPriority() is not None:
        # Only an abandoned task is none of its pool's.
        task.books.count("tasks that found themselves abandoned")


def _pause(task: Task, worker: BaseWorker) -> None:
    worker.pool.SetActive(False)
    worker.pool.SetActive(True)


def _waitForItself(task: Task, worker: BaseWorker) -> None:
    pool = worker.pool
    expect(task.books, WouldWaitForItself, pool.Quiesce)
    expect(task.books, WouldWaitForItself, pool.TerminateWorkers)


SIDES: tuple[Side, ...] = (
    _nothing,
    _nothing,
    _nothing,
    _name,
    _move,
    _cancel,
    _interrupt,
    _interruptItself,
    _askForTheEnd,
    _look,
    _pause,
    _waitForItself,
)
