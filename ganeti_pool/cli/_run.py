"""
Read the arguments, run one verb in a reactor, and end with its exit code.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any, NoReturn

from ._endings import ExitCode
from ._group import Verb
from ._names import COMPLETION, PROGRAM
from ._outdated import explainUnknownKey
from ._session import Session
from ._shells import useShells
from ._verbs import commands

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

__all__ = ["parse", "perform", "run"]


def run(session: Session, argv: Sequence[str]) -> NoReturn:
    """
    Do what the arguments say.

    @raise SystemExit: always, with the exit code.
    """
    todo = parse(session, argv)
    if isinstance(todo, int):
        raise SystemExit(todo)
    try:
        session.react(perform, (session, todo))
    finally:
        # Ctrl-C may come before the reactor runs it.
        todo.close()


def parse(session: Session, argv: Sequence[str]) -> Verb | int:
    """
    What the arguments say.

    @return: what is to run in a reactor; or the exit code, if all has been said
        and done by now, as it has with C{--help} and for a mistake.
    """
    isCompleting = bool(os.environ.get(COMPLETION))
    try:
        if isCompleting:
            useShells()
        # The coroutine of a verb, or the exit code after --help.
        todo = commands.main(list(argv), PROGRAM, obj=session, standalone_mode=False)
    except SystemExit:
        # click's way to end a completion, and to end when nobody reads the help any more.
        if isCompleting:
            raise
        return ExitCode.BROKEN_PIPE
    except (Exception, KeyboardInterrupt) as error:
        if isCompleting:
            return ExitCode.FAILED
        if isinstance(error, KeyboardInterrupt):
            raise
        return session.explain(error)
    return todo if iscoroutine(todo) else int(todo)


def perform(reactor: Any, session: Session, verb: Verb) -> Deferred[NoReturn]:
    """
    Run a verb, once the reactor runs: before that, Ctrl-C would be raised in the middle of
    it, and as one failure among others.

    @return: a Deferred that fails with L{SystemExit}, whose code is the exit
        code, including when the reactor stops before the verb ends, as it does at
        Ctrl-C, SIGTERM and SIGHUP.
    """
    from twisted.internet.defer import Deferred

    session.reactor = reactor
    interrupted = False
    signals: list[int] = []
    running: Deferred[None] = Deferred()

    async def work() -> NoReturn:
        try:
            await running
            code = await verb
        except Exception as error:
            if interrupted:
                session.sayInterrupted()
                code = ExitCode(128 + signals[0]) if signals else ExitCode.INTERRUPTED
            else:
                code = session.explain(await explainUnknownKey(session, error))
        raise SystemExit(int(code))

    working: Deferred[NoReturn] = Deferred.fromCoroutine(work())

    def interrupt() -> None:
        nonlocal interrupted
        # Set first: what the cancelled request fails with is not the reason.
        interrupted = True
        working.cancel()

    reactor.addSystemEventTrigger("before", "shutdown", interrupt)
    reactor.callWhenRunning(session.watchSignals, reactor, signals.append)
    reactor.callWhenRunning(running.callback, None)
    return working
