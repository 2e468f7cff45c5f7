"""
How a request fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import PoolError

__all__ = ["DaemonSilent", "DaemonUnreachable", "RequestRefused"]


class RequestRefused(PoolError):
    """
    The daemon says no, and has changed nothing.

    @ivar status: of HTTP.
    @ivar code: the contract, see L{wire.STATUS <ganeti_pool.wire.STATUS>}.
    @ivar detail: one sentence for a person.
    @ivar errors: what is wrong in what was sent, each with C{pointer}, C{code}
        and C{detail}.
    """

    def __init__(
        self, status: int, code: str, detail: str, errors: Sequence[Mapping[str, str]] = ()
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = list(errors)


class DaemonUnreachable(PoolError):
    """
    There was no answer, or none that a daemon would give. If the request was to
    change something, it may have done so.

    @ivar where: the path of the socket, or the URL.
    @ivar why: what happened.
    @ivar mayHaveArrived: whether the request may have reached the daemon.
    """

    def __init__(self, where: str, why: str, mayHaveArrived: bool = True) -> None:
        super().__init__(f"there is no answer from a daemon at {where}: {why}")
        self.where = where
        self.why = why
        self.mayHaveArrived = mayHaveArrived


class DaemonSilent(DaemonUnreachable):
    """
    The answer, or the rest of it, did not arrive in time.

    @ivar seconds: the time limit.
    """

    def __init__(self, where: str, seconds: float, mayHaveArrived: bool = True) -> None:
        super().__init__(
            where,
            f"it did not arrive within {seconds:.0f} seconds. Check whether the daemon is "
            "suspended or its machine overloaded, and try again",
            mayHaveArrived,
        )
        self.seconds = seconds
