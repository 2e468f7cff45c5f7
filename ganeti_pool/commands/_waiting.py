"""
Events that a selector can wait for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread

__all__ = ["Notices", "WakeUp", "exitDescriptor"]


class WakeUp:
    """
    A descriptor that becomes readable when another thread has posted a notice.

    One serves all commands of a worker, one after another, so that a command costs no
    pipe. Each command has its own L{Notices}. A notice for an earlier command arrives
    late if its sender was delayed; it changes nothing, since the generation is compared
    and the notice is posted under one lock.

    The descriptors are closed with the object. Each L{Notices} refers to it, so none can
    write to a descriptor that was closed and given to another file.

    Threads: L{begin}, L{clear} and C{fileno} on the waiting thread.
    """

    _descriptors: tuple[int, ...] = ()

    def __init__(self) -> None:
        """
        @raise OSError: if no descriptor is left.
        """
        self._lock = Lock()
        self._generation = 0
        self._isReadable = False
        self._descriptors = os.pipe()

    def __del__(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)

    def begin(self) -> Notices:
        """
        Start a new generation, and drop what was posted before.
        """
        with self._lock:
            self._generation += 1
            self._clear()
            return Notices(self, self._generation)

    def clear(self) -> None:
        """
        Make the descriptor unreadable until the next notice. Call it before reading the
        notices, so that none is missed.
        """
        with self._lock:
            self._clear()

    def _clear(self) -> None:
        if self._isReadable:
            os.read(self._descriptors[0], 1)
            self._isReadable = False

    def fileno(self) -> int:
        """
        Return the descriptor, for a selector.
        """
        return self._descriptors[0]

    def _post(self, notices: Notices, name: str) -> None:
        with self._lock:
            if notices.generation != self._generation:
                return
            setattr(notices, name, True)
            if not self._isReadable:
                self._isReadable = True
                # A byte, not the closing of this end: a process that is being forked at
                # this moment holds a copy of the end.
                os.write(self._descriptors[1], b"\0")


class Notices:
    """
    What other threads report to the thread that waits for one command.

    Threads: L{cancel} and L{exit} on any, at any time, even after the command.

    @ivar isCancelled: whether L{cancel} was called while the command was the current one.
    @ivar hasExited: likewise for L{exit}.
    """

    def __init__(self, wakeUp: WakeUp, generation: int) -> None:
        self.generation = generation
        self.isCancelled = False
        self.hasExited = False
        self._wakeUp = wakeUp

    def cancel(self) -> None:
        """
        Report that the command is to end.
        """
        self._wakeUp._post(self, "isCancelled")

    def exit(self) -> None:
        """
        Report that the child has exited.
        """
        self._wakeUp._post(self, "hasExited")


@contextmanager
def exitDescriptor(pid: int, notices: Notices) -> Iterator[int | None]:
    """
    Give a descriptor that becomes readable when a child has exited. The child is not
    reaped.

    @param notices: receives the exit instead where the system has no such descriptor, or
        none left. A thread waits for the child then, and the descriptor is L{None}.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        # Another system, an older kernel, a sandbox, or no descriptor left.
        pass
    else:
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        return

    def wait() -> None:
        # no such child: it was reaped after the block ended by an exception
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        notices.exit()

    Thread(target=wait, name=f"wait for process {pid}", daemon=True).start()
    yield None
