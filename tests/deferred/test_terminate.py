"""
Tests for the end of a pool, and of the reactor.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool

from ganeti_pool.errors import (
    DeferTask,
    PoolTerminated,
    TaskNotStarted,
)
from ganeti_pool.workerpool import BaseWorker

from .steppingcase import SteppingCase


class TerminateTests(SteppingCase):
    """
    Tests for C{terminateWorkers}.
    """

    def test_givesUpTheQueue(self) -> None:
        """
        What is queued fails with L{TaskNotStarted}, in order, on a turn of the
        reactor; the Deferred of the termination is the last.
        """
        for n in (2, 0, 1):
            self.note(self.pool.addTask((self.see,), n, n), n)
        self.note(self.pool.terminateWorkers(), "done")
        self.assertEqual(self.seen, [])
        self.settle()
        self.assertEqual(self.seen, [*((n, TaskNotStarted) for n in range(3)), "done"])
        self.assertEqual(self.pool.statistics().unstarted, 3)

    def test_useAfter(self) -> None:
        """
        After it tasks fail at once with L{PoolTerminated}; what changes nothing is
        allowed.
        """
        done = self.pool.terminateWorkers()
        for _ in range(2):
            results = [self.pool.addTask((self.see,)), *self.pool.addManyTasks([(self.see,)] * 2)]
            for result in results:
                self.failureResultOf(result, PoolTerminated)
            self.assertFalse(self.pool.hasRunningTasks())
            self.assertEqual(self.pool.statistics().added, 0)
            self.settle()
        self.successResultOf(done)

    def test_terminatedMeanwhile(self) -> None:
        """
        A task that is added when the pool below has been terminated fails at once.
        """
        self.stepping.TerminateWorkers()
        for result in self.pool.addManyTasks([(self.see,)] * 2):
            self.failureResultOf(result, PoolTerminated)

    def test_runningTask(self) -> None:
        """
        It waits for a running task, which may see it and whose Deferred comes
        first; should it defer itself, it counts as not started.
        """

        def task(worker: BaseWorker) -> str:
            self.note(self.pool.terminateWorkers(), "done")
            self.reactor.run()
            self.seen.append(worker.ShouldTerminate())
            raise DeferTask

        self.note(self.pool.addTask((task,)), "task")
        self.settle()
        self.assertEqual(self.seen, [True, ("task", TaskNotStarted), "done"])

    def test_secondCallJoins(self) -> None:
        """
        A second call waits for the same end, and a third is over at once.
        """

        def task(worker: BaseWorker) -> None:
            for name in ("first", "second"):
                self.note(self.pool.terminateWorkers(drain=name == "second"), name)

        self.pool.addTask((task,))
        self.settle()
        self.assertEqual(self.seen, ["first", "second"])
        self.successResultOf(self.pool.terminateWorkers())

    def test_cancelled(self) -> None:
        """
        The cancellation of a Deferred stops the wait and not the termination, for
        the one that is cancelled alone.
        """
        first, second = self.pool.terminateWorkers(), self.pool.terminateWorkers()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.settle()
        self.successResultOf(second)
        self.assertIn("has stopped", repr(self.pool))

    def test_cancelledByACallback(self) -> None:
        """
        The callback of one may cancel another one that is about to fire.
        """
        first, second = self.pool.terminateWorkers(), self.pool.terminateWorkers()
        first.addCallback(lambda _: second.cancel())
        self.settle()
        self.successResultOf(first)
        self.failureResultOf(second, CancelledError)

    def test_restart(self) -> None:
        """
        A pool that has stopped can be started again, with its size, by a callback
        of its end too; views go on to serve.
        """
        view = self.pool.atPriority(3)
        results: list[Deferred[Any]] = []

        def again(_: object) -> None:
            self.pool.start()
            results.append(self.pool.addTask((self.see, "again")))

        for _ in range(2):
            self.pool.terminateWorkers().addCallback(again)
            self.assertRaises(PoolTerminated, self.pool.start)
            self.settle()
        self.assertEqual([self.successResultOf(result) for result in results], ["again"] * 2)
        view.callInThread(self.seen.append, "view")
        self.settle()
        self.assertEqual(self.seen[-1], "view")
        self.assertEqual(self.pool.statistics().workers, 2)
        self.assertEqual(len(self.reactor._triggers), 1)

    def test_callbackIsTold(self) -> None:
        """
        A call that has not started is told so, once, and C{deferToThreadPool}'s
        Deferred fails.
        """
        self.pool.callInThreadWithCallback(
            lambda success, value: self.seen.append((success, value.type)), abs, 1
        )
        view: Any = self.pool.atPriority(1)
        result = deferToThreadPool(self.reactor, view, abs, 1)  # type: ignore[arg-type]
        self.pool.callInThread(abs, 1)
        done = self.pool.terminateWorkers()
        self.settle()
        self.successResultOf(done)
        self.assertEqual(self.seen, [(False, TaskNotStarted)])
        self.failureResultOf(result, TaskNotStarted)
        self.assertEqual(len(self.flushLoggedErrors(TaskNotStarted)), 1)


class ShutdownTests(SteppingCase):
    """
    Tests for the shutdown of the reactor.
    """

    def test_default(self) -> None:
        """
        The reactor waits for the pool, which gives up its queue.
        """

        def task(worker: BaseWorker) -> None:
            self.note(self.reactor.stop(), "reactor")
            self.reactor.run()
            self.seen.append("ran")

        self.note(self.pool.addTask((task,)), "task")
        self.note(self.pool.addTask((self.see,)), "queued")
        self.settle()
        self.assertEqual(self.seen, [("queued", TaskNotStarted), "ran", "task", "reactor"])
        self.assertIn("has stopped", repr(self.pool))

    def test_policy(self) -> None:
        """
        A pool that is told so drains, with a deadline.
        """
        self.pool.shutdownPolicy(drain=True, deadline=9)
        self.note(self.pool.addTask((self.see, 1)), "fired")
        self.note(self.reactor.stop(), "reactor")
        (deadline,) = self.reactor.getDelayedCalls()
        self.assertEqual(deadline.getTime(), 9)
        self.settle()
        self.assertEqual(self.seen, [1, "fired", "reactor"])

    def test_drainUnderWay(self) -> None:
        """
        A drain that is under way when the reactor stops goes on.
        """
        self.note(self.pool.addTask((self.see, 1)), "fired")
        self.note(self.pool.terminateWorkers(drain=True), "done")
        self.note(self.reactor.stop(), "reactor")
        self.settle()
        self.assertEqual(self.seen, [1, "fired", "done", "reactor"])

    def test_stopped(self) -> None:
        """
        A pool that has stopped takes no part in the shutdown.
        """
        self.pool.terminateWorkers()
        self.settle()
        self.assertEqual(self.reactor._triggers, [])
        self.successResultOf(self.reactor.stop())

    def test_stopping(self) -> None:
        """
        The reactor waits for a termination that is under way.
        """
        self.note(self.pool.terminateWorkers(), "done")
        self.note(self.reactor.stop(), "reactor")
        self.settle()
        self.assertEqual(self.seen, ["done", "reactor"])

    def test_completionsUnderWay(self) -> None:
        """
        What has ended and was not told yet is told before the reactor stops.
        """
        for n in range(100):
            self.note(self.pool.addTask((self.see, "ran")), n)
        self.stepping.runAll()
        self.seen.clear()
        self.note(self.reactor.stop(), "reactor")
        self.settle()
        self.assertEqual(self.seen, [*range(100), "reactor"])
