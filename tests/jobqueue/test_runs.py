"""
Tests for attempts and their outcomes.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

from ganeti_pool import errors
from ganeti_pool.jobs import (
    AttemptContext,
    JobFailure,
    JobState,
    Outcome,
    OutputSize,
    currentAttempt,
)
from ganeti_pool.workerpool import BaseWorker, DeferTask

from .queuecase import FULL, StartedCase, JobFailed, Worker, new


class RunTests(StartedCase):
    """
    Tests for attempts and their outcomes.
    """

    def test_succeeds(self) -> None:
        """
        A job's result is recorded, with what was kept of its output.
        """

        def task(worker: Worker, number: int) -> dict[str, int]:
            attempt = currentAttempt.get()
            assert attempt is not None and attempt.outputDirectory is not None
            self.assertEqual((attempt.jobID, attempt.attempt), (1, 1))
            self.assertEqual(attempt.stateDirectory, os.path.abspath(self.directory))
            self.assertTrue(os.path.isdir(attempt.outputDirectory))
            Path(attempt.outputDirectory, "stdout").write_text("text")
            output = self.queue.readOutput(1, 1, "stdout", 1)
            self.assertEqual(self.successResultOf(output), b"ext")
            self.assertEqual(self.job().state, JobState.RUNNING)
            self.assertEqual(self.status()["busy"], 1)
            attempt.recordHandle("handle")
            attempt.recordOutput({"stdout": OutputSize(5, False)})
            return {"twice": 2 * number}

        self.tasks["double"] = task
        self.submit(new("double", 21))
        self.step()
        job = self.job()
        self.assertEqual((job.state, job.result), (JobState.SUCCEEDED, {"twice": 42}))
        self.assertEqual(job.output, {"stdout": OutputSize(5, False)})
        (attempt,) = self.attempts()
        self.assertEqual((attempt.handle, attempt.outcome), ("handle", JobState.SUCCEEDED))
        self.assertIsNone(currentAttempt.get())
        self.assertEqual(self.status()["busy"], 0)

    def test_startIsCommitted(self) -> None:
        """
        A job does not run before its start is committed.
        """
        self.submit(new("note", 1))
        seen: list[object] = []
        self.hold(lambda: seen.append((self.job().state, list(self.ran))), self.store.commit)
        self.step()
        self.assertEqual(seen, [(JobState.QUEUED, [])])
        self.assertEqual(self.job().state, JobState.SUCCEEDED)

    def test_exception(self) -> None:
        """
        What a job raises is its failure, and is logged.
        """

        def task(worker: Worker) -> None:
            raise ValueError("x" * 5000)

        self.tasks["fail"] = task
        self.submit(new("fail"))
        self.step()
        error = self.assertError(1, JobState.FAILED, "exception")
        self.assertTrue(error.message.startswith("ValueError: xxx"))
        self.assertEqual(len(error.message), 1000)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_exceptionOfAPool(self) -> None:
        """
        A worker that raises what a pool of its own told it has failed, and does not
        run again.
        """

        def fail(worker: BaseWorker) -> None:
            raise errors.TaskCancelled("another pool", 1)

        self.tasks["fail"] = fail
        self.submit(new("fail"))
        self.runAll()
        self.assertError(1, JobState.FAILED, "exception")
        self.assertEqual(len(self.flushLoggedErrors(errors.TaskCancelled)), 1)

    def test_toldFailure(self) -> None:
        """
        An exception can say what is recorded of it.
        """
        told = JobFailure("exit_nonzero", "it exited", 3)

        def task(worker: Worker) -> None:
            raise JobFailed(told)

        self.tasks["fail"] = task
        self.submit(new("fail"))
        self.step()
        self.assertEqual((self.job().state, self.job().error), (JobState.FAILED, told))

    def test_badResult(self) -> None:
        """
        A result that JSON cannot say is a failure that says so.
        """
        self.tasks["set"] = lambda worker: {1, 2}
        self.submit(new("set"))
        self.step()
        error = self.assertError(1, JobState.FAILED, "bad_result")
        self.assertIn("JSON", error.message)

    def recordHandle(self, failure: errors.PoolError) -> None:
        """
        Run a job that records a handle with a store that fails.
        """

        def task(worker: Worker) -> None:
            attempt = currentAttempt.get()
            assert attempt is not None
            self.store.failure = failure
            try:
                attempt.recordHandle("handle")
            finally:
                self.store.failure = None

        self.tasks["handle"] = task
        self.submit(new("handle"))
        self.step()
        self.assertIsNone(self.attempts()[0].handle)

    def test_handleNotKept(self) -> None:
        """
        A handle that finds no room does not end its job.
        """
        self.recordHandle(FULL)
        self.assertEqual(self.job().state, JobState.SUCCEEDED)

    def test_handleOfAnotherOwner(self) -> None:
        """
        A handle that another owner's store rejects does not end its job by itself.
        """
        self.recordHandle(errors.OwnershipLost(1, 2))
        self.assertEqual(self.job().state, JobState.SUCCEEDED)

    def test_lateHandle(self) -> None:
        """
        A handle that arrives when its attempt has ended is dropped.
        """
        contexts: list[AttemptContext | None] = []
        self.tasks["end"] = lambda worker: contexts.append(currentAttempt.get())
        self.submit(new("end"))
        self.step()
        assert contexts[0] is not None
        contexts[0].recordHandle("handle")
        self.assertIsNone(self.attempts()[0].handle)

    def test_deferral(self) -> None:
        """
        A job that defers itself waits behind the others, with the priority that it
        asks for, and has not used up an attempt.
        """

        def task(worker: Worker) -> str:
            self.ran.append("deferring")
            if self.job().deferrals == 0:
                raise DeferTask(priority=7)
            return "done"

        self.tasks["defer"] = task
        self.submit(new("defer"), new("note", 1, priority=7))
        self.step()
        job = self.job()
        self.assertEqual((job.state, job.priority, job.attempt), (JobState.QUEUED, 7, 0))
        self.assertGreater(job.position, self.job(2).position)
        self.runAll()
        self.assertEqual(self.ran, ["deferring", 1, "deferring"])
        job = self.job()
        self.assertEqual((job.result, job.attempt, job.deferrals), ("done", 1, 1))

    def test_badDeferral(self) -> None:
        """
        A deferral to a priority that no job can have is a failure.
        """
        for priority in (0.5, 2**63):

            def task(worker: Worker, priority: float = priority) -> None:
                raise DeferTask(priority)

            self.tasks["defer"] = task
            (jobID,) = self.submit(new("defer"))
            self.runAll()
            self.assertError(jobID, JobState.FAILED, "exception")
            self.flushLoggedErrors(errors.InvalidArgument)

    def test_deferralNotWritten(self) -> None:
        """
        A deferral is written before the job can start again, however often that
        is tried.
        """
        deferring = [True]

        def task(worker: Worker) -> None:
            if deferring:
                deferring.clear()
                self.store.failure = FULL
                self.meanwhile += [self.recover]
                raise DeferTask()

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.step()
        self.assertEqual((self.job().state, self.job().deferrals), (JobState.QUEUED, 1))
        self.step()
        self.assertEqual(self.job().state, JobState.SUCCEEDED)

    def recover(self) -> None:
        """
        There is room again, and time passes.
        """
        self.store.failure = None
        self.reactor.advance(30)

    def test_unwrittenOutcome(self) -> None:
        """
        An outcome that cannot be written holds its worker, is tried again after
        pauses that grow up to half a minute, and shows. It is logged once.
        """
        tried: list[int] = []

        def meanwhile() -> None:
            store = self.status()["store"]
            self.assertEqual((store["unwritten"], store["last_error"]), (1, "the disk is full"))
            self.assertEqual(self.status()["busy"], 1)
            tried.append(
                round(self.reactor.getDelayedCalls()[0].getTime() - self.reactor.seconds())
            )
            self.reactor.advance(tried[-1])

        def task(worker: Worker) -> None:
            self.store.failure = FULL
            self.meanwhile += [*[meanwhile] * 7, self.recover]

        self.tasks["fill"] = task
        self.submit(new("fill"), new("note", "next"))
        with capturedLogs() as logged:
            self.step()
        self.assertEqual(len(logged), 1, logged)
        self.assertIn("cannot be written", formatEvent(logged[0]))
        self.assertEqual(tried, [1, 2, 4, 8, 16, 30, 30])
        self.assertEqual(self.job().state, JobState.SUCCEEDED)
        self.assertEqual(self.status()["store"]["unwritten"], 0)
        self.assertEqual(self.ran, [])

    def test_unwrittenStart(self) -> None:
        """
        A start that cannot be written is tried again, and the job is not lost.
        """
        self.submit(new("note", 1))
        self.store.failure = FULL
        seen: list[object] = []
        self.meanwhile = [lambda: seen.append(self.status()["store"]["unwritten"]), self.recover]
        self.step()
        self.assertEqual((self.ran, seen), ([1], [0]))

    def test_firstOutcomeWins(self) -> None:
        """
        An outcome that comes second is dropped, and the worker goes on.
        """

        def task(worker: Worker) -> str:
            outcome = Outcome(JobState.FAILED, error=JobFailure("first", "it was first"))
            self.successResultOf(self.store.finishAttempt(1, 1, 1, outcome))
            return "second"

        self.tasks["slow"] = task
        self.submit(new("slow"), new("note", 1))
        self.runAll()
        self.assertError(1, JobState.FAILED, "first")
        self.assertEqual(self.ran, [1])

    def test_secondOutcome(self) -> None:
        """
        A completion refuses a second result, and drops a second failure.
        """
        self.submit(new())
        task = self.task()
        self.step()
        self.assertRaises(errors.AlreadyCompleted, task.succeed, 1)
        task.fail(Failure(ValueError()))
        self.assertEqual(self.job().state, JobState.SUCCEEDED)

    def test_anotherOwner(self) -> None:
        """
        When another daemon has the store, nothing is started any more, and the
        status says why.
        """
        self.tasks["lose"] = lambda worker: self.successResultOf(self.store.acquire("other"))
        self.submit(new("lose"), new("note", 1))
        self.runAll()
        self.assertEqual(self.ran, [])
        status = self.status()
        self.assertFalse(status["active"])
        self.assertIn("owned by epoch 2", status["store"]["last_error"])
        self.failureResultOf(self.queue.setActive(True), errors.OwnershipLost)
        self.failureResultOf(self.queue.submit([new()]), errors.OwnershipLost)

    def test_startOfAnotherOwner(self) -> None:
        """
        A start that another owner of the store refuses is not one.
        """
        self.submit(new("note", 1), new("note", 2))
        self.successResultOf(self.store.acquire("other"))
        self.runAll()
        self.assertEqual(self.ran, [])
        self.assertEqual(self.job().state, JobState.QUEUED)
        self.assertEqual(self.status()["busy"], 0)
