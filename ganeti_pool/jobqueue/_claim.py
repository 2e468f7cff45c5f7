"""
Check that a store and an output directory belong together.

The store has a random ID, made once and kept in its settings, and its output directory
has the same ID in the file C{store-id}. Without this check, a daemon with a wrong
C{--state-dir} or C{--store} would remove the files of another store, or of its user,
as the output of jobs that are gone.

The ID is written to the store first, as unconfirmed, then to the output directory, and
is then confirmed in the store. A crash in between leaves an unconfirmed ID, and the next
start goes on from there.
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
from ._journal import Journal
from ._output import InThread, Output, listNumbers

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
The setting with the ID of the store: an object with C{id}, and with C{confirmed}, which
is true once the output directory has it.
"""

_FILE, _TEMPORARY = "store-id", "store-id.new"

_NOTHING = frozenset({_TEMPORARY, "lost+found"})
"""
The names that an empty output directory may have: the rest of a crash, and what mkfs
puts into every file system.
"""

_LONGEST_ID = 100


class StoreKind(Enum):
    """
    What is known of a store before its output directory is read.

    @cvar NEW: it has never had a job, and no output directory is known to have its ID.
    @cvar UNMARKED: it has had jobs, and no output directory is known to have its ID: a
        store of an earlier release.
    @cvar MARKED: its ID was written to an output directory.
    """

    NEW = auto()
    UNMARKED = auto()
    MARKED = auto()


class OutputKind(Enum):
    """
    What an output directory is to a store.

    @cvar MISSING: it does not exist.
    @cvar EMPTY: nothing is in it.
    @cvar UNMARKED: it has files, and no ID.
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
    What a start does with an output directory.

    @cvar MARK: write the ID to it.
    @cvar KEEP: use it, and remove what is left of jobs that are gone.
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
        # A crash came before the ID was confirmed.
        OutputKind.OWN: Verdict.KEEP,
        OutputKind.OTHER: Verdict.REJECT,
    },
    StoreKind.UNMARKED: {
        OutputKind.MISSING: Verdict.MARK,
        OutputKind.EMPTY: Verdict.MARK,
        OutputKind.UNMARKED: Verdict.ADOPT,
        # A crash came before the ID was confirmed.
        OutputKind.OWN: Verdict.ADOPT,
        OutputKind.OTHER: Verdict.REJECT,
    },
    StoreKind.MARKED: {
        # The store alone was restored, or the output was moved away.
        OutputKind.MISSING: Verdict.MARK,
        OutputKind.EMPTY: Verdict.MARK,
        OutputKind.UNMARKED: Verdict.REJECT,
        OutputKind.OWN: Verdict.KEEP,
        OutputKind.OTHER: Verdict.REJECT,
    },
}


def decide(store: StoreKind, output: OutputKind) -> Verdict:
    """
    What a start does with this output directory.
    """
    return _VERDICTS[store][output]


@dataclass(frozen=True)
class FoundOutput:
    """
    An output directory as it was found.

    @ivar path: where.
    @ivar isThere: whether it exists.
    @ivar isEmpty: whether nothing is in it.
    @ivar storeID: the ID in it; L{None} for none.
    """

    path: str
    isThere: bool
    isEmpty: bool
    storeID: str | None

    def kindFor(self, storeID: str | None) -> OutputKind:
        """
        What it is to the store of an ID; L{None} for a store without one.
        """
        if self.storeID is not None:
            return OutputKind.OWN if self.storeID == storeID else OutputKind.OTHER
        if not self.isThere:
            return OutputKind.MISSING
        return OutputKind.EMPTY if self.isEmpty else OutputKind.UNMARKED


def examine(path: str) -> FoundOutput:
    """
    Read what says to which store an output directory belongs. Changes nothing.

    Threads: any but the reactor's. It never waits for another process.

    @raise StoreError: if that cannot be read.
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
    # Nonsense goes into a sentence on a terminal.
    return text.decode("latin-1").strip().encode("unicode_escape").decode("ascii")


def writeStoreID(path: str, storeID: str) -> None:
    """
    Write an ID to an output directory, which is made if it does not exist. The ID is
    there as a whole, and on the disk, or not at all.

    Threads: any but the reactor's.

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
    Why a start is rejected, and what to do.
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
    Check that a store that does not exist yet may have this output directory.

    @raise StoreError: if not, or if that cannot be found out.
    """
    found = examine(path)
    if decide(StoreKind.NEW, found.kindFor(None)) is Verdict.REJECT:
        raise _rejection(found, StoreKind.NEW, None)


class Claim:
    """
    Checks at the start that the output directory belongs to the store, and marks both.

    Threads: the reactor's.

    @ivar adopted: whether this start has adopted an output directory without an ID.
    """

    def __init__(
        self, store: IJobStore, journal: Journal, output: Output, inThread: InThread
    ) -> None:
        """
        @param inThread: how to do what takes as long as it takes.
        """
        self.adopted = False
        self._store = store
        self._journal = journal
        self._output = output
        self._inThread = inThread
        self._storeID: str | None = None
        self._isConfirmed = False
        self._lastID = 0
        self._verdict = Verdict.REJECT
        # Only for the mark: several workers may find it missing.
        self._lock = Lock()

    async def check(self, settings: Mapping[str, Any]) -> None:
        """
        Check that both belong together. Changes nothing.

        @param settings: those of the store.
        @raise StoreError: if not.
        """
        mark = settings.get(STORE_ID, {})
        self._storeID = mark.get("id")
        self._isConfirmed = mark.get("confirmed", False)
        self._lastID = await self._journal.read(self._store.lastID)
        if self._isConfirmed:
            kind = StoreKind.MARKED
        else:
            kind = StoreKind.UNMARKED if self._lastID else StoreKind.NEW
        found = await self._inThread(examine, self._output.directory)
        self._verdict = decide(kind, found.kindFor(self._storeID))
        if self._verdict is Verdict.REJECT:
            raise _rejection(found, kind, self._storeID)

    async def take(self) -> int | None:
        """
        Write the ID where it is missing, and move aside the output of jobs that the
        store has not given out.

        @return: the highest ID of which the output may be removed if the job is gone;
            L{None} if nothing may be removed at this start.
        @raise StoreError: if that is impossible.
        """
        path = self._output.directory
        if self._storeID is None:
            self._storeID = secrets.token_hex(16)
            await self._confirm(False)
        if self._verdict is Verdict.MARK and self._lastID:
            _log.warn("{path} was empty: the output of earlier jobs is not in it", path=path)
        await self._inThread(self._prepare, self._storeID)
        if not self._isConfirmed:
            await self._confirm(True)
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
        See L{Output.ensureMark}.
        """
        path = self._output.directory
        if os.path.lexists(os.path.join(path, _FILE)):
            return
        with self._lock:
            # With files in it and no ID, it may be another directory than before.
            if _find(path).kindFor(storeID) in (OutputKind.EMPTY, OutputKind.MISSING):
                writeStoreID(path, storeID)

    async def _confirm(self, confirmed: bool) -> None:
        mark = {"id": self._storeID, "confirmed": confirmed}
        await self._journal.write(self._store.setSettings, {STORE_ID: mark})

    def _prepare(self, storeID: str) -> None:
        """
        @raise StoreError: if the system refuses to write the ID, or to move something.
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
