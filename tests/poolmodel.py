"""
What a pool should do: the model with which the state machines compare the pools, and
the comparison.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st

from ganeti_pool.errors import DuplicateTaskID, PoolError, PoolTerminated
from ganeti_pool.interfaces import PoolStatistics
from ganeti_pool.workerpool import WorkerPool
from ganeti_pool.workerpool._taskheap import MOST_ABANDONED

__all__ = [
    "BACK",
    "IDS",
    "INDEX",
    "OUTCOMES",
    "PRIORITIES",
    "SEVERAL",
    "Model",
    "Task",
    "agree",
    "drawn",
    "length",
    "sound",
]

PRIORITIES = st.integers(-2, 2)
IDS = st.integers(0, 3)
SEVERAL = st.lists(st.tuples(PRIORITIES, IDS | st.none()), min_size=1, max_size=4)
OUTCOMES = st.sampled_from(["succeeded", "failed", "deferred"])
INDEX = st.integers(0, 7)
BACK = st.sampled_from([0, 1, 50])


@dataclass(eq=False)
class Task:
    """
    A task, and what has happened to it.
    """

    number: int
    priority: int
    ID: int | None
    told: bool = True  # it has a completion
    order: int = 0
    behind: frozenset[str] = frozenset()  # the fences that stood when it was added
    cancelled: bool = False  # it was told so while it ran


class Model:
    """
    A pool, as far as can be seen from outside. Nothing happens in it by itself: what
    can start is started by C{start}, and who waits is told by C{settle}.
    """

    def __init__(self, size: int) -> None:
        self.size, self.active, self.terminated, self.orders = size, True, False, count()
        self.waiting: list[Task] = []
        self.running: list[Task] = []
        self.fences: list[str] = []
        self.leavers: dict[str, set[Task]] = {}  # the runs whose end a call waits for
        self.log: list[tuple[object, Task | str]] = []  # the outcomes, in order

    def queue(self) -> list[Task]:
        places = {t: len(t.behind.intersection(self.fences)) for t in self.waiting}
        return sorted(self.waiting, key=lambda t: (places[t], t.priority, t.order))

    def ready(self) -> list[Task]:
        return [task for task in self.queue() if task.behind.isdisjoint(self.fences)]

    def staying(self) -> list[Task]:
        return [t for t in self.running if not any(t in runs for runs in self.leavers.values())]

    def add(self, tasks: list[Task], hold: bool, new: bool) -> type[PoolError] | None:
        if self.terminated and any(task.told for task in tasks):
            return PoolTerminated
        IDs = [task.ID for task in self.waiting + self.running * new + tasks]
        if any(IDs.count(task.ID) > 1 for task in tasks if task.ID is not None):
            return DuplicateTaskID
        for task in tasks:
            task.order, task.behind = next(self.orders), frozenset(self.fences * hold)
        self.waiting += tasks
        return None

    def start(self) -> Task | None:
        if not (self.active and self.ready() and self.size > len(self.staying())):
            return None
        self.running.append(self.ready()[0])
        self.waiting.remove(self.running[-1])
        return self.running[-1]

    def end(self, task: Task, outcome: str, priority: int | None = None) -> None:
        self.running.remove(task)
        for runs in self.leavers.values():
            runs.discard(task)
        if outcome == "deferred" and (task.cancelled or self.terminated):
            outcome = "cancelled" if task.cancelled else "unstarted"
        elif outcome == "deferred":
            task.priority = task.priority if priority is None else priority
            outcome = "failed" if self.add([task], hold=False, new=False) else "deferred"
        self.log.append((outcome, task))

    def withdraw(self, tasks: list[Task], outcome: str) -> None:
        self.waiting = [task for task in self.waiting if task not in tasks]
        self.log += [(outcome, task) for task in tasks]

    def resize(self, name: str, size: int, leaving: set[Task]) -> None:
        self.size, self.terminated, self.leavers[name] = size, False, leaving

    def terminate(self, name: str) -> None:
        self.withdraw([task for task in self.queue() if task.told], "unstarted")
        self.log += [("terminated", fence) for fence in self.fences]
        self.fences.clear()
        self.size, self.terminated, self.leavers[name] = 0, True, set(self.running)

    def settle(self) -> None:
        while self.fences and (self.terminated or not (self.running or self.ready())):
            quiet = not (self.running or self.ready())
            self.log.append(("quiet" if quiet else "terminated", self.fences.pop(0)))
        for name in [name for name, runs in self.leavers.items() if not runs]:
            del self.leavers[name]
            self.log.append(("left", name))


def sound(pool: WorkerPool) -> None:
    """
    The heap of a pool is one, in which at most so many entries are abandoned.
    """
    with pool._lock:
        entries = list(pool._tasks)
        live = [entry for entry in entries if entry[3] is not None]
        assert pool._taskdata == {entry[2]: entry for entry in live if entry[2] is not None}
    ranks = [entry[:2] for entry in entries]
    assert all(ranks[(n - 1) // 2] <= rank for n, rank in enumerate(ranks) if n)
    assert len(entries) <= min(1, len(live)) * (2 * len(live) + MOST_ABANDONED)


def agree(pool: WorkerPool, model: Model) -> None:
    """
    A pool that rests is as the model is.
    """
    sound(pool)
    live = sorted(entry for entry in pool._tasks if entry[3] is not None)
    found = [(priority, ID, number) for priority, _, ID, (number,) in live]
    assert found == [(task.priority, task.ID, task.number) for task in model.ready()]
    ended = Counter(what for what, who in model.log if isinstance(who, Task))
    deferrals = ended.pop("deferred", 0)
    statistics = pool.GetStatistics()
    assert statistics == PoolStatistics(
        added=len(model.waiting) + len(model.running) + ended.total(),
        queued=len(model.waiting),
        running=len(model.running),
        succeeded=ended["succeeded"],
        failed=ended["failed"],
        cancelled=ended["cancelled"],
        unstarted=ended["unstarted"],
        deferrals=deferrals,
        workers=model.size,
        idle=statistics.idle,  # that of a pool that steps is its own affair
        active=model.active,
        waited=statistics.waited,
    )
    assert (statistics.waited is None) == (not model.waiting)


def drawn(table: Mapping[str, Sequence[Any]]) -> st.SearchStrategy[tuple[Any, ...]]:
    """
    Draw a method of a machine and its arguments. Nothing of it depends on the state of
    the machine: which thread gets which task, for one, is not the same in every run.

    @param table: for each name how often it is drawn, and the strategies of its
        arguments. (C{st.one_of} would draw all alike, and the pool would be stopped
        most of the time.)
    """
    names = [name for name, (often, *_) in table.items() for _ in range(often)]
    return st.sampled_from(names).flatmap(lambda name: st.tuples(st.just(name), *table[name][1:]))


def length(examples: int) -> settings:
    """
    How long to try: so many examples, or as many as the environment asks for.
    """
    asked = int(os.environ.get("HYPOTHESIS_EXAMPLES", examples))
    # To trace every line of every thread, as Phase.explain does, takes minutes.
    phases = [Phase.reuse, Phase.generate, Phase.shrink]
    return settings(max_examples=asked, stateful_step_count=40, phases=phases)
