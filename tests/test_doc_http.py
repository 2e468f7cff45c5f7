"""
The page on HTTP names all that there is: what it says by hand of codes and keys is
complete.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import wire

PAGE = Path(__file__).parents[1] / "doc" / "reference" / "http.rst"


class PageTests(SynchronousTestCase):
    """
    Tests for C{doc/reference/http.rst}.
    """

    def setUp(self) -> None:
        self.page = PAGE.read_text(encoding="utf-8")

    def test_codes(self) -> None:
        """
        Each code of a refusal stands in the table, with its status.
        """
        for code, status in wire.STATUS.items():
            self.assertRegex(self.page, rf"(?m)^{status} +``{code}`` ")

    def test_keys(self) -> None:
        """
        Each key of a job and of the pool is explained, or said to have no function.
        """
        schemas = wire.components()
        for shape in ("Job", "Pool"):
            for key in schemas[shape]["properties"]:
                self.assertIn(f"``{key}``", self.page)
