"""
The shapes on the wire: one schema for server and client.

What is read is refused or understood whole, and every refusal lists where in
the text it is wrong. What is written has every key, null for none.

Threads: pure functions.
"""

from __future__ import annotations

from ._bodies import (
    MAX_JOBS,
    MAX_WORKERS,
    PoolChange,
    checkNoBody,
    parseNewJobs,
    parsePoolChange,
    parsePriority,
)
from ._documents import STATUS, changesToJSON, encode, jobToJSON, pageToJSON, problem, timestamp
from ._json import MAX_BODY, MAX_INTEGER, MIN_INTEGER, decode
from ._queries import (
    MAX_WAIT,
    ChangesQuery,
    ListQuery,
    OutputQuery,
    checkNoQuery,
    parseJobsQuery,
    parseOutputQuery,
    parseQuiesceQuery,
)

__all__ = [
    "MAX_BODY",
    "MAX_INTEGER",
    "MAX_JOBS",
    "MAX_WAIT",
    "MAX_WORKERS",
    "MIN_INTEGER",
    "STATUS",
    "ChangesQuery",
    "ListQuery",
    "OutputQuery",
    "PoolChange",
    "changesToJSON",
    "checkNoBody",
    "checkNoQuery",
    "decode",
    "encode",
    "jobToJSON",
    "pageToJSON",
    "parseJobsQuery",
    "parseNewJobs",
    "parseOutputQuery",
    "parsePoolChange",
    "parsePriority",
    "parseQuiesceQuery",
    "problem",
    "timestamp",
]
