"""
What a pool says of itself.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PoolStatistics"]


@dataclass(frozen=True)
class PoolStatistics:
    """
    A snapshot of a pool, of one moment. At every moment
    C{added = queued + running + succeeded + failed + cancelled + unstarted}.

    @ivar added: tasks ever added; a deferral does not add.
    @ivar queued: tasks that wait, the held ones included.
    @ivar running: tasks that were started and have no outcome yet.
    @ivar succeeded: tasks whose C{RunTask} returned.
    @ivar failed: tasks that raised, or whose completion refused them.
    @ivar cancelled: tasks that were withdrawn, or deferred themselves after
        they had been told that they are cancelled.
    @ivar unstarted: tasks that a termination took out of the queue.
    @ivar deferrals: how many times a task was put back.
    @ivar workers: the workers that the pool has, those that are about to leave
        not counted.
    @ivar idle: those of them that wait for a task.
    @ivar active: whether tasks are started.
    @ivar waited: for how many seconds the next task to start has waited since
        it was added or deferred, or L{None} if none waits.
    """

    added: int
    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    unstarted: int
    deferrals: int
    workers: int
    idle: int
    active: bool
    waited: float | None
