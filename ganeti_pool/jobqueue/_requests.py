"""
The requests of clients, and of the queue itself, that change the store.

The dispatcher calls C{apply} of each within a transaction. It decides by L{Decisions} and
returns the answer, or raises the error that rejects the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ..interfaces import IUnitOfWork
from ..jobs import Job, NewJob
from ._decisions import Decisions

__all__ = [
    "Cancel",
    "Move",
    "Remove",
    "RemoveFinished",
    "Request",
    "Retry",
    "SetActive",
    "Submit",
]


class Request(Protocol):
    """
    A change of the store.
    """

    def apply(self, decisions: Decisions, unit: IUnitOfWork) -> object:
        """
        Decide on it, and write it.

        @return: the answer.
        @raise PoolError: if it is rejected; then nothing has changed.
        """


@dataclass(frozen=True)
class Submit:
    """
    Add jobs, all or none.
    """

    jobs: Sequence[NewJob]

    def apply(self, decisions: Decisions, unit: IUnitOfWork) -> list[Job]:
        return decisions.submit(unit, self.jobs)


@dataclass(frozen=True)
class Move:
    """
    Change the priority of a queued job.
    """

    jobID: int
    priority: int

    def apply(self, decisions: Decisions, unit: IUnitOfWork) -> Job:
        return decisions.move(unit, self.jobID, self.priority)


@dataclass(frozen=True)
class Cancel:
    """
    Cancel a queued job, or tell a running one to end.
    """

    jobID: int
    onlyQueued: bool

    def apply(self, decisions: Decisions, unit: IUnitOfWork) -> Job:
        return decisions.cancel(unit, self.jobID, self.onlyQueued)


@dataclass(frozen=True)
class Retry:
    """
    Queue a failed or cancelled job again.
    """

    jobID: int

    def apply(self, decisions: Decisions, unit: IUnitOfWork) -> Job:
        return decisions.retry(unit, self.jobID)


@dataclass(frozen=True)
class Remove:
    """
    Remove a finished job.
    """

    jobID: int

    def apply(self, decisions: Decisions, unit: IUnitOfWork) -> None:
        unit.removeJob(self.jobID)


@dataclass(frozen=True)
class RemoveFinished:
    """
    Remove jobs that finished before a time, the oldest first.
    """

    before: datetime
    limit: int

    def apply(self, decisions: Decisions, unit: IUnitOfWork) -> list[int]:
        return unit.removeFinished(self.before, self.limit)


@dataclass(frozen=True)
class SetActive:
    """
    Pause or resume the queue.
    """

    active: bool

    def apply(self, decisions: Decisions, unit: IUnitOfWork) -> Any:
        return decisions.setActive(unit, self.active)
