"""
Tells twistd that there is C{ganeti-pool}.

What that is stands in L{ganeti_pool.tap}, which twistd imports when it is asked
for: listing it needs no extra.
"""

from twisted.application.service import ServiceMaker

__all__ = ["ganetiPool"]

ganetiPool = ServiceMaker(
    "ganeti-pool",
    "ganeti_pool.tap",
    "Run jobs that survive a crash, by priority",
    "ganeti-pool",
)
