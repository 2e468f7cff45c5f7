"""
The queue, the fences in it, and who is woken for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from twisted.python.failure import Failure

from .._taskqueue import Entry, TaskQueue
from ..errors import PoolTerminated
from ._locking import Acquire, Action, Bound, Do
from ._outcomes import UNSTARTED, Tell

if TYPE_CHECKING:
    from ._worker import BaseWorker

__all__ = ["Fence", "FencedQueue"]


class Fence:
    """
    Somebody waits for the pool to be quiet.

    @ivar done: called, with no lock held, with L{None} once that is so, or with
        a Failure if it will not be.
    @ivar held: what was submitted behind the fence by those who cannot wait.
    """

    __slots__ = ("done", "held")

    def __init__(self, done: Callable[[Failure | None], object]) -> None:
        self.done = done
        self.held = TaskQueue()


class FencedQueue:
    """
    Where tasks wait: in the queue, or behind a fence until all is over that was
    added before it.

    Invariants, whenever the lock is free:

      - An idle slot is in C{_idle}, once. Whoever takes it out wakes it, once.
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
        self._changed = threading.Condition(self._lock)
        self._queue = TaskQueue()
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

    def _QueuesUnlocked(self) -> list[TaskQueue]:
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
            if task_id in queue.byID:
                return queue.byID[task_id]
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
        with self._lock:
            self._active = bool(active)
            wake = self._NextToWakeUnlocked()
        if wake is not None:
            wake._Wake()

    def _NextToWakeUnlocked(self) -> BaseWorker | None:
        """
        Choose the slot to wake, if there is work for one and nobody is being
        woken. The caller wakes it, best without the lock.
        """
        if self._idle and self._waking is None and self._tasks and self._active:
            # In turn: the system wakes a thread where it ran last. Always the same one
            # would keep another processor, and wait until that is awake, for each task.
            self._waking = worker = self._idle.pop(0)
            return worker
        return None

    # Waiting for quiet

    def _OpenFence(self, done: Callable[[Failure | None], object]) -> Fence:
        """
        Call C{done} once the pool is quiet, without a lock: at once if it is so
        now. It gets a Failure with L{PoolTerminated} if that cannot come.
        """
        fence = Fence(done)
        with self._lock:
            if self._terminated and not self._QuietUnlocked():
                actions: list[Action] = [lambda: done(self._NotQuiet())]
            else:
                self._fences.append(fence)
                actions = self._TakeDownFencesUnlocked()
        Do(actions)
        return fence

    def _LiftFence(self, fence: Fence) -> None:
        """
        Give up waiting. What was held behind the fence waits behind the one
        before it, or joins the queue.
        """
        with self._lock:
            if fence in self._fences:
                place = self._fences.index(fence)
                del self._fences[place]
                before = self._fences[place - 1].held if place else self._queue
                before.absorb(fence.held)
                self._changed.notify_all()
            actions = [self._queue.release().clear, *self._TakeDownFencesUnlocked()]
            wake = self._NextToWakeUnlocked()
        if wake is not None:
            wake._Wake()
        Do(actions)

    def _TakeDownFencesUnlocked(self) -> list[Action]:
        """
        Take down the fences that have nothing left to wait for.

        @return: what to do about it without the lock.
        """
        actions: list[Action] = []
        while self._fences and self._QuietUnlocked():
            fence = self._fences.pop(0)
            self._queue.absorb(fence.held)
            actions.append(Bound(fence.done, None))
            self._changed.notify_all()
        if actions:
            actions.append(self._queue.release().clear)
            wake = self._NextToWakeUnlocked()
            if wake is not None:
                actions.append(wake._Wake)
        return actions

    def _NotQuiet(self) -> Failure:
        """
        What whoever waits for quiet gets on a termination.
        """
        return Failure(PoolTerminated(self._name, "it does not become quiet any more"))

    # Waiting to add

    def _WaitWhileQuiescingUnlocked(self) -> None:
        """
        Wait until nobody quiesces the pool. The pool's own workers need not.
        """
        # To wait frees the lock. A finaliser that runs inside a section of this
        # thread must not do that, and is let in like a worker.
        self._lock.release()
        isNested = self._lock._is_owned()  # type: ignore[attr-defined]
        Acquire(self._lock)
        if not isNested and not self._OnOwnWorker():
            while self._fences:
                self._changed.wait()

    def _OnOwnWorker(self) -> BaseWorker | None:
        """
        The worker of this pool on whose thread this is called, if any.
        """
        raise NotImplementedError

    # Terminating

    def _TerminateUnlocked(self) -> list[Action]:
        """
        Give up what was promised about tasks that have not started.

        @return: what to do about it without the lock.
        """
        self._terminated = True
        fences, self._fences = self._fences, []
        unstarted: list[Entry] = []
        for queue in [self._queue, *(fence.held for fence in fences)]:
            unstarted += queue.withdrawAll(lambda entry: entry.completion is not None)
        for fence in fences:
            self._queue.absorb(fence.held)
        dropped = self._queue.release()
        self._unstarted += len(unstarted)
        self._changed.notify_all()

        def tell() -> None:
            unstarted.reverse()
            while unstarted:
                Tell(self._name, unstarted.pop(), UNSTARTED, None)
            for fence in fences:
                fence.done(self._NotQuiet())

        return [tell, dropped.clear]
