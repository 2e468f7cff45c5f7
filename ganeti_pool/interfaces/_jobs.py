"""
The contracts of durable jobs: the store, and the queue above it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    # values of a higher floor, named in annotations only
    from ..jobs import Attempt, Job, JobFilter, NewJob, Outcome, QueuedJob

__all__ = ["IJobQueue", "IJobStore"]


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

    Threads: called on the reactor thread, which never waits for the disk.
    """

    def acquire(owner: str) -> Deferred[int]:
        """
        Open the store, make or check its schema, and become its owner.

        @param owner: for people, such as C{host:pid}.
        @return: a Deferred with the epoch, larger than any before. It fails with
            L{StoreError <ganeti_pool.errors.StoreError>} if the schema is one of
            a newer version, or no store at all.
        """

    def close() -> Deferred[None]:
        """
        Commit what was asked for, and let go of the store. What is asked for
        later fails with L{StoreError <ganeti_pool.errors.StoreError>}.
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
        (counts of the outcomes of the last 24 hours by state), C{bytes} (the
        store's size on disk), C{freeBytes}.
        """


class IJobQueue(Interface):
    """
    Durable jobs: what the HTTP interface and the service speak to.

    An acknowledged job is never lost and gets exactly one recorded outcome.

    Who does not want to wait any more may cancel any Deferred. Where the method does
    not say that this ends something, what was asked for is done all the same.

    Threads: called on the reactor thread. Every Deferred fires there.
    """

    waiting = Attribute("How many jobs wait at each priority, a C{Mapping[int, int]}.")
    workerName = Attribute("The dotted name of the worker class of the jobs that it takes.")
    onCrash = Attribute("The C{OnCrash} of a job that says nothing of it: the worker class's.")

    def submit(jobs: Sequence[NewJob]) -> Deferred[list[Job]]:
        """
        Take jobs, all or none. One whose key is there already gives the job that
        has it.

        @return: a Deferred with the jobs, fired after they were committed. It
            fails with L{InvalidJob <ganeti_pool.errors.InvalidJob>} (another
            worker class), L{KeyConflict <ganeti_pool.errors.KeyConflict>} (a key of
            another job), L{QueueFull <ganeti_pool.errors.QueueFull>},
            L{QueueStopping <ganeti_pool.errors.QueueStopping>} or L{StoreFull
            <ganeti_pool.errors.StoreFull>}.
        """

    def job(jobID: int) -> Deferred[Job]:
        """
        @return: a Deferred that fails with L{NoSuchJob
            <ganeti_pool.errors.NoSuchJob>}.
        """

    def attempts(jobID: int) -> Deferred[list[Attempt]]:
        """
        @return: a Deferred that fails with L{NoSuchJob
            <ganeti_pool.errors.NoSuchJob>}.
        """

    def listJobs(
        which: JobFilter, newestFirst: bool, limit: int, after: int | None
    ) -> Deferred[list[Job]]:
        """
        Jobs by id, from behind C{after}.
        """

    def changedJobs(after: int, limit: int, wait: float) -> Deferred[list[Job]]:
        """
        Jobs whose revision is greater than C{after}, by revision. With none of
        them, the answer waits for the first change, C{wait} seconds at most,
        and is then empty. Cancelling the Deferred ends the wait; a queue that
        has stopped answers all that wait.
        """

    def changePriority(jobID: int, priority: int) -> Deferred[Job]:
        """
        Move a queued job.

        @return: a Deferred that fails with L{NoSuchJob
            <ganeti_pool.errors.NoSuchJob>} or L{JobNotQueued
            <ganeti_pool.errors.JobNotQueued>}.
        """

    def cancel(jobID: int, onlyQueued: bool = False) -> Deferred[Job]:
        """
        Cancel a job: at once while it is queued; a running one is told, and the
        Deferred fires once the request is recorded. Asking again, also when it
        has been cancelled, gives the job.

        @param onlyQueued: whether a running one is refused instead. Whether it runs
            is decided when nothing else is done with it.
        @return: a Deferred that fails with L{NoSuchJob
            <ganeti_pool.errors.NoSuchJob>}; with L{JobNotQueued
            <ganeti_pool.errors.JobNotQueued>} if it runs and C{onlyQueued} is set; with
            L{JobFinished <ganeti_pool.errors.JobFinished>} if it succeeded or failed; with
            L{StoreFull <ganeti_pool.errors.StoreFull>} if that cannot be recorded,
            though a running one is told all the same; or with L{StaleAttempt
            <ganeti_pool.errors.StaleAttempt>} if the store has put it back without this
            daemon's knowledge, having called that write a failure.
        """

    def retry(jobID: int) -> Deferred[Job]:
        """
        Put a job that failed or was cancelled back into the queue, behind the
        others of its priority, to start once more. One that waits or runs is left
        as it is, so asking again is fine.

        @return: a Deferred that fails with L{NoSuchJob
            <ganeti_pool.errors.NoSuchJob>}; with L{JobFinished
            <ganeti_pool.errors.JobFinished>} if the job succeeded; with L{InvalidJob
            <ganeti_pool.errors.InvalidJob>} if it is of another worker class, or of
            another version of its args; or with L{QueueFull
            <ganeti_pool.errors.QueueFull>} or L{QueueStopping
            <ganeti_pool.errors.QueueStopping>}.
        """

    def remove(jobID: int) -> Deferred[None]:
        """
        Forget a finished job, and remove what it has written.

        @return: a Deferred that fails with L{NoSuchJob
            <ganeti_pool.errors.NoSuchJob>} or L{JobNotFinished
            <ganeti_pool.errors.JobNotFinished>}.
        """

    def quiesce() -> Deferred[None]:
        """
        Wait until every job submitted before has its outcome. Jobs submitted later
        are taken, and start when it is over. Cancelling the Deferred ends it at
        once.

        @return: a Deferred that fails with L{QueueStopping
            <ganeti_pool.errors.QueueStopping>} if the daemon stops meanwhile.
        """

    def attemptOver(jobID: int, attempt: int) -> Deferred[None]:
        """
        Wait until an attempt, begun or to come, writes no more: the job is finished or
        gone, a later attempt has begun, or the queue has stopped. Cancelling the
        Deferred ends the wait.
        """

    def outputPath(jobID: int, attempt: int, stream: str) -> str:
        """
        The file in which an attempt's C{"stdout"} or C{"stderr"} is kept, which
        may not exist.
        """

    def setActive(active: bool) -> Deferred[None]:
        """
        Pause or resume. It survives a restart.
        """

    def resize(workers: int) -> Deferred[None]:
        """
        Change the number of workers, for this run of the daemon. Fires when
        surplus workers have ended their jobs.
        """

    def poolStatus() -> Deferred[dict[str, Any]]:
        """
        The pool's statistics, the store's L{IJobStore.summary} and its health,
        as the JSON object of C{GET /v1/pool}.
        """
