"""
How words are completed: priorities, columns, files, and the ids of jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import click
from click.shell_completion import CompletionItem

from ..jobs import JobState
from ..jobs.limits import MAX_INTEGER
from ..numerals import isDigits
from ._format import escapeControls
from ._session import Session
from ._table import COLUMNS
from ._values import PRIORITIES, Integer

__all__ = [
    "JobID",
    "completeColumns",
    "completeDirectories",
    "completeFiles",
    "completePriorities",
]

_Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _items(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _byTheShell(kind: str) -> _Completer:
    """
    Leave it to the shell, which knows files and directories.
    """

    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type=kind)]

    return complete


completeFiles = _byTheShell("file")
completeDirectories = _byTheShell("dir")


def completePriorities(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """
    The words for priorities.
    """
    return _items(PRIORITIES, incomplete)


def completeColumns(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """
    The names of columns, for the one behind the last comma.
    """
    before, comma, _ = incomplete.rpartition(",")
    return _items((f"{before}{comma}{name}" for name in COLUMNS), incomplete)


class JobID(Integer):
    """
    The ID of a job.

    @ivar states: of the jobs that are offered as a completion; empty for any.
    """

    name = "job id"

    def __init__(self, states: Sequence[JobState] = ()) -> None:
        super().__init__(1, MAX_INTEGER)
        self.states = states

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """
        The newest jobs whose ID begins so, if a daemon tells them in time.
        """
        session = ctx.find_object(Session)
        if session is None or not (isDigits(incomplete) or not incomplete):
            return []
        # Not above: what is typed most often is no ID, and this needs a reactor.
        from ._complete import jobsToOffer

        return [
            CompletionItem(str(job["id"]), help=escapeControls(f"{job['state']} {job['name']}"))
            for job in jobsToOffer(session, self.states)
            if isDigits(str(job["id"])) and str(job["id"]).startswith(incomplete)
        ]
