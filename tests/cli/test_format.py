"""
Tests for how durations and texts are written.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.cli._format import escapeControls, formatDuration, parseDuration


class DurationTests(SynchronousTestCase):
    """
    Tests for how durations and texts are written.
    """

    def test_written(self) -> None:
        """
        A duration has its two largest units, without zeros.
        """
        for seconds, text in (
            (-3, "0s"),
            (0.9, "0s"),
            (42, "42s"),
            (60, "1m"),
            (310, "5m10s"),
            (3605, "1h"),
            (3660, "1h1m"),
            (4 * 86400, "4d"),
            (4 * 86400 + 3 * 3600 + 59, "4d3h"),
        ):
            self.assertEqual(formatDuration(seconds), text)

    def test_read(self) -> None:
        """
        What is written can be read, and so can a number of seconds.
        """
        for text, seconds in (("42", 42), ("0.5", 0.5), ("5m10s", 310), ("1d1h", 90000)):
            self.assertEqual(parseDuration(text), seconds)

    def test_unreadable(self) -> None:
        """
        Anything else is refused.
        """
        for text in ("", "-1", "5x", "10s5m", "m", "٣"):
            self.assertRaises(ValueError, parseDuration, text)

    def test_controls(self) -> None:
        """
        What is not printable is written as its escape sequence.
        """
        self.assertEqual(escapeControls("é\n\x1b\x9b\u202e"), "é\\n\\x1b\\x9b\\u202e")
