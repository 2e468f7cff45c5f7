"""
A pool in a reactor does what a small model does, whatever is done in whatever order.

The pool steps and the reactor turns when the state machine says so. A task that runs
does a few things itself, and so does whoever waits for a Deferred: a task that makes a
step has another one run meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.errors import (
    DuplicateTaskID,
    NoSuchTask,
    PoolTerminated,
    TaskCancelled,
    TaskNotStarted,
)
from ganeti_pool.testing import FakeReactor, makeSteppingPool
from ganeti_pool.workerpool import BaseWorker, DeferTask

from ..poolmodel import (
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

SIZES = st.sampled_from([2, 1, 3, 2, 0])
ACTIVE = st.sampled_from([True, True, True, False])
RESULTS = {
    TaskCancelled: "cancelled",
    TaskNotStarted: "unstarted",
    ZeroDivisionError: "failed",
    PoolTerminated: "terminated",
}

# What the test does, what a task does while it runs, and what is done when a Deferred
# fires.
ACTIONS: st.SearchStrategy[list[tuple[Any, ...]]] = st.deferred(
    lambda: st.lists(drawn(DRAWN), min_size=1, max_size=3)
)
MAYBE: st.SearchStrategy[list[tuple[Any, ...]]] = st.just([]) | ACTIONS
DRAWN: dict[str, Any] = {
    "step": (5, MAYBE, OUTCOMES, PRIORITIES | st.none()),
    "add": (4, SEVERAL, MAYBE),
    "turn": (3,),
    "start": (2,),
    "quiesce": (2, MAYBE),
    "cancelDeferred": (2, INDEX),
    "cancel": (1, IDS),
    "move": (1, IDS, PRIORITIES, BACK),
    "setActive": (1, ACTIVE),
    "resize": (1, SIZES),
    "terminate": (1, st.booleans()),
}


class Turns(FakeReactor):
    """
    A reactor that knows whether it is in a turn.
    """

    turning = False

    def turn(self) -> bool:
        """
        Make the calls that wait.
        """
        self.turning = True
        try:
            return super().turn()
        finally:
            self.turning = False


class Machine(RuleBasedStateMachine):
    """
    Does the same to a pool and to the model.

    @cvar flushLoggedErrors: that of the test.
    @ivar state: where the pool is in its life.
    @ivar at: how much of the model's log has been told to the Deferreds.
    @ivar dropped: the Deferreds that were cancelled before they fired.
    @ivar stops: the Deferreds of the termination that is under way.
    """

    flushLoggedErrors: ClassVar[Callable[..., list[Any]]]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(2)
        self.size = 2
        self.state = "running"
        self.at = 0
        self.tasks: list[Task] = []
        self.workers: dict[int, BaseWorker] = {}
        self.deferreds: dict[str | int, Deferred[Any]] = {}
        self.reactions: dict[str | int, list[tuple[Any, ...]]] = {}
        self.fired: list[str | int] = []
        self.dropped: set[str | int] = set()
        self.stops: list[str] = []
        self.cancelling: str | int | None = None
        self.errors: list[BaseException] = []
        machine = self

        class Worker(BaseWorker):
            def RunTask(self, number: int) -> int:
                return machine.run(self, number)

        self.reactor = Turns()
        self.pool, self.stepping, _ = makeSteppingPool(2, Worker, reactor=self.reactor)

    # Doing

    @rule(actions=ACTIONS)
    def act(self, actions: list[tuple[Any, ...]]) -> None:
        self.do(actions)

    def do(self, actions: list[tuple[Any, ...]]) -> None:
        """
        Do what is done in a task or when a Deferred fires. What is wrong there is
        kept, since the pool would take it for the failure of a task.
        """
        try:
            for name, *arguments in actions:
                getattr(self, name)(*arguments)
                self.same()
        except BaseException as error:
            self.errors.append(error)

    def name(self, call: str) -> str:
        """
        A name for the Deferred of a call.
        """
        return f"{call} {len(self.deferreds)}"

    def watch(self, name: str | int, deferred: Deferred[Any], then: list[tuple[Any, ...]]) -> None:
        """
        Note when a Deferred fires.
        """
        assert not deferred.called
        self.deferreds[name] = deferred
        self.reactions[name] = then
        deferred.addBoth(self.fire, name)

    def refused(self, deferred: Deferred[Any]) -> None:
        """
        A Deferred has failed already, since the pool is stopping.
        """
        failures: list[Failure] = []
        deferred.addErrback(failures.append)
        assert [failure.type for failure in failures] == [PoolTerminated]

    def fire(self, result: object, name: str | int) -> None:
        """
        A Deferred fires.
        """
        self.fired.append(name)
        try:
            if name == self.cancelling:
                assert isinstance(result, Failure) and result.type is CancelledError
            else:
                assert self.reactor.turning
                assert (self.word(result, name), name) == self.due()
        except BaseException as error:
            self.errors.append(error)
        self.do(self.reactions[name])

    def word(self, result: object, name: str | int) -> str:
        """
        What the model says for the result of a Deferred.
        """
        if isinstance(result, Failure):
            assert result.type is not None
            return RESULTS[result.type]
        if isinstance(name, int):
            assert result == name
            return "succeeded"
        assert result is None
        return "quiet" if name.startswith("quiesce") else "left"

    def due(self) -> tuple[object, str | int] | None:
        """
        What fires next, by the model.
        """
        while self.at < len(self.model.log):
            what, who = self.model.log[self.at]
            self.at += 1
            name = who.number if isinstance(who, Task) else who
            if (what, name) == ("quiet", "drain") and self.state == "draining":
                self.close()
            elif name == "stop":
                self.state = "stopped"
                self.model.log[self.at : self.at] = [("left", stop) for stop in self.stops]
                self.stops = []
            elif what != "deferred" and name in self.deferreds and name not in self.dropped:
                return what, name
        return None

    def close(self) -> None:
        """
        The pool gives up its queue.
        """
        self.state = "stopping"
        self.model.terminate("stop")
        self.model.settle()

    # Tasks

    def submit(
        self,
        tasks: list[Task],
        call: Callable[[], list[Deferred[Any]]],
        then: list[tuple[Any, ...]],
    ) -> None:
        """
        Add tasks.
        """
        self.tasks += tasks
        if self.state != "running":
            for deferred in call():
                self.refused(deferred)
            return
        refusal = self.model.add(tasks, hold=True, new=True)
        try:
            deferreds = call()
        except DuplicateTaskID:
            assert refusal is DuplicateTaskID
        else:
            assert refusal is None
            for task, deferred in zip(tasks, deferreds, strict=True):
                self.watch(task.number, deferred, then)

    def add(self, several: list[tuple[int, int | None]], then: list[tuple[Any, ...]]) -> None:
        tasks = [Task(number, *one) for number, one in enumerate(several, len(self.tasks))]
        args = [(task.number,) for task in tasks]
        priorities, IDs = [one[0] for one in several], [one[1] for one in several]

        def call() -> list[Deferred[Any]]:
            if len(several) == 1:
                return [self.pool.addTask(args[0], priorities[0], IDs[0])]
            return self.pool.addManyTasks(args, priorities, IDs)

        self.submit(tasks, call, then)

    def find(self, ID: int) -> Task | None:
        """
        The waiting task of an ID.
        """
        return next((task for task in self.model.waiting if task.ID == ID), None)

    def move(self, ID: int, priority: int, back: int) -> None:
        task = self.find(ID)
        try:
            for _ in range(back):
                self.pool.changeTaskPriority(ID, priority)
                sound(self.stepping)
                self.pool.changeTaskPriority(ID, task.priority if task else 0)
                sound(self.stepping)
            self.pool.changeTaskPriority(ID, priority)
        except NoSuchTask:
            assert task is None
        else:
            assert task is not None
            task.priority = priority

    def cancel(self, ID: int) -> None:
        task = self.find(ID)
        try:
            self.pool.cancelTask(ID)
        except NoSuchTask:
            assert task is None
        else:
            assert task is not None
            self.model.withdraw([task], "cancelled")
            self.model.settle()

    def cancelDeferred(self, index: int) -> None:
        names = [name for name in self.deferreds if index == 7 or name not in self.fired][-8:]
        if not names:
            return
        name = names[index % len(names)]
        if name not in self.fired:
            self.dropped.add(name)
            for task in self.model.waiting + self.model.running:
                if task.number == name:
                    task.cancelled = True
                    if task in self.model.waiting:
                        self.model.withdraw([task], "cancelled")
            if name in self.model.fences:
                self.model.fences.remove(str(name))
            if name in self.stops:
                self.stops.remove(name)
            self.model.settle()
        outer, self.cancelling = self.cancelling, name
        self.deferreds[name].cancel()
        self.cancelling = outer

    # Steps

    def step(self, inside: list[tuple[Any, ...]], outcome: str, priority: int | None) -> None:
        task = self.model.start()
        self.plan = inside, outcome, priority
        assert self.stepping.step() == (task is not None)
        if task is not None:
            del self.workers[task.number]
            self.model.end(task, outcome, priority)
            self.model.settle()

    def run(self, worker: BaseWorker, number: int) -> int:
        """
        Run a task.
        """
        inside, outcome, priority = self.plan
        task = self.tasks[number]
        self.workers[number] = worker
        for action in inside:
            self.do([action])
            if worker.IsCancelled() != task.cancelled:
                self.errors.append(AssertionError("the task was not told of its cancellation"))
        if outcome == "failed":
            raise ZeroDivisionError
        if outcome == "deferred":
            raise DeferTask(priority)
        return number

    def turn(self) -> None:
        if not self.reactor.turning:
            self.reactor.run()
            assert self.due() is None

    # The whole pool

    def setActive(self, active: bool) -> None:
        self.pool.setActive(active)
        self.model.active = active
        if self.state == "draining" and not active:
            self.close()

    def resize(self, size: int) -> None:
        name, deferred = self.name("resize"), self.pool.resize(size)
        if self.state != "running":
            self.refused(deferred)
            return
        self.size = size
        staying = self.model.staying()
        leaving = {task for task in staying if self.workers[task.number].ShouldTerminate()}
        # More may leave than must: a worker that is about to look for a task stays.
        most = max(0, self.model.size - size)
        assert max(0, len(staying) - size) <= len(leaving) <= most
        self.model.resize(name, size, leaving)
        self.model.settle()
        self.watch(name, deferred, [])

    def quiesce(self, then: list[tuple[Any, ...]]) -> None:
        name, deferred = self.name("quiesce"), self.pool.quiesce()
        if self.state != "running":
            self.refused(deferred)
            return
        self.model.fences.append(name)
        self.model.settle()
        self.watch(name, deferred, then)

    def terminate(self, drain: bool) -> None:
        name, deferred = self.name("terminate"), self.pool.terminateWorkers(drain)
        if self.state == "stopped":
            assert deferred.called
            return
        self.stops.append(name)
        if self.state == "running" and drain and self.model.active and self.size:
            self.state = "draining"
            self.model.fences.append("drain")
            self.model.settle()
        elif self.state == "running" or (self.state == "draining" and not drain):
            self.close()
        self.watch(name, deferred, [])

    def start(self) -> None:
        try:
            self.pool.start()
        except PoolTerminated:
            assert self.state in ("draining", "stopping")
        else:
            assert self.state in ("running", "stopped")
            if self.state == "stopped":
                self.model.resize("start", self.size, set())
                self.model.settle()
            self.state = "running"

    @invariant()
    def same(self) -> None:
        """
        Pool and model agree.
        """
        for error in self.errors:
            raise error
        agree(self.stepping, self.model)
        assert self.pool.hasRunningTasks() == bool(self.model.running)

    def teardown(self) -> None:
        """
        In the end every Deferred has fired, and the late failures of tasks whose
        Deferreds were cancelled are logged.
        """
        # What has gone wrong before must not be hidden.
        if sys.exc_info()[0] is None:
            self.terminate(False)
            self.turn()
            self.same()
            assert set(self.fired) == set(self.deferreds)
        late = [
            who
            for what, who in self.model.log
            if isinstance(who, Task) and what == "failed"
            if who.number in self.dropped
        ]
        errors = self.flushLoggedErrors(ZeroDivisionError)
        assert sys.exc_info()[0] or len(errors) == len(late)


class DeferredModelTests(SynchronousTestCase):
    """
    Tests for L{DeferredWorkerPool} as a whole.
    """

    def test_model(self) -> None:
        """
        Whatever is done, the pool does as the model does.
        """

        class Logged(Machine):
            flushLoggedErrors = staticmethod(self.flushLoggedErrors)

        run_state_machine_as_test(Logged, settings=length(80))
