"""
From the pipes of a command to its files.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import termios

from twisted.logger import Logger

from ..jobs import OutputSize

__all__ = ["OutputFile"]

_CHUNK = 65536


class OutputFile:
    """
    Keeps the beginning of a stream, and takes and drops the rest, so that who
    writes it never waits. No more than a chunk is in memory. A file that can no
    longer be written (a full disk) ends what is kept, not the command.
    """

    _log = Logger()

    def __init__(self, path: str | None, limit: int) -> None:
        """
        Create the file, or empty it.

        @param path: L{None} to keep nothing.
        @param limit: how many bytes are kept at most.
        @raise OSError: if it cannot be opened, or something else is in its place, such
            as a FIFO or a link. It never waits for another process.
        """
        self._path = path
        self._limit = 0 if path is None else limit
        self._kept = 0
        self._truncated = False
        self._file = None if path is None else _openFile(path)

    @property
    def size(self) -> OutputSize:
        """
        How much was kept until now.
        """
        return OutputSize(self._kept, self._truncated)

    def take(self, pipe: int) -> bool:
        """
        Take what a readable pipe holds, a chunk at most.

        @return: false at its end.
        """
        data = os.read(pipe, _CHUNK)
        self._keep(data)
        return bool(data)

    def takeRest(self, pipe: int) -> None:
        """
        Take what is in the pipe now, and nothing that is written meanwhile: a
        process that outlives the command may write for ever. Does not wait.
        """
        answer = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
        (left,) = struct.unpack("i", answer)
        while left:
            data = os.read(pipe, min(left, _CHUNK))
            left -= len(data)
            self._keep(data)

    def _keep(self, data: bytes) -> None:
        if self._truncated:
            return
        kept = memoryview(data)[: self._limit - self._kept]
        self._truncated = len(kept) < len(data)
        try:
            while kept and self._file is not None:
                written = os.write(self._file, kept)
                self._kept += written
                kept = kept[written:]
        except OSError as error:
            self._truncated = True
            self._log.warn(
                "{path} is cut off after {kept} bytes: {error}",
                path=self._path,
                kept=self._kept,
                error=error,
            )

    def close(self) -> None:
        """
        Give the file back.
        """
        if self._file is not None:
            os.close(self._file)


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
