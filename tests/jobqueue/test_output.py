"""
Tests for the directories in which jobs keep what they write.
"""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent

from ganeti_pool import errors
from ganeti_pool.jobqueue import JobQueue
from ganeti_pool.jobqueue._output import removeTrees
from ganeti_pool.jobs import JobState, OutputSize, currentAttempt
from ganeti_pool.testing import MemoryJobStore, makeSteppingPool
from ganeti_pool.workerpool import DeferTask

from .queuecase import NOON, QueueCase, StartedCase, Worker, new


class OutputTests(StartedCase):
    """
    Tests for the directories of the attempts.
    """

    def test_noOutputDirectory(self) -> None:
        """
        A job whose output cannot be kept stays queued, and the worker, which is busy
        with it, waits, longer each time, until it can. The status says why, and the log
        does once.
        """
        obstacle = self.obstruct()

        def meanwhile() -> None:
            self.assertEqual((self.job().state, self.status()["busy"]), (JobState.QUEUED, 1))
            self.assertIn(
                "job 1 cannot start: the output of jobs cannot be kept: ",
                self.status()["store"]["last_error"],
            )
            self.reactor.advance(1)

        def mended() -> None:
            (pause,) = self.reactor.getDelayedCalls()
            self.assertEqual(pause.getTime() - self.reactor.seconds(), 2)
            obstacle.unlink()
            self.reactor.advance(2)

        self.meanwhile += [meanwhile, mended]
        self.tasks["see"] = lambda worker: self.ran.append(self.status()["store"]["last_error"])
        self.submit(new("see"))
        with capturedLogs() as logged:
            self.stepping.step()
        self.assertEqual((self.ran, self.meanwhile), ([None], []))
        warnings = [event for event in logged if event["log_level"] is LogLevel.warn]
        self.assertEqual([event["job"] for event in warnings], [1])
        self.assertIn("Job 1 cannot start, and waits: ", formatEvent(warnings[0]))
        self.assertEqual(self.status()["busy"], 0)
        self.assertEqual((self.job().state, self.job().attempt), (JobState.SUCCEEDED, 1))
        self.assertIsNone(self.status()["store"]["last_error"])

    def test_cancelledWithoutOutputDirectory(self) -> None:
        """
        Meanwhile it can be cancelled, which lets its worker go, and is no trouble then.
        """
        self.obstruct()

        def cancel() -> None:
            self.assertIn("cannot be kept", self.status()["store"]["last_error"])
            self.successResultOf(self.queue.cancel(1))
            self.assertIsNone(self.status()["store"]["last_error"])
            self.reactor.advance(1)

        self.meanwhile += [cancel]
        self.submit(new())
        self.stepping.step()
        self.assertEqual((self.job().state, self.ran), (JobState.CANCELLED, []))
        self.assertIsNone(self.status()["store"]["last_error"])

    def test_severalWithoutOutputDirectory(self) -> None:
        """
        What keeps one job from its start shows while another one starts, and no
        longer than it does.
        """
        self.open(MemoryJobStore(), numWorkers=2)
        self.start()
        mend = self.withoutOutput(1)

        def other() -> None:
            self.stepping.step()
            troubles.append(self.status()["store"]["last_error"])
            mend()
            self.reactor.advance(1)

        troubles: list[str | None] = []
        self.meanwhile.append(other)
        self.submit(new("note", 1), new("note", 2))
        self.stepping.step()
        self.assertEqual(self.ran, [2, 1])
        self.assertEqual(
            troubles, ["job 1 cannot start: the output of jobs cannot be kept: no place"]
        )
        self.assertIsNone(self.status()["store"]["last_error"])

    def test_allWithoutOutputDirectory(self) -> None:
        """
        Of several jobs that cannot start, the status names one, and says how many more
        there are.
        """
        self.open(MemoryJobStore(), numWorkers=2)
        self.start()
        obstacle = self.obstruct()

        def mended() -> None:
            troubles.append(self.status()["store"]["last_error"])
            obstacle.unlink()
            self.reactor.advance(1)

        troubles: list[str] = []
        self.meanwhile += [self.stepping.step, mended, lambda: self.reactor.advance(1)]
        self.submit(new("note", 1), new("note", 2))
        self.stepping.runAll()
        self.assertEqual(sorted(self.ran), [1, 2])
        self.assertEqual(len(troubles), 1)
        self.assertRegex(troubles[0], r"^job 1 cannot start: .* \(and 1 more\)$")

    def test_cancelledJobMakesNone(self) -> None:
        """
        A worker that has taken a job which was cancelled since makes no directory for
        it: what it has written may have been removed.
        """
        self.submit(new())
        task = self.task()
        self.successResultOf(self.queue.cancel(1))
        self.successResultOf(self.queue.remove(1))
        self.assertRaises(errors.StaleAttempt, task.begin, 1)
        self.assertFalse(Path(self.directory, "output", "1").exists())

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

    def test_none(self) -> None:
        """
        A worker class that keeps no output gets no directory.
        """
        directories: list[str | None] = []

        def task(worker: Worker) -> None:
            attempt = currentAttempt.get()
            assert attempt is not None
            directories.append(attempt.outputDirectory)

        self.open(MemoryJobStore(lambda: NOON), keepsOutput=False)
        self.start()
        self.tasks["look"] = task
        self.submit(new("look"))
        self.stepping.step()
        self.assertEqual(directories, [None])


class RemovalTests(QueueCase):
    """
    Tests for how directories are removed.
    """

    def test_inThread(self) -> None:
        """
        By default the output is removed by a thread of the reactor's pool.
        """
        pool, _, reactor = makeSteppingPool(1, Worker)
        queue = JobQueue(reactor, pool, self.store, "w", self.queue._paths, reap=self.reapAll)
        threads, stepping, _ = makeSteppingPool(1, reactor=reactor)
        reactor.getThreadPool = lambda: threads  # type: ignore[attr-defined]
        directory = Path(self.directory, "output", "1", "1")
        directory.mkdir(parents=True)
        (directory / "stdout").write_text("output")
        removal = Deferred.fromCoroutine(queue._output.remove([1, 2]))
        self.assertTrue(directory.exists())
        stepping.runAll()
        reactor.run()
        self.successResultOf(removal)
        self.assertEqual(list(Path(self.directory, "output").iterdir()), [])

    def test_cannotBeRemoved(self) -> None:
        """
        What cannot be removed is logged and stays, and the others are removed; what is
        not there is fine.
        """
        obstacle = Path(self.mktemp())
        obstacle.write_text("no directory")
        other = Path(self.mktemp())
        other.mkdir()
        warnings: list[object] = []
        self.patch(removeTrees.__globals__["_log"], "warn", lambda *a, **kw: warnings.append(kw))
        removeTrees([str(obstacle), self.mktemp(), str(other)])
        self.assertEqual((len(warnings), other.exists()), (1, False))
