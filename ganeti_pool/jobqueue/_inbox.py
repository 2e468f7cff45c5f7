"""
The queue of items from the slots and from the reactor to the dispatcher.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

__all__ = ["Inbox"]

_WAKE = object()


class Inbox:
    """
    Items for the dispatcher, in order.

    Invariant: an item that was put lazily is taken at most C{patience} seconds later. The
    dispatcher announces when it will wake up before it takes the lazy items, and L{putLazily}
    reads that time after it has added its item; so one of the two sees the other.

    Threads: any may put. Only the dispatcher's takes.
    """

    def __init__(self, patience: float = 0.05, monotonic: Callable[[], float] = monotonic) -> None:
        """
        @param patience: the longest time that a lazy item waits, in seconds.
        """
        self._patience = patience
        self._monotonic = monotonic
        self._items: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._lazy: deque[Any] = deque()
        self._wakesAt = 0.0

    def put(self, item: object) -> None:
        """
        Add an item, and wake the dispatcher.
        """
        self._items.put(item)

    def putLazily(self, item: object) -> None:
        """
        Add an item that may wait for a moment.
        """
        self._lazy.append(item)
        if self._wakesAt > self._monotonic() + self._patience:
            self._items.put(_WAKE)

    def take(self, timeout: float) -> list[Any]:
        """
        Wait for items, and take all.

        @param timeout: in seconds; 0 to wait for none.
        @return: the items; none if the time is over.
        """
        taken: list[Any] = []
        self._wakesAt = self._monotonic() + timeout
        if self._lazy:
            timeout = min(timeout, self._patience)
        try:
            item = self._items.get(timeout > 0, timeout)
            while True:
                if item is not _WAKE:
                    taken.append(item)
                item = self._items.get_nowait()
        except queue.Empty:
            self._wakesAt = 0.0
        while self._lazy:
            taken.append(self._lazy.popleft())
        return taken
