"""
How many jobs wait, and how many more may.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from twisted.internet.defer import Deferred

from ..errors import QueueFull

__all__ = ["Room", "Waiting"]

_T = TypeVar("_T")


class Waiting:
    """
    How many jobs wait, counted as they come and go.

    Threads: the reactor's.

    @ivar byPriority: how many at each priority that has some.
    @ivar total: how many in all.
    """

    def __init__(self) -> None:
        self.byPriority: dict[int, int] = {}
        self.total = 0

    def add(self, priority: int) -> None:
        """
        One more waits.
        """
        self.total += 1
        self.byPriority[priority] = self.byPriority.get(priority, 0) + 1

    def remove(self, priority: int) -> None:
        """
        One waits no more.
        """
        self.total -= 1
        left = self.byPriority[priority] - 1
        if left:
            self.byPriority[priority] = left
        else:
            del self.byPriority[priority]


class Room:
    """
    Lets no more jobs in than may wait.

    Whoever adds jobs claims room for them until they have been added or refused, so
    that those who add at the same time do not count on the same room. A job with a
    key takes none if the store has it already, which the store alone knows. Whether
    there is room can depend on that; then whoever comes later waits until it is
    known.

    Threads: the reactor's.

    @ivar limit: how many may wait; L{None} for any number.
    """

    def __init__(self, waiting: Waiting, limit: int | None) -> None:
        self.limit = limit
        self._waiting = waiting
        # What is claimed for jobs that will be added, and for those that may be.
        self._certain = 0
        self._possible = 0
        self._unsure: list[Deferred[None]] = []

    async def forJobs(
        self, certain: int, possible: int, add: Callable[[int | None], Awaitable[_T]]
    ) -> _T:
        """
        Add jobs, if there is room.

        @param certain: how many are added for certain.
        @param possible: how many more are added at most.
        @param add: adds them, and counts them as waiting; called with how many it
            may add. It raises L{QueueFull} if that is too few.
        @return: what C{add} gives.
        @raise QueueFull: if there is not room for them.
        """
        if self.limit is None:
            return await add(None)
        while True:
            free = self.limit - self._waiting.total - self._certain
            if certain > max(0, free):
                raise QueueFull(certain, self.limit)
            room = max(0, free - self._possible)
            if certain + possible <= room or not self._possible:
                break
            settled: Deferred[None] = Deferred(self._unsure.remove)
            self._unsure.append(settled)
            await settled
        possible = min(possible, room - certain)
        self._certain += certain
        self._possible += possible
        try:
            return await add(room)
        except QueueFull as full:
            raise QueueFull(full.count, self.limit) from None
        finally:
            self._certain -= certain
            self._possible -= possible
            unsure, self._unsure = self._unsure, []
            for settled in unsure:
                settled.callback(None)
