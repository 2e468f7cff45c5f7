"""
Keep, read and remove the output of jobs.

The layout below the output directory::

    store-id                  the ID of the store that the directory belongs to
    ID/ATTEMPT.DEFERRALS/     the files of one run of a job
    ID/ATTEMPT/               the same, made by releases before store IDs
    ID/ATTEMPT.new/           the empty directory of a run that was about to start, made by
                              earlier releases
    aside-N/                  output that was moved out of the way

Jobs run as the daemon's user and may replace any of this. So nothing below the output
directory is reached through a symbolic link, only regular files are read, no call waits
for the other end of a FIFO, and only entries with these names are removed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from ..errors import OutputUnreadable

__all__ = ["InThread", "Output", "listNumbers", "readChunk", "removeTrees"]

_log = Logger()

_CHUNK = 1 << 18

# No store gives out longer IDs.
_ID = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)

_RUN = re.compile(r"([1-9][0-9]*)(?:\.([0-9]+|new))?", re.ASCII)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

InThread = Callable[..., Deferred[Any]]
"""
Call a function with arguments on another thread than the reactor's. The Deferred fires with
the result.
"""


def listNumbers(directory: str) -> list[int]:
    """
    Return the names in a directory that are IDs of jobs, in order; none if it cannot be read.

    Threads: any except the reactor's.
    """
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    return sorted(int(name) for name in names if _ID.fullmatch(name))


def readChunk(directory: str, jobID: int, attempt: int, stream: str, offset: int) -> bytes:
    """
    Read at most 256 KiB that the last run of an attempt wrote. The result is empty if the
    file ends at or before the offset, or does not exist.

    Threads: any except the reactor's. It never waits for another process.

    @param directory: the output directory.
    @param offset: the number of bytes to skip at the beginning.
    @raise OutputUnreadable: if the path of the file has a symbolic link or an entry of
        the wrong type, or if the system refuses to read it.
    """
    path = os.path.join(directory, str(jobID))
    with ExitStack() as opened:

        def openIn(name: str, flags: int, parent: int | None) -> int:
            descriptor = os.open(name, flags, dir_fd=parent)
            opened.callback(os.close, descriptor)
            return descriptor

        try:
            job = openIn(path, _DIRECTORY, None)
            run = _lastRun(os.listdir(job), attempt)
            if run is None:
                return b""
            path = os.path.join(path, run)
            files = openIn(run, _DIRECTORY, job)
            path = os.path.join(path, stream)
            file = openIn(stream, _FILE, files)
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise OutputUnreadable(jobID, path, "it is not a regular file")
            # Check the size first: the offset may be too large for pread.
            return b"" if offset >= status.st_size else os.pread(file, _CHUNK, offset)
        except FileNotFoundError:
            return b""
        except OSError as error:
            isLink = os.path.islink(path)
            why = "it is a symbolic link" if isLink else str(error.strerror)
            raise OutputUnreadable(jobID, path, why) from error


def _lastRun(names: Iterable[str], attempt: int) -> str | None:
    """
    Return the name of the directory of an attempt's last run, or L{None}.

    @param names: the names in the directory of the job.
    """
    runs: list[tuple[int, str]] = []
    for name in names:
        match = _RUN.fullmatch(name)
        if match is not None and int(match[1]) == attempt and match[2] != "new":
            # An earlier release made the directories without a number of deferrals.
            runs.append((-1 if match[2] is None else int(match[2]), name))
    return max(runs)[1] if runs else None


def removeTrees(directories: Iterable[str]) -> None:
    """
    Remove the directories of jobs, with the runs in them. Skip a directory that does not
    exist. Log and keep a directory that cannot be removed. Also log and keep anything
    that was not made by a daemon: a directory with an entry that is not named like a run,
    and a path that is not a directory.

    Threads: any except the reactor's. The time grows with the number of files.
    """
    for directory in directories:
        try:
            with suppress(FileNotFoundError):
                _removeJob(directory)
        # A job can nest directories deeper than Python's recursion limit.
        except (OSError, RecursionError) as error:
            _log.warn(
                "Cannot remove the output in {directory}: {error}: check its contents, and "
                "remove it yourself",
                directory=directory,
                error=error,
            )


def _removeJob(directory: str) -> None:
    job = os.open(directory, _DIRECTORY)
    try:
        for name in os.listdir(job):
            if _RUN.fullmatch(name):
                _removeEntry(name, job)
    finally:
        os.close(job)
    os.rmdir(directory)


def _removeEntry(name: str, parent: int) -> None:
    """
    Remove a file or a tree. Remove a link without following it. Open only directories.
    """
    try:
        directory = os.open(name, _DIRECTORY, dir_fd=parent)
    except NotADirectoryError:
        os.unlink(name, dir_fd=parent)
        return
    try:
        for entry in os.listdir(directory):
            _removeEntry(entry, directory)
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=parent)


class Output:
    """
    The directories in which jobs keep their output: one for each job, and in it one for each
    run.

    Threads: any may call L{make} and L{setAside}. The rest belongs to the reactor thread.

    @ivar directory: the directory above them all, which need not exist.
    @ivar ensureMark: called before each run to write the store's ID to a directory that
        was emptied; may raise L{OSError}.
    @ivar aside: the directories with output that was moved out of the way, by this daemon
        or an earlier one.
    """

    def __init__(self, directory: str, inThread: InThread) -> None:
        """
        @param inThread: runs a blocking call in a thread.
        """
        self.directory = directory
        self.ensureMark: Callable[[], object] = lambda: None
        self.aside: list[str] = []
        self._inThread = inThread

    def _pathOf(self, jobID: int, *names: str) -> str:
        return os.path.join(self.directory, str(jobID), *names)

    def make(self, jobID: int, attempt: int, deferrals: int) -> str:
        """
        Make a new, empty directory for a run. Output of an earlier run with the same numbers,
        as after a restore, is moved aside.

        @return: its path.
        @raise OSError: if it cannot be made.
        """
        self.ensureMark()
        job, name = self._pathOf(jobID), f"{attempt}.{deferrals}"
        try:
            os.makedirs(job, 0o700)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(job).st_mode):
                raise NotADirectoryError(f"{job} is in the way: it is not a directory") from None
        path = os.path.join(job, name)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            self.setAside([os.path.join(str(jobID), name)])
            os.mkdir(path, 0o700)
        return path

    def setAside(self, names: Iterable[str]) -> None:
        """
        Move files or directories to a new directory C{aside-N}, and log that.

        @param names: their paths below the output directory.
        @raise OSError: if the system refuses to move them.
        """
        number = 1
        while True:
            aside = os.path.join(self.directory, f"aside-{number}")
            try:
                os.mkdir(aside, 0o700)
                break
            except FileExistsError:
                number += 1
        self.aside.append(aside)
        moved = 0
        for name in names:
            target = os.path.join(aside, name)
            os.makedirs(os.path.dirname(target), 0o700, exist_ok=True)
            os.rename(os.path.join(self.directory, name), target)
            moved += 1
        _log.warn(
            "Moved {count} directories, which are not of a run of this store, to {aside}",
            count=moved,
            aside=aside,
        )

    def read(self, jobID: int, attempt: int, stream: str, offset: int) -> Deferred[bytes]:
        """
        Read the output of the last run of an attempt. See L{readChunk}.
        """
        return self._inThread(readChunk, self.directory, jobID, attempt, stream, offset)

    def jobIDs(self) -> Deferred[list[int]]:
        """
        Return the jobs that have a directory, in order.
        """
        return self._inThread(listNumbers, self.directory)

    async def remove(self, jobIDs: Iterable[int]) -> None:
        """
        Remove the output of jobs whose records are gone. What cannot be removed is logged. If
        the daemon dies in the meantime, the next one removes it, see L{jobIDs}.
        """
        directories = [self._pathOf(jobID) for jobID in jobIDs]
        try:
            await self._inThread(removeTrees, directories)
        except Exception:
            _log.failure("The output of {count} jobs is not removed", count=len(directories))
