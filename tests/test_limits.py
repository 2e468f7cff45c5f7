"""
Tests for L{ganeti_pool.jobs.limits}.
"""

from __future__ import annotations

import ast
import sys

from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import errors
from ganeti_pool.jobs import checks, limits
from ganeti_pool.paths import checkText

from .test_layers import sources

HOME = "ganeti_pool.jobs.limits"

OTHER_RULES = {
    # The bytes that exec takes.
    "ganeti_pool.commands._arguments",
    # The error of a driver.
    "ganeti_pool.store.sqlite._errors",
}
"""
Modules that handle an encoding error and do not check whether text is valid.
"""


def wordsOf(tree: ast.AST) -> list[tuple[int, object]]:
    """
    The line and the value of each constant expression of integers, and the line and the
    name of each variable.
    """
    found: list[tuple[int, object]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.append((node.lineno, node.id))
        elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.LShift, ast.Pow)):
            found.append((node.lineno, ast.unparse(node).replace("**", "<<")))
    return found


class LimitsTests(SynchronousTestCase):
    """
    Tests for the limits of the values in a job.
    """

    def test_integers(self) -> None:
        """
        The range of integers is that of 64 bits with a sign.
        """
        self.assertEqual(limits.MAX_INTEGER.to_bytes(8, "big", signed=True)[0], 0x7F)
        self.assertEqual(limits.MIN_INTEGER.to_bytes(8, "big", signed=True)[0], 0x80)
        for beyond in (limits.MAX_INTEGER + 1, limits.MIN_INTEGER - 1):
            self.assertRaises(OverflowError, beyond.to_bytes, 8, "big", signed=True)

    def test_validText(self) -> None:
        """
        Text of any characters, with NUL and beyond 16 bits, is valid.
        """
        for text in ("", "a\0b", "Grüße", "\U0001f600", "\ud7ff\ue000\uffff", chr(sys.maxunicode)):
            self.assertIsNone(limits.loneSurrogate(text), ascii(text))

    def test_loneSurrogate(self) -> None:
        """
        The first surrogate of a text is found, and a pair of them is not one character.
        """
        for text, found in (
            ("\udc80", "\udc80"),
            ("a\ud800b\udfff", "\ud800"),
            ("é\ud83d\ude00", "\ud83d"),
        ):
            self.assertEqual(limits.loneSurrogate(text), found, ascii(text))

    def test_checkedText(self) -> None:
        """
        A text that no store can keep is refused with the surrogate in it, spelled in ASCII.
        """
        checks.checkText("fine", "the reason")
        error = self.assertRaises(
            errors.InvalidArgument, checks.checkText, "file \udcff", "the reason of job 3"
        )
        self.assertEqual(
            str(error),
            "the reason of job 3 cannot be stored: it holds the lone surrogate '\\udcff', which "
            "is not valid text; replace or remove it",
        )

    def test_checkedPath(self) -> None:
        """
        A path of bytes that are not UTF-8 is refused by its bytes.
        """
        error = self.assertRaises(errors.InvalidArgument, checkText, "the state", "/a\udcff")
        self.assertIn(r"b'/a\xff'", str(error))

    def test_oneHome(self) -> None:
        """
        No other module has the range of integers or the rule for text of its own.
        """
        own = {"1 << 63", "2 << 63", "-1 << 63", "UnicodeEncodeError"}
        wrong = [
            f"{name}:{line} has {word}, see {HOME}"
            for name, _, tree in sources()
            if name not in {HOME, *OTHER_RULES}
            for line, word in wordsOf(tree)
            if word in own
        ]
        self.assertEqual(wrong, [])
