"""
The contract of a store of durable jobs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    # named in annotations only
    from ..jobs import Attempt, Job, JobFilter, NewJob, Outcome, QueuedJob

__all__ = ["IJobStore", "IUnitOfWork", "Snapshot"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Snapshot(Generic[_T]):
    """
    The result of a read.

    @ivar value: what was read.
    @ivar number: the commit number of the snapshot that was read: the highest revision of
        any job at that moment.
    """

    value: _T
    number: int


class IUnitOfWork(Interface):
    """
    The changes of one transaction. A method that raises an error of this package has
    changed nothing, and the transaction may go on.

    Threads: the dispatcher's.
    """

    revision = Attribute("The highest revision of any job, an C{int}.")
    hasChanged = Attribute("Whether the transaction has changed anything, a C{bool}.")

    def job(jobID: int) -> Job:
        """
        @raise NoSuchJob: if there is no such job.
        """

    def preload(jobIDs: Sequence[int]) -> None:
        """
        Read jobs at once that the next calls need. Does nothing for a job that does not exist.
        """

    def settings() -> dict[str, Any]:
        """
        Return all values that L{setSettings} kept.
        """

    def workers() -> frozenset[tuple[str, int]]:
        """
        Return the worker classes of the unfinished jobs: each name, with each version of
        its args.
        """

    def runningJobs() -> list[tuple[Job, Attempt]]:
        """
        Return every running job with its running attempt, by ID.
        """

    def queuedJobs(limit: int, after: tuple[int, int] | None = None) -> list[QueuedJob]:
        """
        Return a page of the queued jobs by (priority, position). A page with fewer than
        C{limit} jobs is the last one.

        @param after: the priority and position of the last job of the page before; L{None}
            for the first page.
        """

    def lastPosition() -> int:
        """
        Return the highest position ever recorded; -1 if there is none.
        """

    def lastID() -> int:
        """
        Return the highest ID ever given to a job, including removed jobs; 0 if the store
        never had a job.
        """

    def addJobs(
        jobs: Sequence[NewJob], firstPosition: int, room: int | None = None
    ) -> tuple[list[Job], list[Job]]:
        """
        Add queued jobs, all or none, at C{firstPosition} and the positions after it. IDs
        grow in the order given and are never used again. A job whose key is in the store
        is not added: the job with the key takes its place in the result, as it is now,
        even if it was submitted with another version of its args.

        @param room: how many may be added at most; L{None} for any number.
        @return: a job for each element of C{jobs}, and the jobs that were added.
        @raise KeyConflict: if the job with a key was submitted with other content.
        @raise QueueFull: if more jobs would be added than C{room}.
        @raise InvalidArgument: if a store cannot keep a value.
        """

    def startAttempt(jobID: int, attempt: int) -> Job:
        """
        C{queued} to C{running}: record that this attempt starts now.

        @param attempt: the number of the job's latest attempt plus one.
        @return: the whole job.
        @raise StaleAttempt: if the job is not queued, or its next attempt has another
            number.
        """

    def recordHandle(jobID: int, attempt: int, handle: str) -> None:
        """
        Keep the handle by which the processes of a running attempt are found after a crash.

        @raise StaleAttempt: if that attempt is not running.
        """

    def finishAttempt(jobID: int, attempt: int, outcome: Outcome) -> Job:
        """
        C{running} to a finished state.

        @raise StaleAttempt: if that attempt is not running.
        @raise InvalidArgument: if the outcome cannot be stored.
        """

    def requeueAttempt(
        jobID: int,
        attempt: int,
        priority: int,
        position: int,
        deferred: bool,
        reason: str | None,
    ) -> Job:
        """
        C{running} to C{queued}, at another place.

        @param deferred: true for a deferral, which counts as one and not as an attempt (the
            job's C{attempt} goes back by one, so the same number starts again); false
            for a job that is tried again after a crash.
        @param reason: one sentence; the next start clears it.
        @raise StaleAttempt: if that attempt is not running.
        """

    def changePriority(jobID: int, priority: int) -> Job:
        """
        Change the priority of a queued job.

        @raise JobNotQueued: if it is not queued.
        """

    def cancelQueued(jobID: int) -> Job:
        """
        C{queued} to C{cancelled}.

        @raise JobNotQueued: if it is not queued.
        """

    def requestCancel(jobID: int) -> Job:
        """
        Record that a running job is to be cancelled. It stays C{running}; a second request
        keeps the time of the first.

        @raise StaleAttempt: if the job is not running.
        """

    def retryJob(jobID: int, position: int) -> Job:
        """
        C{failed} or C{cancelled} to C{queued}, at another place. The attempts stay, the next
        start is one more, and C{maxAttempts} is raised if it would not allow it. An
        unfinished job stays as it is.

        @raise JobFinished: if the job succeeded.
        """

    def removeJob(jobID: int) -> None:
        """
        Remove a finished job and its attempts. Its ID is never used again; its key may be.

        @raise JobNotFinished: if it is not finished.
        """

    def removeFinished(before: datetime, limit: int) -> list[int]:
        """
        Remove at most C{limit} jobs that finished before a time, the oldest first.

        @return: their IDs.
        """

    def setSettings(settings: Mapping[str, Any]) -> None:
        """
        Keep JSON values under their names. Others stay as they are.
        """


class IJobStore(Interface):
    """
    A durable store of jobs.

    The owner writes in transactions, each with the epoch that L{acquire} returned. Once
    another program has removed, truncated or replaced the files of the store, every call
    fails with L{StoreLost <ganeti_pool.errors.StoreLost>}; the store checks them before it
    returns a result. A call that cannot read the store fails with L{StoreDamaged
    <ganeti_pool.errors.StoreDamaged>}, and every other failure of the system is a
    L{StoreError <ganeti_pool.errors.StoreError>}.

    Threads: L{acquire}, L{transaction} and L{release} belong to the dispatcher's thread,
    which they block. L{interrupt} may be called on any thread. All other methods belong to
    the reactor thread, where their Deferreds fire; they fail with L{StoreClosed
    <ganeti_pool.errors.StoreClosed>} after L{close}.
    """

    def acquire(owner: str) -> int:
        """
        Open the store, make, check or migrate its schema, and become its owner.

        @param owner: for people, such as C{host:pid}.
        @return: the epoch, larger than any before.
        @raise StoreError: if the store has the schema of a newer version, or is not a store.
        @raise StoreDamaged: if the store was not closed cleanly and the check finds damage.
        @raise QueueStopping: if L{interrupt} ended the check or the migration.
        """

    def transaction(epoch: int) -> AbstractContextManager[IUnitOfWork]:
        """
        Begin a transaction, which the end of the C{with} block commits durably. If the
        block or the commit raises, the store is as it was.

        @raise OwnershipLost: if the epoch is over.
        @raise StoreFull: if there is no room.
        @raise InvalidArgument: if a value cannot be stored.
        @raise StoreClosed: after L{release}.
        """

    def release() -> None:
        """
        Mark the store as closed cleanly if it still has this owner, and disconnect.
        """

    def interrupt() -> None:
        """
        Make a running L{acquire} fail soon instead of checking or migrating the whole
        store. The daemon calls this when it stops. Nothing else changes.
        """

    def close() -> Deferred[None]:
        """
        Answer the reads that were asked for, and accept no more. Does not wait for
        L{release}.
        """

    def job(jobID: int) -> Deferred[Snapshot[Job]]:
        """
        @return: a Deferred that fails with L{NoSuchJob
            <ganeti_pool.errors.NoSuchJob>}.
        """

    def known(jobIDs: Sequence[int]) -> Deferred[Snapshot[frozenset[int]]]:
        """
        Return those of the given IDs whose jobs exist.
        """

    def attempts(jobID: int) -> Deferred[Snapshot[list[Attempt]]]:
        """
        Return the attempts of a job, oldest first. A deferred start has the same number as
        the start after it.

        @return: a Deferred that fails with L{NoSuchJob
            <ganeti_pool.errors.NoSuchJob>}.
        """

    def listJobs(
        which: JobFilter, newestFirst: bool, limit: int, after: int | None
    ) -> Deferred[Snapshot[list[Job]]]:
        """
        Return jobs by ID.

        @param after: start behind this ID (in the direction of the order).
        @return: a Deferred that fails with L{InvalidArgument
            <ganeti_pool.errors.InvalidArgument>} if C{which} has more than C{MAX_LABELS}
            labels.
        """

    def changedJobs(after: int, limit: int) -> Deferred[Snapshot[list[Job]]]:
        """
        Return jobs whose revision is greater than C{after}, by revision.
        """

    def summary() -> Deferred[Snapshot[dict[str, Any]]]:
        """
        Return the values of C{status}, in time that does not grow with the jobs that
        finished more than a day ago: C{states} (counts of queued and running jobs),
        C{oldestQueuedAt}, C{longestRunningAt} (times or L{None}), C{lastDay} (outcomes of
        the last 24 hours by state; a removed job is counted for at most a minute longer),
        C{bytes} (the size of the store on disk), C{freeBytes}.
        """
