"""
A pool with threads does what a small model does, whatever is done in whatever order.

Every task stops at a gate of its own until the state machine says how it goes on, so
that several run at once and yet each step is decided. After each step the machine waits
until the pool rests: until every thread of it is idle or at a gate, and every call that
the model says is over has returned.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from ganeti_pool.errors import (
    DuplicateTaskID,
    NoSuchTask,
    PoolTerminated,
    TaskCancelled,
    TaskNotStarted,
    WouldWaitForItself,
)
from ganeti_pool.interfaces import ICompletion
from ganeti_pool.workerpool import BaseWorker, DeferTask, WorkerPool

from .poolmodel import (
    BACK,
    IDS,
    INDEX,
    OUTCOMES,
    PRIORITIES,
    SEVERAL,
    Model,
    Task,
    agree,
    drawn,
    length,
    sound,
)

DRAWN: dict[str, Any] = {
    "add": (4, SEVERAL, st.booleans(), st.none() | INDEX),
    "end": (4, INDEX, OUTCOMES, st.none() | PRIORITIES),
    "endAll": (1,),
    "setActive": (1, st.sampled_from([True, True, True, False])),
    "resize": (2, st.sampled_from([2, 3, 1, 4, 2, 0])),
    "move": (1, IDS, PRIORITIES, BACK),
    "cancel": (1, IDS),
    "interrupt": (2, IDS),
    "quiesce": (1,),
    "waitForItself": (1, INDEX, st.sampled_from(["Quiesce", "TerminateWorkers"])),
    "terminate": (1,),
}

WORDS = {
    TaskCancelled: "cancelled",
    TaskNotStarted: "unstarted",
    DuplicateTaskID: "failed",
    ZeroDivisionError: "failed",
}


ERRORS: dict[object, object] = {"quiet": None, "left": None, "terminated": PoolTerminated}


class TellingLock:
    """
    A reentrant lock that says when it has become free.
    """

    def __init__(self, lock: Any, tell: Callable[[], object]) -> None:
        self._lock = lock
        self._tell = tell

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        return bool(self._lock.acquire(blocking, timeout))

    def release(self) -> None:
        self._lock.release()
        if not self._is_owned():
            self._tell()

    def _is_owned(self) -> bool:
        return bool(self._lock._is_owned())

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exception: object) -> None:
        self.release()


class Run:
    """
    A run of a task, which does what it is told to.
    """

    def __init__(self, worker: BaseWorker, attempt: int | None) -> None:
        self.worker = worker
        self._attempt = attempt
        self._priority = worker.GetCurrentPriority()
        self._taskID = worker._GetCurrentOrderAndTaskId()[1]
        self._orders: SimpleQueue[Any] = SimpleQueue()
        self._answers: SimpleQueue[Any] = SimpleQueue()

    def seen(self) -> tuple[object, ...]:
        """
        What can be seen of the run from inside.
        """
        worker = self.worker
        return (
            self._attempt,
            self._priority,
            self._taskID,
            worker.IsCancelled(),
            worker.ShouldTerminate(),
        )

    def obey(self) -> tuple[str, int | None]:
        """
        Make calls, on the worker's thread, until told how to end.
        """
        while True:
            order = self._orders.get()
            if not callable(order):
                return order  # type: ignore[no-any-return]
            self._answers.put(attempt(order))

    def do(self, f: Callable[[], object]) -> type[BaseException] | None:
        """
        Have the worker's thread make a call.

        @return: what it raised.
        """
        self._orders.put(f)
        try:
            return self._answers.get(timeout=Machine.patience)  # type: ignore[no-any-return]
        except Empty:
            raise Machine.outOfPatience() from None

    def end(self, outcome: str, priority: int | None = None) -> None:
        """
        Have the task end.
        """
        self._orders.put((outcome, priority))


def attempt(f: Callable[[], object]) -> type[BaseException] | None:
    """
    Make a call.

    @return: what it raised.
    """
    try:
        f()
    except BaseException as error:
        return type(error)
    return None


@implementer(ICompletion)
class Told:
    """
    Tells the machine what a task is told.
    """

    def __init__(self, machine: Machine, number: int) -> None:
        self.machine = machine
        self.number = number

    def begin(self, attempt: int) -> None:
        self.machine.attempts[self.number] = attempt

    def deferred(self, priority: float, order: int) -> None:
        self.machine.told.append(("deferred", self.number))

    def succeed(self, value: object) -> None:
        assert value == self.number
        self.machine.told.append(("succeeded", self.number))

    def fail(self, failure: Failure) -> None:
        assert failure.type is not None
        self.machine.told.append((WORDS[failure.type], self.number))


class Call:
    """
    A call that may block, on a thread of its own.

    @ivar blocked: whether it is about to.
    @ivar over: whether it has returned.
    @ivar error: what it raised.
    """

    blocked = over = False
    error: type[BaseException] | None = None

    def __init__(self, f: Callable[[], object], tell: Callable[[], object]) -> None:
        def run() -> None:
            self.error = attempt(f)
            self.over = True
            tell()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()


class Machine(RuleBasedStateMachine):
    """
    Does the same to a pool and to the model.

    @cvar flushLoggedErrors: that of the test.
    @cvar patience: seconds after which something that should have happened never
        will.
    """

    patience = 10.0

    flushLoggedErrors: ClassVar[Callable[..., list[Any]]]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(0)
        self.changed = threading.Event()
        self.tasks: list[Task] = []
        self.runs: dict[int, Run] = {}
        self.threads: set[BaseWorker] = set()
        self.started: list[int] = []
        self.told: list[tuple[str, int]] = []
        self.expected: list[int] = []
        self.attempts: dict[int, int] = {}
        self.interrupted: list[int] = []
        self.cancelled: list[int] = []
        self.calls: dict[str, Call] = {}
        self.adding: tuple[str, list[Task]] | None = None
        machine, changed = self, self.changed

        class Worker(BaseWorker):
            """
            Tells of its start and end, of whoever waits for that, and of its tasks.
            """

            def __init__(self, pool: WorkerPool, worker_id: str) -> None:
                super().__init__(pool, worker_id)
                machine.threads.add(self)

            def run(self) -> None:
                super().run()
                machine.threads.discard(self)
                changed.set()

            def join(self, timeout: float | None = None) -> None:
                machine.blocked()
                super().join(timeout)

            def RunTask(self, number: int) -> int:
                run = Run(self, machine.attempts.get(number))
                self.CallWhenCancelled(lambda: machine.interrupted.append(number))
                machine.runs[number] = run
                changed.set()
                outcome, priority = run.obey()
                if outcome == "failed":
                    raise ZeroDivisionError
                if outcome == "deferred":
                    raise DeferTask(priority)
                return number

        class Pool(WorkerPool):
            """
            Tells in which order tasks start, and who is about to wait.
            """

            def _WaitForTaskUnlocked(self, worker: BaseWorker) -> Any:
                task = super()._WaitForTaskUnlocked(worker)
                if isinstance(task, list):
                    machine.started.append(task[3][0])
                return task

            def _SetUpFence(self, fence: Any) -> None:
                super()._SetUpFence(fence)
                machine.blocked()

            def _WaitWhileQuiescingUnlocked(self) -> None:
                machine.blocked()
                super()._WaitWhileQuiescingUnlocked()

        self.pool = Pool("pool", 0, Worker)
        self.lock = self.pool._lock
        self.pool._lock = TellingLock(self.lock, changed.set)  # type: ignore[assignment]
        self.resize(2)

    # Waiting

    def blocked(self) -> None:
        """
        The thread that calls is about to wait.
        """
        for call in self.calls.values():
            if call.thread is threading.current_thread():
                call.blocked = True
                self.changed.set()

    def call(self, name: str, f: Callable[[], object]) -> str:
        """
        Make a call that may block, up to that point.

        @param name: the first part of its name.
        """
        name = f"{name} {len(self.calls)}"
        begun = threading.Event()

        def run() -> None:
            begun.wait()
            f()

        call = self.calls[name] = Call(run, self.changed.set)
        begun.set()
        self.waitUntil(lambda: call.blocked or call.over)
        return name

    def waitUntil(self, predicate: Callable[[], bool]) -> None:
        """
        Wait for something that holds while the lock is free.
        """
        while True:
            self.changed.clear()
            with self.lock:
                if predicate():
                    return
            if not self.changed.wait(self.patience):
                raise self.outOfPatience()

    @classmethod
    def outOfPatience(cls) -> AssertionError:
        """
        Something does not happen. The examples by which Hypothesis makes this one
        smaller are to hang for a moment only.
        """
        Machine.patience = 0.1
        return AssertionError("the pool does not come to rest as the model says")

    def rests(self) -> bool:
        """
        Whether all threads are where they stay.
        """
        over = {who for _, who in self.model.log}
        return (
            self.pool._waking is None
            and len(self.threads) == self.pool.GetStatistics().idle + len(self.runs)
            and all(
                call.over or (call.blocked and name not in over)
                for name, call in self.calls.items()
            )
        )

    def settle(self) -> None:
        """
        Let the model, and then the pool, come to rest.
        """
        model = self.model
        model.settle()
        if self.adding is not None and not model.fences:
            name, tasks = self.adding
            self.adding = None
            model.log.append((model.add(tasks, hold=False, new=False), name))
        while task := model.start():
            self.expected.append(task.number)
        self.waitUntil(self.rests)

    @invariant()
    def same(self) -> None:
        """
        Pool and model agree.
        """
        model, staying = self.model, self.model.staying()
        agree(self.pool, model)
        assert self.pool.GetStatistics().idle == model.size - len(staying)
        assert self.started == self.expected
        tasks = [(what, who) for what, who in model.log if isinstance(who, Task)]
        assert self.told == [(what, task.number) for what, task in tasks if task.told]
        over = {who: what for what, who in model.log if isinstance(who, str)}
        assert {name: call.error for name, call in self.calls.items() if call.over} == {
            name: ERRORS.get(what, what) for name, what in over.items()
        }
        assert {number: run.seen() for number, run in self.runs.items()} == {
            task.number: (
                self.started.count(task.number) if task.told else None,
                task.priority,
                task.ID,
                task.cancelled,
                task not in staying,
            )
            for task in model.running
        }

    def teardown(self) -> None:
        """
        Have all threads end. The failures that nobody was told are logged.
        """
        unheard = [
            who
            for what, who in self.model.log
            if isinstance(who, Task) and what in ("failed", "unstarted")
            if not who.told
        ]
        errors = self.flushLoggedErrors(ZeroDivisionError, DuplicateTaskID, TaskNotStarted)
        self.pool.SetActive(False)
        for run in self.runs.values():
            run.end("succeeded")
        self.calls["end"] = Call(self.pool.TerminateWorkers, self.changed.set)
        # What has gone wrong before must not be hidden.
        if sys.exc_info()[0] is None:
            assert len(errors) == len(unheard)
            self.waitUntil(lambda: not self.threads and all(c.over for c in self.calls.values()))

    # Doing

    @rule(action=drawn(DRAWN))
    def act(self, action: tuple[Any, ...]) -> None:
        getattr(self, action[0])(*action[1:])

    # Adding

    def submit(self, tasks: list[Task], f: Callable[[], object], by: int | None) -> None:
        """
        Add tasks, on the thread of a worker or on one that must wait for a quiesce.
        """
        self.tasks += tasks
        model = self.model
        if by is not None and model.running:
            run = self.runs[model.running[by % len(model.running)].number]
            assert run.do(f) is model.add(tasks, hold=False, new=False)
        elif not model.fences:
            assert attempt(f) is model.add(tasks, hold=False, new=False)
        elif self.adding is None:
            self.adding = (self.call("add", f), tasks)
        self.settle()

    def add(self, several: list[tuple[int, int | None]], told: bool, by: int | None) -> None:
        tasks = [Task(number, *one, told) for number, one in enumerate(several, len(self.tasks))]
        args = [(task.number,) for task in tasks]
        priorities, IDs = [one[0] for one in several], [one[1] for one in several]
        completions = [Told(self, task.number) if told else None for task in tasks]

        def f() -> None:
            if len(several) == 1:
                self.pool.AddTask(args[0], priorities[0], IDs[0], completion=completions[0])
            else:
                self.pool.AddManyTasks(args, priorities, IDs, completion=completions)

        self.submit(tasks, f, by)

    # What waits, and what runs

    def find(self, tasks: list[Task], ID: int) -> Task | None:
        """
        The last of some tasks that has an ID.
        """
        return next((task for task in reversed(tasks) if task.ID == ID), None)

    def move(self, ID: int, priority: int, back: int) -> None:
        task = self.find(self.model.waiting, ID)
        if task is None:
            assert attempt(lambda: self.pool.ChangeTaskPriority(ID, priority)) is NoSuchTask
        else:
            for _ in range(back):
                self.pool.ChangeTaskPriority(ID, priority)
                sound(self.pool)
                self.pool.ChangeTaskPriority(ID, task.priority)
                sound(self.pool)
            self.pool.ChangeTaskPriority(ID, priority)
            task.priority = priority

    def cancel(self, ID: int) -> None:
        task = self.find(self.model.waiting, ID)
        error = attempt(lambda: self.pool.CancelTask(ID))
        assert error is (NoSuchTask if task is None else None)
        if task is not None:
            self.model.withdraw([task], "cancelled")
        self.settle()

    def interrupt(self, ID: int) -> None:
        task = self.find(self.model.running, ID)
        error = attempt(lambda: self.pool.InterruptTask(ID))
        assert error is (NoSuchTask if task is None else None)
        if task is not None:
            self.cancelled += [task.number] * (not task.cancelled)
            task.cancelled = True
        assert self.interrupted == self.cancelled

    def end(self, index: int, outcome: str, priority: int | None) -> None:
        if self.model.running:
            task = self.model.running[index % len(self.model.running)]
            self.runs.pop(task.number).end(outcome, priority)
            self.model.end(task, outcome, priority)
            self.settle()

    def endAll(self) -> None:
        while self.model.running:
            self.end(0, "succeeded", None)
            self.same()

    def waitForItself(self, index: int, call: str) -> None:
        if self.model.running:
            run = self.runs[self.model.running[index % len(self.model.running)].number]
            assert run.do(getattr(self.pool, call)) is WouldWaitForItself

    # The whole pool

    def setActive(self, active: bool) -> None:
        self.pool.SetActive(active)
        self.model.active = active
        self.settle()

    def resize(self, size: int) -> None:
        name = self.call("resize", lambda: self.pool.Resize(size))
        staying = self.model.staying()
        leaving = {t for t in staying if self.runs[t.number].worker.ShouldTerminate()}
        assert len(leaving) == max(0, len(staying) - size), "idle workers go first"
        self.model.resize(name, size, leaving)
        self.settle()

    def quiesce(self) -> None:
        if len(self.model.fences) < 3:
            self.model.fences.append(self.call("quiesce", self.pool.Quiesce))
            self.settle()

    def terminate(self) -> None:
        self.model.terminate(self.call("terminate", self.pool.TerminateWorkers))
        self.settle()


class PoolModelTests(SynchronousTestCase):
    """
    Tests for L{WorkerPool} as a whole.
    """

    def test_model(self) -> None:
        """
        Whatever is done, the pool does as the model does.
        """

        class Logged(Machine):
            flushLoggedErrors = staticmethod(self.flushLoggedErrors)

        run_state_machine_as_test(Logged, settings=length(120))
