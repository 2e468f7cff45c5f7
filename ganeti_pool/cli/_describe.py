"""
What became of a job, and how the daemon is, in words. Pure: no clock, no stream.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ._format import Wire, escapeControls, formatSince, formatSize, formatTime, toJSON

__all__ = ["describeEnd", "describeJob", "describePool", "describeStatus"]


def describeEnd(job: Wire) -> str:
    """
    What became of a job, on one line.
    """
    text = f"{job['id']} {job['state']}"
    if job["error"] is not None:
        text += f": {job['error']['message']}"
    return escapeControls(text)


def _describeOutput(output: Wire) -> str:
    return ", ".join(
        f"{stream} {formatSize(size['bytes'])}" + (" (truncated)" if size["truncated"] else "")
        for stream, size in output.items()
    )


def _describeExit(error: Wire) -> str:
    """
    How a command ended, where the sentence of its error does not say so.
    """
    if error["code"] not in ("timeout", "interrupted"):
        return ""
    if error["signal"] is not None:
        return f" ({error['signal']})"
    return "" if error["exit_code"] is None else f" (status {error['exit_code']})"


def _describeValue(key: str, value: Any) -> str:
    if key.endswith("_at"):
        return formatTime(value)
    if key == "error":
        return f"{value['code']}: {value['message']}{_describeExit(value)}"
    if key == "output":
        return _describeOutput(value)
    return value if isinstance(value, str) else toJSON(value)


def _describeFields(fields: Wire, indent: str) -> list[str]:
    return [
        f"{indent}{key.replace('_', ' '):{20 - len(indent)}} "
        + escapeControls(_describeValue(key, value))
        for key, value in fields.items()
        if value not in (None, {}, [])
    ]


def describeJob(job: Wire) -> str:
    """
    Everything about a job, on a line each; times are local, with their offset.
    """
    attempts = job.get("attempts", ())
    lines = _describeFields({k: v for k, v in job.items() if k != "attempts"}, "")
    for attempt in attempts:
        lines.append(f"attempt {attempt['number']}")
        lines += _describeFields({k: v for k, v in attempt.items() if k != "number"}, "  ")
    return "\n".join(lines)


def describePool(pool: Wire) -> str:
    """
    Whether the pool starts jobs, and how many of its workers run one; without workers, that
    no job can start.
    """
    state = "active" if pool["active"] else "paused"
    if not pool["workers"]:
        leaving = f", {pool['busy']} still running" if pool["busy"] else ""
        return f"{state}, no workers{leaving}: no job can start until resize adds some"
    return f"{state}, {pool['busy']} of {pool['workers']} workers busy"


_UNREADABLE = "unknown, since the store cannot be read"


def describeStatus(status: Wire, now: datetime) -> str:
    """
    The state of the daemon, a line for each of its parts.
    """
    daemon, jobs, store = status["daemon"], status["jobs"], status["store"]
    # A daemon of an earlier release reports nothing of it.
    output = status.get("output", {"adopted": False, "set_aside": []})
    lastDay = jobs["last_day"]
    stopping = ", stopping" if daemon["stopping"] else ""
    lines = [
        (
            "daemon",
            f"pid {daemon['pid']}, version {daemon['version']}, "
            f"up {formatSince(daemon['started_at'], None, now)}{stopping}",
        ),
        ("worker", daemon["worker"]),
        ("directory", daemon["state_directory"]),
        ("pool", describePool(status)),
        ("queued", f"{jobs['queued']}{_withAge('oldest', jobs['oldest_queued_at'], now)}"),
        ("running", f"{jobs['running']}{_withAge('longest', jobs['longest_running_at'], now)}"),
        (
            "last 24 h",
            _UNREADABLE
            if lastDay is None
            else f"{lastDay['succeeded']} succeeded, {lastDay['failed']} failed, "
            f"{lastDay['cancelled']} cancelled",
        ),
        (
            "store",
            _UNREADABLE
            if store["bytes"] is None
            else f"{formatSize(store['bytes'])}, {formatSize(store['free_bytes'])} free",
        ),
    ]
    # A daemon that is older than this command does not count them.
    quiesces = status.get("quiesces", {"count": 0})
    if quiesces["count"]:
        since = formatSince(quiesces["since"], None, now)
        lines.append(
            ("quiesce", f"{quiesces['count']} for {since}: jobs submitted since then do not start")
        )
    if store["unwritten"]:
        lines.append(("unwritten", f"{store['unwritten']} outcomes wait for the store"))
    if store["last_error"] is not None:
        lines.append(("last error", store["last_error"]))
    if output["adopted"]:
        lines.append(("output", "adopted: it had no store id, so nothing was removed from it"))
    for directory in output["set_aside"]:
        lines.append(("set aside", f"{directory}: check this output, then remove it"))
    return "\n".join(f"{label:<11}{escapeControls(text)}" for label, text in lines)


def _withAge(which: str, since: str | None, now: datetime) -> str:
    return "" if since is None else f", {which} {formatSince(since, None, now)}"
