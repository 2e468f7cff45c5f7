"""
Carry requests to a database on a thread of their own, in groups.

A request asked for on the reactor thread waits in a lane. The lane's thread
takes all that wait, runs them in one transaction, each in a savepoint, and
tells the reactor of all of them at once after the commit.
"""

from __future__ import annotations

import errno
import queue
from collections.abc import Callable
from functools import partial
from threading import Thread
from time import perf_counter
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger

from ..errors import InvalidArgument, PoolError, StoreError, StoreFull

__all__ = ["Lane"]

_T = TypeVar("_T")

_log = Logger()


class Lane:
    """
    One thread and its connection to a database.

    Requests are committed in the order in which they were asked for. One that
    raises is rolled back alone. If the transaction as a whole fails, none of
    its requests has changed anything, and all of them fail. Whatever happens,
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
        engine: Engine,
        prepare: Callable[[], None],
        onCommit: Callable[[int, float], object] | None = None,
    ) -> None:
        """
        @param engine: what this lane alone connects with; disposed of at the end.
        @param prepare: called on the lane's thread before each group; the group
            fails with what it raises.
        @param onCommit: called on the reactor thread when a group was committed,
            before it is answered, with the number of its requests and the seconds
            that it took.
        """
        self.name = name
        self._reactor = reactor
        self._engine = engine
        self._prepare = prepare
        self._onCommit = onCommit
        # What waits, in order; nothing behind the first None is looked at.
        self._waiting: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._thread: Thread | None = None
        self._closing = False
        self._closers: list[Deferred[None]] = []

    def ask(self, work: Callable[[Connection], _T]) -> Deferred[_T]:
        """
        Have something done in a transaction.

        @param work: called on the lane's thread. What it raises refuses the
            request.
        @return: a Deferred with what C{work} returned, after the commit. It fails
            with what C{work} raised, if that is an error of this package; with
            L{InvalidArgument} for a value that is too big for the database; with
            L{StoreFull} or L{StoreError} for all else that goes wrong, and
            with L{StoreError} after L{close}.
        """
        if self._closing:
            return fail(StoreError(f"the {self.name} has been closed"))
        if self._thread is None:
            thread = Thread(target=self._run, name=self.name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                return fail(self._translated(error))
            self._thread = thread
        request = _Request(work)
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
            self._engine.dispose()
            self._reactor.callFromThread(self._ended)

    def _serveNext(self) -> bool:
        """
        Wait for a group, serve it, and have it answered.

        Its answers live no longer than this call: a list of all queued jobs is
        not to be kept until the next group.

        @return: whether more can come.
        """
        group, goesOn = self._take()
        start = perf_counter()
        isCommitted = self._serve(group)
        seconds = perf_counter() - start
        self._reactor.callFromThread(self._answer, group, seconds if isCommitted else None)
        return goesOn

    def _take(self) -> tuple[list[_Request], bool]:
        """
        All that waits, one request at least, and whether more can come.
        """
        group: list[_Request] = []
        request = self._waiting.get()
        while request is not None:
            group.append(request)
            try:
                request = self._waiting.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _serve(self, group: list[_Request]) -> bool:
        """
        Do a group of requests in one transaction.

        @return: whether it was committed.
        """
        try:
            self._prepare()
            with self._engine.connect() as connection, connection.begin():
                for request in group:
                    self._attempt(request, connection)
        # All there is: nothing may end this thread while somebody waits for it.
        except BaseException as error:
            for request in group:
                request.fail(self._translated(error))
            return False
        return True

    def _attempt(self, request: _Request, connection: Connection) -> None:
        """
        Do one request of a group, or nothing of it.
        """
        savepoint = connection.begin_nested()
        try:
            request.succeed(request.work(connection))
            savepoint.commit()
        except Exception as error:
            # A full disk makes SQLite roll back the whole transaction at times:
            # then there is no savepoint to go back to, and another one would be
            # a transaction of its own.
            if not connection.connection.dbapi_connection.in_transaction:  # type: ignore[union-attr]
                raise
            savepoint.rollback()
            request.fail(self._translated(error))

    def _translated(self, error: BaseException) -> PoolError:
        """
        An error as this package's own.
        """
        if isinstance(error, PoolError):
            return error
        # SQLAlchemy's text would add the statement and the job's arguments
        cause = getattr(error, "orig", None) or error
        isFull = "database or disk is full" in str(cause) or (
            isinstance(cause, OSError) and cause.errno == errno.ENOSPC
        )
        # The same value would fail for ever: sqlite3 raises OverflowError from 2 GiB on.
        isUnusable = isinstance(error, (DataError, OverflowError))
        kind = InvalidArgument if isUnusable else StoreFull if isFull else StoreError
        translated = kind(f"the {self.name} failed: {type(cause).__name__}: {cause}")
        translated.__cause__ = error
        return translated

    def _answer(self, group: list[_Request], seconds: float | None) -> None:
        """
        Tell of a group, on the reactor thread.

        @param seconds: how long it took; L{None} if it was not committed.
        """
        if group and seconds is not None and self._onCommit is not None:
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


class _Request:
    """
    Something to do, and who is told of it.

    Threads: passed on, used by one thread at a time.

    @ivar work: what to do in a transaction.
    @ivar deferred: fired by L{answer}.
    @ivar answer: tells what was set last, on the reactor thread.
    """

    def __init__(self, work: Callable[[Connection], Any]) -> None:
        self.work = work
        self.deferred: Deferred[Any] = Deferred()
        self.answer: Callable[[], None]

    def succeed(self, value: Any) -> None:
        self.answer = partial(self.deferred.callback, value)

    def fail(self, error: PoolError) -> None:
        self.answer = partial(self.deferred.errback, error)
