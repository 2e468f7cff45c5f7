"""
Tests for the writer of the log and the places that it writes to.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import syslog
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Thread

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.daemon import DescriptorSink, FileSink, LogWriter, SyslogSink, escapeControls

from .daemoncase import PATIENCE


class FakeSink:
    """
    A sink that can be blocked and can refuse lines.

    @ivar written: the batches that it has accepted.
    @ivar arrived: set when a batch arrives.
    @ivar mayGo: while it is not set, batches wait.
    @ivar error: what is raised for a batch.
    """

    def __init__(self) -> None:
        self.written: list[object] = []
        self.arrived = Event()
        self.mayGo = Event()
        self.mayGo.set()
        self.error: Exception | None = None

    def write(self, lines: Sequence[str]) -> None:
        self.arrived.set()
        assert self.mayGo.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        self.written.extend(lines)

    def reopen(self) -> None:
        self.written.append("reopened")


class EscapeTests(SynchronousTestCase):
    """
    Tests for L{escapeControls}.
    """

    def test_controls(self) -> None:
        """
        What controls a terminal, separates lines or turns the text around is escaped.
        """
        for text, escaped in (
            ("\x1b[31m", r"\x1b[31m"),
            ("\0\a\b\v\f\r\x1f", r"\x00\x07\x08\x0b\x0c\r\x1f"),
            ("\x7f\x80\x85\x9b\x9f", r"\x7f\x80\x85\x9b\x9f"),
            ("\u2028\u2029", r"\u2028\u2029"),
            ("\u061c\u200e\u200f\u202a\u202e\u2066\u2069", None),
            ("\udc80\ud800", r"\udc80\ud800"),
        ):
            found = escapeControls(text)
            self.assertTrue(found.isascii() and found.isprintable(), ascii(found))
            if escaped is not None:
                self.assertEqual(found, escaped)

    def test_text(self) -> None:
        """
        All other text stays as it is.
        """
        text = "a\tb\né \xa0漢 \u200d 👩\u200d🔧 עברית \\x1b"
        self.assertEqual(escapeControls(text), text)


class WriterTests(SynchronousTestCase):
    """
    Tests for L{LogWriter}.
    """

    def setUp(self) -> None:
        self.sink = FakeSink()
        self.addCleanup(self.sink.mayGo.set)
        self.writer = self.make(limit=1_000_000)

    def make(self, limit: int) -> LogWriter[str]:
        writer: LogWriter[str] = LogWriter(self.sink, "missing {}".format, len, limit)
        self.addCleanup(writer.close, PATIENCE)
        return writer

    def block(self) -> None:
        """
        Start the thread, and block it with a first line.
        """
        self.writer.start()
        self.sink.mayGo.clear()
        self.writer.put("first")
        self.assertTrue(self.sink.arrived.wait(PATIENCE))

    def finish(self) -> list[object]:
        """
        Let the thread go on to its end.

        @return: what has been written.
        """
        self.sink.mayGo.set()
        self.writer.close(PATIENCE)
        return self.sink.written

    def test_beforeStart(self) -> None:
        """
        Before the start a line is written at once.
        """
        self.writer.put("a")
        self.assertEqual(self.sink.written, ["a"])

    def test_order(self) -> None:
        """
        The lines are written in the order in which they came, however many wait.
        """
        self.block()
        lines = [f"{number}" for number in range(2000)]
        for line in lines:
            self.writer.put(line)
        self.assertEqual(self.sink.written, [])
        self.assertEqual(self.finish(), ["first", *lines])
        self.assertEqual(self.writer.dropped, 0)

    def test_full(self) -> None:
        """
        What finds no space is dropped, and a line in its place says how many lines that
        was; lines are accepted again when half of the space is free.
        """
        # A line of 150 characters has a cost of 250.
        self.writer = self.make(limit=1000)
        self.block()
        a, b, c, d, e, f, g = (letter * 150 for letter in "abcdefg")
        for line in (a, b, c, d, e, f):
            self.writer.put(line)
        self.assertEqual(self.writer.dropped, 2)
        self.sink.arrived.clear()
        self.sink.mayGo.set()
        # Whether it is empty by then or not, the order is the same.
        self.assertTrue(self.sink.arrived.wait(PATIENCE))
        self.writer.put(g)
        self.assertEqual(self.finish(), ["first", a, b, c, d, "missing 2", g])
        self.assertEqual(self.writer.dropped, 2)

    def test_notHalfEmpty(self) -> None:
        """
        A line that would fit is dropped while more than half of the space is taken, and
        two places where lines are missing are told apart.
        """
        self.writer = self.make(limit=1000)
        self.block()
        for size in (700, 150, 10):
            self.writer.put("x" * size)
        self.assertEqual(self.writer.dropped, 2)
        self.writer = self.make(limit=1000)
        self.writer.start()
        self.writer.put("y" * 5000)
        self.writer.put("z")
        self.writer.put("y" * 5000)
        self.assertEqual(self.writer.dropped, 2)
        self.finish()
        self.assertEqual(self.sink.written.count("missing 1"), 2)

    def test_noticeWithoutLine(self) -> None:
        """
        The number of dropped lines is written even if no line follows.
        """
        self.writer = self.make(limit=300)
        self.block()
        self.writer.put("x" * 250)
        self.assertEqual(self.finish(), ["first", "missing 1"])

    def test_refused(self) -> None:
        """
        Lines that the sink refuses are dropped, and the next ones follow a line with
        their number.
        """
        self.sink.error = OSError(errno.ENOSPC, "No space left on device")
        for line in ("a", "b"):
            self.writer.put(line)
        self.sink.error = None
        for line in ("c", "d"):
            self.writer.put(line)
        self.assertEqual(self.sink.written, ["missing 2", "c", "d"])
        self.assertEqual(self.writer.dropped, 2)

    def test_refusedOnThread(self) -> None:
        """
        A sink that raises does not end the thread, and lines that had been dropped before
        are counted once.
        """
        self.writer = self.make(limit=300)
        self.block()
        self.writer.put("x" * 250)
        self.sink.error = ValueError("closed")
        self.sink.mayGo.set()
        self.writer.close(PATIENCE)
        self.assertEqual(self.sink.written, [])
        self.assertEqual(self.writer.dropped, 2)

    def test_reopen(self) -> None:
        """
        The destination is changed between the lines that came before and those that came
        after, on the thread, and once however often it is asked for.
        """
        self.block()
        self.writer.put("a")
        self.writer.reopen()
        self.writer.put("b")
        self.writer.reopen()
        self.assertEqual(self.sink.written, [])
        self.assertEqual(self.finish(), ["first", "a", "reopened", "b"])

    def test_closeIsBounded(self) -> None:
        """
        Closing waits no longer than it is told to, and what comes later is dropped.
        """
        self.block()
        self.writer.close(0)
        self.writer.put("late")
        self.assertEqual(self.writer.dropped, 1)
        self.assertEqual(self.finish(), ["first", "missing 1"])

    def test_closeBeforeStart(self) -> None:
        """
        A writer that was not started is closed at once.
        """
        self.writer.close(PATIENCE)
        self.writer.put("a")
        self.assertEqual(self.sink.written, ["a"])

    def test_noThread(self) -> None:
        """
        If the system has no more threads, lines are written at once.
        """

        def start(thread: Thread) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(Thread, "start", start)
        self.writer.start()
        self.writer.put("a")
        self.assertEqual(self.sink.written, ["a"])

    def test_logsInTheMiddle(self) -> None:
        """
        What logs on a thread that holds the lock, as a finalizer may, queues a line.
        """
        self.writer.start()
        with self.writer._changed:
            self.writer.put("a")
        self.assertEqual(self.finish(), ["a"])

    def test_fork(self) -> None:
        """
        A child that was forked has no thread, and writes its lines itself, even if the
        lock was held at that moment.
        """
        lock, held, mayEnd = self.writer._changed, Event(), Event()

        def hold() -> None:
            with lock:
                held.set()
                mayEnd.wait(PATIENCE)

        thread = Thread(target=hold)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(mayEnd.set)
        self.assertTrue(held.wait(PATIENCE))
        # The thread of the parent does not exist in the child.
        self.patch(Thread, "start", lambda thread: None)
        self.writer.start()
        process = os.getpid()
        self.patch(os, "getpid", lambda: process + 1)
        self.writer.close(PATIENCE)
        self.writer.put("of the child")
        self.assertEqual(self.sink.written, ["of the child"])

    def test_startInChild(self) -> None:
        """
        A writer that is started in a forked child, as twistd's is in the background, has
        its lines written on its thread.
        """
        process = os.getpid()
        self.patch(os, "getpid", lambda: process + 1)
        self.block()
        self.assertEqual(self.sink.written, [])
        self.assertEqual(self.finish(), ["first"])


class DescriptorTests(SynchronousTestCase):
    """
    Tests for L{DescriptorSink}.
    """

    def setUp(self) -> None:
        self.reader, self.pipe = os.pipe()
        for descriptor in (self.reader, self.pipe):
            self.addCleanup(os.close, descriptor)

    def test_encoding(self) -> None:
        """
        Lines have the encoding of the stream; what it cannot express is escaped.
        """
        DescriptorSink(self.pipe).write(["é\n", "b\n"])
        DescriptorSink(self.pipe, "ascii").write(["é\n"])
        self.assertEqual(os.read(self.reader, 100), "é\nb\n\\xe9\n".encode())

    def test_nonBlocking(self) -> None:
        """
        A pipe that another process has made non-blocking gets everything when it has
        space again, and stays non-blocking.
        """
        os.set_blocking(self.pipe, False)
        polls: list[object] = []
        chunks: list[bytes] = []

        class Poll:
            def register(poll, descriptor: int, events: int) -> None:
                polls.append((descriptor, events))

            def poll(poll) -> None:
                chunks.append(os.read(self.reader, 1_000_000))

        self.patch(select, "poll", Poll)
        sink = DescriptorSink(self.pipe)
        lines = [f"{number:0999}\n" for number in range(200)]
        sink.write(lines)
        self.assertEqual(set(polls), {(self.pipe, select.POLLOUT)})
        chunks.append(os.read(self.reader, 1_000_000))
        self.assertEqual(b"".join(chunks).decode(), "".join(lines))
        self.assertFalse(os.get_blocking(self.pipe))

    def test_refused(self) -> None:
        """
        A pipe without a reader refuses lines.
        """
        reader, pipe = os.pipe()
        self.addCleanup(os.close, pipe)
        os.close(reader)
        self.assertRaises(BrokenPipeError, DescriptorSink(pipe).write, ["a"])

    def test_reopen(self) -> None:
        """
        There is no file that could be changed for another.
        """
        DescriptorSink(self.pipe).reopen()


class SyslogTests(SynchronousTestCase):
    """
    Tests for L{SyslogSink}.
    """

    def test_lines(self) -> None:
        """
        Each line is sent with its priority.
        """
        sent: list[object] = []
        self.patch(syslog, "syslog", lambda priority, text: sent.append((priority, text)))
        sink = SyslogSink()
        sink.write([(syslog.LOG_INFO, "a"), (syslog.LOG_ALERT, "b")])
        sink.reopen()
        self.assertEqual(sent, [(syslog.LOG_INFO, "a"), (syslog.LOG_ALERT, "b")])


class FileTests(SynchronousTestCase):
    """
    Tests for L{FileSink}.
    """

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(parents=True)
        self.path = self.directory / "log"
        self.openFile: Callable[[str], int] = lambda path: os.open(
            path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600
        )

    def make(self) -> FileSink:
        sink = FileSink(str(self.path), lambda path: self.openFile(path))
        self.addCleanup(sink.close)
        return sink

    def files(self) -> dict[str, str]:
        """
        The content of each file in the directory.
        """
        return {path.name: path.read_text() for path in self.directory.iterdir()}

    def test_appends(self) -> None:
        """
        Lines follow what is in the file.
        """
        self.path.write_text("a\n")
        self.make().write(["b\n", "c\n"])
        self.assertEqual(self.files(), {"log": "a\nb\nc\n"})

    def test_rotates(self) -> None:
        """
        A file of a million bytes is set aside before the next line, and earlier ones
        are numbered on. Other files stay.
        """
        for name in ("log.1", "log.9", "log.old", "log.01"):
            (self.directory / name).write_text(name)
        sink = self.make()
        sink.write(["x" * 999_999])
        sink.write(["y"])
        sink.write(["z"])
        self.assertEqual(
            self.files(),
            {
                "log": "z",
                "log.1": "x" * 999_999 + "y",
                "log.2": "log.1",
                "log.10": "log.9",
                "log.old": "log.old",
                "log.01": "log.01",
            },
        )

    def test_rotatesOnDemand(self) -> None:
        """
        A file that is where it was is rotated, and the new one has its mode.
        """
        sink = self.make()
        sink.write(["a"])
        self.path.chmod(0o640)
        sink.reopen()
        sink.write(["b"])
        self.assertEqual(self.files(), {"log": "b", "log.1": "a"})
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o640)

    def test_moved(self) -> None:
        """
        A file that was moved is followed by a new one at the path, with the same mode.
        """
        sink = self.make()
        sink.write(["a"])
        self.path.chmod(0o640)
        self.path.rename(self.directory / "old")
        sink.reopen()
        sink.write(["b"])
        self.assertEqual(self.files(), {"log": "b", "old": "a"})
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o640)

    def test_replaced(self) -> None:
        """
        A file that another program has put at the path is written to, and keeps its mode.
        """
        sink = self.make()
        sink.write(["a"])
        self.path.rename(self.directory / "old")
        self.path.write_text("")
        self.path.chmod(0o604)
        sink.reopen()
        sink.write(["b"])
        self.assertEqual(self.files(), {"log": "b", "old": "a"})
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o604)

    def test_notOpened(self) -> None:
        """
        If the new file cannot be opened, a warning says so, and the log goes on in the
        old one, which is not rotated again for each line.
        """
        sink = self.make()
        sink.write(["x" * 1_000_000])
        self.path.rename(self.directory / "old")

        def fail(path: str) -> int:
            raise PermissionError(errno.EACCES, "Permission denied", path)

        self.openFile = fail
        with capturedLogs() as logged:
            sink.reopen()
            sink.write(["y"])
            sink.write(["z"])
        self.assertEqual(len(logged), 2)
        for event in logged:
            self.assertIn("Permission denied", formatEvent(event) or "")
        self.assertEqual(self.files(), {"old": "x" * 1_000_000 + "yz"})

    def test_noMode(self) -> None:
        """
        A file system that has no modes keeps none from it.
        """

        def fail(descriptor: int, mode: int) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        sink = self.make()
        self.patch(os, "fchmod", fail)
        sink.reopen()
        sink.write(["a"])
        self.assertEqual(self.files(), {"log": "a", "log.1": ""})

    def test_device(self) -> None:
        """
        What is not a regular file is neither rotated nor opened again.
        """
        self.path = Path("/dev/null")
        sink = self.make()
        self.openFile = self.fail
        sink.write(["a"])
        sink.reopen()
