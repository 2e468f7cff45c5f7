"""
Tests for the end of a queue.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed

from ganeti_pool import errors
from ganeti_pool.jobqueue import JobQueue
from ganeti_pool.jobqueue._task import JobTask
from ganeti_pool.jobs import (
    Job,
    JobFailure,
    JobFilter,
    JobState,
    OnCrash,
)
from ganeti_pool.paths import StatePaths
from ganeti_pool.testing import FakeReactor, MemoryJobStore, makeSteppingPool
from ganeti_pool.wire import statusOf
from ganeti_pool.workerpool import DeferTask

from .queuecase import FULL, WORKER, StartedCase, Task, JobFailed, Worker, new


class StopTests(StartedCase):
    """
    Tests for L{JobQueue.stop}.
    """

    def setUp(self) -> None:
        super().setUp()
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
        self.assertFalse(self.step())
        self.failureResultOf(self.queue.submit([new()]), errors.QueueStopping)
        self.failureResultOf(self.queue.changePriority(1, 1), errors.QueueStopping)
        self.failureResultOf(self.queue.setActive(True), errors.QueueStopping)
        self.failureResultOf(self.queue.resize(2), errors.QueueStopping)
        self.finish()
        self.assertEqual((self.job().state, self.job().revision), (JobState.QUEUED, revision))
        self.restart()
        self.runAll()
        self.assertEqual(self.ran, [1])

    def test_lookedAtTooLate(self) -> None:
        """
        Whoever asks when the store has been closed is told that the daemon stops, and not
        that something broke, whatever is asked.
        """
        self.submit(new("note", 1))
        waiting = self.queue.changedJobs(self.job().revision, 10, 60)
        self.stop()
        self.reactor.run()
        # The store is closed by now, and the wait was over before.
        self.assertEqual(self.successResultOf(waiting), [])
        for late in (
            self.queue.job(1),
            self.queue.attempts(1),
            self.queue.listJobs(JobFilter(), False, 10, None),
            self.queue.changedJobs(0, 10, 60),
            self.queue.poolStatus(),
            self.queue.cancel(1),
            self.queue.remove(1),
        ):
            refused = self.failureResultOf(late, errors.StoreClosed).value
            self.assertEqual(statusOf(refused.code), 503)
        self.assertIn("the daemon is stopping", str(refused))
        self.successResultOf(self.queue.attemptOver(1, 1))
        self.finish()

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
        self.step()
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
        self.runUntilStop(self.end(JobFailed(JobFailure("cancelled", "TERM", None, "SIGTERM"))))
        error = self.assertError(1, JobState.FAILED, "interrupted")
        self.assertEqual(error.signal, "SIGTERM")

    def test_interruptedByException(self) -> None:
        """
        Any exception of a job that was told to end is the answer to that.
        """
        self.runUntilStop(self.end(ValueError()))
        self.assertError(1, JobState.FAILED, "interrupted")

    def kill(self, worker: Worker) -> None:
        """
        What a worker raises whose processes were killed.
        """
        raise JobFailed(JobFailure("interrupted", "killed", None, "SIGKILL"))

    def test_killed(self) -> None:
        """
        A job whose processes were killed for the end of the daemon is interrupted,
        also before anybody told it.
        """
        self.runUntilStop(self.kill)
        error = self.assertError(1, JobState.FAILED, "interrupted")
        self.assertEqual(error.signal, "SIGKILL")

    def test_killedAndRetried(self) -> None:
        """
        One that may be tried again waits for the next daemon.
        """
        self.runUntilStop(self.kill, onCrash=OnCrash.RETRY, maxAttempts=2)
        self.assertEqual((self.job().state, self.job().attempt), (JobState.QUEUED, 1))

    def test_interruptedByItself(self) -> None:
        """
        While the daemon does not end, a job that says so has failed by itself, and
        waits for no next daemon.
        """
        self.tasks["kill"] = self.kill
        self.submit(new("kill", onCrash=OnCrash.RETRY, maxAttempts=2))
        self.step()
        self.assertEqual(self.assertError(1, JobState.FAILED, "interrupted").message, "killed")
        self.assertIsNone(self.queue._roster.find(1))

    def test_failedByItself(self) -> None:
        """
        A job that had failed by itself when it was told has done so.
        """
        self.runUntilStop(self.end(JobFailed(JobFailure("exit_nonzero", "exit 3", 3))))
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
        self.runAll()
        self.assertEqual(self.ran, [None, "other"])

    def test_withoutOutputDirectory(self) -> None:
        """
        A job that waits for a place for its output is for the next daemon, whether
        its worker waits when the queue stops or finds out later.
        """
        self.obstruct()
        self.meanwhile += [self.stop]
        self.submit(new())
        task = self.task()
        self.step()
        self.assertRaises(errors.QueueStopping, task.begin, 1)
        self.finish()
        self.assertEqual((self.job().state, self.ran), (JobState.QUEUED, []))

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
        self.step()
        self.assertEqual(self.job().state, JobState.RUNNING)
        self.flushLoggedErrors()

    def test_unendingWithTimeout(self) -> None:
        """
        Nothing waits for the time of one that never ends to be over, once the queue
        has stopped.
        """

        def task(worker: Worker) -> None:
            self.stop()
            for seconds in (10, 15, 15):
                self.reactor.advance(seconds)
            self.reactor.run()
            seen.append((self.stopped[-1].called, list(self.reactor.getDelayedCalls())))

        seen: list[object] = []
        self.tasks["long"] = task
        self.submit(new("long", timeout=1000.0), new("note", timeout=1000.0))
        self.step()
        self.assertEqual(seen, [(True, [])])
        self.flushLoggedErrors()

    def test_startWithTimeoutAtTheEnd(self) -> None:
        """
        Nor if its start is committed as the store is closed.
        """
        end = [lambda: self.reactor.advance(15)] * 3 + [self.reactor.run]

        def look(worker: Worker) -> None:
            self.reactor.run()
            seen.append((self.stopped[-1].called, list(self.reactor.getDelayedCalls())))

        seen: list[object] = []
        self.tasks["long"] = look
        self.submit(new("long", timeout=1000.0))
        self.hold(lambda: self.stop(0), *end)
        self.step()
        self.assertEqual(seen, [(True, [])])
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
        self.step()
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
        self.step()
        self.assertEqual(len(self.flushLoggedErrors(errors.StoreFull)), 1)

    def test_justTaken(self) -> None:
        """
        A job that a worker takes as the queue stops is not started.
        """
        self.submit(new("note", 1))
        self.store.held = True
        change = self.queue.changePriority(1, 5)
        self.meanwhile = [self.stop, self.release]
        self.step()
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
        self.step()
        self.finish()
        states = [self.successResultOf(answer).state for answer in answers]
        self.assertEqual(states, [JobState.CANCELLED] * 2)

    def test_interruptedWhileStarting(self) -> None:
        """
        A job whose start was being committed when all were told to end is interrupted.
        """

        def task(worker: Worker) -> None:
            self.assertTrue(worker.IsCancelled())
            raise ValueError()

        self.tasks["long"] = task
        self.submit(new("long"))
        self.hold(lambda: self.stop(0), lambda: self.reactor.advance(0), self.release)
        self.step()
        self.assertError(1, JobState.FAILED, "interrupted")
        self.finish()

    def test_twice(self) -> None:
        """
        Whoever has it stopped once more is told when it has stopped, also after that.
        """

        def task(worker: Worker) -> None:
            stops.extend([self.queue.stop(10), self.queue.stop(0)])
            self.reactor.advance(9)
            self.assertFalse(worker.IsCancelled())
            self.assertNoResult(stops[1])

        stops: list[Deferred[None]] = []
        self.tasks["long"] = task
        self.submit(new("long"))
        self.step()
        self.reactor.run()
        for stopped in [*stops, self.queue.stop(0)]:
            self.successResultOf(stopped)
        self.assertEqual(self.store.reopened()._journal.jobs[1].state, JobState.SUCCEEDED)

    def test_tellsNobody(self) -> None:
        """
        The jobs that wait are told nothing when the pool ends, however many there are.
        """
        told: list[object] = []
        self.patch(JobTask, "fail", told.append)
        self.submit(new(), new())
        self.stop()
        self.finish()
        self.assertEqual(told, [])
        self.assertEqual([self.job(jobID).state for jobID in (1, 2)], [JobState.QUEUED] * 2)

    def test_afterThePool(self) -> None:
        """
        What waits in the store alone can be cancelled and moved there still.
        """
        self.submit(new("note", 1), new("note", 2))
        self.pool.terminateWorkers()
        self.assertIsNone(self.queue._roster.find(1))
        moved = self.successResultOf(self.queue.changePriority(1, 5))
        cancelled = self.successResultOf(self.queue.cancel(2))
        self.assertEqual((moved.priority, cancelled.state), (5, JobState.CANCELLED))
        self.failureResultOf(self.queue.changePriority(2, 5), errors.JobNotQueued)

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

    def test_beforeTheStart(self) -> None:
        """
        What is asked for before the queue has started is refused, and does not look
        like another owner of the store.
        """
        self.open(MemoryJobStore())
        failure = self.failureResultOf(self.queue.submit([new()]), errors.StoreError)
        self.assertIn("has not been started", str(failure.value))
        self.assertNotIsInstance(failure.value, errors.OwnershipLost)
        self.start()
        self.assertFalse(self.queue._isLost)
        self.submit(new("note", 1))
        self.step()
        self.assertEqual(self.ran, [1])

    def test_unstarted(self) -> None:
        """
        A queue that was never started stops.
        """
        self.open(MemoryJobStore())
        self.stop()
        self.finish()

    def test_defaults(self) -> None:
        """
        Without a test in between, a worker waits by a C{ThreadHandover}.
        """
        pool, _, reactor = makeSteppingPool(1, Worker, reactor=FakeReactor())
        paths = StatePaths.at(self.mktemp())
        queue = JobQueue(
            reactor,
            pool,
            MemoryJobStore(),
            WORKER,
            paths,
            reap=lambda handles: succeed(0),
            inThread=self.inThread,
        )
        self.successResultOf(queue.start())
        started = self.successResultOf(queue.poolStatus()).daemon.startedAt
        self.assertIsNotNone(started.tzinfo)

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
