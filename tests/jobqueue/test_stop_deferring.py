"""
Tests for jobs that defer themselves as their pool ends.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from ganeti_pool import errors
from ganeti_pool.jobs import (
    JobState,
)
from ganeti_pool.workerpool import DeferTask

from .queuecase import FULL, StartedCase, Worker, new


class DeferAtStopTests(StartedCase):
    """
    Tests for deferrals that the pool does not take back.
    """

    def test_deferredInAPoolThatEnds(self) -> None:
        """
        So does one that defers itself when the pool stops by itself.
        """

        def task(worker: Worker) -> None:
            self.pool.terminateWorkers()
            raise DeferTask(priority=7)

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.step()
        job = self.job()
        self.assertEqual((job.state, job.deferrals, job.priority), (JobState.QUEUED, 1, 7))

    def test_exceptionOfAPoolAfterADeferral(self) -> None:
        """
        A deferral counts for the attempt that made it: a later one that raises what
        another pool told it has failed.
        """

        def task(worker: Worker) -> None:
            if not self.ran:
                self.ran.append("deferred")
                raise DeferTask()
            raise errors.TaskNotStarted("another pool", 1)

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.runAll()
        self.assertError(1, JobState.FAILED, "exception")
        self.flushLoggedErrors(errors.TaskNotStarted)

    def test_deferralGivenUp(self) -> None:
        """
        A deferral for which there is no room until the daemon gives up is tried once
        more, and is no interruption.
        """
        stopped: list[Deferred[None]] = []

        def task(worker: Worker) -> None:
            stopped.append(self.queue.stop(10))
            self.store.failure = FULL
            passes = [lambda: self.reactor.advance(1)]
            # It is tried after 1, 3, 7 and 15 seconds, and given up after 25.
            self.meanwhile += [*passes * 20, recover, *passes * 5]
            raise DeferTask(priority=7)

        def recover() -> None:
            self.store.failure = None

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.step()
        job = self.job()
        self.assertEqual((job.state, job.deferrals, job.priority), (JobState.QUEUED, 1, 7))
        self.reactor.run()
        self.successResultOf(stopped[0])

    def test_deferralLost(self) -> None:
        """
        If that finds no room either, it is logged, and is for the next daemon.
        """

        def task(worker: Worker) -> None:
            self.store.failure = FULL
            self.queue._journal.close()
            raise DeferTask()

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.step()
        self.assertEqual(self.job().state, JobState.RUNNING)
        self.assertEqual(self.queue._roster.running, {})
        self.assertEqual(len(self.flushLoggedErrors(errors.StoreFull)), 1)

    def test_deferredAndCancelled(self) -> None:
        """
        One that is cancelled while its deferral waits for room is cancelled.
        """

        def task(worker: Worker) -> None:
            self.pool.terminateWorkers()
            self.store.failure = FULL
            self.meanwhile += [cancel]
            raise DeferTask()

        def cancel() -> None:
            self.store.failure = None
            self.successResultOf(self.queue.cancel(1))
            self.reactor.advance(1)

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.step()
        self.assertEqual(self.job().state, JobState.CANCELLED)

    def test_deferredWithoutOwnership(self) -> None:
        """
        One whose store has another owner is that owner's.
        """

        def task(worker: Worker) -> None:
            self.pool.terminateWorkers()
            self.successResultOf(self.store.acquire("other"))
            raise DeferTask()

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.step()
        self.assertEqual(self.job().state, JobState.RUNNING)
        self.assertIsNone(self.queue._roster.find(1))
