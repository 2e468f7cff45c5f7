"""
Remove finished jobs, and output that is left over.
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

from ..errors import JobError
from ..interfaces import IJobStore
from ._output import Output
from ._projection import Projection
from ._requests import RemoveFinished
from ._sender import Sender

__all__ = ["Retention"]

_log = Logger()

_BATCH = 200
"""
Remove at most this many jobs per request, so that other requests do not wait long.
"""

_SWEPT = 1_000
"""
Ask the store about this many jobs at once.
"""

_SHORTEST, _LONGEST = 60.0, 3600.0
"""
The bounds of the time from one removal to the next, in seconds.
"""


class Retention:
    """
    Removes finished jobs and their output when they have been kept for long enough: at the
    start, and then as often as that time is long, but at most each minute and at least each
    hour. So a job can stay an hour longer.

    At the start it also removes the output of jobs that are not in the store any more: an
    earlier daemon died between the two removals. It does so only for IDs that the store
    gave out before that start.

    Threads: the reactor's.
    """

    def __init__(
        self,
        clock: IReactorTime,
        store: IJobStore,
        projection: Projection,
        sender: Sender,
        output: Output,
        now: Callable[[], datetime],
        seconds: float | None,
    ) -> None:
        """
        @param seconds: how long finished jobs are kept; L{None} for indefinitely.
        """
        self._store = store
        self._projection = projection
        self._sender = sender
        self._output = output
        self._now = now
        self._seconds = seconds
        self._isStopping = False
        self._removals = LoopingCall(lambda: Deferred.fromCoroutine(self._remove()))
        self._removals.clock = clock
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
            self._running.append(sweep.addErrback(_failed, "Leftover output is not removed"))
        if self._seconds is not None:
            interval = min(max(self._seconds, _SHORTEST), _LONGEST)
            removals = self._removals.start(interval)
            self._running.append(
                removals.addErrback(_failed, "Finished jobs are not removed any more")
            )

    def stop(self) -> Deferred[Any]:
        """
        Remove nothing more.

        @return: a Deferred that fires when the output of all removed jobs is removed.
        """
        self._isStopping = True
        if self._removals.running:
            self._removals.stop()
        return gatherResults(self._running)

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
            known = await self._projection.read(self._store.known, some)
            gone = [jobID for jobID in some if jobID not in known]
            if gone:
                await self._output.remove(gone)
                _log.info("Removed the output of {count} jobs that are gone", count=len(gone))

    async def _remove(self) -> None:
        """
        Remove what is due. If the store fails, the next call tries again.
        """
        try:
            await self._removeDue()
        except JobError as error:
            _log.warn("Finished jobs are not removed: {error}", error=error)

    async def _removeDue(self) -> None:
        assert self._seconds is not None
        try:
            before = self._now() - timedelta(seconds=self._seconds)
        except OverflowError:
            return  # there were no jobs then
        removed = 0
        while not self._isStopping:
            jobIDs = await self._sender.send(RemoveFinished(before, _BATCH))
            await self._output.remove(jobIDs)
            removed += len(jobIDs)
            if len(jobIDs) < _BATCH:
                break
        if removed:
            _log.info("Removed {count} finished jobs", count=removed)


def _failed(failure: Failure, what: str) -> None:
    _log.failure(what, failure)
