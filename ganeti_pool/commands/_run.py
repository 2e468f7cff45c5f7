"""
One command, from its start to its outcome.
"""

from __future__ import annotations

import errno
import os
import selectors
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from subprocess import DEVNULL, PIPE, Popen
from threading import Event
from time import monotonic
from typing import Any

from twisted.logger import Logger

from ..errors import DeferTask, PoolError
from ..jobs import AttemptContext, JobFailure
from ._arguments import checkArgs, childEnvironment
from ._groups import Group, ProcessGroups, processGroups
from ._output import OutputFile
from ._session import Session, signalGroup
from ._survivors import SurvivorsLeft, handleOf, killAttempts
from ._waiting import Latch, exitDescriptor

__all__ = ["CommandFailed", "runCommand"]

_log = Logger()

_Outputs = Mapping[str, OutputFile]

_CallWhenCancelled = Callable[[Callable[[], object]], object]

_SCARCE = frozenset(
    {errno.EAGAIN, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC}
)
"""
What says that there is no more of something now, of which there may be later:
processes, descriptors, memory, room on the disk.
"""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0


class _Scarce(Exception):
    """
    A command was not started for want of something.
    """


class CommandFailed(PoolError):
    """
    A command did not end with exit status 0.

    @ivar failure: why, for the job's record.
    """

    def __init__(self, failure: JobFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def runCommand(
    argv: Sequence[str],
    options: Mapping[str, Any],
    attempt: AttemptContext | None,
    callWhenCancelled: _CallWhenCancelled,
    outputLimit: int,
    killDelay: float,
    groups: ProcessGroups = processGroups,
    wait: Callable[[Event, float], bool] = Event.wait,
) -> None:
    """
    Run a command and return when it exited with status 0; then nothing of its
    process group is left. Where there are no descriptors, processes, memory or room
    for its output, it is started when these are available; if processes of an earlier
    attempt cannot be killed, it is started when they are gone. The attempt's callbacks
    report why it waits, and the start.

    A cancellation sends TERM to all processes of the command's session, and waits until
    none is alive; what is alive after C{killDelay} gets KILL. If the command ends in any
    other way than with status 0, nothing of its session is left.

    Threads: blocks its own until the end. C{callWhenCancelled} may have its
    function called on any other, at any time and also later.

    @param argv: the program and its arguments.
    @param options: see L{checkArgs}.
    @param attempt: where the output goes and who hears of it; without it, output
        is dropped.
    @param callWhenCancelled: accepts the function to call for a cancellation.
    @param outputLimit: how many bytes of each stream are kept.
    @param killDelay: seconds from TERM to KILL after a cancellation.
    @param wait: waits for an event, for some seconds at most.

    @raise CommandFailed: for any other end, with code C{exit_nonzero},
        C{not_started}, C{cancelled} or C{interrupted} (by L{killAll
        <ganeti_pool.commands.killAll>}).
    @raise InvalidJob: for arguments that L{checkArgs} refuses.
    """
    checkArgs((argv, options))
    pause = _FIRST_PAUSE
    told: Event | None = None
    while True:
        try:
            _runOnce(argv, options, attempt, callWhenCancelled, outputLimit, killDelay, groups)
            return
        except _Scarce as error:
            why = str(error)
        if attempt is not None:
            attempt.recordWait(why)
        if told is None:
            told = Event()
            callWhenCancelled(told.set)
            if attempt is None:
                _log.warn("A command waits until it can be started: {why}", why=why)
        if wait(told, pause):
            # It has not begun: if it is only that the daemon ends, the next one has it.
            raise DeferTask(reason=f"it could not be started: {why}")
        pause = min(pause * 2, _LONGEST_PAUSE)


def _runOnce(
    argv: Sequence[str],
    options: Mapping[str, Any],
    attempt: AttemptContext | None,
    callWhenCancelled: _CallWhenCancelled,
    outputLimit: int,
    killDelay: float,
    groups: ProcessGroups,
) -> None:
    """
    See L{runCommand}.

    @raise _Scarce: if it was not started for want of something.
    """
    # set before the spawn and looked at after it, so that no cancellation is
    # lost in between
    with closing(_makeLatch()) as cancelled, closing(_makeLatch()) as spare:
        callWhenCancelled(cancelled.set)
        if cancelled.isSet:
            raise CommandFailed(
                JobFailure("cancelled", f"{argv[0]!r} was cancelled before it was started")
            )
        _endEarlier(attempt)
        directory = None if attempt is None else attempt.outputDirectory
        with (
            _openOutput(directory, "stdout", outputLimit) as stdout,
            _openOutput(directory, "stderr", outputLimit) as stderr,
        ):
            outputs = {"stdout": stdout, "stderr": stderr}
            with groups.running(partial(_spawn, argv, options, attempt)) as group:
                if attempt is not None:
                    attempt.recordStart()
                _tellHandle(group, attempt)
                wasCancelled = _attend(group, outputs, cancelled, spare, killDelay)
                status = os.waitid(os.P_PID, group.process.pid, os.WEXITED | os.WNOWAIT)
                group.mayRunAgain = wasCancelled or not _isSuccess(status)
            if attempt is not None and directory is not None:
                attempt.recordOutput({name: output.size for name, output in outputs.items()})
    _judge(argv[0], status, wasCancelled, group.interrupted)


def _makeLatch() -> Latch:
    try:
        return Latch()
    except OSError as error:
        raise _Scarce(error.strerror) from error


def _endEarlier(attempt: AttemptContext | None) -> None:
    """
    Kill the processes that earlier attempts of the job left in other sessions.
    """
    if attempt is None or not attempt.hasRunBefore:
        return
    try:
        count = killAttempts(attempt.stateDirectory, attempt.jobID)
    except SurvivorsLeft as error:
        raise _Scarce(str(error)) from error
    except OSError as error:
        raise _Scarce(f"earlier attempts cannot be searched for: {error.strerror}") from error
    if count:
        _log.warn(
            "{count} processes that earlier attempts of job {job} left were killed",
            count=count,
            job=attempt.jobID,
        )


def _openOutput(directory: str | None, stream: str, limit: int) -> closing[OutputFile]:
    if directory is None:
        return closing(OutputFile(None, 0))
    try:
        return closing(OutputFile(os.path.join(directory, stream), limit))
    except OSError as error:
        why = f"the output cannot be kept: {error}"
        if error.errno in _SCARCE:
            raise _Scarce(why) from error
        raise CommandFailed(JobFailure("not_started", why)) from error


def _spawn(
    argv: Sequence[str], options: Mapping[str, Any], attempt: AttemptContext | None
) -> Popen[bytes]:
    directory = options.get("cwd")
    umask = options.get("umask")
    try:
        return Popen(
            list(argv),
            bufsize=0,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            cwd=directory,
            env=childEnvironment(options.get("env", {}), attempt),
            umask=-1 if umask is None else int(umask, 8),
            start_new_session=True,
        )
    except OSError as error:
        if error.filename is None:
            what = f"no process could be made for {argv[0]!r}"
        elif error.filename == directory:
            what = f"the working directory {directory!r} cannot be used"
        else:
            what = f"the program {argv[0]!r} cannot be run"
        why = f"{what}: {error.strerror}"
        if error.errno in _SCARCE:
            raise _Scarce(why) from error
        raise CommandFailed(JobFailure("not_started", why)) from error


def _tellHandle(group: Group, attempt: AttemptContext | None) -> None:
    pipes = [pipe.fileno() for pipe in (group.process.stdout, group.process.stderr) if pipe]
    handle = handleOf(group.process.pid, pipes)
    if attempt is not None and handle is not None:
        attempt.recordHandle(handle)


def _attend(
    group: Group, outputs: _Outputs, cancelled: Latch, spare: Latch, killDelay: float
) -> bool:
    """
    Copy the output until the leader has exited, and end the session on a cancellation.
    The other processes of the session may then run until C{killDelay} is over; the
    caller kills the rest. This needs no descriptor that could be refused.

    @return: whether it was asked for.
    """
    leader = group.process.pid
    pipes = {getattr(group.process, name).fileno(): file for name, file in outputs.items()}
    told = hasExited = False
    killAt: float | None = None
    with (
        selectors.PollSelector() as selector,
        closing(Session(leader, selector)) as session,
        exitDescriptor(leader, spare) as exited,
    ):
        for descriptor in (exited, cancelled.fileno(), *pipes):
            selector.register(descriptor, selectors.EVENT_READ)
        while True:
            ready = selector.select(None if killAt is None else max(0.0, killAt - monotonic()))
            descriptors = {key.fd for key, _ in ready}
            if exited in descriptors:
                selector.unregister(exited)
                hasExited = True
            elif cancelled.fileno() in descriptors:
                selector.unregister(cancelled.fileno())
                told = True
                killAt = monotonic() + killDelay
                session.terminate()
            if killAt is not None and monotonic() >= killAt:
                signalGroup(leader, signal.SIGKILL)
                killAt = None
            for pipe in descriptors & pipes.keys():
                if not pipes[pipe].take(pipe):
                    selector.unregister(pipe)
                    del pipes[pipe]
            # Without a limit nothing but the leader is waited for.
            if hasExited and (killAt is None or session.isEmpty()):
                break
    for pipe, file in pipes.items():
        file.takeRest(pipe)
    return told


def _isSuccess(status: os.waitid_result | None) -> bool:
    assert status is not None  # only for WNOHANG
    return status.si_code == os.CLD_EXITED and status.si_status == 0


def _judge(
    program: str, status: os.waitid_result | None, wasCancelled: bool, interrupted: bool
) -> None:
    assert status is not None  # only for WNOHANG
    exitCode: int | None = None
    name: str | None = None
    if status.si_code == os.CLD_EXITED:
        exitCode = status.si_status
        what = f"exited with status {exitCode}"
    else:
        name = _signalName(status.si_status)
        what = f"was ended by {name}"
    if wasCancelled:
        code, what = "cancelled", f"was cancelled and {what}"
    elif interrupted and name == "SIGKILL":
        code, what = "interrupted", "was killed as its daemon ended"
    elif exitCode != 0:
        code = "exit_nonzero"
    else:
        return
    raise CommandFailed(JobFailure(code, f"{program!r} {what}", exitCode, name))


def _signalName(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # of the real-time signals only the first and the last have names
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
