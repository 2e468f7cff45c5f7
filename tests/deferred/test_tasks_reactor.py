"""
Tests for tasks on threads, in a real reactor.
"""

from __future__ import annotations

import contextvars
import threading
import weakref
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    ensureDeferred,
    gatherResults,
)
from twisted.internet.threads import blockingCallFromThread
from twisted.python import context

from ganeti_pool.deferred import deferToPool
from ganeti_pool.errors import (
    DeferTask,
    DuplicateTaskID,
    WouldWaitForItself,
    WrongThread,
)
from ganeti_pool.workerpool import BaseWorker
from ganeti_pool.workers import CallableWorker

from ..poolcontract import FunctionWorker
from ..workerpool.threadcase import PATIENCE, Gate
from .realpool import Pool, reached, reactor, soon

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="none")


@pytest_twisted.ensureDeferred
async def test_awaitResult() -> None:
    """
    A task's Deferred can be awaited, fires on the reactor thread, and has its failure.
    """
    async with Pool() as pool:
        assert await pool.addTask((divmod, 7, 2)) == (3, 1)
        fired = await pool.addTask((abs, 1)).addCallback(lambda _: threading.get_ident())
        assert fired == threading.get_ident()
        name = await deferToPool(pool, lambda: threading.current_thread().name)
        assert name.startswith("real")
        with pytest.raises(ZeroDivisionError):
            await pool.addTask((divmod, 7, 0))

        async def two() -> object:
            return [await pool.addTask((abs, -1)), await deferToPool(pool, abs, -2)]

        assert await ensureDeferred(two()) == [1, 2]


@pytest_twisted.ensureDeferred
async def test_manyTasks() -> None:
    """
    Thousands of Deferreds fire, each with its own result, from any number of threads.
    """
    async with Pool(4) as pool:
        results = pool.addManyTasks([(abs, -n) for n in range(3000)], priority=range(3000))
        results += [pool.addTask((abs, -n)) for n in range(3000, 4000)]
        assert await gatherResults(results) == list(range(4000))
        statistics = pool.statistics()
        assert (statistics.succeeded, statistics.queued, statistics.running) == (4000, 0, 0)


@pytest_twisted.ensureDeferred
async def test_cancelRunning() -> None:
    """
    The cancellation of a running task fires its Deferred at once, tells the task on its
    worker, and keeps its ID until it ends.
    """
    told, gate = threading.Event(), Gate()

    def task(worker: BaseWorker) -> str:
        worker.CallWhenCancelled(told.set)
        gate(worker)
        assert told.wait(PATIENCE) and worker.IsCancelled()
        return "late"

    async with Pool(1, FunctionWorker) as pool:
        result = pool.addTask((task,), taskID="t")
        await reached(gate)
        result.cancel()
        with pytest.raises(CancelledError):
            await result
        with pytest.raises(DuplicateTaskID, match="it is running"):
            pool.addTask((task,), taskID="t")
        gate.open()
        await pool.quiesce()
        assert await pool.addTask((lambda worker: "again",), taskID="t") == "again"
        assert pool.statistics().succeeded == 2


@pytest_twisted.ensureDeferred
async def test_cancelEnded() -> None:
    """
    A task that has ended, and whose Deferred is cancelled before it is told, is cancelled.
    """
    ended = threading.Event()

    class Worker(CallableWorker):
        def _Park(self) -> None:
            ended.set()
            super()._Park()

    async with Pool(1, Worker) as pool:
        await pool.quiesce()
        for _ in range(2):
            # The worker is idle again only when the outcome is on its way.
            ended.clear()
            result = pool.addTask((abs, 1))
            assert ended.wait(PATIENCE)
            result.cancel()
            with pytest.raises(CancelledError):
                await result
        assert await pool.addTask((abs, -3)) == 3
        assert pool.statistics().succeeded == 3


@pytest_twisted.ensureDeferred
async def test_wrongThread() -> None:
    """
    A task that calls what is the reactor thread's gets L{WrongThread}; through
    C{blockingCallFromThread} it works, if a worker is free.
    """
    async with Pool(2) as pool:
        with pytest.raises(WrongThread, match="real"):
            await pool.addTask((pool.addTask, (abs, 1)))
        inner = deferToPool(pool, blockingCallFromThread, reactor, pool.addTask, (abs, -4))
        assert await soon(inner) == 4
        with pytest.raises(WouldWaitForItself):
            await deferToPool(pool, pool.pool.TerminateWorkers)


@pytest_twisted.ensureDeferred
async def test_contextAtOnce() -> None:
    """
    Tasks that were added together run at the same time, on two threads, in the context
    of whoever added them, each in a copy.
    """
    together = threading.Barrier(2, timeout=PATIENCE)

    def task() -> tuple[object, ...]:
        found = VARIABLE.get(), context.get("key")
        together.wait()
        VARIABLE.set("set by a task")
        together.wait()
        return found

    async with Pool(2) as pool:

        def submit() -> list[Deferred[Any]]:
            VARIABLE.set("submitted")
            added: list[Deferred[Any]] = context.call(
                {"key": "value"}, pool.addManyTasks, [(task,)] * 2
            )
            return added

        results = contextvars.copy_context().run(submit)
        assert await gatherResults(results) == [("submitted", "value")] * 2
        assert VARIABLE.get() == "none"


@pytest_twisted.ensureDeferred
async def test_contextOfDeferredTask() -> None:
    """
    Each run of a deferred task enters a copy of its own.
    """
    seen: list[str] = []

    def task() -> list[str]:
        seen.append(VARIABLE.get())
        VARIABLE.set("set by a run")
        if len(seen) < 3:
            raise DeferTask
        return seen

    async with Pool(2) as pool:
        assert await pool.addTask((task,)) == ["none"] * 3


@pytest_twisted.ensureDeferred
async def test_nothingIsKept() -> None:
    """
    When a task's Deferred has fired and the pool is quiet, what the task was given and
    what it returned are gone, though its worker is idle.
    """

    class Thing:
        pass

    async with Pool(1) as pool:
        things = [Thing(), Thing()]
        ends = [weakref.ref(thing) for thing in things]
        given, returned = things
        result = pool.addTask((lambda a, b: b, given, returned), taskID="t")
        del things, given, returned
        await result
        del result
        await pool.quiesce()
        await pool.resize(0)
        assert [end() for end in ends] == [None, None]
