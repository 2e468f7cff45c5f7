"""
Keep the output of a command in files.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import termios
from collections.abc import Callable

from twisted.logger import Logger

from ..jobs import OutputSize
from ._scarcity import SCARCE

__all__ = ["CHUNK", "OutputFile", "unread"]

CHUNK = 65536


class OutputFile:
    """
    Keep the beginning of a stream in a file, and read and drop the rest, so that its
    writer never waits for the limit. The file is created with the first byte.

    If the file cannot be created or written for a temporary shortage, the output is
    I{held}: a chunk waits in memory, and the caller stops reading the pipe and calls
    L{retry} from time to time. After any other error the output is cut off.
    """

    _log = Logger()

    def __init__(self, path: Callable[[], str] | None, limit: int) -> None:
        """
        @param path: returns the path of the file, and makes its directory; may raise
            L{OSError}. L{None} to keep nothing.
        @param limit: how many bytes are kept at most.
        """
        self._path = path
        self._limit = 0 if path is None else limit
        self._kept = 0
        self._truncated = False
        self._waiting: memoryview | bytes = b""
        self._file: int | None = None
        self.why = ""

    @property
    def size(self) -> OutputSize:
        """
        How much was kept until now.
        """
        return OutputSize(self._kept, self._truncated)

    @property
    def isHeld(self) -> bool:
        """
        Whether a chunk waits to be written, for the reason C{why}.
        """
        return bool(self._waiting)

    def take(self, pipe: int, most: int = CHUNK) -> int:
        """
        Read once from a readable pipe. The output must not be held.

        @param most: the number of bytes to read at most.
        @return: the number of bytes read, 0 at the end of the stream.
        """
        data = os.read(pipe, min(most, CHUNK))
        if not self._truncated:
            self._waiting = memoryview(data)[: self._limit - self._kept]
            self._truncated = len(self._waiting) < len(data)
            self.retry()
        return len(data)

    def retry(self) -> None:
        """
        Write the chunk that waits, if there is one.
        """
        try:
            while self._waiting:
                if self._file is None:
                    assert self._path is not None  # the limit is 0 then
                    self._file = _openFile(self._path())
                written = os.write(self._file, self._waiting)
                self._kept += written
                self._waiting = self._waiting[written:]
        except OSError as error:
            self.why = f"its output cannot be kept: {error}"
            if error.errno not in SCARCE:
                self.cutOff()

    def cutOff(self) -> None:
        """
        Drop the chunk that waits, and everything after it. The output must be held.
        """
        self._waiting = b""
        self._truncated = True
        self._log.warn(
            "An output stream is cut off after {kept} bytes: {why}",
            kept=self._kept,
            why=self.why,
        )

    def close(self) -> None:
        """
        Close the file, if one was created.
        """
        if self._file is not None:
            os.close(self._file)


def unread(pipe: int) -> int:
    """
    Return the number of bytes in a pipe.
    """
    answer = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    (count,) = struct.unpack("i", answer)
    return int(count)


def _openFile(path: str) -> int:
    """
    Create a regular file, or empty one that has no other name.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    file = os.open(path, flags, 0o600)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise FileExistsError(errno.EEXIST, "another file is in the way", path)
        os.ftruncate(file, 0)
    except BaseException:
        os.close(file)
        raise
    return file
