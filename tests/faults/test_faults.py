"""
The list of faults fits the code, the tests and the page that shows it.
"""

from __future__ import annotations

import ast
from importlib import import_module
from operator import attrgetter
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from ._faults import FAULTS, ROOT, listing

PAGE = ROOT / "doc/explanation/proof.rst"


class FaultsTests(SynchronousTestCase):
    """
    Tests for L{FAULTS}. C{python -m tests.faults} shows that the tests see them.
    """

    def test_lines(self) -> None:
        """
        The line of each fault stands exactly once in its file, and what is put in its
        place is another one, and Python.
        """
        for fault in FAULTS:
            source = (ROOT / fault.file).read_text(encoding="utf-8")
            self.assertEqual(fault.places(source), 1, f"{fault.line!r} in {fault.file}")
            self.assertNotEqual(fault.put(source), source)
            compile(fault.put(source), fault.path, "exec")

    def test_tests(self) -> None:
        """
        The test of each fault exists.
        """
        for fault in FAULTS:
            path, *names = fault.node.split("::")
            module = import_module(".".join(Path(path).with_suffix("").parts))
            self.assertTrue(callable(attrgetter(".".join(names))(module)), fault.node)

    def test_everyInterleaving(self) -> None:
        """
        Each test of an interleaving has a fault.
        """
        listed = {fault.test for fault in FAULTS}
        for path in ("workerpool/test_interleavings.py", "deferred/test_interleavings.py"):
            module = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
            for case in module.body:
                if isinstance(case, ast.ClassDef):
                    for test in case.body:
                        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
                            self.assertIn(f"{path}::{case.name}::{test.name}", listed)

    def test_page(self) -> None:
        """
        The page on the proof ends with the list: these faults, in this order.
        """
        # After a change of the list: python -m tests.faults --list
        self.assertEqual(PAGE.read_text(encoding="utf-8").partition("\n.. list\n\n")[2], listing())
