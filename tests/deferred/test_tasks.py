"""
Tests for tasks and their Deferreds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from ganeti_pool.deferred import DeferredWorkerPool, deferToPool
from ganeti_pool.errors import (
    DeferTask,
    DuplicateTaskID,
    InvalidArgument,
    NoSuchTask,
    ProgrammerError,
    WrongThread,
)
from ganeti_pool.interfaces import ICallInThread, IDeferredWorkerPool
from ganeti_pool.testing import makeSteppingPool
from ganeti_pool.workerpool import BaseWorker

from ..workerpool.threadcase import Other
from .steppingcase import SteppingCase


class ConstructionTests(SynchronousTestCase):
    """
    Tests for the making of a L{DeferredWorkerPool}.
    """

    def test_workerClass(self) -> None:
        """
        A worker class that cannot be called is refused.
        """
        self.assertRaises(InvalidArgument, DeferredWorkerPool, None, "pool", 1, "no class")


class TaskTests(SteppingCase):
    """
    Tests for tasks and their Deferreds.
    """

    def test_interfaces(self) -> None:
        """
        A pool and its views provide their contracts.
        """
        verifyObject(IDeferredWorkerPool, self.pool)
        verifyObject(ICallInThread, self.pool)
        verifyObject(ICallInThread, self.pool.atPriority(1))

    def test_result(self) -> None:
        """
        A Deferred has what C{RunTask} returns, on the reactor's turn and not
        before; C{None} is a result.
        """
        results = [self.pool.addTask((self.see, 42)), self.pool.addTask([self.see, None])]
        self.stepping.runAll()
        self.assertNoResult(results[0])
        self.settle()
        self.assertEqual([self.successResultOf(result) for result in results], [42, None])

    def test_failure(self) -> None:
        """
        A Deferred has the failure of C{RunTask}.
        """
        result = self.pool.addTask((self.fail1,))
        self.settle()
        self.failureResultOf(result, ZeroDivisionError)

    def test_many(self) -> None:
        """
        Many tasks have a Deferred each, in their order.
        """
        results = self.pool.addManyTasks(
            [(self.see, n) for n in range(4)], priority=[3, 2, 1, 0], taskID=[None, 1, 2, 3]
        )
        self.settle()
        self.assertEqual([self.successResultOf(result) for result in results], [0, 1, 2, 3])
        self.assertEqual(self.seen, [3, 2, 1, 0])
        self.assertEqual(self.pool.addManyTasks([]), [])

    def test_order(self) -> None:
        """
        Deferreds fire in the order in which the outcomes came.
        """
        for name, priority in (("c", 2), ("a", 0), ("b", 1)):
            self.note(self.pool.addTask((self.see, name), priority, name), name * 2)
        self.settle()
        self.assertEqual(self.seen, ["a", "b", "c", "aa", "bb", "cc"])

    def test_deferral(self) -> None:
        """
        A deferred task fires when it is finally done, once.
        """
        runs: list[int] = []

        def task(worker: BaseWorker) -> int:
            runs.append(1)
            if len(runs) < 3:
                raise DeferTask(len(runs))
            return len(runs)

        result = self.pool.addTask((task,))
        self.stepping.step()
        self.reactor.run()
        self.assertNoResult(result)
        self.settle()
        self.assertEqual(self.successResultOf(result), 3)

    def test_deferralFails(self) -> None:
        """
        A deferral whose ID has been queued again meanwhile is the task's failure.
        """

        def task(worker: BaseWorker) -> None:
            self.stepping.AddTask((self.see,), task_id="t")
            raise DeferTask

        result = self.pool.addTask((task,), taskID="t")
        self.settle()
        self.failureResultOf(result, DuplicateTaskID)

    def test_duplicates(self) -> None:
        """
        An ID that is queued, held or running is refused, and nothing is added.
        """
        self.pool.addTask((self.see,), taskID="queued")

        def task(worker: BaseWorker) -> str:
            error = self.assertRaises(DuplicateTaskID, self.pool.addTask, (self.see,), 0, "running")
            return str(error)

        refused = self.pool.addTask((task,), taskID="running")
        error = self.assertRaises(DuplicateTaskID, self.pool.addTask, (self.see,), 0, "queued")
        self.assertIn("it is queued", str(error))
        self.pool.quiesce()
        self.pool.addTask((self.see,), taskID="held")
        self.assertRaises(DuplicateTaskID, self.pool.addTask, (self.see,), 0, "held")
        for ids in (["new", "held"], ["new", "queued"], ["new", "new"]):
            self.assertRaises(
                DuplicateTaskID, self.pool.addManyTasks, [(self.see,)] * 2, taskID=ids
            )
        self.assertEqual(self.pool.statistics().added, 3)
        self.settle()
        self.assertIn("it is running", self.successResultOf(refused))

    def test_ownIDAgain(self) -> None:
        """
        The callback of a task may add a task with the same ID.
        """
        again: list[Deferred[Any]] = []

        def add(result: object) -> object:
            again.append(self.pool.addTask((self.see, 2), taskID="t"))
            return result

        first = self.pool.addTask((self.see, 1), taskID="t").addCallback(add)
        self.settle()
        self.assertEqual(self.successResultOf(first), 1)
        self.assertEqual(self.successResultOf(again[0]), 2)

    def test_misuse(self) -> None:
        """
        What cannot be used is refused at once, and nothing is added.
        """
        self.assertRaises(InvalidArgument, self.pool.addTask, "text")
        self.assertRaises(InvalidArgument, self.pool.addTask, (), "high")
        self.assertRaises(InvalidArgument, self.pool.addTask, (), 0, [])
        self.assertRaises(InvalidArgument, self.pool.addManyTasks, 5)
        self.assertRaises(ProgrammerError, self.pool.addManyTasks, [()], [1, 2])
        self.assertRaises(InvalidArgument, self.pool.resize, -1)
        self.assertRaises(InvalidArgument, self.pool.atPriority, "high")
        self.assertRaises(InvalidArgument, self.pool.changeTaskPriority, "t", "high")
        self.assertRaises(InvalidArgument, makeSteppingPool, -1)
        for deadline in (-1, "1", float("nan"), float("inf")):
            self.assertRaises(InvalidArgument, self.pool.terminateWorkers, False, deadline)
            self.assertRaises(InvalidArgument, self.pool.shutdownPolicy, False, deadline)
        statistics = self.pool.statistics()
        self.assertEqual((statistics.added, statistics.workers), (0, 2))
        self.settle()
        self.assertIn("runs", repr(self.pool))

    def test_pause(self) -> None:
        """
        A pool that is paused takes tasks and starts none.
        """
        self.pool.setActive(False)
        result = self.pool.addTask((self.see,))
        self.settle()
        self.assertNoResult(result)
        self.assertFalse(self.pool.statistics().active)
        self.pool.setActive(True)
        self.settle()
        self.successResultOf(result)

    def test_hasRunningTasks(self) -> None:
        """
        C{hasRunningTasks} says whether a task runs.
        """
        result = self.pool.addTask((lambda worker: self.pool.hasRunningTasks(),))
        self.assertFalse(self.pool.hasRunningTasks())
        self.settle()
        self.assertTrue(self.successResultOf(result))
        self.assertFalse(self.pool.hasRunningTasks())

    def test_changePriority(self) -> None:
        """
        A task that waits is moved; one that does not is refused.
        """
        self.pool.addTask((self.see, 1), 1, 1)
        self.pool.addTask((self.see, 2), 2, 2)
        self.pool.changeTaskPriority(2, 0)
        self.settle()
        self.assertEqual(self.seen, [2, 1])
        self.assertRaises(NoSuchTask, self.pool.changeTaskPriority, 2, 0)

    def test_wrongThread(self) -> None:
        """
        What is the reactor thread's is refused on another one, before anything
        changes, with a text that says what to do there.
        """
        pool = self.pool
        calls: dict[str, Callable[[], object]] = {
            "start": pool.start,
            "shutdownPolicy": pool.shutdownPolicy,
            "addTask": lambda: pool.addTask((self.see,)),
            "addManyTasks": lambda: pool.addManyTasks([(self.see,)]),
            "changeTaskPriority": lambda: pool.changeTaskPriority("t", 1),
            "cancelTask": lambda: pool.cancelTask("t"),
            "setActive": lambda: pool.setActive(False),
            "hasRunningTasks": pool.hasRunningTasks,
            "quiesce": pool.quiesce,
            "resize": lambda: pool.resize(1),
            "terminateWorkers": pool.terminateWorkers,
            "deferToPool": lambda: deferToPool(pool, abs, -1),
        }
        waiting = pool.addTask((self.see, 1), 5, "t")
        before = pool.statistics()
        for name, call in calls.items():
            error = self.assertRaises(WrongThread, Other(call).result)
            self.assertEqual(error.call, name)
            self.assertIn("callInThread", str(error))
        self.assertRaises(
            WrongThread, Other(lambda: deferToPool(pool.atPriority(1), abs, -1)).result
        )
        after: Any = Other(pool.statistics).result()
        for name in ("added", "queued", "workers", "active"):
            self.assertEqual(getattr(after, name), getattr(before, name))
        self.settle()
        self.successResultOf(waiting)
        methods = {
            name
            for name in IDeferredWorkerPool.names(all=True)
            if name not in ("pool", "statistics")
        }
        self.assertEqual(methods - set(calls), set(ICallInThread.names()) | {"atPriority"})
