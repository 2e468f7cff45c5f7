"""
A thread-safe pool of workers behind one priority queue, for Twisted.

L{workerpool} is the pool itself, in Ganeti's dialect and without a reactor;
L{deferred} is the same pool as seen from a reactor; L{testing} has what tests
need. Importing this package starts nothing and imports no reactor.
"""

from . import errors, interfaces, workerpool
from .deferred import DeferredWorkerPool, deferToPool
from .errors import (
    DuplicateTaskID,
    PoolError,
    PoolTerminated,
    TaskAbandoned,
    TaskCancelled,
    TaskNotStarted,
)
from .service import WorkerPoolService
from .workerpool import BaseWorker, DeferTask, NoSuchTask, WorkerPool
from .workers import CallableWorker

__all__ = [
    "BaseWorker",
    "CallableWorker",
    "DeferTask",
    "DeferredWorkerPool",
    "DuplicateTaskID",
    "NoSuchTask",
    "PoolError",
    "PoolTerminated",
    "TaskAbandoned",
    "TaskCancelled",
    "TaskNotStarted",
    "WorkerPool",
    "WorkerPoolService",
    "deferToPool",
    "errors",
    "interfaces",
    "workerpool",
]
