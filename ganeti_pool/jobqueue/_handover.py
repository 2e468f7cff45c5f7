"""
What worker threads have done on the reactor thread.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, local
from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from ..deferred import Delivery

__all__ = ["Ask", "Handover", "ThreadHandover"]

Ask = Callable[[], Deferred[Any]]
"""
Something to do on the reactor thread. What it raises is what its Deferred fails with.
"""


class Handover(Protocol):
    """
    How a worker's thread has something done on the reactor thread.

    What one thread asks for is begun in the order in which it asks.

    Threads: the workers'.
    """

    def callAndWait(self, ask: Ask) -> Any:
        """
        Have something done, and wait for that.

        @return: what the Deferred fires with.
        @raise Exception: what the Deferred fails with.
        """

    def post(self, ask: Ask) -> None:
        """
        Have something done, and go on. The last one that was posted can be waited for.
        """

    def waitForPosted(self) -> None:
        """
        Wait for the end of what this thread has posted last, if it has.

        @raise Exception: what the Deferred failed with, each time that this is called.
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
        return self._send(ask).wait()

    def post(self, ask: Ask) -> None:
        """
        Have something done. See L{Handover.post}.
        """
        self._posted.last = self._send(ask)

    def waitForPosted(self) -> None:
        """
        Wait for what was posted. See L{Handover.waitForPosted}.
        """
        if self._posted.last is not None:
            self._posted.last.wait()

    def _send(self, ask: Ask) -> _Errand:
        errand = _Errand(ask)
        self._delivery.put(errand)
        return errand


class _Posted(local):
    """
    What each thread has posted last.
    """

    last: _Errand | None = None


class _Errand:
    """
    Something that is done on the reactor thread, as news, and who waits for it.

    Invariant: C{_isDone} is released once, whatever the errand does, so nobody waits
    for one that has ended.
    """

    __slots__ = ("_ask", "_isDone", "_result")

    def __init__(self, ask: Ask) -> None:
        self._ask: Ask | None = ask
        self._result: Any = None
        self._isDone = Lock()
        self._isDone.acquire()

    def deliver(self) -> None:
        """
        Do it.
        """
        ask, self._ask = self._ask, None
        assert ask is not None
        maybeDeferred(ask).addBoth(self._done)

    def _done(self, result: Any) -> None:
        self._result = result
        self._isDone.release()

    def wait(self) -> Any:
        """
        Wait until it is done.

        @return: what came of it.
        """
        # Released again, so that one can wait once more.
        with self._isDone:
            result = self._result
        if isinstance(result, Failure):
            result.raiseException()
        return result
