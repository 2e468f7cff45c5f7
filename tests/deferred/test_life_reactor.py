"""
Tests for the life of a pool with threads, in a real reactor.
"""

from __future__ import annotations

import gc
import threading
import weakref
from operator import attrgetter
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import (
    DeferredList,
    gatherResults,
)
from twisted.internet.threads import deferToThreadPool
from twisted.logger import globalLogPublisher

from ganeti_pool.deferred import DeferredWorkerPool
from ganeti_pool.errors import (
    PoolTerminated,
    TaskAbandoned,
    TaskNotStarted,
)

from ..workerpool.threadcase import PATIENCE, Gate, Other
from .realpool import Pool, reached, reactor, soon, threadsOf, turn


@pytest_twisted.ensureDeferred
async def test_quiesce() -> None:
    """
    A fence parks no thread: calls from another thread and from a worker of the pool are
    held, and the reactor thread submits on.
    """
    gate = Gate()
    seen: list[str] = []

    async with Pool(2) as pool:

        def task() -> None:
            gate()
            pool.callInThread(seen.append, "of a worker")

        running = pool.addTask((task,))
        await reached(gate)
        quiet = pool.quiesce()
        quiet.addCallback(lambda _: running.called)
        Other(pool.callInThread, seen.append, "of a thread").result()
        held = pool.addTask((seen.append, "of the reactor"))
        assert pool.statistics().queued == 2
        assert seen == []
        gate.open()
        assert await soon(quiet)
        await held
        await pool.quiesce()
        assert sorted(seen) == ["of a thread", "of a worker", "of the reactor"]


@pytest_twisted.ensureDeferred
async def test_threadsAreForgotten() -> None:
    """
    Threads that have left are not kept, not even until the garbage collector runs.
    """
    async with Pool(4) as pool:
        await pool.resize(2)
        gc.collect()
        gc.disable()
        try:
            leaving = [weakref.ref(thread) for thread in threadsOf(pool)]
            await pool.resize(0)
            await turn()
            assert [thread() for thread in leaving] == [None, None]
        finally:
            gc.enable()


@pytest_twisted.ensureDeferred
async def test_resize() -> None:
    """
    A pool grows and shrinks; a busy worker that is surplus ends its task, and when the
    Deferred fires its thread is gone.
    """
    async with Pool(1) as pool:
        await pool.resize(4)
        threads = threadsOf(pool)
        assert len(threads) == 4
        gates = [Gate() for _ in threads]
        results = [pool.addTask((gate,)) for gate in gates]
        for gate in gates:
            await reached(gate)
        resized = pool.resize(1)
        assert pool.statistics().workers == 1
        surplus = [thread for thread in threads if thread not in threadsOf(pool)]
        assert len(surplus) == 3
        for gate in gates:
            assert not resized.called
            gate.open()
        await soon(resized)
        assert not any(thread.is_alive() for thread in surplus)
        await gatherResults(results)
        await pool.resize(0)
        assert not any(thread.is_alive() for thread in threads)
        waiting = pool.addTask((abs, -1))
        await pool.resize(2)
        assert await waiting == 1


@pytest_twisted.ensureDeferred
async def test_terminate() -> None:
    """
    When the Deferred of a termination fires all others have, and no thread of the pool
    lives; the pool can then be started again.
    """
    async with Pool(2) as pool:
        for _ in range(2):
            gate = Gate()
            fired: list[object] = []
            running = pool.addTask((gate,)).addBoth(fired.append)
            await reached(gate)
            pool.setActive(False)
            queued = pool.addManyTasks([(abs, 1)] * 100)
            for result in queued:
                result.addErrback(attrgetter("type")).addCallback(fired.append)
            threads = threadsOf(pool)
            done = pool.terminateWorkers()
            joined = pool.terminateWorkers(drain=True)
            gate.open()
            await soon(done)
            assert running.called and all(result.called for result in queued)
            await soon(joined)
            assert sorted(fired, key=str) == sorted([None, *[TaskNotStarted] * 100], key=str)
            assert not any(thread.is_alive() for thread in threads)
            with pytest.raises(PoolTerminated):
                await pool.addTask((abs, 1))
            pool.start()
            pool.setActive(True)
            assert await pool.addTask((abs, -1)) == 1


@pytest_twisted.ensureDeferred
async def test_drain() -> None:
    """
    A drain runs what is queued, with all workers.
    """
    async with Pool(3) as pool:
        results = pool.addManyTasks([(abs, -n) for n in range(500)])
        await soon(pool.terminateWorkers(drain=True))
        assert [result.called for result in results] == [True] * 500
        assert await gatherResults(results) == list(range(500))


@pytest_twisted.ensureDeferred
async def test_deadline() -> None:
    """
    At the deadline the Deferreds of what still runs fail, each once, those of
    C{deferToThreadPool} and C{callInThreadWithCallback} too; the threads go on, and what
    they come to is dropped or logged.
    """
    events: list[Any] = []
    observer: Any = events.append
    gate, told = Gate(), []
    leaving = DeferredWorkerPool(reactor, "abandoned", 4)

    def fail() -> None:
        gate()
        raise ZeroDivisionError

    view: Any = leaving.atPriority(1)
    results = [
        leaving.addTask((gate,)),
        leaving.addTask((fail,)),
        deferToThreadPool(reactor, view, gate),
    ]
    leaving.callInThreadWithCallback(lambda *outcome: told.append(outcome), gate)
    await reached(gate)
    threads = threadsOf(leaving)
    while leaving.statistics().running < 4:
        await turn()
    await soon(leaving.terminateWorkers(deadline=0))
    outcomes = await DeferredList(results, consumeErrors=True)
    assert [failure.type for _, failure in outcomes] == [TaskAbandoned] * 3
    ((success, failure),) = told
    assert (success, failure.type) == (False, TaskAbandoned)
    assert all(thread.is_alive() for thread in threads)
    globalLogPublisher.addObserver(observer)
    try:
        gate.open()
        for thread in threads:
            thread.join(PATIENCE)
        leaving.start()
        await leaving.addTask((abs, 1))
    finally:
        globalLogPublisher.removeObserver(observer)
    logged = [event["log_failure"].type for event in events if "log_failure" in event]
    assert (logged, len(told)) == ([ZeroDivisionError], 1)
    await soon(leaving.terminateWorkers())


@pytest_twisted.ensureDeferred
async def test_startNeedsNoThread() -> None:
    """
    A pool of no worker has no thread.
    """
    before = threading.enumerate()
    async with Pool(0) as pool:
        pool.addTask((abs, 1)).addErrback(lambda failure: failure.trap(TaskNotStarted))
        assert threading.enumerate() == before
