"""
Tests for what is particular to the job store in a file.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, event
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import errors
from ganeti_pool.jobs import JobFilter, JobState, NewJob
from ganeti_pool.store.sqlite import SQLiteJobStore

from .storecase import DONE, NOON, InFile, Requests, new, temporary

Watcher = Callable[[sqlite3.Connection, str, Any], None]
"""
Called with a connection, what is said to it, and the parameters.
"""


class SQLiteJobStoreTests(InFile, SynchronousTestCase):
    """
    Tests for L{SQLiteJobStore}.
    """

    def setUp(self) -> None:
        watchers: list[Watcher] = []
        self.watchers = watchers

        class Watched(sqlite3.Connection):
            def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
                for watch in tuple(watchers):
                    watch(self, sql, parameters)
                return super().execute(sql, parameters)

        def connecting(dialect: Any, record: Any, args: Any, keywords: dict[str, Any]) -> None:
            keywords["factory"] = Watched

        event.listen(Engine, "do_connect", connecting)
        self.addCleanup(event.remove, Engine, "do_connect", connecting)
        super().setUp()

    @contextmanager
    def watching(self, watch: Watcher) -> Iterator[None]:
        """
        Have something called before each statement that is executed meanwhile, on the
        thread that does it. What it raises, the statement raises.
        """
        self.watchers.append(watch)
        try:
            yield
        finally:
            self.watchers.remove(watch)

    @contextmanager
    def statements(self) -> Iterator[list[tuple[str, Any]]]:
        """
        The statements, with their parameters, that are executed meanwhile.
        """
        seen: list[tuple[str, Any]] = []
        with self.watching(lambda connection, sql, given: seen.append((sql, given))):
            yield seen

    def test_refused(self) -> None:
        """
        A transaction with a value that SQLite cannot take fails, and leaves nothing.
        """
        store, epoch = self.store, self.epoch
        self.add()
        bad: list[tuple[type[Exception], Deferred[Any]]] = [
            (errors.InvalidArgument, store.addJobs(epoch, [new("fine"), new("\udc80")], 2)),
            (errors.StaleAttempt, store.startAttempt(epoch, 1, 2)),
            (errors.NoSuchJob, store.cancelQueued(epoch, 77)),
            (errors.InvalidArgument, store.changePriority(epoch, 1, 2**63)),
            (errors.OwnershipLost, store.setSettings(epoch - 1, {"a": 1})),
            (
                errors.InvalidArgument,
                store.setSettings(epoch, {"first": 1, "second": float("inf")}),
            ),
        ]
        for kind, deferred in bad:
            self.refused(kind, deferred)
        self.assertEqual(self.add(new("good"))[0].id, 2)
        listed = self.wait(store.listJobs(JobFilter(), False, 9, None))
        self.assertEqual([(job.name, job.priority) for job in listed], [("job", 0), ("good", 0)])
        self.assertEqual(self.wait(store.settings()), {})

    def test_readsDoNotWaitForCommit(self) -> None:
        """
        A read is answered while a commit is under way, with what was before it.
        """
        seen: list[int] = []

        def look(connection: sqlite3.Connection, sql: str, parameters: Any) -> None:
            if sql == "COMMIT":
                seen.append(len(self.everything()))

        with self.watching(look):
            self.add()
        self.assertEqual((seen, len(self.everything())), ([0], 1))

    def test_failedCommit(self) -> None:
        """
        When a commit fails for want of room, nothing has changed, and the next one is fine.
        """

        def full(connection: sqlite3.Connection, sql: str, parameters: Any) -> None:
            if sql == "COMMIT":
                raise sqlite3.OperationalError("database or disk is full")

        self.add()
        before = self.everything()
        with self.watching(full):
            self.refused(errors.StoreFull, self.store.addJobs(self.epoch, [new()], 1))
            self.refused(errors.StoreFull, self.store.cancelQueued(self.epoch, 1))
        self.assertEqual(self.everything(), before)
        self.assertEqual([(job.id, job.revision) for job in self.add()], [(2, 2)])

    def test_uncheckedCommit(self) -> None:
        """
        If the files cannot be examined after a commit, the change may be another file's: the
        store is lost for this process. Before a transaction, it is only an error.
        """
        writer = self.store.real._writer
        check = writer._files.check
        checks = [0]

        def refuse(connection: Any) -> None:
            checks[0] += 1
            if checks[0] == failing:
                raise errors.StoreError("it cannot be examined")
            check(connection)

        self.patch(writer._files, "check", refuse)
        failing = 1
        self.refused(errors.StoreError, self.store.addJobs(self.epoch, [new()], 1))
        self.assertEqual(self.add()[0].id, 1)
        failing = checks[0] + 2
        sentence = self.refused(errors.StoreLost, self.store.addJobs(self.epoch, [new()], 1))
        self.assertIn("it cannot be examined", sentence)
        self.refused(errors.StoreLost, self.store.addJobs(self.epoch, [new()], 1))
        self.refused(errors.StoreLost, self.store.job(1))

    def test_full(self) -> None:
        """
        What SQLite has no room for fails with C{StoreFull}, and what fits is taken.
        """

        def limit(connection: sqlite3.Connection, sql: str, parameters: Any) -> None:
            if sql == "BEGIN IMMEDIATE":
                connection.cursor().execute("PRAGMA max_page_count = 40")

        big = NewJob(worker="w", args=("x" * 1_000_000,), name="big")
        with self.watching(limit):
            sentence = self.refused(errors.StoreFull, self.store.addJobs(self.epoch, [big], 0))
            self.assertEqual(self.everything(), [])
            self.assertEqual(self.add(new("small"))[0].id, 1)
        self.assertIn(self.path, sentence)
        self.assertNotIn("xxx", sentence)

    def test_twoOwners(self) -> None:
        """
        Of two stores over one file, only the later owner writes.
        """
        another = self.reopen()
        self.wait(another.acquire("host:2"))
        self.refused(errors.OwnershipLost, self.store.addJobs(self.epoch, [new()], 0))
        self.assertEqual(self.wait(another.lastPosition()), -1)

    def test_durable(self) -> None:
        """
        Every commit of the write-ahead log is synchronised with the disk, and
        the reading connection cannot write.
        """
        pragmas: list[list[Any]] = []

        def ask(connection: sqlite3.Connection, sql: str, parameters: Any) -> None:
            if sql.startswith("BEGIN"):
                names = ("synchronous", "journal_mode", "query_only")
                asked = [connection.cursor().execute(f"PRAGMA {name}") for name in names]
                pragmas.append([value for ((value,),) in asked])

        with self.watching(ask):
            self.add()
            self.wait(self.store.job(1))
        self.assertEqual([pragmas[0], pragmas[1][1:]], [[2, "wal", 0], ["wal", 1]])

    def test_files(self) -> None:
        """
        The file is its owner's alone, and the log is gone after the close.
        """
        self.add()
        mode = stat.S_IMODE(os.stat(self.path).st_mode)
        self.assertEqual(mode, 0o600)
        self.assertTrue(os.path.exists(self.path + "-wal"))
        self.closed(self.store)
        self.assertEqual(os.listdir(os.path.dirname(self.path)), [os.path.basename(self.path)])

    def test_sizes(self) -> None:
        """
        The summary has the size of the files and the room that is left.
        """
        directory = os.path.dirname(self.path)
        summary = self.wait(self.store.summary())
        sizes = [os.stat(os.path.join(directory, name)).st_size for name in os.listdir(directory)]
        self.assertEqual((len(sizes), summary["bytes"]), (3, sum(sizes)))
        self.assertGreater(summary["freeBytes"], 0)

    def test_withoutLog(self) -> None:
        """
        Where SQLite can keep no log, the store works without one, and is watched all the
        same.
        """

        def refuse(connection: sqlite3.Connection, sql: str, parameters: Any) -> None:
            if sql == "PRAGMA journal_mode":
                connection.cursor().execute("PRAGMA journal_mode = DELETE")

        self.path = os.path.join(os.path.dirname(self.path), "other")
        with self.watching(refuse):
            self.takeOver()
        self.add()
        self.assertEqual(self.wait(self.store.summary())["bytes"], os.stat(self.path).st_size)
        self.assertFalse(os.path.exists(f"{self.path}-wal"))
        os.unlink(self.path)
        self.refused(errors.StoreLost, self.store.job(1))

    def test_idle(self) -> None:
        """
        A store that was not acquired has no thread and no file, and closes at once.
        """
        path = os.path.join(os.path.dirname(self.path), "other")
        before = self.threads()
        store = SQLiteJobStore(self.turns, path)
        self.assertEqual(self.threads(), before)
        self.successResultOf(store.close())
        self.assertFalse(os.path.exists(path))

    def test_readBeforeAcquire(self) -> None:
        """
        A read of a store that is not there fails, and makes none.
        """
        path = os.path.join(os.path.dirname(self.path), "other")
        self.refused(errors.StoreError, self.openAt(path).job(1))
        self.assertFalse(os.path.exists(path))

    def test_ownClock(self) -> None:
        """
        By default the time is the real one, in UTC.
        """
        self.closed(self.store)
        self.store = Requests(SQLiteJobStore(self.turns, self.path))
        self.addCleanup(self.closed, self.store)
        self.epoch = self.wait(self.store.acquire("host:1"))
        self.assertEqual(self.add()[0].submittedAt.utcoffset(), timedelta(0))

    def test_relativePath(self) -> None:
        """
        The file stays where it was when the process changes its directory.
        """
        store = SQLiteJobStore(self.turns, "jobs.sqlite")
        self.assertEqual(store.path, os.path.abspath("jobs.sqlite"))

    def test_noDirectory(self) -> None:
        """
        A directory that is missing is told, and one can try again.
        """
        directory = temporary(self)
        store = self.openAt(os.path.join(directory, "jobs.sqlite"))
        sentence = self.refused(errors.StoreError, store.acquire("host:1"))
        self.assertIn(directory, sentence)
        os.mkdir(directory)
        self.assertEqual(self.wait(store.acquire("host:1")), 1)

    def test_removedAttempts(self) -> None:
        """
        Nothing is left in the file of a job that is removed.
        """
        self.inState(JobState.RUNNING)
        self.wait(self.store.requeueAttempt(self.epoch, 1, 1, 0, 0, False, None))
        self.start(1, 2)
        self.finish(1, DONE, 2)
        self.wait(self.store.removeJob(self.epoch, 1))
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        for table in ("jobs", "attempts"):
            ((count,),) = connection.execute(f"SELECT count(*) FROM {table}")
            self.assertEqual(count, 0)

    def test_keysAreUnique(self) -> None:
        """
        The file itself holds no two jobs of one key, and any number without one.
        """
        self.add(new(key="a"), new(key="b"), new(), new())
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        with self.assertRaises(sqlite3.IntegrityError):
            connection.execute("UPDATE jobs SET key = 'a' WHERE id = 2")
        connection.rollback()

    def test_plans(self) -> None:
        """
        What is asked of a store with many finished jobs is read off an index.
        """
        store = self.store
        some = frozenset({JobState.SUCCEEDED, JobState.FAILED})
        labels = frozenset({("a", "1")})
        with self.statements() as seen:
            self.add(new(key="a"), new(key="b"))
            self.start(1)
            self.wait(store.requeueAttempt(self.epoch, 1, 1, 0, 9, False, None))
            self.start(1, 2)
            self.finish(1, DONE, 2)
            self.wait(store.attempts(1))
            self.wait(store.queuedJobs(9))
            self.wait(store.queuedJobs(9, (0, 1)))
            self.wait(store.runningJobs())
            self.wait(store.changedJobs(3, 9))
            self.wait(store.summary())
            self.wait(store.workers())
            for which in (
                *(JobFilter(), JobFilter(some), JobFilter(name="a"), JobFilter(some, "a")),
                *(JobFilter(labels=labels), JobFilter(some, "a", labels)),
            ):
                self.wait(store.listJobs(which, True, 9, None))
                self.wait(store.listJobs(which, False, 9, 4))
            self.wait(store.removeJob(self.epoch, 1))
            self.wait(store.removeFinished(self.epoch, NOON, 9))
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        plans = {
            sql: [step for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {sql}", given)]
            for sql, given in seen
            if sql.startswith(("SELECT", "WITH", "DELETE"))
        }
        self.assertGreaterEqual(len(plans), 25)
        for sql, steps in plans.items():
            for step in steps:
                if step.startswith("SCAN"):
                    isOneRow = step in ("SCAN journal", "SCAN sqlite_sequence", "SCAN settings")
                    isIndex = "COVERING INDEX jobs_that_wait" in step
                    # what was chosen by others
                    isGiven = step.split()[1].startswith(("anon", "json_each", "steps", "CONSTANT"))
                    self.assertTrue(isOneRow or isIndex or isGiven, (sql, steps))
                if "jobs.name = " in sql and "jobs_by" in step:
                    self.assertIn("name=? AND state=?", step)
                if "TEMP B-TREE" in step:
                    # of the first of each state, which are no more than three limits
                    self.assertIn("ORDER BY anon_1.finished_at", sql)
