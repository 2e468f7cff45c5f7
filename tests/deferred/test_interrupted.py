"""
Calls of a pool in a reactor that an exception interrupts at every step, as a signal handler may.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from ganeti_pool.errors import TaskCancelled, TaskNotStarted
from ganeti_pool.testing import makeSteppingPool

from ..poolcontract import FunctionWorker
from ..workerpool.threadcase import Interrupted, Interruption
from .steppingcase import SteppingCase


class InterruptedTests(SteppingCase):
    """
    Tests for calls that are interrupted.
    """

    def everyStep(
        self,
        call: Callable[[Deferred[Any]], object],
        check: Callable[[dict[str, Any]], object],
    ) -> None:
        """
        Make a call of a new pool with two queued tasks, and interrupt it at every step. Then
        terminate the pool: all Deferreds have fired after that.

        @param call: gets the Deferred of the first task, whose ID is C{t}.
        @param check: gets the outcomes of both tasks, by their IDs.
        """
        isOver = False
        step = 0
        while not isOver:
            step += 1
            self.pool, self.stepping, self.reactor = makeSteppingPool(2, FunctionWorker)
            first, second = (self.pool.addTask((self.see,), taskID=taskID) for taskID in ("t", "u"))
            outcomes: dict[str, Any] = {}
            for taskID, deferred in (("t", first), ("u", second)):
                deferred.addErrback(lambda failure: failure.type)
                deferred.addCallback(partial(outcomes.setdefault, taskID))
            isOver = Interrupted(step, lambda: call(first)).isOver  # noqa: B023
            ended = self.pool.terminateWorkers()
            self.settle()
            self.successResultOf(ended)
            self.assertEqual({*outcomes}, {"t", "u"}, f"step {step}")
            check(outcomes)
            # An interruption in a completion is its failure.
            self.flushLoggedErrors(Interruption)
        self.assertGreater(step, 5)

    def test_cancelTask(self) -> None:
        """
        An interrupted C{cancelTask} has cancelled the task or has not, and both Deferreds fire.
        """
        seen = set()

        def check(outcomes: dict[str, Any]) -> None:
            self.assertIn(outcomes["t"], (TaskCancelled, TaskNotStarted))
            self.assertIs(outcomes["u"], TaskNotStarted)
            seen.add(outcomes["t"])

        self.everyStep(lambda first: self.pool.cancelTask("t"), check)
        self.assertEqual(seen, {TaskCancelled, TaskNotStarted})

    def test_terminateWorkers(self) -> None:
        """
        After an interrupted C{terminateWorkers} another one ends the pool.
        """

        def check(outcomes: dict[str, Any]) -> None:
            self.assertEqual({*outcomes.values()}, {TaskNotStarted})

        self.everyStep(lambda first: self.pool.terminateWorkers(), check)
