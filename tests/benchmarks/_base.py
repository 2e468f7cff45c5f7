"""
Compare the working copy with a commit.

The commit's files are extracted into a temporary directory. Its package runs with the
interpreter and the dependencies of this process, so that nothing but the package differs;
if its daemon does not start with these, it gets a virtual environment of its own. The
measurements are those of the working copy in both cases.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any

from ._daemon import NotReady, onDisk, runDaemon
from ._report import short
from ._rows import LABELS, Row
from ._run import Checkout, Measured, measurementsOf

__all__ = ["ENOUGH", "BaseRejected", "Pair", "checkOut", "compareRows", "comparison", "printPairs"]

ENOUGH = 10
"""
How many paired ratios a verdict needs.
"""


class BaseRejected(Exception):
    """
    A commit cannot be compared with; the text is the sentence for the user.
    """


def resolve(commit: str, repository: Path) -> str:
    """
    Return the full hash of a commit.

    @raise BaseRejected: if the repository has no such commit.
    """
    name = f"{commit}^{{commit}}"
    call = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", name]
    try:
        process = subprocess.run(call, cwd=repository, capture_output=True, text=True)
    except FileNotFoundError:
        raise BaseRejected(
            f"Cannot compare with {commit!r}: git is not installed; install it and try again."
        ) from None
    if process.returncode:
        raise BaseRejected(
            f"Cannot compare with {commit!r}: {repository} has no such commit; "
            "give a hash, a tag or a branch that git log knows there."
        )
    return process.stdout.split()[-1]


@contextmanager
def checkOut(commit: str, repository: Path) -> Iterator[Checkout]:
    """
    Extract a commit into a directory that lasts until the end of the block.

    @raise BaseRejected: if there is no such commit, or its daemon does not start.
    """
    full = resolve(commit, repository)
    with TemporaryDirectory(prefix="ganeti-pool-base-") as directory:
        root = Path(directory, "checkout")
        root.mkdir()
        archive = subprocess.run(
            ["git", "archive", "--format=tar", full],
            cwd=repository,
            check=True,
            capture_output=True,
        ).stdout
        subprocess.run(["tar", "-x", "-f", "-"], cwd=root, input=archive, check=True)
        if not Path(root, "ganeti_pool").is_dir():
            raise BaseRejected(
                f"Cannot compare with {commit!r}: that commit has no package ganeti_pool; "
                "give a later one."
            )
        checkout = Checkout(root, sys.executable)
        if _problem(checkout) is not None:
            checkout = Checkout(root, _install(root, Path(directory, "venv"), commit))
            problem = _problem(checkout)
            if problem is not None:
                raise BaseRejected(
                    f"Cannot compare with {commit!r}: its daemon does not start ({problem}); "
                    "give another commit."
                )
        yield checkout


def _problem(checkout: Checkout) -> str | None:
    """
    Start its daemon once.

    @return: the last line of the log if it does not start.
    """
    with onDisk() as state:
        try:
            with runDaemon(state, 1, root=checkout.root, python=checkout.python):
                return None
        except NotReady as error:
            return (str(error).strip().splitlines() or ["it logs nothing"])[-1]


def _install(root: Path, venv: Path, commit: str) -> str:
    python = str(venv / "bin" / "python")
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    try:
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([*pip, f"{root}[daemon]"], check=True)
    except subprocess.CalledProcessError as error:
        raise BaseRejected(
            f"Cannot compare with {commit!r}: its dependencies cannot be installed "
            f"(exit status {error.returncode} of {error.cmd[2]}); see the messages above."
        ) from None
    return python


@dataclass
class Pair:
    """
    One measurement at the base and in the working copy.

    @ivar failure: why there are no figures, if one of the two failed.
    """

    row: Row
    base: Measured
    new: Measured
    failure: str | None = field(default=None)

    def measure(self, isReversed: bool) -> None:
        """
        Measure both, one after the other.
        """
        for one in (self.new, self.base) if isReversed else (self.base, self.new):
            try:
                one.measure()
            except subprocess.SubprocessError as error:
                where = "at the base" if one is self.base else "in the working copy"
                self.failure = f"{where}: {error}"
                return


def compareRows(
    rows: Sequence[Row],
    base: Checkout,
    rounds: int,
    quick: bool,
    progress: Callable[[str], object],
) -> list[Pair]:
    """
    Measure our engines of rows at the base and in the working copy, in turn; every other
    round goes backwards.
    """
    pairs = [
        Pair(row, Measured(*one, checkout=base), Measured(*one))
        for row in rows
        for one in measurementsOf(row, quick)
        if one[1] in row.ours
    ]
    for number in range(rounds):
        for pair in pairs[:: -1 if number % 2 else 1]:
            if pair.failure is None:
                progress(f"{pair.row.key}, round {number + 1} of {rounds}")
                pair.measure(bool(number % 2))
    return pairs


def comparison(pair: Pair) -> Iterator[dict[str, Any]]:
    """
    Return the ratios of the figures of a pair, as speed: above 1 is faster. All figures
    that are compared are the better the smaller they are.
    """
    for figure in pair.row.compared or tuple(pair.row.limits):
        both = zip(pair.base.figures.get(figure, ()), pair.new.figures.get(figure, ()), strict=True)
        # Memory beside an empty daemon's may come out below zero.
        ratios = [base / new for base, new in both if base > 0 and new > 0]
        if ratios:
            # One round alone has no quartiles: it stands for all three.
            low, middle, high = quantiles(
                ratios if len(ratios) > 1 else ratios * 2, n=4, method="inclusive"
            )
            yield {
                "row": pair.row.key,
                "engine": pair.new.engine,
                "workers": pair.new.workers,
                "count": pair.new.count,
                "figure": figure,
                "ratios": ratios,
                "lower_quartile": low,
                "median": middle,
                "upper_quartile": high,
                "verdict": _verdict(len(ratios), high),
            }


def _verdict(pairs: int, upperQuartile: float) -> str:
    if pairs < ENOUGH:
        return f"no verdict: {pairs} of {ENOUGH} ratios"
    return "no slower" if upperQuartile >= 1 else "slower"


def printPairs(pairs: Sequence[Pair], commit: str) -> None:
    """
    Print a line for each figure of each pair.
    """
    print(f"The working copy beside {commit}, as speed: above 1 it is faster than the commit.")
    print("The ratio is that of each round: lower quartile, median, upper quartile.")
    for pair in pairs:
        new = pair.new
        what = f"{pair.row.key}, {LABELS[new.engine]}, workers {new.workers}, {new.count:,}"
        if pair.failure is not None:
            print(f"{what}: not measured {pair.failure}")
        elif new.missing or pair.base.missing:
            print(f"{what}: left out, since {new.missing or pair.base.missing} is not installed")
        for one in comparison(pair) if pair.failure is None else ():
            ratios = "  ".join(
                short(one[key]) for key in ("lower_quartile", "median", "upper_quartile")
            )
            print(f"{what}, {one['figure']}: {ratios}  {one['verdict']}")
