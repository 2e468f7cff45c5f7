"""
The measurements of a daemon that starts with many jobs in its store: how long it takes
to the start of the first, what each that waits costs, and how fast it answers.
"""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from ganeti_pool.client import connectUnix
from ganeti_pool.jobs import NewJob
from ganeti_pool.paths import StatePaths
from ganeti_pool.store.sqlite import SQLiteJobStore
from ganeti_pool.store.sqlite.schema import CLOSED_CLEANLY
from ganeti_pool.workerpool import BaseWorker

from ._blocking import Figures, verify
from ._looping import react

__all__ = ["MEASUREMENTS", "Gate"]

_WORKER = f"{__name__}.Gate"

_BATCH = 1_000

_QUESTIONS = 9
"""
How often each is asked, to take the median.
"""

_READY, _STARTED = "Ready for jobs", "The first job has started"


class Gate(BaseWorker):
    """
    Whose first job never ends, so that the others wait.
    """

    def RunTask(self, number: int) -> None:
        print(_STARTED, flush=True)
        threading.Event().wait()


@contextmanager
def _daemon(directory: str, workers: int, until: str) -> Iterator[int]:
    """
    A daemon, from the moment at which it logs something.

    @return: its process.
    """
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [
            Path(sys.executable).with_name("twistd"),
            *("-n", "--pidfile=", "ganeti-pool", f"--state-dir={directory}"),
            *(f"--workers={workers}", f"--worker-class={_WORKER}"),
        ],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            verify("the daemon's word", any(until in line for line in process.stdout), True)
            yield process.pid
        finally:
            process.kill()


def _resident(process: int) -> int:
    """
    The memory of a process, in bytes.
    """
    status = Path(f"/proc/{process}/status").read_text()
    match = re.search(r"VmRSS:\s*(\d+) kB", status)
    assert match is not None
    return int(match[1]) * 1024


async def _fill(store: SQLiteJobStore, count: int) -> None:
    epoch = await store.acquire("benchmark")
    for first in range(0, count, _BATCH):
        numbers = range(first, min(first + _BATCH, count))
        await store.addJobs(epoch, [NewJob(_WORKER, (i,), "bench") for i in numbers], first)
    await store.close()


async def _milliseconds(ask: Callable[[], Awaitable[Any]]) -> float:
    times = []
    for _ in range(_QUESTIONS):
        begin = time.perf_counter()
        await ask()
        times.append(time.perf_counter() - begin)
    return median(times) * 1e3


def _forgetClose(path: str) -> None:
    """
    Have a store as its owner leaves it who was killed: the next start checks it.
    """
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM settings WHERE name = ?", (CLOSED_CLEANLY,))


def _restart(count: int, workers: int, isClean: bool = True) -> Figures:
    async def main(reactor: Any) -> Figures:
        with TemporaryDirectory(dir="/var/tmp") as empty, _daemon(empty, workers, _READY) as pid:
            resident = _resident(pid)
        with TemporaryDirectory(dir="/var/tmp") as directory:
            paths = StatePaths.at(directory)
            await _fill(SQLiteJobStore(reactor, paths.store), count)
            if not isClean:
                _forgetClose(paths.store)
            begin = time.perf_counter()
            with _daemon(directory, workers, _STARTED) as pid:
                seconds = time.perf_counter() - begin
                client = connectUnix(reactor, paths.socket)
                status = await client.pool()
                verify("queued", status["jobs"]["queued"], count - 1)
                figures = {
                    "seconds": seconds,
                    "bytes": (_resident(pid) - resident) / count,
                    "listing": await _milliseconds(lambda: client.listJobs(order="desc", limit=50)),
                    "status": await _milliseconds(client.pool),
                }
                await client.close()
                return figures

    return react(main)


MEASUREMENTS: dict[tuple[str, str], Callable[[int, int], Figures]] = {
    ("restarting", "daemon"): _restart,
    ("restarting-after-a-crash", "daemon"): partial(_restart, isClean=False),
}
"""
By row and engine: called with how much and how many workers.
"""
