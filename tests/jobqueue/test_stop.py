"""
Tests for the end of a queue.
"""

from __future__ import annotations

import threading
from threading import Event
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from ganeti_pool import errors
from ganeti_pool.jobqueue import JobQueue, WorkerRules, threadSlots
from ganeti_pool.jobqueue._items import Close
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

from .queuecase import FULL, WORKER, JobFailed, StartedCase, Task, Worker, new


def endThreads() -> None:
    """
    Wait until the threads of a queue have ended.
    """
    for thread in threading.enumerate():
        if thread.name.startswith(("ganeti-pool", "job queue")):
            thread.join(30)


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
        Check that the queue has stopped.
        """
        self.reactor.run()
        self.successResultOf(self.stopped[-1])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertTrue(self.dispatcher.isOver)

    def assertStored(self, state: JobState, code: str) -> JobFailure:
        """
        Check the outcome of job 1, and return its failure.
        """
        job = self.stored()
        assert job.error is not None
        self.assertEqual((job.state, job.error.code), (state, code))
        return job.error

    def test_queueStays(self) -> None:
        """
        Queued jobs stay in the store as they are, and requests that add or start work are
        rejected.
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
        self.assertEqual((self.stored().state, self.stored().revision), (JobState.QUEUED, revision))
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
            refused = self.failureResultOf(late, errors.JobError).value
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
        A running job may end by itself within the grace.
        """

        def task(worker: Worker) -> str:
            self.advance(9)
            self.assertFalse(worker.IsCancelled())
            return "in time"

        self.runUntilStop(task)
        self.assertEqual(self.stored().result, "in time")

    def end(self, error: Exception) -> Task:
        """
        Return a task that raises when it is told to end.
        """

        def task(worker: Worker) -> None:
            self.advance(10)
            self.assertTrue(worker.IsCancelled())
            raise error

        return task

    def test_interrupted(self) -> None:
        """
        A job that does not end is told to, and has failed as interrupted.
        """
        self.runUntilStop(self.end(JobFailed(JobFailure("cancelled", "TERM", None, "SIGTERM"))))
        error = self.assertStored(JobState.FAILED, "interrupted")
        self.assertEqual(error.signal, "SIGTERM")

    def test_interruptedByException(self) -> None:
        """
        Any exception of a job that was told to end is the answer to that.
        """
        self.runUntilStop(self.end(ValueError()))
        self.assertStored(JobState.FAILED, "interrupted")

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
        error = self.assertStored(JobState.FAILED, "interrupted")
        self.assertEqual(error.signal, "SIGKILL")

    def test_killedAndRetried(self) -> None:
        """
        A killed job that may be tried again is queued for the next daemon.
        """
        self.runUntilStop(self.kill, onCrash=OnCrash.RETRY, maxAttempts=2)
        self.assertEqual((self.stored().state, self.stored().attempt), (JobState.QUEUED, 1))

    def test_interruptedByItself(self) -> None:
        """
        While the daemon does not end, a job that says so has failed by itself, and
        waits for no next daemon.
        """
        self.tasks["kill"] = self.kill
        self.submit(new("kill", onCrash=OnCrash.RETRY, maxAttempts=2))
        self.step()
        self.assertEqual(self.assertStored(JobState.FAILED, "interrupted").message, "killed")

    def test_failedByItself(self) -> None:
        """
        A failure of a job's own stands, even if the job was told to end.
        """
        self.runUntilStop(self.end(JobFailed(JobFailure("exit_nonzero", "exit 3", 3))))
        self.assertStored(JobState.FAILED, "exit_nonzero")

    def test_retried(self) -> None:
        """
        A job that may be tried again is queued for the next daemon, at its old position.
        """
        self.runUntilStop(self.end(ValueError()), onCrash=OnCrash.RETRY, maxAttempts=2)
        job = self.stored()
        self.assertEqual((job.state, job.attempt, job.position), (JobState.QUEUED, 1, 0))
        self.tasks["long"] = self.tasks["note"]
        self.restart()
        self.runAll()
        self.assertEqual(self.ran, [None, "other"])

    def test_unending(self) -> None:
        """
        A job that never ends is left running in the store, for the next daemon to settle. Its
        late end is not waited for, and neither is its timeout.
        """

        def task(worker: Worker) -> None:
            self.stop()
            for seconds in (10, 15):
                self.assertNoResult(self.stopped[-1])
                self.advance(seconds)
            self.finish()
            raise ValueError()

        self.tasks["long"] = task
        self.submit(new("long", timeout=1000.0))
        self.step()
        self.assertEqual(self.stored().state, JobState.RUNNING)

    def test_unwritten(self) -> None:
        """
        An outcome for which there is no room is tried once more at the end, and given up.
        """
        self.tasks["long"] = lambda worker: setattr(self.store, "failure", FULL)
        self.submit(new("long"), new("long"))
        self.step()
        self.stop()
        self.advance(10)
        self.assertNoResult(self.stopped[-1])
        self.store.failure = None
        self.monotonic -= 1000
        self.advance(15)
        self.finish()
        self.assertEqual(self.stored().state, JobState.SUCCEEDED)
        self.restart()
        self.step()
        self.stop()
        for seconds in (10, 15):
            self.advance(seconds)
        self.finish()
        self.assertEqual(self.stored(2).state, JobState.RUNNING)

    def test_beforeTheStart(self) -> None:
        """
        A stop in the batch in which a job could start keeps it queued.
        """
        self.submit(new("note", 1))
        with self.oneBatch(mayStart=True):
            self.stop()
            change = self.queue.changePriority(1, 5)
        self.failureResultOf(change, errors.QueueStopping)
        self.finish()
        self.assertEqual((self.ran, self.stored().state), ([], JobState.QUEUED))

    def test_besideATakenJob(self) -> None:
        """
        A job that was started just before the stop has its grace.
        """
        self.submit(new("note", 1), new("note", 2))
        with self.oneBatch(mayStart=True):
            self.isHeld = False
            self.startJobs()
            self.stop()
        self.assertNoResult(self.stopped[-1])
        self.step()
        self.finish()
        self.assertEqual(self.ran, [1])
        self.assertEqual((self.stored(1).state, self.stored(2).state), ("succeeded", "queued"))

    def test_cancelWhileStopping(self) -> None:
        """
        A queued job can be cancelled while the queue stops.
        """

        def task(worker: Worker) -> None:
            self.stop()
            answers.extend([self.queue.cancel(2), self.queue.cancel(3)])

        answers: list[Deferred[Job]] = []
        self.tasks["long"] = task
        self.submit(new("long"), new("note", 2), new("note", 3))
        self.step()
        self.finish()
        states = [self.successResultOf(answer).state for answer in answers]
        self.assertEqual(states, [JobState.CANCELLED] * 2)

    def test_twice(self) -> None:
        """
        A second stop waits for the first, and changes nothing. So does one after it.
        """

        def task(worker: Worker) -> None:
            stops.extend([self.queue.stop(10), self.queue.stop(0)])
            self.advance(9)
            self.assertFalse(worker.IsCancelled())
            self.assertNoResult(stops[1])

        stops: list[Deferred[None]] = []
        self.tasks["long"] = task
        self.submit(new("long"))
        self.step()
        for stopped in [*stops, self.queue.stop(0)]:
            self.successResultOf(stopped)
        self.assertEqual(self.stored().state, JobState.SUCCEEDED)

    def test_givenUp(self) -> None:
        """
        Giving up the wait for a stop does not end the stop.
        """
        self.submit(new("note", 1))
        self.startJobs()
        given = self.stop()
        given.cancel()
        self.failureResultOf(given, CancelledError)
        self.waiting.pop().step()
        self.successResultOf(self.queue.stop(0))
        self.assertEqual(self.stored().state, JobState.SUCCEEDED)

    def test_tooLate(self) -> None:
        """
        A request that comes after the queue has closed, and before the reactor knows, fails.
        """
        self.isReactorHeld = True
        self.stop()
        answers: list[Deferred[Job]] = []
        put = self.inbox.put

        def late(item: object) -> None:
            put(item)
            if isinstance(item, Close):
                answers.append(self.queue.cancel(1))

        self.patch(self.inbox, "put", late)
        self.reactor.run()
        self.failureResultOf(answers[0], errors.QueueStopping)
        self.finish()

    def test_whileStarting(self) -> None:
        """
        A queue that is told to stop while it starts starts no job.
        """
        self.submit(new())
        self.open(self.store.reopened())
        self.mayStart = True
        with self.oneBatch():
            started = self.queue.start()
            self.stop()
        self.successResultOf(started)
        self.assertEqual(self.waiting, [])
        self.finish()

    def test_startAfterStop(self) -> None:
        """
        A queue that was stopped cannot be started.
        """
        self.open(MemoryJobStore())
        self.stop()
        self.failureResultOf(self.queue.start(), errors.QueueStopping)
        self.successResultOf(self.stopped[-1])

    def test_notStarted(self) -> None:
        """
        Requests before the start are rejected, and not as those of a former owner.
        """
        self.open(MemoryJobStore())
        failure = self.failureResultOf(self.queue.submit([new()]), errors.StoreError)
        self.assertIn("has not been started", str(failure.value))
        self.assertNotIsInstance(failure.value, errors.OwnershipLost)
        self.start()
        self.submit(new("note", 1))
        self.step()
        self.assertEqual(self.ran, [1])

    def test_defaults(self) -> None:
        """
        By default a queue has a thread, real clocks and the threads of the reactor.
        """
        reactor = FakeReactor()
        pool, stepping, _ = makeSteppingPool(1, reactor=reactor)
        reactor.getThreadPool = lambda: pool  # type: ignore[attr-defined]
        paths = StatePaths.at(self.mktemp())
        ran = Event()
        self.patch(Worker, "tasks", {"note": lambda worker: ran.set()})
        queue = JobQueue(
            reactor,
            MemoryJobStore(),
            WorkerRules(WORKER),
            paths,
            threadSlots("pool", Worker),
            1,
        )
        self.addCleanup(endThreads)
        started = queue.start()
        self.turnUntil(reactor, started)
        submitted = queue.submit([new()])
        self.turnUntil(reactor, submitted)
        self.assertTrue(ran.wait(30))
        output = queue.readOutput(1, 1, "stdout", 0)
        stepping.runAll()
        self.turnUntil(reactor, output)
        self.assertEqual(self.successResultOf(output), b"")
        stopped = queue.stop(30)
        stepping.runAll()
        self.turnUntil(reactor, stopped)
        self.successResultOf(stopped)

    def turnUntil(self, reactor: FakeReactor, fired: Deferred[Any]) -> None:
        """
        Take turns of the reactor until a Deferred has fired, each when a thread calls for it.
        """
        called = Event()
        callFromThread = reactor.callFromThread

        def calling(f: Any, *args: Any) -> None:
            callFromThread(f, *args)
            called.set()

        reactor.callFromThread = calling  # type: ignore[method-assign]
        reactor.run()
        while not fired.called:
            self.assertTrue(called.wait(30))
            called.clear()
            reactor.run()
        reactor.callFromThread = callFromThread  # type: ignore[method-assign]

    def test_deferred(self) -> None:
        """
        A job that defers itself when it is told is queued for the next daemon, behind the
        others.
        """
        self.runUntilStop(self.end(DeferTask()))
        job = self.stored()
        self.assertEqual((job.state, job.attempt, job.deferrals), (JobState.QUEUED, 0, 1))
        self.assertGreater(job.position, self.stored(2).position)
        self.assertEqual(job.priority, 0)

    def test_deferredToAPriority(self) -> None:
        """
        It has the priority to which it deferred itself.
        """
        self.runUntilStop(self.end(DeferTask(priority=7)))
        self.assertEqual((self.stored().state, self.stored().priority), (JobState.QUEUED, 7))
