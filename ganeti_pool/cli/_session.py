"""
What every verb has: the global options, the streams, a way to the daemon, and
how each ending becomes an exit code and a sentence.

Nothing of Twisted is imported before a verb asks for a client: help, mistakes
and completion wait for no reactor.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import click

from ._endings import ExitCode, OutputLost, howToStart, judge
from ._format import escapeControls, toJSON
from ._names import PROGRAM
from ._signals import watchSignals
from ._streams import complain, discard

if TYPE_CHECKING:
    from ..client import JobClient

__all__ = ["Session", "connectToDaemon", "runInReactor"]

_PATIENCE = 30.0
"""
The seconds that the daemon has for an answer, beyond the wait that it is asked for.
"""


def connectToDaemon(session: Session) -> JobClient:
    """
    A client of the daemon that the global options name. Nothing is sent yet.

    @raise click.UsageError: if the options contradict each other or the token
        cannot be read.
    @raise InvalidArgument: if the state directory is too deep for a socket, or the
        token file holds no token.
    """
    from ..client import connectHTTP, connectUnix
    from ..paths import StatePaths, readToken

    if session.url is None:
        if session.tokenFile is not None:
            raise click.UsageError("--token-file goes with --url: the socket needs no token.")
        directory = session.stateDir
        paths = StatePaths.default() if directory is None else StatePaths.at(directory)
        paths.checkSocket()
        return connectUnix(session.reactor, paths.socket, _PATIENCE)
    if session.stateDir is not None:
        raise click.UsageError("--url and --state-dir name two daemons: give one of them.")
    path = session.tokenFile
    try:
        token = None if path is None else readToken(path)
    except OSError as error:
        raise click.UsageError(
            f"The token file {path} cannot be read: {error.strerror}."
        ) from error
    return connectHTTP(session.reactor, session.url, token, _PATIENCE)


def runInReactor(function: Callable[..., Any], arguments: Sequence[object]) -> NoReturn:
    """
    Call a function with the reactor and the arguments, and run the reactor until
    its Deferred fires.

    @raise SystemExit: always.
    """
    from twisted.internet.task import react
    from twisted.logger import globalLogBeginner

    gc.enable()
    # What goes wrong is said in one sentence, so what Twisted logs of it besides
    # would be a traceback that nobody asked for.
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    react(function, arguments)


@dataclass
class Session:
    """
    One run of the command.

    Threads: used on the reactor thread only.

    @ivar openClient: makes the client; L{connectToDaemon} but in tests.
    @ivar react: runs a function in a reactor; L{runInReactor} but in tests.
    @ivar reactor: where everything happens, and the clock; L{None} until it runs.
    @ivar stateDir: C{--state-dir}; what follows are the other global options.
    @ivar noColor: whether colours are off; without it a terminal gets them.
    @ivar watchSignals: reports the signals that end the verb; L{watchSignals
        <ganeti_pool.cli._signals.watchSignals>} except in tests.
    @ivar interruption: what to say if Ctrl-C ends the verb as it stands.
    @ivar aftermath: what to say besides if the daemon is gone, or refuses, as it
        stands.
    @ivar assurance: what to say behind C{aftermath} if the daemon is gone, and not if it refuses.
    @ivar doubt: what to say besides if the daemon may have received a request and did
        not answer it.
    @ivar isAway: whether the daemon did not answer the latest request.
    @ivar unheard: what to say besides if standard output takes no more, as it stands.
    """

    stdin: TextIO | None
    stdout: TextIO
    stderr: TextIO
    openClient: Callable[[Session], JobClient] = connectToDaemon
    react: Callable[[Callable[..., Any], Sequence[object]], NoReturn] = runInReactor
    watchSignals: Callable[[Any, Callable[[int], object]], None] = lambda reactor, note: None
    reactor: Any = None
    stateDir: str | None = None
    url: str | None = None
    tokenFile: str | None = None
    json: bool = False
    noColor: bool = False
    interruption: str = "interrupted"
    aftermath: str = ""
    assurance: str = ""
    doubt: str = ""
    isAway: bool = False
    unheard: str = ""

    @classmethod
    def ofProcess(cls) -> Session:
        """
        One with the streams and the environment of this process.
        """
        for stream in (sys.stdout, sys.stderr):
            # A name that the terminal's encoding lacks is shown, not died of.
            # Whoever starts this may replace a stream by one that is simpler.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        return cls(
            sys.stdin,
            # A stream that was closed by whoever started this is None.
            sys.stdout or _closed(),
            sys.stderr or _closed(),
            watchSignals=watchSignals,
            noColor=bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb",
        )

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

    def canAsk(self) -> bool:
        """
        Whether somebody is there to read a question and to answer it.
        """
        return self.stdin is not None and self.stdin.isatty() and self.stderr.isatty()

    def canDraw(self, stream: TextIO) -> bool:
        """
        Whether a stream is a terminal that can move its cursor.
        """
        return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")

    def write(self, text: str) -> None:
        """
        A line of text to standard output, at once.

        @raise OutputLost: if it takes no more.
        """
        self._put(text + "\n", self.stdout)

    def emit(self, value: object, text: str, onStderr: bool = False) -> None:
        """
        Lines to standard output: the value with C{--json}, else the text, which can do
        nothing to a terminal.

        @param onStderr: whether the text goes to standard error instead.

        @raise OutputLost: if standard output takes no more.
        """
        if self.json:
            self.write(toJSON(value))
            return
        harmless = "\n".join(map(escapeControls, text.split("\n")))
        if onStderr:
            complain(harmless, self.stderr)
        else:
            self.write(harmless)

    def writeBytes(self, data: bytes) -> None:
        """
        Bytes to standard output as they are, at once.

        @raise OutputLost: if it takes no more.
        """
        self._put(data, self.stdout.buffer)

    def _put(self, data: str | bytes, stream: Any) -> None:
        try:
            click.echo(data, file=stream, nl=False, color=False if self.noColor else None)
        except OSError as error:
            raise OutputLost(error) from error

    def say(self, sentence: str) -> None:
        """
        One sentence to standard error.
        """
        complain(self.sentence(sentence), self.stderr)

    def sentence(self, text: str) -> str:
        """
        One sentence as it is written to standard error: a line that can do nothing to a
        terminal.
        """
        return f"{PROGRAM}: {escapeControls(' '.join(text.split()))}"

    def goesOn(self) -> str:
        """
        Describe the work that continues if the verb ends now.
        """
        if self.isAway and self.aftermath:
            return f"the daemon is unreachable, and {_join(self.aftermath, self.assurance)}"
        return self.interruption.removeprefix("interrupted: ")

    def sayInterrupted(self) -> None:
        """
        Say what goes on though the verb was interrupted.
        """
        self.say(f"interrupted: {self.goesOn()}" if self.isAway else self.interruption)

    def explain(self, error: Exception) -> int:
        """
        Say why the verb ended.

        @return: the exit code for it.
        """
        code, sentence = judge(error)
        if isinstance(error, OutputLost):
            discard(self.stdout)
            if self.unheard:
                sentence = f"{sentence or 'nobody reads the output any more'}: {self.unheard}"
        if code in (ExitCode.UNREACHABLE, ExitCode.REFUSED):
            more = _join(
                self.aftermath,
                self.assurance if code == ExitCode.UNREACHABLE else "",
                self.doubt if getattr(error, "mayHaveArrived", False) else "",
            )
            sentence += f" ({more})" if more else ""
        if code == ExitCode.UNREACHABLE:
            sentence += howToStart(error, isDefault=self.stateDir is None)
        if sentence:
            self.say(sentence)
        return code


def _join(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def _closed() -> TextIO:
    """
    A stream that takes nothing. It keeps its descriptor from a socket.
    """
    return open(os.open(os.devnull, os.O_RDONLY), "w")
