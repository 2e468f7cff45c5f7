"""
Tests for a queue whose store cannot be read, is damaged, or is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs

from ganeti_pool import errors
from ganeti_pool.interfaces import IUnitOfWork
from ganeti_pool.jobs import JobFilter, JobState

from .queuecase import QueueCase, StartedCase, new

LOST = errors.StoreLost("the store is gone")

DAMAGED = errors.StoreDamaged("a page is not what it was")


class UnreadableTests(StartedCase):
    """
    Tests for reads that fail.
    """

    def readers(self) -> list[Callable[[], Deferred[Any]]]:
        """
        Return every kind of read.
        """
        queue = self.queue
        return [
            lambda: queue.job(1),
            lambda: queue.attempts(1),
            lambda: queue.listJobs(JobFilter(), True, 9, None),
            lambda: queue.changedJobs(0, 9, 0.0),
            lambda: queue.attemptOver(1, 1),
        ]

    def test_told(self) -> None:
        """
        The failure of each kind of read is in the status, until a read succeeds.
        """
        self.submit(new("note", 1))
        self.runAll()
        for read in self.readers():
            self.assertIsNone(self.trouble())
            self.store.readFailure = errors.StoreError("the disk does not answer")
            self.failureResultOf(read(), errors.StoreError)
            self.assertEqual(self.trouble(), "the disk does not answer")
            self.store.readFailure = None

    def test_whatIsKnown(self) -> None:
        """
        While the store cannot be read, the status has what is known without it.
        """
        seen: list[dict[str, Any]] = []
        self.tasks["look"] = lambda worker: seen.append(self.status())
        self.submit(new("look"), new(), new())
        self.store.readFailure = errors.StoreError("the disk does not answer")
        self.step()
        (status,) = seen
        jobs = {
            "queued": 2,
            "running": 1,
            "oldest_queued_at": None,
            "longest_running_at": "2026-01-31T12:00:00.123Z",
            "last_day": None,
        }
        self.assertEqual(status["jobs"], jobs)
        self.assertEqual(
            status["store"],
            {
                "bytes": None,
                "free_bytes": None,
                "unwritten": 0,
                "last_error": "the disk does not answer",
            },
        )
        self.assertIsNone(self.status()["jobs"]["longest_running_at"])

    def test_damageStays(self) -> None:
        """
        Damage that a read or a write has found stays in the status, whatever succeeds
        afterwards. Jobs go on.
        """
        self.store.readFailure = DAMAGED
        self.failureResultOf(self.queue.job(1), errors.StoreDamaged)
        self.store.readFailure = None
        self.submit(new("note", 1))
        self.runAll()
        self.assertEqual(self.ran, [1])
        self.assertEqual(self.trouble(), str(DAMAGED))
        self.restart()
        self.store.failure = DAMAGED
        self.failureResultOf(self.queue.submit([new()]), errors.StoreDamaged)
        self.recover()
        self.submit(new("note", 2))
        self.runAll()
        self.assertEqual(self.ran, [1, 2])
        self.assertEqual(self.trouble(), str(DAMAGED))

    def test_otherRefusals(self) -> None:
        """
        A job that does not exist is not a failure of the store, and neither is the store's end,
        after which there is no status.
        """
        self.failureResultOf(self.queue.job(77), errors.NoSuchJob)
        self.assertIsNone(self.trouble())
        self.successResultOf(self.store.close())
        self.failureResultOf(self.queue.job(1), errors.StoreClosed)
        self.failureResultOf(self.queue.poolStatus(), errors.StoreClosed)
        self.assertIsNone(self.queue._projection.trouble)


class LostTests(StartedCase):
    """
    Tests for a store that is lost.
    """

    def lose(self) -> None:
        self.store.failure = self.store.readFailure = LOST

    def assertLost(self) -> None:
        """
        Check that nothing is started or changed, and that the status has the reason.
        """
        self.failureResultOf(self.queue.submit([new()]), errors.StoreLost)
        self.failureResultOf(self.queue.setActive(True), errors.StoreLost)
        self.advance(30)
        self.startJobs()
        self.assertEqual(self.status()["store"]["last_error"], str(LOST))

    def test_noticedByARead(self) -> None:
        """
        A read that finds that the store is lost is in the status, and no job starts.
        """
        self.submit(new("note", 1))
        self.lose()
        with capturedLogs() as logs:
            self.failureResultOf(self.queue.job(1), errors.StoreLost)
            self.assertLost()
        critical = [event["why"] for event in logs if event["log_level"] is LogLevel.critical]
        self.assertEqual(critical, [LOST])
        self.assertEqual(self.ran, [])

    def test_noticedByAStart(self) -> None:
        """
        The start of a job finds it too.
        """
        self.submit(new("note", 1), new("note", 2))
        self.lose()
        self.assertFalse(self.step())
        self.assertLost()
        self.assertEqual(self.ran, [])

    def test_noTransaction(self) -> None:
        """
        If no transaction can be begun, every request is answered with the error.
        """

        def transaction(epoch: int) -> AbstractContextManager[IUnitOfWork]:
            raise LOST

        self.patch(self.store, "transaction", transaction)
        with self.oneBatch(mayStart=True):
            answers = [self.queue.submit([new()]), self.queue.submit([new()])]
            quiet = self.queue.quiesce()
        for answer in answers:
            self.failureResultOf(answer, errors.StoreLost)
        self.assertIsNone(self.successResultOf(quiet))

    def test_outcome(self) -> None:
        """
        The outcome of a job that ran then can never be written. It holds its slot, and the
        stop does not wait for it, but for the jobs that run.
        """
        self.restart(2)
        self.tasks["lose"] = lambda worker: self.lose()
        self.submit(new("lose"), new("note", 1))
        self.step()
        self.assertLost()
        self.assertEqual(self.status()["store"]["unwritten"], 1)
        stopped = self.queue.stop(30)
        self.assertNoResult(stopped)
        self.waiting.pop().step()
        self.successResultOf(stopped)
        self.assertEqual(self.stored().state, JobState.RUNNING)


class StartTests(QueueCase):
    """
    Tests for a start that the store delays or fails.
    """

    def test_stopInterrupts(self) -> None:
        """
        A queue that is told to stop while it starts makes its store end the check first.
        """
        interrupted: list[bool] = []

        def acquire(owner: str) -> int:
            self.assertEqual(interrupted, [True])
            raise errors.QueueStopping()

        self.patch(self.store, "acquire", acquire)
        self.patch(self.store, "interrupt", lambda: interrupted.append(True))
        with self.oneBatch():
            started = self.queue.start()
            stopped = self.queue.stop(30)
        self.failureResultOf(started, errors.QueueStopping)
        self.successResultOf(stopped)

    def test_unusable(self) -> None:
        """
        A queue whose store cannot be used does not start.
        """
        self.store.failure = DAMAGED
        self.failureResultOf(self.queue.start(), errors.StoreDamaged)

    def test_runsAgain(self) -> None:
        """
        A store that is opened again is used as if nothing had been lost.
        """
        self.start()
        self.submit(new("note", 1))
        self.store.failure = LOST
        self.failureResultOf(self.queue.submit([new("note", 2)]), errors.StoreLost)
        self.restart()
        self.runAll()
        self.assertEqual((self.ran, self.job().state), ([1], JobState.SUCCEEDED))
