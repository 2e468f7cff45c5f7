"""
The pool does what a small model does, whatever is done in whatever order.

The pool is the one that steps: it has the scheduler of the one with threads, and
one thread to look at it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.errors import DuplicateTaskID, NoSuchTask, PoolTerminated
from ganeti_pool.testing import SteppingPool
from ganeti_pool.workerpool import BaseWorker, DeferTask

from .poolcontract import Recorder

PRIORITIES = st.integers(-2, 2)
IDS = st.integers(0, 5)


@dataclass
class Task:
    """
    One task of the model, by priority and order.
    """

    priority: int
    order: int
    ID: int | None
    number: int
    told: bool


@dataclass
class Model:
    """
    What the pool should do.

    @ivar places: the queue, and what is held behind each fence.
    @ivar log: what has happened.
    """

    places: list[list[Task]] = field(default_factory=lambda: [[]])
    log: list[Any] = field(default_factory=list)
    order: int = 0
    terminated: bool = False

    def add(self, priority: int, ID: int | None, number: int, told: bool, place: int) -> bool:
        if (self.terminated and told) or (ID is not None and self.find(ID)):
            return False
        self.places[place].append(Task(priority, self.order, ID, number, told))
        self.order += 1
        return True

    def find(self, ID: int) -> Task | None:
        return next((t for place in self.places for t in place if t.ID == ID), None)

    def remove(self, task: Task) -> None:
        self.places = [[t for t in place if t is not task] for place in self.places]
        self.log += [("cancelled", task.number)] * task.told
        self.quiet()

    def take(self) -> Task:
        task = min(self.places[0], key=lambda task: (task.priority, task.order))
        self.places[0].remove(task)
        self.log.append(("run", task.number))
        return task

    def putBack(self, task: Task, priority: int | None) -> None:
        task.priority = task.priority if priority is None else priority
        task.order = self.order
        self.order += 1
        self.places[0].append(task)

    def lift(self, fence: int) -> None:
        self.places[fence] += self.places.pop(fence + 1)
        self.quiet()

    def quiet(self) -> None:
        while len(self.places) > 1 and not self.places[0]:
            self.places.pop(0)
            self.log.append("quiet")

    def terminate(self) -> None:
        tasks = [sorted(p, key=lambda t: (t.priority, t.order)) for p in self.places]
        self.log += [("unstarted", t.number) for place in tasks for t in place if t.told]
        self.log += ["terminated"] * (len(self.places) - 1)
        self.places = [[t for place in tasks for t in place if not t.told]]
        self.terminated = True


class PoolMachine(RuleBasedStateMachine):
    """
    Does the same to a pool and to the model.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.log: list[Any] = []
        self.outcome: Any = None
        self.number = 0
        self.counts = {"succeeded": 0, "failed": 0, "cancelled": 0, "unstarted": 0}
        machine = self

        class Worker(BaseWorker):
            def RunTask(self, number: int) -> None:
                machine.log.append(("run", number))
                if machine.outcome is not None:
                    raise machine.outcome

        self.pool = SteppingPool("pool", 1, Worker)

    def completion(self, number: int, told: bool) -> Any:
        """
        Make what is told of a task, if somebody is.
        """
        recorder = Recorder()

        def fail(failure: Any) -> None:
            word = {"TaskCancelled": "cancelled", "TaskNotStarted": "unstarted"}
            name = word.get(failure.type.__name__)
            if name is not None:
                self.log.append((name, number))

        recorder.fail = fail  # type: ignore[method-assign]
        return recorder if told else None

    @rule(priority=PRIORITIES, ID=IDS | st.none(), told=st.booleans(), hold=st.booleans())
    def add(self, priority: int, ID: int | None, told: bool, hold: bool) -> None:
        self.number += 1
        hold = hold or len(self.model.places) > 1
        added = self.model.add(priority, ID, self.number, told, -1 if hold else 0)
        completion = self.completion(self.number, told)
        try:
            if hold:
                entry = self.pool._NewEntry((self.number,), priority, ID, completion)
                self.pool._Submit([entry], hold=True)
            else:
                self.pool.AddTask((self.number,), priority, ID, completion=completion)
        except (DuplicateTaskID, PoolTerminated):
            assert not added
        else:
            assert added

    @rule(ID=IDS, priority=PRIORITIES)
    def move(self, ID: int, priority: int) -> None:
        task = self.model.find(ID)
        try:
            self.pool.ChangeTaskPriority(ID, priority)
        except NoSuchTask:
            assert task is None
        else:
            assert task is not None
            task.priority = priority

    @rule(ID=IDS)
    def cancel(self, ID: int) -> None:
        task = self.model.find(ID)
        try:
            self.pool.CancelTask(ID)
        except NoSuchTask:
            assert task is None
        else:
            assert task is not None
            self.model.remove(task)
            self.counts["cancelled"] += 1

    @rule(deferral=st.none() | st.tuples(st.none() | PRIORITIES))
    def step(self, deferral: tuple[int | None] | None) -> None:
        runs = bool(self.model.places[0]) and not self.model.terminated and self.pool._active
        self.outcome = None if deferral is None else DeferTask(*deferral)
        assert self.pool.step() == runs
        if runs:
            task = self.model.take()
            if deferral is None:
                self.counts["succeeded"] += 1
            elif task.ID is not None and self.model.find(task.ID):
                raise AssertionError("an ID is queued twice")
            else:
                self.model.putBack(task, *deferral)
            self.model.quiet()

    @rule(active=st.booleans())
    def pause(self, active: bool) -> None:
        self.pool.SetActive(active)

    @precondition(lambda self: len(self.model.places) < 4)
    @rule()
    def fence(self) -> None:
        self.pool._OpenFence(
            lambda failure: self.log.append("quiet" if failure is None else "terminated")
        )
        if self.model.terminated and self.model.places[0]:
            self.model.log.append("terminated")
        else:
            self.model.places.append([])
            self.model.quiet()

    @precondition(lambda self: len(self.model.places) > 1)
    @rule(data=st.data())
    def lift(self, data: st.DataObject) -> None:
        fence = data.draw(st.integers(0, len(self.model.places) - 2))
        self.pool._LiftFence(self.pool._fences[fence])
        self.model.lift(fence)

    @rule()
    def terminate(self) -> None:
        self.pool.TerminateWorkers()
        self.counts["unstarted"] += sum(t.told for place in self.model.places for t in place)
        self.model.terminate()

    @precondition(lambda self: self.model.terminated)
    @rule()
    def reopen(self) -> None:
        self.pool.Resize(1)
        self.model.terminated = False

    @invariant()
    def same(self) -> None:
        """
        Pool and model agree, and the pool is sound.
        """
        model, pool = self.model, self.pool
        assert self.log == model.log
        queues = [
            sorted(entry[:3] for entry in queue.tasks if entry[3] is not None)
            for queue in pool._QueuesUnlocked()
        ]
        assert queues == [
            sorted([task.priority, task.order, task.ID] for task in place) for place in model.places
        ]
        # abandoned entries come before the live one of the same priority and order
        plainly = sorted(pool._tasks, key=lambda entry: (*entry[:2], entry[3] is not None))
        assert sorted(pool._tasks) == plainly
        statistics = pool.GetStatistics()
        assert {name: getattr(statistics, name) for name in self.counts} == self.counts
        queued = sum(map(len, model.places))
        assert (statistics.queued, statistics.running) == (queued, 0)
        assert statistics.added == queued + sum(self.counts.values())
        assert not pool._queue.dropped or pool._tasks


class PoolModelTests(SynchronousTestCase):
    """
    Tests for the scheduler as a whole.
    """

    def test_model(self) -> None:
        """
        Whatever is done, the pool does as the model does.
        """
        run_state_machine_as_test(
            PoolMachine, settings=settings(max_examples=50, stateful_step_count=40, deadline=None)
        )
