"""
Tests for the start of a queue, after a kill.
"""

from __future__ import annotations

import tracemalloc
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from ganeti_pool import errors
from ganeti_pool.jobqueue import _life
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
    Tests for L{JobQueue.start}, after a kill.
    """

    def crash(self, *jobs: NewJob) -> None:
        """
        Submit jobs, start the first, and kill the daemon while it runs.
        """
        self.start()
        self.submit(*jobs)
        epoch = self.queue._journal.epoch
        self.successResultOf(self.store.startAttempt(epoch, 1, 1))
        self.successResultOf(self.store.recordHandle(epoch, 1, 1, "handle"))

    def test_order(self) -> None:
        """
        The queue is as it was, and what is submitted later comes later.
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
        Many jobs are taken over a page at a time; none is started before all are
        there.
        """
        self.patch(_life, "_PAGE", 3)
        for count in (6, 7):
            self.takePages(count)

    def takePages(self, count: int) -> None:
        """
        Have a daemon take so many jobs over in three pages.
        """
        self.open(MemoryJobStore())
        self.start()
        self.submit(*(new("note", n, priority=-n) for n in range(count)))
        read = self.store.queuedJobs
        self.open(self.store.reopened())
        pages: list[Deferred[None]] = []

        def slowly(limit: int, after: tuple[int, int] | None = None) -> Deferred[Any]:
            pages.append(Deferred())
            return pages[-1].addCallback(lambda _: read(limit, after))

        self.store.queuedJobs = slowly  # type: ignore[method-assign]
        started = self.queue.start()
        for number in range(3):
            self.assertFalse(self.step())
            self.assertNoResult(started)
            pages[number].callback(None)
        self.successResultOf(started)
        self.ran.clear()
        self.runAll()
        self.assertEqual(self.ran, list(reversed(range(count))))

    def test_memory(self) -> None:
        """
        A job that waits takes less than 400 bytes, whatever the store has of it.
        """
        count = 20_000

        def manyJobs(limit: int, after: tuple[int, int] | None = None) -> Deferred[Any]:
            first = 0 if after is None else after[1] + 1
            last = min(first + limit, count)
            return succeed([QueuedJob(n + 1, 0, n, 0) for n in range(first, last)])

        self.store.queuedJobs = manyJobs  # type: ignore[method-assign]
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
        A place in the queue is never given again, though nothing is queued.
        """
        self.start()
        self.submit(new(), new())
        self.runAll()
        self.restart()
        (jobID,) = self.submit(new())
        self.assertGreater(self.job(jobID).position, self.job(2).position)

    def test_interrupted(self) -> None:
        """
        What ran has failed, once the processes that its handle tells are gone.
        """
        self.crash(new("note", 1), new("note", 2))
        self.open(self.store.reopened())
        self.reap = Deferred()
        started = self.queue.start()
        self.assertEqual(self.reaped[-1], ["handle"])
        self.assertEqual(self.job().state, JobState.RUNNING)
        self.assertFalse(self.step())
        self.reap.callback(1)
        self.successResultOf(started)
        self.assertError(1, JobState.FAILED, "interrupted")
        self.runAll()
        self.assertEqual(self.ran, [2])

    def test_retried(self) -> None:
        """
        What may be tried again is, at its old place, until its attempts are used
        up.
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
        The last attempt that is allowed is not tried again.
        """
        self.crash(new("note", onCrash=OnCrash.RETRY, maxAttempts=2))
        self.restart()
        self.successResultOf(self.store.startAttempt(self.queue._journal.epoch, 1, 2))
        self.restart()
        self.assertError(1, JobState.FAILED, "interrupted")

    def test_cancelled(self) -> None:
        """
        What was to be cancelled is cancelled, and not tried again.
        """
        self.crash(new("note", onCrash=OnCrash.RETRY, maxAttempts=2))
        self.successResultOf(self.store.requestCancel(self.queue._journal.epoch, 1))
        self.restart()
        self.assertEqual(self.job().state, JobState.CANCELLED)

    def test_survivorsLeft(self) -> None:
        """
        While processes of an earlier daemon live, the queue does not start.
        """
        self.crash(new(), new())
        self.open(self.store.reopened())
        self.reap = fail(errors.PoolError("they live"))
        self.failureResultOf(self.queue.start(), errors.PoolError)
        self.assertEqual(self.job().state, JobState.RUNNING)
        self.assertFalse(self.step())

    def test_withoutHandle(self) -> None:
        """
        Also an attempt that has no handle yet is over.
        """
        self.start()
        self.submit(new())
        self.successResultOf(self.store.startAttempt(self.queue._journal.epoch, 1, 1))
        self.restart()
        self.assertEqual(self.reaped[-1], [])
        self.assertError(1, JobState.FAILED, "interrupted")
