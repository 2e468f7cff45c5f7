"""
Handle pools in the child of C{os.fork}.

Only the thread that called C{fork} exists in the child. Another thread may have held a
lock at that moment, which is then never released. A pool that had threads therefore
rejects every call in the child; a pool without threads stays usable.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING
from weakref import ref

from ..errors import PoolForked

if TYPE_CHECKING:
    from ._pool import WorkerPool

__all__ = ["LostLock", "afterFork", "watchForks"]

# Keyed by id(), since a subclass may override equality.
_pools: dict[int, ref[WorkerPool]] = {}


class LostLock:
    """
    The lock of a pool whose threads do not exist in this process.

    Every operation of a pool first takes the lock, so this lock rejects all of them. Other
    pools pay nothing for the check.
    """

    def __init__(self, pool: str) -> None:
        self._pool = pool

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """
        Reject the caller.

        @raise PoolForked: always.
        """
        raise PoolForked(self._pool)

    __enter__ = acquire

    def release(self) -> None:
        """
        Do nothing. The caller entered its section before the fork.
        """

    def __exit__(self, *exception: object) -> None:
        """
        Do nothing, like L{release}.
        """

    def _is_owned(self) -> bool:
        """
        Return L{False}: no thread holds this lock.
        """
        return False


def watchForks(pool: WorkerPool) -> None:
    """
    Notify a pool after each fork, in the child.
    """
    key = id(pool)
    # The callback is written in C, so no signal handler can interrupt it.
    _pools[key] = ref(pool, partial(_pools.pop, key))
    _watch()


@cache
def _watch() -> None:
    """
    Register the notification of all pools once per process. Python cannot unregister it.
    """
    with suppress(AttributeError):  # platforms without fork
        os.register_at_fork(after_in_child=_afterForks)


def _afterForks() -> None:
    """
    Notify all pools, in the child, before C{fork} returns there.
    """
    for reference in list(_pools.values()):
        pool = reference()
        if pool is not None:
            afterFork(pool)


def afterFork(pool: WorkerPool) -> None:
    """
    Notify a pool that it is in the child of a fork.
    """
    workers = pool._workers + pool._termworkers
    # A worker that a test steps through has no thread.
    if pool._starting or any(worker.ident is not None for worker in workers):
        pool._isForked = True
        pool._lock = LostLock(pool._name)  # type: ignore[assignment]
        return
    pool._lock = threading.RLock()
    pool._isHeld = False
    pool._changed = threading.Condition(pool._lock)
    # Threads that blocked until the pool became quiet do not exist here.
    me = threading.get_ident()
    for fence in [fence for fence in pool._fences if fence.thread not in (None, me)]:
        pool._LiftFence(fence)
