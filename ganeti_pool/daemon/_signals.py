"""
Signal handlers of the process, and the ways to end it from within.
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

from ._log import escapeControls

__all__ = ["Abort", "endOnSignals", "stopOnce", "surviveSignals"]

_log = Logger()

_NOT_SURVIVED = frozenset(
    {
        # They cannot be handled.
        signal.SIGKILL,
        signal.SIGSTOP,
        # Job control.
        signal.SIGTSTP,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGCONT,
        # They end no process.
        signal.SIGCHLD,
        signal.SIGURG,
        signal.SIGWINCH,
        # The process is broken, or is to leave a core dump.
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGABRT,
        signal.SIGSYS,
        signal.SIGTRAP,
        # They stop the daemon.
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGHUP,
    }
)


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
    closeLog: Callable[[], object] = lambda: None,
    kill: Callable[[int, int], object] = os.kill,
    patience: float = 1.0,
) -> None:
    """
    At the first SIGTERM, SIGINT, SIGQUIT or SIGHUP stop in good order; at the second one,
    which Twisted's own handlers would only log, end the process at once, by that
    signal, with a line in the log if the log takes it. A SIGHUP or SIGQUIT that is
    ignored, as C{nohup} and a shell's C{&} have it, stays so.

    Threads: the main thread's, when the reactor runs: its own handlers, set when
    it starts, would replace these. Python runs the handlers on that thread as well.

    @param stop: called from a signal handler; stops the reactor. Since it is not
        Twisted's handler that does so, a daemon that was told to stop and did
        exits with 0.
    @param endAll: called before the end at once.
    @param closeLog: writes what the log has queued; called before the end at once.
    @param signals: the module C{signal}, or what stands for it in a test.
    @param kill: C{os.kill}, likewise.
    @param patience: the seconds that the log gets for its line.
    """
    watched = [signal.SIGTERM, signal.SIGINT]
    for each in (signal.SIGQUIT, signal.SIGHUP):
        if signals.getsignal(each) is not signal.SIG_IGN:
            watched.append(each)
    asked: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) == 1:
            stop()
            return
        endAll()
        for each in watched:
            signals.signal(each, signal.SIG_DFL)
        # Not on this thread, which may hold a lock of an observer of the log.
        line = Thread(target=_tell, args=(signal.Signals(number).name, closeLog), daemon=True)
        try:
            line.start()
            line.join(patience)
        finally:
            kill(os.getpid(), number)

    for each in watched:
        signals.signal(each, handle)


def _tell(name: str, closeLog: Callable[[], object]) -> None:
    _log.warn(
        "{signal} came while the daemon stops: what still ran has been killed, and is for the "
        "next daemon to settle; this one ends at once",
        signal=name,
    )
    closeLog()


def surviveSignals(reopenLog: Callable[[], object], signals: Any = signal) -> None:
    """
    At SIGUSR1 go on in a new log file, and ignore every other signal that would end the
    process, except those that stop it and those that say that it is broken. A signal
    that is handled or ignored already stays so.

    The signals get a handler that does nothing, since jobs would inherit C{SIG_IGN}.

    Threads: the main thread's, when the reactor runs.

    @param reopenLog: called from a signal handler.
    @param signals: the module C{signal}, or what stands for it in a test.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGUSR1:
            reopenLog()

    for number in signal.valid_signals() - _NOT_SURVIVED:
        if signals.getsignal(number) is signal.SIG_DFL:
            # The C library may keep some real-time signals for itself.
            with suppress(OSError):
                signals.signal(number, handle)


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
        patience: float = 1.0,
    ) -> None:
        """
        @param stderr: not C{sys.stderr}, which twistd has turned into a log.
        @param atEnd: C{atexit.register}.
        @param leave: C{os._exit}.
        @param patience: the seconds that standard error gets for the sentence.
        """
        self._reactor = reactor
        self._stderr = stderr
        self._atEnd = atEnd
        self._leave = leave
        self._patience = patience
        self._writing: Thread | None = None

    def __call__(self, sentence: str) -> None:
        """
        Say why, and stop the reactor.
        """
        if self._stderr is not None:
            self._say(self._stderr, f"ganeti-pool: {' '.join(escapeControls(sentence).split())}\n")
        self._atEnd(self._exit)
        stopOnce(self._reactor)

    def _say(self, stderr: TextIO, line: str) -> None:
        def write() -> None:
            # There may be nobody any more who reads it.
            with suppress(OSError):
                stderr.write(line)
                stderr.flush()

        # Not on this thread, which a full pipe would hold up.
        thread = Thread(target=write, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # There may be no more threads, which may be the reason for this.
            write()
        else:
            self._writing = thread

    def _exit(self) -> None:
        if self._writing is not None:
            self._writing.join(self._patience)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self._leave(1)
