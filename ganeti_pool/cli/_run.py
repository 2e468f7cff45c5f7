"""
Run one verb in a reactor, and end with its exit code.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from inspect import isawaitable
from typing import Any, NoReturn

from twisted.internet.defer import Deferred

from ._session import ExitCode, Session
from ._verbs import commands

__all__ = ["perform", "run"]


def run(reactor: Any, argv: Sequence[str]) -> Deferred[NoReturn]:
    """
    The main function of the program, for L{twisted.internet.task.react}.

    @return: see L{perform}.
    """
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks is shown, not died of.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    noColor = bool(os.environ.get("NO_COLOR"))
    return perform(Session(reactor, sys.stdout, sys.stderr, noColor=noColor), argv)


def perform(session: Session, argv: Sequence[str]) -> Deferred[NoReturn]:
    """
    Parse the arguments and do what they say.

    @return: a Deferred that fails with L{SystemExit}, whose code is the exit
        code; also when the reactor stops meanwhile, as it does at Ctrl-C.
    """
    interrupted = False

    async def work() -> NoReturn:
        try:
            # The coroutine of a verb, or the exit code after --help.
            todo = commands.main(list(argv), "ganeti-pool", obj=session, standalone_mode=False)
            code = await todo if isawaitable(todo) else todo
        except Exception as error:
            if interrupted:
                session.say(session.interruption)
                code = ExitCode.INTERRUPTED
            else:
                code = session.explain(error)
        raise SystemExit(int(code))

    working: Deferred[NoReturn] = Deferred.fromCoroutine(work())

    def interrupt() -> None:
        nonlocal interrupted
        # Set first: what the cancelled request fails with is not the reason.
        interrupted = True
        working.cancel()

    session.reactor.addSystemEventTrigger("before", "shutdown", interrupt)
    return working
