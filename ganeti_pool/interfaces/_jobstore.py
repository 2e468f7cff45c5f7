"""
The contract of a store of durable jobs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from zope.interface import Interface

if TYPE_CHECKING:
    # named in annotations only
    from ..jobs import Attempt, Job, JobFilter, NewJob, Outcome, QueuedJob

__all__ = ["IJobStore"]


class IJobStore(Interface):
    """
    The journal of the queue.

    Every write carries the epoch that L{acquire} gave, is one transaction or
    part of one, and has been committed durably when its Deferred fires. Writes
    are committed in the order in which they were asked for. One that is refused
    changes nothing and does not disturb the others of its group. Whatever is
    asked for while there is no room fails with L{StoreFull
    <ganeti_pool.errors.StoreFull>}, what no store can keep with L{InvalidArgument
    <ganeti_pool.errors.InvalidArgument>}; a write of an epoch that is over fails with
    L{OwnershipLost <ganeti_pool.errors.OwnershipLost>}.

    Once another program has removed, truncated or replaced the store's files, every call
    fails with L{StoreLost <ganeti_pool.errors.StoreLost>}. The store checks this before
    each answer. A call that cannot read the file fails with L{StoreDamaged
    <ganeti_pool.errors.StoreDamaged>}.

    Threads: called on the reactor thread, which never waits for the disk.
    """

    def acquire(owner: str) -> Deferred[int]:
        """
        Open the store, make, check or migrate its schema, and become its owner.

        @param owner: for people, such as C{host:pid}.
        @return: a Deferred with the epoch, larger than any before. It fails with
            L{StoreError <ganeti_pool.errors.StoreError>} if the schema is one of
            a newer version, or the file is not a store; with L{StoreDamaged
            <ganeti_pool.errors.StoreDamaged>} if the store was not closed properly and
            the check finds damage; and with L{QueueStopping
            <ganeti_pool.errors.QueueStopping>} if L{interrupt} ended the check.
        """

    def interrupt() -> None:
        """
        Make a running L{acquire} fail soon instead of checking or migrating the whole
        store. The daemon calls this when it stops. Nothing else changes.
        """

    def close() -> Deferred[None]:
        """
        Commit what was asked for, and let go of the store. What is asked for
        later fails with L{StoreClosed <ganeti_pool.errors.StoreClosed>}.
        """

    def addJobs(
        epoch: int, jobs: Sequence[NewJob], firstPosition: int, room: int | None = None
    ) -> Deferred[list[Job]]:
        """
        Add queued jobs, all or none, at C{firstPosition} and the positions after
        it, with ids that grow in the order given and are never used again.

        A job whose key is there already is not added: the job that has the key
        stands in its place, as it is now, also if it was submitted with another
        version of args, which is nothing that its client has said.

        @param room: how many may be added at most; L{None} for any number.
        @return: a Deferred with a job for each that was given. It fails with
            L{KeyConflict <ganeti_pool.errors.KeyConflict>} if a job that has the
            key was submitted with something else, and with L{QueueFull
            <ganeti_pool.errors.QueueFull>} if more would be added than there is
            room for.
        """

    def startAttempt(
        epoch: int, jobID: int, attempt: int, after: tuple[int, int] | None = None
    ) -> Deferred[Job]:
        """
        C{queued} to C{running}: record that this attempt starts now.

        @param attempt: one more than the job's latest.
        @param after: another job and its attempt, which must not run any more;
            L{None} for none.
        @return: a Deferred with the whole job. It fails with L{StaleAttempt
            <ganeti_pool.errors.StaleAttempt>} if the job is not queued or the
            number is another, and with L{JobNotFinished
            <ganeti_pool.errors.JobNotFinished>} if the other one runs still.
        """

    def recordHandle(epoch: int, jobID: int, attempt: int, handle: str) -> Deferred[None]:
        """
        Keep what finds the processes of a running attempt again.

        @return: a Deferred that fails with L{StaleAttempt
            <ganeti_pool.errors.StaleAttempt>} if that attempt does not run.
        """

    def finishAttempt(epoch: int, jobID: int, attempt: int, outcome: Outcome) -> Deferred[Job]:
        """
        C{running} to a finished state. The first outcome to commit wins.

        @return: a Deferred that fails with L{StaleAttempt
            <ganeti_pool.errors.StaleAttempt>} if that attempt does not run.
        """

    def requeueAttempt(
        epoch: int,
        jobID: int,
        attempt: int,
        priority: int,
        position: int,
        deferred: bool,
        reason: str | None,
    ) -> Deferred[Job]:
        """
        C{running} to C{queued}, at another place.

        @param deferred: true for a deferral, which counts as one and not as an
            attempt (the job's C{attempt} goes back by one, so that the same
            number starts again); false for a job that is tried again after a
            crash.
        @param reason: why, for people; the next start forgets it.
        @return: a Deferred that fails with L{StaleAttempt
            <ganeti_pool.errors.StaleAttempt>} if that attempt does not run.
        """

    def changePriority(epoch: int, jobID: int, priority: int) -> Deferred[Job]:
        """
        Record another priority of a queued job.

        @return: a Deferred that fails with L{NoSuchJob
            <ganeti_pool.errors.NoSuchJob>} or L{JobNotQueued
            <ganeti_pool.errors.JobNotQueued>}.
        """

    def cancelQueued(epoch: int, jobID: int) -> Deferred[Job]:
        """
        C{queued} to C{cancelled}.

        @return: a Deferred that fails with L{NoSuchJob
            <ganeti_pool.errors.NoSuchJob>} or L{JobNotQueued
            <ganeti_pool.errors.JobNotQueued>}.
        """

    def requestCancel(epoch: int, jobID: int) -> Deferred[Job]:
        """
        Record that a running job is to be cancelled; it stays C{running}, and a
        second request leaves the time of the first.

        @return: a Deferred that fails with L{NoSuchJob
            <ganeti_pool.errors.NoSuchJob>}, or with L{StaleAttempt
            <ganeti_pool.errors.StaleAttempt>} if the job does not run.
        """

    def retryJob(epoch: int, jobID: int, position: int) -> Deferred[Job]:
        """
        C{failed} or C{cancelled} to C{queued}, at another place, as if it had not
        run; but its attempts stay, the next start is one more, and C{maxAttempts}
        is raised where it would not let it start. A job that has no outcome stays
        as it is.

        @return: a Deferred that fails with L{NoSuchJob
            <ganeti_pool.errors.NoSuchJob>}, or with L{JobFinished
            <ganeti_pool.errors.JobFinished>} if the job succeeded.
        """

    def removeJob(epoch: int, jobID: int) -> Deferred[None]:
        """
        Forget a finished job and its attempts. Its ID is never used again; its key
        may be.

        @return: a Deferred that fails with L{NoSuchJob
            <ganeti_pool.errors.NoSuchJob>} or L{JobNotFinished
            <ganeti_pool.errors.JobNotFinished>}.
        """

    def removeFinished(epoch: int, before: datetime, limit: int) -> Deferred[list[int]]:
        """
        Forget jobs that finished before a time, the oldest first, C{limit} of them at
        most.

        @return: a Deferred with their IDs.
        """

    def setSettings(epoch: int, settings: Mapping[str, Any]) -> Deferred[None]:
        """
        Keep some values, JSON, under their names. Those not named stay.
        """

    def settings() -> Deferred[dict[str, Any]]:
        """
        All values kept by L{setSettings}.
        """

    def queuedJobs(limit: int, after: tuple[int, int] | None = None) -> Deferred[list[QueuedJob]]:
        """
        A page of the queued jobs by (priority, position): C{limit} of them at
        most, so that a page with fewer is the last.

        @param after: the priority and position of the last one of the page before;
            L{None} for the first page.
        """

    def workers() -> Deferred[frozenset[tuple[str, int]]]:
        """
        The worker classes that jobs without an outcome are for: the name of each, with
        each version of args of these jobs.
        """

    def runningJobs() -> Deferred[list[tuple[Job, Attempt]]]:
        """
        Every running job with its running attempt, by id: after
        L{acquire}, what an earlier owner left.
        """

    def lastPosition() -> Deferred[int]:
        """
        The highest position ever recorded, -1 for none.
        """

    def lastID() -> Deferred[int]:
        """
        Return the highest ID ever given to a job, even to a job that was removed; 0 if
        the store never had a job.
        """

    def job(jobID: int) -> Deferred[Job]:
        """
        @return: a Deferred that fails with L{NoSuchJob
            <ganeti_pool.errors.NoSuchJob>}.
        """

    def known(jobIDs: Sequence[int]) -> Deferred[frozenset[int]]:
        """
        Which of some jobs there are, by their IDs.
        """

    def attempts(jobID: int) -> Deferred[list[Attempt]]:
        """
        The attempts of a job, oldest first; a deferred start is listed with the
        same number as the one after it.

        @return: a Deferred that fails with L{NoSuchJob
            <ganeti_pool.errors.NoSuchJob>}.
        """

    def listJobs(
        which: JobFilter, newestFirst: bool, limit: int, after: int | None
    ) -> Deferred[list[Job]]:
        """
        Jobs by id.

        @param after: start behind this id (in the direction of the order).
        @return: a Deferred that fails with L{InvalidArgument
            <ganeti_pool.errors.InvalidArgument>} if C{which} has more than C{MAX_LABELS}
            labels.
        """

    def changedJobs(after: int, limit: int) -> Deferred[list[Job]]:
        """
        Jobs whose revision is greater than C{after}, by revision.
        """

    def summary() -> Deferred[dict[str, Any]]:
        """
        For C{status}, in time that does not grow with the finished jobs of
        more than a day ago: C{states} (counts of queued and running),
        C{oldestQueuedAt}, C{longestRunningAt} (times or L{None}), C{lastDay}
        (counts of the outcomes of the last 24 hours by state; a job that was removed is
        counted for at most a minute longer), C{bytes} (the store's size on disk),
        C{freeBytes}.
        """
