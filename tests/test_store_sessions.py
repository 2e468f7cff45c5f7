"""
Tests for the connections of a store to its file: transactions, and rows that SQLite does not
take.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import errors
from ganeti_pool.jobs import JobFailure, JobFilter, JobState, Outcome
from ganeti_pool.store._base import Ledger
from ganeti_pool.store.sqlite import _reads
from ganeti_pool.store.sqlite._files import StoreFiles
from ganeti_pool.store.sqlite._lane import Request
from ganeti_pool.store.sqlite._sessions import WriteSession
from ganeti_pool.testing._store import MemoryJobStore

from .groupcase import BAD, GroupCase, Grouping, lists, outcomeOf, valueOf
from .storecase import DONE, NOON, Requests, Time, new, temporary


class GroupTests(GroupCase):
    """
    Tests for transactions.
    """

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
        A transaction has no savepoints, even if some of its changes are rejected, and its rows
        are written by one statement of each kind.
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
        The end of an attempt is written without reading its job.
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

    def test_preload(self) -> None:
        """
        Many jobs are read by one statement, except those that are known or do not exist. A few
        are read one by one when they are needed.
        """
        store = self.store
        store.add(*(new(str(n)) for n in range(1, 12)))
        store.startAttempt(store.epoch, 1, 1)
        store.commit()
        store.said.clear()
        store.preload(store.epoch, [*range(1, 10), 77])
        started = [store.startAttempt(store.epoch, jobID, 1) for jobID in range(2, 10)]
        store.preload(store.epoch, [10, 1])
        started.append(store.startAttempt(store.epoch, 10, 1))
        store.commit()
        self.assertEqual([valueOf(job).name for job in started], [str(n) for n in range(2, 11)])
        reads = [sql for sql in store.said if sql.startswith("SELECT") and "FROM jobs" in sql]
        self.assertEqual(["json_each" in sql for sql in reads], [True, False])

    def test_seenInGroup(self) -> None:
        """
        A change finds the changes before it in its transaction, although these are not written
        yet.
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
        A handle stays with its attempt, even if the job is requeued in the same transaction.
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
        What is remembered of a running job is forgotten when another owner has written.
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
        late = store.finishAttempt(valueOf(again), 1, 1, DONE)
        store.commit()
        self.failureResultOf(late, errors.StaleAttempt)
        ((job, _),) = store.content()[0]
        self.assertEqual(job.state, JobState.FAILED)

    def test_badRow(self) -> None:
        """
        A row that SQLite does not take fails the transaction, of which nothing stays; the next
        one works.
        """
        store = self.store
        self.begun()
        asked = [store.add(), store.add(new(BAD))]
        store.commit()
        for refused in asked:
            self.failureResultOf(refused, errors.InvalidArgument)
        self.assertEqual(self.begun(), ["BEGIN IMMEDIATE", "ROLLBACK"])
        fine = store.add()
        store.commit()
        self.assertEqual(valueOf(fine)[0].id, 1)
        self.assertEqual([job.id for job, _ in store.content()[0]], [1])

    def test_lostTransaction(self) -> None:
        """
        If SQLite gives up the transaction by itself, nothing of it stays, and the next one
        works.
        """

        def lose(ledger: Ledger) -> None:
            self.store.connection.execute("ROLLBACK")
            raise sqlite3.OperationalError("database or disk is full")

        store = self.store
        store.add().addErrback(lambda _: None)
        lost = store.ask(lose)
        store.commit()
        self.failureResultOf(lost, errors.StoreFull)
        self.assertEqual(store.content(), ([], {}, -1))
        fine = store.add()
        store.commit()
        self.assertEqual(valueOf(fine)[0].id, 1)

    def test_anyException(self) -> None:
        """
        An exception of any kind ends the transaction, and the next one works.
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

    def test_afterClose(self) -> None:
        """
        After its end, a session takes no transaction.
        """
        self.store.close()
        late = self.store.add()
        self.store.commit()
        self.failureResultOf(late, errors.StoreClosed)

    def test_failedRead(self) -> None:
        """
        A read that fails does not fail the others of its group.
        """

        def fail(connection: sqlite3.Connection) -> None:
            connection.execute("SELECT nothing FROM nowhere")

        requests: list[Request[sqlite3.Connection]] = [
            Request(_reads.getSettings, "store"),
            Request(fail, "store"),
            Request(_reads.getRevision, "store"),
        ]
        self.store.reader.serve(requests)
        for request in requests:
            request.answer()
        self.assertEqual(valueOf(requests[0].deferred), {})
        self.failureResultOf(requests[1].deferred, errors.StoreError)
        self.assertEqual(valueOf(requests[2].deferred), 0)

    def test_closedUnused(self) -> None:
        """
        A session that was never used has nothing to close.
        """
        WriteSession(StoreFiles(temporary(self)), lambda size: None, lambda *_: None).close()


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
    Comparisons of two stores to which the same happens.
    """

    def stores(self) -> tuple[Grouping, Grouping]:
        """
        Return two stores with some jobs, in each state.
        """
        pair = Grouping(temporary(self)), Grouping(temporary(self))
        for store in pair:
            self.begin(store)
            store.commit()
        return pair

    def begin(self, store: Grouping | Requests) -> None:
        store.addJobs(1, [new("1"), new("2"), new("3", key="a")], 0)
        store.startAttempt(1, 1, 1)
        store.startAttempt(1, 2, 1)
        store.finishAttempt(1, 2, 1, Outcome(JobState.FAILED))

    def test_groupOrOneByOne(self) -> None:
        """
        Writes in one transaction have the same results, and leave the same, as one by one.
        """

        @settings(max_examples=50)
        @given(_writes(["x", "y"], 7))
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
        A store in memory has the same results as one in a file, and the same lists.
        """

        @settings(max_examples=50)
        @given(_writes(["x", "1"], 7), st.lists(lists, max_size=4))
        def check(
            writes: list[tuple[str, tuple[Any, ...]]],
            asked: list[tuple[JobFilter, bool, int, int | None]],
        ) -> None:
            inFile, other = self.stores()
            other.close()
            inMemory = Requests(MemoryJobStore(Time()))
            valueOf(inMemory.acquire("host:1"))
            self.begin(inMemory)
            try:
                told = [getattr(inFile, name)(1, *args) for name, args in writes]
                inFile.commit()
                outcomes = [outcomeOf(getattr(inMemory, name)(1, *args)) for name, args in writes]
                self.assertEqual([outcomeOf(deferred) for deferred in told], outcomes)
                for question in asked:
                    listed = valueOf(inMemory.listJobs(*question)).value
                    self.assertEqual(inFile.listed(*question), listed)
                jobs = valueOf(inMemory.listJobs(JobFilter(), False, 100, None)).value
                content = (
                    [(job, valueOf(inMemory.attempts(job.id)).value) for job in jobs],
                    valueOf(inMemory.settings()),
                    valueOf(inMemory.lastPosition()),
                )
                self.assertEqual(inFile.content(), content)
            finally:
                inFile.close()

        check()
