"""
The workers: threads that take tasks from their pool.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from .._text import safeRepr
from ..errors import InvalidArgument, ProgrammerError
from ..interfaces import IWorker
from ._locking import Acquire, Do, Report, Retake
from ._taskheap import Entry

if TYPE_CHECKING:
    from ._pool import WorkerPool

__all__ = ["TERMINATE", "BaseWorker", "HostWorker", "ProvideWorker"]

_log = Logger()

TERMINATE = object()
"""
What C{WorkerPool._WaitForTaskUnlocked} returns to a worker that is to end.
"""


@implementer(IWorker)
class BaseWorker(threading.Thread):
    """
    A worker with a thread of its own. Derive from it, and override L{RunTask}.

    The thread ends with the process: it is daemonic.

    Threads: the methods below are for C{RunTask}, on this thread, but for
    C{ShouldTerminate} and C{IsCancelled}, which any thread may call.

    @ivar pool: the pool that the worker belongs to.
    @ivar name: the name of the thread: the worker's ID, and a slash and the name
        of the task while it has one.
    """

    def __init__(self, pool: WorkerPool, worker_id: str) -> None:
        super().__init__(name=worker_id, daemon=True)
        self.pool = pool
        self._worker_id = worker_id
        self._current_task: Entry | None = None
        # The entry that it took from the queue and has not begun yet.
        self._taken: Entry | None = None
        # Whether the outcome of the current task was counted, and whether its report began.
        self._isCounted = False
        self._isTold = False
        self._task_name: str | None = None
        # What the last task came to; only this worker's thread touches it.
        self._value: Any = None
        # What this thread lets go once it does not hold the lock.
        self._garbage: list[object] = []
        self._retired = False
        self._abandoned = False
        # Whether it is in the pool's C{_idle}.
        self._isIdle = False
        # Held while the worker has nothing to do: before the pool has recorded
        # it, and while it is idle. The thread that removes it from C{_idle} releases this.
        self._park = threading.Lock()
        self._park.acquire()

    def RunTask(self, *args: Any) -> object:
        """
        Do one task. See L{IWorker.RunTask
        <ganeti_pool.interfaces.IWorker.RunTask>}.

        @raise NotImplementedError: here.
        """
        raise NotImplementedError(f"{type(self).__name__} does not override RunTask")

    def ShouldTerminate(self) -> bool:
        """
        Whether the worker is to end once its task has: a long task may look
        now and then, and stop early or raise L{DeferTask}.
        """
        with self.pool._lock:
            return self.pool._ShouldWorkerTerminateUnlocked(self)

    def GetCurrentPriority(self) -> float:
        """
        The priority with which the running task was queued.

        @raise ProgrammerError: if no task runs.
        """
        with self.pool._lock:
            priority: float = self._RunningUnlocked()[0]
            return priority

    def _GetCurrentOrderAndTaskId(self) -> tuple[int, Hashable]:
        """
        The order ID and the task ID of the running task.

        @raise ProgrammerError: if no task runs.
        """
        with self.pool._lock:
            _, order, task_id, _ = self._RunningUnlocked()
            return order, task_id

    def IsCancelled(self) -> bool:
        """
        Whether the running task was told that it is cancelled.
        """
        entry = self._current_task
        return entry is not None and entry.cancellation is True

    def CallWhenCancelled(self, f: Callable[[], object]) -> None:
        """
        Call a function once when the running task is cancelled: on the thread
        that cancels, with no lock held; here and now if it is cancelled already.
        The call may come when the task has just ended. A second run of the task,
        after a deferral, starts without it.

        @raise ProgrammerError: if no task runs.
        """
        with self.pool._lock:
            entry = self._RunningUnlocked()
            if entry.cancellation is None:
                entry.cancellation = []
            if isinstance(entry.cancellation, list):
                entry.cancellation.append(f)
                return
        f()

    def SetTaskName(self, taskname: str | None) -> None:
        """
        Show what the worker does in the name of its thread. The name ends with
        the task.

        @param taskname: added to the worker's ID behind a slash; empty or
            L{None} leaves the ID alone.
        """
        self._task_name = taskname or None
        self.name = f"{self._worker_id}/{taskname}" if taskname else self._worker_id

    def getName(self) -> str:
        """
        The name of the thread, as programs of old ask for it.
        """
        return self.name

    def setName(self, name: str) -> None:
        """
        Name the thread, as programs of old do it.
        """
        self.name = name

    def run(self) -> None:
        """
        Run tasks until told to end, as the pool does it.
        """
        self.pool._RunWorker(self)

    def _RunTasks(self) -> None:
        """
        Run the tasks of a L{WorkerPool} until told to end.
        """
        pool = self.pool
        isReady = False
        while not isReady:
            try:
                self._Park()
                isReady = True
            except BaseException:
                # Only another thread can have sent this (PyThreadState_SetAsyncExc). It may
                # have arrived after the wake, which is not repeated.
                self._ReportTrouble(Failure())
                isReady = pool._IsEnlisted(self)
        Acquire(pool)
        wait = pool._WaitForTaskUnlocked
        while True:
            try:
                task = wait(self)
                if task is TERMINATE:
                    break
                self._taken = None
                wait = pool._WaitForTaskUnlocked
                if task is not None:
                    pool._ExecuteUnlocked(self, task)
                    # An idle worker keeps nothing alive; C{_garbage} has it yet.
                    task = None
            except BaseException:
                if not pool._isForked:
                    # A subclass of the pool may override the hooks that run here. They may
                    # fail each time, so they are called again only after the next task.
                    self._GoOnUnlocked(Failure())
                    wait = pool._WaitAfterFailureUnlocked
            if pool._isForked:
                # A task forked and returned in the child. This worker and the queue belong
                # to the parent.
                return
        self._Leave()

    def _GoOnUnlocked(self, trouble: Failure) -> None:
        """
        Continue after an exception between two tasks, or in the pool's handling of a task.
        The caller may hold the lock or not. The lock is held on return.
        """
        pool = self.pool
        if self._taken is not None and self._taken.queue is not None:
            # A hook put it back.
            self._taken = None
        try:
            pool._RecoverUnlocked(self, trouble)
        except BaseException:
            Retake(pool._lock)
            Report(_log, "Worker {worker!r} could not end its task", worker=self._worker_id)
        pool._isHeld = False
        pool._lock.release()
        self._ReportTrouble(trouble)
        self._garbage.clear()
        Acquire(pool)

    def _ReportTrouble(self, trouble: Failure) -> None:
        """
        Log an exception between two tasks. Called without the lock.
        """
        Report(
            _log,
            "Worker {worker!r} met an exception between two tasks, and goes on",
            trouble,
            worker=self._worker_id,
        )

    def _Leave(self) -> None:
        """
        Leave the pool, whose lock is held on the call and free on return.
        """
        pool = self.pool
        # The wake goes on before user objects are let go, whose finalisers may take
        # their time; and they go before this worker is said to have left.
        wake = pool._NextToWakeUnlocked()
        pool._isHeld = False
        pool._lock.release()
        if wake is not None:
            wake._Wake()
        self._garbage.clear()
        Acquire(pool)
        actions = pool._LeaveUnlocked(self)
        pool._isHeld = False
        pool._lock.release()
        try:
            Do(actions)
        except BaseException:
            Report(_log, "Cannot report the end of worker {worker!r}", worker=self._worker_id)

    def _RunningUnlocked(self) -> Entry:
        """
        The entry of the running task.
        """
        if self._current_task is None:
            raise ProgrammerError(f"worker {self._worker_id!r} runs no task now")
        return self._current_task

    def _HasRunningTaskUnlocked(self) -> bool:
        """
        Whether the worker has a task.
        """
        return self._current_task is not None

    def _Park(self) -> None:
        """
        Wait to be woken. Called without the pool's lock.
        """
        self._garbage.clear()
        self._park.acquire()

    def _Wake(self) -> None:
        """
        End the L{_Park} of a worker that the caller has removed from C{_idle}. Repeating
        this does no harm, and neither does waking a worker that is still idle.
        """
        try:
            self._park.release()
        except RuntimeError:  # it was woken already
            return


class HostWorker(BaseWorker):
    """
    The thread of a worker that is none itself.
    """

    def __init__(self, pool: WorkerPool, worker_id: str, provider: IWorker) -> None:
        super().__init__(pool, worker_id)
        self.provider = provider
        self.RunTask = provider.RunTask  # type: ignore[method-assign]


def ProvideWorker(pool: WorkerPool, worker_id: str) -> BaseWorker:
    """
    Make a worker by the pool's C{worker_class}.

    @raise InvalidArgument: if what was made is no worker; it says what is
        missing.
    """
    # verifyObject would refuse every real worker: RunTask(self, text) takes less
    # than the contract's RunTask(*args).
    made = pool._worker_class(pool, worker_id)
    if isinstance(made, BaseWorker):
        return made
    if not IWorker.providedBy(made):
        missing = "it does not declare that it implements IWorker"
    elif not callable(getattr(made, "RunTask", None)):
        missing = "it has no method RunTask"
    else:
        return HostWorker(pool, worker_id, made)
    raise InvalidArgument(
        f"{safeRepr(pool._worker_class)} made {safeRepr(made)}, which is not a worker: {missing}"
    )
