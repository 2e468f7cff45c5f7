"""
For tests: a pool that runs step by step with no thread, the reactor's side by
hand, and a job store in memory. They pass the same contract tests as the real
ones.
"""

from ._reactor import FakeReactor
from ._stepping import SteppingPool, makeSteppingPool
from ._store import MemoryJobStore

__all__ = ["FakeReactor", "MemoryJobStore", "SteppingPool", "makeSteppingPool"]
