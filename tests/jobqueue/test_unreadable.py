"""
Tests for a queue whose store cannot be read, is damaged, or is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import LogLevel, capturedLogs

from ganeti_pool import errors
from ganeti_pool.jobs import JobFilter, JobState

from .queuecase import QueueCase, StartedCase, Worker, new

LOST = errors.StoreLost("the store is gone")

DAMAGED = errors.StoreDamaged("a page is not what it was")


class UnreadableTests(StartedCase):
    """
    Tests for reads that fail.
    """

    def readers(self) -> list[Callable[[], Deferred[Any]]]:
        """
        Whatever a client can ask for.
        """
        queue = self.queue
        return [
            lambda: queue.job(1),
            lambda: queue.attempts(1),
            lambda: queue.listJobs(JobFilter(), True, 9, None),
            lambda: queue.changedJobs(0, 9, 0.0),
            lambda: queue.attemptOver(1, 1),
            lambda: queue.retry(1),
        ]

    def trouble(self) -> str | None:
        error: str | None = self.status()["store"]["last_error"]
        return error

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
        That the store was found damaged, by a read or a write, stays in the status,
        whatever succeeds afterwards; jobs go on.
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
        That a job is not there is not a failure of the store, nor is it that the store
        has been closed, when there is no status either.
        """
        self.failureResultOf(self.queue.job(77), errors.NoSuchJob)
        self.assertIsNone(self.trouble())
        self.successResultOf(self.store.close())
        self.failureResultOf(self.queue.job(1), errors.StoreClosed)
        self.failureResultOf(self.queue.poolStatus(), errors.StoreClosed)
        self.assertIsNone(self.queue._journal.trouble)


class LostTests(StartedCase):
    """
    Tests for a store that is lost.
    """

    def lose(self) -> None:
        self.store.failure = self.store.readFailure = LOST

    def assertLost(self) -> None:
        """
        Nothing is started or taken, and the status says why.
        """
        self.failureResultOf(self.queue.submit([new()]), errors.StoreLost)
        self.failureResultOf(self.queue.setActive(True), errors.StoreLost)
        self.runAll()
        status = self.status()
        self.assertFalse(status["active"])
        self.assertEqual(status["store"]["last_error"], str(LOST))

    def test_noticedByARead(self) -> None:
        """
        A read that finds that the store is lost keeps jobs from starting. It is logged
        once.
        """
        self.submit(new("note", 1))
        self.lose()
        with capturedLogs() as logs:
            self.failureResultOf(self.queue.job(1), errors.StoreLost)
            self.failureResultOf(self.queue.job(1), errors.StoreLost)
        critical = [event for event in logs if event["log_level"] is LogLevel.critical]
        self.assertEqual([event["why"] for event in critical], [str(LOST)])
        self.assertLost()
        self.assertEqual(self.ran, [])

    def test_noticedByAWrite(self) -> None:
        """
        So does a submission, which is not acknowledged; and the start of a job.
        """
        self.submit(new("note", 1), new("note", 2))
        self.lose()
        self.assertTrue(self.step())
        self.assertFalse(self.step())
        self.assertLost()
        self.assertEqual(self.ran, [])

    def test_noticedByTheStatus(self) -> None:
        """
        So does a look at the status.
        """
        self.submit(new("note", 1))
        self.lose()
        self.status()
        self.assertLost()
        self.assertEqual(self.ran, [])

    def test_outcome(self) -> None:
        """
        The outcome of a job that ran then is given up, since it can never be written;
        the log says so, and the stop waits for nothing.
        """
        self.tasks["lose"] = lambda worker: self.lose()
        self.submit(new("lose"), new("note", 1))
        with capturedLogs() as logs:
            self.step()
        self.assertLost()
        texts = [str(event.get("error", "")) for event in logs if event.get("jobID") == 1]
        self.assertEqual(texts, [str(LOST)])
        self.assertEqual(self.status()["store"]["unwritten"], 0)
        self.assertEqual(self.queue._roster.running, {})
        stopped = self.queue.stop(30)
        self.reactor.run()
        self.successResultOf(stopped)
        self.assertEqual(self.ran, [])

    def test_deferral(self) -> None:
        """
        A job that defers itself then is given up likewise, even when the queue stops.
        """

        def task(worker: Worker) -> None:
            self.lose()
            self.stopped = self.queue.stop(30)
            raise errors.DeferTask()

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.step()
        self.reactor.run()
        self.successResultOf(self.stopped)
        self.assertEqual(self.queue._roster.running, {})

    def test_unusableResult(self) -> None:
        """
        A result that no store can keep is given up too when the store is lost.
        """

        failures: list[Exception] = [errors.InvalidArgument("it is too large"), LOST]
        self.patch(self.store, "finishAttempt", lambda *args: fail(failures.pop(0)))
        self.submit(new("note", 1))
        self.step()
        self.assertEqual((failures, self.queue._roster.running), ([], {}))
        self.lose()
        self.assertLost()


class StartTests(QueueCase):
    """
    Tests for a start that the store delays.
    """

    def test_stopInterrupts(self) -> None:
        """
        A queue that is told to stop while it starts has its store end the check first.
        """
        interrupted: list[bool] = []
        acquired: Deferred[int] = Deferred()

        def interrupt() -> None:
            interrupted.append(True)
            acquired.errback(errors.QueueStopping())

        self.patch(self.store, "acquire", lambda owner: acquired)
        self.patch(self.store, "interrupt", interrupt)
        started = self.queue.start()
        stopped = self.queue.stop(30)
        self.assertEqual(interrupted, [True])
        self.failureResultOf(started, errors.QueueStopping)
        self.reactor.run()
        self.successResultOf(stopped)

    def test_unreadable(self) -> None:
        """
        A queue whose store cannot be read does not start.
        """
        self.store.readFailure = DAMAGED
        self.failureResultOf(self.queue.start(), errors.StoreDamaged)

    def test_runsAgain(self) -> None:
        """
        A store that is opened again is used as if nothing had been lost.
        """
        self.start()
        self.successResultOf(self.queue.submit([new("note", 1)]))
        self.store.failure = LOST
        self.failureResultOf(self.queue.submit([new("note", 2)]), errors.StoreLost)
        self.restart()
        self.runAll()
        self.assertEqual(self.ran, [1])
        self.assertEqual(self.successResultOf(self.queue.job(1)).state, JobState.SUCCEEDED)
