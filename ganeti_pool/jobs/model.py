"""
A job, its attempts and its states, as immutable values.

Pure: no store, no pool, no clock. A change of a L{Job} makes another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

__all__ = [
    "ATTEMPT_VARIABLE",
    "COMMAND_WORKER",
    "FINISHED",
    "JOB_VARIABLE",
    "MAX_LABELS",
    "STATE_VARIABLE",
    "TRANSITIONS",
    "Attempt",
    "AttemptContext",
    "Job",
    "JobEvent",
    "JobEventKind",
    "JobFailure",
    "JobFilter",
    "JobOrigin",
    "JobState",
    "NewJob",
    "OnCrash",
    "Outcome",
    "OutputSize",
    "QueuedJob",
    "currentAttempt",
    "originOf",
]


class JobState(str, Enum):
    """
    Where a job is in its life.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINISHED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})

TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
    # back to queued: by DeferTask, or by a crash with on_crash "retry"
    JobState.RUNNING: frozenset(
        {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.QUEUED}
    ),
    JobState.SUCCEEDED: frozenset(),
    # only when a person asks for it
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}

MAX_LABELS = 32
"""
How many labels a client gives a job at most, and how many can be asked for at once.
"""


class OnCrash(str, Enum):
    """
    What becomes of a job that was running when its daemon died.
    """

    FAIL = "fail"
    RETRY = "retry"


@dataclass(frozen=True)
class JobFailure:
    """
    Why a job failed.

    @ivar code: the contract, such as C{exit_nonzero}, C{interrupted},
        C{not_started}, C{timeout}, C{exception}.
    @ivar message: one sentence for a person.
    @ivar exitCode: of a process that exited by itself.
    @ivar signal: the name of the signal that ended a process, as C{SIGKILL}.
    """

    code: str
    message: str
    exitCode: int | None = None
    signal: str | None = None


@dataclass(frozen=True)
class OutputSize:
    """
    How much of one output stream was kept.

    @ivar bytes: the length of the file.
    @ivar truncated: whether more was written and dropped.
    """

    bytes: int
    truncated: bool


@dataclass(frozen=True)
class NewJob:
    """
    What a client submits, checked.

    @ivar worker: the dotted name of the worker class.
    @ivar args: what C{RunTask} gets, JSON values.
    @ivar name: for people; the default is made by whoever checks.
    @ivar priority: lower first.
    @ivar onCrash: what a crash of the daemon does to it while it runs.
    @ivar maxAttempts: how many times it is started at most.
    @ivar key: what tells a job that is submitted again; no two jobs have the same.
    @ivar owner: whose it is, for people.
    @ivar labels: words to find it by.
    @ivar timeout: for how many seconds an attempt may run; L{None} for any.
    @ivar argsVersion: in which form of the worker class the args are. No client says
        it: the queue that takes the job does, whatever was here.
    """

    worker: str
    args: tuple[Any, ...]
    name: str
    priority: int = 0
    onCrash: OnCrash = OnCrash.FAIL
    maxAttempts: int = 1
    key: str | None = None
    owner: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None
    argsVersion: int = 1


@dataclass(frozen=True)
class Job:
    """
    A job as the store holds it. Times are aware, in UTC.

    @ivar position: the pool's order number, which a deferral renews; with the
        priority it is the place in the queue.
    @ivar attempt: the number of the latest start; 0 before the first.
    @ivar reason: why a job that has begun before waits again; L{None} otherwise.
    @ivar revision: grows with every change of any job, over the whole store.
    @ivar argsVersion: in which form of the worker class the args are.
    """

    id: int
    worker: str
    args: tuple[Any, ...]
    name: str
    priority: int
    onCrash: OnCrash
    maxAttempts: int
    key: str | None
    owner: str | None
    labels: Mapping[str, str]
    timeout: float | None
    state: JobState
    reason: str | None
    position: int
    attempt: int
    deferrals: int
    submittedAt: datetime
    startedAt: datetime | None
    finishedAt: datetime | None
    cancelRequestedAt: datetime | None
    result: Any
    error: JobFailure | None
    output: Mapping[str, OutputSize] | None
    revision: int
    argsVersion: int = 1


@dataclass(frozen=True)
class Attempt:
    """
    One start of a job.

    @ivar handle: what finds its processes again, opaque to the store; L{None}
        until they are known.
    @ivar outcome: the state that the attempt ended with (C{queued} for one that
        was deferred or is tried again); L{None} while it runs.
    """

    number: int
    startedAt: datetime
    finishedAt: datetime | None
    handle: str | None
    outcome: JobState | None
    error: JobFailure | None
    output: Mapping[str, OutputSize] | None


@dataclass(frozen=True)
class Outcome:
    """
    How an attempt ended, for good.

    @ivar state: one of L{FINISHED}.
    @ivar result: what C{RunTask} returned, if JSON can say it.
    """

    state: JobState
    result: Any = None
    error: JobFailure | None = None
    output: Mapping[str, OutputSize] | None = None


@dataclass(frozen=True)
class QueuedJob:
    """
    What the heap needs to know of a waiting job.
    """

    id: int
    priority: int
    position: int
    attempt: int


@dataclass(frozen=True)
class JobFilter:
    """
    Which jobs to list. Empty means all.

    @ivar states: any of these.
    @ivar name: exactly this name.
    @ivar labels: all of these, as (label, value), L{MAX_LABELS} at most.
    """

    states: frozenset[JobState] = frozenset()
    name: str | None = None
    labels: frozenset[tuple[str, str]] = frozenset()


class JobEventKind(str, Enum):
    """
    What has happened to a job.
    """

    SUBMITTED = "submitted"
    STARTED = "started"
    MOVED = "moved"
    DEFERRED = "deferred"
    INTERRUPTED = "interrupted"
    CANCEL_REQUESTED = "cancel_requested"
    FINISHED = "finished"
    RETRIED = "retried"


@dataclass(frozen=True)
class JobEvent:
    """
    Something that has happened to a job, and is in the store.

    @ivar kind: C{INTERRUPTED} is said of a job that its daemon's end or crash has
        put back into the queue; one that ended of it has C{FINISHED}, as every job
        that has an outcome.
    @ivar job: as it is from now on.
    @ivar waited: on a start, the seconds since it was submitted, retried or put
        back, L{None} if the daemon did not run all that time.
    @ivar ran: on a deferral, an interruption and an end, the seconds that the
        attempt ran; L{None} if it did not run in this daemon.
    """

    kind: JobEventKind
    job: Job
    waited: float | None = None
    ran: float | None = None


@dataclass(frozen=True)
class AttemptContext:
    """
    What a worker may know of the attempt that it runs.

    Threads: made for one attempt and used on its worker's thread.

    @ivar makeOutputDirectory: makes the new directory of this run, in which it may keep
        files, and returns its path. L{outputDirectory} calls it. It may block on the disk,
        and raises L{OSError} if it fails. L{None} where nothing is kept, as for a worker
        class without a true C{keepsOutput}.
    @ivar stateDirectory: the daemon's state directory, which marks its
        processes in their environment.
    @ivar recordHandle: stores what finds the attempt's processes after a crash. Does not
        wait: a crash soon after the call may come before the handle is stored.
    @ivar recordOutput: records how much of each stream was kept; it is stored
        with the outcome. It raises L{InvalidArgument
        <ganeti_pool.errors.InvalidArgument>} for anything else.
    @ivar hasRunBefore: whether an earlier run of the job, which may have left
        processes, was started.
    @ivar recordStart: reports that the work begins, or goes on after C{recordWait}. Does
        not wait.
    @ivar recordWait: reports in words why the work cannot begin or go on yet, for
        C{status}, until C{recordStart} is called. Does not wait.
    @ivar timeout: for how many seconds the work may run; L{None} for any time. A worker
        class with a true C{keepsTimeout} ends the work itself after that time, and raises
        an exception with a L{JobFailure} of code C{timeout} as its C{failure}. For any
        other class, the queue cancels the task.
    """

    jobID: int
    attempt: int
    makeOutputDirectory: Callable[[], str] | None
    stateDirectory: str
    recordHandle: Callable[[str], None]
    recordOutput: Callable[[Mapping[str, OutputSize]], None]
    hasRunBefore: bool = False
    recordStart: Callable[[], object] = lambda: None
    recordWait: Callable[[str], object] = lambda why: None
    timeout: float | None = None
    _made: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def outputDirectory(self) -> str | None:
        """
        The directory of this run, which is made at the first read; L{None} where nothing
        is kept.

        @raise OSError: if it cannot be made now. The next read tries again.
        """
        if self.makeOutputDirectory is None:
            return None
        if not self._made:
            self._made.append(self.makeOutputDirectory())
        return self._made[0]


currentAttempt: ContextVar[AttemptContext | None] = ContextVar("currentAttempt", default=None)
"""
The attempt that runs in this context, or L{None} outside a job.
"""

COMMAND_WORKER = "ganeti_pool.commands.CommandWorker"
"""
The dotted name of the worker class whose jobs are commands.
"""

JOB_VARIABLE = "GANETI_POOL_JOB"
ATTEMPT_VARIABLE = "GANETI_POOL_ATTEMPT"
STATE_VARIABLE = "GANETI_POOL_STATE"
"""
The variables in the environment of a job's command: its ID, the number of its attempt, and
the state directory of its daemon with links resolved.
"""

_LONGEST_DIRECTORY = 4096


@dataclass(frozen=True)
class JobOrigin:
    """
    The job whose command sends a request.

    The ID alone does not name it: a job may send requests to another daemon, whose jobs have
    the same IDs, and a daemon on another machine may have a state directory of the same path.

    @ivar host: the name of the machine on which the job runs.
    @ivar stateDirectory: of the daemon that runs it, with links resolved.
    """

    jobID: int
    host: str
    stateDirectory: str


def originOf(environment: Mapping[str, str], host: str) -> JobOrigin | None:
    """
    Return the job in whose command a process runs, by the environment of the process.

    @param host: the name of this machine.
    @return: L{None} outside a job.
    """
    jobID, directory = environment.get(JOB_VARIABLE, ""), environment.get(STATE_VARIABLE, "")
    if not (jobID.isascii() and jobID.isdigit() and len(jobID) < 19):
        return None
    if not directory.startswith("/") or len(directory) > _LONGEST_DIRECTORY or not host:
        return None
    return JobOrigin(int(jobID), host, directory)
