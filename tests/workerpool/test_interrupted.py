"""
Calls of a pool that an exception interrupts at every step, as a signal handler may.

A test raises at the first step, at the second, and so on, until the call ends before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ganeti_pool.errors import TaskCancelled
from ganeti_pool.workerpool import BaseWorker
from ganeti_pool.workerpool._taskheap import MOST_ABANDONED, Entry, TaskHeap, newEntry

from ..poolcontract import Recorder
from .threadcase import PATIENCE, Interrupted, Interruption, Other, ThreadCase, WatchedPool


class InterruptedTests(ThreadCase):
    """
    Tests for calls that are interrupted.
    """

    def everyStep(
        self, call: Callable[[WatchedPool], object], prepare: Callable[[WatchedPool], object]
    ) -> Iterator[WatchedPool]:
        """
        Make a call of a new pool, whose worker is idle, and interrupt it at every step.

        @return: the pools, after the interruption.
        """
        isOver = False
        step = 0
        while not isOver:
            step += 1
            self.seen.clear()
            pool = self.makePool(1)
            pool.waitUntilIdle(1)
            prepare(pool)
            isOver = Interrupted(step, lambda: call(pool)).isOver  # noqa: B023
            self.assertTrue(Other(self.tryLock, pool).result(), f"step {step}")
            yield pool
            Other(pool.TerminateWorkers).result()
            self.assertEqual((pool._workers, pool._termworkers), ([], []))
        self.assertGreater(step, 5)

    def tryLock(self, pool: WatchedPool) -> bool:
        """
        Whether another thread can have the lock of a pool.
        """
        if not pool._lock.acquire(timeout=PATIENCE):
            return False
        pool._lock.release()
        return True

    def assertQuiet(self, pool: WatchedPool) -> None:
        """
        The pool runs all that it has, and accounts for it.
        """
        Other(pool.Quiesce).result()
        statistics = pool.GetStatistics()
        self.assertEqual((statistics.queued, statistics.running), (0, 0))
        self.assertEqual((pool._tasks, pool._taskdata, pool._queue.abandoned), ([], {}, 0))
        self.assertEqual(statistics.succeeded, len(self.seen))

    def test_addTask(self) -> None:
        """
        An interrupted C{AddTask} has added its task, or has not.
        """
        added = set()
        for pool in self.everyStep(lambda pool: pool.AddTask((self.see, 1), 0, "t"), str):
            self.assertQuiet(pool)
            self.assertIn(self.seen, ([], [1]))
            added.add(len(self.seen))
        self.assertEqual(added, {0, 1})

    def test_addManyTasks(self) -> None:
        """
        An interrupted C{AddManyTasks} has added all tasks, or none.
        """
        tasks = [(self.see, n) for n in range(3)]
        added = set()
        for pool in self.everyStep(lambda pool: pool.AddManyTasks(tasks, 0, ["a", "b", "c"]), str):
            self.assertQuiet(pool)
            self.assertIn(self.seen, ([], [0, 1, 2]))
            added.add(len(self.seen))
        self.assertEqual(added, {0, 3})

    def test_changeTaskPriority(self) -> None:
        """
        An interrupted C{ChangeTaskPriority} has moved the task, or has not, and no other task
        is lost, even if the heap was just being tidied.
        """

        def prepare(pool: WatchedPool) -> None:
            pool.SetActive(False)
            pool.AddTask((self.see, "moved"), 0, "t")
            pool.AddTask((self.see, "other"), 50, "u")
            for priority in range(MOST_ABANDONED):
                pool.ChangeTaskPriority("t", priority % 50)
            self.assertEqual(len(pool._tasks), MOST_ABANDONED + 2)

        orders = set()
        for pool in self.everyStep(lambda pool: pool.ChangeTaskPriority("t", 99), prepare):
            pool.SetActive(True)
            self.assertQuiet(pool)
            orders.add(tuple(self.seen))
        self.assertEqual(orders, {("moved", "other"), ("other", "moved")})

    def test_cancelTask(self) -> None:
        """
        An interrupted C{CancelTask} has withdrawn the task and told its completion, or neither.
        """
        completions: list[Recorder] = []

        def prepare(pool: WatchedPool) -> None:
            pool.SetActive(False)
            completions.append(Recorder())
            pool.AddTask((self.see, 1), 0, "t", completion=completions[-1])

        cancelled = set()
        for pool in self.everyStep(lambda pool: pool.CancelTask("t"), prepare):
            pool.SetActive(True)
            self.assertQuiet(pool)
            events = completions[-1].events
            if self.seen:
                self.assertEqual(events, [("begin", 1), ("succeed", None)])
            else:
                self.assertEqual(events, [("fail", TaskCancelled)])
            cancelled.add(pool.GetStatistics().cancelled)
        self.assertEqual(cancelled, {0, 1})

    def test_setActive(self) -> None:
        """
        After an interrupted C{SetActive} another one sets the pool going.
        """

        def prepare(pool: WatchedPool) -> None:
            pool.SetActive(False)
            pool.AddTask((self.see, 1))

        for pool in self.everyStep(lambda pool: pool.SetActive(True), prepare):
            pool.SetActive(True)
            self.assertQuiet(pool)
            self.assertEqual(self.seen, [1])

    def test_quiesce(self) -> None:
        """
        An interrupted C{Quiesce} leaves no thread waiting that adds a task.
        """
        for pool in self.everyStep(lambda pool: pool.Quiesce(), str):
            Other(pool.AddTask, (self.see, 1)).result()
            self.assertQuiet(pool)
            self.assertEqual(self.seen, [1])

    def test_resize(self) -> None:
        """
        After an interrupted C{Resize} another one makes the pool as large as it is to be, and
        no thread waits for workers that nobody starts.
        """
        for size in (3, 0):
            for pool in self.everyStep(lambda pool: pool.Resize(size), str):  # noqa: B023
                Other(pool.Resize, 2).result()
                self.assertEqual((pool._starting, len(pool._workers)), (0, 2))
                pool.AddTask((self.see, 1))
                self.assertQuiet(pool)

    def test_terminateWorkers(self) -> None:
        """
        After an interrupted C{TerminateWorkers} another one ends the workers, and each task
        that had a completion has told it that it was not started.
        """
        completions: list[Recorder] = []

        def prepare(pool: WatchedPool) -> None:
            pool.SetActive(False)
            completions.append(Recorder())
            pool.AddTask((self.see, 1), 0, "t", completion=completions[-1])

        for pool in self.everyStep(lambda pool: pool.TerminateWorkers(), prepare):
            Other(pool.TerminateWorkers).result()
            self.assertEqual([event for event, *_ in completions[-1].events], ["fail"])
            self.assertEqual(pool.GetStatistics().unstarted, 1)
            self.assertEqual(self.seen, [])

    def test_addTaskUnlocked(self) -> None:
        """
        An interrupted C{_AddTaskUnlocked} has added its task, or has not.
        """

        def call(pool: WatchedPool) -> None:
            with pool._lock:
                pool._AddTaskUnlocked((self.see, 1), 0, "t")

        added = set()
        for pool in self.everyStep(call, str):
            self.assertQuiet(pool)
            self.assertIn(self.seen, ([], [1]))
            added.add(len(self.seen))
        self.assertEqual(added, {0, 1})

    def test_absorb(self) -> None:
        """
        An interrupted move of all tasks from one queue to another loses none and doubles none.
        """
        isOver = False
        step = 0
        while not isOver:
            step += 1
            source, target = TaskHeap(), TaskHeap()
            entries: list[Entry] = [newEntry(0, n, n, (), None, None, 0.0) for n in range(3)]
            for entry in entries:
                source.push(entry)
            isOver = Interrupted(step, lambda: target.absorb(source)).isOver  # noqa: B023
            places = [entry.queue for entry in entries]
            self.assertEqual(sorted([*source.tasks, *target.tasks]), entries, f"step {step}")
            for entry, place in zip(entries, places, strict=True):
                self.assertIn(entry, place.tasks)  # type: ignore[union-attr]
        self.assertGreater(step, 5)

    def test_terminateWhileStarting(self) -> None:
        """
        A termination that is interrupted where it waits for workers to start leaves the lock free.
        """
        pool = self.makePool(1)

        def wait() -> None:
            pool._lock.release()
            raise Interruption

        pool._starting = 1
        self.patch(pool._changed, "wait", wait)
        self.assertRaises(Interruption, pool.TerminateWorkers)
        pool._starting = 0
        self.assertTrue(Other(self.tryLock, pool).result())

    def test_addWhileQuiescing(self) -> None:
        """
        A thread that is interrupted where it waits to add a task does not leave the lock
        taken, and gets the interruption.
        """

        class Interrupting(WatchedPool):
            def _OnOwnWorker(self) -> BaseWorker | None:
                if self.adding:
                    self._lock.release()
                    raise Interruption
                return super()._OnOwnWorker()

        pool = self.makePool(1, poolClass=Interrupting)
        gate = self.makeGate()
        pool.AddTask((gate,))
        gate.reached()
        quiesce = self.quiesce(pool)
        self.assertRaises(Interruption, pool.AddTask, (self.see, 1))
        pool.adding = 0
        self.assertTrue(Other(self.tryLock, pool).result())
        gate.open()
        quiesce.result()
        self.assertEqual(self.seen, [])
