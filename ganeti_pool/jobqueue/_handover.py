"""
What worker threads have done on the reactor thread.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, local
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from .._delivery import Delivery

__all__ = ["Ask", "Handover", "ThreadHandover"]

Ask = Callable[[], Deferred[Any]]
"""
Something to do on the reactor thread.
"""


class Handover(Protocol):
    """
    How a worker's thread has something done on the reactor thread.

    Threads: the workers'.
    """

    def callAndWait(self, ask: Ask) -> Any:
        """
        Have something done behind all that this thread has handed over, and wait for
        that and for this.

        @return: what the Deferred fires with.
        @raise Exception: what one of the Deferreds fails with.
        """

    def post(self, ask: Ask) -> None:
        """
        Have something done, and go on.
        """


class ThreadHandover:
    """
    Does what C{blockingCallFromThread} does, for many threads at once: one wake-up
    of the reactor serves all that ask meanwhile, and a thread waits on a plain lock.

    Threads: any but the reactor's. If the reactor stops, whoever waits does so for
    ever.
    """

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._posted = _Posted()

    def callAndWait(self, ask: Ask) -> Any:
        """
        Have something done and wait. See L{Handover.callAndWait}.
        """
        errand = self._send(ask)
        posted, self._posted.errands = self._posted.errands, ()
        try:
            return errand.wait()
        finally:
            for one in posted:
                one.wait()

    def post(self, ask: Ask) -> None:
        """
        Have something done. See L{Handover.post}.
        """
        self._posted.errands += (self._send(ask),)

    def _send(self, ask: Ask) -> _Errand:
        errand = _Errand(ask)
        self._delivery.put(errand)
        return errand


class _Posted(local):
    """
    What each thread has posted, and not waited for.
    """

    errands: tuple[_Errand, ...] = ()


class _Errand:
    """
    Something that is done on the reactor thread, as news, and who waits for it.
    """

    __slots__ = ("_ask", "_isDone", "_result")

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._result: Any = None
        self._isDone = Lock()
        self._isDone.acquire()

    def deliver(self) -> None:
        """
        Do it.
        """
        self._ask().addBoth(self._done)

    def _done(self, result: Any) -> None:
        self._result = result
        self._isDone.release()

    def wait(self) -> Any:
        """
        Wait until it is done.

        @return: what came of it.
        """
        self._isDone.acquire()
        if isinstance(self._result, Failure):
            self._result.raiseException()
        return self._result
