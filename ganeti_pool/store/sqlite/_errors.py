"""
Translate the errors of SQLite and the system.
"""

from __future__ import annotations

import errno
from sqlite3 import DataError

from ...errors import InvalidArgument, PoolError, StoreError, StoreFull

__all__ = ["translated"]


def translated(error: BaseException, what: str) -> PoolError:
    """
    Return an error as one of this package.

    @param what: the part of the store that failed, for the sentence.
    """
    if isinstance(error, PoolError):
        return error
    # SQLAlchemy's text would add the statement and its parameters
    cause = getattr(error, "orig", None) or error
    isFull = "database or disk is full" in str(cause) or (
        isinstance(cause, OSError) and cause.errno == errno.ENOSPC
    )
    # The same value would fail each time: text that is not valid Unicode, an integer of
    # more than 64 bits, or a value longer than SQLite or its driver accepts.
    isUnusable = isinstance(cause, (DataError, OverflowError, UnicodeEncodeError))
    kind = InvalidArgument if isUnusable else StoreFull if isFull else StoreError
    result = kind(f"the {what} failed: {type(cause).__name__}: {cause}")
    result.__cause__ = error
    return result
