"""
Pools and job queues as parts of a Twisted application.
"""

from ._daemon import JobQueueService
from ._pool import WorkerPoolService

__all__ = ["JobQueueService", "WorkerPoolService"]
