"""
The options.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from twisted.python import usage

from ..numerals import isDigits, parseDecimal, parseInteger
from ._refusal import refusal

__all__ = ["Options"]

_SECONDS_OF_A_DAY = 86400
_MOST_DAYS = 36500


class Options(usage.Options):
    """
    The options of C{twistd ganeti-pool}. None is needed.
    """

    optFlags = [  # noqa: RUF012 - twisted's own way to declare them
        ["paused", None, "Start no job until `ganeti-pool resume`."],
    ]

    optParameters = [  # noqa: RUF012 - twisted's own way to declare them
        ["workers", None, "4", "How many jobs run at once."],
        [
            "worker-class",
            None,
            "ganeti_pool.commands.CommandWorker",
            "The dotted name of the class that runs the jobs.",
        ],
        ["state-dir", None, None, "Where jobs, output and socket are [default: the user's own]."],
        [
            "store",
            None,
            None,
            "Where the jobs are instead, as sqlite:///ABSOLUTE/PATH [default: in --state-dir].",
        ],
        ["token-file", None, None, "A file with the token that requests to --listen must bear."],
        ["grace", None, "30", "How many seconds running jobs get when the daemon stops."],
        ["max-queued", None, None, "How many jobs may wait; more are refused [default: any]."],
        [
            "keep-finished",
            None,
            None,
            "How many days finished jobs and their output are kept [default: for ever].",
        ],
        ["log-format", None, "text", "How the log is written: text or json."],
    ]

    longdesc = (
        "Runs jobs by priority, and loses none when it is killed. The command ganeti-pool submits "
        "them and shows how they do."
    )

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["listen"] = []

    def opt_listen(self, endpoint: str) -> None:
        """
        Listen there too, beside the socket in the state directory: an endpoint as of
        twisted, such as tcp:8080:interface=127.0.0.1. It needs --token-file. With
        CommandWorker, who has the token has a shell. Can be given more than once.
        """
        self["listen"].append(endpoint)

    def postOptions(self) -> None:
        """
        Read the values: numbers, C{--keep-finished} in seconds, C{--store} as a path.

        @raise usage.UsageError: if one is wrong.
        """
        self["workers"] = _number("workers", self["workers"], parseInteger, 1)
        self["grace"] = _number(
            "grace", self["grace"], parseDecimal, 0, math.inf, "number of seconds"
        )
        if self["max-queued"] is not None:
            self["max-queued"] = _number("max-queued", self["max-queued"], parseInteger, 1)
        if self["keep-finished"] is not None:
            days = _number(
                "keep-finished",
                self["keep-finished"],
                parseDecimal,
                0,
                _MOST_DAYS,
                "number of days",
            )
            self["keep-finished"] = days * _SECONDS_OF_A_DAY
        if self["store"] is not None:
            self["store"] = _storePath(self["store"])
        for endpoint in self["listen"]:
            _checkPort(endpoint)
        self._checkLog()

    def _checkLog(self) -> None:
        if self["log-format"] not in ("text", "json"):
            raise usage.UsageError(f"--log-format takes text or json, not {self['log-format']!r}")
        ofTwistd: Mapping[str, Any] = self.parent or {}
        if self["log-format"] == "json":
            for option in ("logger", "syslog"):
                if ofTwistd.get(option):
                    raise usage.UsageError(
                        f"--log-format json cannot be had together with twistd's --{option}, "
                        "which has a format of its own"
                    )

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Read the options.

        @raise SystemExit: with one sentence, if one is wrong. (Twistd would show
            the whole help before it, on standard output.)
        """
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            raise refusal(str(error)) from error


def _number(
    option: str,
    text: str,
    kind: Callable[[str], float],
    least: int,
    most: float = math.inf,
    what: str = "whole number",
) -> float:
    """
    @raise usage.UsageError: if it is no number of this kind, or too small or large.
    """
    try:
        number = kind(str(text))
    except ValueError:
        number = math.nan
    if not least <= number <= most or number == math.inf:
        limits = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        raise usage.UsageError(f"--{option} takes a {what} {limits}, not {text!r}")
    return number


_PORT = re.compile(r"(?:tcp6?|ssl):(?:(?:.*:)?port=)?([^:=]+)(?::|$)")


def _checkPort(endpoint: str) -> None:
    """
    @raise usage.UsageError: if the port of an endpoint is not written as a number. Twisted
        takes more for one, such as C{80_80}.
    """
    found = _PORT.match(endpoint)
    if found and not isDigits(found[1]):
        raise usage.UsageError(
            f"--listen {endpoint} is not a valid endpoint: the port must be a number such as "
            f"8080, not {found[1]!r}"
        )


def _storePath(url: str) -> str:
    """
    The file that C{--store} names. A fourth slash, as SQLAlchemy has it, is fine.

    @raise usage.UsageError: if it names none.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise usage.UsageError(f"--store {url} is no URL: {error}") from error
    if parts.scheme != "sqlite":
        raise usage.UsageError(
            f"--store takes sqlite:///ABSOLUTE/PATH, and no other kind of store: not {url}"
        )
    path = os.path.normpath("/" + unquote(parts.path).lstrip("/"))
    if parts.netloc or parts.query or parts.fragment or path == "/" or "\0" in path:
        raise usage.UsageError(f"--store takes sqlite:///ABSOLUTE/PATH, not {url}")
    return path
