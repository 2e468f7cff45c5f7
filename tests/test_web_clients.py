"""
Tests for what L{ganeti_pool.web} does about hard clients, over real sockets and in a
process of its own, whose memory and files are looked at.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
from http.client import HTTPResponse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.paths import StatePaths

from .daemoncase import PATIENCE, TWISTD, DaemonCase
from .webdaemon import TOKEN, UNTIL, SiteProcess

MIB = 1 << 20

IN_BETWEEN = 32 * MIB
"""
More than the system keeps of what is sent and not yet read.
"""


def head(method: str, path: str, *lines: str) -> bytes:
    """
    A request up to its body.
    """
    always = [f"{method} {path} HTTP/1.1", "Host: h", f"Authorization: Bearer {TOKEN}"]
    return "\r\n".join([*always, *lines, "", ""]).encode()


def answerOn(connection: socket.socket) -> tuple[int, Any]:
    """
    Read the answer on a connection.

    @return: its status, and what its JSON says.
    """
    with HTTPResponse(connection) as response:
        response.begin()
        return response.status, json.loads(response.read())


class ClientCase(SynchronousTestCase):
    """
    A daemon's site, and clients of it.
    """

    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.site = SiteProcess(self.directory)
        self.addCleanup(lambda: self.assertEqual(self.site.close(), (0, "")))

    def connect(self, *sent: bytes) -> socket.socket:
        """
        A connection on which something is sent.
        """
        connection = self.site.connect()
        self.addCleanup(connection.close)
        connection.sendall(b"".join(sent))
        return connection

    def settle(self) -> None:
        """
        See that the site has read all that was sent to it before.
        """
        for _ in range(3):
            self.site.ask("GET", "/v1/pool")

    def submit(self, *args: object) -> int:
        """
        Submit a job.

        @return: its id.
        """
        job: int = self.site.ask("POST", "/v1/jobs", {"args": args, "name": "job"})["id"]
        return job

    def awaitEnd(self, jobID: int) -> dict[str, Any]:
        """
        Wait until a job has ended.
        """
        revision = 0
        while True:
            changes = self.site.ask("GET", f"/v1/jobs?changed_after={revision}&wait=30")
            self.assertNotEqual(changes["jobs"], [], "nothing happens any more")
            revision = changes["revision"]
            for job in changes["jobs"]:
                if job["id"] == jobID and job["finished_at"] is not None:
                    return job  # type: ignore[no-any-return]


class BodyTests(ClientCase):
    """
    Tests for bodies without end.
    """

    def assertCutOff(self, beginning: bytes, piece: bytes, pieces: int) -> None:
        """
        Send a body that is too large, and go on with it whatever the answer is, until
        the connection breaks. Check that the answer came early, and that next to
        nothing of the body was kept.

        @param pieces: how many there are.
        """
        self.submit(1)
        self.settle()
        self.site.forgetMemory()
        before = self.site.memory
        connection = self.connect(beginning)
        answer = b""
        sent = answeredAfter = 0
        try:
            for _ in range(pieces):
                connection.sendall(piece)
                sent += len(piece)
                readable, _, _ = select.select([connection], [], [], 0)
                if readable:
                    answeredAfter = answeredAfter or sent
                    answer += connection.recv(65536)
                    self.assertEqual(self.site.files, [])
        except ConnectionError:
            pass
        self.assertTrue(answer.startswith(b"HTTP/1.1 413 "), answer[:100])
        self.assertIn(b'"code":"body_too_large"', answer)
        self.assertLess(answeredAfter, IN_BETWEEN)
        self.settle()
        # A thread or a module that is new takes some of it.
        self.assertLess(self.site.mostMemory - before, 8 * MIB)
        self.assertEqual(self.site.files, [])

    def test_announced(self) -> None:
        """
        A body of two gibibytes is cut off while it arrives.
        """
        size = 2 << 30
        beginning = head("POST", "/v1/jobs", f"Content-Length: {size}")
        self.assertCutOff(beginning, bytes(1 << 16), size >> 16)

    def test_chunked(self) -> None:
        """
        A body in chunks that does not end is cut off while it arrives.
        """
        beginning = head("POST", "/v1/jobs", "Transfer-Encoding: chunked")
        self.assertCutOff(beginning, b"10000\r\n" + bytes(1 << 16) + b"\r\n", 1 << 30)

    def test_oneChunk(self) -> None:
        """
        So is one whose one chunk does not end.
        """
        beginning = head("POST", "/v1/jobs", "Transfer-Encoding: chunked")
        self.assertCutOff(beginning + b"fffffffffff\r\n", bytes(1 << 16), 1 << 30)


class SlowReaderTests(ClientCase):
    """
    Tests for clients that do not read their answers.
    """

    def test_output(self) -> None:
        """
        Output is read from its file as the client takes it; others are served
        meanwhile.
        """
        jobID = self.submit(1)
        self.awaitEnd(jobID)
        directory = Path(StatePaths.at(str(self.directory)).output) / str(jobID) / "1"
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / "stdout").open("wb") as file:
            file.truncate(64 * MIB)
        self.settle()
        self.site.forgetMemory()
        before = self.site.memory
        connection = self.connect(head("GET", f"/v1/jobs/{jobID}/output"))
        self.settle()
        with HTTPResponse(connection) as response:
            response.begin()
            read = 0
            while data := response.read(MIB):
                read += len(data)
                self.site.ask("GET", "/v1/pool")
        self.assertEqual(read, 64 * MIB)
        self.assertLess(self.site.mostMemory - before, 4 * MIB)

    def test_pages(self) -> None:
        """
        Who asks for one page after the other and takes none makes the daemon keep one
        of them.
        """
        for _ in range(5):
            self.submit("x" * (MIB - 200))
        self.settle()
        self.site.ask("GET", "/v1/jobs")
        self.site.forgetMemory()
        before = self.site.memory
        connection = self.connect(head("GET", "/v1/jobs") * 100)
        self.settle()
        self.assertLess(self.site.mostMemory - before, 48 * MIB)
        for _ in range(3):
            status, page = answerOn(connection)
            self.assertEqual((status, len(page["jobs"])), (200, 2))


class HalfClosedTests(ClientCase):
    """
    Tests for clients that close their sending side behind a request.
    """

    def test_answered(self) -> None:
        """
        They get their answers, and the connection is closed then.
        """
        self.submit(1)
        for asking in (
            head("GET", "/v1/pool"),
            head("GET", "/v1/jobs") * 3,
            head("GET", "/v1/jobs?changed_after=999&wait=60"),
        ):
            connection = self.connect(asking)
            connection.shutdown(socket.SHUT_WR)
            answers = b""
            while data := connection.recv(65536):
                answers += data
            self.assertEqual(answers.count(b"HTTP/1.1 200 OK"), asking.count(b"GET"))


class UnreadPagesTests(ClientCase):
    """
    Tests for many clients that do not take a page.
    """

    def test_memory(self) -> None:
        """
        All of them together make the daemon keep a bounded number of bytes, and a client
        that takes its page gets it.
        """
        for _ in range(5):
            self.submit("x" * (MIB - 200))
        self.site.ask("GET", "/v1/jobs")
        self.settle()
        self.site.forgetMemory()
        before = self.site.memory
        for _ in range(50):
            self.connect(head("GET", "/v1/jobs?limit=1000"))
        self.assertEqual(len(self.site.ask("GET", "/v1/jobs?limit=1000")["jobs"]), 2)
        self.assertLess(self.site.mostMemory - before, 128 * MIB)


class CrowdTests(DaemonCase):
    """
    Tests for many clients that come at once.
    """

    def test_otherEndpoint(self) -> None:
        """
        Clients of another endpoint that send headers without end leave descriptors for
        jobs and for the daemon's own socket.
        """
        token = self.scratch / "token"
        token.write_text(TOKEN)
        token.chmod(0o600)
        daemon = self.launch(
            *("--listen", "tcp:0:interface=127.0.0.1", "--token-file", str(token)),
            launcher=("sh", "-c", 'ulimit -n 200 && exec "$@"', "sh", TWISTD),
        )
        daemon.awaitReady()
        port = re.search(r"JobSite starting on (\d+)", daemon.log)
        assert port is not None
        for _ in range(250):
            connection = socket.create_connection(("127.0.0.1", int(port[1])), PATIENCE)
            self.addCleanup(connection.close)
            connection.sendall(b"GET /v1/pool HTTP/1.1\r\na: b\r\n")
        daemon.awaitLog("the limit is")
        (jobID,) = daemon.submit({"args": [["true"], {}]})
        (job,) = daemon.awaitEnds(jobID)
        self.assertEqual(job["state"], "succeeded")
        self.assertLess(len(os.listdir(f"/proc/{daemon.process.pid}/fd")), 100)
        self.assertEqual(daemon.log.count("the limit is"), 1)
        self.assertEqual(daemon.stop(), 0)

    def test_killed(self) -> None:
        """
        A daemon that was killed listens on its other Unix socket again, though the process
        id in a lock file beside it is in use.
        """
        path = str(self.scratch / "other")
        options = ("--listen", f"unix:{path}:mode=600")
        self.start(*options).kill()
        Path(f"{path}.lock").unlink(missing_ok=True)
        os.symlink(str(os.getpid()), f"{path}.lock")
        daemon = self.start(*options)
        self.assertEqual(answerOn(self.connect(path))[0], 200)
        self.assertEqual(daemon.stop(), 0)
        self.assertFalse(os.path.lexists(path))

    def test_socket(self) -> None:
        """
        Five hundred clients can connect to the daemon's own socket before it has turned
        to the first.
        """
        daemon = self.start()
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            connections = [self.connect(daemon.paths.socket) for _ in range(500)]
        finally:
            daemon.process.send_signal(signal.SIGCONT)
        for connection in connections:
            self.assertEqual(answerOn(connection)[0], 200)
        self.assertEqual(daemon.stop(), 0)

    def connect(self, path: str) -> socket.socket:
        """
        A connection on which something is asked.
        """
        connection = socket.socket(socket.AF_UNIX)
        self.addCleanup(connection.close)
        connection.settimeout(PATIENCE)
        connection.connect(path)
        connection.sendall(head("GET", "/v1/pool"))
        return connection


class WaiterTests(ClientCase):
    """
    Tests for clients that wait.
    """

    def wait(self, count: int, revision: int) -> list[socket.socket]:
        """
        Let clients wait for a change, each on a connection.
        """
        asking = head("GET", f"/v1/jobs?changed_after={revision}&wait=60")
        return [self.connect(asking) for _ in range(count)]

    def test_change(self) -> None:
        """
        Five hundred clients that wait are answered by one change. While they wait the
        daemon serves others, and each costs little memory.
        """
        self.site.ask("PATCH", "/v1/pool", {"active": False})
        self.submit(1)
        self.settle()
        self.site.forgetMemory()
        before = self.site.memory
        waiting = self.wait(500, 1)
        self.settle()
        self.assertLess(self.site.memory - before, 500 * 32 * 1024)
        jobID = self.submit(2)
        for connection in waiting:
            status, changes = answerOn(connection)
            self.assertEqual((status, changes["revision"]), (200, 2))
            self.assertEqual([job["id"] for job in changes["jobs"]], [jobID])
        self.assertLess(self.site.mostMemory - before, 500 * 48 * 1024)

    def test_stop(self) -> None:
        """
        A daemon that stops lets go all who wait, for changes or for quiet.
        """
        self.site.ask("PATCH", "/v1/pool", {"active": False})
        self.submit(1)
        waiting = self.wait(500, 1)
        quiet = self.connect(head("POST", "/v1/pool/quiesce"))
        self.settle()
        self.site.end()
        for connection in waiting:
            status, changes = answerOn(connection)
            self.assertEqual((status, changes["jobs"], changes["revision"]), (200, [], 1))
        status, problem = answerOn(quiet)
        self.assertEqual((status, problem["code"]), (503, "stopping"))

    def test_quiesce(self) -> None:
        """
        A client that waits for quiet and is lost holds no job back.
        """
        pipe = self.directory / "pipe"
        os.mkfifo(pipe)
        self.submit(UNTIL, str(pipe))
        quiet = self.connect(head("POST", "/v1/pool/quiesce"))
        self.settle()
        later = self.submit(2)
        self.settle()
        self.assertEqual(self.site.ask("GET", f"/v1/jobs/{later}")["state"], "queued")
        quiet.close()
        self.assertEqual(self.awaitEnd(later)["state"], "succeeded")
        pipe.write_text("")
