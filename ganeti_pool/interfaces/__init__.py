"""
Every contract of this package.
"""

from ._jobqueue import IJobQueue
from ._jobstore import IJobStore
from ._pool import ICallInThread, ICompletion, IDeferredWorkerPool, IWorker, IWorkerPool
from ._statistics import PoolStatistics

__all__ = [
    "ICallInThread",
    "ICompletion",
    "IDeferredWorkerPool",
    "IJobQueue",
    "IJobStore",
    "IWorker",
    "IWorkerPool",
    "PoolStatistics",
]
