"""
Events that a selector can wait for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread

__all__ = ["Latch", "exitDescriptor"]


class Latch:
    """
    An event that is set once, with a descriptor that is readable from then on.

    Threads: L{set} may be called from any, also after L{close}, when it does
    nothing: so whoever sets it need not know whether anybody still listens.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._open = True
        self._isSet = False
        self._readEnd, self._writeEnd = os.pipe()

    @property
    def isSet(self) -> bool:
        """
        Whether it was set while it was open.
        """
        return self._isSet

    def set(self) -> None:
        """
        Make the descriptor readable.
        """
        with self._lock:
            if self._open and not self._isSet:
                self._isSet = True
                # a byte and not the closing of this end, of which a process
                # that is just being forked holds a copy
                os.write(self._writeEnd, b"\0")

    def fileno(self) -> int:
        """
        The descriptor, for a selector.
        """
        return self._readEnd

    def close(self) -> None:
        """
        Give the descriptors back, if that has not been done.
        """
        with self._lock:
            if self._open:
                self._open = False
                os.close(self._readEnd)
                os.close(self._writeEnd)


@contextmanager
def exitDescriptor(
    pid: int, spare: Latch, pidfdOpen: Callable[[int], int] | None = getattr(os, "pidfd_open", None)
) -> Iterator[int]:
    """
    Give a descriptor that becomes readable when a child has exited, which is
    not reaped for that.

    @param spare: is set then where the system has no call for it, or no descriptor
        left; closed at once where it is not needed, and else at the end.
    @param pidfdOpen: the system's call for that, L{None} where it has none; then
        a thread waits for the child.
    """
    try:
        descriptor = -1 if pidfdOpen is None else pidfdOpen(pid)
    except OSError:  # an older kernel, a sandbox that forbids it, no descriptor left
        descriptor = -1
    if descriptor >= 0:
        spare.close()
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        return

    def wait() -> None:
        # no such child: it was reaped after the block ended by an exception
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        spare.set()

    try:
        Thread(target=wait, name=f"wait for process {pid}", daemon=True).start()
        yield spare.fileno()
    finally:
        spare.close()
