"""
How a start is refused before there is a service.
"""

from __future__ import annotations

import os

from twisted.internet.task import Clock

__all__ = ["refusal"]


def refusal(sentence: str) -> SystemExit:
    """
    Tell the service manager, if there is one, why the daemon cannot start.

    @return: what ends the process, with the same sentence for standard error.
    """
    # Not above: who asks for the help alone needs none of it.
    from ..daemon import Notifier, escapeControls

    # An exception's text may be in it.
    sentence = " ".join(escapeControls(sentence).split())
    # No reactor has been chosen yet, or it will not run: what finds no room is lost.
    manager = Notifier.fromEnvironment(Clock(), os.environ)
    manager.failed(f"the daemon cannot start: {sentence}")
    manager.close()
    return SystemExit(f"ganeti-pool: {sentence}")
