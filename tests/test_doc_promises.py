"""
The documentation names the limits of what the daemon promises.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

DOC = Path(__file__).parents[1] / "doc"


class LimitsTests(SynchronousTestCase):
    """
    Tests for sentences that users rely on, and that no other check would miss.
    """

    def assertNamed(self, page: str, *words: str) -> None:
        """
        Check that one paragraph of a page has all of some words.
        """
        paragraphs = (DOC / page).read_text(encoding="utf-8").split("\n\n")
        self.assertTrue(
            any(all(word in paragraph for word in words) for paragraph in paragraphs), words
        )

    def test_escapes(self) -> None:
        """
        The promises name the processes of a job that are not found.
        """
        self.assertNamed("explanation/promises.rst", "setsid", "environment")

    def test_unknownOutcome(self) -> None:
        """
        A change that a failing disk refuses may be in the store after all, and a key makes it
        safe to repeat.
        """
        self.assertNamed("explanation/promises.rst", "disk", "key")
        self.assertNamed("reference/http.rst", "store_failed", "unknown", "key")
