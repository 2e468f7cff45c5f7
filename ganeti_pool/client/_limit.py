"""
Limit the time of an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

__all__ = ["Limit"]

_T = TypeVar("_T")

_RECEIVED_PER_SECOND = 1 << 10
"""
Bytes of an answer that earn it another second: a slow connection is not cut off, and an
answer of a few bytes now and then is.
"""

_HELD_UP = 5.0
"""
A timer that fires this many seconds late was delayed together with its process: by Ctrl-Z,
a suspended machine, or a slow reader of standard output. The answer may be in the socket.
"""


class Limit:
    """
    A time limit that cancels a request whose answer takes too long.

    Threads: used on the reactor thread only.
    """

    def __init__(self, clock: IReactorTime | None, seconds: float | None) -> None:
        """
        @param clock: measures the time; L{None} only without a limit.
        @param seconds: the time for the whole answer; received bytes prolong it, up to this
            time from now on. L{None} for no limit.
        """
        self._clock = clock
        self._seconds = seconds
        self._call: IDelayedCall | None = None

    def watch(self, asking: Deferred[_T], late: Callable[[float, bool], Exception]) -> Deferred[_T]:
        """
        Cancel a request when its time has passed.

        @param late: makes the error, from the limit in seconds and whether the request may
            have reached the daemon.
        @return: C{asking}, which fails with that error if its time passes.
        """
        clock, seconds = self._clock, self._seconds
        if clock is None or seconds is None:
            return asking
        hasPassed = False

        def passed(due: float) -> None:
            nonlocal hasPassed
            if clock.seconds() - due > _HELD_UP:
                start()
                return
            hasPassed = True
            asking.cancel()

        def start() -> None:
            # The timer's own time changes when bytes come.
            call = self._call = clock.callLater(seconds, lambda: passed(call.getTime()))

        def over(result: _T | Failure) -> _T | Failure:
            assert self._call is not None
            if self._call.active():
                self._call.cancel()
            if hasPassed and isinstance(result, Failure) and result.check(CancelledError):
                cause = getattr(result.value, "__cause__", None)
                isConnecting = isinstance(cause, ConnectingCancelledError)
                return Failure(late(seconds, not isConnecting))
            return result

        start()
        return asking.addBoth(over)

    def receive(self, size: int, take: Callable[[], object]) -> None:
        """
        Process bytes of the answer, and extend the limit in proportion to their number. The
        time spent in C{take} does not count.

        @param size: the number of bytes.
        @param take: processes the bytes.
        """
        call, clock, seconds = self._call, self._clock, self._seconds
        if call is None or clock is None or seconds is None or not call.active():
            take()
            return
        left = max(0.0, call.getTime() - clock.seconds())
        try:
            take()
        finally:
            if call.active():
                call.reset(min(seconds, left + size / _RECEIVED_PER_SECOND))
