"""
Tests for the clock by which the daemon waits.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.daemon import goSteady
from ganeti_pool.testing import FakeReactor

ROOT = Path(__file__).parent.parent


class ClockTests(SynchronousTestCase):
    """
    Tests for L{goSteady <ganeti_pool.daemon.goSteady>}.
    """

    def assertWaits(self, kind: str) -> None:
        """
        What is to be called soon is, though the time of day goes back by an hour.
        """
        child = subprocess.run(
            [sys.executable, "-W", "error", "-m", "tests.clock_child", kind],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual((child.stdout, child.returncode), ("1\n", 0), child.stderr)

    def test_clock(self) -> None:
        """
        It is the clock that runs since the machine does.
        """
        reactor = FakeReactor()
        goSteady(reactor)
        before = time.monotonic()
        self.assertLessEqual(before, reactor.seconds())
        self.assertLessEqual(reactor.seconds(), time.monotonic())

    def test_select(self) -> None:
        """
        A reactor that waits for files by itself waits no longer.
        """
        self.assertWaits("select")

    def test_asyncio(self) -> None:
        """
        One on a loop of asyncio does not either.
        """
        self.assertWaits("asyncio")
