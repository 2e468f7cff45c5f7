"""
Tests for a store in a file that has no room to grow.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from typing import Any
from unittest import SkipTest

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import errors
from ganeti_pool.jobs import JobFilter, JobState, NewJob
from ganeti_pool.store.sqlite import SQLiteJobStore

from .groupcase import GroupCase, Grouping, outcomeOf, valueOf
from .storecase import DONE, Requests, Time, Turns, new


def bulky(name: str, size: int) -> NewJob:
    """
    A job that takes some room.
    """
    return NewJob("some.Worker", ("x" * size,), name)


class FullFileTests(GroupCase):
    """
    Tests for a file that may not grow: SQLite tells it as it tells a full disk.
    """

    def setUp(self) -> None:
        super().setUp()
        self.store.add(new("before"))
        self.store.startAttempt(1, 1, 1)
        self.store.commit()

    def leave(self, pages: int) -> None:
        """
        Let the file grow by so many pages at most.
        """
        ((used,),) = self.store.connection.execute("PRAGMA page_count")
        self.store.connection.execute(f"PRAGMA max_page_count = {used + pages}")

    def names(self) -> list[str]:
        return [job.name for job, _ in self.store.content()[0]]

    def test_full(self) -> None:
        """
        Writes without room are refused, however many in a group; what was acknowledged
        is read meanwhile; what is asked for when there is room again is written.
        """
        store = self.store
        self.leave(0)
        before = store.content()
        for size in (1, 5):
            refused = [store.add(bulky("big", 100_000)) for _ in range(size)]
            store.commit()
            for deferred in refused:
                failure = self.failureResultOf(deferred, errors.StoreFull)
                self.assertIn("failed: OperationalError", failure.getErrorMessage())
            self.assertEqual(store.content(), before)
        self.leave(1000)
        fine = store.add(bulky("big", 100_000))
        ended = store.finishAttempt(1, 1, 1, DONE)
        store.commit()
        self.assertEqual([(job.id, job.revision) for job in valueOf(fine)], [(2, 3)])
        self.assertEqual(valueOf(ended).state, JobState.SUCCEEDED)
        self.assertEqual(self.names(), ["before", "big"])

    def test_fullInATransaction(self) -> None:
        """
        A transaction that has no room in part leaves nothing.
        """
        store = self.store
        self.leave(2)
        before = store.content()
        asked: list[Deferred[Any]] = [
            store.finishAttempt(1, 1, 1, DONE),
            store.addJobs(1, [bulky("small part", 10), bulky("big", 100_000)], 1),
        ]
        store.commit()
        for deferred in asked:
            self.failureResultOf(deferred, errors.StoreFull)
        self.assertEqual(store.content(), before)

    def test_untilFull(self) -> None:
        """
        Whatever was acknowledged until there was no room is there, once, and nothing
        else is, also for who opens the file next.
        """
        store = self.store
        self.leave(30)
        acknowledged = ["before"]
        isFull = False
        for number in range(100):
            asked = [store.add(bulky(f"{number} {n}", 700)) for n in range(3)]
            store.commit()
            for deferred in asked:
                outcome = outcomeOf(deferred)
                if isinstance(outcome, list):
                    acknowledged.append(outcome[0].name)
                else:
                    self.assertIs(outcome[0], errors.StoreFull)
                    isFull = True
        self.assertTrue(isFull)
        self.assertEqual(self.names(), acknowledged)
        store.close()
        self.store = Grouping(store.path)
        self.addCleanup(self.store.close)
        self.assertEqual(self.names(), acknowledged)


class FullDiskTests(SynchronousTestCase):
    """
    Tests for a store on a disk of two megabytes, which is full at times.
    """

    def setUp(self) -> None:
        self.turns = Turns()
        self.directory = tempfile.mkdtemp()
        self.addCleanup(os.rmdir, self.directory)
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", self.directory]
        try:
            subprocess.run(mount, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            raise SkipTest("only root may mount a small disk to fill") from None
        self.addCleanup(subprocess.run, ["umount", self.directory], check=True)
        self.filler = os.path.join(self.directory, "filler")
        self.store = self.open()
        self.epoch = self.turns.wait(self.store.acquire("host:1"))

    def open(self) -> Requests:
        path = os.path.join(self.directory, "jobs.sqlite")
        store = Requests(SQLiteJobStore(self.turns, path, Time()))
        self.addCleanup(lambda: self.turns.wait(store.close()))
        return store

    def fill(self) -> None:
        """
        Leave no room on the disk.
        """
        with open(self.filler, "ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def names(self) -> list[str]:
        jobs = self.turns.wait(self.store.listJobs(JobFilter(), False, 10_000, None)).value
        return [job.name for job in jobs]

    def test_full(self) -> None:
        """
        While the disk is full, writes are refused and reads are answered; nothing that
        was acknowledged is lost; when there is room again, writes are taken.
        """
        store, wait = self.store, self.turns.wait
        (job,) = wait(store.addJobs(self.epoch, [new("first")], 0))
        wait(store.startAttempt(self.epoch, job.id, 1))
        acknowledged = ["first"]
        self.fill()
        isFull = False
        while not isFull:
            asked = [
                store.addJobs(self.epoch, [bulky(f"{len(acknowledged)} {n}", 3000)] * 2, 1)
                for n in range(3)
            ]
            for deferred in asked:
                try:
                    acknowledged.extend(job.name for job in wait(deferred))
                except errors.StoreFull:
                    isFull = True
        self.assertRaises(errors.StoreFull, wait, store.finishAttempt(self.epoch, job.id, 1, DONE))
        self.assertEqual(self.names(), acknowledged)
        self.assertEqual(wait(store.summary()).value["freeBytes"], 0)
        os.unlink(self.filler)
        self.assertEqual(wait(store.finishAttempt(self.epoch, job.id, 1, DONE)).attempt, 1)
        (last,) = wait(store.addJobs(self.epoch, [new("last")], 9))
        self.assertEqual(last.id, len(acknowledged) + 1)
        wait(store.close())
        self.store = self.open()
        wait(self.store.acquire("host:2"))
        self.assertEqual(self.names(), [*acknowledged, "last"])

    def test_outgrowsTheDisk(self) -> None:
        """
        A list that fills the disk while it is written leaves no part of itself.
        """
        store, wait = self.store, self.turns.wait
        wait(store.addJobs(self.epoch, [new("first")], 0))
        big = store.addJobs(self.epoch, [bulky("big", 10_000)] * 400, 1)
        self.assertRaises(errors.StoreFull, wait, big)
        self.assertEqual(self.names(), ["first"])
        (last,) = wait(store.addJobs(self.epoch, [new("last")], 1))
        self.assertEqual((self.names(), last.id), (["first", "last"], 2))
