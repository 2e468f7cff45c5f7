"""
The soak, for a few seconds; and that it finds a fault.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from .faulty import FAULTS

ROOT = Path(__file__).parent.parent.parent

FOUND = {
    "lost": "WRONG: threaded: tasks added: ",
    "told-twice": ", as outcome number 2",
    "run-twice": ", and is run",
    "leaking": "WRONG: threaded: traced memory grew from ",
    "leaving-thread": "WRONG: threaded: <Thread(stray",
    "stuck": "Timeout (0:00:02)!",
}
"""
What the soak says of each fault.
"""

MORE = {"stuck": ("--patience", "2")}
"""
Options for one fault; the others are given all the time that they need.
"""


class SoakTests(SynchronousTestCase):
    """
    Tests for the soak, in processes of their own.
    """

    def begin(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        """
        Begin a soak. It is ended with the test, should it go on that long.
        """
        child = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", "-m", module, *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(child.communicate)
        self.addCleanup(child.kill)
        return child

    def test_balanced(self) -> None:
        """
        All accounts of both pools balance after a short soak, and it exits with 0.
        """
        child = self.begin("tests.soak", "--count", "400", "--workers", "16")
        output, errors = child.communicate(timeout=60)
        self.assertEqual((child.returncode, errors), (0, ""), output)
        for pool in ("WorkerPool", "DeferredWorkerPool"):
            self.assertIn(f"{pool}, round 2", output)

    def test_faults(self) -> None:
        """
        The soak of a pool with threads that has a fault says which account does not balance, and
        how to repeat it, and exits with 1.
        """
        options = ["--count", "400", "--workers", "4", "--seed", "5"]
        children = {
            fault: self.begin(
                "tests.soak.faulty", fault, *options, *MORE.get(fault, ()), "threaded"
            )
            for fault in FOUND
        }
        for fault, child in children.items():
            output, errors = child.communicate(timeout=60)
            self.assertEqual(child.returncode, 1, (fault, output, errors))
            self.assertIn(FOUND[fault], errors)
            self.assertIn("seed 5", output)

    def test_all(self) -> None:
        """
        Every fault is tried.
        """
        self.assertEqual(set(FOUND), set(FAULTS))
