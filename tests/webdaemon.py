"""
The site of a daemon in a process of its own, with a store in memory and jobs that
run nothing, for tests of what clients do to it.

C{python -m tests.webdaemon DIRECTORY} listens on a port of the loopback, tells its
number in a line, and ends when its standard input does.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react
from twisted.python.failure import Failure

from ganeti_pool.jobqueue import JobQueue, WorkerRules, threadSlots
from ganeti_pool.paths import StatePaths
from ganeti_pool.testing import MemoryJobStore
from ganeti_pool.web import makeSite
from ganeti_pool.workerpool import BaseWorker

from .daemoncase import PATIENCE, ROOT

__all__ = ["TOKEN", "UNTIL", "EchoWorker", "SiteProcess", "main"]

TOKEN = "s3cret"


UNTIL = "until somebody writes into"


class EchoWorker(BaseWorker):
    """
    Its tasks return what they are given, but for those that are given nothing, which
    fail; and one that is given L{UNTIL} and the path of a named pipe, which lasts so
    long.
    """

    def RunTask(self, *args: object) -> list[object]:
        """
        Return the arguments.
        """
        if not args:
            raise ValueError("nothing was given")
        if args[0] == UNTIL:
            Path(str(args[1])).read_text()
        return list(args)


class _UntilTheEnd(Protocol):
    """
    Tells when nobody holds the other end any more.
    """

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Tell.
        """
        self.ended.callback(None)


async def main(reactor: Any, directory: str) -> None:
    """
    Serve until standard input ends.
    """
    queue = JobQueue(
        reactor,
        MemoryJobStore(),
        WorkerRules("tests.webdaemon.EchoWorker"),
        StatePaths.at(directory),
        threadSlots("echo", EchoWorker),
        2,
    )
    await queue.start()
    site = makeSite(reactor, queue, TOKEN.encode(), lambda: succeed(b"jobs 1\n"))
    endpoint = TCP4ServerEndpoint(reactor, 0, backlog=1024, interface="127.0.0.1")
    port = await endpoint.listen(site)
    print(port.getHost().port, flush=True)
    untilTheEnd = _UntilTheEnd()
    StandardIO(untilTheEnd)
    await untilTheEnd.ended
    await queue.stop(0)
    await port.stopListening()
    await site.hangUp()


class SiteProcess:
    """
    This program, as a child.

    @ivar port: where it listens.
    """

    def __init__(self, directory: Path) -> None:
        self._temporary = directory / "temporary"
        self._temporary.mkdir()
        self._complaints = directory / "complaints"
        with self._complaints.open("wb") as complaints:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "tests.webdaemon", str(directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(self._temporary)},
            )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    @property
    def url(self) -> str:
        """
        What stands before its paths.
        """
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        """
        A connection by hand.
        """
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """
        Ask it something that it does not refuse.
        """
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        assert response.status < 300, answer
        return answer

    @property
    def memory(self) -> int:
        """
        How many bytes it has in memory.
        """
        return self._memory("VmRSS")

    @property
    def mostMemory(self) -> int:
        """
        How many it has had at most since L{forgetMemory}.
        """
        return self._memory("VmHWM")

    def _memory(self, name: str) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(rf"{name}:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def forgetMemory(self) -> None:
        """
        From now on count anew what it has had at most.
        """
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")

    @property
    def files(self) -> list[str]:
        """
        Its temporary files, those without a name too.
        """
        opened = []
        for link in Path(f"/proc/{self._process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since it was listed
                opened.append(os.readlink(link))
        within = f"{self._temporary}/"
        return [*os.listdir(within), *(name for name in opened if name.startswith(within))]

    def end(self) -> None:
        """
        Tell it to end, and do not wait.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()

    def close(self) -> tuple[int, str]:
        """
        Tell it to end, and wait until it has.

        @return: its exit code, and what it has complained of.
        """
        with self._process:
            self.end()
            return self._process.wait(PATIENCE), self._complaints.read_text()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, *sys.argv[1:])))
