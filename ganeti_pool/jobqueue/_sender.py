"""
Send requests from the reactor to the dispatcher, and answer their clients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from ..errors import OwnershipLost, QueueBroken, QueueBusy, QueueStopping, StoreError
from ._inbox import Inbox
from ._items import Asked
from ._requests import Request

__all__ = ["Sender"]

_MOST_REQUESTS = 10_000

_MOST_BYTES = 64 << 20


class Sender:
    """
    The Deferreds of the items that are with the dispatcher.

    Invariant: every Deferred fires, with the answer, or if the queue breaks with L{QueueBroken}
    or L{OwnershipLost}. C{_size} is the size of all requests that are not answered.

    Threads: the reactor's.
    """

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._number = 0
        self._waiting: dict[int, tuple[Deferred[Any], int]] = {}
        self._size = 0
        self._refusal: Exception | None = StoreError(
            "the queue has not been started, so nothing is written"
        )

    def open(self) -> None:
        """
        Accept requests from now on.
        """
        self._refusal = None

    def close(self) -> None:
        """
        Accept no more requests, since the queue has stopped, and fail those that came after
        the last item.
        """
        self._refuse(QueueStopping())

    def send(self, request: Request, size: int = 0) -> Deferred[Any]:
        """
        Send a request that changes the store.

        @param size: the approximate size of the request in bytes.
        @return: a Deferred with the answer. It fails with the error that rejects the request,
            with L{QueueBusy} if too many requests are waiting, and with L{QueueStopping} if
            the queue has stopped. Cancelling it does not withdraw the request.
        """
        count = len(self._waiting)
        if count >= _MOST_REQUESTS or (count and self._size + size > _MOST_BYTES):
            return fail(QueueBusy(count))
        return self.put(lambda number: Asked(number, request), size)

    def put(self, item: Callable[[int], object], size: int = 0) -> Deferred[Any]:
        """
        Send any item that is answered.

        @param item: makes the item with its number.
        @return: a Deferred with the answer.
        """
        if self._refusal is not None:
            return fail(self._refusal)
        self._number += 1
        answer: Deferred[Any] = Deferred()
        self._waiting[self._number] = (answer, size)
        self._size += size
        self._inbox.put(item(self._number))
        return answer

    @property
    def latest(self) -> int:
        """
        The number of the latest item.
        """
        return self._number

    def answer(self, number: int, result: object) -> None:
        """
        Answer an item.

        @param result: the answer; an exception or a L{Failure} rejects it.
        """
        deferred, size = self._waiting.pop(number)
        self._size -= size
        if isinstance(result, BaseException):
            deferred.errback(result)
        else:
            deferred.callback(result)

    def breakDown(self, failure: Failure) -> None:
        """
        Fail all items, and all to come, since the queue is broken.
        """
        error = failure.value
        why = failure.getErrorMessage()
        self._refuse(error if isinstance(error, OwnershipLost) else QueueBroken(why))

    def _refuse(self, error: Exception) -> None:
        self._refusal = error
        waiting, self._waiting = self._waiting, {}
        for deferred, _ in waiting.values():
            deferred.errback(error)
