"""
The processes of a session, and how they are ended while its leader is not reaped.

The ID of a session is given to no other for as long as its leader is not reaped. A
program that makes a process group of its own, such as C{timeout} of coreutils, stays
in the session of its command.
"""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from time import monotonic

from twisted.logger import Logger

from ._processes import CannotHold, ProcessSet, hasEnded, send, statusOf

__all__ = ["Session", "killSessions", "signalGroup"]

_log = Logger()


def signalGroup(leader: int, number: signal.Signals) -> None:
    """
    Send a signal to all processes of a group whose leader is not reaped yet.
    """
    # a group may be gone but for its leader's remains, or (after a setuid
    # program) belong to somebody else
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


_WATCHED = 8
"""
How many processes of a session are waited for at a time. It is not over before they are
gone, so to look again then is enough, and a session of thousands does not take as many
descriptors.
"""


class Session:
    """
    The processes of a session except its leader, while the session is being terminated.

    Threads: one at a time.
    """

    def __init__(self, leader: int, selector: selectors.BaseSelector) -> None:
        """
        @param leader: its ID; it must not be reaped before L{close}.
        @param selector: where the processes that are waited for are registered.
        """
        self._leader = leader
        self._selector = selector
        self._watched = ProcessSet(self._has)

    def _has(self, pid: int) -> bool:
        return _isIn({self._leader}, pid)

    def _headsGroup(self, pid: int) -> bool:
        if not _isIn({self._leader}, pid, inOwnGroup=True):
            return False
        status = statusOf(pid)
        parent = None if status is None else statusOf(status.parent)
        return status is not None and (parent is None or parent.group != status.group)

    def close(self) -> None:
        """
        Give the descriptors back.
        """
        for _, descriptor in self._watched:
            self._selector.unregister(descriptor)
        self._watched.close()

    def terminate(self) -> None:
        """
        Send TERM to the leader's group, and to the leader of each other group in the
        session. Such a leader, C{timeout} for one, passes TERM on to its group. If this
        did so too, the second TERM could hit a clean-up process that the first one caused.
        Processes that start from now on get no TERM.
        """
        with ProcessSet(self._headsGroup) as others:
            # Those that cannot be found now get KILL in the end.
            with suppress(CannotHold, OSError):
                others.look()
            signalGroup(self._leader, signal.SIGTERM)
            for _, descriptor in others:
                send(descriptor, signal.SIGTERM)

    def isEmpty(self) -> bool:
        """
        Whether no process of the session is alive, for a leader that has exited.
        Otherwise the selector reports when that may have changed. If no process can be
        held, only the time limit ends the wait.
        """
        if not all(hasEnded(descriptor) for _, descriptor in self._watched):
            return False
        self.close()
        self._watched = ProcessSet(self._has)
        try:
            isEmpty = not self._watched.look(_WATCHED)
        except (CannotHold, OSError):
            isEmpty = False
        for _, descriptor in self._watched:
            self._selector.register(descriptor, selectors.EVENT_READ)
        return isEmpty


def killSessions(leaders: Collection[int], timeout: float | None = None) -> None:
    """
    Kill every process of some sessions, whatever group it is in.

    Threads: any; blocks until they are gone.

    @param leaders: the IDs of the leaders, which are not reaped yet.
    @param timeout: the seconds to wait at most; what cannot be found or killed is logged.
        L{None} neither waits nor logs, as a signal handler needs it.
    """
    for leader in leaders:
        signalGroup(leader, signal.SIGKILL)
    members: set[int] = set()

    def isOther(pid: int) -> bool:
        if _isIn(leaders, pid):
            members.add(pid)
        return pid in members and _isIn(leaders, pid, inOwnGroup=True)

    try:
        with ProcessSet(isOther, lambda pid, held: send(held, signal.SIGSTOP)) as others:
            try:
                others.stop()
            finally:
                others.kill()
        # Most often there is nothing but the leader, and one look has to do.
        left = _awaitEnd(partial(_isIn, leaders), timeout) if members and timeout else []
    except (CannotHold, OSError) as error:
        if timeout is not None:
            _log.warn(
                "Processes that a command left in other process groups may be alive: {error}",
                error=error,
            )
        return
    if left:
        _log.warn("Processes of a command are still alive after KILL: {pids}", pids=left)


def _awaitEnd(isWanted: Callable[[int], bool], timeout: float) -> list[int]:
    """
    Wait until no such process is alive.

    @return: the IDs of some that are alive after the timeout.
    """
    deadline = monotonic() + timeout
    while True:
        with ProcessSet(isWanted) as held:
            if not held.look(_WATCHED):
                return []
            left = held.awaitEnd(deadline - monotonic())
        if left:
            return left


def _isIn(leaders: Collection[int], pid: int, inOwnGroup: bool = False) -> bool:
    """
    Whether a process is in one of some sessions and does not lead it.

    @param inOwnGroup: whether it must be in another group than the leader.
    """
    status = statusOf(pid)
    if status is None or status.session not in leaders or pid in leaders:
        return False
    return not inOwnGroup or status.group not in leaders
