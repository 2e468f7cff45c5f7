"""
Take the pool's lock, and run the actions decided under it.

Code that may run on the main thread, where signal handlers run, takes the lock with
C{with lock:}. The interpreter runs a handler between two steps of Python code, and the
handler may raise (C{KeyboardInterrupt}). A handler can run between C{lock.acquire()} and a
C{try}. It cannot run between C{with lock:} and the first step of the block if the lock is
written in C. Workers never run signal handlers and hold the lock across calls, so they take
it with L{Acquire}.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from .._text import safeRepr

__all__ = ["Acquire", "Action", "Bound", "Do", "GiveWay", "Guarded", "Report", "Retake"]

_log = Logger()

Action = Callable[[], object]
"""
Something decided under the lock, to be done after its release.
"""

_MOST_YIELDS = 20
"""
The number of times that a thread yields before it waits for the lock. After that many, the
system has probably suspended the holder itself, and waiting is right.
"""


class _Locked(Protocol):
    """
    An object with a lock.

    @ivar _isHeld: a hint that some thread holds the lock. Each holder sets it and clears
        it before the release. It may be out of date. After an exception it stays set until
        the next release. Only speed depends on it.
    """

    _lock: Any
    _isHeld: bool


def GiveWay(owner: _Locked) -> None:
    """
    Yield while the lock of an object seems to be held. Its holders keep it for a few
    microseconds. The caller then takes the lock, and may have to wait for it.

    A thread that blocks in C{acquire} gives up the GIL, is handed the lock while
    it does not have the GIL, and makes all others wait for both: a convoy. To
    give way and try again keeps lock and GIL together. (Without a GIL this is a
    short spin, which is right as well.)
    """
    tries = _MOST_YIELDS
    while tries and owner._isHeld:
        tries -= 1
        time.sleep(0)


def Acquire(owner: _Locked) -> None:
    """
    Take the lock of an object on a thread that runs no signal handlers.
    """
    if owner._isHeld:
        GiveWay(owner)
    owner._lock.acquire()
    owner._isHeld = True


def Retake(lock: Any) -> None:
    """
    Take a reentrant lock unless this thread holds it.

    A caller that released the lock in the middle of a section uses this, since it must
    hold the lock when an exception leaves the section.
    """
    if not lock._is_owned():
        lock.acquire()


def Bound(f: Callable[[Any], object], argument: Any) -> Action:
    """
    A call with one argument, as an action.
    """
    return lambda: f(argument)


def Report(
    log: Logger,
    text: str,
    failure: Failure | None = None,
    level: Any = LogLevel.critical,
    **facts: object,
) -> None:
    """
    Log a failure. Never raise, even if a log observer does.

    @param text: the message, a format string for the C{facts}.
    @param failure: the failure; by default, the exception being handled.
    """
    try:
        log.failure(text, failure=failure, level=level, **facts)
    except BaseException:
        # Twisted catches only an Exception from an observer. Nothing is left to report
        # this one to.
        return


def Guarded(f: Callable[[], object]) -> Action:
    """
    A call of a user's function, as an action that never raises.
    """

    def call() -> None:
        try:
            f()
        except BaseException:
            Report(
                _log,
                "{name}, called on a cancellation, failed",
                name=safeRepr(f),
                function=f,
            )

    return call


def Do(actions: list[Action]) -> None:
    """
    Run all actions: one that raises does not stop the others. Called without the lock.

    An action that raises is tried once more, since a signal handler may have raised before
    the action began. So running an action twice must do no harm.

    @param actions: each action is removed once it has run. After an exception the caller
        passes the same list again.
    @raise BaseException: the first exception that an action raised. Later failures are
        logged.
    """
    first: BaseException | None = None
    while actions:
        action = actions[0]
        try:
            action()
        except BaseException as error:
            try:
                action()
            except BaseException:
                if first is not None:
                    Report(_log, "{name} failed after another failure", name=safeRepr(action))
            if first is None:
                first = error
        del actions[0]
    if first is not None:
        raise first
