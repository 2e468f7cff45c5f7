"""
Tests for the thread that a store's requests go to.
"""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import errors
from ganeti_pool.store.sqlite import _lane
from ganeti_pool.store.sqlite._lane import Lane, Request

from .storecase import TIMEOUT, Turns

Place = list[str]
"""
What requests are served with: the words said so far.
"""


class Session:
    """
    A session that serves each request with a list, until told what else to do.
    """

    def __init__(self) -> None:
        self.place: Place = []
        self.groups: list[int] = []
        self.before: Callable[[], object] = lambda: None
        self.isClosed = False

    def serve(self, group: Sequence[Request[Place]]) -> None:
        self.groups.append(len(group))
        self.before()
        for request in group:
            request.serve(self.place)

    def close(self) -> None:
        self.isClosed = True


def saying(word: str) -> Callable[[Place], int]:
    """
    A request that says a word, and gives the number of those said.
    """

    def work(place: Place) -> int:
        place.append(word)
        return len(place)

    return work


class LaneTests(SynchronousTestCase):
    """
    Tests for L{Lane}.
    """

    def setUp(self) -> None:
        self.turns = Turns()
        self.session = Session()
        self.lane = Lane(self.turns, "lane", self.session)
        self.addCleanup(lambda: self.turns.wait(self.lane.close()))

    def group(self, *works: Callable[[Place], int]) -> list[Deferred[int]]:
        """
        Ask for several things in one group.
        """
        reached, gate = threading.Event(), threading.Event()

        def hold() -> None:
            self.session.before = lambda: None
            reached.set()
            self.assertTrue(gate.wait(TIMEOUT))

        self.session.before = hold
        first = self.lane.ask(saying("first"))
        self.assertTrue(reached.wait(TIMEOUT))
        asked = [self.lane.ask(work) for work in works]
        gate.set()
        self.turns.wait(first)
        return asked

    def raising(self, error: BaseException) -> None:
        """
        Have the session raise from now on.
        """

        def serve() -> None:
            raise error

        self.session.before = serve

    def test_group(self) -> None:
        """
        What waits together is served together, in order.
        """
        asked = self.group(saying("a"), saying("b"), saying("c"))
        self.assertEqual([self.turns.wait(deferred) for deferred in asked], [2, 3, 4])
        self.assertEqual(self.session.groups, [1, 3])

    def test_aboutToAsk(self) -> None:
        """
        The thread lets others have the interpreter once before it takes what waits: who
        was about to ask is in the group.
        """
        reached, gate = threading.Event(), threading.Event()

        def sleep(seconds: float) -> None:
            self.assertEqual(seconds, 0)
            reached.set()
            self.assertTrue(gate.wait(TIMEOUT))

        lane = Lane(self.turns, "another lane", self.session, sleep=sleep)
        self.addCleanup(lambda: self.turns.wait(lane.close()))
        asked = [lane.ask(saying("a"))]
        self.assertTrue(reached.wait(TIMEOUT))
        asked.append(lane.ask(saying("b")))
        gate.set()
        self.assertEqual([self.turns.wait(deferred) for deferred in asked], [1, 2])
        self.assertEqual(self.session.groups, [2])

    def test_failure(self) -> None:
        """
        What the session raises, all of its group fail with, as an error of this
        package that names the lane; the next group is served.
        """
        for error, kind in (
            (sqlite3.OperationalError("database or disk is full"), errors.StoreFull),
            (OSError(errno.ENOSPC, "No space left on device"), errors.StoreFull),
            (OSError(errno.EIO, "Input/output error"), errors.StoreError),
            (sqlite3.DataError("string or blob too big"), errors.InvalidArgument),
            (OverflowError("string is longer than INT_MAX bytes"), errors.InvalidArgument),
            (UnicodeEncodeError("utf-8", "\udc80", 0, 1, "surrogates"), errors.InvalidArgument),
            (SystemExit(3), errors.StoreError),
        ):
            self.raising(error)
            for deferred in (self.lane.ask(saying("a")), self.lane.ask(saying("b"))):
                with self.assertRaises(kind) as caught:
                    self.turns.wait(deferred)
                self.assertIs(type(caught.exception), kind)
                self.assertIn("the lane failed: ", str(caught.exception))
                self.assertIs(caught.exception.__cause__, error)
            self.session.before = lambda: None
        self.assertEqual(self.turns.wait(self.lane.ask(saying("c"))), 1)

    def test_refused(self) -> None:
        """
        An error of this package is passed on as it is.
        """
        error = errors.NoSuchJob(7)
        self.raising(error)
        with self.assertRaises(errors.NoSuchJob) as caught:
            self.turns.wait(self.lane.ask(saying("a")))
        self.assertIs(caught.exception, error)

    def test_cancelled(self) -> None:
        """
        Whoever stops waiting changes nothing for the others.
        """
        first, second = self.lane.ask(saying("a")), self.lane.ask(saying("b"))
        first.cancel()
        self.failureResultOf(first)
        self.assertEqual(self.turns.wait(second), 2)

    def test_close(self) -> None:
        """
        The session is closed when all that was asked for has been done, and nothing
        can be asked for any more.
        """
        first = self.lane.ask(saying("a"))
        closing = [self.lane.close(), self.lane.close()]
        self.failureResultOf(self.lane.ask(saying("b")), errors.StoreClosed)
        self.assertEqual(self.turns.wait(first), 1)
        for deferred in closing:
            self.turns.wait(deferred)
        self.assertTrue(self.session.isClosed)
        self.successResultOf(self.lane.close())

    def test_noThread(self) -> None:
        """
        Where no thread can be started, the request fails, and a later one may not.
        """

        class Refusing(threading.Thread):
            def start(self) -> None:
                raise RuntimeError("can't start new thread")

        lane = Lane(self.turns, "another lane", Session())
        patch = self.patch(_lane, "Thread", Refusing)
        failure = self.failureResultOf(lane.ask(saying("a")), errors.StoreError)
        self.assertIn("can't start new thread", failure.getErrorMessage())
        patch.restore()
        self.assertEqual(self.turns.wait(lane.ask(saying("a"))), 1)
        self.turns.wait(lane.close())
