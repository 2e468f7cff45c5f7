"""
Carry outcomes from worker threads to the reactor, in batches.

Whoever has something to say on the reactor thread puts it into one FIFO, as news; one
wake-up of the reactor serves all that are ready. So an outcome that was put in
first is told first, whatever it is the outcome of.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from twisted.logger import Logger

from ..workerpool import GiveWay

__all__ = ["LONGEST_TURN", "Delivery", "News"]

_log = Logger()

LONGEST_TURN = 0.005
"""
After so many seconds a drain lets the reactor do something else.
"""


class _CallFromThread(Protocol):
    """
    What is needed of a reactor.
    """

    def callFromThread(self, f: Callable[[], object], /) -> object:
        """
        Have C{f} called on the reactor thread, soon.
        """


class News(Protocol):
    """
    What is to be told on the reactor thread.
    """

    def deliver(self) -> object:
        """
        Tell it. What this raises is logged by the reactor.
        """


class _CallNews:
    """
    A call, as news.
    """

    __slots__ = ("deliver",)

    def __init__(self, call: Callable[[], object]) -> None:
        self.deliver = call


class Delivery:
    """
    A FIFO of news for the reactor thread.

    Guarantees:

      - News are told in the order in which they were put, each once.
      - Either the FIFO is empty, or a drain has been asked for (C{_armed}). So
        one call of C{callFromThread} is under way at most, and none is missed.
      - No lock is held while news are told.
      - A drain ends with the first ones past L{LONGEST_TURN}, or one that raises,
        and goes on in the reactor's next turn.

    Threads: L{put} and L{putCall} may be called on any. C{_lock} guards C{_ready} and C{_armed};
    C{_batch} is the reactor thread's own.
    """

    def __init__(
        self, reactor: _CallFromThread, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        @param reactor: where C{callFromThread} is asked for.
        @param clock: gives the time in seconds, for the length of a drain.
        """
        self._reactor = reactor
        self._clock = clock
        self._lock = threading.RLock()
        self._isHeld = False
        self._ready: deque[News] = deque()
        self._batch: deque[News] = deque()
        self._armed = False

    def putCall(self, call: Callable[[], object]) -> None:
        """
        Have C{call} called on the reactor thread, in its turn.
        """
        self.put(_CallNews(call))

    def put(self, news: News) -> None:
        """
        Have C{news} delivered on the reactor thread, in their turn.
        """
        arm = False
        try:
            if self._isHeld:
                GiveWay(self)
            with self._lock:
                self._isHeld = True
                # Set this first: a signal handler may raise after the append.
                if not self._armed:
                    self._armed = arm = True
                self._ready.append(news)
                self._isHeld = False
        finally:
            if arm:
                try:
                    self._arm()
                except BaseException:
                    # A signal handler raised, perhaps before the reactor call was scheduled.
                    # Scheduling it twice does no harm.
                    self._arm()
                    raise

    def inNextTurn(self, call: Callable[[], object]) -> None:
        """
        Have C{call} called in the reactor's next turn, wherever the FIFO is then.
        Reactor thread.
        """
        self._reactor.callFromThread(call)

    def _arm(self) -> None:
        """
        Ask the reactor for a drain.
        """
        try:
            self._reactor.callFromThread(self._drain)
        except RuntimeError:
            # An asyncio loop that has been closed says so; every other reactor
            # that has stopped is silent. Nothing can be told there any more.
            _log.failure(
                "The reactor has gone; {count} outcomes will not be told", count=len(self._ready)
            )

    def _drain(self) -> None:
        """
        Tell what is ready. Reactor thread.
        """
        end = self._clock() + LONGEST_TURN
        try:
            while self._batch or self._refill():
                self._batch.popleft().deliver()
                if self._clock() >= end:
                    # Do this even with nothing left: C{_armed} promises another drain. Not
                    # callLater(0), which would leave a reactor under test dirty.
                    self._arm()
                    return
        except BaseException:
            # The reactor logs the exception. The rest of the batch is still delivered.
            self._arm()
            raise

    def _refill(self) -> bool:
        """
        Make the ready news the next batch.

        @return: whether the batch has news. If not, no drain is scheduled any more.
        """
        if self._isHeld:
            GiveWay(self)
        with self._lock:
            self._isHeld = True
            self._batch, self._ready = self._ready, self._batch
            self._armed = bool(self._batch)
            self._isHeld = False
        return bool(self._batch)
