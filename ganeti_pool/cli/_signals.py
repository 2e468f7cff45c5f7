"""
The signals that end the command.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["watchSignals"]


def watchSignals(reactor: Any, note: Callable[[int], object]) -> None:
    """
    Stop the reactor at SIGTERM and at SIGHUP, as Twisted does at Ctrl-C. A SIGHUP that is
    ignored, as under nohup(1), stays ignored.

    Call it when the reactor runs: it sets handlers of its own when it starts.

    @param note: called with the number of the signal before the reactor stops.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        note(number)
        # What Twisted does at a SIGTERM, safe in a handler.
        reactor.sigTerm(number, frame)

    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, stop)
