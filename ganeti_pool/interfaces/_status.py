"""
The status of a queue of durable jobs, as values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ._statistics import PoolStatistics

__all__ = [
    "DaemonStatus",
    "JobsStatus",
    "OutputStatus",
    "QueueStatus",
    "QuiescesStatus",
    "StoreStatus",
]


@dataclass(frozen=True)
class QuiescesStatus:
    """
    The quiesces that are pending.

    @ivar count: the number of them.
    @ivar since: the start of the oldest one, an aware time; L{None} without one.
    """

    count: int
    since: datetime | None


@dataclass(frozen=True)
class JobsStatus:
    """
    The jobs in the store.

    @ivar queued: the number of queued jobs.
    @ivar running: the number of running jobs.
    @ivar oldestQueuedAt: when the oldest queued job was submitted, an aware time;
        L{None} if none is queued or the store cannot be read.
    @ivar longestRunningAt: when the job that has run longest was started, an aware time;
        L{None} if none runs.
    @ivar lastDay: the number of outcomes in the last 24 hours by final state; L{None} if
        the store cannot be read.
    """

    queued: int
    running: int
    oldestQueuedAt: datetime | None
    longestRunningAt: datetime | None
    lastDay: Mapping[str, int] | None


@dataclass(frozen=True)
class StoreStatus:
    """
    The health of the store.

    @ivar bytes: its size on the disk; L{None} if it cannot be read.
    @ivar freeBytes: the free space on its disk; L{None} if it cannot be read.
    @ivar unwritten: the number of outcomes that wait to be written again.
    @ivar lastError: why jobs do not go on, as one sentence; L{None} while they do.
    """

    bytes: int | None
    freeBytes: int | None
    unwritten: int
    lastError: str | None


@dataclass(frozen=True)
class OutputStatus:
    """
    The output directory.

    @ivar adopted: whether the output directory had no store ID, and the daemon assigned it
        to its store.
    @ivar setAside: the directories with output that was moved out of the way.
    """

    adopted: bool
    setAside: tuple[str, ...]


@dataclass(frozen=True)
class DaemonStatus:
    """
    The daemon that owns the queue.

    @ivar pid: its process ID.
    @ivar version: the version of the package that it runs.
    @ivar startedAt: when it was started, an aware time.
    @ivar worker: the dotted name of its worker class.
    @ivar host: the name of its host.
    @ivar stateDirectory: the absolute path of its state directory.
    @ivar stopping: whether it is stopping.
    """

    pid: int
    version: str
    startedAt: datetime
    worker: str
    host: str
    stateDirectory: str
    stopping: bool


@dataclass(frozen=True)
class QueueStatus:
    """
    The status of a queue of durable jobs at one moment.

    Threads: a value; any thread may use it.

    @ivar active: whether jobs are started; C{False} while the queue is paused.
    @ivar busy: the number of workers that have a job, including a job whose outcome is not
        yet written and a job that cannot start.
    @ivar quiesces: the pending quiesces.
    @ivar statistics: the statistics of the pool.
    @ivar jobs: the jobs in the store.
    @ivar store: the health of the store.
    @ivar output: the output directory.
    @ivar daemon: the daemon that owns the queue.
    """

    active: bool
    busy: int
    quiesces: QuiescesStatus
    statistics: PoolStatistics
    jobs: JobsStatus
    store: StoreStatus
    output: OutputStatus
    daemon: DaemonStatus
