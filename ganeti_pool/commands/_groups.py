"""
The process groups that live at this moment, and the one way to end them all.
"""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from subprocess import Popen
from threading import Condition

from ..errors import PoolError
from ._session import killSessions, signalGroup

__all__ = [
    "Group",
    "NoMoreCommands",
    "ProcessGroups",
    "killAll",
    "limitFiles",
    "processGroups",
]

_SPAWN_WAIT = 1.0

_KILL_WAIT = 5.0
"""
The seconds after KILL in which the processes of a command are gone, unless a device or a
file system holds them up.
"""


class NoMoreCommands(PoolError):
    """
    This process ended its commands for good, and starts no other.
    """

    def __init__(self) -> None:
        super().__init__("the commands of this process have been killed for good: none is started")


@dataclass
class Group:
    """
    One child, the leader of its session and process group.

    @ivar process: the leader, which nobody but L{ProcessGroups} reaps: so its id
        is the group's and no other's for as long as this is registered.
    @ivar interrupted: whether L{ProcessGroups.killAll} ended it.
    @ivar mayRunAgain: whether its job may be started again. Then nothing of its session
        may outlive it, or two attempts would run side by side.
    @ivar isKilled: whether the rest of its processes has been killed.
    """

    process: Popen[bytes]
    interrupted: bool = False
    mayRunAgain: bool = True
    isKilled: bool = False

    def killRest(self) -> None:
        """
        Kill the processes that are left of the group, or of the whole session if
        C{mayRunAgain}. Further calls do nothing.

        Threads: the one that runs the command; blocks until they are gone.
        """
        if not self.isKilled:
            if self.mayRunAgain:
                killSessions([self.process.pid], _KILL_WAIT)
            else:
                signalGroup(self.process.pid, signal.SIGKILL)
            self.isKilled = True


class ProcessGroups:
    """
    Every group that was spawned through it and is not over.

    Threads: used from any. The lock is never held while a process is spawned or
    awaited, since a program on a file system that hangs would hold up
    L{killAll}. It is reentrant, so a signal handler may take it.

    @ivar fileLimit: how many files a child may open, as a soft and a hard limit; L{None}
        for the limits of this process.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._live: dict[int, Group] = {}
        self._spawning = 0
        self._closed = False
        self.fileLimit: tuple[int, int] | None = None

    @contextmanager
    def running(self, spawn: Callable[[], Popen[bytes]]) -> Iterator[Group]:
        """
        Spawn a child and keep it registered while the block runs. When the block ends,
        with or without an exception, kill the processes that are left of the group, or
        of the whole session if C{mayRunAgain}; then reap the leader.

        @param spawn: makes the child, with C{start_new_session}.
        @raise NoMoreCommands: if L{killAll} was called for good; then C{spawn}
            was not called.
        """
        with self._changed:
            if self._closed:
                raise NoMoreCommands()
            self._spawning += 1
        try:
            group = Group(spawn())
            self._limit(group.process.pid)
        except BaseException:
            self._spawned(None)
            raise
        self._spawned(group)
        with group.process:  # closes its pipes and reaps it
            try:
                yield group
            finally:
                try:
                    group.killRest()
                finally:
                    with self._changed:
                        del self._live[group.process.pid]

    def _limit(self, pid: int) -> None:
        """
        Give a child its limit. That is a moment after it has begun with the one of this
        process, but before a program has loaded its libraries; whoever forks while
        there are threads may do nothing in between, and a shell in between could not
        tell a missing program from one that fails.
        """
        if self.fileLimit is None:
            return
        # A program of another user, by setuid, keeps what it has. So does one whose hard
        # limit is lower by now than the one that was read when the limit was set.
        with suppress(ProcessLookupError, PermissionError, ValueError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, self.fileLimit)

    def _spawned(self, group: Group | None) -> None:
        with self._changed:
            self._spawning -= 1
            if group is not None:
                self._live[group.process.pid] = group
            self._changed.notify_all()

    def killAll(self, forGood: bool = False) -> None:
        """
        Kill every group at once. One that is being spawned is waited for, a
        second at most, and killed too.

        @param forGood: also start none any more; for a process that exits next.
        """
        with self._changed:
            self._closed = self._closed or forGood
            self._killLive()
            self._changed.wait_for(lambda: not self._spawning, _SPAWN_WAIT)
            self._killLive()

    def _killLive(self) -> None:
        for group in self._live.values():
            group.interrupted = True
        if self._live:
            killSessions(self._live)


processGroups = ProcessGroups()
"""
The groups of this process: one for all workers, since a signal ends them all.
"""


def killAll(forGood: bool = False) -> None:
    """
    Kill the processes of every command that this process runs, at once. The jobs end as
    C{failed} with code C{interrupted}.

    Threads: from any thread, and from a signal handler.

    @param forGood: also start no command any more; for a process that exits next.
    """
    processGroups.killAll(forGood)


def limitFiles(soft: int) -> None:
    """
    Let each command that this process starts from now on open so many files, by its
    soft limit, which it may raise to the hard one of this process.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    processGroups.fileLimit = (soft, hard)
