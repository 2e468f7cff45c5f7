"""
Who may change a job now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred

__all__ = ["Turns"]

_T = TypeVar("_T")

_Ask = Callable[..., Coroutine[Deferred[Any], Any, _T] | Deferred[_T]]


class Turns:
    """
    Lets one at a time do something with a job, in the order of asking.

    Threads: the reactor's.
    """

    def __init__(self) -> None:
        # By ID, who waits for their turn behind the one that has it; None for nobody,
        # which is most often, and costs nothing then.
        self._lines: dict[int, deque[Deferred[None]] | None] = {}
        # Those that are being given their turn, and have not had it yet.
        self._calling: set[int] = set()

    def alone(self, jobID: int, f: _Ask[_T], *args: Any) -> Deferred[_T]:
        """
        Do something with a job while no other does.

        @param f: called with C{args}, at once if that can be; it may be a coroutine
            function or return a Deferred.
        @return: a Deferred that fires as that of C{f}. When it is cancelled before
            C{f} was called, that is not called any more.
        """
        if jobID not in self._lines:
            self._lines[jobID] = None
            return self._take(None, jobID, f, args)
        line = self._lines[jobID]
        if line is None:
            self._lines[jobID] = line = deque()
        turn: Deferred[None] = Deferred(line.remove)
        line.append(turn)
        return turn.addCallback(self._take, jobID, f, args)

    def _take(self, _: None, jobID: int, f: _Ask[_T], args: tuple[Any, ...]) -> Deferred[_T]:
        done: Deferred[Any] = maybeDeferred(f, *args)
        return done.addBoth(self._pass, jobID)

    def _pass(self, result: _T, jobID: int) -> _T:
        if jobID in self._calling:
            # It has ended before the call that gave it its turn returns.
            self._calling.discard(jobID)
        else:
            self._callNext(jobID)
        return result

    def _callNext(self, jobID: int) -> None:
        """
        Give the next one its turn; as long as they end at once, one after the other
        from here, however many there are.
        """
        while line := self._lines[jobID]:
            self._calling.add(jobID)
            line.popleft().callback(None)
            if jobID in self._calling:
                # It goes on.
                self._calling.discard(jobID)
                return
        del self._lines[jobID]
