"""
Tests for the number of queued jobs, and for its limit.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from ganeti_pool import errors
from ganeti_pool.jobqueue import QueueLimits
from ganeti_pool.jobs import Job, JobState, NewJob, OnCrash
from ganeti_pool.testing import MemoryJobStore
from ganeti_pool.workerpool import DeferTask

from .queuecase import FULL, NOON, QueueCase, StartedCase, Worker, new


class DepthTests(StartedCase):
    """
    Tests for the number of queued jobs by priority.
    """

    def assertWaiting(self, **counts: int) -> None:
        """
        Check the numbers, each given as C{p0} for priority 0.
        """
        self.assertEqual(
            dict(self.queue.waiting), {int(name[1:]): count for name, count in counts.items()}
        )

    def test_comesAndGoes(self) -> None:
        """
        A job counts from its submission until it starts, with the priority that it
        has.
        """
        self.assertWaiting()
        self.submit(new(), new(priority=3), new(priority=3))
        self.assertWaiting(p0=1, p3=2)
        self.successResultOf(self.queue.changePriority(2, 0))
        self.assertWaiting(p0=2, p3=1)
        self.step()
        self.assertWaiting(p0=1, p3=1)
        self.successResultOf(self.queue.cancel(3))
        self.assertWaiting(p0=1)
        self.runAll()
        self.assertWaiting()

    def test_notCommitted(self) -> None:
        """
        A request that is not committed changes no number.
        """
        self.submit(new())
        self.store.failure = FULL
        self.queue.submit([new()]).addErrback(lambda _: None)
        self.queue.changePriority(1, 3).addErrback(lambda _: None)
        self.queue.cancel(1).addErrback(lambda _: None)
        self.assertWaiting(p0=1)

    def test_startNotCommitted(self) -> None:
        """
        A job whose start cannot be committed still counts.
        """
        self.submit(new())
        self.store.failure = FULL
        self.assertFalse(self.step())
        self.assertWaiting(p0=1)
        self.recover()
        self.step()
        self.assertWaiting()

    def test_deferral(self) -> None:
        """
        A job that has deferred itself counts again.
        """

        def task(worker: Worker) -> None:
            self.assertWaiting()
            raise DeferTask(priority=4)

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.step()
        self.assertWaiting(p4=1)

    def test_restart(self) -> None:
        """
        The next daemon counts the jobs that it finds and those that it queues again.
        """
        self.submit(new(onCrash=OnCrash.RETRY, maxAttempts=2), *[new(priority=1)] * 3)
        with self.write() as unit:
            unit.startAttempt(1, 1)
        self.restart()
        self.assertWaiting(p0=1, p1=3)

    def test_readOnly(self) -> None:
        """
        A reader cannot change the numbers.
        """
        self.assertFalse(hasattr(self.queue.waiting, "clear"))


class LimitTests(QueueCase):
    """
    Tests for a queue in which 3 jobs may be queued.
    """

    def setUp(self) -> None:
        super().setUp()
        self.open(MemoryJobStore(lambda: NOON), limits=QueueLimits(3))
        self.start()

    def assertFull(self, refused: Deferred[list[Job]], count: int = 1) -> None:
        """
        Check that a submission was rejected, with the reason.
        """
        failure = self.failureResultOf(refused, errors.QueueFull)
        self.assertEqual((failure.value.count, failure.value.limit), (count, 3))
        self.assertIn(f"no room for {count} more: 3 jobs may wait", failure.getErrorMessage())

    def test_full(self) -> None:
        """
        Jobs for which there is no room are rejected, all of a list. When one has started,
        there is room again.
        """
        self.submit(new(), new())
        self.assertFull(self.queue.submit([new(), new()]), 2)
        self.submit(new())
        self.assertFull(self.queue.submit([new()]))
        self.step()
        self.submit(new())
        self.assertEqual(self.queue.waiting, {0: 3})

    def test_oneBatch(self) -> None:
        """
        Submissions in one batch share the room in their order. It is free again if the commit
        fails.
        """
        with self.oneBatch():
            self.store.failure = FULL
            first = self.queue.submit([new(), new()])
        self.failureResultOf(first, errors.StoreFull)
        self.recover()
        with self.oneBatch():
            second = self.queue.submit([new(), new()])
            third = self.queue.submit([new(), new()])
            fourth = self.queue.submit([new()])
        self.assertEqual(self.ids(second), [1, 2])
        self.assertFull(third, 2)
        self.assertEqual(self.ids(fourth), [3])

    def keyed(self, *keys: str) -> list[NewJob]:
        return [new("note", key, key=key) for key in keys]

    def ids(self, jobs: Deferred[list[Job]]) -> Sequence[int]:
        return [job.id for job in self.successResultOf(jobs)]

    def test_knownKeys(self) -> None:
        """
        A job that exists already takes no room, in a full queue and in one that is over its
        limit, even if it is given twice.
        """

        def task(worker: Worker) -> None:
            self.submit(*self.keyed("a", "b", "c"))
            raise DeferTask()

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.step()
        self.assertEqual(self.queue.waiting, {0: 4})
        self.assertEqual(self.submit(*self.keyed("a", "b", "a", "c")), [2, 3, 2, 4])
        self.assertFull(self.queue.submit(self.keyed("a", "d")))
        self.assertEqual(self.submit(*self.keyed("a")), [2])

    def test_sameKeyTwice(self) -> None:
        """
        A job that is given twice in a list takes room once.
        """
        self.submit(new(), new())
        self.assertEqual(self.submit(*self.keyed("a", "a", "a")), [3, 3, 3])

    def test_retry(self) -> None:
        """
        A retry needs room, except of a job that is queued already.
        """
        self.submit(new(), new(), new())
        self.successResultOf(self.queue.cancel(1))
        self.submit(new())
        failure = self.failureResultOf(self.queue.retry(1), errors.QueueFull)
        self.assertEqual(failure.value.limit, 3)
        self.assertEqual(self.job().state, JobState.CANCELLED)
        self.successResultOf(self.queue.retry(2))
        self.step()
        self.successResultOf(self.queue.retry(1))
        self.assertFull(self.queue.submit([new()]))

    def test_retryOfASucceededOne(self) -> None:
        """
        The retry of a job that has succeeded is rejected for that, even if there is no room.
        """
        self.submit(new())
        self.step()
        self.submit(new(), new(), new())
        self.failureResultOf(self.queue.retry(1), errors.JobFinished)

    def test_deferral(self) -> None:
        """
        A deferral always has room, and so has a job that is queued again after a crash.
        """

        def task(worker: Worker) -> None:
            self.submit(new())
            raise DeferTask()

        self.tasks["defer"] = task
        again = new("defer", onCrash=OnCrash.RETRY, maxAttempts=2)
        self.submit(again, new(), new())
        self.step()
        self.assertEqual(self.queue.waiting, {0: 4})
        with self.write() as unit:
            unit.startAttempt(1, 1)
        self.restart(limits=QueueLimits(1))
        self.assertEqual(self.queue.waiting, {0: 4})
        failure = self.failureResultOf(self.queue.submit([new()]), errors.QueueFull)
        self.assertEqual(failure.value.limit, 1)
