"""
Measure a job queue that a program has in itself, without HTTP, log and metrics.

It is imported by name, since it installs a reactor.
"""

from __future__ import annotations

import time
from typing import Any

from twisted.internet import reactor as theReactor
from twisted.internet.defer import Deferred

from ganeti_pool.jobqueue import JobQueue, WorkerRules, threadSlots
from ganeti_pool.jobs import NewJob
from ganeti_pool.paths import StatePaths
from ganeti_pool.store.sqlite import SQLiteJobStore

from ._blocking import Figures, verify
from ._daemon import BATCH, onDisk
from .benchmarkworkers import Nothing

__all__ = ["measure"]

_WORKER = "benchmarkworkers.Nothing"

_WARM = 100


def measure(count: int, workers: int) -> Figures:
    """
    Measure durable jobs from the first submission to the answer that all have their outcomes.
    """
    verify("what is left over", count % BATCH, 0)
    reactor: Any = theReactor
    taken: list[float] = []

    async def run(directory: str) -> None:
        queue = JobQueue(
            reactor,
            SQLiteJobStore(reactor, f"{directory}/jobs.sqlite"),
            WorkerRules(_WORKER),
            StatePaths.at(directory),
            threadSlots("bench", Nothing),
            workers,
        )
        await queue.start()
        await _submit(queue, 0, _WARM)
        await queue.quiesce()
        begin = time.perf_counter()
        for first in range(0, count, BATCH):
            await _submit(queue, first, BATCH)
        await queue.quiesce()
        taken.append(time.perf_counter() - begin)
        verify("succeeded", (await queue.poolStatus()).statistics.succeeded, _WARM + count)
        await queue.stop(0)

    def start(directory: str) -> None:
        running = Deferred.fromCoroutine(run(directory))
        running.addErrback(lambda failure: failure.printTraceback())
        running.addBoth(lambda _: reactor.stop())

    with onDisk() as directory:
        reactor.callWhenRunning(start, directory)
        reactor.run()
    (seconds,) = taken
    return {"microseconds": seconds / count * 1e6}


def _submit(queue: JobQueue, first: int, size: int) -> Deferred[Any]:
    return queue.submit([NewJob(_WORKER, (n,), str(n)) for n in range(first, first + size)])
