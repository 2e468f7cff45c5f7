"""
Tests for how many connections L{ganeti_pool.web} takes, and how much memory its answers.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.web import AnswerMemory, Connections, CountedEndpoint, makeSite
from ganeti_pool.web._memory import Share

from .fakequeue import makeJob
from .webcase import Answer, Transport, WebCase


class FakePort:
    """
    A port that accepts, or does not.

    @ivar accepts: whether it does.
    @ivar numberAccepts: how many at a time.
    """

    accepts = True
    numberAccepts = 100

    def pauseProducing(self) -> None:
        self.accepts = False

    def resumeProducing(self) -> None:
        self.accepts = True


class FakeConnection:
    """
    A connection that waits for a request, or has one.

    @ivar isClosed: whether it was closed for another one.
    """

    isClosed = False

    def __init__(self, idleSince: float | None) -> None:
        self.idleSince = idleSince

    def makeRoom(self) -> None:
        self.isClosed = True


class ConnectionsTests(SynchronousTestCase):
    """
    Tests for L{Connections}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.connections = Connections(self.clock, 10, "the door")
        self.ports = [FakePort(), FakePort()]
        for port in self.ports:
            self.connections.listensAt(port)  # type: ignore[arg-type]

    def open(self, count: int, idleSince: float | None = None) -> list[FakeConnection]:
        """
        Open connections, and let the reactor turn once.
        """
        opened = [FakeConnection(idleSince) for _ in range(count)]
        for each in opened:
            self.assertTrue(self.connections.opened(each))
        self.clock.advance(0)
        return opened

    def test_share(self) -> None:
        """
        All ports together accept as many connections as there may be, and no more.
        """
        self.assertEqual([port.numberAccepts for port in self.ports], [5, 5])
        self.open(5)
        self.assertEqual([port.numberAccepts for port in self.ports], [2, 3])
        self.open(4)
        self.assertEqual([port.accepts for port in self.ports], [False, True])
        self.assertEqual(self.ports[1].numberAccepts, 1)
        self.open(1)
        self.assertEqual([port.accepts for port in self.ports], [False, False])
        self.assertFalse(self.connections.opened(FakeConnection(0)))
        self.assertEqual(len(self.connections), 10)

    def test_closed(self) -> None:
        """
        With a connection that ends, another one is accepted. One that was never counted
        changes nothing.
        """
        opened = self.open(10)
        self.connections.closed(FakeConnection(0))
        self.assertEqual([port.accepts for port in self.ports], [False, False])
        self.connections.closed(opened[0])
        self.assertEqual([port.accepts for port in self.ports], [False, True])
        for each in opened[1:]:
            self.connections.closed(each)
        self.assertEqual([port.numberAccepts for port in self.ports], [5, 5])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_longestIdle(self) -> None:
        """
        When all are taken, those that have waited longest for a request are closed, after
        a second at least; those that have one are not.
        """
        self.clock.advance(10)
        busy = self.open(6)
        (new,) = self.open(1, 9.5)
        old, older, oldest = self.open(1, 8.0) + self.open(1, 7.0) + self.open(1, 6.0)
        self.assertEqual((oldest.isClosed, older.isClosed, old.isClosed), (True, True, True))
        self.assertEqual((new.isClosed, busy[0].isClosed), (False, False))
        # They are closed once, and nothing else is while that lasts.
        self.clock.advance(1)
        self.assertFalse(new.isClosed)

    def test_laterIdle(self) -> None:
        """
        A connection that has not waited for a second yet is closed when it has.
        """
        new = self.open(10, 0.0)
        self.assertFalse(any(each.isClosed for each in new))
        self.clock.advance(1)
        self.assertEqual(sum(each.isClosed for each in new), 3)

    def test_log(self) -> None:
        """
        The log says once that there are as many as there may be, and again when they had
        become few in between.
        """
        with capturedLogs() as events:
            opened = self.open(10)
            self.connections.closed(opened[0])
            self.open(1)
            self.assertEqual(len(events), 1)
            for each in opened[1:]:
                self.connections.closed(each)
            self.open(9)
        self.assertEqual(len(events), 2)
        self.assertIn("connections to the door are open; the limit is 10", formatEvent(events[0]))


class SiteTests(WebCase):
    """
    Tests for a site with a limit.
    """

    def setUp(self) -> None:
        super().setUp()
        self.connections = Connections(self.reactor, 3, "the door")
        self.site = makeSite(self.reactor, self.queue, None, connections=self.connections)

    def test_tooMany(self) -> None:
        """
        One connection too many is closed at once.
        """
        opened = [self.connect()[1] for _ in range(3)]
        self.assertFalse(self.connect()[1].connected)
        self.assertTrue(all(transport.connected for transport in opened))
        opened[0].loseConnection()
        self.assertTrue(self.connect()[1].connected)

    def test_room(self) -> None:
        """
        A client that has sent half a request makes room for another one; one that waits
        for its answer does not.
        """
        self.queue.held = Deferred()
        waiting = self.begin("POST", "/v1/pool/quiesce")[1]
        protocol, half = self.connect()
        protocol.dataReceived(b"GET /v1/po")
        self.connect()
        self.reactor.advance(0)
        self.assertTrue(half.connected)
        self.reactor.advance(1)
        self.assertEqual((half.connected, waiting.connected), (False, True))

    def test_answerIsTaken(self) -> None:
        """
        A client that still takes its answer has two seconds for that, and what it asks
        meanwhile is dropped.
        """
        protocol, slow = self.begin("GET", "/v1/pool")
        slow.isTaken = False
        self.reactor.advance(1)
        self.connect()
        self.connect()
        self.reactor.advance(0)
        slow.clear()
        protocol.dataReceived(b"GET /v1/pool HTTP/1.1\r\n\r\n")
        self.assertEqual((slow.disconnecting, slow.connected, slow.value()), (True, True, b""))
        self.reactor.advance(2)
        self.assertFalse(slow.connected)

    def test_deadline(self) -> None:
        """
        A connection that makes room, and whose deadline passes meanwhile, gets no
        answer; one that was refused before closes as it would have.
        """
        for sent in (b"GET /v1/po", b"HELLO\r\n"):
            protocol, transport = self.connect()
            transport.isTaken = False
            self.reactor.advance(8.5 if sent.endswith(b"o") else 1.0)
            protocol.dataReceived(sent)
            answered = transport.value()
            self.reactor.advance(0.25)
            protocol.makeRoom()
            self.reactor.advance(1.5)
            self.assertEqual((transport.value(), transport.connected), (answered, True))
            self.reactor.advance(0.5)
            self.assertFalse(transport.connected)

    def test_endpoint(self) -> None:
        """
        A port that is opened is limited.
        """
        reactor = MemoryReactorClock()
        endpoint = CountedEndpoint(TCP4ServerEndpoint(reactor, 80), self.connections)
        listening: Any = endpoint.endpoint
        port = FakePort()
        listening.listen = lambda factory: succeed(port)
        self.assertIs(self.successResultOf(endpoint.listen(self.site)), port)
        self.assertEqual(port.numberAccepts, 3)


class MemoryTests(SynchronousTestCase):
    """
    Tests for L{AnswerMemory}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.memory = AnswerMemory(self.clock, 100)

    def test_order(self) -> None:
        """
        Answers get memory in the order in which they ask, also one that wants more than
        there is.
        """
        self.assertEqual(self.successResultOf(self.memory.take(60)), 60)
        large, small = self.memory.take(1000), self.memory.take(1)
        self.assertNoResult(small)
        self.memory.give(60)
        self.assertEqual(self.successResultOf(large), 100)
        self.memory.give(100)
        self.assertEqual(self.successResultOf(small), 1)

    def test_cancelled(self) -> None:
        """
        One that is given up takes nothing, and the next one has its place.
        """
        self.successResultOf(self.memory.take(60))
        large, small = self.memory.take(50), self.memory.take(40)
        large.cancel()
        self.failureResultOf(large, CancelledError)
        self.assertEqual(self.successResultOf(small), 40)

    def test_stalled(self) -> None:
        """
        A client that takes nothing is dropped when another answer has waited for two
        seconds, and not while none waits.
        """
        dropped: list[str] = []
        stalled, gone, late = (Share(self.memory) for _ in range(3))
        stalled.stalls(lambda: dropped.append("stalled"))
        gone.stalls(lambda: dropped.append("gone"))
        gone.goesOn()
        self.successResultOf(self.memory.take(100))
        self.clock.advance(100)
        waiting = self.memory.take(1)
        self.clock.advance(1)
        late.stalls(lambda: dropped.append("late"))
        self.clock.advance(0.9)
        self.assertEqual(dropped, [])
        self.clock.advance(0.2)
        self.assertEqual(dropped, ["stalled"])
        stalled.goesOn()
        self.clock.pump([0.5] * 2)
        self.assertEqual(dropped, ["stalled", "late"])
        self.memory.give(1)
        self.successResultOf(waiting)
        self.clock.advance(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LargeAnswerTests(WebCase):
    """
    Tests for answers that clients do not take.
    """

    def setUp(self) -> None:
        super().setUp()
        self.memory = AnswerMemory(self.reactor, 8 << 20)
        self.site = makeSite(self.reactor, self.queue, None, memory=self.memory)
        self.queue.add(*(makeJob(1 + n, args=("x" * 100_000,)) for n in range(50)))

    def begun(self, path: str) -> Transport:
        """
        A request whose answer the client does not take.
        """
        protocol, transport = self.connectSlowly()
        protocol.dataReceived(b"GET %b HTTP/1.1\r\n\r\n" % path.encode())
        return transport

    def connectSlowly(self) -> tuple[Any, Transport]:
        """
        A connection whose client takes nothing.
        """
        protocol, transport = self.connect()
        write = transport.write

        def full(data: bytes) -> None:
            write(data)
            if transport.producer is not None:
                transport.producer.pauseProducing()

        transport.write = full  # type: ignore[method-assign]
        return protocol, transport

    def take(self, transport: Transport) -> None:
        """
        Take all that there is.
        """
        del transport.write
        transport.producer.resumeProducing()

    def test_pieces(self) -> None:
        """
        A long answer is written as the client takes it, and comes whole.
        """
        for path in ("/v1/jobs?limit=1000", "/v1/jobs/3", "/v1/jobs?changed_after=0"):
            whole = self.ask("GET", path).body
            transport = self.begun(path)
            self.assertLess(len(transport.value()), 66_000)
            self.take(transport)
            self.assertEqual(Answer(transport.value()).body, whole)

    def test_dropped(self) -> None:
        """
        A client that takes nothing for half a minute is dropped; each piece gives it the
        time anew.
        """
        transport = self.begun("/v1/jobs?limit=1000")
        for _ in range(5):
            self.reactor.advance(29)
            transport.producer.resumeProducing()
        self.reactor.advance(29)
        self.assertTrue(transport.connected)
        self.reactor.advance(1)
        self.assertFalse(transport.connected)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_change(self) -> None:
        """
        The answer to a change is written likewise, and dropped.
        """
        body = b'{"args": ["%b"]}' % (b"x" * 200_000)
        head = b"POST /v1/jobs HTTP/1.1\r\nContent-Type: application/json\r\n"
        asked = head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        for isTaken in (True, False):
            protocol, transport = self.connectSlowly()
            protocol.dataReceived(asked)
            self.reactor.advance(29)
            if isTaken:
                self.take(transport)
                self.assertEqual(Answer(transport.value()).status, 201)
            self.reactor.advance(1)
            self.assertEqual(transport.connected, isTaken)

    def test_room(self) -> None:
        """
        A page waits until there is memory for it, and a client that takes nothing is
        dropped for it. One that waits for changes needs none.
        """
        self.queue.held = Deferred()
        self.begin("GET", "/v1/jobs?changed_after=7&wait=60")
        first = self.begun("/v1/jobs?limit=1000")
        second = self.begin("GET", "/v1/jobs?limit=1000")[1]
        self.assertEqual(second.value(), b"")
        self.assertEqual(self.ask("GET", "/v1/pool").status, 200)
        self.reactor.pump([0.5] * 5)
        self.assertFalse(first.connected)
        self.assertEqual(Answer(second.value()).status, 200)

    def test_waiterLeaves(self) -> None:
        """
        A client that goes away while its answer waits for memory leaves the rest to others.
        """
        first = self.begun("/v1/jobs?limit=1000")
        second = self.begin("GET", "/v1/jobs?limit=1000")[1]
        third = self.begin("GET", "/v1/jobs/3")[1]
        second.loseConnection()
        self.assertEqual(Answer(third.value()).status, 200)
        self.assertTrue(first.connected)
