"""
Unix sockets that an earlier program has left.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.internet.task import deferLater
from zope.interface import implementer

__all__ = ["UnixEndpoint", "removeDeadSocket", "removeOwnSocket"]

_RETRY = 0.05
_TRIES = 100
"""
Another daemon that opens a socket in the same directory needs it for a moment.
"""


def _isSocket(path: str) -> bool:
    """
    Whether a socket is there.

    @raise CannotListenError: if something else is.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(mode):
        raise CannotListenError(
            None, path, "it exists and is not a socket: choose another path, or remove it"
        )
    return True


def removeOwnSocket(path: str) -> None:
    """
    Remove a socket at a path that is this daemon's, since it holds the lock for it.

    @raise CannotListenError: if something else is there, which stays.
    """
    if _isSocket(path):
        os.unlink(path)


def removeDeadSocket(path: str) -> None:
    """
    Remove a socket on which nobody accepts connections. Anything else stays: a socket on which
    somebody does, and whatever is not a socket.

    @raise CannotListenError: if there is something that stays.
    """
    if not _isSocket(path):
        return
    probe = socket.socket(socket.AF_UNIX)
    try:
        # A full backlog would make it wait.
        probe.setblocking(False)
        code = probe.connect_ex(path)
    finally:
        probe.close()
    if code == errno.ECONNREFUSED:
        os.unlink(path)
    elif code in (0, errno.EAGAIN):
        raise CannotListenError(
            None, path, "another program accepts connections there: choose another path, or end it"
        )
    elif code != errno.ENOENT:
        raise CannotListenError(
            None,
            path,
            f"cannot determine whether another program uses it ({os.strerror(code)}): "
            "choose another path, or remove it",
        )


@implementer(IStreamServerEndpoint)
class UnixEndpoint:
    """
    A Unix socket, in place of one that was left by a program which was killed.

    Twisted's own lock file beside a socket names a process by its id, which another
    process may have by now. So none is used, and the socket itself is asked. Two daemons
    that start at once must not each remove the socket of the other: a lock on the
    directory, held while the socket is checked and opened, excludes that.

    Threads: the reactor's.

    @ivar endpoint: the endpoint itself, without a lock file.
    @ivar path: where the socket is.
    """

    def __init__(self, clock: IReactorTime, endpoint: Any, path: str) -> None:
        self.endpoint = endpoint
        self.path = path
        self._clock = clock

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """
        Remove a socket that was left, and listen.

        @return: a Deferred with the port, which fails with C{CannotListenError}.
        """
        return Deferred.fromCoroutine(self._listen(protocolFactory))

    async def _listen(self, protocolFactory: IProtocolFactory) -> IListeningPort:
        directory = os.path.dirname(self.path) or "."
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise CannotListenError(None, self.path, error) from error
        try:
            for _ in range(_TRIES):
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await deferLater(self._clock, _RETRY)
                except OSError:
                    # A file system without locks.
                    break
            else:
                raise CannotListenError(
                    None,
                    self.path,
                    f"another program holds a lock on {directory}: choose another directory, or "
                    "end it",
                )
            removeDeadSocket(self.path)
            port: IListeningPort = await self.endpoint.listen(protocolFactory)
            return port
        finally:
            os.close(descriptor)
