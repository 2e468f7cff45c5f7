"""
Tests for what stays when a task has ended: nothing.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

from ganeti_pool.deferred import deferToPool
from ganeti_pool.errors import (
    DeferTask,
)
from ganeti_pool.testing import makeSteppingPool
from ganeti_pool.workerpool import BaseWorker

from ..workerpool.threadcase import needsDropping
from .steppingcase import SteppingCase


class Thing:
    """
    Something that can be watched for its end.
    """


@needsDropping
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
        self.settle()
        gc.collect()

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
