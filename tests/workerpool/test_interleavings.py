"""
Two threads in a pool at once: one is stopped at a point and seen there, and then
the other acts.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from threading import Condition, Event, Thread, current_thread
from typing import Any

from ganeti_pool.errors import (
    NoSuchTask,
    PoolTerminated,
    TaskCancelled,
    TaskNotStarted,
    WouldWaitForItself,
)
from ganeti_pool.interfaces import IWorkerPool
from ganeti_pool.workerpool import BaseWorker, DeferTask, WorkerPool
from ganeti_pool.workerpool._taskheap import MOST_ABANDONED

from ..poolcontract import FunctionWorker, Recorder
from .threadcase import PATIENCE, Gate, Litter, Other, ThreadCase, WatchedPool, needsDropping


class WatchedLock:
    """
    The lock of a pool or of anything else, which tells how the next try of another
    thread went.

    @ivar released: called when it was released, on the thread that did it.
    """

    def __init__(self, owner: Any) -> None:
        """
        @param owner: whose attribute C{_lock} this takes the place of.
        """
        self._lock = owner._lock
        self._watcher: Thread | None = None
        self._tried = Event()
        self._held = False
        self._is_owned: Callable[[], bool] = self._lock._is_owned
        self.released: Callable[[], object] = lambda: None
        owner._lock = self

    def watch(self) -> None:
        """
        Watch for the next thread but this one that tries to take the lock.
        """
        self._tried.clear()
        self._watcher = current_thread()

    def wasHeld(self) -> bool:
        """
        Wait for that try.

        @return: whether the lock was held then, so that the thread waits.
        """
        assert self._tried.wait(PATIENCE), "nobody tried to take the lock"
        return self._held

    def acquire(self, blocking: bool = True) -> bool:
        """
        Take the lock.
        """
        got: bool = self._lock.acquire(False)
        if self._watcher not in (None, current_thread()) and not self._tried.is_set():
            self._held = not got
            self._tried.set()
        if blocking and not got:
            got = self._lock.acquire()
        return got

    def release(self) -> None:
        """
        Let go of the lock.
        """
        self._lock.release()
        self.released()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exception: object) -> None:
        self.release()


class StoppingId:
    """
    A task ID that stops a thread which looks for it. The pool does so in the middle
    of its sections, with the lock held.

    @ivar gate: where the thread is stopped.
    @ivar when: says whether to stop. Only the first for which it is so is stopped.
    """

    def __init__(self) -> None:
        self.gate = Gate()
        self.when: Callable[[], bool] = lambda: False
        self._stopped = False

    def __hash__(self) -> int:
        if not self._stopped and self.when():
            self._stopped = True
            self.gate()
        return 1


class StoppingList(list[Any]):
    """
    A list that stops a thread which is about to append to it.
    """

    def __init__(self) -> None:
        self.gate = Gate()

    def append(self, value: object) -> None:
        """
        Stop, and append.
        """
        self.gate()
        super().append(value)


class StoppableWorker(FunctionWorker):
    """
    A worker that can be stopped when it was woken.

    @ivar woken: called then, before the worker has looked for a task.
    """

    def __init__(self, pool: WorkerPool, workerID: str) -> None:
        super().__init__(pool, workerID)
        self.woken: Callable[[], object] = lambda: None

    def _Park(self) -> None:
        super()._Park()
        self.woken()


class InterleavingCase(ThreadCase):
    """
    What the tests share.
    """

    def makeId(self) -> StoppingId:
        """
        Make an ID that stops nobody yet, and nobody when the test has ended.
        """
        taskID = StoppingId()
        self.addCleanup(taskID.gate.open)
        return taskID

    def assertQuiet(self, pool: WatchedPool) -> None:
        """
        The pool becomes quiet, with all tasks accounted for.
        """
        Other(pool.Quiesce).result()
        statistics = pool.GetStatistics()
        self.assertEqual((statistics.queued, statistics.running), (0, 0))
        self.assertEqual(
            statistics.added,
            statistics.succeeded + statistics.failed + statistics.cancelled + statistics.unstarted,
        )


class QueueTests(InterleavingCase):
    """
    A worker that takes a task, against a thread that moves, cancels or adds one.
    """

    def queuedTask(self, completion: Recorder | None = None) -> tuple[WatchedPool, Any, Any, Gate]:
        """
        Make a pool in which a task waits that notes its priority, behind a running
        one.

        @return: the pool, its lock, the ID of the waiting task, and the gate that
            lets the running one end.
        """
        pool, busy = self.busyPool()
        lock = WatchedLock(pool)
        taskID = self.makeId()
        pool.AddTask(
            (lambda worker: self.seen.append(worker.GetCurrentPriority()),),
            1,
            taskID,
            completion=completion,
        )
        return pool, lock, taskID, busy

    def stopHalfway(
        self, call: Callable[..., object], *args: object, pool: WatchedPool, taskID: StoppingId
    ) -> Other:
        """
        Have another thread change something about a task, and stop it when it has found
        the task's entry, and nothing else has been done yet.
        """
        looks = iter([False, True])
        taskID.when = lambda: pool._lock._is_owned() and next(looks)  # type: ignore[attr-defined]
        other = Other(call, *args)
        taskID.gate.reached()
        return other

    def stopPop(self, pool: WatchedPool, taskID: StoppingId, busy: Gate) -> None:
        """
        Have the worker take the task, and stop it when the task has left the heap
        and its ID is still known.
        """
        taskID.when = lambda: bool(pool._taskdata) and not pool._tasks
        busy.open()
        taskID.gate.reached()

    def test_popWhileMoving(self) -> None:
        """
        A worker that looks for a task while a change of priority is half done waits
        for the other half: the task runs once, at its new priority.
        """
        pool, lock, taskID, busy = self.queuedTask()
        change = self.stopHalfway(pool.ChangeTaskPriority, taskID, 5, pool=pool, taskID=taskID)
        lock.watch()
        busy.open()
        self.assertTrue(lock.wasHeld())
        taskID.gate.open()
        change.result()
        self.assertQuiet(pool)
        self.assertEqual(self.seen, [5])

    def test_moveWhilePopping(self) -> None:
        """
        A change of priority that comes while a worker takes the task waits for that,
        and is refused: the task has started, and runs once.
        """
        pool, lock, taskID, busy = self.queuedTask()
        self.stopPop(pool, taskID, busy)
        lock.watch()
        change = Other(pool.ChangeTaskPriority, taskID, 5)
        self.assertTrue(lock.wasHeld())
        taskID.gate.open()
        self.assertRaises(NoSuchTask, change.result)
        self.assertQuiet(pool)
        self.assertEqual(self.seen, [1])

    def test_popWhileCancelling(self) -> None:
        """
        A worker that looks for a task while a cancellation is half done waits for
        the other half: the task does not run, and is told so once.
        """
        completion = Recorder()
        pool, lock, taskID, busy = self.queuedTask(completion)
        cancel = self.stopHalfway(pool.CancelTask, taskID, pool=pool, taskID=taskID)
        lock.watch()
        busy.open()
        self.assertTrue(lock.wasHeld())
        taskID.gate.open()
        cancel.result()
        self.assertQuiet(pool)
        self.assertEqual((self.seen, completion.events), ([], [("fail", TaskCancelled)]))

    def test_cancelWhilePopping(self) -> None:
        """
        A cancellation that comes while a worker takes the task waits for that, and
        is refused: the task has started, and its outcome is told once.
        """
        completion = Recorder()
        pool, lock, taskID, busy = self.queuedTask(completion)
        self.stopPop(pool, taskID, busy)
        lock.watch()
        cancel = Other(pool.CancelTask, taskID)
        self.assertTrue(lock.wasHeld())
        taskID.gate.open()
        self.assertRaises(NoSuchTask, cancel.result)
        self.assertQuiet(pool)
        self.assertEqual(completion.events, [("begin", 1), ("succeed", None)])

    def test_addBeforePark(self) -> None:
        """
        A worker that is idle and does not wait yet can be woken: the wake-up is
        there when it comes to wait.
        """
        pool, busy = self.busyPool()
        lock = WatchedLock(pool)
        gate = self.makeGate()
        (worker,) = pool._workers

        def released() -> None:
            if current_thread() in pool._idle:
                gate()

        lock.released = released
        busy.open()
        gate.reached()
        self.assertEqual(pool._idle, [worker])
        pool.AddTask((self.see, 1))
        self.assertIs(pool._waking, worker)
        gate.open()
        self.assertQuiet(pool)
        self.assertEqual(self.seen, [1])

    def test_addBeforeIdle(self) -> None:
        """
        Between the moment when a worker finds no task and that in which it is idle
        nobody can add one, which would wake nobody.
        """
        pool, busy = self.busyPool()
        lock = WatchedLock(pool)
        pool._idle = idle = StoppingList()
        self.addCleanup(idle.gate.open)
        busy.open()
        idle.gate.reached()
        lock.watch()
        add = Other(pool.AddTask, (self.see, 1))
        self.assertTrue(lock.wasHeld())
        idle.gate.open()
        add.result()
        self.assertQuiet(pool)
        self.assertEqual(self.seen, [1])


class ResizeTests(InterleavingCase):
    """
    A C{Resize} against a wake-up, against another one, and against a termination.
    """

    def test_resizePicksTheWoken(self) -> None:
        """
        A woken worker that is surplus before it has looked for a task leaves without
        one, and does not count as idle; the busy worker runs the task.
        """
        pool = self.makePool(2, StoppableWorker)
        pool.waitUntilIdle(2)
        busy, gate = self.makeGate(), self.makeGate()
        pool.AddTask((busy,))
        busy.reached()
        pool.waitUntilIdle(1)
        (idle,) = pool._idle
        assert isinstance(idle, StoppableWorker)
        idle.woken = gate
        # the youngest leaves first, whichever is idle
        pool._workers.sort(key=lambda worker: worker is idle)
        pool.AddTask((self.see, 1))
        gate.reached()
        self.assertIs(pool._waking, idle)
        resize = Other(pool.Resize, 1)
        pool.waitUntil(lambda: len(pool._workers) == 1)
        self.assertEqual((pool._termworkers, pool.GetStatistics().idle), ([idle], 0))
        gate.open()
        resize.result()
        self.assertEqual((pool._waking, self.seen), (None, []))
        busy.open()
        self.assertQuiet(pool)
        self.assertEqual(self.seen, [1])

    def growing(self, size: int = 3) -> tuple[WatchedPool, Gate, Other]:
        """
        Make a pool that another thread grows, and stop that thread when it makes
        the second worker.
        """
        gate = self.makeGate()

        def make(pool: Any, workerID: str) -> BaseWorker:
            if workerID == "pool2":
                gate()
            return FunctionWorker(pool, workerID)

        pool = self.makePool(0, make)
        other = Other(pool.Resize, size)
        gate.reached()
        return pool, gate, other

    def test_smallerWhileGrowing(self) -> None:
        """
        The last of two sizes holds, and workers that are surplus by then end.
        """
        pool, gate, growing = self.growing()
        pool.Resize(1)
        gate.open()
        growing.result()
        self.assertEqual([worker._worker_id for worker in pool._workers], ["pool1"])
        pool.waitUntil(lambda: not pool._termworkers)

    def test_largerWhileGrowing(self) -> None:
        """
        Those that are being started count.
        """
        pool, gate, growing = self.growing()
        pool.Resize(4)
        self.assertEqual(len(pool._workers), 1)
        gate.open()
        growing.result()
        self.assertEqual(pool.GetStatistics().workers, 4)

    def test_ownWorkerWhileGrowing(self) -> None:
        """
        To a worker that would shrink the pool, those that are being started count too.
        """
        pool, gate, growing = self.growing()
        refused: list[BaseException] = []

        def task(worker: BaseWorker) -> None:
            pool.Resize(4)
            refused.append(self.assertRaises(WouldWaitForItself, pool.Resize, 2))

        pool.Resize(4)
        self.assertEqual(len(pool._workers), 1)
        pool.AddTask((task,))
        Other(pool.Quiesce).result()
        self.assertEqual(len(refused), 1)
        gate.open()
        growing.result()
        self.assertEqual(pool.GetStatistics().workers, 4)

    def test_terminatedWhileGrowing(self) -> None:
        """
        A termination wins over a C{Resize} that is under way, and waits for the
        threads that it starts.
        """
        waits = Event()

        class Watched(Condition):
            def wait(self, timeout: float | None = None) -> bool:
                waits.set()
                return super().wait(timeout)

        pool, gate, growing = self.growing()
        changed, pool._changed = pool._changed, Watched(pool._lock)
        terminate = Other(pool.TerminateWorkers)
        assert waits.wait(PATIENCE), "nobody waits"
        with pool._lock:  # whoever waits lets go of it then
            self.assertTrue(pool._terminated)
        gate.open()
        growing.result()
        terminate.result()
        pool._changed = changed
        self.assertEqual((pool._starting, pool._workers, pool._termworkers), (0, [], []))
        self.assertEqual(pool.GetStatistics().workers, 0)


class TerminationTests(InterleavingCase):
    """
    A termination against a thread that adds, and a task that defers itself.
    """

    def test_terminatedBeforeAdding(self) -> None:
        """
        A task that was checked before a termination and is added after it is
        refused.
        """
        pool = self.makePool(1)
        taskID = self.makeId()
        taskID.when = lambda: True
        completion = Recorder()
        add = Other(lambda: pool.AddTask((self.see, 1), task_id=taskID, completion=completion))
        taskID.gate.reached()
        Other(pool.TerminateWorkers).result()
        taskID.gate.open()
        self.assertRaises(PoolTerminated, add.result)
        self.assertEqual((pool.GetStatistics().added, completion.events), (0, []))

    def test_terminatedWhileAdding(self) -> None:
        """
        A termination that comes while a task is being added waits for that, and
        gives the task up: whoever asked for it is told.
        """
        pool = self.makePool(1)
        pool.SetActive(False)
        lock = WatchedLock(pool)
        taskID = self.makeId()
        # The first look is the check of the arguments, without the lock.
        looks = iter([False])
        taskID.when = lambda: next(looks, True)
        completion = Recorder()
        add = Other(lambda: pool.AddTask((self.see, 1), task_id=taskID, completion=completion))
        taskID.gate.reached()
        lock.watch()
        terminate = Other(pool.TerminateWorkers)
        self.assertTrue(lock.wasHeld())
        taskID.gate.open()
        add.result()
        terminate.result()
        self.assertEqual(completion.events, [("fail", TaskNotStarted)])
        self.assertQuiet(pool)

    def test_terminatedWhileDeferring(self) -> None:
        """
        A task during whose deferral the pool is terminated ends as unstarted.
        """
        pool = self.makePool(1)
        telling = self.makeGate()
        completion = Recorder(deferred=telling)

        def defer(worker: BaseWorker) -> None:
            raise DeferTask

        pool.AddTask((defer,), task_id="t", completion=completion)
        telling.reached()
        terminate = Other(pool.TerminateWorkers)
        pool.waitUntil(lambda: pool._terminated)
        telling.open()
        terminate.result()
        self.assertEqual(
            completion.events, [("begin", 1), ("deferred", 0, 1), ("fail", TaskNotStarted)]
        )
        self.assertEqual(pool._tasks, [])


class CompletionTests(InterleavingCase):
    """
    A worker that tells an outcome, against threads that want something of the task.
    """

    def readding(self) -> tuple[WatchedPool, Gate, Gate]:
        """
        Make a pool with a worker that is stopped in a completion, which has added a
        task of its own ID, and another worker that is stopped in that task.

        @return: the pool, and the gates of the completion and of the task.
        """
        pool = self.makePool(2)
        telling, running = self.makeGate(), self.makeGate()

        def again() -> None:
            pool.AddTask((running,), task_id="t")
            telling()

        pool.AddTask((self.see, 1), task_id="t", completion=Recorder(succeed=again))
        telling.reached()
        running.reached()
        return pool, telling, running

    def test_readded(self) -> None:
        """
        A completion may add its own ID again; while the first task's outcome is told
        and after that the ID is that of the second.
        """
        pool, telling, running = self.readding()
        pool.InterruptTask("t")
        telling.open()
        pool.waitUntilIdle(1)
        pool.InterruptTask("t")
        running.open()
        self.assertQuiet(pool)
        self.assertRaises(NoSuchTask, pool.InterruptTask, "t")

    def test_quiesceWaitsForTheTeller(self) -> None:
        """
        Whoever waits for quiet waits for the completion that added the last task,
        though that task has ended.
        """
        pool, telling, running = self.readding()
        quiesce = self.quiesce(pool)
        running.open()
        pool.waitUntilIdle(1)
        self.assertEqual(len(pool._fences), 1)
        telling.open()
        quiesce.result()

    def test_cancelledWhileTelling(self) -> None:
        """
        A cancellation that comes while the outcome is told comes too late: it is
        refused, and the outcome stays the only one.
        """
        pool = self.makePool(1)
        telling = self.makeGate()
        completion = Recorder(succeed=telling)

        def listen(worker: BaseWorker) -> None:
            worker.CallWhenCancelled(lambda: self.seen.append("told"))

        pool.AddTask((listen,), task_id="t", completion=completion)
        telling.reached()
        self.assertRaises(NoSuchTask, pool.CancelTask, "t")
        self.assertRaises(NoSuchTask, pool.InterruptTask, "t")
        telling.open()
        self.assertQuiet(pool)
        self.assertEqual(completion.events, [("begin", 1), ("succeed", None)])
        self.assertEqual(self.seen, [])

    def test_endsWhileBeingCancelled(self) -> None:
        """
        A task may end while those who listen for its cancellation are called: they
        are called without the lock, and its outcome is told once.
        """
        pool = self.makePool(1)
        listener, running = self.makeGate(), self.makeGate()
        told = Gate()
        told.open()
        completion = Recorder(succeed=told)

        def run(worker: BaseWorker) -> None:
            worker.CallWhenCancelled(listener)
            running()

        pool.AddTask((run,), task_id="t", completion=completion)
        running.reached()
        cancel = Other(pool.InterruptTask, "t")
        listener.reached()
        running.open()
        told.reached()
        listener.open()
        cancel.result()
        self.assertQuiet(pool)
        self.assertEqual(completion.events, [("begin", 1), ("succeed", None)])


class CallsTests(InterleavingCase):
    """
    Finalisers, waits of several threads, and calls from inside a task.
    """

    @needsDropping
    def test_finaliserAdds(self) -> None:
        """
        A worker that is stopped in the C{__del__} of its task's arguments does not
        have the lock, and can add a task there, though it is idle already.
        """
        pool = self.makePool(1)
        gate = self.makeGate()

        class Argument:
            def __del__(argument) -> None:
                gate()
                pool.AddTask((self.see, "added"))

        pool.AddTask((lambda worker, argument: None, Argument()))
        gate.reached()
        self.assertTrue(pool._lock.acquire(False))
        pool._lock.release()
        self.assertEqual(pool._idle, pool._workers)
        gate.open()
        pool.waitUntil(lambda: self.seen)
        self.assertEqual(self.seen, ["added"])

    @needsDropping
    def test_finaliserOfPassedEntry(self) -> None:
        """
        A worker that passes a moved and cancelled task on the way to its own does
        not have the lock when it drops the last of it, which is the ID.
        """
        pool = self.makePool(1)
        gate = self.makeGate()

        class ID:
            def __del__(taskID) -> None:
                gate()

        taskID = ID()
        pool.SetActive(False)
        pool.AddTask((self.see, "cancelled"), 1, taskID)
        pool.AddTask((self.see, "live"), 2)
        pool.ChangeTaskPriority(taskID, 3)
        pool.CancelTask(taskID)
        del taskID
        pool.SetActive(True)
        gate.reached()
        self.assertTrue(pool._lock.acquire(False))
        pool._lock.release()
        gate.open()
        self.assertQuiet(pool)
        self.assertEqual(self.seen, ["live"])

    @needsDropping
    def test_finaliserWhileSweeping(self) -> None:
        """
        The garbage collector may run a finaliser that adds a task at every step of a
        change of priority that sweeps the heap: no task is lost.
        """
        pool = self.makePool(1)
        inSection: list[bool] = []

        def add(remaining: int) -> None:
            inSection.append(pool._lock._is_owned())  # type: ignore[attr-defined]
            # each goes to the top of the heap, past what was looked at already
            pool.AddTask((self.see, "litter"), remaining - 100)

        pool.SetActive(False)
        pool.AddTask((self.see, "moved"), 0, "t")
        for priority in range(MOST_ABANDONED):
            pool.ChangeTaskPriority("t", priority)
        self.assertEqual(len(pool._tasks), MOST_ABANDONED + 1)
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.enable)
        gc.disable()
        # With no list or tuple left to be used again the interpreter allocates them
        # anew, in calls from C too.
        held = [[(n,)] for n in range(5000)]
        gc.collect()
        Litter(30, add)
        gc.set_threshold(1)
        gc.enable()
        pool.ChangeTaskPriority("t", 99)
        gc.disable()
        del held
        self.assertIn(True, inSection)
        while gc.collect(0):
            pass
        self.assertEqual(len(inSection), 31)
        self.assertEqual(len(pool._tasks), 32)
        pool.SetActive(True)
        self.assertQuiet(pool)
        self.assertEqual(self.seen, ["litter"] * 31 + ["moved"])

    def test_twoQuiesce(self) -> None:
        """
        Two threads may wait for quiet at once; adding goes on when both are done.
        """
        pool, busy = self.busyPool()
        quiesces = [self.quiesce(pool), self.quiesce(pool)]
        add = Other(pool.AddTask, (self.see, 1))
        pool.waitUntil(lambda: pool.adding == 1)
        self.assertEqual((len(pool._fences), pool.GetStatistics().added), (2, 1))
        busy.open()
        for other in (*quiesces, add):
            other.result()
        self.assertEqual(pool._fences, [])
        self.assertQuiet(pool)
        self.assertEqual(self.seen, [1])

    def test_everyCallFromATask(self) -> None:
        """
        A running task may make every call of its pool, also while another thread
        waits for quiet; but what would wait for the task itself is refused.
        """
        pool = self.makePool(1)
        gate = self.makeGate()
        calls: dict[str, Callable[[], object]] = {
            "SetActive": lambda: pool.SetActive(False),
            "AddTask": lambda: pool.AddTask((self.see, "one"), 1, "one"),
            "AddManyTasks": lambda: pool.AddManyTasks([(self.see, "two")], task_id=["two"]),
            "ChangeTaskPriority": lambda: pool.ChangeTaskPriority("one", -1),
            "CancelTask": lambda: pool.CancelTask("two"),
            "InterruptTask": lambda: pool.InterruptTask("caller"),
            "HasRunningTasks": lambda: self.assertTrue(pool.HasRunningTasks()),
            "GetStatistics": lambda: self.assertEqual(pool.GetStatistics().queued, 1),
            "Resize": lambda: pool.Resize(2),
        }
        refused: dict[str, Callable[[], object]] = {
            "Quiesce": pool.Quiesce,
            "TerminateWorkers": pool.TerminateWorkers,
            "a shrinking Resize": lambda: pool.Resize(1),
        }
        self.assertEqual({*calls, *refused} - {"a shrinking Resize"}, {*IWorkerPool.names()})

        def run(worker: BaseWorker) -> None:
            gate()
            for call in calls.values():
                call()
            for name, call in refused.items():
                self.assertEqual(self.assertRaises(WouldWaitForItself, call).call, name)
            self.seen.append(worker.IsCancelled())
            pool.SetActive(True)

        completion = Recorder()
        pool.AddTask((run,), task_id="caller", completion=completion)
        gate.reached()
        quiesce = self.quiesce(pool)
        gate.open()
        quiesce.result()
        self.assertEqual(completion.events, [("begin", 1), ("succeed", None)])
        self.assertEqual(self.seen, [True, "one"])
        statistics = pool.GetStatistics()
        self.assertEqual((statistics.workers, statistics.cancelled), (2, 1))
