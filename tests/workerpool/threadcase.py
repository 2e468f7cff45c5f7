"""
What the tests of pools with threads share: threads that meet at events, and a pool
that says when something has happened in it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from types import FrameType
from typing import Any
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

import ganeti_pool
from ganeti_pool.workerpool import BaseWorker, WorkerPool
from ganeti_pool.workerpool._fences import Fence

from ..poolcontract import FunctionWorker

__all__ = [
    "PATIENCE",
    "Gate",
    "Interrupted",
    "Interruption",
    "Litter",
    "Other",
    "ThreadCase",
    "WatchedPool",
    "needsDropping",
]

PACKAGE = str(Path(ganeti_pool.__file__).parent)

PATIENCE = 10.0
"""
Seconds after which something that should have happened never will.
"""


needsDropping = skipUnless(
    getattr(sys, "_is_gil_enabled", lambda: True)(),
    "without the GIL an object does not go where it is let go of, but on the thread that made "
    "it, or when garbage is collected, and that is what this test looks at",
)
"""
Marks tests of when objects are finalised.
"""


class Gate:
    """
    Stops the thread that calls it until it is opened. It can be a task.
    """

    def __init__(self) -> None:
        self._reached = Event()
        self._open = Event()

    def __call__(self, *args: object) -> None:
        self._reached.set()
        assert self._open.wait(PATIENCE), "nobody opened the gate"

    def reached(self) -> None:
        """
        Wait until a thread has come to the gate.
        """
        assert self._reached.wait(PATIENCE), "nobody came to the gate"

    def open(self) -> None:
        """
        Let everyone pass from now on.
        """
        self._open.set()


class Other:
    """
    A call on a thread of its own.
    """

    def __init__(self, f: Callable[..., object], *args: object) -> None:
        self._call = lambda: f(*args)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:
            self._error = error

    def result(self) -> object:
        """
        Wait for what the call returns or raises.
        """
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the call goes on"
        if self._error is not None:
            raise self._error
        return self._value


class Litter:
    """
    Garbage that does something when it is collected, and leaves more of it.
    """

    def __init__(self, remaining: int, act: Callable[[int], object]) -> None:
        """
        @param remaining: how much more.
        @param act: called with that.
        """
        self._remaining = remaining
        self._act = act
        self._cycle = self

    def __del__(self) -> None:
        self._act(self._remaining)
        if self._remaining:
            Litter(self._remaining - 1, self._act)


class Interruption(BaseException):
    """
    What the signal handler raises.
    """


class Interrupted:
    """
    A call that is interrupted at one step.

    The interpreter runs signal handlers when a Python function is entered, after a call of
    a C function, and, before Python 3.11, when a Python function has returned. A profile
    function is called at just these steps.

    @ivar isOver: whether the call ended before that step.
    """

    def __init__(self, step: int, call: Callable[[], object]) -> None:
        self._left = step
        before = sys.getprofile()
        sys.setprofile(self._look)
        try:
            call()
        except Interruption:
            pass  # If a completion runs, this is a failure of the completion, and is logged.
        finally:
            sys.setprofile(before)
        self.isOver = self._left > 0

    def _look(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "c_call" or (event == "return" and sys.version_info >= (3, 11)):
            return
        # What the standard library does then, as in Thread.start, is not looked at here.
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return
        self._left -= 1
        if self._left == 0:
            raise Interruption


class WatchedPool(WorkerPool):
    """
    A pool that says when something has happened in it.

    @ivar adding: how many threads wait in C{AddTask}.
    """

    adding = 0

    def waitUntil(self, predicate: Callable[[], object]) -> None:
        """
        Wait for something that holds with the lock held.
        """
        with self._lock:
            assert self._changed.wait_for(predicate, PATIENCE), "it does not come to be so"

    def waitUntilIdle(self, workers: int) -> None:
        """
        Wait until so many workers are idle and nobody is being woken.
        """
        self.waitUntil(lambda: len(self._idle) == workers and self._waking is None)

    def _TakeUnlocked(self, worker: BaseWorker) -> Any:
        task = super()._TakeUnlocked(worker)
        self._changed.notify_all()
        return task

    def _WaitWhileQuiescingUnlocked(self) -> None:
        self.adding += 1
        self._changed.notify_all()
        super()._WaitWhileQuiescingUnlocked()
        self.adding -= 1

    def _SetUpFence(self, fence: Fence) -> None:
        super()._SetUpFence(fence)
        with self._lock:
            self._changed.notify_all()


class ThreadCase(SynchronousTestCase):
    """
    A test of pools with threads, which end with it.

    @ivar seen: what the tasks C{see} were given, in the order in which they ran.
    """

    def setUp(self) -> None:
        self.seen: list[object] = []

    def see(self, worker: BaseWorker, value: object) -> None:
        """
        A task that notes a value.
        """
        self.seen.append(value)

    def makeGate(self) -> Gate:
        """
        Make a gate, which is open when the test has ended.
        """
        gate = Gate()
        self.addCleanup(gate.open)
        return gate

    def makePool(
        self,
        workers: int,
        workerClass: Callable[[Any, str], object] = FunctionWorker,
        poolClass: type[WatchedPool] = WatchedPool,
    ) -> WatchedPool:
        """
        Make a pool called C{pool}.
        """
        pool = poolClass("pool", workers, workerClass)
        self.addCleanup(self._end, pool)
        return pool

    def busyPool(self, workers: int = 1) -> tuple[WatchedPool, Gate]:
        """
        Make a pool in which a task called C{busy} runs, until the gate is opened.
        """
        pool = self.makePool(workers)
        gate = self.makeGate()
        pool.AddTask((gate,), task_id="busy")
        gate.reached()
        return pool, gate

    def quiesce(self, pool: WatchedPool) -> Other:
        """
        Have another thread quiesce a pool, and see it wait.
        """
        fences = len(pool._fences)
        other = Other(pool.Quiesce)
        pool.waitUntil(lambda: len(pool._fences) > fences)
        return other

    def _end(self, pool: WorkerPool) -> None:
        """
        Have all threads of a pool end.
        """
        Other(pool.TerminateWorkers).result()
        self.assertEqual((pool._workers, pool._termworkers, pool._barriers), ([], [], []))
