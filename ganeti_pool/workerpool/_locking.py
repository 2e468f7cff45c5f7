"""
How the pool's lock is taken, and what was decided under it carried out.

A thread takes the lock with C{with lock:} wherever a signal handler may run, which is on
the main thread. The interpreter runs a handler between two steps of Python code, and
the handler may raise (C{KeyboardInterrupt}). Between C{lock.acquire()} and a C{try} there is
room for that; between C{with lock:}, for a lock made in C, and its first step there is none.
Workers never run a signal handler, and keep the lock across calls, so they take it with
L{Acquire}.
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
How often a thread yields before it waits for the lock. Beyond this the holder was itself
put to sleep by the system, and waiting is right.
"""


class _Locked(Protocol):
    """
    An object with a lock.

    @ivar _isHeld: a hint that some thread holds the lock. Each holder sets it, and clears
        it before the release. It may be out of date, and stays set after an exception until
        the next release; nothing but the speed depends on it.
    """

    _lock: Any
    _isHeld: bool


def GiveWay(owner: _Locked) -> None:
    """
    Yield while the lock of an object, whose holders keep it for a few microseconds, seems
    to be held. The caller takes the lock after this, and may have to wait for it.

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
    Take a reentrant lock unless this thread has it. For a caller that released the lock in
    the middle of a section, and must hold it when it is left by an exception.
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
    Log a failure. This never raises, whatever the observers of the log do.

    @param text: the message, as a format of the C{facts}.
    @param failure: by default, of the exception that is being handled.
    """
    try:
        log.failure(text, failure=failure, level=level, **facts)
    except BaseException:
        # Twisted catches an Exception of an observer, and nothing else. There is
        # nowhere to report this to.
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
    Carry out what was decided, all of it: an action that raises does not stop the others.
    Called without the lock.

    An action that raises is tried once more, since a signal handler may have raised before it
    began. So to carry it out twice must do no harm.

    @param actions: they leave the list. A caller that meets an exception passes it
        again.
    @raise BaseException: what the first one raised that did. The failures of the others
        are logged.
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
