"""
Tests for the job stores as a whole: their owners, their commits, and their end.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from ganeti_pool import errors
from ganeti_pool.interfaces import IJobStore, IUnitOfWork
from ganeti_pool.jobs import JobFilter, JobState
from ganeti_pool.testing._store import MemoryJobStore

from .storecase import DONE, NOON, InFile, InMemory, Requests, StoreCase, new


class StoreContract(StoreCase):
    """
    What holds for every store, whatever it is asked for.
    """

    def test_interface(self) -> None:
        """
        It provides the contract.
        """
        verifyObject(IJobStore, self.store.real)
        with self.store.real.transaction(self.epoch) as unit:
            verifyObject(IUnitOfWork, unit)

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
        reads = Requests.READS | {"job"}
        self.assertEqual(set(arguments), set(IUnitOfWork.names()) - reads)
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
        call = self.store.addJobs(self.epoch, *arguments["addJobs"])
        self.assertIn("the daemon host:2", self.refused(errors.OwnershipLost, call))
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

    def test_transaction(self) -> None:
        """
        A transaction has all of its changes or none. A rejected change leaves the others.
        """
        store = self.store.real
        with store.transaction(self.epoch) as unit:
            every, added = unit.addJobs([new("a", key="k"), new("a", key="k")], 0)
            self.assertEqual([job.id for job in every], [1, 1])
            self.assertEqual([job.id for job in added], [1])
            self.assertRaises(errors.NoSuchJob, unit.startAttempt, 7, 1)
            self.assertEqual(unit.job(1).state, JobState.QUEUED)
            self.assertEqual(unit.startAttempt(1, 1).state, JobState.RUNNING)
            self.assertEqual([job.id for job, _ in unit.runningJobs()], [1])
            self.assertEqual(unit.workers(), {("some.Worker", 1)})
        before = self.everything()

        def fail() -> None:
            with store.transaction(self.epoch) as unit:
                unit.addJobs([new("c")], 1)
                unit.setSettings({"a": 1})
                unit.finishAttempt(1, 1, DONE)
                raise errors.QueueStopping()

        self.assertRaises(errors.QueueStopping, fail)
        self.assertEqual(self.everything(), before)
        self.assertEqual(self.wait(self.store.settings()), {})
        self.assertEqual(self.wait(self.store.revision()), 2)

    def test_hasChanged(self) -> None:
        """
        A transaction knows whether it has changed anything.
        """
        self.add(new(key="k"), new(), new())
        self.end(2)
        self.end(3, JobState.FAILED)
        changes: dict[str, Callable[[IUnitOfWork], object]] = {
            "addJobs": lambda unit: unit.addJobs([new()], 3),
            "startAttempt": lambda unit: unit.startAttempt(1, 1),
            "recordHandle": lambda unit: unit.recordHandle(1, 1, "pgid 1"),
            "requestCancel": lambda unit: unit.requestCancel(1),
            "requeueAttempt": lambda unit: unit.requeueAttempt(1, 1, 0, 4, True, None),
            "changePriority": lambda unit: unit.changePriority(1, 7),
            "cancelQueued": lambda unit: unit.cancelQueued(1),
            "retryJob": lambda unit: unit.retryJob(3, 5),
            "removeJob": lambda unit: unit.removeJob(2),
            "removeFinished": lambda unit: unit.removeFinished(NOON + timedelta(days=1), 9),
            "setSettings": lambda unit: unit.setSettings({"a": 1}),
        }
        idle: dict[str, Callable[[IUnitOfWork], object]] = {
            "addJobs": lambda unit: unit.addJobs([new(key="k")], 3),
            "changePriority": lambda unit: unit.changePriority(1, 0),
            "retryJob": lambda unit: unit.retryJob(1, 5),
            "removeFinished": lambda unit: unit.removeFinished(NOON - timedelta(days=1), 9),
            "settings": lambda unit: unit.settings(),
        }
        for calls, expected in ((idle, False), (changes, True)):
            for name, call in calls.items():
                with self.store.real.transaction(self.epoch) as unit:
                    call(unit)
                    self.assertEqual(unit.hasChanged, expected, name)

    def test_numbers(self) -> None:
        """
        A read has the highest revision of any job in its snapshot.
        """
        numbers: list[int] = []

        def note() -> None:
            for read in (
                self.store.job(1),
                self.store.known([1]),
                self.store.attempts(1),
                self.store.listJobs(JobFilter(), False, 9, None),
                self.store.changedJobs(0, 9),
                self.store.summary(),
            ):
                numbers.append(self.turns.wait(read).number)

        self.add(new(), new())
        note()
        self.start(1)
        note()
        self.assertEqual(numbers, [2] * 6 + [3] * 6)

    def test_closed(self) -> None:
        """
        After C{release} there is no transaction, and after C{close} no read. Both may be
        repeated, and another owner finds what was committed.
        """
        self.add(new("last"))
        for _ in range(2):
            self.wait(self.store.close())
        for call in (
            self.store.addJobs(self.epoch, [new()], 1),
            self.store.job(1),
        ):
            self.assertIn("closed", self.refused(errors.StoreClosed, call))
        self.takeOver()
        listed = self.wait(self.store.listJobs(JobFilter(), False, 9, None))
        self.assertEqual([job.name for job in listed], ["last"])


class MemoryJobStoreTests(InMemory, StoreContract, SynchronousTestCase):
    """
    Tests for L{MemoryJobStore}.
    """

    def test_failure(self) -> None:
        """
        While a failure is set, each write fails with it and changes nothing.
        """
        self.store.real.failure = errors.StoreFull("no room")
        self.refused(errors.StoreFull, self.store.addJobs(self.epoch, [new()], 0))
        self.refused(errors.StoreFull, self.store.acquire("host:2"))
        self.assertEqual(self.everything(), [])
        self.store.real.failure = None
        self.assertEqual(self.add()[0].id, 1)

    def test_ownClock(self) -> None:
        """
        By default the time is the real one, in UTC.
        """
        self.store = Requests(MemoryJobStore())
        self.epoch = self.wait(self.store.acquire("host:1"))
        self.assertEqual(self.add()[0].submittedAt.utcoffset(), timedelta(0))


class SQLiteJobStoreTests(InFile, StoreContract, SynchronousTestCase):
    """
    Tests for L{SQLiteJobStore}. What is particular to it is in a module of its own.
    """
