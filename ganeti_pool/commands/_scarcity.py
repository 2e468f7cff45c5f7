"""
Errors that waiting can cure, and how long to wait.
"""

from __future__ import annotations

import errno

from ..backoff import Backoff

__all__ = ["FIRST_PAUSE", "SCARCE", "makeBackoff"]

SCARCE = frozenset(
    {errno.EAGAIN, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC}
)
"""
The error numbers that report a temporary shortage: of processes, descriptors, memory or
room on the disk.
"""

FIRST_PAUSE = 1.0
"""
Seconds before the second try.
"""

_LONGEST_PAUSE = 30.0


def makeBackoff() -> Backoff:
    """
    Return the delays of one wait for the end of a shortage.
    """
    return Backoff(FIRST_PAUSE, _LONGEST_PAUSE)
