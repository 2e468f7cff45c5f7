"""
Tests for the timeouts of jobs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ganeti_pool import errors
from ganeti_pool.jobqueue import _dispatcher
from ganeti_pool.jobs import AttemptContext, JobFailure, JobState, currentAttempt
from ganeti_pool.workerpool import DeferTask

from .queuecase import FULL, JobFailed, QueueCase, StartedCase, Worker, new


class TimeoutTests(StartedCase):
    """
    Tests for timeouts that the queue keeps.
    """

    def pass_(self, seconds: float) -> None:
        """
        Let time pass, by both clocks.
        """
        self.advance(seconds)

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
        self.step()

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
            raise JobFailed(JobFailure("cancelled", "it was cancelled", None, "SIGTERM"))

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
        self.assertFalse(self.step())

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
        While its outcome waits for the store, the timeout of a job does not count.
        """

        def end(worker: Worker) -> None:
            self.store.failure = FULL

        self.runFor(end, 1.0)
        self.pass_(60)
        self.recover()
        self.assertEqual(self.job().state, JobState.SUCCEEDED)

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
        self.step()
        self.assertEqual(self.job().state, JobState.SUCCEEDED)

    def test_clockSetForward(self) -> None:
        """
        If the reactor's clock is set forward, the job has its time nevertheless.
        """

        def end(worker: Worker) -> None:
            self.monotonic += 1
            self.reactor.advance(3600)
            self.handle()
            flags.append(worker.IsCancelled())
            self.pass_(4)
            flags.append(worker.IsCancelled())

        flags: list[bool] = []
        self.runFor(end, 0.0)
        self.assertEqual(flags, [False, True])
        self.assertTimedOut()

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

    def test_countsFromTheCall(self) -> None:
        """
        The time counts from the call of C{RunTask}, not from the commit of the start.
        """
        self.tasks["long"] = lambda worker: self.pass_(4.9)
        self.submit(new("long", timeout=5.0))
        self.startJobs()
        self.pass_(60)
        self.waiting.pop().step()
        self.assertEqual(self.job().state, JobState.SUCCEEDED)

    def test_oldDeadlines(self) -> None:
        """
        The deadlines of ended runs are dropped, however far away they are.
        """
        self.restart(2)
        self.patch(_dispatcher, "_SPARE", 3)
        kept: list[int] = []
        self.tasks["short"] = lambda worker: kept.append(len(self.dispatcher._deadlines))
        self.tasks["long"] = lambda worker: self.runAll()
        self.submit(new("long", timeout=1000.0), *[new("short", timeout=1e9)] * 20)
        self.step()
        self.assertEqual((len(kept), max(kept)), (20, 8))

    def test_severalDeadlines(self) -> None:
        """
        Of several runs each is told at its own time. The dispatcher wakes up for the first.
        """
        self.restart(2)
        told: list[int] = []

        def task(worker: Worker, number: int) -> None:
            worker.CallWhenCancelled(lambda: told.append(number))
            if number == 1:
                self.waiting.pop().step()
                self.assertEqual(told, [2])
                self.pass_(0.25)
                self.assertEqual(self.dispatcher._patience(), 5.75)
                self.pass_(5.75)
            else:
                self.pass_(0.25)
                self.assertEqual(self.dispatcher._patience(), 3.75)
                self.pass_(3.75)

        self.tasks["long"] = task
        self.submit(new("long", 1, timeout=10.0), new("long", 2, timeout=4.0))
        self.step()
        self.assertEqual(told, [2, 1])
        self.assertEqual(self.dispatcher._patience(), 30)


class KeptTimeoutTests(QueueCase):
    """
    Tests for a worker class that ends a job after its timeout itself.
    """

    def setUp(self) -> None:
        super().setUp()
        self.open(self.store, keepsTimeout=True)
        self.start()

    def runJob(self, task: Callable[[AttemptContext], object], **fields: Any) -> None:
        """
        Run a job with the context of its attempt.
        """

        def run(worker: Worker) -> object:
            worker.CallWhenCancelled(lambda: self.ran.append("told"))
            context = currentAttempt.get()
            assert context is not None
            return task(context)

        self.tasks["long"] = run
        self.submit(new("long", timeout=5.0, **fields))
        self.step()

    def pass_(self, seconds: float) -> None:
        """
        Let time pass, by both clocks.
        """
        self.advance(seconds)

    def test_waits(self) -> None:
        """
        While a job waits for something before its work begins, C{status} shows why it
        waits, and its worker is busy once.
        """
        shown: list[object] = []

        def show() -> None:
            status = self.status()
            shown.append((status["store"]["last_error"], status["busy"]))

        def task(context: AttemptContext) -> None:
            context.recordWait("no descriptors")
            self.pass_(3600)
            show()
            context.recordStart()
            show()
            self.pass_(4.9)

        self.runJob(task)
        self.assertEqual(self.job().state, JobState.SUCCEEDED)
        self.assertEqual(shown, [("job 1 waits: no descriptors", 1), (None, 1)])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_timesOut(self) -> None:
        """
        The queue sets no timer. The attempt knows its timeout, and its failure is recorded
        as it is.
        """
        failure = JobFailure("timeout", "it ran for too long", None, "SIGTERM")

        def task(context: AttemptContext) -> None:
            self.assertEqual(context.timeout, 5.0)
            context.recordStart()
            self.pass_(3600)
            self.assertEqual(self.reactor.getDelayedCalls(), [])
            raise JobFailed(failure)

        self.runJob(task)
        self.assertEqual(self.ran, [])
        self.assertEqual((self.job().state, self.job().error), (JobState.FAILED, failure))

    def test_cancelled(self) -> None:
        """
        A cancellation that a client requested beats the timeout.
        """

        def task(context: AttemptContext) -> None:
            self.queue.cancel(1)
            raise JobFailed(JobFailure("timeout", "it ran for too long"))

        self.runJob(task)
        self.assertEqual(self.job().state, JobState.CANCELLED)

    def test_endsWhileItWaits(self) -> None:
        """
        C{status} forgets a job that ends, or defers itself, while it waits.
        """

        def task(context: AttemptContext) -> None:
            contexts.append(context)
            context.recordWait("no descriptors")
            raise errors.DeferTask() if len(contexts) == 1 else JobFailed(JobFailure("exit", "it"))

        contexts: list[AttemptContext] = []
        self.runJob(task)
        self.assertIsNone(self.status()["store"]["last_error"])
        self.step()
        self.assertError(1, JobState.FAILED, "exit")
        self.assertIsNone(self.status()["store"]["last_error"])
        contexts[1].recordWait("no descriptors")
        contexts[1].recordStart()
        self.assertIsNone(self.status()["store"]["last_error"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual([context.hasRunBefore for context in contexts], [False, True])

    def test_laterAttempt(self) -> None:
        """
        An attempt knows that another one was before it.
        """

        def task(context: AttemptContext) -> None:
            before.append(context.hasRunBefore)
            raise JobFailed(JobFailure("exit", "it"))

        before: list[bool] = []
        self.runJob(task)
        self.successResultOf(self.queue.retry(1))
        self.step()
        self.assertEqual(before, [False, True])
