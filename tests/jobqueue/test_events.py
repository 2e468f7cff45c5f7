"""
Tests for the events of jobs, and for the reasons of queued ones.
"""

from __future__ import annotations

from typing import Any

from ganeti_pool import errors
from ganeti_pool.jobqueue import Hooks
from ganeti_pool.jobs import Job, JobEvent, JobEventKind, JobFailure, JobState, OnCrash
from ganeti_pool.workerpool import DeferTask

from .queuecase import FULL, JobFailed, StartedCase, Worker, new


class EventsTests(StartedCase):
    """
    Tests for the observers of a queue.
    """

    def wait(self, seconds: float) -> None:
        """
        Let time pass.
        """
        self.advance(seconds)

    def lengths(self) -> list[tuple[str, float | None, float | None]]:
        """
        Return the kind of each event, and how long the job waited and ran before it.
        """
        return [(event.kind.value, event.waited, event.ran) for event in self.events]

    def test_life(self) -> None:
        """
        Each step of a job's life is an event, with the time for which it waited and ran.
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
        An event comes after the commit, and not at all if that fails.
        """
        with self.oneBatch():
            self.queue.submit([new()])
            self.assertEqual(self.takeEvents(), [])
        self.assertEqual(self.takeEvents(), [(1, "submitted")])
        self.store.failure = FULL
        self.queue.submit([new()]).addErrback(lambda _: None)
        self.queue.changePriority(1, 5).addErrback(lambda _: None)
        self.queue.cancel(1).addErrback(lambda _: None)
        self.assertEqual(self.takeEvents(), [])

    def test_moved(self) -> None:
        """
        A change of priority is an event, unless the priority stays the same.
        """
        self.submit(new())
        self.successResultOf(self.queue.changePriority(1, 5))
        self.successResultOf(self.queue.changePriority(1, 5))
        self.assertEqual(self.takeEvents(), [(1, "submitted"), (1, "moved")])

    def test_deferred(self) -> None:
        """
        A deferral is an event, with the running time of the attempt. The wait begins again.
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
        The cancellation of a running job is one event, and its end another. The
        cancellation of a queued job is its end, with no running time.
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

    def test_storeTakesNoTime(self) -> None:
        """
        The time that an end waits for the store does not count as running time.
        """
        for end in (lambda: None, DeferTask):
            self.ends: list[Any] = [end()]

            def task(worker: Worker) -> None:
                self.wait(3)
                self.store.failure = FULL
                (error,) = self.ends
                if error is not None:
                    raise error

            self.tasks["full"] = task
            self.submit(new("full"))
            self.step()
            self.assertEqual(self.status()["store"]["unwritten"], 1)
            self.recover()
            self.assertEqual(self.events[-1].ran, 3.0)

    def test_retried(self) -> None:
        """
        A retry is an event, unless the job is queued already. The wait begins again.
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
        A job that is submitted again is not an event.
        """
        self.submit(new(key="k"))
        self.submit(new(key="k"), new())
        self.assertEqual(self.takeEvents(), [(1, "submitted"), (2, "submitted")])

    def crash(self, *jobs: Job) -> None:
        """
        Let the daemon die, and another one start.
        """
        self.events.clear()
        self.restart()

    def test_crash(self) -> None:
        """
        The ends of jobs after a crash are events without a time. The wait of a job that an
        earlier daemon left is not known.
        """
        self.submit(new(), new(onCrash=OnCrash.RETRY, maxAttempts=2), new())
        with self.write() as unit:
            for jobID in (1, 2):
                unit.startAttempt(jobID, 1)
        self.crash()
        self.assertEqual(self.lengths(), [("finished", None, None), ("interrupted", None, None)])
        self.takeEvents()
        self.runAll()
        self.assertEqual(self.lengths(), [("started", None, None), ("finished", None, 0.0)] * 2)

    def test_stop(self) -> None:
        """
        The interruption by the end of the daemon is an event.
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
        An exception in an observer is logged, and affects neither the job nor another
        observer.
        """

        def broken(event: JobEvent) -> None:
            raise ZeroDivisionError()

        seen: list[JobEventKind] = []
        hooks = Hooks([broken, lambda event: seen.append(event.kind)])
        self.patch(self.queue._projection, "_hooks", hooks)
        self.submit(new())
        self.step()
        self.assertEqual(len(seen), 3)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)
        self.assertEqual(self.job().state, JobState.SUCCEEDED)

    def test_commits(self) -> None:
        """
        Each commit is reported with the number of its changes. A hook that raises is logged.
        """
        commits: list[int] = []

        def committed(changes: int, seconds: float) -> None:
            self.assertGreaterEqual(seconds, 0.0)
            commits.append(changes)
            raise ZeroDivisionError()

        self.patch(self.queue._projection, "_hooks", Hooks(committed=committed))
        with self.oneBatch(mayStart=True):
            self.queue.submit([new(), new()])
            self.queue.submit([new()])
        self.assertEqual(commits, [3])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class ReasonTests(StartedCase):
    """
    Tests for the reason of a job that has been started before and is queued.
    """

    def deferFor(self, reason: object) -> int:
        """
        Let a job defer itself once for a reason.

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
        The reason of a deferral is shown until the job starts again.
        """
        self.deferFor("the licence server has none left")
        self.assertEqual(self.job().reason, "the licence server has none left")
        self.assertEqual(self.events[-1].job.reason, "the licence server has none left")
        self.step()
        self.assertEqual((self.job().state, self.job().reason), (JobState.SUCCEEDED, None))

    def test_without(self) -> None:
        """
        A deferral needs no reason.
        """
        self.deferFor(None)
        self.assertIsNone(self.job().reason)

    def test_anyText(self) -> None:
        """
        Any text is a reason. The beginning of a long one is kept, and a lone surrogate
        becomes a question mark.
        """
        self.deferFor("\udcff" + "x" * 5000)
        self.assertEqual(self.job().reason, "?" + "x" * 999)

    def test_noText(self) -> None:
        """
        A reason that is not text fails the job.
        """
        jobID = self.deferFor(7)
        error = self.assertError(jobID, JobState.FAILED, "exception")
        self.assertIn("must be text", error.message)
        self.flushLoggedErrors(errors.InvalidArgument)

    def test_crash(self) -> None:
        """
        A job that is tried again after a crash has that as its reason until it starts.
        """
        self.submit(new(onCrash=OnCrash.RETRY, maxAttempts=2))
        with self.write() as unit:
            unit.startAttempt(1, 1)
        self.restart()
        self.assertEqual(self.job().reason, "its daemon died while it ran")
        self.step()
        self.assertIsNone(self.job().reason)

    def test_stop(self) -> None:
        """
        A job that its daemon has interrupted has that as its reason.
        """

        def task(worker: Worker) -> None:
            self.queue.stop(10)
            raise JobFailed(JobFailure("interrupted", "killed", None, "SIGKILL"))

        self.tasks["kill"] = task
        self.submit(new("kill", onCrash=OnCrash.RETRY, maxAttempts=2))
        self.step()
        self.assertEqual(self.stored().reason, "its daemon stopped while it ran")
