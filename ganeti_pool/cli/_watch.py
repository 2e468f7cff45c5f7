"""
Find jobs, and wait for what becomes of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ._format import describeEnd, formatDuration
from ._session import Ending, ExitCode, Session

if TYPE_CHECKING:
    from ..client import JobClient

__all__ = ["findJobs", "listPages", "newestRevision", "waitForJobs"]

Wire = dict[str, Any]

# As much as the daemon lists at once, and as long as it holds a request open.
_PAGE = 1000
_LONG_POLL = 60


async def listPages(
    client: JobClient,
    limit: int | None,
    state: Sequence[str] = (),
    name: str | None = None,
    order: str = "asc",
    labels: Mapping[str, str] | None = None,
) -> list[Wire]:
    """
    Jobs by id, over as many requests as it takes.

    @param limit: how many at most; L{None} for all.
    """
    jobs: list[Wire] = []
    after: int | None = None
    while limit is None or len(jobs) < limit:
        size = _PAGE if limit is None else min(_PAGE, limit - len(jobs))
        page = await client.listJobs(
            state=state, name=name, order=order, limit=size, after=after, labels=labels
        )
        jobs += page["jobs"]
        after = page["next"]
        if after is None:
            break
    return jobs


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
        page = await client.listJobs(limit=min(_PAGE, span), after=wanted[0] - 1)
        if not page["jobs"]:
            break
        found.update((job["id"], job) for job in page["jobs"])
        wanted = wanted[bisect_right(wanted, page["jobs"][-1]["id"]) :]
    missing = [str(jobID) for jobID in order if jobID not in found]
    if missing:
        raise Ending(ExitCode.REFUSED, f"there is no job {', '.join(missing)}")
    return [found[jobID] for jobID in order]


async def newestRevision(client: JobClient) -> int:
    """
    A revision that the store has reached: changes of jobs that are looked up
    after this have a later one, or are seen in the jobs.
    """
    newest = (await client.listJobs(order="desc", limit=1))["jobs"]
    return newest[0]["revision"] if newest else 0


def _goOn(pending: Iterable[int]) -> str:
    ids = sorted(pending)
    return f"job {ids[0]} goes on" if len(ids) == 1 else f"{len(ids)} jobs go on"


async def waitForJobs(
    session: Session,
    client: JobClient,
    jobs: Sequence[Wire],
    since: int,
    stream: TextIO | None = None,
    timeout: float | None = None,
    untilFirst: bool = False,
) -> int:
    """
    Wait until jobs are finished, and tell of each.

    @param jobs: the jobs as they were at the revision C{since} or later.
    @param stream: where to tell in words; standard output by default.
    @param timeout: for how many seconds at most.
    @param untilFirst: whether one is enough.
    @return: the exit code, which says whether all that finished succeeded.

    @raise Ending: when the time is up.
    """
    pending = {job["id"] for job in jobs}

    async def watch() -> int:
        code, changed, revision = ExitCode.DONE, jobs, since
        with _reporting(session, len(pending), stream) as report:
            while True:
                finished = [
                    job
                    for job in changed
                    if job["id"] in pending and job["finished_at"] is not None
                ]
                pending.difference_update(job["id"] for job in finished)
                if any(job["state"] != "succeeded" for job in finished):
                    code = ExitCode.FAILED
                report(finished)
                if not pending or (untilFirst and finished):
                    return code
                session.interruption = f"interrupted: {_goOn(pending)}"
                answer = await client.changedJobs(revision, _LONG_POLL)
                changed, revision = answer["jobs"], answer["revision"]

    watching: Deferred[int] = Deferred.fromCoroutine(watch())
    if timeout is not None:
        watching.addTimeout(
            timeout,
            session.reactor,
            # Whatever the cancelled request failed with, the time is the reason.
            lambda result, seconds: Failure(
                Ending(
                    ExitCode.TIMED_OUT,
                    f"not finished after {formatDuration(seconds)}: {_goOn(pending)}",
                )
            ),
        )
    return await watching


@contextmanager
def _reporting(
    session: Session, total: int, stream: TextIO | None
) -> Iterator[Callable[[Sequence[Wire]], None]]:
    shown = session.stdout if stream is None else stream
    if session.json or not shown.isatty():

        def tellAll(finished: Sequence[Wire]) -> None:
            for job in finished:
                session.emit(job, describeEnd(job), stream)

        yield tellAll
        return

    # Not above: only a terminal gets a bar.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress

    console = Console(
        file=shown, no_color=session.noColor, highlight=False, markup=False, soft_wrap=True
    )
    # Drawn here, when something has changed, and not by a thread all the time.
    # What is written to the other stream is not the bar's to place.
    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as progress:
        bar = progress.add_task("", total=total)

        def tellTrouble(finished: Sequence[Wire]) -> None:
            for job in finished:
                if job["state"] != "succeeded":
                    console.print(describeEnd(job), style="red")
            progress.update(bar, advance=len(finished), refresh=True)

        yield tellTrouble
