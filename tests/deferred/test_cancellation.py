"""
Tests for the cancellation of tasks.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import AlreadyCalledError, CancelledError, Deferred

from ganeti_pool.errors import (
    DeferTask,
    DuplicateTaskID,
    NoSuchTask,
    TaskCancelled,
)
from ganeti_pool.workerpool import BaseWorker

from .steppingcase import SteppingCase


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
            self.assertTrue(worker.IsCancelled())
            self.assertRaises(DuplicateTaskID, self.pool.addTask, (self.see,), 0, "t")
            self.seen.append("ran")
            return "late"

        result = self.pool.addTask((task,), taskID="t")
        self.note(result, "fired")
        self.stepping.step()
        self.assertEqual(self.seen, ["told", ("fired", CancelledError), "ran"])
        again = self.pool.addTask((self.see, "again"), taskID="t")
        self.settle()
        self.successResultOf(again)

    def test_movedTwin(self) -> None:
        """
        A task that was moved, and runs, is told that it is cancelled, also if another
        one of its ID runs by then.
        """

        def task(worker: BaseWorker) -> None:
            self.pool.pool.AddTask((self.see,), 0, "t")
            other = self.stepping.step
            self.seen.append(other())
            self.seen.append(worker.IsCancelled())

        def twin(worker: BaseWorker) -> None:
            result.cancel()

        self.stepping.Resize(2)
        result = self.pool.addTask((task,), taskID="t")
        self.pool.changeTaskPriority("t", 5)
        self.see = twin  # type: ignore[method-assign, assignment]
        self.settle()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(self.seen, [True, True])

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

    def test_unstarted(self) -> None:
        """
        A task that a termination gave up, and whose Deferred is cancelled before it is
        told so, is not logged as one that failed.
        """
        result = self.pool.addTask((self.see,))
        self.pool.terminateWorkers()
        result.cancel()
        self.settle()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(self.seen, [])

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
            add((self.see, "other"), 0, "t")
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
        self.assertRaises(AlreadyCalledError, self.reactor.run)
        self.settle()
        self.assertEqual([self.successResultOf(result) for result in results], ["mine", 1, 2])
