"""
Tests for C{tests.benchmarks}: that they do their work, and not how fast.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.benchmarks._blocking import verify
from tests.benchmarks._report import report
from tests.benchmarks._rows import LABELS, ROWS, Row
from tests.benchmarks._run import Measured

ROOT = Path(__file__).parents[1]

PEERS = {"asynqueue": "asynqueue", "anyio": "anyio", "trio": "trio", "pebble": "pebble"}
"""
The engines that need something that need not be installed, and what it is.
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """
    Run the command of the benchmarks.
    """
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )


class QuickRunTests(SynchronousTestCase):
    """
    Tests for C{python -m tests.benchmarks --quick}.
    """

    def test_everyRow(self) -> None:
        """
        A quick run measures every engine that is installed in every row, names the
        others, and leaves the figures as a table and as JSON.
        """
        with TemporaryDirectory() as directory:
            process = run("--quick", "--out", directory)
            self.assertEqual(process.returncode, 0, process.stderr)
            result = json.loads(Path(directory, "results.json").read_text())
        missing = {engine for engine, module in PEERS.items() if find_spec(module) is None}
        self.assertEqual({one["engine"] for one in result["skipped"]}, missing)
        self.assertTrue(result["quick"])
        self.assertEqual(result["rounds"], 1)
        self.assertEqual([row["row"] for row in result["rows"]], [row.key for row in ROWS])
        for row, found in zip(ROWS, result["rows"], strict=True):
            self.assertEqual(
                {one["engine"] for one in found["measurements"]},
                {*row.ours, *row.peers} - missing,
            )
            for one in found["measurements"]:
                self.assertEqual(one["count"], row.quickCount)
                self.assertEqual(len(one["rounds"]), 1)
                self.assertGreater(one["median"], 0)
            self.assertEqual(
                {(one["engine"], one["peer"]) for one in found["ratios"]},
                {(ours, peer) for ours in row.ours for peer in row.peers if peer not in missing},
            )
            self.assertIn(row.title, process.stdout)
        for engine in missing:
            self.assertIn(f"Left out: {LABELS[engine]}", process.stdout)

    def test_unknownRow(self) -> None:
        """
        A row that does not exist is refused before anything is measured.
        """
        process = run("--quick", "walking")
        self.assertEqual(process.returncode, 2)
        self.assertIn("no such row: walking", process.stderr)


class ReportTests(SynchronousTestCase):
    """
    Tests for L{report}.
    """

    row = Row(
        "adding",
        "work",
        count=10,
        quickCount=1,
        ours=("add-task",),
        peers=("executor", "asynqueue"),
        workers=(1,),
        ratios={("add-task", "executor"): 4},
        limits={"microseconds": 2},
    )

    def reportOn(self, ours: list[float], theirs: list[float]) -> dict[str, Any]:
        """
        Report on figures.
        """
        measured = [
            Measured("adding", "add-task", 1, 10, {"microseconds": ours}),
            Measured("adding", "executor", 1, 10, {"microseconds": theirs}),
            Measured("adding", "asynqueue", 1, 10, missing="asynqueue"),
        ]
        return report([self.row], measured, len(ours), False)

    def test_ratioOfRounds(self) -> None:
        """
        A ratio is the median of the ratios of the rounds, with their spread.
        """
        result = self.reportOn([1.0, 2.0, 4.0], [6.0, 8.0, 40.0])
        (ratio,) = result["rows"][0]["ratios"]
        self.assertEqual((ratio["low"], ratio["median"], ratio["high"]), (4.0, 6.0, 10.0))
        self.assertEqual(ratio["target"], 4)
        self.assertIs(ratio["reached"], True)

    def test_missed(self) -> None:
        """
        A ratio below its target, and a figure above its limit, are not reached.
        """
        result = self.reportOn([3.0], [11.0])
        row = result["rows"][0]
        self.assertIs(row["ratios"][0]["reached"], False)
        ours, theirs = row["measurements"]
        self.assertIs(ours["reached"], False)
        self.assertIsNone(theirs["reached"])

    def test_missingPeer(self) -> None:
        """
        A peer that is not installed is named with what it needs.
        """
        result = self.reportOn([1.0], [5.0])
        self.assertEqual(result["skipped"], [{"engine": "asynqueue", "missing": "asynqueue"}])


class VerifyTests(SynchronousTestCase):
    """
    Tests for L{verify}.
    """

    def test_workNotDone(self) -> None:
        """
        A measurement whose work was not done fails.
        """
        verify("sum", 3, 3)
        self.assertRaises(RuntimeError, verify, "sum", 2, 3)
