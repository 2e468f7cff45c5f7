"""
A pool as a service.
"""

from __future__ import annotations

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from .interfaces import IDeferredWorkerPool

__all__ = ["WorkerPoolService"]


class WorkerPoolService(Service):
    """
    Starts and stops a pool with the application that it is part of. It can be
    started again when it has stopped.

    A pool stops before the reactor does even without a service; this one says
    how, and lets an application decide when.

    @ivar pool: the pool.
    """

    def __init__(
        self, pool: IDeferredWorkerPool, drain: bool = False, deadline: float | None = None
    ) -> None:
        """
        @param pool: the pool to start and stop.
        @param drain: run what is queued before stopping.
        @param deadline: how many seconds stopping takes at most; L{None} waits
            for the last running task.
        """
        self.pool = pool
        self._drain = drain
        self._deadline = deadline

    def startService(self) -> None:
        """
        Start the pool: its threads run when the reactor does.

        @raise PoolTerminated: if it has not stopped yet.
        """
        self.pool.shutdownPolicy(self._drain, self._deadline)
        self.pool.start()
        super().startService()  # type: ignore[no-untyped-call]

    def stopService(self) -> Deferred[None]:
        """
        Stop the pool.

        @return: a Deferred that fires when it has stopped.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        return self.pool.terminateWorkers(self._drain, self._deadline)
