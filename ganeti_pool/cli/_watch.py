"""
Wait for what becomes of jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from ._describe import describeEnd
from ._endings import ExitCode
from ._find import LONG_POLL, PAGE, checkSame, findJobs
from ._format import Wire
from ._prospects import Prospects
from ._session import Session

if TYPE_CHECKING:
    from ..client import JobClient

__all__ = ["revisionBefore", "waitForJobs"]


async def revisionBefore(client: JobClient) -> int:
    """
    A revision that the store has reached, that of the newest job: changes of jobs
    that are looked up after this have a later one, or are seen in the jobs.
    """
    newest = (await client.listJobs(order="desc", limit=1))["jobs"]
    return newest[0]["revision"] if newest else 0


def _goOn(pending: Iterable[int]) -> str:
    ids = sorted(pending)
    return f"job {ids[0]} goes on" if len(ids) == 1 else f"{len(ids)} jobs go on"


def _notFinished(pending: Iterable[int]) -> str:
    ids = sorted(pending)
    if len(ids) == 1:
        return f"job {ids[0]} is not known to have finished"
    return f"{len(ids)} jobs are not known to have finished"


async def waitForJobs(
    session: Session,
    client: JobClient,
    jobs: Sequence[Wire],
    since: int,
    onStderr: bool = False,
    untilFirst: bool = False,
) -> int:
    """
    Wait until jobs are finished, and report each. A restart of the daemon does not end it.

    @param jobs: the jobs as they were at the revision C{since} or later.
    @param onStderr: whether what is told in words goes to standard error.
    @param untilFirst: whether one is enough.
    @return: the exit code, which says whether all that finished succeeded.

    @raise Ending: if one of the jobs is not there any more, or if this waits in one of them
        for the end of that very job.
    @raise DaemonUnreachable: if the daemon went away and did not come back in time.
    """
    # Not above: a mistake needs no client.
    from ..client import DaemonUnreachable, RequestRefused
    from ._reconnect import reconnect

    pending = {job["id"] for job in jobs}
    prospects = Prospects(session, client, untilFirst)
    submittedAt = {job["id"]: job["submitted_at"] for job in jobs}

    async def lookAgain() -> tuple[list[Wire], int]:
        # The store may be an older copy of the one from before.
        revision = await revisionBefore(client)
        found = await findJobs(client, sorted(pending))
        checkSame(found, submittedAt)
        return found, revision

    code, changed, revision = ExitCode.DONE, jobs, since
    lookedAt, mustLook, areWhole = session.reactor.seconds(), False, True
    with _reporting(session, len(pending), onStderr) as report:
        while True:
            finished = [
                job for job in changed if job["id"] in pending and job["finished_at"] is not None
            ]
            pending.difference_update(job["id"] for job in finished)
            if any(job["state"] != "succeeded" for job in finished):
                code = ExitCode.FAILED
            report.finished(finished)
            if not pending or (untilFirst and finished):
                return code
            session.interruption = f"interrupted: {_goOn(pending)}"
            session.aftermath = _notFinished(pending)
            session.assurance = f"the daemon's store keeps {'it' if len(pending) == 1 else 'them'}"
            try:
                if mustLook:
                    changed = await findJobs(client, sorted(pending))
                    lookedAt, mustLook, areWhole = session.reactor.seconds(), False, True
                    continue
                if areWhole:
                    # They are all of those that are waited for, and not only the changed ones.
                    await prospects.check(changed, report.say)
                    areWhole = False
                answer = await client.changedJobs(revision, LONG_POLL, PAGE)
                changed, revision = answer["jobs"], answer["revision"]
            except (DaemonUnreachable, RequestRefused) as error:
                changed, revision = await reconnect(
                    session, error, lookAgain, report.say, session.aftermath
                )
                lookedAt, mustLook, areWhole = session.reactor.seconds(), False, True
                continue
            # Of a job that was removed nothing is told any more. So those that are
            # waited for are looked for, also while there is news of others.
            mustLook = not changed or session.reactor.seconds() - lookedAt >= LONG_POLL


class _Report(NamedTuple):
    """
    Where a wait reports to.

    @ivar finished: takes jobs that are finished.
    @ivar say: takes a sentence about the daemon.
    """

    finished: Callable[[Sequence[Wire]], None]
    say: Callable[[str], object]


@contextmanager
def _reporting(session: Session, total: int, onStderr: bool) -> Iterator[_Report]:
    shown = session.stderr if onStderr else session.stdout
    if session.json or not session.canDraw(shown):

        def tellAll(finished: Sequence[Wire]) -> None:
            for job in finished:
                session.emit(job, describeEnd(job), onStderr)

        yield _Report(tellAll, session.say)
        return

    # Not above: only a terminal gets a bar.
    from ._bar import showBar

    with showBar(shown, total, session.noColor) as bar:

        def tellTrouble(finished: Sequence[Wire]) -> None:
            for job in finished:
                if job["state"] != "succeeded":
                    bar.tell(describeEnd(job))
            bar.advance(len(finished))

        def say(sentence: str) -> None:
            if session.stderr.isatty():
                # Most often it is the same terminal, where only the bar knows its line.
                bar.tell(session.sentence(sentence), style="yellow")
            else:
                session.say(sentence)

        yield _Report(tellTrouble, say)
