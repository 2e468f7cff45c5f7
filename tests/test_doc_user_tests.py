"""
The tests that the documentation shows to a user pass under both runners.

These are pytest's functions: each starts a runner as a child process, in a folder
that is the user's own, where nothing of this project's settings holds.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHOWN = ROOT / "doc" / "examples" / "testing"
PAGE = ROOT / "doc" / "guides" / "test.rst"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["twisted.trial", "test_reports"], "PASSED (successes=4)"),
        (["pytest", "-W", "error"], "6 passed"),
    ],
    ids=["trial", "pytest"],
)
def test_runnerPasses(arguments: list[str], said: str, tmp_path: Path) -> None:
    """
    A runner finds the tests, all of them pass, and nothing warns.
    """
    for path in SHOWN.glob("*.py"):
        shutil.copy(path, tmp_path)
    child = subprocess.run(
        [sys.executable, "-W", "error", "-m", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert child.returncode == 0, child.stdout + child.stderr
    assert said in child.stdout


def test_allAreShown() -> None:
    """
    The page shows each of the files whole.
    """
    text = PAGE.read_text(encoding="utf-8")
    for path in SHOWN.glob("*.py"):
        assert f".. literalinclude:: ../examples/testing/{path.name}\n" in text
