"""
Tests for what is told of the jobs, and for why they wait.
"""

from __future__ import annotations

from ganeti_pool import errors
from ganeti_pool.jobs import Job, JobEvent, JobEventKind, JobFailure, JobState, OnCrash
from ganeti_pool.workerpool import DeferTask

from .queuecase import FULL, StartedCase, JobFailed, Worker, new


class EventsTests(StartedCase):
    """
    Tests for the observers of a queue.
    """

    def wait(self, seconds: float) -> None:
        """
        Let time pass.
        """
        self.monotonic += seconds
        self.reactor.advance(seconds)

    def lengths(self) -> list[tuple[str, float | None, float | None]]:
        """
        The kind of what was told, and how long the job waited and ran before it.
        """
        return [(event.kind.value, event.waited, event.ran) for event in self.events]

    def test_life(self) -> None:
        """
        The life of a job is told, with the time for which it waited and ran.
        """
        self.tasks["long"] = lambda worker: self.wait(5)
        self.submit(new("long"))
        self.wait(2)
        self.step()
        self.assertEqual(
            self.lengths(),
            [("submitted", None, None), ("started", 2.0, None), ("finished", None, 5.0)],
        )
        states = [event.job.state for event in self.events]
        self.assertEqual(states, [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED])
        self.assertEqual(self.events[-1].job, self.job())

    def test_afterTheCommit(self) -> None:
        """
        What is told is in the store.
        """
        self.store.held = True
        self.queue.submit([new()])
        self.assertEqual(self.takeEvents(), [])
        self.release()
        self.assertEqual(self.takeEvents(), [(1, "submitted")])
        self.store.failure = FULL
        self.queue.submit([new()]).addErrback(lambda _: None)
        self.queue.changePriority(1, 5).addErrback(lambda _: None)
        self.queue.cancel(1).addErrback(lambda _: None)
        self.assertEqual(self.takeEvents(), [])

    def test_moved(self) -> None:
        """
        A change of priority is told, unless there is none.
        """
        self.submit(new())
        self.successResultOf(self.queue.changePriority(1, 5))
        self.successResultOf(self.queue.changePriority(1, 5))
        self.assertEqual(self.takeEvents(), [(1, "submitted"), (1, "moved")])

    def test_deferred(self) -> None:
        """
        A deferral is told, with how long the attempt ran; the wait begins anew.
        """
        ends: list[Exception] = [DeferTask()]

        def task(worker: Worker) -> None:
            self.wait(3)
            if ends:
                raise ends.pop()

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.step()
        self.wait(4)
        self.step()
        self.assertEqual(
            self.lengths()[2:],
            [("deferred", None, 3.0), ("started", 4.0, None), ("finished", None, 3.0)],
        )

    def test_cancelled(self) -> None:
        """
        The cancellation of a running job is told once, and its end; that of a waiting
        one is its end, without a run.
        """

        def task(worker: Worker) -> None:
            self.queue.cancel(1)
            self.queue.cancel(1)
            self.wait(3)
            raise ValueError()

        self.tasks["long"] = task
        self.submit(new("long"), new())
        self.step()
        self.successResultOf(self.queue.cancel(2))
        self.successResultOf(self.queue.cancel(2))
        self.assertEqual(
            self.lengths()[3:],
            [("cancel_requested", None, None), ("finished", None, 3.0), ("finished", None, None)],
        )
        self.assertEqual(self.events[-1].job.state, JobState.CANCELLED)

    def test_refusedDeferral(self) -> None:
        """
        An attempt that may not defer itself has run until it asked for that.
        """

        def task(worker: Worker) -> None:
            self.wait(3)
            self.store.failure = FULL
            self.meanwhile.append(cancel)
            raise DeferTask()

        def cancel() -> None:
            self.store.failure = None
            self.queue.cancel(1)
            self.wait(1)

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.step()
        self.assertEqual(self.lengths()[-1], ("finished", None, 3.0))

    def test_outcomeTakesNoTime(self) -> None:
        """
        The wait for the store is no part of the run.
        """

        def task(worker: Worker) -> None:
            self.wait(3)
            self.store.failure = FULL
            self.meanwhile.append(recover)

        def recover() -> None:
            self.store.failure = None
            self.wait(20)

        self.tasks["full"] = task
        self.submit(new("full"))
        self.step()
        self.assertEqual(self.lengths()[-1], ("finished", None, 3.0))

    def test_retried(self) -> None:
        """
        A retry is told, unless there is none; the wait begins anew.
        """
        self.submit(new())
        self.successResultOf(self.queue.cancel(1))
        self.wait(10)
        self.successResultOf(self.queue.retry(1))
        self.successResultOf(self.queue.retry(1))
        self.wait(1)
        self.step()
        self.assertEqual(
            self.lengths()[2:],
            [("retried", None, None), ("started", 1.0, None), ("finished", None, 0.0)],
        )

    def test_submittedAgain(self) -> None:
        """
        A job that is there already is not told of.
        """
        self.submit(new(key="k"))
        self.submit(new(key="k"), new())
        self.assertEqual(self.takeEvents(), [(1, "submitted"), (2, "submitted")])

    def crash(self, *jobs: Job) -> None:
        """
        The daemon dies, and another one starts.
        """
        self.events.clear()
        self.restart()

    def test_crash(self) -> None:
        """
        What a crash has made of the running jobs is told, with no time; nor is the
        time known for which one has waited that waits longer than the daemon runs.
        """
        self.submit(new(), new(onCrash=OnCrash.RETRY, maxAttempts=2), new())
        for jobID in (1, 2):
            epoch = self.queue._journal.epoch
            self.successResultOf(self.store.startAttempt(epoch, jobID, 1))
        self.crash()
        self.assertEqual(self.lengths(), [("finished", None, None), ("interrupted", None, None)])
        self.takeEvents()
        self.runAll()
        self.assertEqual(self.lengths(), [("started", None, None), ("finished", None, 0.0)] * 2)

    def test_stop(self) -> None:
        """
        So is what the end of the daemon has made of them.
        """

        def task(worker: Worker) -> None:
            self.queue.stop(1)
            self.wait(1)
            raise ValueError()

        self.tasks["long"] = task
        self.submit(new("long", onCrash=OnCrash.RETRY, maxAttempts=2))
        self.step()
        self.reactor.run()
        self.assertEqual(self.lengths()[-1], ("interrupted", None, 1.0))
        self.assertEqual(self.events[-1].job.state, JobState.QUEUED)

    def test_harmless(self) -> None:
        """
        What an observer raises is logged, and harms neither the job nor another one.
        """

        def broken(event: JobEvent) -> None:
            raise ZeroDivisionError()

        seen: list[JobEventKind] = []
        self.queue._events._observers = (broken, lambda event: seen.append(event.kind))
        self.submit(new())
        self.step()
        self.assertEqual(len(seen), 3)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)
        self.assertEqual(self.job().state, JobState.SUCCEEDED)

    def test_nobody(self) -> None:
        """
        Nobody need listen.
        """
        self.queue._events._observers = ()
        self.submit(new())
        self.step()
        self.assertEqual(self.takeEvents(), [])


class ReasonTests(StartedCase):
    """
    Tests for why a job that has begun before waits again.
    """

    def deferFor(self, reason: object) -> int:
        """
        Have a job defer itself once for a reason.

        @return: its ID.
        """
        ends = [DeferTask(reason=reason)]  # type: ignore[arg-type]

        def task(worker: Worker) -> None:
            if ends:
                raise ends.pop()

        self.tasks["defer"] = task
        (jobID,) = self.submit(new("defer"))
        self.step()
        return jobID

    def test_deferral(self) -> None:
        """
        A deferral may say why; that shows until the job starts again.
        """
        self.deferFor("the licence server has none left")
        self.assertEqual(self.job().reason, "the licence server has none left")
        self.assertEqual(self.events[-1].job.reason, "the licence server has none left")
        self.step()
        self.assertEqual((self.job().state, self.job().reason), (JobState.SUCCEEDED, None))

    def test_without(self) -> None:
        """
        It need not.
        """
        self.deferFor(None)
        self.assertIsNone(self.job().reason)

    def test_anyText(self) -> None:
        """
        Any text will do; of a long one the beginning is kept, and half a character
        becomes a question mark.
        """
        self.deferFor("\udcff" + "x" * 5000)
        self.assertEqual(self.job().reason, "?" + "x" * 999)

    def test_noText(self) -> None:
        """
        What is no text is a failure.
        """
        jobID = self.deferFor(7)
        error = self.assertError(jobID, JobState.FAILED, "exception")
        self.assertIn("must be text", error.message)
        self.flushLoggedErrors(errors.InvalidArgument)

    def test_inAPoolThatEnds(self) -> None:
        """
        The reason of one that defers itself when the pool stops is kept.
        """

        def task(worker: Worker) -> None:
            self.pool.terminateWorkers()
            raise DeferTask(reason="later")

        self.tasks["defer"] = task
        self.submit(new("defer"))
        self.step()
        self.assertEqual((self.job().state, self.job().reason), (JobState.QUEUED, "later"))

    def test_crash(self) -> None:
        """
        A job that is tried again after a crash says so, until it starts.
        """
        self.submit(new(onCrash=OnCrash.RETRY, maxAttempts=2))
        self.successResultOf(self.store.startAttempt(self.queue._journal.epoch, 1, 1))
        self.restart()
        self.assertEqual(self.job().reason, "its daemon died while it ran")
        self.step()
        self.assertIsNone(self.job().reason)

    def test_stop(self) -> None:
        """
        So does one that its daemon has ended.
        """

        def task(worker: Worker) -> None:
            self.queue.stop(10)
            raise JobFailed(JobFailure("interrupted", "killed", None, "SIGKILL"))

        self.tasks["kill"] = task
        self.submit(new("kill", onCrash=OnCrash.RETRY, maxAttempts=2))
        self.step()
        self.assertEqual(self.job().reason, "its daemon stopped while it ran")
