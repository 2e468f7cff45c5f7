"""
Run commands as tasks: child processes, their output and their end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..jobs import currentAttempt
from ..workerpool import BaseWorker
from ._arguments import checkArgs
from ._groups import NoMoreCommands, killAll, limitFiles
from ._run import CommandFailed, CommandRunner
from ._survivors import SurvivorsLeft, killSurvivors

__all__ = [
    "CommandFailed",
    "CommandWorker",
    "NoMoreCommands",
    "SurvivorsLeft",
    "checkArgs",
    "killAll",
    "killSurvivors",
    "limitFiles",
]


class CommandWorker(BaseWorker):
    """
    A worker whose tasks are commands.

    @cvar outputLimit: how many bytes of each output stream are kept.
    @cvar killDelay: seconds from TERM to KILL after a cancellation.
    @cvar keepsOutput: that an attempt may make a directory for its output.
    @cvar keepsTimeout: that this class ends a job after its timeout, which counts from the
        start of the command; the queue does not.
    """

    outputLimit = 64 * 1024 * 1024
    killDelay = 5.0
    keepsOutput = True
    keepsTimeout = True

    _runner: CommandRunner | None = None

    checkArgs = staticmethod(checkArgs)

    def RunTask(self, argv: Sequence[str], options: Mapping[str, Any]) -> None:
        """
        Run a command in a session of its own, with the null device as its input,
        and return when it has exited with status 0.

        The task ends when the command does, even if another process holds its output
        open. Background children do not outlive the command: the rest of its process
        group is killed at once. If the command did not exit with status 0, so is the
        rest of its session, such as a program under C{timeout}. A process that starts
        its own session (C{setsid}) goes on until the job is started again or the daemon
        restarts; both find the process by its environment. A process that has also
        cleared its environment is never found.

        A cancellation sends TERM to the process group of the command and to the leader
        of each other group in the session, and waits until no process of the session is
        alive. Processes that are alive after C{killDelay} seconds get KILL.

        In a job, the beginning of each output stream is kept in the files
        C{stdout} and C{stderr} of the attempt's directory. The directory and the files are
        made with the first byte. While there is no room for the output, the command waits
        as soon as its pipe is full, and the job does not end before its output is kept or
        the job is cancelled.

        After the attempt's timeout, the command is ended as by a cancellation. It counts
        from the start of the command, without the time in which output waits for room.

        Threads: on the worker's, which it blocks.

        @param argv: the program, looked up in the C{PATH} of its environment,
            and its arguments.
        @param options: any of C{cwd}, C{umask} and C{env}; see L{checkArgs} for
            their form, and C{childEnvironment} in C{_arguments} for the whole
            environment.

        @raise CommandFailed: if it did not start, was cancelled, or ended with
            another status or by a signal.
        @raise InvalidJob: for arguments that L{checkArgs} refuses.
        """
        if self._runner is None:
            self._runner = CommandRunner()
        self._runner.run(
            argv,
            options,
            currentAttempt.get(),
            self.CallWhenCancelled,
            self.outputLimit,
            self.killDelay,
        )
