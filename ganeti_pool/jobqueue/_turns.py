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
        line = self._lines[jobID]
        if line:
            line.popleft().callback(None)
        else:
            del self._lines[jobID]
        return result
