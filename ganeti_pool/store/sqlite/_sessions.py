"""
The two connections of a store to its SQLite file.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from sqlite3 import Connection
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, create_engine, event
from sqlalchemy import Connection as CoreConnection
from sqlalchemy.pool import NullPool

from ...errors import OwnershipLost, QueueStopping, StoreClosed, StoreDamaged, StoreError
from .._base import UnitOfWork
from ._errors import translated
from ._files import StoreFiles
from ._lane import Request
from ._ledger import SQLLedger, wasClosedCleanly
from ._log import droppedFrame
from .migrations import Migration, Phase, prepareSchema
from .schema import SCHEMA_VERSION

__all__ = ["ReadSession", "WriteSession"]


class _Session:
    """
    One connection, made when it is needed first.

    Threads: one, except for the constructor.
    """

    def __init__(self, location: Mapping[str, Any], pragma: str) -> None:
        """
        @param location: what SQLAlchemy is to connect with.
        @param pragma: how the connection is set up.
        """
        # Neither the driver nor SQLAlchemy is to begin or end a transaction by itself.
        self._engine = create_engine(
            URL.create("sqlite", **location), isolation_level="AUTOCOMMIT", poolclass=NullPool
        )
        self._core: CoreConnection | None = None

        @event.listens_for(self._engine, "connect")
        def connected(connection: Connection, record: object) -> None:
            try:
                connection.execute(f"PRAGMA {pragma}")
            except Exception:
                # a file that is no database: SQLAlchemy would not close it
                connection.close()
                raise

    def close(self) -> None:
        if self._core is not None:
            self._core.close()

    def _connect(self) -> tuple[CoreConnection, Connection]:
        """
        @return: SQLAlchemy's connection, and the driver's in it.
        """
        self._core = self._engine.connect()
        driven = self._core.connection.driver_connection
        assert isinstance(driven, Connection)
        return self._core, driven


class ReadSession(_Session):
    """
    The one that only reads a file, which must be there.

    Threads: one, except for the making of this.
    """

    def __init__(self, files: StoreFiles) -> None:
        """
        @param files: those of the store, which are checked before each answer.
        """
        existing = {"database": f"file:{quote(files.path)}", "query": {"uri": "true", "mode": "rw"}}
        super().__init__(existing, "query_only = ON")
        self._files = files
        self._connection: Connection | None = None

    def serve(self, group: Sequence[Request[Connection]]) -> None:
        with self._files.explaining(isWrite=False):
            try:
                if self._connection is None:
                    _, self._connection = self._connect()
                self._serveFrom(self._connection, group)
            finally:
                # Even if it failed: a lost file explains why.
                self._files.check(self._connection)

    def _serveFrom(self, connection: Connection, group: Sequence[Request[Connection]]) -> None:
        connection.execute("BEGIN")
        try:
            for request in group:
                try:
                    request.serve(connection)
                except Exception as error:
                    request.fail(self._files.explained(error, isWrite=False))
        finally:
            connection.rollback()


class WriteSession(_Session):
    """
    The connection that makes the file and changes it.

    The changes of a transaction are written at its end, together. A file that was not
    closed cleanly is checked when it is opened. The end of a session that has acquired the
    store marks it as closed cleanly.

    Threads: one, except for the constructor and L{interrupt}.
    """

    def __init__(
        self,
        files: StoreFiles,
        onCheck: Callable[[int | None], object],
        onMigration: Callable[[Phase, int, str], object],
        migration: Migration | None = None,
    ) -> None:
        """
        @param files: those of the store, which are checked before each answer.
        @param onCheck: called on the session's thread with the size of the file in
            bytes when the check of a file begins, and with L{None} when it has ended.
        @param onMigration: called on the session's thread when a migration begins and
            when it has ended. See L{Migration.run}.
        @param migration: the one to run if the tables are those of an earlier release.
        """
        super().__init__({"database": files.path}, "synchronous = FULL")
        self._files = files
        self._name = f"job store {files.path} (writing)"
        self._onCheck = onCheck
        self._onMigration = onMigration
        self._migration = Migration(files) if migration is None else migration
        self._opened: tuple[Connection, SQLLedger] | None = None
        self._checked: Connection | None = None
        self._isInterrupted = False

    def acquire(self, owner: str, now: datetime) -> int:
        """
        See L{IJobStore.acquire <ganeti_pool.interfaces.IJobStore.acquire>}.
        """
        with self._explaining():
            if self._opened is None:
                self._opened = self._open()
            with self._transaction() as ledger:
                return ledger.acquire(owner, now)

    @contextmanager
    def transaction(self, epoch: int, now: datetime) -> Iterator[UnitOfWork]:
        """
        See L{IJobStore.transaction <ganeti_pool.interfaces.IJobStore.transaction>}.

        @param now: the time of the changes.
        """
        with self._explaining(), self._transaction() as ledger:
            if epoch != ledger.epoch:
                raise OwnershipLost(epoch, ledger.epoch, ledger.owner())
            yield UnitOfWork(ledger, now)
            ledger.flush()

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """
        Raise every exception as an error of this package.
        """
        try:
            with self._files.explaining(isWrite=True):
                yield
        except Exception as error:
            translation = translated(error, self._name)
            if translation is error:
                raise
            raise translation from error

    @contextmanager
    def _transaction(self) -> Iterator[SQLLedger]:
        """
        Commit the changes of the block, or none of them. No other process writes in between.
        """
        if self._opened is None:
            raise StoreClosed(self._name)
        connection, ledger = self._opened
        self._files.check(connection)
        try:
            connection.execute("BEGIN IMMEDIATE")
            ledger.begin()
            yield ledger
            connection.execute("COMMIT")
        except BaseException:
            ledger.forget()
            connection.rollback()
            # A lost file explains the failure.
            self._files.check(connection)
            raise
        ledger.end()
        self._files.checkCommitted(connection)

    def close(self) -> None:
        """
        Mark the file as closed cleanly, unless it is another owner's by now, was lost,
        or may be damaged; and disconnect.
        """
        try:
            if self._opened is not None and not (self._files.isLost or self._files.isSuspect):
                # Without the mark the next start checks the file, and that is all.
                with suppress(sqlite3.Error, StoreError), self._transaction() as ledger:
                    ledger.markClosed()
        finally:
            self._opened = None
            super().close()

    def interrupt(self) -> None:
        """
        End a check or a migration that is under way, and let none begin: the store is not
        opened then. A migration that has not been committed changes nothing.

        Threads: any.
        """
        self._isInterrupted = True
        checked = self._checked
        if checked is not None:
            # It may have been closed just now.
            with suppress(sqlite3.Error):
                checked.interrupt()

    def _open(self) -> tuple[Connection, SQLLedger]:
        """
        Make the file and its schema, or check them, and migrate an earlier schema.
        """
        self._prepareFile()
        core, connection = self._connect()
        try:
            connection.execute("BEGIN IMMEDIATE")
            version = prepareSchema(core)
            connection.execute("COMMIT")
            # It is kept in the file, so not before that is known as ours.
            connection.execute("PRAGMA journal_mode = WAL")
            # A library that was built with a limit would shorten the log, as an accident does.
            connection.execute("PRAGMA journal_size_limit = -1")
            isChecked = not wasClosedCleanly(connection)
            if isChecked:
                self._checkContent(connection)
            if version < SCHEMA_VERSION:
                check = None if isChecked else self._examine
                self._migration.run(core, connection, self._interruptible, check, self._onMigration)
            # After the migration: it changes the schema, by which a shorter file is judged.
            self._files.opened(connection)
        except BaseException:
            connection.rollback()
            core.close()
            raise
        return connection, SQLLedger(connection)

    def _prepareFile(self) -> None:
        """
        Make the file for its owner alone, whatever the umask: arguments may hold
        secrets. One that exists is not opened: closing it again would drop the locks of
        a connection that reads it.

        @raise StoreDamaged: if only the log of a database is there, which SQLite
            would delete, or if SQLite would drop a part of the log.
        """
        path = os.path.realpath(self._files.path)
        log = f"{path}-wal"
        hasContent = os.path.exists(path) and os.stat(path).st_size > 0
        if not hasContent and os.path.exists(log) and os.stat(log).st_size > 0:
            raise StoreDamaged(
                f"the store {path} is missing or empty, but its write-ahead log {log} is there, "
                "so jobs would be lost. Put the database back beside its log, or restore a backup; "
                "to begin with an empty store, move the log away"
            )
        if hasContent:
            self._checkLog(log)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))

    def _checkLog(self, path: str) -> None:
        """
        Check the log that a dead owner has left. No connection exists yet.

        @raise StoreDamaged: if SQLite would drop changes that were acknowledged.
        """
        with suppress(FileNotFoundError), open(path, "rb") as file:
            frame = droppedFrame(file, lambda: self._isInterrupted)
            if frame is not None:
                place = f"at frame {frame}" if frame else "in its header"
                raise StoreDamaged(
                    f"the write-ahead log {path} is damaged {place}, and changes that were "
                    "acknowledged follow the damage. Restore a backup, or discard these changes: "
                    f"sqlite3 {self._files.path} 'PRAGMA wal_checkpoint(TRUNCATE)'"
                )

    def _checkContent(self, connection: Connection) -> None:
        """
        Check a file that was not closed cleanly, however long that takes.

        @raise StoreDamaged: if it is damaged.
        @raise QueueStopping: if L{interrupt} was called.
        """
        self._onCheck(os.stat(self._files.path).st_size)
        try:
            self._examine(connection)
        finally:
            self._onCheck(None)

    def _examine(self, connection: Connection) -> None:
        # Versions of SQLite differ in which of the two they notice while they walk a tree.
        with self._interruptible(connection):
            found = [text for (text,) in connection.execute(f"PRAGMA quick_check({_FINDINGS})")]
        if found != ["ok"]:
            raise self._files.damaged("; ".join(found))

    @contextmanager
    def _interruptible(self, connection: Connection) -> Iterator[None]:
        """
        Let L{interrupt} end the statements of a connection.

        @raise QueueStopping: if L{interrupt} was called.
        """
        self._checked = connection
        connection.set_progress_handler(lambda: self._isInterrupted, _STEPS)
        try:
            if self._isInterrupted:
                raise QueueStopping()
            yield
        except sqlite3.OperationalError as error:
            if self._isInterrupted:
                raise QueueStopping() from error
            raise
        finally:
            connection.set_progress_handler(None, 0)
            self._checked = None


_STEPS = 10_000
"""
SQLite asks after this many instructions whether to go on.
"""

_FINDINGS = 3
"""
The check of a file ends after this many findings.
"""
