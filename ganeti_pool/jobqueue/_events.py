"""
Who is told of what happens to the jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.logger import Logger

from ..jobs import Job, JobEvent, JobEventKind

__all__ = ["Events", "Observer"]

_log = Logger()

Observer = Callable[[JobEvent], object]


class Events:
    """
    Tells observers what has happened to a job, once it is in the store.

    Threads: the reactor's.
    """

    def __init__(self, observers: Sequence[Observer]) -> None:
        """
        @param observers: called one after the other. What one raises is logged, and
            harms neither the job nor the others.
        """
        self._observers = tuple(observers)

    def tell(
        self,
        kind: JobEventKind,
        job: Job,
        waited: float | None = None,
        ran: float | None = None,
    ) -> None:
        """
        Something has happened. See L{JobEvent}.
        """
        if not self._observers:
            return
        event = JobEvent(kind, job, waited, ran)
        for observer in self._observers:
            try:
                observer(event)
            except Exception:
                _log.failure(
                    "An observer of job {jobID} failed at the event {kind}",
                    jobID=job.id,
                    kind=kind.value,
                )
