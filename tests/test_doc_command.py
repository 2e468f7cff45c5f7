"""
The reference of the command, as a manual page.

These are pytest's functions: each is run in a child process, and once is enough.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ganeti_pool.cli._verbs import commands

from .daemoncase import PATIENCE, ROOT

DOC = ROOT / "doc"


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    The manual page, as `make man` makes it.
    """
    pytest.importorskip("sphinx_click", reason="it is built where ganeti-pool[doc] is installed")
    place = tmp_path_factory.mktemp("man")
    made = subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "-q", "-b", "man", "-d", str(place / "doctrees")),
            *("-D", "extensions=measured,commandpages", str(DOC), str(place)),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert made.returncode == 0, made.stderr
    assert "command.rst" not in made.stderr
    return place / "ganeti-pool.1"


def test_manualIsWhole(manual: Path) -> None:
    """
    The manual page has every verb with its options, those of every verb once, and
    every exit code.
    """
    text = manual.read_text(encoding="utf-8").replace("\\-", "-")
    verbs = re.split(r"^\.SS (.+)$", text, flags=re.MULTILINE)
    sections = dict(zip(verbs[1::2], verbs[2::2], strict=True))
    shared = {name for param in commands.params for name in param.opts}
    for verb, command in commands.commands.items():
        shown = set(re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", sections[verb]))
        options = [param for param in command.params if isinstance(param, click.Option)]
        assert {name for param in options for name in param.opts} - shared <= shown, verb
    assert text.count("\n.B --state-dir") == 1
    for code in (0, 1, 2, 3, 4, 124, 129, 130, 141, 143):
        assert f"\n.B {code}\n" in text


def test_manualIsWellFormed(manual: Path) -> None:
    """
    groff has nothing to warn of.
    """
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed")
    shown = subprocess.run(
        [groff, "-t", "-man", "-Tutf8", "-ww", str(manual)],
        capture_output=True,
        timeout=PATIENCE,
    )
    assert (shown.returncode, shown.stderr) == (0, b"")
