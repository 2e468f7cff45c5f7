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
    Durable jobs, as the HTTP interface and the service use them.

    An acknowledged job is never lost and gets exactly one recorded outcome. A client reads
    what it wrote: once a change is answered, later reads and counts have it.

    Any Deferred may be cancelled. Unless the method says otherwise, the request is carried out
    all the same.

    Every change can fail with L{QueueStopping <ganeti_pool.errors.QueueStopping>} if the queue
    has stopped, with L{QueueBusy <ganeti_pool.errors.QueueBusy>} if too many requests wait,
    with L{StoreError <ganeti_pool.errors.StoreError>} if the store refuses it, and with
    L{OwnershipLost <ganeti_pool.errors.OwnershipLost>} or L{QueueBroken
    <ganeti_pool.errors.QueueBroken>} if the daemon is about to end. A request that fails has
    changed nothing.

    Threads: called on the reactor thread. Every Deferred fires there.
    """

    waiting = Attribute("The number of queued jobs at each priority, a C{Mapping[int, int]}.")
    workerName = Attribute("The dotted name of the worker class of the jobs that it accepts.")
    workerBases = Attribute(
        "The dotted names of the classes that the worker class extends, a C{Collection[str]}. A "
        "client that names one of them accepts the worker class."
    )
    onCrash = Attribute("The C{OnCrash} of a job that does not set it: the worker class's.")

    def submit(jobs: Sequence[NewJob]) -> Deferred[list[Job]]:
        """
        Add jobs, all or none. A job whose key is in the store gives the job that has it.

        @return: a Deferred with the jobs, fired after they were committed. It fails with
            L{InvalidJob <ganeti_pool.errors.InvalidJob>} if a worker cannot run one, with
            L{KeyConflict <ganeti_pool.errors.KeyConflict>} if a key belongs to a job with
            other content, with L{QueueFull <ganeti_pool.errors.QueueFull>}, with
            L{QueueStopping <ganeti_pool.errors.QueueStopping>} or with L{StoreFull
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
        Return jobs by ID, from behind C{after}.

        @param which: with at most C{MAX_LABELS} labels.
        """

    def changedJobs(after: int, limit: int, wait: float) -> Deferred[list[Job]]:
        """
        Return the jobs whose revision is greater than C{after}, by revision. Without such a
        job, the answer waits for the first change, at most C{wait} seconds, and is then
        empty. Cancelling the Deferred ends the wait. A queue that has stopped answers every
        reader that waits.
        """

    def changePriority(jobID: int, priority: int) -> Deferred[Job]:
        """
        Change the priority of a queued job.

        @return: a Deferred that fails with L{NoSuchJob
            <ganeti_pool.errors.NoSuchJob>} or L{JobNotQueued
            <ganeti_pool.errors.JobNotQueued>}.
        """

    def cancel(jobID: int, onlyQueued: bool = False) -> Deferred[Job]:
        """
        Cancel a job. A queued one is cancelled at once. A running one is told to end, and the
        Deferred fires when the request is recorded. The request may be repeated, even when the
        job is cancelled. It is accepted while the queue is stopping.

        @param onlyQueued: reject the request if the job runs.
        @return: a Deferred that fails with L{NoSuchJob
            <ganeti_pool.errors.NoSuchJob>}; with L{JobNotQueued
            <ganeti_pool.errors.JobNotQueued>} if it runs and C{onlyQueued} is set; with
            L{JobFinished <ganeti_pool.errors.JobFinished>} if it succeeded or failed; or with
            L{StoreFull <ganeti_pool.errors.StoreFull>} if the request cannot be recorded,
            although a running job is told to end all the same.
        """

    def retry(jobID: int) -> Deferred[Job]:
        """
        Queue a failed or cancelled job again, behind the others of its priority. An unfinished
        job stays as it is, so the request may be repeated.

        @return: a Deferred that fails with L{NoSuchJob
            <ganeti_pool.errors.NoSuchJob>}; with L{JobFinished
            <ganeti_pool.errors.JobFinished>} if the job succeeded; with L{JobNotRunnable
            <ganeti_pool.errors.JobNotRunnable>} if it is for another worker class or another
            version of its args; or with L{QueueFull <ganeti_pool.errors.QueueFull>} or
            L{QueueStopping <ganeti_pool.errors.QueueStopping>}.
        """

    def remove(jobID: int) -> Deferred[None]:
        """
        Remove a finished job and its output.

        @return: a Deferred that fails with L{NoSuchJob
            <ganeti_pool.errors.NoSuchJob>} or L{JobNotFinished
            <ganeti_pool.errors.JobNotFinished>}.
        """

    def quiesce(origin: JobOrigin | None = None) -> Deferred[None]:
        """
        Wait until every job submitted before has its outcome. Jobs submitted or retried later
        are accepted, and start when it is over. Cancelling the Deferred ends it at once.

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
        Check a number of workers.

        @param origin: the job that sent the request, or L{None}.
        @raise InvalidJob: if the daemon cannot have so many; the problem is that of a field of
            a request.
        @raise InsideJob: if this queue runs the job that sent the request and too few
            workers are idle, so L{resize} would wait for running jobs.
        """

    def resize(workers: int) -> Deferred[None]:
        """
        Change the number of workers for this run of the daemon. Fires when
        surplus workers have ended their jobs, and fails with what L{checkWorkers}
        raises, or with L{ResizeFailed <ganeti_pool.errors.ResizeFailed>} if the system
        cannot start enough threads.
        """

    def poolStatus() -> Deferred[QueueStatus]:
        """
        Take a snapshot of the pool, the jobs, the store and the daemon. While the store
        cannot be read, the values that only it knows are L{None}.

        @return: a Deferred that fails with L{StoreClosed
            <ganeti_pool.errors.StoreClosed>} if the store was closed.
        """
