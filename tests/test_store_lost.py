"""
Tests for a store whose files are removed, truncated or replaced while it is used, and
for what others may do to them.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from ganeti_pool import errors
from ganeti_pool.store.sqlite import _reads
from ganeti_pool.store.sqlite._files import StoreFiles

from .groupcase import GroupCase, Grouping, outcomeOf, valueOf
from .storecase import NOON, new, temporary

SUFFIXES = ("", "-wal", "-shm")


class LostCase(GroupCase):
    """
    A store with some jobs.
    """

    def setUp(self) -> None:
        super().setUp()
        self.fill()

    def fill(self) -> None:
        """
        Add jobs, so that the database and its log have content.
        """
        for name in ("first", "second"):
            self.store.add(*(new(name) for _ in range(50)))
            self.store.commit()

    def checkpoint(self, mode: str) -> None:
        """
        Have another connection copy the log into the database.
        """
        other = sqlite3.connect(self.store.path)
        self.addCleanup(other.close)
        ((isBusy, *_),) = other.execute(f"PRAGMA wal_checkpoint({mode})")
        self.assertEqual(isBusy, 0)

    def outcomes(self) -> list[Any]:
        """
        The outcomes of a read and of a write.
        """
        request: Deferred[Any] = self.store.ask(lambda ledger: ledger.job(1).id)
        self.store.commit()
        read = self.store.readOutcome(lambda connection: _reads.getJob(connection, 1).id)
        return [read, outcomeOf(request)]

    def assertWell(self) -> None:
        """
        The store is read and written.
        """
        self.assertEqual(self.outcomes(), [1, 1])

    def assertLost(self, why: str) -> None:
        """
        Nothing is answered any more, for this reason.
        """
        for kind, sentence in self.outcomes():
            self.assertIs(kind, errors.StoreLost)
            self.assertIn(f"{why}.", sentence)
            self.assertIn(f"the store {self.store.path} was lost", sentence)


class LostTests(LostCase):
    """
    Tests for files that are not those which were opened.
    """

    def test_removed(self) -> None:
        """
        A store of which any file was removed answers nothing.
        """
        for suffix in SUFFIXES:
            self.store = Grouping(temporary(self))
            self.addCleanup(self.store.close)
            self.fill()
            os.unlink(self.store.path + suffix)
            self.assertLost(f"{self.store.path}{suffix} no longer exists")

    def test_directoryRemoved(self) -> None:
        """
        A store whose directory is something else by now answers nothing.
        """
        directory = os.path.dirname(self.store.path)
        os.rename(directory, f"{directory}-moved")
        self.addCleanup(os.rename, f"{directory}-moved", directory)
        with open(directory, "w"):
            self.addCleanup(os.unlink, directory)
        self.assertLost("no longer exists")

    def test_replaced(self) -> None:
        """
        A store of which a file was replaced by a copy answers nothing.
        """
        for suffix in SUFFIXES:
            self.store = Grouping(temporary(self))
            self.addCleanup(self.store.close)
            self.fill()
            path = self.store.path + suffix
            shutil.copy(path, f"{path}.copy")
            os.rename(f"{path}.copy", path)
            self.assertLost(f"{path} was replaced by another file")

    def test_truncatedDatabase(self) -> None:
        """
        A database that was shortened, to nothing or by a page, is lost.
        """
        for left in (0, -4096):
            self.store = Grouping(temporary(self))
            self.addCleanup(self.store.close)
            self.fill()
            self.checkpoint("FULL")
            self.assertWell()
            size = os.stat(self.store.path).st_size
            os.truncate(self.store.path, left % size)
            self.assertLost(f"{self.store.path} was truncated")

    def test_truncatedLog(self) -> None:
        """
        A log that was shortened, to nothing or in its middle, is lost, whether SQLite has
        copied it before or not.
        """
        for left, isCopied in ((0, False), (20_000, False), (0, True), (20_000, True)):
            self.store = Grouping(temporary(self))
            self.addCleanup(self.store.close)
            self.fill()
            if isCopied:
                self.checkpoint("FULL")
            os.truncate(f"{self.store.path}-wal", left)
            self.assertLost(f"{self.store.path}-wal was truncated")

    def test_stays(self) -> None:
        """
        A store that was lost stays so, even if its file comes back; and nothing more is
        written to what is left of it.
        """
        path = self.store.path
        os.rename(path, f"{path}-moved")
        self.assertLost(f"{path} no longer exists")
        os.rename(f"{path}-moved", path)
        self.store.said.clear()
        self.assertLost(f"{path} no longer exists")
        self.assertEqual(self.store.said, [])

    def afterCommit(self, f: Callable[[], object]) -> None:
        """
        Have something happen between the next commit and the check behind it.
        """
        check = self.store.files.check
        checks = 0

        def hooked(connection: sqlite3.Connection | None) -> None:
            nonlocal checks
            checks += 1
            if checks == 2:
                f()
            check(connection)

        self.patch(self.store.files, "check", hooked)

    def test_afterCommit(self) -> None:
        """
        A change whose file was removed between its commit and its answer is not
        acknowledged, nor is any other of its group.
        """
        self.afterCommit(lambda: os.unlink(self.store.path))
        asked: list[Deferred[Any]] = [self.store.add(), self.store.add(new("another"))]
        self.store.commit()
        for deferred in asked:
            self.failureResultOf(deferred, errors.StoreLost)

    def test_insteadOfTheFailure(self) -> None:
        """
        A change that fails because its file is gone is refused for that.
        """

        def fail(ledger: object) -> None:
            os.unlink(f"{self.store.path}-wal")
            raise sqlite3.OperationalError("disk I/O error")

        failing = self.store.ask(fail)
        self.store.commit()
        self.failureResultOf(failing, errors.StoreLost)

    def test_firstRead(self) -> None:
        """
        The first read of a store that is gone already is refused for that.
        """
        path = self.store.path
        os.unlink(path)
        kind, sentence = self.store.readOutcome(_reads.getRevision)
        self.assertIs(kind, errors.StoreLost)
        self.assertIn(f"{path} no longer exists", sentence)

    def test_lostWhileItOpens(self) -> None:
        """
        A file that is removed while the store is opened is not used.
        """
        path = temporary(self)
        with self.assertRaises(errors.StoreLost) as caught:
            StoreFiles(path).opened(self.store.connection)
        self.assertIn(f"{path} does not exist", str(caught.exception))

    def test_linkedLog(self) -> None:
        """
        The log of a database that is a symbolic link is beside the file itself.
        """
        link = temporary(self)
        target = f"{temporary(self)}.sqlite"
        os.symlink(target, link)
        self.store = Grouping(link)
        self.addCleanup(self.store.close)
        self.fill()
        self.assertWell()
        self.assertEqual(os.stat(target).st_mode & 0o777, 0o600)
        os.unlink(f"{target}-wal")
        self.assertLost(f"{target}-wal no longer exists")

    def test_otherLink(self) -> None:
        """
        A symbolic link that names another file by now is a replaced database.
        """
        link, target = temporary(self), temporary(self)
        os.symlink(target, link)
        self.store = Grouping(link)
        self.addCleanup(self.store.close)
        self.fill()
        shutil.copy(target, f"{target}-copy")
        os.unlink(link)
        os.symlink(f"{target}-copy", link)
        self.assertLost(f"{link} was replaced by another file")

    def test_lostAtTheEnd(self) -> None:
        """
        The end of a store whose log was removed or replaced keeps what was committed, and
        the next start checks the file.
        """
        for isReplaced in (False, True):
            self.store = Grouping(temporary(self))
            self.addCleanup(self.store.close)
            log = f"{self.store.path}-wal"
            shutil.copy(log, f"{log}.copy")
            self.fill()
            os.unlink(log)
            if isReplaced:
                os.rename(f"{log}.copy", log)
            self.outcomes()
            self.assertTrue(self.store.files.isLost)
            self.store.close()
            again = Grouping(self.store.path)
            self.addCleanup(again.close)
            self.assertEqual(again.checks, [True, False])
            self.assertEqual(len(again.content()[0]), 100)


class NotLostTests(LostCase):
    """
    Tests for what SQLite and its users may do.
    """

    def test_emptiedLog(self) -> None:
        """
        Another process may copy the log into the database and empty it.
        """
        self.assertWell()
        self.checkpoint("TRUNCATE")
        self.assertEqual(os.stat(f"{self.store.path}-wal").st_size, 0)
        self.assertWell()
        self.fill()
        self.assertWell()
        self.checkpoint("TRUNCATE")
        self.fill()
        self.assertWell()

    def test_vacuum(self) -> None:
        """
        Another process may shorten the database.
        """
        self.checkpoint("TRUNCATE")
        self.assertWell()
        before = os.stat(self.store.path).st_size
        removed = self.store.ask(lambda ledger: ledger.remove(list(range(2, 101)), NOON))
        self.store.commit()
        self.assertIsNone(valueOf(removed))
        other = sqlite3.connect(self.store.path)
        self.addCleanup(other.close)
        other.execute("VACUUM")
        self.checkpoint("TRUNCATE")
        self.assertLess(os.stat(self.store.path).st_size, before)
        self.assertWell()
        self.fill()
        self.assertWell()

    def test_backup(self) -> None:
        """
        Another process may read the store and copy it.
        """
        copy = temporary(self)
        other, target = sqlite3.connect(self.store.path), sqlite3.connect(copy)
        other.backup(target)
        other.execute(f"VACUUM INTO '{copy}-2'")
        target.close()
        other.close()
        self.assertWell()

    def test_restartedLog(self) -> None:
        """
        SQLite writes its log again from the beginning.
        """
        self.store.connection.execute("PRAGMA wal_autocheckpoint = 10")
        for _ in range(5):
            self.fill()
            self.assertWell()

    def sized(self, suffix: str, *sizes: int, then: Callable[[], object]) -> None:
        """
        Have a file appear with other sizes, one after the other, and something happen
        before the last one is seen.
        """
        stat = os.stat
        left = list(sizes)

        def looking(path: str) -> os.stat_result:
            found = stat(path)
            if path != self.store.path + suffix or not left:
                return found
            size = left.pop(0)
            if not left:
                then()
            return os.stat_result((*found[:6], size, *found[7:]))

        self.patch(os, "stat", looking)

    def outcome(self) -> Any:
        """
        The outcome of a write.
        """
        request: Deferred[Any] = self.store.ask(lambda ledger: ledger.job(1).id)
        self.store.commit()
        return outcomeOf(request)

    def test_emptiedDuringTheLook(self) -> None:
        """
        A log that another process empties between the question and the look is not lost.
        """
        self.assertWell()
        # when it is compared, and behind the question
        self.sized("-wal", 0, 0, then=lambda: self.checkpoint("TRUNCATE"))
        self.assertEqual(self.outcome(), 1)

    def test_refilled(self) -> None:
        """
        A log that was emptied by another process and has grown again in the meantime is
        not lost.
        """
        self.assertWell()
        check = self.store.files.check
        emptied: list[None] = []

        def hooked(connection: sqlite3.Connection | None) -> None:
            check(connection)
            if not emptied:
                emptied.append(None)
                self.checkpoint("TRUNCATE")

        self.patch(self.store.files, "check", hooked)
        added = self.store.add()
        self.store.commit()
        self.assertEqual(valueOf(added)[0].id, 101)
        self.assertLess(os.stat(f"{self.store.path}-wal").st_size, 60_000)

    def test_vacuumMeanwhile(self) -> None:
        """
        So is a database that another process has made shorter, and that has grown again,
        in the log.
        """
        self.checkpoint("TRUNCATE")
        removed = self.store.ask(lambda ledger: ledger.remove(list(range(2, 101)), NOON))
        self.store.commit()
        self.assertIsNone(valueOf(removed))
        self.checkpoint("TRUNCATE")
        self.assertWell()
        check = self.store.files.check
        shortened: list[None] = []

        def hooked(connection: sqlite3.Connection | None) -> None:
            check(connection)
            if not shortened:
                shortened.append(None)
                other = sqlite3.connect(self.store.path)
                other.execute("VACUUM")
                other.close()
                self.checkpoint("TRUNCATE")

        self.patch(self.store.files, "check", hooked)
        added = self.store.add(*(new("x" * 1000) for _ in range(50)))
        self.store.commit()
        self.assertEqual(len(valueOf(added)), 50)
        self.assertWell()

    def test_checkpointMeanwhile(self) -> None:
        """
        While another process copies the log, a look at its length waits for the next
        check, which notices what was cut off.
        """
        self.assertWell()
        log = f"{self.store.path}-wal"
        answers = [(1, -1, -1)]

        class Busy:
            def execute(self, sql: str) -> list[tuple[int, int, int]]:
                return answers

        os.truncate(log, 0)
        self.store.files.check(Busy())  # type: ignore[arg-type]
        self.assertLost(f"{log} was truncated")

    def test_unexaminable(self) -> None:
        """
        While a path cannot be examined, the reads and writes fail; they go on when it
        can.
        """
        path = self.store.path
        os.rename(path, f"{path}-moved")
        os.symlink(path, path)
        for kind, sentence in self.outcomes():
            self.assertIs(kind, errors.StoreError)
            self.assertIn("ELOOP: ", sentence)
        os.unlink(path)
        os.rename(f"{path}-moved", path)
        self.assertWell()

    def test_unopened(self) -> None:
        """
        A read that finds no descriptor free fails, and the next one is answered.
        """

        def connect() -> None:
            raise sqlite3.OperationalError("unable to open database file")

        connects = self.patch(self.store.reader, "_connect", connect)
        self.assertIs(self.outcomes()[0][0], errors.StoreError)
        # without a connection nobody can say whether a shorter file is lost
        self.checkpoint("TRUNCATE")
        self.assertIs(self.store.readOutcome(_reads.getRevision)[0], errors.StoreError)
        connects.restore()
        self.assertWell()

    def test_manyChecks(self) -> None:
        """
        The files are compared by their paths alone: no check opens one.
        """
        self.assertWell()

        def opening(*args: Any, **kwargs: Any) -> int:
            raise AssertionError("a file is opened")

        self.patch(os, "open", opening)
        self.assertWell()
