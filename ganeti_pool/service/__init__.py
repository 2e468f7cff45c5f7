"""
Pools and job queues as parts of a Twisted application.
"""

from ._pool import WorkerPoolService

__all__ = ["WorkerPoolService"]
