"""
One run of a job, as the dispatcher knows it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..interfaces import ISlot
from ..jobs import Job, Outcome, OutputSize
from ._outcome import Deferral, End

__all__ = ["Run"]


class Run:
    """
    One run of a job: (job, attempt, deferrals).

    Threads: the dispatcher's, except C{output}, C{deferral} and C{wasHindered}, which belong
    to the thread of the slot until it has reported the end.

    @ivar job: the job as it was started.
    @ivar slot: the slot that runs it.
    @ivar began: when it was started, by the monotonic clock.
    @ivar end: how it ended; L{None} while it runs.
    @ivar isCancelled: whether a client asked to cancel it.
    @ivar isTimedOut: whether the queue told it to end because of its timeout.
    @ivar deadline: when the queue tells it to end; L{None} if it does not.
    @ivar isUnwritten: whether the store has refused its end before.
    @ivar substitutes: how many outcomes the store has found impossible to store.
    @ivar substitute: the outcome to store instead of the judged one, if there is one.
    @ivar output: how much of each stream it kept.
    @ivar deferral: the deferral that it asked for.
    @ivar wasHindered: whether it reported that its work cannot begin or go on.
    """

    __slots__ = (
        "began",
        "deadline",
        "deferral",
        "end",
        "isCancelled",
        "isTimedOut",
        "isUnwritten",
        "job",
        "output",
        "slot",
        "substitute",
        "substitutes",
        "wasHindered",
    )

    def __init__(self, job: Job, slot: ISlot, began: float) -> None:
        self.job = job
        self.slot = slot
        self.began = began
        self.end: End | None = None
        self.isCancelled = False
        self.isTimedOut = False
        self.isUnwritten = False
        self.deadline: float | None = None
        self.substitutes = 0
        self.substitute: Outcome | None = None
        self.output: Mapping[str, OutputSize] | None = None
        self.deferral: Deferral | None = None
        self.wasHindered = False
