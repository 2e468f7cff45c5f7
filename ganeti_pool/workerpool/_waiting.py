"""
The tasks that have not started.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from .._text import safeRepr
from ..errors import DuplicateTaskID, NoSuchTask, PoolError, PoolTerminated, TaskCancelled
from ._arguments import (
    CheckArgs,
    CheckCompletion,
    CheckPriority,
    CheckSequence,
    CheckTaskId,
    OneForEach,
)
from ._fences import FencedQueue
from ._locking import Action, Do, GiveWay, Guarded
from ._outcomes import TellUnstarted
from ._taskheap import Entry, newEntry

__all__ = ["WaitingTasks"]


class WaitingTasks(FencedQueue):
    """
    All that can be done to a task before it starts, and how a running one is told
    that it is cancelled.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._running_ids: dict[Hashable, Entry] = {}
        # Those that another task of their ID has joined before they ended.
        self._older_twins: list[Entry] = []
        self._next_order = 0
        self._cancelled = 0

    # Adding

    def _NewEntry(
        self,
        args: object,
        priority: object,
        task_id: Hashable,
        completion: object = None,
        invoke: Callable[..., object] | None = None,
    ) -> Entry:
        """
        Make an entry of checked arguments, without an order ID.
        """
        if type(args) is not tuple:
            args = CheckArgs(args)
        if type(priority) is not int:
            priority = CheckPriority(priority)
        if task_id is not None:
            CheckTaskId(task_id)
        if completion is not None:
            CheckCompletion(completion)
        return newEntry(priority, -1, task_id, args, completion, invoke, self._clock())  # type: ignore[arg-type]

    def _NewEntries(
        self,
        tasks: object,
        priority: object,
        task_id: object,
        completion: object = None,
        invoke: Callable[..., object] | None = None,
    ) -> list[Entry]:
        """
        Make the entries of many tasks, without order IDs.
        """
        checked = CheckSequence("tasks", tasks)
        count = len(checked)
        if isinstance(priority, Sequence):
            priorities = OneForEach("priorities", priority, count)
        else:
            priorities = [CheckPriority(priority)] * count
        task_ids = OneForEach("task IDs", task_id, count)
        completions = OneForEach("completions", completion, count)
        return [
            self._NewEntry(*one, invoke)
            for one in zip(checked, priorities, task_ids, completions, strict=True)
        ]

    def AddTask(
        self,
        args: Sequence[Any],
        priority: float = 0,
        task_id: Hashable | None = None,
        *,
        completion: object | None = None,
    ) -> None:
        """
        Add a task. See L{IWorkerPool.AddTask
        <ganeti_pool.interfaces.IWorkerPool.AddTask>}.
        """
        self._SubmitOne(self._NewEntry(args, priority, task_id, completion), hold=False)

    def AddManyTasks(
        self,
        tasks: Sequence[Sequence[Any]],
        priority: float | Sequence[float] = 0,
        task_id: Sequence[Hashable | None] | None = None,
        *,
        completion: Sequence[object | None] | None = None,
    ) -> None:
        """
        Add tasks, all or none. See L{IWorkerPool.AddManyTasks
        <ganeti_pool.interfaces.IWorkerPool.AddManyTasks>}.
        """
        self._Submit(self._NewEntries(tasks, priority, task_id, completion), hold=False)

    def _AddTaskUnlocked(
        self, args: Sequence[Any], priority: float, task_id: Hashable | None
    ) -> None:
        """
        Add a task to the queue, for a subclass that holds the lock.
        """
        entry = self._NewEntry(args, priority, task_id)
        refusal = self._RefusalUnlocked(entry)
        if refusal is not None:
            raise self._MakeRefusal(entry, refusal)
        try:
            self._AddUnlocked(entry, hold=False)
            wake = self._NextToWakeUnlocked()
            if wake is not None:
                wake._Wake()
        except BaseException:
            self._WakeAgain()
            raise

    def _SubmitOne(self, entry: Entry, hold: bool, new: bool = False) -> None:
        """
        Add an entry, as L{_Submit} adds many.
        """
        lock = self._lock
        try:
            if self._isHeld:
                GiveWay(self)
            with lock:
                self._isHeld = True
                if self._fences and not hold:
                    self._WaitWhileQuiescingUnlocked()
                refusal = None
                if self._terminated or entry[2] is not None:
                    refusal = self._RefusalUnlocked(entry, new)
                if refusal is None:
                    self._AddUnlocked(entry, hold)
                wake = self._NextToWakeUnlocked() if self._idle else None
                self._isHeld = False
            if wake is not None:
                wake._Wake()
        except BaseException:
            self._WakeAgain()
            raise
        if refusal is not None:
            raise self._MakeRefusal(entry, refusal)

    def _Submit(
        self, entries: Sequence[Entry], hold: bool, ordered: bool = False, new: bool = False
    ) -> None:
        """
        Add entries, all or none.

        @param hold: while a fence stands, do not wait but hold them behind it.
        @param ordered: they bring their order IDs, as L{_ReserveOrder} gave them
            or as an earlier pool did.
        @param new: an ID must not be that of a running task either.
        """
        withdrawn: list[Entry] = []
        try:
            if self._isHeld:
                GiveWay(self)
            with self._lock:
                self._isHeld = True
                if self._fences and not hold:
                    self._WaitWhileQuiescingUnlocked()
                refused = self._FirstRefusedUnlocked(entries, new)
                if refused is None:
                    try:
                        for entry in entries:
                            self._AddUnlocked(entry, hold, ordered)
                    except BaseException:
                        # A signal handler raised, or an ID's hash that worked before.
                        self._TakeBackUnlocked(entries, withdrawn)
                        raise
                wake = self._NextToWakeUnlocked()
                self._isHeld = False
            if wake is not None:
                wake._Wake()
        except BaseException:
            self._WakeAgain()
            raise
        if refused is not None:
            raise self._MakeRefusal(*refused)

    def _TakeBackUnlocked(self, entries: Sequence[Entry], withdrawn: list[Entry]) -> None:
        """
        Remove those new entries that were already added. The lock was not released in
        between.

        @param withdrawn: receives them, so that the caller releases them without the lock.
        """
        for entry in entries:
            queue = entry.queue
            if queue is not None:
                withdrawn.append(queue.withdraw(entry))
                withdrawn += queue.release()

    def _AddUnlocked(self, entry: Entry, hold: bool, ordered: bool = False) -> None:
        """
        Count an entry in and push it. Nothing speaks against it.
        """
        if not ordered:
            entry[1] = self._next_order
            self._next_order += 1
        elif entry[1] >= self._next_order:
            self._next_order = entry[1] + 1
        # Chosen here: until now a finaliser may have taken a fence down.
        queue = self._fences[-1].held if hold and self._fences else self._queue
        queue.push(entry)

    def _ReserveOrder(self, count: int) -> int:
        """
        Set order IDs aside, for entries that are added later.

        @return: the first of them.
        """
        with self._lock:
            order = self._next_order
            self._next_order += count
        return order

    def _RefusalUnlocked(self, entry: Entry, new: bool = False) -> str | None:
        """
        Why an entry cannot be added, in a word for L{_MakeRefusal}.
        """
        if self._terminated and entry.completion is not None:
            return "terminated"
        task_id = entry[2]
        if task_id is not None:
            if self._queue.find(task_id) is not None or (
                self._fences and any(fence.held.find(task_id) is not None for fence in self._fences)
            ):
                return "it is queued"
            if new and task_id in self._running_ids:
                return "it is running"
        return None

    def _FirstRefusedUnlocked(
        self, entries: Iterable[Entry], new: bool
    ) -> tuple[Entry, str] | None:
        """
        The first of some entries that cannot be added, and why.
        """
        seen = set()
        for entry in entries:
            refusal = self._RefusalUnlocked(entry, new)
            if refusal is None and entry[2] is not None:
                if entry[2] in seen:
                    refusal = "it is given twice"
                seen.add(entry[2])
            if refusal is not None:
                return entry, refusal
        return None

    def _MakeRefusal(self, entry: Entry, refusal: str) -> PoolError:
        """
        Make the exception for what L{_RefusalUnlocked} said. Its text needs the
        C{repr} of an ID, so this is done without the lock.
        """
        if refusal == "terminated":
            return PoolTerminated(self._name, f"task {safeRepr(entry[2])} was not added")
        return DuplicateTaskID(entry[2], self._name, refusal)

    # Moving and cancelling

    def ChangeTaskPriority(self, task_id: Hashable, priority: float) -> None:
        """
        Move a queued task. See L{IWorkerPool.ChangeTaskPriority
        <ganeti_pool.interfaces.IWorkerPool.ChangeTaskPriority>}.
        """
        priority = CheckPriority(priority)
        CheckTaskId(task_id)
        dropped: list[Any] = []
        queued = 0
        lock = self._lock
        if self._isHeld:
            GiveWay(self)
        with lock:
            self._isHeld = True
            entry = self._WaitingUnlocked(task_id) if self._fences else self._queue.find(task_id)
            if entry is None:
                queued = self._QueuedUnlocked()
            else:
                queue = entry.queue
                assert queue is not None
                queue.reprioritise(task_id, priority)
                if queue.dropped:
                    dropped = queue.release()
            self._isHeld = False
        dropped.clear()
        if entry is None:
            raise NoSuchTask(task_id, self._name, queued)

    def CancelTask(self, task_id: Hashable) -> None:
        """
        Withdraw a queued task. See L{IWorkerPool.CancelTask
        <ganeti_pool.interfaces.IWorkerPool.CancelTask>}.
        """
        CheckTaskId(task_id)
        actions: list[Action] = []
        try:
            if self._isHeld:
                GiveWay(self)
            with self._lock:
                self._isHeld = True
                entry = self._WaitingUnlocked(task_id)
                queued = self._QueuedUnlocked()
                if entry is not None:
                    self._WithdrawUnlocked(entry, actions)
                self._isHeld = False
            Do(actions)
        except BaseException:
            Do(actions)
            raise
        if entry is None:
            raise NoSuchTask(task_id, self._name, queued)

    def InterruptTask(self, task_id: Hashable) -> None:
        """
        Tell a running task that it is cancelled. See L{IWorkerPool.InterruptTask
        <ganeti_pool.interfaces.IWorkerPool.InterruptTask>}.
        """
        CheckTaskId(task_id)
        actions: list[Action] = []
        try:
            if self._isHeld:
                GiveWay(self)
            with self._lock:
                self._isHeld = True
                entry = self._running_ids.get(task_id)
                queued = self._QueuedUnlocked()
                if entry is not None:
                    self._InterruptUnlocked(entry, actions)  # it runs
                self._isHeld = False
            Do(actions)
        except BaseException:
            Do(actions)
            raise
        if entry is None:
            raise NoSuchTask(task_id, self._name, queued, "running")

    def _CancelEntry(self, entry: Entry) -> None:
        """
        Withdraw the task of an entry, or tell it that it is cancelled, or do
        nothing if it has ended.
        """
        actions: list[Action] = []
        try:
            if self._isHeld:
                GiveWay(self)
            with self._lock:
                self._isHeld = True
                if entry[2] is not None and entry.queue is None and entry.completion is not None:
                    entry = self._CurrentUnlocked(entry)
                if entry.queue is not None:
                    self._WithdrawUnlocked(entry, actions)
                else:
                    self._InterruptUnlocked(entry, actions)
                self._isHeld = False
            Do(actions)
        except BaseException:
            Do(actions)
            raise

    def _CurrentUnlocked(self, entry: Entry) -> Entry:
        """
        Return the current entry of a task whose original entry is not queued any more: a
        change of priority replaced the entry, or the task runs, or it has ended.
        """
        # The completion distinguishes this task from a later one with the same ID, which
        # may have been queued while this task runs.
        for current in (
            self._WaitingUnlocked(entry[2]),
            self._running_ids.get(entry[2]),
            *self._older_twins,
        ):
            if current is not None and current.completion is entry.completion:
                entry = current
        return entry

    def _WithdrawUnlocked(self, entry: Entry, actions: list[Action]) -> None:
        """
        Take a waiting task out of its queue.

        @param actions: receives the actions to run after the lock is released.
        """
        queue = entry.queue
        assert queue is not None
        withdrawn = queue.copyOf(entry)
        try:
            queue.abandon(entry)
        finally:
            # A signal handler may have raised after the entry left.
            if entry.queue is None:  # pragma: no branch - it has left without an error
                self._cancelled += 1
                actions.append(lambda: TellUnstarted(self._name, withdrawn, TaskCancelled))
        actions.append(queue.release().clear)
        self._TakeDownFencesUnlocked(actions)

    def _InterruptUnlocked(self, entry: Entry, actions: list[Action]) -> None:
        """
        Set the flag of a running task.

        @param actions: receives the actions to run after the lock is released.
        """
        listeners = entry.cancellation
        if isinstance(listeners, list):
            actions += [Guarded(listener) for listener in listeners]
        entry.cancellation = True
