"""
One request and its answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, fail, succeed
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionDone,
    ConnectionLost,
)
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import RequestTransmissionFailed, ResponseDone, ResponseFailed
from twisted.web.http import NO_CONTENT
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IResponse
from zope.interface import implementer

from ..errors import PoolError
from ..jobs import JobOrigin
from ._connections import KeptConnections
from ._errors import DaemonSilent, DaemonUnreachable, RequestRefused
from ._limit import Limit

__all__ = ["Exchange"]

_T = TypeVar("_T")

_CUT_OFF = "the connection was closed before the answer was whole"

_LARGEST = 1 << 28
"""
Bytes of an answer in JSON that are read: many times those of the largest that a daemon sends.
"""

_SENT_PER_SECOND = 1 << 16
"""
Bytes of a request that earn its answer another second: they have to reach the daemon first.
"""

Parameters = Iterable[tuple[str, "str | int | None"]]


@implementer(IBodyProducer)
class _Text:
    """
    A request's body, in one piece: Twisted's own producer needs a reactor to
    take turns with.
    """

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """
        Write all of it.
        """
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """
        Nothing is left to hold back.
        """

    def resumeProducing(self) -> None:
        """
        Nothing is left to go on with.
        """

    def stopProducing(self) -> None:
        """
        Nothing is left to stop.
        """


class _Body(Protocol):
    """
    Hands on the body of an answer as it comes. treq's C{collect} does that too,
    but goes on reading when it is cancelled.

    @ivar finished: fires when all of it has come. It fails with
        L{DaemonUnreachable}, or with what the collector raised.
    """

    def __init__(self, where: str, collector: Callable[[bytes], object], limit: Limit) -> None:
        self._where = where
        self._collector = collector
        self._limit = limit
        self.finished: Deferred[None] = Deferred(lambda _: self._close())

    def _close(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """
        Some of it has come.
        """
        if self.finished.called:
            return
        try:
            self._limit.receive(len(data), lambda: self._collector(data))
        except Exception:
            self._close()
            self.finished.errback()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        All of it has come, or no more will.
        """
        if self.finished.called:
            return
        if reason.check(ResponseDone):
            self.finished.callback(None)
        else:
            self.finished.errback(DaemonUnreachable(self._where, _CUT_OFF))


def _explain(error: BaseException | None) -> str:
    """
    What happened on the way, in words.
    """
    if isinstance(error, ResponseFailed) and any(
        reason.check(ConnectionDone, ConnectionLost) for reason in error.reasons
    ):
        return _CUT_OFF
    if isinstance(error, ConnectError) and any(isinstance(arg, Failure) for arg in error.args):
        # Twisted's words for a Unix socket on which too many connections wait to be accepted.
        return "the connection was not accepted: too many others are waiting. Try again"
    if isinstance(error, (ResponseFailed, RequestTransmissionFailed)):
        return "; ".join(_explain(reason.value) for reason in error.reasons)
    return str(error) or type(error).__name__


def _wasCancelled(error: BaseException) -> bool:
    return isinstance(error, ConnectingCancelledError) or (
        isinstance(error, ResponseFailed)
        and any(reason.check(CancelledError) for reason in error.reasons)
    )


class Exchange:
    """
    Sends requests to one daemon, and turns what comes of them into values and
    the two failures.
    """

    def __init__(
        self,
        http: HTTPClient,
        base: str,
        token: str | None,
        where: str,
        connections: KeptConnections | None = None,
        clock: IReactorTime | None = None,
        patience: float | None = None,
        origin: JobOrigin | None = None,
    ) -> None:
        """
        @param clock: measures C{patience}.
        @param patience: the seconds that an answer may take, beyond the wait that a request
            asks for; L{None} for no limit.
        """
        self._clock = clock
        self._patience = patience
        self._http = http
        self._base = base
        self._token = token
        self._where = where
        self._connections = connections
        self._origin = origin

    def ask(
        self,
        method: str,
        path: str,
        parameters: Parameters = (),
        body: object = None,
        wait: float | None = 0.0,
    ) -> Deferred[Any]:
        """
        A request whose answer is JSON.

        @param parameters: the query; those that are L{None} are left out.
        @param body: what to send as JSON; L{None} for nothing.
        @param wait: the seconds that the daemon is asked to wait before it answers; L{None}
            if no limit is known.
        @return: a Deferred with the value of the answer, L{None} if it is empty on
            purpose.
        """

        data = None
        if body is not None:
            # Not above: a request without a body does not need the schemas.
            from ..wire import encode

            try:
                data = encode(body)
            except Exception:
                return fail()

        async def ask(limit: Limit) -> Any:
            response = await self._send(method, path, parameters, data, limit)
            answer = await self._read(response, limit)
            if response.code == NO_CONTENT:
                return None
            try:
                return json.loads(answer)
            # The errors of JSON and of UTF-8, and nesting without end.
            except (ValueError, RecursionError) as error:
                raise DaemonUnreachable(self._where, f"what came is no JSON: {error}") from error

        return self._limited(ask, wait, len(data or b""))

    def fetch(
        self,
        path: str,
        parameters: Parameters,
        collector: Callable[[bytes], object],
        wait: float = 0.0,
    ) -> Deferred[None]:
        """
        A request whose answer is bytes.

        @param collector: gets them as they come. What it raises ends the request.
        @param wait: see L{ask}.
        """

        async def fetch(limit: Limit) -> None:
            response = await self._send("GET", path, parameters, None, limit)
            await self._collect(response, collector, limit)

        return self._limited(fetch, wait, 0)

    def _limited(
        self,
        ask: Callable[[Limit], Coroutine[Deferred[Any], Any, _T]],
        wait: float | None,
        size: int,
    ) -> Deferred[_T]:
        """
        Run a request within the time that its answer may take.

        @param size: the number of bytes in its body.
        """
        seconds = None
        if wait is not None and self._patience is not None:
            seconds = self._patience + wait + size // _SENT_PER_SECOND
        limit = Limit(self._clock, seconds)
        return limit.watch(
            ensureDeferred(ask(limit)),
            lambda seconds, hasArrived: DaemonSilent(self._where, seconds, hasArrived),
        )

    async def _send(
        self, method: str, path: str, parameters: Parameters, body: bytes | None, limit: Limit
    ) -> IResponse:
        """
        The answer to a request, if it is no refusal. Its body is still to come.
        """
        headers = Headers()
        if self._token is not None:
            headers.setRawHeaders("authorization", [f"Bearer {self._token}"])
        if self._origin is not None:
            from ..wire import ORIGIN_HEADER, formatOrigin

            headers.setRawHeaders(ORIGIN_HEADER, [formatOrigin(self._origin)])
        if body is not None:
            headers.setRawHeaders("content-type", ["application/json"])
        if self._connections is not None:
            await self._connections.renew()
        try:
            response = await self._http.request(
                method,
                self._base + path,
                params=[(key, str(value)) for key, value in parameters if value is not None],
                headers=headers,
                data=None if body is None else _Text(body),
                allow_redirects=False,
                unbuffered=True,
            )
        except (
            ConnectError,
            ConnectingCancelledError,
            OSError,
            RequestTransmissionFailed,
            ResponseFailed,
        ) as error:
            if _wasCancelled(error):
                raise CancelledError() from error
            wasSent = isinstance(error, (RequestTransmissionFailed, ResponseFailed))
            raise DaemonUnreachable(self._where, _explain(error), wasSent) from error
        if response.code >= 300:
            raise self._refusal(response.code, await self._read(response, limit))
        return response

    def _collect(
        self, response: IResponse, collector: Callable[[bytes], object], limit: Limit
    ) -> Deferred[None]:
        body = _Body(self._where, collector, limit)
        response.deliverBody(body)
        return body.finished.addBoth(self._finished)

    def _finished(self, result: _T) -> _T:
        if self._connections is not None:
            self._connections.used()
        return result

    async def _read(self, response: IResponse, limit: Limit) -> bytes:
        pieces: list[bytes] = []
        size = 0

        def take(data: bytes) -> None:
            nonlocal size
            size += len(data)
            if size > _LARGEST:
                raise DaemonUnreachable(
                    self._where,
                    f"the response has more than {_LARGEST} bytes, the most that a daemon sends",
                )
            pieces.append(data)

        await self._collect(response, take, limit)
        return b"".join(pieces)

    def _refusal(self, status: int, answer: bytes) -> PoolError:
        try:
            problem = json.loads(answer)
            return RequestRefused(status, problem["code"], problem["detail"], problem["errors"])
        except (ValueError, LookupError, TypeError, RecursionError):
            return DaemonUnreachable(
                self._where, f"what came has status {status}, and gives no reason"
            )
