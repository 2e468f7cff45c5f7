"""
Tests for how a store in a file finds the jobs of a list.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, combinations, product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import errors
from ganeti_pool.jobs import FINISHED, MAX_LABELS, JobFilter, JobState, NewJob, Outcome
from ganeti_pool.store.sqlite import _reads
from ganeti_pool.testing._store import MemoryJobStore

from .groupcase import BAD, GroupCase, Grouping, lists, valueOf
from .storecase import NOON, Requests, Time, new, temporary

LATER = NOON.replace(year=2027)

QUEUED, FAILED = JobState.QUEUED, JobState.FAILED


def labelled(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


def bring(store: Grouping | Requests, jobID: int, state: JobState) -> None:
    """
    Let a queued job get into a state.
    """
    if state is not QUEUED:
        store.startAttempt(1, jobID, 1)
    if state in FINISHED:
        store.finishAttempt(1, jobID, 1, Outcome(state))


class LabelTests(GroupCase):
    """
    Tests for the labels in a file.
    """

    def labels(self) -> list[tuple[str, str, int]]:
        """
        All that the file has for finding jobs.
        """
        found = self.store.connection.execute("SELECT name, value, job_id FROM labels")
        return sorted(found)

    def ids(self, *asked: Any) -> list[int]:
        return [job.id for job in self.store.listed(*asked)]

    def test_removed(self) -> None:
        """
        The labels of a job go with it, however it is removed, and no others.
        """
        store = self.store
        store.add(*(new(labels={"all": "1", "own": str(n)}) for n in range(1, 5)), new())
        for jobID in (1, 2, 3, 5):
            bring(store, jobID, FAILED)
        store.removeJob(1, 2)
        store.commit()
        left = [("all", "1", 1), ("all", "1", 3), ("all", "1", 4)]
        self.assertEqual(self.labels(), [*left, ("own", "1", 1), ("own", "3", 3), ("own", "4", 4)])
        store.removeFinished(1, LATER, 9)
        store.commit()
        self.assertEqual(self.labels(), [("all", "1", 4), ("own", "4", 4)])
        self.assertEqual(self.ids(JobFilter(labels=labelled(all="1")), False, 9, None), [4])

    def test_noLabels(self) -> None:
        """
        For jobs without labels nothing more is written, and nothing more removed.
        """
        store = self.store
        store.add(new(), new(labels={}))
        bring(store, 1, FAILED)
        store.removeJob(1, 1)
        store.commit()
        said = [sql for sql in store.said if sql.startswith(("INSERT", "DELETE"))]
        # Of the settings, the counts of removed jobs.
        written = ["jobs", "jobs", "settings", "settings", "attempts", "jobs"]
        self.assertEqual([sql.split()[2] for sql in said], written)

    def test_anyText(self) -> None:
        """
        A job is found, and its labels are removed, whatever is in their names and values.
        """
        store = self.store
        odd = ["", "a\0b", "a", "'\"\\$.[0]", "é", "\U0001f600", "1", "01", "NULL", " "]
        store.add(*(new(labels={text: text[::-1]}) for text in odd))
        store.commit()
        for jobID, text in enumerate(odd, 1):
            which = JobFilter(labels=frozenset({(text, text[::-1])}))
            self.assertEqual(self.ids(which, False, 9, None), [jobID])
        for jobID in range(1, len(odd) + 1):
            bring(store, jobID, FAILED)
        store.removeFinished(1, LATER, 99)
        store.commit()
        self.assertEqual(self.labels(), [])

    def test_noUnicode(self) -> None:
        """
        A label that is no Unicode is refused with its job, alone, and none can be asked for.
        """
        store = self.store
        bad = store.add(new(labels={"a": BAD}))
        store.commit()
        self.failureResultOf(bad, errors.InvalidArgument)
        fine = store.add(new(labels={"a": "1"}))
        store.commit()
        self.assertEqual(valueOf(fine)[0].id, 1)
        self.assertEqual(self.labels(), [("a", "1", 1)])

    def test_twoValues(self) -> None:
        """
        No job has two values of one label, and nothing is read to say so.
        """
        self.store.add(new(labels={"a": "1"}))
        self.store.commit()
        self.store.said.clear()
        which = JobFilter(labels=frozenset({("a", "1"), ("a", "2")}))
        found = _reads.getListedJobs(self.store.connection, which, False, 9, None)
        self.assertEqual((found, self.store.said), ([], []))

    def test_manyLabels(self) -> None:
        """
        As many labels as a client gives a job can be asked for at once, whatever else is.
        """
        labels = {f"label {n}": "1" for n in range(MAX_LABELS)}
        self.store.add(new(labels={**labels, "more": "1"}), new(labels={**labels, "label 20": "2"}))
        self.store.commit()
        for count, name in product(range(len(JobState) + 1), (None, "job")):
            which = JobFilter(frozenset([*JobState][:count]), name, labelled(**labels))
            self.assertEqual(self.ids(which, False, 9, None), [1])

    def test_allPages(self) -> None:
        """
        Pages one behind the other have each job once, in either direction.
        """
        store = self.store
        store.add(*(new(labels={"a": str(n % 2), "b": str(n % 3)}) for n in range(1, 61)))
        for jobID in range(1, 61, 4):
            bring(store, jobID, FAILED)
        store.commit()
        which = JobFilter(frozenset({QUEUED, FAILED}), "job", labelled(a="1", b="1"))
        for newestFirst in (False, True):
            pages: list[int] = []
            while page := self.ids(which, newestFirst, 3, pages[-1] if pages else None):
                pages.extend(page)
            expected = [n for n in range(1, 61) if n % 2 == 1 and n % 3 == 1]
            self.assertEqual(pages, sorted(expected, reverse=newestFirst))

    def test_endOfIDs(self) -> None:
        """
        A list behind the smallest or largest number, in the direction that leads away from all,
        is empty, and in the other it has all.
        """
        self.store.add(new(labels={"a": "1"}))
        self.store.commit()
        for states in ((), (QUEUED,)):
            which = JobFilter(frozenset(states), labels=labelled(a="1"))
            for newestFirst, after, expected in (
                *((False, 2**63 - 1, []), (False, -(2**63), [1])),
                *((True, -(2**63), []), (True, 2**63 - 1, [1])),
            ):
                self.assertEqual(self.ids(which, newestFirst, 9, after), expected)


class EqualityTests(SynchronousTestCase):
    """
    Lists of a store in a file and of one in memory.
    """

    def test_lists(self) -> None:
        """
        They are the same, whatever is asked for: states, names, labels, a place to start
        behind and a direction, with some of the jobs removed.
        """
        texts = st.sampled_from(["a", "b"])
        labels = st.dictionaries(texts, st.sampled_from(["", "1"]))
        job = st.builds(new, st.sampled_from(["x", "1"]), labels=labels)
        fates = st.tuples(job, st.sampled_from(JobState), st.booleans())

        @settings(max_examples=60)
        @given(st.lists(fates, max_size=12), st.lists(lists, min_size=1, max_size=20))
        def check(
            jobs: list[tuple[NewJob, JobState, bool]],
            asked: list[tuple[JobFilter, bool, int, int | None]],
        ) -> None:
            inFile, inMemory = Grouping(temporary(self)), Requests(MemoryJobStore(Time()))
            valueOf(inMemory.acquire("host:1"))
            try:
                stores: tuple[Grouping | Requests, ...] = (inFile, inMemory)
                for store in stores:
                    store.addJobs(1, [job for job, _, _ in jobs], 0)
                    for jobID, (_, state, isRemoved) in enumerate(jobs, 1):
                        bring(store, jobID, state)
                        if isRemoved and state in FINISHED:
                            store.removeJob(1, jobID)
                inFile.commit()
                for question in asked:
                    listed = valueOf(inMemory.listJobs(*question)).value
                    self.assertEqual(inFile.listed(*question), listed)
                inFile.content()
            finally:
                inFile.close()

        check()


class CostTests(GroupCase):
    """
    Tests for what is read to make a list.
    """

    JOBS = 3000

    def setUp(self) -> None:
        super().setUp()
        store = self.store
        half = self.JOBS // 2
        store.add(
            *(
                new(
                    "rare" if n in (7, half, self.JOBS) else "common",
                    labels={
                        "all": "1",
                        "half": "old" if n <= half else "new",
                        **({"few": "1"} if n in (5, half, half + 1) else {}),
                        **({"most": "1"} if n % 20 else {}),
                    },
                )
                for n in range(1, self.JOBS + 1)
            )
        )
        for jobID in (3, half, half + 2):
            bring(store, jobID, FAILED)
        for jobID in range(20, self.JOBS, 20):
            if jobID != half:
                bring(store, jobID, JobState.SUCCEEDED)
        store.commit()
        self.connection = sqlite3.connect(store.path)
        self.addCleanup(self.connection.close)

    @contextmanager
    def bounded(self, connection: sqlite3.Connection) -> Iterator[None]:
        """
        See that SQLite does less meanwhile than it takes to look at each job.
        """
        steps = 0

        def step() -> None:
            nonlocal steps
            steps += 1

        connection.set_progress_handler(step, 1)
        yield
        connection.set_progress_handler(None, 1)
        self.assertLess(steps, self.JOBS)

    def questions(self, filters: Iterable[JobFilter]) -> Iterable[tuple[JobFilter, bool, Any]]:
        return product(filters, (False, True), (None, 10, self.JOBS - 10))

    def test_plans(self) -> None:
        """
        Whatever a list is of, it is read off an index at the place where it is to start, in the
        order of ids, and nothing is sorted.
        """
        states = [frozenset(some) for n in range(3) for some in combinations(JobState, n)]
        labels = [labelled(**dict.fromkeys("abc"[:n], "1")) for n in range(4)]
        said: list[str] = []
        self.connection.set_trace_callback(said.append)
        for which, newestFirst, after in self.questions(
            JobFilter(*each) for each in product(states, (None, "rare"), labels)
        ):
            _reads.getListedJobs(self.connection, which, newestFirst, 9, after)
        self.connection.set_trace_callback(None)
        place = ("<?)", ">?)")
        starts = {
            "SEARCH jobs USING INTEGER PRIMARY KEY (rowid": place,
            "SEARCH jobs USING COVERING INDEX jobs_by_state (state=? AND rowid": place,
            "SEARCH jobs USING COVERING INDEX jobs_by_name (name=? AND state=? AND rowid": place,
            "SEARCH labels USING PRIMARY KEY (name=? AND value=? AND job_id": place,
        }
        fine = {start + end for start, ends in starts.items() for end in ends}
        # the jobs that were found
        fine.add("SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)")
        self.assertEqual(len(said), len(states) * 2 * len(labels) * 2 * 3)
        for sql in {*said}:
            plan = self.connection.execute(f"EXPLAIN QUERY PLAN {sql}")
            for *_, step in plan:
                if step.startswith("SEARCH"):
                    self.assertIn(step, fine)
                elif step.startswith("SCAN"):
                    # of what was chosen so far
                    self.assertNotIn(step.split()[1], ("jobs", "labels"))
                self.assertNotIn("TEMP B-TREE", step)

    def test_bounded(self) -> None:
        """
        A list takes no more work than the rarest of what is looked for, be it a label, a name
        or a state, wherever that stands, and though every job has the others.
        """
        filters = [
            *(JobFilter(), JobFilter(frozenset({QUEUED, FAILED})), JobFilter(name="common")),
            JobFilter(labels=labelled(all="1")),
            JobFilter(labels=labelled(none="1")),
            JobFilter(labels=labelled(few="1")),
            JobFilter(labels=labelled(all="1", none="1")),
            JobFilter(labels=labelled(all="1", few="1")),
            JobFilter(labels=labelled(all="1", few="1", half="new")),
            JobFilter(frozenset({QUEUED}), "common", labelled(all="1", few="1")),
            JobFilter(frozenset({QUEUED}), None, labelled(none="1")),
            *(
                JobFilter(frozenset(some), name, labels)
                for some in chain(*(combinations(JobState, n) for n in range(1, 6)))
                for name in (None, "rare", "nobody")
                for labels in (labelled(few="1"), labelled(few="1", half="old"))
            ),
            JobFilter(frozenset({FAILED}), None, labelled(all="1")),
            JobFilter(frozenset({FAILED, JobState.RUNNING}), None, labelled(all="1")),
            JobFilter(frozenset({JobState.CANCELLED}), "common", labelled(all="1", half="old")),
            JobFilter(frozenset({QUEUED, JobState.SUCCEEDED}), None, labelled(most="1")),
            JobFilter(name="common", labels=labelled(most="1")),
            JobFilter(name="nobody", labels=labelled(all="1")),
            JobFilter(name="rare", labels=labelled(all="1")),
        ]
        for which, newestFirst, after in self.questions(filters):
            with self.bounded(self.connection):
                found = _reads.getListedJobs(self.connection, which, newestFirst, 3, after)
            self.assertLessEqual(len(found), 3)

    def test_removal(self) -> None:
        """
        The labels of a job are removed without a look at those of others.
        """
        self.store.removeJob(1, self.JOBS // 2)
        with self.bounded(self.store.connection):
            self.store.commit()
        self.assertEqual(len(self.store.content()[0]), self.JOBS - 1)
