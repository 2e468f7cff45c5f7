"""
Put each fault into a copy of the code, and see its test fail::

    python -m tests.faults

With C{--list} it prints the faults as doc/explanation/proof.rst shows them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from ._faults import FAULTS, ROOT, Fault, listing

__all__ = ["main"]

LONGEST = 60.0
"""
Seconds after which a test that hangs is ended, which counts as a failure: the tests
wait for ten seconds at most for what should happen.
"""

NEEDED = ("ganeti_pool", "tests", "pyproject.toml")
"""
What the tests of concurrency need of the checkout.
"""

SEEN = re.compile(r"AssertionError|FailTest|AlreadyCalledError|ganeti_pool\.errors\.")
"""
Failures that say what is wrong. Any other may be one of the fault itself, as code.
"""

PASSED, FAILED = 0, 1
"""
How pytest says that it ran tests, and that some failed.
"""


def copyTo(target: Path) -> None:
    """
    Copy what is needed of the checkout.
    """
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, target)


def runTests(tree: Path, nodes: Iterable[str], longest: float) -> tuple[int | None, str]:
    """
    Run some tests in a copy, and nothing else.

    @param longest: how many seconds they may take.
    @return: how pytest ended, or L{None} if it was ended; and what it said.
    """
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider"]
    try:
        ended = subprocess.run(
            [*command, *nodes],
            cwd=tree,
            env={**os.environ, "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=longest,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"it was still running after {longest:g} seconds"
    return ended.returncode, ended.stdout


def reason(output: str) -> str:
    """
    Why the first test failed, as pytest's summary says it.
    """
    found = re.search(r"^(?:FAILED|ERROR) \S+(?: - (.*))?$", output, re.MULTILINE)
    return (found and found[1]) or "it failed"


def see(fault: Fault) -> tuple[bool, str]:
    """
    Run the test of a fault with the fault.

    @return: whether the test saw it, and how or why not.
    """
    with TemporaryDirectory() as name:
        tree = Path(name)
        copyTo(tree)
        source = (tree / fault.file).read_text(encoding="utf-8")
        if fault.places(source) != 1:
            return False, f"{fault.file} has the line {fault.places(source)} times"
        (tree / fault.file).write_text(fault.put(source), encoding="utf-8")
        code, output = runTests(tree, [fault.node], LONGEST)
    if code is None:
        return True, output
    if code != FAILED:
        return False, "the test passed" if code == PASSED else f"pytest ended with {code}"
    why = reason(output)
    return bool(SEEN.search(why)), why


def main() -> int:
    """
    Try all faults, and print what came of each.

    @return: 0 if each was seen, else 1.
    """
    began = time.monotonic()
    with TemporaryDirectory() as name:
        copyTo(Path(name))
        nodes = sorted({fault.node for fault in FAULTS})
        code, output = runTests(Path(name), nodes, LONGEST + len(nodes))
    if code != PASSED:
        print(f"Without a fault the tests do not all pass:\n{output}")
        return 1
    print(f"Without a fault all {len(nodes)} tests pass.")
    missed = 0
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for fault, (seen, why) in zip(FAULTS, threads.map(see, FAULTS), strict=True):
            missed += not seen
            test = fault.test.rpartition("::")[2]
            print(f"{'seen  ' if seen else 'MISSED'}  {test:30}  {fault.race}")
            print(f"        {why}", flush=True)
    print(
        f"{len(FAULTS) - missed} of {len(FAULTS)} faults were seen, "
        f"in {time.monotonic() - began:.0f} seconds."
    )
    return 1 if missed else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        print(listing(), end="")
        sys.exit()
    sys.exit(main())
