"""
Many jobs at once, but not too much.

To read has no effect, so who goes away meanwhile ends it.
"""

from __future__ import annotations

from .. import wire
from ..interfaces import IJobQueue
from ..jobs import Job
from ._memory import Share

__all__ = ["LARGEST_PAGE", "changes", "page"]

LARGEST_PAGE = 4 << 20
"""
A page ends with the job that makes it as long as this, in bytes.
"""

_FIRST = 16
_AT_ONCE = 64
"""
How many jobs are read together: the first ones of a page, whose size is not
known, and then as many as are expected to fit. Each may be as long as a body, and all
of them are in memory then.
"""

_WHILE_BUILT = 2 * LARGEST_PAGE
"""
The bytes that a page takes while it is built: its jobs, and then all of them as one text.
"""


class _Page:
    """
    Jobs in JSON, until there are enough.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: dict[int, bytes] = {}
        self._size = 0

    @property
    def room(self) -> int:
        """
        For how many more there is room.
        """
        return self._limit - len(self._jobs) if self._size < LARGEST_PAGE else 0

    @property
    def batch(self) -> int:
        """
        How many jobs to read next, if there are no fewer.
        """
        if not self._jobs:
            return _FIRST
        average = self._size // len(self._jobs)
        return min(max(LARGEST_PAGE - self._size, 0) // average + 1, _AT_ONCE)

    def add(self, job: Job) -> None:
        """
        One more. One that has changed since it was added is there once, as it is now.
        """
        text = wire.encode(wire.jobToJSON(job))
        self._jobs.pop(job.id, None)
        self._jobs[job.id] = text
        self._size += len(text)

    def encode(self, **rest: int | None) -> bytearray:
        """
        The JSON text.

        @param rest: what stands beside the jobs.
        """
        return wire.encodeJobs(self._jobs.values(), rest)


async def page(queue: IJobQueue, query: wire.ListQuery, share: Share) -> bytearray:
    """
    A page of the jobs, in JSON.

    @param share: the memory for it.
    """
    await share.take(_WHILE_BUILT)
    found = _Page(query.limit)
    after = query.after
    while True:
        # One more than there is room for tells whether there is a next page.
        wanted = min(found.room + 1, found.batch)
        jobs = await queue.listJobs(query.which, query.newestFirst, wanted, after)
        for job in jobs:
            if not found.room:
                return found.encode(next=after)
            found.add(job)
            after = job.id
        if len(jobs) < wanted:
            return found.encode(next=None)


async def changes(
    queue: IJobQueue, query: wire.ChangesQuery, share: Share
) -> tuple[bytearray, bool]:
    """
    What has changed, in JSON, as soon as anything has.

    @param share: the memory for it, which is not taken before there is news.
    @return: the text, and whether anything is in it.
    """
    found = _Page(query.limit)
    revision, wait = query.after, query.wait
    isShared = False
    while wanted := min(found.room, found.batch):
        jobs = await queue.changedJobs(revision, wanted, wait)
        if not isShared:
            isShared = True
            await share.take(_WHILE_BUILT)
        for job in jobs:
            if found.room:
                found.add(job)
                revision = job.revision
        if len(jobs) < wanted:
            break
        wait = 0.0
    return found.encode(revision=revision, next=None), revision != query.after
