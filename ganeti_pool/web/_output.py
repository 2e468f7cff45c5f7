"""
The output of a job, as it comes.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["Growth", "Valve"]

_RECHECK = 0.25
"""
After how many seconds a followed file is looked at again. It is the one thing
that is asked for over and over, since no event tells that a file grows.
"""


@implementer(IPushProducer)
class Valve:
    """
    Lets a coroutine that writes wait while its client is slow to read.
    """

    def __init__(self) -> None:
        self._closed: Deferred[None] | None = None

    def opened(self) -> Deferred[None]:
        """
        A Deferred that fires when there is room for more.
        """
        return succeed(None) if self._closed is None else self._closed

    def pauseProducing(self) -> None:
        """
        The client's buffer is full.
        """
        if self._closed is None:
            self._closed = Deferred()

    def resumeProducing(self) -> None:
        """
        The client's buffer has room.
        """
        closed, self._closed = self._closed, None
        if closed is not None:
            closed.callback(None)

    def stopProducing(self) -> None:
        """
        The client is gone. Its handler is cancelled for the same reason, which
        is all that there is to do.
        """


class Growth:
    """
    Lets a coroutine that follows a file look at it now and then, until it grows no
    more. Used in an C{async with}, which fails as the Deferred that tells so.

    Threads: the reactor's.

    @ivar isOver: whether it grows no more.
    """

    def __init__(self, clock: IReactorTime, over: Deferred[None]) -> None:
        """
        @param over: fires when it grows no more; cancelled if that is not waited for.
        """
        self.isOver = False
        self._clock = clock
        self._over = over
        self._failure: Failure | None = None
        self._pause: Deferred[None] = succeed(None)
        over.addBoth(self._end)

    def _end(self, result: Failure | None) -> None:
        self.isOver = True
        self._failure = result
        self._pause.cancel()

    async def more(self) -> None:
        """
        Wait until it is worth a look, or all is over.
        """
        # It may have ended while the file was read.
        if self.isOver:
            return
        self._pause = deferLater(self._clock, _RECHECK)
        try:
            await self._pause
        except CancelledError:
            if not self.isOver:
                raise

    async def __aenter__(self) -> Growth:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *error: object) -> None:
        # Whoever rests is told already.
        self._pause = succeed(None)
        self._over.cancel()
        if kind is None and self._failure is not None:
            self._failure.raiseException()
