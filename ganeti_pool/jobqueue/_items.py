"""
The items in the dispatcher's inbox.

Reports come from the slots: L{Returned}, L{Began}, L{Hindered}, L{Handle}, L{Left}. Everything
else comes from the reactor. An item with a C{number} is answered under that number.
"""

from __future__ import annotations

from typing import NamedTuple

from ..interfaces import ISlot
from ._outcome import End
from ._requests import Request
from ._run import Run

__all__ = [
    "Asked",
    "Began",
    "CaughtUp",
    "Close",
    "Handle",
    "Hindered",
    "Interrupt",
    "Left",
    "Lift",
    "Quiesce",
    "Resize",
    "Returned",
    "Start",
    "Stop",
]


class Returned(NamedTuple):
    """
    A run has ended, and its slot asks for the next one.
    """

    run: Run
    end: End


class Began(NamedTuple):
    """
    The work of a run begins, or goes on.

    @ivar at: the time, by the monotonic clock.
    @ivar isLimited: whether the queue starts the timeout of the run, unless it has.
    """

    run: Run
    at: float
    isLimited: bool


class Hindered(NamedTuple):
    """
    The work of a run cannot begin or go on.

    @ivar why: the reason, for C{status}.
    """

    run: Run
    why: str


class Handle(NamedTuple):
    """
    The processes of a run can be found by a handle.
    """

    run: Run
    handle: str


class Left(NamedTuple):
    """
    A slot has ended.
    """

    slot: ISlot


class Asked(NamedTuple):
    """
    A client's request, which changes the store.
    """

    number: int
    request: Request


class Start(NamedTuple):
    """
    Acquire the store, recover, and begin to run jobs.
    """

    number: int


class Stop(NamedTuple):
    """
    Start no more jobs.
    """

    number: int


class Interrupt(NamedTuple):
    """
    Tell all runs to end, because the daemon is stopping.
    """


class Close(NamedTuple):
    """
    End the slots and release the store. It is the last item.
    """

    number: int


class Resize(NamedTuple):
    """
    Change the number of slots.
    """

    number: int
    slots: int


class Quiesce(NamedTuple):
    """
    Hold later jobs until every earlier one has its outcome.
    """

    number: int


class Lift(NamedTuple):
    """
    End the quiesce that was asked for under a number.
    """

    quiesce: int


class CaughtUp(NamedTuple):
    """
    The reactor has applied the batches that kept jobs from starting.
    """
