"""
Tests for the versions that the job stores keep: that of the args of each job, and that
of the tables.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.errors import KeyConflict, StoreError
from ganeti_pool.interfaces import IJobStore
from ganeti_pool.jobs import Job, JobState, NewJob, Outcome
from ganeti_pool.store.sqlite import SQLiteJobStore
from ganeti_pool.testing import MemoryJobStore

from .test_store import Turns, new, temporary

if TYPE_CHECKING:
    _Mixin = SynchronousTestCase
else:
    _Mixin = object

_T = TypeVar("_T")


class ArgsVersionContract(_Mixin):
    """
    What holds for every store.
    """

    store: IJobStore

    def setUp(self) -> None:
        self.turns = Turns()
        self.open(self.makeStore())

    def makeStore(self) -> IJobStore:
        """
        A new store.
        """
        raise NotImplementedError

    def reopen(self) -> IJobStore:
        """
        Another store over what C{self.store} keeps.
        """
        raise NotImplementedError

    def wait(self, deferred: Deferred[_T]) -> _T:
        return self.turns.wait(deferred)

    def open(self, store: IJobStore) -> None:
        self.store = store
        self.addCleanup(lambda: self.wait(store.close()))
        self.epoch = self.wait(store.acquire("host:1"))

    def add(self, *jobs: NewJob) -> list[Job]:
        return self.wait(self.store.addJobs(self.epoch, jobs, 0))

    def finish(self, jobID: int) -> Job:
        self.wait(self.store.startAttempt(self.epoch, jobID, 1))
        outcome = Outcome(JobState.FAILED)
        return self.wait(self.store.finishAttempt(self.epoch, jobID, 1, outcome))

    def test_kept(self) -> None:
        """
        A job has the version of args that it was added with, whatever becomes of it.
        """
        self.add(new(), new(argsVersion=3))
        self.finish(2)
        self.wait(self.store.close())
        self.open(self.reopen())
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
        self.finish(2)
        self.wait(self.store.cancelQueued(self.epoch, 4))
        own.discard(("some.Worker", 3))
        self.assertEqual(self.wait(self.store.workers()), own | strange)
        self.finish(3)
        self.finish(5)
        self.assertEqual(self.wait(self.store.workers()), {("some.Worker", 1)})
        self.wait(self.store.close())
        self.open(self.reopen())
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
        with self.assertRaises(KeyConflict):
            self.add(other)


class MemoryArgsVersionTests(ArgsVersionContract, SynchronousTestCase):
    """
    Tests for L{MemoryJobStore}.
    """

    store: MemoryJobStore

    def makeStore(self) -> MemoryJobStore:
        return MemoryJobStore()

    def reopen(self) -> MemoryJobStore:
        return self.store.reopened()


class SQLiteArgsVersionTests(ArgsVersionContract, SynchronousTestCase):
    """
    Tests for L{SQLiteJobStore}.
    """

    def makeStore(self) -> SQLiteJobStore:
        self.path = temporary(self)
        return self.reopen()

    def reopen(self) -> SQLiteJobStore:
        return SQLiteJobStore(self.turns, self.path)


class SchemaVersionTests(SynchronousTestCase):
    """
    Tests for a file that another release has made. The file of a newer one is among
    the tests of the stores.
    """

    def test_earlier(self) -> None:
        """
        A store of an earlier version is refused in one sentence, which says what to do,
        and stays as it is.
        """
        turns = Turns()
        path = temporary(self)
        store = SQLiteJobStore(turns, path)
        turns.wait(store.acquire("host:1"))
        turns.wait(store.close())
        connection = sqlite3.connect(path)
        # what version 1 had not
        connection.execute("ALTER TABLE jobs DROP COLUMN args_version")
        connection.execute("UPDATE schema_version SET version = 1")
        connection.commit()
        connection.close()
        before = Path(path).read_bytes()
        store = SQLiteJobStore(turns, path)
        with self.assertRaises(StoreError) as refused:
            turns.wait(store.acquire("host:1"))
        turns.wait(store.close())
        sentence = str(refused.exception)
        self.assertIn(f"the store {path} has schema version 1 of an earlier release", sentence)
        self.assertIn("needs version 2", sentence)
        self.assertIn("let the daemon of that release finish its jobs, then move", sentence)
        self.assertNotIn("\n", sentence)
        self.assertEqual(Path(path).read_bytes(), before)
