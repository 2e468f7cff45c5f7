"""
What is done to the pool as a whole: C{pause}, C{resume}, C{resize} and
C{quiesce}.
"""

from __future__ import annotations

import click

from .._describe import describePool
from .._endings import ExitCode
from .._group import verb
from .._options import timeoutOption
from .._session import Session
from .._values import Number

__all__ = ["pause", "quiesce", "resize", "resume"]


async def _changePool(session: Session, active: bool) -> int:
    session.doubt = "the daemon may have done it anyway"
    session.interruption = f"interrupted: {session.doubt}"
    pool = await session.connect().changePool(active=active)
    session.emit(pool, describePool(pool))
    return ExitCode.DONE


@verb("pause")
async def pause(session: Session) -> int:
    """
    Start no more jobs; running ones go on.

    A pause survives a restart of the daemon.
    """
    return await _changePool(session, active=False)


@verb("resume")
async def resume(session: Session) -> int:
    """
    Start jobs again.
    """
    return await _changePool(session, active=True)


@verb("resize")
@click.argument("workers", metavar="N", type=Number(0))
@timeoutOption("How long to wait at most")
async def resize(session: Session, workers: int, timeout: float | None) -> int:
    """
    Run at most N jobs at a time, until the daemon restarts.

    With fewer than before, waits until the surplus workers have ended their jobs.
    That is rejected in a job of the daemon, unless enough workers are idle. With 0, no
    job can start.
    """
    from ...wire import MAX_WORKERS
    from .._patience import within
    from .._reconnect import attend

    if workers > MAX_WORKERS:
        raise click.UsageError(f"A pool has {MAX_WORKERS} workers at most.")
    goesOn = "the daemon goes on to change the number of workers"
    session.interruption = f"interrupted: {goesOn}"
    session.doubt = "the daemon may go on to change the number of workers"
    client = session.connect()
    changing = attend(session, client, client.changePool(workers=workers))
    pool = await within(session.reactor, timeout, changing, lambda: goesOn)
    session.emit(pool, describePool(pool))
    return ExitCode.DONE


@verb("quiesce")
@timeoutOption("How long to wait at most")
async def quiesce(session: Session, timeout: float | None) -> int:
    """
    Wait until every job submitted before is finished.

    Jobs submitted since then wait for that. They also start if this command ends
    early, by Ctrl-C, --timeout or a stop of the daemon. A job cannot quiesce its own
    daemon.
    """
    from ...client import RequestRefused
    from .._patience import within
    from .._prospects import whyNothingStarts
    from .._reconnect import attend

    client = session.connect()
    session.interruption = "interrupted: the daemon has not answered yet"

    async def run() -> int:
        pool = await client.pool()
        queued = pool["jobs"]["queued"]
        reason = whyNothingStarts(pool)
        if queued and reason is not None:
            session.say(f"{reason[0]}, and {queued} queued: this waits until {reason[1]}")
        session.interruption = "interrupted: later jobs start, and earlier ones go on"
        session.aftermath = (
            "a quiesce ends with its connection: jobs submitted since are no longer held back; "
            "quiesce again when the daemon is back"
        )
        try:
            quiesced = await attend(session, client, client.quiesce())
        except RequestRefused as error:
            if error.code != "stopping":
                # The daemon rejected the quiesce and keeps running.
                session.aftermath = ""
            raise
        session.emit({"quiesced": quiesced}, "quiesced")
        return ExitCode.DONE

    return await within(session.reactor, timeout, run(), session.goesOn)
