"""
Explain a rejection by a daemon that is older than the command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version

from ._session import Session

__all__ = ["explainUnknownKey"]


async def explainUnknownKey(session: Session, error: Exception) -> Exception:
    """
    Find out whether a request was refused because the daemon does not know a key that this
    command sends.

    @return: an error that names the daemon's version and asks to restart it; the error as it
        was if the daemon is of this command's version or that cannot be found out, and for
        any other error.
    """
    if not getattr(error, "errors", ()):
        return error
    # Not above: a mistake in the call needs no HTTP client to be told.
    from ..client import RequestRefused

    if not isinstance(error, RequestRefused) or not _hasUnknownKey(error.errors):
        return error
    try:
        pool = await session.connect().pool()
        running = pool["daemon"]["version"]
    except Exception:
        # The daemon's own rejection remains the reason.
        return error
    own = version("ganeti-pool")
    if running == own:
        return error
    return RequestRefused(
        error.status,
        error.code,
        f"{error}: this command is version {own}; restart the daemon (version {running}) to "
        "update it too",
        error.errors,
    )


def _hasUnknownKey(errors: Sequence[Mapping[str, str]]) -> bool:
    return any(problem["code"] == "unknown_key" for problem in errors)
