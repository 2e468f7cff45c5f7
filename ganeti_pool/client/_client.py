"""
What the daemon does, as methods; and the ways to it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from treq.client import HTTPClient
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IReactorTime
from twisted.web.client import URI, Agent
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from ..errors import InvalidArgument
from ..jobs import JobOrigin, originOf
from ..paths import LONGEST_SOCKET_PATH
from ._connections import KeptConnections
from ._exchange import Exchange

__all__ = ["JobClient", "connectHTTP", "connectUnix"]


class JobClient:
    """
    What the daemon does, as methods. The connections are kept for a while, so that
    requests one after the other take one; L{close} when nothing more is asked.

    Threads: used on the reactor thread only.
    """

    def __init__(
        self,
        http: HTTPClient,
        baseURL: str,
        token: str | None = None,
        where: str | None = None,
        connections: KeptConnections | None = None,
        clock: IReactorTime | None = None,
        patience: float | None = None,
        origin: JobOrigin | None = None,
    ) -> None:
        """
        @param http: what sends the requests.
        @param baseURL: what stands before C{/v1}.
        @param token: the bearer token.
        @param where: how to name the daemon to a person; without it, C{baseURL}.
        @param connections: those that C{http} uses, if it keeps any.
        @param clock: measures C{patience}, which needs it.
        @param patience: the seconds that an answer may take, beyond the wait that a request
            asks for; the request then fails with L{DaemonSilent
            <ganeti_pool.client.DaemonSilent>}. L{None} for no limit. L{quiesce} without a
            wait, and L{changePool} with workers, have none.
        @param origin: the job from which the requests come, if they come from one.
        """
        self._connections = connections
        self._exchange = Exchange(
            http,
            baseURL.rstrip("/"),
            token,
            where or baseURL,
            connections,
            clock,
            patience,
            origin,
        )

    def close(self) -> Deferred[None]:
        """
        Close the connections that are kept for the next request. A client that has
        been closed can be used again.

        @return: a Deferred that fires when they are closed.
        """
        return succeed(None) if self._connections is None else self._connections.close()

    def submit(self, jobs: Sequence[Mapping[str, Any]]) -> Deferred[list[dict[str, Any]]]:
        """
        Submit jobs, all or none, L{wire.MAX_JOBS <ganeti_pool.wire.MAX_JOBS>}
        and L{wire.MAX_BODY <ganeti_pool.wire.MAX_BODY>} bytes at most.

        @param jobs: each with C{args}, and any of C{name}, C{worker},
            C{priority}, C{on_crash}, C{max_attempts}, C{key}, C{owner},
            C{labels}, C{timeout}. With C{worker}, the dotted name of the class that the
            C{args} are for, a daemon of another class refuses the job instead of running
            its own class with them.
        @return: a Deferred with the jobs, in the order given. One whose key was
            there already is the job that has it.
        """
        return self._exchange.ask("POST", "/v1/jobs", body=list(jobs))

    def job(self, jobID: int) -> Deferred[dict[str, Any]]:
        """
        One job and its C{attempts}.
        """
        return self._exchange.ask("GET", f"/v1/jobs/{jobID}")

    def listJobs(
        self,
        state: Iterable[str] = (),
        name: str | None = None,
        order: str = "asc",
        limit: int | None = None,
        after: int | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Deferred[dict[str, Any]]:
        """
        A page of jobs, by id. It has fewer than the limit if they are large.

        @param state: any of these; empty means all.
        @param name: exactly this name.
        @param order: C{asc} or C{desc}.
        @param limit: how many, from 1 to 1000; the daemon takes 100 if it is not
            said.
        @param after: C{next} of the page before.
        @param labels: all of these, 32 at most.
        @return: a Deferred with C{jobs} and C{next}, which is L{None} on the
            last page.
        """
        return self._exchange.ask(
            "GET",
            "/v1/jobs",
            [
                *(("state", one) for one in state),
                ("name", name),
                *(("label", f"{label}={text}") for label, text in (labels or {}).items()),
                ("order", order),
                ("limit", limit),
                ("after", after),
            ],
        )

    def changedJobs(
        self, after: int, wait: float = 0.0, limit: int | None = None
    ) -> Deferred[dict[str, Any]]:
        """
        Jobs that have changed since a revision, by revision, once the first has. Of a
        job that was removed nothing is told: it is not there any more.

        @param wait: how many seconds to wait for the first, 60 at most.
        @return: a Deferred with C{jobs}, which may be empty, and C{revision} to
            ask with next time.
        """
        return self._exchange.ask(
            "GET",
            "/v1/jobs",
            [("changed_after", after), ("wait", f"{wait:.3f}"), ("limit", limit)],
            wait=wait,
        )

    def changePriority(self, jobID: int, priority: int) -> Deferred[dict[str, Any]]:
        """
        Move a queued job.
        """
        return self._exchange.ask("PATCH", f"/v1/jobs/{jobID}", body={"priority": priority})

    def cancel(self, jobID: int, onlyQueued: bool = False) -> Deferred[dict[str, Any]]:
        """
        Cancel a job: at once while it is queued; one that runs is told.

        @param onlyQueued: whether one that runs is left alone. It is refused then,
            with C{not_queued}.
        """
        parameters = [("only_queued", "true")] if onlyQueued else []
        return self._exchange.ask("POST", f"/v1/jobs/{jobID}/cancel", parameters)

    def retry(self, jobID: int) -> Deferred[dict[str, Any]]:
        """
        Put a job that failed or was cancelled back into the queue. One that waits
        or runs is left as it is.
        """
        return self._exchange.ask("POST", f"/v1/jobs/{jobID}/retry")

    def remove(self, jobID: int) -> Deferred[None]:
        """
        Forget a finished job and its output.

        @return: a Deferred. If the connection breaks, this is asked once more, and
            may then be refused with C{no_such_job}, since it was done.
        """
        return self._exchange.ask("DELETE", f"/v1/jobs/{jobID}")

    def output(
        self,
        jobID: int,
        stream: str,
        attempt: int | None = None,
        offset: int = 0,
        wait: float = 0.0,
        *,
        collector: Callable[[bytes], object],
    ) -> Deferred[None]:
        """
        The bytes of an output stream, as they come.

        @param stream: C{stdout} or C{stderr}.
        @param attempt: its number; without one, the latest.
        @param offset: how many bytes to leave out.
        @param wait: for how many seconds to follow an attempt that runs.
        @param collector: gets them. What it raises ends the request.
        @return: a Deferred that fires behind the last of them.
        """
        return self._exchange.fetch(
            f"/v1/jobs/{jobID}/output",
            [
                ("stream", stream),
                ("attempt", attempt),
                ("offset", offset),
                ("wait", f"{wait:.3f}"),
            ],
            collector,
            wait,
        )

    def pool(self) -> Deferred[dict[str, Any]]:
        """
        The pool, the store, the daemon.
        """
        return self._exchange.ask("GET", "/v1/pool")

    def changePool(
        self, active: bool | None = None, workers: int | None = None
    ) -> Deferred[dict[str, Any]]:
        """
        Pause, resume, resize.

        @param active: whether jobs are started; L{None} leaves it.
        @param workers: how many there are to be; L{None} leaves it. With fewer
            than before, the answer waits for the surplus ones to end their jobs.
        @return: a Deferred with what L{pool} gives. In a job of that daemon, a change to
            fewer workers that would wait for running jobs fails with C{inside_job}.
        """
        changes = {"active": active, "workers": workers}
        return self._exchange.ask(
            "PATCH",
            "/v1/pool",
            body={key: value for key, value in changes.items() if value is not None},
            wait=0.0 if workers is None else None,
        )

    def quiesce(self, wait: float | None = None) -> Deferred[bool]:
        """
        Wait until every job submitted before has its outcome. What is submitted
        later starts when that is over, or when the Deferred is cancelled or the
        connection lost.

        @param wait: for how many seconds at most; L{None} for as long as it takes.
        @return: a Deferred with whether that is so, and not merely the time over. In a
            job of that daemon, it fails with C{inside_job}.
        """
        parameters = [("wait", None if wait is None else f"{wait:.3f}")]
        asked = self._exchange.ask("POST", "/v1/pool/quiesce", parameters, wait=wait)
        return asked.addCallback(lambda answer: bool(answer["quiesced"]))


@implementer(IAgentEndpointFactory)
class _UnixEndpoints:
    """
    The one socket, whatever the URL says.
    """

    def __init__(self, reactor: Any, path: str) -> None:
        self._endpoint = UNIXClientEndpoint(reactor, path)

    def endpointForURI(self, uri: URI) -> UNIXClientEndpoint:
        """
        The socket.
        """
        return self._endpoint


def _ownOrigin() -> JobOrigin | None:
    """
    The job in which this process runs, L{None} outside a job.
    """
    return originOf(os.environ, socket.gethostname())


def connectUnix(reactor: Any, socketPath: str, patience: float | None = None) -> JobClient:
    """
    A client of the daemon at a socket. Nothing is sent yet. In a job, each request
    names that job, so that the daemon can refuse what would wait for it.

    @param patience: see L{JobClient}.

    @raise InvalidArgument: if the path is too long for a socket.
    """
    # Twisted notices, logs a TypeError, and gives up after half a minute.
    length = len(os.fsencode(socketPath))
    if length > LONGEST_SOCKET_PATH:
        raise InvalidArgument(
            f"the socket path {socketPath} has {length} bytes, and the system takes "
            f"{LONGEST_SOCKET_PATH} at most"
        )
    connections = KeptConnections(reactor)
    agent = Agent.usingEndpointFactory(
        reactor, _UnixEndpoints(reactor, socketPath), connections.pool
    )
    return JobClient(
        HTTPClient(agent),
        "http://localhost",
        where=socketPath,
        connections=connections,
        clock=reactor,
        patience=patience,
        origin=_ownOrigin(),
    )


def _readURL(url: str) -> str:
    """
    What stands before C{/v1} in the URLs of a daemon.

    @raise InvalidArgument: if there can be no daemon.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidArgument(f"{url!r} is no URL: {error}") from error
    if parts.scheme not in ("http", "https"):
        raise InvalidArgument(f"{url!r} does not begin with http:// or https://")
    if "@" in parts.netloc:
        # What is before it may be a secret.
        raise InvalidArgument("the URL has a user in it, and the daemon asks for a token alone")
    # Some of these are left out when it is parsed.
    if any(char.isspace() or not char.isprintable() for char in url):
        raise InvalidArgument(f"{url!r} is no URL: it has a space or a control character in it")
    if not parts.hostname or port == 0:
        raise InvalidArgument(f"{url!r} does not say where the daemon is, as http://HOST:PORT")
    if parts.query or parts.fragment:
        raise InvalidArgument(f"{url!r} has more than a path behind its host")
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def connectHTTP(
    reactor: Any, url: str, token: str | None = None, patience: float | None = None
) -> JobClient:
    """
    A client of the daemon at a URL. Nothing is sent yet. In a job, each request
    names that job, so that the daemon can refuse what would wait for it.

    @param token: its bearer token.
    @param patience: see L{JobClient}.

    @raise InvalidArgument: if it is no URL of HTTP.
    """
    base = _readURL(url)
    connections = KeptConnections(reactor)
    http = HTTPClient(Agent(reactor, pool=connections.pool))
    return JobClient(
        http,
        base,
        token,
        connections=connections,
        clock=reactor,
        patience=patience,
        origin=_ownOrigin(),
    )
