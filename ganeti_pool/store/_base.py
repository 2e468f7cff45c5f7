"""
The unit of work: each change of the store, in terms of a ledger.

A ledger is a table of jobs to one store and some dictionaries to another. The methods of
L{UnitOfWork} do what L{IUnitOfWork <ganeti_pool.interfaces.IUnitOfWork>} promises. Each
decides by L{ganeti_pool.jobs.transitions} before it changes the ledger, so a rejection
leaves the ledger as it was and the transaction goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from zope.interface import implementer

from ..interfaces import IUnitOfWork
from ..jobs import Attempt, Job, JobState, NewJob, Outcome, QueuedJob, transitions
from ..jobs.checks import checkText, plainJSON

__all__ = ["DAY", "Ledger", "UnitOfWork"]

DAY = timedelta(days=1)
"""
The time for which an outcome is counted among those of the last day.
"""


class Ledger(Protocol):
    """
    The content of a store within one transaction.

    Threads: the one that writes.

    @ivar epoch: the epoch of the owner.
    @ivar revision: the highest revision of any job.
    @ivar lastPosition: the highest position ever recorded; -1 if there is none.
    @ivar lastID: the highest ID ever given to a job; 0 if there is none.
    """

    epoch: int
    revision: int
    lastPosition: int
    lastID: int

    def job(self, jobID: int) -> Job:
        """
        @raise NoSuchJob: if there is no such job.
        """

    def preload(self, jobIDs: Sequence[int]) -> None:
        """
        See L{IUnitOfWork.preload}.
        """

    def jobsByKey(self, keys: Sequence[str]) -> Mapping[str, tuple[Job, str]]:
        """
        Return the jobs that have one of these keys, with their fingerprints, by key.
        """

    def add(self, job: Job, fingerprint: str | None) -> None:
        """
        Add a new job.

        @param fingerprint: of a job with a key, to compare it with a later submission.
        """

    def change(self, job: Job) -> None:
        """
        Replace a job.
        """

    def setHandle(self, jobID: int, handle: str) -> None:
        """
        Keep the handle of the processes of a job's latest attempt.
        """

    def setAside(self, job: Job, **values: Any) -> None:
        """
        Keep the latest attempt of a job, if it has one, apart from the job: the job is
        about to be queued again.

        @param values: how that attempt ended, where the job does not have it.
        """

    def ended(self, before: datetime, limit: int) -> list[int]:
        """
        Return the IDs of jobs that finished before a time, the oldest first.
        """

    def remove(self, jobIDs: Sequence[int], since: datetime) -> None:
        """
        Remove finished jobs, their attempts and their keys. Those that finished at
        C{since} or later stay in the counts of the last day.
        """

    def set(self, settings: Mapping[str, Any]) -> None:
        """
        Keep JSON values under their names.
        """

    def settings(self) -> dict[str, Any]:
        """
        Return all values that L{set} kept.
        """

    def workers(self) -> frozenset[tuple[str, int]]:
        """
        See L{IUnitOfWork.workers}.
        """

    def runningJobs(self) -> list[tuple[Job, Attempt]]:
        """
        See L{IUnitOfWork.runningJobs}.
        """

    def queuedJobs(self, limit: int, after: tuple[int, int] | None) -> list[QueuedJob]:
        """
        See L{IUnitOfWork.queuedJobs}.
        """


@implementer(IUnitOfWork)
class UnitOfWork:
    """
    The changes of one transaction, and the reads that decide on them.

    Threads: the one that writes.
    """

    def __init__(self, ledger: Ledger, now: datetime) -> None:
        """
        @param now: the time of the transaction.
        """
        self.hasChanged = False
        self._ledger = ledger
        self._now = now

    @property
    def revision(self) -> int:
        return self._ledger.revision

    # Reading

    def job(self, jobID: int) -> Job:
        return self._ledger.job(jobID)

    def preload(self, jobIDs: Sequence[int]) -> None:
        self._ledger.preload(jobIDs)

    def settings(self) -> dict[str, Any]:
        return self._ledger.settings()

    def workers(self) -> frozenset[tuple[str, int]]:
        return self._ledger.workers()

    def runningJobs(self) -> list[tuple[Job, Attempt]]:
        return self._ledger.runningJobs()

    def queuedJobs(self, limit: int, after: tuple[int, int] | None = None) -> list[QueuedJob]:
        return self._ledger.queuedJobs(limit, after)

    def lastPosition(self) -> int:
        return self._ledger.lastPosition

    def lastID(self) -> int:
        return self._ledger.lastID

    # Changing

    def addJobs(
        self, jobs: Sequence[NewJob], firstPosition: int, room: int | None = None
    ) -> tuple[list[Job], list[Job]]:
        ledger = self._ledger
        known = ledger.jobsByKey([job.key for job in jobs if job.key is not None])
        addition = transitions.addedAll(
            jobs, ledger.lastID, firstPosition, self._now, ledger.revision, known, room
        )
        for job, mark in addition.new:
            self.hasChanged = True
            ledger.add(job, mark)
        for job, _ in addition.new[-1:]:
            ledger.lastID = job.id
            ledger.revision = job.revision
            ledger.lastPosition = max(ledger.lastPosition, job.position)
        return addition.jobs, [job for job, _ in addition.new]

    def startAttempt(self, jobID: int, attempt: int) -> Job:
        return self._save(transitions.started(self._ledger.job(jobID), attempt, self._now))

    def recordHandle(self, jobID: int, attempt: int, handle: str) -> None:
        transitions.checkRunning(self._ledger.job(jobID), attempt)
        checkText(handle, f"the handle of job {jobID}")
        self.hasChanged = True
        self._ledger.setHandle(jobID, handle)

    def finishAttempt(self, jobID: int, attempt: int, outcome: Outcome) -> Job:
        job = self._ledger.job(jobID)
        return self._save(transitions.finished(job, attempt, outcome, self._now))

    def requeueAttempt(
        self,
        jobID: int,
        attempt: int,
        priority: int,
        position: int,
        deferred: bool,
        reason: str | None,
    ) -> Job:
        job = self._ledger.job(jobID)
        queued = transitions.requeued(job, attempt, priority, position, deferred, reason)
        self._ledger.setAside(job, finishedAt=self._now, outcome=JobState.QUEUED)
        return self._place(queued)

    def changePriority(self, jobID: int, priority: int) -> Job:
        job = self._ledger.job(jobID)
        return self._saveIfChanged(job, transitions.reprioritised(job, priority))

    def cancelQueued(self, jobID: int) -> Job:
        return self._save(transitions.withdrawn(self._ledger.job(jobID), self._now))

    def requestCancel(self, jobID: int) -> Job:
        job = self._ledger.job(jobID)
        return self._saveIfChanged(job, transitions.cancelRequested(job, self._now))

    def retryJob(self, jobID: int, position: int) -> Job:
        job = self._ledger.job(jobID)
        again = transitions.retried(job, position)
        if again is job:
            return job
        self._ledger.setAside(job)
        return self._place(again)

    def removeJob(self, jobID: int) -> None:
        transitions.checkRemovable(self._ledger.job(jobID))
        self.hasChanged = True
        self._ledger.remove([jobID], self._now - DAY)

    def removeFinished(self, before: datetime, limit: int) -> list[int]:
        jobIDs = self._ledger.ended(before, limit)
        if jobIDs:
            self.hasChanged = True
            self._ledger.remove(jobIDs, self._now - DAY)
        return jobIDs

    def setSettings(self, settings: Mapping[str, Any]) -> None:
        plain = {
            name: plainJSON(value, f"the setting {name!r}") for name, value in settings.items()
        }
        self.hasChanged = True
        self._ledger.set(plain)

    def _save(self, job: Job) -> Job:
        """
        Keep a changed job under the next revision.
        """
        ledger = self._ledger
        self.hasChanged = True
        ledger.revision += 1
        job = transitions.changed(job, revision=ledger.revision)
        ledger.change(job)
        return job

    def _saveIfChanged(self, before: Job, after: Job) -> Job:
        return before if after is before else self._save(after)

    def _place(self, job: Job) -> Job:
        """
        Keep a job that has another position.
        """
        self._ledger.lastPosition = max(self._ledger.lastPosition, job.position)
        return self._save(job)
