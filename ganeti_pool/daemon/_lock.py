"""
One daemon for each state directory, and for each store.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from typing import Protocol

from ..errors import PoolError

__all__ = ["InUse", "Lock", "LockFile", "Locks"]


class InUse(PoolError):
    """
    Another daemon has what this one needs for itself.
    """

    def __init__(self, what: str, path: str) -> None:
        super().__init__(f"{what} is in use by another daemon, which holds the lock on {path}")


class Lock(Protocol):
    """
    What one daemon holds at a time.
    """

    def acquire(self) -> None:
        """
        Take it, unless it is held already.

        @raise InUse: if somebody else has it.
        """

    def release(self) -> None:
        """
        Give it back, if it is held.
        """

    def descriptors(self) -> Iterator[int]:
        """
        The descriptors that hold it, which a forked child would share.
        """


class LockFile:
    """
    A lock on a file. It goes with the process that holds it, however that ends,
    which a pid file does not; it passes to a child that goes on in its place, as
    a daemon does; and no command inherits it. Another child that is forked must give
    up L{descriptors}, or it would hold the lock after this process has ended.

    Threads: one at a time.
    """

    def __init__(self, path: str, what: str) -> None:
        """
        @param what: what the lock stands for, as people call it.
        """
        self._path = path
        self._what = what
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """
        Take the lock, unless it is held already.

        @raise InUse: if somebody else has it.
        @raise OSError: if the file cannot be opened or locked.
        """
        if self._descriptor is not None:
            return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise InUse(self._what, self._path) from error
            # Such as a file system that has no locks.
            raise OSError(error.errno, error.strerror, self._path) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """
        Give the lock back. The file stays: to remove it would let two hold it.
        """
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def descriptors(self) -> Iterator[int]:
        """
        The descriptor that holds it. See L{Lock.descriptors}.
        """
        if self._descriptor is not None:
            yield self._descriptor


class Locks:
    """
    Some locks as one.

    Threads: one at a time.
    """

    def __init__(self, *locks: Lock) -> None:
        self._locks = locks

    def acquire(self) -> None:
        """
        Take all of them, or none.

        @raise InUse: if somebody else has one.
        @raise OSError: if a file cannot be opened.
        """
        try:
            for lock in self._locks:
                lock.acquire()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """
        Give all of them back.
        """
        for lock in self._locks:
            lock.release()

    def descriptors(self) -> Iterator[int]:
        """
        The descriptors that hold them. See L{Lock.descriptors}.
        """
        for lock in self._locks:
            yield from lock.descriptors()
