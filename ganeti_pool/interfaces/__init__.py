"""
Every contract of this package.
"""

from ._jobqueue import IJobQueue
from ._jobstore import IJobStore
from ._pool import ICallInThread, ICompletion, IDeferredWorkerPool, IWorker, IWorkerPool
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
    "IWorker",
    "IWorkerPool",
    "JobsStatus",
    "OutputStatus",
    "PoolStatistics",
    "QueueStatus",
    "QuiescesStatus",
    "StoreStatus",
]
