"""
The measurements of commands: how long it takes to run many jobs of C{true} that are
queued, and how soon a client sees the outcome of one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from statistics import quantiles

from ._blocking import Figures, verify
from ._daemon import BATCH, Connection, connect, onDisk, runDaemon
from ._missing import NotInstalled

__all__ = ["MEASUREMENTS", "busyProcesses", "findTaskSpooler"]

_BUSY = 2
"""
How many processes compute beside what is measured.
"""

_WARM = 16
"""
How many jobs run before the clock starts.
"""

_INTERVAL = 0.005
"""
Seconds between two requests for the list of task-spooler.
"""

_TRUE = ["true"]
_JOB = {"args": [_TRUE, {}]}
_LIST = [_JOB] * BATCH


@contextmanager
def busyProcesses(number: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """
    Run processes that do nothing but compute, and kill them at the end of the block.
    """
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(number):
            processes.append(subprocess.Popen(["sh", "-c", "while :; do :; done"]))
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _submit(connection: Connection, count: int) -> None:
    for first in range(0, count, BATCH):
        connection.ask("POST", "/v1/jobs", _LIST[: min(BATCH, count - first)])


def _daemon(count: int, workers: int) -> Figures:
    """
    The jobs are queued while the daemon is paused. The clock runs from the request that
    resumes it to the answer that all jobs have their outcomes.
    """
    with onDisk() as directory, runDaemon(directory, workers), connect(directory) as connection:
        _submit(connection, _WARM)
        connection.ask("POST", "/v1/pool/quiesce")
        connection.ask("PATCH", "/v1/pool", {"active": False})
        _submit(connection, count)
        begin = time.perf_counter()
        connection.ask("PATCH", "/v1/pool", {"active": True})
        connection.ask("POST", "/v1/pool/quiesce")
        seconds = time.perf_counter() - begin
        succeeded = connection.ask("GET", "/v1/pool")["jobs"]["last_day"]["succeeded"]
        verify("succeeded", succeeded, _WARM + count)
    return {"microseconds": seconds / count * 1e6}


def _subprocessRun(count: int, workers: int) -> Figures:
    """
    Nothing is queued and nothing is kept: each thread runs its share of the commands.
    """
    ran: list[int] = []

    def work(share: int) -> None:
        for _ in range(share):
            ran.append(subprocess.run(_TRUE).returncode)

    subprocess.run(_TRUE)
    threads = [
        threading.Thread(target=work, args=(len(range(first, count, workers)),))
        for first in range(workers)
    ]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    verify("exit statuses", ran, [0] * count)
    return {"microseconds": seconds / count * 1e6}


def findTaskSpooler(find: Callable[[str], str | None] = shutil.which) -> str:
    """
    Return the path of task-spooler's command.

    @raise NotInstalled: if it is not there.
    """
    found = find("tsp")
    if found is None:
        raise NotInstalled("its command tsp (Debian's package task-spooler)")
    return found


def _taskSpooler(count: int, workers: int) -> Figures:
    """
    The jobs are queued behind one that waits for a pipe. task-spooler has a connection
    for each job that waits, and C{select} bounds their number by about 1,000.
    """
    tsp = findTaskSpooler()
    with onDisk() as directory:
        environment = {
            **os.environ,
            "TS_SOCKET": f"{directory}/socket",
            "TMPDIR": directory,
            "TS_SLOTS": "1",
            "TS_MAXFINISHED": str(count + 1),
        }

        def call(*arguments: str) -> str:
            return subprocess.run(
                [tsp, *arguments], env=environment, check=True, text=True, stdout=subprocess.PIPE
            ).stdout

        gate = f"{directory}/gate"
        os.mkfifo(gate)
        call("-n", "sh", "-c", f"read line < '{gate}'")
        try:
            for _ in range(count):
                call("-n", *_TRUE)
            call("-S", str(workers))
            begin = time.perf_counter()
            with open(gate, "w") as pipe:
                pipe.write("go\n")
            # It can wait for a job, but not for a job that has not started.
            while (finished := call().count(" finished ")) <= count:
                time.sleep(_INTERVAL)
            seconds = time.perf_counter() - begin
            verify("finished", finished, count + 1)
        finally:
            call("-K")
    return {"microseconds": seconds / count * 1e6}


def _beside(measure: Callable[[int, int], Figures], count: int, workers: int) -> Figures:
    with busyProcesses(_BUSY):
        return measure(count, workers)


def _answer(count: int, workers: int) -> Figures:
    """
    One job at a time: it is submitted, and the client waits for changes until it sees
    the outcome.
    """
    times = []
    with onDisk() as directory, runDaemon(directory, workers), connect(directory) as connection:
        for number in range(-_WARM, count):
            begin = time.perf_counter()
            (job,) = connection.ask("POST", "/v1/jobs", [_JOB])
            revision = job["revision"]
            while job["state"] in ("queued", "running"):
                changes = connection.ask("GET", f"/v1/jobs?changed_after={revision}&wait=60")
                revision = changes["revision"]
                (job,) = (one for one in changes["jobs"] if one["id"] == job["id"])
            took = (time.perf_counter() - begin) * 1e3
            verify("state", job["state"], "succeeded")
            if number >= 0:
                times.append(took)
    twentieths = quantiles(times, n=20, method="inclusive")
    return {"p50": twentieths[9], "p95": twentieths[18]}


_ENGINES = (
    ("daemon", _daemon),
    ("subprocess-run", _subprocessRun),
    ("task-spooler", _taskSpooler),
)

MEASUREMENTS: dict[tuple[str, str], Callable[[int, int], Figures]] = {
    **{("commands", engine): measure for engine, measure in _ENGINES},
    **{("commands-busy", engine): partial(_beside, measure) for engine, measure in _ENGINES},
    ("answering", "daemon"): _answer,
}
"""
By row and engine: called with how much and how many workers.
"""
