"""
Tests for the versions that the job stores keep: that of the args of each job, and that
of the tables.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import errors
from ganeti_pool.jobs import JobState
from ganeti_pool.store.sqlite.schema import SCHEMA_VERSION

from .storecase import InFile, InMemory, StoreCase, new, temporary


class ArgsVersionContract(StoreCase):
    """
    What holds for every store.
    """

    def test_kept(self) -> None:
        """
        A job has the version of args that it was added with, whatever becomes of it.
        """
        self.add(new(), new(argsVersion=3))
        self.end(2, JobState.FAILED)
        self.takeOver()
        jobs = [self.wait(self.store.job(jobID)) for jobID in (1, 2)]
        jobs.append(self.wait(self.store.retryJob(self.epoch, 2, 9)))
        self.assertEqual([job.argsVersion for job in jobs], [1, 3, 3])

    def test_unfinished(self) -> None:
        """
        Of each worker class the versions are known of which there are unfinished jobs.
        """
        odd = replace(new(argsVersion=12), worker="3 odd names")
        self.add(new(), new(argsVersion=2), new(argsVersion=2), new(argsVersion=3), odd)
        own = {("some.Worker", version) for version in (1, 2, 3)}
        strange = {("3 odd names", 12)}
        self.assertEqual(self.wait(self.store.workers()), own | strange)
        self.end(2, JobState.FAILED)
        self.wait(self.store.cancelQueued(self.epoch, 4))
        own.discard(("some.Worker", 3))
        self.assertEqual(self.wait(self.store.workers()), own | strange)
        self.end(3)
        self.end(5)
        self.assertEqual(self.wait(self.store.workers()), {("some.Worker", 1)})
        self.takeOver()
        self.assertEqual(self.wait(self.store.workers()), {("some.Worker", 1)})
        self.wait(self.store.retryJob(self.epoch, 2, 9))
        self.assertEqual(self.wait(self.store.workers()), {("some.Worker", 1), ("some.Worker", 2)})

    def test_sameKey(self) -> None:
        """
        A job that is submitted again under another version of args is the old one, as
        it was: its client has said the same. With other args it is another.
        """
        (job,) = self.add(new(key="k"))
        self.assertEqual(self.add(new(key="k", argsVersion=2)), [job])
        other = replace(new(key="k", argsVersion=2), args=())
        with self.assertRaises(errors.KeyConflict):
            self.add(other)


class MemoryArgsVersionTests(InMemory, ArgsVersionContract, SynchronousTestCase):
    """
    Tests for L{MemoryJobStore}.
    """


class SQLiteArgsVersionTests(InFile, ArgsVersionContract, SynchronousTestCase):
    """
    Tests for L{SQLiteJobStore}.
    """


class SchemaVersionTests(InFile, SynchronousTestCase):
    """
    Tests for a file that something else has made than this release.
    """

    def change(self, *statements: str) -> None:
        """
        Close the store, and make its file what it is not.
        """
        self.closed(self.store)
        connection = sqlite3.connect(self.path)
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    def unchanged(self, path: str, kind: type[errors.StoreError] = errors.StoreError) -> str:
        """
        Check that a file cannot be acquired and stays as it is; return why.
        """
        before = Path(path).read_bytes()
        store = self.openAt(path)
        sentence = self.refused(kind, store.acquire("host:1"))
        self.closed(store)
        self.assertEqual(Path(path).read_bytes(), before)
        return sentence

    def test_newerSchema(self) -> None:
        """
        A store of a newer version is refused in one sentence, and stays as it is.
        """
        self.change("UPDATE schema_version SET version = 99")
        sentence = self.unchanged(self.path)
        release = version("ganeti-pool")
        self.assertIn(f"schema version 99, made by ganeti-pool {release}, and this", sentence)
        self.assertIn(f"this release reads version {SCHEMA_VERSION}. Run ganeti-pool", sentence)
        self.assertIn(f"Run ganeti-pool {release} or later, or restore a backup", sentence)
        self.assertNotIn("\n", sentence)

    def test_newerSchemaOfUnknownRelease(self) -> None:
        """
        A newer store that does not name its release, or not in a word, is refused all
        the same.
        """
        for change in (
            "UPDATE schema_version SET version = 99, release = NULL",
            "UPDATE schema_version SET release = 'new\nline'",
            "ALTER TABLE schema_version DROP COLUMN release",
        ):
            self.change(change)
            sentence = self.unchanged(self.path)
            self.assertIn("schema version 99, made by a later release, and this", sentence)
            self.assertIn("Run a later release, or restore a backup", sentence)
            self.assertNotIn("\n", sentence)

    def test_earlierSchema(self) -> None:
        """
        A store of an earlier version is refused in one sentence, which says what to do,
        and stays as it is.
        """
        self.change(
            # what version 1 had not
            "ALTER TABLE jobs DROP COLUMN args_version",
            "UPDATE schema_version SET version = 1",
        )
        sentence = self.unchanged(self.path)
        self.assertIn(f"the store {self.path} has schema version 1 of an earlier release", sentence)
        self.assertIn("reads version 3 and migrates from version 2 or later", sentence)
        self.assertIn("let the daemon of that release finish its jobs, then move", sentence)
        self.assertNotIn("\n", sentence)

    def test_otherProgram(self) -> None:
        """
        Another program's database, or a file that is none, is refused and stays
        as it is.
        """
        database = temporary(self)
        connection = sqlite3.connect(database)
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
        connection.close()
        self.assertIn("another program", self.unchanged(database))
        garbage = temporary(self)
        Path(garbage).write_text("To whom it may concern. " * 100)
        self.assertIn("not a database", self.unchanged(garbage, errors.StoreDamaged))
