"""
What can go wrong, as one tree below L{PoolError}.

Every refusal says what was refused, where and why, and carries the same facts
as attributes. A refused call has changed nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from twisted.internet.defer import CancelledError

from ._picklable import PicklableException
from ._text import nameOfType, safeRepr, safeStr

__all__ = [
    "AlreadyCompleted",
    "DeferTask",
    "DuplicateTaskID",
    "InsideJob",
    "InvalidArgument",
    "InvalidJob",
    "JobError",
    "JobFinished",
    "JobNotFinished",
    "JobNotQueued",
    "JobNotRunnable",
    "KeyConflict",
    "NoSuchJob",
    "NoSuchTask",
    "NotInADaemon",
    "OutputUnreadable",
    "OwnershipLost",
    "PoolError",
    "PoolForked",
    "PoolTerminated",
    "ProgrammerError",
    "QueueBroken",
    "QueueBusy",
    "QueueFull",
    "QueueStopping",
    "ResizeFailed",
    "StaleAttempt",
    "StoreClosed",
    "StoreDamaged",
    "StoreError",
    "StoreFull",
    "StoreLost",
    "TaskAbandoned",
    "TaskCancelled",
    "TaskNotStarted",
    "UnusableResult",
    "WorkersNotStarted",
    "WouldWaitForItself",
    "WrongThread",
]


class DeferTask(PicklableException):
    """
    Raised in C{RunTask} to put the running task back in the queue.

    It is a message to the pool and no error, so it is outside the tree.

    @ivar priority: the priority to queue the task with; L{None} keeps the one
        that it has, and 0 is a priority like any other.
    @ivar reason: why, for people, who see it on a durable job while that waits.
    """

    def __init__(self, priority: float | None = None, *, reason: str | None = None) -> None:
        super().__init__(priority)
        self.priority = priority
        self.reason = reason


class PoolError(PicklableException):
    """
    Base of the errors that this package raises or reports. They and all subclasses can be
    pickled and copied, regardless of the parameters of C{__init__}.
    """


class ProgrammerError(PoolError):
    """
    A call that is wrong whatever the state of the pool: a mistake to mend in
    the program.
    """


class InvalidArgument(ProgrammerError, AssertionError):
    """
    An argument that cannot be used: arguments or tasks that are no sequence, a
    priority that is no number, an ID that is not hashable.

    It is an L{AssertionError} too, since programs written for Ganeti expect
    one there.
    """


class WouldWaitForItself(ProgrammerError):
    """
    A worker asked its own pool to wait for the end of that very worker.

    @ivar call: the method that was called.
    """

    def __init__(self, call: str, pool: str, worker: str) -> None:
        super().__init__(
            f"{call} on pool {pool!r} was called from its own worker {worker!r}, "
            "whose end it would wait for: call it from another thread"
        )
        self.call = call


class WrongThread(ProgrammerError):
    """
    A method of the reactor's side was called from another thread.

    @ivar call: the method that was called.
    """

    def __init__(self, call: str, pool: str, thread: str) -> None:
        super().__init__(
            f"{call} on pool {pool!r} belongs to the reactor thread and was called from "
            f"thread {thread!r}: use callInThread there, or go through "
            "reactor.callFromThread. (A task that waits for the answer with "
            "blockingCallFromThread waits for ever if no worker is free to run it.)"
        )
        self.call = call


class AlreadyCompleted(ProgrammerError):
    """
    A completion was told a second outcome.
    """


class NoSuchTask(PoolError):
    """
    No task that waits, or none that runs, carries the given ID.

    @ivar task_id: the ID that was asked for.
    """

    def __init__(self, task_id: Hashable, pool: str, queued: int, sought: str = "waiting") -> None:
        other = "has started" if sought == "waiting" else "waits"
        super().__init__(
            f"task {safeRepr(task_id)} is not {sought} in pool {pool!r} ({queued} queued): "
            f"it {other}, has ended, or was never added"
        )
        self.task_id = task_id


class DuplicateTaskID(PoolError, AssertionError):
    """
    A task with the given ID is in the pool already.

    It is an L{AssertionError} too, as in Ganeti.

    @ivar task_id: the ID that is taken.
    """

    def __init__(self, task_id: Hashable, pool: str, where: str) -> None:
        super().__init__(
            f"task ID {safeRepr(task_id)} is taken in pool {pool!r}: {where}; no task was added"
        )
        self.task_id = task_id


class PoolTerminated(PoolError):
    """
    The pool was told to terminate, and does not do what was asked.
    """

    def __init__(self, pool: str, what: str) -> None:
        super().__init__(f"pool {pool!r} has been terminated: {what}")


class PoolForked(PoolTerminated):
    """
    The pool's threads were started before a fork, and this is the child process, where
    they do not exist.

    It is a L{PoolTerminated}, so code that handles a terminated pool also handles this.
    """

    def __init__(self, pool: str) -> None:
        PoolError.__init__(
            self,
            f"pool {pool!r} has no threads in this process, which was forked after they had "
            "started: make another pool here, or fork before the pool starts",
        )


class TaskNotStarted(PoolError):
    """
    The pool was terminated while the task was waiting: it never ran, or was
    deferred and did not run again.
    """

    def __init__(self, pool: str, task_id: Hashable) -> None:
        super().__init__(
            f"pool {pool!r} was terminated before task {safeRepr(task_id)} could start"
        )
        self.task_id = task_id


class TaskAbandoned(PoolError):
    """
    The deadline of a termination passed while the task was running. Its thread
    goes on, and nobody waits for what it does.
    """

    def __init__(self, pool: str, deadline: float) -> None:
        super().__init__(
            f"pool {pool!r} was terminated, and the task was still running after the "
            f"deadline of {deadline:g} seconds"
        )
        self.deadline = deadline


class TaskCancelled(PoolError, CancelledError):
    """
    The task was cancelled while it was queued or held, or deferred itself after
    it had been cancelled. It is Twisted's L{CancelledError} too.
    """

    def __init__(self, pool: str, task_id: Hashable) -> None:
        super().__init__(f"task {safeRepr(task_id)} of pool {pool!r} was cancelled")
        self.task_id = task_id


class WorkersNotStarted(PoolError):
    """
    Not all of the workers that were asked for could be made and started. Those
    that were started stay; the cause is in C{__cause__}.

    @ivar started: how many were started.
    @ivar wanted: how many were to be.
    """

    def __init__(self, pool: str, started: int, wanted: int, cause: BaseException) -> None:
        super().__init__(
            f"pool {pool!r} started {started} of {wanted} new workers: "
            f"{nameOfType(cause)}: {safeStr(cause)}"
        )
        self.started = started
        self.wanted = wanted


class UnusableResult(PoolError):
    """
    C{RunTask} returned something that only a reactor could finish.
    """

    def __init__(self, value: object) -> None:
        super().__init__(
            f"RunTask returned a {nameOfType(value)}, which nothing waits for on a "
            "worker's thread: return a plain value, or do the waiting on the reactor's side"
        )


class JobError(PoolError):
    """
    A request about durable jobs that is refused.

    @cvar code: the word for it in the HTTP interface.
    """

    code = "refused"


class InvalidJob(JobError):
    """
    A job as submitted that cannot be accepted.

    @ivar problems: what is wrong, as (JSON pointer, code, sentence).
    """

    code = "invalid_field"

    def __init__(self, problems: list[tuple[str, str, str]]) -> None:
        super().__init__(
            "; ".join(f"{where}: {what}" if where else what for where, _, what in problems)
        )
        self.problems = problems


class NoSuchJob(JobError):
    """
    No job has the given ID.
    """

    code = "no_such_job"

    def __init__(self, jobID: int) -> None:
        super().__init__(f"there is no job {jobID}")
        self.jobID = jobID


class JobNotQueued(JobError):
    """
    The job has left the queue, so what holds for a queued one cannot be done.
    """

    code = "not_queued"

    def __init__(self, jobID: int, state: str) -> None:
        super().__init__(f"job {jobID} is {state}, and no longer queued")
        self.jobID = jobID
        self.state = state


class JobFinished(JobError):
    """
    The job has an outcome already.
    """

    code = "finished"

    def __init__(self, jobID: int, state: str) -> None:
        super().__init__(f"job {jobID} has {state} already")
        self.jobID = jobID
        self.state = state


class JobNotFinished(JobError):
    """
    The job has no outcome yet, so its record cannot be removed.
    """

    code = "not_finished"

    def __init__(self, jobID: int, state: str) -> None:
        super().__init__(f"job {jobID} is {state}: cancel it, and remove it when it has ended")
        self.jobID = jobID
        self.state = state


class JobNotRunnable(JobError):
    """
    The job is of another worker class than this daemon's, or of another version of its
    args, so it is not started once more.
    """

    code = "not_runnable"

    def __init__(self, jobID: int, why: str) -> None:
        super().__init__(f"job {jobID} {why}")
        self.jobID = jobID


class OutputUnreadable(JobError):
    """
    The output of a job exists and cannot be read.

    @ivar jobID: the job.
    @ivar path: the file, or the directory in its path, that cannot be read.
    @ivar why: the error of the system, or the kind of the file.
    """

    code = "output_unreadable"

    def __init__(self, jobID: int, path: str, why: str) -> None:
        super().__init__(
            f"the output of job {jobID} cannot be read at {path}: {why}; remove what is there, "
            "or put the file back from a backup"
        )
        self.jobID = jobID
        self.path = path
        self.why = why


class QueueFull(JobError):
    """
    As many jobs wait as may. Nothing was added.

    @ivar count: how many were to be added.
    @ivar limit: how many may wait.
    """

    code = "queue_full"

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(
            f"the queue has no room for {count} more: {limit} jobs may wait (--max-queued); "
            "submit again when some have started"
        )
        self.count = count
        self.limit = limit


_CHANGEABLE = "/priority or /max_attempts"
"""
What a job may have otherwise now than as it was submitted.
"""


class KeyConflict(JobError):
    """
    A key belongs to a job that was submitted with something else in it. Nothing
    was added.

    @ivar conflicts: the ID of that job, by the place in the list of the one that is
        refused; L{None} where it stands before it in the same list.
    @ivar problems: the same, as (JSON pointer, code, sentence).
    """

    code = "key_conflict"

    def __init__(
        self, conflicts: Mapping[int, tuple[str, int | None, Sequence[str]]], count: int
    ) -> None:
        """
        @param conflicts: by the place in the list, the key, the ID of the job that has
            it, and where it differs in what does not change: some places, as JSON
            pointers, of which a long one may be cut, with an ellipsis; none if only
            what can change is another.
        @param count: how many jobs are in the list.
        """
        self.conflicts = {place: jobID for place, (_, jobID, _) in conflicts.items()}
        self.problems = [
            (
                f"/{place}/key" if count > 1 else "/key",
                self.code,
                f"the key {key!r} belongs to "
                + ("a job before it in the list" if jobID is None else f"job {jobID}")
                + f", which differs in {', '.join(differences) or _CHANGEABLE}: submit it as "
                "that one was, or with another key",
            )
            for place, (key, jobID, differences) in conflicts.items()
        ]
        more = f" (and {len(conflicts) - 1} more)" if len(conflicts) > 1 else ""
        super().__init__(self.problems[0][2] + more)


class InsideJob(JobError):
    """
    A running job sent a request that would wait for the end of that job. Nothing was changed.

    @ivar jobID: the job.
    """

    code = "inside_job"

    def __init__(self, jobID: int, what: str) -> None:
        """
        @param what: the rejected operation, as a noun.
        """
        super().__init__(
            f"job {jobID} requested this {what}, which would wait for the end of job {jobID}: "
            "send the request from outside the job"
        )
        self.jobID = jobID


class ResizeFailed(JobError):
    """
    The system could not start enough threads to resize the pool of a daemon. The workers that
    were started stay; the cause is in C{__cause__}.

    @ivar workers: the number of workers in the pool now.
    """

    code = "internal_error"

    def __init__(self, wanted: int, workers: int, why: str) -> None:
        """
        @param wanted: the requested number of workers.
        @param why: the error of the system.
        """
        super().__init__(
            f"the pool cannot be resized to {wanted} workers and has {workers}: {why}: choose "
            "fewer workers, or raise the limits on threads and memory of the daemon's user"
        )
        self.workers = workers


class QueueBusy(JobError):
    """
    Too many requests wait for the queue. Nothing was changed.
    """

    code = "busy"

    def __init__(self, requests: int) -> None:
        """
        @param requests: the number of waiting requests.
        """
        super().__init__(
            f"the queue is busy with {requests} requests and accepts no more: send the request "
            "again in a second"
        )
        self.requests = requests


class QueueBroken(JobError):
    """
    The queue of this daemon has failed, and the daemon is about to end.
    """

    code = "internal_error"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the queue of the daemon failed ({why}), and the daemon ends: ask again when it is "
            "back; the log of the daemon has the cause"
        )


class NotInADaemon(ProgrammerError):
    """
    A worker used a method of a pool that the jobs of a daemon do not have.

    @ivar name: the method.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is not available to the workers of a daemon: its queue is not a WorkerPool. "
            "Submit jobs through the daemon's HTTP interface instead"
        )
        self.name = name


class QueueStopping(JobError):
    """
    The daemon is stopping and takes no more work.
    """

    code = "stopping"

    def __init__(self) -> None:
        super().__init__("the daemon is stopping: submit again when it is back")


class StoreError(JobError):
    """
    The store did not do what it was asked.
    """

    code = "store_failed"


class StoreClosed(StoreError):
    """
    The store has been closed, as the last thing that a daemon does with it.
    """

    code = QueueStopping.code

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the {what} has been closed, since the daemon is stopping: ask again when it is back"
        )


class StoreFull(StoreError):
    """
    There is no room to write.
    """

    code = "store_full"


class StoreDamaged(StoreError):
    """
    The store's file cannot be read: it is damaged, or the disk fails.
    """


class StoreLost(StoreError):
    """
    The store's files were removed, truncated or replaced while the daemon used them.
    This is final: the store is not used again before the next start.
    """

    code = "store_lost"


class OwnershipLost(StoreError):
    """
    A write carried an epoch that is over: another owner has the store. This is final.

    @ivar epoch: the epoch of the write.
    @ivar current: the epoch of the present owner.
    """

    code = "ownership_lost"

    def __init__(self, epoch: int, current: int, owner: str | None = None) -> None:
        """
        @param owner: the present owner, such as C{host:pid}, if it is known.
        """
        by = "another daemon" if owner is None else f"the daemon {owner}"
        super().__init__(
            f"the store is owned by {by} (epoch {current}), and a write of epoch {epoch} was "
            "rejected: run one daemon for each store"
        )
        self.epoch = epoch
        self.current = current


class StaleAttempt(StoreError):
    """
    An outcome or a start was reported for an attempt that is not the running
    (or next) one: another outcome was committed first.
    """

    code = "stale_attempt"

    def __init__(self, jobID: int, attempt: int, state: str) -> None:
        super().__init__(f"attempt {attempt} of job {jobID} is over: the job is {state}")
        self.jobID = jobID
        self.attempt = attempt
