"""
What every pool in Ganeti's dialect does, with threads or without: the tests of
L{IWorkerPool <ganeti_pool.interfaces.IWorkerPool>} that need no second thread.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from ganeti_pool import errors, workerpool
from ganeti_pool.errors import (
    DuplicateTaskID,
    InvalidArgument,
    PoolTerminated,
    ProgrammerError,
    TaskCancelled,
    TaskNotStarted,
    UnusableResult,
    WorkersNotStarted,
    WouldWaitForItself,
)
from ganeti_pool.interfaces import ICompletion, IWorker, IWorkerPool
from ganeti_pool.workerpool import BaseWorker, DeferTask, NoSuchTask, WorkerPool

__all__ = ["FunctionWorker", "PoolContract", "Recorder"]


if TYPE_CHECKING:
    _Case = SynchronousTestCase
else:
    # Not a test case for the runners, which would run it by itself.
    _Case = object


class FunctionWorker(BaseWorker):
    """
    A worker whose tasks are functions that get the worker.
    """

    def RunTask(self, f: Callable[..., object], *args: Any) -> object:
        """
        Call the function.
        """
        return f(self, *args)


@implementer(ICompletion)
class Recorder:
    """
    A completion that keeps what it is told, and then does what a test wants.

    @ivar events: what it was told.
    @ivar failure: the last failure that it was told.
    """

    failure: Failure

    def __init__(self, **reactions: Callable[[], object]) -> None:
        """
        @param reactions: what to do, by the name of the method that was called.
        """
        self.events: list[tuple[Any, ...]] = []
        self._reactions = reactions

    def begin(self, attempt: int) -> None:
        self._record("begin", attempt)

    def deferred(self, priority: float, order: int) -> None:
        self._record("deferred", priority, order)

    def succeed(self, value: object) -> None:
        self._record("succeed", value)

    def fail(self, failure: Failure) -> None:
        self.failure = failure
        self._record("fail", failure.type)

    def _record(self, what: str, *values: object) -> None:
        self.events.append((what, *values))
        if what in self._reactions:
            self._reactions[what]()


class PoolContract(_Case):
    """
    The tests. Whoever derives from them says how a pool is made, and how it is
    brought to run all that is queued.
    """

    def makePool(
        self, workers: int, workerClass: Callable[[Any, str], object] = FunctionWorker
    ) -> WorkerPool:
        """
        Make a pool called C{pool}, which ends with the test.
        """
        raise NotImplementedError

    def settle(self, pool: WorkerPool) -> None:
        """
        Have the pool run all that is queued.
        """
        raise NotImplementedError

    def setUp(self) -> None:
        self.seen: list[Any] = []

    def see(self, worker: BaseWorker, value: object) -> object:
        """
        A task that notes and returns a value.
        """
        self.seen.append(value)
        return value

    def pausedPool(self, workers: int = 1) -> WorkerPool:
        """
        Make a pool that does not start anything yet.
        """
        pool = self.makePool(workers)
        pool.SetActive(False)
        return pool

    def resume(self, pool: WorkerPool) -> list[Any]:
        """
        Have a paused pool run all that is queued.

        @return: what the tasks noted.
        """
        pool.SetActive(True)
        self.settle(pool)
        return self.seen

    def assertCounts(self, pool: WorkerPool, **expected: int) -> None:
        """
        The statistics are what is expected, 0 where nothing is, and consistent.
        """
        statistics = pool.GetStatistics()
        names = ("queued", "running", "succeeded", "failed", "cancelled", "unstarted")
        counts = {name: getattr(statistics, name) for name in names}
        self.assertEqual(counts, {name: expected.get(name, 0) for name in names})
        self.assertEqual(statistics.added, sum(counts.values()))

    # What there is

    def test_interface(self) -> None:
        """
        A pool provides L{IWorkerPool}, and the members of the reference page.
        """
        pool = self.makePool(1)
        verifyObject(IWorkerPool, pool)
        for name in (
            "_WaitWhileQuiescingUnlocked",
            "_AddTaskUnlocked",
            "_WaitForTaskUnlocked",
            "_ShouldWorkerTerminateUnlocked",
            "_HasRunningTasksUnlocked",
            "_NewWorkerIdUnlocked",
            "_ResizeUnlocked",
        ):
            self.assertTrue(callable(getattr(pool, name)), name)
        self.assertEqual(pool._DEFAULT_PRIORITY, 0)
        self.assertEqual(workerpool._DEFAULT_PRIORITY, 0)
        self.assertIn("'pool'", repr(pool))

    def test_workers(self) -> None:
        """
        The workers are called after the pool and numbered from 1; they are
        threads that know their pool and ID.
        """
        pool = self.makePool(3)
        with pool._lock:
            workers = list(pool._workers)
        self.assertEqual([worker.name for worker in workers], ["pool1", "pool2", "pool3"])
        self.assertEqual([worker._worker_id for worker in workers], ["pool1", "pool2", "pool3"])
        for worker in workers:
            self.assertIs(worker.pool, pool)
            self.assertTrue(worker.daemon)

    def test_idsAreNotReused(self) -> None:
        """
        A worker that comes after another has ended has a new number.
        """
        pool = self.makePool(2)
        pool.Resize(0)
        pool.Resize(1)
        with pool._lock:
            self.assertEqual([worker._worker_id for worker in pool._workers], ["pool3"])

    def test_portedProgram(self) -> None:
        """
        A program that derives from C{workerpool.BaseWorker}, defers, and looks for
        C{workerpool.NoSuchTask} runs as it is.
        """
        log: list[Any] = []

        class Worker(workerpool.BaseWorker):
            def RunTask(self, name: str, rounds: list[int]) -> None:
                self.SetTaskName(name)
                log.append((self.name, self._worker_id, self.pool._active))
                if rounds:
                    rounds.pop()
                    raise workerpool.DeferTask(priority=self.GetCurrentPriority() + 1)

        pool = self.makePool(1, Worker)
        pool.AddTask(("Job17", [1]), task_id=17)
        self.settle(pool)
        self.assertEqual(log, [("pool1/Job17", "pool1", True)] * 2)
        self.assertRaises(workerpool.NoSuchTask, pool.ChangeTaskPriority, 17, 1)
        self.assertRaises(errors.ProgrammerError, pool.AddManyTasks, [(1,)], priority=[1, 2])

    # Order

    def test_order(self) -> None:
        """
        Tasks start by priority, the lower number first, and within a priority in
        the order in which they were added.
        """
        pool = self.pausedPool()
        for priority in (1, 0, -5, 1, 0.5, -5, True):
            pool.AddTask((self.see, (priority, len(pool._tasks))), priority=priority)
        self.assertEqual(
            self.resume(pool), [(-5, 2), (-5, 5), (0, 1), (0.5, 4), (1, 0), (1, 3), (1, 6)]
        )

    def test_entries(self) -> None:
        """
        The entries of C{_tasks} are lists of priority, order ID, task ID and
        arguments; the order IDs begin at 0; C{_taskdata} has those with an ID.
        """
        pool = self.pausedPool()
        with pool._lock:
            pool._AddTaskUnlocked((self.see, "a"), 5, "first")
        pool.AddTask([self.see, "b"], task_id=("x", 1))
        pool.AddManyTasks([(self.see, "c"), (self.see, "d")], priority=[7, 6], task_id=[None, "e"])
        with pool._lock:
            self.assertEqual(
                sorted(pool._tasks),
                [
                    [0, 1, ("x", 1), [self.see, "b"]],
                    [5, 0, "first", (self.see, "a")],
                    [6, 3, "e", (self.see, "d")],
                    [7, 2, None, (self.see, "c")],
                ],
            )
            self.assertEqual(set(pool._taskdata), {"first", ("x", 1), "e"})
            self.assertEqual(pool._taskdata["first"], [5, 0, "first", (self.see, "a")])
        self.assertEqual(self.resume(pool), ["b", "a", "d", "c"])
        with pool._lock:
            self.assertEqual((pool._tasks, pool._taskdata), ([], {}))

    def test_manyTasks(self) -> None:
        """
        Many tasks of one priority start in order; none at all is fine.
        """
        pool = self.pausedPool()
        pool.AddManyTasks([])
        pool.AddManyTasks([[self.see, n] for n in range(5)], priority=3)
        pool.AddTask((self.see, "first"))
        self.assertEqual(self.resume(pool), ["first", 0, 1, 2, 3, 4])

    # Moving

    def test_changePriority(self) -> None:
        """
        A moved task keeps its order ID, and leaves an abandoned entry behind, also
        where its priority is what it was.
        """
        pool = self.pausedPool()
        pool.AddTask((self.see, "a"), 1, "a")
        pool.AddTask([self.see, "b"], 2, "b")
        pool.AddTask((self.see, "c"), 2, "c")
        pool.ChangeTaskPriority("c", 1)
        pool.ChangeTaskPriority("a", 2)
        pool.ChangeTaskPriority("b", 2)
        pool.ChangeTaskPriority("b", 2)
        with pool._lock:
            self.assertEqual(
                sorted(pool._tasks),
                [
                    [1, 0, "a", None],
                    [1, 2, "c", (self.see, "c")],
                    [2, 0, "a", (self.see, "a")],
                    [2, 1, "b", None],
                    [2, 1, "b", None],
                    [2, 1, "b", [self.see, "b"]],
                    [2, 2, "c", None],
                ],
            )
        self.assertEqual(pool.GetStatistics().queued, 3)
        self.assertEqual(self.resume(pool), ["c", "a", "b"])
        with pool._lock:
            self.assertEqual((pool._tasks, pool._taskdata), ([], {}))

    def test_compaction(self) -> None:
        """
        Abandoned entries go when they outnumber the live ones and are more than 64,
        not before.
        """
        pool = self.pausedPool()
        pool.AddTask((self.see, "a"), task_id="a")
        for priority in range(64):
            pool.ChangeTaskPriority("a", priority)
        self.assertEqual(len(pool._tasks), 65)
        pool.ChangeTaskPriority("a", 64)
        self.assertEqual(pool._tasks, [[64, 0, "a", (self.see, "a")]])
        pool.AddManyTasks([(self.see, n) for n in range(99)])
        for priority in range(100):
            pool.ChangeTaskPriority("a", -priority)
        self.assertEqual(len(pool._tasks), 200)
        pool.ChangeTaskPriority("a", -100)
        self.assertEqual(len(pool._tasks), 100)
        self.assertEqual(self.resume(pool), ["a", *range(99)])

    def test_changePriorityRefused(self) -> None:
        """
        Only a queued task can be moved: not one that never was, runs, or has ended.
        """
        pool = self.makePool(1)

        def move(worker: BaseWorker) -> None:
            self.assertRaises(NoSuchTask, pool.ChangeTaskPriority, "t", 1)

        completion = Recorder()
        pool.AddTask((move,), task_id="t", completion=completion)
        self.settle(pool)
        self.assertEqual(completion.events, [("begin", 1), ("succeed", None)])
        error = self.assertRaises(NoSuchTask, pool.ChangeTaskPriority, "t", 1)
        self.assertEqual(error.task_id, "t")
        self.assertIn("'pool'", str(error))

    # Refusals

    def test_duplicate(self) -> None:
        """
        An ID that is queued is refused, whoever adds it, and nothing is added. Many
        tasks are added all or none.
        """
        pool = self.pausedPool()
        pool.AddTask((self.see, 1), task_id="t")
        with pool._lock:
            self.assertRaises(DuplicateTaskID, pool._AddTaskUnlocked, (self.see, 2), 0, "t")
        error = self.assertRaises(DuplicateTaskID, pool.AddTask, (self.see, 2), task_id="t")
        self.assertIsInstance(error, AssertionError)
        self.assertEqual(error.task_id, "t")
        many = [(self.see, 3), (self.see, 4)]
        self.assertRaises(DuplicateTaskID, pool.AddManyTasks, many, task_id=["u", "t"])
        self.assertRaises(DuplicateTaskID, pool.AddManyTasks, many, task_id=["u", "u"])
        pool.AddManyTasks([(self.see, 5), (self.see, 6)], task_id=[None, None])
        self.assertEqual(self.resume(pool), [1, 5, 6])
        self.assertCounts(pool, succeeded=3)

    def test_misuse(self) -> None:
        """
        What cannot be used is refused with L{InvalidArgument}, which is an
        L{AssertionError} too, and changes nothing.
        """
        pool = self.pausedPool()
        one = [(self.see, 1)]
        calls: list[Callable[[], object]] = [
            lambda: pool.AddTask("text"),
            lambda: pool.AddTask(None),  # type: ignore[arg-type]
            lambda: pool.AddTask({1: 2}),  # type: ignore[arg-type]
            lambda: pool.AddTask((), priority="1"),  # type: ignore[arg-type]
            lambda: pool.AddTask((), priority=None),  # type: ignore[arg-type]
            lambda: pool.AddTask((), priority=float("nan")),
            lambda: pool.AddTask((), priority=1j),  # type: ignore[arg-type]
            lambda: pool.AddTask((), task_id=[]),  # type: ignore[arg-type]
            lambda: pool.AddTask((), completion=object()),
            lambda: pool._AddTaskUnlocked("text", 0, None),
            lambda: pool.AddManyTasks("ab"),
            lambda: pool.AddManyTasks(1),  # type: ignore[arg-type]
            lambda: pool.AddManyTasks(iter(one)),  # type: ignore[arg-type]
            lambda: pool.AddManyTasks(["a"]),
            lambda: pool.AddManyTasks([1]),  # type: ignore[list-item]
            lambda: pool.AddManyTasks(one, priority="1"),  # type: ignore[arg-type]
            lambda: pool.AddManyTasks(one, priority=["1"]),  # type: ignore[list-item]
            lambda: pool.AddManyTasks(one, priority=None),  # type: ignore[arg-type]
            lambda: pool.AddManyTasks(one, task_id=1),  # type: ignore[arg-type]
            lambda: pool.AddManyTasks(one, task_id="a"),
            lambda: pool.AddManyTasks(one, task_id=[[]]),  # type: ignore[list-item]
            lambda: pool.AddManyTasks(one, completion=[1]),
            lambda: pool.AddManyTasks(one, completion=Recorder()),  # type: ignore[arg-type]
            lambda: pool.ChangeTaskPriority("a", "1"),  # type: ignore[arg-type]
            lambda: pool.ChangeTaskPriority([], 1),  # type: ignore[arg-type]
            lambda: pool.CancelTask([]),  # type: ignore[arg-type]
            lambda: pool.InterruptTask([]),  # type: ignore[arg-type]
            lambda: pool.Resize(-1),
            lambda: pool.Resize(1.0),  # type: ignore[arg-type]
            lambda: pool.Resize(None),  # type: ignore[arg-type]
            lambda: self.makePool(-1),
            lambda: self.makePool(1, None),  # type: ignore[arg-type]
        ]
        for number, call in enumerate(calls):
            with self.assertRaises(AssertionError, msg=f"call {number}") as caught:
                call()
            self.assertIs(type(caught.exception), InvalidArgument, f"call {number}")
        self.assertCounts(pool)
        self.assertEqual(pool._next_order, 0)

    def test_lengths(self) -> None:
        """
        Lists of different lengths are a L{ProgrammerError}, and nothing is added.
        """
        pool = self.pausedPool()
        wrong: list[dict[str, Any]] = [
            {"priority": [1]},
            {"task_id": []},
            {"completion": [None] * 3},
        ]
        for arguments in wrong:
            error = self.assertRaises(
                ProgrammerError, pool.AddManyTasks, [(self.see, 1), (self.see, 2)], **arguments
            )
            self.assertNotIsInstance(error, AssertionError)
        self.assertCounts(pool)

    def test_ownTypes(self) -> None:
        """
        Arguments and priorities of derived types are taken as plain ones, so that
        the heap runs no code of theirs.
        """

        class Args(tuple):  # type: ignore[type-arg]
            def __gt__(self, other: object) -> bool:
                raise AssertionError

        class Listed(list):  # type: ignore[type-arg]
            pass

        class Priority(float):
            def __lt__(self, other: object) -> bool:
                raise AssertionError

        pool = self.pausedPool()
        pool.AddTask(Args((self.see, 1)), priority=Priority(2), task_id="a")
        pool.AddTask(Listed((self.see, 2)), priority=Priority(1))
        self.assertEqual([type(entry[0]) for entry in pool._tasks], [float, float])
        self.assertEqual({type(entry[3]) for entry in pool._tasks}, {tuple, list})
        self.assertEqual(self.resume(pool), [2, 1])

    # Outcomes

    def test_success(self) -> None:
        """
        A completion is told of the start, and of what C{RunTask} returned.
        """
        pool = self.makePool(1)
        completions = [Recorder(), Recorder()]
        pool.AddTask((self.see, 42), completion=completions[0])
        pool.AddManyTasks([(self.see, None), (self.see, 1)], completion=[completions[1], None])
        self.settle(pool)
        self.assertEqual(completions[0].events, [("begin", 1), ("succeed", 42)])
        self.assertEqual(completions[1].events, [("begin", 1), ("succeed", None)])
        self.assertCounts(pool, succeeded=3)

    def test_failure(self) -> None:
        """
        Whatever C{RunTask} raises is the task's failure, and the worker survives.
        """
        pool = self.makePool(1)

        def fail(worker: BaseWorker, error: type[BaseException]) -> None:
            raise error

        kinds = (ValueError, SystemExit, KeyboardInterrupt, GeneratorExit)
        completions = [Recorder() for _ in kinds]
        pool.AddManyTasks([(fail, kind) for kind in kinds], completion=completions)
        self.settle(pool)
        for kind, completion in zip(kinds, completions, strict=True):
            self.assertEqual(completion.events, [("begin", 1), ("fail", kind)])
        self.assertCounts(pool, failed=4)
        self.assertEqual(pool.GetStatistics().workers, 1)

    def test_failureIsLogged(self) -> None:
        """
        Without a completion a failure goes to the log, at critical level, with the
        ID of the task and the name of the pool.
        """
        events: list[Any] = []
        globalLogPublisher.addObserver(cast(Any, events.append))
        self.addCleanup(globalLogPublisher.removeObserver, cast(Any, events.append))
        pool = self.makePool(1)
        pool.AddTask((lambda worker: 1 / 0,), task_id="t")
        self.settle(pool)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        (event,) = (event for event in events if "log_failure" in event)
        self.assertEqual(
            (event["log_level"], event["pool"], event["task_id"]), (LogLevel.critical, "pool", "t")
        )

    def test_unusableResult(self) -> None:
        """
        A Deferred or a coroutine that C{RunTask} returns is a failure.
        """

        async def coroutine() -> None:
            """
            Never awaited.
            """

        pool = self.makePool(1)
        completions = [Recorder(), Recorder()]
        pool.AddTask((lambda worker: Deferred(),), completion=completions[0])
        pool.AddTask((lambda worker: coroutine(),), completion=completions[1])
        self.settle(pool)
        for completion in completions:
            self.assertEqual(completion.events, [("begin", 1), ("fail", UnusableResult)])

    def test_baseWorker(self) -> None:
        """
        A worker that does not override C{RunTask} fails its tasks.
        """
        pool = self.makePool(1, BaseWorker)
        completion = Recorder()
        pool.AddTask((), completion=completion)
        self.settle(pool)
        self.assertEqual(completion.events, [("begin", 1), ("fail", NotImplementedError)])

    def test_refusedBegin(self) -> None:
        """
        What C{begin} raises is the task's failure, and the task does not run.
        """
        pool = self.makePool(1)
        completion = Recorder(begin=lambda: 1 / 0)
        pool.AddTask((self.see, 1), completion=completion)
        self.settle(pool)
        self.assertEqual(completion.events, [("begin", 1), ("fail", ZeroDivisionError)])
        self.assertEqual(self.seen, [])
        self.assertCounts(pool, failed=1)

    def test_raisingCompletion(self) -> None:
        """
        A completion that raises is logged, at critical level, and harms nobody.
        """
        pool = self.makePool(1)
        pool.AddTask((self.see, 1), completion=Recorder(succeed=lambda: 1 / 0))
        pool.AddTask((lambda worker: [][0],), completion=Recorder(fail=lambda: 1 / 0))
        pool.AddTask((self.see, 2))
        self.settle(pool)
        self.assertEqual(self.seen, [1, 2])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertCounts(pool, succeeded=2, failed=1)

    def test_completionAddsItsOwnID(self) -> None:
        """
        When the outcome is told the ID is free; whoever waits for the pool to be
        quiet waits for what was added then.
        """
        pool = self.makePool(1)

        def again() -> None:
            self.assertTrue(pool.HasRunningTasks())
            pool.AddTask((self.see, "again"), task_id="t")

        pool.AddTask((self.see, "once"), task_id="t", completion=Recorder(succeed=again))
        self.settle(pool)
        self.assertEqual(self.seen, ["once", "again"])
        self.assertFalse(pool.HasRunningTasks())

    def test_taskAddsTasks(self) -> None:
        """
        A task may add tasks, its own ID included.
        """
        pool = self.makePool(1)

        def add(worker: BaseWorker) -> None:
            pool.AddTask((self.see, 1), task_id="t")
            pool.AddManyTasks([(self.see, 2), (self.see, 3)])

        pool.AddTask((add,), task_id="t")
        self.settle(pool)
        self.assertEqual(self.seen, [1, 2, 3])

    def test_invoke(self) -> None:
        """
        An entry with C{invoke} has that called, with C{RunTask} and the arguments.
        """
        pool = self.makePool(1)
        completion = Recorder()
        entry = pool._NewEntry((self.see, 7), 0, None, completion, lambda run, *args: (run, args))
        pool._Submit([entry], hold=False)
        self.settle(pool)
        (_, (outcome, (run, args))) = completion.events
        self.assertEqual((outcome, args), ("succeed", (self.see, 7)))
        self.assertEqual(run.__name__, "RunTask")

    # Deferring

    def deferOnce(
        self, worker: BaseWorker, priority: float | None, name: str = "deferred"
    ) -> tuple[float, Any]:
        """
        A task that defers itself once.
        """
        first = name not in self.seen
        self.seen.append(name)
        if first:
            raise DeferTask(priority)
        return worker.GetCurrentPriority(), worker._GetCurrentOrderAndTaskId()

    def test_defer(self) -> None:
        """
        A deferred task goes back with its ID, a new order ID and its priority.
        """
        pool = self.pausedPool()
        completion = Recorder()
        pool.AddTask((self.deferOnce, None), 3, "t", completion=completion)
        pool.AddTask((self.see, "other"), 3)
        self.assertEqual(self.resume(pool), ["deferred", "other", "deferred"])
        self.assertEqual(
            completion.events,
            [("begin", 1), ("deferred", 3, 2), ("begin", 2), ("succeed", (3, (2, "t")))],
        )
        self.assertEqual(pool.GetStatistics().deferrals, 1)
        self.assertCounts(pool, succeeded=2)

    def test_deferWithPriority(self) -> None:
        """
        A task may defer itself with another priority, and 0 is one.
        """
        pool = self.pausedPool()
        pool.AddTask((self.deferOnce, 0), -1)
        pool.AddTask((self.see, "after"), 1)
        pool.AddTask((self.see, "before"), 0)
        pool.AddTask((self.deferOnce, 7, "late"), 0)
        self.assertEqual(
            self.resume(pool), ["deferred", "before", "late", "deferred", "after", "late"]
        )

    def test_deferWithNonsense(self) -> None:
        """
        A deferral with what is no priority is the task's failure.
        """
        pool = self.makePool(1)
        completion = Recorder()
        pool.AddTask((self.deferOnce, "soon"), completion=completion)
        self.settle(pool)
        self.assertEqual(completion.events, [("begin", 1), ("fail", InvalidArgument)])

    def test_deferMoved(self) -> None:
        """
        A task that was moved and then defers itself keeps its completion, its
        attempts and its new priority.
        """
        pool = self.pausedPool()
        completion = Recorder()
        pool.AddTask((self.deferOnce, None), task_id="t", completion=completion)
        pool.ChangeTaskPriority("t", 4)
        self.resume(pool)
        self.assertEqual(
            completion.events,
            [("begin", 1), ("deferred", 4, 1), ("begin", 2), ("succeed", (4, (1, "t")))],
        )

    def test_deferAfterReadding(self) -> None:
        """
        A task whose ID was queued again cannot be put back: its deferral fails, and
        the queued one runs.
        """
        pool = self.makePool(1)

        def readd(worker: BaseWorker) -> None:
            pool.AddTask((self.see, "second"), task_id="t")
            raise DeferTask

        completion = Recorder()
        pool.AddTask((readd,), task_id="t", completion=completion)
        self.settle(pool)
        self.assertEqual(completion.events, [("begin", 1), ("fail", DuplicateTaskID)])
        self.assertEqual(self.seen, ["second"])
        self.assertCounts(pool, failed=1, succeeded=1)

    def test_deferredRefuses(self) -> None:
        """
        What C{deferred} raises is the task's failure, and the task is not put back.
        """
        pool = self.makePool(1)
        completion = Recorder(deferred=lambda: 1 / 0)
        pool.AddTask((self.deferOnce, None), completion=completion)
        self.settle(pool)
        self.assertEqual(
            completion.events, [("begin", 1), ("deferred", 0, 1), ("fail", ZeroDivisionError)]
        )
        self.assertCounts(pool, failed=1)

    def test_cancelledWhileDeferring(self) -> None:
        """
        A task that is cancelled while C{deferred} is told ends as cancelled.
        """
        pool = self.makePool(1)
        completion = Recorder(deferred=lambda: pool.InterruptTask("t"))
        pool.AddTask((self.deferOnce, None), task_id="t", completion=completion)
        self.settle(pool)
        self.assertEqual(completion.events[-1], ("fail", TaskCancelled))
        self.assertCounts(pool, cancelled=1)

    # Cancelling

    def test_cancel(self) -> None:
        """
        A queued task that is cancelled never runs. Its completion is told, with a
        failure that is Twisted's L{CancelledError} too.
        """
        pool = self.pausedPool()
        completion = Recorder()
        pool.AddTask((self.see, 1), task_id="t", completion=completion)
        pool.AddTask((self.see, 2), task_id="u")
        pool.AddTask((self.see, 3), task_id="v")
        pool.CancelTask("t")
        pool.CancelTask("u")
        self.assertRaises(NoSuchTask, pool.CancelTask, "t")
        for call in (pool.InterruptTask, partial(pool.ChangeTaskPriority, priority=1)):
            error = self.assertRaises(NoSuchTask, call, "u")
            self.assertIn("(1 queued)", str(error))
        self.assertEqual(cast(Any, completion.failure.value).task_id, "t")
        self.assertTrue(completion.failure.check(CancelledError))
        self.assertEqual(self.resume(pool), [3])
        self.assertCounts(pool, cancelled=2, succeeded=1)

    def test_cancelledIDIsFree(self) -> None:
        """
        When its completion is told of the cancellation, the ID can be added again.
        """
        pool = self.pausedPool()
        completion = Recorder(fail=lambda: pool.AddTask((self.see, 2), task_id="t"))
        pool.AddTask((self.see, 1), task_id="t", completion=completion)
        pool.CancelTask("t")
        self.assertEqual(self.resume(pool), [2])

    def test_interrupt(self) -> None:
        """
        A running task is told that it is cancelled: the flag is set, and its
        listeners are called, once each. One that raises is logged. A later task of
        the worker knows nothing of it.
        """
        pool = self.makePool(1)

        def interrupted(worker: BaseWorker) -> str:
            worker.CallWhenCancelled(lambda: self.seen.append("told"))
            worker.CallWhenCancelled(lambda: 1 / 0)
            worker.CallWhenCancelled(lambda: self.seen.append("told too"))
            self.seen.append(worker.IsCancelled())
            self.assertRaises(NoSuchTask, pool.CancelTask, "t")
            pool.InterruptTask("t")
            pool.InterruptTask("t")
            self.seen.append(worker.IsCancelled())
            worker.CallWhenCancelled(lambda: self.seen.append("at once"))
            return "done all the same"

        completion = Recorder()
        pool.AddTask((interrupted,), task_id="t", completion=completion)
        pool.AddTask((lambda worker: self.seen.append(worker.IsCancelled()),))
        self.settle(pool)
        self.assertEqual(self.seen, [False, "told", "told too", True, "at once", False])
        self.assertEqual(completion.events, [("begin", 1), ("succeed", "done all the same")])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertRaises(NoSuchTask, pool.InterruptTask, "t")

    def test_interruptedDefers(self) -> None:
        """
        A task that defers itself after it was cancelled ends as cancelled.
        """
        pool = self.makePool(1)

        def interrupted(worker: BaseWorker) -> None:
            pool.InterruptTask("t")
            raise DeferTask

        completion = Recorder()
        pool.AddTask((interrupted,), task_id="t", completion=completion)
        self.settle(pool)
        self.assertEqual(completion.events, [("begin", 1), ("fail", TaskCancelled)])

    def test_listenersEndWithTheRun(self) -> None:
        """
        A second run, after a deferral, starts without the listeners of the first.
        """
        pool = self.makePool(1)

        def run(worker: BaseWorker) -> None:
            self.seen.append("run")
            if len(self.seen) == 1:
                worker.CallWhenCancelled(lambda: self.seen.append("never"))
                raise DeferTask
            pool.InterruptTask("t")

        pool.AddTask((run,), task_id="t")
        self.settle(pool)
        self.assertEqual(self.seen, ["run", "run"])

    def test_cancelEntry(self) -> None:
        """
        A waiting task can be withdrawn by its entry, without an ID too, and after
        it was moved. Afterwards nothing more happens.
        """
        pool = self.pausedPool()
        completions = [Recorder(), Recorder(), Recorder()]
        entries = [
            pool._NewEntry((self.see, n), n, task_id, completion)
            for n, (task_id, completion) in enumerate(
                zip((None, "b", "c"), completions, strict=True)
            )
        ]
        pool._Submit(entries, hold=True)
        pool.ChangeTaskPriority("b", 9)
        pool.ChangeTaskPriority("b", 8)
        for entry in (*entries[:2], *entries[:2]):
            pool._CancelEntry(entry)
        for completion in completions[:2]:
            self.assertEqual(completion.events, [("fail", TaskCancelled)])
        self.assertEqual(self.resume(pool), [2])
        pool._CancelEntry(entries[2])
        self.assertEqual(completions[2].events, [("begin", 1), ("succeed", 2)])
        self.assertCounts(pool, cancelled=2, succeeded=1)

    def test_cancelRunningEntry(self) -> None:
        """
        A running task is told by its entry, also one that was moved and whose ID
        was queued again, which is left alone.
        """
        pool = self.pausedPool()

        def run(worker: BaseWorker, entry: Any) -> None:
            pool.AddTask((self.see, "another"), task_id="t", completion=Recorder())
            worker.CallWhenCancelled(lambda: self.seen.append("told"))
            pool._CancelEntry(entry)
            self.seen.append(worker.IsCancelled())

        args: list[Any] = [run]
        entry = pool._NewEntry(args, 0, "t", Recorder())
        args.append(entry)
        pool._Submit([entry], hold=True)
        pool.ChangeTaskPriority("t", 1)
        self.assertEqual(self.resume(pool), ["told", True, "another"])

    def test_cancelEndedEntry(self) -> None:
        """
        The listeners of a task that has ended are not called, and a later task of
        its ID is left alone.
        """
        pool = self.makePool(1)
        entry = pool._NewEntry(
            (lambda worker: worker.CallWhenCancelled(lambda: self.seen.append("told")),),
            0,
            "t",
            Recorder(),
        )
        pool._Submit([entry], hold=True)
        self.settle(pool)
        pool.SetActive(False)
        pool.AddTask((self.see, "another"), task_id="t", completion=Recorder())
        pool._CancelEntry(entry)
        self.assertEqual(self.resume(pool), ["another"])

    # The worker's own

    def test_whatTheWorkerKnows(self) -> None:
        """
        A worker can tell the priority, order and ID of its task, while it has one.
        """
        pool = self.pausedPool()

        def look(worker: BaseWorker) -> None:
            self.seen.append(worker.GetCurrentPriority())
            self.seen.append(worker._GetCurrentOrderAndTaskId())
            self.seen.append(worker._HasRunningTaskUnlocked())
            self.seen.append(worker.ShouldTerminate())

        pool.AddTask((self.see, 0))
        pool.AddTask((look,), 2, "t")
        pool.ChangeTaskPriority("t", 3)
        self.assertEqual(self.resume(pool), [0, 3, (1, "t"), True, False])
        (worker,) = pool._workers
        self.assertRaises(ProgrammerError, worker.GetCurrentPriority)
        self.assertRaises(ProgrammerError, worker._GetCurrentOrderAndTaskId)
        self.assertRaises(ProgrammerError, worker.CallWhenCancelled, int)
        self.assertFalse(worker.IsCancelled())
        self.assertFalse(worker._HasRunningTaskUnlocked())

    def test_taskName(self) -> None:
        """
        The name of the thread follows the worker and its task, and is the worker's
        again afterwards.
        """
        pool = self.makePool(1)
        (worker,) = pool._workers

        def rename(worker: BaseWorker) -> None:
            worker.SetTaskName("Job17")
            self.seen.append(worker.name)
            for name in ("", "Job18"):
                worker.SetTaskName(name)
                self.seen.append(worker.getName())

        pool.AddTask((rename,))
        pool.AddTask((lambda worker: self.seen.append(worker.name),))
        self.settle(pool)
        self.assertEqual(self.seen, ["pool1/Job17", "pool1", "pool1/Job18", "pool1"])
        worker.setName("another")
        self.assertEqual((worker.name, worker.getName()), ("another", "another"))

    def test_callsFromATask(self) -> None:
        """
        A worker may grow its pool and do all else; what would wait for itself is
        refused, from C{RunTask} and from its completion.
        """
        pool = self.makePool(2)

        def calls() -> None:
            for call in (pool.Quiesce, pool.TerminateWorkers, lambda: pool.Resize(0)):
                self.seen.append(self.assertRaises(WouldWaitForItself, call).call)
            pool.Resize(3)
            pool.GetStatistics()
            pool.SetActive(True)
            self.seen.append(pool.HasRunningTasks())

        def run(worker: BaseWorker) -> None:
            calls()

        completion = Recorder(succeed=calls)
        pool.AddTask((run,), completion=completion)
        self.settle(pool)
        once = ["Quiesce", "TerminateWorkers", "a shrinking Resize", True]
        self.assertEqual(self.seen, once * 2)
        self.assertEqual(completion.events, [("begin", 1), ("succeed", None)])
        self.assertEqual(pool.GetStatistics().workers, 3)

    # The pool as a whole

    def test_pause(self) -> None:
        """
        A paused pool starts nothing, and takes tasks.
        """
        pool = self.pausedPool(2)
        pool.AddTask((self.see, 1))
        self.assertFalse(pool._active)
        self.assertFalse(pool.GetStatistics().active)
        self.assertCounts(pool, queued=1)
        self.assertEqual(self.resume(pool), [1])

    def test_statistics(self) -> None:
        """
        The counts add up while a task runs too, and C{waited} is the waiting time
        of the next task to start, in seconds.
        """
        pool = self.pausedPool(2)
        now = [100.0]
        pool._clock = lambda: now[0]

        def look(worker: BaseWorker) -> None:
            self.assertCounts(pool, running=1, queued=2, cancelled=1)

        completion = Recorder()
        self.assertIsNone(pool.GetStatistics().waited)
        pool.AddTask((self.see, 1), 1, "moved")
        now[0] = 103.0
        pool.AddTask((self.see, 2), 5)
        pool.AddTask((self.see, 3), 6, "cancelled")
        pool.CancelTask("cancelled")
        now[0] = 110.0
        self.assertEqual(pool.GetStatistics().waited, 10)
        pool.ChangeTaskPriority("moved", 9)
        self.assertEqual(pool.GetStatistics().waited, 7)
        self.assertEqual(pool.GetStatistics().queued, 2)
        pool.Resize(1)
        pool.AddTask((look,), 0, completion=completion)
        self.assertEqual(pool.GetStatistics().waited, 0)
        self.resume(pool)
        self.assertEqual(completion.events, [("begin", 1), ("succeed", None)])
        self.assertCounts(pool, succeeded=3, cancelled=1)
        statistics = pool.GetStatistics()
        self.assertEqual(
            (statistics.workers, statistics.deferrals, statistics.waited), (1, 0, None)
        )

    def test_noWorker(self) -> None:
        """
        With no worker the queue waits, and nothing fails.
        """
        pool = self.makePool(1)
        pool.Resize(0)
        completion = Recorder()
        pool.AddTask((self.see, 1), completion=completion)
        self.assertEqual(completion.events, [])
        self.assertEqual(pool.GetStatistics().workers, 0)
        pool.Resize(2)
        self.settle(pool)
        self.assertEqual(self.seen, [1])

    def test_terminate(self) -> None:
        """
        A termination takes what has a completion out of the queue and tells it, in
        order; the rest waits for a later C{Resize}. Meanwhile a task with a
        completion is refused.
        """
        pool = self.pausedPool(2)
        told: list[int] = []
        for n, priority in enumerate((5, 3, 4)):
            pool.AddTask(
                (self.see, n),
                priority,
                n,
                completion=Recorder(fail=lambda n=n: told.append(n)),  # type: ignore[misc]
            )
        pool.AddTask((self.see, "left"), 4, "left")
        pool.ChangeTaskPriority("left", 6)
        late = Recorder()
        pool.ChangeTaskPriority(1, 9)
        pool.TerminateWorkers()
        self.assertEqual(told, [2, 0, 1])
        self.assertCounts(pool, unstarted=3, queued=1)
        self.assertEqual(pool.GetStatistics().workers, 0)
        self.assertRaises(PoolTerminated, pool.AddTask, (self.see, 0), completion=late)
        many = [(self.see, 0), (self.see, 0)]
        self.assertRaises(PoolTerminated, pool.AddManyTasks, many, completion=[None, late])
        self.assertRaises(DuplicateTaskID, pool.AddTask, (self.see, 1), task_id="left")
        pool.AddTask((self.see, "later"))
        self.assertRaises(PoolTerminated, pool.Quiesce)
        pool.TerminateWorkers()
        pool.SetActive(True)
        pool.Resize(1)
        pool.AddTask((self.see, "open"), 7, completion=late)
        self.settle(pool)
        self.assertEqual(self.seen, ["later", "left", "open"])
        self.assertEqual(late.events, [("begin", 1), ("succeed", "open")])

    def test_terminatedIsQuiet(self) -> None:
        """
        A terminated pool without a task is quiet.
        """
        pool = self.makePool(1)
        pool.TerminateWorkers()
        pool.Quiesce()

    def test_notStarted(self) -> None:
        """
        What an unstarted task gets names the task and the pool.
        """
        pool = self.pausedPool()
        completion = Recorder()
        pool.AddTask((self.see, 1), task_id="t", completion=completion)
        pool.TerminateWorkers()
        completion.failure.trap(TaskNotStarted)
        self.assertEqual(cast(Any, completion.failure.value).task_id, "t")
        self.assertIn("'pool'", str(completion.failure.value))

    def test_contextManager(self) -> None:
        """
        As a context manager a pool terminates its workers, and lets errors pass.
        """
        pool = self.makePool(1)
        with self.assertRaises(KeyError), pool as entered:
            self.assertIs(entered, pool)
            raise KeyError
        self.assertEqual(pool._workers, [])

    # Orders of others

    def test_ordered(self) -> None:
        """
        Entries may bring their order IDs: reserved ones, or those of an earlier
        pool, which later ones follow.
        """
        pool = self.pausedPool()
        self.assertEqual(pool._ReserveOrder(2), 0)
        pool.AddTask((self.see, "third"))
        for order, name in ((1, "second"), (0, "first"), (9, "old")):
            entry = pool._NewEntry((self.see, name), 0, None)
            entry[1] = order
            pool._Submit([entry], hold=True, ordered=True)
        pool.AddTask((self.see, "new"))
        with pool._lock:
            self.assertEqual(sorted(entry[1] for entry in pool._tasks), [0, 1, 2, 9, 10])
        self.assertEqual(self.resume(pool), ["first", "second", "third", "old", "new"])

    def test_new(self) -> None:
        """
        A submission may be refused for an ID that runs.
        """
        pool = self.makePool(1)

        def submit(worker: BaseWorker) -> None:
            entry = pool._NewEntry((self.see, 1), 0, "t")
            error = self.assertRaises(DuplicateTaskID, pool._Submit, [entry], hold=True, new=True)
            self.assertIn("running", str(error))

        completion = Recorder()
        pool.AddTask((submit,), task_id="t", completion=completion)
        self.settle(pool)
        self.assertEqual(completion.events, [("begin", 1), ("succeed", None)])
        pool._Submit([pool._NewEntry((self.see, 1), 0, "t")], hold=True, new=True)
        self.settle(pool)
        self.assertEqual(self.seen, [1])

    # Fences

    def test_fence(self) -> None:
        """
        A fence is over when what was queued before it has ended. What was
        submitted behind it has its ID and order, can be moved and cancelled, and
        starts after that.
        """
        pool = self.pausedPool()
        pool.AddTask((self.see, "before"), 9)
        pool._OpenFence(lambda failure: self.seen.append(("over", failure)))
        completion = Recorder()
        for name, task_id in (("low", "l"), ("high", "h"), ("never", "n")):
            entry = pool._NewEntry((self.see, name), 1, task_id, completion)
            pool._Submit([entry], hold=True)
        twin = pool._NewEntry((self.see, 0), 0, "l")
        self.assertRaises(DuplicateTaskID, pool._Submit, [twin], hold=True)
        pool.ChangeTaskPriority("h", 0)
        pool.CancelTask("n")
        self.assertRaises(NoSuchTask, pool.CancelTask, "n")
        self.assertEqual(completion.events, [("fail", TaskCancelled)])
        self.assertCounts(pool, queued=3, cancelled=1)
        self.assertEqual(self.resume(pool), ["before", ("over", None), "high", "low"])
        self.assertCounts(pool, succeeded=3, cancelled=1)

    def test_fenceAtOnce(self) -> None:
        """
        On a quiet pool a fence is over at once; lifted later, nothing happens.
        """
        pool = self.makePool(1)
        fence = pool._OpenFence(self.seen.append)
        self.assertEqual(self.seen, [None])
        pool._LiftFence(fence)
        self.assertEqual((self.seen, pool._fences), ([None], []))

    def test_nestedFences(self) -> None:
        """
        Each of several fences waits for what was submitted before it.
        """
        pool = self.pausedPool()
        for n in range(3):
            pool._Submit([pool._NewEntry((self.see, n), -n, None)], hold=True)
            pool._OpenFence(partial(self.over, n))
        self.assertEqual(self.resume(pool), [0, ("over", 0), 1, ("over", 1), 2, ("over", 2)])

    def test_liftFirst(self) -> None:
        """
        When the first of two fences is lifted, what it held joins the queue, and
        the second stands.
        """
        pool, fences = self.twoFences()
        pool._LiftFence(fences[0])
        with pool._lock:
            self.assertEqual(sorted(entry[2] for entry in pool._tasks), [0, 1])
        pool._LiftFence(fences[0])
        self.assertEqual(self.resume(pool), [1, 0, ("over", 1), 2])

    def test_liftSecond(self) -> None:
        """
        When the second of two fences is lifted, what it held waits behind the
        first.
        """
        pool, fences = self.twoFences()
        pool._LiftFence(fences[1])
        with pool._lock:
            self.assertEqual([entry[2] for entry in pool._tasks], [0])
        self.assertEqual(self.resume(pool), [0, ("over", 0), 2, 1])

    def over(self, n: int, failure: Failure | None) -> None:
        """
        A fence is over.
        """
        self.seen.append(("over", n))

    def twoFences(self) -> tuple[WorkerPool, list[Any]]:
        """
        Three tasks, later ones of higher priority, with fences between them.
        """
        pool = self.pausedPool()
        fences = []
        for n in range(3):
            pool._Submit([pool._NewEntry((self.see, n), -n, n)], hold=True)
            if n < 2:
                fences.append(pool._OpenFence(partial(self.over, n)))
        return pool, fences

    def test_deferredBehindAFence(self) -> None:
        """
        A fence waits for a task that was submitted before it and defers itself,
        whose ID nobody can take who is held.
        """
        pool = self.pausedPool()
        pool.AddTask((self.deferOnce, None), task_id="t")
        pool._OpenFence(lambda failure: self.seen.append("over"))
        pool._Submit([pool._NewEntry((self.see, "held"), -1, None)], hold=True)
        self.assertEqual(self.resume(pool), ["deferred", "deferred", "over", "held"])

    def test_deferAgainstHeld(self) -> None:
        """
        A running task whose ID is held behind a fence cannot be put back.
        """
        pool = self.pausedPool()

        def hold(worker: BaseWorker) -> None:
            pool._Submit([pool._NewEntry((self.see, "held"), 0, "t")], hold=True)
            raise DeferTask

        completion = Recorder()
        pool.AddTask((hold,), task_id="t", completion=completion)
        pool._OpenFence(lambda failure: self.seen.append("over"))
        self.assertEqual(self.resume(pool), ["over", "held"])
        self.assertEqual(completion.events, [("begin", 1), ("fail", DuplicateTaskID)])

    def test_cancelledToQuiet(self) -> None:
        """
        The cancellation of the last task ends a fence, after the task's completion
        was told.
        """
        pool = self.pausedPool()
        pool.AddTask(
            (self.see, 1), task_id="t", completion=Recorder(fail=lambda: self.seen.append("told"))
        )
        pool._OpenFence(lambda failure: self.seen.append("over"))
        pool._Submit([pool._NewEntry((self.see, "held"), 0, None)], hold=True)
        pool.CancelTask("t")
        self.assertEqual(self.seen, ["told", "over"])
        self.assertEqual(self.resume(pool), ["told", "over", "held"])

    def test_terminatedFences(self) -> None:
        """
        A termination ends the fences with L{PoolTerminated}, after the unstarted
        tasks were told. What was held without a completion waits on, with the
        queue.
        """
        pool = self.pausedPool()
        told = Recorder(fail=lambda: self.seen.append("told"))
        pool.AddTask((self.see, "left"))
        pool._OpenFence(lambda failure: self.seen.append(failure and failure.type))
        pool._Submit([pool._NewEntry((self.see, 1), 0, None, told)], hold=True)
        pool._OpenFence(lambda failure: self.seen.append(failure and failure.type))
        pool._Submit([pool._NewEntry((self.see, "held"), 0, "held")], hold=True)
        pool.ChangeTaskPriority("held", -1)
        pool.TerminateWorkers()
        self.assertEqual(self.seen, ["told", PoolTerminated, PoolTerminated])
        pool._OpenFence(lambda failure: self.seen.append(failure and failure.type))
        self.assertEqual(self.seen[3:], [PoolTerminated])
        self.assertCounts(pool, unstarted=1, queued=2)
        self.assertEqual(pool._queue.dropped, [])
        pool.Resize(1)
        self.assertEqual(self.resume(pool)[4:], ["held", "left"])

    # Other workers

    def test_hostedProvider(self) -> None:
        """
        What a factory makes may be any provider of L{IWorker}.
        """

        @implementer(IWorker)
        class Provider:
            def __init__(self, pool: object, workerID: str) -> None:
                self.facts = (pool, workerID)

            def RunTask(self, text: str) -> tuple[object, str]:
                return self.facts, text

        pool = self.makePool(1, Provider)
        completion = Recorder()
        pool.AddTask(("hello",), completion=completion)
        self.settle(pool)
        self.assertEqual(completion.events[-1], ("succeed", ((pool, "pool1"), "hello")))

    def test_factoryMakesNoWorker(self) -> None:
        """
        A factory whose product is no worker is refused, with a text that says what
        is missing.
        """

        @implementer(IWorker)
        class Idler:  # type: ignore[misc]
            """
            A provider of the contract in name only.
            """

        for factory, missing in (
            (lambda pool, workerID: object(), "does not declare that it implements IWorker"),
            (lambda pool, workerID: Idler(), "has no method RunTask"),
            (lambda: None, "positional argument"),
        ):
            error = self.assertRaises(WorkersNotStarted, self.makePool, 1, factory)
            self.assertIn(missing, str(error))
            self.assertEqual((error.started, error.wanted), (0, 1))
            self.assertIsInstance(error.__cause__, (InvalidArgument, TypeError))

    def test_someWorkersNotStarted(self) -> None:
        """
        When a worker cannot be made, those before it stay, and the error says how
        many they are.
        """

        def make(pool: Any, workerID: str) -> BaseWorker:
            if workerID == "pool3":
                raise OSError("no more")
            return FunctionWorker(pool, workerID)

        pool = self.makePool(1, make)
        done: list[None] = []
        error = self.assertRaises(
            WorkersNotStarted, pool._BeginResize, 4, lambda: done.append(None)
        )
        self.assertEqual((error.started, error.wanted), (1, 3))
        self.assertIsInstance(error.__cause__, OSError)
        self.assertEqual(done, [None])
        with pool._lock:
            self.assertEqual([worker._worker_id for worker in pool._workers], ["pool1", "pool2"])
        pool.AddTask((self.see, 1))
        self.settle(pool)
        self.assertEqual(self.seen, [1])
        pool.Resize(3)
        self.assertEqual(pool.GetStatistics().workers, 3)

    def test_interruptedStart(self) -> None:
        """
        What is no L{Exception}, like Ctrl-C, passes a C{Resize} as it is.
        """

        def make(pool: Any, workerID: str) -> BaseWorker:
            raise KeyboardInterrupt

        pool = self.makePool(0, make)
        self.assertRaises(KeyboardInterrupt, pool.Resize, 1)
        self.assertEqual((pool._workers, pool._starting), ([], 0))

    def test_beginResizeAndTerminate(self) -> None:
        """
        The calls that do not wait tell when the surplus workers have left.
        """
        pool = self.makePool(3)
        pool._BeginResize(2, lambda: self.seen.append("resized"))
        pool.TerminateWorkers()
        pool._BeginTerminate(lambda: self.seen.append("terminated"))
        pool._BeginTerminate()
        self.assertEqual(self.seen, ["resized", "terminated"])
        self.assertEqual(pool._barriers, [])
