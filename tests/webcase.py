"""
A site in front of a fake queue, from the bytes of a request to those of its answer,
for the tests of L{ganeti_pool.web}.
"""

from __future__ import annotations

import json
from http.client import HTTPResponse
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ISystemHandle, ITCPTransport
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from ganeti_pool.web import makeSite

from .fakequeue import FakeQueue

__all__ = ["Answer", "SecureTransport", "Transport", "WebCase"]


class FakeThreads:
    """
    A thread pool that does what it is given at once.
    """

    def callInThreadWithCallback(self, onResult: Any, f: Any, *args: Any) -> None:
        """
        Call it, here.
        """
        try:
            onResult(True, f(*args))
        except Exception:
            onResult(False, Failure())


class FakeReactor(MemoryReactorClock):
    """
    A clock and a thread pool that a test holds in its hand.
    """

    def getThreadPool(self) -> FakeThreads:
        """
        The pool that does all at once.
        """
        return FakeThreads()

    def callFromThread(self, f: Any, *args: Any, **kwargs: Any) -> None:
        """
        There are no threads.
        """
        f(*args, **kwargs)


class Transport(StringTransport):
    """
    A connection whose end is told to its protocol.

    @ivar isTaken: whether the client takes what is written, without which the
        connection does not close.
    """

    protocol: Any
    producer: Any
    isTaken = True

    def unregisterProducer(self) -> None:
        """
        Know no producer, also if there is none, as a real connection.
        """
        self.producer = None

    def loseConnection(self) -> None:
        """
        Close, once.
        """
        self.disconnecting = True
        if self.connected and (self.isTaken or self.disconnected):
            self.connected = False
            self.protocol.connectionLost(Failure(ConnectionDone()))


class SecureTransport(Transport):
    """
    A connection as of TLS.

    @ivar isWatched: whether the system looks after it.
    """

    isWatched = False

    def __init__(self) -> None:
        super().__init__()
        directlyProvides(self, ITCPTransport, ISystemHandle)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        Nothing is sent.
        """

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """
        Look after it.
        """
        self.isWatched = enabled

    def getHandle(self) -> object:
        """
        No socket.
        """
        return object()


class Answer:
    """
    What came back.

    @ivar text: all of it, as it came.
    """

    def __init__(self, text: bytes, method: str = "GET") -> None:
        self.text = text
        parsed = HTTPResponse(self, method=method)  # type: ignore[arg-type]
        parsed.begin()
        self.status = parsed.status
        self.headers = parsed.headers
        self.body = parsed.read()

    def makefile(self, mode: str) -> BytesIO:
        """
        What L{HTTPResponse} wants of a socket.
        """
        return BytesIO(self.text)

    @property
    def value(self) -> Any:
        """
        What the body says.
        """
        return json.loads(self.body)


class WebCase(SynchronousTestCase):
    """
    A site in front of a fake queue, without a token.
    """

    token: bytes | None = None

    def setUp(self) -> None:
        """
        A site and its queue.
        """
        self.reactor = FakeReactor()
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.queue = FakeQueue(str(self.directory))
        self.site = makeSite(self.reactor, self.queue, self.token, self.metrics)

    def metrics(self) -> Deferred[bytes]:
        """
        The figures of this daemon.
        """
        return succeed(b"jobs 5\n")

    def connect(self) -> tuple[Any, Transport]:
        """
        A new connection.
        """
        protocol = self.site.buildProtocol(None)
        transport = Transport()
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return protocol, transport

    def begin(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[Any, Transport]:
        """
        Send a whole request.
        """
        lines = [f"{method} {path} HTTP/1.1", "Host: h\xff\xff"]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
            headers.setdefault("content_type", "application/json")
        lines.extend(f"{key.replace('_', '-')}: {value}" for key, value in headers.items())
        protocol, transport = self.connect()
        protocol.dataReceived("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))
        return protocol, transport

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """
        The answer to a request.
        """
        _, transport = self.begin(method, path, body, **headers)
        return Answer(transport.value(), method)

    def assertRefused(self, answer: Answer, status: int, code: str) -> None:
        """
        Check that an answer is a problem with that status and code.
        """
        problem = answer.value
        self.assertEqual(
            (answer.status, problem["status"], problem["code"]), (status, status, code)
        )
        self.assertEqual(answer.headers["content-type"], "application/problem+json")
        self.assertEqual(list(problem), ["type", "title", "status", "code", "detail", "errors"])
