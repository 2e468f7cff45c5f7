"""
Wait for changes of jobs.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

__all__ = ["Changes"]


class Changes:
    """
    The readers that wait for a job to change.

    Threads: the reactor's.

    @ivar latest: the highest revision that was announced.
    @ivar isClosed: whether no reader may wait any longer.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.latest = -1
        self.isClosed = False
        self._clock = clock
        self._waiting: set[Deferred[None]] = set()
        self._byJob: dict[int, set[Deferred[None]]] = {}

    def announce(self, jobID: int, revision: int) -> None:
        """
        Wake the readers that wait for any change, and for one of this job.
        """
        self.latest = max(self.latest, revision)
        self._wake()
        _callAll(self._byJob.pop(jobID, set()))

    def close(self) -> None:
        """
        Wake all readers, and let none wait any longer.
        """
        self.isClosed = True
        self._wake()
        for jobID in list(self._byJob):
            _callAll(self._byJob.pop(jobID, set()))

    def wait(self, seconds: float) -> Deferred[None]:
        """
        @return: a Deferred that fires with the next change, or after some seconds. It can be
            cancelled.
        """
        change: Deferred[None] = Deferred(self._waiting.discard)
        self._waiting.add(change)
        return change.addTimeout(seconds, self._clock, lambda _, timeout: None)

    def waitFor(self, jobID: int) -> Deferred[None]:
        """
        @return: a Deferred that fires with the next change of this job. It can be cancelled.
        """
        waiting = self._byJob.setdefault(jobID, set())

        def forget(change: Deferred[None]) -> None:
            waiting.discard(change)
            if not waiting and self._byJob.get(jobID) is waiting:
                del self._byJob[jobID]

        change: Deferred[None] = Deferred(forget)
        waiting.add(change)
        return change

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        _callAll(waiting)


def _callAll(waiting: set[Deferred[None]]) -> None:
    """
    Wake readers, except those that another one of them cancels in the meantime.
    """
    while waiting:
        waiting.pop().callback(None)
