"""
Numbers in text.

C{int} and C{float} take much that is not a number to a reader of the documentation: C{1_000},
digits of other scripts, blanks around it, C{+5}, C{nan} and C{inf}. Text from outside is read
here instead, wherever it comes from: the command line, a query, an environment variable.
"""

from __future__ import annotations

import re

__all__ = ["isDigits", "parseDecimal", "parseInteger"]

_INTEGER = re.compile("-?[0-9]+")

_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")

_LONGEST = 400
"""
Characters of a number that is read. No limit of ours needs as many.
"""


def isDigits(text: str) -> bool:
    """
    Whether a text is one or more of the digits 0 to 9, and nothing else.
    """
    return text.isascii() and text.isdigit()


def parseInteger(text: str) -> int:
    """
    Read an integer: the digits 0 to 9, with a hyphen before a negative one.

    @raise ValueError: if it is anything else.
    """
    if len(text) > _LONGEST or not _INTEGER.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not an integer")
    return int(text)


def parseDecimal(text: str) -> float:
    """
    Read a number: the digits 0 to 9, with a hyphen before a negative one and a point before a
    fraction.

    @raise ValueError: if it is anything else.
    """
    if len(text) > _LONGEST or not _DECIMAL.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a number")
    return float(text)
