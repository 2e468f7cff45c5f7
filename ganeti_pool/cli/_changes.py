"""
What can be done to a job.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._describe import describeEnd
from ._format import Wire

if TYPE_CHECKING:
    from ..client import JobClient

__all__ = ["CANCEL", "REMOVE", "RETRY", "Change", "moveTo"]


@dataclass(frozen=True)
class Change:
    """
    What is done to each of some jobs.

    @ivar ask: asks it of the daemon for one job, and gives the job as it is then.
        Of what it gets, the C{id} is there, and the C{state} if the job was found by
        what it is.
    @ivar participle: what has become of a job then, such as C{cancelled}.
    @ivar describe: what has become of one, on a line.
    @ivar outcome: the same in a word or two, to be counted.
    @ivar lastFirst: whether, of jobs that are found by what they are, it is for those that
        start last first.
    """

    ask: Callable[[JobClient, Wire], Awaitable[Wire]]
    participle: str
    describe: Callable[[Wire], str]
    outcome: Callable[[Wire], str]
    lastFirst: bool = False


def _describeCancelled(job: Wire) -> str:
    told = ", told to end" if job["state"] == "running" else ""
    return describeEnd(job) + told


CANCEL = Change(
    # Who has agreed that a queued job goes has not agreed that a running one is killed.
    lambda client, job: client.cancel(job["id"], onlyQueued=job.get("state") == "queued"),
    "cancelled",
    _describeCancelled,
    lambda job: "told to end" if job["state"] == "running" else "cancelled",
    # In their own order, each would have begun by the time it is its turn, as fast as the
    # workers are; and each that is told to end makes room for one more to begin.
    lastFirst=True,
)

RETRY = Change(
    lambda client, job: client.retry(job["id"]),
    "queued again",
    describeEnd,
    lambda job: "queued again",
)


async def _remove(client: JobClient, job: Wire) -> Wire:
    await client.remove(job["id"])
    return job


REMOVE = Change(_remove, "removed", describeEnd, lambda job: "removed")


def moveTo(priority: int) -> Change:
    """
    To give jobs a priority.
    """
    return Change(
        lambda client, job: client.changePriority(job["id"], priority),
        f"moved to priority {priority}",
        lambda job: f"{job['id']} priority {job['priority']}",
        lambda job: f"moved to priority {priority}",
    )
