"""
The writing half of a store in a file, whose groups a test serves itself, for the tests
of groups and of what is in the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.jobs import Attempt, Job, JobFilter, JobState, NewJob
from ganeti_pool.store._writes import Ledger, Writer
from ganeti_pool.store.sqlite import _reads
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


class Grouping(Writer):
    """
    The writing half of a store whose groups a test serves itself, on its own thread.
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
        super().__init__(Time())
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
        self._group: list[Request[Ledger]] = []
        self.acquired = self.acquire("host:1")
        self.commit()
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

    def _write(self, work: Callable[[Ledger], _T]) -> Deferred[_T]:
        request = Request(work, "store")
        self._group.append(request)
        return request.deferred

    ask = _write

    def commit(self) -> None:
        """
        Serve all that was asked for as one group.
        """
        group, self._group = self._group, []
        try:
            self.session.serve(group)
        except BaseException as error:
            for request in group:
                request.fail(error)
        for request in group:
            request.answer()

    def add(self, *jobs: NewJob) -> Deferred[list[Job]]:
        return self.addJobs(self.epoch, jobs or [new()], 0)

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
                _reads.getLastPosition(connection),
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
