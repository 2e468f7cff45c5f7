"""
Tests for how many jobs wait, and how many may.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import CancelledError, Deferred

from ganeti_pool import errors
from ganeti_pool.jobs import Job, JobState, NewJob, OnCrash
from ganeti_pool.testing import MemoryJobStore
from ganeti_pool.workerpool import DeferTask

from .queuecase import FULL, NOON, QueueCase, StartedCase, Worker, new


class WaitingTests(StartedCase):
    """
    Tests for the count of what waits.
    """

    def assertWaiting(self, **counts: int) -> None:
        """
        So many wait at each priority, given as C{p0} for 0.
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
        What is not committed changes no count.
        """
        self.submit(new())
        self.store.failure = FULL
        self.queue.submit([new()]).addErrback(lambda _: None)
        self.queue.changePriority(1, 3).addErrback(lambda _: None)
        self.queue.cancel(1).addErrback(lambda _: None)
        self.assertWaiting(p0=1)

    def test_untilTheStartIsCommitted(self) -> None:
        """
        A job counts until its start is committed.
        """
        self.submit(new())
        self.hold(lambda: self.assertWaiting(p0=1), self.store.commit)
        self.step()
        self.assertEqual(self.meanwhile, [])
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
        The next daemon counts what it finds, and what it puts back.
        """
        self.submit(new(onCrash=OnCrash.RETRY, maxAttempts=2), *[new(priority=1)] * 3)
        self.successResultOf(self.store.startAttempt(self.queue._journal.epoch, 1, 1))
        self.restart()
        self.assertWaiting(p0=1, p1=3)

    def test_readOnly(self) -> None:
        """
        Who looks at it cannot change it.
        """
        self.assertFalse(hasattr(self.queue.waiting, "clear"))


class RoomTests(QueueCase):
    """
    Tests for a queue in which 3 jobs may wait.
    """

    def setUp(self) -> None:
        super().setUp()
        self.open(MemoryJobStore(lambda: NOON), maxQueued=3)
        self.start()

    def assertFull(self, refused: Deferred[list[Job]], count: int = 1) -> None:
        """
        A submission was refused, and says why.
        """
        failure = self.failureResultOf(refused, errors.QueueFull)
        self.assertEqual((failure.value.count, failure.value.limit), (count, 3))
        self.assertIn(f"no room for {count} more: 3 jobs may wait", failure.getErrorMessage())

    def test_full(self) -> None:
        """
        Jobs for which there is no room are refused, all of a list, before anything is
        asked of the store; when one has started, there is room again.
        """
        self.submit(new(), new())
        self.store.held = True
        self.assertFull(self.queue.submit([new(), new()]), 2)
        self.store.held = False
        self.submit(new())
        self.assertFull(self.queue.submit([new()]))
        self.step()
        self.submit(new())
        self.assertEqual(self.queue.waiting, {0: 3})

    def test_atTheSameTime(self) -> None:
        """
        Those who submit at the same time do not count on the same room; and it is
        given back if the commit fails.
        """
        self.store.held = True
        first = self.queue.submit([new(), new()])
        self.assertFull(self.queue.submit([new(), new()]), 2)
        second = self.queue.submit([new()])
        self.assertFull(self.queue.submit([new()]))
        self.store.failure = FULL
        self.store.commit()
        self.failureResultOf(first, errors.StoreFull)
        self.failureResultOf(second, errors.StoreFull)
        self.store.failure = None
        third = self.queue.submit([new(), new(), new()])
        self.store.commit()
        self.assertEqual(len(self.successResultOf(third)), 3)

    def keyed(self, *keys: str) -> list[NewJob]:
        return [new("note", key, key=key) for key in keys]

    def ids(self, jobs: Deferred[list[Job]]) -> Sequence[int]:
        return [job.id for job in self.successResultOf(jobs)]

    def test_knownKeys(self) -> None:
        """
        A job that is there already takes no room, in a full queue and in one that is
        fuller than that, and also if it is given twice.
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
        One that is given twice in a list takes room once.
        """
        self.submit(new(), new())
        self.assertEqual(self.submit(*self.keyed("a", "a", "a")), [3, 3, 3])

    def test_uncertain(self) -> None:
        """
        Who has no room if those before are new waits until that is known: they are.
        """
        self.submit(new())
        self.store.held = True
        first = self.queue.submit(self.keyed("a", "b"))
        second = self.queue.submit(self.keyed("c"))
        third = self.queue.submit([new()])
        # these could not be taken in any case
        self.assertFull(self.queue.submit([new()] * 3), 3)
        self.store.commit()
        self.assertEqual(self.ids(first), [2, 3])
        self.assertFull(third)
        self.assertNoResult(second)
        self.release()
        self.assertFull(second)

    def test_certainWaits(self) -> None:
        """
        They are not: then there is room for all, and for no more.
        """
        self.submit(*self.keyed("a", "b"))
        self.store.held = True
        first = self.queue.submit(self.keyed("a", "b"))
        second = self.queue.submit([new()])
        self.store.commit()
        self.assertEqual(self.ids(first), [1, 2])
        self.assertNoResult(second)
        self.assertFull(self.queue.submit([new()]))
        self.release()
        self.assertEqual(self.ids(second), [3])

    def test_waitingSubmissionIsCancelled(self) -> None:
        """
        A submission that waits for that can be given up, and leaves nothing.
        """
        self.store.held = True
        first = self.queue.submit(self.keyed("a", "b", "c"))
        second = self.queue.submit([new()])
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.release()
        self.assertEqual(self.ids(first), [1, 2, 3])

    def test_retry(self) -> None:
        """
        A job that is to start once more needs room, and one that waits already none.
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
        That a job has succeeded is said also where there is no room for it.
        """
        self.submit(new())
        self.step()
        self.submit(new(), new(), new())
        self.failureResultOf(self.queue.retry(1), errors.JobFinished)

    def test_deferral(self) -> None:
        """
        A deferral always has room, and so has what a crash puts back.
        """

        def task(worker: Worker) -> None:
            self.submit(new())
            raise DeferTask()

        self.tasks["defer"] = task
        again = new("defer", onCrash=OnCrash.RETRY, maxAttempts=2)
        self.submit(again, new(), new())
        self.step()
        self.assertEqual(self.queue.waiting, {0: 4})
        self.successResultOf(self.store.startAttempt(self.queue._journal.epoch, 1, 1))
        self.restart(maxQueued=1)
        self.assertEqual(self.queue.waiting, {0: 4})
        failure = self.failureResultOf(self.queue.submit([new()]), errors.QueueFull)
        self.assertEqual(failure.value.limit, 1)
