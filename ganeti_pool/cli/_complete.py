"""
What the daemon knows, for a shell that completes a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred

from ..jobs import JobState
from ._session import Session

__all__ = ["jobsToOffer"]

_PATIENCE = 0.5
"""
After so many seconds nobody waits for a word to be completed any more.
"""

_MOST = 100
"""
More than that is no help to choose from.
"""


def jobsToOffer(session: Session, states: Sequence[JobState]) -> list[dict[str, Any]]:
    """
    The newest jobs, newest first; none if there is no daemon, if it does not
    answer soon, or if it refuses.

    This runs the reactor, and so can be called only once in a process.

    @param states: any of these; empty for all.
    """
    jobs: list[dict[str, Any]] = []

    def ask(reactor: Any) -> Deferred[None]:
        session.reactor = reactor
        asked = session.connect().listJobs(
            state=[state.value for state in states], order="desc", limit=_MOST
        )
        asked.addTimeout(_PATIENCE, reactor)
        return asked.addCallback(lambda page: jobs.extend(page["jobs"]))

    # It ends so, well or not; and Ctrl-C is no reason to say something.
    with suppress(SystemExit):
        session.react(ask, ())
    return jobs
