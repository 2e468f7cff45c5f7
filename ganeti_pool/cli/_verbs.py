"""
The verbs and their options.

A verb checks what was typed, and returns a coroutine that does it and gives
the exit code. Nothing is asked of the daemon before that runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from ..jobs import JobState, OnCrash
from ._format import (
    DEFAULT_COLUMNS,
    describeEnd,
    describeJob,
    describePool,
    describeStatus,
    formatRows,
    toJSON,
)
from ._options import (
    JOB_ID,
    Verb,
    anyJobIDs,
    commands,
    jobIDs,
    labelOption,
    parseColumns,
    parsePriority,
    parseTime,
    verb,
)
from ._session import ExitCode, Session, judge
from ._watch import findJobs, listPages, newestRevision, waitForJobs

if TYPE_CHECKING:
    from ..client import JobClient

__all__ = ["commands"]

_Wire = dict[str, Any]

_COLOURS = {
    "running": "cyan",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
}


@verb("submit", allow_interspersed_args=False)
@click.argument("cmd", nargs=-1, type=click.UNPROCESSED)
@click.option("--priority", metavar="N", type=parsePriority, help="As in nice(1): lower first.")
@click.option("--name", help="For people; by default the program's name.")
@labelOption
@click.option("--key", help="With the key of an older job nothing is submitted again.")
@click.option("--cwd", metavar="DIR", help="Its working directory; by default this one.")
@click.option("--env", metavar="N[=V]", multiple=True, help="More environment than PATH.")
@click.option(
    "--timeout", metavar="TIME", type=parseTime, help="How long it may run, such as 90 or 5m10s."
)
@click.option(
    "--max-attempts", "maxAttempts", type=click.IntRange(1), help="How often it starts at most."
)
@click.option(
    "--on-crash",
    "onCrash",
    type=click.Choice([choice.value for choice in OnCrash]),
    help="What becomes of it if the daemon dies while it runs.",
)
@click.option(
    "--from-file",
    "fromFile",
    metavar="FILE|-",
    type=click.File("rb"),
    help='Commands, one JSON array of strings a line, such as ["sha256sum", "README.md"].',
)
@click.option("--wait", is_flag=True, help="Wait until it is finished.")
def submit(
    session: Session,
    cmd: tuple[str, ...],
    priority: int | None,
    name: str | None,
    labels: dict[str, str],
    key: str | None,
    cwd: str | None,
    env: tuple[str, ...],
    timeout: float | None,
    maxAttempts: int | None,
    onCrash: str | None,
    fromFile: BinaryIO | None,
    wait: bool,
) -> Verb:
    """
    Run a command as a job; prints its id.

    The job gets the working directory, umask and PATH of this process. With
    --from-file, nothing is submitted if any line is wrong; with --key too, the
    key of a job is KEY-1, KEY-2 and so on, by the number of its line.
    """
    # Not above: no other verb makes jobs.
    from ._submit import Command, commandOptions, loginName, makeJobs, readCommands, submitAll

    if (fromFile is None) == (not cmd):
        raise click.UsageError("Give a command, or --from-file.")
    # Here, before the reactor runs: a terminal may keep one waiting for lines,
    # and Ctrl-C must work meanwhile.
    if fromFile is None:
        lines = [Command("the command", list(cmd), key)]
    else:
        lines = readCommands(fromFile, fromFile.name, key)
    fields = {
        "priority": priority,
        "name": name,
        "owner": loginName(),
        "labels": labels or None,
        "timeout": timeout,
        "max_attempts": maxAttempts,
        "on_crash": onCrash,
    }
    given = {key: value for key, value in fields.items() if value is not None}
    jobs = makeJobs(lines, commandOptions(cwd, env), given)

    async def run() -> int:
        if not jobs:
            return ExitCode.DONE
        client = session.connect()
        submitted = await submitAll(session, client, jobs)
        if not wait:
            return ExitCode.DONE
        since = min(job["revision"] for job in submitted)
        return await waitForJobs(session, client, submitted, since, stream=session.stderr)

    return run()


@verb("list")
@anyJobIDs
@click.option(
    "--state",
    multiple=True,
    type=click.Choice([state.value for state in JobState]),
    help="Only these; may be given again.",
)
@click.option("--name", help="Only jobs of exactly this name.")
@labelOption
@click.option("--limit", type=click.IntRange(1), help="How many; by default 50.")
@click.option("--all", "everything", is_flag=True, help="No limit.")
@click.option("-o", "columns", metavar="FIELD,...", type=parseColumns, help="Which columns.")
@click.option("--no-headers", "noHeaders", is_flag=True, help="No line of headings.")
async def listJobs(
    session: Session,
    ids: tuple[int, ...],
    state: tuple[str, ...],
    name: str | None,
    labels: dict[str, str],
    limit: int | None,
    everything: bool,
    columns: Sequence[str] | None,
    noHeaders: bool,
) -> int:
    """
    Show jobs, a line each, newest first.
    """
    if ids and (state or name is not None or labels or limit or everything):
        raise click.UsageError("Give IDs, or say which jobs; not both.")
    if limit and everything:
        raise click.UsageError("--all has no --limit.")
    if columns and session.json:
        raise click.UsageError("-o is for text; --json shows every field.")
    client = session.connect()
    if ids:
        jobs = await findJobs(client, ids)
    else:
        most = None if everything else limit or 50
        jobs = await listPages(client, most, state, name, order="desc", labels=labels)
    if session.json:
        lines = [toJSON(job) for job in jobs]
    else:
        lines = formatRows(
            jobs, columns or DEFAULT_COLUMNS, not noHeaders, session.now(), _styleCell
        )
    text = "\n".join(lines)
    if text:
        session.write(text)
    return ExitCode.DONE


def _styleCell(column: str, text: str) -> str:
    colour = _COLOURS.get(text.rstrip()) if column == "state" else None
    return text if colour is None else click.style(text, fg=colour)


@verb("show")
@jobIDs
async def show(session: Session, ids: tuple[int, ...]) -> int:
    """
    Show everything about jobs, and their attempts.
    """
    shown = 0

    def describe(job: _Wire) -> str:
        nonlocal shown
        shown += 1
        return ("\n" if shown > 1 else "") + describeJob(job)

    return await _forEach(session, ids, lambda client, jobID: client.job(jobID), describe)


@verb("logs")
@click.argument("job", metavar="ID", type=JOB_ID)
@click.option("-f", "--follow", is_flag=True, help="Go on until the attempt ends.")
@click.option("--stderr", is_flag=True, help="Standard error, not standard output.")
@click.option("--attempt", type=click.IntRange(1), help="Which; by default the latest.")
@click.option("--tail", metavar="N", type=click.IntRange(0), help="Only the last N lines.")
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
    """
    # Not above: the others read no output.
    from ._logs import copyOutput

    stream = "stderr" if stderr else "stdout"
    await copyOutput(session, session.connect(), job, stream, attempt, follow, tail)
    return ExitCode.DONE


@verb("wait")
@anyJobIDs
@click.option("--all", "everything", is_flag=True, help="For all that are not finished now.")
@click.option("--any", "untilFirst", is_flag=True, help="Until one of them is finished.")
@click.option(
    "--timeout", metavar="TIME", type=parseTime, help="How long at most, such as 90 or 5m10s."
)
async def wait(
    session: Session,
    ids: tuple[int, ...],
    everything: bool,
    untilFirst: bool,
    timeout: float | None,
) -> int:
    """
    Wait until jobs are finished, and say what became of each.
    """
    if bool(ids) == everything:
        raise click.UsageError("Give IDs, or --all.")
    client = session.connect()
    since = await newestRevision(client)
    if everything:
        jobs = await listPages(client, None, state=("queued", "running"))
    else:
        jobs = await findJobs(client, ids)
    return await waitForJobs(session, client, jobs, since, timeout=timeout, untilFirst=untilFirst)


async def _forEach(
    session: Session,
    ids: Sequence[int],
    ask: Callable[[JobClient, int], Awaitable[_Wire]],
    describe: Callable[[_Wire], str],
) -> int:
    """
    Ask the same of several jobs. One that is refused does not stop the others.
    """
    # Not above: an HTTP client is needed by then, and not earlier.
    from ..client import RequestRefused

    client = session.connect()
    worst: int = ExitCode.DONE
    for jobID in ids:
        try:
            job = await ask(client, jobID)
        except RequestRefused as refusal:
            code, sentence = judge(refusal)
            if code != ExitCode.REFUSED:
                raise
            session.say(sentence)
            worst = code
        else:
            session.emit(job, describe(job))
    return worst


@verb("cancel")
@jobIDs
async def cancel(session: Session, ids: tuple[int, ...]) -> int:
    """
    Withdraw queued jobs, and end running ones.
    """

    def describe(job: _Wire) -> str:
        told = ", told to end" if job["state"] == "running" else ""
        return describeEnd(job) + told

    return await _forEach(session, ids, lambda client, jobID: client.cancel(jobID), describe)


# A negative number is not taken for an option.
@verb("priority", ignore_unknown_options=True)
@click.argument("priority", metavar="N", type=parsePriority)
@jobIDs
async def priority(session: Session, priority: int, ids: tuple[int, ...]) -> int:
    """
    Move queued jobs: N is a number as in nice(1), or low, normal or high.
    """
    return await _forEach(
        session,
        ids,
        lambda client, jobID: client.changePriority(jobID, priority),
        lambda job: f"{job['id']} priority {job['priority']}",
    )


async def _changePool(
    session: Session, active: bool | None = None, workers: int | None = None
) -> int:
    pool = await session.connect().changePool(active=active, workers=workers)
    session.emit(pool, describePool(pool))
    return ExitCode.DONE


@verb("pause")
async def pause(session: Session) -> int:
    """
    Start no more jobs; running ones go on.
    """
    return await _changePool(session, active=False)


@verb("resume")
async def resume(session: Session) -> int:
    """
    Start jobs again.
    """
    return await _changePool(session, active=True)


@verb("resize")
@click.argument("workers", metavar="N", type=click.IntRange(0))
async def resize(session: Session, workers: int) -> int:
    """
    Run at most N jobs at a time, until the daemon restarts.

    With fewer than before, waits until the surplus ones have ended their jobs.
    """
    session.interruption = "interrupted: the daemon goes on to change the number of workers"
    return await _changePool(session, workers=workers)


@verb("status")
async def status(session: Session) -> int:
    """
    Show the daemon, its pool, its queue and its store.
    """
    pool = await session.connect().pool()
    session.emit(pool, describeStatus(pool, session.now()))
    return ExitCode.DONE
