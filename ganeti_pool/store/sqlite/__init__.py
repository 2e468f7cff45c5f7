"""
The job store in one SQLite file, the embedded default.
"""

from ._store import SQLiteJobStore

__all__ = ["SQLiteJobStore"]
