"""
Tests for the job queue: the store and the pool together.

The pool makes its steps on the test's thread. Where a worker's thread would wait
for the reactor, the test does what is to happen meanwhile, and then commits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from ganeti_pool import errors
from ganeti_pool.interfaces import IJobQueue
from ganeti_pool.jobqueue import JobQueue
from ganeti_pool.jobs import (
    Attempt,
    Job,
    JobFailure,
    JobFilter,
    JobState,
    NewJob,
    OnCrash,
    Outcome,
    OutputSize,
    currentAttempt,
)
from ganeti_pool.paths import StatePaths
from ganeti_pool.testing import FakeReactor, MemoryJobStore, makeSteppingPool
from ganeti_pool.workerpool import BaseWorker, DeferTask

WORKER = "tests.test_jobqueue.Worker"

NOON = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=timezone.utc)

FULL = errors.StoreFull("the disk is full")

Task = Callable[..., object]


class Worker(BaseWorker):
    """
    Does what the test has put under the name that is the job's first argument.
    """

    tasks: ClassVar[dict[str, Task]] = {}

    def RunTask(self, name: str, *args: Any) -> object:
        """
        Do it.
        """
        return self.tasks[name](self, *args)


class Told(Exception):
    """
    A failure that says what to record.
    """

    def __init__(self, failure: JobFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def new(name: str = "note", *args: Any, **fields: Any) -> NewJob:
    """
    A job to submit.
    """
    return NewJob(WORKER, (name, *args), fields.pop("title", name), **fields)


class QueueCase(SynchronousTestCase):
    """
    A queue over a store in memory.

    @ivar ran: what the jobs of the task C{note} were given, in the order in which
        they ran.
    @ivar meanwhile: what is to happen, one after the other, each time that a
        worker waits for the reactor and nothing comes by itself.
    """

    def setUp(self) -> None:
        self.ran: list[object] = []
        self.meanwhile: list[Callable[[], object]] = []
        self.reaped: list[Sequence[str]] = []
        self.reap: Deferred[Any] = succeed(0)
        self.directory = self.mktemp()
        self.monotonic = 100.0
        self.tasks: dict[str, Task] = {"note": lambda worker, what=None: self.ran.append(what)}
        self.patch(Worker, "tasks", self.tasks)
        self.open(MemoryJobStore(lambda: NOON))

    def open(self, store: MemoryJobStore, numWorkers: int = 1) -> None:
        """
        Make a queue over a store, and do not start it.
        """
        self.store = store
        self.pool, self.stepping, self.reactor = makeSteppingPool(numWorkers, Worker)
        self.queue = JobQueue(
            self.reactor,
            self.pool,
            store,
            WORKER,
            StatePaths.at(self.directory),
            reap=self.reapAll,
            callAndWait=self.callAndWait,
            now=lambda: NOON,
            monotonic=lambda: self.monotonic,
        )

    def reapAll(self, handles: Sequence[str]) -> Deferred[Any]:
        self.reaped.append(handles)
        return self.reap

    def start(self) -> None:
        """
        Start the queue.
        """
        self.successResultOf(self.queue.start())

    def restart(self, numWorkers: int = 1) -> None:
        """
        Another daemon over the same store, after a kill of this one.
        """
        self.open(self.store.reopened(), numWorkers)
        self.start()

    def callAndWait(self, f: Callable[[], Deferred[Any]]) -> Any:
        """
        What a worker's thread does to have something done by the reactor.
        """
        results: list[Any] = []
        f().addBoth(results.append)
        while not results:
            (self.meanwhile.pop(0) if self.meanwhile else self.store.commit)()
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def hold(self, *meanwhile: Callable[[], object]) -> None:
        """
        Hold commits, and say what happens meanwhile.
        """
        self.store.held = True
        self.meanwhile += meanwhile

    def release(self) -> None:
        """
        Commit what was held, and hold nothing any more.
        """
        self.store.held = False
        self.store.commit()

    def submit(self, *jobs: NewJob) -> list[int]:
        """
        Submit jobs, and give their ids.
        """
        return [job.id for job in self.successResultOf(self.queue.submit(jobs))]

    def job(self, jobID: int = 1) -> Job:
        return self.successResultOf(self.queue.job(jobID))

    def attempts(self, jobID: int = 1) -> list[Attempt]:
        return self.successResultOf(self.queue.attempts(jobID))

    def status(self) -> dict[str, Any]:
        return self.successResultOf(self.queue.poolStatus())

    def assertError(self, jobID: int, state: JobState, code: str) -> JobFailure:
        """
        A job has ended so.
        """
        job = self.job(jobID)
        assert job.error is not None, job
        self.assertEqual((job.state, job.error.code), (state, code))
        return job.error

    def runNested(self) -> None:
        """
        Have the task C{nested} make a step itself, as if two ran at once.
        """
        self.tasks["nested"] = lambda worker: self.stepping.step()


class SubmitTests(QueueCase):
    """
    Tests for L{JobQueue.submit}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def test_interface(self) -> None:
        """
        The queue keeps its contract.
        """
        self.assertTrue(verifyObject(IJobQueue, self.queue))

    def test_order(self) -> None:
        """
        Jobs start by priority, and in the order of submission within one.
        """
        self.submit(new("note", 1), new("note", 2, priority=-5))
        self.submit(new("note", 3, priority=-5), new("note", 4))
        self.stepping.runAll()
        self.assertEqual(self.ran, [2, 3, 1, 4])

    def test_afterCommit(self) -> None:
        """
        A job is answered and enters the heap after its commit, not before.
        """
        self.store.held = True
        answer = self.queue.submit([new()])
        self.assertNoResult(answer)
        self.assertFalse(self.stepping.step())
        self.release()
        self.assertEqual([job.id for job in self.successResultOf(answer)], [1])
        self.assertTrue(self.stepping.step())

    def test_notCommitted(self) -> None:
        """
        A job that the store has no room for is refused, and never runs.
        """
        self.store.failure = FULL
        self.failureResultOf(self.queue.submit([new()]), errors.StoreFull)
        self.assertEqual(self.status()["store"]["last_error"], "the disk is full")
        self.store.failure = None
        self.submit(new("note", "later"))
        self.stepping.runAll()
        self.assertEqual(self.ran, ["later"])
        self.assertIsNone(self.status()["store"]["last_error"])

    def test_otherWorker(self) -> None:
        """
        A job of another worker class is refused, and all that came with it.
        """
        other = NewJob("some.Other", (), "x")
        failure = self.failureResultOf(self.queue.submit([new(), other]), errors.InvalidJob)
        self.assertEqual(
            [problem[:2] for problem in failure.value.problems], [("/1/worker", "other_worker")]
        )
        failure = self.failureResultOf(self.queue.submit([other]), errors.InvalidJob)
        self.assertEqual(failure.value.problems[0][0], "/worker")
        self.assertEqual(self.status()["jobs"]["queued"], 0)

    def test_manyProblems(self) -> None:
        """
        Of very many wrong jobs some are told.
        """
        wrong = [NewJob("some.Other", (), "x")] * 1000
        failure = self.failureResultOf(self.queue.submit(wrong), errors.InvalidJob)
        self.assertEqual(len(failure.value.problems), 50)

        def check(args: object) -> None:
            raise errors.InvalidJob([("/args", "bad", "it is bad")] * 40)

        self.patch(self.queue, "_checkArgs", check)
        failure = self.failureResultOf(self.queue.submit([new(), new()]), errors.InvalidJob)
        self.assertEqual(len(failure.value.problems), 50)

    def test_waitingForAnotherClass(self) -> None:
        """
        A queue does not start over unfinished jobs of another worker class, which
        stay as they are.
        """
        self.submit(new("note", 1))
        self.open(self.store.reopened())
        self.queue.workerName = "some.Other"
        failure = self.failureResultOf(self.queue.start(), errors.StoreError)
        self.assertIn(f"unfinished jobs of {WORKER}", failure.getErrorMessage())
        self.assertIn("runs some.Other", failure.getErrorMessage())
        self.restart()
        self.stepping.runAll()
        self.assertEqual(self.ran, [1])

    def test_checkedArguments(self) -> None:
        """
        What the worker class says of arguments is told for each job.
        """

        def check(args: object) -> None:
            if args != ("note",):
                raise errors.InvalidJob([("/args/0", "bad", "it is bad")])

        self.queue._checkArgs = check
        refused = self.queue.submit([new(), new("other")])
        problems = self.failureResultOf(refused, errors.InvalidJob).value.problems
        self.assertEqual(problems, [("/1/args/0", "bad", "it is bad")])
        self.assertEqual(self.submit(new()), [1])


class RunTests(QueueCase):
    """
    Tests for attempts and their outcomes.
    """

    def setUp(self) -> None:
        super().setUp()
        self.start()

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
            self.assertEqual(
                os.path.join(attempt.outputDirectory, "stdout"),
                self.queue.outputPath(1, 1, "stdout"),
            )
            self.assertEqual(self.job().state, JobState.RUNNING)
            self.assertEqual(self.status()["busy"], 1)
            attempt.recordHandle("handle")
            attempt.recordOutput({"stdout": OutputSize(5, False)})
            return {"twice": 2 * number}

        self.tasks["double"] = task
        self.submit(new("double", 21))
        self.stepping.step()
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
        self.stepping.step()
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
        self.stepping.step()
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
        self.stepping.runAll()
        self.assertError(1, JobState.FAILED, "exception")
        self.assertEqual(len(self.flushLoggedErrors(errors.TaskCancelled)), 1)

    def test_toldFailure(self) -> None:
        """
        An exception can say what is recorded of it.
        """
        told = JobFailure("exit_nonzero", "it exited", 3)

        def task(worker: Worker) -> None:
            raise Told(told)

        self.tasks["fail"] = task
        self.submit(new("fail"))
        self.stepping.step()
        self.assertEqual((self.job().state, self.job().error), (JobState.FAILED, told))

    def test_badResult(self) -> None:
        """
        A result that JSON cannot say is a failure that says so.
        """
        self.tasks["set"] = lambda worker: {1, 2}
        self.submit(new("set"))
        self.stepping.step()
        error = self.assertError(1, JobState.FAILED, "bad_result")
        self.assertIn("JSON", error.message)

    def obstruct(self) -> Path:
        """
        Have no place for output.

        @return: what is in the way.
        """
        Path(self.directory).mkdir()
        obstacle = Path(self.directory, "output")
        obstacle.write_text("in the way")
        return obstacle

    def test_noOutputDirectory(self) -> None:
        """
        A job whose output cannot be kept stays queued, and the worker waits, longer
        each time, until it can; the status says why.
        """
        obstacle = self.obstruct()

        def meanwhile() -> None:
            self.assertEqual((self.job().state, self.status()["busy"]), (JobState.QUEUED, 0))
            self.assertIn("output of jobs cannot be kept", self.status()["store"]["last_error"])
            self.reactor.advance(1)

        def mended() -> None:
            (pause,) = self.reactor.getDelayedCalls()
            self.assertEqual(pause.getTime() - self.reactor.seconds(), 2)
            obstacle.unlink()
            self.reactor.advance(2)

        self.meanwhile += [meanwhile, mended]
        self.submit(new("note", 1))
        self.stepping.step()
        self.assertEqual((self.ran, self.meanwhile), ([1], []))
        self.assertEqual((self.job().state, self.job().attempt), (JobState.SUCCEEDED, 1))
        self.assertIsNone(self.status()["store"]["last_error"])

    def test_cancelledWithoutOutputDirectory(self) -> None:
        """
        Meanwhile it can be cancelled, which lets its worker go.
        """
        self.obstruct()

        def cancel() -> None:
            self.successResultOf(self.queue.cancel(1))
            self.reactor.advance(1)

        self.meanwhile += [cancel]
        self.submit(new())
        self.stepping.step()
        self.assertEqual((self.job().state, self.ran), (JobState.CANCELLED, []))

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
        self.stepping.step()
        self.assertIsNone(self.attempts()[0].handle)

    def test_handleNotKept(self) -> None:
        """
        A handle that finds no room does not end its job.
        """
        self.recordHandle(FULL)
        self.assertEqual(self.job().state, JobState.SUCCEEDED)

    def test_handleOfAnotherOwner(self) -> None:
        """
        A job whose store has another owner ends.
        """
        self.recordHandle(errors.OwnershipLost(1, 2))
        self.assertError(1, JobState.FAILED, "exception")
        self.flushLoggedErrors(errors.OwnershipLost)

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
        self.stepping.step()
        job = self.job()
        self.assertEqual((job.state, job.priority, job.attempt), (JobState.QUEUED, 7, 0))
        self.assertGreater(job.position, self.job(2).position)
        self.stepping.runAll()
        self.assertEqual(self.ran, ["deferring", 1, "deferring"])
        job = self.job()
        self.assertEqual((job.result, job.attempt, job.deferrals), ("done", 1, 1))

    def test_outputOfEachRun(self) -> None:
        """
        What a run before a deferral has kept is not taken for that of the next.
        """

        def task(worker: Worker) -> None:
            attempt = currentAttempt.get()
            assert attempt is not None
            if self.job().deferrals == 0:
                attempt.recordOutput({"stdout": OutputSize(5, False)})
                raise DeferTask()

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.stepping.runAll()
        self.assertEqual((self.job().state, self.job().output), (JobState.SUCCEEDED, None))

    def test_badDeferral(self) -> None:
        """
        A deferral to a priority that no job can have is a failure.
        """
        for priority in (0.5, 2**63):

            def task(worker: Worker, priority: float = priority) -> None:
                raise DeferTask(priority)

            self.tasks["defer"] = task
            (jobID,) = self.submit(new("defer"))
            self.stepping.runAll()
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
        self.stepping.step()
        self.assertEqual((self.job().state, self.job().deferrals), (JobState.QUEUED, 1))
        self.stepping.step()
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
        pauses that grow up to half a minute, and shows.
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
        self.stepping.step()
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
        self.stepping.step()
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
        self.stepping.runAll()
        self.assertError(1, JobState.FAILED, "first")
        self.assertEqual(self.ran, [1])

    def test_secondOutcome(self) -> None:
        """
        A completion refuses a second result, and drops a second failure.
        """
        self.submit(new())
        task = self.queue._runs.tasks[1]
        self.stepping.step()
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
        self.stepping.runAll()
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
        self.stepping.runAll()
        self.assertEqual(self.ran, [])
        self.assertEqual(self.job().state, JobState.QUEUED)
        self.assertEqual(self.status()["busy"], 0)


class PriorityTests(QueueCase):
    """
    Tests for L{JobQueue.changePriority}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def order(self) -> list[object]:
        self.store.held = False
        self.store.failure = None
        self.store.commit()
        self.stepping.runAll()
        return self.ran

    def test_moves(self) -> None:
        """
        A queued job moves in the heap and in the store.
        """
        self.submit(new("note", 1), new("note", 2))
        self.assertEqual(self.successResultOf(self.queue.changePriority(2, -1)).priority, -1)
        self.assertEqual(self.job(2).priority, -1)
        self.assertEqual(self.order(), [2, 1])

    def test_notCommitted(self) -> None:
        """
        If the commit fails, the job is where it was.
        """
        self.submit(new("note", 1), new("note", 2), new("note", 3))
        self.store.failure = FULL
        self.failureResultOf(self.queue.changePriority(2, -1), errors.StoreFull)
        self.assertEqual(self.order(), [1, 2, 3])

    def test_twoAtOnce(self) -> None:
        """
        Two changes of one job are made one after the other, so that the second
        stands though the first has failed.
        """
        self.submit(new("note", 1), new("note", 2), new("note", 3))
        self.store.held = True
        first = self.queue.changePriority(2, 10)
        second = self.queue.changePriority(2, -10)
        self.store.failure = FULL
        self.store.commit()
        self.store.failure = None
        self.failureResultOf(first, errors.StoreFull)
        self.assertNoResult(second)
        self.store.commit()
        self.assertEqual(self.successResultOf(second).priority, -10)
        self.assertEqual(self.order(), [2, 1, 3])
        self.assertEqual(self.queue._runs._locks, {})

    def test_laterFails(self) -> None:
        """
        If the later of two fails, the job stays where the first has put it.
        """
        self.submit(new("note", 1), new("note", 2), new("note", 3))
        self.successResultOf(self.queue.changePriority(2, -10))
        self.store.failure = FULL
        self.failureResultOf(self.queue.changePriority(2, 10), errors.StoreFull)
        self.assertEqual(self.order(), [2, 1, 3])

    def test_notQueued(self) -> None:
        """
        A job that runs, has ended, or never was, cannot be moved.
        """
        refused: list[str] = []

        def task(worker: Worker) -> None:
            failure = self.failureResultOf(self.queue.changePriority(1, 5), errors.JobNotQueued)
            refused.append(failure.value.state)

        self.tasks["move"] = task
        self.submit(new("move"))
        self.stepping.step()
        failure = self.failureResultOf(self.queue.changePriority(1, 5), errors.JobNotQueued)
        self.assertEqual([*refused, failure.value.state], ["running", "succeeded"])
        self.failureResultOf(self.queue.changePriority(2, 5), errors.NoSuchJob)

    def test_justTaken(self) -> None:
        """
        A job that a worker has taken is not queued, though its start is not
        committed yet.
        """
        self.submit(new("note", 1))
        changes: list[Deferred[Job]] = []

        def change() -> None:
            self.store.failure = FULL
            self.store.commit()
            # now the start rests, and the job is queued in the store
            changes.append(self.queue.changePriority(1, 5))
            self.store.failure = None
            self.reactor.advance(1)

        self.hold(change)
        self.stepping.step()
        failure = self.failureResultOf(changes[0], errors.JobNotQueued)
        self.assertEqual(failure.value.state, "running")
        self.assertEqual(self.ran, [1])

    def test_startWaits(self) -> None:
        """
        A start waits for a change that is being committed; if that fails, there is
        nothing to put back.
        """
        self.submit(new("note", 1))
        self.store.held = True
        change = self.queue.changePriority(1, 5)

        def refuse() -> None:
            self.store.failure = FULL
            self.store.commit()
            self.store.failure = None

        self.meanwhile = [refuse]
        self.stepping.step()
        self.failureResultOf(change, errors.StoreFull)
        self.assertEqual((self.ran, self.job().priority), ([1], 0))


class KeyTests(QueueCase):
    """
    Tests for jobs that are submitted again.
    """

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def test_runsOnce(self) -> None:
        """
        A job that is submitted again, waiting or running or ended, or twice in a
        list, runs once.
        """
        job = new("again", key="k")
        self.tasks["again"] = lambda worker: self.ran.append(self.submit(job))
        self.assertEqual(self.submit(job, job), [1, 1])
        self.assertEqual(self.submit(job, new("note", 2)), [1, 2])
        self.stepping.runAll()
        self.assertEqual(self.submit(job), [1])
        self.assertFalse(self.stepping.step())
        self.assertEqual(self.ran, [[1], 2])

    def test_afterRestart(self) -> None:
        """
        The next daemon knows the keys too.
        """
        self.submit(new("note", 1, key="k"))
        self.restart()
        self.assertEqual(self.submit(new("note", 1, key="k")), [1])
        self.stepping.runAll()
        self.assertEqual(self.ran, [1])

    def test_conflict(self) -> None:
        """
        Another job of the same key is refused, with all that came with it.
        """
        self.submit(new("note", 1, key="k"))
        submitted = self.queue.submit([new("note", 2), new("note", 3, key="k")])
        self.failureResultOf(submitted, errors.KeyConflict)
        self.stepping.runAll()
        self.assertEqual(self.ran, [1])

    def test_keptButCalledFailure(self) -> None:
        """
        A job that the store has kept, and called a failure, waits once it is
        submitted again.
        """
        self.successResultOf(
            self.store.addJobs(self.queue._journal.epoch, [new("note", 1, key="k")], 0)
        )
        self.assertFalse(self.stepping.step())
        self.assertEqual(self.submit(new("note", 1, key="k")), [1])
        self.stepping.runAll()
        self.assertEqual(self.ran, [1])


class TimeoutTests(QueueCase):
    """
    Tests for jobs that may run for some time only.
    """

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def pass_(self, seconds: float) -> None:
        """
        Let time pass, by both clocks.
        """
        self.monotonic += seconds
        self.reactor.advance(seconds)

    def runFor(self, end: Callable[[Worker], object], seconds: float = 5.0) -> None:
        """
        Run a job of 5 seconds at most that takes some time, and ends so.
        """

        def task(worker: Worker) -> object:
            worker.CallWhenCancelled(lambda: self.ran.append("told"))
            self.pass_(seconds)
            return end(worker)

        self.tasks["long"] = task
        self.submit(new("long", timeout=5.0))
        self.stepping.step()

    def assertTimedOut(self) -> JobFailure:
        """
        The job was told once, and has failed with that code.
        """
        self.assertEqual(self.ran, ["told"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        return self.assertError(1, JobState.FAILED, "timeout")

    def test_told(self) -> None:
        """
        A job whose time is over is told as if it were cancelled, and fails with what
        it says of its end.
        """

        def end(worker: Worker) -> None:
            flags.append(worker.IsCancelled())
            raise Told(JobFailure("cancelled", "it was cancelled", None, "SIGTERM"))

        flags: list[bool] = []
        self.runFor(end)
        self.assertEqual(flags, [True])
        self.assertEqual(
            self.assertTimedOut(),
            JobFailure(
                "timeout", "it ran for longer than its timeout of 5 seconds", None, "SIGTERM"
            ),
        )

    def test_raises(self) -> None:
        """
        Whatever a job raises when its time is over, it fails for that.
        """

        def end(worker: Worker) -> None:
            raise ValueError()

        self.runFor(end)
        self.assertTimedOut()

    def test_succeedsLate(self) -> None:
        """
        A job that succeeds when its time is over has failed.
        """
        self.runFor(lambda worker: "all the same")
        self.assertTimedOut()
        self.assertIsNone(self.job().result)

    def test_defersLate(self) -> None:
        """
        A job that defers itself when its time is over is not put back.
        """

        def end(worker: Worker) -> None:
            raise DeferTask()

        self.runFor(end)
        self.assertTimedOut()
        self.assertFalse(self.stepping.step())

    def test_cancelled(self) -> None:
        """
        A job that was cancelled too is cancelled.
        """

        def end(worker: Worker) -> None:
            self.successResultOf(self.queue.cancel(1))
            raise ValueError()

        self.runFor(end)
        self.assertEqual(self.job().state, JobState.CANCELLED)

    def test_inTime(self) -> None:
        """
        A job that ends in time has ended, and nothing waits for its time.
        """
        self.runFor(lambda worker: "done", 4.9)
        self.assertEqual(self.job().state, JobState.SUCCEEDED)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.ran, [])

    def test_outcomeTakesNoTime(self) -> None:
        """
        While its outcome waits for the store, a job's time does not go on.
        """

        def end(worker: Worker) -> None:
            self.store.failure = FULL
            self.meanwhile += [lambda: self.pass_(20), self.recover, lambda: self.pass_(40)]

        self.runFor(end, 1.0)
        self.assertEqual(self.job().state, JobState.SUCCEEDED)

    def recover(self) -> None:
        self.store.failure = None

    def test_deferralBeginsAnew(self) -> None:
        """
        Each attempt has the whole time.
        """
        ends: list[Exception] = [DeferTask()]

        def end(worker: Worker) -> None:
            if ends:
                raise ends.pop()

        self.runFor(end, 3.0)
        self.pass_(60)
        self.stepping.step()
        self.assertEqual(self.job().state, JobState.SUCCEEDED)

    def test_clockSetForward(self) -> None:
        """
        If the reactor's clock is set forward, the job has its time nevertheless.
        """

        def end(worker: Worker) -> None:
            self.monotonic += 1
            self.reactor.advance(3600)
            flags.append(worker.IsCancelled())
            self.pass_(4)
            flags.append(worker.IsCancelled())

        flags: list[bool] = []
        self.runFor(end, 0.0)
        self.assertEqual(flags, [False, True])
        self.assertTimedOut()

    def test_overWhileDeferring(self) -> None:
        """
        A job whose time is over before its deferral is recorded is not put back.
        """
        runs = self.queue._runs
        wait = runs._callAndWait

        def late(f: Callable[[], Deferred[Any]]) -> Any:
            self.patch(runs, "_callAndWait", wait)
            self.pass_(6)
            return wait(f)

        def end(worker: Worker) -> None:
            self.patch(runs, "_callAndWait", late)
            raise DeferTask()

        self.runFor(end, 0.0)
        self.assertError(1, JobState.FAILED, "timeout")
        self.assertFalse(self.stepping.step())

    def test_failsInTime(self) -> None:
        """
        A job that fails in time has failed for its own reason, and nothing waits for
        its time.
        """

        def end(worker: Worker) -> None:
            raise ValueError()

        self.runFor(end, 4.9)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertError(1, JobState.FAILED, "exception")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_gone(self) -> None:
        """
        A job that the pool does not run when its time is over is told nothing.
        """

        def end(worker: Worker) -> None:
            def interrupt(jobID: int) -> None:
                raise errors.NoSuchTask(jobID, "pool", 0)

            self.patch(self.pool.pool, "InterruptTask", interrupt)
            self.pass_(6)

        self.runFor(end, 0.0)
        self.assertEqual(self.ran, [])
        self.assertError(1, JobState.FAILED, "timeout")


class CancelTests(QueueCase):
    """
    Tests for L{JobQueue.cancel}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def cancel(self, jobID: int = 1) -> Job:
        return self.successResultOf(self.queue.cancel(jobID))

    def test_queued(self) -> None:
        """
        A queued job is cancelled at once and never runs; to ask again is fine.
        """
        self.submit(new("note", 1), new("note", 2))
        self.assertEqual(self.cancel().state, JobState.CANCELLED)
        self.assertEqual(self.cancel().state, JobState.CANCELLED)
        self.stepping.runAll()
        self.assertEqual(self.ran, [2])
        self.assertEqual(self.queue._runs.tasks, {})

    def test_withdrawnFirst(self) -> None:
        """
        A job that is being cancelled does not start while that is committed.
        """
        self.submit(new("note", 1))
        self.store.held = True
        answer = self.queue.cancel(1)
        self.assertFalse(self.stepping.step())
        self.assertNoResult(answer)
        self.store.commit()
        self.assertEqual(self.successResultOf(answer).state, JobState.CANCELLED)

    def test_notCommitted(self) -> None:
        """
        If the commit fails, the job is back where it was.
        """
        self.submit(new("note", 1), new("note", 2, priority=-3), new("note", 3, priority=-3))
        self.store.failure = FULL
        self.failureResultOf(self.queue.cancel(2), errors.StoreFull)
        self.store.failure = None
        self.stepping.runAll()
        self.assertEqual(self.ran, [2, 3, 1])

    def test_twoAtOnce(self) -> None:
        """
        Two requests at once both get the cancelled job.
        """
        self.submit(new())
        self.store.held = True
        answers = [self.queue.cancel(1), self.queue.cancel(1)]
        self.store.commit()
        states = [self.successResultOf(answer).state for answer in answers]
        self.assertEqual(states, [JobState.CANCELLED] * 2)

    def test_finished(self) -> None:
        """
        A job that has succeeded, or that never was, cannot be cancelled.
        """
        self.submit(new())
        self.stepping.step()
        failure = self.failureResultOf(self.queue.cancel(1), errors.JobFinished)
        self.assertEqual(failure.value.state, "succeeded")
        self.failureResultOf(self.queue.cancel(2), errors.NoSuchJob)

    def interrupted(self, end: Callable[[Worker], object]) -> list[Job]:
        """
        Run a job that is cancelled while it runs, and that ends so.

        @return: the answers to two requests.
        """
        answers: list[Job] = []

        def task(worker: Worker) -> object:
            worker.CallWhenCancelled(lambda: self.ran.append("told"))
            answers.append(self.cancel())
            answers.append(self.cancel())
            self.assertTrue(worker.IsCancelled())
            return end(worker)

        self.tasks["long"] = task
        self.submit(new("long"))
        self.stepping.step()
        return answers

    def test_running(self) -> None:
        """
        A running job is told once, stays running meanwhile, and ends as cancelled,
        with what it says of its end.
        """
        told = JobFailure("cancelled", "it was cancelled", None, "SIGTERM")

        def end(worker: Worker) -> None:
            raise Told(told)

        answers = self.interrupted(end)
        self.assertEqual([job.state for job in answers], [JobState.RUNNING] * 2)
        self.assertEqual([job.cancelRequestedAt for job in answers], [NOON] * 2)
        self.assertEqual(self.ran, ["told"])
        self.assertEqual((self.job().state, self.job().error), (JobState.CANCELLED, told))

    def test_runningRaises(self) -> None:
        """
        Whatever a cancelled job raises, it ends as cancelled.
        """

        def end(worker: Worker) -> None:
            raise ValueError()

        self.interrupted(end)
        self.assertEqual((self.job().state, self.job().error), (JobState.CANCELLED, None))

    def test_runningSucceeds(self) -> None:
        """
        A job that succeeds although it was told has succeeded.
        """
        self.interrupted(lambda worker: "all the same")
        self.assertEqual(self.job().state, JobState.SUCCEEDED)

    def test_runningDefers(self) -> None:
        """
        A cancelled job that defers itself is not put back.
        """

        def end(worker: Worker) -> None:
            raise DeferTask()

        self.interrupted(end)
        self.assertEqual(self.job().state, JobState.CANCELLED)
        self.assertFalse(self.stepping.step())

    def test_runningNotCommitted(self) -> None:
        """
        A running job is not told of a request that could not be recorded.
        """

        def task(worker: Worker) -> None:
            self.store.failure = FULL
            self.failureResultOf(self.queue.cancel(1), errors.StoreFull)
            self.store.failure = None
            self.assertFalse(worker.IsCancelled())

        self.tasks["long"] = task
        self.submit(new("long"))
        self.stepping.step()
        self.assertEqual(self.job().state, JobState.SUCCEEDED)

    def test_whileStarting(self) -> None:
        """
        A job that is cancelled while its start is committed starts, and is told.
        """
        self.tasks["long"] = lambda worker: self.ran.append(worker.IsCancelled())
        self.submit(new("long"))
        answers: list[Deferred[Job]] = []
        self.hold(lambda: answers.append(self.queue.cancel(1)), self.release)
        self.stepping.step()
        self.assertEqual(self.successResultOf(answers[0]).state, JobState.RUNNING)
        self.assertEqual(self.ran, [True])

    def test_whileStartRests(self) -> None:
        """
        A job whose start waits for room can be cancelled, and does not run.
        """
        self.submit(new("note", 1))
        self.store.failure = FULL

        def cancel() -> None:
            self.store.failure = None
            self.assertEqual(self.cancel().state, JobState.CANCELLED)
            self.reactor.advance(1)

        self.meanwhile = [cancel]
        self.stepping.step()
        self.assertEqual((self.ran, self.job().state), ([], JobState.CANCELLED))
        self.assertEqual(self.status()["busy"], 0)

    def test_whileStartRestsNotCommitted(self) -> None:
        """
        If that cancellation fails, the job starts all the same, and once.
        """
        self.submit(new("note", 1))
        self.store.failure = FULL

        def cancel() -> None:
            self.failureResultOf(self.queue.cancel(1), errors.StoreFull)
            self.store.failure = None
            self.reactor.advance(1)

        self.meanwhile = [cancel]
        self.stepping.runAll()
        self.assertEqual(self.ran, [1])

    def test_whileDeferring(self) -> None:
        """
        A job that is cancelled while its deferral is committed does not run again.
        """

        def task(worker: Worker) -> None:
            self.ran.append("once")
            self.hold(lambda: answers.append(self.queue.cancel(1)), self.release)
            raise DeferTask()

        answers: list[Deferred[Job]] = []
        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.stepping.runAll()
        self.assertEqual(self.successResultOf(answers[0]).state, JobState.CANCELLED)
        self.assertEqual((self.ran, self.job().deferrals), (["once"], 1))

    def test_beforeDeferralIsWritten(self) -> None:
        """
        A job that is cancelled while its deferral waits for room is not put back.
        """

        def task(worker: Worker) -> None:
            self.store.failure = FULL
            self.meanwhile += [cancel]
            raise DeferTask()

        def cancel() -> None:
            self.store.failure = None
            self.assertEqual(self.cancel().state, JobState.RUNNING)
            self.reactor.advance(1)

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.stepping.runAll()
        self.assertEqual((self.job().state, self.job().deferrals), (JobState.CANCELLED, 0))

    def test_whileEnding(self) -> None:
        """
        The cancellation of a job whose outcome is being committed comes too late.
        """
        answers: list[Deferred[Job]] = []

        def task(worker: Worker) -> None:
            self.hold(lambda: answers.append(self.queue.cancel(1)))

        self.tasks["end"] = task
        self.submit(new("end"))
        self.stepping.step()
        self.failureResultOf(answers[0], errors.JobFinished)
        self.assertEqual(self.job().state, JobState.SUCCEEDED)

    def commitUnheard(self, state: JobState) -> Callable[..., Deferred[Job]]:
        """
        A write of an outcome that the store keeps and calls a failure.
        """
        original = self.store.finishAttempt

        def write(epoch: int, jobID: int, attempt: int, outcome: Outcome) -> Deferred[Job]:
            original(epoch, jobID, attempt, Outcome(state)).addErrback(lambda _: None)
            self.store.finishAttempt = original  # type: ignore[method-assign]
            return fail(errors.StoreError("the answer is lost"))

        return write

    def test_whileOutcomeRests(self) -> None:
        """
        The cancellation of a job whose outcome the store has, though it said
        otherwise, is answered from the store at once.
        """

        def cancel() -> None:
            answers.append(self.queue.cancel(answers[-1]))
            self.reactor.advance(1)

        answers: list[Any] = []
        self.meanwhile += [cancel, cancel]
        for state in (JobState.SUCCEEDED, JobState.CANCELLED):
            self.store.finishAttempt = self.commitUnheard(state)  # type: ignore[method-assign]
            answers += self.submit(new())
            self.stepping.step()
        self.failureResultOf(answers[1], errors.JobFinished)
        self.assertEqual(self.successResultOf(answers[3]).state, JobState.CANCELLED)

    def test_whileDeferralRests(self) -> None:
        """
        That of a job which waits again in the store alone is refused.
        """
        original = self.store.requeueAttempt
        answers: list[Deferred[Job]] = []

        def write(*args: Any) -> Deferred[Job]:
            original(*args)
            return fail(errors.StoreError("the answer is lost"))

        def cancel() -> None:
            answers.append(self.queue.cancel(1))
            self.store.requeueAttempt = original  # type: ignore[method-assign]
            self.reactor.advance(1)

        def task(worker: Worker) -> None:
            self.store.requeueAttempt = write  # type: ignore[assignment,method-assign]
            self.meanwhile += [cancel]
            raise DeferTask()

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.stepping.step()
        self.failureResultOf(answers[0], errors.StaleAttempt)
        self.flushLoggedErrors(errors.StaleAttempt)

    def test_afterOutcomeWaitsForItsTurn(self) -> None:
        """
        A cancellation that waits for its turn while the job ends sees the end.
        """
        answers: list[Deferred[Job]] = []

        def task(worker: Worker) -> None:
            self.store.held = True
            answers.append(self.queue.cancel(1))
            answers.append(self.queue.cancel(1))

        self.tasks["end"] = task
        self.submit(new("end"))
        self.stepping.step()
        self.release()
        self.assertEqual(self.successResultOf(answers[0]).state, JobState.RUNNING)
        self.failureResultOf(answers[1], errors.JobFinished)

    def test_beforeItIsInTheHeap(self) -> None:
        """
        A job that is committed, and not yet in the heap, is found there when it
        is; so one can cancel it.
        """
        self.store.held = True
        submitted = self.queue.submit([new("note", 1)])
        # what the reading side may see before the writing side has answered
        (_, write), *rest = self.store._waiting
        self.store._waiting = [(Deferred(), lambda: written), *rest]
        written = write()
        waiting = self.store._waiting[0][0]
        waiting.addCallback(lambda jobs: self.queue._places.push([self.makeTask(jobs[0])]))
        answer = self.queue.cancel(1)
        self.assertNoResult(answer)
        self.release()
        self.assertEqual(self.successResultOf(answer).state, JobState.CANCELLED)
        self.stepping.runAll()
        self.assertEqual(self.ran, [])
        self.assertNoResult(submitted)

    def makeTask(self, job: Job) -> Any:
        from ganeti_pool.jobqueue._task import JobTask

        return JobTask(self.queue._runs, job.id, job.priority, job.position, 0)


class ChangesTests(QueueCase):
    """
    Tests for L{JobQueue.changedJobs} and the other questions.
    """

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def test_atOnce(self) -> None:
        """
        What has changed is told at once, by revision, and nothing too if nobody
        wants to wait.
        """
        self.submit(new(), new())
        jobs = self.successResultOf(self.queue.changedJobs(0, 10, 60))
        self.assertEqual([job.id for job in jobs], [1, 2])
        self.assertEqual(self.successResultOf(self.queue.changedJobs(2, 10, 0)), [])

    def test_waits(self) -> None:
        """
        The answer comes with the first change; all who wait get it.
        """
        answers = [self.queue.changedJobs(0, 10, 60) for _ in range(3)]
        for answer in answers:
            self.assertNoResult(answer)
        self.submit(new())
        for answer in answers:
            self.assertEqual([job.id for job in self.successResultOf(answer)], [1])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_timeout(self) -> None:
        """
        With no change the answer is empty, after the time that was asked for.
        """
        answer = self.queue.changedJobs(0, 10, 60)
        self.reactor.advance(59)
        self.assertNoResult(answer)
        self.reactor.advance(1)
        self.assertEqual(self.successResultOf(answer), [])

    def test_otherChange(self) -> None:
        """
        A change that is not asked for does not end the wait.
        """
        answer = self.queue.changedJobs(1, 10, 60)
        self.submit(new())
        self.assertNoResult(answer)
        self.submit(new())
        self.assertEqual([job.id for job in self.successResultOf(answer)], [2])

    def test_cancelled(self) -> None:
        """
        A wait can be given up, and leaves nothing.
        """
        answer = self.queue.changedJobs(0, 10, 60)
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.queue._changes._waiting, set())

    def test_committedWhileAsked(self) -> None:
        """
        A change that is committed while the store is asked is not missed.
        """
        asked: Deferred[list[Job]] = Deferred()
        read = self.store.changedJobs
        self.patch(self.store, "changedJobs", lambda after, limit: asked)
        answer = self.queue.changedJobs(0, 10, 60)
        self.patch(self.store, "changedJobs", read)
        self.submit(new())
        asked.callback([])
        self.assertEqual([job.id for job in self.successResultOf(answer)], [1])

    def test_stop(self) -> None:
        """
        A queue that stops answers all who wait, and lets nobody wait any more.
        """
        answer = self.queue.changedJobs(0, 10, 60)
        self.queue.stop(0)
        self.assertEqual(self.successResultOf(answer), [])

    def test_list(self) -> None:
        """
        Jobs are listed from the store.
        """
        self.submit(new(), new(title="other"))
        listed = self.queue.listJobs(JobFilter(name="other"), True, 10, None)
        self.assertEqual([job.id for job in self.successResultOf(listed)], [2])


class PoolTests(QueueCase):
    """
    Tests for pause, size and status.
    """

    def test_pause(self) -> None:
        """
        A pause is recorded, and holds for the next daemon too, until it is over.
        """
        self.start()
        self.successResultOf(self.queue.setActive(False))
        self.submit(new("note", 1))
        self.assertFalse(self.stepping.step())
        self.restart()
        self.assertFalse(self.stepping.step())
        self.assertFalse(self.status()["active"])
        self.successResultOf(self.queue.setActive(True))
        self.assertTrue(self.stepping.step())

    def test_pauseNotCommitted(self) -> None:
        """
        A pause that cannot be recorded does not begin.
        """
        self.start()
        self.store.failure = FULL
        self.failureResultOf(self.queue.setActive(False), errors.StoreFull)
        self.assertTrue(self.status()["active"])

    def test_resize(self) -> None:
        """
        The number of workers changes.
        """
        self.start()
        resized = self.queue.resize(3)
        self.reactor.run()
        self.successResultOf(resized)
        self.assertEqual(self.status()["workers"], 3)

    def test_resizeOfAPoolThatEnds(self) -> None:
        """
        A pool that has begun to stop before the queue has is not resized.
        """
        self.start()
        self.pool.terminateWorkers()
        self.failureResultOf(self.queue.resize(3), errors.QueueStopping)

    def test_submitToAPoolThatEnds(self) -> None:
        """
        A job that is taken while the pool stops is for the next daemon.
        """
        self.start()
        self.pool.terminateWorkers()
        self.submit(new("note", 1))
        self.restart()
        self.stepping.runAll()
        self.assertEqual(self.ran, [1])

    def test_status(self) -> None:
        """
        The status has every key of the protocol, and times as text.
        """
        self.start()
        self.submit(new(), new(), new())
        self.stepping.step()
        status = self.status()
        waited = status["statistics"].pop("waited")
        self.assertGreaterEqual(waited, 0)
        version = status["daemon"].pop("version")
        self.assertRegex(version, r"^\d+\.\d+")
        noon = "2026-01-31T12:00:00.123Z"
        self.assertEqual(
            status,
            {
                "active": True,
                "workers": 1,
                "busy": 0,
                "statistics": {
                    "added": 3,
                    "queued": 2,
                    "running": 0,
                    "succeeded": 1,
                    "failed": 0,
                    "cancelled": 0,
                    "unstarted": 0,
                    "deferrals": 0,
                },
                "jobs": {
                    "queued": 2,
                    "running": 0,
                    "oldest_queued_at": noon,
                    "longest_running_at": None,
                    "last_day": {"succeeded": 1, "failed": 0, "cancelled": 0},
                },
                "store": {"bytes": 0, "free_bytes": 0, "unwritten": 0, "last_error": None},
                "daemon": {
                    "pid": os.getpid(),
                    "started_at": noon,
                    "worker": WORKER,
                    "state_directory": os.path.abspath(self.directory),
                    "stopping": False,
                },
            },
        )


class RestartTests(QueueCase):
    """
    Tests for L{JobQueue.start}, after a kill.
    """

    def crash(self, *jobs: NewJob) -> None:
        """
        Submit jobs, start the first, and kill the daemon while it runs.
        """
        self.start()
        self.submit(*jobs)
        epoch = self.queue._journal.epoch
        self.successResultOf(self.store.startAttempt(epoch, 1, 1))
        self.successResultOf(self.store.recordHandle(epoch, 1, 1, "handle"))

    def test_order(self) -> None:
        """
        The queue is as it was, and what is submitted later comes later.
        """
        self.start()
        self.submit(*(new("note", n) for n in range(4)))
        self.successResultOf(self.queue.changePriority(3, -1))
        self.restart()
        self.submit(new("note", 4), new("note", 5, priority=-1))
        self.stepping.runAll()
        self.assertEqual(self.ran, [2, 5, 0, 1, 3, 4])

    def test_positions(self) -> None:
        """
        A place in the queue is never given again, though nothing is queued.
        """
        self.start()
        self.submit(new(), new())
        self.stepping.runAll()
        self.restart()
        (jobID,) = self.submit(new())
        self.assertGreater(self.job(jobID).position, self.job(2).position)

    def test_interrupted(self) -> None:
        """
        What ran has failed, once the processes that its handle tells are gone.
        """
        self.crash(new("note", 1), new("note", 2))
        self.open(self.store.reopened())
        self.reap = Deferred()
        started = self.queue.start()
        self.assertEqual(self.reaped[-1], ["handle"])
        self.assertEqual(self.job().state, JobState.RUNNING)
        self.assertFalse(self.stepping.step())
        self.reap.callback(1)
        self.successResultOf(started)
        self.assertError(1, JobState.FAILED, "interrupted")
        self.stepping.runAll()
        self.assertEqual(self.ran, [2])

    def test_retried(self) -> None:
        """
        What may be tried again is, at its old place, until its attempts are used
        up.
        """
        self.crash(
            new("note", 1, priority=3, onCrash=OnCrash.RETRY, maxAttempts=2),
            new("note", 2, priority=3),
        )
        self.restart()
        self.assertEqual((self.job().state, self.job().attempt), (JobState.QUEUED, 1))
        self.stepping.step()
        self.assertEqual(self.ran, [1])
        self.assertEqual((self.job().state, self.job().attempt), (JobState.SUCCEEDED, 2))

    def test_retriedOften(self) -> None:
        """
        The last attempt that is allowed is not tried again.
        """
        self.crash(new("note", onCrash=OnCrash.RETRY, maxAttempts=2))
        self.restart()
        self.successResultOf(self.store.startAttempt(self.queue._journal.epoch, 1, 2))
        self.restart()
        self.assertError(1, JobState.FAILED, "interrupted")

    def test_cancelled(self) -> None:
        """
        What was to be cancelled is cancelled, and not tried again.
        """
        self.crash(new("note", onCrash=OnCrash.RETRY, maxAttempts=2))
        self.successResultOf(self.store.requestCancel(self.queue._journal.epoch, 1))
        self.restart()
        self.assertEqual(self.job().state, JobState.CANCELLED)

    def test_survivorsLeft(self) -> None:
        """
        While processes of an earlier daemon live, the queue does not start.
        """
        self.crash(new(), new())
        self.open(self.store.reopened())
        self.reap = fail(errors.PoolError("they live"))
        self.failureResultOf(self.queue.start(), errors.PoolError)
        self.assertEqual(self.job().state, JobState.RUNNING)
        self.assertFalse(self.stepping.step())

    def test_withoutHandle(self) -> None:
        """
        Also an attempt that has no handle yet is over.
        """
        self.start()
        self.submit(new())
        self.successResultOf(self.store.startAttempt(self.queue._journal.epoch, 1, 1))
        self.restart()
        self.assertEqual(self.reaped[-1], [])
        self.assertError(1, JobState.FAILED, "interrupted")


class StopTests(QueueCase):
    """
    Tests for L{JobQueue.stop}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.start()
        self.stopped: list[Deferred[None]] = []

    def stop(self, grace: float = 10) -> Deferred[None]:
        stopped = self.queue.stop(grace)
        self.stopped.append(stopped)
        return stopped

    def finish(self) -> None:
        """
        The queue has stopped.
        """
        self.reactor.run()
        self.successResultOf(self.stopped[-1])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.store = self.store.reopened()
        self.queue._store = self.store

    def test_queueStays(self) -> None:
        """
        What is queued stays in the store, untouched, and nothing is taken or
        changed any more.
        """
        self.submit(new("note", 1))
        revision = self.job().revision
        self.stop()
        self.assertFalse(self.stepping.step())
        self.failureResultOf(self.queue.submit([new()]), errors.QueueStopping)
        self.failureResultOf(self.queue.changePriority(1, 1), errors.QueueStopping)
        self.failureResultOf(self.queue.setActive(True), errors.QueueStopping)
        self.failureResultOf(self.queue.resize(2), errors.QueueStopping)
        self.finish()
        self.assertEqual((self.job().state, self.job().revision), (JobState.QUEUED, revision))
        self.restart()
        self.stepping.runAll()
        self.assertEqual(self.ran, [1])

    def runUntilStop(self, task: Task, grace: float = 10, **fields: Any) -> None:
        """
        Run a job during which the queue stops, and see the stop end after it.
        """

        def stopping(worker: Worker) -> object:
            self.stop(grace)
            self.assertTrue(self.status()["daemon"]["stopping"])
            result = task(worker)
            self.assertNoResult(self.stopped[-1])
            return result

        self.tasks["long"] = stopping
        self.submit(new("long", **fields), new("note", "other"))
        self.stepping.step()
        self.finish()
        self.assertEqual(self.ran, [])

    def test_grace(self) -> None:
        """
        A running job may end by itself.
        """

        def task(worker: Worker) -> str:
            self.reactor.advance(9)
            self.assertFalse(worker.IsCancelled())
            return "in time"

        self.runUntilStop(task)
        self.assertEqual(self.job().result, "in time")

    def end(self, error: Exception) -> Task:
        """
        A task that ends so when it is told to.
        """

        def task(worker: Worker) -> None:
            self.reactor.advance(10)
            self.assertTrue(worker.IsCancelled())
            raise error

        return task

    def test_interrupted(self) -> None:
        """
        One that does not is told to, and has failed as interrupted.
        """
        self.runUntilStop(self.end(Told(JobFailure("cancelled", "TERM", None, "SIGTERM"))))
        error = self.assertError(1, JobState.FAILED, "interrupted")
        self.assertEqual(error.signal, "SIGTERM")

    def test_interruptedByException(self) -> None:
        """
        Any exception of a job that was told to end is the answer to that.
        """
        self.runUntilStop(self.end(ValueError()))
        self.assertError(1, JobState.FAILED, "interrupted")

    def test_killed(self) -> None:
        """
        A job whose processes were killed for the end of the daemon is interrupted,
        also when nobody told it.
        """

        def kill(worker: Worker) -> None:
            raise Told(JobFailure("interrupted", "killed", None, "SIGKILL"))

        self.tasks["kill"] = kill
        self.submit(new("kill"), new("kill", onCrash=OnCrash.RETRY, maxAttempts=2))
        self.stepping.step()
        self.stepping.step()
        error = self.assertError(1, JobState.FAILED, "interrupted")
        self.assertEqual(error.signal, "SIGKILL")
        self.assertEqual((self.job(2).state, self.job(2).attempt), (JobState.QUEUED, 1))

    def test_failedByItself(self) -> None:
        """
        A job that had failed by itself when it was told has done so.
        """
        self.runUntilStop(self.end(Told(JobFailure("exit_nonzero", "exit 3", 3))))
        self.assertError(1, JobState.FAILED, "exit_nonzero")

    def test_retried(self) -> None:
        """
        One that may be tried again waits for the next daemon, at its old place.
        """
        self.runUntilStop(self.end(ValueError()), onCrash=OnCrash.RETRY, maxAttempts=2)
        job = self.job()
        self.assertEqual((job.state, job.attempt, job.position), (JobState.QUEUED, 1, 0))
        self.tasks["long"] = self.tasks["note"]
        self.restart()
        self.stepping.runAll()
        self.assertEqual(self.ran, [None, "other"])

    def test_deferred(self) -> None:
        """
        One that defers itself when it is told waits for the next daemon, behind
        the others.
        """
        self.runUntilStop(self.end(DeferTask()))
        job = self.job()
        self.assertEqual((job.state, job.attempt, job.deferrals), (JobState.QUEUED, 0, 1))
        self.assertGreater(job.position, self.job(2).position)
        self.assertEqual(job.priority, 0)

    def test_deferredToAPriority(self) -> None:
        """
        It has the priority that it deferred itself to.
        """
        self.runUntilStop(self.end(DeferTask(priority=7)))
        self.assertEqual((self.job().state, self.job().priority), (JobState.QUEUED, 7))

    def test_deferredInAPoolThatEnds(self) -> None:
        """
        So does one that defers itself when the pool stops by itself.
        """

        def task(worker: Worker) -> None:
            self.pool.terminateWorkers()
            raise DeferTask(priority=7)

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.stepping.step()
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
        self.stepping.runAll()
        self.assertError(1, JobState.FAILED, "exception")
        self.flushLoggedErrors(errors.TaskNotStarted)

    def test_withoutOutputDirectory(self) -> None:
        """
        A job that waits for a place for its output is for the next daemon, whether
        its worker waits when the queue stops or finds out later.
        """
        Path(self.directory).mkdir()
        Path(self.directory, "output").write_text("in the way")
        self.meanwhile += [self.stop]
        self.submit(new())
        self.stepping.step()
        self.assertRaises(errors.QueueStopping, self.queue._runs.tasks[1].begin, 1)
        self.finish()
        self.assertEqual((self.job().state, self.ran), (JobState.QUEUED, []))

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
        self.stepping.step()
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
        self.stepping.step()
        self.assertEqual(self.job().state, JobState.RUNNING)
        self.assertEqual(self.queue._runs.tasks, {})

    def test_unending(self) -> None:
        """
        One that never ends is left running in the store, for the next daemon to
        settle, and its late outcome is not waited for.
        """

        def task(worker: Worker) -> None:
            self.stop()
            for seconds in (10, 15, 15):
                self.assertNoResult(self.stopped[-1])
                self.reactor.advance(seconds)
            self.finish()
            raise ValueError()

        self.tasks["long"] = task
        self.submit(new("long"))
        self.stepping.step()
        self.assertEqual(self.job().state, JobState.RUNNING)
        self.flushLoggedErrors()

    def test_unwritten(self) -> None:
        """
        An outcome for which there is no room is given up in the end.
        """

        def task(worker: Worker) -> None:
            self.stop()
            self.store.failure = FULL
            self.meanwhile += [lambda: self.reactor.advance(10), lambda: self.reactor.advance(15)]
            self.meanwhile += [lambda: self.reactor.advance(1)] * 30

        self.tasks["long"] = task
        self.submit(new("long"))
        self.stepping.step()
        self.finish()
        self.assertEqual(self.job().state, JobState.RUNNING)
        self.assertEqual(len(self.flushLoggedErrors(errors.StoreError)), 1)

    def test_lateOutcomeWithoutRoom(self) -> None:
        """
        An outcome that comes after that is tried once.
        """

        def task(worker: Worker) -> None:
            self.stop()
            self.reactor.advance(10)
            self.reactor.advance(15)
            self.store.failure = FULL

        self.tasks["long"] = task
        self.submit(new("long"))
        self.stepping.step()
        self.assertEqual(len(self.flushLoggedErrors(errors.StoreFull)), 1)

    def test_justTaken(self) -> None:
        """
        A job that a worker takes as the queue stops is not started.
        """
        self.submit(new("note", 1))
        self.store.held = True
        change = self.queue.changePriority(1, 5)
        self.meanwhile = [self.stop, self.release]
        self.stepping.step()
        self.successResultOf(change)
        self.finish()
        self.assertEqual((self.ran, self.job().state), ([], JobState.QUEUED))

    def test_cancelWhileStopping(self) -> None:
        """
        A queued job can be cancelled while the queue stops; if that cannot be
        committed, it is for the next daemon.
        """

        def task(worker: Worker) -> None:
            self.store.held = True
            answers.extend([self.queue.cancel(2), self.queue.cancel(3)])
            self.stop()
            self.pool.terminateWorkers()
            self.release()

        answers: list[Deferred[Job]] = []
        self.tasks["long"] = task
        self.submit(new("long"), new("note", 2), new("note", 3))
        self.stepping.step()
        self.finish()
        states = [self.successResultOf(answer).state for answer in answers]
        self.assertEqual(states, [JobState.CANCELLED] * 2)

    def test_whileStarting(self) -> None:
        """
        A queue that is told to stop while it starts stops after that, and starts
        no job.
        """
        self.submit(new())
        self.open(self.store.reopened())
        self.reap = Deferred()
        started = self.queue.start()
        stopped = self.stop()
        self.reactor.run()
        self.assertNoResult(stopped)
        self.reap.callback(0)
        self.successResultOf(started)
        self.assertFalse(self.pool.statistics().active)
        self.finish()

    def test_unstarted(self) -> None:
        """
        A queue that was never started stops.
        """
        self.open(MemoryJobStore())
        self.stop()
        self.finish()

    def test_defaults(self) -> None:
        """
        Without a test in between, a worker waits by C{blockingCallFromThread}.
        """
        pool, _, reactor = makeSteppingPool(1, Worker, reactor=FakeReactor())
        paths = StatePaths.at(self.directory)
        queue = JobQueue(
            reactor, pool, MemoryJobStore(), WORKER, paths, reap=lambda handles: succeed(0)
        )
        self.successResultOf(queue.start())
        started = self.successResultOf(queue.poolStatus())["daemon"]["started_at"]
        self.assertRegex(started, r"^\d{4}-\d\d-\d\dT.*Z$")
