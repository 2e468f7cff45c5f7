"""
How a verb ends: the exit codes, and what each error means.
"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import sys
from enum import IntEnum

import click

from .._picklable import PicklableException

__all__ = ["Ending", "ExitCode", "OutputLost", "howToStart", "judge"]

_NOBODY = (errno.ENOENT, errno.ECONNREFUSED)
"""
How the system says that nobody listens.
"""


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
    HUNG_UP = 129
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


class Ending(PicklableException):
    """
    The verb ends here.

    @ivar code: the exit code.
    """

    def __init__(self, code: ExitCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class OutputLost(Ending):
    """
    A stream takes no more. That nobody reads on needs no words of its own.
    """

    def __init__(self, error: OSError) -> None:
        if isinstance(error, BrokenPipeError):
            super().__init__(ExitCode.BROKEN_PIPE, "")
        else:
            super().__init__(
                ExitCode.FAILED, f"the output cannot be written: {error.strerror or error}"
            )


def judge(error: Exception) -> tuple[ExitCode, str]:
    """
    What an error means for the exit code, and the sentence that says it.
    """
    if isinstance(error, Ending):
        return error.code, str(error)
    if isinstance(error, click.Abort):
        return ExitCode.INTERRUPTED, "interrupted before anything was done"
    if isinstance(error, click.ClickException):
        return ExitCode.USAGE, f"{_oneSentence(error.format_message())} See --help."
    if isinstance(error, OSError):
        # Of a file that is read, or of help that is written.
        return ExitCode.FAILED, f"{error.strerror or error}"
    if isinstance(error, ImportError):
        return (
            ExitCode.USAGE,
            f"this needs {error.name}, which is not installed: pip install 'ganeti-pool[daemon]'",
        )

    # Not above: a mistake in the call needs no HTTP client to be told.
    from ..client import DaemonUnreachable, RequestRefused
    from ..errors import PoolError

    if isinstance(error, DaemonUnreachable):
        place = _emptyPlace(error)
        if place is None:
            sentence = str(error).rstrip(".")
        elif place.startswith("/"):
            sentence = f"no daemon listens in the state directory {os.path.dirname(place)}"
        else:
            sentence = f"no daemon listens at {place}"
        return ExitCode.UNREACHABLE, sentence
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


def _oneSentence(message: str) -> str:
    return message if message.endswith((".", "?", ")")) else f"{message}."


def _emptyPlace(error: Exception) -> str | None:
    """
    The path of the socket or the URL where nobody listens; L{None} if somebody did, and
    for any other error.
    """
    # Not above: a mistake in the call needs neither to be told.
    from twisted.internet.error import ConnectError

    from ..client import DaemonUnreachable

    reason = error.__cause__
    if (
        isinstance(error, DaemonUnreachable)
        and isinstance(reason, ConnectError)
        and reason.osError in _NOBODY
    ):
        return error.where
    return None


def howToStart(error: Exception, isDefault: bool) -> str:
    """
    What to do where nobody listens, to be put behind a sentence; empty if somebody
    did, and for any other error.

    @param isDefault: whether the daemon was looked for where it is without options.
    """
    place = _emptyPlace(error)
    if place is None:
        return ""
    if not place.startswith("/"):
        options = " --listen ENDPOINT --token-file FILE"
    else:
        options = "" if isDefault else f" --state-dir {shlex.quote(os.path.dirname(place))}"
    return f"; to start one: {shlex.quote(_twistd())} -n --pidfile= ganeti-pool{options}"


def _twistd() -> str:
    """
    What starts the daemon of this installation: C{twistd} alone if a shell finds it,
    else with its path.
    """
    beside = os.path.join(os.path.dirname(os.path.realpath(sys.argv[0])), "twistd")
    found = shutil.which("twistd")
    isOurs = found is not None and os.path.realpath(found) == beside
    return "twistd" if isOurs or not os.access(beside, os.X_OK) else beside
