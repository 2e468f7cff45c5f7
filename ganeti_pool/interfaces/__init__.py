"""
Every contract of this package.
"""

from ._jobqueue import IJobQueue
from ._jobstore import IJobStore, IUnitOfWork, Snapshot
from ._pool import ICallInThread, ICompletion, IDeferredWorkerPool, IWorker, IWorkerPool
from ._slots import ISlot, IWorkerHost
from ._statistics import PoolStatistics
from ._status import (
    DaemonStatus,
    JobsStatus,
    OutputStatus,
    QueueStatus,
    QuiescesStatus,
    StoreStatus,
)

__all__ = [
    "DaemonStatus",
    "ICallInThread",
    "ICompletion",
    "IDeferredWorkerPool",
    "IJobQueue",
    "IJobStore",
    "ISlot",
    "IUnitOfWork",
    "IWorker",
    "IWorkerHost",
    "IWorkerPool",
    "JobsStatus",
    "OutputStatus",
    "PoolStatistics",
    "QueueStatus",
    "QuiescesStatus",
    "Snapshot",
    "StoreStatus",
]
