"""
What the dispatcher hands to the reactor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..jobs import JobEvent

__all__ = ["Batch", "Commit", "QueueState"]


class QueueState(NamedTuple):
    """
    The counters and the state of the queue after a batch.

    @ivar active: whether jobs are started.
    @ivar slots: the number of slots, without those that end after their job.
    @ivar idle: the number of slots without a job.
    @ivar added: jobs ever added or retried, counted since the start of the daemon.
    @ivar queued: jobs that are queued.
    @ivar running: jobs that run, including those whose outcome is not yet written.
    @ivar succeeded: jobs that succeeded.
    @ivar failed: jobs that failed.
    @ivar cancelled: jobs that were cancelled.
    @ivar deferrals: how many times a job deferred itself.
    @ivar queuedSince: since when the next job to start has been queued, by the monotonic
        clock; L{None} if none is queued.
    @ivar unwritten: outcomes that the store has refused for now.
    @ivar trouble: why the store does not take changes; L{None} while it does.
    @ivar hindered: why a running job cannot begin or go on, and how many more cannot;
        L{None} if none.
    """

    active: bool = False
    slots: int = 0
    idle: int = 0
    added: int = 0
    queued: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    deferrals: int = 0
    queuedSince: float | None = None
    unwritten: int = 0
    trouble: BaseException | None = None
    hindered: str | None = None


class Commit(NamedTuple):
    """
    A commit of the store.

    @ivar changes: the number of requests, ends and starts in it.
    @ivar seconds: how long it took.
    """

    changes: int
    seconds: float


class Batch(NamedTuple):
    """
    The changes of one step of the dispatcher.

    @ivar number: the commit number: the highest revision that is committed.
    @ivar state: the state of the queue after it.
    @ivar events: the changes of jobs, in order.
    @ivar depths: by priority, by how much the number of queued jobs has changed.
    @ivar answers: the number of each answered item, with its result or an exception.
    @ivar commits: the commits of the step.
    """

    number: int
    state: QueueState
    events: Sequence[JobEvent] = ()
    depths: Mapping[int, int] = {}
    answers: Sequence[tuple[int, object]] = ()
    commits: Sequence[Commit] = ()
