"""
Standard output and standard error, when they take no more.
"""

from __future__ import annotations

import os
from typing import TextIO

__all__ = ["complain", "discard"]


def complain(text: str, stream: TextIO | None) -> None:
    """
    Write a line to standard error. That nobody can read it changes nothing: the exit
    code says what it says.

    @param stream: L{None} if whoever started this has closed it.
    """
    if stream is None:
        return
    try:
        stream.write(text + "\n")
        stream.flush()
    except OSError:
        discard(stream)


def discard(stream: TextIO) -> None:
    """
    Have a stream that takes no more lead nowhere, so that what is still buffered does
    not fail once more when the interpreter flushes it.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
