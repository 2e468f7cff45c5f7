"""
Tests for the directories in which jobs keep what they write.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import errors
from ganeti_pool.errors import OutputUnreadable
from ganeti_pool.jobqueue import JobQueue
from ganeti_pool.jobqueue._output import Output, listNumbers, removeTrees
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
                "job 1 waits: the output of jobs cannot be kept: ",
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
            self.step()
        self.assertEqual((self.ran, self.meanwhile), ([None], []))
        warnings = [event for event in logged if event["log_level"] is LogLevel.warn]
        self.assertEqual([event["job"] for event in warnings], [1])
        self.assertIn("Job 1 waits: ", formatEvent(warnings[0]))
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
        self.step()
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
            self.step()
            troubles.append(self.status()["store"]["last_error"])
            mend()
            self.reactor.advance(1)

        troubles: list[str | None] = []
        self.meanwhile.append(other)
        self.submit(new("note", 1), new("note", 2))
        self.step()
        self.assertEqual(self.ran, [2, 1])
        self.assertEqual(troubles, ["job 1 waits: the output of jobs cannot be kept: no place"])
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
        self.meanwhile += [self.step, mended, lambda: self.reactor.advance(1)]
        self.submit(new("note", 1), new("note", 2))
        self.runAll()
        self.assertEqual(sorted(self.ran), [1, 2])
        self.assertEqual(len(troubles), 1)
        self.assertRegex(troubles[0], r"^job 1 waits: .* \(and 1 more\)$")

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
        self.runAll()
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
        self.step()
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

    def tree(self, *paths: str) -> Path:
        """
        Make a directory with some files in it.
        """
        top = Path(self.mktemp())
        for path in paths:
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            (top / path).write_text(path)
        return top

    def remove(self, *directories: Path) -> list[str]:
        """
        Remove directories of jobs.

        @return: the warnings.
        """
        with capturedLogs() as logged:
            removeTrees(map(str, directories))
        return [formatEvent(one) for one in logged if one["log_level"] is LogLevel.warn]

    def test_removed(self) -> None:
        """
        All runs are removed, of any release, with whatever is in them; what is not there
        is fine.
        """
        other = self.tree("precious")
        job = self.tree("1/stdout", "2.0/stdout", "2.11/a/b/c/d", "3.new/stderr")
        (job / "1" / "link").symlink_to(other)
        (job / "2.0" / "stderr").symlink_to(other / "precious")
        (job / "4.0").symlink_to(other)
        os.mkfifo(job / "5.0")
        os.mkfifo(job / "2.11" / "fifo")
        self.assertEqual(self.remove(job, Path(self.mktemp())), [])
        self.assertFalse(job.exists())
        self.assertEqual((other / "precious").read_text(), "precious")

    def test_notOfARun(self) -> None:
        """
        What is not named as a run stays, and so does its directory, which is logged.
        """
        job = self.tree("1.0/stdout", "raw/data.csv", "01/x", "1.x/x", "0/x")
        (warning,) = self.remove(job)
        self.assertIn(f"Cannot remove the output in {job}: ", warning)
        self.assertEqual(set(os.listdir(job)), {"raw", "01", "1.x", "0"})

    def test_notAJob(self) -> None:
        """
        What is in the place of a job's directory and is none is not removed, nor waited
        for, and the others are removed.
        """
        other = self.tree("1.0/stdout")
        file, link, fifo = (Path(self.mktemp()) for _ in range(3))
        file.write_text("no directory")
        link.symlink_to(other)
        os.mkfifo(fifo)
        job = self.tree("1.0/stdout")
        self.assertEqual(len(self.remove(file, link, fifo, job)), 3)
        self.assertEqual((job.exists(), (other / "1.0/stdout").exists()), (False, True))
        self.assertTrue(file.exists() and link.is_symlink() and fifo.is_fifo())

    def test_tooDeep(self) -> None:
        """
        A tree that is deeper than Python calls stays, which is logged.
        """
        job = self.tree("1.0/stdout")
        inner = os.open(job / "1.0", os.O_RDONLY)
        for _ in range(sys.getrecursionlimit()):
            os.mkdir("d", dir_fd=inner)
            outer, inner = inner, os.open("d", os.O_RDONLY, dir_fd=inner)
            os.close(outer)
        os.close(inner)
        self.assertEqual(len(self.remove(job)), 1)
        # Cut, so that whoever removes the directory of the test can do so.
        while (job / "1.0" / "d").exists():
            (job / "1.0" / "d").rename(job / "e")
            (job / "1.0").rmdir()
            (job / "e").rename(job / "1.0")


class RunTests(SynchronousTestCase):
    """
    Tests for the directories of runs in the file system.
    """

    def setUp(self) -> None:
        self.top = Path(self.mktemp())
        self.output = Output(str(self.top), maybeDeferred)

    def run_(self, jobID: int, attempt: int, deferrals: int, text: str) -> Path:
        """
        A run that writes something.
        """
        self.output.make(jobID, attempt)
        directory = Path(self.output.begin(jobID, attempt, deferrals))
        (directory / "stdout").write_text(text)
        return directory

    def read(self, attempt: int, offset: int = 0) -> bytes:
        return self.successResultOf(self.output.read(17, attempt, "stdout", offset))

    def refused(self) -> str:
        """
        The output of attempt 1 cannot be read.

        @return: why.
        """
        reading = self.output.read(17, 1, "stdout", 0)
        return str(self.failureResultOf(reading, OutputUnreadable).value)

    def test_each(self) -> None:
        """
        Each run has a new directory of its own; of an attempt, the last is read.
        """
        names = [self.run_(17, *run, f"{run}").name for run in ((1, 0), (1, 9), (1, 10), (2, 10))]
        self.assertEqual(names, ["1.0", "1.9", "1.10", "2.10"])
        self.assertEqual([self.read(1), self.read(2)], [b"(1, 10)", b"(2, 10)"])
        self.assertEqual((self.top / "17" / "1.0" / "stdout").read_text(), "(1, 0)")
        self.assertEqual((self.top / "17").stat().st_mode & 0o777, 0o700)
        self.assertEqual((self.top / "17" / "1.0").stat().st_mode & 0o777, 0o700)

    def test_numbers(self) -> None:
        """
        The names that are IDs of jobs are listed in order; of no directory, none are.
        """
        self.assertEqual(listNumbers(str(self.top)), [])
        for name in ("10", "9", "007", "1.0", "aside-1", "0", "-1", "9" * 18, "1" * 19):
            (self.top / name).mkdir(parents=True)
        self.assertEqual(listNumbers(str(self.top)), [9, 10, int("9" * 18)])

    def test_earlierRelease(self) -> None:
        """
        A directory of an earlier release is read, until the attempt has run again.
        """
        (self.top / "17" / "1").mkdir(parents=True)
        (self.top / "17" / "1" / "stdout").write_text("earlier")
        self.assertEqual(self.read(1), b"earlier")
        self.run_(17, 1, 1, "later")
        self.assertEqual(self.read(1), b"later")

    def test_nothing(self) -> None:
        """
        Before there is any output, and behind its end, there are no bytes.
        """
        self.assertEqual(self.read(1), b"")
        self.output.make(17, 1)
        self.assertEqual(self.read(1), b"")
        path = self.output.begin(17, 1, 0)
        self.assertEqual(self.read(1), b"")
        Path(path, "stdout").write_text("text")
        reads = [self.read(1, offset) for offset in (1, 4, 5, 1 << 44, 1 << 63, 1 << 80)]
        self.assertEqual(reads, [b"ext", b"", b"", b"", b"", b""])
        self.assertEqual(self.read(2), b"")

    def test_chunk(self) -> None:
        """
        No more than 256 KiB are read at once.
        """
        self.run_(17, 1, 0, "x" * 300_000)
        self.assertEqual((len(self.read(1)), len(self.read(1, 262_144))), (262_144, 37_856))

    def test_inTheWay(self) -> None:
        """
        A link, a FIFO and a directory in place of a file, and a link or a file in place of
        a directory, are refused with a sentence that names them, and not waited for.
        """
        other = self.top / "other"
        other.mkdir(parents=True)
        (other / "stdout").write_text("secret")
        file = self.run_(17, 1, 0, "text") / "stdout"
        file.unlink()
        why: dict[str, Callable[[], object]] = {
            "symbolic link": partial(file.symlink_to, other / "stdout"),
            "regular": partial(os.mkfifo, file),
            "regular file": file.mkdir,
        }
        for what, make in why.items():
            make()
            self.assertIn(f"{file}: it is ", self.refused())
            self.assertIn(what, self.refused())
            file.rename(self.top / what)
        for directory in (file.parent, file.parent.parent):
            directory.rename(self.top / f"moved-{directory.name}")
            directory.symlink_to(other)
            self.assertIn(f"{directory}: it is a symbolic link; remove what", self.refused())
            directory.unlink()
            directory.touch()
            self.assertIn(f"{directory}: Not a directory; remove what", self.refused())
            directory.unlink()
            if directory == file.parent:
                (self.top / f"moved-{directory.name}").rename(directory)

    def test_notStarted(self) -> None:
        """
        The empty directory of a run that was not started serves the next one, and one that
        is not empty is moved aside.
        """
        self.output.make(17, 1)
        self.output.make(17, 1)
        self.assertEqual(self.output.aside, [])
        (self.top / "17" / "1.new" / "stdout").write_text("whose?")
        path = self.run_(17, 1, 0, "text")
        self.assertEqual(os.listdir(path), ["stdout"])
        self.assertEqual(self.output.aside, [str(self.top / "aside-1")])
        self.assertEqual((self.top / "aside-1/17/1.new/stdout").read_text(), "whose?")

    def test_ranBefore(self) -> None:
        """
        The output of a run with the same number, as after a restore, is moved aside, and
        that of the new run begins empty.
        """
        self.run_(17, 1, 0, "before the restore")
        self.assertEqual(self.run_(17, 1, 0, "after").name, "1.0")
        self.assertEqual(self.read(1), b"after")
        aside = self.top / "aside-1" / "17" / "1.0" / "stdout"
        self.assertEqual(aside.read_text(), "before the restore")

    def test_removedMeanwhile(self) -> None:
        """
        If somebody removes the directory before the run begins, it is made again.
        """
        self.output.make(17, 1)
        shutil.rmtree(self.top)
        self.assertTrue(os.path.isdir(self.output.begin(17, 1, 0)))

    def test_refusedBySystem(self) -> None:
        """
        If the system refuses the directory of a run, nothing is moved aside.
        """
        self.output.make(17, 1)

        def refuse(source: str, target: str) -> None:
            raise OSError(errno.EIO, "Input/output error")

        self.patch(os, "rename", refuse)
        self.assertRaises(OSError, self.output.begin, 17, 1, 0)
        self.assertEqual((os.listdir(self.top), self.output.aside), (["17"], []))

    def test_linkInPlaceOfAJob(self) -> None:
        """
        A link in place of the directory of a job is not followed: the run has no place.
        """
        other = Path(self.mktemp())
        other.mkdir()
        self.top.mkdir()
        (self.top / "17").symlink_to(other)
        error = self.assertRaises(OSError, self.output.make, 17, 1)
        self.assertIn("17 is in the way: it is not a directory", str(error))
        self.assertEqual(os.listdir(other), [])
