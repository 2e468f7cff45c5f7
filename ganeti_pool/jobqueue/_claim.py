"""
Check that a store and an output directory belong together.

The store has a random ID, made once and kept in its settings. The file C{store-id} of its
output directory has the same ID. Without this check, a daemon with a wrong C{--state-dir}
or C{--store} would mistake the files of another store or of the user for the output of
removed jobs, and remove them.

The daemon first writes the ID to the store, as unconfirmed, then to the output directory,
and then confirms it in the store. A crash in between leaves an unconfirmed ID, and the
next start continues from there.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from threading import Lock
from typing import Any

from twisted.logger import Logger

from ..errors import StoreError
from ..interfaces import IJobStore
from ._output import Output, listNumbers

__all__ = [
    "STORE_ID",
    "Claim",
    "FoundOutput",
    "OutputKind",
    "StoreKind",
    "Verdict",
    "checkNewStore",
    "decide",
    "examine",
    "writeStoreID",
]

_log = Logger()

STORE_ID = "store_id"
"""
The setting with the ID of the store: an object with C{id} and C{confirmed}. The latter is
true once the output directory has the ID.
"""

_FILE, _TEMPORARY = "store-id", "store-id.new"

_NOTHING = frozenset({_TEMPORARY, "lost+found"})
"""
The names that an output directory may contain and still count as empty: the temporary
file that a crash leaves, and the directory that mkfs makes in every file system.
"""

_LONGEST_ID = 100


class StoreKind(Enum):
    """
    The kind of a store, before its output directory is read.

    @cvar NEW: it has never had a job, and no output directory is known to have its ID.
    @cvar UNMARKED: it has had jobs, and no output directory is known to have its ID. A
        store of an earlier release is like this.
    @cvar MARKED: its ID was written to an output directory.
    """

    NEW = auto()
    UNMARKED = auto()
    MARKED = auto()


class OutputKind(Enum):
    """
    The relation of an output directory to a store.

    @cvar MISSING: it does not exist.
    @cvar EMPTY: it has no files.
    @cvar UNMARKED: it has files but no ID.
    @cvar OWN: it has the ID of the store.
    @cvar OTHER: it has another ID.
    """

    MISSING = auto()
    EMPTY = auto()
    UNMARKED = auto()
    OWN = auto()
    OTHER = auto()


class Verdict(Enum):
    """
    The action of a start on an output directory.

    @cvar MARK: write the ID to it.
    @cvar KEEP: use it, and remove the output of jobs that are not in the store.
    @cvar ADOPT: write the ID to it if it has none, and remove nothing at this start.
    @cvar REJECT: change nothing, and do not start.
    """

    MARK = auto()
    KEEP = auto()
    ADOPT = auto()
    REJECT = auto()


_VERDICTS: Mapping[StoreKind, Mapping[OutputKind, Verdict]] = {
    StoreKind.NEW: {
        OutputKind.MISSING: Verdict.MARK,
        OutputKind.EMPTY: Verdict.MARK,
        OutputKind.UNMARKED: Verdict.REJECT,
        # The daemon crashed before it confirmed the ID.
        OutputKind.OWN: Verdict.KEEP,
        OutputKind.OTHER: Verdict.REJECT,
    },
    StoreKind.UNMARKED: {
        OutputKind.MISSING: Verdict.MARK,
        OutputKind.EMPTY: Verdict.MARK,
        OutputKind.UNMARKED: Verdict.ADOPT,
        # The daemon crashed before it confirmed the ID.
        OutputKind.OWN: Verdict.ADOPT,
        OutputKind.OTHER: Verdict.REJECT,
    },
    StoreKind.MARKED: {
        # Only the store was restored, or the output was moved away.
        OutputKind.MISSING: Verdict.MARK,
        OutputKind.EMPTY: Verdict.MARK,
        OutputKind.UNMARKED: Verdict.REJECT,
        OutputKind.OWN: Verdict.KEEP,
        OutputKind.OTHER: Verdict.REJECT,
    },
}


def decide(store: StoreKind, output: OutputKind) -> Verdict:
    """
    Return the action of a start on an output directory.
    """
    return _VERDICTS[store][output]


@dataclass(frozen=True)
class FoundOutput:
    """
    An output directory as it was found.

    @ivar path: its path.
    @ivar isThere: whether it exists.
    @ivar isEmpty: whether it has no files.
    @ivar storeID: the ID in it, or L{None}.
    """

    path: str
    isThere: bool
    isEmpty: bool
    storeID: str | None

    def kindFor(self, storeID: str | None) -> OutputKind:
        """
        Return the relation of this directory to a store.

        @param storeID: the ID of the store; L{None} if it has no ID.
        """
        if self.storeID is not None:
            return OutputKind.OWN if self.storeID == storeID else OutputKind.OTHER
        if not self.isThere:
            return OutputKind.MISSING
        return OutputKind.EMPTY if self.isEmpty else OutputKind.UNMARKED


def examine(path: str) -> FoundOutput:
    """
    Read to which store an output directory belongs. Change nothing.

    Threads: any except the reactor's. It never waits for another process.

    @raise StoreError: if the directory or its ID cannot be read.
    """
    try:
        return _find(path)
    except OSError as error:
        raise StoreError(
            f"the output directory {path} cannot be used: {error.strerror}: make it accessible, "
            "or choose another --state-dir"
        ) from error


def _find(path: str) -> FoundOutput:
    try:
        with os.scandir(path) as entries:
            isEmpty = all(entry.name in _NOTHING for entry in entries)
    except FileNotFoundError:
        return FoundOutput(path, False, True, None)
    try:
        return FoundOutput(path, True, isEmpty, _readStoreID(os.path.join(path, _FILE)))
    except FileNotFoundError:
        return FoundOutput(path, True, isEmpty, None)


def _readStoreID(path: str) -> str:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, f"{path} is not a regular file")
        text = os.read(descriptor, _LONGEST_ID)
    finally:
        os.close(descriptor)
    # Escape it: an error message shows even an invalid ID on a terminal.
    return text.decode("latin-1").strip().encode("unicode_escape").decode("ascii")


def writeStoreID(path: str, storeID: str) -> None:
    """
    Write an ID to an output directory. Make the directory if it does not exist. The write
    is atomic, and durable on return.

    Threads: any except the reactor's.

    @raise OSError: if it cannot be written.
    """
    temporary = os.path.join(path, _TEMPORARY)
    os.makedirs(path, 0o700, exist_ok=True)
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        os.write(descriptor, f"{storeID}\n".encode("ascii"))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(temporary, os.path.join(path, _FILE))
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _rejection(found: FoundOutput, kind: StoreKind, storeID: str | None) -> StoreError:
    """
    Return the error for a rejected start, with the reason and the remedy.
    """
    path = found.path
    if found.storeID is not None:
        own = "is new" if kind is StoreKind.NEW else f"has the id {storeID or '(none)'}"
        return StoreError(
            f"{path} belongs to the store with the id {found.storeID}, and the store of this "
            f"daemon {own}: correct --state-dir or --store; to restore a backup, put back its "
            f"store and its output together; to start without this output, move {path} away"
        )
    if kind is StoreKind.NEW:
        return StoreError(
            f"{path} belongs to another store or to you: it has files, and the store of this "
            "daemon is new; choose another --state-dir, or correct --store"
        )
    return StoreError(
        f"{path} belongs to another store or to you: it has files, and not the id of the store "
        "of this daemon; correct --state-dir or --store, or move it away; if the files are the "
        f"output of this store, write the id {storeID} into {os.path.join(path, _FILE)}"
    )


def checkNewStore(path: str) -> None:
    """
    Check that a store that does not exist yet may use this output directory.

    @raise StoreError: if it may not, or if the directory cannot be read.
    """
    found = examine(path)
    if decide(StoreKind.NEW, found.kindFor(None)) is Verdict.REJECT:
        raise _rejection(found, StoreKind.NEW, None)


class Claim:
    """
    The check at the start that the output directory belongs to the store, and the mark on
    both.

    Threads: L{check} and L{take} belong to the dispatcher's, which they block.

    @ivar adopted: whether this start has adopted an output directory without an ID.
    """

    def __init__(self, store: IJobStore, output: Output) -> None:
        self.adopted = False
        self._store = store
        self._output = output
        self._storeID: str | None = None
        self._isConfirmed = False
        self._lastID = 0
        self._verdict = Verdict.REJECT
        # Guards only the mark: several workers may find it missing.
        self._lock = Lock()

    def check(self, settings: Mapping[str, Any], lastID: int) -> None:
        """
        Check that the store and the output directory belong together. Change nothing.

        @param settings: the settings of the store.
        @param lastID: the highest ID that the store has given to a job.
        @raise StoreError: if they do not belong together.
        """
        mark = settings.get(STORE_ID, {})
        self._storeID = mark.get("id")
        self._isConfirmed = mark.get("confirmed", False)
        self._lastID = lastID
        if self._isConfirmed:
            kind = StoreKind.MARKED
        else:
            kind = StoreKind.UNMARKED if self._lastID else StoreKind.NEW
        found = examine(self._output.directory)
        self._verdict = decide(kind, found.kindFor(self._storeID))
        if self._verdict is Verdict.REJECT:
            raise _rejection(found, kind, self._storeID)

    def take(self, epoch: int) -> int | None:
        """
        Write the ID where it is missing, and move aside the output under job IDs that the
        store has never given out.

        @param epoch: of the store's owner.
        @return: the highest job ID whose output may be removed if the job is not in the
            store; L{None} if nothing may be removed at this start.
        @raise StoreError: if the store or the output directory cannot be written.
        """
        path = self._output.directory
        if self._storeID is None:
            self._storeID = secrets.token_hex(16)
            self._confirm(epoch, False)
        if self._verdict is Verdict.MARK and self._lastID:
            _log.warn("{path} was empty: the output of earlier jobs is not in it", path=path)
        self._prepare(self._storeID)
        if not self._isConfirmed:
            self._confirm(epoch, True)
        if self._verdict is Verdict.ADOPT:
            self.adopted = True
            _log.warn(
                "{path} had no store id and is adopted: nothing in it is removed at this start",
                path=path,
            )
        self._output.ensureMark = partial(self._ensureMark, self._storeID)
        return None if self.adopted else self._lastID

    def _ensureMark(self, storeID: str) -> None:
        """
        Mark an output directory that was emptied. See L{Output.ensureMark}.
        """
        path = self._output.directory
        if os.path.lexists(os.path.join(path, _FILE)):
            return
        with self._lock:
            # A directory with files but without an ID may not be the same as before.
            if _find(path).kindFor(storeID) in (OutputKind.EMPTY, OutputKind.MISSING):
                writeStoreID(path, storeID)

    def _confirm(self, epoch: int, confirmed: bool) -> None:
        with self._store.transaction(epoch) as unit:
            unit.setSettings({STORE_ID: {"id": self._storeID, "confirmed": confirmed}})

    def _prepare(self, storeID: str) -> None:
        """
        Write the ID if necessary, and move aside output that is not from this store.

        @raise StoreError: if the system refuses to write the ID or to move a file.
        """
        output, last = self._output, self._lastID
        try:
            if self._verdict is not Verdict.KEEP:
                writeStoreID(output.directory, storeID)
            output.aside = [
                os.path.join(output.directory, name)
                for name in sorted(os.listdir(output.directory))
                if re.fullmatch(r"aside-[0-9]+", name)
            ]
            unknown = [str(number) for number in listNumbers(output.directory) if number > last]
            if unknown:
                output.setAside(unknown)
        except OSError as error:
            raise StoreError(
                f"the output directory {output.directory} cannot be used: {error.strerror}: make "
                "it writable, make room, or choose another --state-dir"
            ) from error
