"""
Code of users that raises where the pool runs it: no worker ends for it, no termination stops,
and every other task has its outcome.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool._text import nameOfType, safeRepr, safeStr
from ganeti_pool.errors import (
    DuplicateTaskID,
    InvalidArgument,
    NoSuchTask,
    PoolTerminated,
    TaskCancelled,
    TaskNotStarted,
)
from ganeti_pool.testing import makeSteppingPool
from ganeti_pool.workerpool import BaseWorker, DeferTask, WorkerPool
from ganeti_pool.workerpool._arguments import CheckPriority
from ganeti_pool.workerpool._locking import Do, Guarded, Report, Retake
from ganeti_pool.workerpool._taskheap import TaskHeap, newEntry

from ..poolcontract import FunctionWorker, Recorder
from .threadcase import PATIENCE, Other, ThreadCase, WatchedPool


class Unspeakable:
    """
    An ID without a C{repr}.
    """

    def __init__(self, error: type[BaseException] = RuntimeError) -> None:
        self._error = error

    def __repr__(self) -> str:
        raise self._error("no repr")

    __str__ = __repr__


class Fickle:
    """
    An ID whose hash raises from the time when a test says so.

    @ivar error: what it raises, or L{None}.
    @ivar when: says whether to raise then, for one that has an C{error}.
    """

    error: type[BaseException] | None = None
    when: Callable[[], bool] = staticmethod(lambda: True)

    def __hash__(self) -> int:
        if self.error is not None and self.when():
            raise self.error("no hash any more")
        return 1


UNSPEAKABLE = [Unspeakable(), Unspeakable(SystemExit), 10**5000]


class TextTests(SynchronousTestCase):
    """
    Tests for L{safeRepr} and its like.
    """

    def test_ordinary(self) -> None:
        """
        What has a text is shown with it.
        """
        self.assertEqual(safeRepr("a'b"), repr("a'b"))
        self.assertEqual(safeStr("a'b"), "a'b")
        self.assertEqual(nameOfType(1), "int")

    def test_raising(self) -> None:
        """
        What raises is shown by its type, in one line.
        """
        for error in (RuntimeError, SystemExit, KeyboardInterrupt):
            value = Unspeakable(error)
            expected = f"raises {error.__name__}>"
            self.assertEqual(safeRepr(value), f"<Unspeakable whose repr {expected}")
            self.assertEqual(safeStr(value), f"<Unspeakable whose str {expected}")

    def test_subclasses(self) -> None:
        """
        A text of a subclass of C{str} becomes a plain one, and the name of a type is the one
        that it was made with.
        """

        class Text(str):
            __slots__ = ()

            def __format__(self, spec: str) -> str:
                raise RuntimeError

        class Meta(type):
            @property
            def __name__(cls) -> str:  # type: ignore[override]
                raise RuntimeError

        class Odd(metaclass=Meta):
            def __repr__(self) -> str:
                return Text("odd")

        self.assertIs(type(safeRepr(Odd())), str)
        self.assertIs(type(safeStr(Text("t"))), str)
        self.assertEqual(nameOfType(Odd()), "Odd")


class PriorityTests(SynchronousTestCase):
    """
    Tests for L{CheckPriority} with subclasses of the built-in numbers.
    """

    def test_floats(self) -> None:
        """
        A float is taken as what it is, whatever its class makes of it.
        """

        class Odd(float):
            def __float__(self) -> float:
                return float("nan")

            def __eq__(self, other: object) -> bool:
                return True

            __hash__ = float.__hash__

        self.assertEqual(CheckPriority(Odd(1.5)), 1.5)
        self.assertIs(type(CheckPriority(Odd(1.5))), float)
        self.assertRaises(InvalidArgument, CheckPriority, Odd("nan"))

    def test_integers(self) -> None:
        """
        So is an integer.
        """

        class Odd(int):
            def __lt__(self, other: object) -> bool:
                raise RuntimeError

            def __index__(self) -> int:
                return 99

        self.assertEqual(CheckPriority(Odd(3)), 3)
        self.assertIs(type(CheckPriority(Odd(3))), int)

    def test_pretenders(self) -> None:
        """
        What only says that it is a float is refused, even if it cannot be shown.
        """

        class Pretender(Unspeakable):
            __class__ = float  # type: ignore[assignment]

        self.assertRaises(InvalidArgument, CheckPriority, Pretender())


class ActionTests(SynchronousTestCase):
    """
    Tests for what is carried out after the lock was released.
    """

    def test_doAll(self) -> None:
        """
        Of several actions each is carried out, whatever the others raise; one that raises is
        tried again, and the first failure is raised in the end.
        """
        seen: list[object] = []
        tries: list[int] = []

        def fail(error: type[BaseException]) -> None:
            seen.append(error)
            raise error

        def failOnce() -> None:
            tries.append(1)
            if len(tries) == 1:
                raise LookupError

        actions: list[Callable[[], object]] = [
            lambda: fail(KeyboardInterrupt),
            failOnce,
            lambda: fail(ZeroDivisionError),
            lambda: seen.append("last"),
        ]
        self.assertRaises(KeyboardInterrupt, Do, actions)
        self.assertEqual(seen, [KeyboardInterrupt] * 2 + [ZeroDivisionError] * 2 + ["last"])
        self.assertEqual((actions, len(tries)), ([], 2))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_guarded(self) -> None:
        """
        A listener that raises, and cannot be shown, is logged.
        """

        class Listener(Unspeakable):
            def __call__(self) -> None:
                raise SystemExit

        Guarded(Listener())()
        self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 1)

    def test_observer(self) -> None:
        """
        An observer of the log that raises stops nothing.
        """

        class BadLog:
            def failure(self, *args: object, **kwargs: object) -> None:
                raise SystemExit

        bad: Any = BadLog()
        Report(bad, "text")

    def test_retake(self) -> None:
        """
        A lock is taken that the thread does not have, and one that it has is not taken again.
        """
        pool = WorkerPool("pool", 0, FunctionWorker)
        Retake(pool._lock)
        Retake(pool._lock)
        pool._lock.release()
        self.assertFalse(pool._lock._is_owned())  # type: ignore[attr-defined]


class IDTests(ThreadCase):
    """
    Tests for task IDs that raise.
    """

    def pausedPool(self) -> WatchedPool:
        """
        Make a pool that starts nothing yet.
        """
        pool = self.makePool(1)
        pool.SetActive(False)
        return pool

    def assertQuiet(self, pool: WatchedPool) -> None:
        """
        The pool runs all that it has, with all its workers.
        """
        pool.SetActive(True)
        Other(pool.Quiesce).result()
        pool.waitUntilIdle(1)
        statistics = pool.GetStatistics()
        self.assertEqual((statistics.queued, statistics.running, statistics.workers), (0, 0, 1))
        self.assertEqual((pool._running_ids, pool._older_twins), ({}, []))

    def test_errors(self) -> None:
        """
        Errors about tasks whose IDs have no C{repr} have a text.
        """
        for taskID in UNSPEAKABLE:
            pool = self.pausedPool()
            error: Any = self.assertRaises(NoSuchTask, pool.CancelTask, taskID)
            self.assertIn("whose repr raises", str(error))
            self.assertIs(error.task_id, taskID)
            self.assertRaises(NoSuchTask, pool.ChangeTaskPriority, taskID, 1)
            self.assertRaises(NoSuchTask, pool.InterruptTask, taskID)
            pool.AddTask((self.see, 1), 0, taskID)
            self.assertRaises(DuplicateTaskID, pool.AddTask, (self.see, 1), 0, taskID)
            Other(pool.TerminateWorkers).result()
            self.assertRaises(
                PoolTerminated,
                lambda: pool.AddTask((), 0, taskID, completion=Recorder()),  # noqa: B023
            )
        self.assertRaises(InvalidArgument, pool.AddTask, Unspeakable())
        self.assertRaises(InvalidArgument, pool.AddTask, (), Unspeakable())
        self.assertRaises(InvalidArgument, pool.Resize, Unspeakable())

    def test_outcomes(self) -> None:
        """
        The outcomes of such tasks are told: of one that was cancelled, of those that a
        termination gives up, and of one that has no completion and fails.
        """
        pool = self.pausedPool()
        completions = [Recorder() for _ in UNSPEAKABLE]
        for taskID, completion in zip(UNSPEAKABLE, completions, strict=True):
            pool.AddTask((self.see, 1), 0, taskID, completion=completion)
        pool.CancelTask(UNSPEAKABLE[0])
        Other(pool.TerminateWorkers).result()
        self.assertEqual(
            [completion.events for completion in completions],
            [[("fail", TaskCancelled)], [("fail", TaskNotStarted)], [("fail", TaskNotStarted)]],
        )

        def fail(worker: BaseWorker) -> None:
            raise ZeroDivisionError

        pool = self.makePool(1)
        for taskID in UNSPEAKABLE:
            pool.AddTask((fail,), 0, taskID)
            pool.AddTask((fail,), 0, completion=Recorder(fail=sys.exit))
        self.assertQuiet(pool)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), len(UNSPEAKABLE))
        self.assertEqual(len(self.flushLoggedErrors(SystemExit)), len(UNSPEAKABLE))

    def test_completionOfACancelledTask(self) -> None:
        """
        A completion that raises when its task is cancelled is logged, and stops nothing.
        """
        pool = self.pausedPool()
        pool.AddTask((self.see, 1), 0, "t", completion=Recorder(fail=sys.exit))
        pool.CancelTask("t")
        self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 1)
        self.assertEqual(pool.GetStatistics().cancelled, 1)
        self.assertQuiet(pool)
        self.assertEqual(self.seen, [])

    def test_hashOfStart(self) -> None:
        """
        A task whose ID cannot be hashed any more when a worker takes it fails with that, and
        does not run; the others do.
        """
        for error in (RuntimeError, SystemExit):
            self.seen.clear()
            pool = self.pausedPool()
            taskID = Fickle()
            completion = Recorder()
            pool.AddTask((self.see, "hash"), 0, taskID, completion=completion)
            pool.AddTask((self.see, "other"), 1, "other")
            taskID.error = error
            self.assertQuiet(pool)
            self.assertEqual((self.seen, completion.events), (["other"], [("fail", error)]))
            # It is a failure of the task, and not one of the worker, which would be logged.
            self.assertEqual(self.flushLoggedErrors(), [])
            taskID.error = None
            pool.AddTask((self.see, "again"), 0, taskID)
            self.assertQuiet(pool)
            self.assertEqual(self.seen, ["other", "again"])

    def test_hashOfEnd(self) -> None:
        """
        A task whose ID cannot be hashed any more when it ends has its outcome, and its ID
        is free. Other running tasks keep theirs.
        """
        for deferring in (False, True):
            pool = self.makePool(2)
            taskID = Fickle()
            gate = self.makeGate()
            pool.AddTask((gate,), 0, "other")
            gate.reached()

            def run(worker: BaseWorker) -> None:
                taskID.error = RuntimeError  # noqa: B023
                if deferring:  # noqa: B023
                    raise DeferTask

            completion = Recorder()
            pool.AddTask((run,), 0, taskID, completion=completion)
            pool.waitUntilIdle(1)
            self.assertEqual(
                completion.events[1:],
                [("fail", RuntimeError) if deferring else ("succeed", None)],
            )
            taskID.error = None
            self.assertRaises(NoSuchTask, pool.InterruptTask, taskID)
            pool.InterruptTask("other")
            gate.open()
            Other(pool.Quiesce).result()
            self.assertEqual(pool._running_ids, {})

    def test_hashOfTwoAtTheEnd(self) -> None:
        """
        Two tasks may run whose IDs cannot be hashed any more: both have their outcomes.
        """
        pool = self.makePool(2)
        taskIDs = [Fickle(), Fickle()]
        gates = [self.makeGate(), self.makeGate()]
        for taskID, gate in zip(taskIDs, gates, strict=True):
            pool.AddTask((gate,), 0, taskID)
            gate.reached()
        for taskID in taskIDs:
            taskID.error = RuntimeError
        for gate in gates:
            gate.open()
        Other(pool.Quiesce).result()
        self.assertEqual(pool.GetStatistics().succeeded, 2)
        self.assertEqual(pool._running_ids, {})

    def test_hashOfMany(self) -> None:
        """
        If an ID raises when it is recorded, none of the tasks that it came with is added.
        """
        pool = self.pausedPool()
        taskID = Fickle()
        taskID.when = lambda: "first" in pool._taskdata
        taskID.error = RuntimeError
        self.assertRaises(
            RuntimeError,
            pool.AddManyTasks,
            [(self.see, 1), (self.see, 2)],
            0,
            ["first", taskID],
        )
        self.assertEqual(pool.GetStatistics().added, 0)
        self.assertQuiet(pool)
        self.assertEqual(self.seen, [])

    def test_hashOfTermination(self) -> None:
        """
        A termination gives up tasks whose IDs cannot be hashed any more like all others, and
        they are forgotten.
        """
        pool = self.pausedPool()
        taskIDs: list[Any] = [Fickle(), Fickle(), "t"]
        completions = [Recorder() for _ in taskIDs]
        pool.AddTask((self.see, 1))
        pool.AddTask((self.see, 2), 0, taskIDs[0], completion=completions.pop())
        pool.CancelTask(taskIDs[0])
        completions.append(Recorder())
        pool._OpenFence(self.seen.append)
        for taskID, completion in zip(taskIDs, completions, strict=True):
            pool._Submit([pool._NewEntry((), 0, taskID, completion)], hold=True)
        for taskID in taskIDs[:2]:
            taskID.error = SystemExit
        Other(pool.TerminateWorkers).result()
        self.assertEqual(
            [completion.events for completion in completions], [[("fail", TaskNotStarted)]] * 3
        )
        self.assertEqual((len(pool._tasks), pool._taskdata), (1, {}))

    def test_hashBehindFence(self) -> None:
        """
        A task that a fence held, and whose ID cannot be hashed any more when the fence
        falls, comes into the queue and fails there.
        """
        pool = self.makePool(1)
        gate = self.makeGate()
        pool.AddTask((gate,))
        gate.reached()
        pool._OpenFence(self.seen.append)
        taskID = Fickle()
        completion = Recorder()
        pool._Submit([pool._NewEntry((), 0, taskID, completion)], hold=True)
        pool._Submit([pool._NewEntry((self.see, "other"), 1, "t")], hold=True)
        taskID.error = RuntimeError
        gate.open()
        pool.waitUntil(lambda: "other" in self.seen)
        self.assertQuiet(pool)
        self.assertEqual(completion.events, [("fail", RuntimeError)])

    def test_staleID(self) -> None:
        """
        The ID of an entry that has left, and could not be hashed then, is free when it can be
        hashed again, and is not found.
        """
        queue = TaskHeap()
        taskID = Fickle()
        for order, name in enumerate((taskID, "other")):
            queue.push(newEntry(0, order, name, (), None, None, 0.0))
        taskID.error = RuntimeError
        queue.pop()
        taskID.error = None
        self.assertIn(taskID, queue.byID)
        self.assertIsNone(queue.find(taskID))
        queue.withdraw(queue.byID["other"])
        self.assertEqual((queue.byID, queue.tasks), ({}, []))


SENDING = """\
import builtins, ctypes, signal, sys
from ganeti_pool.workerpool import BaseWorker, WorkerPool

class Worker(BaseWorker):
    def RunTask(self, f):
        f("ran")

signal.alarm(20)
pool = WorkerPool("pool", 1, Worker)
while not pool._idle:
    pass
(worker,) = pool._workers
ctypes.pythonapi.PyThreadState_SetAsyncExc(
    ctypes.c_ulong(worker.ident), ctypes.py_object(getattr(builtins, sys.argv[1]))
)
pool.AddTask((print,))
pool.Quiesce()
print(pool.GetStatistics().workers, worker.is_alive())
"""


class NoisyWorker(FunctionWorker):
    """
    A worker whose C{SetTaskName} cannot take L{None}.
    """

    def SetTaskName(self, taskname: str | None) -> None:
        """
        Take a text.
        """
        assert taskname is not None
        super().SetTaskName(taskname.upper())


class WorkerTests(ThreadCase):
    """
    Tests for workers that meet exceptions.
    """

    def test_setTaskName(self) -> None:
        """
        A worker whose C{SetTaskName} raises when the task ends goes on, and the outcome is
        that of the task.
        """
        pool = self.makePool(1, NoisyWorker)
        completion = Recorder()
        pool.AddTask((lambda worker: worker.SetTaskName("t"),), completion=completion)
        pool.AddTask((self.see, 1))
        Other(pool.Quiesce).result()
        self.assertEqual(completion.events, [("begin", 1), ("succeed", None)])
        self.assertEqual(self.seen, [1])
        self.assertEqual(len(self.flushLoggedErrors(AssertionError)), 1)

    def test_equality(self) -> None:
        """
        Workers whose class calls all of them equal, or cannot compare them, come and go each
        by itself.
        """

        class Equal(FunctionWorker):
            def __eq__(self, other: object) -> bool:
                return True

            def __hash__(self) -> int:
                return 1

        class Incomparable(FunctionWorker):
            def __eq__(self, other: object) -> bool:
                raise RuntimeError

            __hash__ = FunctionWorker.__hash__

        for workerClass in (Equal, Incomparable):
            pool = self.makePool(3, workerClass)
            pool.waitUntilIdle(3)
            Other(pool.Resize, 1).result()
            pool.AddTask((self.see, 1))
            Other(pool.Quiesce).result()
            self.assertEqual(pool.GetStatistics().workers, 1)
            Other(pool.TerminateWorkers).result()
            self.assertEqual(len(pool._workers), 0)

    def test_exceptionForIdleWorker(self) -> None:
        """
        An idle worker that another thread has sent an exception, as some debuggers and
        supervisors do, goes on, and runs the task that wakes it.
        """
        # In a process of its own: where code is traced, as for its coverage, CPython 3.11 does
        # not go on while such an exception is on its way to another thread.
        for error in ("ValueError", "SystemExit"):
            process = subprocess.run(
                [sys.executable, "-c", SENDING, error],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=60,
                check=True,
                text=True,
            )
            self.assertEqual(process.stdout.split(), ["ran", "1", "True"])

    def test_exceptionBeforeTheStart(self) -> None:
        """
        So does one that meets it before it is part of the pool: it waits for that.
        """
        gate = self.makeGate()

        class Failing(FunctionWorker):
            parks = 0

            def _Park(self) -> None:
                self.parks += 1
                if self.parks == 1:
                    raise LookupError
                gate()
                super()._Park()

        pool = self.makePool(0, Failing)
        launch = pool._LaunchWorker

        def wait(worker: BaseWorker) -> None:
            launch(worker)
            gate.reached()
            self.assertEqual(pool._workers, [])

        pool._LaunchWorker = wait  # type: ignore[method-assign]
        pool.Resize(1)
        gate.open()
        pool.AddTask((self.see, 1))
        Other(pool.Quiesce).result()
        self.assertEqual(self.seen, [1])
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    def test_exceptionForNewWorker(self) -> None:
        """
        So does one that meets it with the news that it is part of the pool.
        """

        class Failing(FunctionWorker):
            parks = 0

            def _Park(self) -> None:
                super()._Park()
                self.parks += 1
                if self.parks == 1:
                    raise LookupError

        pool = self.makePool(1, Failing)
        pool.AddTask((self.see, 1))
        Other(pool.Quiesce).result()
        self.assertEqual(self.seen, [1])
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    def interruptAt(self, pool: WorkerPool, name: str) -> None:
        """
        Have the next call of one of the pool's own methods raise, once, before it does
        anything.
        """
        method = getattr(pool, name)

        def fail(*args: object) -> object:
            setattr(pool, name, method)
            raise LookupError

        setattr(pool, name, fail)

    def test_exceptionForTheEndOfATask(self) -> None:
        """
        A task whose worker meets an exception in the pool's own code has its outcome, once,
        and the worker goes on.
        """
        for name, event in [
            ("_Finish", ("fail", LookupError)),
            ("_CountUnlocked", ("fail", LookupError)),
            ("_PutDownUnlocked", ("succeed", None)),
        ]:
            pool = self.makePool(1)
            pool.waitUntilIdle(1)
            self.interruptAt(pool, name)
            completion = Recorder()
            pool.AddTask((self.see, 1), 0, "t", completion=completion)
            pool.AddTask((self.see, 2))
            Other(pool.Quiesce).result()
            pool.waitUntilIdle(1)
            self.assertEqual(completion.events, [("begin", 1), event])
            statistics = pool.GetStatistics()
            self.assertEqual((statistics.running, pool._busy), (0, 0))
            self.assertEqual(statistics.succeeded + statistics.failed, 2)
            self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    def test_exceptionForTheRecovery(self) -> None:
        """
        If even that fails the worker goes on.
        """
        pool = self.makePool(1)
        pool.waitUntilIdle(1)
        self.interruptAt(pool, "_WaitForTaskUnlocked")
        self.interruptAt(pool, "_RecoverUnlocked")
        pool.AddTask((self.see, 1))
        pool.AddTask((self.see, 2))
        Other(pool.Quiesce).result()
        self.assertEqual(self.seen, [1, 2])
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 2)

    def test_waitersThatRaise(self) -> None:
        """
        Two who wait for quiet are told by a worker though the first raises, and so are two
        who wait for workers to leave.
        """

        def fail(*args: object) -> None:
            raise LookupError

        pool = self.makePool(1)
        gate = self.makeGate()
        pool.AddTask((gate,))
        gate.reached()
        workers = list(pool._workers)
        pool._OpenFence(fail)
        quiesce = self.quiesce(pool)
        pool._BeginResize(0, fail)
        pool._BeginResize(1, lambda: None)
        resize = Other(pool.Resize, 0)
        gate.open()
        quiesce.result()
        resize.result()
        for worker in workers:
            Other(worker.join, PATIENCE).result()
        self.assertEqual(pool._barriers, [])
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 2)

    def test_startFailsAndIsTold(self) -> None:
        """
        A thread that comes up though its start was interrupted ends at once.
        """
        made: list[BaseWorker] = []

        class Late(FunctionWorker):
            def start(self) -> None:
                super().start()
                made.append(self)
                raise KeyboardInterrupt

        self.assertRaises(KeyboardInterrupt, WorkerPool, "pool", 1, Late)
        Other(made[0].join, PATIENCE).result()
        self.assertFalse(made[0].is_alive())


class DeferredTests(SynchronousTestCase):
    """
    Tests for Deferreds beside code that raises.
    """

    def test_repr(self) -> None:
        """
        On a termination each Deferred fires, whatever the IDs of the tasks do.
        """
        pool, stepping, reactor = makeSteppingPool()
        stepping.SetActive(False)
        results = [pool.addTask((print,), 0, taskID) for taskID in [*UNSPEAKABLE, "t"]]
        reactor.run()
        done = pool.terminateWorkers()
        reactor.run()
        for result in results:
            self.failureResultOf(result, TaskNotStarted)
        self.assertIsNone(self.successResultOf(done))

    def test_cancelWithoutHash(self) -> None:
        """
        The Deferred of a task whose ID cannot be hashed any more fires when it is cancelled.
        """
        pool, stepping, _reactor = makeSteppingPool()
        stepping.SetActive(False)
        taskID = Fickle()
        result = pool.addTask((print,), 0, taskID)
        pool.changeTaskPriority(taskID, 2)
        taskID.error = SystemExit
        result.cancel()
        self.assertIsInstance(self.failureResultOf(result), Failure)
        self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 1)

    def test_firedByItsOwner(self) -> None:
        """
        Of several Deferreds of a termination each fires, even if one was fired already by
        whom it was given to.
        """
        pool, _stepping, reactor = makeSteppingPool()
        waits: list[Deferred[None]] = [pool.terminateWorkers() for _ in range(3)]
        waits[0].callback(None)
        reactor.run()
        for wait in waits:
            self.assertIsNone(self.successResultOf(wait))

    def test_deadline(self) -> None:
        """
        A deadline is taken as the number that it is, whatever its class makes of that.
        """

        class Odd(float):
            def __format__(self, spec: str) -> str:
                raise RuntimeError

            def __lt__(self, other: object) -> bool:
                raise RuntimeError

            __ge__ = __gt__ = __le__ = __lt__

        pool, _stepping, _reactor = makeSteppingPool()
        pool.shutdownPolicy(deadline=Odd(5))
        self.assertIs(type(pool._policy[1]), float)
        for bad in (Odd("inf"), "5", -1, Unspeakable()):
            self.assertRaises(InvalidArgument, pool.shutdownPolicy, deadline=bad)

    def test_names(self) -> None:
        """
        The name of a pool is a plain text, whatever it was given.
        """

        class Name(str):
            __slots__ = ()

            def __repr__(self) -> str:
                raise RuntimeError

        pool, stepping, _ = makeSteppingPool(name=Name("n"))
        self.assertEqual((type(pool.name), type(stepping._name)), (str, str))
        self.assertIn("'n'", repr(pool))
