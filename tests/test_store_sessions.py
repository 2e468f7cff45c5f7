"""
Tests for how a store's threads speak to its file: groups of writes, rows that SQLite
does not take, and a disk without room.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable
from typing import Any, TypeVar
from unittest import SkipTest

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import errors
from ganeti_pool.jobs import Attempt, Job, JobFailure, JobFilter, JobState, NewJob, Outcome
from ganeti_pool.store import _reads
from ganeti_pool.store._lane import Request
from ganeti_pool.store._sessions import ReadSession, WriteSession
from ganeti_pool.store._writes import Ledger, Writer
from ganeti_pool.store.sqlite import SQLiteJobStore
from ganeti_pool.testing._store import MemoryJobStore

from .storecase import DONE, NOON, Time, Turns, new, temporary

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

    def __init__(self, path: str) -> None:
        super().__init__(Time())
        self.path = path
        self.session = WriteSession(path)
        self.reader = ReadSession(path)
        self.said: list[str] = []
        self._group: list[Request[Ledger]] = []
        acquired = self.acquire("host:1")
        self.commit()
        self.epoch = valueOf(acquired)
        self.connection.set_trace_callback(self.said.append)

    @property
    def connection(self) -> sqlite3.Connection:
        assert self.session._opened is not None
        return self.session._opened[0]

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
        request = Request(work, "store")
        self.reader.serve([request])
        request.answer()
        result: _T = valueOf(request.deferred)
        return result

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


class GroupTests(SynchronousTestCase):
    """
    Tests for groups of writes.
    """

    def setUp(self) -> None:
        self.store = Grouping(temporary(self))
        self.addCleanup(self.store.close)

    def begun(self) -> list[str]:
        """
        How transactions were begun and ended since this was asked last.
        """
        words = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")
        said = [sql for sql in self.store.said if sql.startswith(words)]
        self.store.said.clear()
        return said

    def test_together(self) -> None:
        """
        A group is one transaction without savepoints, also if some are refused, and
        its rows are written by one statement of each kind.
        """
        store = self.store
        added = [store.add(new(str(n))) for n in range(3)]
        refused = store.startAttempt(store.epoch, 77, 1)
        started = [store.startAttempt(store.epoch, 1, 1), store.startAttempt(store.epoch, 2, 1)]
        store.commit()
        self.assertEqual([valueOf(deferred)[0].id for deferred in added], [1, 2, 3])
        self.failureResultOf(refused, errors.NoSuchJob)
        self.assertEqual([valueOf(deferred).state.value for deferred in started], ["running"] * 2)
        kinds = [sql.split(" ")[0] for sql in store.said]
        self.assertEqual(self.begun(), ["BEGIN IMMEDIATE", "COMMIT"])
        self.assertEqual(kinds.count("INSERT"), 3)
        self.assertEqual(kinds.count("UPDATE"), 1)

    def test_runningIsKnown(self) -> None:
        """
        The end of an attempt is written without a look for its job.
        """
        store = self.store
        store.add(new(), new())
        store.startAttempt(store.epoch, 1, 1)
        store.startAttempt(store.epoch, 2, 1)
        store.commit()
        store.said.clear()
        ended = store.finishAttempt(store.epoch, 1, 1, DONE)
        store.commit()
        self.assertEqual(valueOf(ended).state, JobState.SUCCEEDED)
        selects = [sql for sql in store.said if sql.startswith("SELECT")]
        self.assertEqual(len(selects), 1)
        self.assertIn("FROM journal", selects[0])

    def test_seenInGroup(self) -> None:
        """
        A write finds what those before it in its group have done, though it is not
        written yet.
        """
        store = self.store
        asked: list[Deferred[Any]] = [
            store.add(new(key="a")),
            store.changePriority(store.epoch, 1, 7),
            store.add(new(key="a")),
            store.startAttempt(store.epoch, 1, 1),
            store.recordHandle(store.epoch, 1, 1, "pgid 1"),
            store.requeueAttempt(store.epoch, 1, 1, 7, 1, True, "later"),
            store.startAttempt(store.epoch, 1, 1),
            store.finishAttempt(store.epoch, 1, 1, DONE),
            store.removeFinished(store.epoch, NOON.replace(year=2027), 9),
            store.add(new(key="a")),
        ]
        store.commit()
        (added,), moved, (known,), *_, removed, (again,) = map(valueOf, asked)
        self.assertEqual((added.id, added.priority, moved.priority), (1, 0, 7))
        self.assertEqual(known, moved)
        self.assertEqual((removed, again.id), ([1], 2))
        self.assertEqual(self.begun(), ["BEGIN IMMEDIATE", "COMMIT"])
        self.assertEqual(store.content()[0], [(again, [])])

    def test_handleInGroup(self) -> None:
        """
        A handle stays with its attempt, also if the job is put back in the same group.
        """
        store = self.store
        store.add()
        store.startAttempt(store.epoch, 1, 1)
        store.recordHandle(store.epoch, 1, 1, "pgid 1")
        store.requeueAttempt(store.epoch, 1, 1, 0, 1, False, None)
        store.startAttempt(store.epoch, 1, 2)
        store.commit()
        ((_, attempts),) = store.content()[0]
        self.assertEqual([attempt.handle for attempt in attempts], ["pgid 1", None])
        self.assertEqual(self.begun(), ["BEGIN IMMEDIATE", "COMMIT"])

    def test_anotherOwnerBetween(self) -> None:
        """
        What was known of a job that runs is forgotten when another owner has written
        meanwhile.
        """
        store = self.store
        store.add()
        store.startAttempt(store.epoch, 1, 1)
        store.commit()
        other = Grouping(store.path)
        self.addCleanup(other.close)
        other.finishAttempt(other.epoch, 1, 1, Outcome(JobState.FAILED))
        other.commit()
        again = store.acquire("host:1")
        store.commit()
        late = store.finishAttempt(valueOf(again), 1, 1, DONE)
        store.commit()
        self.failureResultOf(late, errors.StaleAttempt)
        ((job, _),) = store.content()[0]
        self.assertEqual(job.state, JobState.FAILED)

    def test_badRow(self) -> None:
        """
        A row that SQLite does not take fails who asked for it: the others of its group
        are written once more, each in a transaction of its own.
        """
        store = self.store
        self.begun()
        first = store.add(new("first"))
        bad = store.add(new("fine"), new(BAD))
        tooLarge = store.changePriority(store.epoch, 1, 2**63)
        last = store.startAttempt(store.epoch, 1, 1)
        store.commit()
        self.assertEqual(valueOf(first)[0].id, 1)
        for deferred in (bad, tooLarge):
            self.failureResultOf(deferred, errors.InvalidArgument)
        running = valueOf(last)
        self.assertEqual((running.priority, running.revision), (0, 2))
        ((job, attempts),) = store.content()[0]
        self.assertEqual((job.name, job.state, len(attempts)), ("first", JobState.RUNNING, 1))
        self.assertEqual(
            self.begun(),
            [
                *("BEGIN IMMEDIATE", "ROLLBACK"),
                *("BEGIN IMMEDIATE", "COMMIT"),
                *("BEGIN IMMEDIATE", "ROLLBACK"),
                # the one that is refused before anything is written
                *("BEGIN IMMEDIATE", "COMMIT"),
                *("BEGIN IMMEDIATE", "COMMIT"),
            ],
        )

    def test_badRowAlone(self) -> None:
        """
        A group of one that fails is not tried again.
        """
        store = self.store
        self.begun()
        bad = store.add(new(BAD))
        store.commit()
        self.failureResultOf(bad, errors.InvalidArgument)
        self.assertEqual(self.begun(), ["BEGIN IMMEDIATE", "ROLLBACK"])
        fine = store.add()
        store.commit()
        self.assertEqual(valueOf(fine)[0].id, 1)

    def test_lostTransaction(self) -> None:
        """
        When SQLite gives up the whole transaction in one request, that one fails, and
        the others of its group are written all the same.
        """

        def lose(ledger: Ledger) -> None:
            self.store.connection.execute("ROLLBACK")
            raise sqlite3.OperationalError("database or disk is full")

        store = self.store
        asked: list[Deferred[Any]] = [store.add(), store.ask(lose), store.add()]
        store.commit()
        before, lost, after = asked
        self.failureResultOf(lost, errors.StoreFull)
        self.assertEqual([valueOf(one)[0].id for one in (before, after)], [1, 2])
        self.assertEqual([job.id for job, _ in store.content()[0]], [1, 2])

    def test_anyException(self) -> None:
        """
        Whatever ends a group, nothing of it stays, and the next is served.
        """

        def leave(ledger: Ledger) -> None:
            raise SystemExit(3)

        store = self.store
        asked: list[Deferred[Any]] = [store.add(), store.ask(leave)]
        store.commit()
        for deferred in asked:
            self.failureResultOf(deferred, errors.StoreError)
        self.assertEqual(store.content(), ([], {}, -1))
        fine = store.add()
        store.commit()
        self.assertEqual(valueOf(fine)[0].id, 1)

    def test_failedRead(self) -> None:
        """
        A read that fails does not fail the others of its group.
        """

        def fail(connection: sqlite3.Connection) -> None:
            connection.execute("SELECT nothing FROM nowhere")

        requests: list[Request[sqlite3.Connection]] = [
            Request(_reads.getSettings, "store"),
            Request(fail, "store"),
            Request(_reads.getLastPosition, "store"),
        ]
        self.store.reader.serve(requests)
        for request in requests:
            request.answer()
        self.assertEqual(valueOf(requests[0].deferred), {})
        self.failureResultOf(requests[1].deferred, errors.StoreError)
        self.assertEqual(valueOf(requests[2].deferred), -1)

    def test_closedUnused(self) -> None:
        """
        A session that was never asked for anything has nothing to close.
        """
        WriteSession(temporary(self)).close()


_ids = st.integers(1, 4)
_small = st.integers(0, 2)
_outcomes = st.sampled_from(
    [
        Outcome(JobState.SUCCEEDED, result=[1]),
        Outcome(JobState.FAILED, error=JobFailure("x", "y")),
        Outcome(JobState.CANCELLED),
        Outcome(JobState.SUCCEEDED, result=object),
        Outcome(JobState.QUEUED),
    ]
)
_later = st.just(NOON.replace(year=2027))
_keys = st.sampled_from([None, "a", "b"])
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


def _writes(texts: list[str], largest: int) -> st.SearchStrategy[list[tuple[str, tuple[Any, ...]]]]:
    """
    Some writes, as (method, arguments).
    """
    text = st.sampled_from(texts)
    priority = st.sampled_from([0, -1, largest])
    labels = st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["", *texts]))
    job = st.builds(new, text, key=_keys, priority=priority, labels=labels)
    jobs = st.lists(job, max_size=2)
    return st.lists(
        st.one_of(
            st.tuples(st.just("addJobs"), st.tuples(jobs, _small, st.sampled_from([None, 1]))),
            st.tuples(st.just("startAttempt"), st.tuples(_ids, _small)),
            st.tuples(st.just("recordHandle"), st.tuples(_ids, _small, text)),
            st.tuples(st.just("finishAttempt"), st.tuples(_ids, _small, _outcomes)),
            st.tuples(
                st.just("requeueAttempt"),
                st.tuples(_ids, _small, priority, _small, st.booleans(), text),
            ),
            st.tuples(st.just("changePriority"), st.tuples(_ids, priority)),
            st.tuples(st.just("cancelQueued"), st.tuples(_ids)),
            st.tuples(st.just("requestCancel"), st.tuples(_ids)),
            st.tuples(st.just("retryJob"), st.tuples(_ids, _small)),
            st.tuples(st.just("removeJob"), st.tuples(_ids)),
            st.tuples(
                st.just("removeFinished"), st.tuples(st.just(NOON.replace(year=2027)), _small)
            ),
            st.tuples(st.just("setSettings"), st.tuples(st.dictionaries(text, _small, max_size=2))),
        ),
        max_size=14,
    )


class EqualityTests(SynchronousTestCase):
    """
    The outcomes of a group are those that its writes have one by one.
    """

    def stores(self) -> tuple[Grouping, Grouping]:
        """
        Two stores with some jobs in them, in each state.
        """
        pair = Grouping(temporary(self)), Grouping(temporary(self))
        for store in pair:
            self.begin(store)
            store.commit()
        return pair

    def begin(self, store: Writer) -> None:
        store.addJobs(1, [new("1"), new("2"), new("3", key="a")], 0)
        store.startAttempt(1, 1, 1)
        store.startAttempt(1, 2, 1)
        store.finishAttempt(1, 2, 1, Outcome(JobState.FAILED))

    def test_groupOrOneByOne(self) -> None:
        """
        A group has the same outcomes, and leaves the same, as its writes one by one,
        with rows among them that SQLite does not take.
        """

        @settings(max_examples=50)
        @given(_writes(["x", "y", BAD], 2**63))
        def check(writes: list[tuple[str, tuple[Any, ...]]]) -> None:
            together, oneByOne = self.stores()
            try:
                asked = [getattr(together, name)(1, *args) for name, args in writes]
                together.commit()
                outcomes = []
                for name, args in writes:
                    outcome = getattr(oneByOne, name)(1, *args)
                    oneByOne.commit()
                    outcomes.append(outcomeOf(outcome))
                self.assertEqual([outcomeOf(deferred) for deferred in asked], outcomes)
                self.assertEqual(together.content(), oneByOne.content())
            finally:
                together.close()
                oneByOne.close()

        check()

    def test_fileOrMemory(self) -> None:
        """
        A store in memory has the same outcomes as one in a file, and the same lists.
        """

        @settings(max_examples=50)
        @given(_writes(["x", "1"], 7), st.lists(lists, max_size=4))
        def check(
            writes: list[tuple[str, tuple[Any, ...]]],
            asked: list[tuple[JobFilter, bool, int, int | None]],
        ) -> None:
            inFile, other = self.stores()
            other.close()
            inMemory = MemoryJobStore(Time())
            valueOf(inMemory.acquire("host:1"))
            self.begin(inMemory)
            try:
                told = [getattr(inFile, name)(1, *args) for name, args in writes]
                inFile.commit()
                outcomes = [outcomeOf(getattr(inMemory, name)(1, *args)) for name, args in writes]
                self.assertEqual([outcomeOf(deferred) for deferred in told], outcomes)
                for question in asked:
                    listed = valueOf(inMemory.listJobs(*question))
                    self.assertEqual(inFile.listed(*question), listed)
                jobs = valueOf(inMemory.listJobs(JobFilter(), False, 100, None))
                content = (
                    [(job, valueOf(inMemory.attempts(job.id))) for job in jobs],
                    valueOf(inMemory.settings()),
                    valueOf(inMemory.lastPosition()),
                )
                self.assertEqual(inFile.content(), content)
            finally:
                inFile.close()

        check()


def bulky(name: str, size: int) -> NewJob:
    """
    A job that takes some room.
    """
    return NewJob("some.Worker", ("x" * size,), name)


class FullFileTests(SynchronousTestCase):
    """
    Tests for a file that may not grow: SQLite tells it as it tells a full disk.
    """

    def setUp(self) -> None:
        self.store = Grouping(temporary(self))
        self.addCleanup(self.store.close)
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
                self.assertIn("store failed: OperationalError", failure.getErrorMessage())
            self.assertEqual(store.content(), before)
        self.leave(1000)
        fine = store.add(bulky("big", 100_000))
        ended = store.finishAttempt(1, 1, 1, DONE)
        store.commit()
        self.assertEqual([(job.id, job.revision) for job in valueOf(fine)], [(2, 3)])
        self.assertEqual(valueOf(ended).state, JobState.SUCCEEDED)
        self.assertEqual(self.names(), ["before", "big"])

    def test_fullInAGroup(self) -> None:
        """
        A write without room, for which SQLite gives up the transaction, fails alone, and
        leaves no part of itself; those of its group that have room are written.
        """
        store = self.store
        self.leave(2)
        ended = store.finishAttempt(1, 1, 1, DONE)
        big = store.addJobs(1, [bulky("small part", 10), bulky("big", 100_000)], 1)
        small = store.add(new("small"))
        store.commit()
        self.assertEqual(valueOf(ended).state, JobState.SUCCEEDED)
        self.failureResultOf(big, errors.StoreFull)
        self.assertEqual(valueOf(small)[0].id, 2)
        self.assertEqual(self.names(), ["before", "small"])

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

    def open(self) -> SQLiteJobStore:
        store = SQLiteJobStore(self.turns, os.path.join(self.directory, "jobs.sqlite"), Time())
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
        jobs = self.turns.wait(self.store.listJobs(JobFilter(), False, 10_000, None))
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
        self.assertEqual(wait(store.summary())["freeBytes"], 0)
        os.unlink(self.filler)
        self.assertEqual(wait(store.finishAttempt(self.epoch, job.id, 1, DONE)).attempt, 1)
        (last,) = wait(store.addJobs(self.epoch, [new("last")], 9))
        self.assertEqual(last.id, len(acknowledged) + 1)
        wait(store.close())
        self.store = self.open()
        wait(self.store.acquire("host:2"))
        self.assertEqual(self.names(), [*acknowledged, "last"])

    def test_groupThatOutgrowsTheDisk(self) -> None:
        """
        A list that fills the disk while it is written leaves no part of itself, and the
        writes of its group that have room are written.
        """
        store, wait = self.store, self.turns.wait
        wait(store.addJobs(self.epoch, [new("first")], 0))
        big = store.addJobs(self.epoch, [bulky("big", 10_000)] * 400, 1)
        small = store.addJobs(self.epoch, [new("small")], 1)
        self.assertRaises(errors.StoreFull, wait, big)
        with contextlib.suppress(errors.StoreFull):
            wait(small)
        self.assertIn(self.names(), (["first"], ["first", "small"]))
        (last,) = wait(store.addJobs(self.epoch, [new("last")], 1))
        self.assertEqual(self.names()[-1], "last")
        self.assertEqual(last.id, len(self.names()))
