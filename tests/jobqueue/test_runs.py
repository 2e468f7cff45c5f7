"""
Tests for runs and their outcomes, and for a store or a part of the queue that fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.logger import capturedLogs, formatEvent

from ganeti_pool import errors
from ganeti_pool.jobqueue._decisions import Decisions
from ganeti_pool.jobqueue._run import Run
from ganeti_pool.jobs import AttemptContext, JobFailure, JobState, OutputSize, currentAttempt
from ganeti_pool.store._base import UnitOfWork
from ganeti_pool.testing import MemoryJobStore
from ganeti_pool.workerpool import BaseWorker, DeferTask

from .queuecase import FULL, JobFailed, StartedCase, SteppingSlot, Worker, new


class RunTests(StartedCase):
    """
    Tests for attempts and their outcomes.
    """

    def test_succeeds(self) -> None:
        """
        The result of a job is recorded, with the sizes of its output.
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
        seen: list[object] = []
        run = SteppingSlot.run

        def running(slot: SteppingSlot, task: Run) -> None:
            seen.append(self.stored().state)
            run(slot, task)

        self.patch(SteppingSlot, "run", running)
        self.submit(new("note", 1))
        self.step()
        self.assertEqual((seen, self.job().state), ([JobState.RUNNING], JobState.SUCCEEDED))

    def test_exception(self) -> None:
        """
        An exception fails the job and is logged.
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
        An exception that a worker got from a pool of its own fails the job, which is not
        started again.
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
        The failure that an exception carries is recorded.
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
        A result that JSON cannot express fails the job with C{bad_result}.
        """
        self.tasks["set"] = lambda worker: {1, 2}
        self.submit(new("set"))
        self.step()
        error = self.assertError(1, JobState.FAILED, "bad_result")
        self.assertIn("JSON", error.message)

    def test_handleNotKept(self) -> None:
        """
        A handle that the store refuses is dropped and logged. The job goes on.
        """

        def task(worker: Worker) -> None:
            attempt = currentAttempt.get()
            assert attempt is not None
            self.store.failure = FULL
            attempt.recordHandle("handle")
            self.recover()
            attempt.recordHandle("\udc80")

        self.tasks["handle"] = task
        self.submit(new("handle"))
        with capturedLogs() as logs:
            self.step()
        errors = [str(event["error"]) for event in logs if "handle" in event["log_format"]]
        self.assertEqual(errors[0], "the disk is full")
        self.assertIn("the handle of job 1 cannot be stored", errors[1])
        self.assertEqual((self.attempts()[0].handle, self.job().state.value), (None, "succeeded"))

    def test_handleSharesItsBatch(self) -> None:
        """
        In a batch of an ended run, its handle is dropped, and the handle of another is kept.
        """
        self.open(MemoryJobStore(), 2)
        self.start()

        def task(worker: Worker) -> None:
            attempt = currentAttempt.get()
            assert attempt is not None
            if attempt.jobID == 2:
                attempt.recordHandle("handle 2")
                return
            with self.oneBatch():
                attempt.recordHandle("handle 1")
                self.waiting.pop().step()

        self.tasks["handle"] = task
        self.submit(new("handle"), new("handle"))
        self.step()
        self.assertEqual([self.attempts(jobID)[0].handle for jobID in (1, 2)], ["handle 1", None])

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
        A job that defers itself is queued behind the others, with the priority that it
        asks for, and keeps its number of attempts.
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
        A deferral to a priority that no job can have fails the job.
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
        A deferral that the store refuses is tried again, and the job starts only after it is
        written.
        """
        ends: list[Exception] = [DeferTask()]

        def task(worker: Worker) -> None:
            if ends:
                self.store.failure = FULL
                raise ends.pop()

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.step()
        self.assertFalse(self.step())
        self.recover()
        self.assertEqual((self.job().state, self.job().deferrals), (JobState.QUEUED, 1))
        self.step()
        self.assertEqual(self.job().state, JobState.SUCCEEDED)

    def test_unwrittenOutcome(self) -> None:
        """
        An outcome that the store refuses holds its slot, is shown, and is tried again after
        delays that grow up to half a minute. It is logged once.
        """

        def task(worker: Worker) -> None:
            self.store.failure = FULL

        self.tasks["fill"] = task
        self.submit(new("fill"), new("note", "next"))
        with capturedLogs() as logged:
            self.step()
            for delay in (1, 2, 4, 8, 16, 30, 30):
                self.assertEqual(self.dispatcher._probeAt - self.monotonic, delay)
                self.advance(delay)
                store = self.status()["store"]
                self.assertEqual((store["unwritten"], store["last_error"]), (1, str(FULL)))
                self.assertEqual(self.status()["busy"], 1)
                self.assertFalse(self.step())
        self.assertEqual(len(logged), 1, logged)
        self.assertIn("cannot be written", formatEvent(logged[0]))
        self.recover()
        self.assertEqual(self.job().state, JobState.SUCCEEDED)
        self.assertEqual(self.status()["store"]["unwritten"], 0)
        self.assertEqual(self.ran, [])
        self.step()
        self.assertEqual(self.ran, ["next"])

    def test_unwrittenStart(self) -> None:
        """
        A start that the store refuses is tried again after the same delays, and the job is
        back in its place in the meantime.
        """
        self.submit(new("note", 1), new("note", 2))
        self.store.failure = FULL
        for delay in (1, 2, 4):
            self.assertFalse(self.step())
            self.assertEqual(self.dispatcher._probeAt - self.monotonic, delay)
            self.assertEqual((self.states(1), self.status()["busy"]), (["queued"], 0))
            self.advance(delay)
        self.store.failure = None
        self.runAll()
        self.assertEqual(self.ran, [1, 2])

    def test_requestEndsTheRefusal(self) -> None:
        """
        A request that the store takes, such as a removal, ends the refusal at once: the
        waiting outcome is written with it, and jobs start again.
        """
        self.tasks["fill"] = lambda worker: setattr(self.store, "failure", FULL)
        self.submit(new(), new("fill"), new("note", 3))
        self.step()
        self.step()
        self.assertFalse(self.step())
        self.store.failure = None
        self.successResultOf(self.queue.remove(1))
        self.assertEqual(self.states(2), ["succeeded"])
        self.step()
        self.assertEqual(self.ran, [None, 3])

    def test_emptyCommit(self) -> None:
        """
        A transaction in which a request is rejected, or changes nothing, needs no room: after
        it the store still counts as full.
        """
        self.submit(new("note", 1), new("note", 2))
        self.store.failure = FULL
        self.failureResultOf(self.queue.changePriority(1, 5), errors.StoreFull)
        self.store.failure = None
        self.failureResultOf(self.queue.cancel(7), errors.NoSuchJob)
        self.successResultOf(self.queue.changePriority(1, 0))
        self.assertEqual(self.trouble(), str(FULL))
        self.assertFalse(self.step())
        self.successResultOf(self.queue.changePriority(1, 1))
        self.assertIsNone(self.trouble())
        self.runAll()
        self.assertEqual(self.ran, [2, 1])

    def test_badItemAlone(self) -> None:
        """
        A transaction that fails is done again in halves. Only the item that the store refuses
        by itself fails, and the jobs start in order afterwards.
        """
        self.submit(new("note", 0), new("note", 1))
        self.startJobs()
        self.submit(new("note", 2))
        transaction = self.store.transaction

        @contextmanager
        def refusing(epoch: int) -> Iterator[UnitOfWork]:
            with transaction(epoch) as unit:
                yield unit
                queued = [unit.job(one.id) for one in unit.queuedJobs(99)]
                if any(job.name == "bad" for job in queued):
                    raise errors.InvalidArgument("it cannot be stored")

        self.patch(self.store, "transaction", refusing)
        with self.oneBatch():
            self.waiting.pop().step()
            good = self.queue.submit([new("note", 3)])
            bad = self.queue.submit([new("note", 4, title="bad"), new("note", 5)])
            moved = self.queue.changePriority(3, -1)
        self.assertEqual([job.id for job in self.successResultOf(good)], [4])
        self.failureResultOf(bad, errors.InvalidArgument)
        self.assertEqual(self.successResultOf(moved).priority, -1)
        self.assertEqual(self.states(1), ["succeeded"])
        self.assertEqual(dict(self.queue.waiting), {-1: 1, 0: 2})
        self.runAll()
        self.assertEqual(self.ran, [0, 2, 1, 3])

    def test_anotherOwner(self) -> None:
        """
        When another daemon owns the store, the queue breaks with an error that names it.
        Everything that waits fails, and nothing is started.
        """
        waiting = self.queue.changedJobs(9, 10, 60)
        self.submit(new("note", 1))
        self.store.reopened().acquire("host:2")
        refused = self.failureResultOf(self.queue.submit([new()]), errors.OwnershipLost)
        self.assertIn("the daemon host:2", refused.getErrorMessage())
        self.assertEqual(self.successResultOf(waiting), [])
        (failure,) = self.broken
        failure.trap(errors.OwnershipLost)
        self.assertFalse(self.step())
        self.failureResultOf(self.queue.setActive(True), errors.OwnershipLost)
        self.failureResultOf(self.queue.quiesce(), errors.OwnershipLost)
        self.assertEqual(self.job().state, JobState.QUEUED)
        self.assertIn("host:2", self.trouble() or "")
        self.successResultOf(self.queue.stop(10))
        self.assertEqual(len(self.broken), 1)

    def test_ownershipLostInABatch(self) -> None:
        """
        Ownership that is lost in the middle of a batch leaves the store to its new owner:
        neither the end nor the request is in it.
        """
        self.submit(new("note", 1))
        self.startJobs()
        with self.oneBatch():
            self.waiting.pop().step()
            submitted = self.queue.submit([new()])
            self.store.reopened().acquire("host:2")
        self.failureResultOf(submitted, errors.OwnershipLost)
        self.assertEqual(
            (self.stored().state, len(self.store._journal.jobs)), (JobState.RUNNING, 1)
        )

    def test_dispatcherRaises(self) -> None:
        """
        An exception in the dispatcher breaks the queue. The next daemon continues from the
        store.
        """
        self.submit(new("note", 1))
        with self.oneBatch():
            submitted = self.queue.submit([new()])
            self.patch(Decisions, "submit", None)
        self.failureResultOf(submitted, errors.QueueBroken)
        self.broken[0].trap(TypeError)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.restart()
        self.runAll()
        self.assertEqual(self.ran, [1])

    def test_projectionRaises(self) -> None:
        """
        An exception where the reactor applies a batch breaks the queue, after which no batch
        is applied.
        """
        with self.oneBatch():
            submitted = self.queue.submit([new("note", 1)])
            self.patch(self.queue._projection, "depths", None)
        self.failureResultOf(submitted, errors.QueueBroken)
        self.broken[0].trap(AttributeError)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.runAll()
        self.assertEqual(len(self.broken), 1)
        self.successResultOf(self.queue.stop(0))
        self.assertEqual(self.ran, [])
        self.restart()
        self.runAll()
        self.assertEqual(self.ran, [1])
