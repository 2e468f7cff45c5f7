"""
Where the output of the attempts is kept, and how it is removed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

__all__ = ["Output", "RemoveTrees", "removeTrees"]

_log = Logger()

RemoveTrees = Callable[[Sequence[str]], Deferred[Any]]
"""
Removes directories and all in them on another thread than the reactor's.
"""


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

    def __init__(self, directory: str, removeTrees: RemoveTrees) -> None:
        """
        @param directory: the one above them all, which need not exist.
        """
        self._directory = directory
        self._removeTrees = removeTrees

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

    async def remove(self, jobIDs: Iterable[int]) -> None:
        """
        Remove what jobs have written, whose records are gone. What stays since it
        cannot be removed is logged; what stays since the daemon dies meanwhile is in
        nobody's way, as no ID is used again.
        """
        directories = [os.path.join(self._directory, str(jobID)) for jobID in jobIDs]
        try:
            await self._removeTrees(directories)
        except Exception:
            _log.failure("The output of {count} jobs is not removed", count=len(directories))
