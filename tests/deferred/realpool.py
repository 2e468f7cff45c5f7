"""
What the tests of a pool with threads, in a real reactor, share.
"""

from __future__ import annotations

import threading
from typing import Any

from twisted.internet import reactor as installedReactor
from twisted.internet.defer import (
    Deferred,
)

from ganeti_pool.deferred import DeferredWorkerPool
from ganeti_pool.workerpool import BaseWorker
from ganeti_pool.workers import CallableWorker

from ..workerpool.threadcase import PATIENCE, Gate

__all__ = ["Pool", "reached", "reactor", "soon", "threadsOf", "turn"]

reactor: Any = installedReactor


class Pool:
    """
    A pool for the length of a C{with} statement's body, whose threads are then seen to
    be gone.
    """

    def __init__(self, size: int = 2, workerClass: Any = CallableWorker) -> None:
        self._before = set(threading.enumerate())
        self._pool = DeferredWorkerPool(reactor, "real", size, workerClass)

    async def __aenter__(self) -> DeferredWorkerPool:
        return self._pool

    async def __aexit__(self, *exception: object) -> None:
        await soon(self._pool.terminateWorkers())
        left = [thread.name for thread in threading.enumerate() if thread not in self._before]
        assert not any(name.startswith("real") for name in left), left


def soon(deferred: Deferred[Any]) -> Deferred[Any]:
    """
    Something that should not take long.
    """
    return deferred.addTimeout(PATIENCE, reactor)


def reached(gate: Gate) -> Deferred[Any]:
    """
    Wait until a thread has come to a gate.
    """
    told: Deferred[None] = Deferred()

    def wait() -> None:
        gate.reached()
        reactor.callFromThread(told.callback, None)

    threading.Thread(target=wait, daemon=True).start()
    return soon(told)


def threadsOf(pool: DeferredWorkerPool) -> list[BaseWorker]:
    """
    The threads that a pool has now.
    """
    with pool.pool._lock:
        return pool.pool._workers.copy()


def turn() -> Deferred[None]:
    """
    Let the reactor make a turn.
    """
    made: Deferred[None] = Deferred()
    reactor.callLater(0, made.callback, None)
    return made
