"""
What C{make demo} runs tells right from wrong, and cleans up.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from .daemoncase import PATIENCE, ROOT

DEMO = ROOT / "doc" / "demo.py"

ALTERED = """
import os, sys
import demo

_, directory, root = sys.argv
os.mkdir(directory, 0o700)
demo.mkdtemp = lambda **names: directory
original = demo.checkOutput

async def checkOutput(client, jobs, checksums):
    with open(f"{directory}/output/{jobs[-1]['id']}/1.0/stdout", "r+b") as file:
        file.write(b"x")
    await original(client, jobs, checksums)

demo.checkOutput = checkOutput
demo.react(demo.main, [root])
"""


def load() -> Any:
    """
    The program as a module.
    """
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class DemoTests(SynchronousTestCase):
    """
    Tests for C{doc/demo.py}.
    """

    def setUp(self) -> None:
        scratch = TemporaryDirectory(prefix="ganeti-pool-test-", dir="/tmp")
        self.addCleanup(scratch.cleanup)
        self.scratch = Path(scratch.name)
        # too deep for a socket
        self.root = self.scratch / ("d" * 100) / "checkout"
        for name in ("a", "b", "c/d", "c/-e", "c/with space", "é", "empty", ".git/x", "g.pyc"):
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name if name != "empty" else "")

    def start(self, *command: str) -> subprocess.Popen[str]:
        """
        Start a program of Python, in a session of its own as on a terminal.
        """
        process = subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=self.scratch,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": f"{DEMO.parent}:{ROOT}"},
        )
        self.addCleanup(process.__exit__, None, None, None)
        self.addCleanup(process.kill)
        return process

    def assertNothingLeft(self, said: str) -> None:
        """
        Neither the directory that a run has named nor a process that knows of it is
        there.
        """
        found = re.search(r"/tmp/ganeti-pool-\S+\w", said)
        assert found is not None, said
        self.assertFalse(os.path.exists(found[0]))
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                about = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:  # it has ended, or is no business of ours
                continue
            self.assertNotIn(found[0].encode(), about)

    def test_right(self) -> None:
        """
        With all as it should be it says so, of every file and of none that a tool
        has made, and ends with 0.
        """
        process = self.start(str(DEMO), str(self.root))
        said, complaint = process.communicate(timeout=PATIENCE)
        self.assertEqual((process.returncode, complaint), (0, ""), said)
        self.assertIn("each of 7 files", said)
        self.assertIn("All 6 checksums", said)
        self.assertNothingLeft(said)

    def test_alteredOutput(self) -> None:
        """
        One altered byte of one stored output is noticed, and it ends with 1.
        """
        directory = self.scratch / "ganeti-pool-altered"
        process = self.start("-c", ALTERED, str(directory), str(self.root))
        said, _ = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 1, said)
        self.assertIn("hashlib computes", said)
        self.assertFalse(directory.exists())

    def test_anotherOrder(self) -> None:
        """
        Two jobs that ran in another order than asked for are noticed.
        """
        demo = load()
        jobs: list[dict[str, Any]] = [
            {"id": 1, "priority": 10, "revision": 30, "started_at": "3"},
            {"id": 2, "priority": 0, "revision": 10, "started_at": "1"},
            {"id": 3, "priority": 0, "revision": 20, "started_at": "2"},
        ]
        demo.checkOrder(jobs)
        jobs[1]["revision"] = 25
        error = self.assertRaises(demo.DemoFailed, demo.checkOrder, jobs)
        self.assertIn("job 3", str(error))
        jobs[1].update(revision=10, started_at="2.5")
        self.assertRaises(demo.DemoFailed, demo.checkOrder, jobs)

    def test_interrupted(self) -> None:
        """
        Ctrl-C at any step, once and again, ends it with 130 and leaves nothing,
        whether the daemon gets the signal too or not.
        """
        for steps, kill in (1, os.kill), (2, os.killpg), (3, os.killpg), (6, os.kill):
            process = self.start(str(DEMO), str(self.root))
            assert process.stdout is not None
            said = "".join(process.stdout.readline() for _ in range(steps))
            kill(process.pid, signal.SIGINT)
            kill(process.pid, signal.SIGINT)
            more, complaint = process.communicate(timeout=PATIENCE)
            self.assertEqual((process.returncode, complaint), (130, ""), said + more)
            self.assertIn("Interrupted.", more)
            self.assertNothingLeft(said)
