"""
Tests for waiting until all is done.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred

from ganeti_pool import errors
from ganeti_pool.jobs import JobState
from ganeti_pool.workerpool import DeferTask

from .queuecase import FULL, StartedCase, Worker, new


class QuiesceTests(StartedCase):
    """
    Tests for L{JobQueue.quiesce <ganeti_pool.jobqueue.JobQueue.quiesce>}.
    """

    def quiesce(self) -> Deferred[None]:
        quiet = self.queue.quiesce()
        self.reactor.run()
        return quiet

    def over(self, quiet: Deferred[None]) -> None:
        """
        It is quiet.
        """
        self.reactor.run()
        self.assertIsNone(self.successResultOf(quiet))
        self.assertEqual(self.queue._fences, set())

    def test_empty(self) -> None:
        """
        A queue without a job is quiet at once.
        """
        self.over(self.quiesce())

    def test_waits(self) -> None:
        """
        It waits for the outcome of what was submitted before, and for that alone;
        what comes later starts when it is over.
        """
        self.submit(new("note", 1), new("note", 2))
        quiet = self.quiesce()
        self.submit(new("note", 3, priority=-5))
        self.stepping.step()
        self.assertNoResult(quiet)
        self.assertEqual(self.ran, [1])
        self.stepping.step()
        self.assertEqual(self.ran, [1, 2])
        self.assertEqual(self.job(3).state, JobState.QUEUED)
        self.over(quiet)
        self.stepping.runAll()
        self.assertEqual(self.ran, [1, 2, 3])

    def test_unwrittenOutcome(self) -> None:
        """
        It waits for an outcome that is not written yet.
        """

        def full(worker: Worker) -> None:
            self.store.failure = FULL
            self.meanwhile += [still, still, recover]

        def still() -> None:
            self.reactor.run()
            self.assertNoResult(quiet)
            self.reactor.advance(1)

        def recover() -> None:
            self.store.failure = None
            self.reactor.advance(30)

        self.tasks["full"] = full
        self.submit(new("full"))
        quiet = self.quiesce()
        self.stepping.step()
        self.over(quiet)

    def test_deferral(self) -> None:
        """
        It waits for a job that defers itself.
        """
        ends: list[Exception] = [DeferTask()]

        def task(worker: Worker) -> None:
            if ends:
                raise ends.pop()

        self.tasks["defer"] = task
        self.submit(new("defer"))
        quiet = self.quiesce()
        self.stepping.step()
        self.reactor.run()
        self.assertNoResult(quiet)
        self.stepping.step()
        self.over(quiet)

    def test_cancelling(self) -> None:
        """
        It waits until a cancellation is committed, and if that fails for the job
        itself, which is still in front of what came later.
        """
        self.submit(new("note", 1))
        quiet = self.quiesce()
        self.submit(new("note", 2))
        self.store.held = True
        refused = self.queue.cancel(1)
        self.reactor.run()
        self.assertNoResult(quiet)
        self.store.failure = FULL
        self.store.commit()
        self.failureResultOf(refused, errors.StoreFull)
        self.store.failure = None
        self.reactor.run()
        self.assertNoResult(quiet)
        self.release()
        self.stepping.step()
        self.assertEqual(self.ran, [1])
        self.over(quiet)
        self.successResultOf(self.queue.cancel(2))
        self.over(self.quiesce())

    def test_retryComesLater(self) -> None:
        """
        A job that is retried meanwhile is one that comes later.
        """
        self.submit(new("note", 1), new("note", 2))
        self.successResultOf(self.queue.cancel(1))
        quiet = self.quiesce()
        self.successResultOf(self.queue.retry(1))
        self.stepping.step()
        self.assertEqual(self.ran, [2])
        self.over(quiet)
        self.stepping.step()
        self.assertEqual(self.ran, [2, 1])

    def test_movedBehindIt(self) -> None:
        """
        A job that has to wait for it can be moved and cancelled.
        """
        self.submit(new("note", 1))
        quiet = self.quiesce()
        self.submit(new("note", 2), new("note", 3), new("note", 4))
        self.successResultOf(self.queue.changePriority(3, -1))
        self.successResultOf(self.queue.cancel(2))
        self.stepping.step()
        self.over(quiet)
        self.stepping.runAll()
        self.assertEqual(self.ran, [1, 3, 4])

    def test_lifted(self) -> None:
        """
        Whoever does not wait any more holds nothing up.
        """
        self.submit(new("note", 1))
        quiet = self.quiesce()
        self.submit(new("note", 2, priority=-1))
        quiet.cancel()
        self.failureResultOf(quiet, CancelledError)
        self.assertEqual(self.queue._fences, set())
        self.stepping.runAll()
        self.assertEqual(self.ran, [2, 1])

    def test_paused(self) -> None:
        """
        In a pause it waits, and ends once that is over.
        """
        self.submit(new())
        self.successResultOf(self.queue.setActive(False))
        quiet = self.quiesce()
        self.assertFalse(self.stepping.step())
        self.assertNoResult(quiet)
        self.successResultOf(self.queue.setActive(True))
        self.stepping.step()
        self.over(quiet)

    def test_several(self) -> None:
        """
        Several may wait, each for what was before.
        """
        self.submit(new("note", 1))
        first = self.quiesce()
        self.submit(new("note", 2))
        second = self.quiesce()
        self.stepping.step()
        self.reactor.run()
        self.successResultOf(first)
        self.assertNoResult(second)
        self.stepping.step()
        self.over(second)

    def test_stop(self) -> None:
        """
        A queue that stops lets all go who wait, at once, and nobody wait any more.
        """
        self.submit(new(), new())
        waits = [self.quiesce(), self.quiesce()]
        stopped = self.queue.stop(10)
        for quiet in waits:
            self.failureResultOf(quiet, errors.QueueStopping)
        self.failureResultOf(self.queue.quiesce(), errors.QueueStopping)
        self.reactor.run()
        self.successResultOf(stopped)

    def test_quietBeforeTheStopIsHeard(self) -> None:
        """
        Who is told of a stop is told nothing more, though it has become quiet too.
        """
        self.submit(new())
        quiet = self.quiesce()
        self.stepping.step()
        self.queue.stop(0)
        self.failureResultOf(quiet, errors.QueueStopping)
        self.reactor.run()

    def test_poolThatEnds(self) -> None:
        """
        A pool that has begun to stop before the queue has does not become quiet.
        """
        self.submit(new())
        quiet = self.quiesce()
        self.pool.terminateWorkers()
        self.reactor.run()
        self.failureResultOf(quiet, errors.QueueStopping)
        self.failureResultOf(self.queue.quiesce(), errors.QueueStopping)
