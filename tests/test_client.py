"""
Tests for L{ganeti_pool.client}, against the real site, in memory.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

from treq.client import HTTPClient
from treq.testing import RequestTraversalAgent, StringStubbingResource
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
)
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer
from zope.interface.verify import verifyObject

from ganeti_pool import wire
from ganeti_pool.client import (
    DaemonSilent,
    DaemonUnreachable,
    JobClient,
    RequestRefused,
    connectHTTP,
    connectUnix,
)
from ganeti_pool.client._client import _UnixEndpoints
from ganeti_pool.client._connections import KeptConnections
from ganeti_pool.client._exchange import Exchange, _explain, _Text
from ganeti_pool.errors import InvalidArgument, JobNotQueued, PoolError
from ganeti_pool.jobs import JobFilter, JobOrigin, JobState, NewJob, OnCrash
from ganeti_pool.web._api import JobAPI
from ganeti_pool.web._request import JobSite

from .fakequeue import FakeQueue, makeJob, makeStatus


class ClientTests(SynchronousTestCase):
    """
    Tests for L{JobClient}.
    """

    def setUp(self) -> None:
        """
        A client of a site in front of a fake queue, whose output files are what
        C{files} says.
        """
        self.reactor = MemoryReactorClock()
        self.queue = FakeQueue()
        self.files: dict[tuple[str, int], Deferred[bytes]] = {}
        self.patch(self.queue, "readOutput", self.read)
        api = JobAPI(self.reactor, self.queue)
        self.agent = RequestTraversalAgent(api.app.resource())
        # The agent makes a site of its own kind.
        self.agent._serverFactory = JobSite(self.reactor, api.app.resource(), b"s3cret")
        self.client = JobClient(HTTPClient(self.agent), "http://daemon/", "s3cret")
        self.pieces: list[bytes] = []

    def read(self, jobID: int, attempt: int, stream: str, offset: int) -> Deferred[bytes]:
        """
        What a test put there.
        """
        return self.files[f"{jobID}.{attempt}.{stream}", offset]

    def result(self, waiting: Deferred[Any]) -> Any:
        """
        What a request gives.
        """
        self.agent.flush()
        return self.successResultOf(waiting)

    def failure(self, waiting: Deferred[Any], kind: type[PoolError]) -> Any:
        """
        How a request fails.
        """
        self.agent.flush()
        return self.failureResultOf(waiting, kind).value

    def test_submit(self) -> None:
        """
        Jobs are submitted as a list, one too, and come back as dictionaries.
        """
        jobs = self.result(
            self.client.submit(
                [{"args": [["true"]], "name": "é", "priority": -1, "on_crash": "retry"}]
            )
        )
        self.assertEqual([(job["id"], job["name"]) for job in jobs], [(1, "é")])
        new = NewJob(FakeQueue.workerName, (["true"],), "é", -1, OnCrash.RETRY, 3)
        self.assertEqual(self.queue.calls, [("submit", [new])])

    def test_submitForAnotherWorker(self) -> None:
        """
        The worker that a job names is sent, for the daemon to compare with its own.
        """
        self.result(self.client.submit([{"worker": "an.other.Worker", "args": []}]))
        ((_, (new,)),) = self.queue.calls
        self.assertEqual(new.worker, "an.other.Worker")

    def test_job(self) -> None:
        """
        A job is told with its attempts.
        """
        self.queue.add(makeJob(17))
        job = self.result(self.client.job(17))
        self.assertEqual((job["id"], job["attempts"]), (17, []))

    def test_listJobs(self) -> None:
        """
        A page is asked for by what is given, and by nothing else.
        """
        self.queue.add(makeJob(1), makeJob(2))
        page = self.result(self.client.listJobs())
        self.assertEqual(([job["id"] for job in page["jobs"]], page["next"]), ([1, 2], None))
        page = self.result(
            self.client.listJobs(
                ["queued", "running"],
                "a&b =é",
                order="desc",
                limit=1,
                after=3,
                labels={"a": "1&2", "b": "="},
            )
        )
        self.assertEqual(page["next"], 2)
        states = frozenset({JobState.QUEUED, JobState.RUNNING})
        which = JobFilter(states, "a&b =é", frozenset({("a", "1&2"), ("b", "=")}))
        self.assertEqual(
            self.queue.calls,
            [("listJobs", JobFilter(), False, 16, None), ("listJobs", which, True, 2, 3)],
        )

    def test_changedJobs(self) -> None:
        """
        Changes are asked for with revision, wait and limit.
        """
        self.queue.add(makeJob(1))
        answer = self.result(self.client.changedJobs(0, 2.5, limit=7))
        self.assertEqual(answer["revision"], 10)
        self.result(self.client.changedJobs(10))
        self.assertEqual(
            self.queue.calls, [("changedJobs", 0, 7, 2.5), ("changedJobs", 10, 16, 0.0)]
        )

    def test_changePriority(self) -> None:
        """
        A job gets another priority.
        """
        self.queue.add(makeJob(17))
        self.assertEqual(self.result(self.client.changePriority(17, 0))["priority"], 0)

    def test_cancel(self) -> None:
        """
        A job is cancelled.
        """
        self.queue.add(makeJob(17))
        self.assertEqual(self.result(self.client.cancel(17))["state"], "cancelled")

    def test_cancelOnlyQueued(self) -> None:
        """
        A job is cancelled only if it is queued, if that is asked for.
        """
        self.queue.add(makeJob(17), makeJob(18, state=JobState.RUNNING))
        self.assertEqual(self.result(self.client.cancel(17, True))["state"], "cancelled")
        refused = self.failure(self.client.cancel(18, onlyQueued=True), RequestRefused)
        self.assertEqual(refused.code, "not_queued")

    def test_retry(self) -> None:
        """
        A job goes back into the queue.
        """
        self.queue.add(makeJob(17, state=JobState.FAILED))
        self.assertEqual(self.result(self.client.retry(17))["state"], "queued")

    def test_remove(self) -> None:
        """
        A finished job is removed, of which nothing is told.
        """
        self.queue.add(makeJob(17, state=JobState.FAILED), makeJob(18))
        self.assertIsNone(self.result(self.client.remove(17)))
        self.assertEqual(self.queue.calls, [("remove", 17)])
        error = self.failure(self.client.remove(18), RequestRefused)
        self.assertEqual((error.status, error.code), (409, "not_finished"))

    def test_quiesce(self) -> None:
        """
        Whether the queue is quiet is told, when it is or when the time is over.
        """
        self.assertIs(self.result(self.client.quiesce()), True)
        self.queue.held = Deferred()
        waiting = self.client.quiesce(wait=1.5)
        self.agent.flush()
        self.reactor.advance(1.5)
        self.assertIs(self.result(waiting), False)

    def test_close(self) -> None:
        """
        A client whose agent keeps no connections has none to close.
        """
        self.assertIsNone(self.successResultOf(self.client.close()))

    def test_pool(self) -> None:
        """
        The pool is told.
        """
        self.assertEqual(self.result(self.client.pool()), wire.statusToJSON(makeStatus()))

    def test_changePool(self) -> None:
        """
        False and 0 are changes, L{None} is none.
        """
        self.result(self.client.changePool(active=False))
        self.result(self.client.changePool(workers=0))
        self.assertEqual(
            [call for call in self.queue.calls if call != ("poolStatus",)],
            [("setActive", False), ("resize", 0)],
        )
        error = self.failure(self.client.changePool(), RequestRefused)
        self.assertEqual(error.code, "invalid_field")

    def test_output(self) -> None:
        """
        Output is handed on as it comes, and the Deferred fires behind it.
        """
        self.queue.add(makeJob(17, attempt=2, state=JobState.FAILED))
        path = "17.1.stderr"
        more: Deferred[bytes] = Deferred()
        self.files = {(path, 5): more, (path, 8): Deferred()}
        waiting = self.client.output(17, "stderr", 1, 5, wait=1.5, collector=self.pieces.append)
        self.agent.flush()
        self.assertEqual(self.pieces, [])
        more.callback(b"\0\xff\n")
        self.agent.flush()
        self.assertEqual(self.pieces, [b"\0\xff\n"])
        self.assertNoResult(waiting)
        self.files[path, 8].callback(b"")
        self.assertEqual(self.result(waiting), None)

    def follow(self) -> tuple[Deferred[None], Deferred[bytes]]:
        """
        Begin to read an output whose second piece is to come.
        """
        self.queue.add(makeJob(17))
        second: Deferred[bytes] = Deferred()
        path = "17.1.stdout"
        self.files = {(path, 0): succeed(b"one"), (path, 3): second}
        waiting = self.client.output(17, "stdout", collector=self.pieces.append)
        self.agent.flush()
        return waiting, second

    def test_collectorRaises(self) -> None:
        """
        What the collector raises is what the request fails with, its connection
        is closed, and it is given no more.
        """
        calls = []

        def collector(data: bytes) -> None:
            calls.append(data)
            raise BrokenPipeError("nobody reads")

        self.queue.add(makeJob(17))
        path = "17.1.stdout"
        self.files = {(path, 0): succeed(b"one"), (path, 3): succeed(b"two"), (path, 6): Deferred()}
        waiting = self.client.output(17, "stdout", collector=collector)
        self.agent.flush()
        self.failureResultOf(waiting, BrokenPipeError)
        self.agent.flush()
        self.assertEqual(calls, [b"one"])
        self.assertEqual(self.agent._pumps, set())

    def test_cancelOutput(self) -> None:
        """
        To cancel a request while its answer comes closes its connection.
        """
        waiting, second = self.follow()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.agent.flush()
        second.callback(b"two")
        self.agent.flush()
        self.assertEqual(self.pieces, [b"one"])
        self.assertEqual(self.agent._pumps, set())

    def test_cancelWaiting(self) -> None:
        """
        To cancel a request before its answer comes ends the wait of the daemon.
        """
        cancelled: list[Deferred[Any]] = []
        self.queue.held = Deferred(cancelled.append)
        waiting = self.client.changedJobs(0, 60)
        self.agent.flush()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.agent.flush()
        self.assertEqual(len(cancelled), 1)

    def test_brokenOff(self) -> None:
        """
        Output that breaks off is not taken for whole.
        """
        waiting, second = self.follow()
        second.errback(ZeroDivisionError())
        error = self.failure(waiting, DaemonUnreachable)
        self.assertEqual(self.pieces, [b"one"])
        self.assertIn("http://daemon/", str(error))
        self.assertEqual(error.why, "the connection was closed before the answer was whole")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_refused(self) -> None:
        """
        A refusal carries what the daemon says, of output too.
        """
        error = self.failure(self.client.job(4), RequestRefused)
        self.assertEqual(
            (error.status, error.code, error.detail, error.errors, str(error)),
            (404, "no_such_job", "there is no job 4", [], "there is no job 4"),
        )
        error = self.failure(self.client.submit([{"timeout": 0, "args": []}]), RequestRefused)
        self.assertEqual([problem["pointer"] for problem in error.errors], ["/0/timeout"])
        waiting = self.client.output(4, "stdout", collector=self.pieces.append)
        self.assertEqual(self.failure(waiting, RequestRefused).code, "no_such_job")
        self.queue.add(makeJob(4))
        self.queue.failure = JobNotQueued(4, "running")
        error = self.failure(self.client.changePriority(4, 1), RequestRefused)
        self.assertEqual((error.status, error.code), (409, "not_queued"))

    def test_token(self) -> None:
        """
        Without the token, or with another, the daemon refuses.
        """
        for token in (None, "guess"):
            client = JobClient(HTTPClient(self.agent), "http://daemon", token)
            self.assertEqual(self.failure(client.pool(), RequestRefused).code, "unauthorized")

    def test_notSent(self) -> None:
        """
        What JSON cannot say is not sent.
        """
        waiting = self.client.submit([{"args": [float("nan")]}])
        self.failureResultOf(waiting, ValueError)


@implementer(IAgent)
class StubbornAgent:
    """
    An agent to which the same happens every time.
    """

    def __init__(self, error: Exception) -> None:
        self._error = error

    def request(
        self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None
    ) -> Deferred[Any]:
        """
        Fail.
        """
        return fail(self._error)


class NoDaemonTests(SynchronousTestCase):
    """
    Tests for answers that no daemon gives.
    """

    def unreachable(self, waiting: Deferred[Any]) -> str:
        """
        Why there is no daemon.
        """
        error = self.failureResultOf(waiting, DaemonUnreachable).value
        assert isinstance(error, DaemonUnreachable)
        self.assertEqual(error.where, "there")
        self.assertEqual(str(error), f"there is no answer from a daemon at there: {error.why}")
        return error.why

    def answering(self, status: int, body: bytes) -> JobClient:
        """
        A client of something that always says that.
        """
        resource = StringStubbingResource(lambda *request: (status, {}, body))
        http = HTTPClient(RequestTraversalAgent(resource))
        return JobClient(http, "http://other", where="there")

    def test_noJSON(self) -> None:
        """
        An answer that is no JSON is none from a daemon.
        """
        for body in (b"<html>", b"\xff", b"[" * 200_000, b"9" * 5000):
            self.assertIn("no JSON", self.unreachable(self.answering(200, body).pool()))

    def test_tooLarge(self) -> None:
        """
        An answer that does not end is given up before it fills the memory.
        """
        self.patch(sys.modules[Exchange.__module__], "_LARGEST", 10)
        self.successResultOf(self.answering(200, b'"12345678"').pool())
        why = self.unreachable(self.answering(200, b'"123456789"').pool())
        self.assertEqual(why, "the response has more than 10 bytes, the most that a daemon sends")

    def test_noProblem(self) -> None:
        """
        A refusal that is no problem document is none from a daemon, and neither
        is a redirection.
        """
        for status, body in [
            (502, b"<html>"),
            (404, b"{}"),
            (404, b"[]"),
            (404, b"5"),
            (404, b"[" * 200_000),
            (302, b""),
            (400, b'{"code": "c", "detail": "d", "errors": 5}'),
        ]:
            why = self.unreachable(self.answering(status, body).pool())
            self.assertEqual(why, f"what came has status {status}, and gives no reason")

    def test_noConnection(self) -> None:
        """
        Without a connection, or without an answer on it, it says what happened.
        """
        for error, expected in [
            (ConnectionRefusedError(), "Connection was refused by other side."),
            (OSError("AF_UNIX path too long"), "AF_UNIX path too long"),
            (
                ConnectError(string=Failure(ConnectionDone())),
                "the connection was not accepted: too many others are waiting. Try again",
            ),
            (
                ResponseNeverReceived([Failure(OSError("gone")), Failure(ValueError())]),
                "gone; ValueError",
            ),
        ]:
            client = JobClient(HTTPClient(StubbornAgent(error)), "http://x", where="there")
            self.assertEqual(self.unreachable(client.pool()), expected)


class BodyByHand:
    """
    An answer whose body a test delivers.

    @ivar protocol: gets it.
    """

    code = 200
    length = 0
    headers = Headers()
    protocol: Any = None

    def deliverBody(self, protocol: Any) -> None:
        """
        Take what gets the body.
        """
        self.protocol = protocol
        protocol.makeConnection(StringTransport())


@implementer(IAgent)
class LimitTests(SynchronousTestCase):
    """
    Tests for the time that an answer may take.
    """

    def setUp(self) -> None:
        """
        A client that has patience for thirty seconds, and an agent that never answers.
        """
        self.reactor = MemoryReactorClock()
        self.error: Exception = ResponseNeverReceived([Failure(CancelledError())])
        self.asked: list[Deferred[Any]] = []
        self.client = self.clientOf(self)

    def clientOf(self, agent: Any) -> JobClient:
        """
        A client whose requests go to an agent.
        """
        return JobClient(
            HTTPClient(agent), "http://x", where="there", clock=self.reactor, patience=30
        )

    def request(
        self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None
    ) -> Deferred[Any]:
        """
        Take a request, and answer when the test does.
        """
        self.asked.append(Deferred(lambda asked: asked.errback(self.error)))
        return self.asked[-1]

    def wait(self, seconds: float) -> None:
        """
        Let time pass in steps, as it does.
        """
        for _ in range(round(seconds * 4)):
            self.reactor.advance(0.25)

    def test_silent(self) -> None:
        """
        A request without an answer fails after the time, which is beyond the wait that it
        asks for, and what is said names the daemon, the time, and what to do.
        """
        for ask, seconds in (
            (self.client.pool, 30),
            (lambda: self.client.changePool(active=True), 30),
            (lambda: self.client.changedJobs(1, 60), 90),
            (lambda: self.client.quiesce(5), 35),
            (lambda: self.client.output(1, "stdout", wait=60, collector=bytes), 90),
        ):
            waiting = ask()
            self.wait(seconds - 0.25)
            self.assertNoResult(waiting)
            self.wait(0.25)
            error = self.failureResultOf(waiting, DaemonSilent).value
            self.assertEqual((error.seconds, error.mayHaveArrived), (seconds, True))
            self.assertEqual(
                str(error),
                f"there is no answer from a daemon at there: it did not arrive within {seconds} "
                "seconds. Check whether the daemon is suspended or its machine overloaded, and "
                "try again",
            )
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_connecting(self) -> None:
        """
        A request that did not get as far as a connection did not reach the daemon.
        """
        self.error = ConnectingCancelledError(None)
        waiting = self.client.submit([])
        self.wait(31)
        self.assertFalse(self.failureResultOf(waiting, DaemonSilent).value.mayHaveArrived)
        client = JobClient(HTTPClient(StubbornAgent(ConnectionRefusedError())), "http://x")
        error = self.failureResultOf(client.pool(), DaemonUnreachable).value
        self.assertFalse(error.mayHaveArrived)

    def test_unlimited(self) -> None:
        """
        What takes as long as it takes has no limit: a quiesce, a pool that shrinks, and
        every request of a client without patience.
        """
        patient = JobClient(HTTPClient(self), "http://x")
        for waiting in (self.client.quiesce(), self.client.changePool(workers=1), patient.pool()):
            self.assertEqual(self.reactor.getDelayedCalls(), [])
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)

    def test_largeRequest(self) -> None:
        """
        A large request has more time, since it has to reach the daemon first.
        """
        waiting = self.client.submit([{"args": ["x" * (1 << 20)]}])
        self.wait(45.75)
        self.assertNoResult(waiting)
        self.wait(0.25)
        self.failureResultOf(waiting, DaemonSilent)

    def test_cancelled(self) -> None:
        """
        A request that its caller cancels is cancelled, and leaves no timer.
        """
        waiting = self.client.pool()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_otherFailure(self) -> None:
        """
        A connection that breaks in time is told as such.
        """
        waiting = self.client.pool()
        self.wait(29)
        self.asked[0].errback(ResponseNeverReceived([Failure(ConnectionLost())]))
        error = self.failureResultOf(waiting, DaemonUnreachable).value
        self.assertNotIsInstance(error, DaemonSilent)

    def test_suspended(self) -> None:
        """
        A process that was suspended, so that its timer is late, waits for the answer once
        more: it may be in the socket.
        """
        waiting = self.client.pool()
        self.reactor.advance(1000)
        self.assertNoResult(waiting)
        self.wait(30)
        self.failureResultOf(waiting, DaemonSilent)

    def begin(self, collector: Callable[[bytes], object]) -> tuple[Deferred[None], Any]:
        """
        Begin to read an answer whose body is delivered by hand.

        @return: the request, and the protocol that gets the body.
        """
        body = BodyByHand()
        waiting = self.client.output(1, "stdout", collector=collector)
        self.asked[-1].callback(body)
        self.addCleanup(lambda: self.assertEqual(self.reactor.getDelayedCalls(), []))
        return waiting, body.protocol

    def test_drips(self) -> None:
        """
        An answer of which a few bytes come now and then is given up.
        """
        pieces: list[bytes] = []
        waiting, body = self.begin(pieces.append)
        for _ in range(3):
            self.wait(9.5)
            body.dataReceived(b".")
        self.wait(1.75)
        self.failureResultOf(waiting, DaemonSilent)
        self.assertEqual(pieces, [b"."] * 3)
        self.assertTrue(body.transport.disconnecting)

    def test_slow(self) -> None:
        """
        An answer that comes over a slow connection is not given up, however long it takes;
        when it stops half way, it is.
        """
        waiting, body = self.begin(len)
        for _ in range(20):
            self.wait(20)
            body.dataReceived(b"." * 20480)
        self.wait(29.75)
        self.assertNoResult(waiting)
        self.wait(0.25)
        self.failureResultOf(waiting, DaemonSilent)

    def test_slowReader(self) -> None:
        """
        The time in which the collector blocks does not count.
        """

        def block(data: bytes) -> None:
            self.reactor.rightNow += 3600

        waiting, body = self.begin(block)
        self.wait(29)
        body.dataReceived(b".")
        self.wait(0.75)
        self.assertNoResult(waiting)
        body.connectionLost(Failure(ResponseDone()))
        self.successResultOf(waiting)

    def test_cancelledByCollector(self) -> None:
        """
        A collector may cancel its request.
        """
        waiting, body = self.begin(lambda data: waiting.cancel())
        body.dataReceived(b".")
        self.failureResultOf(waiting, CancelledError)


@implementer(IAgent)
class SlowAgent:
    """
    An agent whose answers, all of them empty objects, take fifty seconds.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        resource = StringStubbingResource(lambda *request: (200, {}, b"{}"))
        self._agent = RequestTraversalAgent(resource)

    def request(self, *request: Any) -> Deferred[Any]:
        """
        Answer, later.
        """
        return deferLater(self._clock, 50, self._agent.request, *request)


class ConnectTests(SynchronousTestCase):
    """
    Tests for the ways to a daemon.
    """

    def test_unix(self) -> None:
        """
        A client of a socket connects to it, and to nothing that a URL says. It
        connects when it is asked something.
        """
        reactor = MemoryReactorClock()
        client = connectUnix(reactor, "/run/pool.sock")
        self.assertEqual(reactor.unixClients, [])
        waiting = client.pool()
        self.assertEqual([entry[0] for entry in reactor.unixClients], ["/run/pool.sock"])
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        verifyObject(IAgentEndpointFactory, _UnixEndpoints(reactor, "/run/pool.sock"))

    def test_inAJob(self) -> None:
        """
        In a job, each request names the job, its host and the state directory of its daemon;
        outside it names none.
        """
        job = {"GANETI_POOL_JOB": "17", "GANETI_POOL_STATE": "/var/lib/a b"}
        for environment, sent in (
            (job, [JobOrigin(17, socket.gethostname(), "/var/lib/a b")]),
            ({}, []),
        ):
            for connect in (
                lambda reactor: connectUnix(reactor, "/run/pool.sock"),
                lambda reactor: connectHTTP(reactor, "http://127.0.0.1:8080"),
            ):
                reactor = MemoryReactorClock()
                with mock.patch.dict(os.environ, environment, clear=True):
                    client = connect(reactor)
                waiting = client.quiesce()
                (entry,) = reactor.unixClients or reactor.tcpClients
                factory: Any = entry[1] if reactor.unixClients else entry[2]
                protocol = factory.buildProtocol(None)
                transport = StringTransport()
                protocol.makeConnection(transport)
                lines = transport.value().split(b"\r\n")
                values = [
                    line.partition(b": ")[2]
                    for line in lines
                    if line.lower().startswith(b"ganeti-pool-job:")
                ]
                self.assertEqual(list(filter(None, [wire.parseOrigin(values)])), sent)
                waiting.cancel()
                self.failureResultOf(waiting, CancelledError)

    def test_longPath(self) -> None:
        """
        A path that is too long for a socket is refused, in bytes, and the
        longest is not.
        """
        reactor = MemoryReactorClock()
        connectUnix(reactor, "/" + "n" * 106)
        for path in ("/" + "n" * 107, "/" + "é" * 54):
            self.assertRaises(InvalidArgument, connectUnix, reactor, path)

    def test_http(self) -> None:
        """
        A client of a URL connects to its host and port.
        """
        reactor = MemoryReactorClock()
        waiting = connectHTTP(reactor, "http://127.0.0.1:8080", "s3cret").pool()
        self.assertEqual([entry[:2] for entry in reactor.tcpClients], [("127.0.0.1", 8080)])
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)

    def test_heldUp(self) -> None:
        """
        Connections that were kept longer than the daemon may keep them are closed
        before the next request, though the reactor had no time for that; those on
        which an answer was long in coming are not.
        """
        reactor = MemoryReactorClock()
        connections = KeptConnections(reactor)
        closed: list[float] = []

        def close() -> Deferred[None]:
            closed.append(reactor.seconds())
            return succeed(None)

        self.patch(connections.pool, "closeCachedConnections", close)
        client = JobClient(HTTPClient(SlowAgent(reactor)), "http://x", connections=connections)
        for pause, expected in ((25, []), (25, []), (26, [176]), (25, [176])):
            reactor.advance(pause)
            waiting = client.pool()
            reactor.advance(50)
            self.successResultOf(waiting)
            self.assertEqual(closed, expected)

    def test_noURL(self) -> None:
        """
        What is no URL of HTTP, or cannot be a daemon's, is refused by name.
        """
        for url in (
            *(
                "localhost:8080",
                "ftp://host",
                "",
                "http:host",
                "http://",
                "http://:80",
                "http:///v1",
            ),
            *(
                "http://[bad",
                "http://h:x",
                "http://h:65536",
                "http://h:0",
                "http://a b",
                "http://a\n",
            ),
            *("http://a\x7f", "http://h/?a=b", "http://h/#a"),
        ):
            error = self.assertRaises(InvalidArgument, connectHTTP, MemoryReactorClock(), url)
            self.assertIn(repr(url), str(error))
            self.assertNotIn("\n", str(error))

    def test_userInURL(self) -> None:
        """
        A URL with a password is refused, and the password not repeated.
        """
        for url in ("http://ana:s3cret@h", "http://s3cret@h"):
            error = self.assertRaises(InvalidArgument, connectHTTP, MemoryReactorClock(), url)
            self.assertNotIn("s3cret", str(error))

    def test_schemeInCapitals(self) -> None:
        """
        The case of the scheme does not matter, and a path stands before that of the
        request.
        """
        reactor = MemoryReactorClock()
        client = connectHTTP(reactor, "HTTP://127.0.0.1:8080/a/")
        self.assertEqual(client._exchange._base, "http://127.0.0.1:8080/a")
        waiting = client.pool()
        self.assertEqual([entry[:2] for entry in reactor.tcpClients], [("127.0.0.1", 8080)])
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)

    def test_cutOffBefore(self) -> None:
        """
        A connection that is closed before an answer says so in the same words.
        """
        for reason in (ConnectionDone(), ConnectionLost()):
            error = ResponseNeverReceived([Failure(reason)])
            self.assertEqual(
                _explain(error), "the connection was closed before the answer was whole"
            )

    def test_body(self) -> None:
        """
        A body that is written in one piece has nothing to pause, resume or stop.
        """
        body = _Text(b"{}")
        verifyObject(IBodyProducer, body)
        body.pauseProducing()
        body.resumeProducing()
        body.stopProducing()
        self.assertEqual(body.length, 2)
