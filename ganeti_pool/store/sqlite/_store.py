"""
The store in one SQLite file, the embedded default.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime, timezone
from functools import partial
from sqlite3 import Connection
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from zope.interface import implementer

from ...interfaces import IJobStore, Snapshot
from ...jobs import Attempt, Job, JobFilter
from .._base import UnitOfWork
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
class SQLiteJobStore:
    """
    A job store in one SQLite file, with its write-ahead log beside it.

    A transaction is durable when its block has ended: the log is synchronised with the
    disk at every commit. A read returns all that was committed before it was asked for,
    and never waits for a commit. Nothing is opened and no thread is started before
    C{acquire} or the first read.

    Threads: C{acquire}, C{transaction} and C{release} run on the thread that calls them,
    always the same one. Everything else is called on the reactor thread; a daemonic thread
    runs the reads and lasts until L{close} has fired.

    @ivar path: the absolute path of the file.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        path: str,
        clock: Callable[[], datetime] = _now,
        onCheck: Callable[[bool], object] | None = None,
    ) -> None:
        """
        @param path: a file, which C{acquire} makes if it does not exist; its directory must
            exist.
        @param clock: returns the time, aware, in UTC; called on both threads.
        @param onCheck: called on the reactor thread with L{True} when a check or a
            migration of the file begins, which may take minutes, and with L{False} when
            it has ended.
        """
        self._clock = clock
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

    # On the dispatcher's thread

    def acquire(self, owner: str) -> int:
        return self._writer.acquire(owner, self._clock())

    def transaction(self, epoch: int) -> AbstractContextManager[UnitOfWork]:
        return self._writer.transaction(epoch, self._clock())

    def release(self) -> None:
        self._writer.close()

    # On any thread

    def interrupt(self) -> None:
        self._writer.interrupt()

    # On the reactor thread

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
        return self._reads.close()

    def job(self, jobID: int) -> Deferred[Snapshot[Job]]:
        return self._read(_reads.getJob, jobID)

    def known(self, jobIDs: Sequence[int]) -> Deferred[Snapshot[frozenset[int]]]:
        return self._read(_reads.getKnown, list(jobIDs))

    def attempts(self, jobID: int) -> Deferred[Snapshot[list[Attempt]]]:
        return self._read(_reads.getAttempts, jobID)

    def listJobs(
        self, which: JobFilter, newestFirst: bool, limit: int, after: int | None
    ) -> Deferred[Snapshot[list[Job]]]:
        return self._read(_reads.getListedJobs, which, newestFirst, limit, after)

    def changedJobs(self, after: int, limit: int) -> Deferred[Snapshot[list[Job]]]:
        return self._read(_reads.getChangedJobs, after, limit)

    def summary(self) -> Deferred[Snapshot[dict[str, Any]]]:
        return self._read(self._summary, self._clock())

    def _read(self, get: Callable[..., _T], *args: Any) -> Deferred[Snapshot[_T]]:
        def work(connection: Connection) -> Snapshot[_T]:
            return Snapshot(get(connection, *args), _reads.getRevision(connection))

        return self._reads.ask(work)

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
