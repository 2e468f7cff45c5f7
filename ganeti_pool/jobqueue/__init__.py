"""
Durable jobs: a store, the thread that decides, the slots that run jobs, and the reactor's view.

Read L{ganeti_pool.jobqueue._dispatcher} first: it has the story of a job.
"""

from ._claim import checkNewStore
from ._limits import QueueLimits, WorkerRules
from ._projection import Hooks
from ._queue import Edges, JobQueue
from ._slots import threadSlots

__all__ = [
    "Edges",
    "Hooks",
    "JobQueue",
    "QueueLimits",
    "WorkerRules",
    "checkNewStore",
    "threadSlots",
]
