"""
The measurements that need a reactor, or an event loop of another make.

An engine makes a pool and C{submit}, which takes a task's number and gives
something to await. An exercise submits tasks, and returns the sum of their
results.

The peers are imported by name, since they, and their types, need not be there.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from ganeti_pool.deferred import DeferredWorkerPool, deferToPool

from ._blocking import Echo, Figures, echo, verify

__all__ = ["MEASUREMENTS", "Tally", "react", "threadPool"]

Submit = Callable[[int], Any]
Exercise = Callable[[Submit, int], Awaitable[int]]


class Tally:
    """
    Adds results up, and says when all are there.
    """

    def __init__(self, count: int, over: Callable[[int], object]) -> None:
        self._left = count
        self._total = 0
        self._over = over

    def __call__(self, value: int) -> None:
        self._total += value
        self._left -= 1
        if not self._left:
            self._over(self._total)

    def future(self, future: asyncio.Future[int]) -> None:
        """
        Add the result of a future.
        """
        self(future.result())


async def _oneByOne(submit: Submit, count: int) -> int:
    """
    Submit a task when the one before it is back.
    """
    total = 0
    for i in range(count):
        total += await submit(i)
    return total


async def _deferreds(submit: Submit, count: int) -> int:
    """
    Submit all, and wait for the Deferreds.
    """
    result: Deferred[int] = Deferred()
    tally = Tally(count, result.callback)
    for i in range(count):
        submit(i).addCallback(tally)
    return await result


async def _futures(submit: Submit, count: int) -> int:
    """
    Submit all, and wait for the futures.
    """
    result: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    tally = Tally(count, result.set_result)
    for i in range(count):
        submit(i).add_done_callback(tally.future)
    return await result


async def _children(makeGroup: Callable[[], Any], submit: Submit, count: int) -> int:
    """
    Submit each in a task of its own, in one group.
    """
    total = 0

    async def one(i: int) -> None:
        nonlocal total
        value = await submit(i)
        total += value

    async with makeGroup() as group:
        for i in range(count):
            group.start_soon(one, i)
    return total


class _Collections:
    """
    Adds up the time that the garbage collector takes.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        now = time.perf_counter()
        self.seconds += now if phase == "stop" else -now


async def _timed(exercise: Exercise, submit: Submit, count: int) -> Figures:
    """
    Time an exercise.
    """
    await exercise(submit, min(count, 100))
    gc.collect()
    collections = _Collections()
    gc.callbacks.append(collections)
    begin = time.perf_counter()
    total = await exercise(submit, count)
    seconds = time.perf_counter() - begin
    gc.callbacks.remove(collections)
    verify("sum", total, sum(range(count)))
    figures = {"microseconds": seconds / count * 1e6}
    if exercise is not _oneByOne:
        figures["collector"] = collections.seconds / count * 1e6
    return figures


def react(main: Callable[[Any], Awaitable[Figures]]) -> Figures:
    """
    Run the reactor for as long as it takes.
    """
    from twisted.internet import reactor

    results: list[Any] = []

    async def stopping() -> None:
        try:
            results.append(await main(reactor))
        except BaseException:
            results.append(Failure())
        reactor.stop()

    reactor.callWhenRunning(lambda: ensureDeferred(stopping()))
    reactor.run()
    (result,) = results
    if isinstance(result, Failure):
        result.raiseException()
    figures: Figures = result
    return figures


def _addTask(exercise: Exercise, count: int, workers: int) -> Figures:
    async def main(reactor: Any) -> Figures:
        pool = DeferredWorkerPool(reactor, "bench", workers, Echo)
        return await _timed(exercise, lambda i: pool.addTask((i,)), count)

    return react(main)


def _deferToPool(exercise: Exercise, count: int, workers: int) -> Figures:
    async def main(reactor: Any) -> Figures:
        pool = DeferredWorkerPool(reactor, "bench", workers)
        return await _timed(exercise, lambda i: deferToPool(pool, echo, i), count)

    return react(main)


@contextmanager
def threadPool(reactor: Any, workers: int) -> Iterator[Submit]:
    """
    Twisted's own pool: what submits to it.
    """
    pool = ThreadPool(workers, workers, "bench")
    pool.start()
    try:
        yield lambda i: deferToThreadPool(reactor, pool, echo, i)
    finally:
        pool.stop()


def _deferToThreadPool(exercise: Exercise, count: int, workers: int) -> Figures:
    async def main(reactor: Any) -> Figures:
        with threadPool(reactor, workers) as submit:
            return await _timed(exercise, submit, count)

    return react(main)


def _asynqueue(exercise: Exercise, count: int, workers: int) -> Figures:
    asynqueue = import_module("asynqueue")
    threads = import_module("asynqueue.threads")

    async def main(reactor: Any) -> Figures:
        queue = asynqueue.TaskHeap()
        for _ in range(workers):
            queue.attachWorker(threads.ThreadWorker(raw=True))
        figures = await _timed(exercise, lambda i: queue.call(echo, i), count)
        await queue.shutdown()
        return figures

    return react(main)


def _asyncioExecutor(exercise: Exercise, count: int, workers: int) -> Figures:
    async def main() -> Figures:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(workers) as pool:
            return await _timed(exercise, lambda i: loop.run_in_executor(pool, echo, i), count)

    return asyncio.run(main())


def _pebble(exercise: Exercise, count: int, workers: int) -> Figures:
    pebble = import_module("pebble")

    async def main() -> Figures:
        with pebble.ThreadPool(max_workers=workers) as pool:
            return await _timed(
                exercise, lambda i: asyncio.wrap_future(pool.schedule(echo, args=(i,))), count
            )

    return asyncio.run(main())


def _anyio(exercise: Exercise | None, count: int, workers: int) -> Figures:
    anyio = import_module("anyio")
    toThread = import_module("anyio.to_thread")

    async def main() -> Figures:
        limiter = anyio.CapacityLimiter(workers)
        return await _timed(
            exercise or partial(_children, anyio.create_task_group),
            lambda i: toThread.run_sync(echo, i, limiter=limiter),
            count,
        )

    figures: Figures = anyio.run(main)
    return figures


def _trio(exercise: Exercise | None, count: int, workers: int) -> Figures:
    trio = import_module("trio")

    async def main() -> Figures:
        limiter = trio.CapacityLimiter(workers)
        return await _timed(
            exercise or partial(_children, trio.open_nursery),
            lambda i: trio.to_thread.run_sync(echo, i, limiter=limiter),
            count,
        )

    figures: Figures = trio.run(main)
    return figures


MEASUREMENTS: dict[tuple[str, str], Callable[[int, int], Figures]] = {
    ("firing", "deferred-add-task"): partial(_addTask, _deferreds),
    ("firing", "defer-to-pool"): partial(_deferToPool, _deferreds),
    ("firing", "defer-to-thread-pool"): partial(_deferToThreadPool, _deferreds),
    ("firing", "asynqueue"): partial(_asynqueue, _deferreds),
    ("firing", "asyncio-executor"): partial(_asyncioExecutor, _futures),
    ("firing", "pebble"): partial(_pebble, _futures),
    ("firing", "anyio"): partial(_anyio, None),
    ("firing", "trio"): partial(_trio, None),
    ("scaling", "deferred-add-task"): partial(_addTask, _deferreds),
    ("scaling", "defer-to-pool"): partial(_deferToPool, _deferreds),
    ("returning", "deferred-add-task"): partial(_addTask, _oneByOne),
    ("returning", "defer-to-pool"): partial(_deferToPool, _oneByOne),
    ("returning", "defer-to-thread-pool"): partial(_deferToThreadPool, _oneByOne),
    ("returning", "asynqueue"): partial(_asynqueue, _oneByOne),
    ("returning", "asyncio-executor"): partial(_asyncioExecutor, _oneByOne),
    ("returning", "pebble"): partial(_pebble, _oneByOne),
    ("returning", "anyio"): partial(_anyio, _oneByOne),
    ("returning", "trio"): partial(_trio, _oneByOne),
}
"""
By row and engine: called with how much and how many workers.
"""
