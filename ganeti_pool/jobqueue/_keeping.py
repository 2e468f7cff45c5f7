"""
For how long finished jobs are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import StoreError
from ..interfaces import IJobStore
from ._journal import Journal
from ._output import Output

__all__ = ["Keeping"]

_log = Logger()

_BATCH = 200
"""
So many are removed in one commit, so that no other write waits long for it.
"""

_SWEPT = 1_000
"""
Of so many jobs with output the store is asked at once whether they are there.
"""

_SHORTEST, _LONGEST = 60.0, 3600.0
"""
Between so many seconds lies the time from one look to the next.
"""


class Keeping:
    """
    Removes jobs, and what they have written, when their time is over: at the start,
    and then as often as that time is long, but for at least each hour, and at most
    each minute. So a job can stay an hour longer.

    At the start it also removes the output of jobs that are not in the store any more: an
    earlier daemon died between the two removals. It does so only for IDs that the store
    gave out before that start.

    Threads: the reactor's.
    """

    def __init__(
        self,
        clock: IReactorTime,
        store: IJobStore,
        journal: Journal,
        output: Output,
        now: Callable[[], datetime],
        seconds: float | None,
    ) -> None:
        """
        @param seconds: how long finished jobs are kept; L{None} for ever.
        """
        self._store = store
        self._journal = journal
        self._output = output
        self._now = now
        self._seconds = seconds
        self._isStopping = False
        self._looks = LoopingCall(lambda: Deferred.fromCoroutine(self._look()))
        self._looks.clock = clock
        self._running: list[Deferred[Any]] = []

    def start(self, swept: int | None) -> None:
        """
        Begin to remove expired jobs, and the output of jobs that are not in the store.

        @param swept: the highest job ID whose output may be removed if the job is not in
            the store; L{None} if no output may be removed.
        """
        if self._isStopping:
            return
        if swept is not None:
            sweep = Deferred.fromCoroutine(self._sweep(swept))
            self._running.append(sweep.addErrback(self._broken, "What is left over is not removed"))
        if self._seconds is not None:
            interval = min(max(self._seconds, _SHORTEST), _LONGEST)
            looks = self._looks.start(interval)
            self._running.append(
                looks.addErrback(self._broken, "Finished jobs are not removed any more")
            )

    def stop(self) -> Deferred[Any]:
        """
        Remove nothing more.

        @return: a Deferred that fires when all is removed whose records are gone.
        """
        self._isStopping = True
        if self._looks.running:
            self._looks.stop()
        return gatherResults(self._running)

    def _broken(self, failure: Failure, what: str) -> None:
        _log.failure(what, failure)

    async def _sweep(self, last: int) -> None:
        """
        Remove the output of jobs that are not in the store.

        @param last: the highest job ID to consider.
        """
        jobIDs = [jobID for jobID in await self._output.jobIDs() if jobID <= last]
        for first in range(0, len(jobIDs), _SWEPT):
            if self._isStopping:
                return
            some = jobIDs[first : first + _SWEPT]
            known = await self._journal.read(self._store.known, some)
            gone = [jobID for jobID in some if jobID not in known]
            if gone:
                await self._output.remove(gone)
                _log.info("Removed what {count} jobs had written that are gone", count=len(gone))

    async def _look(self) -> None:
        """
        Remove what is due, in batches. If the store fails, the next look is in time.
        """
        try:
            await self._removeDue()
        except StoreError as error:
            _log.warn("Finished jobs are not removed: {error}", error=error)

    async def _removeDue(self) -> None:
        assert self._seconds is not None
        try:
            before = self._now() - timedelta(seconds=self._seconds)
        except OverflowError:
            return  # there were no jobs then
        removed = 0
        while not self._isStopping:
            jobIDs = await self._journal.write(self._store.removeFinished, before, _BATCH)
            await self._output.remove(jobIDs)
            removed += len(jobIDs)
            if len(jobIDs) < _BATCH:
                break
        if removed:
            _log.info("Removed {count} finished jobs", count=removed)
