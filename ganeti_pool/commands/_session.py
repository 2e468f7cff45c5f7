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
from collections.abc import Collection
from contextlib import suppress

from twisted.logger import Logger

from ._processes import CannotHold, Held, hasEnded, send, statusOf

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


class Session:
    """
    What lives in a session beside its leader, while that is told to end.

    Threads: one at a time.
    """

    def __init__(self, leader: int, selector: selectors.BaseSelector) -> None:
        """
        @param leader: its ID; it must not be reaped before L{close}.
        @param selector: where each process that is waited for is registered.
        """
        self._leader = leader
        self._selector = selector
        self._held = Held(self._has)
        self._alive: set[int] = set()

    def _has(self, pid: int) -> bool:
        return _isIn(pid, {self._leader})

    def close(self) -> None:
        """
        Give the descriptors back.
        """
        for descriptor in self._alive:
            self._selector.unregister(descriptor)
        self._alive.clear()
        self._held.close()

    def terminate(self) -> None:
        """
        Send TERM to the leader's group and to what has made a group of its own. What is
        started from now on gets none: it may be what tidies up.
        """
        with suppress(CannotHold, OSError):  # then those get KILL in the end
            self._held.look()
        signalGroup(self._leader, signal.SIGTERM)
        for pid, descriptor in self._held:
            status = statusOf(pid)
            if status is not None and status.group != self._leader:
                send(descriptor, signal.SIGTERM)

    def isEmpty(self) -> bool:
        """
        Whether nothing of it is alive, for a leader that has exited. Otherwise the
        selector notices when that may have changed, unless the processes cannot be held:
        then only the time limit ends the wait.
        """
        for descriptor in list(self._alive):
            if hasEnded(descriptor):
                self._alive.remove(descriptor)
                self._selector.unregister(descriptor)
        if self._alive:
            return False
        try:
            self._held.look()
        except (CannotHold, OSError):
            return False
        for _, descriptor in self._held:
            if not hasEnded(descriptor):
                self._alive.add(descriptor)
                self._selector.register(descriptor, selectors.EVENT_READ)
        return not self._alive


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
    trouble: list[str] = []
    with Held(
        lambda pid: _isIn(pid, leaders), lambda pid, held: send(held, signal.SIGSTOP)
    ) as held:
        try:
            held.stop()
        except (CannotHold, OSError) as error:
            trouble.append(f"what may be in process groups of its own is not killed: {error}")
        held.kill()
        if timeout is None:
            return
        left = held.awaitEnd(timeout)
    if left:
        trouble.append(f"processes were killed, and are not gone after {timeout:g} s: {left}")
    for sentence in trouble:
        _log.warn("The end of a command: {sentence}", sentence=sentence)


def _isIn(pid: int, leaders: Collection[int]) -> bool:
    status = statusOf(pid)
    return status is not None and status.session in leaders and pid not in leaders
