"""
No longer than somebody has time.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ._endings import Ending, ExitCode
from ._format import formatDuration

__all__ = ["within"]

_T = TypeVar("_T")


def within(
    reactor: Any,
    seconds: float | None,
    work: Coroutine[Deferred[Any], Any, _T],
    goesOn: Callable[[], str],
) -> Deferred[_T]:
    """
    Run a coroutine, and give it up when the time is up.

    @param seconds: how long it may take; L{None} for as long as it does.
    @param goesOn: says what goes on all the same.
    @return: a Deferred with its result, which fails with L{Ending} when the time is up.
    """
    doing = Deferred.fromCoroutine(work)
    if seconds is not None:
        doing.addTimeout(
            seconds,
            reactor,
            # Whatever the cancelled request failed with, the time is the reason.
            lambda result, seconds: Failure(
                Ending(
                    ExitCode.TIMED_OUT,
                    f"not finished after {formatDuration(seconds)}: {goesOn()}",
                )
            ),
        )
    return doing
