"""
One command, from its start to its outcome.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from subprocess import DEVNULL, PIPE, Popen
from threading import Event
from typing import Any, NoReturn

from twisted.logger import Logger

from ..errors import DeferTask, PoolError
from ..jobs import AttemptContext, JobFailure
from ._arguments import checkArgs, childEnvironment, inheritedEnvironment
from ._groups import ProcessGroups, processGroups
from ._output import OutputFile
from ._scarcity import SCARCE, makeBackoff
from ._supervision import Supervision
from ._survivors import SurvivorsLeft, killAttempts
from ._waiting import Notices, WakeUp

__all__ = ["CommandFailed", "CommandRunner"]

_log = Logger()

_CallWhenCancelled = Callable[[Callable[[], object]], object]


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


class CommandRunner:
    """
    Runs commands, one at a time, and keeps between them what need not be made again: the
    descriptor that wakes it up, and the environment that commands inherit.

    Threads: one, which it blocks.
    """

    def __init__(
        self,
        groups: ProcessGroups = processGroups,
        wait: Callable[[Event, float], bool] = Event.wait,
    ) -> None:
        """
        @param groups: where the commands are registered while they run.
        @param wait: waits for an event, for a number of seconds at most.
        """
        self._groups = groups
        self._wait = wait
        self._wakeUp: WakeUp | None = None
        self._inherited = inheritedEnvironment()

    def run(
        self,
        argv: Sequence[str],
        options: Mapping[str, Any],
        attempt: AttemptContext | None,
        callWhenCancelled: _CallWhenCancelled,
        outputLimit: int,
        killDelay: float,
    ) -> None:
        """
        Run a command and return when it exited with status 0; then nothing of its
        process group is left. Where there are no descriptors, processes or memory,
        it is started when these are available; if processes of an earlier
        attempt cannot be killed, it is started when they are gone. Where there is no room
        for its output, it waits for that when it writes. The attempt's callbacks
        report why it waits, the start, and that it goes on.

        A cancellation sends TERM to all processes of the command's session, and waits until
        none is alive; what is alive after C{killDelay} gets KILL. So does the attempt's
        timeout, which counts from the start of the command, except while its output waits
        for room. If the command ends in any
        other way than with status 0, nothing of its session is left.

        C{callWhenCancelled} may have its function called on any other thread, at any time
        and also later.

        @param argv: the program and its arguments.
        @param options: see L{checkArgs}.
        @param attempt: where the output goes and who hears of it; without it, output
            is dropped.
        @param callWhenCancelled: accepts the function to call for a cancellation.
        @param outputLimit: how many bytes of each stream are kept.
        @param killDelay: seconds from TERM to KILL after a cancellation.

        @raise CommandFailed: for any other end, with code C{exit_nonzero},
            C{not_started}, C{cancelled}, C{timeout} or C{interrupted} (by L{killAll
            <ganeti_pool.commands.killAll>}).
        @raise InvalidJob: for arguments that L{checkArgs} refuses.
        """
        checkArgs((argv, options))
        backoff = makeBackoff()
        notices: Notices | None = None
        told: Event | None = None
        while True:
            try:
                if notices is None:
                    notices = self._begin()
                    callWhenCancelled(notices.cancel)
                self._runOnce(argv, options, attempt, notices, outputLimit, killDelay)
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
            if self._wait(told, backoff.next()):
                # It has not begun: if it is only that the daemon ends, the next one has it.
                raise DeferTask(reason=f"it could not be started: {why}")

    def _begin(self) -> Notices:
        """
        @raise _Scarce: if there is no descriptor.
        """
        if self._wakeUp is None:
            try:
                self._wakeUp = WakeUp()
            except OSError as error:
                raise _Scarce(error.strerror) from error
        return self._wakeUp.begin()

    def _runOnce(
        self,
        argv: Sequence[str],
        options: Mapping[str, Any],
        attempt: AttemptContext | None,
        notices: Notices,
        outputLimit: int,
        killDelay: float,
    ) -> None:
        """
        See L{run}.

        @raise _Scarce: if it was not started for want of something.
        """
        # A cancellation that comes after this is noticed once the command is started.
        if notices.isCancelled:
            raise CommandFailed(
                JobFailure("cancelled", f"{argv[0]!r} was cancelled before it was started")
            )
        _endEarlier(attempt)
        environment = childEnvironment(self._inherited, options.get("env", {}), attempt)
        spawn = partial(_spawn, argv, options, environment)
        with (
            _output(attempt, "stdout", outputLimit) as stdout,
            _output(attempt, "stderr", outputLimit) as stderr,
        ):
            outputs = {"stdout": stdout, "stderr": stderr}
            with self._groups.running(spawn) as group:
                if attempt is not None:
                    attempt.recordStart()
                assert self._wakeUp is not None  # the notices are its own
                supervision = Supervision(group, outputs, attempt, self._wakeUp, notices, killDelay)
                supervision.awaitExit()
                status = os.waitid(os.P_PID, group.process.pid, os.WEXITED | os.WNOWAIT)
                group.mayRunAgain = supervision.wasTold or not _isSuccess(status)
                # Before the wait for room: no process outlives the command for that long.
                group.killRest()
                supervision.takeRest()
            if attempt is not None and attempt.makeOutputDirectory is not None:
                attempt.recordOutput({name: output.size for name, output in outputs.items()})
        if supervision.timedOut:
            assert attempt is not None and attempt.timeout is not None
            _raiseTimeout(attempt.timeout, status)
        _judge(argv[0], status, supervision.wasCancelled, group.interrupted)


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


def _output(attempt: AttemptContext | None, stream: str, limit: int) -> closing[OutputFile]:
    if attempt is None or attempt.makeOutputDirectory is None:
        return closing(OutputFile(None, 0))

    def path() -> str:
        directory = attempt.outputDirectory
        assert directory is not None  # something is kept
        return os.path.join(directory, stream)

    return closing(OutputFile(path, limit))


def _spawn(
    argv: Sequence[str], options: Mapping[str, Any], environment: Mapping[str, str]
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
            env=environment,
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
        if error.errno in SCARCE:
            raise _Scarce(why) from error
        raise CommandFailed(JobFailure("not_started", why)) from error


def _isSuccess(status: os.waitid_result | None) -> bool:
    assert status is not None  # only for WNOHANG
    return status.si_code == os.CLD_EXITED and status.si_status == 0


def _endOf(status: os.waitid_result | None) -> tuple[int | None, str | None]:
    """
    Return the exit code, or the name of the signal.
    """
    assert status is not None  # only for WNOHANG
    if status.si_code == os.CLD_EXITED:
        return status.si_status, None
    return None, _signalName(status.si_status)


def _raiseTimeout(timeout: float, status: os.waitid_result | None) -> NoReturn:
    why = f"it ran for longer than its timeout of {timeout:.12g} seconds"
    raise CommandFailed(JobFailure("timeout", why, *_endOf(status)))


def _judge(
    program: str, status: os.waitid_result | None, wasCancelled: bool, interrupted: bool
) -> None:
    exitCode, name = _endOf(status)
    what = f"was ended by {name}" if name else f"exited with status {exitCode}"
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
