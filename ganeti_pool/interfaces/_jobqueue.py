"""
The contract of a queue of durable jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    # named in annotations only
    from ..jobs import Attempt, Job, JobFilter, JobOrigin, NewJob
    from ._status import QueueStatus

__all__ = ["IJobQueue"]


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
    workerBases = Attribute(
        "The dotted names of the classes that this one extends, a C{Collection[str]}. A client "
        "that names one of them is satisfied with this one."
    )
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

        @param which: of C{MAX_LABELS} labels at most.
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
            <ganeti_pool.errors.JobFinished>} if the job succeeded; with L{JobNotRunnable
            <ganeti_pool.errors.JobNotRunnable>} if it is of another worker class, or of
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

    def quiesce(origin: JobOrigin | None = None) -> Deferred[None]:
        """
        Wait until every job submitted before has its outcome. Jobs submitted later
        are taken, and start when it is over. Cancelling the Deferred ends it at
        once.

        @param origin: the job that sent the request, or L{None}.
        @return: a Deferred that fails with L{QueueStopping
            <ganeti_pool.errors.QueueStopping>} if the daemon stops first, or with
            L{InsideJob <ganeti_pool.errors.InsideJob>} if this queue runs the job that
            sent the request.
        """

    def attemptOver(jobID: int, attempt: int) -> Deferred[None]:
        """
        Wait until an attempt, begun or to come, writes no more: the job is finished or
        gone, a later attempt has begun, or the queue has stopped. Cancelling the
        Deferred ends the wait.
        """

    def readOutput(jobID: int, attempt: int, stream: str, offset: int) -> Deferred[bytes]:
        """
        Read at most 256 KiB that the last run of an attempt wrote to C{"stdout"} or
        C{"stderr"}. The result is empty if the output ends at or before the offset, or
        nothing was written.

        @param offset: the number of bytes to skip at the beginning.
        @return: a Deferred that fails with L{OutputUnreadable
            <ganeti_pool.errors.OutputUnreadable>} if the output exists and cannot be read.
        """

    def setActive(active: bool) -> Deferred[None]:
        """
        Pause or resume. It survives a restart.
        """

    def checkWorkers(workers: int, origin: JobOrigin | None = None) -> None:
        """
        See that there can be so many workers.

        @param origin: the job that sent the request, or L{None}.
        @raise InvalidJob: which here refuses a field of a request, if not.
        @raise InsideJob: if this queue runs the job that sent the request and too few
            workers are idle, so L{resize} would wait for running jobs.
        """

    def resize(workers: int) -> Deferred[None]:
        """
        Change the number of workers, for this run of the daemon. Fires when
        surplus workers have ended their jobs, and fails with what L{checkWorkers}
        raises, or with L{ResizeFailed <ganeti_pool.errors.ResizeFailed>} if the system
        cannot start enough threads.
        """

    def poolStatus() -> Deferred[QueueStatus]:
        """
        Take a snapshot of the pool, the jobs, the store and the daemon. While the store
        cannot be read, what only it knows is L{None}.

        @return: a Deferred that fails with L{StoreClosed
            <ganeti_pool.errors.StoreClosed>} if the store was closed.
        """
