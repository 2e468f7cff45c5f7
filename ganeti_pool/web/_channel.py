"""
Connections: how long one may be silent, and how much may wait in it.
"""
# Much of twisted.web has no types.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.interfaces import ISystemHandle, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request

__all__ = ["SILENCE", "JobChannel"]

SILENCE = 60
"""
After how many seconds a connection is closed on which no part of a request comes,
or whose client does not take its answer. It is not counted while a request is
answered, so that who waits may wait.
"""

_AHEAD = 1 << 16
"""
So many bytes may be sent behind a request that is not yet answered. They are in
memory, and behind them nobody would see the connection close.
"""

_KEEPALIVE = (
    (socket.TCP_KEEPIDLE, 60),
    (socket.TCP_KEEPINTVL, 15),
    (socket.TCP_KEEPCNT, 4),
)
"""
A machine that has gone without a word is noticed after two minutes, and what it
waited for is given up.
"""


class JobChannel(HTTPChannel):
    """
    A connection of HTTP/1.1.

    Threads: used on the reactor thread only.

    @ivar isAnswering: whether a request is being answered.
    @ivar _ahead: how many bytes came meanwhile.
    @ivar _isFull: whether the client has not taken what was written.
    @ivar _answered: a request whose answer waits for that, or L{None}.
    """

    transport: Any
    site: Any
    isAnswering = False
    _ahead = 0
    _isFull = False
    _answered: Request | None = None
    _optimisticEagerReadSize = _AHEAD

    def connectionMade(self) -> None:
        """
        Begin.
        """
        super().connectionMade()
        self.site.opened(self)
        transport = self.transport
        if ITCPTransport.providedBy(transport) and ISystemHandle.providedBy(transport):
            transport.setTcpKeepAlive(True)
            handle = transport.getHandle()
            # TLS has another, and then the system's own patience. A Unix socket's is
            # called a TCP transport too, and needs none.
            if isinstance(handle, socket.socket) and handle.family != socket.AF_UNIX:
                for option, value in _KEEPALIVE:
                    handle.setsockopt(socket.IPPROTO_TCP, option, value)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        It is closed.
        """
        self.site.closed(self)
        super().connectionLost(reason)

    def hangUp(self) -> None:
        """
        Close it, once the client has what it has asked for.
        """
        if self.isAnswering:
            self.persistent = False
        else:
            self.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """
        Some of a request is there.
        """
        wasAnswering = self.isAnswering
        super().dataReceived(data)
        if wasAnswering and self.isAnswering:
            self._ahead += len(data)
            if self._ahead > _AHEAD:
                self.transport.abortConnection()

    def pauseProducing(self) -> None:
        """
        The client's buffer is full.
        """
        self._isFull = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """
        The client's buffer has room: the next request may be answered.
        """
        self._isFull = False
        super().resumeProducing()
        answered, self._answered = self._answered, None
        if answered is not None:
            self.requestDone(answered)

    def requestDone(self, request: Request) -> None:
        """
        An answer was written. The next request waits until the client has taken most
        of it: Twisted would answer all that was read, and keep the answers. A client
        that takes nothing is dropped, also one that wants the connection closed then.
        """
        if self._isFull:
            self._answered = request
            self.setTimeout(SILENCE)
            return
        self.isAnswering = False
        self._ahead = 0
        if not self.persistent:
            self.setTimeout(SILENCE)
        super().requestDone(request)
