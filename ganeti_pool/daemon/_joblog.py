"""
A line of the log for whatever happens to a job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.logger import Logger

from ..jobs import JobEvent, JobEventKind

__all__ = ["logEvent"]

_log = Logger(namespace="ganeti_pool.job")

_K = JobEventKind


def logEvent(event: JobEvent) -> None:
    """
    Log what has happened to a job, in one line, with its numbers as fields of the log
    event: C{job}, C{attempt}, C{kind}, C{state}, C{priority}, C{name}, C{owner},
    C{waited}, C{ran} (seconds) and C{code} (of an error). Neither the arguments of the
    job are in it nor its labels.
    """
    job = event.job
    line = f"job {job.id}{_SAYS[event.kind](event)}"
    _log.info(
        line.replace("{", "{{").replace("}", "}}"),
        job=job.id,
        attempt=_attempt(event),
        kind=event.kind.value,
        state=job.state.value,
        priority=job.priority,
        name=job.name,
        owner=job.owner,
        waited=event.waited,
        ran=event.ran,
        code=None if job.error is None else job.error.code,
    )


def _attempt(event: JobEvent) -> int:
    # A deferral gives the number back, for the next start.
    return event.job.attempt + (event.kind is _K.DEFERRED)


def _finished(event: JobEvent) -> str:
    job = event.job
    # One that was cancelled while it waited has no attempt that could be meant.
    which = "" if job.startedAt is None else f" attempt {job.attempt}"
    error = job.error
    why = None if error is None else f"{error.code}: {error.message}"
    return f"{which} {job.state.value}{_after(event.ran)}{_because(why)}"


def _waitsAgain(event: JobEvent) -> str:
    said = f" attempt {_attempt(event)} {event.kind.value}{_after(event.ran)}"
    return said + _because(event.job.reason)


def _after(seconds: float | None) -> str:
    return "" if seconds is None else f" after {seconds:.2f} s"


def _because(why: str | None) -> str:
    if not why:
        return ""
    # What a program has said is not to look like another line of the log.
    return ": " + "".join(char if char.isprintable() else " " for char in why)


_SAYS: Mapping[JobEventKind, Callable[[JobEvent], str]] = {
    _K.SUBMITTED: lambda event: f" submitted with priority {event.job.priority}",
    _K.STARTED: lambda event: f" attempt {event.job.attempt} started{_after(event.waited)}",
    _K.MOVED: lambda event: f" moved to priority {event.job.priority}",
    _K.DEFERRED: _waitsAgain,
    _K.INTERRUPTED: _waitsAgain,
    _K.CANCEL_REQUESTED: lambda event: f" attempt {event.job.attempt} is to be cancelled",
    _K.FINISHED: _finished,
    _K.RETRIED: lambda event: f" is to be tried again after attempt {event.job.attempt}",
}
