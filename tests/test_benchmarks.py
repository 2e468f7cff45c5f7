"""
Tests for C{tests.benchmarks}: that they do their work, and not how fast.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
from contextlib import redirect_stdout
from dataclasses import replace
from hashlib import sha256
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from shutil import copytree, ignore_patterns, which
from tempfile import TemporaryDirectory
from typing import Any
from unittest import SkipTest

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.workerpool import BaseWorker, WorkerPool
from tests.benchmarks._base import BaseRejected, Pair, checkOut, compareRows, comparison
from tests.benchmarks._blocking import verify
from tests.benchmarks._commands import busyProcesses, findTaskSpooler
from tests.benchmarks._holding import WatchedLock
from tests.benchmarks._lateness import Probe
from tests.benchmarks._missing import NotInstalled
from tests.benchmarks._report import printReport, report
from tests.benchmarks._rows import LABELS, ROWS, Row
from tests.benchmarks._run import Measured
from tests.benchmarks._textbook import ConditionPool

ROOT = Path(__file__).parents[1]

PEERS = {
    "asynqueue": "asynqueue",
    "anyio": "anyio",
    "trio": "trio",
    "pebble": "pebble",
    "huey": "huey",
    "persist-queue": "persistqueue",
}
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


def belongTogether(directory: Path) -> bool:
    """
    Whether the chart in a folder was drawn of the JSON there.
    """
    digest = sha256(Path(directory, "benchmark.json").read_bytes()).hexdigest()
    return f"benchmark.json sha256:{digest}" in Path(directory, "benchmark.svg").read_text()


UNPUBLISHED = {"answering", "commands", "commands-busy", "restarting-after-a-crash"}
"""
The rows that were added since the published run; the next one has them too.
"""


class QuickRunTests(SynchronousTestCase):
    """
    Tests for C{python -m tests.benchmarks --quick}.
    """

    def test_everyRow(self) -> None:
        """
        A quick run measures every engine that is installed in every row, names the
        others, and leaves the figures as a table, as JSON and as a chart.
        """
        with TemporaryDirectory() as directory:
            process = run("--quick", "--out", directory)
            self.assertEqual(process.returncode, 0, process.stderr)
            self.checkChart(Path(directory), process.stdout)
            result = json.loads(Path(directory, "benchmark.json").read_text())
        missing = {engine for engine, module in PEERS.items() if find_spec(module) is None}
        if which("tsp") is None:
            missing.add("task-spooler")
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
                self.assertIn(one["count"], row.quickCounts)
                self.assertEqual(len(one["rounds"]), 1)
                if one["figure"] in row.compared:
                    self.assertGreater(one["median"], 0)
            self.assertEqual({one["count"] for one in found["measurements"]}, set(row.quickCounts))
            self.assertEqual(
                {(one["engine"], one["peer"]) for one in found["ratios"]},
                {
                    (ours, peer)
                    for ours in row.ours
                    for peer in row.peers
                    if peer not in missing and row.compared
                },
            )
            self.assertEqual(
                {one["engine"] for one in found["steadiness"]},
                set() if row.steady is None else {*row.ours, *row.peers} - missing,
            )
            self.assertIn(row.title, process.stdout)
        for engine in missing:
            self.assertIn(f"Left out: {LABELS[engine]}", process.stdout)

    def checkChart(self, directory: Path, printed: str) -> None:
        """
        The chart is drawn of the JSON beside it, if there is something to draw with.
        """
        if find_spec("matplotlib") is None:
            self.assertIn("No chart, since matplotlib is not installed", printed)
        else:
            self.assertTrue(belongTogether(directory))

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
        module="_blocking",
        counts=(10,),
        quickCounts=(1,),
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

    def test_comparedFigures(self) -> None:
        """
        A ratio is taken of the figures that the row compares, and the target is that
        of the first.
        """
        row = replace(self.row, compared=("bytes", "entries"))
        figures = {"entries": [1.0], "bytes": [1.0], "microseconds": [1.0]}
        measured = [Measured("adding", one, 1, 10, figures) for one in ("add-task", "executor")]
        ratios = report([row], measured, 1, False)["rows"][0]["ratios"]
        self.assertEqual(
            [(one["figure"], one["target"]) for one in ratios], [("bytes", 4), ("entries", None)]
        )

    def test_steadiness(self) -> None:
        """
        An engine's largest figure of a round is compared with its least, over all
        workers and counts; ours are to hold to the limit.
        """
        row = replace(self.row, steady=1.5)
        measured = [
            Measured("adding", engine, workers, count, {"microseconds": values})
            for engine in ("add-task", "executor")
            for workers, count, values in (
                (1, 10, [1.0, 4.0]),
                (4, 10, [3.0, 4.0]),
                (1, 5, [2.0, 2.0]),
            )
        ]
        ours, theirs = report([row], measured, 2, False)["rows"][0]["steadiness"]
        self.assertEqual((ours["low"], ours["median"], ours["high"]), (2.0, 2.5, 3.0))
        self.assertEqual((ours["limit"], ours["reached"]), (1.5, False))
        self.assertEqual((theirs["limit"], theirs["reached"]), (None, None))

    def test_ratiosOfOneCount(self) -> None:
        """
        A ratio is of two engines that had the same amount of work.
        """
        measured = [
            Measured("adding", engine, 1, count, {"microseconds": [value * count]})
            for engine, value in (("add-task", 1.0), ("executor", 7.0))
            for count in (10, 1000)
        ]
        ratios = report([self.row], measured, 1, False)["rows"][0]["ratios"]
        self.assertEqual([(one["count"], one["median"]) for one in ratios], [(10, 7), (1000, 7)])

    def test_missingPeer(self) -> None:
        """
        A peer that is not installed is named with what it needs.
        """
        result = self.reportOn([1.0], [5.0])
        self.assertEqual(result["skipped"], [{"engine": "asynqueue", "missing": "asynqueue"}])


class BaseTests(SynchronousTestCase):
    """
    Tests for the comparison with a commit.
    """

    row = replace(ReportTests.row, compared=("microseconds",))

    def pair(self, base: list[float], new: list[float], failure: str | None = None) -> Pair:
        """
        A pair that has been measured.
        """
        measured = [
            Measured("adding", "add-task", 1, 10, {"microseconds": one}) for one in (base, new)
        ]
        return Pair(self.row, measured[0], measured[1], failure)

    def test_quartiles(self) -> None:
        """
        The ratios are taken round by round, the commit's time by the working copy's, and
        reported as their quartiles.
        """
        (found,) = comparison(self.pair([10.0, 20.0, 30.0, 40.0, 50.0], [10.0] * 5))
        self.assertEqual(found["ratios"], [1, 2, 3, 4, 5])
        self.assertEqual(
            (found["lower_quartile"], found["median"], found["upper_quartile"]), (2, 3, 4)
        )

    def test_noSlower(self) -> None:
        """
        The working copy is no slower if the upper quartile of ten ratios is at least 1.
        """
        (found,) = comparison(self.pair([0.5] * 6 + [1.0] * 4, [1.0] * 10))
        self.assertEqual((found["upper_quartile"], found["verdict"]), (1, "no slower"))
        (found,) = comparison(self.pair([0.5] * 7 + [1.0] * 3, [1.0] * 10))
        self.assertEqual(found["verdict"], "slower")

    def test_tooFewRounds(self) -> None:
        """
        Fewer than ten ratios give no verdict; a single one stands for all quartiles.
        """
        (found,) = comparison(self.pair([3.0], [2.0]))
        self.assertEqual((found["lower_quartile"], found["upper_quartile"]), (1.5, 1.5))
        self.assertEqual(found["verdict"], "no verdict: 1 of 10 ratios")

    def test_notPositive(self) -> None:
        """
        A round in which a figure is not above 0 has no ratio.
        """
        (found,) = comparison(self.pair([-1.0, 4.0], [1.0, 2.0]))
        self.assertEqual(found["ratios"], [2])
        self.assertEqual(list(comparison(self.pair([0.0], [1.0]))), [])

    def test_limitsCompared(self) -> None:
        """
        A row that compares no figure with a peer's compares those that have limits.
        """
        pair = self.pair([4.0], [2.0])
        pair.row = replace(self.row, compared=())
        self.assertEqual([one["figure"] for one in comparison(pair)], ["microseconds"])

    def test_order(self) -> None:
        """
        A pair is measured one after the other, and the other way round in every other
        round; a failure names the side.
        """
        order: list[str] = []
        pair = self.pair([], [])
        self.patch(pair.base, "measure", lambda: order.append("base"))
        self.patch(pair.new, "measure", lambda: order.append("new"))
        pair.measure(False)
        pair.measure(True)
        self.assertEqual(order, ["base", "new", "new", "base"])

        def fail() -> None:
            raise subprocess.CalledProcessError(1, "child")

        self.patch(pair.base, "measure", fail)
        pair.measure(False)
        assert pair.failure is not None
        self.assertTrue(pair.failure.startswith("at the base: "))

    def test_badCommit(self) -> None:
        """
        A commit that does not exist is rejected with one sentence before anything is
        measured, and nothing is written.
        """
        with TemporaryDirectory() as directory:
            process = run("--base", "no-such-commit", "--out", f"{directory}/out", "adding")
            self.assertFalse(Path(directory, "out").exists())
        self.assertEqual((process.returncode, process.stdout), (2, ""))
        (sentence,) = process.stderr.splitlines()
        self.assertTrue(sentence.startswith("Cannot compare with 'no-such-commit': "), sentence)

    def test_badRounds(self) -> None:
        """
        Fewer rounds than one are rejected.
        """
        process = run("--rounds", "0", "adding")
        self.assertEqual(process.returncode, 2)
        self.assertIn("it must be at least 1", process.stderr)

    def test_commit(self) -> None:
        """
        A commit without the package is rejected; one with it gives a ratio for each
        figure of each of our engines.
        """
        with TemporaryDirectory() as repository:
            if which("git") is None:
                raise SkipTest("git is not installed")

            def git(*arguments: str) -> None:
                identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
                subprocess.run(["git", *identity, *arguments], cwd=repository, check=True)

            git("init", "-q")
            Path(repository, "other").write_text("nothing")
            git("add", ".")
            git("commit", "-q", "-m", "Add another file")
            with self.assertRaises(BaseRejected) as raised, checkOut("HEAD", Path(repository)):
                self.fail("it was accepted")
            self.assertIn("has no package ganeti_pool", str(raised.exception))
            for name in ("ganeti_pool", "twisted"):
                ignore = ignore_patterns("__pycache__", "dropin.cache")
                copytree(ROOT / name, Path(repository, name), ignore=ignore)
            git("add", ".")
            git("commit", "-q", "-m", "Add the package")
            rows = [row for row in ROWS if row.key in ("adding", "answering")]
            with checkOut("HEAD", Path(repository)) as base:
                pairs = compareRows(rows, base, 1, True, lambda text: None)
                self.assertNotEqual(base.root, ROOT)
        self.assertEqual([pair.failure for pair in pairs], [None] * len(pairs))
        self.assertEqual(
            {(one["row"], one["engine"], one["figure"]) for p in pairs for one in comparison(p)},
            {
                (row.key, engine, figure)
                for row in rows
                for engine in row.ours
                for figure in row.compared
            },
        )


class CommandRowTests(SynchronousTestCase):
    """
    Tests for what the rows of commands need.
    """

    def test_noTaskSpooler(self) -> None:
        """
        Without task-spooler the report says in one sentence what is not installed.
        """
        error = self.assertRaises(NotInstalled, findTaskSpooler, lambda name: None)
        measured = [Measured("commands", "task-spooler", 4, 1, missing=error.name)]
        result = report([], measured, 1, False)
        output = StringIO()
        with redirect_stdout(output):
            printReport(result)
        self.assertIn(
            "Left out: task-spooler, nothing durable, since its command tsp (Debian's package "
            "task-spooler) is not installed",
            " ".join(output.getvalue().split()),
        )

    def test_busyProcesses(self) -> None:
        """
        The processes beside a measurement run during it, and have ended after it, even if
        it fails.
        """
        with self.assertRaises(RuntimeError), busyProcesses(2) as processes:
            self.assertEqual([process.poll() for process in processes], [None, None])
            raise RuntimeError
        self.assertNotIn(None, [process.returncode for process in processes])

    def test_targetByWorkers(self) -> None:
        """
        A target can depend on the number of workers.
        """
        row = replace(ReportTests.row, ratios={("add-task", "executor"): {4: 3, 16: 4}})
        measured = [
            Measured("adding", engine, workers, 1, {"microseconds": [1.0]})
            for engine in ("add-task", "executor")
            for workers in (4, 16, 64)
        ]
        ratios = report([row], measured, 1, False)["rows"][0]["ratios"]
        self.assertEqual([one["target"] for one in ratios], [3, 4, None])


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


class ProbeTests(SynchronousTestCase):
    """
    Tests for L{Probe}.
    """

    def test_stall(self) -> None:
        """
        All that was due while the reactor stood still is met in one turn, and each is
        late by its own time.
        """
        reactor = Clock()
        readings = iter((0, 0, 0.0325, 0.0325))
        probe = Probe(reactor, lambda: next(readings))
        reactor.advance(0.01)
        self.assertEqual([round(late, 6) for late in probe.stop()], [22.5, 12.5, 2.5])
        self.assertEqual(reactor.getDelayedCalls(), [])

    def test_tooEarly(self) -> None:
        """
        A call that comes before it is due waits for the rest of its time.
        """
        reactor = Clock()
        readings = iter((0, 0, 0.009, 0.009, 0.01, 0.01))
        probe = Probe(reactor, lambda: next(readings))
        reactor.advance(0.01)
        self.assertEqual(probe.late, [])
        reactor.advance(0.002)
        self.assertEqual(probe.stop(), [0])


class WatchedLockTests(SynchronousTestCase):
    """
    Tests for L{WatchedLock}.
    """

    def setUp(self) -> None:
        self.pool = WorkerPool("watched", 0, BaseWorker)
        self.lock = WatchedLock(self.pool)
        self.pool._lock = self.lock  # type: ignore[assignment]

    def test_plain(self) -> None:
        """
        A section is one time, however often the lock is taken in it.
        """
        with self.lock, self.lock:
            pass
        self.assertEqual((self.lock.held, len(self.lock.plain)), (1, 1))
        self.assertEqual(self.lock.special, {})

    def test_compacting(self) -> None:
        """
        A call in which the heap was compacted is told apart.
        """
        self.pool.AddTask((), task_id=1)
        self.lock.special.clear()
        self.pool.CancelTask(1)
        self.assertEqual(list(self.lock.special), ["compacting"])

    def test_growing(self) -> None:
        """
        A call in which the table of the IDs has grown is told apart.
        """
        self.pool.AddTask((), task_id=1)
        self.assertEqual(list(self.lock.special), ["growing"])

    def test_collecting(self) -> None:
        """
        A section in which the garbage collector ran is told apart, and the longest is
        kept.
        """
        gc.callbacks.append(self.lock.collection)
        self.addCleanup(gc.callbacks.remove, self.lock.collection)
        with self.lock:
            gc.collect()
            with self.lock:
                pass
        longest = self.lock.special["collecting"]
        with self.lock:
            gc.collect(0)
        self.assertEqual(self.lock.held, 2)
        self.assertGreaterEqual(self.lock.special["collecting"], longest)


class ConditionPoolTests(SynchronousTestCase):
    """
    Tests for L{ConditionPool}.
    """

    def test_emptiedEntryLast(self) -> None:
        """
        Who waits for the workers is told when the last entry was an emptied one.
        """
        looked = threading.Event()

        class Heap(list[Any]):
            """
            Tells that somebody has looked whether it is empty.
            """

            def __bool__(self) -> bool:
                looked.set()
                return len(self) > 0

        pool = ConditionPool(0, print)
        pool.heap = Heap([[0, 0, None, None]])
        waiting = threading.Thread(target=pool.quiesce, daemon=True)
        waiting.start()
        self.assertTrue(looked.wait(10))
        with pool._toWorkers:
            # The lock is free: so it waits by now.
            worker = threading.Thread(target=pool._work, daemon=True)
        worker.start()
        waiting.join(10)
        self.assertFalse(waiting.is_alive())
        pool.terminate()
        worker.join(10)
        self.assertFalse(worker.is_alive())


class PublishedTests(SynchronousTestCase):
    """
    Tests for the figures that the documentation shows.
    """

    def test_oneRun(self) -> None:
        """
        They are of a whole run with every peer, and the chart was drawn of them.
        """
        place = ROOT / "doc" / "explanation"
        result = json.loads((place / "benchmark.json").read_text())
        self.assertIs(result["quick"], False)
        self.assertEqual(result["skipped"], [])
        expected = [row.key for row in ROWS if row.key not in UNPUBLISHED]
        self.assertEqual([row["row"] for row in result["rows"]], expected)
        self.assertTrue(belongTogether(place))
