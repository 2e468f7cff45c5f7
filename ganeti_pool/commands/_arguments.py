"""
What a command may ask for, and the environment that it gets.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import chain, islice
from typing import Any

from ..errors import InvalidJob
from ..jobs import ATTEMPT_VARIABLE, JOB_VARIABLE, STATE_VARIABLE, AttemptContext

__all__ = [
    "ATTEMPT_VARIABLE",
    "JOB_VARIABLE",
    "STATE_VARIABLE",
    "checkArgs",
    "childEnvironment",
    "inheritedEnvironment",
]

_RESERVED = frozenset({JOB_VARIABLE, ATTEMPT_VARIABLE, STATE_VARIABLE})

_PASSED_ON = frozenset(
    {"HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER"}
)

_UMASK = re.compile(r"0?[0-7]{1,3}")


def checkArgs(args: object) -> None:
    """
    Refuse what L{CommandWorker <ganeti_pool.commands.CommandWorker>} could not
    run, whatever the state of the machine.

    Valid is C{[argv, options]}: C{argv} is an array of at least one string, of
    which the first is not empty; C{options} is an object with any of C{cwd} (an
    absolute path), C{umask} (an octal string such as C{"0022"}) and C{env} (an
    object of strings). Bytes that are no UTF-8 come as the surrogates with which
    Python decodes them (U+DC80 to U+DCFF); any other surrogate is refused.

    @raise InvalidJob: with every problem found, 50 at most.
    """
    if not isinstance(args, (list, tuple)) or len(args) != 2:
        raise InvalidJob(
            [("/args", "not_a_command", "the arguments are an array of a command and its options")]
        )
    argv, options = args
    found = chain(_problemsOfCommand(argv), _problemsOfOptions(options))
    problems = list(islice(found, _MOST_PROBLEMS))
    if problems:
        raise InvalidJob(problems)


def inheritedEnvironment() -> dict[str, str]:
    """
    Return the part of this process's environment that commands inherit.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith("LC_")
    }


def childEnvironment(
    inherited: Mapping[str, str], extra: Mapping[str, str], attempt: AttemptContext | None
) -> dict[str, str]:
    """
    Build the environment of a command, from three sources of which a later one
    wins:

     1. of the daemon's own: C{HOME}, C{LANG}, C{LANGUAGE}, C{LC_*}, C{LOGNAME},
        C{PATH}, C{SHELL}, C{TMPDIR}, C{TZ} and C{USER}, so that nothing else
        of it (a token, a service manager's socket) leaks into jobs;
     2. the job's C{env}, in which C{submit} sends its C{PATH};
     3. in a job, C{GANETI_POOL_JOB}, C{GANETI_POOL_ATTEMPT} and
        C{GANETI_POOL_STATE} (the state directory, with links resolved), by which
        L{killSurvivors <ganeti_pool.commands.killSurvivors>} knows it again.

    @param inherited: the first source, from L{inheritedEnvironment}.
    @param extra: the second.
    @param attempt: the third.
    """
    environment = {**inherited, **extra}
    if attempt is not None:
        environment[JOB_VARIABLE] = str(attempt.jobID)
        environment[ATTEMPT_VARIABLE] = str(attempt.attempt)
        environment[STATE_VARIABLE] = _realPath(attempt.stateDirectory)
    return environment


# Each call reads the status of every directory above. The daemon's does not change.
_realPath = lru_cache(maxsize=16)(os.path.realpath)

_Problem = tuple[str, str, str]

_MOST_PROBLEMS = 50
"""
More than these say nothing new of a command.
"""


def _problemsOfCommand(argv: object) -> Iterator[_Problem]:
    if not isinstance(argv, (list, tuple)) or not argv:
        yield "/args/0", "not_a_command", "the command is an array of at least one string"
        return
    if argv[0] == "":
        yield "/args/0/0", "empty", "the name of the program is empty"
    for index, argument in enumerate(argv):
        yield from _problemsOfText(f"/args/0/{index}", "an argument", argument)


def _problemsOfOptions(options: object) -> Iterator[_Problem]:
    if not isinstance(options, dict):
        yield "/args/1", "not_an_object", "the options of a command are an object"
        return
    for name, value in options.items():
        where = f"/args/1/{_pointer(name)}"
        if name == "cwd":
            yield from _problemsOfDirectory(where, value)
        elif name == "umask":
            yield from _problemsOfUmask(where, value)
        elif name == "env":
            yield from _problemsOfEnvironment(where, value)
        else:
            yield where, "unknown_option", "there is no such option: cwd, umask and env are"


def _problemsOfDirectory(where: str, value: object) -> Iterator[_Problem]:
    if isinstance(value, str) and not os.path.isabs(value):
        yield where, "relative_path", "the working directory is no absolute path"
    yield from _problemsOfText(where, "the working directory", value)


def _problemsOfUmask(where: str, value: object) -> Iterator[_Problem]:
    if not isinstance(value, str) or not _UMASK.fullmatch(value):
        yield where, "bad_umask", "the umask is no octal string such as '0022'"


def _problemsOfEnvironment(where: str, value: object) -> Iterator[_Problem]:
    if not isinstance(value, dict):
        yield where, "not_an_object", "the environment is an object of strings"
        return
    for name, text in value.items():
        entry = f"{where}/{_pointer(name)}"
        yield from _problemsOfText(entry, "the name of a variable", name)
        yield from _problemsOfText(entry, "a variable", text)
        if name == "" or "=" in str(name):
            yield entry, "bad_name", "this cannot be the name of a variable"
        if name in _RESERVED:
            yield entry, "reserved", "this variable is set by the daemon"


def _problemsOfText(where: str, what: str, value: object) -> Iterator[_Problem]:
    if not isinstance(value, str):
        yield where, "not_a_string", f"{what} is a string, not {type(value).__name__}"
    elif "\0" in value:
        yield where, "unusable_text", f"{what} holds a NUL character"
    else:
        try:
            # Not the rule of jobs.limits.loneSurrogate: exec takes bytes. A surrogate that
            # stands for one byte is allowed, and an ASCII locale has no bytes for valid text.
            os.fsencode(value)
        except UnicodeEncodeError:
            yield where, "unusable_text", f"{what} holds a character that has no bytes"


def _pointer(name: Any) -> str:
    return str(name).replace("~", "~0").replace("/", "~1")
