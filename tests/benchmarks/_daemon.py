"""
A daemon in a process of its own, driven through its command line, its Unix socket and
its HTTP interface alone, so that any commit that has these can be measured.

Its package is the one that this process would import, which is that of the working copy
or that of the base; see L{_base<tests.benchmarks._base>}.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

__all__ = ["BATCH", "PATIENCE", "Connection", "NotReady", "connect", "onDisk", "runDaemon"]

BATCH = 1_000
"""
How many jobs one request submits at most.
"""

PATIENCE = 300.0
"""
Seconds after which an answer, or a start, is given up.
"""


class NotReady(Exception):
    """
    A daemon ended, or did not answer in time, after its start; the text has its log.
    """


class Connection(HTTPConnection):
    """
    An HTTP connection over a Unix socket.
    """

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        """
        Connect to the socket.
        """
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """
        Send a request, and read the answer.

        @param body: sent as JSON, unless it is L{None}.
        @return: the answer's JSON.
        @raise RuntimeError: if the daemon rejects the request.
        """
        if body is None:
            self.request(method, path)
        else:
            self.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        response = self.getresponse()
        content = response.read()
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {content.decode()}")
        return json.loads(content)


def connect(directory: str) -> closing[Connection]:
    """
    Make a connection to the daemon of a state directory, closed at the end of the block.
    """
    return closing(Connection(f"{directory}/ganeti-pool.sock"))


def onDisk() -> TemporaryDirectory[str]:
    """
    Make a temporary directory on a disk: the usual place may be in memory.
    """
    return TemporaryDirectory(dir="/var/tmp")


@contextmanager
def runDaemon(
    directory: str,
    workers: int,
    workerClass: str | None = None,
    *,
    root: Path | None = None,
    python: str = sys.executable,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """
    Run a daemon, from the moment at which it answers to the end of the block, where it
    is killed unless it has ended.

    @param directory: its state directory.
    @param workerClass: a class of C{benchmarkworkers}; L{None} for commands.
    @param root: the checkout whose package it runs; by default, the one of the package
        that this process would import.
    @param environment: what is added to the environment.
    @raise NotReady: if it ends before it answers.
    """
    root = root or _importedRoot()
    log = Path(directory, "benchmark.log")
    chosen = [] if workerClass is None else [f"--worker-class=benchmarkworkers.{workerClass}"]
    notify = f"{directory}/notify.sock"
    Path(notify).unlink(missing_ok=True)
    notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notices.bind(notify)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(python, "-m", "twisted", "ganeti-pool"),
                *(f"--state-dir={directory}", f"--workers={workers}"),
                *chosen,
            ],
            cwd=root,
            env={
                **os.environ,
                **(environment or {}),
                "NOTIFY_SOCKET": notify,
                "PYTHONPATH": os.pathsep.join((str(root), str(Path(__file__).parent))),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    with process, notices:
        try:
            _awaitReady(process, notices, log)
            yield process
        finally:
            process.kill()


def _importedRoot() -> Path:
    spec = find_spec("ganeti_pool")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).resolve().parents[1]


def _awaitReady(process: subprocess.Popen[bytes], notices: socket.socket, log: Path) -> None:
    """
    Wait until the daemon reports that it is ready, as it does to systemd.

    @raise NotReady: if it ends before that, or is silent for too long.
    """
    ended, heard = os.pidfd_open(process.pid), notices.fileno()
    try:
        while heard in select.select([heard, ended], [], [], PATIENCE)[0]:
            if b"READY=1" in notices.recv(65536).splitlines():
                return
    finally:
        os.close(ended)
    raise NotReady(log.read_text(errors="replace"))
