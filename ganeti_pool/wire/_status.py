"""
The status of the queue, as the JSON object of C{GET /v1/pool}.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..interfaces import QueueStatus
from ._documents import toJSON
from ._schemas import STATISTICS

__all__ = ["statusToJSON"]


def statusToJSON(status: QueueStatus) -> dict[str, Any]:
    """
    Return the status of a queue as a JSON object with every key of the schema C{Pool}, null
    for an unknown value. The number of workers stands beside the statistics, not in them.
    """
    counts = asdict(status.statistics)
    return {
        "active": status.active,
        "workers": status.statistics.workers,
        "busy": status.busy,
        "quiesces": toJSON(status.quiesces),
        "statistics": {name: counts[name] for name in STATISTICS},
        "jobs": toJSON(status.jobs),
        "store": toJSON(status.store),
        "output": {"adopted": status.output.adopted, "set_aside": list(status.output.setAside)},
        "daemon": toJSON(status.daemon),
    }
