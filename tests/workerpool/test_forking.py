"""
Pools in the child of a fork.

What really happens there is seen in processes that fork; the steps are also taken in the
tests' own process, by telling a pool that it is in a child.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any
from unittest import skipUnless

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.deferred import DeferredWorkerPool
from ganeti_pool.errors import PoolForked, PoolTerminated
from ganeti_pool.interfaces import IWorkerPool
from ganeti_pool.testing import FakeReactor, makeSteppingPool
from ganeti_pool.workerpool import BaseWorker, WorkerPool, _forking
from ganeti_pool.workerpool._fences import Fence
from ganeti_pool.workerpool._forking import afterFork

from ..poolcontract import FunctionWorker, Recorder
from .threadcase import PATIENCE, Other, ThreadCase, WatchedPool

SCRIPT = """\
import os, signal, sys
from ganeti_pool.workerpool import BaseWorker, WorkerPool

signal.alarm(20)  # if something waits that must not
parent = os.getpid()

def tell(*words):
    os.write(1, (" ".join(map(str, ("parent" if os.getpid() == parent else "child", *words)))
                 + "\\n").encode())

def attempt(name, call):
    try:
        tell(name, call())
    except BaseException as error:
        tell(name, type(error).__name__)

def fork(inChild):
    pid = os.fork()
    if pid:
        tell("status", os.waitpid(pid, 0)[1])
    else:
        signal.alarm(20)
        inChild()
        os._exit(0)

class Worker(BaseWorker):
    def RunTask(self, f):
        f()
"""


@skipUnless(hasattr(os, "fork"), "this system has no fork")
class ProcessTests(SynchronousTestCase):
    """
    Tests with real children.
    """

    def run_(self, script: str) -> list[str]:
        """
        Run a script in a process of its own.

        @return: the lines that it and its children wrote.
        """
        process = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SCRIPT + script],
            stdout=subprocess.PIPE,
            timeout=60,
            check=True,
            text=True,
        )
        return process.stdout.splitlines()

    def test_childReturns(self) -> None:
        """
        A child that a task has forked, and in which the task returns, runs nothing of the
        queue, and ends.
        """
        lines = self.run_("""
def forking():
    pid = os.fork()
    if pid:
        tell("status", os.waitpid(pid, 0)[1])
    else:
        signal.alarm(20)

pool = WorkerPool("pool", 1, Worker)
pool.SetActive(False)
pool.AddManyTasks([(forking,), (lambda: tell("ran"),)])
pool.SetActive(True)
pool.Quiesce()
pool.TerminateWorkers()
""")
        self.assertEqual(lines, ["parent status 0", "parent ran"])

    def test_refusal(self) -> None:
        """
        A pool that had threads before the fork refuses everything in the child; it can be
        terminated there, and is by C{with}, which does nothing.
        """
        lines = self.run_("""
def inChild():
    attempt("AddTask", lambda: pool.AddTask((print,)))
    attempt("Quiesce", pool.Quiesce)
    attempt("Resize", lambda: pool.Resize(2))
    attempt("TerminateWorkers", pool.TerminateWorkers)
    with pool:
        pass
    other = WorkerPool("other", 1, Worker)
    other.AddTask((lambda: tell("ran"),))
    other.Quiesce()

with WorkerPool("pool", 1, Worker) as pool:
    fork(inChild)
""")
        self.assertEqual(
            lines,
            [
                "child AddTask PoolForked",
                "child Quiesce PoolForked",
                "child Resize PoolForked",
                "child TerminateWorkers None",
                "child ran",
                "parent status 0",
            ],
        )

    def test_lockHeld(self) -> None:
        """
        A lock that another thread holds at the time of the fork holds up nothing in the
        child.
        """
        lines = self.run_("""
import threading

class ID:
    def __hash__(self):
        if threading.current_thread() is adder and pool._lock._is_owned():
            inside.set()
            forked.wait()
        return 1

inside, forked = threading.Event(), threading.Event()
for workers in (0, 1):
    pool = WorkerPool("pool", workers, Worker)
    inside.clear()
    forked.clear()
    adder = threading.Thread(target=pool.AddTask, args=((print,), 0, ID()))
    adder.start()
    inside.wait()
    fork(lambda: attempt("AddTask", lambda: pool.AddTask((print,))))
    forked.set()
    adder.join()
os._exit(0)
""")
        self.assertEqual(
            [line for line in lines if line.startswith("child")],
            ["child AddTask None", "child AddTask PoolForked"],
        )

    def test_noThreadsYet(self) -> None:
        """
        A pool that had no threads before the fork is usable in the child, with what was
        queued.
        """
        lines = self.run_("""
def inChild():
    pool.Resize(1)
    pool.AddTask((lambda: tell("second"),))
    pool.Quiesce()
    pool.TerminateWorkers()

pool = WorkerPool("pool", 0, Worker)
pool.AddTask((lambda: tell("first"),))
fork(inChild)
""")
        self.assertEqual(lines, ["child first", "child second", "parent status 0"])


class ForkingTests(ThreadCase):
    """
    Tests with pools that are told that they are in a child.
    """

    def forkedPool(self) -> WorkerPool:
        """
        Make a pool that is told so while its worker is idle.
        """
        pool = self.makePool(1)
        pool.waitUntilIdle(1)
        lock = pool._lock

        def comeBack() -> None:
            pool._lock = lock
            pool._isForked = False

        self.addCleanup(comeBack)
        afterFork(pool)
        return pool

    def test_everyCall(self) -> None:
        """
        Every call is refused, except C{TerminateWorkers}.
        """
        pool = self.forkedPool()
        calls: dict[str, Callable[[], object]] = {
            "SetActive": lambda: pool.SetActive(False),
            "AddTask": lambda: pool.AddTask((self.see, 1)),
            "AddManyTasks": lambda: pool.AddManyTasks([(self.see, 1)]),
            "ChangeTaskPriority": lambda: pool.ChangeTaskPriority("t", -1),
            "CancelTask": lambda: pool.CancelTask("t"),
            "InterruptTask": lambda: pool.InterruptTask("t"),
            "HasRunningTasks": pool.HasRunningTasks,
            "GetStatistics": pool.GetStatistics,
            "Resize": lambda: pool.Resize(2),
            "Quiesce": pool.Quiesce,
            "TerminateWorkers": pool.TerminateWorkers,
        }
        self.assertEqual({*calls}, {*IWorkerPool.names()})
        del calls["TerminateWorkers"]
        for name, call in calls.items():
            self.assertIn("'pool'", str(self.assertRaises(PoolForked, call)), name)
        self.assertIsNone(pool.TerminateWorkers())  # type: ignore[func-returns-value]
        self.assertFalse(pool._lock._is_owned())  # type: ignore[attr-defined]

    def test_sectionAtTheFork(self) -> None:
        """
        A section of the pool in which a thread forks, in the C{__hash__} of an ID, ends in
        the child.
        """
        pool = self.forkedPool()
        pool._lock.release()
        with self.assertRaises(PoolForked), pool._lock:
            self.fail("the section is entered")
        pool._lock.__exit__(None, None, None)

    def test_workerEnds(self) -> None:
        """
        A worker whose task has forked ends in the child, and tells the outcome to nobody.
        """
        for outcome in (None, SystemExit):
            pool = WorkerPool("pool", 1, FunctionWorker)
            (worker,) = pool._workers
            lock = pool._lock
            completion = Recorder()

            def fork(worker: BaseWorker, outcome: type[BaseException] | None = outcome) -> None:
                afterFork(pool)  # noqa: B023
                if outcome is not None:
                    raise outcome

            pool.AddTask((fork,), completion=completion)
            Other(worker.join, PATIENCE).result()
            self.assertFalse(worker.is_alive())
            self.assertEqual(completion.events, [("begin", 1)])
            self.assertFalse(lock._is_owned())  # type: ignore[attr-defined]

    def test_hookFails(self) -> None:
        """
        A worker ends in the child even if a hook of the pool has forked, and then raises.
        """

        class Forking(WatchedPool):
            forks = False

            def _ShouldWorkerTerminateUnlocked(self, worker: BaseWorker) -> bool:
                if self.forks:
                    afterFork(self)
                    raise ZeroDivisionError
                return super()._ShouldWorkerTerminateUnlocked(worker)

        pool = Forking("pool", 1, FunctionWorker)
        pool.waitUntilIdle(1)
        (worker,) = pool._workers
        pool.forks = True
        pool.AddTask((self.see, 1))
        Other(worker.join, PATIENCE).result()
        self.assertFalse(worker.is_alive())
        self.assertEqual(self.seen, [])

    def test_noThreads(self) -> None:
        """
        A pool without threads gets a new lock. A quiesce whose thread is not in the child
        is given up there, and one that blocks no thread goes on.
        """
        pool = self.makePool(0)
        lock = pool._lock
        pool.AddTask((self.see, 1))
        done: list[object] = []
        pool._OpenFence(done.append)
        gone = Fence(done.append, -1)
        pool._SetUpFence(gone)
        pool._Submit([pool._NewEntry((self.see, 2), 0, None)], hold=True)
        afterFork(pool)
        self.assertIsNot(pool._lock, lock)
        self.assertNotIn(gone, pool._fences)
        pool.Resize(1)
        pool.waitUntil(lambda: len(self.seen) == 2)
        self.assertEqual((self.seen, done), ([1, 2], [None]))

    def test_steppingPool(self) -> None:
        """
        A pool that a test steps through has no threads.
        """
        pool, stepping, reactor = makeSteppingPool()
        result = pool.addTask((lambda: 42,))
        afterFork(stepping)
        stepping.runAll()
        reactor.run()
        self.assertEqual(self.successResultOf(result), 42)

    def test_allPools(self) -> None:
        """
        All pools that are there are told, and no others.
        """
        pools: dict[int, Any] = {}
        self.patch(_forking, "_pools", pools)
        pool = self.makePool(0)
        lock = pool._lock
        pools[0] = lambda: None  # one that has just been collected
        self.assertEqual(len(pools), 2)
        _forking._afterForks()
        self.assertIsNot(pool._lock, lock)


class DeferredTests(SynchronousTestCase):
    """
    Tests for L{DeferredWorkerPool} in a child.
    """

    def forkedPool(self) -> DeferredWorkerPool:
        """
        Make a pool that runs, and is told that it is in a child.
        """
        pool, stepping, reactor = makeSteppingPool()
        self.assertIsInstance(reactor, FakeReactor)
        stepping._starting += 1
        afterFork(stepping)
        return pool

    def test_refused(self) -> None:
        """
        What returns a Deferred returns one that has failed; the rest raises.
        """
        pool = self.forkedPool()
        deferreds: list[Deferred[Any]] = [
            pool.addTask((print,)),
            *pool.addManyTasks([(print,)]),
            pool.quiesce(),
            pool.resize(2),
        ]
        for deferred in deferreds:
            self.failureResultOf(deferred, PoolForked)
        for call in (pool.hasRunningTasks, pool.statistics):
            self.assertRaises(PoolForked, call)
        self.assertRaises(PoolTerminated, pool.callInThread, print)

    def test_terminateWorkers(self) -> None:
        """
        C{terminateWorkers} has nothing to wait for.
        """
        pool = self.forkedPool()
        self.assertIsNone(self.successResultOf(pool.terminateWorkers(drain=True)))
        self.assertIsNone(self.successResultOf(pool.terminateWorkers()))

    def test_anotherThread(self) -> None:
        """
        On the thread of a worker that has forked, the reason is the fork.
        """
        pool = self.forkedPool()
        pool._thread = threading.get_ident() + 1
        self.assertRaises(PoolForked, pool.quiesce)
