"""
The connections of a store in a file, whose transactions a test makes itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.errors import PoolError
from ganeti_pool.interfaces import IUnitOfWork
from ganeti_pool.jobs import Attempt, Job, JobFilter, JobState, NewJob
from ganeti_pool.store._base import Ledger, UnitOfWork
from ganeti_pool.store.sqlite import _reads
from ganeti_pool.store.sqlite._errors import translated
from ganeti_pool.store.sqlite._files import StoreFiles
from ganeti_pool.store.sqlite._lane import Request
from ganeti_pool.store.sqlite._sessions import ReadSession, WriteSession
from ganeti_pool.store.sqlite.migrations import Migration, Phase

from .storecase import Time, new, temporary

__all__ = ["BAD", "GroupCase", "Grouping", "lists", "outcomeOf", "valueOf"]

_T = TypeVar("_T")

Content = tuple[list[tuple[Job, list[Attempt]]], dict[str, Any], int]
"""
All that a file keeps: jobs with their attempts, settings and the last position.
"""

BAD = "\udc80"
"""
A text that no column takes.
"""


class Grouping:
    """
    The connections of a store, whose transactions a test makes on its own thread.

    A method of a unit of work is called with the epoch, as C{addJobs(epoch, jobs, position)},
    and gives a Deferred. L{commit} makes one transaction of all calls since the last.
    """

    def __init__(
        self,
        path: str,
        mayFail: bool = False,
        whenChecked: Callable[[Callable[[], None]], object] | None = None,
        migration: Callable[[StoreFiles], Migration] | None = None,
    ) -> None:
        """
        @param mayFail: whether it is C{acquired} that tells how that went.
        @param whenChecked: called with a callable that ends the check or the migration,
            when that is about to begin.
        @param migration: makes the migration; by default, the one of this release.
        """
        self.time = Time()
        self.path = path
        self.refusal: OSError | None = None
        self.files = StoreFiles(path, self.probe)
        self.checks: list[bool] = []
        self.migrations: list[tuple[Phase, int, str]] = []
        self._whenChecked = whenChecked
        self.session = WriteSession(
            self.files,
            self.checking,
            self.migrating,
            None if migration is None else migration(self.files),
        )
        self.reader = ReadSession(self.files)
        self.said: list[str] = []
        self._group: list[tuple[int | None, Callable[[UnitOfWork], Any], Deferred[Any]]] = []
        self.acquired = self.acquire("host:1")
        if not mayFail:
            self.epoch = valueOf(self.acquired)
            self.connection.set_trace_callback(self.said.append)

    def checking(self, size: int | None) -> None:
        """
        A check begins or has ended.
        """
        self.checks.append(size is not None)
        if size is not None and self._whenChecked is not None:
            self._whenChecked(self.session.interrupt)

    def migrating(self, phase: Phase, version: int, copy: str) -> None:
        """
        A migration begins or has ended.
        """
        self.migrations.append((phase, version, copy))
        if phase is Phase.BEGUN and self._whenChecked is not None:
            self._whenChecked(self.session.interrupt)

    @property
    def connection(self) -> sqlite3.Connection:
        assert self.session._opened is not None
        return self.session._opened[0]

    def probe(self, path: str) -> OSError | None:
        """
        What the disk says when it is tried.
        """
        return self.refusal

    def acquire(self, owner: str) -> Deferred[int]:
        return maybeDeferred(self.session.acquire, owner, self.time())

    def __getattr__(self, name: str) -> Callable[..., Deferred[Any]]:
        if name not in IUnitOfWork:
            raise AttributeError(name)

        def ask(epoch: int, *args: Any) -> Deferred[Any]:
            def work(unit: UnitOfWork) -> Any:
                result = getattr(unit, name)(*args)
                return result[0] if name == "addJobs" else result

            return self._ask(epoch, work)

        return ask

    def ask(self, work: Callable[[Ledger], object]) -> Deferred[Any]:
        """
        Call a function with the ledger in the next transaction.
        """
        return self._ask(None, lambda unit: work(unit._ledger))

    def _ask(self, epoch: int | None, work: Callable[[UnitOfWork], Any]) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        self._group.append((epoch, work, answer))
        return answer

    def commit(self) -> None:
        """
        Make one transaction of everything that was asked for. A call that is rejected does not
        disturb the others.
        """
        group, self._group = self._group, []
        results: list[object] = []
        epoch = next((epoch for epoch, _, _ in group if epoch is not None), self.epoch)
        try:
            with self.session.transaction(epoch, self.time()) as unit:
                for _, work, _ in group:
                    try:
                        results.append(work(unit))
                    except PoolError as error:
                        results.append(error)
        except BaseException as error:
            results = [translated(error, "store")] * len(group)
        for (_, _, answer), result in zip(group, results, strict=True):
            if isinstance(result, BaseException):
                answer.errback(result)
            else:
                answer.callback(result)

    def add(self, *jobs: NewJob) -> Deferred[list[Job]]:
        added: Deferred[list[Job]] = self.addJobs(self.epoch, jobs or [new()], 0)
        return added

    def read(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        result: _T = valueOf(self.asked(work))
        return result

    def readOutcome(self, work: Callable[[sqlite3.Connection], object]) -> Any:
        """
        What a read gives, or the class and text of its failure.
        """
        return outcomeOf(self.asked(work))

    def asked(self, work: Callable[[sqlite3.Connection], object]) -> Deferred[Any]:
        """
        Serve a read as a group of its own.
        """
        request = Request(work, "store")
        try:
            self.reader.serve([request])
        except BaseException as error:
            request.fail(error)
        request.answer()
        return request.deferred

    def content(self) -> Content:
        """
        What is kept, the labels twice and both times the same.
        """

        def read(connection: sqlite3.Connection) -> Content:
            jobs = _reads.getListedJobs(connection, JobFilter(), False, 100_000, None)
            labels = {(*label, job.id) for job in jobs for label in job.labels.items()}
            assert {*connection.execute("SELECT name, value, job_id FROM labels")} == labels
            return (
                [(job, _reads.getAttempts(connection, job.id)) for job in jobs],
                _reads.getSettings(connection),
                int(connection.execute("SELECT last_position FROM journal").fetchone()[0]),
            )

        return self.read(read)

    def listed(self, *asked: Any) -> list[Job]:
        """
        See L{IJobStore.listJobs <ganeti_pool.interfaces.IJobStore.listJobs>}.
        """
        return self.read(lambda connection: _reads.getListedJobs(connection, *asked))

    def close(self) -> None:
        self.reader.close()
        self.session.close()


def outcomeOf(deferred: Deferred[Any]) -> Any:
    """
    What a Deferred that has fired has given, or the class and text of its failure.
    """
    seen: list[Any] = []
    deferred.addBoth(seen.append)
    (result,) = seen
    return (result.type, str(result.value)) if isinstance(result, Failure) else result


def valueOf(deferred: Deferred[_T]) -> _T:
    """
    What a Deferred that has fired has given, which is no failure.
    """
    seen: list[_T] = []
    deferred.addCallback(seen.append)
    return seen[0]


_label = st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["", "1"]))
lists = st.tuples(
    st.builds(
        JobFilter,
        st.frozensets(st.sampled_from(JobState), max_size=3),
        st.sampled_from([None, "x", "1"]),
        st.frozensets(_label, max_size=3),
    ),
    st.booleans(),
    st.integers(1, 4),
    st.none() | st.integers(-1, 12),
)
"""
What can be asked of C{listJobs}.
"""


class GroupCase(SynchronousTestCase):
    """
    A store whose groups the test serves.
    """

    def setUp(self) -> None:
        self.store = Grouping(temporary(self))
        self.addCleanup(self.store.close)
