"""
Tests for the directories in which jobs keep what they write.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.errors import OutputUnreadable
from ganeti_pool.jobqueue import JobQueue, WorkerRules
from ganeti_pool.jobqueue._output import Output, listNumbers, removeTrees
from ganeti_pool.jobs import JobState, OutputSize, currentAttempt
from ganeti_pool.testing import FakeReactor, MemoryJobStore, makeSteppingPool
from ganeti_pool.workerpool import DeferTask

from .queuecase import NOON, QueueCase, StartedCase, Worker, new


class OutputTests(StartedCase):
    """
    Tests for the directories of the attempts.
    """

    def directory_(self) -> str | None:
        """
        Return the output directory of the run.
        """
        attempt = currentAttempt.get()
        assert attempt is not None
        return attempt.outputDirectory

    def test_lazily(self) -> None:
        """
        The directory of a run is made when the worker first asks for it, and is the same for
        each read.
        """

        def task(worker: Worker) -> None:
            self.assertFalse(Path(self.directory, "output", "1").exists())
            first = self.directory_()
            self.assertEqual(first, self.directory_())
            assert first is not None
            self.assertEqual(os.listdir(first), [])

        self.tasks["make"] = task
        self.submit(new("make"), new())
        self.runAll()
        self.assertEqual(self.states(1, 2), ["succeeded"] * 2)
        self.assertEqual(os.listdir(Path(self.directory, "output", "1")), ["1.0"])
        self.assertFalse(Path(self.directory, "output", "2").exists())

    def test_cannotBeMade(self) -> None:
        """
        If the directory cannot be made, the worker gets the error of the system, and the next
        read tries again.
        """

        def task(worker: Worker) -> str | None:
            obstacle = self.obstruct()
            self.assertRaises(OSError, self.directory_)
            obstacle.unlink()
            return self.directory_()

        self.tasks["make"] = task
        self.submit(new("make"))
        self.step()
        self.assertEqual(self.job().state, JobState.SUCCEEDED)
        self.assertTrue(os.path.isdir(self.job().result))

    def test_hindered(self) -> None:
        """
        While runs report that they cannot go on, the status has the reason of one and the
        number of the others, and the log has each once. A run that goes on or ends is not
        counted, and its slot is busy once.
        """
        self.restart(2)
        troubles: list[object] = []

        def task(worker: Worker) -> None:
            attempt = currentAttempt.get()
            assert attempt is not None
            attempt.recordStart()
            for _ in range(2):
                attempt.recordWait("no place")
            troubles.append((self.trouble(), self.status()["busy"]))
            if attempt.jobID == 1:
                self.waiting.pop().step()
                troubles.append(self.trouble())
                attempt.recordStart()
                troubles.append(self.trouble())

        self.tasks["wait"] = task
        self.submit(new("wait"), new("wait"))
        with capturedLogs() as logged:
            self.step()
        self.assertEqual(
            troubles,
            [
                ("job 1 waits: no place", 2),
                ("job 1 waits: no place (and 1 more)", 2),
                "job 1 waits: no place",
                None,
            ],
        )
        warnings = [event["job"] for event in logged if event["log_level"] is LogLevel.warn]
        self.assertEqual(warnings, [1, 2])
        self.assertIsNone(self.trouble())

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
        reactor = FakeReactor()
        queue = JobQueue(reactor, self.store, WorkerRules("w"), self.queue._paths, self.makeSlot, 1)
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
        directory = Path(self.output.make(jobID, attempt, deferrals))
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
        path = self.output.make(17, 1, 0)
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

    def test_refusedBySystem(self) -> None:
        """
        If the system refuses the directory of a run, nothing is moved aside.
        """

        def refuse(path: str, mode: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        self.output.make(17, 1, 0)
        self.patch(os, "mkdir", refuse)
        self.assertRaises(OSError, self.output.make, 17, 2, 0)
        self.assertEqual((os.listdir(self.top), self.output.aside), (["17"], []))

    def test_linkInPlaceOfAJob(self) -> None:
        """
        A link in place of the directory of a job is not followed: the run has no place.
        """
        other = Path(self.mktemp())
        other.mkdir()
        self.top.mkdir()
        (self.top / "17").symlink_to(other)
        error = self.assertRaises(OSError, self.output.make, 17, 1, 0)
        self.assertIn("17 is in the way: it is not a directory", str(error))
        self.assertEqual(os.listdir(other), [])
