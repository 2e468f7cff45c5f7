"""
The measurements of durable jobs: each is acknowledged when it is on the disk, is run,
and its outcome is on the disk when it counts as done. All use SQLite with a
write-ahead log that is synchronised at every commit.

The peers are imported by name, since they, and their types, need not be there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from importlib import import_module

from ._blocking import Figures, verify
from ._daemon import BATCH, Connection, connect, onDisk, runDaemon
from ._sharing import SharedCommits

__all__ = ["MEASUREMENTS"]

_WARM = 100
"""
How many jobs run before the clock starts.
"""

_END = -1
"""
What tells a thread that takes jobs from a peer to end.
"""

_SINGLES = 8
"""
How many clients there are that submit one job after another.
"""


def _daemon(clients: int, count: int, workers: int) -> Figures:
    """
    The clock runs from the first request to the answer that all jobs have their
    outcomes.

    @param clients: how many submit; a single one does it in batches.
    """
    size = BATCH if clients == 1 else 1
    verify("what is left over", count % (clients * size), 0)
    with onDisk() as directory, runDaemon(directory, workers, "Nothing"), ExitStack() as stack:
        connections = [stack.enter_context(connect(directory)) for _ in range(clients)]
        _submit(connections[0], 0, _WARM)
        connections[0].ask("POST", "/v1/pool/quiesce")

        def submitAll(client: int) -> None:
            for number in range(client, count // size, clients):
                _submit(connections[client], number * size, size)

        with ThreadPoolExecutor(clients) as threads:
            begin = time.perf_counter()
            list(threads.map(submitAll, range(clients)))
            connections[0].ask("POST", "/v1/pool/quiesce")
            seconds = time.perf_counter() - begin
        succeeded = connections[0].ask("GET", "/v1/pool")["jobs"]["last_day"]["succeeded"]
        verify("succeeded", succeeded, _WARM + count)
    return {"microseconds": seconds / count * 1e6}


def _submit(connection: Connection, first: int, size: int) -> None:
    jobs = [{"args": [number]} for number in range(first, first + size)]
    connection.ask("POST", "/v1/jobs", jobs)


def _huey(clients: int, count: int, workers: int) -> Figures:
    huey = import_module("huey")
    signals = import_module("huey.signals")
    logging.disable(logging.CRITICAL)
    done = threading.Semaphore(0)

    def nothing(number: int) -> int:
        return number

    with onDisk() as directory:
        queue = huey.SqliteHuey(
            "bench", filename=f"{directory}/huey.sqlite", fsync=True, journal_mode="wal"
        )
        task = queue.task()(nothing)
        # It is sent when the result has been stored.
        queue.signal(signals.SIGNAL_COMPLETE)(lambda signal, task: done.release())
        consumer = queue.create_consumer(
            workers=workers, worker_type="thread", initial_delay=0.001, periodic=False
        )
        consumer.start()

        def work() -> None:
            for _ in range(count):
                done.acquire()

        figures = _fromThreads(clients, count, task, work)
        verify("results", queue.result_count(), count)
        consumer.stop(graceful=True)
        consumer.scheduler.join()
    return figures


def _persistQueue(clients: int, count: int, workers: int) -> Figures:
    """
    It has no workers, and no place for a result: a job counts as done when it is
    acknowledged to the queue.
    """
    persistqueue = import_module("persistqueue")
    with onDisk() as directory:
        queue = persistqueue.SQLiteAckQueue(directory, multithreading=True, auto_commit=True)

        def consume() -> None:
            while (item := queue.get()) != _END:
                queue.ack(item)
                done.release()

        done = threading.Semaphore(0)
        threads = [threading.Thread(target=consume) for _ in range(workers)]
        for thread in threads:
            thread.start()

        def work() -> None:
            for _ in range(count):
                done.acquire()

        figures = _fromThreads(clients, count, queue.put, work)
        for _ in threads:
            queue.put(_END)
        for thread in threads:
            thread.join()
        queue.close()
    return figures


def _sharedCommits(clients: int, count: int, workers: int) -> Figures:
    """
    @param clients: how many submit; a single one does it in batches.
    """
    size = BATCH if clients == 1 else 1
    verify("what is left over", count % size, 0)
    with onDisk() as directory:
        commits = SharedCommits(f"{directory}/jobs.sqlite", workers)

        def submit(number: int) -> None:
            commits.submit(range(number * size, (number + 1) * size))

        figures = _fromThreads(clients, count // size, submit, lambda: commits.wait(count), size)
        verify("succeeded", commits.close(), count)
    return figures


def _fromThreads(
    clients: int,
    count: int,
    submit: Callable[[int], object],
    untilDone: Callable[[], object],
    size: int = 1,
) -> Figures:
    """
    Time jobs that are submitted from threads, one call after another in each.

    @param count: how many calls of C{submit}.
    @param size: how many jobs each submits.
    """

    def submitAll(first: int) -> None:
        for number in range(first, count, clients):
            submit(number)

    threads = [threading.Thread(target=submitAll, args=(i,)) for i in range(clients)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    untilDone()
    seconds = time.perf_counter() - begin
    for thread in threads:
        thread.join()
    return {"microseconds": seconds / (count * size) * 1e6}


def _embedded(clients: int, count: int, workers: int) -> Figures:
    figures: Figures = import_module("._embedded", __package__).measure(count, workers)
    return figures


MEASUREMENTS: dict[tuple[str, str], Callable[[int, int], Figures]] = {
    (row, engine): partial(measure, clients)
    for row, clients in (("durable-batches", 1), ("durable-singles", _SINGLES))
    for engine, measure in (
        ("daemon", _daemon),
        ("job-queue", _embedded),
        ("huey", _huey),
        ("persist-queue", _persistQueue),
        ("shared-commits", _sharedCommits),
    )
}
"""
By row and engine: called with how much and how many workers.
"""
