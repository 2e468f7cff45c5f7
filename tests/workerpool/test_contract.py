"""
The threaded pool does what every pool does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.workerpool import WorkerPool
from ganeti_pool.workerpool._scheduler import Scheduler

from ..poolcontract import FunctionWorker, PoolContract
from .threadcase import Other


class WorkerPoolContractTests(PoolContract, SynchronousTestCase):
    """
    Tests for L{WorkerPool}, as of every pool.
    """

    def makePool(
        self, workers: int, workerClass: Callable[[Any, str], object] = FunctionWorker
    ) -> WorkerPool:
        pool = WorkerPool("pool", workers, workerClass)
        self.addCleanup(lambda: Other(pool.TerminateWorkers).result())
        return pool

    def settle(self, pool: WorkerPool) -> None:
        Other(pool.Quiesce).result()

    def test_noThread(self) -> None:
        """
        A scheduler by itself has no threads, and does not know them.
        """
        self.assertRaises(NotImplementedError, Scheduler("pool")._OnOwnWorker)
