"""
Tests for fences.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError

from ganeti_pool.errors import (
    DeferTask,
    PoolTerminated,
)
from ganeti_pool.workerpool import BaseWorker

from ..workerpool.threadcase import Other
from .steppingcase import SteppingCase


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

    def test_downWhileAdding(self) -> None:
        """
        A task is not held by a fence that goes while it is being added, as when a
        finaliser cancels the last task that the fence waits for.
        """
        pool = self.pool

        class ID:
            # It is looked up under the lock, where a finaliser might run as well.
            def __hash__(self) -> int:
                if pool.pool._lock._is_owned() and pool.statistics().queued:  # type: ignore[attr-defined]
                    pool.cancelTask("waits")
                return 1

        pool.setActive(False)
        pool.addTask((self.see,), taskID="waits").addErrback(lambda failure: None)
        self.note(pool.quiesce(), "quiet")
        self.note(pool.addTask((self.see, "added"), taskID=ID()), "fired")
        pool.setActive(True)
        self.settle()
        self.assertEqual(self.seen, ["added", "quiet", "fired"])

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
        self.assertEqual(fired, ["fired 0", "quiet 0", "fired 1", "quiet 1", "fired 2", "quiet 2"])
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
