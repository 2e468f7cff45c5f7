"""
Check whether the jobs that a command waits for can start and end.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from ..jobs import JobOrigin, originOf
from ._endings import Ending, ExitCode
from ._format import Wire
from ._session import Session

if TYPE_CHECKING:
    from ..client import JobClient

__all__ = ["Prospects", "ownJob", "refuseOwnOutput", "whyNothingStarts"]


def _origin() -> JobOrigin | None:
    return originOf(os.environ, socket.gethostname())


def ownJob(pool: Wire) -> int | None:
    """
    Return the ID of the job in which this command runs, if the daemon that answered runs it.

    @param pool: the answer of C{GET /v1/pool}.
    """
    daemon = pool["daemon"]
    origin = _origin()
    if (
        origin is None
        # An older daemon does not name its host.
        or origin.host != daemon.get("host")
        or origin.stateDirectory != os.path.realpath(daemon["state_directory"])
    ):
        return None
    return origin.jobID


def whyNothingStarts(pool: Wire) -> tuple[str, str] | None:
    """
    Return why no queued job starts, and until when; L{None} if jobs start.

    @param pool: the answer of C{GET /v1/pool}.
    """
    if not pool["active"]:
        return "the pool is paused", "it is resumed"
    if not pool["workers"]:
        return "the pool has no workers", "it is resized"
    return None


def _refuseOwnJob(
    session: Session, pool: Wire, pending: Collection[int], untilFirst: bool = False
) -> None:
    """
    Refuse to wait in a job for the end of that job.

    @param pool: the answer of C{GET /v1/pool}.
    @param pending: the jobs that are to be waited for, none of which is finished.
    @param untilFirst: whether one of them is enough.

    @raise Ending: if the wait could not end.
    """
    own = ownJob(pool)
    if own in pending and not (untilFirst and len(pending) > 1):
        # The sentence says what becomes of the jobs.
        session.aftermath = ""
        raise Ending(
            ExitCode.REFUSED,
            f"this command runs in job {own} and would wait for the end of job {own}: name other "
            "jobs, or wait outside the job",
        )


async def refuseOwnOutput(
    session: Session, client: JobClient, jobID: int, attempt: int | None
) -> None:
    """
    Refuse to follow the output of the attempt in which this command runs.

    @raise Ending: if C{attempt} is that attempt.
    """
    if _origin() is None:
        return
    pool = await client.pool()
    if ownJob(pool) == jobID and attempt == (await client.job(jobID))["attempt"]:
        _refuseOwnJob(session, pool, [jobID])


def _whyTheseWait(pool: Wire, queued: Sequence[Wire]) -> tuple[str, str] | None:
    """
    Return why these queued jobs do not start, like L{whyNothingStarts}.
    """
    reason = whyNothingStarts(pool)
    if reason is not None:
        return reason
    own = ownJob(pool)
    if own is not None and pool["workers"] == 1:
        return f"the pool's only worker runs job {own}, which waits here", "it is resized"
    # An older daemon does not report quiesces. All times have the same format, in UTC.
    since = pool.get("quiesces", {"since": None})["since"]
    if since is not None and any(job["submitted_at"] >= since for job in queued):
        if own is None:
            return "a quiesce holds back jobs submitted after it", "the quiesce ends"
        return (
            f"a quiesce waits for job {own}, which waits here, and holds back jobs submitted "
            "after it",
            "the quiesce is cancelled",
        )
    return None


class Prospects:
    """
    Reporter of why the jobs that a command waits for do not start, once for each reason.
    """

    def __init__(self, session: Session, client: JobClient, untilFirst: bool = False) -> None:
        """
        @param untilFirst: whether the end of one job is enough.
        """
        self._session = session
        self._client = client
        self._untilFirst = untilFirst
        self._said: tuple[str, str] | None = None

    async def check(self, jobs: Sequence[Wire], say: Callable[[str], object]) -> None:
        """
        Ask the daemon for the state of its pool.

        @param jobs: the jobs to wait for, as they are now. At least one of them is not
            finished.
        @param say: reports the reason.

        @raise Ending: if this command runs in one of the jobs and would wait for its end.
        """
        pending = [job for job in jobs if job["finished_at"] is None]
        pool = await self._client.pool()
        _refuseOwnJob(self._session, pool, [job["id"] for job in pending], self._untilFirst)
        queued = [job for job in pending if job["state"] == "queued"]
        reason = _whyTheseWait(pool, queued) if queued else None
        if reason is not None and reason != self._said:
            why, until = reason
            count = len(queued)
            which = f"job {queued[0]['id']} is" if count == 1 else f"{count} of the jobs are"
            say(f"{why}, and {which} queued: this waits until {until}")
        self._said = reason
