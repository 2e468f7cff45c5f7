"""
Limit the memory of the answers that are being written, over all connections.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

__all__ = ["AnswerMemory", "Share"]

_TOTAL = 64 << 20

_PATIENCE = 2.0
"""
The seconds for which a client may take nothing while another answer waits for memory.
"""


class AnswerMemory:
    """
    A number of bytes that large answers share. An answer that needs more than is free
    waits, in the order of the requests, until another client has read its answer or is
    disconnected. While one waits, clients that read nothing are disconnected early.

    Threads: used on the reactor thread only.
    """

    def __init__(self, clock: IReactorTime, total: int = _TOTAL) -> None:
        """
        @param total: in bytes.
        """
        self._clock = clock
        self._isPressed = False
        self._stalled: dict[Share, tuple[float, Callable[[], object]]] = {}
        self._free = self._total = total
        self._waiting: deque[tuple[int, Deferred[int]]] = deque()

    def take(self, size: int) -> Deferred[int]:
        """
        Take some bytes, or all of them if they are fewer.

        @return: a Deferred with how many were taken. Cancelling it takes none.
        """
        taken: Deferred[int] = Deferred(self._forget)
        self._waiting.append((min(size, self._total), taken))
        self._serve()
        return taken

    def give(self, size: int) -> None:
        """
        Give bytes back.
        """
        self._free += size
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            size, taken = self._waiting.popleft()
            self._free -= size
            taken.callback(size)
        if self._waiting and not self._isPressed:
            self._isPressed = True
            self._clock.callLater(_PATIENCE, self._press)

    def _press(self) -> None:
        """
        Drop the clients that have taken nothing for too long, if an answer still waits.
        """
        if not self._waiting:
            self._isPressed = False
            return
        now = self._clock.seconds()
        for since, drop in list(self._stalled.values()):
            if since + _PATIENCE <= now:
                drop()
        self._clock.callLater(_PATIENCE / 4, self._press)

    def stalls(self, share: Share, drop: Callable[[], object]) -> None:
        """
        The client of an answer takes nothing from now on.

        @param drop: closes its connection.
        """
        self._stalled[share] = (self._clock.seconds(), drop)

    def goesOn(self, share: Share) -> None:
        """
        The client has taken what was written, or is gone.
        """
        self._stalled.pop(share, None)

    def _forget(self, taken: Deferred[int]) -> None:
        self._waiting = deque(each for each in self._waiting if each[1] is not taken)
        # The next one may want less.
        self._serve()


class Share:
    """
    The part of an L{AnswerMemory} that one answer uses. An C{async with} block releases it
    at its end.
    """

    def __init__(self, memory: AnswerMemory) -> None:
        self._memory = memory
        self._size = 0

    async def take(self, size: int) -> None:
        """
        Wait for some bytes.
        """
        self._size = await self._memory.take(size)

    def shrink(self, size: int) -> None:
        """
        Keep no more than that, in bytes.
        """
        surplus = max(self._size - size, 0)
        self._size -= surplus
        self._memory.give(surplus)

    def stalls(self, drop: Callable[[], object]) -> None:
        """
        The client takes nothing from now on.

        @param drop: closes its connection.
        """
        self._memory.stalls(self, drop)

    def goesOn(self) -> None:
        """
        The client has taken what was written, or is gone.
        """
        self._memory.goesOn(self)

    async def __aenter__(self) -> Share:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.shrink(0)
