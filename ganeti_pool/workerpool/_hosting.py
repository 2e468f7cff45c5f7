"""
Run tasks with one worker, without a pool.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..errors import NotInADaemon
from ..interfaces import IWorkerHost
from ._locking import Report
from ._outcomes import FAILED, Perform
from ._pool import WorkerPool
from ._taskheap import Entry
from ._worker import BaseWorker, ProvideWorker

__all__ = ["WorkerHost"]

_log = Logger()


@implementer(IWorkerHost)
class WorkerHost:
    """
    The C{pool} of one worker, and what runs its tasks. See L{IWorkerHost}.

    The tasks run in the worker's own thread, as in a L{WorkerPool}, and by the same code.

    Threads: L{Perform} is called on the worker's thread. L{Interrupt} may be called on any
    other. C{_lock} guards the task of the worker, its cancellation and C{_finished}, the task
    that the worker has finished last.

    @ivar name: the name of the pool that the worker believes to be in.
    @ivar worker: the worker.
    @ivar isEnding: whether C{ShouldTerminate} of the worker is true.
    """

    def __init__(
        self, name: str, worker_class: Callable[[Any, str], object], worker_id: str
    ) -> None:
        """
        @param worker_class: makes the worker, called as C{worker_class(pool, worker_id)}.
        @param worker_id: the ID of the worker, which is the name of its thread.

        @raise InvalidArgument: if the class does not make a worker.
        """
        self.name = self._name = name
        self.isEnding = False
        self._worker_class = worker_class
        self._lock = threading.Lock()
        self._finished: Entry | None = None
        self._run: Callable[[], object] | None = None
        self.worker = ProvideWorker(self, worker_id)  # type: ignore[arg-type]

    def Start(self, run: Callable[[], object]) -> None:
        """
        Start the worker's thread.

        @param run: the body of the thread.
        @raise RuntimeError: if the system cannot start a thread.
        """
        self._run = run
        self.worker.start()

    def _RunWorker(self, worker: BaseWorker) -> None:
        assert self._run is not None
        self._run()

    def Perform(self, entry: Entry) -> tuple[Any, Failure | None]:
        """
        Run a task.

        @return: the result of C{RunTask} and L{None}; or L{None} and the failure. A
            deferral is not a failure; its result is the new priority or L{None}.
        """
        worker = self.worker
        with self._lock:
            worker._current_task = entry
        outcome = Perform(worker, entry)
        value, worker._value = worker._value, None
        with self._lock:
            worker._current_task = None
            self._finished = entry
        return (None, value) if outcome == FAILED else (value, None)

    def Interrupt(self, entry: Entry) -> None:
        """
        Tell a task that it is cancelled, even if it has not begun. The functions that it gave
        to C{CallWhenCancelled} are called here, with no lock held. Does nothing if the task
        has finished, or was told before.
        """
        with self._lock:
            if entry is self._finished or entry.cancellation is True:
                return
            calls, entry.cancellation = entry.cancellation, True
        for call in calls if isinstance(calls, list) else ():
            try:
                call()
            except BaseException:
                Report(_log, "A function of CallWhenCancelled failed")

    def _ShouldWorkerTerminateUnlocked(self, worker: BaseWorker) -> bool:
        return self.isEnding

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and callable(getattr(WorkerPool, name, None)):
            return partial(_reject, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _reject(name: str, *args: object, **kwargs: object) -> NoReturn:
    raise NotInADaemon(name)
