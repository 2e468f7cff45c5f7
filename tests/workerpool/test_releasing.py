"""
No object of a user is released while the lock is held, nor kept for longer than
its task; and a finaliser may add a task wherever it runs.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from threading import Event
from typing import Any
from weakref import ref

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ganeti_pool.deferred import deferToPool
from ganeti_pool.errors import PoolError
from ganeti_pool.testing import makeSteppingPool
from ganeti_pool.workerpool import BaseWorker, DeferTask

from ..poolcontract import Recorder
from .threadcase import PATIENCE, Litter, Other, ThreadCase


class Probe:
    """
    An object that notes how it dies, and adds a task then. It can be an argument,
    an ID, a result or a listener.
    """

    def __init__(self, case: ReleasingTests, name: str) -> None:
        self._case = case
        self._name = name
        case.alive[name] = Event()

    def __call__(self, *args: object) -> None:
        """
        Nothing happens.
        """

    def __repr__(self) -> str:
        return f"probe {self._name}"

    def __del__(self) -> None:
        case = self._case
        if case.pool._lock._is_owned():  # type: ignore[attr-defined]
            case.underLock.append(self._name)
        if case.adds:
            case.pool.AddTask((case.see, "finaliser"))
        case.alive[self._name].set()


class ProbedCompletion(Recorder):
    """
    A completion that keeps nothing of what it is told, and is a probe.
    """

    def __init__(self, case: ReleasingTests, name: str) -> None:
        super().__init__()
        self.probe = Probe(case, name)

    def _record(self, what: str, *values: object) -> None:
        """
        Keep nothing.
        """

    def fail(self, failure: Failure) -> None:
        """
        Keep nothing, whose frames have the task and so this very object.
        """


class ReleasingTests(ThreadCase):
    """
    Tests for the release of users' objects. The garbage collector is off, so that
    only what nobody refers to goes.

    @ivar adds: whether probes add tasks when they die. Such a task could be what
        makes an idle worker let go.
    """

    def setUp(self) -> None:
        super().setUp()
        self.alive: dict[str, Event] = {}
        self.underLock: list[str] = []
        self.adds = True
        self.pool = self.makePool(1)
        gc.disable()
        self.addCleanup(gc.enable)

    def probe(self, name: str) -> Any:
        """
        Make a probe.
        """
        return Probe(self, name)

    def assertReleased(self) -> None:
        """
        All probes have died, or do so now, without the lock.
        """
        Other(self.pool.Quiesce).result()
        for name, dead in self.alive.items():
            self.assertTrue(dead.wait(PATIENCE), f"{name} is kept")
        self.assertEqual(self.underLock, [])
        Other(self.pool.Quiesce).result()
        if self.adds:
            self.assertEqual(self.seen.count("finaliser"), len(self.alive))

    def test_success(self) -> None:
        """
        An idle worker has nothing left of a task that succeeded.
        """
        for self.adds in (False, True):
            self.alive.clear()
            self.pool.AddTask(
                (lambda worker, argument: self.probe("result"), self.probe("argument")),
                task_id=self.probe("id"),
                completion=ProbedCompletion(self, "completion"),
            )
            self.assertReleased()

    def test_noCompletion(self) -> None:
        """
        Nor of one that nobody asked the result of.
        """
        for self.adds in (False, True):
            self.alive.clear()
            self.pool.AddTask([lambda worker, arg: self.probe("result"), self.probe("argument")])
            self.assertReleased()

    def test_failure(self) -> None:
        """
        Nor of one that failed, whose frames are gone with the failure.
        """

        def fail(worker: BaseWorker, argument: object) -> None:
            raise ValueError(argument)

        self.pool.AddTask(
            (fail, self.probe("argument")), completion=ProbedCompletion(self, "completion")
        )
        self.assertReleased()

    def test_listeners(self) -> None:
        """
        Nor of its listeners, be they called or not.
        """

        def run(worker: BaseWorker, interrupt: bool) -> None:
            worker.CallWhenCancelled(self.probe(f"listener {interrupt}"))
            if interrupt:
                self.pool.InterruptTask("t")

        for interrupt in (False, True):
            self.pool.AddTask((run, interrupt), task_id="t")
            self.assertReleased()

    def test_backToBack(self) -> None:
        """
        A worker that goes on with another task has let go what it had of the one
        before.
        """
        gate = self.makeGate()
        self.pool.SetActive(False)
        self.pool.AddTask(
            (lambda worker, argument: self.probe("result"), self.probe("argument")),
            task_id=self.probe("id"),
            completion=ProbedCompletion(self, "completion"),
        )
        self.pool.AddTask((gate,))
        self.pool.SetActive(True)
        gate.reached()
        for name, dead in self.alive.items():
            self.assertTrue(dead.is_set(), f"{name} is kept")
        gate.open()
        self.assertReleased()

    def test_leaving(self) -> None:
        """
        A worker that has left has nothing left of its last task, though somebody
        has the worker.
        """
        self.adds = False
        gate = self.makeGate()
        (worker,) = self.pool._workers
        self.pool.AddTask((gate, self.probe("argument")), task_id=self.probe("id"))
        gate.reached()
        resize = Other(self.pool.Resize, 0)
        self.pool.waitUntil(lambda: worker._retired)
        gate.open()
        resize.result()
        self.assertReleased()
        self.assertFalse(worker.is_alive())

    def test_deferral(self) -> None:
        """
        A deferral releases the listeners of the run.
        """

        def run(worker: BaseWorker) -> None:
            self.seen.append("run")
            if self.seen.count("run") == 1:
                worker.CallWhenCancelled(self.probe("listener"))
                raise DeferTask
            assert self.alive["listener"].wait(PATIENCE)

        self.pool.AddTask((run,))
        self.assertReleased()

    def test_cancelled(self) -> None:
        """
        A cancelled task is let go by who cancelled it.
        """
        self.pool.SetActive(False)
        self.pool.AddTask(
            (self.see, self.probe("argument")),
            task_id="t",
            completion=ProbedCompletion(self, "completion"),
        )
        self.pool.ChangeTaskPriority("t", 1)
        self.pool.AddTask((self.see, "other"))
        self.pool.CancelTask("t")
        self.assertTrue(self.alive["argument"].is_set())
        self.pool.SetActive(True)
        self.assertReleased()

    def test_abandoned(self) -> None:
        """
        Abandoned entries, whose IDs may be the last of a task, go without the lock:
        when they are passed on the way to a task, and when they are swept.
        """
        self.pool.SetActive(False)
        self.pool.AddTask((self.see, 1), 0, self.probe("first"))
        self.pool.AddTask((self.see, 2), 5, self.probe("last"))
        self.pool.AddTask((self.see, 3), 1, self.probe("swept"))
        for task_id in list(self.pool._taskdata):
            self.pool.ChangeTaskPriority(task_id, 3)
        self.pool.CancelTask(task_id)
        del task_id
        self.pool.AddTask((self.see, 4), 2, "many")
        for priority in range(200):
            self.pool.ChangeTaskPriority("many", priority)
        self.assertTrue(self.alive["swept"].is_set())
        self.pool.SetActive(True)
        self.assertReleased()
        self.pool.SetActive(False)
        self.pool.AddTask((self.see, 5), 0, "last live")
        self.abandonAnID()
        self.pool.CancelTask("last live")
        self.assertTrue(self.alive["abandoned"].is_set())
        self.pool.SetActive(True)
        self.assertReleased()

    def abandonAnID(self) -> None:
        """
        Leave abandoned entries behind that alone have the ID of a task.
        """
        task_id = self.probe("abandoned")
        self.pool.AddTask((self.see, 0), 9, task_id)
        self.pool.ChangeTaskPriority(task_id, 10)
        self.pool.CancelTask(task_id)

    def test_held(self) -> None:
        """
        What was held behind a fence is let go like all else.
        """
        self.pool.SetActive(False)
        self.pool.AddTask((self.see, 1))
        self.pool._OpenFence(self.seen.append)
        task_id = self.probe("id")
        entry = self.pool._NewEntry((lambda *args: None, self.probe("argument")), 0, task_id)
        self.pool._Submit([entry], hold=True)
        self.pool.ChangeTaskPriority(task_id, 5)
        del entry, task_id
        self.pool.SetActive(True)
        self.assertReleased()

    def test_terminated(self) -> None:
        """
        What a termination gives up is let go by who terminates; what stays queued
        is kept.
        """
        self.pool.SetActive(False)
        self.pool.AddTask(
            (self.see, self.probe("argument")),
            task_id=self.probe("id"),
            completion=ProbedCompletion(self, "completion"),
        )
        self.pool.ChangeTaskPriority(next(iter(self.pool._taskdata)), 5)
        self.abandonAnID()
        kept = Event()
        self.pool.AddTask((lambda worker, event: None, kept))
        weak = ref(kept)
        del kept
        self.pool.TerminateWorkers()
        self.assertEqual([dead.is_set() for dead in self.alive.values()], [True] * 4)
        self.assertIsNotNone(weak())
        self.pool.SetActive(True)
        self.pool.Resize(1)
        self.assertReleased()
        self.pool.waitUntilIdle(1)

    def test_refused(self) -> None:
        """
        What is refused is let go by who was refused.
        """
        self.pool.SetActive(False)
        self.pool.AddTask((self.see, 1), task_id="t")
        pool, probe = self.pool, self.probe
        for call in (
            lambda: pool.AddTask((self.see, probe("argument")), task_id="t"),
            lambda: pool.AddManyTasks([(self.see, probe("another"))], task_id=["t"]),
            lambda: pool.CancelTask(probe("cancelled")),
            lambda: pool.InterruptTask(probe("interrupted")),
            lambda: pool.ChangeTaskPriority(probe("moved"), 1),
        ):
            # assertRaises would keep the exception's frames
            try:
                call()
            except PoolError:
                continue
            self.fail("it was not refused")
        self.pool.SetActive(True)
        self.assertReleased()

    def test_finaliserUnderLock(self) -> None:
        """
        A finaliser that the garbage collector runs while this very thread holds the
        lock can add a task.
        """
        cycle: list[object] = [self.probe("cycle")]
        cycle.append(cycle)
        with self.pool._lock:
            del cycle
            gc.collect()
            self.assertTrue(self.alive["cycle"].is_set())
        self.assertEqual(self.underLock, ["cycle"])
        Other(self.pool.Quiesce).result()
        self.assertEqual(self.seen, ["finaliser"])

    def test_finaliserInEverySection(self) -> None:
        """
        The same wherever the collector may run in the pool's own sections: no task
        is lost and none runs twice.
        """
        pool = self.pool
        total = 0

        def count(worker: BaseWorker) -> None:
            self.seen.append("litter")

        self.collectOften()
        for number in range(10):
            Litter(9, lambda remaining: pool.AddTask((count,)))
            total += 10
            pool.AddTask((self.see, number), 5, number)
            with_id = pool._NewEntry((self.see, -1), 9, "moved")
            pool.SetActive(False)
            pool._Submit([with_id], hold=True)
            for priority in range(70):
                pool.ChangeTaskPriority("moved", priority)
            pool.CancelTask("moved")
            pool.SetActive(True)
            if number % 4 == 0:
                pool.Resize(1 + number // 4)
        gc.set_threshold(0)
        gc.collect()
        for _ in range(20):
            gc.collect()
        Other(pool.Quiesce).result()
        self.assertEqual(self.seen.count("litter"), total)
        self.assertEqual(sorted(n for n in self.seen if n != "litter"), list(range(10)))
        statistics = pool.GetStatistics()
        self.assertEqual((statistics.queued, statistics.running), (0, 0))

    def collectOften(self) -> None:
        """
        Have the collector run at nearly every allocation.
        """
        threshold: Callable[..., None] = gc.set_threshold
        self.addCleanup(threshold, *gc.get_threshold())
        gc.set_threshold(1, 1, 1)
        gc.enable()


class Weak:
    """
    A callable or an argument that is watched, and keeps no frame of its own alive.

    @ivar error: what a call raises, if anything.
    """

    def __init__(self, error: type[BaseException] | None = None) -> None:
        self.error = error

    def __call__(*args: Any, **kwargs: Any) -> None:
        error = args[0].error
        # A failure has this frame.
        del args, kwargs
        if error is not None:
            raise error


class ForgettingWorker(BaseWorker):
    """
    A worker whose failures do not keep what it was called with.
    """

    def RunTask(*args: Any) -> object:
        """
        Call the first argument after the worker.
        """
        f, arguments = args[1], args[2:]
        try:
            del args
            return f(*arguments)
        finally:
            del f, arguments


class EarlyReleaseTests(ThreadCase):
    """
    Tests for the release of what a task is called with, before its outcome is told. The
    garbage collector is off.

    @ivar watched: references to what the tasks of a test were called with.
    @ivar alive: how many of them were alive when an outcome was told.
    """

    def setUp(self) -> None:
        super().setUp()
        self.watched: list[ref[Any]] = []
        self.alive: list[int] = []
        gc.disable()
        self.addCleanup(gc.enable)

    def watch(self, thing: Any) -> Any:
        """
        Watch something that a task is called with.
        """
        self.watched.append(ref(thing))
        return thing

    def look(self, *args: object) -> None:
        """
        Count what is alive.
        """
        self.alive.append(sum(reference() is not None for reference in self.watched))

    def makeTask(self, error: type[BaseException] | None = None) -> tuple[Any, ...]:
        """
        Make what a task is called with.
        """
        return (self.watch(Weak(error)), self.watch(Weak()))

    def test_completion(self) -> None:
        """
        Nothing of it is alive when a completion is told of a success or of a failure, nor
        are those who listened for a cancellation.
        """
        pool = self.makePool(1, ForgettingWorker)

        def listen() -> None:
            pool._workers[0].CallWhenCancelled(self.watch(Weak()))

        for error, begin in ((None, str), (ZeroDivisionError, str), (None, listen)):
            completion = Recorder(begin=begin, succeed=self.look, fail=self.look)
            # This thread must have nothing of it any more when the worker has.
            pool.SetActive(False)
            pool.AddTask(self.makeTask(error), completion=completion)
            pool.SetActive(True)
            Other(pool.Quiesce).result()
        self.assertEqual((self.alive, len(self.watched)), ([0, 0, 0], 7))

    def test_unstarted(self) -> None:
        """
        Nor when it is told that the task was cancelled or will not start, or that a deferred
        one could not be put back.
        """
        pool = self.makePool(1, ForgettingWorker)
        pool.SetActive(False)
        for taskID in ("cancelled", "moved", "unstarted"):
            pool.AddTask(self.makeTask(), 0, taskID, completion=Recorder(fail=self.look))
        pool.ChangeTaskPriority("moved", 1)
        pool.CancelTask("cancelled")
        pool.CancelTask("moved")
        Other(pool.TerminateWorkers).result()
        pool.SetActive(True)
        pool.Resize(1)
        interrupt = Recorder(begin=lambda: pool.InterruptTask("t"), fail=self.look)
        pool.AddTask(self.makeTask(DeferTask), 0, "t", completion=interrupt)
        Other(pool.Quiesce).result()
        # The first two are told while what comes after them waits.
        self.assertEqual(self.alive, [4, 2, 0, 0])

    def test_deferred(self) -> None:
        """
        Nor when a Deferred fires, with a result or with a failure, whatever context the
        task was submitted in.
        """
        pool, stepping, reactor = makeSteppingPool(2, ForgettingWorker)

        def add(error: type[BaseException] | None) -> Deferred[Any]:
            return pool.addTask(self.makeTask(error))

        def defer(error: type[BaseException] | None) -> Deferred[Any]:
            return deferToPool(
                pool, self.watch(Weak(error)), self.watch(Weak()), key=self.watch(Weak())
            )

        variable: ContextVar[int | None] = ContextVar("variable")
        for submit in (add, defer):
            for error in (None, ZeroDivisionError):
                for number in (None, 1):
                    context = copy_context()
                    context.run(variable.set, number)
                    result = context.run(submit, error) if number else submit(error)
                    result.addBoth(self.look)
                    stepping.runAll()
                    reactor.run()
        self.assertEqual((self.alive, len(self.watched)), ([0] * 8, 20))
