"""
How the pool's lock is taken, and what was decided under it carried out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.logger import Logger

__all__ = ["Acquire", "Action", "Bound", "Do", "Guarded"]

_log = Logger()

Action = Callable[[], object]
"""
Something decided under the lock, to be done after its release.
"""

_MOST_YIELDS = 20
"""
How often L{Acquire} yields before it waits. Beyond this the holder was itself
put to sleep by the system, and waiting is right.
"""


def Acquire(lock: threading.RLock) -> None:
    """
    Take a lock whose holders keep it for a few microseconds.

    A thread that blocks in C{acquire} gives up the GIL, is handed the lock while
    it does not have the GIL, and makes all others wait for both: a convoy. To
    give way and try again keeps lock and GIL together. (Without a GIL this is a
    short spin, which is right as well.)
    """
    tries = _MOST_YIELDS
    while not lock.acquire(False):
        if not tries:
            lock.acquire()
            return
        tries -= 1
        time.sleep(0)


def Bound(f: Callable[[Any], object], argument: Any) -> Action:
    """
    A call with one argument, as an action.
    """
    return lambda: f(argument)


def Guarded(f: Callable[[], object]) -> Action:
    """
    A call of a user's function, as an action that never raises.
    """

    def call() -> None:
        try:
            f()
        except BaseException:
            _log.failure("{function!r}, called on a cancellation, failed", function=f)

    return call


def Do(actions: Sequence[Action]) -> None:
    """
    Carry out what was decided. Called without the lock.
    """
    for action in actions:
        action()
