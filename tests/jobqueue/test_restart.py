"""
Tests for the start of a queue after a crash.
"""

from __future__ import annotations

import tracemalloc

from ganeti_pool import errors
from ganeti_pool.jobqueue import _lifecycle
from ganeti_pool.jobs import (
    JobState,
    NewJob,
    OnCrash,
    QueuedJob,
)
from ganeti_pool.testing import MemoryJobStore

from .queuecase import QueueCase, new


class RestartTests(QueueCase):
    """
    Tests for L{JobQueue.start} after a crash.
    """

    def crash(self, *jobs: NewJob) -> None:
        """
        Submit jobs, start the first, and let the daemon die while it runs.
        """
        self.start()
        self.submit(*jobs)
        with self.write() as unit:
            unit.startAttempt(1, 1)
            unit.recordHandle(1, 1, "handle")

    def test_order(self) -> None:
        """
        The order of the queue is as before, and later jobs come later.
        """
        self.start()
        self.submit(*(new("note", n) for n in range(4)))
        self.successResultOf(self.queue.changePriority(3, -1))
        self.restart()
        self.submit(new("note", 4), new("note", 5, priority=-1))
        self.runAll()
        self.assertEqual(self.ran, [2, 5, 0, 1, 3, 4])

    def test_pages(self) -> None:
        """
        Queued jobs are loaded a page at a time, and none is started before all are there.
        """
        self.patch(_lifecycle, "_PAGE", 3)
        for count in (6, 7):
            self.open(MemoryJobStore())
            self.start()
            self.submit(*(new("note", n, priority=-n) for n in range(count)))
            self.open(self.store.reopened())
            self.mayStart = True
            self.start()
            self.assertEqual(list(self.dispatcher._decisions.running), [count])
            self.ran.clear()
            self.runAll()
            self.assertEqual(self.ran, list(reversed(range(count))))

    def test_memory(self) -> None:
        """
        A queued job takes less than 400 bytes, whatever the store keeps of it.
        """
        count = 20_000

        def manyJobs(
            ledger: object, limit: int, after: tuple[int, int] | None = None
        ) -> list[QueuedJob]:
            first = 0 if after is None else after[1] + 1
            last = min(first + limit, count)
            return [QueuedJob(n + 1, 0, n, 0) for n in range(first, last)]

        self.patch(type(self.store._journal), "queuedJobs", manyJobs)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        self.start()
        after, peak = tracemalloc.get_traced_memory()
        self.assertEqual(self.queue.waiting, {0: count})
        self.assertLess((after - before) / count, 400)
        # and no list of them all beside that
        self.assertLess((peak - after) / count, 40)

    def test_positions(self) -> None:
        """
        A position is never given out again, even if nothing is queued.
        """
        self.start()
        self.submit(new(), new())
        self.runAll()
        self.restart()
        (jobID,) = self.submit(new())
        self.assertGreater(self.job(jobID).position, self.job(2).position)

    def test_interrupted(self) -> None:
        """
        A job that ran has failed, once the processes that its handle names are gone.
        """
        self.crash(new("note", 1), new("note", 2))
        self.open(self.store.reopened())
        self.reap = lambda handles: self.ran.append(self.stored().state)
        self.start()
        self.assertEqual((self.reaped[-1], self.ran), (["handle"], [JobState.RUNNING]))
        self.assertError(1, JobState.FAILED, "interrupted")
        self.runAll()
        self.assertEqual(self.ran[1:], [2])

    def test_retried(self) -> None:
        """
        A job that may be tried again is queued at its old position, until its attempts are
        used up.
        """
        self.crash(
            new("note", 1, priority=3, onCrash=OnCrash.RETRY, maxAttempts=2),
            new("note", 2, priority=3),
        )
        self.restart()
        self.assertEqual((self.job().state, self.job().attempt), (JobState.QUEUED, 1))
        self.step()
        self.assertEqual(self.ran, [1])
        self.assertEqual((self.job().state, self.job().attempt), (JobState.SUCCEEDED, 2))

    def test_retriedOften(self) -> None:
        """
        The last allowed attempt is not tried again.
        """
        self.crash(new("note", onCrash=OnCrash.RETRY, maxAttempts=2))
        self.restart()
        with self.write() as unit:
            unit.startAttempt(1, 2)
        self.restart()
        self.assertError(1, JobState.FAILED, "interrupted")

    def test_cancelled(self) -> None:
        """
        A job that was to be cancelled is cancelled, and not tried again.
        """
        self.crash(new("note", onCrash=OnCrash.RETRY, maxAttempts=2))
        with self.write() as unit:
            unit.requestCancel(1)
        self.restart()
        self.assertEqual(self.job().state, JobState.CANCELLED)

    def test_survivorsLeft(self) -> None:
        """
        While processes of an earlier daemon live, the queue does not start.
        """

        def reap(handles: object) -> None:
            raise errors.PoolError("they live")

        self.crash(new(), new())
        self.open(self.store.reopened())
        self.reap = reap
        self.failureResultOf(self.queue.start(), errors.PoolError)
        self.assertEqual(self.stored().state, JobState.RUNNING)
        self.assertFalse(self.step())
        self.successResultOf(self.queue.stop(0))

    def test_withoutHandle(self) -> None:
        """
        An attempt that has no handle yet is over, too.
        """
        self.start()
        self.submit(new())
        with self.write() as unit:
            unit.startAttempt(1, 1)
        self.restart()
        self.assertEqual(self.reaped[-1], [])
        self.assertError(1, JobState.FAILED, "interrupted")
