"""
What changes jobs: C{cancel}, C{priority}, C{retry} and C{prune}.

Each takes the ids of jobs, or says by their state, name and labels which; then it
asks before it changes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import Any

import click

from ...jobs import FINISHED, JobState
from .._changes import CANCEL, REMOVE, RETRY, Change, moveTo
from .._find import Selection
from .._format import Wire, parseTimestamp
from .._group import Verb, verb
from .._options import jobIDs, labelOption, nameOption, stateOption, yesOption
from .._session import Session
from .._values import parsePriority, parseTime
from .._words import completePriorities

__all__ = ["cancel", "priority", "prune", "retry"]

_Function = Callable[..., Verb]


@dataclass(frozen=True)
class _Jobs:
    """
    Which jobs, as it was typed.

    @ivar isSure: whether not to ask.
    """

    ids: tuple[int, ...]
    state: tuple[str, ...]
    name: str | None
    labels: dict[str, str]
    isSure: bool

    def selection(self, possible: Iterable[JobState]) -> Selection | None:
        """
        The jobs that the options describe; L{None} if they are all absent.

        @param possible: the states to take if none is named.
        """
        if not self.state and self.name is None and not self.labels:
            return None
        return Selection(self.state or [state.value for state in possible], self.name, self.labels)


def _jobsOrFilters(*states: JobState) -> Callable[[_Function], _Function]:
    """
    The argument and the options that say which jobs; the verb gets them as
    L{_Jobs}, behind the session.

    @param states: in which a job is, if the verb is to do something to it.
    """

    def declare(function: _Function) -> _Function:
        @wraps(function)
        def call(
            session: Session,
            ids: tuple[int, ...],
            state: tuple[str, ...],
            name: str | None,
            labels: dict[str, str],
            isSure: bool,
            **given: Any,
        ) -> Verb:
            return function(session, _Jobs(ids, state, name, labels, isSure), **given)

        for declaration in (
            yesOption,
            labelOption("Only jobs with this label"),
            nameOption,
            stateOption(*states),
            jobIDs(*states, metavar="[ID]..."),
        ):
            call = declaration(call)
        return call

    return declare


def _changeJobs(
    session: Session,
    change: Change,
    ids: tuple[int, ...],
    which: Selection | None,
    isSure: bool,
) -> Verb:
    """
    Change the jobs that were named, or those that were described.

    @param which: L{None} if no option says which jobs.

    @raise click.UsageError: if there are both or neither, or if there is a question
        and nobody to answer it.
    """
    if bool(ids) == (which is not None):
        raise click.UsageError(
            "Give IDs, or say which jobs by --state, --name or --label; not both."
        )
    if not (which is None or isSure or session.canAsk()):
        raise click.UsageError("There is no terminal to ask at: say --yes.")

    async def run() -> int:
        # Not above: a mistake needs no client.
        from .._bulk import changeAll, changeEach

        if which is None:
            return await changeEach(session, ids, change)
        return await changeAll(session, which, change, isSure)

    return run()


_UNFINISHED = (JobState.QUEUED, JobState.RUNNING)


@verb("cancel")
@_jobsOrFilters(*_UNFINISHED)
def cancel(session: Session, jobs: _Jobs) -> Verb:
    """
    Withdraw queued jobs, and tell running ones to end.

    Give IDs, or say by --state, --name or --label which jobs. These are counted,
    and you are asked; with --yes you are not. One that was counted as queued and has
    begun meanwhile is left alone.
    """
    return _changeJobs(session, CANCEL, jobs.ids, jobs.selection(_UNFINISHED), jobs.isSure)


# A negative number is not taken for an option.
@verb("priority", ignore_unknown_options=True)
@click.argument("priority", metavar="N", type=parsePriority, shell_complete=completePriorities)
@_jobsOrFilters(JobState.QUEUED)
def priority(session: Session, jobs: _Jobs, priority: int) -> Verb:
    """
    Move queued jobs to another priority.

    N is a whole number as in nice(1), lower first; or low, normal or high, which
    are 10, 0 and -10.

    Give IDs, or say by --state, --name or --label which jobs. These are counted,
    and you are asked; with --yes you are not.
    """
    which = jobs.selection([JobState.QUEUED])
    return _changeJobs(session, moveTo(priority), jobs.ids, which, jobs.isSure)


_UNSUCCESSFUL = (JobState.FAILED, JobState.CANCELLED)


@verb("retry")
@_jobsOrFilters(*_UNSUCCESSFUL)
@click.option(
    "--interrupted",
    is_flag=True,
    help="Only jobs that failed because the daemon ended while they ran.",
)
def retry(session: Session, jobs: _Jobs, interrupted: bool) -> Verb:
    """
    Queue jobs that failed or were cancelled once more.

    A job keeps its id and its earlier attempts. One that waits or runs is left as
    it is.

    Give IDs, or say by --state, --name, --label or --interrupted which jobs. These
    are counted, and you are asked; with --yes you are not.
    """
    which = jobs.selection(_UNSUCCESSFUL)
    if interrupted:
        if JobState.CANCELLED.value in jobs.state:
            raise click.UsageError("--interrupted means jobs that failed: leave out --state.")
        which = Selection([JobState.FAILED.value], jobs.name, jobs.labels, _wasInterrupted)
    return _changeJobs(session, RETRY, jobs.ids, which, jobs.isSure)


def _wasInterrupted(job: Wire) -> bool:
    return job["error"] is not None and bool(job["error"]["code"] == "interrupted")


_FINISHED = tuple(state for state in JobState if state in FINISHED)


@verb("prune")
@click.option(
    "--older-than",
    "age",
    metavar="TIME",
    type=parseTime,
    help="Only jobs that finished so long ago, such as 7d or 12h.",
)
@stateOption(*_FINISHED)
@yesOption
def prune(session: Session, age: float | None, state: tuple[str, ...], isSure: bool) -> Verb:
    """
    Forget finished jobs, and remove their output.

    Say by --older-than or --state which jobs. They are counted, and you are asked;
    with --yes you are not. With --json, each job is printed as it was.
    """
    if age is None and not state:
        raise click.UsageError("Say which jobs by --older-than or --state.")

    def isOld(job: Wire) -> bool:
        return parseTimestamp(job["finished_at"]) <= session.now() - timedelta(seconds=age or 0)

    which = Selection(state or [one.value for one in _FINISHED], suits=isOld)
    return _changeJobs(session, REMOVE, (), which, isSure)
