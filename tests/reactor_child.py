"""
What the tests of the kinds of reactors run in a child process::

    python -m tests.reactor_child KIND

It installs that reactor and says, as JSON, what happened.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from importlib import import_module
from typing import Any

KINDS = {
    "default": "twisted.internet.default",
    "epoll": "twisted.internet.epollreactor",
    "poll": "twisted.internet.pollreactor",
    "select": "twisted.internet.selectreactor",
    "asyncio": "twisted.internet.asyncioreactor",
}
"""
The modules that install each kind of reactor.
"""

UNDER_WAY = 1000
"""
So many outcomes are on their way when the reactor is told to stop.
"""


def run(kind: str) -> dict[str, Any]:
    """
    Run a pool in a reactor, from before its start to after its end.

    @return: what happened.
    """
    import_module(KINDS[kind]).install()
    from twisted.internet import reactor as installed
    from twisted.internet.defer import Deferred, ensureDeferred

    from ganeti_pool.deferred import DeferredWorkerPool, deferToPool
    from ganeti_pool.errors import PoolTerminated, TaskNotStarted

    reactor: Any = installed
    seen: dict[str, Any] = {"reactor": type(reactor).__name__, "fired": {}}
    fired: dict[str, int] = seen["fired"]

    def count(result: object, name: str) -> None:
        fired[name] = fired.get(name, 0) + 1

    pool = DeferredWorkerPool(reactor, "child", 3)
    early = pool.addTask((abs, -1))
    early.addCallback(count, "early")
    seen["threads before"] = threading.active_count()

    async def life() -> None:
        seen["awaited"] = await deferToPool(pool, divmod, 17, 5)
        await pool.quiesce()
        await pool.terminateWorkers()
        seen["threads between"] = threading.active_count()
        pool.start()
        seen["again"] = await pool.addTask((abs, -2))
        if kind == "asyncio":
            future = pool.addTask((abs, -3)).asFuture(asyncio.get_running_loop())
            seen["future"] = await Deferred.fromFuture(future)
        # Now as many outcomes as the pool can make before the reactor's next turn.
        ended = threading.Semaphore(0)

        def task() -> None:
            ended.release()

        results = pool.addManyTasks([(task,)] * UNDER_WAY)
        for result in results:
            result.addCallback(count, "ended")
        for _ in results:
            assert ended.acquire(timeout=10)
        pool.setActive(False)
        for result in pool.addManyTasks([(task,)] * UNDER_WAY):
            result.addErrback(lambda failure: failure.trap(TaskNotStarted))
            result.addCallback(count, "unstarted")
        seen["under way"] = UNDER_WAY - fired.get("ended", 0)
        reactor.stop()

    def failed(failure: Any) -> None:
        seen["failure"] = failure.getTraceback()
        reactor.stop()

    def afterwards() -> None:
        seen["threads after"] = threading.active_count()
        late = pool.addTask((abs, 1))
        late.addErrback(lambda failure: failure.trap(PoolTerminated))
        late.addCallback(count, "late")

    reactor.callWhenRunning(lambda: ensureDeferred(life()).addErrback(failed))
    reactor.addSystemEventTrigger("after", "shutdown", afterwards)
    # A pool that hangs is ended by whoever started this process.
    reactor.run()
    # The reactor has gone, and its loop may be closed: nobody is told, nothing breaks.
    if kind == "asyncio":
        reactor._asyncioEventloop.close()
    pool._delivery.putCall(lambda: None)
    return seen


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1])))
