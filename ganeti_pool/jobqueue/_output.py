"""
Where the output of the attempts is kept, and how it is removed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

__all__ = ["InThread", "Output", "listNumbers", "removeTrees"]

_log = Logger()

InThread = Callable[..., Deferred[Any]]
"""
Calls a function with arguments on another thread than the reactor's; fires with what
it returns.
"""


def listNumbers(directory: str) -> list[int]:
    """
    The names in a directory that are IDs of jobs, in order; none if it cannot be read.

    Threads: any; it takes as long as it takes.
    """
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    # What is longer is no ID.
    return sorted(
        int(name) for name in names if name.isascii() and name.isdigit() and len(name) < 19
    )


def removeTrees(directories: Iterable[str]) -> None:
    """
    Remove directories and all that is in them. One that is not there is fine; what
    cannot be removed is logged, and stays.

    Threads: any; it takes as long as it takes.
    """
    for directory in directories:
        try:
            with suppress(FileNotFoundError):
                shutil.rmtree(directory)
        except OSError as error:
            _log.warn(
                "The output in {directory} is not removed: {error}",
                directory=directory,
                error=error,
            )


class Output:
    """
    The directories in which the jobs keep what they write: one for each job, and in
    it one for each attempt.

    Threads: any may call L{directoryOf} and L{make}; the rest is the reactor's.
    """

    def __init__(self, directory: str, inThread: InThread) -> None:
        """
        @param directory: the one above them all, which need not exist.
        @param inThread: how to do what takes as long as it takes.
        """
        self._directory = directory
        self._inThread = inThread

    def directoryOf(self, jobID: int, attempt: int) -> str:
        """
        Where an attempt keeps what it writes.
        """
        return os.path.join(self._directory, str(jobID), str(attempt))

    def make(self, jobID: int, attempt: int) -> None:
        """
        Make the directory of an attempt.

        @raise OSError: if it cannot be made.
        """
        os.makedirs(self.directoryOf(jobID, attempt), 0o700, exist_ok=True)

    def jobIDs(self) -> Deferred[list[int]]:
        """
        The jobs that have a directory, in order.
        """
        return self._inThread(listNumbers, self._directory)

    async def remove(self, jobIDs: Iterable[int]) -> None:
        """
        Remove what jobs have written, whose records are gone. What stays since it
        cannot be removed is logged; what stays since the daemon dies meanwhile is
        removed by the next one, see L{jobIDs}.
        """
        directories = [os.path.join(self._directory, str(jobID)) for jobID in jobIDs]
        try:
            await self._inThread(removeTrees, directories)
        except Exception:
            _log.failure("The output of {count} jobs is not removed", count=len(directories))
