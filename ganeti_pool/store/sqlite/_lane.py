"""
Carry requests to a database on a thread of their own, in groups.

A request asked for on the reactor thread waits in a lane. The lane's thread takes
all that wait, has a session serve them, and tells the reactor of all of them at
once.
"""

from __future__ import annotations

import errno
import queue
from collections.abc import Callable, Sequence
from functools import partial
from sqlite3 import DataError
from threading import Thread
from time import perf_counter, sleep
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger

from ...errors import InvalidArgument, PoolError, StoreClosed, StoreError, StoreFull

__all__ = ["Lane", "Request", "Session"]

_T = TypeVar("_T")

_Place = TypeVar("_Place")

_log = Logger()


class Request(Generic[_Place]):
    """
    Something to do, and who is told of it.

    Threads: passed on, used by one thread at a time.

    @ivar deferred: fired by L{answer}.
    @ivar answer: tells what was set last, on the reactor thread.
    """

    def __init__(self, work: Callable[[_Place], Any], lane: str) -> None:
        """
        @param lane: where it was asked for.
        """
        self.deferred: Deferred[Any] = Deferred()
        self.answer: Callable[[], None]
        self._work = work
        self._lane = lane

    def serve(self, place: _Place) -> None:
        """
        Do it, and keep what comes of it as the answer.
        """
        self.answer = partial(self.deferred.callback, self._work(place))

    def fail(self, error: BaseException) -> None:
        """
        Answer with an error, as this package's own.
        """
        self.answer = partial(self.deferred.errback, translated(error, self._lane))


class Session(Protocol[_Place]):
    """
    What serves the requests of one lane.

    Threads: used by the lane's alone.
    """

    def serve(self, group: Sequence[Request[_Place]]) -> None:
        """
        Have each request served or failed. If this raises, all have failed, and
        nothing has changed.
        """

    def close(self) -> None:
        """
        Let go of all, for good.
        """


class Lane(Generic[_Place]):
    """
    One thread and its session with a database.

    Requests are served in the order in which they were asked for. Whatever happens,
    every Deferred fires, unless the reactor is gone. The thread starts with the
    first request, and ends with L{close}.

    Threads: L{ask} and L{close} belong to the reactor thread, where every
    Deferred fires; requests run on the lane's thread.

    @ivar name: what is asked here, for errors and the thread's name.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        name: str,
        session: Session[_Place],
        onCommit: Callable[[int, float], object] | None = None,
        sleep: Callable[[float], object] = sleep,
    ) -> None:
        """
        @param session: this lane's own.
        @param onCommit: called on the reactor thread when a group was served, before
            it is answered, with the number of its requests and the seconds that
            it took.
        @param sleep: has the thread sleep for some seconds.
        """
        self.name = name
        self._reactor = reactor
        self._session = session
        self._onCommit = onCommit
        self._sleep = sleep
        # What waits, in order; nothing behind the first None is looked at.
        self._waiting: queue.SimpleQueue[Request[_Place] | None] = queue.SimpleQueue()
        self._thread: Thread | None = None
        self._closing = False
        self._closers: list[Deferred[None]] = []

    def ask(self, work: Callable[[_Place], _T]) -> Deferred[_T]:
        """
        Have something done.

        @param work: called on the lane's thread. What it raises refuses the
            request.
        @return: a Deferred with what C{work} returned, after the commit. It fails
            with what C{work} raised, if that is an error of this package; with
            L{InvalidArgument} for a value that the database can never hold; with
            L{StoreFull} or L{StoreError} for all else that goes wrong, and
            with L{StoreClosed} after L{close}.
        """
        if self._closing:
            return fail(StoreClosed(self.name))
        if self._thread is None:
            thread = Thread(target=self._run, name=self.name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                return fail(translated(error, self.name))
            self._thread = thread
        request = Request(work, self.name)
        self._waiting.put(request)
        return request.deferred

    def close(self) -> Deferred[None]:
        """
        Do what was asked for, disconnect, and end the thread.

        @return: a Deferred that fires when that is done, however often it is
            asked for.
        """
        self._closing = True
        if self._thread is None:
            return succeed(None)
        self._waiting.put(None)
        closer: Deferred[None] = Deferred()
        self._closers.append(closer)
        return closer

    def _run(self) -> None:
        try:
            while self._serveNext():
                pass
        finally:
            try:
                self._session.close()
            finally:
                self._reactor.callFromThread(self._ended)

    def _serveNext(self) -> bool:
        """
        Wait for a group, serve it, and have it answered.

        Its answers live no longer than this call: a long list is not to be kept
        until the next group.

        @return: whether more can come.
        """
        group, goesOn = self._take()
        if not group:
            # Closed: the session may never have been opened, and is not opened for that.
            return goesOn
        start = perf_counter()
        seconds: float | None = None
        try:
            self._session.serve(group)
            seconds = perf_counter() - start
        # All there is: nothing may end this thread while somebody waits for it.
        except BaseException as error:
            for request in group:
                request.fail(error)
        self._reactor.callFromThread(self._answer, group, seconds)
        return goesOn

    def _take(self) -> tuple[list[Request[_Place]], bool]:
        """
        All that waits, one request at least, and whether more can come.
        """
        group: list[Request[_Place]] = []
        request = self._waiting.get()
        # Whoever is about to ask does so first: this lets go of the interpreter's lock, and
        # waits for nothing else. With it, half as many groups do.
        self._sleep(0)
        while request is not None:
            group.append(request)
            try:
                request = self._waiting.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _answer(self, group: list[Request[_Place]], seconds: float | None) -> None:
        """
        Tell of a group, on the reactor thread.

        @param seconds: how long it took; L{None} if all of it failed.
        """
        if seconds is not None and self._onCommit is not None:
            try:
                self._onCommit(len(group), seconds)
            except Exception:
                # whoever counts commits must not cost anybody an answer
                _log.failure("{name}: what is told of a commit failed", name=self.name)
        for request in group:
            request.answer()

    def _ended(self) -> None:
        self._thread = None
        closers, self._closers = self._closers, []
        for closer in closers:
            closer.callback(None)


def translated(error: BaseException, lane: str) -> PoolError:
    """
    An error as this package's own.
    """
    if isinstance(error, PoolError):
        return error
    # SQLAlchemy's text would add the statement and its parameters
    cause = getattr(error, "orig", None) or error
    isFull = "database or disk is full" in str(cause) or (
        isinstance(cause, OSError) and cause.errno == errno.ENOSPC
    )
    # The same value would fail for ever: a text that is no Unicode, an integer of
    # more than 64 bits, or what is longer than SQLite or its driver can take.
    isUnusable = isinstance(cause, (DataError, OverflowError, UnicodeEncodeError))
    kind = InvalidArgument if isUnusable else StoreFull if isFull else StoreError
    result = kind(f"the {lane} failed: {type(cause).__name__}: {cause}")
    result.__cause__ = error
    return result
