"""
Find processes in C{/proc}, and refer to them by pidfds.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from time import monotonic

from ..errors import PoolError

__all__ = ["GONE", "CannotHold", "ProcessSet", "Status", "hasEnded", "send", "statusOf"]

GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
"""
The errors of C{/proc} for a process that has ended or belongs to another user. Any
other error does not concern the process: the descriptors may be used up, for example.
"""


@dataclass(frozen=True)
class Status:
    """
    The status of a process in C{/proc}.

    @ivar start: the time of its start, in clock ticks after the boot.
    """

    parent: int
    group: int
    session: int
    start: int


def statusOf(pid: int) -> Status | None:
    """
    Read the status of a process; L{None} if it is gone.

    @raise OSError: if it cannot be read now.
    """
    # Not by a file object, which takes three times as long: this is asked of every process.
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(descriptor, 4096)
        finally:
            os.close(descriptor)
    except GONE:
        return None
    # the program's name comes second and may hold anything, parentheses too
    fields = text[text.rindex(b")") + 1 :].split()
    return Status(int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


class CannotHold(PoolError):
    """
    The system has no descriptor for a process: Linux before 5.3 has none, a sandbox may
    forbid it, or this process has too many open files.

    @ivar pid: the process.
    @ivar why: the system's reason.
    """

    def __init__(self, pid: int, why: str) -> None:
        super().__init__(f"process {pid} cannot be held ({why})")
        self.pid = pid
        self.why = why


class ProcessSet:
    """
    Living processes that have something in common. A descriptor of each makes sure that
    no other process with its ID is taken for it.

    Threads: one at a time.
    """

    def __init__(
        self,
        isWanted: Callable[[int], bool],
        whenHeld: Callable[[int, int], object] = lambda pid, descriptor: None,
    ) -> None:
        """
        @param isWanted: tells by the ID whether a process is one of them.
        @param whenHeld: called with the ID and the descriptor of each new one.
        """
        self._isWanted = isWanted
        self._whenHeld = whenHeld
        self._held: dict[int, int] = {}
        self._descriptors = ExitStack()

    def __enter__(self) -> ProcessSet:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def close(self) -> None:
        """
        Give the descriptors back.
        """
        self._descriptors.close()

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """
        Iterate over the IDs and the descriptors.
        """
        return iter(self._held.items())

    def look(self, most: int | None = None) -> bool:
        """
        Look at every process of the system once, and hold those that are new.

        @param most: how many are held at most; L{None} for all.
        @return: whether there was one.
        @raise CannotHold: if one cannot be held.
        @raise OSError: if they cannot be looked at now.
        """
        found = False
        for pid in _all():
            if pid in self._held or not self._isWanted(pid):
                continue
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            except (AttributeError, OSError) as error:
                raise CannotHold(pid, str(error)) from error
            with ExitStack() as opened:
                opened.callback(os.close, descriptor)
                # asked again, since the one that was looked at may have made room for
                # another before it was held
                if hasEnded(descriptor) or not self._isWanted(pid):
                    continue
                self._descriptors.enter_context(opened.pop_all())
            self._held[pid] = descriptor
            found = True
            self._whenHeld(pid, descriptor)
            if len(self._held) == most:
                break
        return found

    def stop(self) -> None:
        """
        Hold all of them, and stop each. A stopped process forks no more: when a look
        finds no new one, all are held.

        @raise CannotHold: as L{look} does; the others are held and stopped.
        @raise OSError: likewise.
        """
        while self.look():
            pass

    def kill(self) -> None:
        """
        Send KILL to those that are held.
        """
        for descriptor in self._held.values():
            send(descriptor, signal.SIGKILL)

    def awaitEnd(self, timeout: float) -> list[int]:
        """
        Wait until all are gone.

        @param timeout: in seconds.
        @return: the IDs of those that are alive after it.
        """
        deadline = monotonic() + timeout
        alive = {descriptor: pid for pid, descriptor in self._held.items()}
        poller = select.poll()
        for descriptor in alive:
            poller.register(descriptor, select.POLLIN)
        while alive:
            ended = poller.poll(max(0.0, deadline - monotonic()) * 1000)
            if not ended:
                break
            for descriptor, _ in ended:
                poller.unregister(descriptor)
                del alive[descriptor]
        return list(alive.values())


def _all() -> Iterator[int]:
    with suppress(FileNotFoundError):
        # A container may show the processes of its host there, whose IDs mean others here.
        if os.readlink("/proc/self") != str(os.getpid()):
            return
        with os.scandir("/proc") as entries:
            for entry in entries:
                if entry.name.isdecimal():
                    yield int(entry.name)


def hasEnded(descriptor: int) -> bool:
    """
    Whether the process of a descriptor has ended, reaped or not.
    """
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(0))


def send(descriptor: int, number: signal.Signals) -> None:
    """
    Send a signal to the process of a descriptor, unless it is gone or belongs to
    another user.
    """
    with suppress(ProcessLookupError, PermissionError):
        signal.pidfd_send_signal(descriptor, number)
