"""
Tests for L{ganeti_pool.web} and L{ganeti_pool.client} over real sockets.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as installedReactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    UNIXServerEndpoint,
    connectProtocol,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import capturedLogs
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure

from ganeti_pool.client import (
    DaemonUnreachable,
    JobClient,
    RequestRefused,
    connectHTTP,
    connectUnix,
)
from ganeti_pool.jobs import JobState
from ganeti_pool.web import makeSite
from ganeti_pool.wire import MAX_BODY

from .fakequeue import FakeQueue, makeJob

reactor: Any = installedReactor

TOKEN = "s3cret"


class Raw(Protocol):
    """
    A connection by hand.

    @ivar received: what has come.
    @ivar refused: fires when a whole problem document has come.
    @ivar closed: fires when the connection has closed.
    """

    def __init__(self) -> None:
        self.received = b""
        self.refused: Deferred[None] = Deferred()
        self.closed: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """
        Keep it.
        """
        self.received += data
        if self.received.endswith(b"}"):
            self.refused.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Tell.
        """
        self.closed.callback(None)


class Connection(ProtocolWrapper):
    """
    A connection to the site.

    @ivar closed: fires when it has closed.
    """

    def __init__(self, factory: Any, wrapped: Any) -> None:
        super().__init__(factory, wrapped)
        self.closed: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Tell.
        """
        super().connectionLost(reason)
        self.closed.callback(None)


class Counting(WrappingFactory):
    """
    A site that tells which connections are made to it.
    """

    protocol = Connection

    def __init__(self, site: Any, made: list[Connection]) -> None:
        super().__init__(site)
        self._made = made

    def buildProtocol(self, address: Any) -> Connection:
        """
        One more.
        """
        connection = super().buildProtocol(address)
        assert isinstance(connection, Connection)
        self._made.append(connection)
        return connection


class Breaking(FakeQueue):
    """
    A queue that can break off what it is asked by.

    @ivar breaksOff: whether it does.
    """

    breaksOff = False

    def __init__(self, directory: str, connections: list[Connection]) -> None:
        super().__init__(directory)
        self._connections = connections

    def _answer(self, value: Any, *call: object) -> Deferred[Any]:
        answer = super()._answer(value, *call)
        if not self.breaksOff:
            return answer
        for connection in self._connections:
            connection.abortConnection()
        return Deferred()


class Daemon:
    """
    A site that listens on a port and on a socket.

    @ivar connections: each that was made to it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.connections: list[Connection] = []
        self.queue = Breaking(str(directory), self.connections)
        self.socket = str(directory / "s")
        self._ports: list[Any] = []
        self._clients: list[JobClient] = []

    @property
    def port(self) -> int:
        """
        The number of the port.
        """
        port: int = self._ports[0].getHost().port
        return port

    @property
    def byPort(self) -> JobClient:
        """
        A client that has the token.
        """
        client = connectHTTP(reactor, f"http://127.0.0.1:{self.port}", TOKEN)
        self._clients.append(client)
        return client

    @property
    def bySocket(self) -> JobClient:
        """
        A client on the socket.
        """
        client = connectUnix(reactor, self.socket)
        self._clients.append(client)
        return client

    async def listen(self) -> None:
        """
        Begin.
        """
        onPort = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        onSocket = UNIXServerEndpoint(reactor, self.socket, mode=0o600)
        for endpoint, token in ((onPort, TOKEN.encode()), (onSocket, None)):
            site = makeSite(reactor, self.queue, token)
            self._ports.append(await endpoint.listen(Counting(site, self.connections)))

    async def close(self) -> None:
        """
        End, with all connections.
        """
        for client in self._clients:
            await client.close()
        for port in self._ports:
            await port.stopListening()
        for connection in self.connections:
            await connection.closed

    async def connect(self) -> Raw:
        """
        A connection by hand to the port.
        """
        raw = Raw()
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port), raw)
        return raw


@pytest.fixture
def daemon() -> Generator[Daemon, None, None]:
    """
    A daemon that listens, and that logs no failure.
    """
    # A short path: a socket's is limited, and pytest's are long.
    with tempfile.TemporaryDirectory() as directory:
        listening = Daemon(Path(directory))
        with capturedLogs() as events:
            pytest_twisted.blockon(Deferred.fromCoroutine(listening.listen()))
            yield listening
            pytest_twisted.blockon(Deferred.fromCoroutine(listening.close()))
        # Twisted's older way to log calls it otherwise.
        failures = [
            event[key] for event in events for key in ("failure", "log_failure") if key in event
        ]
        # That of an answer which broke off.
        assert [failure for failure in failures if not failure.check(ZeroDivisionError)] == []


@pytest_twisted.ensureDeferred
async def test_everyDayOverSockets(daemon: Daemon) -> None:
    """
    Over a port and over a socket, jobs are submitted and read again.
    """
    for client in (daemon.byPort, daemon.bySocket):
        (job,) = await client.submit([{"args": [["true"]]}])
        assert (await client.job(job["id"]))["name"] == "true"
        assert job["id"] in [each["id"] for each in (await client.listJobs())["jobs"]]


@pytest_twisted.ensureDeferred
async def test_oneConnection(daemon: Daemon) -> None:
    """
    Requests one after the other take one connection, refused ones and those without
    an answer's body too, until the client is closed; then there is another.
    """
    for client in (daemon.byPort, daemon.bySocket):
        daemon.connections.clear()
        for jobID in range(100):
            daemon.queue.add(makeJob(jobID, state=JobState.FAILED))
            await client.job(jobID)
            await client.output(jobID, "stdout", collector=print)
            await client.changePriority(jobID, 3)
            await client.remove(jobID)
            with pytest.raises(RequestRefused):
                await client.job(jobID)
        (connection,) = daemon.connections
        await client.close()
        await connection.closed
        await client.pool()
        assert len(daemon.connections) == 2


@pytest_twisted.ensureDeferred
async def test_tenThousandJobs(daemon: Daemon) -> None:
    """
    Whoever watches ten thousand jobs hears of each over one connection.
    """
    daemon.queue.add(*(makeJob(1 + n, revision=1 + n) for n in range(10_000)))
    client = daemon.bySocket
    heard: list[int] = []
    revision = 0
    while len(heard) < 10_000:
        answer = await client.changedJobs(revision, 60)
        heard += [job["id"] for job in answer["jobs"]]
        revision = answer["revision"]
    assert heard == list(range(1, 10_001))
    assert len(daemon.connections) == 1


async def used(daemon: Daemon, client: JobClient) -> Connection:
    """
    The connection that a client keeps, having used it.
    """
    await client.close()
    daemon.connections.clear()
    await client.pool()
    daemon.queue.calls.clear()
    return daemon.connections[0]


@pytest_twisted.ensureDeferred
async def test_keptConnectionIsClosed(daemon: Daemon) -> None:
    """
    A request that changes nothing is sent again if the kept connection turns out to
    be closed. One that changes something is not, and fails.
    """
    daemon.queue.add(makeJob(17))
    for client in (daemon.byPort, daemon.bySocket):
        connection = await used(daemon, client)
        connection.abortConnection()
        assert (await client.job(17))["id"] == 17
        assert len(daemon.connections) == 2
        connection = await used(daemon, client)
        connection.abortConnection()
        with pytest.raises(DaemonUnreachable):
            await client.cancel(17)
        assert daemon.queue.calls == []
        assert (await client.cancel(17))["state"] == "cancelled"


@pytest_twisted.ensureDeferred
async def test_neverTwice(daemon: Daemon) -> None:
    """
    A connection that breaks while the answer is awaited has a reading request sent
    once more, and a changing one never, for it may have been done.
    """
    daemon.queue.add(makeJob(17, state=JobState.FAILED))
    for client in (daemon.byPort, daemon.bySocket):
        asking: list[tuple[Callable[[], Deferred[Any]], int]] = [
            (lambda: client.pool(), 2),  # noqa: B023 - called in the loop
            (lambda: client.submit([{"args": []}]), 1),  # noqa: B023
            (lambda: client.cancel(17), 1),  # noqa: B023
            (lambda: client.changePriority(17, 5), 1),  # noqa: B023
            (lambda: client.quiesce(), 1),  # noqa: B023
        ]
        for ask, times in asking:
            await used(daemon, client)
            daemon.queue.breaksOff = True
            with pytest.raises(DaemonUnreachable):
                await ask()
            daemon.queue.breaksOff = False
            assert len(daemon.queue.calls) == times


@pytest_twisted.ensureDeferred
async def test_machineGoes(daemon: Daemon) -> None:
    """
    A client's machine that goes without a word is noticed within two minutes.
    """
    await daemon.bySocket.pool()
    await daemon.byPort.pool()
    transport: Any = daemon.connections[1].transport
    handle = transport.getHandle()
    assert handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    idle, interval, count = (
        handle.getsockopt(socket.IPPROTO_TCP, option)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    )
    assert idle + interval * count == 120


@pytest_twisted.ensureDeferred
async def test_tooLargeByClient(daemon: Daemon) -> None:
    """
    A client that sends far too much hears why it was refused.
    """
    for client in (daemon.byPort, daemon.bySocket):
        with pytest.raises(RequestRefused) as caught:
            await client.submit([{"args": ["x" * 20 * MAX_BODY]}])
        assert (caught.value.status, caught.value.code) == (413, "body_too_large")
    assert daemon.queue.calls == []


@pytest.mark.parametrize("framing", ["announced", "chunked"])
@pytest_twisted.ensureDeferred
async def test_tooLargeWhileItArrives(daemon: Daemon, framing: str) -> None:
    """
    A body that is too large is refused while more of it is to come.
    """
    raw = await daemon.connect()
    assert raw.transport is not None
    head = f"POST /v1/jobs HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n"
    if framing == "announced":
        body = f"Content-Length: {5 * MAX_BODY}\r\n\r\n".encode()
    else:
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        body = b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 17
    raw.transport.write(head.encode() + body)
    # The end of the body was never sent.
    await raw.refused
    raw.transport.loseConnection()
    await raw.closed
    assert raw.received.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"body_too_large"' in raw.received


@pytest_twisted.ensureDeferred
async def test_waiterLeaves(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A client that goes away while it waits for changes ends the wait.
    """
    cancelled: Deferred[None] = Deferred()
    asked: Deferred[None] = Deferred()
    held: Deferred[Any] = Deferred(lambda _: cancelled.callback(None))

    def changedJobs(*args: object) -> Deferred[Any]:
        asked.callback(None)
        return held

    monkeypatch.setattr(daemon.queue, "changedJobs", changedJobs)
    waiting = daemon.bySocket.changedJobs(0, 60)
    await asked
    waiting.cancel()
    with pytest.raises(CancelledError):
        await waiting
    await cancelled


@pytest_twisted.ensureDeferred
async def test_follow(daemon: Daemon) -> None:
    """
    Output of a running job comes as it is written, and ends with the job.
    """
    daemon.queue.add(makeJob(17, attempt=1, state=JobState.RUNNING))
    path = daemon.directory / "17.1.stdout"
    received = b""

    def collector(data: bytes) -> None:
        nonlocal received
        received += data
        if received == b"first":
            with path.open("ab") as file:
                file.write(b", last")
            daemon.queue.add(makeJob(17, attempt=1, state=JobState.SUCCEEDED))

    path.write_bytes(b"first")
    await daemon.byPort.output(17, "stdout", wait=60, collector=collector)
    assert received == b"first, last"


@pytest_twisted.ensureDeferred
async def test_large(daemon: Daemon) -> None:
    """
    An output of many chunks arrives whole, from an offset on.
    """
    content = os.urandom(3_000_000)
    (daemon.directory / "17.1.stderr").write_bytes(content)
    daemon.queue.add(makeJob(17, attempt=1, state=JobState.FAILED))
    pieces: list[bytes] = []
    await daemon.bySocket.output(17, "stderr", offset=7, collector=pieces.append)
    assert b"".join(pieces) == content[7:]


@pytest_twisted.ensureDeferred
async def test_brokenOff(daemon: Daemon) -> None:
    """
    Output that breaks off does not pass for whole.
    """
    daemon.queue.add(makeJob(17, attempt=1, state=JobState.RUNNING))
    (daemon.directory / "17.1.stdout").write_bytes(b"half")
    pieces: list[bytes] = []

    def collector(data: bytes) -> None:
        pieces.append(data)
        daemon.queue.over.errback(ZeroDivisionError("odd"))

    for client in (daemon.byPort, daemon.bySocket):
        daemon.queue.add(makeJob(17, attempt=1, state=JobState.RUNNING))
        with pytest.raises(DaemonUnreachable):
            await client.output(17, "stdout", wait=60, collector=collector)
    assert pieces == [b"half", b"half"]


@pytest_twisted.ensureDeferred
async def test_nobodyThere(daemon: Daemon) -> None:
    """
    Without a daemon the client says where it looked.
    """
    path = daemon.socket + ".not"
    with pytest.raises(DaemonUnreachable) as caught:
        await connectUnix(reactor, path).pool()
    assert caught.value.where == path
    assert "No such file" in caught.value.why
    with pytest.raises(DaemonUnreachable) as caught:
        await connectHTTP(reactor, "http://127.0.0.1:1").pool()
    assert caught.value.where == "http://127.0.0.1:1"
