"""
Write the log on a thread of its own, so that no caller ever waits for it.

A pipe that nobody reads, a hanging file system or a full syslog socket blocks the
thread in this module and nothing else.
"""

from __future__ import annotations

import glob
import os
import re
import select
import stat
import syslog
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Condition, Thread
from typing import Generic, Protocol, TypeVar

from twisted.logger import Logger

__all__ = [
    "DescriptorSink",
    "FileSink",
    "LogSink",
    "LogWriter",
    "SyslogSink",
    "escapeControls",
]

_log = Logger()

_MAX_QUEUED = 8 * 1024 * 1024
"""
The number of characters that may wait to be written.
"""

_LINE_COST = 100
"""
What a queued line counts beyond its characters.
"""

_MAX_BATCH = 500
"""
The number of lines that are handed to the sink at once.
"""

_ROTATE_AT = 1_000_000
"""
The size in bytes from which a log file is rotated; twistd's own log files have the same.
"""

_CONTROLS = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

_LineT = TypeVar("_LineT")
_LineT_contra = TypeVar("_LineT_contra", contravariant=True)


def escapeControls(text: str) -> str:
    """
    Write control characters as escape sequences, except for newlines and tabs.

    Besides the control characters of ASCII and Latin-1, that concerns the line and
    paragraph separators, the characters that change the direction of the text, and
    lone surrogates.
    """
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


class LogSink(Protocol[_LineT_contra]):
    """
    The destination of the log.

    Threads: one at a time.
    """

    def write(self, lines: Sequence[_LineT_contra]) -> None:
        """
        Write some lines, and wait until the system has accepted them.

        @raise OSError: if it refuses them. Some of them may have been written.
        """

    def reopen(self) -> None:
        """
        Go on in a new file, if the destination is a file. Nothing is raised.
        """


class _Gap:
    """
    The place in the queue where lines were dropped.
    """

    def __init__(self) -> None:
        self.count = 0


class _Reopening:
    """
    The place in the queue where a new file begins.
    """


class LogWriter(Generic[_LineT]):
    """
    Hand lines to a sink on a thread of its own.

      1. Lines are written in the order in which they were accepted.
      2. After L{start} no caller waits for the sink. When too much is queued, lines are
         dropped and counted until half of it has been written. A notice with their
         number is written in their place.
      3. Lines that the sink refuses are dropped and counted likewise. The notice precedes
         the next line that the sink accepts.
      4. L{close} waits for the queued lines, but no longer than it is told to.

    Until L{start} each caller writes its line itself, since a thread that was started
    before twistd forks would not exist afterwards. A child that was forked later does
    the same, for the same reason.

    Threads: any. The lock is reentrant: the garbage collector may run a finalizer that
    logs on a thread that holds it.
    """

    def __init__(
        self,
        sink: LogSink[_LineT],
        notice: Callable[[int], _LineT],
        cost: Callable[[_LineT], int],
        limit: int = _MAX_QUEUED,
    ) -> None:
        """
        @param notice: makes the line that reports a number of dropped lines.
        @param cost: the size of a line.
        @param limit: the total size of the lines that may be queued.
        """
        self._sink = sink
        self._notice = notice
        self._cost = cost
        self._limit = limit
        self._dropped = 0
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._changed = Condition()
        self._queue: deque[_LineT | _Gap | _Reopening] = deque()
        self._size = 0
        # The last entry of the queue while lines are being dropped.
        self._gap: _Gap | None = None
        self._thread: Thread | None = None
        self._isClosed = False
        self._isReopening = False
        # The lines that the sink has refused and that no notice has reported yet.
        self._refused = 0

    @property
    def dropped(self) -> int:
        """
        The number of lines that have been dropped since the process started.
        """
        return self._dropped

    def start(self) -> None:
        """
        From now on, write on a thread. If the system has no more threads, callers go on
        writing their lines themselves.
        """
        if self._process != os.getpid():
            # Twistd has forked since this was made. The first line would else do this.
            self._reset()
        thread = Thread(target=self._run, name="log", daemon=True)
        with suppress(RuntimeError):
            thread.start()
            self._thread = thread

    def put(self, line: _LineT) -> None:
        """
        Queue a line, or drop it.
        """
        if self._process != os.getpid():
            self._reset()
        if self._thread is None:
            self._write([line])
            return
        size = self._cost(line) + _LINE_COST
        with self._changed:
            limit = self._limit if self._gap is None else self._limit // 2
            if self._isClosed or self._size + size > limit:
                if self._gap is None:
                    self._gap = _Gap()
                    self._queue.append(self._gap)
                self._gap.count += 1
                self._dropped += 1
            else:
                self._gap = None
                self._queue.append(line)
                self._size += size
            self._changed.notify()

    def reopen(self) -> None:
        """
        After the lines that are queued, go on in a new file, if the log is a file.
        """
        with self._changed:
            # One is enough, however often it is asked for.
            if not self._isReopening:
                self._isReopening = True
                self._queue.append(_Reopening())
                self._changed.notify()

    def close(self, patience: float) -> None:
        """
        Accept no more lines, and wait until those that are queued are written.

        @param patience: the number of seconds to wait at most.
        """
        if self._thread is None or self._process != os.getpid():
            return
        with self._changed:
            self._isClosed = True
            self._changed.notify()
        self._thread.join(patience)

    def _run(self) -> None:
        isEnd = False
        while not isEnd:
            batch: list[_LineT | _Gap] = []
            isReopening = False
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._isClosed)
                while self._queue and len(batch) < _MAX_BATCH and not isReopening:
                    entry = self._queue.popleft()
                    if isinstance(entry, _Reopening):
                        isReopening, self._isReopening = True, False
                        continue
                    batch.append(entry)
                    if not isinstance(entry, _Gap):
                        self._size -= self._cost(entry) + _LINE_COST
                    elif entry is self._gap:
                        # Its number is final now.
                        self._gap = None
                isEnd = self._isClosed and not self._queue
            self._write(batch)
            if isReopening:
                self._sink.reopen()

    def _write(self, batch: Sequence[_LineT | _Gap]) -> None:
        lines = [self._notice(self._refused)] if self._refused else []
        count = missing = 0
        for entry in batch:
            if isinstance(entry, _Gap):
                missing += entry.count
                lines.append(self._notice(entry.count))
            else:
                count += 1
                lines.append(entry)
        if not lines:
            return
        try:
            self._sink.write(lines)
        # Whatever the sink does, the next lines are tried.
        except Exception:
            self._refused += count + missing
            with self._changed:
                self._dropped += count
        else:
            self._refused = 0


class DescriptorSink:
    """
    Write to a descriptor, such as standard output. Its flags stay as they are, since
    other processes may share it.
    """

    def __init__(self, descriptor: int, encoding: str = "utf-8") -> None:
        """
        @param encoding: the encoding of the text; what it cannot express is escaped.
        """
        self._descriptor = descriptor
        self._encoding = encoding

    def write(self, lines: Sequence[str]) -> None:
        """
        Write some lines.

        @raise OSError: if the system refuses them.
        """
        _writeAll(self._descriptor, "".join(lines).encode(self._encoding, "backslashreplace"))

    def reopen(self) -> None:
        """
        Do nothing.
        """


class FileSink:
    """
    Write to the end of a file, and rotate it as twistd does: C{log} becomes C{log.1}
    when it is 1,000,000 bytes long, and what was C{log.1} becomes C{log.2}.
    """

    def __init__(self, path: str, openFile: Callable[[str], int]) -> None:
        """
        @param path: the absolute path of the file.
        @param openFile: opens the file for appending, and creates it if it does not exist.
        @raise OSError: if it cannot be opened.
        """
        self._path = path
        self._openFile = openFile
        self._descriptor = openFile(path)
        self._rotateAt = _ROTATE_AT

    def write(self, lines: Sequence[str]) -> None:
        """
        Write some lines.

        @raise OSError: if the system refuses them.
        """
        status = os.fstat(self._descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_size >= self._rotateAt:
            # Not again for each line, if it fails.
            self._rotateAt = status.st_size + _ROTATE_AT
            self.reopen()
        _writeAll(self._descriptor, "".join(lines).encode("utf-8", "backslashreplace"))

    def reopen(self) -> None:
        """
        Go on in a new file: open the path again if another program has moved or removed
        the file, as logrotate does, or else rotate it. If that fails, the log says so,
        and goes on in the old file.
        """
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            return
        try:
            if self._isMoved():
                self._exchange()
            else:
                self._rotate()
        # Whatever the opening of a file refuses, the log goes on.
        except Exception as error:
            _log.warn(
                "Cannot begin a new log file: {error}. The log goes on in the old one.",
                error=error,
            )

    def close(self) -> None:
        """
        Close the file.
        """
        os.close(self._descriptor)

    def _isMoved(self) -> bool:
        try:
            return not os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        # It is gone, or its directory may not be searched any more.
        except OSError:
            return True

    def _rotate(self) -> None:
        for number in sorted(self._earlier(), reverse=True):
            os.rename(f"{self._path}.{number}", f"{self._path}.{number + 1}")
        os.rename(self._path, f"{self._path}.1")
        self._exchange()

    def _earlier(self) -> list[int]:
        names = glob.glob(f"{glob.escape(self._path)}.*")
        suffixes = [name[len(self._path) + 1 :] for name in names]
        return [int(suffix) for suffix in suffixes if re.fullmatch("[1-9][0-9]*", suffix)]

    def _exchange(self) -> None:
        isNew = not os.path.exists(self._path)
        descriptor = self._openFile(self._path)
        # The old file may be open to a group that reads the log.
        if isNew:
            with suppress(OSError):
                os.fchmod(descriptor, stat.S_IMODE(os.fstat(self._descriptor).st_mode))
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._rotateAt = _ROTATE_AT


class SyslogSink:
    """
    Write to syslog. A line is its priority and its text.
    """

    def write(self, lines: Sequence[tuple[int, str]]) -> None:
        """
        Write some lines.
        """
        for priority, text in lines:
            syslog.syslog(priority, text)

    def reopen(self) -> None:
        """
        Do nothing.
        """


def _writeAll(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            # Another process that shares the descriptor has made it non-blocking.
            ready = select.poll()
            ready.register(descriptor, select.POLLOUT)
            ready.poll()
