"""
The pool as seen from a reactor: every outcome comes back as a Deferred.
"""

from ._delivery import Delivery
from ._pool import DeferredWorkerPool, deferToPool

__all__ = ["DeferredWorkerPool", "Delivery", "deferToPool"]
