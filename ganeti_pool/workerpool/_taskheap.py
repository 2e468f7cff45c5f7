"""
The heap of waiting tasks.

A L{TaskHeap} has no thread and no lock: its owner guards it. The only user code that it
calls is the hash and the equality of task IDs. It releases no object of a user, since the
caller may hold a lock: an entry that leaves the heap is returned, or collected in
L{TaskHeap.dropped} for the caller to release.

An entry whose priority changes cannot move inside a heap. It stays where it is
as an abandoned entry, whose arguments are L{None}, and another one with the same
order number takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush
from typing import Any

from ..interfaces import ICompletion

__all__ = ["MOST_ABANDONED", "Entry", "TaskHeap", "movedArgs", "newEntry"]

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
    queue: TaskHeap | None
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


class TaskHeap:
    """
    Tasks by (priority, order ID).

    Invariants: C{tasks} is a heap; C{abandoned} is the number of its entries
    without arguments; C{byID} maps the ID of each live entry that has one to
    that entry; with no live entry C{tasks} is empty; C{abandoned} is at most the
    larger of L{MOST_ABANDONED} and the number of live entries.

    The hash or the equality of an ID may raise at any time. So C{byID} may keep the ID
    of an entry that has left (its C{queue} is not this one), and may lack the ID of an
    entry that L{absorb} moved here. L{find} skips the former. A caller that looks for the
    latter gets the exception or finds nothing. Nothing else depends on C{byID}.

    A signal handler may raise between any two steps: when the interpreter enters a Python
    function, at the end of a loop iteration, and after a call of a C function. The methods
    that the main thread calls leave an entry either in its old place or in its new one,
    and the counts agree with that.

    @ivar tasks: the heap; the same list object throughout.
    @ivar byID: the live entries that have an ID; the same dictionary throughout.
    @ivar abandoned: how many entries of C{tasks} are abandoned.
    @ivar dropped: entries that have left the heap unseen, for the caller to
        release where no lock is held.
    """

    __slots__ = ("abandoned", "byID", "dropped", "tasks")

    def __init__(self) -> None:
        self.tasks: list[Entry] = []
        self.byID: dict[Hashable, Entry] = {}
        self.abandoned = 0
        self.dropped: list[Any] = []

    def __len__(self) -> int:
        """
        The number of live entries.
        """
        return len(self.tasks) - self.abandoned

    def find(self, taskID: Hashable) -> Entry | None:
        """
        Return the live entry with an ID, or L{None}.
        """
        entry = self.byID.get(taskID)
        return entry if entry is not None and entry.queue is self else None

    def push(self, entry: Entry) -> None:
        """
        Add an entry, whose ID, if it has one, is not in the queue.

        @raise BaseException: if the hash or the equality of the ID raises. The entry is
            then not added.
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
        entry.queue = None
        if entry[2] is not None:
            self._forget(entry)
        if self.abandoned:
            self._tidy()
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
        moved = self.copyOf(entry)
        moved[0] = priority
        moved[3] = movedArgs(moved[3])
        # The step that may raise comes first. Nothing is called between it and the push.
        self.byID[taskID] = moved
        moved.queue = self
        # The old entry keeps its completion: a caller that has the entry finds the task
        # by its completion.
        entry[3] = entry.function = entry.invoke = entry.queue = None
        self.abandoned += 1
        heappush(self.tasks, moved)
        self._tidy()

    def copyOf(self, entry: Entry) -> Entry:
        """
        Return a copy of an entry that is in no queue.
        """
        priority, order, taskID, args = entry
        copy = newEntry(priority, order, taskID, args, entry.completion, entry.invoke, entry.since)
        copy.attempt = entry.attempt
        copy.function = entry.function
        return copy

    def withdraw(self, entry: Entry) -> Entry:
        """
        Take out an entry that waits here.

        @return: a copy of the entry as it was.
        """
        withdrawn = self.copyOf(entry)
        self.abandon(entry)
        return withdrawn

    def abandon(self, entry: Entry) -> None:
        """
        Remove an entry from this queue. The caller must hold a copy of it: without one,
        user objects would be released here.
        """
        if entry[2] is not None:
            self._forget(entry)
        # These steps call nothing.
        entry[3] = entry.completion = entry.function = entry.invoke = entry.queue = None
        self.abandoned += 1
        try:
            self._tidy()
        except BaseException:
            # A signal handler raised. A heap without a live entry must be empty.
            self._tidy()
            raise

    def withdrawAll(self, which: Callable[[Entry], bool], withdrawn: list[Entry]) -> None:
        """
        Take out every live entry for which C{which} is true, in one pass.

        @param withdrawn: receives the entries, in order, before anything is removed. So
            the caller has them even if a signal handler raises.
        """
        chosen = [entry for entry in self.tasks.copy() if entry[3] is not None and which(entry)]
        chosen.sort()
        withdrawn += chosen
        try:
            self._remove(chosen)
        except BaseException:
            self._remove(chosen)
            raise

    def _remove(self, entries: list[Entry]) -> None:
        """
        Remove entries. Repeating this does no harm.
        """
        for entry in entries:
            entry.queue = None
            if entry[2] is not None:
                self._forget(entry)
        self._sweep()

    def absorb(self, other: TaskHeap) -> None:
        """
        Take over all live entries of another queue, with their order IDs.
        """
        entries: list[Entry] = []
        try:
            other.withdrawAll(lambda entry: True, entries)
            for entry in entries:
                self._insert(entry)
        finally:
            # A signal handler may have raised.
            for entry in entries:
                if entry.queue is None:
                    self._insert(entry)
            self.dropped += other.dropped
            other.dropped = []

    def release(self) -> list[Any]:
        """
        Hand over what has collected in C{dropped}, to be let go by the caller.
        """
        dropped = self.dropped
        self.dropped = []
        return dropped

    def _insert(self, entry: Entry) -> None:
        """
        Add an entry even if its ID cannot be recorded. It cannot be found by its ID then.
        """
        try:
            self.push(entry)
        except BaseException:
            if entry.queue is None:
                entry.queue = self
                heappush(self.tasks, entry)

    def _forget(self, entry: Entry) -> None:
        """
        Free the ID of an entry that leaves. If the hash or the equality of the ID raises,
        the ID stays in C{byID} until no entry is left or the ID is queued again.
        """
        try:
            del self.byID[entry[2]]
        except BaseException:
            return

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
        # finaliser when it is among those kept is still counted. A signal handler may
        # raise after each append, and not between the steps before it.
        tasks = self.tasks
        kept: list[Entry] = []
        try:
            while tasks:
                entry = tasks[-1]
                del tasks[-1]
                if entry.queue is not None:
                    kept.append(entry)
                elif entry[3] is None:
                    self.abandoned -= 1
                    self.dropped.append(entry)
        finally:
            tasks += kept
            heapify(tasks)
        if self.abandoned and all(entry[3] is None for entry in tasks):
            self.abandoned -= len(tasks)
            self.dropped += tasks
            tasks.clear()
        while self.byID and not tasks:
            # The hash of these IDs raised when their entries left.
            self.dropped.append(self.byID.popitem())
