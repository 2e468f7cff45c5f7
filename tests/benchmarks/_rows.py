"""
What is measured, and what is to be reached.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["LABELS", "ROWS", "Row"]

LABELS = {
    "add-task": "AddTask",
    "add-task-completion": "AddTask, with a completion",
    "add-task-id": "AddTask, with an ID",
    "executor": "ThreadPoolExecutor, with results",
    "conditions": "textbook pool on Conditions",
    "deferred-add-task": "DeferredWorkerPool.addTask",
    "defer-to-pool": "deferToPool",
    "defer-to-thread-pool": "deferToThreadPool",
    "asyncio-executor": "asyncio's run_in_executor",
    "asynqueue": "AsynQueue",
    "anyio": "anyio's to_thread, on asyncio",
    "trio": "trio's to_thread",
    "pebble": "Pebble's ThreadPool, on asyncio",
    "change-priority": "ChangeTaskPriority",
    "conditions-change-priority": "textbook heap that keeps everything",
}
"""
What the engines are called in the table.
"""


@dataclass(frozen=True)
class Row:
    """
    One kind of work.

    @ivar key: its name.
    @ivar title: what the work is.
    @ivar count: how much of it.
    @ivar quickCount: how much of it when only the machinery is tried out.
    @ivar ours: the engines of this package.
    @ivar peers: the engines that they are compared with.
    @ivar workers: with how many workers, each.
    @ivar ratios: by how much the first engine is to beat the second, of those
        for which it was said.
    @ivar limits: what a figure of ours may be at most, by its name.
    """

    key: str
    title: str
    count: int
    quickCount: int
    ours: tuple[str, ...]
    peers: tuple[str, ...]
    workers: tuple[int, ...]
    ratios: Mapping[tuple[str, str], float] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)


_REACTOR_PEERS = (
    "defer-to-thread-pool",
    "asyncio-executor",
    "asynqueue",
    "anyio",
    "trio",
    "pebble",
)

ROWS = (
    Row(
        "adding",
        "AddTask, one call each, then Quiesce",
        count=100_000,
        quickCount=200,
        ours=("add-task", "add-task-completion"),
        peers=("executor", "conditions"),
        workers=(1, 4, 16),
        ratios={("add-task", "executor"): 4, ("add-task-completion", "executor"): 3},
    ),
    Row(
        "firing",
        "tasks to fired Deferreds",
        count=100_000,
        quickCount=200,
        ours=("deferred-add-task", "defer-to-pool"),
        peers=_REACTOR_PEERS,
        workers=(4,),
        ratios={
            (ours, peer): ratio
            for ours in ("deferred-add-task", "defer-to-pool")
            for peer, ratio in (
                ("defer-to-thread-pool", 5),
                ("asyncio-executor", 5),
                ("asynqueue", 15),
            )
        },
    ),
    Row(
        "returning",
        "one task there and back, idle pool",
        count=5_000,
        quickCount=50,
        ours=("deferred-add-task", "defer-to-pool"),
        peers=_REACTOR_PEERS,
        workers=(4,),
        ratios={
            (ours, peer): 1
            for ours in ("deferred-add-task", "defer-to-pool")
            for peer in ("defer-to-thread-pool", "asyncio-executor")
        },
    ),
    Row(
        "moving",
        "changes of priority, a hundredth as many tasks queued",
        count=1_000_000,
        quickCount=20_000,
        ours=("change-priority",),
        peers=("conditions-change-priority",),
        workers=(1,),
        limits={"entries": 20_064, "microseconds": 3},
    ),
    Row(
        "remembering",
        "memory of a queued task, no Deferred",
        count=100_000,
        quickCount=2_000,
        ours=("add-task", "add-task-id"),
        peers=("executor", "conditions"),
        workers=(1,),
        limits={"bytes": 400},
    ),
)
"""
All there is.
"""
