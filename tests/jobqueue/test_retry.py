"""
Tests for jobs that are started once more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed

from ganeti_pool import errors
from ganeti_pool.jobs import Job, JobFailure, JobState, OnCrash
from ganeti_pool.workerpool import DeferTask

from .againcase import AgainCase
from .queuecase import FULL, WORKER, JobFailed, Worker, new


class RetryTests(AgainCase):
    """
    Tests for L{JobQueue.retry <ganeti_pool.jobqueue.JobQueue.retry>}.
    """

    def test_failed(self) -> None:
        """
        A job that has failed waits behind the others of its priority, and is started
        once more.
        """
        self.failOne()
        self.submit(new("note", 2), new("note", 3, priority=5))
        self.takeEvents()
        job = self.retry()
        self.assertEqual((job.state, job.attempt, job.error), (JobState.QUEUED, 1, None))
        self.assertEqual(self.takeEvents(), [(1, "retried")])
        self.runAll()
        self.assertEqual(self.ran, [2, "flaky", 3])
        self.assertEqual((self.job().state, self.job().attempt), (JobState.SUCCEEDED, 2))
        self.assertEqual(
            [attempt.outcome for attempt in self.attempts()],
            [JobState.FAILED, JobState.SUCCEEDED],
        )

    def test_cancelled(self) -> None:
        """
        So is one that was cancelled, and had never begun.
        """
        self.submit(new("note", 1))
        self.successResultOf(self.queue.cancel(1))
        self.assertEqual(self.retry().state, JobState.QUEUED)
        self.runAll()
        self.assertEqual((self.ran, self.job().attempt), ([1], 1))

    def test_asksAgain(self) -> None:
        """
        To ask again is fine, also at the same time: the job starts once.
        """
        self.failOne()
        self.store.held = True
        answers = [self.queue.retry(1), self.queue.retry(1)]
        self.store.commit()
        self.release()
        states = [self.successResultOf(answer).state for answer in answers]
        self.assertEqual(states, [JobState.QUEUED] * 2)
        self.assertEqual(self.retry().state, JobState.QUEUED)
        self.runAll()
        self.assertEqual(self.ran, ["flaky"])

    def test_running(self) -> None:
        """
        A job that runs is left alone.
        """
        seen: list[JobState] = []
        self.tasks["long"] = lambda worker: seen.append(self.retry().state)
        self.submit(new("long"))
        self.runAll()
        self.assertEqual(seen, [JobState.RUNNING])
        self.assertEqual((self.job().state, self.job().attempt), (JobState.SUCCEEDED, 1))

    def test_refused(self) -> None:
        """
        A job that has succeeded, or never was, is refused, and one of another class.
        """
        self.submit(new())
        self.step()
        failure = self.failureResultOf(self.queue.retry(1), errors.JobFinished)
        self.assertEqual(failure.value.state, "succeeded")
        self.failureResultOf(self.queue.retry(2), errors.NoSuchJob)
        self.ends.append(ValueError())
        self.submit(new("flaky"))
        self.step()
        self.flushLoggedErrors(ValueError)
        self.queue.workerName = "some.Other"
        failure = self.failureResultOf(self.queue.retry(2), errors.JobNotRunnable)
        self.assertEqual(failure.value.jobID, 2)
        self.assertEqual(
            failure.getErrorMessage(),
            f"job 2 is one of {WORKER}, and this daemon runs jobs of some.Other: retry it with a "
            "daemon of that class",
        )
        self.assertEqual(self.job(2).state, JobState.FAILED)

    def test_notCommitted(self) -> None:
        """
        If the commit fails, the job stays as it was, and does not start.
        """
        self.failOne()
        self.store.failure = FULL
        self.failureResultOf(self.queue.retry(1), errors.StoreFull)
        self.recover()
        self.assertEqual(self.job().state, JobState.FAILED)
        self.assertFalse(self.step())
        self.assertEqual((self.takeEvents(), dict(self.queue.waiting)), ([], {}))

    def test_stopping(self) -> None:
        """
        A queue that stops starts nothing once more.
        """
        self.failOne()
        self.queue.stop(0)
        self.failureResultOf(self.queue.retry(1), errors.QueueStopping)

    def test_attempts(self) -> None:
        """
        A retry is one attempt more, whatever the job's C{maxAttempts}; a crash then
        finds them used up.
        """
        self.failOne(onCrash=OnCrash.RETRY, maxAttempts=1)
        self.assertEqual(self.retry().maxAttempts, 2)
        self.successResultOf(self.store.startAttempt(self.queue._journal.epoch, 1, 2))
        self.restart()
        self.assertError(1, JobState.FAILED, "interrupted")

    def test_afterRestart(self) -> None:
        """
        It waits for the next daemon too.
        """
        self.failOne()
        self.retry()
        self.restart()
        self.runAll()
        self.assertEqual((self.ran, self.job().state), (["flaky"], JobState.SUCCEEDED))

    def test_beforeTheEndIsHeard(self) -> None:
        """
        One may ask as soon as the outcome is in the store, before this daemon has
        heard so.
        """
        answers: list[Deferred[Job]] = []

        def end(worker: Worker) -> None:
            self.hold(committed)
            raise JobFailed(JobFailure("exit_nonzero", "it exited", 3))

        def committed() -> None:
            # the outcome is in the file, and its answer on its way
            (deferred, write), *rest = self.store._waiting
            job = write()
            self.store._waiting = [(deferred, lambda: job), *rest]
            answers.append(self.queue.retry(1))
            self.assertIs(self.task().state.value, "running")
            self.release()

        self.tasks["end"] = end
        self.submit(new("end"))
        self.step()
        self.assertEqual(self.successResultOf(answers[0]).state, JobState.QUEUED)
        self.tasks["end"] = self.tasks["note"]
        self.runAll()
        self.assertEqual((self.job().state, self.job().attempt), (JobState.SUCCEEDED, 2))
        self.assertIsNone(self.queue._roster.find(1))

    def afterUnheardEnd(self, ask: Callable[[], Deferred[Any]]) -> None:
        """
        Have job 1 fail, the store keep that and call it a failure, and then ask for
        something.
        """

        def meanwhile() -> None:
            self.successResultOf(ask())
            self.reactor.advance(1)

        self.unheard()
        self.meanwhile.append(meanwhile)
        self.submit(new("flaky"))
        self.step()
        self.assertEqual(self.status()["busy"], 0)

    def test_unheardEnd(self) -> None:
        """
        An attempt whose outcome the store has kept, though it said otherwise, has
        nothing to record once the job is to start again.
        """
        self.afterUnheardEnd(lambda: self.queue.retry(1))
        self.assertEqual((self.job().state, self.job().attempt), (JobState.QUEUED, 1))
        self.runAll()
        self.assertEqual((self.job().state, self.job().attempt), (JobState.SUCCEEDED, 2))

    def test_unheardEndOfACancelledOne(self) -> None:
        """
        The job is a waiting one from then on, and can be cancelled as one.
        """

        def again() -> Deferred[Any]:
            self.retry()
            return self.queue.cancel(1)

        self.afterUnheardEnd(again)
        self.assertEqual(self.job().state, JobState.CANCELLED)

    def test_unheardEndWhileItRunsAgain(self) -> None:
        """
        What the attempt finds to be over is not the next one, which runs already.
        """

        def again(worker: Worker) -> None:
            self.reactor.advance(1)
            self.assertEqual(self.status()["busy"], 1)
            self.assertIs(self.task().state.value, "running")

        def retry() -> Deferred[Any]:
            self.retry()
            self.tasks["flaky"] = again
            self.step()
            return succeed(None)

        self.open(self.store.reopened(), 2)
        self.start()
        self.afterUnheardEnd(retry)
        self.assertEqual((self.job().state, self.job().attempt), (JobState.SUCCEEDED, 2))

    def test_removedAfterUnheardEnd(self) -> None:
        """
        Neither has it when the job is gone.
        """
        self.afterUnheardEnd(lambda: self.queue.remove(1))
        self.failureResultOf(self.queue.job(1), errors.NoSuchJob)

    def test_cancelledWhilePutBack(self) -> None:
        """
        A job that was cancelled while its deferral was written may be retried before
        its worker has put it back, or after; it starts once.
        """

        def task(worker: Worker) -> None:
            if not self.ran:
                self.ran.append("deferring")
                self.hold(cancel, self.release)
                raise DeferTask()
            self.ran.append("again")

        def cancel() -> None:
            self.queue.cancel(1)
            if not isLate:
                self.queue.retry(1)

        self.tasks["defer"] = task
        for isLate in (False, True):
            self.ran.clear()
            self.open(self.store.__class__())
            self.start()
            self.submit(new("defer"))
            self.step()
            if isLate:
                self.assertEqual(self.job().state, JobState.CANCELLED)
                self.retry()
            self.runAll()
            self.assertEqual(self.ran, ["deferring", "again"])
            self.assertEqual(self.job().state, JobState.SUCCEEDED)
            self.assertEqual(dict(self.queue.waiting), {})

    def test_cancelledWhileStarting(self) -> None:
        """
        A job that was cancelled while a worker was about to start it, and retried, is
        started by another one, and by that alone.
        """
        self.submit(new("note", 1))
        self.store.failure = FULL

        def again() -> None:
            self.recover()
            self.successResultOf(self.queue.cancel(1))
            self.retry()
            self.reactor.advance(1)

        self.meanwhile.append(again)
        self.step()
        self.assertEqual(self.ran, [])
        self.runAll()
        self.assertEqual((self.ran, self.job().attempt), ([1], 1))
