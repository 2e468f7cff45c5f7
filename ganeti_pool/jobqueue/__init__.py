"""
Durable jobs: the store and the pool together. The pool's heap is the queue; the
store is its journal.
"""

from ._claim import checkNewStore
from ._queue import JobQueue

__all__ = ["JobQueue", "checkNewStore"]
