"""
Limit the number of connections, and choose the ones to close at the limit.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IListeningPort,
    IProtocolFactory,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from zope.interface import implementer

__all__ = ["Connection", "Connections", "CountedEndpoint"]

_log = Logger()

_PATIENCE = 1.0
"""
A connection that has waited for a request for this many seconds may be closed to make
room for another.
"""

_AT_ONCE = 100
"""
How many connections a port accepts in one turn of the reactor at most.
"""


class Connection(Protocol):
    """
    A counted connection.

    @ivar idleSince: the time when it began to wait for a request; L{None} while it
        has one.
    """

    idleSince: float | None

    def makeRoom(self) -> None:
        """
        Close it, for another one.
        """


class Connections:
    """
    The connections to some endpoints.

    The limit keeps descriptors back for jobs and for the daemon itself. One place is kept
    free: when the last one is taken, the connection that has waited longest for a request
    is closed, so clients that send nothing cannot lock out others. While every
    connection has a request, nothing is accepted: clients wait in the backlog of
    the system, in the order in which they came.

    Threads: used on the reactor thread only.
    """

    def __init__(self, clock: IReactorTime, most: int, where: str) -> None:
        """
        @param most: how many there may be.
        @param where: which endpoints these are, for the log.
        """
        self._clock = clock
        self._most = most
        self._where = where
        self._open: set[Connection] = set()
        self._closing: set[Connection] = set()
        self._ports: list[Any] = []
        self._call: IDelayedCall | None = None
        self._isReported = False

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, connection: Connection) -> bool:
        """
        Count a connection.

        @return: whether there may be one more. It must be closed otherwise.
        """
        if len(self._open) >= self._most:
            return False
        self._open.add(connection)
        self._callAfter(0.0)
        return True

    def closed(self, connection: Connection) -> None:
        """
        Count a connection no longer, if it was counted.
        """
        if connection not in self._open:
            return
        self._open.discard(connection)
        self._closing.discard(connection)
        if len(self._open) < self._most // 2:
            self._isReported = False
        self._adjust()
        if not self._open and self._call is not None:
            self._call.cancel()
            self._call = None

    def listensAt(self, port: IListeningPort) -> None:
        """
        Limit what a port accepts.
        """
        self._ports.append(port)
        self._adjust()

    def _callAfter(self, seconds: float) -> None:
        if self._call is not None:
            self._call.cancel()
        self._call = self._clock.callLater(seconds, self._called)

    def _called(self) -> None:
        self._call = None
        self._adjust()

    def _adjust(self) -> None:
        """
        Let each port accept its part of what there is room for, and no more.

        Twisted accepts up to C{numberAccepts} connections before it returns to the reactor,
        and has no public way to accept fewer. The attribute is set anew in
        the turn after each accept; a port that does not know it may accept too many, and
        these are closed at once.
        """
        free = self._most - len(self._open)
        if free <= len(self._ports):
            self._makeRoom()
        for index, port in enumerate(self._ports):
            share = (free + index) // len(self._ports)
            port.numberAccepts = max(1, min(share, _AT_ONCE))
            if share:
                port.resumeProducing()
            else:
                port.pauseProducing()

    def _makeRoom(self) -> None:
        """
        Close what has waited longest. If there is nothing to close, try again later.
        """
        if not self._isReported:
            self._isReported = True
            _log.warn(
                "{count} connections to {where} are open; the limit is {most}. Those that "
                "wait for a request are closed to make room; new ones wait to be accepted.",
                count=len(self._open),
                where=self._where,
                most=self._most,
            )
        before = self._clock.seconds() - _PATIENCE
        idle = [
            (connection.idleSince, id(connection), connection)
            for connection in self._open - self._closing
            if connection.idleSince is not None and connection.idleSince <= before
        ]
        wanted = max(len(self._ports), 1) + 1 - (self._most - len(self._open)) - len(self._closing)
        for _, _, connection in sorted(idle, key=lambda each: each[:2])[: max(wanted, 0)]:
            self._closing.add(connection)
            connection.makeRoom()
        self._callAfter(_PATIENCE)


@implementer(IStreamServerEndpoint)
class CountedEndpoint:
    """
    An endpoint whose connections are limited.

    @ivar endpoint: the endpoint itself.
    """

    def __init__(self, endpoint: IStreamServerEndpoint, connections: Connections) -> None:
        self.endpoint = endpoint
        self._connections = connections

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """
        Listen, and accept no more than there is room for.
        """

        def listens(port: IListeningPort) -> IListeningPort:
            self._connections.listensAt(port)
            return port

        listening: Deferred[IListeningPort] = self.endpoint.listen(protocolFactory)
        return listening.addCallback(listens)
