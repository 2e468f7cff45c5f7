"""
What the verbs share: how they are declared, the global options, and how
priorities, times, columns and ids are read.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import click

from ._format import COLUMNS, parseDuration
from ._session import Session

__all__ = [
    "JOB_ID",
    "Verb",
    "anyJobIDs",
    "commands",
    "jobIDs",
    "labelOption",
    "parseColumns",
    "parseLabels",
    "parsePriority",
    "parseTime",
    "verb",
]

Verb = Coroutine[Any, Any, int]
"""
What a verb returns: it does the work, and gives the exit code.
"""

_Callback = TypeVar("_Callback", bound=Callable[..., Any])

_PRIORITIES = {"low": 10, "normal": 0, "high": -10}


def parsePriority(text: str) -> int:
    """
    A whole number, or C{low}, C{normal} or C{high}.

    @raise click.BadParameter: if it is neither.
    """
    try:
        return _PRIORITIES[text] if text in _PRIORITIES else int(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is neither a whole number nor low, normal or high."
        ) from None


def parseTime(text: str) -> float:
    """
    A duration, in seconds.

    @raise click.BadParameter: if it is none.
    """
    try:
        return parseDuration(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def parseLabels(pairs: Sequence[str]) -> dict[str, str]:
    """
    Labels, each as C{K=V}.

    @raise click.BadParameter: if one is not, or its label is there twice.
    """
    labels: dict[str, str] = {}
    for pair in pairs:
        label, equals, text = pair.partition("=")
        if not label or not equals:
            raise click.BadParameter(f"{pair!r} is no label as K=V.")
        if label in labels:
            raise click.BadParameter(f"the label {label!r} is there twice.")
        labels[label] = text
    return labels


labelOption = click.option(
    "--label",
    "labels",
    metavar="K=V",
    multiple=True,
    callback=lambda ctx, param, pairs: parseLabels(pairs),
    help="A word to find it by; may be given again.",
)


def parseColumns(text: str) -> Sequence[str]:
    """
    Names of columns, with commas between them.

    @raise click.BadParameter: if there is no such column.
    """
    names = text.lower().split(",")
    for name in names:
        if name not in COLUMNS:
            raise click.BadParameter(f"{name!r} is none of {', '.join(COLUMNS)}.")
    return names


JOB_ID = click.IntRange(1, (1 << 63) - 1)
jobIDs = click.argument("ids", metavar="ID...", nargs=-1, required=True, type=JOB_ID)
anyJobIDs = click.argument("ids", metavar="[ID]...", nargs=-1, type=JOB_ID)


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    session = ctx.find_object(Session)
    if session is not None and param.name is not None and value:
        setattr(session, param.name, value)


def _globalOptions(callback: _Callback) -> _Callback:
    """
    The options that stand before the verb or behind it.
    """
    for name, attribute, settings in (
        ("--no-color", "noColor", {"is_flag": True, "help": "No colours on a terminal."}),
        ("--json", "json", {"is_flag": True, "help": "One JSON object a line; times in UTC."}),
        ("--token-file", "tokenFile", {"metavar": "FILE", "help": "The bearer token for --url."}),
        ("--url", "url", {"metavar": "URL", "help": "A daemon that listens on TCP."}),
        ("--state-dir", "stateDir", {"metavar": "DIR", "help": "The daemon's state directory."}),
    ):
        click.option(name, attribute, expose_value=False, callback=_remember, **settings)(callback)
    return callback


@click.group(
    "ganeti-pool",
    # Else a call without a verb is answered with pages, and by another exit code
    # in each version of click.
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@_globalOptions
def commands() -> None:
    """
    Submit jobs to the ganeti-pool daemon, and see what becomes of them.

    Exit codes: 0 done; 1 a job failed or was cancelled; 2 usage; 3 the daemon
    is unreachable or broken; 4 refused; 124 --timeout; 130 Ctrl-C.
    """


def verb(name: str, **settings: Any) -> Callable[[Callable[..., Verb]], click.Command]:
    """
    Make a verb of a function that takes the session first.
    """

    def declare(function: Callable[..., Verb]) -> click.Command:
        return commands.command(name, context_settings=settings)(
            _globalOptions(click.pass_obj(function))
        )

    return declare
