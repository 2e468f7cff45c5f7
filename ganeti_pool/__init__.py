"""
A thread-safe pool of workers behind one priority queue, for Twisted.

L{workerpool} is the pool itself, in Ganeti's dialect and without a reactor;
L{deferred} is the same pool as seen from a reactor; L{testing} has what tests
need. Importing this package starts nothing and imports no reactor; what a public
name needs is imported when the name is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "BaseWorker",
    "CallableWorker",
    "DeferTask",
    "DeferredWorkerPool",
    "DuplicateTaskID",
    "NoSuchTask",
    "PoolError",
    "PoolTerminated",
    "TaskAbandoned",
    "TaskCancelled",
    "TaskNotStarted",
    "WorkerPool",
    "WorkerPoolService",
    "deferToPool",
    "errors",
    "interfaces",
    "workerpool",
]

if TYPE_CHECKING:
    from . import errors, interfaces, workerpool
    from .deferred import DeferredWorkerPool, deferToPool
    from .errors import (
        DuplicateTaskID,
        PoolError,
        PoolTerminated,
        TaskAbandoned,
        TaskCancelled,
        TaskNotStarted,
    )
    from .service import WorkerPoolService
    from .workerpool import BaseWorker, DeferTask, NoSuchTask, WorkerPool
    from .workers import CallableWorker
else:  # a type checker would take every name for one of ours
    # The command imports this package first, and its help and its completion are
    # to be there at once: Deferreds alone cost them a tenth of a second.
    _ROOMS = {
        "deferred": ("DeferredWorkerPool", "deferToPool"),
        "errors": (
            "DuplicateTaskID",
            "PoolError",
            "PoolTerminated",
            "TaskAbandoned",
            "TaskCancelled",
            "TaskNotStarted",
        ),
        "interfaces": (),
        "service": ("WorkerPoolService",),
        "workerpool": ("BaseWorker", "DeferTask", "NoSuchTask", "WorkerPool"),
        "workers": ("CallableWorker",),
    }
    _HOMES = {name: room for room, names in _ROOMS.items() for name in names}

    def __getattr__(name):
        """
        A public name, the first time that it is asked for.
        """
        from importlib import import_module

        room = _HOMES.get(name, name)
        if room not in _ROOMS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = import_module(f"{__name__}.{room}")
        value = globals()[name] = module if room == name else getattr(module, name)
        return value

    def __dir__():
        """
        The names that are there, and the public ones.
        """
        return sorted({*globals(), *__all__})
