"""
What a service manager is told: the protocol of C{sd_notify(3)}.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import MutableMapping
from contextlib import suppress

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from ..numerals import parseInteger

__all__ = ["Notifier"]

_log = Logger()

_AGAIN = 0.5
"""
The seconds before a message that found no room is sent again.
"""

_MICRO = 1_000_000

_EXTENSION = 60.0
"""
The seconds by which the manager is asked to wait longer for a start. It is asked again
when a third of them has passed.
"""


class Notifier:
    """
    Tells systemd, or whoever has started this process and speaks as it does, that
    the daemon is ready, stops, and is alive. Without such a manager it does nothing.

    It never blocks. A message that finds the manager's socket full waits for its
    turn; one that cannot be sent is dropped, and the reason is logged once.

    Threads: the reactor's.
    """

    def __init__(
        self,
        clock: IReactorTime,
        address: str = "",
        watchdog: float | None = None,
        watchdogPID: int | None = None,
    ) -> None:
        """
        @param clock: the reactor. That it turns is what the watchdog is told.
        @param address: the manager's datagram socket: an absolute path, or a C{@} and
            an abstract name; empty if nobody is to be told.
        @param watchdog: the manager ends this process when it has heard nothing for
            so many seconds.
        @param watchdogPID: the process which that is meant for; L{None} for this one.
        """
        self._clock = clock
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog = watchdog
        self._watchdogPID = watchdogPID
        self._beats: LoopingCall | None = None
        self._extensions: LoopingCall | None = None
        self._waiting: deque[bytes] = deque()
        self._again: IDelayedCall | None = None
        self._hasComplained = False
        # Opened here: a beat is not to fail when there are no more descriptors.
        self._socket = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)

    @classmethod
    def fromEnvironment(
        cls, clock: IReactorTime, environment: MutableMapping[str, str]
    ) -> Notifier:
        """
        As the manager has told this process.

        @param environment: the process's; what was said is taken out of it, since no
            other process is to speak for this one.
        """
        address = environment.pop("NOTIFY_SOCKET", "")
        watchdog = _number(environment.pop("WATCHDOG_USEC", ""))
        watchdogPID = _number(environment.pop("WATCHDOG_PID", ""))
        return cls(clock, address, None if watchdog is None else watchdog / _MICRO, watchdogPID)

    def ready(self, status: str) -> None:
        """
        The daemon serves. From now on it shows that it is alive, twice as often as
        the watchdog wants.

        @param status: a line for people.
        """
        self.delayed(False)
        self._tell("READY=1", f"STATUS={status}")
        # Asked here and not before twistd has forked.
        if self._watchdog and self._watchdogPID in (None, os.getpid()):
            self._beats = LoopingCall(self._beat)
            self._beats.clock = self._clock
            self._beats.start(self._watchdog / 2)

    def delayed(self, isDelayed: bool, status: str = "Starting") -> None:
        """
        Ask the manager to wait for the start as long as this lasts, or no longer.

        @param status: a line for people.
        """
        if self._extensions is not None:
            self._extensions.stop()
            self._extensions = None
        if isDelayed and self._socket is not None:
            self._extensions = LoopingCall(
                self._tell, _statusLine(status), f"EXTEND_TIMEOUT_USEC={_EXTENSION * _MICRO:.0f}"
            )
            self._extensions.clock = self._clock
            self._extensions.start(_EXTENSION / 3)

    def stopping(self, status: str, seconds: float) -> None:
        """
        The daemon stops.

        @param status: a line for people.
        @param seconds: how long that may take, so that the manager waits for it,
            whatever it would do else.
        """
        self.delayed(False)
        self._tell("STOPPING=1", _statusLine(status), f"EXTEND_TIMEOUT_USEC={seconds * _MICRO:.0f}")

    def failed(self, why: str) -> None:
        """
        The daemon cannot start.
        """
        self.delayed(False)
        self._tell(_statusLine(why))

    def close(self) -> None:
        """
        Tell nothing any more.
        """
        self.delayed(False)
        if self._beats is not None:
            self._beats.stop()
            self._beats = None
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _beat(self) -> None:
        # The manager has not read the last one yet: another says nothing more.
        if not self._waiting:
            self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if self._socket is not None:
            # A path in it may be no UTF-8.
            self._waiting.append("\n".join(lines).encode("utf-8", "backslashreplace"))
            if self._again is None:
                self._send(self._socket)

    def _send(self, manager: socket.socket) -> None:
        self._again = None
        while self._waiting:
            try:
                manager.sendto(self._waiting[0], self._address)
            except BlockingIOError:
                self._again = self._clock.callLater(_AGAIN, self._send, manager)
                return
            except OSError as error:
                self._complain(error)
            self._waiting.popleft()

    def _complain(self, error: OSError) -> None:
        if not self._hasComplained:
            self._hasComplained = True
            _log.warn("The service manager cannot be told anything: {error}", error=error)


def _statusLine(text: str) -> str:
    # Another line would be another message.
    return f"STATUS={' '.join(text.split())}"


def _number(text: str) -> int | None:
    with suppress(ValueError):
        return parseInteger(text)
    return None
