"""
The heap of waiting tasks.

No thread, no lock: whoever shares a L{TaskQueue} guards it. Nothing here calls
code of a user, but for the hash and the equality of task IDs; and nothing that
a user made is released here, since the caller may hold a lock: what leaves the
heap is returned, or collected in L{TaskQueue.dropped} for the caller to let go.

An entry whose priority changes cannot move inside a heap. It stays where it is
as an abandoned entry, whose arguments are L{None}, and another one with the same
order number takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush
from typing import Any

from .interfaces import ICompletion

__all__ = ["MOST_ABANDONED", "Entry", "TaskQueue", "movedArgs", "newEntry"]

MOST_ABANDONED = 64
"""
Up to this many abandoned entries are kept, however few live ones there are.
"""


class Entry(list[Any]):
    """
    One task: C{[priority, order ID, task ID, arguments]}.

    It is a list, and has no C{__lt__}, so that the heap compares entries in C:
    a comparison in Python costs more than the whole push and pop. The order ID
    decides every comparison but that of an entry with an abandoned twin of its
    own, see L{_MovedTuple}.

    @ivar completion: who is told of the outcome, or L{None}. The entry that a
        change of priority has abandoned keeps it: it tells whoever has that
        entry which of the tasks that have had its ID is meant.
    @ivar function: what is called with the arguments in place of C{RunTask}, or
        L{None}.
    @ivar invoke: called as C{invoke(function, *args)} to do so, or L{None}.
    @ivar since: when it was added, by the pool's clock, in seconds.
    @ivar attempt: how many times it was started.
    @ivar queue: where it waits, or L{None} when it does not wait.
    @ivar cancellation: L{None}, or the list of those to be called when the
        running task is cancelled, or L{True} once it is.
    """

    __slots__ = ("attempt", "cancellation", "completion", "function", "invoke", "queue", "since")

    completion: ICompletion | None
    function: Callable[..., object] | None
    invoke: Callable[..., object] | None
    since: float
    attempt: int
    queue: TaskQueue | None
    cancellation: list[Callable[[], object]] | bool | None


class _MovedTuple(tuple[Any, ...]):
    """
    Arguments of an entry that has moved. They sort after L{None}, which is what
    its abandoned twin of the same priority and order ID has there.
    """

    __slots__ = ()

    def __gt__(self, other: object) -> bool:
        return True if other is None else tuple.__gt__(self, other)  # type: ignore[operator]

    def __lt__(self, other: object) -> bool:
        return False if other is None else tuple.__lt__(self, other)  # type: ignore[operator]


class _MovedList(list[Any]):
    """
    What L{_MovedTuple} is for a tuple.
    """

    __slots__ = ()

    def __gt__(self, other: object) -> bool:
        return True if other is None else list.__gt__(self, other)  # type: ignore[operator]

    def __lt__(self, other: object) -> bool:
        return False if other is None else list.__lt__(self, other)  # type: ignore[operator]


def movedArgs(args: tuple[Any, ...] | list[Any]) -> tuple[Any, ...] | list[Any]:
    """
    The arguments of an entry with an order ID that another one in the heap has
    had: what was moved, or was withdrawn and is put back.
    """
    if isinstance(args, (_MovedTuple, _MovedList)):
        return args
    return _MovedTuple(args) if isinstance(args, tuple) else _MovedList(args)


def newEntry(
    priority: float,
    order: int,
    taskID: Hashable,
    args: tuple[Any, ...] | list[Any],
    completion: ICompletion | None,
    invoke: Callable[..., object] | None,
    since: float,
) -> Entry:
    """
    Make an entry that waits nowhere yet.
    """
    # A function, since an __init__ in Python would double the cost.
    entry = Entry((priority, order, taskID, args))
    entry.completion = completion
    entry.function = None
    entry.invoke = invoke
    entry.since = since
    entry.attempt = 0
    entry.queue = None
    entry.cancellation = None
    return entry


class TaskQueue:
    """
    Tasks by (priority, order ID).

    Invariants: C{tasks} is a heap; C{abandoned} is the number of its entries
    without arguments; C{byID} maps the ID of each live entry that has one to
    that entry; with no live entry C{tasks} is empty; C{abandoned} is at most the
    larger of L{MOST_ABANDONED} and the number of live entries.

    @ivar tasks: the heap; the same list object for ever.
    @ivar byID: the live entries that have an ID; the same dictionary for ever.
    @ivar abandoned: how many entries of C{tasks} are abandoned.
    @ivar dropped: entries that have left the heap unseen, for the caller to
        release where no lock is held.
    """

    __slots__ = ("abandoned", "byID", "dropped", "tasks")

    def __init__(self) -> None:
        self.tasks: list[Entry] = []
        self.byID: dict[Hashable, Entry] = {}
        self.abandoned = 0
        self.dropped: list[Entry] = []

    def __len__(self) -> int:
        """
        The number of live entries.
        """
        return len(self.tasks) - self.abandoned

    def push(self, entry: Entry) -> None:
        """
        Add an entry, whose ID, if it has one, is not in the queue.
        """
        taskID = entry[2]
        if taskID is not None:
            self.byID[taskID] = entry
        entry.queue = self
        heappush(self.tasks, entry)

    def pop(self) -> Entry:
        """
        Take the first live entry. There is one.
        """
        entry = heappop(self.tasks)
        if self.abandoned:
            while entry[3] is None:
                self.abandoned -= 1
                self.dropped.append(entry)
                entry = heappop(self.tasks)
            self._tidy()
        taskID = entry[2]
        if taskID is not None:
            del self.byID[taskID]
        entry.queue = None
        return entry

    def head(self) -> Entry | None:
        """
        The entry that L{pop} would take, or L{None}. It costs constant time and
        a step for each abandoned entry that lies before it.
        """
        tasks = self.tasks
        first: Entry | None = None
        places = [0]
        while places:
            place = places.pop()
            if place < len(tasks):
                entry = tasks[place]
                if entry[3] is None:
                    places += (2 * place + 1, 2 * place + 2)
                elif first is None or entry < first:
                    first = entry
        return first

    def reprioritise(self, taskID: Hashable, priority: float) -> None:
        """
        Give a queued entry another priority. It keeps its order ID.

        @raise KeyError: if no live entry has the ID.
        """
        entry = self.byID[taskID]
        completion = entry.completion
        moved = self._abandon(entry)
        # Whoever has the old entry finds the task by this, see L{Entry}.
        entry.completion = completion
        moved[0] = priority
        moved[3] = movedArgs(moved[3])
        self.push(moved)
        self._tidy()

    def withdraw(self, entry: Entry) -> Entry:
        """
        Take out an entry that waits here.

        @return: the entry as it was. It need not be the same object.
        """
        withdrawn = self._abandon(entry)
        if withdrawn[2] is not None:
            del self.byID[withdrawn[2]]
        self._tidy()
        return withdrawn

    def withdrawAll(self, which: Callable[[Entry], bool]) -> list[Entry]:
        """
        Take out every live entry for which C{which} is true, in one pass.

        @return: those entries, in order.
        """
        withdrawn = [entry for entry in self.tasks.copy() if entry[3] is not None and which(entry)]
        for entry in withdrawn:
            entry.queue = None
            if entry[2] is not None:
                del self.byID[entry[2]]
        self._sweep()
        withdrawn.sort()
        return withdrawn

    def absorb(self, other: TaskQueue) -> None:
        """
        Take over all live entries of another queue, with their order IDs.
        """
        for entry in other.withdrawAll(lambda entry: True):
            self.push(entry)
        self.dropped += other.dropped
        other.dropped = []

    def release(self) -> list[Entry]:
        """
        Hand over what has collected in C{dropped}, to be let go by the caller.
        """
        dropped = self.dropped
        self.dropped = []
        return dropped

    def _abandon(self, entry: Entry) -> Entry:
        """
        Turn an entry of the heap into an abandoned one.

        @return: its replacement, with all that it had, which waits nowhere.
        """
        priority, order, taskID, args = entry
        moved = newEntry(priority, order, taskID, args, entry.completion, entry.invoke, entry.since)
        moved.attempt = entry.attempt
        moved.function = entry.function
        entry[3] = entry.completion = entry.function = entry.invoke = entry.queue = None
        self.abandoned += 1
        return moved

    def _tidy(self) -> None:
        """
        Hold to the bound on abandoned entries.
        """
        live = len(self.tasks) - self.abandoned
        if (self.abandoned > MOST_ABANDONED and self.abandoned > live) or not live:
            self._sweep()

    def _sweep(self) -> None:
        """
        Leave in the heap only what waits in it, in place.
        """
        # The garbage collector may run a finaliser that pushes an entry wherever
        # something is allocated, inside of a slice assignment or of a call from C
        # too (before Python 3.12). So this goes one entry at a time, from the end,
        # and what is left is a heap after each. One that is abandoned by such a
        # finaliser when it is among those kept is still counted.
        tasks = self.tasks
        kept: list[Entry] = []
        while tasks:
            entry = tasks.pop()
            if entry.queue is not None:
                kept.append(entry)
            elif entry[3] is None:
                self.abandoned -= 1
                self.dropped.append(entry)
        tasks += kept
        heapify(tasks)
        if self.abandoned and all(entry[3] is None for entry in tasks):
            self.abandoned -= len(tasks)
            self.dropped += tasks
            tasks.clear()
