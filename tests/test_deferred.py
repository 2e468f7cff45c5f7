"""
Tests for L{ganeti_pool.deferred}, step by step: tasks, calls and fences. Its life is
in L{tests.test_deferred_life}, what needs threads in L{tests.test_deferred_reactor}.
"""

from __future__ import annotations

import contextvars
import gc
import weakref
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python import context
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from ganeti_pool.deferred import DeferredWorkerPool, deferToPool
from ganeti_pool.errors import (
    DeferTask,
    DuplicateTaskID,
    InvalidArgument,
    NoSuchTask,
    PoolTerminated,
    ProgrammerError,
    TaskCancelled,
    WrongThread,
)
from ganeti_pool.interfaces import ICallInThread, IDeferredWorkerPool
from ganeti_pool.testing import makeSteppingPool
from ganeti_pool.workerpool import BaseWorker

from .poolcontract import FunctionWorker
from .workerpool.threadcase import Other

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="none")


class Thing:
    """
    Something that can be watched for its end.
    """


class SteppingCase(SynchronousTestCase):
    """
    Tests with a pool of two workers whose tasks are functions that get the worker.
    """

    def setUp(self) -> None:
        self.pool, self.stepping, self.reactor = makeSteppingPool(2, FunctionWorker)
        self.seen: list[Any] = []

    def settle(self) -> None:
        """
        Run all that can be run, and fire what is to be fired.
        """
        while self.stepping.runAll() or self.reactor.turn():
            pass

    def see(self, worker: BaseWorker, value: object = None) -> object:
        """
        A task that notes and returns a value.
        """
        self.seen.append(value)
        return value

    def fail1(self, worker: BaseWorker) -> None:
        """
        A task that fails.
        """
        raise ZeroDivisionError

    def note(self, deferred: Deferred[Any], name: object) -> None:
        """
        Note when a Deferred fires, and with what kind of failure if with one.
        """

        def fired(result: object) -> None:
            self.seen.append((name, result.type) if isinstance(result, Failure) else name)

        deferred.addBoth(fired)


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
        first = self.pool.addTask((self.see, 1), taskID="t")
        again: list[Deferred[Any]] = []
        first.addCallback(
            lambda _: again.append(self.pool.addTask((self.see, 2), taskID="t")) or "first"
        )
        self.settle()
        self.assertEqual(self.successResultOf(first), "first")
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
            name for name in IDeferredWorkerPool.names(all=True) if name not in ("pool", "statistics")
        }
        self.assertEqual(methods - set(calls), set(ICallInThread.names()) | {"atPriority"})


class CancellationTests(SteppingCase):
    """
    Tests for the cancellation of tasks.
    """

    def test_queued(self) -> None:
        """
        A queued task whose Deferred is cancelled never runs.
        """
        for taskID in (None, "t"):
            result = self.pool.addTask((self.see,), taskID=taskID)
            result.cancel()
            self.failureResultOf(result, CancelledError)
            self.assertEqual(self.pool.statistics().queued, 0)
        self.settle()
        self.assertEqual((self.seen, self.pool.statistics().cancelled), ([], 2))

    def test_byID(self) -> None:
        """
        A task that is withdrawn by its ID fails in its turn with L{TaskCancelled},
        and its ID is free at once.
        """
        result = self.pool.addTask((self.see,), taskID="t")
        self.pool.cancelTask("t")
        self.assertNoResult(result)
        other = self.pool.addTask((self.see, "other"), taskID="t")
        self.settle()
        self.assertIsInstance(self.failureResultOf(result, TaskCancelled).value, CancelledError)
        self.assertEqual(self.successResultOf(other), "other")
        self.assertRaises(NoSuchTask, self.pool.cancelTask, "t")

    def test_held(self) -> None:
        """
        A task that is held behind a fence can be withdrawn, by its Deferred and by
        its ID.
        """
        self.pool.addTask((self.see, "before"))
        self.pool.quiesce()
        first = self.pool.addTask((self.see, 1))
        second = self.pool.addTask((self.see, 2), taskID="t")
        first.cancel()
        self.pool.cancelTask("t")
        self.settle()
        self.failureResultOf(first, CancelledError)
        self.failureResultOf(second, TaskCancelled)
        self.assertEqual(self.seen, ["before"])

    def test_moved(self) -> None:
        """
        A task that has been moved, however often, is withdrawn by its Deferred;
        another one is not.
        """
        result = self.pool.addTask((self.see, 1), taskID="t")
        other = self.pool.addTask((self.see, 2), taskID="u")
        for priority in (5, 0, 7):
            self.pool.changeTaskPriority("t", priority)
        result.cancel()
        self.settle()
        self.failureResultOf(result, CancelledError)
        self.successResultOf(other)
        self.assertEqual(self.seen, [2])

    def test_movedThenRunning(self) -> None:
        """
        A task that has been moved and then started is told when its Deferred is
        cancelled.
        """

        def task(worker: BaseWorker) -> bool:
            result.cancel()
            self.seen.append(worker.IsCancelled())
            return True

        result = self.pool.addTask((task,), taskID="t")
        self.pool.changeTaskPriority("t", 5)
        self.settle()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(self.seen, [True])

    def test_running(self) -> None:
        """
        When the Deferred of a running task is cancelled it fails at once, the task
        is told, its late result is dropped, and its ID is taken until it ends.
        """

        def task(worker: BaseWorker) -> str:
            worker.CallWhenCancelled(lambda: self.seen.append("told"))
            result.cancel()
            self.failureResultOf(result, CancelledError)
            self.assertTrue(worker.IsCancelled())
            self.assertRaises(DuplicateTaskID, self.pool.addTask, (self.see,), 0, "t")
            return "late"

        result = self.pool.addTask((task,), taskID="t")
        self.note(result, "fired")
        self.stepping.step()
        self.assertEqual(self.seen, ["told", "fired"] if False else self.seen)
        self.assertEqual(self.pool.statistics().succeeded, 1)
        again = self.pool.addTask((self.see, "again"), taskID="t")
        self.settle()
        self.successResultOf(again)

    def test_lateFailure(self) -> None:
        """
        The late failure of a task that was cancelled is logged, with the pool.
        """

        def task(worker: BaseWorker) -> None:
            result.cancel()
            raise ZeroDivisionError

        result = self.pool.addTask((task,))
        self.settle()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_lateCancellation(self) -> None:
        """
        A task that was cancelled and fails for that reason is not logged, nor one
        that defers itself then, which is not put back.
        """

        def task(worker: BaseWorker, error: Exception) -> None:
            results[-1].cancel()
            raise error

        results: list[Deferred[Any]] = []
        for error in (CancelledError(), DeferTask()):
            results.append(self.pool.addTask((task, error)))
            self.settle()
            self.failureResultOf(results[-1], CancelledError)
        self.assertEqual(self.pool.statistics().queued, 0)
        self.assertEqual(self.pool.statistics().cancelled, 1)

    def test_endedNotDelivered(self) -> None:
        """
        A task that has ended and whose Deferred is cancelled before that fires: the
        result is dropped, and a later task of the same ID is left alone.
        """
        result = self.pool.addTask((self.see, 1), taskID="t")
        self.stepping.step()
        other = self.pool.addTask((self.see, 2), taskID="t")
        result.cancel()
        self.settle()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(self.successResultOf(other), 2)

    def test_withdrawnNotDelivered(self) -> None:
        """
        A task that was withdrawn by its ID and whose Deferred is cancelled then: a
        later task of the same ID, with or without a Deferred, is left alone.
        """
        for add in (self.pool.addTask, self.stepping.AddTask):
            result = self.pool.addTask((self.see, "withdrawn"), taskID="t")
            self.pool.cancelTask("t")
            add((self.see, "other"), 0, "t")  # type: ignore[operator]
            result.cancel()
            self.settle()
            self.failureResultOf(result, CancelledError)
        self.assertEqual(self.seen, ["other", "other"])

    def test_afterTheEnd(self) -> None:
        """
        The cancellation of a Deferred that has fired does nothing.
        """
        result = self.pool.addTask((self.see, 1))
        self.settle()
        result.cancel()
        self.assertEqual(self.successResultOf(result), 1)

    def test_runningThenQueuedAgain(self) -> None:
        """
        When a deferred task waits for its next run its Deferred withdraws it.
        """

        def task(worker: BaseWorker) -> None:
            self.seen.append("run")
            raise DeferTask

        result = self.pool.addTask((task,), taskID="t")
        self.stepping.step()
        result.cancel()
        self.settle()
        self.failureResultOf(result, CancelledError)
        self.assertEqual((self.seen, self.pool.statistics().queued), (["run"], 0))

    def test_firedByAnother(self) -> None:
        """
        A Deferred that somebody else has fired breaks nothing for those behind it.
        """
        results = self.pool.addManyTasks([(self.see, n) for n in range(3)])
        results[0].callback("mine")
        self.stepping.runAll()
        self.assertRaises(Exception, self.reactor.run)
        self.settle()
        self.assertEqual([self.successResultOf(result) for result in results], ["mine", 1, 2])


class FenceTests(SteppingCase):
    """
    Tests for C{quiesce}.
    """

    def test_empty(self) -> None:
        """
        A pool that is quiet is so in the next turn.
        """
        quiet = self.pool.quiesce()
        self.assertNoResult(quiet)
        self.settle()
        self.assertIs(self.successResultOf(quiet), None)

    def test_fence(self) -> None:
        """
        A fence waits for what was submitted before it, whatever its priority; what
        is submitted later waits for the fence, keeps its order, and can be moved.
        """
        self.note(self.pool.addTask((self.see, "low"), 9), "fired low")
        self.note(self.pool.quiesce(), "quiet")
        self.pool.addTask((self.see, "second"), 1, "second")
        self.pool.addTask((self.see, "first"), 5, "first")
        self.pool.changeTaskPriority("first", 0)
        self.assertEqual(self.pool.statistics().queued, 3)
        self.stepping.step()
        self.reactor.run()
        self.assertEqual(self.seen, ["low", "fired low", "quiet"])
        self.settle()
        self.assertEqual(self.seen[3:], ["first", "second"])

    def test_runningTask(self) -> None:
        """
        A fence waits for a running task, and its deferrals, too.
        """
        runs: list[int] = []

        def task(worker: BaseWorker) -> None:
            if not runs:
                self.note(self.pool.quiesce(), "quiet")
            runs.append(1)
            if len(runs) < 3:
                raise DeferTask
            self.seen.append("ran")

        self.note(self.pool.addTask((task,)), "fired")
        self.settle()
        self.assertEqual(self.seen, ["ran", "fired", "quiet"])

    def test_nested(self) -> None:
        """
        Each fence waits for what was submitted before it.
        """
        for n in range(3):
            self.note(self.pool.addTask((self.see, f"task {n}"), -n), f"fired {n}")
            self.note(self.pool.quiesce(), f"quiet {n}")
        self.settle()
        fired = [entry for entry in self.seen if not entry.startswith("task")]
        self.assertEqual(
            fired, ["fired 0", "quiet 0", "fired 1", "quiet 1", "fired 2", "quiet 2"]
        )
        ran = [entry for entry in self.seen if entry.startswith("task")]
        self.assertEqual(ran, ["task 0", "task 1", "task 2"])

    def test_cancelled(self) -> None:
        """
        A fence whose Deferred is cancelled is lifted: what it held goes on.
        """
        self.pool.addTask((self.see, "before"), 1)
        quiet = self.pool.quiesce()
        self.pool.addTask((self.see, "behind"), 0)
        quiet.cancel()
        self.failureResultOf(quiet, CancelledError)
        self.settle()
        self.assertEqual(self.seen, ["behind", "before"])

    def test_cancelledOfTwo(self) -> None:
        """
        When the first of two fences is lifted, the second stands.
        """
        self.pool.addTask((self.see, 0))
        first = self.pool.quiesce()
        self.pool.addTask((self.see, 1))
        self.note(self.pool.quiesce(), "quiet")
        self.pool.addTask((self.see, 2), -1)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.stepping.step()
        self.stepping.step()
        self.reactor.run()
        self.settle()
        self.assertEqual(self.seen, [0, 1, "quiet", 2])

    def test_cancelledTooLate(self) -> None:
        """
        A fence that is over and whose Deferred is cancelled before that fires: it
        fires once.
        """
        quiet = self.pool.quiesce()
        quiet.cancel()
        self.settle()
        self.failureResultOf(quiet, CancelledError)

    def test_terminated(self) -> None:
        """
        A termination ends a fence with L{PoolTerminated}, after the Deferreds of
        what it gives up and before its own; so does one before the fence.
        """
        self.note(self.pool.addTask((self.see, 0)), 0)
        self.note(self.pool.quiesce(), "quiet")
        self.note(self.pool.addTask((self.see, 1)), 1)
        self.note(self.pool.terminateWorkers(), "terminated")
        self.failureResultOf(self.pool.quiesce(), PoolTerminated)
        self.settle()
        names = [name[0] if isinstance(name, tuple) else name for name in self.seen]
        self.assertEqual(names, [0, 1, "quiet", "terminated"])
        self.assertIn(("quiet", PoolTerminated), self.seen)
        self.failureResultOf(self.pool.quiesce(), PoolTerminated)

    def test_callsAreHeld(self) -> None:
        """
        C{callInThread} does not wait for a fence, from another thread nor from a
        worker of the pool: the call is held.
        """

        def task(worker: BaseWorker) -> None:
            self.pool.callInThread(self.seen.append, "of a worker")

        self.pool.addTask((task,))
        self.note(self.pool.quiesce(), "quiet")
        Other(self.pool.callInThread, self.seen.append, "of a thread").result()
        self.stepping.step()
        self.reactor.run()
        self.assertEqual(self.seen, ["quiet"])
        self.settle()
        self.assertEqual(self.seen, ["quiet", "of a thread", "of a worker"])


class CallTests(SteppingCase):
    """
    Tests for C{callInThread}, C{callInThreadWithCallback}, views and
    L{deferToPool}.
    """

    def tell(self, success: bool, value: Any) -> None:
        """
        A callback that notes what it is told.
        """
        self.seen.append((success, value if success else value.type))

    def test_call(self) -> None:
        """
        C{callInThread} calls a function with its arguments, in place of
        C{RunTask}; what it raises is logged.
        """
        self.pool.callInThread(lambda a, b: self.seen.append((a, b)), 1, b=2)
        self.pool.callInThread(divmod, 1, 0)
        self.settle()
        self.assertEqual(self.seen, [(1, 2)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_callback(self) -> None:
        """
        C{callInThreadWithCallback} tells the result or the failure; with C{None}
        for a callback it is C{callInThread}.
        """
        self.pool.callInThreadWithCallback(self.tell, divmod, 7, 2)
        self.pool.callInThreadWithCallback(self.tell, divmod, 7, 0)
        self.pool.callInThreadWithCallback(None, self.seen.append, "called")
        self.stepping.runAll()
        self.assertEqual(self.seen, [(True, (3, 1)), (False, ZeroDivisionError), "called"])

    def test_callbackOfDeferredCall(self) -> None:
        """
        A call that defers itself tells its outcome in the end.
        """

        def f() -> int:
            self.seen.append("run")
            if len(self.seen) < 2:
                raise DeferTask
            return 1

        self.pool.callInThreadWithCallback(self.tell, f)
        self.stepping.runAll()
        self.assertEqual(self.seen, ["run", "run", (True, 1)])

    def test_callbackRaises(self) -> None:
        """
        What a callback raises is logged.
        """
        self.pool.callInThreadWithCallback(lambda success, value: 1 // 0, abs, 1)
        self.stepping.runAll()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_views(self) -> None:
        """
        A view submits at its priority.
        """
        urgent, lazy = self.pool.atPriority(-1), self.pool.atPriority(5)
        lazy.callInThread(self.seen.append, "lazy")
        self.pool.callInThread(self.seen.append, "plain")
        lazy.callInThreadWithCallback(self.tell, abs, -5)
        urgent.callInThread(self.seen.append, "urgent")
        urgent.callInThreadWithCallback(self.tell, abs, -1)
        self.settle()
        self.assertEqual(self.seen, ["urgent", (True, 1), "plain", "lazy", (True, 5)])

    def test_deferToPool(self) -> None:
        """
        L{deferToPool} calls a function in place of C{RunTask}, with keywords too,
        through a pool or a view of it.
        """
        results = [
            deferToPool(self.pool.atPriority(3), int, "11", base=3),
            deferToPool(self.pool, int, "11", base=2),
            deferToPool(self.pool, divmod, 1, 0),
        ]
        for name, result in enumerate(results):
            self.note(result, name)
        self.settle()
        self.assertEqual(self.seen, [1, (2, ZeroDivisionError), 0])
        first = deferToPool(self.pool, int, "11", base=2)
        self.settle()
        self.assertEqual(self.successResultOf(first), 3)

    def test_deferToPoolNeedsAPool(self) -> None:
        """
        L{deferToPool} says so when it is given something else.
        """
        error = self.assertRaises(InvalidArgument, deferToPool, self.stepping, abs, 1)
        self.assertIn("SteppingPool", str(error))

    def test_terminated(self) -> None:
        """
        On a pool that is stopping or has stopped a callback gets L{PoolTerminated}
        at once, and C{callInThread} raises it; C{deferToPool} gives a Deferred that
        has failed.
        """
        done = self.pool.terminateWorkers()
        for _ in range(2):
            self.pool.callInThreadWithCallback(self.tell, abs, 1)
            self.assertEqual(self.seen.pop(), (False, PoolTerminated))
            self.assertRaises(PoolTerminated, self.pool.callInThread, abs, 1)
            self.assertRaises(PoolTerminated, self.pool.atPriority(1).callInThread, abs, 1)
            self.failureResultOf(deferToPool(self.pool, abs, 1), PoolTerminated)
            self.settle()
        self.successResultOf(done)

    def test_terminatedBelow(self) -> None:
        """
        The same holds if the pool below was terminated, which this one does not
        know of.
        """
        self.stepping.TerminateWorkers()
        self.pool.callInThreadWithCallback(self.tell, abs, 1)
        self.assertEqual(self.seen, [(False, PoolTerminated)])
        self.assertRaises(PoolTerminated, self.pool.callInThread, abs, 1)
        self.failureResultOf(self.pool.addTask((self.see,)), PoolTerminated)


class SurroundingsTests(SteppingCase):
    """
    Tests for the context that a task runs in.
    """

    def look(self, *worker: BaseWorker) -> tuple[str, object]:
        """
        A task that returns what it sees, and sets the variable for itself.
        """
        found = VARIABLE.get(), context.get("key")
        VARIABLE.set("set by a task")
        return found

    def submitted(self, submit: Callable[[], Any]) -> Any:
        """
        Submit in a context of its own, and run outside of it.
        """

        def inside() -> Any:
            VARIABLE.set("submitted")
            return context.call({"key": "value"}, submit)

        result = contextvars.Context().run(inside)
        self.settle()
        return result

    def test_tasks(self) -> None:
        """
        A task has the context variables and Twisted's context of whoever submitted
        it, not of whoever runs it; and does not change anybody's.
        """
        for submit in (
            lambda: self.pool.addTask((self.look,)),
            lambda: deferToPool(self.pool, self.look),
            lambda: deferToPool(self.pool.atPriority(1), self.look),
        ):
            self.assertEqual(
                self.successResultOf(self.submitted(submit)), ("submitted", "value")
            )
        self.assertEqual((VARIABLE.get(), context.get("key")), ("none", None))

    def test_calls(self) -> None:
        """
        So has a call.
        """
        self.submitted(lambda: self.pool.callInThread(lambda: self.seen.append(self.look())))
        self.assertEqual(self.seen, [("submitted", "value")])

    def test_many(self) -> None:
        """
        Tasks that were added together do not see what the others set.
        """
        results = self.submitted(lambda: self.pool.addManyTasks([(self.look,)] * 3))
        for result in results:
            self.assertEqual(self.successResultOf(result), ("submitted", "value"))

    def test_capturedAtSubmission(self) -> None:
        """
        What the submitter sets later is not seen.
        """

        def submit() -> Deferred[Any]:
            result = self.pool.addTask((self.look,))
            VARIABLE.set("later")
            return result

        self.assertEqual(self.successResultOf(self.submitted(submit))[0], "submitted")

    def test_runs(self) -> None:
        """
        The second run of a deferred task does not see what the first one set.
        """

        def task(worker: BaseWorker) -> None:
            self.seen.append(self.look())
            if len(self.seen) < 2:
                raise DeferTask

        self.submitted(lambda: self.pool.addTask((task,)))
        self.assertEqual(self.seen, [("submitted", "value")] * 2)

    def test_atOnce(self) -> None:
        """
        Two tasks that were added together can run at the same time.
        """

        def task(worker: BaseWorker) -> object:
            self.seen.append(self.look())
            return self.stepping.step()

        results = self.submitted(lambda: self.pool.addManyTasks([(task,)] * 2))
        self.assertEqual([self.successResultOf(result) for result in results], [True, False])
        self.assertEqual(self.seen, [("submitted", "value")] * 2)

    def test_noTwistedContext(self) -> None:
        """
        With no Twisted context at all a task runs too.
        """
        tracker = context.theContextTracker.currentContext()
        tracker.contexts.append({})
        try:
            result = self.pool.addTask((self.look,))
        finally:
            tracker.contexts.pop()
        self.settle()
        self.assertEqual(self.successResultOf(result), ("none", None))


class LeakTests(SteppingCase):
    """
    Tests for what stays when a task has ended: nothing.
    """

    def setUp(self) -> None:
        super().setUp()
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)

    def assertGone(self, submit: Callable[[Thing], object]) -> None:
        """
        What a task was made of goes when its Deferred has fired, without the
        garbage collector, for which nothing is left.
        """
        thing = Thing()
        ends = weakref.ref(thing)
        submit(thing)
        del thing
        self.settle()
        self.assertIs(ends(), None)
        self.assertEqual(gc.collect(), 0)

    def test_succeeded(self) -> None:
        """
        It holds for a task that has ended, and for its result.
        """
        self.assertGone(lambda thing: self.pool.addTask((self.ignore, thing), taskID="t"))
        self.assertGone(
            lambda thing: self.pool.addManyTasks([(self.ignore, thing)] * 3, taskID=range(3))
        )
        self.assertGone(lambda thing: deferToPool(self.pool, id, thing))

    def ignore(self, worker: BaseWorker, thing: Thing) -> Thing:
        """
        A task that returns what it was given.
        """
        return thing

    def test_failed(self) -> None:
        """
        It holds for a task that has failed, when its failure is handled.
        """

        def fail(worker: BaseWorker, thing: Thing) -> None:
            raise ZeroDivisionError

        def submit(thing: Thing) -> None:
            result = self.pool.addTask((fail, thing), taskID="t")
            result.addErrback(lambda failure: None)

        self.assertGone(submit)

    def test_cancelled(self) -> None:
        """
        It holds for a task that was withdrawn, by its Deferred or by its ID.
        """

        def cancel(thing: Thing) -> None:
            result = self.pool.addTask((self.ignore, thing))
            result.addErrback(lambda failure: None)
            result.cancel()

        def withdraw(thing: Thing) -> None:
            result = self.pool.addTask((self.ignore, thing), taskID="t")
            result.addErrback(lambda failure: None)
            self.pool.cancelTask("t")

        self.assertGone(cancel)
        self.assertGone(withdraw)

    def test_deferred(self) -> None:
        """
        It holds for a task that was deferred.
        """

        def task(worker: BaseWorker, thing: Thing) -> None:
            self.seen.append("run")
            if len(self.seen) < 2:
                raise DeferTask

        self.assertGone(lambda thing: self.pool.addTask((task, thing), taskID="t"))

    def test_quiesce(self) -> None:
        """
        It holds for a fence and what was held behind it.
        """

        def submit(thing: Thing) -> None:
            self.pool.addTask((self.ignore, thing))
            self.pool.quiesce()
            self.pool.addTask((self.ignore, thing))

        self.assertGone(submit)

    def test_called(self) -> None:
        """
        It holds for a call and its callback.
        """
        self.assertGone(
            lambda thing: self.pool.callInThreadWithCallback(lambda *told: thing, id, thing)
        )

    def test_notAdded(self) -> None:
        """
        It holds for a task that a terminated pool did not take.
        """
        self.pool.terminateWorkers()

        def submit(thing: Thing) -> None:
            self.pool.addTask((self.ignore, thing)).addErrback(lambda failure: None)

        self.assertGone(submit)

    def test_pool(self) -> None:
        """
        A pool that has stopped, and that nobody has, goes.
        """
        pool, _, reactor = makeSteppingPool()
        pool.terminateWorkers()
        reactor.run()
        ends = weakref.ref(pool)
        del pool, _, reactor
        gc.collect()
        self.assertIs(ends(), None)


class ConstructionTests(SynchronousTestCase):
    """
    Tests for the making of a L{DeferredWorkerPool}.
    """

    def test_workerClass(self) -> None:
        """
        A worker class that cannot be called is refused.
        """
        self.assertRaises(InvalidArgument, DeferredWorkerPool, None, "pool", 1, "no class")
