"""
What every verb has: the global options, the streams, a way to the daemon, and
how each ending becomes an exit code and a sentence.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TextIO

import click

from ..errors import PoolError
from ..paths import StatePaths
from ._format import escapeControls, toJSON

if TYPE_CHECKING:
    from ..client import JobClient

__all__ = ["Ending", "ExitCode", "Session", "connectToDaemon", "judge"]


class ExitCode(IntEnum):
    """
    What the exit code of the command says.
    """

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    TIMED_OUT = 124
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class Ending(Exception):
    """
    The verb ends here.

    @ivar code: the exit code.
    """

    def __init__(self, code: ExitCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def connectToDaemon(session: Session) -> JobClient:
    """
    A client of the daemon that the global options name. Nothing is sent yet.

    @raise click.UsageError: if the options contradict each other or the token
        cannot be read.
    @raise InvalidArgument: if the state directory is too deep for a socket.
    """
    # Not above: help and mistaken arguments should not wait for an HTTP client.
    from ..client import connectHTTP, connectUnix

    if session.url is None:
        if session.tokenFile is not None:
            raise click.UsageError("--token-file goes with --url: the socket needs no token.")
        directory = session.stateDir
        paths = StatePaths.default() if directory is None else StatePaths.at(directory)
        paths.checkSocket()
        return connectUnix(session.reactor, paths.socket)
    if session.stateDir is not None:
        raise click.UsageError("--url and --state-dir name two daemons: give one of them.")
    return connectHTTP(session.reactor, session.url, _readToken(session.tokenFile))


def _readToken(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"The token file {path} cannot be read: {error}.") from error


@dataclass
class Session:
    """
    One run of the command.

    Threads: used on the reactor thread only.

    @ivar reactor: where everything happens, and the clock.
    @ivar openClient: makes the client; L{connectToDaemon} but in tests.
    @ivar stateDir: C{--state-dir}; what follows are the other global options.
    @ivar noColor: whether colours are off; without it a terminal gets them.
    @ivar interruption: what to say if Ctrl-C ends the verb as it stands.
    """

    reactor: Any
    stdout: TextIO
    stderr: TextIO
    openClient: Callable[[Session], JobClient] = connectToDaemon
    stateDir: str | None = None
    url: str | None = None
    tokenFile: str | None = None
    json: bool = False
    noColor: bool = False
    interruption: str = "interrupted"

    def connect(self) -> JobClient:
        """
        A client of the daemon. See L{connectToDaemon}.
        """
        return self.openClient(self)

    def now(self) -> datetime:
        """
        The time of the reactor's clock, in UTC.
        """
        return datetime.fromtimestamp(self.reactor.seconds(), timezone.utc)

    def write(self, text: str, stream: TextIO | None = None) -> None:
        """
        A line of text, at once.

        @param stream: standard output by default.
        """
        click.echo(text, file=stream or self.stdout, color=False if self.noColor else None)

    def emit(self, value: object, text: str, stream: TextIO | None = None) -> None:
        """
        A line to standard output: the value with C{--json}, else the text.

        @param stream: where the text goes instead.
        """
        if self.json:
            self.write(toJSON(value))
        else:
            self.write(text, stream)

    def writeBytes(self, data: bytes) -> None:
        """
        Bytes to standard output as they are, at once.
        """
        click.echo(data, file=self.stdout.buffer, nl=False)

    def say(self, sentence: str) -> None:
        """
        One sentence to standard error.
        """
        self.write(f"ganeti-pool: {escapeControls(' '.join(sentence.split()))}", self.stderr)

    def explain(self, error: Exception) -> int:
        """
        Say why the verb ended.

        @return: the exit code for it.
        """
        code, sentence = judge(error)
        if code == ExitCode.BROKEN_PIPE:
            # Nobody reads on. What is still buffered must not fail once more when
            # the interpreter flushes it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stdout.fileno())
        else:
            self.say(sentence)
        return code


def judge(error: Exception) -> tuple[ExitCode, str]:
    """
    What an error means for the exit code, and the sentence that says it.
    """
    if isinstance(error, Ending):
        return error.code, str(error)
    if isinstance(error, BrokenPipeError):
        return ExitCode.BROKEN_PIPE, ""
    if isinstance(error, click.Abort):
        return ExitCode.INTERRUPTED, "interrupted before anything was done"
    if isinstance(error, click.ClickException):
        return ExitCode.USAGE, f"{error.format_message()} See --help."
    if isinstance(error, ImportError):
        return (
            ExitCode.FAILED,
            f"this needs {error.name}, which is not installed: pip install 'ganeti-pool[daemon]'",
        )

    from ..client import DaemonUnreachable, RequestRefused

    if isinstance(error, DaemonUnreachable):
        return ExitCode.UNREACHABLE, str(error)
    if isinstance(error, RequestRefused):
        # 503 and 507 are said by a daemon that is well; other 5xx by a broken one.
        broken = error.status >= 500 and error.status not in (503, 507)
        return ExitCode.UNREACHABLE if broken else ExitCode.REFUSED, str(error)
    if isinstance(error, PoolError):
        return ExitCode.USAGE, str(error)
    return (
        ExitCode.UNREACHABLE,
        f"this should not have happened: {type(error).__name__}: {error}",
    )
