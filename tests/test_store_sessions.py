"""
Tests for how a store's threads speak to its file: groups of writes, and rows that SQLite
does not take.
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
from ganeti_pool.store._writes import Ledger, Writer
from ganeti_pool.store.sqlite import _reads
from ganeti_pool.store.sqlite._files import StoreFiles
from ganeti_pool.store.sqlite._lane import Request
from ganeti_pool.store.sqlite._sessions import WriteSession
from ganeti_pool.testing._store import MemoryJobStore

from .groupcase import BAD, GroupCase, Grouping, lists, outcomeOf, valueOf
from .storecase import DONE, NOON, Time, new, temporary


class GroupTests(GroupCase):
    """
    Tests for groups of writes.
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
