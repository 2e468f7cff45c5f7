"""
By which clock the daemon waits.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

__all__ = ["goSteady"]


def goSteady(reactor: Any) -> None:
    """
    Have a reactor go by the clock that nobody sets. Twisted's go by the time of day: one
    that is set back by an hour would hold up all that is to be called for an hour, the
    end of a job's time and the word to a service manager's watchdog among it.

    @param reactor: one that does not run yet, and has nothing to call later.
    """
    reactor.seconds = monotonic
