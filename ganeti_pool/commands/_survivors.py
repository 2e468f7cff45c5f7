"""
Find the processes that an earlier daemon or an earlier attempt left, and end them.

Three things tell them: the handle that was stored when the command was started,
the pipes that took its output, and the variables in its environment; its children
inherit the latter two. None of them is an id alone, which another process may have
by now.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import PoolError
from ._arguments import JOB_VARIABLE, STATE_VARIABLE
from ._processes import GONE, CannotHold, ProcessSet, hasEnded, send, statusOf

__all__ = ["SurvivorsLeft", "handleOf", "killAttempts", "killSurvivors"]


class SurvivorsLeft(PoolError):
    """
    Processes of an earlier daemon or attempt are alive and cannot be ended.

    @ivar pids: their ids.
    """

    def __init__(
        self,
        pids: Iterable[int],
        why: str,
        what: str = "an earlier daemon",
        advice: str = "end them and start again",
    ) -> None:
        self.pids = sorted(pids)
        super().__init__(
            f"processes that {what} left are alive ({', '.join(map(str, self.pids))}): "
            f"{why}; {advice}"
        )


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
    try:
        status = statusOf(pid)
    except OSError:  # no descriptor left
        return None
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
    hunt = _Hunt(_marksOf(stateDirectory), _readHandles(handles))
    return _killAll(hunt, timeout, SurvivorsLeft)


def killAttempts(stateDirectory: str, jobID: int, timeout: float = 10.0) -> int:
    """
    Kill what earlier attempts of a job of this daemon left, and return when it is gone.
    Such a process has made a session of its own, and carries the job's number as
    C{GANETI_POOL_JOB} and this directory as C{GANETI_POOL_STATE}. This process, its
    ancestors and its session are spared.

    Threads: blocks; not for the reactor's. The job may not be running.

    @param timeout: seconds to wait for the killed to be gone.
    @return: how many processes were killed.
    @raise SurvivorsLeft: if one cannot be killed or held.
    @raise OSError: if the processes cannot be looked at now.
    """

    def left(pids: Iterable[int], why: str) -> SurvivorsLeft:
        return SurvivorsLeft(pids, why, "an earlier attempt", "end them, and the job starts")

    return _killAll(_Hunt(_marksOf(stateDirectory, jobID), {}), timeout, left)


def _killAll(
    hunt: _Hunt, timeout: float, left: Callable[[Iterable[int], str], SurvivorsLeft]
) -> int:
    with ProcessSet(hunt.isSurvivor, hunt.catch) as held:
        try:
            # what is stopped forks no more, and a stopped leader keeps its group's id:
            # so when a look finds nobody new, all are in hand
            held.stop()
        except CannotHold as error:
            raise left([error.pid], f"they cannot be opened for a kill ({error.why})") from error
        finally:
            held.kill()
        alive = held.awaitEnd(timeout)
        if alive:
            raise left(alive, f"killed, and not gone within {timeout:g} seconds")
        return len(held)


def _marksOf(stateDirectory: str, jobID: int | None = None) -> frozenset[bytes]:
    """
    What the environment of a process carries, as whole variables or as their names.

    @param jobID: the number of its job; L{None} for any.
    """
    job = JOB_VARIABLE if jobID is None else f"{JOB_VARIABLE}={jobID}"
    state = f"{STATE_VARIABLE}={os.path.realpath(stateDirectory)}"
    return frozenset({job.encode(), os.fsencode(state)})


class _Hunt:
    """
    Tells whether a process is a survivor.

    A process group's id is given to no other for as long as a process is in it. So a
    group of a handle that has one process which is ours beyond doubt was never empty
    since, and all in it are ours. Such a process is caught first, and then is a
    witness: it is stopped, so it neither ends nor leaves its group, and as long as it
    is alive, whatever else is seen in that group is ours.
    """

    def __init__(self, marks: frozenset[bytes], known: Mapping[int, Sequence[_Known]]) -> None:
        self._marks = marks
        self._known = known
        self._witnesses: dict[int, int] = {}
        self._spared = _ownLine()
        self._session = os.getsid(0)

    def catch(self, pid: int, descriptor: int) -> None:
        """
        Stop a survivor that is held, which makes it a witness.
        """
        send(descriptor, signal.SIGSTOP)
        with suppress(ProcessLookupError):
            self._witnesses[os.getpgid(pid)] = descriptor

    def isSurvivor(self, pid: int) -> bool:
        """
        Whether a process is one.

        @raise OSError: if it cannot be looked at now.
        """
        status = statusOf(pid)
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
        except GONE:
            return False
        # a variable whose value may be any counts without it
        return self._marks <= {*variables, *(text.partition(b"=")[0] for text in variables)}

    def _isLed(self, group: int, start: int) -> bool:
        leader = statusOf(group)
        return leader is not None and leader.start == start

    def _isWitnessed(self, group: int) -> bool:
        witness = self._witnesses.get(group)
        return witness is not None and not hasEnded(witness)


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
    with suppress(*GONE):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with suppress(*GONE):  # closed meanwhile
                yield os.readlink(f"/proc/{pid}/fd/{descriptor}")


def _ownLine() -> set[int]:
    line = set()
    pid = os.getpid()
    while pid:
        line.add(pid)
        status = statusOf(pid)
        pid = 0 if status is None else status.parent
    return line


def _bootID() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
