"""
The limits of the values in a job: integers, the depth of JSON, and text.

The wire format, the command, the queue and every store use these, so that none accepts
a value that another one rejects. The module imports nothing, since C{ganeti-pool --help}
loads it.

Threads: pure functions.
"""

from __future__ import annotations

__all__ = ["MAX_DEPTH", "MAX_INTEGER", "MIN_INTEGER", "loneSurrogate"]

MAX_INTEGER = (1 << 63) - 1
"""
The largest integer that a store can keep: 64 bits with a sign, as in SQLite.
"""

MIN_INTEGER = -(1 << 63)
"""
The smallest integer that a store can keep.
"""

MAX_DEPTH = 64
"""
The number of levels to which JSON arrays and objects may be nested. Code that reads such a
value may recurse once per level.
"""


def loneSurrogate(text: str) -> str | None:
    """
    Return the first lone surrogate in a text, or L{None} if the text is valid.

    A text is valid if UTF-8 can encode it. Surrogates are the only code points that UTF-8
    cannot encode. Python puts them into strings for the bytes of a file name or an argument
    that are not UTF-8, and for half of a pair in JSON.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return text[error.start]
    return None
