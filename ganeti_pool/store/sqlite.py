"""
The store in one SQLite file, the embedded default.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorFromThreads
from zope.interface import implementer

from ..interfaces import IJobStore
from ..jobs import Attempt, Job, JobFilter, NewJob, Outcome, QueuedJob
from . import _journal
from ._lane import Lane
from .schema import prepareSchema

__all__ = ["SQLiteJobStore"]


def _now() -> datetime:
    return datetime.now(timezone.utc)


@implementer(IJobStore)
class SQLiteJobStore:
    """
    A job store in one SQLite file, with its write-ahead log beside it.

    A write is durable when its Deferred fires: the log is synchronised with the
    disk at every commit. Writes that wait together share one commit. Reads see
    all that was committed before they were asked for, and never wait for a
    commit. Nothing is opened and no thread started before L{acquire}.

    Threads: called on the reactor thread, where every Deferred fires. Two
    daemonic threads, one that writes and one that reads, last until L{close}
    has fired; each alone touches its connection.

    @ivar path: the file, absolute.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        path: str,
        clock: Callable[[], datetime] = _now,
        onCommit: Callable[[int, float], object] | None = None,
    ) -> None:
        """
        @param path: a file, made by L{acquire} if it is not there; the directory
            must be.
        @param clock: gives the time, aware, in UTC; called on the reactor thread.
        @param onCommit: told of each group of writes that was committed, before those
            are answered: how many there were, and the seconds that they took; called
            on the reactor thread.
        """
        # the daemon changes its directory after it made the store
        self.path = os.path.abspath(path)
        self._clock = clock
        self._isPrepared = False
        self._writer = _engine({"database": self.path}, "BEGIN IMMEDIATE", "synchronous = FULL")
        # Opened only if it is there, and never written to.
        existing = {"database": f"file:{quote(self.path)}", "query": {"uri": "true", "mode": "rw"}}
        reader = _engine(existing, "BEGIN", "query_only = ON")
        self._writes = Lane(
            reactor, f"job store {self.path} (writing)", self._writer, self._prepare, onCommit
        )
        self._reads = Lane(reactor, f"job store {self.path} (reading)", reader, lambda: None)

    def acquire(self, owner: str) -> Deferred[int]:
        return self._writes.ask(partial(_journal.acquire, owner=owner, now=self._clock()))

    def close(self) -> Deferred[None]:
        closing = gatherResults([self._reads.close(), self._writes.close()])
        return closing.addCallback(lambda _: None)

    def addJobs(
        self, epoch: int, jobs: Sequence[NewJob], firstPosition: int, room: int | None = None
    ) -> Deferred[list[Job]]:
        return self._writes.ask(
            partial(
                _journal.addJobs,
                epoch=epoch,
                new=tuple(jobs),
                firstPosition=firstPosition,
                now=self._clock(),
                room=room,
            )
        )

    def startAttempt(self, epoch: int, jobID: int, attempt: int) -> Deferred[Job]:
        return self._writes.ask(
            partial(
                _journal.startAttempt,
                epoch=epoch,
                jobID=jobID,
                attempt=attempt,
                now=self._clock(),
            )
        )

    def recordHandle(self, epoch: int, jobID: int, attempt: int, handle: str) -> Deferred[None]:
        return self._writes.ask(
            partial(_journal.recordHandle, epoch=epoch, jobID=jobID, attempt=attempt, handle=handle)
        )

    def finishAttempt(
        self, epoch: int, jobID: int, attempt: int, outcome: Outcome
    ) -> Deferred[Job]:
        return self._writes.ask(
            partial(
                _journal.finishAttempt,
                epoch=epoch,
                jobID=jobID,
                attempt=attempt,
                outcome=outcome,
                now=self._clock(),
            )
        )

    def requeueAttempt(
        self,
        epoch: int,
        jobID: int,
        attempt: int,
        priority: int,
        position: int,
        deferred: bool,
        reason: str | None,
    ) -> Deferred[Job]:
        return self._writes.ask(
            partial(
                _journal.requeueAttempt,
                epoch=epoch,
                jobID=jobID,
                attempt=attempt,
                priority=priority,
                position=position,
                deferred=deferred,
                reason=reason,
                now=self._clock(),
            )
        )

    def changePriority(self, epoch: int, jobID: int, priority: int) -> Deferred[Job]:
        return self._writes.ask(
            partial(_journal.changePriority, epoch=epoch, jobID=jobID, priority=priority)
        )

    def cancelQueued(self, epoch: int, jobID: int) -> Deferred[Job]:
        return self._writes.ask(
            partial(_journal.cancelQueued, epoch=epoch, jobID=jobID, now=self._clock())
        )

    def requestCancel(self, epoch: int, jobID: int) -> Deferred[Job]:
        return self._writes.ask(
            partial(_journal.requestCancel, epoch=epoch, jobID=jobID, now=self._clock())
        )

    def retryJob(self, epoch: int, jobID: int, position: int) -> Deferred[Job]:
        return self._writes.ask(
            partial(_journal.retryJob, epoch=epoch, jobID=jobID, position=position)
        )

    def removeJob(self, epoch: int, jobID: int) -> Deferred[None]:
        return self._writes.ask(partial(_journal.removeJob, epoch=epoch, jobID=jobID))

    def removeFinished(self, epoch: int, before: datetime, limit: int) -> Deferred[list[int]]:
        return self._writes.ask(
            partial(_journal.removeFinished, epoch=epoch, before=before, limit=limit)
        )

    def setSettings(self, epoch: int, settings: Mapping[str, Any]) -> Deferred[None]:
        return self._writes.ask(partial(_journal.setSettings, epoch=epoch, values=dict(settings)))

    def settings(self) -> Deferred[dict[str, Any]]:
        return self._reads.ask(_journal.getSettings)

    def queuedJobs(
        self, limit: int, after: tuple[int, int] | None = None
    ) -> Deferred[list[QueuedJob]]:
        return self._reads.ask(partial(_journal.getQueuedJobs, limit=limit, after=after))

    def workers(self) -> Deferred[frozenset[str]]:
        return self._reads.ask(_journal.getWorkers)

    def runningJobs(self) -> Deferred[list[tuple[Job, Attempt]]]:
        return self._reads.ask(_journal.getRunningJobs)

    def lastPosition(self) -> Deferred[int]:
        return self._reads.ask(_journal.getLastPosition)

    def job(self, jobID: int) -> Deferred[Job]:
        return self._reads.ask(partial(_journal.getJob, jobID=jobID))

    def attempts(self, jobID: int) -> Deferred[list[Attempt]]:
        return self._reads.ask(partial(_journal.getAttempts, jobID=jobID))

    def listJobs(
        self, which: JobFilter, newestFirst: bool, limit: int, after: int | None
    ) -> Deferred[list[Job]]:
        return self._reads.ask(
            partial(
                _journal.listJobs, which=which, newestFirst=newestFirst, limit=limit, after=after
            )
        )

    def changedJobs(self, after: int, limit: int) -> Deferred[list[Job]]:
        return self._reads.ask(partial(_journal.getChangedJobs, after=after, limit=limit))

    def summary(self) -> Deferred[dict[str, Any]]:
        return self._reads.ask(partial(self._summary, now=self._clock()))

    def _summary(self, connection: Connection, now: datetime) -> dict[str, Any]:
        size = 0
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                size += os.stat(self.path + suffix).st_size
        return {
            **_journal.getSummary(connection, now),
            "bytes": size,
            "freeBytes": shutil.disk_usage(os.path.dirname(self.path)).free,
        }

    def _prepare(self) -> None:
        """
        Make the file and its schema, or check them, once. On the writing thread.
        """
        if self._isPrepared:
            return
        # for its owner alone, whatever the umask: arguments may hold secrets
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        with self._writer.connect() as connection:
            with connection.begin():
                prepareSchema(connection)
            # It is kept in the file, and cannot be set inside a transaction, so
            # it goes past SQLAlchemy, and not before the file is known as ours.
            connection.connection.cursor().execute("PRAGMA journal_mode = WAL")
        self._isPrepared = True


def _engine(location: Mapping[str, Any], begin: str, pragma: str) -> Engine:
    """
    Something that connects to a SQLite file, for one thread.

    @param begin: the statement that begins each transaction.
    @param pragma: how each connection is set up.
    """
    # without an isolation level, sqlite3 adds no BEGIN and COMMIT of its own
    engine = create_engine(URL.create("sqlite", **location), connect_args={"isolation_level": None})

    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: object) -> None:
        try:
            connection.execute(f"PRAGMA {pragma}")
        except Exception:
            # a file that is no database: SQLAlchemy would not close it
            connection.close()
            raise

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
