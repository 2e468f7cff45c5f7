"""
The output of a job, as it is and as it comes.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from twisted.internet.task import deferLater

from ..client import DaemonUnreachable, RequestRefused
from ._find import LONG_POLL, PAGE, checkSame
from ._format import Wire, toJSON
from ._prospects import refuseOwnOutput
from ._reconnect import reconnect
from ._session import Session

if TYPE_CHECKING:
    from ..client import JobClient

__all__ = ["copyOutput"]

_LEAST = 1.0
"""
The seconds that a request for more output takes at least if nothing comes.
"""


class _Reader:
    """
    Where the bytes of one stream go.

    @ivar offset: how many have come.
    """

    def __init__(self, write: Callable[[bytes], object], tail: int | None) -> None:
        self._write = write
        self._tail = None if tail is None else _Tail(tail)
        self.offset = 0

    def collect(self, data: bytes) -> None:
        """
        Take the bytes that came.
        """
        self.offset += len(data)
        if self._tail is None:
            self._write(data)
        else:
            self._tail.add(data)

    def endTail(self) -> None:
        """
        What was there at the start has come: write the end of it, and from here
        on write everything.
        """
        if self._tail is not None:
            self._write(self._tail.text())
            self._tail = None


class _Lines:
    """
    Writes JSON: an object for each piece of text. What is not valid UTF-8 is replaced,
    and a character that comes in two pieces is not.
    """

    def __init__(self, session: Session, about: Mapping[str, object]) -> None:
        self._session = session
        self._about = about
        self._decoder = getincrementaldecoder("utf-8")("replace")

    def write(self, data: bytes, isLast: bool = False) -> None:
        """
        The next piece.
        """
        text = self._decoder.decode(data, isLast)
        if text:
            self._session.write(toJSON({**self._about, "text": text}))


class _Tail:
    """
    The last lines of what was added. No more than those is kept.
    """

    def __init__(self, lines: int) -> None:
        self._lines: deque[bytes] = deque(maxlen=lines)
        self._open: list[bytes] = []

    def add(self, data: bytes) -> None:
        """
        Take more.
        """
        *whole, rest = data.split(b"\n")
        for line in whole:
            self._lines.append(b"".join([*self._open, line, b"\n"]))
            self._open = []
        if rest:
            self._open.append(rest)

    def text(self) -> bytes:
        """
        The last lines; one that has not ended yet counts as well.
        """
        if self._open:
            self._lines.append(b"".join(self._open))
        return b"".join(self._lines)


def _notEnded(jobID: int) -> str:
    return f"job {jobID} is not known to have ended"


async def _attemptToFollow(
    session: Session, client: JobClient, jobID: int, probe: Callable[[], Awaitable[Wire]]
) -> int:
    """
    The number of the attempt that runs or will run next; of a finished job, of
    its last.

    @param probe: gives the job.
    """
    job = await probe()
    revision = job["revision"]
    # One that is to be tried again has the output of what is over.
    while job["state"] == "queued" and job["attempt"]:
        try:
            revision = (await client.changedJobs(revision, LONG_POLL, PAGE))["revision"]
            # Looked up, since of one that was removed no change tells.
            job = await probe()
        except (DaemonUnreachable, RequestRefused) as error:
            job = await reconnect(session, error, probe, session.say, _notEnded(jobID))
            revision = job["revision"]
    return max(1, int(job["attempt"]))


async def copyOutput(
    session: Session,
    client: JobClient,
    jobID: int,
    stream: str,
    attempt: int | None,
    follow: bool,
    tail: int | None,
) -> None:
    """
    Write what an attempt has written.

    @param stream: C{"stdout"} or C{"stderr"}.
    @param attempt: its number; L{None} for the latest.
    @param follow: whether to go on until the attempt has ended; of a job that
        waits, until the first has. A restart of the daemon does not end it, and if the job
        is tried again after it, the new attempt follows, unless C{attempt} is given.
    @param tail: how many of the last lines to begin with; L{None} for all.
    """
    submittedAt: dict[int, str] = {}

    async def probe() -> Wire:
        job = await client.job(jobID)
        checkSame([job], {jobID: submittedAt.setdefault(jobID, job["submitted_at"])})
        return job

    isLatest = attempt is None
    if follow:
        session.interruption = f"interrupted: job {jobID} goes on"
        session.assurance = "the daemon's store keeps it"
    if attempt is None and follow:
        # The same one to the end, also when another starts after it.
        attempt = await _attemptToFollow(session, client, jobID, probe)
    elif attempt is None and session.json:
        attempt = max(1, (await client.job(jobID))["attempt"])
    if follow:
        await refuseOwnOutput(session, client, jobID, attempt)
    lines, reader = _open(session, jobID, attempt, stream, tail)

    async def read(wait: float) -> None:
        await client.output(
            jobID, stream, attempt, reader.offset, wait=wait, collector=reader.collect
        )

    if tail is not None or not follow:
        await read(0)
        reader.endTail()
    wasAway = False
    while follow and attempt is not None:
        begun, offset = session.reactor.seconds(), reader.offset
        try:
            await read(LONG_POLL)
            lasted = session.reactor.seconds() - begun
            if lasted >= LONG_POLL:
                continue
            # The daemon ended the answer before its time: the attempt has ended, or the
            # daemon is about to.
            job = await probe()
        except (DaemonUnreachable, RequestRefused) as error:
            await reconnect(session, error, probe, session.say, _notEnded(jobID))
            # What the attempt wrote before it ended is still to be read.
            wasAway = True
            continue
        if job["attempt"] > attempt and wasAway and isLatest:
            lines.write(b"", isLast=True)
            attempt, wasAway = job["attempt"], False
            session.say(
                f"job {jobID} was started again while the daemon was unreachable: the following "
                f"output is from attempt {attempt}"
            )
            lines, reader = _open(session, jobID, attempt, stream, None)
        elif job["finished_at"] is not None or job["attempt"] > attempt:
            follow = False
        elif lasted < _LEAST and reader.offset == offset:
            # A daemon that is stopping does not wait.
            await deferLater(session.reactor, _LEAST)
    lines.write(b"", isLast=True)


def _open(
    session: Session, jobID: int, attempt: int | None, stream: str, tail: int | None
) -> tuple[_Lines, _Reader]:
    lines = _Lines(session, {"id": jobID, "attempt": attempt, "stream": stream})
    return lines, _Reader(lines.write if session.json else session.writeBytes, tail)
