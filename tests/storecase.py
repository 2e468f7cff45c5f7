"""
A job store of either kind, for the tests of the stores: one contract, which both pass,
is tested in several modules.
"""

from __future__ import annotations

import os
import queue
import tempfile
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from ganeti_pool.interfaces import IJobStore, IUnitOfWork, Snapshot
from ganeti_pool.jobs import FINISHED, Attempt, Job, JobFilter, JobState, NewJob, Outcome
from ganeti_pool.store.sqlite import SQLiteJobStore
from ganeti_pool.testing._store import MemoryJobStore

__all__ = [
    "DONE",
    "NOON",
    "TIMEOUT",
    "InFile",
    "InMemory",
    "Requests",
    "StoreCase",
    "Time",
    "Turns",
    "new",
    "temporary",
]

if TYPE_CHECKING:
    _Mixin = SynchronousTestCase
else:
    _Mixin = object

_T = TypeVar("_T")

TIMEOUT = 30.0
"""
Seconds after which a thread that should have spoken is given up.
"""

NOON = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=timezone.utc)

DONE = Outcome(JobState.SUCCEEDED)


@implementer(IReactorFromThreads)
class Turns:
    """
    A reactor's one thread-safe call, whose turns a test takes itself.
    """

    def __init__(self) -> None:
        self.calls: queue.Queue[Callable[[], object]] = queue.Queue()

    def callFromThread(self, callable: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.calls.put(lambda: callable(*args, **kwargs))

    def turn(self) -> None:
        self.calls.get(timeout=TIMEOUT)()

    def drain(self) -> None:
        """
        Take the turns that were asked for.
        """
        while not self.calls.empty():
            self.turn()

    def wait(self, deferred: Deferred[_T]) -> _T:
        """
        Take turns until a Deferred has fired.
        """
        results: list[_T | Failure] = []
        deferred.addBoth(results.append)
        while not results:
            self.turn()
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]


def temporary(case: SynchronousTestCase) -> str:
    """
    A path at which nothing is, alone in a directory that goes with the test.
    """
    directory = tempfile.TemporaryDirectory()
    case.addCleanup(directory.cleanup)
    return os.path.join(directory.name, "new")


class Time:
    """
    A clock that stands still until it is moved.
    """

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


def new(name: str = "job", **values: Any) -> NewJob:
    """
    Some job to add.
    """
    return NewJob(worker="some.Worker", args=(["true"], {"cwd": "/"}), name=name, **values)


class Requests:
    """
    A store whose every call is a Deferred. A method of a unit of work runs in a transaction of
    its own; if it changes the store, its first argument is the epoch.

    @ivar real: the store.
    """

    READS = frozenset(
        {
            *("settings", "queuedJobs", "workers", "runningJobs", "preload"),
            *("lastPosition", "lastID", "revision", "hasChanged"),
        }
    )

    def __init__(self, real: Any) -> None:
        self.real = real
        self.epoch = 0

    def acquire(self, owner: str) -> Deferred[int]:
        def acquired() -> int:
            self.epoch = self.real.acquire(owner)
            return self.epoch

        return maybeDeferred(acquired)

    def close(self) -> Deferred[None]:
        self.real.release()
        closed: Deferred[None] = self.real.close()
        return closed

    def __getattr__(self, name: str) -> Callable[..., Deferred[Any]]:
        if name in self.READS:
            return lambda *args, **kwargs: maybeDeferred(
                self._inTransaction, name, self.epoch, *args, **kwargs
            )
        if name in IUnitOfWork and name not in IJobStore:
            return partial(maybeDeferred, self._inTransaction, name)
        return getattr(self.real, name)  # type: ignore[no-any-return]

    def _inTransaction(self, name: str, epoch: int, *args: Any, **kwargs: Any) -> Any:
        with self.real.transaction(epoch) as unit:
            result = getattr(unit, name)
            if callable(result):
                result = result(*args, **kwargs)
        return result[0] if name == "addJobs" else result


class StoreCase(_Mixin):
    """
    A store, and an owner of it. L{InMemory} and L{InFile} choose the store.
    """

    store: Any

    def setUp(self) -> None:
        self.time = Time()
        self.turns = Turns()
        self.store = self.makeStore()
        self.epoch = self.wait(self.store.acquire("host:1"))

    def makeStore(self) -> Requests:
        """
        Return a new store that has no owner yet.
        """
        raise NotImplementedError

    def reopen(self) -> Requests:
        """
        Return another store over the content of C{self.store}.
        """
        raise NotImplementedError

    def takeOver(self) -> None:
        """
        Have another owner open what the store keeps.
        """
        self.store = self.reopen()
        self.epoch = self.wait(self.store.acquire("host:2"))

    def wait(self, deferred: Deferred[Any]) -> Any:
        """
        Wait for a result, or the value of a read.
        """
        result = self.turns.wait(deferred)
        return result.value if isinstance(result, Snapshot) else result

    def refused(self, kind: type[Exception], deferred: Deferred[Any]) -> str:
        """
        Check that a request fails with exactly this, and return its sentence.
        """
        with self.assertRaises(kind) as caught:
            self.wait(deferred)
        self.assertIs(type(caught.exception), kind)
        return str(caught.exception)

    def add(self, *jobs: NewJob, firstPosition: int = 0) -> list[Job]:
        added: list[Job] = self.wait(
            self.store.addJobs(self.epoch, jobs or (new(),), firstPosition)
        )
        return added

    def start(self, jobID: int, attempt: int = 1) -> Job:
        started: Job = self.wait(self.store.startAttempt(self.epoch, jobID, attempt))
        return started

    def finish(self, jobID: int, outcome: Outcome = DONE, attempt: int = 1) -> Job:
        ended: Job = self.wait(self.store.finishAttempt(self.epoch, jobID, attempt, outcome))
        return ended

    def end(self, jobID: int, state: JobState = JobState.SUCCEEDED) -> Job:
        """
        Let a job that has not run yet begin and end.
        """
        self.start(jobID)
        return self.finish(jobID, Outcome(state))

    def inState(self, state: JobState) -> Job:
        """
        A new job in this state.
        """
        (job,) = self.add()
        if state in FINISHED:
            return self.end(job.id, state)
        return self.start(job.id) if state is JobState.RUNNING else job

    def everything(self) -> list[tuple[Job, list[Attempt]]]:
        """
        All that a store tells of its jobs.
        """
        jobs = self.wait(self.store.listJobs(JobFilter(), False, 1000, None))
        return [(job, self.wait(self.store.attempts(job.id))) for job in jobs]


class InMemory(StoreCase):
    """
    The store in memory.
    """

    def makeStore(self) -> Requests:
        return Requests(MemoryJobStore(self.time))

    def reopen(self) -> Requests:
        return Requests(self.store.real.reopened())


class InFile(StoreCase):
    """
    The store in a file, whose threads have to end with the test.
    """

    def setUp(self) -> None:
        self.addCleanup(self.noThreads)
        super().setUp()

    def makeStore(self) -> Requests:
        directory = Path(temporary(self)).parent
        # all that a URL could misread
        self.path = str(directory / "jobs ?#%20&.sqlite")
        return self.reopen()

    def reopen(self) -> Requests:
        return self.openAt(self.path)

    def openAt(self, path: str) -> Requests:
        store = Requests(SQLiteJobStore(self.turns, path, self.time))
        self.addCleanup(self.closed, store)
        return store

    def closed(self, store: Requests) -> None:
        self.wait(store.close())

    def noThreads(self) -> None:
        """
        See that the threads of all stores end.
        """
        for thread in self.threads():
            thread.join(TIMEOUT)
        self.assertEqual(self.threads(), [])

    def threads(self) -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if "job store" in thread.name]
