"""
Tests for a store that is damaged, or on a disk that fails.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import errors
from ganeti_pool.jobs import JobFilter
from ganeti_pool.store.sqlite import SQLiteJobStore
from ganeti_pool.store.sqlite._files import probe
from ganeti_pool.store.sqlite._reads import getRevision, getSettings

from .groupcase import GroupCase, Grouping, outcomeOf
from .storecase import InFile, Requests, Turns, new, temporary

PAGE = 4096

TABLE_LEAF, INDEX_LEAF, INDEX_NODE = 13, 10, 2
"""
The first byte of a page says what it is.
"""


def damaged(content: bytes, kind: int, change: bytes) -> bytes:
    """
    A database in which something is written over a page of a kind.
    """
    found = [at for at in range(0, len(content), PAGE) if content[at] == kind]
    at = found[len(found) // 2]
    return content[:at] + change + content[at + len(change) :]


class CheckCase(GroupCase):
    """
    A store whose owner died.
    """

    def setUp(self) -> None:
        super().setUp()
        for _ in range(40):
            self.store.add(*(new(f"job {n}", labels={"a": str(n)}) for n in range(50)))
        self.store.commit()
        self.path = temporary(self)
        self.crash(self.store.path)

    def crash(self, path: str) -> None:
        """
        Have the store at C{path} also where its owner has died.
        """
        connection = sqlite3.connect(path)
        connection.execute(f"VACUUM INTO '{self.path}'")
        connection.close()

    def open(self) -> Grouping:
        """
        Acquire the store of the dead owner.
        """
        store = Grouping(self.path)
        self.addCleanup(store.close)
        return store

    def refusal(self) -> str:
        """
        See that it cannot be acquired; return why.
        """
        store = Grouping(self.path, mayFail=True)
        self.addCleanup(store.close)
        kind, sentence = outcomeOf(store.acquired)
        self.assertIs(kind, errors.StoreDamaged)
        self.assertIn(self.path, sentence)
        assert isinstance(sentence, str)
        return sentence


class CheckTests(CheckCase):
    """
    Tests for the check of a store that was not closed in good order.
    """

    def test_afterDeath(self) -> None:
        """
        It is checked, and used if nothing is wrong with it.
        """
        store = self.open()
        self.assertEqual(store.checks, [True, False])
        self.assertEqual(len(store.content()[0]), 2000)

    def test_afterClose(self) -> None:
        """
        A store that was closed in good order is not checked, nor is a new one; and
        nothing of this is among its settings.
        """
        store = self.open()
        self.assertEqual(store.read(getSettings), {})
        store.close()
        store = self.open()
        self.assertEqual((self.store.checks, store.checks), ([], []))
        self.assertEqual(store.read(getSettings), {})

    def test_afterDeathOnceMore(self) -> None:
        """
        Whoever acquires a store that was closed in good order takes the note of that
        away, in the same transaction.
        """
        self.open().close()
        store = self.open()
        self.assertEqual(store.checks, [])
        os.unlink(self.path)
        shutil.copy(self.copyOf(store), self.path)
        self.assertEqual(self.open().checks, [True, False])

    def copyOf(self, store: Grouping) -> str:
        """
        A copy of what a store holds at the moment.
        """
        copy = f"{temporary(self)}.copy"
        store.connection.execute(f"VACUUM INTO '{copy}'")
        return copy

    def test_closedByAnother(self) -> None:
        """
        Whoever is not its owner any more does not note that a store was closed.
        """
        first, second = self.open(), self.open()
        first.close()
        self.assertEqual(second.checks, [True, False])
        self.path = self.copyOf(second)
        self.assertEqual(self.open().checks, [True, False])

    def test_cannotBeNoted(self) -> None:
        """
        A store that cannot be written at its end closes all the same, and is checked at
        the next start.
        """
        store = self.open()
        store.connection.execute("PRAGMA query_only = ON")
        store.close()
        self.assertEqual(self.open().checks, [True, False])

    def test_damages(self) -> None:
        """
        A store that is damaged in any of these ways is not used: a page that is empty, or
        holds something else, in a table or an index; pages in each other's places; and a
        database that lacks its end. The sentence says what to do.
        """
        with open(self.path, "rb") as file:
            content = file.read()
        pages = [content[at : at + PAGE] for at in range(0, len(content), PAGE)]
        leaves = [n for n, page in enumerate(pages) if page[0] == TABLE_LEAF and n]
        swapped = pages.copy()
        one, other = leaves[5], leaves[9]
        swapped[one], swapped[other] = pages[other], pages[one]
        for change in (
            damaged(content, TABLE_LEAF, bytes(PAGE)),
            damaged(content, INDEX_LEAF, bytes(PAGE)),
            damaged(content, INDEX_NODE, bytes(PAGE)),
            damaged(content, INDEX_LEAF, bytes([INDEX_LEAF, 0, 0, 0, 1])),
            damaged(content, TABLE_LEAF, bytes([TABLE_LEAF]) + b"\xee" * 99),
            b"".join(swapped),
            content[: len(content) // 2],
            content[:-PAGE],
        ):
            with open(self.path, "wb") as file:
                file.write(change)
            sentence = self.refusal()
            self.assertIn("Restore a backup", sentence)
            self.assertIn(".recover", sentence)

    def test_damagedHeader(self) -> None:
        """
        A file whose first page is not that of a database is not used.
        """
        for change in (bytes(PAGE), b"SQLite format 2\0"):
            with open(self.path, "r+b") as file:
                file.write(change)
            self.assertIn("not a database", self.refusal())

    def test_logAlone(self) -> None:
        """
        A log without its database, which SQLite would delete, stays where it is, and no
        empty store is begun.
        """
        for makeEmpty in (False, True):
            shutil.copy(f"{self.store.path}-wal", f"{self.path}-wal")
            os.unlink(self.path)
            if makeEmpty:
                open(self.path, "w").close()
            size = os.stat(f"{self.path}-wal").st_size
            self.assertIn("is missing or empty, but its write-ahead log", self.refusal())
            self.assertEqual(os.stat(f"{self.path}-wal").st_size, size)
            if not makeEmpty:
                self.assertFalse(os.path.exists(self.path))
                open(self.path, "w").close()

    def test_damagedWhileItRuns(self) -> None:
        """
        A store that is found damaged while it is used is checked at the next start, even
        if it was closed in good order. The others of the group are answered.
        """
        store = self.open()
        store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with open(self.path, "rb") as file:
            content = file.read()
        with open(self.path, "r+b") as file:
            file.write(damaged(content, TABLE_LEAF, bytes(PAGE)))
        self.assertEqual(store.readOutcome(getRevision), 2000)
        kind, sentence = store.readOutcome(lambda c: c.execute("SELECT * FROM jobs").fetchall())
        self.assertIs(kind, errors.StoreDamaged)
        self.assertIn("restart the daemon, which then checks the store", sentence)
        store.close()
        self.refusal()

    def test_interruptedBefore(self) -> None:
        """
        A check can be ended before it has begun to read. The store is not opened then,
        and stays as it was.
        """
        store = Grouping(self.path, mayFail=True, whenChecked=lambda interrupt: interrupt())
        self.addCleanup(store.close)
        self.failureResultOf(store.acquired, errors.QueueStopping)
        self.assertEqual(store.checks, [True, False])
        self.assertEqual(len(self.open().content()[0]), 2000)

    def whenReading(self, f: Callable[[], object]) -> None:
        """
        Have something happen as soon as a check reads.
        """

        class Watched(sqlite3.Connection):
            def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
                if "quick_check" in sql:
                    f()
                return super().execute(sql, parameters)

        def connecting(dialect: Any, record: Any, args: Any, keywords: dict[str, Any]) -> None:
            keywords["factory"] = Watched

        event.listen(Engine, "do_connect", connecting)
        self.addCleanup(event.remove, Engine, "do_connect", connecting)

    def test_interruptedWhile(self) -> None:
        """
        A check can be ended while it reads.
        """
        interrupts: list[Callable[[], object]] = []
        self.whenReading(lambda: interrupts[0]())
        store = Grouping(self.path, mayFail=True, whenChecked=interrupts.append)
        self.addCleanup(store.close)
        self.failureResultOf(store.acquired, errors.QueueStopping)
        self.assertEqual(store.checks, [True, False])

    def test_diskFails(self) -> None:
        """
        A disk that fails during the check is named, and no damage is reported.
        """

        def fail() -> None:
            raise sqlite3.OperationalError("disk I/O error")

        self.whenReading(fail)
        store = Grouping(self.path, mayFail=True)
        self.addCleanup(store.close)
        failure = self.failureResultOf(store.acquired, errors.StoreError)
        self.assertIn("disk I/O error. Repair the disk", failure.getErrorMessage())
        self.assertEqual(store.checks, [True, False])


class DiskErrorTests(GroupCase):
    """
    Tests for what the disk says.
    """

    def failing(self, text: str, name: str | None = None) -> Any:
        """
        The outcome of a write at which SQLite says this.
        """

        def fail(ledger: object) -> None:
            error = sqlite3.OperationalError(text)
            if name is not None:
                error.sqlite_errorname = name
            raise error

        asked: Deferred[Any] = self.store.ask(fail)
        self.store.commit()
        return outcomeOf(asked)

    def test_named(self) -> None:
        """
        An error of the disk has SQLite's name and the system's, and the refusal says
        that the change may have been stored, and what to do.
        """
        for number in (errno.EIO, errno.EROFS):
            self.store.refusal = OSError(number, os.strerror(number))
            kind, sentence = self.failing("disk I/O error", "SQLITE_IOERR_FSYNC")
            self.assertIs(kind, errors.StoreError)
            self.assertIn(
                f"disk I/O error (SQLITE_IOERR_FSYNC; {errno.errorcode[number]}: "
                f"{os.strerror(number)}). ",
                sentence,
            )
            self.assertIn("a restart may find it in the store", sentence)
            self.assertIn("with the same key", sentence)

    def test_noRoom(self) -> None:
        """
        An error of the disk for want of room, or of quota, is C{StoreFull}.
        """
        for number in (errno.ENOSPC, errno.EDQUOT):
            self.store.refusal = OSError(number, os.strerror(number))
            kind, sentence = self.failing("disk I/O error", "SQLITE_IOERR_FSYNC")
            self.assertIs(kind, errors.StoreFull)
            self.assertIn(errno.errorcode[number], sentence)

    def test_unnamed(self) -> None:
        """
        What has no name is told as it is.
        """
        kind, sentence = self.failing("disk I/O error")
        self.assertIs(kind, errors.StoreError)
        self.assertIn("failed: disk I/O error. ", sentence)
        kind, sentence = self.failing("attempt to write a readonly database")
        self.assertIn("readonly database. ", sentence)

    def test_checkedAfterwards(self) -> None:
        """
        A store whose disk has failed is checked at the next start.
        """
        self.failing("disk I/O error")
        self.store.close()
        again = Grouping(self.store.path)
        self.addCleanup(again.close)
        self.assertEqual(again.checks, [True, False])

    def test_reading(self) -> None:
        """
        A read at which the disk fails names it too.
        """
        self.store.refusal = OSError(errno.EIO, "it is broken")

        def fail(connection: sqlite3.Connection) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        kind, sentence = self.store.readOutcome(fail)
        self.assertIs(kind, errors.StoreDamaged)
        self.assertIn("EIO: it is broken", sentence)


class ProbeTests(SynchronousTestCase):
    """
    Tests for L{probe}.
    """

    def test_well(self) -> None:
        """
        A disk that takes a file has no error, and the file is gone.
        """
        path = temporary(self)
        self.assertIsNone(probe(path))
        self.assertFalse(os.path.exists(path))

    def test_error(self) -> None:
        """
        The error of the disk is told, be it of the opening or of the writing; no file
        and no descriptor stays.
        """
        path = temporary(self)

        def fsync(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "no room")

        before = os.listdir("/proc/self/fd")
        self.patch(os, "fsync", fsync)
        error = probe(path)
        assert error is not None
        self.assertEqual(error.errno, errno.ENOSPC)
        self.assertFalse(os.path.exists(path))
        self.assertEqual(len(os.listdir("/proc/self/fd")), len(before))
        error = probe(f"{path}/nowhere")
        assert error is not None
        self.assertEqual(error.errno, errno.ENOENT)


class StoreTests(InFile, SynchronousTestCase):
    """
    Tests for what the whole store tells of its check.
    """

    def test_told(self) -> None:
        """
        It is told that the check begins and that it has ended, before the store is
        acquired; and both are logged, with the size of the file.
        """
        self.add()
        copy = f"{temporary(self)}.copy"
        connection = sqlite3.connect(self.path)
        connection.execute(f"VACUUM INTO '{copy}'")
        connection.close()
        told: list[bool] = []
        turns = Turns()
        store = SQLiteJobStore(turns, copy, onCheck=told.append)
        self.addCleanup(lambda: turns.wait(Requests(store).close()))
        with capturedLogs() as logs:
            turns.wait(maybeDeferred(store.acquire, "host:1"))
            turns.drain()
        self.assertEqual(told, [True, False])
        texts = [formatEvent(event) for event in logs]
        self.assertIn(f"checking its {os.stat(copy).st_size} bytes", texts[0])
        self.assertIn("has ended", texts[1])
        self.assertEqual(len(turns.wait(store.listJobs(JobFilter(), True, 9, None)).value), 1)

    def test_interrupt(self) -> None:
        """
        What is not being checked is not disturbed.
        """
        self.store.interrupt()
        self.assertEqual(len(self.add()), 1)

    def test_closedAfterAFailure(self) -> None:
        """
        The end of a store that could not be acquired does not try that again.
        """
        store = self.openAt(f"{temporary(self)}/nowhere/jobs")
        opens: list[None] = []
        writer = store.real._writer
        opening = writer._open

        def counted() -> Any:
            opens.append(None)
            return opening()

        self.patch(writer, "_open", counted)
        self.refused(errors.StoreError, store.acquire("host:1"))
        self.closed(store)
        self.assertEqual(len(opens), 1)

    def test_nobodyIsTold(self) -> None:
        """
        Without anybody to tell, the check is logged all the same.
        """
        self.store.real._checking(None)
