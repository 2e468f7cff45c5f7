"""
The output of a job, as it is and as it comes.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ..wire import MAX_WAIT
from ._session import Session

if TYPE_CHECKING:
    from ..client import JobClient

__all__ = ["copyOutput"]


class _Reader:
    """
    Where the bytes of one stream go.

    @ivar offset: how many have come.
    """

    def __init__(self, session: Session, tail: int | None) -> None:
        self._session = session
        self._tail = None if tail is None else _Tail(tail)
        self.offset = 0

    def collect(self, data: bytes) -> None:
        """
        Take the bytes that came.
        """
        self.offset += len(data)
        if self._tail is None:
            self._session.writeBytes(data)
        else:
            self._tail.add(data)

    def endTail(self) -> None:
        """
        What was there at the start has come: write the end of it, and from here
        on write everything.
        """
        if self._tail is not None:
            self._session.writeBytes(self._tail.text())
            self._tail = None


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
        waits, until the first has.
    @param tail: how many of the last lines to begin with; L{None} for all.
    """
    if follow:
        session.interruption = f"interrupted: job {jobID} goes on"
        # The same one to the end, also when another starts after it.
        attempt = attempt or max(1, (await client.job(jobID))["attempt"])
    reader = _Reader(session, tail)

    async def read(wait: float) -> None:
        await client.output(
            jobID, stream, attempt, reader.offset, wait=wait, collector=reader.collect
        )

    if tail is not None or not follow:
        await read(0)
        reader.endTail()
    while follow and attempt is not None:
        # The daemon ends the answer when the attempt has ended.
        await read(MAX_WAIT)
        job = await client.job(jobID)
        follow = job["finished_at"] is None and job["attempt"] <= attempt
