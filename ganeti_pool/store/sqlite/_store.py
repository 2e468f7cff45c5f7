"""
The store in one SQLite file, the embedded default.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from sqlite3 import Connection
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from zope.interface import implementer

from ...interfaces import IJobStore
from ...jobs import Attempt, Job, JobFilter, QueuedJob
from .._writes import Ledger, Writer
from . import _reads
from ._files import StoreFiles
from ._lane import Lane
from ._sessions import ReadSession, WriteSession
from .migrations import Phase
from .schema import SCHEMA_VERSION

__all__ = ["SQLiteJobStore"]

_log = Logger()

_T = TypeVar("_T")


def _now() -> datetime:
    return datetime.now(timezone.utc)


@implementer(IJobStore)
class SQLiteJobStore(Writer):
    """
    A job store in one SQLite file, with its write-ahead log beside it.

    A write is durable when its Deferred fires: the log is synchronised with the
    disk at every commit. Writes that wait together share one commit. Reads see
    all that was committed before they were asked for, and never wait for a
    commit. Nothing is opened and no thread started before C{acquire}.

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
        onCheck: Callable[[bool], object] | None = None,
    ) -> None:
        """
        @param path: a file, made by C{acquire} if it is not there; the directory
            must be.
        @param clock: gives the time, aware, in UTC; called on the reactor thread.
        @param onCommit: told of each group of writes that was committed, before those
            are answered: how many there were, and the seconds that they took; called
            on the reactor thread.
        @param onCheck: called on the reactor thread with L{True} when a check or a
            migration of the file begins, which may take minutes, and with L{False} when
            it has ended.
        """
        super().__init__(clock)
        # the daemon changes its directory after it made the store
        self.path = os.path.abspath(path)
        self._onCheck = onCheck
        files = StoreFiles(self.path)
        self._paths = files.located()
        self._writer = WriteSession(
            files,
            partial(reactor.callFromThread, self._checking),
            partial(reactor.callFromThread, self._migrating),
        )
        self._reads: Lane[Connection] = Lane(
            reactor, f"job store {self.path} (reading)", ReadSession(files)
        )
        self._writes: Lane[Ledger] = Lane(
            reactor, f"job store {self.path} (writing)", self._writer, onCommit
        )

    def interrupt(self) -> None:
        self._writer.interrupt()

    def _checking(self, size: int | None) -> None:
        if size is None:
            _log.info("The check of the store {path} has ended", path=self.path)
        else:
            _log.info(
                "The store {path} was not closed cleanly: checking its {size} bytes before "
                "starting any job",
                path=self.path,
                size=size,
            )
        if self._onCheck is not None:
            self._onCheck(size is not None)

    def _migrating(self, phase: Phase, version: int, copy: str) -> None:
        told = {"path": self.path, "before": version, "now": SCHEMA_VERSION, "copy": copy}
        if phase is Phase.BEGUN:
            _log.info(
                "Migrating the store {path} from schema version {before} to {now}, after a copy "
                "of it to {copy}",
                **told,
            )
        elif phase is Phase.COMMITTED:
            _log.info(
                "Migrated the store {path} to schema version {now}. Its content before that is in "
                "{copy}, which you may remove when you no longer need it",
                **told,
            )
        if self._onCheck is not None:
            self._onCheck(phase is Phase.BEGUN)

    def close(self) -> Deferred[None]:
        closing = gatherResults([self._reads.close(), self._writes.close()])
        return closing.addCallback(lambda _: None)

    def settings(self) -> Deferred[dict[str, Any]]:
        return self._reads.ask(_reads.getSettings)

    def queuedJobs(
        self, limit: int, after: tuple[int, int] | None = None
    ) -> Deferred[list[QueuedJob]]:
        return self._reads.ask(partial(_reads.getQueuedJobs, limit=limit, after=after))

    def workers(self) -> Deferred[frozenset[tuple[str, int]]]:
        return self._reads.ask(_reads.getWorkers)

    def runningJobs(self) -> Deferred[list[tuple[Job, Attempt]]]:
        return self._reads.ask(_reads.getRunningJobs)

    def lastPosition(self) -> Deferred[int]:
        return self._reads.ask(_reads.getLastPosition)

    def lastID(self) -> Deferred[int]:
        return self._reads.ask(_reads.getLastID)

    def job(self, jobID: int) -> Deferred[Job]:
        return self._reads.ask(partial(_reads.getJob, jobID=jobID))

    def known(self, jobIDs: Sequence[int]) -> Deferred[frozenset[int]]:
        return self._reads.ask(partial(_reads.getKnown, jobIDs=list(jobIDs)))

    def attempts(self, jobID: int) -> Deferred[list[Attempt]]:
        return self._reads.ask(partial(_reads.getAttempts, jobID=jobID))

    def listJobs(
        self, which: JobFilter, newestFirst: bool, limit: int, after: int | None
    ) -> Deferred[list[Job]]:
        return self._reads.ask(
            partial(
                _reads.getListedJobs, which=which, newestFirst=newestFirst, limit=limit, after=after
            )
        )

    def changedJobs(self, after: int, limit: int) -> Deferred[list[Job]]:
        return self._reads.ask(partial(_reads.getChangedJobs, after=after, limit=limit))

    def summary(self) -> Deferred[dict[str, Any]]:
        return self._reads.ask(partial(self._summary, now=self._clock()))

    def _summary(self, connection: Connection, now: datetime) -> dict[str, Any]:
        size = 0
        for path in self._paths:
            # Not every file system lets SQLite have a log.
            with suppress(FileNotFoundError):
                size += os.stat(path).st_size
        return {
            **_reads.getSummary(connection, now),
            "bytes": size,
            "freeBytes": shutil.disk_usage(os.path.dirname(self.path)).free,
        }

    def _write(self, work: Callable[[Ledger], _T]) -> Deferred[_T]:
        return self._writes.ask(work)
