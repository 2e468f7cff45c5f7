"""
The arguments and options that several verbs have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ..jobs import MAX_LABELS, JobState
from ._values import parseLabels, parseText, parseTime
from ._words import JobID

__all__ = [
    "jobIDs",
    "labelOption",
    "nameOption",
    "stateOption",
    "timeoutOption",
    "yesOption",
]

_Callback = TypeVar("_Callback", bound=Callable[..., Any])


def jobIDs(
    *states: JobState, metavar: str = "ID...", required: bool = False
) -> Callable[[_Callback], _Callback]:
    """
    The argument for the IDs of jobs.

    @param states: see L{JobID}.
    """
    return click.argument("ids", metavar=metavar, nargs=-1, required=required, type=JobID(states))


def labelOption(help: str) -> Callable[[_Callback], _Callback]:
    """
    C{--label}.
    """
    return click.option(
        "--label",
        "labels",
        metavar="K=V",
        multiple=True,
        callback=lambda ctx, param, pairs: parseLabels(pairs),
        help=f"{help}; may be given up to {MAX_LABELS} times.",
    )


nameOption = click.option(
    "--name", metavar="TEXT", type=parseText, help="Only jobs of exactly this name."
)

yesOption = click.option("--yes", "isSure", is_flag=True, help="Do not ask.")


def stateOption(*states: JobState) -> Callable[[_Callback], _Callback]:
    """
    C{--state}.

    @param states: those that it takes.
    """
    return click.option(
        "--state",
        multiple=True,
        type=click.Choice([state.value for state in states]),
        help="Only jobs in this state; may be given again.",
    )


def timeoutOption(
    help: str, parse: Callable[[str], float] = parseTime
) -> Callable[[_Callback], _Callback]:
    """
    C{--timeout}.
    """
    return click.option(
        "--timeout", metavar="TIME", type=parse, help=f"{help}, such as 90, 42s or 5m10s."
    )
