"""
Tests for the context that a task runs in.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python import context

from ganeti_pool.deferred import deferToPool
from ganeti_pool.errors import (
    DeferTask,
)
from ganeti_pool.workerpool import BaseWorker

from .steppingcase import SteppingCase

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="none")


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
            self.assertEqual(self.successResultOf(self.submitted(submit)), ("submitted", "value"))
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

    def test_nothing(self) -> None:
        """
        Whoever submits with nothing set hands nothing on from one task to the next,
        and can have two of them run at the same time.
        """

        def task(worker: BaseWorker) -> None:
            self.seen.append(self.look())
            self.stepping.step()

        add = partial(self.pool.addTask, (task,))
        for _ in range(2):
            contextvars.Context().run(add)
        VARIABLE.set("the worker's")
        self.addCleanup(VARIABLE.set, "none")
        self.settle()
        self.assertEqual(self.seen, [("none", None)] * 2)

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
