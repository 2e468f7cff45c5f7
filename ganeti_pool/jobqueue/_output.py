"""
Keep, read and remove the output of jobs.

The layout below the output directory::

    store-id                  the ID of the store that the directory belongs to
    ID/ATTEMPT.DEFERRALS/     the files of one run of a job
    ID/ATTEMPT/               the same, made by releases before store IDs
    ID/ATTEMPT.new/           of a run that is about to start
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

# No store gives out longer ones.
_ID = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)

_RUN = re.compile(r"([1-9][0-9]*)(?:\.([0-9]+|new))?", re.ASCII)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

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
    return sorted(int(name) for name in names if _ID.fullmatch(name))


def readChunk(directory: str, jobID: int, attempt: int, stream: str, offset: int) -> bytes:
    """
    Read 256 KiB at most of what the last run of an attempt has written. No bytes: the
    file ends at or before the offset, or does not exist.

    Threads: any but the reactor's. It never waits for another process.

    @param directory: the output directory.
    @param offset: bytes to leave out at the beginning.
    @raise OutputUnreadable: if the file, or a directory that it is in, is something
        else, or the system refuses to read it.
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
            # An offset beyond what the system can address is beyond the end as well.
            return b"" if offset >= status.st_size else os.pread(file, _CHUNK, offset)
        except FileNotFoundError:
            return b""
        except OSError as error:
            isLink = os.path.islink(path)
            why = "it is a symbolic link" if isLink else str(error.strerror)
            raise OutputUnreadable(jobID, path, why) from error


def _lastRun(names: Iterable[str], attempt: int) -> str | None:
    """
    The directory of the last run of an attempt, by the names in that of its job.
    """
    runs: list[tuple[int, str]] = []
    for name in names:
        match = _RUN.fullmatch(name)
        if match is not None and int(match[1]) == attempt and match[2] != "new":
            # Those without a number of deferrals were made by an earlier release.
            runs.append((-1 if match[2] is None else int(match[2]), name))
    return max(runs)[1] if runs else None


def removeTrees(directories: Iterable[str]) -> None:
    """
    Remove the directories of jobs, with the runs in them. One that does not exist is
    fine. What cannot be removed is logged and stays, and so does all that a daemon has
    not made: a directory with something in it that is not named as a run, and what is
    not a directory.

    Threads: any but the reactor's; the time grows with the number of files.
    """
    for directory in directories:
        try:
            with suppress(FileNotFoundError):
                _removeJob(directory)
        # A job can nest directories deeper than Python calls.
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
    Remove a file or a tree. A link is removed itself, and only directories are opened.
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
    The directories in which the jobs keep what they write: one for each job, and in
    it one for each run.

    Threads: any may call L{make}, L{begin} and L{setAside}; the rest is the reactor's.

    @ivar directory: the one above them all, which need not exist.
    @ivar ensureMark: called before each run, to mark a directory that somebody has
        emptied as the store's; may raise L{OSError}.
    @ivar aside: the directories with what was moved out of the way, now or by an
        earlier daemon.
    """

    def __init__(self, directory: str, inThread: InThread) -> None:
        """
        @param inThread: how to do what takes as long as it takes.
        """
        self.directory = directory
        self.ensureMark: Callable[[], object] = lambda: None
        self.aside: list[str] = []
        self._inThread = inThread

    def _pathOf(self, jobID: int, *names: str) -> str:
        return os.path.join(self.directory, str(jobID), *names)

    def make(self, jobID: int, attempt: int) -> None:
        """
        Make an empty directory for the next run of a job, so that the run is not
        started where there is no room for it. What an earlier daemon has left in its
        place is moved aside.

        @raise OSError: if it cannot be made.
        """
        self.ensureMark()
        job, name = self._pathOf(jobID), f"{attempt}.new"
        try:
            os.makedirs(job, 0o700)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(job).st_mode):
                raise NotADirectoryError(f"{job} is in the way: it is not a directory") from None
        path = os.path.join(job, name)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            try:
                # A run that did not start has left it, empty.
                os.rmdir(path)
            except OSError:
                self.setAside([os.path.join(str(jobID), name)])
            os.mkdir(path, 0o700)

    def begin(self, jobID: int, attempt: int, deferrals: int) -> str:
        """
        Give the directory that L{make} made to the run, now that it has started. What
        an earlier run of the same number has left, as after a restore, is moved aside.

        @return: the path.
        @raise OSError: if the system refuses that.
        """
        name = f"{attempt}.{deferrals}"
        new, path = self._pathOf(jobID, f"{attempt}.new"), self._pathOf(jobID, name)
        try:
            os.rename(new, path)
        except FileNotFoundError:
            # Somebody has removed it in the meantime.
            self.make(jobID, attempt)
            os.rename(new, path)
        except OSError:
            if not os.path.lexists(path):
                raise
            self.setAside([os.path.join(str(jobID), name)])
            os.rename(new, path)
        return path

    def setAside(self, names: Iterable[str]) -> None:
        """
        Move files or directories to a new directory C{aside-N}, and report that.

        @param names: their paths below the output directory.
        @raise OSError: if the system refuses that.
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
        Read what the last run of an attempt has written. See L{readChunk}.
        """
        return self._inThread(readChunk, self.directory, jobID, attempt, stream, offset)

    def jobIDs(self) -> Deferred[list[int]]:
        """
        The jobs that have a directory, in order.
        """
        return self._inThread(listNumbers, self.directory)

    async def remove(self, jobIDs: Iterable[int]) -> None:
        """
        Remove what jobs have written, whose records are gone. What stays since it
        cannot be removed is logged; what stays since the daemon dies meanwhile is
        removed by the next one, see L{jobIDs}.
        """
        directories = [self._pathOf(jobID) for jobID in jobIDs]
        try:
            await self._inThread(removeTrees, directories)
        except Exception:
            _log.failure("The output of {count} jobs is not removed", count=len(directories))
