"""
What worker threads have done on the reactor thread while they wait.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from .._delivery import Delivery

__all__ = ["CallAndWait", "Handover"]

CallAndWait = Callable[[Callable[[], Deferred[Any]]], Any]
"""
Calls a function on the reactor thread, from another one, and waits for what its
Deferred fires with.
"""


class Handover:
    """
    Does what C{blockingCallFromThread} does, for many threads at once: one wake-up
    of the reactor serves all that ask meanwhile, and a thread waits on a plain lock.

    Threads: any but the reactor's. If the reactor stops, whoever waits does so for
    ever.
    """

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    def callAndWait(self, f: Callable[[], Deferred[Any]]) -> Any:
        """
        Call a function on the reactor thread, and wait for what its Deferred fires
        with.
        """
        errand = _Errand(f)
        self._delivery.put(errand)
        return errand.wait()


class _Errand:
    """
    Something that is done on the reactor thread, as news, and who waits for it.
    """

    __slots__ = ("_f", "_isDone", "_result")

    def __init__(self, f: Callable[[], Deferred[Any]]) -> None:
        self._f = f
        self._result: Any = None
        self._isDone = Lock()
        self._isDone.acquire()

    def deliver(self) -> None:
        """
        Do it.
        """
        self._f().addBoth(self._done)

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
