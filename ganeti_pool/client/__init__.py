"""
The client of the daemon.

What a method's Deferred gives is what the daemon sent, JSON objects as
dictionaries; the keys are those of L{wire <ganeti_pool.wire>}. Each of them can
fail with L{RequestRefused} and with L{DaemonUnreachable}. To cancel one closes
its connection; what the daemon has been told to do by then, it does.
"""

from __future__ import annotations

from ._client import JobClient, connectHTTP, connectUnix
from ._errors import DaemonSilent, DaemonUnreachable, RequestRefused

__all__ = [
    "DaemonSilent",
    "DaemonUnreachable",
    "JobClient",
    "RequestRefused",
    "connectHTTP",
    "connectUnix",
]
