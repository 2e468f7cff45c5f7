"""
The reactor's side of a pool, by hand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.task import Clock

__all__ = ["FakeReactor"]

_Trigger = tuple[str, str, Callable[..., object], tuple[Any, ...], dict[str, Any]]


class FakeReactor(Clock):
    """
    What a pool needs of a reactor, whose turns a test makes.

    It is a L{Clock <twisted.internet.task.Clock>}: C{advance} moves its time. What was given to
    C{callFromThread} waits for L{turn} or L{run}. It runs from the start, unless
    told otherwise.

    Threads: C{callFromThread} may be called on any; the rest is the test's.

    @ivar running: whether it runs.
    """

    def __init__(self, running: bool = True) -> None:
        """
        @param running: whether it runs already; else L{start} starts it.
        """
        super().__init__()
        self.running = running
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]] = deque()
        self._triggers: list[_Trigger] = []

    def callFromThread(self, f: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """
        Call C{f} in the next turn.
        """
        self._calls.append((f, args, kwargs))

    def turn(self) -> bool:
        """
        Make the calls that wait now, and not those that they ask for.

        @return: whether there were any.
        """
        waiting = len(self._calls)
        for _ in range(waiting):
            f, args, kwargs = self._calls.popleft()
            f(*args, **kwargs)
        return waiting > 0

    def run(self) -> None:
        """
        Make turns until no call waits.
        """
        while self.turn():
            pass

    def start(self) -> None:
        """
        Begin to run: what waits for that is called.
        """
        self.running = True
        self._fire("after", "startup")

    def stop(self) -> Deferred[None]:
        """
        Call what is to happen before the shutdown, and then all the rest of it.

        @return: a Deferred that fires when the reactor would have stopped.
        """
        waits = [
            maybeDeferred(f, *args, **kwargs)
            for f, args, kwargs in self._take("before", "shutdown")
        ]
        stopped: Deferred[None] = gatherResults(waits, consumeErrors=True).addCallback(
            self._stopped
        )
        return stopped

    def _stopped(self, _: object) -> None:
        """
        Nothing holds the shutdown up any more.
        """
        self.running = False
        self._fire("during", "shutdown")
        self._fire("after", "shutdown")

    def callWhenRunning(self, f: Callable[..., object], *args: Any, **kwargs: Any) -> object:
        """
        Call C{f} when the reactor runs: at once, if it does.

        @return: for L{removeSystemEventTrigger}; L{None} if it was called.
        """
        if self.running:
            f(*args, **kwargs)
            return None
        return self.addSystemEventTrigger("after", "startup", f, *args, **kwargs)

    def addSystemEventTrigger(
        self, phase: str, event: str, f: Callable[..., object], *args: Any, **kwargs: Any
    ) -> _Trigger:
        """
        Have C{f} called when something happens.

        @return: for L{removeSystemEventTrigger}.
        """
        trigger = (phase, event, f, args, kwargs)
        self._triggers.append(trigger)
        return trigger

    def removeSystemEventTrigger(self, trigger: _Trigger) -> None:
        """
        Take back what L{addSystemEventTrigger} added.

        @raise ValueError: if it is not there.
        """
        self._triggers.remove(trigger)

    def _take(
        self, phase: str, event: str
    ) -> list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]]:
        """
        Take out what is to be called then.
        """
        due = [trigger for trigger in self._triggers if trigger[:2] == (phase, event)]
        for trigger in due:
            self._triggers.remove(trigger)
        return [trigger[2:] for trigger in due]

    def _fire(self, phase: str, event: str) -> None:
        """
        Call what is to be called then.
        """
        for f, args, kwargs in self._take(phase, event):
            f(*args, **kwargs)
