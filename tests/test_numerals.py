"""
Tests for L{ganeti_pool.numerals}.
"""

from __future__ import annotations

from hypothesis import given, strategies
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.numerals import isDigits, parseDecimal, parseInteger

WRONG = (
    *("", " ", "x", "1_0", "+1", " 1", "1 ", "1\n", "--1", "-", "0x10", "1,0", "1e3", "nan", "inf"),
    *("\u0663", "\uff15", "\u00b2", "\u2460", "1\u0660", "\u22121", "9" * 401),
)
"""
Most of these C{int} or C{float} would take.
"""


class NumeralTests(SynchronousTestCase):
    """
    Tests for numbers in text.
    """

    def test_integer(self) -> None:
        """
        An integer is the digits 0 to 9, with a hyphen before a negative one.
        """
        for text, number in (("0", 0), ("-0", 0), ("007", 7), ("-12", -12), ("9" * 30, 10**30 - 1)):
            self.assertEqual(parseInteger(text), number)
        for text in (*WRONG, "1.0"):
            error = self.assertRaises(ValueError, parseInteger, text)
            self.assertEqual(str(error), f"{text[:40]!r} is not an integer")

    def test_decimal(self) -> None:
        """
        A decimal may have a fraction behind a point, with digits on both sides.
        """
        for text, number in (("0", 0.0), ("-1.5", -1.5), ("30", 30.0)):
            self.assertEqual(parseDecimal(text), number)
        for text in (*WRONG, "1.", ".5", "1.2.3"):
            error = self.assertRaises(ValueError, parseDecimal, text)
            self.assertEqual(str(error), f"{text[:40]!r} is not a number")

    def test_digits(self) -> None:
        """
        Digits are those from 0 to 9, one at least.
        """
        self.assertTrue(isDigits("0189"))
        for text in (*WRONG[:-1], "-1", "1.0"):
            self.assertFalse(isDigits(text), text)

    @given(strategies.text(max_size=8))
    def test_anyText(self, text: str) -> None:
        """
        Any text is an integer as it is written, or rejected with a sentence.
        """
        try:
            number = parseInteger(text)
        except ValueError:
            return
        self.assertEqual(str(number).lstrip("-"), text.lstrip("-").lstrip("0") or "0")
