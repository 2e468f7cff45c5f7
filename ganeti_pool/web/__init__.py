"""
JSON over HTTP, in front of L{IJobQueue <ganeti_pool.interfaces.IJobQueue>}.

Every refusal is a problem document of RFC 9457, made in one place from the
code of an error; an error without one is logged, and told as a 500 that says
no more than that.

Klein installs a reactor when it is imported, so import this only where one has
been chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from ..errors import InvalidArgument
from ..interfaces import IJobQueue
from ._api import JobAPI
from ._connections import Connections, CountedEndpoint
from ._memory import AnswerMemory
from ._operations import openAPI
from ._request import JobSite

__all__ = ["AnswerMemory", "Connections", "CountedEndpoint", "JobSite", "makeSite", "openAPI"]


def makeSite(
    reactor: Any,
    queue: IJobQueue,
    token: bytes | None,
    metrics: Callable[[], Deferred[bytes]] | None = None,
    connections: Connections | None = None,
    memory: AnswerMemory | None = None,
) -> JobSite:
    """
    The site to listen with.

    @param reactor: the clock.
    @param token: what each request must carry as its bearer token; with L{None}
        whoever reaches the site may use it.
    @param metrics: gives what C{/metrics} answers, text as of Prometheus; with
        L{None} there is nothing at that path.
    @param connections: counts the connections; L{None} for any number of them.
    @param memory: for the answers that may be large; L{None} for some of its own.

    @raise InvalidArgument: if the token is empty, and so no secret.
    """
    if token is not None and not token.strip():
        raise InvalidArgument("the bearer token is empty: whoever asks would be let in")
    api = JobAPI(reactor, queue, metrics, memory)
    return JobSite(reactor, api.app.resource(), token, connections)
