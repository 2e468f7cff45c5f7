"""
Make jobs of what was typed or of a file, and hand them in.
"""

from __future__ import annotations

import codecs
import json
import os
import pwd
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import click

from ..jobs import COMMAND_WORKER
from ..jobs.limits import loneSurrogate
from ..numerals import isDigits
from ..wire import MAX_BODY, MAX_JOBS, encode
from ._session import Session

if TYPE_CHECKING:
    from ..client import JobClient, RequestRefused

__all__ = ["Command", "commandOptions", "loginName", "makeJobs", "readCommands", "submitAll"]

# The body is a list: a bracket or comma before each job, and a bracket at the end.
_ROOM = MAX_BODY - 1


class Command(NamedTuple):
    """
    One that was asked for.

    @ivar where: where it stands, for a person.
    @ivar key: of its job, L{None} for none.
    """

    where: str
    argv: list[str]
    key: str | None


def loginName() -> str:
    """
    Whose process this is; the number, where the system has no name for it.
    """
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _sizeOf(job: Mapping[str, Any]) -> int:
    return len(encode(job)) + 1


def _decode(line: bytes, label: str, where: str) -> str:
    """
    @raise click.UsageError: if the file is not text in UTF-8.
    """
    isWide = line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE))
    if isWide or b"\0" in line:
        what = f"{label} is UTF-16 or UTF-32" if isWide else f"{where}: the line has a NUL byte"
        raise click.UsageError(
            f"{what}, and the file must be UTF-8: convert it, for example with "
            "iconv -f UTF-16 -t UTF-8."
        )
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise click.UsageError(
            f"{where}: byte {error.start + 1} of the line, {line[error.start]:#04x}, is not valid "
            "UTF-8: the file must be UTF-8."
        ) from error
    if text.startswith("\ufeff"):
        raise click.UsageError(
            f"{where}: a byte order mark is valid only at the start of the file: remove it."
        )
    return text


def readCommands(file: BinaryIO, label: str, key: str | None) -> list[Command]:
    """
    Commands from a file with one JSON array of strings a line, such as
    C{["sha256sum", "README.md"]}. Blank lines are skipped, and so is a byte order mark at
    the start of the file.

    @param key: with one, the key of a command is this, a hyphen, and the number of
        its line.

    @raise click.UsageError: if a line is anything else; it names the line.
    """
    commands = []
    for number, line in enumerate(file, 1):
        where = f"{label}, line {number}"
        text = _decode(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line, label, where)
        if not text.strip():
            continue
        try:
            argv = json.loads(text)
        # The errors of JSON, and nesting without end.
        except (ValueError, RecursionError) as error:
            raise click.UsageError(f"{where}: no JSON ({error}).") from error
        if not isinstance(argv, list) or not argv or not all(isinstance(x, str) for x in argv):
            raise click.UsageError(
                f'{where}: not an array of strings such as ["sha256sum", "README.md"].'
            )
        commands.append(Command(where, argv, None if key is None else f"{key}-{number}"))
    return commands


def commandOptions(cwd: str | None, env: Sequence[str]) -> dict[str, Any]:
    """
    What C{CommandWorker} is to set up: the working directory, umask and PATH of
    this process, and what was asked for beside them.

    @param cwd: another directory; relative to this process's one.
    @param env: C{NAME=VALUE}, or C{NAME} for the value that it has here.

    @raise click.UsageError: if a name has no value here, or the working
        directory is gone.
    """
    # The umask can be read only by setting it.
    umask = os.umask(0o077)
    os.umask(umask)
    environment = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
    for setting in env:
        name, given, value = setting.partition("=")
        if not name or not (given or name in os.environ):
            raise click.UsageError(
                f"--env {setting}: say NAME=VALUE, or the NAME of a variable that is set here."
            )
        environment[name] = value if given else os.environ[name]
    try:
        directory = os.path.abspath(cwd or os.curdir)
    except FileNotFoundError as error:
        raise click.UsageError(
            "The working directory has been removed: name another with --cwd."
        ) from error
    return {"cwd": directory, "umask": f"{umask:04o}", "env": environment}


def makeJobs(
    commands: Iterable[Command],
    options: Mapping[str, Any],
    fields: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """
    The jobs to submit, checked as far as it can be done here.

    @param commands: as of L{readCommands}.
    @param options: as of L{commandOptions}.
    @param fields: what else every job says, such as its priority.

    @raise click.UsageError: if one cannot be said in UTF-8, or is larger than a
        request may be.
    """
    jobs = []
    for where, argv, key in commands:
        # A daemon of another worker class refuses it then.
        job = {"worker": COMMAND_WORKER, "args": [argv, dict(options)], **fields}
        if key is not None:
            job["key"] = key
        surrogate = loneSurrogate(json.dumps(job, ensure_ascii=False))
        if surrogate is not None:
            raise click.UsageError(
                f"{where}: {surrogate!a} is not UTF-8, which is all that a job can hold."
            )
        if _sizeOf(job) > _ROOM:
            raise click.UsageError(
                f"{where}: a job of {_sizeOf(job)} bytes, and a request has {MAX_BODY} at most."
            )
        jobs.append(job)
    return jobs


def _batches(jobs: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    room = _ROOM
    for job in jobs:
        size = _sizeOf(job)
        if size > room or len(batch) == MAX_JOBS:
            yield batch
            batch, room = [], _ROOM
        batch.append(job)
        room -= size
    yield batch


def _placed(refusal: RequestRefused, places: Sequence[str]) -> RequestRefused:
    """
    A refusal whose sentence says where the first job that is wrong stands; the refusal
    as it is, if none is to blame.

    @param places: where each job of the request stands, for a person.
    """
    if not refusal.errors:
        return refusal
    first = refusal.errors[0]
    pointer = first["pointer"]
    number, slash, rest = pointer[1:].partition("/")
    if isDigits(number) and int(number) < len(places):
        where, pointer = places[int(number)], slash + rest
    elif len(places) == 1:
        # Of a list of one, a pointer may be into that job.
        where = places[0]
    else:
        return refusal
    # Other codes say themselves what they are about.
    what = f"{pointer}: " if pointer and refusal.code == "invalid_field" else ""
    more = len(refusal.errors) - 1
    sentence = f"{where}: {what}{first['detail']}" + (f" (and {more} more)" if more else "")
    return type(refusal)(refusal.status, refusal.code, sentence, refusal.errors)


def _doubt(batch: Sequence[Mapping[str, Any]]) -> str:
    """
    What to do about jobs of which it is unknown whether the daemon has added them.
    """
    which = "this job was" if len(batch) == 1 else f"the next {len(batch)} jobs were"
    unknown = f"whether {which} added is unknown"
    if "key" in batch[0]:
        return f"{unknown}: submit again with the same --key, which adds nothing twice"
    return (
        f"{unknown}: check `ganeti-pool list` before you submit again; with --key, submitting "
        "again adds nothing twice"
    )


async def submitAll(
    session: Session,
    client: JobClient,
    jobs: Sequence[dict[str, Any]],
    places: Sequence[str],
) -> list[dict[str, Any]]:
    """
    Submit jobs, and print the ids (or the jobs) of each batch that is accepted.

    If it ends before that, or standard output takes no more, what is said tells how many are
    known to be submitted, and for a refusal, which of them is to blame.

    @param places: where each job stands, for a person.
    @return: the jobs as the daemon has them.
    """
    # Not above: a mistake in a file needs no HTTP client to be told.
    from ..client import RequestRefused

    submitted: list[dict[str, Any]] = []
    for batch in _batches(jobs):
        progress = f"{len(submitted)} of {len(jobs)} jobs are known to be submitted"
        session.interruption = f"interrupted: {progress}" + (", and go on" if submitted else "")
        session.aftermath = progress if len(jobs) > 1 else ""
        session.doubt = _doubt(batch)
        try:
            accepted = await client.submit(batch)
        except RequestRefused as refusal:
            raise _placed(refusal, places[len(submitted) :][: len(batch)]) from refusal
        session.doubt = ""
        submitted += accepted
        session.unheard = (
            f"{len(submitted)} of {len(jobs)} jobs are submitted, and go on without this command"
            if len(jobs) > 1
            else f"job {submitted[0]['id']} is submitted, and goes on without this command"
        )
        for job in accepted:
            session.emit(job, str(job["id"]))
    return submitted
