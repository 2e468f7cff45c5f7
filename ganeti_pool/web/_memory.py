"""
How much memory the answers that are being written may take over all connections.
"""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred

__all__ = ["AnswerMemory", "Share"]

_TOTAL = 32 << 20


class AnswerMemory:
    """
    A number of bytes that large answers share. One that finds too few left waits, in the order of the
    requests, until the client of another has taken its answer or was dropped.

    Threads: used on the reactor thread only.
    """

    def __init__(self, total: int = _TOTAL) -> None:
        """
        @param total: in bytes.
        """
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

    def _forget(self, taken: Deferred[int]) -> None:
        self._waiting = deque(each for each in self._waiting if each[1] is not taken)
        # The next one may want less.
        self._serve()


class Share:
    """
    What one answer has of an L{AnswerMemory}. Used in an C{async with}, whose end gives it
    back.
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

    async def __aenter__(self) -> Share:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.shrink(0)
