"""
C{completion}.
"""

from __future__ import annotations

import click

from .._endings import ExitCode
from .._format import toJSON
from .._group import commands, verb
from .._names import COMPLETION, PROGRAM
from .._session import Session
from .._shells import SHELLS

__all__ = ["completion"]

_SHELLS = ("bash", "zsh", "fish")


@verb("completion")
@click.argument("shell", metavar="bash|zsh|fish", type=click.Choice(_SHELLS))
def completion(session: Session, shell: str) -> int:
    """
    Print a script by which a shell completes this command.

    It completes verbs, options and what they take, and the ids of jobs if the
    daemon answers at once.
    """
    (kind,) = (kind for kind in SHELLS if kind.name == shell)
    script = kind(commands, {}, PROGRAM, COMPLETION).source()
    session.write(toJSON({"shell": shell, "script": script}) if session.json else script)
    return ExitCode.DONE
