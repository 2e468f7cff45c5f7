"""
What shows something and changes nothing: C{list}, C{show}, C{logs}, C{wait} and
C{status}.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import click

from ...jobs import JobState
from .._describe import describeJob, describeStatus
from .._endings import ExitCode
from .._find import Selection, findJobs, listPages
from .._format import Wire, parseTimestamp, toJSON
from .._group import verb
from .._options import jobIDs, labelOption, nameOption, stateOption, timeoutOption
from .._session import Session
from .._table import DEFAULT_COLUMNS, Row, formatRows, makeRow
from .._values import Number, parseColumns, parseMoment
from .._words import JobID, completeColumns

__all__ = ["listJobs", "logs", "show", "status", "wait"]

_NEWEST = 50

_COLOURS = {
    "running": "cyan",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
}


@verb("list")
@jobIDs(metavar="[ID]...")
@stateOption(*JobState)
@nameOption
@labelOption("Only jobs with this label")
@click.option(
    "--since",
    metavar="TIME",
    type=parseMoment,
    help="Only jobs submitted since: how long ago, such as 2h, or a time, such as 2026-01-31 or "
    "'2026-01-31 09:15'.",
)
@click.option("--limit", metavar="N", type=Number(1), help=f"How many; by default {_NEWEST}.")
@click.option("--all", "everything", is_flag=True, help="No limit.")
@click.option(
    "-o",
    "columns",
    metavar="FIELD,...",
    type=parseColumns,
    shell_complete=completeColumns,
    help="Which columns: id, state, prio, try, age, time, exit, name, or a key of the job's JSON "
    "object.",
)
@click.option("--no-headers", "noHeaders", is_flag=True, help="No line of headings.")
async def listJobs(
    session: Session,
    ids: tuple[int, ...],
    state: tuple[str, ...],
    name: str | None,
    labels: dict[str, str],
    since: float | datetime | None,
    limit: int | None,
    everything: bool,
    columns: Sequence[str] | None,
    noHeaders: bool,
) -> int:
    """
    Show jobs, a line each, the newest 50 first.

    EXIT is the status of a command, or the signal that ended it; if the daemon ended
    it, or it did not start, the code of the error: timeout, cancelled, interrupted,
    not_started.
    """
    if ids and (state or name is not None or labels or since is not None or limit or everything):
        raise click.UsageError("Give IDs, or say which jobs; not both.")
    if limit and everything:
        raise click.UsageError("--all has no --limit.")
    if columns and session.json:
        raise click.UsageError("-o is for text; --json shows every field.")
    now = session.now()
    moment = now - timedelta(seconds=since) if isinstance(since, float) else since

    def isOld(job: Wire) -> bool:
        return moment is not None and parseTimestamp(job["submitted_at"]) < moment

    client = session.connect()
    shown = columns or DEFAULT_COLUMNS
    rows: list[Row] = []

    # There may be a million: none is kept as a whole.
    def take(page: list[Wire]) -> None:
        if not session.json:
            rows.extend(makeRow(job, shown, now) for job in page)
        elif page:
            session.write("\n".join(map(toJSON, page)))

    if ids:
        take(await findJobs(client, ids))
    else:
        which = Selection(state, name, labels, lambda job: not isOld(job))
        most = None if everything else limit or _NEWEST
        # Ids grow with the time of submission.
        async for page in listPages(client, which, order="desc", limit=most, isLast=isOld):
            take(page)
    if not session.json:
        for line in formatRows(rows, shown, not noHeaders, _styleCell):
            session.write(line)
    return ExitCode.DONE


def _styleCell(column: str, text: str) -> str:
    colour = _COLOURS.get(text.rstrip()) if column == "state" else None
    return text if colour is None else click.style(text, fg=colour)


@verb("show")
@jobIDs(required=True)
async def show(session: Session, ids: tuple[int, ...]) -> int:
    """
    Show everything about jobs, and their attempts.

    Times are local, with their offset; with --json they are in UTC.
    """
    from .._bulk import askEach

    shown = 0

    def describe(job: Wire) -> str:
        nonlocal shown
        shown += 1
        return ("\n" if shown > 1 else "") + describeJob(job)

    return await askEach(
        session, session.connect(), ids, lambda client, job: client.job(job["id"]), describe
    )


@verb("logs")
@click.argument("job", metavar="ID", type=JobID())
@click.option("-f", "--follow", is_flag=True, help="Go on until the attempt ends.")
@click.option("--stderr", is_flag=True, help="Standard error, not standard output.")
@click.option("--attempt", metavar="N", type=Number(1), help="Which; by default the latest.")
@click.option("--tail", metavar="N", type=Number(0), help="Only the last N lines.")
async def logs(
    session: Session,
    job: int,
    follow: bool,
    stderr: bool,
    attempt: int | None,
    tail: int | None,
) -> int:
    """
    Write the output of a job, byte for byte.

    -f survives a restart of the daemon.

    With --json, the text in pieces, as it comes. A job cannot follow its own output.
    """
    from .._logs import copyOutput

    stream = "stderr" if stderr else "stdout"
    await copyOutput(session, session.connect(), job, stream, attempt, follow, tail)
    return ExitCode.DONE


@verb("wait")
@jobIDs(JobState.QUEUED, JobState.RUNNING, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="For all that are not finished now.")
@click.option("--any", "untilFirst", is_flag=True, help="Until the first of them is finished.")
@timeoutOption("How long to wait at most")
async def wait(
    session: Session,
    ids: tuple[int, ...],
    everything: bool,
    untilFirst: bool,
    timeout: float | None,
) -> int:
    """
    Wait until jobs are finished, and say what became of each.

    A terminal gets a bar, and a line for each that did not succeed. A restart of the
    daemon does not end the wait. If jobs are queued and cannot start, such as in a paused
    pool, this reports the reason. A job cannot wait for itself.
    """
    from .._patience import within
    from .._watch import revisionBefore, waitForJobs

    if bool(ids) == everything:
        raise click.UsageError("Give IDs, or --all.")
    client = session.connect()
    session.interruption = "interrupted: the daemon has not answered yet"

    async def run() -> int:
        since = await revisionBefore(client)
        if everything:
            unfinished = Selection((JobState.QUEUED.value, JobState.RUNNING.value))
            jobs = [job async for page in listPages(client, unfinished) for job in page]
        else:
            jobs = await findJobs(client, ids)
        return await waitForJobs(session, client, jobs, since, untilFirst=untilFirst)

    return await within(session.reactor, timeout, run(), session.goesOn)


@verb("status")
async def status(session: Session) -> int:
    """
    Show the daemon, its pool, its queue and its store.
    """
    pool = await session.connect().pool()
    session.emit(pool, describeStatus(pool, session.now()))
    return ExitCode.DONE
