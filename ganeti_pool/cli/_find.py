"""
Find jobs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ._endings import Ending, ExitCode
from ._format import Wire

if TYPE_CHECKING:
    from ..client import JobClient

__all__ = ["LONG_POLL", "PAGE", "Selection", "checkSame", "findJobs", "listPages"]

PAGE = 1000
"""
As many as the daemon tells at once.
"""

LONG_POLL = 60
"""
For as many seconds the daemon holds a request open until something changes.
"""


@dataclass(frozen=True)
class Selection:
    """
    Which jobs.

    @ivar states: in any of these; empty for all.
    @ivar name: of exactly this name.
    @ivar labels: with all of these.
    @ivar suits: what else must be so, which the daemon is not asked for.
    """

    states: Sequence[str] = ()
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    suits: Callable[[Wire], bool] = lambda job: True


async def listPages(
    client: JobClient,
    which: Selection,
    order: str = "asc",
    limit: int | None = None,
    isLast: Callable[[Wire], bool] = lambda job: False,
) -> AsyncIterator[list[Wire]]:
    """
    Jobs by id, over as many requests as it takes.

    @param limit: how many at most; L{None} for all.
    @param isLast: asked of the last job of a page, whether those behind it are
        not wanted.
    """
    after: int | None = None
    while limit is None or limit > 0:
        page = await client.listJobs(
            state=which.states,
            name=which.name,
            order=order,
            limit=PAGE if limit is None else min(PAGE, limit),
            after=after,
            labels=which.labels,
        )
        found = [job for job in page["jobs"] if which.suits(job)]
        yield found
        if limit is not None:
            limit -= len(found)
        after = page["next"]
        if after is None or isLast(page["jobs"][-1]):
            return


async def findJobs(client: JobClient, ids: Iterable[int]) -> list[Wire]:
    """
    The jobs with these ids, in that order. Neighbours come with one request.

    @raise Ending: if one of them does not exist; all that do not are named.
    """
    order = list(dict.fromkeys(ids))
    wanted = sorted(order)
    found: dict[int, Wire] = {}
    while wanted:
        span = wanted[-1] - wanted[0] + 1
        page = await client.listJobs(limit=min(PAGE, span), after=wanted[0] - 1)
        if not page["jobs"]:
            break
        found.update((job["id"], job) for job in page["jobs"])
        wanted = wanted[bisect_right(wanted, page["jobs"][-1]["id"]) :]
    missing = [str(jobID) for jobID in order if jobID not in found]
    if missing:
        raise Ending(ExitCode.REFUSED, f"there is no job {', '.join(missing)}")
    return [found[jobID] for jobID in order]


def checkSame(jobs: Iterable[Wire], submittedAt: Mapping[int, str]) -> None:
    """
    Check that jobs are those that had these IDs before the daemon was away.

    @param submittedAt: by ID, when each was submitted.

    @raise Ending: if one is another job: the store is another one, or an older copy.
    """
    for job in jobs:
        if job["submitted_at"] != submittedAt[job["id"]]:
            raise Ending(
                ExitCode.REFUSED,
                f"the daemon is back with another store, in which {job['id']} is another job: "
                "submit the job again if it is missing",
            )
