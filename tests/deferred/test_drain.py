"""
Tests for an end that runs what is queued first.
"""

from __future__ import annotations

from typing import Any

from ganeti_pool.errors import (
    DeferTask,
    PoolTerminated,
    TaskNotStarted,
)
from ganeti_pool.workerpool import BaseWorker

from .steppingcase import SteppingCase


class DrainTests(SteppingCase):
    """
    Tests for a termination that runs what is queued first.
    """

    def queue(self, count: int = 3) -> None:
        """
        Queue so many tasks.
        """
        for n in range(count):
            self.note(self.pool.addTask((self.see, n), taskID=n), f"fired {n}")

    def drain(self, **arguments: Any) -> None:
        """
        Begin to drain.
        """
        self.note(self.pool.terminateWorkers(drain=True, **arguments), "done")

    def outcomes(self) -> list[Any]:
        """
        What the Deferreds came to, in their order.
        """
        self.settle()
        return [entry for entry in self.seen if not isinstance(entry, int)]

    def test_drain(self) -> None:
        """
        What is queued is run, and nothing more is taken; the Deferred of the
        termination is the last.
        """
        self.queue()
        self.drain()
        self.assertIn("is draining", repr(self.pool))
        self.failureResultOf(self.pool.addTask((self.see,)), PoolTerminated)
        self.assertRaises(PoolTerminated, self.pool.callInThread, abs, 1)
        self.assertRaises(PoolTerminated, self.pool.start)
        self.failureResultOf(self.pool.quiesce(), PoolTerminated)
        self.failureResultOf(self.pool.resize(1), PoolTerminated)
        self.assertEqual(self.outcomes(), ["fired 0", "fired 1", "fired 2", "done"])
        self.assertEqual(self.pool.statistics().workers, 0)

    def test_emptyQueue(self) -> None:
        """
        With nothing queued a drain is over in a turn.
        """
        self.drain()
        self.assertEqual(self.outcomes(), ["done"])

    def test_heldTasks(self) -> None:
        """
        What is held behind a fence is run too.
        """
        self.queue(1)
        self.note(self.pool.quiesce(), "quiet")
        self.note(self.pool.addTask((self.see, 7)), "held")
        self.drain()
        self.assertEqual(self.outcomes(), ["fired 0", "quiet", "held", "done"])

    def test_deferral(self) -> None:
        """
        A task that defers itself is run again.
        """
        runs: list[int] = []

        def task(worker: BaseWorker) -> None:
            runs.append(1)
            if len(runs) < 2:
                raise DeferTask

        self.note(self.pool.addTask((task,)), "fired")
        self.drain()
        self.assertEqual((self.outcomes(), len(runs)), (["fired", "done"], 2))

    def test_paused(self) -> None:
        """
        A pool that is paused, or has no worker, cannot drain: it gives up its queue.
        """
        self.pool.setActive(False)
        self.queue(1)
        self.drain()
        self.assertEqual(self.outcomes(), [("fired 0", TaskNotStarted), "done"])

    def test_noWorker(self) -> None:
        """
        The same goes for one without a worker.
        """
        self.pool.resize(0)
        self.queue(1)
        self.drain()
        self.assertEqual(self.outcomes(), [("fired 0", TaskNotStarted), "done"])

    def test_pausedMeanwhile(self) -> None:
        """
        A drain ends when the pool is paused: what has not started is given up.
        """
        self.queue(2)
        self.drain()
        self.pool.setActive(True)
        self.stepping.step()
        self.pool.setActive(False)
        self.assertEqual(self.outcomes(), ["fired 0", ("fired 1", TaskNotStarted), "done"])

    def test_secondCall(self) -> None:
        """
        A second call that drains joins; one that does not ends the drain.
        """
        self.queue(2)
        self.drain()
        self.drain()
        self.stepping.step()
        self.note(self.pool.terminateWorkers(), "done at once")
        self.assertEqual(
            self.outcomes(),
            ["fired 0", ("fired 1", TaskNotStarted), "done", "done", "done at once"],
        )

    def test_laterDrain(self) -> None:
        """
        The news that an earlier drain is over, when it was overtaken, does not end
        a later one.
        """
        self.drain()
        late = self.reactor._calls.popleft()
        self.pool.terminateWorkers()
        self.reactor._calls.append(late)
        self.settle()
        self.pool.start()
        self.queue(1)
        self.drain()
        self.pool._drained(0)
        self.assertEqual(self.outcomes(), ["done", "fired 0", "done"])
