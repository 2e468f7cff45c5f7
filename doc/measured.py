"""
How the pages show what C{python -m tests.benchmarks} has found.

C{.. measured:: row} is the table of one row, and a role gives one figure of it:
C{:measured:`adding measurements engine=add-task workers=4`}, or C{ratios} or
C{steadiness} in the place of C{measurements}. Both come from
C{explanation/benchmark.json}. What is not there, or not once, fails the build; so no
page says another number than was measured.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]  # its types are another package
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective, SphinxRole

from tests.benchmarks._report import COLUMNS, short, tableLines

__all__ = ["Figure", "RowTable", "setup"]

RESULTS = Path(__file__).parent / "explanation" / "benchmark.json"


def findRow(env: BuildEnvironment, key: str) -> dict[str, Any]:
    """
    @raise LookupError: if it was not measured.
    """
    env.note_dependency(str(RESULTS))
    for row in json.loads(RESULTS.read_text())["rows"]:
        if row["row"] == key:
            found: dict[str, Any] = row
            return found
    raise LookupError(f"{RESULTS.name} has no row {key!r}")


def findFigure(env: BuildEnvironment, text: str) -> str:
    """
    @param text: the row, the part of it, and what the figure is known by.
    @raise LookupError: if there is not one such figure.
    """
    key, part, *conditions = text.split()
    wanted = dict(condition.split("=") for condition in conditions)
    found = [
        one
        for one in findRow(env, key)[part]
        if all(str(one[name]) == value for name, value in wanted.items())
    ]
    if len(found) != 1:
        raise LookupError(f"{len(found)} figures of {RESULTS.name} are {text!r}")
    (one,) = found
    return short(one["median"]) + (f" {one['unit']}" if part == "measurements" else "")


class Figure(SphinxRole):
    """
    One figure.
    """

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """
        Make its text.
        """
        try:
            return [nodes.Text(findFigure(self.env, self.text))], []
        except (LookupError, ValueError) as error:
            message = self.inliner.reporter.error(str(error), line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]


class RowTable(SphinxDirective):
    """
    The table of a row.
    """

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """
        Make the table.
        """
        try:
            row = findRow(self.env, self.arguments[0])
        except LookupError as error:
            raise self.error(str(error)) from None
        table = nodes.table("", nodes.title("", row["title"]))
        group = nodes.tgroup(cols=len(COLUMNS))
        table += group
        for _ in COLUMNS:
            group += nodes.colspec(colwidth=1)
        group += nodes.thead("", _line(COLUMNS))
        group += nodes.tbody("", *map(_line, tableLines(row)))
        return [table]


def _line(cells: tuple[str, ...]) -> nodes.row:
    """
    One line of a table.
    """
    return nodes.row("", *(nodes.entry("", nodes.paragraph(text=cell)) for cell in cells))


def setup(app: Sphinx) -> dict[str, bool]:
    """
    What Sphinx calls.
    """
    app.add_directive("measured", RowTable)
    app.add_role("measured", Figure())
    return {"parallel_read_safe": True}
