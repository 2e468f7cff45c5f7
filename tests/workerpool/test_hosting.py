"""
Tests for a worker outside a pool.
"""

from __future__ import annotations

import threading
from typing import Any

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from ganeti_pool.errors import DeferTask, NotInADaemon, ProgrammerError
from ganeti_pool.interfaces import IWorkerHost
from ganeti_pool.workerpool import BaseWorker, Entry, WorkerHost, WorkerPool, newEntry

TIMEOUT = 30.0


class Worker(BaseWorker):
    """
    A worker that calls its argument.
    """

    def RunTask(self, f: Any) -> object:
        return f(self)


class HostTests(SynchronousTestCase):
    """
    Tests for L{WorkerHost}.
    """

    def setUp(self) -> None:
        self.host = WorkerHost("pool", Worker, "pool1")

    def entry(self, f: Any) -> Entry:
        return newEntry(3, 7, "id", (f,), None, None, 0.0)

    def perform(self, f: Any) -> tuple[Any, Failure | None]:
        return self.host.Perform(self.entry(f))

    def test_worker(self) -> None:
        """
        The methods of a worker work as in a pool.
        """

        def task(worker: Worker) -> object:
            worker.SetTaskName("task")
            name = worker.name
            return name, worker.GetCurrentPriority(), worker._GetCurrentOrderAndTaskId()

        verifyObject(IWorkerHost, self.host)
        result, failure = self.perform(task)
        self.assertEqual((result, failure), (("pool1/task", 3, (7, "id")), None))
        self.assertEqual(self.host.worker.name, "pool1")
        self.assertRaises(ProgrammerError, self.host.worker.GetCurrentPriority)

    def test_outcomes(self) -> None:
        """
        A result, a failure and a deferral are told apart.
        """

        def fail(worker: Worker) -> None:
            raise ValueError("no")

        def defer(worker: Worker) -> None:
            raise DeferTask(priority=5)

        result, failure = self.perform(fail)
        assert failure is not None
        failure.trap(ValueError)
        self.assertIsNone(result)
        self.assertEqual(self.perform(defer), (5, None))
        self.assertEqual(self.perform(lambda worker: 9), (9, None))

    def test_methodsOfAPool(self) -> None:
        """
        Every public method of a pool is there, and raises an error that says what to do.
        Anything else is not there.
        """
        methods = [name for name in vars(WorkerPool) if name[0] != "_"]
        self.assertIn("Resize", methods)
        for name in [*methods, "AddTask", "Quiesce", "GetStatistics"]:
            error = self.assertRaises(NotInADaemon, getattr(self.host, name), 1, task_id=2)
            self.assertEqual(error.name, name)
            self.assertIn("HTTP", str(error))
        for name in ("nothing", "_tasks"):
            self.assertRaises(AttributeError, getattr, self.host, name)

    def test_shouldTerminate(self) -> None:
        """
        A worker should terminate when its host is ending.
        """
        seen: list[bool] = []

        def task(worker: Worker) -> None:
            seen.append(worker.ShouldTerminate())
            self.host.isEnding = True
            seen.append(worker.ShouldTerminate())

        self.perform(task)
        self.assertEqual(seen, [False, True])

    def test_interrupt(self) -> None:
        """
        A running task is told once that it is cancelled. A function that raises is logged, and
        the others are called.
        """
        calls: list[object] = []

        def task(worker: Worker) -> None:
            worker.CallWhenCancelled(lambda: 1 / 0)
            worker.CallWhenCancelled(lambda: calls.append("told"))
            self.host.Interrupt(entry)
            self.host.Interrupt(entry)
            calls.append(worker.IsCancelled())

        entry = self.entry(task)
        self.host.Perform(entry)
        self.assertEqual(calls, ["told", True])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_interruptBeforeItBegins(self) -> None:
        """
        A task that is interrupted before it begins is told when it does.
        """
        calls: list[object] = []

        def task(worker: Worker) -> None:
            worker.CallWhenCancelled(lambda: calls.append("told"))
            calls.append(worker.IsCancelled())

        entry = self.entry(task)
        self.host.Interrupt(entry)
        self.host.Perform(entry)
        self.assertEqual(calls, ["told", True])

    def test_interruptAfterItsEnd(self) -> None:
        """
        A task that has finished is told nothing, and neither is the next one.
        """
        calls: list[object] = []

        def task(worker: Worker) -> None:
            worker.CallWhenCancelled(lambda: calls.append("told"))

        entry = self.entry(task)
        self.host.Perform(entry)
        self.host.Interrupt(entry)
        self.perform(lambda worker: calls.append(worker.IsCancelled()))
        self.assertEqual(calls, [False])

    def test_thread(self) -> None:
        """
        The tasks run in the worker's own thread.
        """
        seen: list[object] = []

        def run() -> None:
            seen.append(self.perform(lambda worker: threading.current_thread() is worker)[0])

        self.host.Start(run)
        self.host.worker.join(TIMEOUT)
        self.assertEqual(seen, [True])
