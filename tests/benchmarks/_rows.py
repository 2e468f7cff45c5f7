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
    "add-task-meanwhile": "AddTask, while tasks run",
    "bare-threads": "bare threads that sleep",
    "bare-threads-heap": "bare threads that pop a heap and sleep",
    "cancel-task": "CancelTask",
    "huey": "huey, SqliteHuey with fsync",
    "persist-queue": "persist-queue's SQLiteAckQueue, no results",
    "shared-commits": "threads that share commits, and nothing more",
    "daemon": "twistd ganeti-pool",
    "job-queue": "a JobQueue in the same process",
    "subprocess-run": "subprocess.run in threads, nothing durable",
    "task-spooler": "task-spooler, nothing durable",
    "function-call": "a function called",
    "deferred-fired": "a Deferred made and fired",
    "deferred-kept": "Deferreds made, all kept, then fired",
    "queue-batch": "queue.SimpleQueue, all put and then all taken by another thread",
    "lock-hand-over": "a hand-over to a thread that waits on a lock",
    "call-from-thread": "callFromThread from another thread",
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
    @ivar module: the module of this package that measures it.
    @ivar counts: how much of it, each.
    @ivar quickCounts: how much of it when only the machinery is tried out.
    @ivar ours: the engines of this package.
    @ivar peers: the engines that they are compared with, or the floor.
    @ivar workers: with how many workers, each.
    @ivar compared: the figures of which ratios are taken; the first is the one
        that has targets.
    @ivar ratios: by how much the first engine is to beat the second, of those
        for which it was said; where that depends on the number of workers, by it.
    @ivar steady: how many times the least of an engine's figures the largest
        may be, over all workers and counts; L{None} if they are not compared.
    @ivar limits: what a figure of ours may be at most, by its name.
    """

    key: str
    title: str
    module: str
    counts: tuple[int, ...]
    quickCounts: tuple[int, ...]
    ours: tuple[str, ...]
    peers: tuple[str, ...]
    workers: tuple[int, ...]
    compared: tuple[str, ...] = ("microseconds",)
    ratios: Mapping[tuple[str, str], float | Mapping[int, float]] = field(default_factory=dict)
    steady: float | None = None
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
        module="_blocking",
        counts=(100_000,),
        quickCounts=(200,),
        ours=("add-task", "add-task-completion"),
        peers=("executor", "conditions"),
        workers=(1, 4, 16, 64),
        ratios={("add-task", "executor"): 4, ("add-task-completion", "executor"): 3},
        steady=1.5,
    ),
    Row(
        "firing",
        "tasks to fired Deferreds",
        module="_looping",
        counts=(100_000,),
        quickCounts=(200,),
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
        "scaling",
        "tasks to fired Deferreds, by the number of workers",
        module="_looping",
        counts=(100_000,),
        quickCounts=(200,),
        ours=("deferred-add-task", "defer-to-pool"),
        peers=(),
        workers=(1, 4, 16, 64),
        steady=1.5,
    ),
    Row(
        "returning",
        "one task there and back, idle pool",
        module="_looping",
        counts=(5_000,),
        quickCounts=(50,),
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
        module="_blocking",
        counts=(1_000_000,),
        quickCounts=(20_000,),
        ours=("change-priority",),
        peers=("conditions-change-priority",),
        workers=(1,),
        compared=("microseconds", "entries"),
        limits={"entries": 20_064, "microseconds": 3},
    ),
    Row(
        "remembering",
        "memory of a queued task, no Deferred",
        module="_blocking",
        counts=(100_000,),
        quickCounts=(2_000,),
        ours=("add-task", "add-task-id"),
        peers=("executor", "conditions"),
        workers=(1,),
        compared=("bytes",),
        limits={"bytes": 400},
    ),
    Row(
        "backlog",
        "queued during a pause, and then run, at one priority",
        module="_backlog",
        counts=(10_000, 1_000_000),
        quickCounts=(200, 2_000),
        ours=("add-task",),
        peers=("conditions",),
        workers=(4,),
        steady=2.5,
    ),
    Row(
        "backlog-mixed",
        "queued during a pause, and then run, at a thousand priorities",
        module="_backlog",
        counts=(10_000, 1_000_000),
        quickCounts=(200, 2_000),
        ours=("add-task",),
        peers=("conditions",),
        workers=(4,),
        steady=2.5,
    ),
    Row(
        "sleeping",
        "tasks that sleep for 1 ms",
        module="_sleeping",
        counts=(64_000,),
        quickCounts=(640,),
        ours=("add-task", "add-task-meanwhile"),
        peers=("bare-threads", "bare-threads-heap", "executor"),
        workers=(64,),
        ratios={("add-task", "bare-threads"): 0.97},
    ),
    Row(
        "lateness",
        "how late the reactor is, at 20,000 completions a second",
        module="_lateness",
        counts=(600_000,),
        quickCounts=(4_000,),
        ours=("deferred-add-task",),
        peers=("defer-to-thread-pool",),
        workers=(4,),
        compared=("p99",),
        ratios={("deferred-add-task", "defer-to-thread-pool"): 1},
        limits={"p99": 10, "behind": 100},
    ),
    Row(
        "holding",
        "how long the pool's lock is held, with as many tasks queued",
        module="_holding",
        counts=(100_000,),
        quickCounts=(1_000,),
        ours=("add-task", "add-task-id", "cancel-task", "change-priority"),
        peers=(),
        workers=(0,),
        compared=(),
        limits={"most": 1_000, "growing": 1_000},
    ),
    Row(
        "commands",
        "commands: jobs of true that are queued, to the last outcome",
        module="_commands",
        counts=(800,),
        quickCounts=(20,),
        ours=("daemon",),
        peers=("subprocess-run", "task-spooler"),
        workers=(4,),
        ratios={("daemon", "subprocess-run"): 0.5},
    ),
    Row(
        "commands-busy",
        "the same beside two processes that compute",
        module="_commands",
        counts=(800,),
        quickCounts=(20,),
        ours=("daemon",),
        peers=("subprocess-run", "task-spooler"),
        workers=(4,),
        ratios={("daemon", "subprocess-run"): 0.4},
    ),
    Row(
        "answering",
        "an idle daemon: from the POST of one true to its outcome at a waiting client",
        module="_commands",
        counts=(200,),
        quickCounts=(5,),
        ours=("daemon",),
        peers=(),
        workers=(4,),
        compared=("p50", "p95"),
    ),
    Row(
        "durable-batches",
        "durable jobs, one client, in batches where it can",
        module="_durable",
        counts=(8_000,),
        quickCounts=(1_000,),
        ours=("daemon", "job-queue"),
        peers=("huey", "persist-queue", "shared-commits"),
        workers=(4, 16),
        ratios={("job-queue", "huey"): {4: 3, 16: 4}},
    ),
    Row(
        "durable-singles",
        "durable jobs, eight clients, one job at a time",
        module="_durable",
        counts=(8_000,),
        quickCounts=(80,),
        ours=("daemon",),
        peers=("huey", "persist-queue", "shared-commits"),
        workers=(4,),
    ),
    Row(
        "restarting",
        "a daemon that finds many jobs queued, to the start of the first",
        module="_restarting",
        counts=(1_000_000,),
        quickCounts=(2_000,),
        ours=("daemon",),
        peers=(),
        workers=(1,),
        compared=(),
        limits={"seconds": 20, "bytes": 400, "listing": 50, "status": 50},
    ),
    Row(
        "restarting-after-a-crash",
        "the same after a crash, with the check of the store",
        module="_restarting",
        counts=(1_000_000,),
        quickCounts=(2_000,),
        ours=("daemon",),
        peers=(),
        workers=(1,),
        compared=(),
        limits={"bytes": 400, "listing": 50, "status": 50},
    ),
    Row(
        "floor",
        "what the interpreter and Twisted take for the bare steps",
        module="_floor",
        counts=(100_000,),
        quickCounts=(1_000,),
        ours=(),
        peers=(
            "function-call",
            "deferred-fired",
            "deferred-kept",
            "queue-batch",
            "lock-hand-over",
            "call-from-thread",
        ),
        workers=(1,),
    ),
)
"""
All there is.
"""
