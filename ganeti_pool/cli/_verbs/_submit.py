"""
C{submit}.
"""

from __future__ import annotations

from typing import BinaryIO

import click

from ...jobs import OnCrash
from .._endings import ExitCode
from .._group import Verb, verb
from .._options import labelOption, timeoutOption
from .._session import Session
from .._values import Lines, Number, Word, parseLimit, parsePriority
from .._words import completeDirectories, completeFiles, completePriorities

__all__ = ["submit"]


@verb("submit", allow_interspersed_args=False)
@click.argument(
    "cmd",
    metavar="[--] COMMAND [ARGUMENT]...",
    nargs=-1,
    type=click.UNPROCESSED,
    shell_complete=completeFiles,
)
@click.option(
    "--priority",
    metavar="N",
    type=parsePriority,
    shell_complete=completePriorities,
    help="A whole number as in nice(1), lower first; or low, normal or high, which are "
    "10, 0 and -10.",
)
@click.option("--name", type=Word(), help="For people; by default the program's name.")
@labelOption("A word to find it by")
@click.option(
    "--key",
    type=Word(),
    help="Makes it safe to submit again: if a job has this key already, its id is printed and "
    "nothing is submitted. If that job is another one (other arguments, directory, PATH or any "
    "option), this one is refused.",
)
@click.option(
    "--cwd",
    metavar="DIR",
    type=Word(),
    shell_complete=completeDirectories,
    help="Its working directory; by default this one.",
)
@click.option(
    "--env",
    metavar="NAME=VALUE|NAME",
    multiple=True,
    help="More environment than PATH; without a value, the one that it has here. May be given "
    "again.",
)
@timeoutOption(
    "How long it may run before it is ended, and fails with the code timeout", parseLimit
)
@click.option(
    "--max-attempts",
    "maxAttempts",
    metavar="N",
    type=Number(1),
    help="How often it starts at most; by default once, and 3 times with --on-crash retry.",
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
    type=Lines(),
    help='Commands, one JSON array of strings a line, such as ["sha256sum", "README.md"]; - is '
    "standard input.",
)
@click.option("--wait", is_flag=True, help="Wait until it is finished, and say how it ended.")
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

    The job gets the working directory, umask and PATH of this process, and its
    owner is whoever calls. With --from-file, nothing is submitted if any line is
    no such array; if the daemon refuses one, its line is named, and how many jobs
    of lines before it are submitted. With --key too, the key of a job is KEY-1,
    KEY-2 and so on, by the number of its line, so that a file can be submitted
    again after a break.

    With --wait, what became of each job is said on standard error.
    """
    from .._submit import Command, commandOptions, loginName, makeJobs, readCommands, submitAll

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
        submitted = await submitAll(session, client, jobs, [line.where for line in lines])
        if not wait:
            return ExitCode.DONE
        from .._watch import waitForJobs

        # One that had its key before may have finished long ago, and a lot changed since.
        unfinished = (job["revision"] for job in submitted if job["finished_at"] is None)
        since = min(unfinished, default=0)
        return await waitForJobs(session, client, submitted, since, onStderr=True)

    return run()
