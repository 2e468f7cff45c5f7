"""
Tests for the deadline of a termination.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from ganeti_pool.errors import (
    DuplicateTaskID,
    TaskAbandoned,
    TaskNotStarted,
)
from ganeti_pool.workerpool import BaseWorker

from ..poolcontract import Recorder
from .steppingcase import SteppingCase


class DeadlineTests(SteppingCase):
    """
    Tests for the deadline of a termination.
    """

    def test_notReached(self) -> None:
        """
        A deadline that is not reached does nothing, then or later.
        """
        done = self.pool.terminateWorkers(deadline=5)
        self.settle()
        self.successResultOf(done)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_running(self) -> None:
        """
        When it passes the Deferreds of running tasks fail with L{TaskAbandoned},
        those of waiting ones have failed with L{TaskNotStarted}, and the
        termination is over.
        """

        def task(worker: BaseWorker) -> None:
            self.note(self.pool.terminateWorkers(deadline=5), "done")
            self.reactor.run()
            self.reactor.advance(4)
            self.reactor.run()
            self.seen.append("waits")
            self.reactor.advance(1)
            self.reactor.run()
            self.seen.append("goes on")

        result = self.pool.addTask((task,), taskID="t")
        result.addErrback(lambda failure: self.seen.append(str(failure.value)))
        self.note(self.pool.addTask((self.see,)), "queued")
        self.stepping.step()
        self.assertEqual(
            self.seen,
            [
                ("queued", TaskNotStarted),
                "waits",
                "pool 'test' was terminated, and the task was still running after the "
                "deadline of 5 seconds",
                "done",
                "goes on",
            ],
        )
        self.settle()
        self.assertEqual(len(self.seen), 5)

    def abandon(self, *tasks: Any) -> None:
        """
        In a task: let the deadline pass.
        """
        self.note(self.pool.terminateWorkers(deadline=1), "done")
        self.reactor.advance(1)
        self.reactor.run()

    def test_lateOutcomes(self) -> None:
        """
        The late result of an abandoned task is dropped, its late failure logged.
        """
        for error in (None, ZeroDivisionError()):

            def task(worker: BaseWorker, error: Exception | None = error) -> None:
                self.abandon()
                if error is not None:
                    raise error

            result = self.pool.addTask((task,))
            self.settle()
            self.failureResultOf(result, TaskAbandoned)
            self.pool.start()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_cancelledBefore(self) -> None:
        """
        A task that was cancelled while it ran is not told again.
        """

        def task(worker: BaseWorker) -> None:
            result.cancel()
            self.abandon()

        result = self.pool.addTask((task,))
        self.note(result, "task")
        self.settle()
        self.assertEqual(self.seen, [("task", CancelledError), "done"])

    def test_calls(self) -> None:
        """
        The callback of a call that is abandoned gets L{TaskAbandoned}, once: the
        late result is dropped, a late failure logged.
        """

        def tell(success: bool, value: Any) -> None:
            self.seen.append((success, value.type))

        def fail() -> None:
            self.abandon()
            raise ZeroDivisionError

        for f in (self.abandon, fail):
            self.pool.callInThreadWithCallback(tell, f)
            self.settle()
            self.assertEqual(self.seen, [(False, TaskAbandoned), "done"])
            self.seen.clear()
            self.pool.start()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_callbackRaises(self) -> None:
        """
        When the callback of a call that is abandoned raises, what comes behind it
        is told all the same.
        """

        def f() -> None:
            self.note(self.pool.terminateWorkers(deadline=1), "done")
            self.reactor.advance(1)
            self.assertRaises(ZeroDivisionError, self.reactor.run)
            self.reactor.run()

        self.pool.callInThreadWithCallback(lambda success, value: 1 // 0, f)
        self.settle()
        self.assertEqual(self.seen, ["done"])

    def test_plainTask(self) -> None:
        """
        A task of the pool below, which has no Deferred, is left to itself too; it
        tells its own completion in the end.
        """
        completion = Recorder()
        self.stepping.AddTask((self.abandon,), completion=completion)
        self.settle()
        self.assertEqual(self.seen, ["done"])
        self.assertEqual(completion.events, [("begin", 1), ("succeed", None)])

    def test_quick(self) -> None:
        """
        C{deferToThreadPool}'s Deferred fails, too.
        """
        pool: Any = self.pool
        result = deferToThreadPool(self.reactor, pool, self.abandon)  # type: ignore[arg-type]
        self.settle()
        self.failureResultOf(result, TaskAbandoned)

    def test_draining(self) -> None:
        """
        A deadline ends a drain: what has not started is given up.
        """
        self.note(self.pool.addTask((self.see,), taskID=1), 1)
        self.note(self.pool.terminateWorkers(drain=True, deadline=3), "done")
        self.reactor.advance(3)
        self.settle()
        self.assertEqual(self.seen, [(1, TaskNotStarted), "done"])

    def test_earliestHolds(self) -> None:
        """
        Of several deadlines the earliest holds, whichever was given first.
        """
        for deadlines in ((5, 3, 4), (3, 5, None), (None, 3)):
            self.setUp()

            def task(worker: BaseWorker, deadlines: Any = deadlines) -> None:
                for deadline in deadlines:
                    self.note(self.pool.terminateWorkers(deadline=deadline), deadline)
                self.reactor.advance(2.5)
                self.reactor.run()
                self.seen.append("waits")
                self.reactor.advance(0.5)
                self.reactor.run()

            result = self.pool.addTask((task,))

            def abandoned(failure: Failure) -> None:
                self.seen.append(failure.value.deadline)  # type: ignore[union-attr]

            result.addErrback(abandoned)
            self.settle()
            self.assertEqual(self.seen, ["waits", 3, *deadlines])
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_givenWhileTheEndIsUnderWay(self) -> None:
        """
        A deadline that is given when the pool is as good as stopped is forgotten
        with the stop, and does not disturb the next life.
        """

        def task(worker: BaseWorker) -> None:
            self.pool.terminateWorkers(deadline=1)
            self.reactor.advance(1)
            self.note(self.pool.terminateWorkers(deadline=1), "done")

        self.pool.addTask((task,)).addErrback(lambda failure: failure.trap(TaskAbandoned))
        self.settle()
        self.assertEqual((self.seen, self.reactor.getDelayedCalls()), (["done"], []))

    def test_restart(self) -> None:
        """
        A pool whose deadline has passed can be started again while the abandoned
        task runs, whose ID is taken until it ends; nothing of its end disturbs the
        next life.
        """

        def task(worker: BaseWorker) -> str:
            self.abandon()
            self.pool.start()
            self.assertFalse(self.pool.hasRunningTasks())
            self.assertRaises(DuplicateTaskID, self.pool.addTask, (self.see,), 0, "t")
            self.note(self.pool.addTask((self.see, "new")), "fired")
            self.note(self.pool.quiesce(), "quiet")
            self.settle()
            self.seen.append("ends")
            return "late"

        self.note(self.pool.addTask((task,), taskID="t"), "task")
        self.stepping.step()
        self.assertEqual(
            self.seen, [("task", TaskAbandoned), "done", "new", "fired", "quiet", "ends"]
        )
        self.settle()
        self.assertIn("runs", repr(self.pool))
        again = self.pool.addTask((self.see, "again"), taskID="t")
        self.settle()
        self.successResultOf(again)
        self.assertEqual(self.pool.statistics().workers, 2)
