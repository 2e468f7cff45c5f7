"""
Tests for L{ganeti_pool.workerpool._taskheap}.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.workerpool._taskheap import MOST_ABANDONED, Entry, TaskHeap, newEntry


def make(priority: float, order: int, taskID: Any = None, args: Any = ()) -> Entry:
    """
    Make an entry with little in it.
    """
    return newEntry(priority, order, taskID, args, None, None, 0.0)


class Finalised(list):  # type: ignore[type-arg]
    """
    What a sweep drops, and what a finaliser does that runs before each.
    """

    def __init__(self, finalise: Callable[[], object]) -> None:
        super().__init__()
        self._finalise = finalise

    def append(self, entry: Any) -> None:
        """
        One more is dropped.
        """
        self._finalise()
        super().append(entry)


class EntryTests(SynchronousTestCase):
    """
    Tests for L{Entry}.
    """

    def test_isAList(self) -> None:
        """
        An entry equals the list of its four items, compares in C, and has no
        dictionary.
        """
        entry = make(1, 2, "t", (3,))
        self.assertEqual(entry, [1, 2, "t", (3,)])
        self.assertIs(Entry.__lt__, list.__lt__)
        self.assertFalse(hasattr(entry, "__dict__"))
        self.assertEqual((entry.attempt, entry.queue, entry.cancellation), (0, None, None))


class TaskHeapTests(SynchronousTestCase):
    """
    Tests for L{TaskHeap}.
    """

    def setUp(self) -> None:
        self.queue = TaskHeap()

    def drain(self) -> list[int]:
        """
        Pop all entries.

        @return: their order IDs.
        """
        return [self.queue.pop()[1] for _ in range(len(self.queue))]

    def assertSound(self) -> None:
        """
        The invariants hold.
        """
        queue = self.queue
        for place in range(1, len(queue.tasks)):
            self.assertFalse(queue.tasks[place] < queue.tasks[(place - 1) // 2])
        live = [entry for entry in queue.tasks if entry[3] is not None]
        self.assertEqual(len(queue), len(live))
        self.assertEqual(queue.abandoned, len(queue.tasks) - len(live))
        self.assertLessEqual(queue.abandoned, max(MOST_ABANDONED, len(live)))
        self.assertEqual(queue.byID, {e[2]: e for e in live if e[2] is not None})
        for entry in queue.tasks:
            self.assertIs(entry.queue, None if entry[3] is None else queue)
        self.assertEqual(queue.head(), min(live, default=None))
        if not live:
            self.assertEqual(queue.tasks, [])

    def test_order(self) -> None:
        """
        Entries come by priority and order ID; one that has come waits nowhere.
        """
        for order, priority in enumerate((2, 1, 2, 0, 1)):
            self.queue.push(make(priority, order))
            self.assertSound()
        first = self.queue.head()
        self.assertIs(self.queue.pop(), first)
        assert first is not None
        self.assertIsNone(first.queue)
        self.assertEqual(self.drain(), [1, 4, 0, 2])
        self.assertIsNone(self.queue.head())

    def test_sameObjects(self) -> None:
        """
        The heap and the dictionary stay the same objects, whatever happens.
        """
        tasks, byID = self.queue.tasks, self.queue.byID
        for order in range(3):
            self.queue.push(make(0, order, order))
        for priority in range(200):
            self.queue.reprioritise(0, priority)
        self.queue.pop()
        self.queue.withdraw(byID[2])
        self.queue.withdrawAll(lambda entry: True, [])
        self.assertIs(self.queue.tasks, tasks)
        self.assertIs(self.queue.byID, byID)

    def test_reprioritise(self) -> None:
        """
        A moved entry is another object with all that the old one had; the old one
        keeps the completion alone.
        """
        completion: Any = object()
        for args in ((1, 2), [1, 2]):
            entry = newEntry(5, 7, "t", args, completion, print, 3.0)
            entry.attempt = 2
            entry.function = len
            self.queue.push(entry)
            self.queue.reprioritise("t", 5)
            moved = self.queue.byID["t"]
            self.assertIsNot(moved, entry)
            self.assertEqual(entry, [5, 7, "t", None])
            self.assertEqual(
                (entry.completion, entry.function, entry.invoke, entry.queue),
                (completion, None, None, None),
            )
            self.assertEqual(moved, [5, 7, "t", args])
            self.assertEqual(
                (moved.completion, moved.function, moved.invoke, moved.since, moved.attempt),
                (completion, len, print, 3.0, 2),
            )
            self.assertIs(moved.queue, self.queue)
            self.assertSound()
            self.assertIs(self.queue.pop(), moved)
            self.assertIs(self.queue.release()[0], entry)
        self.assertRaises(KeyError, self.queue.reprioritise, "t", 5)

    def test_twins(self) -> None:
        """
        A moved entry sorts after its abandoned twins, on either side of the
        comparison, and moved arguments compare among themselves as plain ones do.
        """
        for args in ((1,), [1]):
            self.queue.push(make(0, 0, "t", args))
            self.queue.reprioritise("t", 0)
            moved = self.queue.byID["t"]
            (twin,) = (entry for entry in self.queue.tasks if entry is not moved)
            self.assertEqual((twin < moved, moved < twin, moved > twin), (True, False, True))
            self.assertEqual(sorted([moved, twin]), [twin, moved])
            self.assertEqual(sorted([twin, moved]), [twin, moved])
            kind = type(moved[3])
            self.assertEqual((kind(args) < kind(args), kind(args) > kind(args)), (False, False))
            self.assertTrue(kind(args) > kind())
            self.assertTrue(kind() < kind(args))
            self.queue.pop()

    def test_popPassesAbandoned(self) -> None:
        """
        Abandoned entries before the first live one leave with it, for the caller
        to drop.
        """
        for order in range(3):
            self.queue.push(make(order, order, order))
        old = self.queue.tasks[0]
        self.queue.reprioritise(0, 9)
        self.assertEqual(self.queue.pop()[1], 1)
        self.assertSound()
        self.assertEqual(self.queue.abandoned, 0)
        self.assertIs(self.queue.release()[0], old)
        self.assertEqual(self.queue.release(), [])
        self.assertEqual(self.drain(), [2, 0])

    def test_bound(self) -> None:
        """
        Abandoned entries are swept when they are more than 64 and outnumber the
        live ones; all of them are handed over.
        """
        self.queue.push(make(0, 0, "t"))
        for priority in range(MOST_ABANDONED):
            self.queue.reprioritise("t", priority)
        self.assertEqual((self.queue.abandoned, self.queue.dropped), (64, []))
        self.queue.reprioritise("t", 7)
        self.assertEqual((self.queue.abandoned, len(self.queue.release())), (0, 65))
        for order in range(1, 100):
            self.queue.push(make(0, order))
        for priority in range(100):
            self.queue.reprioritise("t", priority)
        self.assertEqual(self.queue.abandoned, 100)
        self.queue.pop()
        self.assertEqual((self.queue.abandoned, len(self.queue)), (99, 99))
        self.queue.pop()
        self.assertEqual((self.queue.abandoned, len(self.queue)), (0, 98))
        self.assertSound()

    def test_withdraw(self) -> None:
        """
        A withdrawn entry comes back with all it had, and its ID is free; with the
        last live entry the abandoned ones go too.
        """
        completion: Any = object()
        entry = newEntry(1, 0, "t", (1,), completion, print, 3.0)
        self.queue.push(entry)
        self.queue.push(make(0, 1))
        withdrawn = self.queue.withdraw(entry)
        self.assertEqual(withdrawn, [1, 0, "t", (1,)])
        self.assertEqual((withdrawn.completion, withdrawn.invoke), (completion, print))
        self.assertIsNone(withdrawn.queue)
        self.assertEqual((entry.completion, entry.invoke), (None, None))
        self.assertSound()
        self.assertEqual(self.queue.byID, {})
        self.queue.withdraw(self.queue.tasks[0])
        self.assertEqual((self.queue.tasks, self.queue.abandoned), ([], 0))
        self.assertEqual(len(self.queue.release()), 2)

    def test_withdrawAll(self) -> None:
        """
        Those that are chosen come in order, the rest stays, and abandoned ones go.
        """
        for order, priority in enumerate((0, 5, 1, 6, 8, 2, 3)):
            self.queue.push(make(priority, order, order or None))
        self.queue.reprioritise(2, 9)
        self.assertNotEqual([entry[1] for entry in self.queue.tasks], [0, 5, 6, 1, 3, 4, 2])
        chosen: list[Entry] = []
        self.queue.withdrawAll(lambda entry: entry[1] != 1, chosen)
        self.assertEqual([entry[1] for entry in chosen], [0, 5, 6, 3, 4, 2])
        self.assertEqual([entry.queue for entry in chosen], [None] * 6)
        self.assertEqual(len(self.queue.release()), 1)
        self.assertSound()
        self.assertEqual(self.drain(), [1])

    def test_absorb(self) -> None:
        """
        Another queue's entries join with their order IDs, and what it had to drop
        is to be dropped here.
        """
        other = TaskHeap()
        self.queue.push(make(0, 1))
        for order in (0, 2):
            other.push(make(0, order, order))
        other.reprioritise(0, 0)
        self.queue.absorb(other)
        self.assertEqual((other.tasks, other.byID, other.dropped), ([], {}, []))
        self.assertEqual(len(self.queue.dropped), 1)
        self.assertSound()
        self.assertEqual(self.drain(), [0, 1, 2])

    def test_pushedWhileWithdrawing(self) -> None:
        """
        An entry that a finaliser pushes while entries are withdrawn is not lost.
        """
        late = iter(range(10, 100))

        def which(entry: Entry) -> bool:
            self.queue.push(make(-1, next(late)))
            return bool(entry[1] == 2)

        for order in range(4):
            self.queue.push(make(0, order))
        withdrawn: list[Entry] = []
        self.queue.withdrawAll(which, withdrawn)
        self.assertEqual([entry[1] for entry in withdrawn], [2])
        self.assertSound()
        self.assertEqual(self.drain(), [10, 11, 12, 13, 0, 1, 3])

    def test_pushedWhileSweeping(self) -> None:
        """
        An entry that a finaliser pushes in the midst of a sweep is not lost.
        """
        queue = self.queue

        def push() -> None:
            if not queue.dropped:
                queue.push(make(-1, 1))

        queue.dropped = Finalised(push)
        queue.push(make(0, 0, "t"))
        for priority in range(MOST_ABANDONED + 1):
            queue.reprioritise("t", priority)
        self.assertEqual(queue.abandoned, 0)
        self.assertSound()
        self.assertEqual(self.drain(), [1, 0])

    def withdrawWhileSweeping(self, taskID: str) -> None:
        """
        Have a finaliser withdraw a task as soon as a sweep has taken it out of the heap.
        """
        queue = self.queue

        def withdraw() -> None:
            waiting = queue.byID.get(taskID)
            if waiting is not None and waiting not in queue.tasks:
                queue.withdraw(waiting)

        queue.dropped = Finalised(withdraw)

    def test_withdrawnWhileSweeping(self) -> None:
        """
        An entry that a finaliser withdraws in the midst of a sweep is gone, and counted
        as long as it lies in the heap.
        """
        queue = self.queue
        self.withdrawWhileSweeping("withdrawn")
        queue.push(make(0, 0, "t"))
        queue.push(make(9, 1, "withdrawn"))
        queue.push(make(0, 2))
        for priority in range(MOST_ABANDONED + 1):
            queue.reprioritise("t", priority)
        self.assertEqual(len(queue), 2)
        self.assertSound()
        self.assertEqual(self.drain(), [2, 0])

    def test_emptiedWhileSweeping(self) -> None:
        """
        With no live entry the heap is empty, also if a finaliser withdraws the last one
        in the midst of a sweep.
        """
        queue = self.queue
        self.withdrawWhileSweeping("t")
        queue.push(make(0, 0, "t"))
        for priority in range(MOST_ABANDONED + 1):
            queue.reprioritise("t", -priority if priority < MOST_ABANDONED else 9)
        self.assertEqual((queue.tasks, queue.abandoned, queue.byID), ([], 0, {}))

    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("push"), st.integers(-2, 2)),
                st.tuples(st.just("move"), st.integers(0, 9), st.integers(-2, 2)),
                st.tuples(st.just("withdraw"), st.integers(0, 9)),
                st.tuples(st.just("pop")),
            ),
            max_size=300,
        )
    )
    def test_model(self, steps: list[tuple[Any, ...]]) -> None:
        """
        Whatever is done, the queue does as a sorted list does, and is sound.
        """
        self.queue = queue = TaskHeap()
        model: list[list[Any]] = []
        for order, (what, *values) in enumerate(steps):
            if what == "push":
                queue.push(make(values[0], order, order))
                model.append([values[0], order])
            elif model and what == "pop":
                self.assertEqual(queue.pop()[:2], heapq.nsmallest(1, model)[0])
                model.remove(min(model))
            elif model and what == "move":
                one = model[values[0] % len(model)]
                queue.reprioritise(one[1], values[1])
                one[0] = values[1]
            elif model:
                one = model.pop(values[0] % len(model))
                queue.withdraw(queue.byID[one[1]])
            self.assertSound()
            self.assertEqual(sorted(e[:2] for e in queue.tasks if e[3] is not None), sorted(model))
