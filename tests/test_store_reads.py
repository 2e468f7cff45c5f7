"""
Tests for what can be asked of a job store.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import errors
from ganeti_pool.jobs import JobFilter, JobState, QueuedJob

from .storecase import NOON, InFile, InMemory, StoreCase, new


class ReadsContract(StoreCase):
    """
    What every store tells.
    """

    def test_listJobs(self) -> None:
        """
        A list has the jobs of some states and a name, from behind an id, in
        either direction, up to its limit.
        """
        self.add(*(new("odd" if n % 2 else "even") for n in range(1, 9)))
        for jobID in (2, 3, 4, 7):
            self.start(jobID)
        for jobID in (3, 4):
            self.finish(jobID)
        queued, running, succeeded = JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED
        for states, name, newestFirst, limit, after, expected in [
            ((), None, False, 9, None, [1, 2, 3, 4, 5, 6, 7, 8]),
            ((), None, True, 3, None, [8, 7, 6]),
            ((), None, True, 3, 6, [5, 4, 3]),
            ((), None, False, 2, 6, [7, 8]),
            ((queued,), None, False, 9, None, [1, 5, 6, 8]),
            ((queued, running), None, False, 3, 1, [2, 5, 6]),
            ((queued, running), None, True, 3, 8, [7, 6, 5]),
            ((), "odd", False, 9, None, [1, 3, 5, 7]),
            ((), "odd", True, 2, 7, [5, 3]),
            ((succeeded, queued), "odd", False, 9, 1, [3, 5]),
            ((JobState.FAILED,), None, False, 9, None, []),
            ((), "none", False, 9, None, []),
        ]:
            listed = self.wait(
                self.store.listJobs(JobFilter(frozenset(states), name), newestFirst, limit, after)
            )
            self.assertEqual([job.id for job in listed], expected)
            self.assertEqual(listed, [self.wait(self.store.job(n)) for n in expected])

    def test_listByLabels(self) -> None:
        """
        A list has the jobs that have all of the labels, whatever is in their names.
        """
        odd = "a.\"b'$[0]"
        self.add(
            new("1", labels={"team": "x", odd: ""}),
            new("2", labels={"team": "x", odd: "é"}),
            new("3", labels={"team": "y"}),
            new("4"),
        )
        self.start(2)
        for labels, states, expected in [
            ({("team", "x")}, (), [1, 2]),
            ({("team", "x"), (odd, "é")}, (), [2]),
            ({(odd, "")}, (), [1]),
            ({("team", "x"), ("team", "y")}, (), []),
            ({("x", "team")}, (), []),
            ({("team", "x")}, (JobState.QUEUED, JobState.FAILED), [1]),
        ]:
            which = JobFilter(frozenset(states), None, frozenset(labels))
            listed = self.wait(self.store.listJobs(which, False, 9, None))
            self.assertEqual([job.id for job in listed], expected)

    def test_tooManyLabels(self) -> None:
        """
        Jobs can be listed by some labels at once, and not by any number.
        """
        self.add(new(labels={str(n): "" for n in range(33)}))
        for count in (32, 33):
            which = JobFilter(labels=frozenset((str(n), "") for n in range(count)))
            listed = self.store.listJobs(which, False, 9, None)
            if count == 32:
                self.assertEqual([job.id for job in self.wait(listed)], [1])
            else:
                self.assertIn("33 labels", self.refused(errors.InvalidArgument, listed))

    def test_known(self) -> None:
        """
        One can ask which of some jobs there are.
        """
        first, second, third = self.add(new(), new(), new())
        self.wait(self.store.cancelQueued(self.epoch, second.id))
        self.wait(self.store.removeJob(self.epoch, second.id))
        asked = [third.id, second.id, first.id, 99, 2**63 - 1, 0]
        self.assertEqual(self.wait(self.store.known(asked)), {first.id, third.id})
        self.assertEqual(self.wait(self.store.known([])), frozenset())

    def test_queuedJobs(self) -> None:
        """
        The queue is in the order of priority and position.
        """
        self.add(new(priority=5), new(priority=-1), new(priority=5))
        self.add(new(priority=-1), firstPosition=10)
        self.wait(self.store.requeueAttempt(self.epoch, self.start(2).id, 1, -1, 30, False, None))
        self.assertEqual(
            self.wait(self.store.queuedJobs(9)),
            [
                QueuedJob(4, -1, 10, 0),
                QueuedJob(2, -1, 30, 1),
                QueuedJob(1, 5, 0, 0),
                QueuedJob(3, 5, 2, 0),
            ],
        )

    def test_queuedJobsByPage(self) -> None:
        """
        Pages of the queue, each behind the last job of the one before, are the queue.
        """
        self.add(*(new(priority=priority) for priority in (1, -1, 1, 0, 1, -1, 0)))
        whole = self.wait(self.store.queuedJobs(9))
        self.assertEqual([job.id for job in whole], [2, 6, 4, 7, 1, 3, 5])
        for size in (1, 2, 3, 7):
            pages: list[QueuedJob] = []
            page = self.wait(self.store.queuedJobs(size))
            while page:
                self.assertLessEqual(len(page), size)
                pages.extend(page)
                last = page[-1]
                page = self.wait(self.store.queuedJobs(size, (last.priority, last.position)))
            self.assertEqual(pages, whole)

    def test_workers(self) -> None:
        """
        The worker classes of unfinished jobs are known, and no others.
        """
        self.assertEqual(self.wait(self.store.workers()), frozenset())
        waiting, running, ended = (replace(new(), worker=name) for name in ("a.A", "b.B", "c.C"))
        self.add(waiting, running, ended)
        self.start(2)
        self.end(3)
        self.assertEqual(self.wait(self.store.workers()), frozenset({("a.A", 1), ("b.B", 1)}))

    def test_runningJobs(self) -> None:
        """
        Running jobs come by id, each with the attempt that runs.
        """
        self.add(new(), new(), new())
        for jobID in (3, 1):
            self.start(jobID)
        self.wait(self.store.requeueAttempt(self.epoch, 1, 1, 0, 5, False, None))
        self.start(1, 2)
        running = self.wait(self.store.runningJobs())
        found = [(job.id, attempt.number, attempt.outcome) for job, attempt in running]
        self.assertEqual(found, [(1, 2, None), (3, 1, None)])

    def test_lastPosition(self) -> None:
        """
        The last position never goes back.
        """
        self.assertEqual(self.wait(self.store.lastPosition()), -1)
        self.add(new(), new(), firstPosition=10)
        self.add(firstPosition=2)
        self.assertEqual(self.wait(self.store.lastPosition()), 11)

    def test_revisions(self) -> None:
        """
        Every change of any job has the next revision, and what changed is found
        by it.
        """
        self.add(new(), new(), new())
        started = self.start(2)
        moved = self.wait(self.store.changePriority(self.epoch, 1, 4))
        ended = self.finish(2)
        revisions = [started.revision, moved.revision, ended.revision]
        self.assertEqual(revisions, [4, 5, 6])

        def changed(after: int, limit: int) -> list[tuple[int, int]]:
            found = self.wait(self.store.changedJobs(after, limit))
            return [(job.id, job.revision) for job in found]

        self.assertEqual(changed(0, 9), [(3, 3), (1, 5), (2, 6)])
        self.assertEqual(changed(0, 2), [(3, 3), (1, 5)])
        self.assertEqual(changed(5, 9), [(2, 6)])
        self.assertEqual(changed(6, 9), [])

    def test_revisionOfNoChange(self) -> None:
        """
        To record what is so already is no change.
        """
        (job,) = self.add()
        self.assertEqual(self.wait(self.store.changePriority(self.epoch, job.id, 0)), job)
        self.assertEqual(self.wait(self.store.changedJobs(job.revision, 9)), [])

    def test_emptySummary(self) -> None:
        """
        A store without jobs sums up to nothing.
        """
        summary = self.wait(self.store.summary())
        self.assertIsInstance(summary.pop("bytes"), int)
        self.assertIsInstance(summary.pop("freeBytes"), int)
        self.assertEqual(
            summary,
            {
                "states": {"queued": 0, "running": 0},
                "oldestQueuedAt": None,
                "longestRunningAt": None,
                "lastDay": {"succeeded": 0, "failed": 0, "cancelled": 0},
            },
        )

    def test_summary(self) -> None:
        """
        The summary counts what waits, runs, and ended in the last 24 hours, and
        says since when.
        """
        self.inState(JobState.FAILED)
        self.time.advance(1)
        for state in (JobState.SUCCEEDED, JobState.SUCCEEDED, JobState.CANCELLED):
            self.inState(state)
        waits = self.time.advance(1)
        self.add(new(), new())
        runs = self.time.advance(1)
        self.inState(JobState.RUNNING)
        self.time.advance(1)
        self.inState(JobState.RUNNING)
        self.add()
        self.time.now = NOON + timedelta(days=1, seconds=1)
        summary = self.wait(self.store.summary())
        self.assertEqual(summary["states"], {"queued": 3, "running": 2})
        self.assertEqual(summary["oldestQueuedAt"], waits)
        self.assertEqual(summary["longestRunningAt"], runs)
        self.assertEqual(summary["lastDay"], {"succeeded": 2, "failed": 0, "cancelled": 1})

    def lastDay(self) -> dict[str, int]:
        counts: dict[str, int] = self.wait(self.store.summary())["lastDay"]
        return counts

    def restarted(self) -> None:
        """
        Have the store opened once more.
        """
        self.wait(self.store.close())
        self.store = self.reopen()
        self.epoch = self.wait(self.store.acquire("host:2"))

    def test_lastDayOfRemoved(self) -> None:
        """
        A job that is removed goes on to count among the outcomes of the last day, however
        it is removed, after a restart too, and for a minute too long at most.
        """
        self.inState(JobState.FAILED)
        self.time.advance(7)
        ended = self.time.advance(3600)
        for state in (JobState.SUCCEEDED, JobState.SUCCEEDED, JobState.CANCELLED):
            self.inState(state)
            self.time.advance(0.001)
        counts = {"succeeded": 2, "failed": 1, "cancelled": 1}
        self.assertEqual(self.lastDay(), counts)
        self.wait(self.store.removeJob(self.epoch, 2))
        self.assertEqual(self.lastDay(), counts)
        self.time.now = NOON + timedelta(days=1, seconds=30)
        counts["failed"] = 0
        self.assertEqual(self.lastDay(), counts)
        removed = self.wait(self.store.removeFinished(self.epoch, self.time.now, 99))
        self.assertEqual(removed, [1, 3, 4])
        self.assertEqual(self.lastDay(), counts)
        self.restarted()
        self.assertEqual(self.lastDay(), counts)
        self.assertEqual(self.wait(self.store.settings()), {})
        self.time.now = ended + timedelta(days=1)
        self.assertEqual(self.lastDay(), counts)
        self.time.advance(61)
        self.assertEqual(self.lastDay(), {"succeeded": 0, "failed": 0, "cancelled": 0})

    def test_lastDayOfNotRemoved(self) -> None:
        """
        A job that cannot be removed is counted once.
        """
        self.inState(JobState.RUNNING)
        self.refused(errors.JobNotFinished, self.store.removeJob(self.epoch, 1))
        self.finish(1)
        self.assertEqual(self.lastDay(), {"succeeded": 1, "failed": 0, "cancelled": 0})

    def test_lastID(self) -> None:
        """
        The last ID is the highest that was given out, even to a job that is gone.
        """
        self.assertEqual(self.wait(self.store.lastID()), 0)
        self.add(new(), new())
        self.inState(JobState.SUCCEEDED)
        self.wait(self.store.removeJob(self.epoch, 3))
        self.assertEqual(self.wait(self.store.lastID()), 3)
        self.restarted()
        self.assertEqual(self.wait(self.store.lastID()), 3)

    def test_settings(self) -> None:
        """
        Settings are kept by name, and those not named stay.
        """
        self.assertEqual(self.wait(self.store.settings()), {})
        self.wait(self.store.setSettings(self.epoch, {"active": False, "a": {"b": [1]}}))
        self.wait(self.store.setSettings(self.epoch, {"active": None}))
        self.wait(self.store.setSettings(self.epoch, {}))
        kept = {"active": None, "a": {"b": [1]}}
        self.assertEqual(self.wait(self.store.settings()), kept)
        self.refused(
            errors.InvalidArgument, self.store.setSettings(self.epoch, {"a": 1, "b": object()})
        )
        self.assertEqual(self.wait(self.store.settings()), kept)


class MemoryReadsTests(InMemory, ReadsContract, SynchronousTestCase):
    """
    Tests for L{MemoryJobStore}.
    """


class SQLiteReadsTests(InFile, ReadsContract, SynchronousTestCase):
    """
    Tests for L{SQLiteJobStore}.
    """
