"""
The state of a queue, as the JSON object of C{GET /v1/pool}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from ..interfaces import PoolStatistics
from ..wire import STATISTICS, timestamp
from ._journal import Journal

__all__ = ["statusToJSON"]


def statusToJSON(
    statistics: PoolStatistics,
    busy: int,
    quiesces: Sequence[datetime],
    summary: Mapping[str, Any],
    journal: Journal,
    output: Mapping[str, Any],
    daemon: Mapping[str, Any],
) -> dict[str, Any]:
    """
    @param busy: how many workers have a job, one whose outcome is not yet
        written and one that cannot start included.
    @param quiesces: the start time of each pending quiesce.
    @param summary: see L{IJobStore.summary
        <ganeti_pool.interfaces.IJobStore.summary>}. A value that cannot be read is L{None}.
    @param output: the object to report under C{output}.
    @param daemon: what to tell under C{daemon}.
    """
    counts = asdict(statistics)
    return {
        "active": statistics.active,
        "workers": statistics.workers,
        "busy": busy,
        "quiesces": {"count": len(quiesces), "since": _moment(min(quiesces, default=None))},
        "statistics": {name: counts[name] for name in STATISTICS},
        "jobs": {
            **summary["states"],
            "oldest_queued_at": _moment(summary["oldestQueuedAt"]),
            "longest_running_at": _moment(summary["longestRunningAt"]),
            "last_day": summary["lastDay"],
        },
        "store": {
            "bytes": summary["bytes"],
            "free_bytes": summary["freeBytes"],
            "unwritten": journal.unwritten,
            "last_error": journal.trouble,
        },
        "output": dict(output),
        "daemon": dict(daemon),
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)
