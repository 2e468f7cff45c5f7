"""
Tests for Unix sockets that an earlier program has left.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.daemon import UnixEndpoint
from ganeti_pool.daemon._unix import removeDeadSocket, removeOwnSocket


class SocketCase(SynchronousTestCase):
    """
    A directory with a short path, for sockets.
    """

    def setUp(self) -> None:
        directory = TemporaryDirectory(dir="/tmp")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.path = str(self.directory / "s")

    def bind(self, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """
        A socket at the path on which nobody accepts yet.
        """
        bound = socket.socket(socket.AF_UNIX, kind)
        self.addCleanup(bound.close)
        bound.bind(self.path)
        return bound


class RemoveTests(SocketCase):
    """
    Tests for L{removeDeadSocket}.
    """

    def assertStays(self, *words: str) -> None:
        """
        Check that what is at the path stays, and that the sentence says why.
        """
        error = self.assertRaises(CannotListenError, removeDeadSocket, self.path)
        self.assertTrue(os.path.lexists(self.path))
        for word in (self.path, *words):
            self.assertIn(word, str(error))

    def test_nothing(self) -> None:
        """
        Where nothing is, nothing is to be removed.
        """
        removeDeadSocket(self.path)

    def test_dead(self) -> None:
        """
        A socket whose program is gone is removed.
        """
        self.bind().close()
        removeDeadSocket(self.path)
        self.assertFalse(os.path.lexists(self.path))

    def test_living(self) -> None:
        """
        A socket on which somebody accepts stays, also one whose backlog is full.
        """
        living = self.bind()
        living.listen(0)
        self.assertStays("another program accepts connections there")
        waiting = []
        for _ in range(3):
            client = socket.socket(socket.AF_UNIX)
            self.addCleanup(client.close)
            client.setblocking(False)
            waiting.append(client.connect_ex(self.path))
        self.assertEqual(waiting[-1], errno.EAGAIN)
        self.assertStays("another program accepts connections there")

    def test_own(self) -> None:
        """
        A socket that is the daemon's own is removed even if another process still has it
        open; anything else stays.
        """
        self.bind().listen(1)
        removeOwnSocket(self.path)
        self.assertFalse(os.path.lexists(self.path))
        removeOwnSocket(self.path)
        Path(self.path).touch()
        self.assertRaises(CannotListenError, removeOwnSocket, self.path)
        self.assertTrue(os.path.lexists(self.path))

    def test_otherKind(self) -> None:
        """
        A socket of another kind stays.
        """
        self.bind(socket.SOCK_DGRAM)
        self.assertStays("cannot determine", os.strerror(errno.EPROTOTYPE))

    def test_noSocket(self) -> None:
        """
        A file, a directory and a link stay.
        """
        for make in (
            lambda path: Path(path).touch(),
            os.mkdir,
            lambda path: os.symlink("/nowhere", path),
            os.mkfifo,
        ):
            self.path = str(self.directory / str(len(os.listdir(self.directory))))
            make(self.path)
            self.assertStays("is not a socket")

    def test_gone(self) -> None:
        """
        A socket that goes by itself is no hindrance.
        """
        self.bind().close()
        lstat = os.lstat

        def lstatAndRemove(path: str) -> os.stat_result:
            status = lstat(path)
            os.unlink(path)
            return status

        self.patch(os, "lstat", lstatAndRemove)
        removeDeadSocket(self.path)


class FakeEndpoint:
    """
    An endpoint that listens when a test says so.

    @ivar found: what was in the directory when it was asked to.
    """

    def __init__(self, directory: Path) -> None:
        self.found: list[str] | None = None
        self.port: Deferred[Any] = Deferred()
        self._directory = directory

    def listen(self, factory: object) -> Deferred[Any]:
        self.found = os.listdir(self._directory)
        return self.port


class EndpointTests(SocketCase):
    """
    Tests for L{UnixEndpoint}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.inner = FakeEndpoint(self.directory)
        self.endpoint = UnixEndpoint(self.clock, self.inner, self.path)
        self.factory: Any = object()

    def lockDirectory(self) -> Callable[[], None]:
        """
        Hold the lock on the directory, as another daemon does.

        @return: gives it back.
        """
        descriptor = os.open(self.directory, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return lambda: os.close(descriptor)

    def test_replaced(self) -> None:
        """
        A dead socket is removed before the new one is opened, under a lock on the
        directory, which is given back.
        """
        self.bind().close()
        listening = self.endpoint.listen(self.factory)
        self.assertEqual(self.inner.found, [])
        self.assertRaises(BlockingIOError, self.lockDirectory)
        self.inner.port.callback("port")
        self.assertEqual(self.successResultOf(listening), "port")
        self.lockDirectory()()

    def test_living(self) -> None:
        """
        Where somebody listens, it is not tried, and the lock is given back.
        """
        self.bind().listen()
        self.failureResultOf(self.endpoint.listen(self.factory), CannotListenError)
        self.assertIs(self.inner.found, None)
        self.lockDirectory()()

    def test_race(self) -> None:
        """
        Of two daemons that open a socket at once, one waits until the other has.
        """
        release = self.lockDirectory()
        listening = self.endpoint.listen(self.factory)
        self.clock.pump([0.05] * 10)
        self.assertIs(self.inner.found, None)
        release()
        self.clock.advance(0.05)
        self.assertEqual(self.inner.found, [])
        self.inner.port.callback("port")
        self.assertEqual(self.successResultOf(listening), "port")

    def test_lockStays(self) -> None:
        """
        A lock that somebody keeps is not awaited for longer than a few seconds.
        """
        release = self.lockDirectory()
        self.addCleanup(release)
        listening = self.endpoint.listen(self.factory)
        self.clock.pump([0.05] * 100)
        failure = self.failureResultOf(listening, CannotListenError)
        self.assertIn(str(self.directory), str(failure.value))
        self.assertIs(self.inner.found, None)

    def test_noLocks(self) -> None:
        """
        A file system without locks is used without one.
        """

        def flock(descriptor: int, operation: int) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        self.patch(fcntl, "flock", flock)
        self.inner.port = succeed("port")
        self.assertEqual(self.successResultOf(self.endpoint.listen(self.factory)), "port")

    def test_noDirectory(self) -> None:
        """
        A directory that is not there is named.
        """
        endpoint = UnixEndpoint(self.clock, self.inner, "/nowhere/s")
        failure = self.failureResultOf(endpoint.listen(self.factory), CannotListenError)
        self.assertIn("/nowhere/s", str(failure.value))
