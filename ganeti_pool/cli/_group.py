"""
The group of all verbs, with the global options, and how a verb is declared.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import click

from ._names import PROGRAM
from ._session import Session
from ._values import Word
from ._words import completeDirectories, completeFiles

__all__ = ["Verb", "commands", "verb"]

Verb = Coroutine[Any, Any, int]
"""
What a verb returns: it does the work, and gives the exit code.
"""


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    session = ctx.find_object(Session)
    if session is not None and param.name is not None and value:
        setattr(session, param.name, value)


def _globalOption(name: str, attribute: str, **settings: Any) -> click.Option:
    return click.Option([name, attribute], expose_value=False, callback=_remember, **settings)


_GLOBAL = (
    _globalOption(
        "--state-dir",
        "stateDir",
        metavar="DIR",
        type=Word(),
        shell_complete=completeDirectories,
        help="The daemon's state directory; by default the user's.",
    ),
    _globalOption(
        "--url",
        "url",
        metavar="URL",
        type=Word(),
        help="A daemon that listens elsewhere, such as http://127.0.0.1:8080.",
    ),
    _globalOption(
        "--token-file",
        "tokenFile",
        metavar="FILE",
        type=Word(),
        shell_complete=completeFiles,
        help="The file with the bearer token for --url.",
    ),
    _globalOption("--json", "json", is_flag=True, help="JSON, an object a line; times in UTC."),
    _globalOption("--no-color", "noColor", is_flag=True, help="No colours on a terminal."),
)
"""
The options that stand before the verb or behind it.
"""


@click.group(
    PROGRAM,
    # Else a call without a verb is answered with pages, and by another exit code
    # in each version of click.
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name=PROGRAM, message="%(prog)s %(version)s")
def commands() -> None:
    """
    Submit jobs to the ganeti-pool daemon, and see what becomes of them.

    Exit codes: 0 done; 1 a job failed or was cancelled, or the answer to a question
    was no; 2 usage; 3 the daemon is unreachable or broken; 4 refused; 124 --timeout;
    129 SIGHUP; 130 Ctrl-C; 141 nobody reads standard output; 143 SIGTERM.
    """


commands.params.extend(_GLOBAL)


def verb(name: str, **settings: Any) -> Callable[[Callable[..., Verb | int]], click.Command]:
    """
    Make a verb of a function that takes the session first, and returns what is to
    run in a reactor, or the exit code if nothing is.
    """

    def declare(function: Callable[..., Verb | int]) -> click.Command:
        command = commands.command(name, context_settings=settings)(click.pass_obj(function))
        # Behind its own, which are what one looks for.
        command.params.extend(_GLOBAL)
        return command

    return declare
