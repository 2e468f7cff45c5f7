"""
Requests: who is let in, how much is read, how a refusal is told.
"""
# Much of twisted.web has no types.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import hmac
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from .. import wire
from ..errors import InvalidJob, JobError, KeyConflict, OutputUnreadable
from ._channel import LINGER, SILENCE, JobChannel
from ._connections import Connections
from ._memory import Share
from ._output import Valve

__all__ = ["PIECE", "JobRequest", "JobSite", "Refusal"]

_log = Logger(namespace="ganeti_pool.request")

LAST_WORDS = 5.0
"""
For how many seconds a client may take its answer when the daemon ends.
"""

PIECE = 1 << 16
"""
The bytes that are written at a time.
"""

_STALL = 30.0
"""
The seconds in which a client must take a piece of an answer that is in memory.
"""


class Refusal(JobError):
    """
    A request that cannot be one to the queue.

    @ivar code: see L{wire.STATUS <ganeti_pool.wire.STATUS>}.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class Unauthorized(Refusal):
    """
    A request without the right token.

    @ivar challenge: what goes with it as of RFC 6750.
    """

    def __init__(self, hasToken: bool) -> None:
        """
        @param hasToken: whether there is one, which is another then.
        """
        super().__init__(
            "unauthorized",
            "the bearer token of this request is not that of this daemon"
            if hasToken
            else "this daemon asks for its bearer token, and the request has none "
            "(the header Authorization; of the command, --token-file)",
        )
        self.challenge = 'Bearer realm="ganeti-pool"'
        if hasToken:
            self.challenge += ', error="invalid_token"'


class JobRequest(Request):
    """
    A request that is refused as soon as that can be decided: a wrong token, or
    a body that is announced as too large, with the headers; one that turns out
    too large with the byte that is too many. Its body is kept in memory, and
    never in a file.

    @ivar waitedInVain: whether it waited a second or longer to be told news when there is
        any, and there was none. A client that watches an idle daemon does little else.
    @ivar isLogged: whether it has its line in the log before it is finished.
    @ivar _refusal: why it is refused, or L{None}.
    @ivar _isCutOff: whether its answer was broken off, and so never finishes.
    @ivar _waits: what it waits for no longer than its client sends.
    @ivar _waitsEnded: whether the client sends no more.
    """

    channel: Any
    content: BytesIO
    waitedInVain = False
    isLogged = False
    _log = Logger()
    _refusal: Refusal | None = None
    _isCutOff = False
    _waits: tuple[Deferred[Any], ...] = ()
    _waitsEnded = False

    def gotLength(self, length: int | None) -> None:
        """
        The headers are there.

        @param length: of the body in bytes, L{None} if the client does not say.
        """
        self.content = BytesIO()
        authorization = self.getHeader(b"authorization")
        if not self.channel.site.admits(authorization):
            self._refusal = Unauthorized(bool(_tokenIn(authorization)))
        elif length is not None and length > wire.MAX_BODY:
            self._refusal = _tooLarge()
        else:
            self._refusal = self._refusalOfHeaders(length != 0)
        if self._refusal is not None and length != 0:
            self._refuseBody(self._refusal)

    def _refusalOfHeaders(self, hasBody: bool) -> Refusal | None:
        """
        Why a request cannot be served as its headers want it, or L{None}.
        """
        encodings = _listIn(self, b"content-encoding")
        if hasBody and encodings - {b"identity"}:
            self.setHeader("accept-encoding", "identity")
            return Refusal(
                "unsupported_media_type",
                "the daemon does not decode bodies: send it without Content-Encoding",
            )
        if _listIn(self, b"expect") - {b"100-continue"}:
            return Refusal("expectation_failed", "the only supported expectation is 100-continue")
        return None

    def untilClientEnds(self, wait: Deferred[Any], instead: object) -> Deferred[Any]:
        """
        End a wait when the client closes its sending side, which may mean that it is gone.

        @param instead: what the wait then ends with.
        @return: the same Deferred.
        """

        def ended(failure: Failure) -> object:
            if not self._waitsEnded:
                failure.raiseException()
            failure.trap(CancelledError)
            return instead

        wait.addErrback(ended)
        self._waits += (wait,)
        if self._waitsEnded:
            wait.cancel()
        return wait

    def endWaits(self) -> None:
        """
        The client sends no more.
        """
        self._waitsEnded = True
        for wait in self._waits:
            wait.cancel()

    def handleContentChunk(self, data: bytes) -> None:
        """
        A part of the body is there.
        """
        if self._refusal is None and self.content.tell() + len(data) > wire.MAX_BODY:
            self._refusal = _tooLarge()
            self.content = BytesIO()
            self._refuseBody(self._refusal)
        if self._refusal is None:
            self.content.write(data)

    def _refuseBody(self, refusal: Refusal) -> None:
        # The client has not been asked to go on with it.
        self.requestHeaders.removeHeader("expect")
        self.clientproto = b"HTTP/1.1"
        self.channel.persistent = False
        self.setHeader("connection", "close")
        self.tell(refusal)
        # Many a client sends no more then, and the request never finishes. Twisted says
        # what it asks for, and who, with the end of its body.
        self.client = self.channel.getPeer()
        self.method = self.channel._command
        self.path = self.channel._path.partition(b"?")[0]
        self.channel.site.log(self)
        self.isLogged = True
        lingering = self.channel.site.reactor.callLater(
            LINGER, self.channel.transport.abortConnection
        )
        self.notifyFinish().addBoth(lambda _: lingering.active() and lingering.cancel())

    def process(self) -> None:
        """
        The request is there as a whole.
        """
        self.channel.isAnswering = True
        if self._refusal is None and not _isText(unquote_to_bytes(self.path)):
            self._refusal = Refusal(
                "no_such_path", "the path is not valid UTF-8, so nothing is there"
            )
        if self._refusal is None:
            super().process()
            return
        if not self.startedWriting:
            if isinstance(self._refusal, Unauthorized):
                # Clients without a token could keep all connections in use.
                self.channel.persistent = False
                self.setHeader("connection", "close")
            self.tell(self._refusal)
        self.finish()

    def finish(self) -> None:
        """
        The answer is whole, unless it was cut off before: then there is nobody
        to tell.
        """
        if not self._isCutOff:
            super().finish()

    def getRequestHostname(self) -> bytes:
        """
        A constant, since the name that the client uses has no part in routing,
        and may be nonsense.
        """
        return b"localhost"

    async def answer(self, status: int, value: Any) -> None:
        """
        Write a whole answer in JSON. It remains to L{finish}.
        """
        self.setResponseCode(status)
        await self.answerText(wire.encode(value), "application/json")

    async def answerText(
        self, body: bytes | bytearray, contentType: str, share: Share | None = None
    ) -> None:
        """
        Write a whole answer, piece by piece as the client takes it. A client that takes
        nothing for L{_STALL} seconds is dropped. It remains to L{finish}.

        @param body: emptied at the end, if it can be: the traceback of a client that
            went away may refer to it until the next garbage collection.
        @param share: the memory that the answer takes, if it is counted.
        """
        self._announce(len(body), contentType)
        try:
            if len(body) <= PIECE:
                self.write(bytes(body))
            else:
                await self._writePieces(body, share)
        finally:
            if isinstance(body, bytearray):
                body.clear()

    async def _writePieces(self, body: bytes | bytearray, share: Share | None) -> None:
        valve = Valve()
        self.registerProducer(valve, True)
        for start in range(0, len(body), PIECE):
            self.write(bytes(body[start : start + PIECE]))
            opened = valve.opened()
            if opened.called:
                continue
            late = self.channel.site.reactor.callLater(_STALL, self._drop)
            if share is not None:
                share.stalls(self._drop)
            try:
                await opened
            finally:
                if late.active():
                    late.cancel()
                if share is not None:
                    share.goesOn()
        self.unregisterProducer()

    def _drop(self) -> None:
        self.channel.transport.abortConnection()

    def _announce(self, size: int, contentType: str) -> None:
        self.setHeader("content-type", contentType)
        self.setHeader("content-length", str(size))

    def tell(self, error: JobError) -> None:
        """
        Write a refusal as a whole answer.
        """
        errors = error.problems if isinstance(error, (InvalidJob, KeyConflict)) else []
        problem = wire.problem(error.code, _sentence(error), errors)
        if isinstance(error, Unauthorized):
            self.setHeader("www-authenticate", error.challenge)
        body = wire.encode(problem)
        self.setResponseCode(problem["status"])
        self._announce(len(body), "application/problem+json")
        self.write(body)

    def processingFailed(self, reason: Failure) -> None:
        """
        Log what nobody expected, and tell the client no more than that. An
        answer that has begun is cut off, so that it does not pass for whole.
        """
        method, path = _printable(self.method), _printable(self.path)
        if reason.check(OutputUnreadable):
            # What a job has done to its files is not a fault of the daemon.
            why = reason.value
            self._log.warn("{method} {path} is cut off: {why}", method=method, path=path, why=why)
        else:
            self._log.failure("{method} {path} failed", reason, method=method, path=path)
        if self.startedWriting:
            self._isCutOff = True
            self.channel.transport.abortConnection()
            return
        self.tell(Refusal("internal_error", "the daemon failed at this: its log has more"))
        self.finish()


def _printable(text: bytes) -> str:
    # What a client has sent is not to look like another line of the log.
    return text.decode("latin-1").encode("unicode_escape").decode("ascii")


def _tokenIn(authorization: bytes | None) -> bytes:
    """
    The bearer token of a header; empty, and so no daemon's, if it has none.
    """
    scheme, _, token = (authorization or b"").partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def _tooLarge() -> Refusal:
    return Refusal("body_too_large", f"a body has {wire.MAX_BODY} bytes at most")


def _listIn(request: http.Request, header: bytes) -> set[bytes]:
    """
    The members of a header that is a list, in lower case.
    """
    values = b",".join(request.requestHeaders.getRawHeaders(header, []))
    return {member.strip().lower() for member in values.split(b",")} - {b""}


def _isText(path: bytes) -> bool:
    try:
        path.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _sentence(error: JobError) -> str:
    if isinstance(error, InvalidJob):
        pointer, _, sentence = error.problems[0]
        more = len(error.problems) - 1
        where = f"{pointer}: " if pointer else ""
        return where + sentence + (f" (and {more} more)" if more else "")
    return str(error)


def _logLine(address: Any, method: str, path: str, status: int, size: int) -> None:
    _log.info(
        "{client} {method} {path} {status} {bytes}",
        client=getattr(address, "host", None) or "-",
        method=method,
        path=path,
        status=status,
        bytes=size,
    )


class JobSite(Site):
    """
    The site, with its token.
    """

    # Not Twisted's own, which is any of HTTP's versions.
    protocol = JobChannel  # type: ignore[assignment]
    requestFactory = JobRequest

    def __init__(
        self,
        reactor: IReactorTime,
        resource: IResource,
        token: bytes | None,
        connections: Connections | None = None,
    ) -> None:
        """
        @param connections: counts the connections; L{None} for any number of them.
        """
        super().__init__(resource, reactor=reactor, timeout=SILENCE, parsePOSTFormSubmission=False)
        self._connections = connections
        self._token = token
        self._channels: set[JobChannel] = set()
        self._hungUp: Deferred[None] | None = None

    def opened(self, channel: JobChannel) -> bool:
        """
        There is a connection.

        @return: whether there may be one more.
        """
        if self._connections is not None and not self._connections.opened(channel):
            return False
        self._channels.add(channel)
        return True

    def closed(self, channel: JobChannel) -> None:
        """
        It is no more.
        """
        self._channels.discard(channel)
        if self._connections is not None:
            self._connections.closed(channel)
        if self._hungUp is not None and not self._channels:
            hungUp, self._hungUp = self._hungUp, None
            hungUp.callback(None)

    def descriptors(self) -> Iterator[int]:
        """
        The descriptors of the connections.
        """
        for channel in self._channels:
            yield channel.transport.fileno()

    def log(self, request: http.Request) -> None:
        """
        A line for a request, and its parts as fields of the log event. What stands in
        the query, such as labels, is in none. One that waited in vain has no line, not
        even one at debug level, which twistd would write like any other.
        """
        if isinstance(request, JobRequest) and (request.waitedInVain or request.isLogged):
            return
        _logLine(
            request.getClientAddress(),
            _printable(request.method),
            _printable(request.path),
            request.code,
            request.sentLength,
        )

    def logRefused(self, channel: JobChannel, status: int, size: int) -> None:
        """
        A line for a request that could not be read, so its method and path are not known.
        """
        _logLine(channel.getPeer(), "-", "-", status, size)

    def hangUp(self) -> Deferred[None]:
        """
        Close each connection once its client has what it has asked for, after some
        seconds at the latest. To be called when there are no new ones.

        @return: a Deferred that fires when all are closed.
        """
        if not self._channels:
            return succeed(None)
        self._hungUp = hungUp = Deferred[None](self._cutOff)
        hungUp.addTimeout(LAST_WORDS, self.reactor, lambda _, seconds: None)
        for channel in list(self._channels):
            channel.hangUp()
        return hungUp

    def _cutOff(self, _: Deferred[None]) -> None:
        self._hungUp = None
        for channel in list(self._channels):
            channel.transport.abortConnection()

    def acceptableProtocols(self) -> list[bytes]:
        """
        HTTP/1.1 alone: what is promised of slow and of greedy clients holds for that.
        """
        return [b"http/1.1"]

    def admits(self, authorization: bytes | None) -> bool:
        """
        Whether a request with this header may pass. The time that it takes does
        not depend on how much of the token is right.
        """
        if self._token is None:
            return True
        return hmac.compare_digest(_tokenIn(authorization), self._token)
