"""
The measurements of a daemon that starts with many jobs in its store: how long it takes
to the start of the first, what each that waits costs, and how fast it answers.
"""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

from ._blocking import Figures, verify
from ._daemon import BATCH, PATIENCE, connect, onDisk, runDaemon
from .benchmarkworkers import STARTED

__all__ = ["MEASUREMENTS"]

_QUESTIONS = 9
"""
How often each is asked, to take the median.
"""


@contextmanager
def _startPipe(directory: str) -> Iterator[Callable[[], None]]:
    """
    Make the pipe that L{Gate<tests.benchmarks.benchmarkworkers.Gate>} writes to.

    @return: a function that waits for the first start of a job.
    """
    path = f"{directory}/started"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR)

    def wait() -> None:
        verify("started", bool(select.select([descriptor], [], [], PATIENCE)[0]), True)

    try:
        yield wait
    finally:
        os.close(descriptor)


def _resident(process: int) -> int:
    """
    The memory of a process, in bytes.
    """
    status = Path(f"/proc/{process}/status").read_text()
    match = re.search(r"VmRSS:\s*(\d+) kB", status)
    assert match is not None
    return int(match[1]) * 1024


def _fill(directory: str, count: int, isClean: bool) -> None:
    """
    Queue jobs in a daemon without workers, and end it.

    @param isClean: whether it stops by itself; otherwise it is killed, so that the next
        start checks the store.
    """
    with runDaemon(directory, 1, "Gate") as process, connect(directory) as connection:
        # Unlike a pause, this does not survive the restart.
        connection.ask("PATCH", "/v1/pool", {"workers": 0})
        for first in range(0, count, BATCH):
            jobs = [{"args": [i]} for i in range(first, min(first + BATCH, count))]
            connection.ask("POST", "/v1/jobs", jobs)
        if isClean:
            process.terminate()
            process.wait(PATIENCE)


def _milliseconds(ask: Callable[[], object]) -> float:
    times = []
    for _ in range(_QUESTIONS):
        begin = time.perf_counter()
        ask()
        times.append(time.perf_counter() - begin)
    return median(times) * 1e3


def _restart(count: int, workers: int, isClean: bool = True) -> Figures:
    with onDisk() as empty, runDaemon(empty, workers, "Gate") as process:
        resident = _resident(process.pid)
    with onDisk() as directory, _startPipe(directory) as awaitStart:
        _fill(directory, count, isClean)
        environment = {STARTED: f"{directory}/started"}
        begin = time.perf_counter()
        with (
            runDaemon(directory, workers, "Gate", environment=environment) as process,
            connect(directory) as connection,
        ):
            awaitStart()
            seconds = time.perf_counter() - begin
            status = connection.ask("GET", "/v1/pool")
            verify("queued", status["jobs"]["queued"], count - 1)
            return {
                "seconds": seconds,
                "bytes": (_resident(process.pid) - resident) / count,
                "listing": _milliseconds(
                    lambda: connection.ask("GET", "/v1/jobs?order=desc&limit=50")
                ),
                "status": _milliseconds(lambda: connection.ask("GET", "/v1/pool")),
            }


MEASUREMENTS: dict[tuple[str, str], Callable[[int, int], Figures]] = {
    ("restarting", "daemon"): _restart,
    ("restarting-after-a-crash", "daemon"): partial(_restart, isClean=False),
}
"""
By row and engine: called with how much and how many workers.
"""
