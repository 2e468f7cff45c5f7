"""
Tests for the migration of a store of an earlier release.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from twisted.logger import capturedLogs, formatEvent

from ganeti_pool import errors
from ganeti_pool.jobs import JobState
from ganeti_pool.store.sqlite import SQLiteJobStore, migrations
from ganeti_pool.store.sqlite.migrations import STEPS, Migration, Phase
from ganeti_pool.store.sqlite.schema import SCHEMA_VERSION

from .groupcase import GroupCase, Grouping, outcomeOf, valueOf
from .storecase import DONE, Requests, Time, Turns, new, temporary

EARLIER = Path(__file__).parent / "data" / "store-v2.sqlite"
"""
A store of version 2 whose owner was killed. Two of its jobs run, four wait, and the job
with the highest id was removed.
"""

ACQUIRED = "20260131T120000Z"
"""
When that owner acquired it.
"""

ALLOWED = re.compile(
    r"CREATE (TABLE|(UNIQUE )?INDEX) |DROP INDEX |ALTER TABLE \w+ ADD COLUMN |UPDATE "
)

KEPT = ("journal", "settings", "jobs", "attempts", "labels", "sqlite_sequence")


def rowsOf(path: str, tables: Sequence[str] = KEPT) -> dict[str, list[Any]]:
    """
    The rows of a database that nobody has open.
    """
    with closing(sqlite3.connect(path)) as connection:
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}


class MigrationCase(GroupCase):
    """
    A copy of the store of version 2.
    """

    def setUp(self) -> None:
        super().setUp()
        self.path = temporary(self)
        shutil.copy(EARLIER, self.path)
        self.before = rowsOf(self.path)
        self.copy = f"{self.path}.v2-backup-{ACQUIRED}"

    def open(self, path: str | None = None, **options: Any) -> Grouping:
        """
        Acquire a store.
        """
        store = Grouping(path or self.path, **options)
        self.addCleanup(store.close)
        return store

    def refusal(self, kind: type[Exception], **options: Any) -> str:
        """
        Check that the store cannot be acquired and has not changed; return why.
        """
        store = self.open(mayFail=True, **options)
        found, sentence = outcomeOf(store.acquired)
        self.assertIs(found, kind, sentence)
        store.close()
        self.assertEqual([phase for phase, *_ in store.migrations], [Phase.BEGUN, Phase.FAILED])
        self.assertEqual(rowsOf(self.path), self.before)
        self.assertEqual(rowsOf(self.path, ["schema_version"]), {"schema_version": [(2,)]})
        self.assertNotIn(f"{self.copy}.unfinished", self.files())
        return str(sentence)

    def files(self) -> set[str]:
        directory = os.path.dirname(self.path)
        return {os.path.join(directory, name) for name in os.listdir(directory)}

    def assertMigrated(self, store: Grouping) -> None:
        """
        Check that a store was migrated just now.
        """
        self.assertEqual(
            store.migrations, [(Phase.BEGUN, 2, self.copy), (Phase.COMMITTED, 2, self.copy)]
        )
        store.close()
        after = rowsOf(self.path)
        unchanged = ("jobs", "attempts", "labels", "sqlite_sequence")
        for table in unchanged:
            self.assertEqual(after[table], self.before[table])
        self.assertLessEqual(set(self.before["settings"]), set(after["settings"]))
        self.assertEqual(
            rowsOf(self.path, ["schema_version"])["schema_version"],
            [(SCHEMA_VERSION, version("ganeti-pool"))],
        )
        self.assertEqual(rowsOf(self.copy), self.before)
        self.assertEqual(rowsOf(self.copy, ["schema_version"]), {"schema_version": [(2,)]})
        self.assertEqual(self.files(), {self.path, self.copy})


class MigrationTests(MigrationCase):
    """
    Tests for a migration that succeeds.
    """

    def test_everythingKept(self) -> None:
        """
        Each job, attempt, label, key and setting is kept, in the store and in its copy.
        """
        self.assertMigrated(self.open())

    def test_jobs(self) -> None:
        """
        The jobs can be used: one with a key is found by it, one that runs ends, and a
        new one gets an id that no job had, even a removed one.
        """
        store = self.open()
        added = store.add(new())
        known = store.finishAttempt(store.epoch, 6, 1, DONE)
        store.commit()
        self.assertEqual([job.id for job in valueOf(added)], [13])
        self.assertIs(valueOf(known).state, JobState.SUCCEEDED)

    def test_once(self) -> None:
        """
        A store that was migrated is not migrated again.
        """
        self.open().close()
        self.assertEqual(self.open().migrations, [])

    def test_sameTables(self) -> None:
        """
        A migrated store has the columns and indexes of a new one.
        """
        other = temporary(self)
        self.open().close()
        self.open(other).close()
        self.assertEqual(layoutOf(self.path), layoutOf(other))

    def test_mode(self) -> None:
        """
        Only the owner can read the copy, whatever the umask.
        """
        for mask in (0o000, 0o777):
            shutil.copy(EARLIER, self.path)
            before = os.umask(mask)
            try:
                store = self.open()
            finally:
                os.umask(before)
            store.close()
            self.assertEqual(stat.S_IMODE(os.stat(self.copy).st_mode), 0o600)

    def test_link(self) -> None:
        """
        The copy of a store behind a symbolic link lies beside the file itself.
        """
        link = temporary(self)
        os.symlink(self.path, link)
        store = self.open(link)
        self.assertMigrated(store)

    def test_otherCopy(self) -> None:
        """
        The copy of another state of the store is kept.
        """
        other = Path(f"{self.path}.v2-backup-20250131T120000Z")
        other.write_text("precious")
        self.open().close()
        self.assertEqual(other.read_text(), "precious")
        self.assertIn(self.copy, self.files())

    def test_neverAcquired(self) -> None:
        """
        A store that was never acquired is migrated too.
        """
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("UPDATE journal SET acquired_at = NULL")
            connection.commit()
        ((_, _, copy), _) = self.open().migrations
        self.assertEqual(copy, f"{self.path}.v2-backup-19700101T000000Z")

    def test_byAnother(self) -> None:
        """
        A process that waited while another one migrated the store does not migrate it.
        """
        store = self.open()
        self.assertEqual(run(Migration(store.files), store), [])

    def test_log(self) -> None:
        """
        One line is logged before and one after it, with the path of the copy.
        """
        turns, asked = Turns(), list[bool]()
        store = SQLiteJobStore(turns, self.path, Time(), onCheck=asked.append)
        with capturedLogs() as logs:
            store.acquire("host:1")
            turns.drain()
        lines = [formatEvent(event) for event in logs]
        self.assertEqual(len([line for line in lines if self.copy in line]), 2)
        self.assertIn("from schema version 2 to 3, after a copy", lines[-2])
        self.assertIn("Migrated the store", lines[-1])
        self.assertEqual(asked[-2:], [True, False])
        turns.wait(Requests(store).close())

    def test_logOfFailure(self) -> None:
        """
        A migration that fails is not logged as one that was made.
        """
        os.mkdir(self.copy)
        turns, asked = Turns(), list[bool]()
        for onCheck in (asked.append, None):
            store = SQLiteJobStore(turns, self.path, Time(), onCheck=onCheck)
            with capturedLogs() as logs:
                self.assertRaises(errors.StoreError, store.acquire, "host:1")
                turns.drain()
            turns.wait(Requests(store).close())
            lines = [formatEvent(event) for event in logs]
            self.assertIn("from schema version 2 to 3, after a copy", lines[-1])
        self.assertEqual(asked[-2:], [True, False])

    def test_statements(self) -> None:
        """
        Each step only creates, drops indexes, adds columns and updates, in one
        transaction with the version; and no step is missing.
        """
        said: list[str] = []
        store = self.open(mayFail=True, migration=partial(Traced, said))
        valueOf(store.acquired)
        begun, committed = said.index("BEGIN IMMEDIATE"), said.index("COMMIT")
        changes = [one for one in said[begun + 1 : committed] if not isReading(one)]
        self.assertEqual(changes[:-1], [one for step in STEPS.values() for one in step])
        self.assertTrue(changes[-1].startswith("UPDATE schema_version SET version = 3"))
        for change in changes:
            self.assertRegex(change, ALLOWED)
        self.assertEqual(list(STEPS), list(range(3, SCHEMA_VERSION + 1)))

    def test_newInOneTransaction(self) -> None:
        """
        The tables of a new store and its version are made in one transaction.
        """
        path = temporary(self)
        self.assertDies(path, "INSERT INTO schema_version")
        with closing(sqlite3.connect(path)) as connection:
            self.assertEqual(connection.execute("SELECT * FROM sqlite_master").fetchall(), [])
        self.assertEqual(self.open(path).migrations, [])

    def assertDies(self, path: str, statement: str) -> None:
        """
        Let a process open a store and be killed before a statement.
        """
        child = subprocess.run(
            [sys.executable, "-m", "tests.migrating_child", path, statement],
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            timeout=60,
        )
        self.assertEqual(child.returncode, -signal.SIGKILL, child.stderr)

    def test_killed(self) -> None:
        """
        After a kill in the middle of the copy, before it has its name, and between the
        statements of the transaction the store is as it was, and the next start
        migrates it.
        """
        for statement, hasCopy in (
            ("vacuum", False),
            ("rename", False),
            ("ALTER TABLE schema_version", True),
            ("UPDATE schema_version", True),
        ):
            shutil.copy(EARLIER, self.path)
            self.assertDies(self.path, statement)
            self.assertEqual(os.path.exists(self.copy), hasCopy, statement)
            self.assertEqual(os.path.exists(f"{self.copy}.unfinished"), not hasCopy, statement)
            self.assertMigrated(self.open())
            for path in self.files():
                os.unlink(path)


class RefusedTests(MigrationCase):
    """
    Tests for a migration that fails.
    """

    def test_noRoom(self) -> None:
        """
        A disk without room for the copy is reported, with what is needed.
        """
        sentence = self.refusal(
            errors.StoreFull, migration=partial(Migration, freeBytes=lambda directory: 4096)
        )
        self.assertIn(f"{self.path} was not migrated from schema version 2 to 3", sentence)
        self.assertIn(f"bytes in {os.path.dirname(self.path)}, and 4096 are free", sentence)
        self.assertIn("Make room, and start the daemon again", sentence)
        self.assertNotIn(self.copy, self.files())
        self.assertMigrated(self.open())

    def test_obstacle(self) -> None:
        """
        A copy that cannot be written is reported.
        """
        os.mkdir(self.copy)
        sentence = self.refusal(errors.StoreError)
        self.assertIn("was not migrated from schema version 2 to 3 and has not changed", sentence)
        self.assertIn(self.copy, sentence)

    def test_unnamed(self) -> None:
        """
        A copy that cannot get its name is removed again.
        """

        def rename(*args: str) -> None:
            os.unlink(f"{self.copy}.unfinished")
            raise OSError("no name")

        self.patch(os, "rename", rename)
        self.assertIn("no name", self.refusal(errors.StoreError))
        self.assertNotIn(self.copy, self.files())

    def test_failingStep(self) -> None:
        """
        A step that fails takes the ones before it back.
        """
        steps = {3: (*STEPS[3], "UPDATE jobs SET name = 'lost'", "UPDATE missing SET a = 1")}
        sentence = self.refusal(errors.StoreError, migration=partial(Migration, steps=steps))
        self.assertIn("has not changed: no such table: missing", sentence)
        self.assertMigrated(self.open())

    def test_full(self) -> None:
        """
        A disk that becomes full on the way is reported as such.
        """
        steps = {3: ("PRAGMA max_page_count = 1", *STEPS[3], *["CREATE TABLE big (a)"])}
        sentence = self.refusal(errors.StoreFull, migration=partial(Migration, steps=steps))
        self.assertIn("has not changed: database or disk is full", sentence)

    def test_diskError(self) -> None:
        """
        An error of the disk in the transaction leaves the store as it was.
        """

        def fail() -> None:
            raise sqlite3.OperationalError("disk I/O error")

        self.patch(migrations, "_release", fail)
        self.assertIn("Repair the disk", self.refusal(errors.StoreError))

    def test_damaged(self) -> None:
        """
        A damaged store is neither copied nor migrated, even one that was closed cleanly.
        """
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("INSERT INTO settings VALUES ('closed cleanly', 'true')")
            ((page,),) = connection.execute(
                "SELECT rootpage FROM sqlite_master WHERE name = 'jobs_by_end'"
            )
            connection.commit()
        content = bytearray(Path(self.path).read_bytes())
        content[(page - 1) * 4096 : (page - 1) * 4096 + 8] = b"\xff" * 8
        Path(self.path).write_bytes(bytes(content))
        store = self.open(mayFail=True)
        kind, sentence = outcomeOf(store.acquired)
        self.assertIs(kind, errors.StoreDamaged)
        # The check found it, not the copying.
        self.assertIn(f"the store {self.path} is damaged: ", str(sentence))
        self.assertEqual([phase for phase, *_ in store.migrations], [Phase.BEGUN, Phase.FAILED])
        self.assertNotIn(self.copy, self.files())

    def test_interrupted(self) -> None:
        """
        A daemon that is stopped ends the migration, in the copy or in the transaction.
        """
        stop: list[Callable[[], None]] = []
        for moment in ("VACUUM", "UPDATE"):
            self.refusal(
                errors.QueueStopping,
                whenChecked=stop.append,
                migration=partial(Stopped, moment, stop),
            )


class Traced(Migration):
    """
    Keeps the statements of the writing connection.
    """

    def __init__(self, said: list[str], *args: Any) -> None:
        super().__init__(*args)
        self._said = said

    def run(self, core: Any, connection: Any, *args: Any) -> None:
        connection.set_trace_callback(self._said.append)
        super().run(core, connection, *args)
        connection.set_trace_callback(None)


class Stopped(Migration):
    """
    A migration during which the daemon is stopped.
    """

    def __init__(self, moment: str, stop: list[Callable[[], None]], *args: Any) -> None:
        super().__init__(*args)
        self._moment = moment
        self._stop = stop

    def _writeCopy(self, *args: Any) -> None:
        if self._moment == "VACUUM":
            self._stop[-1]()
        super()._writeCopy(*args)
        if self._moment == "UPDATE":
            self._stop[-1]()


def isReading(statement: str) -> bool:
    # Those that SQLite makes by itself follow a "--".
    return statement.lstrip().startswith(("SELECT", "PRAGMA", "--"))


def run(migration: Migration, store: Grouping) -> list[Any]:
    """
    Migrate an open store once more; return what was reported.
    """
    reports: list[Any] = []
    core = store.session._core
    assert core is not None
    migration.run(
        core,
        store.connection,
        store.session._interruptible,
        store.session._examine,
        lambda *report: reports.append(report),
    )
    return reports


def layoutOf(path: str) -> list[Any]:
    """
    The columns of each table, and the statements of each index.
    """
    with closing(sqlite3.connect(path)) as connection:
        named = connection.execute(
            "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"
        ).fetchall()
        return [
            (name, sql if kind == "index" else columnsOf(connection, name))
            for kind, name, sql in named
        ]


def columnsOf(connection: sqlite3.Connection, table: str) -> list[Any]:
    return connection.execute(f"PRAGMA table_info({table})").fetchall()
