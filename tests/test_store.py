"""
Tests for the job stores as a whole: their owners, their commits, and their end.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from ganeti_pool import errors
from ganeti_pool.interfaces import IJobStore
from ganeti_pool.jobs import Job, JobFilter, JobState
from ganeti_pool.testing._store import MemoryJobStore

from .storecase import DONE, NOON, InFile, InMemory, StoreCase, new


class StoreContract(StoreCase):
    """
    What holds for every store, whatever it is asked for.
    """

    def test_interface(self) -> None:
        """
        It provides the contract.
        """
        verifyObject(IJobStore, self.store)

    def test_epochs(self) -> None:
        """
        Another owner has a larger epoch, and each method that takes an epoch refuses
        the earlier one and changes nothing.
        """
        arguments: dict[str, tuple[Any, ...]] = {
            "addJobs": ([new()], 0),
            "startAttempt": (1, 1),
            "recordHandle": (2, 1, "pgid 1"),
            "finishAttempt": (2, 1, DONE),
            "requeueAttempt": (2, 1, 0, 9, True, None),
            "changePriority": (1, 9),
            "cancelQueued": (1,),
            "requestCancel": (2,),
            "retryJob": (3, 9),
            "removeJob": (3,),
            "removeFinished": (NOON + timedelta(days=1), 9),
            "setSettings": ({"a": 1},),
        }
        writes = {
            name
            for name, what in IJobStore.namesAndDescriptions()
            if what.getSignatureInfo()["positional"][:1] == ("epoch",)
        }
        self.assertEqual(set(arguments), writes)
        self.add(new(), new(), new())
        self.start(2)
        self.end(3, JobState.FAILED)
        before = self.everything()
        later = self.wait(self.store.acquire("host:2"))
        self.assertGreater(later, self.epoch)
        for name, others in {**arguments, "addJobs": ([], 0)}.items():
            call = getattr(self.store, name)(self.epoch, *others)
            self.assertIn(f"epoch {later}", self.refused(errors.OwnershipLost, call))
        call = self.store.addJobs(self.epoch, *arguments["addJobs"])
        self.assertIn(f"epoch {later}", self.refused(errors.OwnershipLost, call))
        self.assertEqual(self.everything(), before)
        self.assertEqual(self.wait(self.store.settings()), {})
        self.epoch = later
        self.assertEqual(self.start(1).state, JobState.RUNNING)

    def test_reopened(self) -> None:
        """
        What was committed is there for the next owner, whose epoch and ids are
        larger than any before.
        """
        self.add(new(), new(), firstPosition=4)
        self.start(2)
        self.wait(self.store.recordHandle(self.epoch, 2, 1, "pgid 1"))
        self.wait(self.store.setSettings(self.epoch, {"active": False}))
        running = self.wait(self.store.runningJobs())
        before, settings = self.everything(), self.wait(self.store.settings())
        self.wait(self.store.close())
        earlier = self.epoch
        self.takeOver()
        self.assertGreater(self.epoch, earlier)
        self.assertEqual(self.everything(), before)
        self.assertEqual(self.wait(self.store.runningJobs()), running)
        self.assertEqual(self.wait(self.store.settings()), settings)
        self.assertEqual(self.wait(self.store.lastPosition()), 5)
        self.assertEqual([(job.id, job.revision) for job in self.add()], [(3, 4)])

    def test_commitsAreTold(self) -> None:
        """
        A commit is told once, with the number of its writes, before they are answered;
        a read is none.
        """
        self.commits.clear()
        written = self.store.addJobs(self.epoch, [new(), new()], 0)
        written.addCallback(lambda _: self.assertEqual(self.commits, [1]))
        self.wait(written)
        self.wait(self.store.job(1))
        self.start(1)
        self.assertEqual(self.commits, [1, 1])

    def test_order(self) -> None:
        """
        Writes are committed and answered in the order in which they were asked for.
        """
        answered: list[int] = []

        def note(jobs: list[Job], n: int) -> int:
            answered.append(n)
            return jobs[0].id

        asked = [
            self.store.addJobs(self.epoch, [new(str(n))], n).addCallback(note, n) for n in range(50)
        ]
        self.assertEqual([self.wait(deferred) for deferred in asked], list(range(1, 51)))
        self.assertEqual(answered, list(range(50)))

    def test_closed(self) -> None:
        """
        A store that is being closed commits what was asked for, and refuses all
        that is asked for later; closing it again is fine.
        """
        last = self.store.addJobs(self.epoch, [new("last")], 0)
        closing = [self.store.close(), self.store.close()]
        for call in (
            self.store.addJobs(self.epoch, [new()], 1),
            self.store.job(1),
            self.store.acquire("host:4"),
        ):
            self.assertIn("closed", self.refused(errors.StoreClosed, call))
        for deferred in closing:
            self.wait(deferred)
        self.assertEqual(self.wait(last)[0].name, "last")
        self.wait(self.store.close())
        self.store = self.reopen()
        self.wait(self.store.acquire("host:5"))
        listed = self.wait(self.store.listJobs(JobFilter(), False, 9, None))
        self.assertEqual([job.name for job in listed], ["last"])


class MemoryJobStoreTests(InMemory, StoreContract, SynchronousTestCase):
    """
    Tests for L{MemoryJobStore}.
    """

    def test_held(self) -> None:
        """
        Writes that are held are committed and answered in order, when told.
        """
        self.store.held = True
        first = self.store.addJobs(self.epoch, [new("a")], 0)
        second = self.store.startAttempt(self.epoch, 1, 1)
        self.assertNoResult(first)
        self.store.held = False
        third = self.store.cancelQueued(self.epoch, 1)
        self.assertNoResult(third)
        self.assertEqual(self.everything(), [])
        self.commits.clear()
        self.store.commit()
        self.assertEqual(self.commits, [3])
        self.assertEqual(self.successResultOf(first)[0].name, "a")
        self.assertEqual(self.successResultOf(second).state, JobState.RUNNING)
        self.failureResultOf(third, errors.JobNotQueued)

    def test_heldIsNotInJournal(self) -> None:
        """
        A write that waits when a daemon dies was never made.
        """
        self.store.held = True
        lost = self.store.addJobs(self.epoch, [new("a")], 0)
        self.store = self.store.reopened()
        self.assertEqual(self.everything(), [])
        self.assertNoResult(lost)

    def test_failure(self) -> None:
        """
        While a failure is set, each write fails with it and changes nothing.
        """
        self.store.failure = errors.StoreFull("no room")
        self.refused(errors.StoreFull, self.store.addJobs(self.epoch, [new()], 0))
        self.assertEqual(self.everything(), [])
        self.store.failure = None
        self.assertEqual(self.add()[0].id, 1)

    def test_ownClock(self) -> None:
        """
        By default the time is the real one, in UTC.
        """
        self.store = MemoryJobStore()
        self.epoch = self.wait(self.store.acquire("host:1"))
        self.assertEqual(self.add()[0].submittedAt.utcoffset(), timedelta(0))


class SQLiteJobStoreTests(InFile, StoreContract, SynchronousTestCase):
    """
    Tests for L{SQLiteJobStore}. What is particular to it is in a module of its own.
    """
