"""
Bring the tables of an earlier release up to date.

A step from one schema version to the next only creates tables and indexes, drops
indexes, adds columns and updates rows. It never rebuilds a table: that would reset
SQLite's C{AUTOINCREMENT}, and the ids of removed jobs would be given out again.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from datetime import datetime, timezone
from enum import Enum
from importlib.metadata import version as installedVersion
from sqlite3 import Connection
from urllib.parse import quote

from sqlalchemy import Connection as CoreConnection
from sqlalchemy import inspect, select

from ...errors import StoreError, StoreFull
from ._files import StoreFiles
from .schema import SCHEMA_VERSION, createTables, journal, schemaVersion

__all__ = ["STEPS", "Migration", "Phase", "prepareSchema"]

Steps = Mapping[int, Sequence[str]]

STEPS: Steps = {
    3: ("ALTER TABLE schema_version ADD COLUMN release TEXT",),
}
"""
The statements that lead to each version from the one before it.
"""

_RESERVE = 1 << 20
"""
Bytes that have to be free besides those of the copy, for the log of the migration.
"""


class Phase(Enum):
    """
    What is reported of a migration.
    """

    BEGUN = "begun"
    COMMITTED = "committed"
    FAILED = "failed"


def prepareSchema(connection: CoreConnection, steps: Steps = STEPS) -> int:
    """
    Create the tables in an empty database, or check that this release can use them.

    @param connection: one in a transaction that may write, so that an interrupted
        process leaves all tables or none.
    @return: the schema version, which may be one to migrate from.
    @raise StoreError: if the tables are those of another program, or of a release
        whose tables this one can neither use nor migrate. Nothing has changed then.
    """
    tables = inspect(connection).get_table_names()
    path = connection.engine.url.database
    if not tables:
        createTables(connection, _release())
        return SCHEMA_VERSION
    if schemaVersion.name not in tables or journal.name not in tables:
        raise StoreError(
            f"the database {path} holds tables of another program and is not a job store: choose "
            "another --store"
        )
    version: int = connection.execute(select(schemaVersion.c.version)).scalar_one()
    if version > SCHEMA_VERSION:
        maker = _maker(connection)
        origin = "a later release" if maker is None else maker
        remedy = "a later release" if maker is None else f"{maker} or later"
        raise StoreError(
            f"the store {path} has schema version {version}, made by {origin}, and this release "
            f"reads version {SCHEMA_VERSION}. Run {remedy}, or restore a backup from before it"
        )
    if version < SCHEMA_VERSION and version + 1 not in steps:
        raise StoreError(
            f"the store {path} has schema version {version} of an earlier release, and this one "
            f"reads version {SCHEMA_VERSION} and migrates from version {min(steps) - 1} or later: "
            "let the daemon of that release finish its jobs, then move the store and its state "
            "directory away"
        )
    return version


def _maker(connection: CoreConnection) -> str | None:
    """
    Find out which release made or migrated a store.

    @return: the name of the distribution and its version; L{None} if that is not known.
        A later schema may keep it elsewhere.
    """
    columns = {column["name"] for column in inspect(connection).get_columns(schemaVersion.name)}
    if schemaVersion.c.release.name not in columns:
        return None
    release = connection.execute(select(schemaVersion.c.release)).scalar_one()
    # It goes into a log line, and the file may be anything.
    isValid = isinstance(release, str) and re.fullmatch(r"[0-9A-Za-z.+!-]{1,64}", release)
    return f"ganeti-pool {release}" if isValid else None


def _release() -> str:
    return installedVersion("ganeti-pool")


def _freeBytes(directory: str) -> int:
    return shutil.disk_usage(directory).free


class Migration:
    """
    The migration of one store to the schema of this release.

    The order of its parts is what makes it safe:

     1. The database is locked against other writers, and its version read again. So no
        change of another process is missing from the copy, and only one process
        migrates.
     2. The database is checked. Damage is neither copied nor migrated.
     3. SQLite writes a copy under a temporary name, through a second connection, since
        C{VACUUM INTO} cannot run in a transaction. The copy gets its name when the disk
        has confirmed it. So a copy with that name is complete.
     4. All steps and the new version are one transaction. It ends with the lock.

    A process that dies on the way leaves the database as it was, and the next one
    begins again.

    Threads: used by the writing thread of a store alone.
    """

    def __init__(
        self,
        files: StoreFiles,
        steps: Steps = STEPS,
        freeBytes: Callable[[str], int] = _freeBytes,
    ) -> None:
        """
        @param files: those of the store.
        @param steps: see L{STEPS}.
        @param freeBytes: returns the bytes that may be written to a directory.
        """
        self._files = files
        self._steps = steps
        self._freeBytes = freeBytes

    def run(
        self,
        core: CoreConnection,
        connection: Connection,
        interruptible: Callable[[Connection], AbstractContextManager[None]],
        check: Callable[[Connection], object] | None,
        report: Callable[[Phase, int, str], object],
    ) -> None:
        """
        Migrate the store, unless another process has done so.

        @param core: SQLAlchemy's connection, in no transaction.
        @param connection: the driver's connection in it.
        @param interruptible: lets statements of a connection be interrupted.
        @param check: checks the content of the database; L{None} if that was done.
        @param report: called with the version before the migration and the path of the
            copy: when the migration begins, and when it has ended. A migration that was
            not necessary is not reported.
        @raise StoreFull: if the disk has too little room for the copy.
        @raise StoreError: if the copy cannot be written, or a step fails. The database
            has not changed then.
        @raise StoreDamaged: if the database is damaged.
        @raise QueueStopping: if the migration was interrupted.
        """
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = prepareSchema(core, self._steps)
            if version == SCHEMA_VERSION:
                return
            copy = self._copyPath(connection, version)
            report(Phase.BEGUN, version, copy)
            phase = Phase.FAILED
            try:
                if check is not None:
                    check(connection)
                self._migrate(connection, version, copy, interruptible)
                phase = Phase.COMMITTED
            finally:
                report(phase, version, copy)
        finally:
            connection.rollback()

    def _copyPath(self, connection: Connection, version: int) -> str:
        """
        Name the copy after the time at which the store was acquired last. A copy with
        that name is one that an interrupted migration made of the same content, and may
        be replaced. No other copy is.
        """
        ((acquiredAt,),) = connection.execute("SELECT acquired_at FROM journal")
        time = datetime.fromtimestamp((acquiredAt or 0) // 1_000_000, timezone.utc)
        path = os.path.realpath(self._files.path)
        return f"{path}.v{version}-backup-{time:%Y%m%dT%H%M%SZ}"

    def _migrate(
        self,
        connection: Connection,
        version: int,
        copy: str,
        interruptible: Callable[[Connection], AbstractContextManager[None]],
    ) -> None:
        name = f"the store {self._files.path} was not migrated from schema version {version} to "
        name += f"{SCHEMA_VERSION} and has not changed"
        try:
            self._makeCopy(connection, copy, interruptible, name)
            with interruptible(connection):
                for number in range(version + 1, SCHEMA_VERSION + 1):
                    for statement in self._steps[number]:
                        connection.execute(statement)
                connection.execute(
                    "UPDATE schema_version SET version = ?, release = ?",
                    (SCHEMA_VERSION, _release()),
                )
                connection.execute("COMMIT")
        except (OSError, sqlite3.Error) as error:
            explained = self._files.explained(error, isWrite=True)
            if explained is not error:
                # The disk failed or the database is damaged.
                raise explained from error
            kind = StoreFull if "disk is full" in str(error) else StoreError
            raise kind(
                f"{name}: {error}. Make room or repair the disk, and start the daemon again"
            ) from error

    def _makeCopy(
        self,
        connection: Connection,
        copy: str,
        interruptible: Callable[[Connection], AbstractContextManager[None]],
        name: str,
    ) -> None:
        directory = os.path.dirname(copy)
        unfinished = f"{copy}.unfinished"
        # Both would be of an interrupted migration, and their room may be needed.
        for path in (unfinished, copy):
            with suppress(FileNotFoundError):
                os.unlink(path)
        needed, free = _contentBytes(connection) + _RESERVE, self._freeBytes(directory)
        if free < needed:
            raise StoreFull(
                f"{name}: the copy that is made first needs {needed} bytes in {directory}, and "
                f"{free} are free. Make room, and start the daemon again"
            )
        # The arguments of jobs may hold secrets: whatever the umask, the file is its owner's.
        descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            try:
                os.fchmod(descriptor, 0o600)
                self._writeCopy(unfinished, interruptible)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(unfinished, copy)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(unfinished)
            raise
        _synchronise(directory)

    def _writeCopy(
        self,
        path: str,
        interruptible: Callable[[Connection], AbstractContextManager[None]],
    ) -> None:
        # Through SQLite even this file is opened: see StoreFiles.
        location = f"file:{quote(os.path.realpath(self._files.path))}?mode=rw"
        reader = sqlite3.connect(location, uri=True, isolation_level=None)
        with closing(reader), interruptible(reader):
            reader.execute("VACUUM INTO ?", (path,))


def _contentBytes(connection: Connection) -> int:
    """
    Return the size of a database in bytes, without its free pages.
    """
    ((pages,),) = connection.execute("PRAGMA page_count")
    ((unused,),) = connection.execute("PRAGMA freelist_count")
    ((size,),) = connection.execute("PRAGMA page_size")
    return int((pages - unused) * size)


def _synchronise(directory: str) -> None:
    """
    Have the disk confirm the names in a directory.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
