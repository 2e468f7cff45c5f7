"""
What each write makes of the journal.

The functions do what L{IJobStore <ganeti_pool.interfaces.IJobStore>} says of the
methods of their names, on a ledger, which is a table of jobs to one store and some
dictionaries to another. Each decides before it changes anything: one that refuses
has left the ledger as it was, so nothing has to be undone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred

from ..errors import JobNotFinished, NoSuchJob, OwnershipLost
from ..jobs import Job, JobState, NewJob, Outcome, transitions
from ..jobs.checks import checkText, plainJSON

__all__ = ["DAY", "Ledger", "Writer"]

DAY = timedelta(days=1)
"""
For how long an outcome is counted among those of the last day.
"""

_T = TypeVar("_T")


class Ledger(Protocol):
    """
    The journal as one write finds it and leaves it.

    Threads: used by one.

    @ivar epoch: the one whose owner may write.
    @ivar revision: the latest of any job.
    @ivar lastPosition: the highest ever recorded, -1 for none.
    @ivar lastID: the highest ID ever used.
    """

    epoch: int
    revision: int
    lastPosition: int
    lastID: int

    def acquire(self, owner: str, now: datetime) -> int:
        """
        Begin another epoch, and return it.
        """

    def job(self, jobID: int) -> Job:
        """
        @raise NoSuchJob: if there is none.
        """

    def jobsByKey(self, keys: Sequence[str]) -> Mapping[str, tuple[Job, str]]:
        """
        The jobs that have some of these keys, and their fingerprints.
        """

    def add(self, job: Job, fingerprint: str | None) -> None:
        """
        Add a job that was not there.

        @param fingerprint: what tells it from another of its key, if it has one.
        """

    def change(self, job: Job) -> None:
        """
        Keep what has become of a job.
        """

    def setHandle(self, jobID: int, handle: str) -> None:
        """
        Keep what finds the processes of a job's latest attempt.
        """

    def setAside(self, job: Job, **values: Any) -> None:
        """
        Keep the latest attempt of a job for itself, if it has one, since it is no
        longer the latest: the job waits from now on.

        @param values: how that attempt ended, where the job does not say so.
        """

    def ended(self, before: datetime, limit: int) -> list[int]:
        """
        The IDs of jobs that finished before a time, the oldest first.
        """

    def remove(self, jobIDs: Sequence[int], since: datetime) -> None:
        """
        Forget finished jobs, their attempts and their keys, but keep counting those
        that finished at C{since} or later among the outcomes of the last day.
        """

    def set(self, settings: Mapping[str, Any]) -> None:
        """
        Keep some values, JSON, under their names.
        """


class Writer(ABC):
    """
    The half of a store that writes.

    Threads: the reactor's, but for what is handed to L{_write}.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock

    @abstractmethod
    def _write(self, work: Callable[[Ledger], _T]) -> Deferred[_T]:
        """
        Have something done to the ledger, or nothing of it, and committed.

        @param work: is called once or more often, each time on a ledger on which
            it has done nothing.
        """

    def _writeAs(self, epoch: int, work: Callable[[Ledger], _T]) -> Deferred[_T]:
        """
        As L{_write}, for the owner of an epoch: refused if that is over.
        """

        def owned(ledger: Ledger) -> _T:
            if epoch != ledger.epoch:
                raise OwnershipLost(epoch, ledger.epoch)
            return work(ledger)

        return self._write(owned)

    def _change(self, epoch: int, jobID: int, transition: Callable[[Job], Job]) -> Deferred[Job]:
        """
        Keep what has become of a job that stays where it is in the queue.

        @param transition: gives what becomes of it, or the job itself for nothing.
        """

        def work(ledger: Ledger) -> Job:
            job = ledger.job(jobID)
            changed = transition(job)
            return job if changed is job else _save(ledger, changed)

        return self._writeAs(epoch, work)

    def acquire(self, owner: str) -> Deferred[int]:
        now = self._clock()
        return self._write(lambda ledger: ledger.acquire(owner, now))

    def addJobs(
        self, epoch: int, jobs: Sequence[NewJob], firstPosition: int, room: int | None = None
    ) -> Deferred[list[Job]]:
        now = self._clock()
        wanted = tuple(jobs)

        def work(ledger: Ledger) -> list[Job]:
            known = ledger.jobsByKey([job.key for job in wanted if job.key is not None])
            addition = transitions.addedAll(
                wanted, ledger.lastID, firstPosition, now, ledger.revision, known, room
            )
            for job, mark in addition.new:
                ledger.add(job, mark)
            for job, _ in addition.new[-1:]:
                ledger.lastID = job.id
                ledger.revision = job.revision
                ledger.lastPosition = max(ledger.lastPosition, job.position)
            return addition.jobs

        return self._writeAs(epoch, work)

    def startAttempt(
        self, epoch: int, jobID: int, attempt: int, after: tuple[int, int] | None = None
    ) -> Deferred[Job]:
        now = self._clock()

        def work(ledger: Ledger) -> Job:
            if after is not None:
                _checkEnded(ledger, *after)
            return _save(ledger, transitions.started(ledger.job(jobID), attempt, now))

        return self._writeAs(epoch, work)

    def recordHandle(self, epoch: int, jobID: int, attempt: int, handle: str) -> Deferred[None]:
        def work(ledger: Ledger) -> None:
            transitions.checkRunning(ledger.job(jobID), attempt)
            checkText(handle, f"the handle of job {jobID}")
            ledger.setHandle(jobID, handle)

        return self._writeAs(epoch, work)

    def finishAttempt(
        self, epoch: int, jobID: int, attempt: int, outcome: Outcome
    ) -> Deferred[Job]:
        now = self._clock()
        return self._change(
            epoch, jobID, lambda job: transitions.finished(job, attempt, outcome, now)
        )

    def requeueAttempt(
        self,
        epoch: int,
        jobID: int,
        attempt: int,
        priority: int,
        position: int,
        deferred: bool,
        reason: str | None,
    ) -> Deferred[Job]:
        now = self._clock()

        def work(ledger: Ledger) -> Job:
            job = ledger.job(jobID)
            waiting = transitions.requeued(job, attempt, priority, position, deferred, reason)
            ledger.setAside(job, finishedAt=now, outcome=JobState.QUEUED)
            return _place(ledger, waiting)

        return self._writeAs(epoch, work)

    def changePriority(self, epoch: int, jobID: int, priority: int) -> Deferred[Job]:
        return self._change(epoch, jobID, lambda job: transitions.reprioritised(job, priority))

    def cancelQueued(self, epoch: int, jobID: int) -> Deferred[Job]:
        now = self._clock()
        return self._change(epoch, jobID, lambda job: transitions.withdrawn(job, now))

    def requestCancel(self, epoch: int, jobID: int) -> Deferred[Job]:
        now = self._clock()
        return self._change(epoch, jobID, lambda job: transitions.cancelRequested(job, now))

    def retryJob(self, epoch: int, jobID: int, position: int) -> Deferred[Job]:
        def work(ledger: Ledger) -> Job:
            job = ledger.job(jobID)
            again = transitions.retried(job, position)
            if again is job:
                return job
            ledger.setAside(job)
            return _place(ledger, again)

        return self._writeAs(epoch, work)

    def removeJob(self, epoch: int, jobID: int) -> Deferred[None]:
        since = self._clock() - DAY

        def work(ledger: Ledger) -> None:
            transitions.checkRemovable(ledger.job(jobID))
            ledger.remove([jobID], since)

        return self._writeAs(epoch, work)

    def removeFinished(self, epoch: int, before: datetime, limit: int) -> Deferred[list[int]]:
        since = self._clock() - DAY

        def work(ledger: Ledger) -> list[int]:
            jobIDs = ledger.ended(before, limit)
            ledger.remove(jobIDs, since)
            return jobIDs

        return self._writeAs(epoch, work)

    def setSettings(self, epoch: int, settings: Mapping[str, Any]) -> Deferred[None]:
        values = dict(settings)

        def work(ledger: Ledger) -> None:
            ledger.set(
                {name: plainJSON(value, f"the setting {name!r}") for name, value in values.items()}
            )

        return self._writeAs(epoch, work)


def _checkEnded(ledger: Ledger, jobID: int, attempt: int) -> None:
    """
    @raise JobNotFinished: if that attempt runs.
    """
    with suppress(NoSuchJob):
        job = ledger.job(jobID)
        if job.state is JobState.RUNNING and job.attempt == attempt:
            raise JobNotFinished(jobID, job.state.value)


def _save(ledger: Ledger, job: Job) -> Job:
    """
    Keep a job that has changed, under the next revision.
    """
    ledger.revision += 1
    job = transitions.changed(job, revision=ledger.revision)
    ledger.change(job)
    return job


def _place(ledger: Ledger, job: Job) -> Job:
    """
    Keep a job that has another position.
    """
    ledger.lastPosition = max(ledger.lastPosition, job.position)
    return _save(ledger, job)
