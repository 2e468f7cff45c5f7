"""
The output of a job, as it comes.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

__all__ = ["ReadChunk", "Valve", "readChunk"]

_CHUNK = 1 << 18

ReadChunk = Callable[[str, int], Deferred[bytes]]
"""
Reads from a file from an offset on, elsewhere than on the reactor thread. No
bytes: the file ends there, or is not there yet.
"""


def readChunk(path: str, offset: int) -> bytes:
    """
    The bytes of a file from an offset on, 256 KiB at most.

    Threads: called on a thread of the reactor's pool.
    """
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(_CHUNK)
    except FileNotFoundError:
        return b""


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
