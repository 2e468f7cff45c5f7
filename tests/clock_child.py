"""
A process whose clock is set back while its reactor waits. What it is given names the
reactor; it says how often a call came that was to come soon.
"""

from __future__ import annotations

import sys
import time

from twisted.internet import asyncioreactor, selectreactor
from twisted.internet.base import ReactorBase

from ganeti_pool.daemon import goSteady

_KINDS = {"select": selectreactor, "asyncio": asyncioreactor}

_ahead = 3600.0


def _timeOfDay() -> float:
    return time.time() + _ahead


def main() -> None:
    """
    Wait for a tenth of a second, and set the clock back meanwhile.
    """
    ReactorBase.seconds = staticmethod(_timeOfDay)
    _KINDS[sys.argv[1]].install()
    # there now
    from twisted.internet import reactor

    calls: list[str] = []

    def soon() -> None:
        calls.append("called")
        reactor.stop()

    def begin() -> None:
        global _ahead
        reactor.callLater(0.1, soon)
        _ahead = 0.0

    goSteady(reactor)
    reactor.callWhenRunning(begin)
    reactor.run()
    print(len(calls))


if __name__ == "__main__":
    main()
