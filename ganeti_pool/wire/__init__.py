"""
The shapes on the wire: one schema for server and client.

What is read is refused or understood whole, and every refusal lists where in
the text it is wrong. What is written has every key, null for none.

Threads: pure functions.
"""

from __future__ import annotations

from ._bodies import (
    JOBS,
    MAX_JOBS,
    MAX_WORKERS,
    POOL_CHANGE,
    PRIORITY,
    PoolChange,
    checkNoBody,
    parseNewJobs,
    parsePoolChange,
    parsePriority,
)
from ._checks import Check, Schema, reference
from ._documents import STATUS, encode, encodeJobs, jobToJSON, problem, statusOf, timestamp
from ._headers import ORIGIN, ORIGIN_HEADER, formatOrigin, parseOrigin
from ._json import MAX_BODY, decode
from ._queries import (
    CANCEL_QUERY,
    JOBS_QUERY,
    MAX_WAIT,
    OUTPUT_QUERY,
    QUIESCE_QUERY,
    ChangesQuery,
    ListQuery,
    OutputQuery,
    checkNoQuery,
    parseCancelQuery,
    parseJobsQuery,
    parseOutputQuery,
    parseQuiesceQuery,
)
from ._schemas import STATISTICS, components
from ._status import statusToJSON

__all__ = [
    "CANCEL_QUERY",
    "JOBS",
    "JOBS_QUERY",
    "MAX_BODY",
    "MAX_JOBS",
    "MAX_WAIT",
    "MAX_WORKERS",
    "ORIGIN",
    "ORIGIN_HEADER",
    "OUTPUT_QUERY",
    "POOL_CHANGE",
    "PRIORITY",
    "QUIESCE_QUERY",
    "STATISTICS",
    "STATUS",
    "ChangesQuery",
    "Check",
    "ListQuery",
    "OutputQuery",
    "PoolChange",
    "Schema",
    "checkNoBody",
    "checkNoQuery",
    "components",
    "decode",
    "encode",
    "encodeJobs",
    "formatOrigin",
    "jobToJSON",
    "parseCancelQuery",
    "parseJobsQuery",
    "parseNewJobs",
    "parseOrigin",
    "parseOutputQuery",
    "parsePoolChange",
    "parsePriority",
    "parseQuiesceQuery",
    "problem",
    "reference",
    "statusOf",
    "statusToJSON",
    "timestamp",
]
