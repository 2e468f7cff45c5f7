"""
The tests that the documentation shows to a user pass under both runners.

These are pytest's functions: each starts a runner as a child process, in a folder
that is the user's own, where nothing of this project's settings holds.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHOWN = ROOT / "doc" / "examples" / "testing"
PAGE = ROOT / "doc" / "guides" / "test.rst"

SAID = ("PASSED (successes=4)", "6 passed")
"""
What the commands of the page print, in their order.
"""


COMMAND = re.compile(r"^   \$ (.+)$", re.MULTILINE)


def test_commandsPass(tmp_path: Path) -> None:
    """
    Each command that the page shows, as it is written there and in the directory of the files,
    finds the tests; all of them pass, and nothing warns.
    """
    files = tmp_path / "files"
    files.mkdir()
    for path in SHOWN.glob("*.py"):
        shutil.copy(path, files)
    # What an active virtual environment has.
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONWARNINGS": "error",
    }
    commands = COMMAND.findall(PAGE.read_text(encoding="utf-8"))
    assert len(commands) == len(SAID)
    for command, said in zip(commands, SAID, strict=True):
        child = subprocess.run(
            ["sh", "-c", command],
            cwd=files,
            env=environment,
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
