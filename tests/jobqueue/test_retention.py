"""
Tests for the removal of finished jobs and of leftover output.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail

from ganeti_pool import errors
from ganeti_pool.jobqueue import QueueLimits, _retention
from ganeti_pool.testing import MemoryJobStore

from .queuecase import FULL, NOON, QueueCase, new

HOUR = 3600.0


class RetentionTests(QueueCase):
    """
    Tests for finished jobs that are kept for a time.
    """

    def setUp(self) -> None:
        super().setUp()
        self.now = NOON
        self.open(MemoryJobStore(self.clock), limits=QueueLimits(keepFinished=10 * HOUR))

    def clock(self) -> datetime:
        return self.now

    def open(self, store: MemoryJobStore, *args: Any, **options: Any) -> None:
        super().open(store, *args, **options)
        self.queue._retention._now = self.clock

    def pass_(self, seconds: float) -> None:
        """
        Let time pass.
        """
        self.now += timedelta(seconds=seconds)
        self.reactor.advance(seconds)

    def finish(self, count: int = 1) -> None:
        """
        Let some more jobs finish.
        """
        self.submit(*[new()] * count)
        self.runAll()

    def left(self) -> list[int]:
        """
        Return the jobs that are left.
        """
        return list(self.store._journal.jobs)

    def test_removed(self) -> None:
        """
        A finished job is removed within an hour after its time is over, and then its output.
        Queued jobs stay.
        """
        self.start()
        self.finish()
        self.pass_(5 * HOUR)
        self.finish()
        self.successResultOf(self.queue.setActive(False))
        self.submit(new())
        self.pass_(4 * HOUR)
        self.pass_(1 * HOUR)
        self.assertEqual((self.left(), self.removed), ([1, 2, 3], [[]] * 4))
        self.pass_(1 * HOUR)
        self.assertEqual((self.left(), self.removed[-1]), ([2, 3], ["output/1"]))
        self.pass_(5 * HOUR)
        self.assertEqual((self.left(), self.removed[-1]), ([3], ["output/2"]))

    def test_atTheStart(self) -> None:
        """
        Jobs that are due when the daemon starts are removed then, in batches: the next batch
        waits until the output of the last is removed.
        """
        self.patch(_retention, "_BATCH", 3)
        self.start()
        self.finish(7)
        self.now += timedelta(hours=11)
        self.removal = Deferred()
        self.restart(limits=QueueLimits(keepFinished=10 * HOUR))
        self.assertEqual(self.left(), [4, 5, 6, 7])
        removal, self.removal = self.removal, Deferred()
        removal.callback(None)
        self.assertEqual(self.left(), [7])
        self.removal.callback(None)
        self.assertEqual(self.left(), [])
        self.assertEqual([len(batch) for batch in self.removed if batch], [3, 3, 1])

    def test_indefinitely(self) -> None:
        """
        Without a time, nothing is removed, and there is no timer.
        """
        self.open(MemoryJobStore(self.clock))
        self.start()
        self.finish()
        self.pass_(1_000_000 * HOUR)
        self.assertEqual((self.left(), self.removed), ([1], []))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_longerThanThereWasTime(self) -> None:
        """
        A time longer than any date removes nothing.
        """
        self.open(MemoryJobStore(self.clock), limits=QueueLimits(keepFinished=1e15))
        self.start()
        self.finish()
        self.pass_(HOUR)
        self.assertEqual(self.left(), [1])

    def test_short(self) -> None:
        """
        A time of zero removes jobs within a minute.
        """
        self.open(MemoryJobStore(self.clock), limits=QueueLimits(keepFinished=0))
        self.start()
        self.finish()
        self.pass_(59)
        self.assertEqual(self.left(), [1])
        self.pass_(1)
        self.assertEqual(self.left(), [])

    def test_noRoom(self) -> None:
        """
        If the store fails, the next removal comes in time.
        """
        self.start()
        self.finish()
        self.store.failure = FULL
        self.pass_(11 * HOUR)
        self.assertEqual(self.left(), [1])
        self.recover()
        self.pass_(HOUR)
        self.assertEqual(self.left(), [])

    def test_stop(self) -> None:
        """
        A queue that stops removes nothing more, and waits for the removal under way.
        """
        self.patch(_retention, "_BATCH", 3)
        self.start()
        self.finish(7)
        self.removal = Deferred()
        self.pass_(11 * HOUR)
        stopped = self.queue.stop(0)
        self.reactor.run()
        self.assertNoResult(stopped)
        self.removal.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.left(), [4, 5, 6, 7])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stopMeanwhile(self) -> None:
        """
        A queue that is told to stop while it starts removes nothing.
        """
        with self.oneBatch():
            started = self.queue.start()
            stopped = self.queue.stop(0)
        self.successResultOf(started)
        self.successResultOf(stopped)
        self.assertEqual((self.removed, self.reactor.getDelayedCalls()), ([], []))

    def test_fault(self) -> None:
        """
        An exception is logged, and affects neither the jobs nor the stop.
        """
        self.start()

        def broken(*args: object) -> None:
            raise ZeroDivisionError()

        self.patch(self.queue._sender, "send", broken)
        self.pass_(HOUR)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.successResultOf(self.queue.stop(0))

    def test_retried(self) -> None:
        """
        A job that is retried as its time is over is either queued or removed.
        """
        self.start()
        self.submit(new(), new())
        self.successResultOf(self.queue.cancel(1))
        self.successResultOf(self.queue.cancel(2))
        self.successResultOf(self.queue.setActive(False))
        self.pass_(10 * HOUR)
        with self.oneBatch():
            first = self.queue.retry(1)
            self.pass_(HOUR)
            second = self.queue.retry(2)
        self.successResultOf(first)
        self.failureResultOf(second, errors.NoSuchJob)
        self.assertEqual((self.left(), self.removed[-1]), ([1], ["output/2"]))


class SweepTests(QueueCase):
    """
    Tests for output that an earlier daemon has left.
    """

    def leave(self, *names: str) -> None:
        """
        Make directories below the output directory.
        """
        for name in names:
            Path(self.directory, "output", name).mkdir(parents=True)

    def forget(self, *jobs: int) -> None:
        """
        Remove jobs from the store, as a daemon that dies before it removes their output.
        """
        for job in jobs:
            self.successResultOf(self.queue.cancel(job))
            with self.write() as unit:
                unit.removeJob(job)

    def test_leftOver(self) -> None:
        """
        At the start, the output of jobs that are gone is removed, and nothing else.
        """
        self.start()
        self.submit(*[new()] * 6)
        self.forget(1, 4, 6)
        self.leave("1", "2", "3", "4", "05", "6", "7", "lost+found", "9" * 30, "\u0663")
        self.leave("5")
        self.patch(_retention, "_SWEPT", 1)
        self.restart()
        self.assertEqual(self.removed, [["output/1"], ["output/4"], ["output/6"]])

    def test_stop(self) -> None:
        """
        A queue that stops waits for the removal under way, and removes nothing more.
        """
        self.patch(_retention, "_SWEPT", 1)
        self.start()
        self.submit(new(), new())
        self.forget(1, 2)
        self.leave("1", "2")
        self.removal = Deferred()
        self.restart()
        stopped = self.queue.stop(0)
        self.reactor.run()
        self.assertNoResult(stopped)
        self.removal.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.removed, [["output/1"]])

    def test_fault(self) -> None:
        """
        An exception is logged, and affects neither the jobs nor the stop.
        """
        self.start()
        self.submit(new())
        self.forget(1)
        self.leave("1")
        self.open(self.store.reopened())
        self.store.known = lambda jobIDs: fail(ZeroDivisionError())  # type: ignore[method-assign]
        self.start()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.submit(new("note", 1))
        self.runAll()
        self.assertEqual(self.ran, [1])
        stopped = self.queue.stop(0)
        self.reactor.run()
        self.successResultOf(stopped)
