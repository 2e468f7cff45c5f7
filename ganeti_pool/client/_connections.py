"""
The connections to a daemon.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.web.client import HTTPConnectionPool

__all__ = ["KeptConnections"]

_KEPT = 25
"""
For how many seconds a connection is kept for the next request. The daemon closes
one on which nothing comes after a minute, so one that is used again was not just
being closed.
"""

_MOST = 8
"""
So many connections are kept; more than that are opened if as many requests are
under way.
"""


class KeptConnections:
    """
    Connections that are used for one request after the other.

    A request that changes nothing is sent again, on a new connection, if the kept
    one turns out to be closed; a C{POST} or a C{PATCH} never is.

    Threads: used on the reactor thread only.

    @ivar pool: for the agent that sends the requests.
    """

    def __init__(self, reactor: Any) -> None:
        self.pool = HTTPConnectionPool(reactor)
        self.pool.cachedConnectionTimeout = _KEPT
        self.pool.maxPersistentPerHost = _MOST
        self._clock = reactor
        self._usedAt = reactor.seconds()

    def renew(self) -> Deferred[None]:
        """
        Close what is too old to be used again. That goes by itself while the
        reactor runs; a program that has held it up, as by a question to a person,
        has not seen yet that the daemon closed them.

        @return: a Deferred that fires when it is closed.
        """
        isOld = self._clock.seconds() - self._usedAt > _KEPT
        return self.close() if isOld else succeed(None)

    def used(self) -> None:
        """
        An answer has come, after which its connection is kept.
        """
        self._usedAt = self._clock.seconds()

    def close(self) -> Deferred[None]:
        """
        Close them all, but for those on which an answer is to come.

        @return: a Deferred that fires when they are closed.
        """
        closed: Deferred[None] = self.pool.closeCachedConnections()
        return closed
