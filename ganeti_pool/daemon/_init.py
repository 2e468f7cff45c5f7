"""
The daemon as the first process of a container.

The kernel gives every orphan of a PID namespace to its process 1, which must reap it; and
signals that process 1 does not handle do nothing. To reap orphans in the daemon itself
would take the exit status of children from those that wait for them: C{Popen}, Twisted's
C{spawnProcess}, and whatever a worker class starts. So the daemon is a child, and its
parent does nothing else.
"""

from __future__ import annotations

import os
import signal
from collections.abc import MutableMapping
from typing import Any

__all__ = ["runBelowInit"]


def runBelowInit(
    environment: MutableMapping[str, str], system: Any = os, signals: Any = signal
) -> None:
    """
    If this is process 1, fork and return in the child. The parent reaps every orphan,
    passes each signal on to the child, and ends when the child does, with its exit code
    or with 128 and the number of the signal that has ended it. Any other process returns
    at once.

    Threads: there must be none but this.

    @param environment: C{os.environ}; a C{WATCHDOG_PID} that names process 1 is changed to
        name the child.
    @param system: the module C{os}, or what stands for it in a test.
    @param signals: the module C{signal}, likewise.
    @raise OSError: if no process can be made.
    """
    if system.getpid() != 1:
        return
    # Were it ignored, the system would reap without telling.
    signals.signal(signal.SIGCHLD, signal.SIG_DFL)
    # A signal that comes from now on waits for the parent to pass it on.
    mask = signals.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    child = system.fork()
    if child:
        system._exit(_supervise(child, system, signals))
    # A terminal sends its signals to the parent's group; the child would get them twice.
    system.setpgid(0, 0)
    signals.pthread_sigmask(signal.SIG_SETMASK, mask)
    if environment.get("WATCHDOG_PID") == "1":
        environment["WATCHDOG_PID"] = str(system.getpid())


def _supervise(child: int, system: Any, signals: Any) -> int:
    """
    @return: the exit code for process 1.
    """
    while True:
        number = signals.sigwait(signal.valid_signals())
        if number != signal.SIGCHLD:
            system.kill(child, number)
            continue
        code = _reap(child, system)
        if code is not None:
            return code if code >= 0 else 128 - code


def _reap(child: int, system: Any) -> int | None:
    """
    Reap all that has ended.

    @return: the exit code of the child if it was among them, negative for a signal.
    """
    code = None
    while True:
        try:
            pid, status = system.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if not pid:
            return code
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
