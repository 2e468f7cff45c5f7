"""
Tests for whom L{ganeti_pool.web} lets in, how much it reads, and how long it waits.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from ganeti_pool.errors import InvalidArgument, QueueStopping
from ganeti_pool.jobs import JobState
from ganeti_pool.web import makeSite
from ganeti_pool.web._operations import OPERATIONS
from ganeti_pool.wire import MAX_BODY, statusToJSON

from .fakequeue import makeJob, makeStatus
from .webcase import Answer, SecureTransport, Transport, WebCase


class SizeTests(WebCase):
    """
    Tests for bodies that are too large.
    """

    head = b"POST /v1/jobs HTTP/1.1\r\nContent-Type: application/json\r\n"

    def test_largest(self) -> None:
        """
        A body of just the limit is read, announced or in chunks.
        """
        body = b'{"args": []}'.ljust(MAX_BODY)
        self.assertEqual(self.ask("POST", "/v1/jobs", body).status, 201)
        protocol, transport = self.connect()
        protocol.dataReceived(self.head + b"Transfer-Encoding: chunked\r\n\r\n")
        protocol.dataReceived(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        self.assertEqual(Answer(transport.value()).status, 201)

    def test_announced(self) -> None:
        """
        A body that is announced as too large is refused before it comes, and a
        client that waits for leave to send is not given it.
        """
        protocol, transport = self.connect()
        protocol.dataReceived(
            self.head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1)
        )
        answer = Answer(transport.value())
        self.assertRefused(answer, 413, "body_too_large")
        self.assertEqual(answer.headers["connection"], "close")
        self.assertNotIn(b"100 Continue", answer.text)

    def test_chunked(self) -> None:
        """
        A body in chunks is refused with the byte that is too many, while the
        rest is to come.
        """
        protocol, transport = self.connect()
        protocol.dataReceived(self.head + b"Transfer-Encoding: chunked\r\n\r\n")
        protocol.dataReceived(b"%x\r\n" % (MAX_BODY + 2) + bytes(MAX_BODY))
        self.assertEqual(transport.value(), b"")
        protocol.dataReceived(b"x")
        self.assertRefused(Answer(transport.value()), 413, "body_too_large")

    def test_logged(self) -> None:
        """
        A request whose body is refused has its line in the log at once, and no other when
        the rest has come, or never comes.
        """
        for rest in (bytes(MAX_BODY + 1), b"x", b""):
            protocol, transport = self.connect()
            with capturedLogs() as events:
                protocol.dataReceived(self.head + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1))
                size = len(Answer(transport.value()).body)
                protocol.dataReceived(rest)
                self.reactor.advance(3)
            self.assertFalse(transport.connected)
            self.assertEqual(
                [formatEvent(event) for event in events],
                [f"192.168.1.1 POST /v1/jobs 413 {size}"],
            )

    def test_restIsDropped(self) -> None:
        """
        What still comes of a refused body is dropped, and the connection closed
        behind it.
        """
        protocol, transport = self.connect()
        protocol.dataReceived(self.head + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1))
        protocol.dataReceived(bytes(MAX_BODY))
        self.assertTrue(transport.connected)
        protocol.dataReceived(b"x")
        self.assertFalse(transport.connected)
        self.assertRefused(Answer(transport.value()), 413, "body_too_large")
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.queue.calls, [])

    def test_restIsNotAwaited(self) -> None:
        """
        A refused body that does not end is cut off after two seconds.
        """
        protocol, transport = self.connect()
        protocol.dataReceived(self.head + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1))
        self.reactor.advance(1.9)
        protocol.dataReceived(b"x")
        self.assertTrue(transport.connected)
        self.reactor.advance(0.2)
        self.assertFalse(transport.connected)


class SilenceCase(WebCase):
    """
    What tests of clients that do not act have in common.
    """

    def assertDropped(self, transport: Transport, after: int = 60) -> None:
        """
        Check that a connection is dropped after a minute, and not before.

        @param after: the seconds, with those for what is still to be sent.
        """
        self.reactor.pump([1] * (after - 1))
        self.assertTrue(transport.connected)
        self.reactor.advance(1)
        self.assertFalse(transport.connected)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class SilenceTests(SilenceCase):
    """
    Tests for connections on which nothing happens.
    """

    def test_idle(self) -> None:
        """
        A connection on which no request comes is dropped: a new one after ten seconds, one
        that had a request after a minute.
        """
        _, transport = self.connect()
        self.assertDropped(transport, 10)
        _, transport = self.begin("GET", "/v1/pool")
        self.assertEqual(Answer(transport.value()).status, 200)
        self.assertDropped(transport)

    def test_half(self) -> None:
        """
        A request of which no more comes is refused, wherever it was broken off, and the
        connection closed: a head after ten seconds, a body after thirty, and one second more for
        each kibibyte.
        """
        post = b"POST /v1/jobs HTTP/1.1\r\n"
        for part, seconds in (
            (b"GET /v1/po", 10),
            (b"GET /v1/pool HTTP/1.1\r\nHost: a\r\n", 10),
            (post + b"Content-Length: 9\r\n\r\n{", 30),
            (post + b"Transfer-Encoding: chunked\r\n\r\n9\r\n{", 30),
        ):
            protocol, transport = self.connect()
            protocol.dataReceived(part)
            self.reactor.pump([1] * (seconds - 1))
            self.assertEqual(transport.value(), b"")
            self.reactor.advance(1)
            self.assertRefused(Answer(transport.value()), 408, "request_timeout")
            self.assertDropped(transport, 2)
        self.assertEqual(self.queue.calls, [])

    def test_drip(self) -> None:
        """
        The time for a head does not begin anew with each line, on a new connection and on
        one that was used.
        """
        fresh, used = self.connect(), self.begin("GET", "/v1/pool")
        used[1].clear()
        self.reactor.advance(5)
        for (protocol, transport), left in ((fresh, 5), (used, 10)):
            protocol.dataReceived(b"GET /v1/pool HTTP/1.1\r\n")
            for _ in range(left - 1):
                self.reactor.advance(1)
                protocol.dataReceived(b"a: b\r\n")
            self.assertEqual(transport.value(), b"")
            self.reactor.advance(1)
            self.assertRefused(Answer(transport.value()), 408, "request_timeout")

    def test_pipelinedHalf(self) -> None:
        """
        A head that begins behind a whole request has its time as well.
        """
        protocol, transport = self.connect()
        protocol.dataReceived(b"GET /v1/pool HTTP/1.1\r\n\r\nGET /v1/po")
        transport.clear()
        self.reactor.advance(10)
        self.assertRefused(Answer(transport.value()), 408, "request_timeout")

    def test_emptyLine(self) -> None:
        """
        An empty line behind a request begins no other.
        """
        protocol, transport = self.begin("GET", "/v1/pool")
        protocol.dataReceived(b"\r")
        self.reactor.advance(5)
        protocol.dataReceived(b"\n")
        self.assertDropped(transport)

    def test_slowBody(self) -> None:
        """
        A body of the largest size that comes slowly is taken, and one that comes slower
        than a kibibyte a second is not.
        """
        body = b'{"args": []}'.ljust(MAX_BODY)
        for rate, status in ((2048, 201), (512, 408)):
            protocol, transport = self.connect()
            head = b"POST /v1/jobs HTTP/1.1\r\nContent-Type: application/json\r\n"
            protocol.dataReceived(head + b"Content-Length: %d\r\n\r\n" % len(body))
            for start in range(0, len(body), rate):
                self.reactor.advance(1)
                protocol.dataReceived(body[start : start + rate])
            self.assertEqual(Answer(transport.value()).status, status)

    def test_endlessHead(self) -> None:
        """
        Headers that do not end are refused; what still comes is dropped for two seconds,
        and then the connection is closed.
        """
        for line in (b"a: b\r\n", b"x" * 1000, b" more\r\n"):
            protocol, transport = self.connect()
            protocol.dataReceived(b"GET /v1/pool HTTP/1.1\r\na: b\r\n")
            sent = 0
            while not transport.value():
                protocol.dataReceived(line)
                sent += len(line)
                self.assertLess(sent, 40_000)
            protocol.dataReceived(line)
            self.assertRefused(Answer(transport.value()), 431, "headers_too_large")
            self.assertTrue(transport.connected)
            self.reactor.advance(2)
            self.assertFalse(transport.connected)
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_waiting(self) -> None:
        """
        A client that waits for an answer is not dropped, however long it does.
        """
        for method, path in (
            ("GET", "/v1/jobs?changed_after=7&wait=60"),
            ("POST", "/v1/pool/quiesce"),
            ("PATCH", "/v1/pool"),
        ):
            self.queue.held = Deferred()
            body = b'{"workers": 1}' if method == "PATCH" else None
            _, transport = self.begin(method, path, body)
            self.reactor.advance(100_000)
            self.assertTrue(transport.connected)
            transport.loseConnection()
        self.queue.add(makeJob(17, attempt=1, state=JobState.RUNNING))
        _, transport = self.begin("GET", "/v1/jobs/17/output?wait=86400")
        self.reactor.pump([0.25] * 1000)
        self.assertTrue(transport.connected)

    def test_closedWhenTold(self) -> None:
        """
        A client that wants the connection closed behind the answer, and takes none of
        it, is dropped.
        """
        protocol, transport = self.connect()
        transport.isTaken = False
        protocol.dataReceived(b"GET /v1/pool HTTP/1.1\r\nConnection: close\r\n\r\n")
        self.assertTrue(transport.disconnecting)
        self.assertDropped(transport, 75)


class PipelineTests(SilenceCase):
    """
    Tests for clients that ask on and on.
    """

    asked = b"GET /v1/pool HTTP/1.1\r\n\r\n"

    def hold(self) -> Deferred[Any]:
        """
        The next answer, still to come.
        """
        held: Deferred[Any] = Deferred()
        self.queue.held = held
        return held

    def test_answersAreTaken(self) -> None:
        """
        The next request is answered when the client has taken the answer before.
        """
        protocol, transport = self.connect()
        held = self.hold()
        protocol.dataReceived(self.asked * 3)
        transport.producer.pauseProducing()
        held.callback(makeStatus())
        self.assertEqual(len(self.queue.calls), 1)
        transport.producer.resumeProducing()
        self.assertEqual(len(self.queue.calls), 3)
        self.assertEqual(transport.value().count(b"HTTP/1.1 200 OK"), 3)
        protocol.dataReceived(self.asked)
        self.assertEqual(len(self.queue.calls), 4)

    def test_answersAreNotTaken(self) -> None:
        """
        A client that takes no answer is dropped after a minute.
        """
        protocol, transport = self.connect()
        held = self.hold()
        protocol.dataReceived(self.asked * 2)
        transport.producer.pauseProducing()
        self.reactor.advance(1000)
        transport.isTaken = False
        held.callback(makeStatus())
        self.assertDropped(transport, 75)
        self.assertEqual(len(self.queue.calls), 1)

    def test_farAhead(self) -> None:
        """
        A client that sends far more than the request that is answered is dropped, and
        what it waited for is given up.
        """
        lifted: list[Deferred[None]] = []
        self.queue.held = Deferred(lifted.append)
        protocol, transport = self.begin("POST", "/v1/pool/quiesce")
        protocol.dataReceived(bytes(1 << 16))
        self.assertEqual((transport.connected, lifted), (True, []))
        protocol.dataReceived(b"x")
        self.assertFalse(transport.connected)
        self.assertEqual(len(lifted), 1)

    def test_oneAfterTheOther(self) -> None:
        """
        What was sent ahead is counted for each request anew.
        """
        protocol, transport = self.connect()
        for _ in range(5):
            held = self.hold()
            protocol.dataReceived(self.asked)
            protocol.dataReceived(self.asked * 1000)
            held.callback(makeStatus())
            self.assertTrue(transport.connected)
        self.assertEqual(transport.value().count(b"HTTP/1.1 200 OK"), 5 * 1001)


class HangUpTests(WebCase):
    """
    Tests for L{JobSite.hangUp}.
    """

    def test_nobody(self) -> None:
        """
        Without a connection there is nothing to wait for.
        """
        self.ask("GET", "/v1/pool", connection="close")
        self.assertIsNone(self.successResultOf(self.site.hangUp()))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_answered(self) -> None:
        """
        A connection on which nothing is asked closes at once, and one that is answered
        when its answer is whole.
        """
        idle = self.connect()[1]
        held: Deferred[Any] = Deferred()
        self.queue.held = held
        asking = self.begin("GET", "/v1/pool")[1]
        gone = self.site.hangUp()
        self.assertEqual((idle.connected, asking.connected), (False, True))
        self.assertNoResult(gone)
        held.callback(makeStatus())
        self.assertEqual(Answer(asking.value()).value, statusToJSON(makeStatus()))
        self.assertFalse(asking.connected)
        self.assertIsNone(self.successResultOf(gone))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_notTaken(self) -> None:
        """
        Who does not take an answer in five seconds is cut off.
        """
        asking = self.begin("GET", "/v1/pool")[1]
        asking.isTaken = False
        gone = self.site.hangUp()
        self.reactor.advance(4.9)
        self.assertNoResult(gone)
        self.assertTrue(asking.connected)
        self.reactor.advance(0.1)
        self.assertFalse(asking.connected)
        self.assertIsNone(self.successResultOf(gone))


class KindTests(WebCase):
    """
    Tests for what a connection is.
    """

    def test_tls(self) -> None:
        """
        A connection without a socket of its own is watched as the system does it.
        """
        transport = SecureTransport()
        self.site.buildProtocol(None).makeConnection(transport)
        self.assertEqual(transport.isWatched, True)

    def test_version(self) -> None:
        """
        Over TLS no other version of HTTP is offered.
        """
        self.assertEqual(self.site.acceptableProtocols(), [b"http/1.1"])


class TokenTests(WebCase):
    """
    Tests for the bearer token.
    """

    token = b"s3cret"

    def test_right(self) -> None:
        """
        A request with the token passes; the word before it has no case.
        """
        for header in ("Bearer s3cret", "bearer  s3cret"):
            _, transport = self.begin("GET", "/v1/pool", authorization=header)
            self.assertEqual(Answer(transport.value()).status, 200)
            self.assertTrue(transport.connected)

    def test_wrongIsClosed(self) -> None:
        """
        A connection on which the token is missing is closed behind the answer, so that
        it makes room for another client.
        """
        _, transport = self.begin("GET", "/v1/pool")
        answer = Answer(transport.value())
        self.assertRefused(answer, 401, "unauthorized")
        self.assertEqual((answer.headers["connection"], transport.connected), ("close", False))

    def test_wrong(self) -> None:
        """
        A request without it, or with another, is refused on every path, and told which
        of the two it is.
        """
        none = 'Bearer realm="ganeti-pool"'
        another = f'{none}, error="invalid_token"'
        sentences: dict[str, set[str]] = {none: set(), another: set()}
        paths = [operation.path for operation in OPERATIONS.values()]
        for path in (*paths, "/v1/nothing", "/v1/%FF", "*", "/"):
            for header, challenge in (
                ("", none),
                ("Bearer", none),
                ("Bearer  ", none),
                ("Basic s3cret", none),
                ("s3cret", none),
                ("Bearer s3cre", another),
                ("bearer s3crets", another),
                ("Bearer \xff", another),
            ):
                answer = self.ask("GET", path, authorization=header)
                self.assertRefused(answer, 401, "unauthorized")
                self.assertEqual(answer.headers["www-authenticate"], challenge)
                sentences[challenge].add(answer.value["detail"])
            self.assertRefused(self.ask("GET", path), 401, "unauthorized")
        self.assertEqual(self.queue.calls, [])
        (sentence,) = sentences[none]
        self.assertIn("and the request has none", sentence)
        (sentence,) = sentences[another]
        self.assertIn("is not that of this daemon", sentence)

    def test_wrongMethod(self) -> None:
        """
        No method is let in without it.
        """
        for method in ("GET", "HEAD", "OPTIONS", "TRACE", "DELETE", "BREW", "get"):
            for path in ("/v1/jobs/1", "/metrics", "/v1/nothing", "*"):
                answer = self.ask(method, path, authorization="Basic s3cret")
                self.assertEqual(answer.status, 401)
        self.assertEqual(self.queue.calls, [])

    def test_bodyIsNotRead(self) -> None:
        """
        A request without the token is refused before its body comes.
        """
        protocol, transport = self.connect()
        protocol.dataReceived(b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
        self.assertRefused(Answer(transport.value()), 401, "unauthorized")

    def test_empty(self) -> None:
        """
        An empty token is no token, and makes no site.
        """
        for token in (b"", b" \n"):
            self.assertRaises(InvalidArgument, makeSite, self.reactor, self.queue, token)


class UnreadableTests(WebCase):
    """
    Tests for requests that are not HTTP/1.1 as the daemon speaks it.
    """

    get = b"GET /v1/pool HTTP/1.1\r\n"
    post = b"POST /v1/jobs HTTP/1.1\r\nContent-Type: application/json\r\n"
    chunked = post + b"Transfer-Encoding: chunked\r\n"

    def test_refused(self) -> None:
        """
        Each is answered with one problem document, and the connection is closed.
        """
        for sent, status, code in (
            (b"HELLO\r\n", 400, "bad_request"),
            (b"GET /v1/pool\r\n", 400, "bad_request"),
            (b"G(T / HTTP/1.1\r\n", 400, "bad_request"),
            (b"GET /\xff HTTP/1.1\r\n", 400, "bad_request"),
            (b"GET / HTTP/1.2\r\n", 400, "bad_request"),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version_not_supported"),
            (b"GET /" + b"a" * 17000 + b" HTTP/1.1\r\n", 414, "uri_too_long"),
            (b"GET /" + b"a" * 16384, 414, "uri_too_long"),
            (b"GET /" + b"a" * 17000, 414, "uri_too_long"),
            (self.get + b"a: " + b"b" * 17000, 431, "headers_too_large"),
            (self.get + (b"a: " + b"b" * 9000 + b"\r\n") * 2, 431, "headers_too_large"),
            (self.get + b"a: b\r\n" * 501 + b"\r\n", 431, "headers_too_large"),
            (self.get + b"nonsense\r\n\r\n", 400, "bad_request"),
            (self.get + b"nonsense\r\na: b\r\nc: d\r\n\r\n", 400, "bad_request"),
            (self.get + b"a b: c\r\n\r\n", 400, "bad_request"),
            (self.get + b"a: \0\r\n\r\n", 400, "bad_request"),
            (self.post + b"Content-Length: x\r\n\r\n", 400, "bad_request"),
            (self.post + b"Content-Length: -1\r\n\r\n", 400, "bad_request"),
            (self.post + b"Content-Length: 1\r\n" * 2 + b"\r\n", 400, "bad_request"),
            (self.chunked + b"Content-Length: 1\r\n\r\n", 400, "bad_request"),
            (self.post + b"Content-Length: %b\r\n\r\n" % (b"9" * 5000), 413, "body_too_large"),
            (
                self.post + b"Transfer-Encoding: gzip\r\n\r\n",
                501,
                "unsupported_transfer_encoding",
            ),
            (self.chunked + b"\r\nx\r\n", 400, "bad_request"),
            (self.chunked + b"\r\n1\r\n22\r\n", 400, "bad_request"),
            (
                self.post + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\n1",
                415,
                "unsupported_media_type",
            ),
            (self.post + b"Expect: more\r\nContent-Length: 1\r\n\r\n1", 417, "expectation_failed"),
        ):
            protocol, transport = self.connect()
            protocol.dataReceived(sent)
            self.assertRefused(Answer(transport.value()), status, code)
            self.assertEqual(transport.value().count(b"Content-Length: "), 1, sent[:50])
            protocol.dataReceived(b"GET /v1/pool HTTP/1.1\r\n\r\n" * 3)
            self.assertEqual(transport.value().count(b"Content-Length: "), 1, sent[:50])
            self.reactor.advance(2)
            if "Content-Encoding" not in repr(sent) and "Expect" not in repr(sent):
                self.assertFalse(transport.connected)
        self.assertEqual(self.queue.calls, [])

    def test_fallback(self) -> None:
        """
        What Twisted alone finds wrong is a problem document too.
        """
        protocol, transport = self.connect()
        protocol.dataReceived(self.get)
        protocol._respondToBadRequestAndDisconnect()
        self.assertRefused(Answer(transport.value()), 400, "bad_request")

    def test_harmless(self) -> None:
        """
        Headers that ask for nothing else are accepted.
        """
        for name, value in (
            ("content_encoding", "identity"),
            ("expect", "100-Continue"),
            ("transfer_encoding", "identity"),
            ("upgrade", "websocket"),
        ):
            self.assertEqual(self.ask("GET", "/v1/pool", None, **{name: value}).status, 200)
        # Without a body nothing is encoded.
        self.assertEqual(self.ask("GET", "/v1/pool", content_encoding="gzip").status, 200)

    def test_trailers(self) -> None:
        """
        Trailers behind a body in chunks are dropped.
        """
        protocol, transport = self.connect()
        protocol.dataReceived(self.chunked + b'\r\nc\r\n{"args": []}\r\n0\r\na: b\r\n\r\n')
        self.assertEqual(Answer(transport.value()).status, 201)

    def test_answeredBefore(self) -> None:
        """
        A body whose request was refused, and which turns out to be broken, gets no second
        answer.
        """
        protocol, transport = self.connect()
        protocol.dataReceived(self.chunked + b"\r\n%x\r\n" % (MAX_BODY + 1))
        protocol.dataReceived(bytes(MAX_BODY + 1))
        protocol.dataReceived(b"xx")
        self.assertRefused(Answer(transport.value()), 413, "body_too_large")
        self.assertEqual(transport.value().count(b"Content-Length: "), 1)
        self.reactor.advance(2)
        self.assertFalse(transport.connected)

    def test_log(self) -> None:
        """
        It has its line in the log, without a method and a path.
        """
        protocol, transport = self.connect()
        with capturedLogs() as events:
            protocol.dataReceived(b"HELLO\r\n")
        size = len(Answer(transport.value()).body)
        self.assertEqual([formatEvent(event) for event in events], [f"192.168.1.1 - - 400 {size}"])

    def test_close(self) -> None:
        """
        A connection that is to be closed is, whatever else the header names.
        """
        for value, isOpen in (("Close, upgrade", False), ("keep-alive", True), ("close", False)):
            _, transport = self.begin("GET", "/v1/pool", connection=value)
            self.assertEqual(transport.connected, isOpen, value)


class HalfClosedTests(WebCase):
    """
    Tests for clients that close their sending side behind a request.
    """

    def test_answered(self) -> None:
        """
        What was asked is answered, all of it, and the connection is closed then.
        """
        protocol, transport = self.connect()
        held: Deferred[Any] = Deferred()
        self.queue.held = held
        protocol.dataReceived(b"GET /v1/pool HTTP/1.1\r\n\r\n" * 3)
        protocol.readConnectionLost()
        self.assertTrue(transport.connected)
        held.callback(makeStatus())
        self.assertEqual(transport.value().count(b"HTTP/1.1 200 OK"), 3)
        self.assertFalse(transport.connected)
        protocol.writeConnectionLost()

    def test_waits(self) -> None:
        """
        A request that waits is answered with what there is after a second, since the
        client may be gone.
        """
        self.queue.add(makeJob(17, attempt=1, state=JobState.RUNNING))
        for method, path, body in (
            (
                "GET",
                "/v1/jobs?changed_after=999&wait=60",
                b'{"jobs":[],"revision":999,"next":null}',
            ),
            ("POST", "/v1/pool/quiesce", b'{"quiesced":false}'),
            ("POST", "/v1/pool/quiesce?wait=60", b'{"quiesced":false}'),
            ("GET", "/v1/jobs/17/output?wait=60", b""),
        ):
            self.queue.held = Deferred() if "output" not in path else None
            protocol, transport = self.begin(method, path)
            self.assertNotIn(body or b"0\r\n\r\n", transport.value())
            protocol.readConnectionLost()
            self.reactor.advance(0.9)
            self.assertNotIn(body or b"0\r\n\r\n", transport.value())
            self.reactor.advance(0.1)
            answer = Answer(transport.value())
            self.assertEqual((answer.status, answer.body), (200, body))
            self.assertFalse(transport.connected)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_waitsAfterwards(self) -> None:
        """
        A wait that begins when the client has closed its sending side ends likewise: of the
        same request, or of one behind it.
        """
        self.queue.add(makeJob(17, attempt=1, state=JobState.RUNNING))
        held: Deferred[Any] = Deferred()
        self.queue.held = held
        protocol, transport = self.begin("GET", "/v1/jobs/17/output?wait=60")
        protocol.readConnectionLost()
        self.reactor.advance(1)
        held.callback(self.queue.jobs[17])
        self.assertEqual(Answer(transport.value()).status, 200)
        self.assertFalse(transport.connected)

        self.queue.held = held = Deferred()
        protocol, transport = self.begin("GET", "/v1/pool")
        protocol.dataReceived(b"POST /v1/pool/quiesce HTTP/1.1\r\n\r\n")
        protocol.readConnectionLost()
        self.queue.held = Deferred()
        held.callback(makeStatus())
        self.reactor.advance(1)
        self.assertTrue(transport.value().endswith(b'{"quiesced":false}'))
        self.assertFalse(transport.connected)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_failsMeanwhile(self) -> None:
        """
        A wait that fails by itself is told as it is.
        """
        held: Deferred[Any] = Deferred(lambda held: held.errback(QueueStopping()))
        self.queue.held = held
        protocol, transport = self.begin("POST", "/v1/pool/quiesce")
        protocol.readConnectionLost()
        self.reactor.advance(1)
        self.assertRefused(Answer(transport.value()), 503, "stopping")

    def test_half(self) -> None:
        """
        A request that ends before all of it has come is refused; a connection without
        one is closed.
        """
        for part in (b"GET /v1/po", b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"):
            protocol, transport = self.connect()
            protocol.dataReceived(part)
            protocol.readConnectionLost()
            self.assertRefused(Answer(transport.value()), 400, "bad_request")
            self.assertFalse(transport.connected)
        protocol, transport = self.connect()
        protocol.readConnectionLost()
        self.assertEqual((transport.connected, transport.value()), (False, b""))

    def test_refused(self) -> None:
        """
        A refused connection is closed as soon as the client sends no more.
        """
        protocol, transport = self.connect()
        protocol.dataReceived(b"HELLO\r\n")
        protocol.readConnectionLost()
        self.assertFalse(transport.connected)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
