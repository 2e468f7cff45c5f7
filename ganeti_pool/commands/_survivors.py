"""
Find the processes that an earlier daemon left, and end them.

Three things tell them: the handle that was stored when the command was started,
the pipes that took its output, and the variables in its environment; its children
inherit the latter two. None of them is an id alone, which another process may have
by now.
"""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from ..errors import PoolError
from ._arguments import JOB_VARIABLE, STATE_VARIABLE

__all__ = ["SurvivorsLeft", "handleOf", "killSurvivors"]


class SurvivorsLeft(PoolError):
    """
    Processes of an earlier daemon are alive and cannot be ended.

    @ivar pids: their ids.
    """

    def __init__(self, pids: Iterable[int], why: str) -> None:
        self.pids = sorted(pids)
        super().__init__(
            f"processes that an earlier daemon left are alive ({', '.join(map(str, self.pids))}): "
            f"{why}; end them and start again"
        )


@dataclass(frozen=True)
class _Status:
    """
    What the system says of a process.

    @ivar start: the time of its start, in clock ticks after the boot.
    """

    parent: int
    group: int
    session: int
    start: int


@dataclass(frozen=True)
class _Known:
    """
    What a handle says of a group.

    @ivar start: the time of its leader's start.
    @ivar pipes: the names of the pipes that its first processes wrote to.
    """

    start: int
    pipes: frozenset[str]


def handleOf(pid: int, pipes: Iterable[int] = ()) -> str | None:
    """
    Describe the group of a living or unreaped leader, so that it is found again
    and no other is taken for it, also after a reboot.

    @param pipes: descriptors of this process, of the pipes that the leader writes to
        and no process but its offspring does.
    @return: JSON with C{pgid}, C{start}, C{boot} and C{pipes} (their inodes);
        L{None} where the system tells no start times.
    """
    status = _statusOf(pid)
    if status is None:
        return None
    inodes = [os.fstat(pipe).st_ino for pipe in pipes]
    return json.dumps({"pgid": pid, "start": status.start, "boot": _bootID(), "pipes": inodes})


def killSurvivors(stateDirectory: str, handles: Iterable[str], timeout: float = 10.0) -> int:
    """
    Kill what earlier daemons with this state directory left, and return when it
    is gone.

    A process is one of them if its environment carries C{GANETI_POOL_JOB} and
    this directory as C{GANETI_POOL_STATE}, or if it is in the process group of a
    handle and that group is still the handle's. It is if its leader has not been
    reaped and was started at the very time in the handle, or if one of its
    processes carries those variables or holds a pipe of the handle.
    This process, its ancestors and its session are spared, whatever they carry.
    So a group whose leader is gone escapes if each process in it has cleared its
    environment and given up its output, or may not be looked at.

    Threads: blocks; not for the reactor's. No command of this state directory
    may be running in this process.

    @param handles: as given to C{recordHandle}; other ones are ignored.
    @param timeout: seconds to wait for the killed to be gone.
    @return: how many processes were killed.
    @raise SurvivorsLeft: if one cannot be killed, or the system has no process
        descriptors (Linux before 5.3), without which another process might be
        hit.
    """
    hunt = _Hunt(stateDirectory, handles)
    with ExitStack() as descriptors:
        prey: dict[int, int] = {}
        try:
            # what is stopped forks no more, and a stopped leader keeps its group's
            # id: so when a look finds nobody new, all are in hand
            while hunt.catch(prey, descriptors):
                pass
        finally:
            for descriptor in prey.values():
                _send(descriptor, signal.SIGKILL)
        _awaitEnd(prey, timeout)
        return len(prey)


class _Hunt:
    """
    Tells whether a process is a survivor.

    A process group's id is given to no other for as long as a process is in it. So a
    group of a handle that has one process which is ours beyond doubt was never empty
    since, and all in it are ours. Such a process is caught first, and then is a
    witness: it is stopped, so it neither ends nor leaves its group, and as long as it
    is alive, whatever else is seen in that group is ours.
    """

    def __init__(self, stateDirectory: str, handles: Iterable[str]) -> None:
        self._marks = {
            os.fsencode(f"{STATE_VARIABLE}={os.path.realpath(stateDirectory)}"),
            JOB_VARIABLE.encode(),
        }
        self._known = _readHandles(handles)
        self._witnesses: dict[int, int] = {}
        self._spared = _ownLine()
        self._session = os.getsid(0)

    def catch(self, prey: dict[int, int], descriptors: ExitStack) -> bool:
        """
        Look at every process once, and stop the survivors that are not in
        C{prey} yet.

        @return: whether there was one.
        """
        found = False
        for entry in Path("/proc").glob("[0-9]*"):
            pid = int(entry.name)
            if pid in prey or not self._isSurvivor(pid):
                continue
            descriptor = _hold(pid, descriptors)
            # asked again, since the one that was looked at may have made room for
            # another before it was held
            if descriptor is None or _hasEnded(descriptor) or not self._isSurvivor(pid):
                continue
            prey[pid] = descriptor
            found = True
            _send(descriptor, signal.SIGSTOP)
            with suppress(ProcessLookupError):
                self._witnesses[os.getpgid(pid)] = descriptor
        return found

    def _isSurvivor(self, pid: int) -> bool:
        status = _statusOf(pid)
        if status is None or pid in self._spared or status.session == self._session:
            return False
        return self._isMarked(pid) or any(
            self._isLed(status.group, known.start)
            or self._isWitnessed(status.group)
            or not known.pipes.isdisjoint(_openFilesOf(pid))
            for known in self._known.get(status.group, ())
        )

    def _isMarked(self, pid: int) -> bool:
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is another user's
            return False
        # the job's number is any: its variable counts without its value
        return self._marks <= {*variables, *(text.partition(b"=")[0] for text in variables)}

    def _isLed(self, group: int, start: int) -> bool:
        leader = _statusOf(group)
        return leader is not None and leader.start == start

    def _isWitnessed(self, group: int) -> bool:
        witness = self._witnesses.get(group)
        return witness is not None and not _hasEnded(witness)


def _readHandles(handles: Iterable[str]) -> Mapping[int, Sequence[_Known]]:
    """
    What is known of each process group of this boot. If a group's id was given again
    while the outcome of an attempt could not be recorded, there are two of a group.
    """
    boot = _bootID()
    groups: dict[int, list[_Known]] = {}
    for handle in handles:
        # another kind of worker has handles of its own
        with suppress(ValueError, KeyError, TypeError):
            content = json.loads(handle)
            if content["boot"] == boot:
                pipes = frozenset(f"pipe:[{int(inode)}]" for inode in content["pipes"])
                known = _Known(int(content["start"]), pipes)
                groups.setdefault(int(content["pgid"]), []).append(known)
    return groups


def _openFilesOf(pid: int) -> Iterator[str]:
    """
    The names of a process's open files, as far as the system tells. Only names: to
    ask for more might wait, for a file system that hangs.
    """
    with suppress(OSError):  # it has ended, or is another user's
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):  # closed meanwhile
                yield os.readlink(f"/proc/{pid}/fd/{descriptor}")


def _ownLine() -> set[int]:
    line = set()
    pid = os.getpid()
    while pid:
        line.add(pid)
        status = _statusOf(pid)
        pid = 0 if status is None else status.parent
    return line


def _bootID() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _statusOf(pid: int) -> _Status | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # the program's name comes second and may hold anything, parentheses too
    fields = text[text.rindex(b")") + 1 :].split()
    return _Status(int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def _hold(pid: int, descriptors: ExitStack) -> int | None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    except (AttributeError, OSError) as error:
        raise SurvivorsLeft([pid], f"they cannot be held to be killed ({error})") from error
    descriptors.callback(os.close, descriptor)
    return descriptor


def _hasEnded(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(0))


def _send(descriptor: int, number: signal.Signals) -> None:
    # who may not be killed is found alive in the end
    with suppress(ProcessLookupError, PermissionError):
        signal.pidfd_send_signal(descriptor, number)


def _awaitEnd(prey: Mapping[int, int], timeout: float) -> None:
    deadline = monotonic() + timeout
    alive = {descriptor: pid for pid, descriptor in prey.items()}
    poller = select.poll()
    for descriptor in alive:
        poller.register(descriptor, select.POLLIN)
    while alive:
        ended = poller.poll(max(0.0, deadline - monotonic()) * 1000)
        if not ended:
            raise SurvivorsLeft(alive.values(), f"killed, and not gone within {timeout:g} seconds")
        for descriptor, _ in ended:
            poller.unregister(descriptor)
            del alive[descriptor]
