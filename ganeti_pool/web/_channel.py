"""
Connections: how long one may be silent, how much may wait in it, and which requests
cannot be read.
"""
# Much of twisted.web has no types.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import re
import socket
from typing import Any

from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    ISystemHandle,
    ITCPTransport,
)
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request
from zope.interface import implementer

from .. import wire

__all__ = ["LINGER", "SILENCE", "JobChannel"]

SILENCE = 60
"""
After how many seconds a connection is closed on which no part of a request comes,
or whose client does not take its answer. It is not counted while a request is
answered, so that who waits may wait.
"""

_HEAD_TIME = 10.0
"""
The seconds in which the request line and the headers must arrive, counted from their
first byte, and on a new connection from the moment it is accepted.
"""

_BODY_TIME = 30.0
_BODY_RATE = 1024
"""
A body must arrive within L{_BODY_TIME} seconds, and one second more for each
L{_BODY_RATE} bytes that have come.
"""

_LAST_WAIT = 1.0
"""
The seconds for which a request still waits when its client has closed its sending side.
"""

LINGER = 2.0
"""
The seconds for which the rest of a refused request is read and dropped. Closing
at once would reset the connection of a client that still sends, and the client might
never see the answer.
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


_DIGITS = 18
"""
The digits of the longest body that can be announced; it is refused later.
"""

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(rb"[\x21-\xb0]+")
_VERSION = re.compile(rb"HTTP/[0-9](\.[0-9])?")


@implementer(IHalfCloseableProtocol)
class JobChannel(HTTPChannel):
    """
    A connection of HTTP/1.1.

    A request that cannot be read is answered with a problem document. Twisted answers with a
    bare status line, or not at all, and has no public way to change that: so this
    class checks each line before it hands it on, and overrides
    C{_respondToBadRequestAndDisconnect} for what remains.

    Threads: used on the reactor thread only.

    @ivar isAnswering: whether a request is being answered.
    @ivar isRefused: whether the connection ends because a request on it cannot be read.
    @ivar idleSince: the time when the connection began to wait for a whole head;
        L{None} while a body arrives or a request is answered.
    @ivar _ahead: how many bytes came meanwhile.
    @ivar _isFull: whether the client has not taken what was written.
    @ivar _answered: a request whose answer waits for that, or L{None}.
    @ivar _sendsNoMore: whether the client has closed its sending side.
    @ivar _headSize: the bytes of the head that have been read as lines, 0 before the first.
    @ivar _deadline: ends a head, a body or a last wait that takes too long, or L{None}.
    @ivar _lingering: closes a refused connection, or L{None}.
    @ivar _bodySize: how many bytes of the body have come.
    """

    transport: Any
    site: Any
    isAnswering = False
    isRefused = False
    idleSince: float | None = None
    _ahead = 0
    _isFull = False
    _answered: Request | None = None
    _sendsNoMore = False
    _headSize = 0
    _deadline: IDelayedCall | None = None
    _lingering: IDelayedCall | None = None
    _bodySize = 0
    _bodyBegan = 0.0
    _optimisticEagerReadSize = _AHEAD

    def connectionMade(self) -> None:
        """
        Begin.
        """
        if not self.site.opened(self):
            self.isRefused = True
            self.transport.abortConnection()
            return
        super().connectionMade()
        self.idleSince = self.site.reactor.seconds()
        self._deadline = self.site.reactor.callLater(_HEAD_TIME, self._headIsLate)
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
        self._cancelDeadline()
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        self.site.closed(self)
        super().connectionLost(reason)

    def makeRoom(self) -> None:
        """
        Close it for another client, while no request on it is answered. The end of an
        answer may still be on its way.
        """
        self.isRefused = True
        if self._lingering is None:
            self._lingering = self.site.reactor.callLater(LINGER, self._endLingering)
        self.loseConnection()

    def readConnectionLost(self) -> None:
        """
        The client has closed its sending side, or all of the connection: which of the
        two, TCP does not show. What it has asked for is answered; a request that waits
        for something ends its wait soon, so that a lost client holds nothing up.
        """
        self._sendsNoMore = True
        if self.isAnswering:
            self._endWaitsSoon()
        elif self.isRefused or not self._isInRequest():
            self.loseConnection()
        else:
            self.refuse("bad_request", "the request ended before all of it had arrived")

    def _endWaitsSoon(self) -> None:
        self._cancelDeadline()
        self._deadline = self.site.reactor.callLater(_LAST_WAIT, self._endWaits)

    def _endWaits(self) -> None:
        self._deadline = None
        self.requests[0].endWaits()

    def writeConnectionLost(self) -> None:
        """
        Never called, since this end does not close its sending side alone.
        """

    def _isInRequest(self) -> bool:
        # A part of the first line is in Twisted's buffer, for which there is no public name.
        return bool(self._headSize or self._buffer or not self.line_mode)

    def refuse(self, code: str, detail: str) -> None:
        """
        Answer a request that cannot be read, and close the connection.

        @param code: see L{wire.STATUS <ganeti_pool.wire.STATUS>}.
        """
        if self.isRefused:
            return
        self.isRefused = True
        self._cancelDeadline()
        self.persistent = False
        # The body of a request that has its answer already may be what cannot be read.
        if not (self.requests and self.requests[-1].startedWriting):
            problem = wire.problem(code, detail)
            status, body = problem["status"], wire.encode(problem)
            self.transport.write(
                b"HTTP/1.1 %d %b\r\nConnection: close\r\nContent-Type: application/problem+json"
                b"\r\nContent-Length: %d\r\n\r\n%b"
                % (status, problem["title"].encode("ascii"), len(body), body)
            )
            self.site.logRefused(self, status, len(body))
        if self._sendsNoMore:
            self.loseConnection()
        else:
            self._lingering = self.site.reactor.callLater(LINGER, self._endLingering)

    def _endLingering(self) -> None:
        self._lingering = None
        self.transport.abortConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        # Twisted calls it for each request that it cannot read, and it has no other hook.
        self.refuse(
            "bad_request",
            "a header cannot be read"
            if self.line_mode
            else "a chunk of the body cannot be read: it must be its length in hexadecimal digits, "
            "a line break, that number of bytes, and a line break",
        )

    def lineLengthExceeded(self, line: bytes) -> None:
        """
        A line is too long.
        """
        self._refuseHead()

    def _refuseHead(self) -> None:
        if self._headSize:
            self.refuse(
                "headers_too_large",
                f"the headers of a request have {self.maxHeaders} lines and, with the request "
                f"line, {self.totalHeadersSize} bytes at most",
            )
        else:
            self.refuse(
                "uri_too_long", f"the request line has {self.totalHeadersSize} bytes at most"
            )

    def lineReceived(self, line: bytes) -> None:
        """
        A line of the head is there.
        """
        if self.isRefused:
            return
        isFirst = not self._headSize
        if self._headSize + len(line) > self.totalHeadersSize:
            self._refuseHead()
            return
        if isFirst and line and not _isRequestLine(line):
            self._refuseRequestLine(line)
            return
        self._headSize += len(line)
        super().lineReceived(line)

    def _refuseRequestLine(self, line: bytes) -> None:
        version = line.rpartition(b" ")[2]
        if _VERSION.fullmatch(version) and not version.startswith(b"HTTP/1."):
            self.refuse("version_not_supported", "the daemon speaks HTTP/1.1 and HTTP/1.0")
        else:
            self.refuse(
                "bad_request", "the request line cannot be read: it must be METHOD PATH HTTP/1.1"
            )

    def headerReceived(self, line: bytes) -> bool:
        """
        A header is there as a whole.

        @return: whether it can be read.
        """
        if self._receivedHeaderCount >= self.maxHeaders:
            self._refuseHead()
            return False
        problem = _problemOf(line, self._transferDecoder is not None)
        if problem is not None:
            self.refuse(*problem)
            return False
        return bool(super().headerReceived(line))

    def allHeadersReceived(self) -> None:
        """
        The head of a request is there.
        """
        self._cancelDeadline()
        self.idleSince = None
        self._headSize = 0
        self._bodySize = 0
        super().allHeadersReceived()
        if self.length != 0:
            self._bodyBegan = self.site.reactor.seconds()
            self._deadline = self.site.reactor.callLater(_BODY_TIME, self._checkBody)

    def allContentReceived(self) -> None:
        """
        A request is there as a whole.
        """
        self._cancelDeadline()
        if self._sendsNoMore:
            self._endWaitsSoon()
        super().allContentReceived()

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        """
        Whether the connection stays open. Twisted splits the header at spaces, and misses
        C{close, upgrade}.
        """
        for value in request.requestHeaders.getRawHeaders(b"connection", []):
            if b"close" in (option.strip().lower() for option in value.split(b",")):
                request.setHeader(b"connection", b"close")
                return False
        return bool(super().checkPersistence(request, version))

    def _cancelDeadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _headIsLate(self) -> None:
        self._deadline = None
        if self._isInRequest():
            self.refuse(
                "request_timeout",
                f"the request line and the headers must arrive within {_HEAD_TIME:g} seconds",
            )
        else:
            self.loseConnection()

    def _checkBody(self) -> None:
        self._deadline = None
        left = self._bodyBegan + _BODY_TIME + self._bodySize / _BODY_RATE
        left -= self.site.reactor.seconds()
        if left > 0:
            self._deadline = self.site.reactor.callLater(left, self._checkBody)
        else:
            self.refuse(
                "request_timeout",
                f"a body must arrive within {_BODY_TIME:g} seconds, plus one second for each "
                f"{_BODY_RATE} bytes",
            )

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
        if self.isRefused:
            return
        wasAnswering = self.isAnswering
        if not self.line_mode and not wasAnswering:
            self._bodySize += len(data)
        super().dataReceived(data)
        if wasAnswering and self.isAnswering:
            self._ahead += len(data)
            if self._ahead > _AHEAD:
                self.transport.abortConnection()
        self._watchHead()

    def _watchHead(self) -> None:
        """
        See that a head which has begun ends in time, and that nothing else is awaited.
        """
        if self.isRefused or self.isAnswering or not self.line_mode:
            return
        if not self._isInRequest():
            self._cancelDeadline()
        elif self._deadline is None:
            self._deadline = self.site.reactor.callLater(_HEAD_TIME, self._headIsLate)

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
        self._cancelDeadline()
        self._ahead = 0
        self.idleSince = self.site.reactor.seconds()
        if not self.persistent:
            self.setTimeout(SILENCE)
        super().requestDone(request)
        # Other requests may have come before the end.
        if self._sendsNoMore and not self.isAnswering and not self._isInRequest():
            self.loseConnection()


def _isRequestLine(line: bytes) -> bool:
    """
    Whether Twisted can read a request line.
    """
    parts = line.split(b" ")
    return (
        len(parts) == 3
        and _TOKEN.fullmatch(parts[0]) is not None
        and _TARGET.fullmatch(parts[1]) is not None
        and parts[2] in (b"HTTP/1.1", b"HTTP/1.0")
    )


def _problemOf(line: bytes, hasLength: bool) -> tuple[str, str] | None:
    """
    Why a header cannot be read: a code and a sentence; L{None} if it can.

    @param hasLength: whether an earlier header says how long the body is.
    """
    name, colon, value = line.partition(b":")
    value = value.strip(b" \t")
    if not colon or not _TOKEN.fullmatch(name):
        return "bad_request", "a header cannot be read: it must be NAME: VALUE"
    if re.search(rb"[\0\r\n]", value):
        return "bad_request", "a header has a NUL or a line break in its value"
    isLength = name.lower() == b"content-length"
    isEncoding = name.lower() == b"transfer-encoding" and value.lower() != b"identity"
    if not (isLength or isEncoding):
        return None
    if hasLength:
        return (
            "bad_request",
            "the length of the body is given more than once: send one Content-Length, or "
            "Transfer-Encoding: chunked, and not both",
        )
    if isEncoding and value.lower() != b"chunked":
        return "unsupported_transfer_encoding", "the only supported Transfer-Encoding is chunked"
    if isLength and not value.isdigit():
        return "bad_request", "the Content-Length must be an integer"
    # Python does not read a number of more than some thousand digits.
    if isLength and len(value.lstrip(b"0")) > _DIGITS:
        return "body_too_large", f"a body has {wire.MAX_BODY} bytes at most"
    return None
