"""
Reset inherited process state that jobs must not inherit from the daemon.
"""

from __future__ import annotations

import signal
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["forgetCoercedLocale", "unblockSignals", "unignoreSignals"]

_COERCED = frozenset({"C.UTF-8", "C.utf8", "UTF-8"})
"""
The values that Python gives C{LC_CTYPE} when it finds no locale (PEP 538).
"""


def forgetCoercedLocale(
    environment: MutableMapping[str, str], initial: Path = Path("/proc/self/environ")
) -> None:
    """
    Remove C{LC_CTYPE} if Python has set it at its start, and the user has not.

    @param environment: C{os.environ}.
    @param initial: what the process was started with. If it cannot be read, nothing is
        removed.
    """
    if environment.get("LC_CTYPE") not in _COERCED:
        return
    with suppress(OSError):
        variables = initial.read_bytes().split(b"\0")
        if not any(variable.startswith(b"LC_CTYPE=") for variable in variables):
            del environment["LC_CTYPE"]


def unblockSignals(signals: Any = signal) -> None:
    """
    Block no signal in this thread, nor in the threads and processes that it starts.

    @param signals: the module C{signal}, or what stands for it in a test.
    """
    signals.pthread_sigmask(signal.SIG_SETMASK, ())


def unignoreSignals(signals: Any = signal) -> None:
    """
    Give each signal that is ignored a handler that does nothing. The process still
    ignores it, but a program that it starts does not: handlers do not survive C{exec}.
    (C{Popen} cannot do so in the child, except for the signals that Python itself
    ignores; and its C{preexec_fn} is not safe beside threads.)

    Threads: the main thread's, when all other handlers are set.

    @param signals: the module C{signal}, or what stands for it in a test.
    """
    for number in signal.valid_signals():
        if signals.getsignal(number) is signal.SIG_IGN:
            signals.signal(number, _doNothing)


def _doNothing(number: int, frame: FrameType | None) -> None:
    pass
