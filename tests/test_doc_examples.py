"""
The examples of the documentation do what it says.

An example is a program C{doc/examples/NAME.py} with its output in C{NAME.out}.
The pages show both with C{literalinclude}. C{README.md}, which can include
nothing, repeats them: each of its Python blocks is the whole of one program, and
the block without a language (or with C{text}) that follows is its output.

These are pytest's functions: each is run in a child process, and once is enough.
"""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOC = ROOT / "doc"
PROGRAMS = sorted((DOC / "examples").glob("*.py"))
PAGES = sorted(path for path in DOC.rglob("*.rst") if "_build" not in path.parts)

FENCED = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INCLUDED = re.compile(r"^\.\. literalinclude:: (\S+)$", re.MULTILINE)
UNTESTED = re.compile(r"^ *(\.\. code-block:: python|>>> .*)$", re.MULTILINE)


def blocksOf(text: str) -> list[tuple[str, str]]:
    """
    The fenced blocks of a Markdown text, as (language, content).
    """
    return [(found[1], found[2]) for found in FENCED.finditer(text)]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_exampleRuns(program: Path, tmp_path: Path) -> None:
    """
    An example ends well, warns of nothing, and prints what the documentation shows.
    """
    child = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    expected = program.with_suffix(".out").read_text(encoding="utf-8")
    assert (child.stdout, child.stderr, child.returncode) == (expected, "", 0)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(DOC)))
def test_pageShowsExamples(page: Path) -> None:
    """
    A page has its Python from files that exist, and types none in by hand.
    """
    text = page.read_text(encoding="utf-8")
    missing = [name for name in INCLUDED.findall(text) if not (page.parent / name).is_file()]
    assert missing == []
    assert UNTESTED.findall(text) == []


def test_everyExampleIsShown() -> None:
    """
    Every example, and its output, is shown in some page or in the README.
    """
    shown = {
        (page.parent / name).resolve()
        for page in PAGES
        for name in INCLUDED.findall(page.read_text(encoding="utf-8"))
    }
    files = {path for program in PROGRAMS for path in (program, program.with_suffix(".out"))}
    repeated = {path for path in files if path.stem == "readme"}
    assert files - shown - repeated == set()


def test_readmeRepeatsExamples() -> None:
    """
    Each Python block of the README is an example, and the output that follows is
    the example's.
    """
    programs = {path.read_text(encoding="utf-8"): path for path in PROGRAMS}
    blocks = blocksOf((ROOT / "README.md").read_text(encoding="utf-8"))
    for (language, content), following in zip_longest(blocks, blocks[1:]):
        if language == "python":
            assert content in programs, f"no file of doc/examples is this block:\n{content}"
            expected = programs[content].with_suffix(".out").read_text(encoding="utf-8")
            assert following in [("", expected), ("text", expected)]
