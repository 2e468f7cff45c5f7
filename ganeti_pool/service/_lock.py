"""
One daemon for each state directory.
"""

from __future__ import annotations

import fcntl
import os

from ..errors import PoolError

__all__ = ["DirectoryInUse", "StateLock"]


class DirectoryInUse(PoolError):
    """
    Another daemon owns the state directory.
    """

    def __init__(self, path: str) -> None:
        super().__init__(
            f"the state directory {os.path.dirname(path)} is in use by another daemon, which "
            f"holds the lock on {path}"
        )


class StateLock:
    """
    A lock on a file. It goes with the process that holds it, however that ends,
    which a pid file does not; it passes to a child that goes on in its place, as
    a daemon does; and no command inherits it.

    Threads: one at a time.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """
        Take the lock, unless it is held already.

        @raise DirectoryInUse: if somebody else has it.
        @raise OSError: if the file cannot be opened.
        """
        if self._descriptor is not None:
            return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise DirectoryInUse(self._path) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """
        Give the lock back. The file stays: to remove it would let two hold it.
        """
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
