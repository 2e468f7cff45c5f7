"""
How the process ends, when it does not end by itself.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from types import FrameType
from typing import Any, TextIO

from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

__all__ = ["Abort", "endOnSignals", "stopOnce"]

_log = Logger()


def stopOnce(reactor: Any) -> None:
    """
    Stop a reactor, unless it stops already: a daemon that cannot start may get a
    signal besides.
    """
    with suppress(ReactorNotRunning):
        reactor.stop()


def endOnSignals(
    stop: Callable[[], object],
    endAll: Callable[[], object],
    signals: Any = signal,
    kill: Callable[[int, int], object] = os.kill,
    patience: float = 1.0,
) -> None:
    """
    At the first SIGTERM, SIGINT or SIGHUP stop in good order; at the second one, which
    Twisted's own handlers would only log, end the process at once, by that
    signal, with a line in the log if the log takes it. A SIGHUP that is ignored, as
    C{nohup} has it, stays so.

    Threads: the main thread's, when the reactor runs: its own handlers, set when
    it starts, would replace these. Python has it run them as well, so none is heard
    while that thread waits for the lock of a log on which another one is held up.

    @param stop: called from a signal handler; stops the reactor. Since it is not
        Twisted's handler that does so, a daemon that was told to stop and did
        exits with 0.
    @param endAll: called before the end at once.
    @param signals: the module C{signal}, or what stands for it in a test.
    @param kill: C{os.kill}, likewise.
    @param patience: the seconds that the log gets for its line.
    """
    watched = [signal.SIGTERM, signal.SIGINT]
    if signals.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        watched.append(signal.SIGHUP)
    asked: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) == 1:
            stop()
            return
        endAll()
        for each in watched:
            signals.signal(each, signal.SIG_DFL)
        # Not on this thread, which the log may hold up for ever: it may be a full pipe.
        line = Thread(target=_tell, args=(signal.Signals(number).name,), daemon=True)
        try:
            line.start()
            line.join(patience)
        finally:
            kill(os.getpid(), number)

    for each in watched:
        signals.signal(each, handle)


def _tell(name: str) -> None:
    _log.warn(
        "{signal} came while the daemon stops: what still ran has been killed, and is for the "
        "next daemon to settle; this one ends at once",
        signal=name,
    )


class Abort:
    """
    Ends a daemon that could not start: one sentence, a shutdown in good order,
    and exit code 1.

    Twistd exits with 0 however its reactor came to stop. So the code is set when
    the interpreter is about to end, after twistd has done all that it does.
    """

    def __init__(
        self,
        reactor: Any,
        stderr: TextIO | None = sys.__stderr__,
        atEnd: Callable[[Callable[[], object]], object] = atexit.register,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        """
        @param stderr: not C{sys.stderr}, which twistd has turned into a log.
        @param atEnd: C{atexit.register}.
        @param leave: C{os._exit}.
        """
        self._reactor = reactor
        self._stderr = stderr
        self._atEnd = atEnd
        self._leave = leave

    def __call__(self, sentence: str) -> None:
        """
        Say why, and stop the reactor.
        """
        if self._stderr is not None:
            self._stderr.write(f"ganeti-pool: {sentence}\n")
            self._stderr.flush()
        self._atEnd(self._exit)
        stopOnce(self._reactor)

    def _exit(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self._leave(1)
