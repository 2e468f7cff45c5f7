"""
What programs written for Ganeti's pool count on.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any, cast

from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from ganeti_pool.interfaces import IWorker
from ganeti_pool.workerpool import BaseWorker

from .threadcase import PATIENCE, Gate, Other, ThreadCase, WatchedPool


class HookTests(ThreadCase):
    """
    Tests for the methods that a subclass may override.
    """

    def test_newWorkerId(self) -> None:
        """
        C{_NewWorkerIdUnlocked} names the workers.
        """

        class Named(WatchedPool):
            def _NewWorkerIdUnlocked(self) -> str:
                return "Jq" + super()._NewWorkerIdUnlocked()[len("pool") :]

        pool = self.makePool(3, poolClass=Named)
        self.assertEqual([worker.name for worker in pool._workers], ["Jq1", "Jq2", "Jq3"])

    def test_waitForTask(self) -> None:
        """
        C{_WaitForTaskUnlocked} chooses what a worker does: a task, or to be asked
        again.
        """

        class Picky(WatchedPool):
            asked = 0

            def _WaitForTaskUnlocked(self, worker: BaseWorker) -> Any:
                self.asked += 1
                if self.asked % 2:
                    return None
                return super()._WaitForTaskUnlocked(worker)

        pool = self.makePool(1, poolClass=Picky)
        pool.AddManyTasks([(self.see, 1), (self.see, 2)])
        Other(pool.Quiesce).result()
        self.assertEqual(self.seen, [1, 2])
        assert isinstance(pool, Picky)
        self.assertGreaterEqual(pool.asked, 4)

    def test_shouldWorkerTerminate(self) -> None:
        """
        C{_ShouldWorkerTerminateUnlocked} ends a worker, and is what
        C{ShouldTerminate} says.
        """

        class Ending(WatchedPool):
            over = False

            def _ShouldWorkerTerminateUnlocked(self, worker: BaseWorker) -> bool:
                return self.over

        pool = self.makePool(1, poolClass=Ending)
        assert isinstance(pool, Ending)
        (worker,) = pool._workers

        def end(worker: BaseWorker) -> None:
            self.seen.append(worker.ShouldTerminate())
            pool.over = True
            self.seen.append(worker.ShouldTerminate())

        pool.AddTask((end,))
        pool.AddTask((self.see, 1))
        Other(worker.join, PATIENCE).result()
        self.assertEqual(self.seen, [False, True])
        self.assertEqual(pool._workers, [])

    def test_failingHook(self) -> None:
        """
        A worker that meets an error in a hook goes on. The error is logged without the lock.
        """
        free: list[bool] = []
        levels: list[object] = []

        class Failing(WatchedPool):
            failed = False

            def _WaitForTaskUnlocked(self, worker: BaseWorker) -> Any:
                task = super()._WaitForTaskUnlocked(worker)
                if not self.failed:
                    self.failed = True
                    self._queue.push(task)
                    raise LookupError
                return task

        pool = self.makePool(2, poolClass=Failing)

        def look(event: dict[str, Any]) -> None:
            if "log_failure" in event:
                free.append(pool._lock._is_owned())  # type: ignore[attr-defined]
                levels.append(event["log_level"])

        observe = cast(Any, look)
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        pool.waitUntilIdle(2)
        workers = list(pool._workers)
        pool.AddTask((self.see, 1))
        Other(pool.Quiesce).result()
        pool.waitUntilIdle(2)
        self.assertEqual((self.seen, pool._workers), ([1], workers))
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        self.assertEqual((free, levels), ([False], [LogLevel.critical]))

    def test_failingHookHasTheTask(self) -> None:
        """
        A task that a worker has taken when a hook fails is run, once.
        """

        class Failing(WatchedPool):
            def _WaitForTaskUnlocked(self, worker: BaseWorker) -> Any:
                super()._WaitForTaskUnlocked(worker)
                raise SystemExit

        pool = self.makePool(1, poolClass=Failing)
        pool.AddManyTasks([(self.see, 1), (self.see, 2)])
        Other(pool.Quiesce).result()
        self.assertEqual(self.seen, [1, 2])
        Other(pool.TerminateWorkers).result()
        self.flushLoggedErrors(SystemExit)

    def test_failingTermination(self) -> None:
        """
        Workers whose pool cannot say whether they are to end work, and end when the
        pool was told to terminate.
        """

        class Failing(WatchedPool):
            def _ShouldWorkerTerminateUnlocked(self, worker: BaseWorker) -> bool:
                raise LookupError

        pool = self.makePool(2, poolClass=Failing)
        pool.AddManyTasks([(self.see, 1), (self.see, 1)])
        Other(pool.Quiesce).result()
        self.assertEqual(self.seen, [1, 1])
        Other(pool.TerminateWorkers).result()
        self.assertEqual(pool._workers, [])
        self.assertGreater(len(self.flushLoggedErrors(LookupError)), 1)

    def test_currentThread(self) -> None:
        """
        Inside of a task the current thread is the worker, named after it and its
        task.
        """
        pool = self.makePool(1)

        def look(worker: BaseWorker) -> None:
            worker.SetTaskName("Job17")
            self.seen.append(threading.current_thread() is worker)
            self.seen.append(threading.current_thread().name)

        pool.AddTask((look,))
        Other(pool.Quiesce).result()
        self.assertEqual(self.seen, [True, "pool1/Job17"])

    def test_hostIsCurrentThread(self) -> None:
        """
        For a worker that is no thread, it is the one that hosts it.
        """

        @implementer(IWorker)
        class Provider:
            def __init__(self, pool: object, workerID: str) -> None:
                """
                Nothing is kept.
                """

            def RunTask(self, seen: list[object]) -> None:
                seen.append(threading.current_thread())

        pool = self.makePool(1, Provider)
        (worker,) = pool._workers
        pool.AddTask((self.seen,))
        Other(pool.Quiesce).result()
        self.assertEqual(self.seen, [worker])

    def test_threadsAreDaemonic(self) -> None:
        """
        A task that never ends does not keep the process.
        """
        pool = self.makePool(1)
        gate = Gate()
        pool.AddTask((gate,))
        gate.reached()
        self.assertTrue(pool._workers[0].daemon)
        gate.open()


PROGRAM = """
import threading
from ganeti_pool import errors, workerpool

class Worker(workerpool.BaseWorker):
    def RunTask(self, name):
        self.setName(self.getName() + "!")
        print(self.getName(), name, flush=True)

pool = workerpool.WorkerPool("Jq", 1, Worker)
for call in (
    lambda: pool.AddTask("text"),
    lambda: pool.AddManyTasks(1),
    lambda: pool.AddManyTasks([("a",)], task_id=1),
    lambda: pool.AddTask((), priority="1"),
    lambda: pool.AddTask((), task_id=[]),
):
    try:
        call()
    except AssertionError as error:
        if not isinstance(error, errors.ProgrammerError):
            raise
    else:
        raise SystemExit("it was not refused")
pool.AddTask(("Job17",))
pool.Quiesce()
pool.TerminateWorkers()
forever = threading.Event()
pool.Resize(1)
Worker.RunTask = lambda self: forever.wait()
pool.AddTask(())
"""


class ProgramTests(SynchronousTestCase):
    """
    Tests in processes of their own.
    """

    def test_checksStay(self) -> None:
        """
        Misuse is refused under C{python -O} too, the names of old work without a
        warning, and a running task does not keep the process.
        """
        for options in (("-W", "error"), ("-O", "-W", "error")):
            done = subprocess.run(
                [sys.executable, *options, "-c", PROGRAM],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            self.assertEqual((done.stdout, done.stderr), ("Jq1! Job17\n", ""))
            self.assertEqual(done.returncode, 0)
