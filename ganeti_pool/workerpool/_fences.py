"""
The queue, the fences in it, and who is woken for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from twisted.python.failure import Failure

from ..errors import PoolTerminated, TaskNotStarted
from ._locking import Action, Bound, Do, Retake
from ._outcomes import TellUnstarted
from ._taskheap import Entry, TaskHeap

if TYPE_CHECKING:
    from ._worker import BaseWorker

__all__ = ["Fence", "FencedQueue"]


class Fence:
    """
    A wait for the pool to be quiet.

    @ivar thread: the identifier of the thread that blocks on this wait; L{None} if no
        thread does.
    @ivar done: called, with no lock held, with L{None} once that is so, or with
        a Failure if it will not be.
    @ivar held: what was submitted behind the fence by those who cannot wait.
    """

    __slots__ = ("done", "held", "thread")

    def __init__(self, done: Callable[[Failure | None], object], thread: int | None = None) -> None:
        self.done = done
        self.thread = thread
        self.held = TaskHeap()


class FencedQueue:
    """
    Where tasks wait: in the queue, or behind a fence until all is over that was
    added before it.

    Invariants, whenever the lock is free:

      - An idle slot is in C{_idle} exactly once, and its C{_isIdle} is set. The thread that
        removes it wakes it at least once. A slot that wakes while still idle waits again.
      - At most one slot, C{_waking}, has been woken and has not looked for a
        task yet. If a task waits, the pool is active and some slot is idle, then
        some slot has been woken or is about to look: it passes the wake on. So no
        wake-up is lost.
      - With a fence standing, the pool is not quiet: the step that makes it so
        takes the first fence down.

    @ivar _lock: guards all attributes of the pool.
    @ivar _tasks: the heap, a list of entries C{[priority, order ID, task ID,
        args]}; the arguments of an abandoned entry are L{None}.
    @ivar _taskdata: maps task IDs to entries of C{_tasks}.
    @ivar _active: whether tasks are started.
    """

    _clock = staticmethod(time.monotonic)

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.RLock()
        self._isHeld = False
        self._changed = threading.Condition(self._lock)
        self._queue = TaskHeap()
        self._tasks = self._queue.tasks
        self._taskdata = self._queue.byID
        self._active = True
        self._terminated = False
        self._idle: list[BaseWorker] = []
        self._waking: BaseWorker | None = None
        self._fences: list[Fence] = []
        self._busy = 0
        self._unstarted = 0

    # Looking

    def _QueuesUnlocked(self) -> list[TaskHeap]:
        """
        Wherever tasks wait, in the order in which they will start.
        """
        return [self._queue, *(fence.held for fence in self._fences)]

    def _QueuedUnlocked(self) -> int:
        """
        How many tasks wait, the held ones included.
        """
        return sum(len(queue) for queue in self._QueuesUnlocked())

    def _WaitingUnlocked(self, task_id: Hashable) -> Entry | None:
        """
        The queued or held task of an ID.
        """
        for queue in self._QueuesUnlocked():
            entry = queue.find(task_id)
            if entry is not None:
                return entry
        return None

    def _QuietUnlocked(self) -> bool:
        """
        Whether no task is queued and no slot has one.
        """
        return not self._busy and not self._tasks

    # Waking

    def SetActive(self, active: bool) -> None:
        """
        Pause, or go on. See L{IWorkerPool.SetActive
        <ganeti_pool.interfaces.IWorkerPool.SetActive>}.
        """
        active = bool(active)
        try:
            with self._lock:
                self._active = active
                wake = self._NextToWakeUnlocked()
            if wake is not None:
                wake._Wake()
        except BaseException:
            self._WakeAgain()
            raise

    def _NextToWakeUnlocked(self) -> BaseWorker | None:
        """
        Choose the slot to wake, if there is work for one and nobody is being
        woken. The caller wakes it, best without the lock.
        """
        if self._idle and self._waking is None and self._tasks and self._active:
            # In turn: the system wakes a thread where it ran last. Always the same one
            # would keep another processor, and wait until that is awake, for each task.
            # These steps call nothing, so no signal handler interrupts them.
            self._waking = worker = self._idle[0]
            del self._idle[0]
            worker._isIdle = False
            return worker
        return None

    def _WakeAgain(self) -> None:
        """
        Wake the worker that is being woken, or else the next one.

        A thread calls this after an exception: a signal handler may have raised between
        its choice of a worker and the wake.
        """
        with self._lock:
            wake = self._waking
            if wake is None:
                wake = self._NextToWakeUnlocked()
        if wake is not None:
            wake._Wake()

    # Waiting for quiet

    def _OpenFence(self, done: Callable[[Failure | None], object]) -> Fence:
        """
        Call C{done} once the pool is quiet, without a lock: at once if it is so
        now. It gets a Failure with L{PoolTerminated} if that cannot come.
        """
        fence = Fence(done)
        self._SetUpFence(fence)
        return fence

    def _SetUpFence(self, fence: Fence) -> None:
        """
        Set up a new fence, as L{_OpenFence} does. The caller must take the fence down
        again, even after an exception.
        """
        actions: list[Action] = []
        try:
            with self._lock:
                if self._terminated and not self._QuietUnlocked():
                    actions.append(lambda: fence.done(self._NotQuiet()))
                else:
                    self._fences.append(fence)
                    self._TakeDownFencesUnlocked(actions)
            Do(actions)
        except BaseException:
            Do(actions)
            raise

    def _LiftFence(self, fence: Fence) -> None:
        """
        Give up waiting. What was held behind the fence waits behind the one
        before it, or joins the queue.
        """
        actions: list[Action] = []
        try:
            with self._lock:
                if fence in self._fences:
                    place = self._fences.index(fence)
                    before = self._fences[place - 1].held if place else self._queue
                    before.absorb(fence.held)
                    del self._fences[place]
                    self._changed.notify_all()
                self._TakeDownFencesUnlocked(actions)
                actions.append(self._queue.release().clear)
                wake = self._NextToWakeUnlocked()
            if wake is not None:
                wake._Wake()
            Do(actions)
        except BaseException:
            self._WakeAgain()
            Do(actions)
            raise

    def _TakeDownFencesUnlocked(self, actions: list[Action]) -> None:
        """
        Take down the fences that have nothing left to wait for.

        @param actions: receives the actions to run after the lock is released.
        """
        while self._fences and self._QuietUnlocked():
            fence = self._fences[0]
            done = Bound(fence.done, None)
            # This order loses nothing if a signal handler raises, since a handler cannot
            # run between the last two steps.
            self._queue.absorb(fence.held)
            del self._fences[0]
            actions.append(done)
            self._changed.notify_all()
            actions.append(self._queue.release().clear)
            wake = self._NextToWakeUnlocked()
            if wake is not None:
                actions.append(wake._Wake)

    def _NotQuiet(self) -> Failure:
        """
        Return the failure of a wait for quiet that a termination ends.
        """
        return Failure(PoolTerminated(self._name, "it does not become quiet any more"))

    # Waiting to add

    def _WaitWhileQuiescingUnlocked(self) -> None:
        """
        Wait until nobody quiesces the pool. The pool's own workers need not.
        """
        # To wait frees the lock. A finaliser that runs inside a section of this
        # thread must not do that, and is let in like a worker.
        try:
            self._lock.release()
            isNested = self._lock._is_owned()  # type: ignore[attr-defined]
            self._lock.acquire()
            if not isNested and not self._OnOwnWorker():
                while self._fences:
                    self._changed.wait()
        except BaseException:
            # A signal handler may have raised while the lock was free, even inside C{wait}.
            Retake(self._lock)
            raise

    def _OnOwnWorker(self) -> BaseWorker | None:
        """
        The worker of this pool on whose thread this is called, if any.
        """
        raise NotImplementedError

    # Terminating

    def _TerminateUnlocked(self, actions: list[Action]) -> None:
        """
        Give up what was promised about tasks that have not started.

        @param actions: receives the actions to run after the lock is released.
        """
        self._terminated = True
        self._changed.notify_all()
        fences = self._fences.copy()
        unstarted: list[Entry] = []

        def tell() -> None:
            while unstarted:
                TellUnstarted(self._name, unstarted[-1], TaskNotStarted)
                del unstarted[-1]

        actions.append(tell)
        # Separate actions: one that raises does not stop the others.
        actions += [Bound(fence.done, self._NotQuiet()) for fence in fences]
        try:
            for queue in [self._queue, *(fence.held for fence in fences)]:
                queue.withdrawAll(lambda entry: entry.completion is not None, unstarted)
        finally:
            try:
                for fence in fences:
                    self._queue.absorb(fence.held)
                self._fences.clear()
                unstarted.reverse()
            finally:
                try:
                    self._unstarted += len(unstarted)
                except BaseException:
                    # A signal handler raised before the sum was stored.
                    self._unstarted += len(unstarted)
                    raise
            actions.append(self._queue.release().clear)
