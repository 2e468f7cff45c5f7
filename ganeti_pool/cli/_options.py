"""
What the verbs share: how they are declared, the global options, and how
priorities, times, columns and ids are read and completed.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..jobs import JobState
from ._format import COLUMNS, escapeControls, parseDuration
from ._names import PROGRAM
from ._session import Session

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = [
    "JobID",
    "Number",
    "Verb",
    "Word",
    "commands",
    "completeColumns",
    "completeDirectories",
    "completeFiles",
    "completePriorities",
    "jobIDs",
    "labelOption",
    "parseColumns",
    "parseLabels",
    "parseLimit",
    "parseMoment",
    "parsePriority",
    "parseTime",
    "stateOption",
    "timeoutOption",
    "verb",
]

Verb = Coroutine[Any, Any, int]
"""
What a verb returns: it does the work, and gives the exit code.
"""

_Callback = TypeVar("_Callback", bound=Callable[..., Any])

_Completer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]

_PRIORITIES = {"low": 10, "normal": 0, "high": -10}

_LEAST, _MOST = -1 << 63, (1 << 63) - 1
"""
The numbers that the daemon takes.
"""


def parsePriority(text: str) -> int:
    """
    A whole number, or C{low}, C{normal} or C{high}.

    @raise click.BadParameter: if it is neither, or larger than a job can hold.
    """
    try:
        priority = _PRIORITIES[text] if text in _PRIORITIES else int(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is neither a whole number nor low, normal or high."
        ) from None
    if not _LEAST <= priority <= _MOST:
        raise click.BadParameter(f"{text} is not from {_LEAST} to {_MOST}.")
    return priority


def parseTime(text: str) -> float:
    """
    A duration, in seconds.

    @raise click.BadParameter: if it is none, or too long.
    """
    try:
        return parseDuration(text)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{error}.") from None


def parseLimit(text: str) -> float:
    """
    A duration in which something can be done, in seconds.

    @raise click.BadParameter: if it is none, or too long.
    """
    seconds = parseTime(text)
    if not seconds:
        raise click.BadParameter("it must be more than nothing.")
    return seconds


def parseMoment(text: str) -> float | datetime:
    """
    A moment: how many seconds ago, or a time, local unless it has an offset.

    @raise click.BadParameter: if it is neither, or too long ago.
    """
    try:
        return parseDuration(text)
    except OverflowError as error:
        raise click.BadParameter(f"{error}.") from None
    except ValueError:
        pass
    try:
        # Python 3.10 does not read "Z".
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone()
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is neither a duration such as 2h nor a time such as 2026-01-31 "
            "or '2026-01-31 09:15'."
        ) from None


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


def _items(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _byTheShell(kind: str) -> _Completer:
    """
    Leave it to the shell, which knows files and directories.
    """

    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

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
    return _items(_PRIORITIES, incomplete)


def completeColumns(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """
    The names of columns, for the one behind the last comma.
    """
    before, comma, _ = incomplete.rpartition(",")
    return _items((f"{before}{comma}{name}" for name in COLUMNS), incomplete)


class Word(click.types.StringParamType):
    """
    Text that is not empty, as C{"$UNSET"} is.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """
        The text.

        @raise click.BadParameter: if there is none.
        """
        if not value:
            raise click.BadParameter("it is empty.", ctx, param)
        return super().convert(value, param, ctx)


class Number(click.IntRange):
    """
    A whole number of at least so much, and one that the daemon takes.
    """

    name = "whole number"

    def __init__(self, least: int) -> None:
        super().__init__(least, _MOST)


class JobID(click.IntRange):
    """
    The ID of a job.

    @ivar states: of the jobs that are offered as a completion; empty for any.
    """

    name = "job id"

    def __init__(self, states: Sequence[JobState] = ()) -> None:
        super().__init__(1, _MOST)
        self.states = states

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """
        The newest jobs whose ID begins so, if a daemon tells them in time.
        """
        session = ctx.find_object(Session)
        if session is None or not (incomplete.isdecimal() or not incomplete):
            return []
        # Not above: what is typed most often is no ID, and this needs a reactor.
        from click.shell_completion import CompletionItem

        from ._complete import jobsToOffer

        return [
            CompletionItem(str(job["id"]), help=escapeControls(f"{job['state']} {job['name']}"))
            for job in jobsToOffer(session, self.states)
            if str(job["id"]).startswith(incomplete)
        ]


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
        help=f"{help}; may be given again.",
    )


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


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    session = ctx.find_object(Session)
    if session is not None and param.name is not None and value:
        setattr(session, param.name, value)


def _globalOptions() -> list[click.Option]:
    """
    The options that stand before the verb or behind it.
    """
    return [
        click.Option([name, attribute], expose_value=False, callback=_remember, **settings)
        for name, attribute, settings in (
            (
                "--state-dir",
                "stateDir",
                {
                    "metavar": "DIR",
                    "type": Word(),
                    "shell_complete": completeDirectories,
                    "help": "The daemon's state directory; by default the user's.",
                },
            ),
            (
                "--url",
                "url",
                {
                    "metavar": "URL",
                    "type": Word(),
                    "help": "A daemon that listens elsewhere, such as http://127.0.0.1:8080.",
                },
            ),
            (
                "--token-file",
                "tokenFile",
                {
                    "metavar": "FILE",
                    "type": Word(),
                    "shell_complete": completeFiles,
                    "help": "The file with the bearer token for --url.",
                },
            ),
            ("--json", "json", {"is_flag": True, "help": "JSON, an object a line; times in UTC."}),
            ("--no-color", "noColor", {"is_flag": True, "help": "No colours on a terminal."}),
        )
    ]


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
    130 Ctrl-C.
    """


commands.params.extend(_globalOptions())


def verb(name: str, **settings: Any) -> Callable[[Callable[..., Verb | int]], click.Command]:
    """
    Make a verb of a function that takes the session first, and returns what is to
    run in a reactor, or the exit code if nothing is.
    """

    def declare(function: Callable[..., Verb | int]) -> click.Command:
        command = commands.command(name, context_settings=settings)(click.pass_obj(function))
        # Behind its own, which are what one looks for.
        command.params.extend(_globalOptions())
        return command

    return declare
