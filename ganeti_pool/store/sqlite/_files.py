"""
Check that the files of a store are still in place, and explain disk errors.

SQLite keeps writing to a file that was removed, and the next daemon would not find the
jobs that were acknowledged in the meantime. The sessions check the files before they
answer.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from sqlite3 import Connection

from ...errors import StoreDamaged, StoreError, StoreFull, StoreLost

__all__ = ["StoreFiles", "probe"]

_LOOKS = 5

_WAL_HEADER = 32
_FRAME_HEADER = 24

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}

_GONE = (FileNotFoundError, NotADirectoryError)

_SAVE = (
    "The daemon starts no job and accepts no change until it is restarted. Before you stop it, "
    "read about a lost store in the operator's guide: the jobs may still be saved"
)

_UNKNOWN = (
    "The change was not acknowledged, but a restart may find it in the store: submit with a key, "
    "and repeat the request with the same key"
)

_RESTORE = (
    "Jobs could be missing from it. Restore a backup, or save the readable jobs with the command "
    ".recover of sqlite3: see the operator's guide"
)

_MEND = "Repair the disk or make room, and start the daemon again"

_CHECKED = (
    "Some jobs may be missing from lists: restart the daemon, which then checks the store, and "
    "restore a backup if it reports damage"
)


@dataclass
class _File:
    """
    A file as it was found last.

    @ivar size: in bytes.
    """

    path: str
    identity: tuple[int, int]
    size: int


def probe(path: str) -> OSError | None:
    """
    Write a small file, have the disk confirm it, and remove it.

    Threads: not the reactor's, since the disk may be slow.

    @param path: where, beside the files that the disk has just refused to write.
    @return: the error of the disk; L{None} if it took the file.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
        try:
            os.write(descriptor, bytes(4096))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            os.unlink(path)
    except OSError as error:
        return error
    return None


class StoreFiles:
    """
    The database, its write-ahead log and the index of the log, compared with the
    files that were opened.

    No file is opened or closed here: closing any descriptor of the database would
    drop the locks that SQLite holds on it, and another process could then delete the
    log. Only C{stat} is called, and a connection is asked when a file has become
    shorter.

    The files may change legitimately: a checkpoint, also one of another process, may
    empty the log, and a C{VACUUM} may shorten the database.

    Threads: used by the threads of both sessions. Each attribute is replaced as a
    whole, so a race costs one question to SQLite at most.

    @ivar path: the database.
    @ivar isSuspect: whether SQLite has reported damage or an error of the disk, so
        that the next start has to check the database.
    """

    def __init__(self, path: str, probe: Callable[[str], OSError | None] = probe) -> None:
        """
        @param path: the database, absolute; it may be a symbolic link.
        @param probe: tries the disk. See L{probe}.
        """
        self.path = path
        self.isSuspect = False
        self._probe = probe
        self._opened: dict[str, _File] = {}
        self._loss: str | None = None
        self._schemaVersion = 0

    def located(self) -> tuple[str, str, str]:
        """
        The paths of the database, its log and the index of the log. SQLite puts the
        others beside the file that a symbolic link names.
        """
        real = os.path.realpath(self.path)
        return self.path, f"{real}-wal", f"{real}-shm"

    def opened(self, connection: Connection) -> None:
        """
        Remember the files as they are now, when a connection has opened all three; or
        the database alone, on a file system on which SQLite can keep no such log.

        @param connection: that one, in no transaction.
        @raise StoreLost: if they have been removed already.
        """
        # A read, since SQLite opens the log and its index with the first one.
        self._schemaVersion = _schemaVersion(connection)
        ((mode,),) = connection.execute("PRAGMA journal_mode")
        paths = self.located() if mode == "wal" else (self.path,)
        try:
            found = [(path, os.stat(path)) for path in paths]
        except OSError as error:
            raise self._lose(f"{error.filename} does not exist") from error
        self._opened = {
            path: _File(path, (status.st_dev, status.st_ino), status.st_size)
            for path, status in found
        }

    def check(self, connection: Connection | None) -> None:
        """
        Compare the files with those that were opened. Before L{opened} nothing is
        compared.

        @param connection: one that is in no transaction; L{None} if there is none, and
            then a shorter file is not noticed.
        @raise StoreLost: if one was removed, truncated or replaced, now or earlier.
        @raise StoreError: if that cannot be seen now.
        """
        if self._loss is not None:
            raise self._lose(self._loss)
        for file in self._opened.values():
            try:
                status = os.stat(file.path)
            except _GONE as error:
                raise self._lose(f"{file.path} no longer exists") from error
            except OSError as error:
                raise StoreError(
                    f"the store {self.path} cannot be used: {file.path} cannot be examined "
                    f"({_named(error)})"
                ) from error
            if (status.st_dev, status.st_ino) != file.identity:
                raise self._lose(f"{file.path} was replaced by another file")
            if status.st_size >= file.size:
                file.size = status.st_size
            elif connection is not None:
                self._checkSize(file, connection)

    def checkCommitted(self, connection: Connection) -> None:
        """
        Compare the files as L{check} does, after a commit. If that is impossible now, the
        store is lost: the caller would take the commit for one that has failed.

        @raise StoreLost: unless the files are those that were opened.
        """
        try:
            self.check(connection)
        except StoreLost:
            raise
        except StoreError as error:
            raise self._lose(str(error)) from error

    @property
    def isLost(self) -> bool:
        """
        Whether a check has found that the files are not those that were opened.
        """
        return self._loss is not None

    def _lose(self, loss: str) -> StoreLost:
        self._loss = loss
        return StoreLost(
            f"the store {self.path} was lost while the daemon used it: {loss}. {_SAVE}"
        )

    def _checkSize(self, file: _File, connection: Connection) -> None:
        """
        Judge a file that has become shorter.
        """
        check = self._checkDatabase if file.path == self.path else self._checkLog
        try:
            check(file, connection)
        except sqlite3.Error as error:
            # SQLite cannot read what it has written.
            raise self._lose(f"{file.path} was truncated") from error

    def _checkDatabase(self, file: _File, connection: Connection) -> None:
        """
        A C{VACUUM} may have made the database shorter: it counts up the schema version.
        """
        version = _schemaVersion(connection)
        size = os.stat(file.path).st_size
        if version == self._schemaVersion and size < file.size:
            raise self._lose(f"{file.path} was truncated")
        # In this order: the other thread may look just now.
        file.size = size
        self._schemaVersion = version

    def _checkLog(self, file: _File, connection: Connection) -> None:
        """
        A checkpoint may have emptied the log, and then another change may have been
        written. SQLite tells how many frames are in the log when it is asked for a
        checkpoint, except while another process makes one; then the next check asks
        again.
        """
        # More than once: another process may empty it between the question and the look.
        for _ in range(_LOOKS):
            ((isBusy, frames, _),) = connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            size = os.stat(file.path).st_size
            if isBusy:
                return
            if frames <= 0 or size >= _WAL_HEADER + frames * (
                _FRAME_HEADER + _pageSize(connection)
            ):
                file.size = size
                return
        raise self._lose(f"{file.path} was truncated")

    def damaged(self, finding: str) -> StoreDamaged:
        """
        Make the error of a file that was found damaged before it is used.
        """
        return StoreDamaged(f"the store {self.path} is damaged: {finding}. {_RESTORE}")

    @contextmanager
    def explaining(self, isWrite: bool) -> Iterator[None]:
        """
        Raise what is L{explained} of an exception.
        """
        try:
            yield
        except Exception as error:
            explained = self.explained(error, isWrite)
            if explained is error:
                raise
            raise explained from error

    def explained(self, error: Exception, isWrite: bool) -> Exception:
        """
        Name an error of the disk or a damage as this package's own.

        @param isWrite: whether a change was to be committed, which may be in the
            file after all.
        @return: a L{StoreError}; any other error as it was given.
        """
        # SQLAlchemy wraps the driver's errors
        cause = getattr(error, "orig", None) or error
        if not isinstance(cause, sqlite3.Error):
            return error
        text = str(cause)
        isDiskError = "disk I/O error" in text or "readonly database" in text
        isDamage = "image is malformed" in text or "not a database" in text
        if not (isDiskError or isDamage):
            return error
        self.isSuspect = True
        # Python 3.10 does not know the names.
        names = [name] if (name := getattr(cause, "sqlite_errorname", None)) else []
        kind: type[StoreError] = StoreDamaged
        if isDiskError:
            refusal = self._probe(f"{os.path.realpath(self.path)}-probe")
            if refusal is not None:
                names.append(_named(refusal))
            isFull = refusal is not None and refusal.errno in _NO_ROOM
            kind = StoreFull if isFull else StoreError if isWrite else StoreDamaged
        named = f"{text} ({'; '.join(names)})" if names else text
        advice = _UNKNOWN if isWrite and isDiskError else _CHECKED
        if not self._opened:
            advice = _MEND if isDiskError else _RESTORE
        result = kind(f"the store {self.path} failed: {named}. {advice}")
        result.__cause__ = error
        return result


def _schemaVersion(connection: Connection) -> int:
    ((version,),) = connection.execute("PRAGMA schema_version")
    return int(version)


def _pageSize(connection: Connection) -> int:
    ((size,),) = connection.execute("PRAGMA page_size")
    return int(size)


def _named(error: OSError) -> str:
    """
    An error of the system as people look it up: C{ENOSPC: No space left on device}.
    """
    return f"{errno.errorcode.get(error.errno or 0, 'unknown')}: {error.strerror}"
