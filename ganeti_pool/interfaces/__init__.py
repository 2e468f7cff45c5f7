"""
Every contract of this package.
"""

from ._jobs import IJobQueue, IJobStore
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
