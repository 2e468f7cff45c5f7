"""
How the reference of the command is made of the command.

sphinx-click shows what click knows of each verb. Beyond that: options of every
verb stand once, with the command itself; options, quoted texts and JSON in the
prose are literals, as in the rest of the pages; the arguments, which have no words
of their own, are in the usage alone.
"""

from __future__ import annotations

import re

import click
from sphinx.application import Sphinx

__all__ = ["setup"]

LITERAL = re.compile(
    r"""
    \["[^]]*"\]  # an array
    | (?<!\w)'[^']+'  # a word in quotes
    | https?://[\w.:]+\b
    | (?<![\w-])--?[a-z][a-z-]*  # an option
    """,
    re.VERBOSE,
)

OPTION = ".. option:: "


def markLiterals(lines: list[str]) -> None:
    """
    Make literals of what is to be typed, but in the headings of options.
    """
    lines[:] = [
        line if line.startswith(OPTION) else LITERAL.sub(r"``\g<0>``", line) for line in lines
    ]


def describe(app: Sphinx, ctx: click.Context, lines: list[str]) -> None:
    """
    Called with the description of a verb.
    """
    markLiterals(lines)


def showOptions(app: Sphinx, ctx: click.Context, lines: list[str]) -> None:
    """
    Called with the options of a verb, each a directive with its content.
    """
    shared = () if ctx.parent is None else ctx.parent.command.params
    elsewhere = {name for param in shared for name in param.opts}
    # What an option takes is told as --help does it.
    choices = {
        f"<{param.name}>": f"<{'|'.join(param.type.choices)}>"
        for param in ctx.command.params
        if isinstance(param.type, click.Choice)
    }
    kept: list[str] = []
    isKept = True
    for line in lines:
        if line.startswith(OPTION):
            isKept = re.split(r"[ ,]", line.removeprefix(OPTION))[0] not in elsewhere
            name = line.rpartition(" ")[2]
            line = line.replace(name, choices.get(name, name))
        if isKept and not line.lstrip().startswith(":options:"):
            kept.append(line)
    lines[:] = kept
    markLiterals(lines)


def showNoArguments(app: Sphinx, ctx: click.Context, lines: list[str]) -> None:
    """
    Called with the arguments of a verb.
    """
    lines.clear()


def setup(app: Sphinx) -> dict[str, bool]:
    """
    Called by Sphinx.
    """
    app.setup_extension("sphinx_click")
    app.connect("sphinx-click-process-description", describe)
    app.connect("sphinx-click-process-options", showOptions)
    app.connect("sphinx-click-process-arguments", showNoArguments)
    return {"parallel_read_safe": True}
