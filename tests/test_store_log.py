"""
Tests for the search for damage in a write-ahead log.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
import sys
from io import BytesIO

from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import errors
from ganeti_pool.store.sqlite._log import _summed, droppedFrame

from .groupcase import GroupCase, Grouping, outcomeOf
from .storecase import new, temporary

HEADER, FRAME = 32, 24 + 4096


def at(frame: int, offset: int) -> int:
    """
    Where a byte of a frame is in the log.
    """
    return HEADER + (frame - 1) * FRAME + offset


class DroppedFrameTests(SynchronousTestCase):
    """
    Tests for L{droppedFrame}.
    """

    def setUp(self) -> None:
        self.path = temporary(self)
        self.connection = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(self.connection.close)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA wal_autocheckpoint = 0")
        self.connection.execute("CREATE TABLE t (a)")
        self.insert(20)
        self.log = self.content()
        self.frames = (len(self.log) - HEADER) // FRAME

    def insert(self, count: int) -> None:
        """
        Commit some transactions.
        """
        for _ in range(count):
            self.connection.execute("INSERT INTO t VALUES (?)", ("x" * 3000,))

    def content(self) -> bytes:
        with open(f"{self.path}-wal", "rb") as file:
            return file.read()

    def found(self, log: bytes) -> int | None:
        return droppedFrame(BytesIO(log), lambda: False)

    def changed(self, *places: int) -> int | None:
        """
        What is found when a bit is another at some places.
        """
        log = bytearray(self.log)
        for place in places:
            log[place] ^= 1
        return self.found(bytes(log))

    def test_intact(self) -> None:
        """
        Nothing is found in a log that is whole, empty, or full of zeros.
        """
        for log in (self.log, b"", self.log[:HEADER], bytes(len(self.log))):
            self.assertIsNone(self.found(log))

    def test_frame(self) -> None:
        """
        A frame is found whose content, checksum or salt is wrong.
        """
        for offset in (2000, 17, 9):
            self.assertEqual(self.changed(at(9, offset)), 9)

    def test_severalFrames(self) -> None:
        """
        Of several damaged frames the first is found.
        """
        self.assertEqual(self.changed(at(9, 2000), at(12, 2000), at(4, 2000)), 4)

    def test_header(self) -> None:
        """
        A damaged header is found, of which even the size of the pages may be lost.
        """
        for place in (0, 3, 24, 28, 9, 10):
            self.assertEqual(self.changed(place), 0)

    def test_end(self) -> None:
        """
        What stands behind the last commits cannot be told from a transaction that was
        being written.
        """
        self.assertIsNone(self.changed(at(self.frames, 2000)))
        self.assertIsNone(self.changed(at(self.frames - 2, 2000), at(self.frames - 1, 2000)))
        self.assertIsNone(self.found(self.log[:-100]))

    def test_failedTransactions(self) -> None:
        """
        What is left of transactions that failed, with one commit each, is no damage.
        """
        one, other = self.log[at(5, 0) : at(6, 0)], self.log[at(7, 0) : at(8, 0)]
        self.assertIsNone(self.found(self.log[: at(3, 0)] + one + other + one + other))

    def test_earlierUse(self) -> None:
        """
        What is left of an earlier use of the log is no damage, however much it is.
        """
        self.connection.execute("PRAGMA wal_checkpoint(RESTART)")
        self.insert(1)
        log = self.content()
        self.assertEqual(len(log), len(self.log))
        self.assertIsNone(self.found(log))

    def test_bigEndian(self) -> None:
        """
        A log of a machine with the other order of bytes is understood.
        """
        isBig = sys.byteorder == "little"
        log = bytearray(self.log)
        log[3] ^= 1
        sums = _summed(log[:24], (0, 0), isBig)
        log[24:HEADER] = struct.pack(">II", *sums)
        for start in range(HEADER, len(log), FRAME):
            sums = _summed(log[start : start + 8], sums, isBig)
            sums = _summed(log[start + 24 : start + FRAME], sums, isBig)
            log[start + 16 : start + 24] = struct.pack(">II", *sums)
        self.assertIsNone(self.found(bytes(log)))
        log[at(9, 2000)] ^= 1
        self.assertEqual(self.found(bytes(log)), 9)

    def test_interrupted(self) -> None:
        """
        It can be given up.
        """
        log = bytearray(self.log)
        log[at(3, 2000)] ^= 1
        self.assertIsNone(droppedFrame(BytesIO(bytes(log)), lambda: True))


class DamagedLogTests(GroupCase):
    """
    Tests for the start over a damaged log.
    """

    def test_refused(self) -> None:
        """
        A store whose log is damaged before its last commits is not opened, and its files
        stay as they are. The sentence says how to give the changes up, which works.
        """
        for _ in range(9):
            self.store.add(new("x" * 2000))
            self.store.commit()
        path = temporary(self)
        for suffix in ("", "-wal"):
            shutil.copy(self.store.path + suffix, path + suffix)
        size = os.stat(f"{path}-wal").st_size
        place = at((size - HEADER) // FRAME // 2, 2000)
        with open(f"{path}-wal", "r+b") as file:
            file.seek(place)
            file.write(b"damage")
        store = Grouping(path, mayFail=True)
        self.addCleanup(store.close)
        kind, sentence = outcomeOf(store.acquired)
        self.assertIs(kind, errors.StoreDamaged)
        self.assertIn(f"the write-ahead log {path}-wal is damaged at frame ", sentence)
        self.assertEqual(os.stat(f"{path}-wal").st_size, size)
        statement = sentence.partition("'")[2].rstrip("'")
        connection = sqlite3.connect(path)
        connection.execute(statement)
        connection.close()
        again = Grouping(path)
        self.addCleanup(again.close)
        self.assertLess(len(again.content()[0]), 9)

    def test_header(self) -> None:
        """
        So is one whose log has a damaged header.
        """
        for _ in range(3):
            self.store.add()
            self.store.commit()
        path = temporary(self)
        for suffix in ("", "-wal"):
            shutil.copy(self.store.path + suffix, path + suffix)
        with open(f"{path}-wal", "r+b") as file:
            file.write(bytes(HEADER))
        store = Grouping(path, mayFail=True)
        self.addCleanup(store.close)
        kind, sentence = outcomeOf(store.acquired)
        self.assertIs(kind, errors.StoreDamaged)
        self.assertIn("is damaged in its header", sentence)

    def test_intact(self) -> None:
        """
        The log of a dead owner that is intact is read to its end.
        """
        self.store.add()
        self.store.commit()
        path = temporary(self)
        for suffix in ("", "-wal"):
            shutil.copy(self.store.path + suffix, path + suffix)
        store = Grouping(path)
        self.addCleanup(store.close)
        self.assertEqual(len(store.content()[0]), 1)
