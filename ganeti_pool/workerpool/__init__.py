"""
Ganeti's worker pool: threads behind one priority queue.

No reactor is needed, and no Deferred is made here. A program written for
C{ganeti.workerpool} finds every name that it used.
"""

from ..errors import DeferTask, NoSuchTask
from ._hosting import WorkerHost
from ._locking import GiveWay
from ._pool import DEFAULT_PRIORITY as _DEFAULT_PRIORITY
from ._pool import WorkerPool
from ._taskheap import Entry, TaskHeap, movedArgs, newEntry
from ._worker import TERMINATE as _TERMINATE
from ._worker import BaseWorker

__all__ = [
    "_DEFAULT_PRIORITY",
    "_TERMINATE",
    "BaseWorker",
    "DeferTask",
    "Entry",
    "GiveWay",
    "NoSuchTask",
    "TaskHeap",
    "WorkerHost",
    "WorkerPool",
    "movedArgs",
    "newEntry",
]
