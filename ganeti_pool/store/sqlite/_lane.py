"""
Run the reads of a database on a thread of their own, in groups.

A request from the reactor thread is queued in a lane. The lane's thread takes all queued
requests, has a session serve them, and answers all of them in one call on the reactor
thread.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from functools import partial
from threading import Thread
from time import sleep
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads

from ...errors import StoreClosed
from ._errors import translated

__all__ = ["Lane", "Request", "Session"]

_T = TypeVar("_T")

_Place = TypeVar("_Place")


class Request(Generic[_Place]):
    """
    A read, and the Deferred of its caller.

    Threads: passed on, used by one thread at a time.

    @ivar deferred: fired by L{answer}.
    @ivar answer: fires the Deferred with the latest outcome. Called on the reactor thread.
    """

    def __init__(self, work: Callable[[_Place], Any], lane: str) -> None:
        """
        @param lane: the name of the lane, for errors.
        """
        self.deferred: Deferred[Any] = Deferred()
        self.answer: Callable[[], None]
        self._work = work
        self._lane = lane

    def serve(self, place: _Place) -> None:
        """
        Run it, and keep the result as the answer.
        """
        self.answer = partial(self.deferred.callback, self._work(place))

    def fail(self, error: BaseException) -> None:
        """
        Answer with an error, as this package's own.
        """
        self.answer = partial(self.deferred.errback, translated(error, self._lane))


class Session(Protocol[_Place]):
    """
    The connection that serves the requests of one lane.

    Threads: used by the lane's alone.
    """

    def serve(self, group: Sequence[Request[_Place]]) -> None:
        """
        Serve or fail each request. If this raises, all have failed.
        """

    def close(self) -> None:
        """
        Disconnect.
        """


class Lane(Generic[_Place]):
    """
    One thread and its session with a database.

    Requests are served in order. Every Deferred fires, unless the reactor has ended. The
    thread starts with the first request and ends with L{close}.

    Threads: L{ask} and L{close} belong to the reactor thread, where every
    Deferred fires; requests run on the lane's thread.

    @ivar name: what is asked here, for errors and the thread's name.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        name: str,
        session: Session[_Place],
        sleep: Callable[[float], object] = sleep,
    ) -> None:
        """
        @param session: this lane's own.
        @param sleep: has the thread sleep for some seconds.
        """
        self.name = name
        self._reactor = reactor
        self._session = session
        self._sleep = sleep
        # The requests in order; nothing behind the first None is read.
        self._waiting: queue.SimpleQueue[Request[_Place] | None] = queue.SimpleQueue()
        self._thread: Thread | None = None
        self._closing = False
        self._closers: list[Deferred[None]] = []

    def ask(self, work: Callable[[_Place], _T]) -> Deferred[_T]:
        """
        Queue a request.

        @param work: called on the lane's thread.
        @return: a Deferred with the result of C{work}. It fails with what C{work} raised,
            as an error of this package, and with L{StoreClosed} after L{close}.
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
        Serve the queued requests, disconnect, and end the thread. May be called again.

        @return: a Deferred that fires when the thread has ended.
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
        Wait for a group, serve it, and answer it. The answers are released at the end, so
        a long list is not kept until the next group.

        @return: whether more can come.
        """
        group, goesOn = self._take()
        if not group:
            # Closed: the session may never have been opened, and is not opened for that.
            return goesOn
        try:
            self._session.serve(group)
        # Any exception: nothing may end this thread while a caller waits for it.
        except BaseException as error:
            for request in group:
                request.fail(error)
        self._reactor.callFromThread(_answer, group)
        return goesOn

    def _take(self) -> tuple[list[Request[_Place]], bool]:
        """
        Take all queued requests, at least one.

        @return: the requests, and whether more may come.
        """
        group: list[Request[_Place]] = []
        request = self._waiting.get()
        # Release the interpreter's lock once: the reactor thread often adds more requests
        # then, and half as many groups suffice.
        self._sleep(0)
        while request is not None:
            group.append(request)
            try:
                request = self._waiting.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _ended(self) -> None:
        self._thread = None
        closers, self._closers = self._closers, []
        for closer in closers:
            closer.callback(None)


def _answer(group: list[Request[Any]]) -> None:
    """
    Answer the requests of a group, on the reactor thread.
    """
    for request in group:
        request.answer()
