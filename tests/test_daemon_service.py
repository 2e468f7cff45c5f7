"""
Tests for the service of the daemon, its lock and its ends.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import signal
import socket
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from threading import Event, Thread
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ReactorNotRunning
from twisted.internet.protocol import Factory
from twisted.logger import ILogObserver, LogEvent, capturedLogs, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from ganeti_pool.daemon import (
    Abort,
    InUse,
    JobQueueService,
    LockFile,
    Locks,
    endOnSignals,
    freezeMemory,
    stopOnce,
    surviveSignals,
)
from ganeti_pool.errors import OwnershipLost, QueueStopping, StoreError
from ganeti_pool.testing import FakeReactor

from .daemoncase import PATIENCE


def isFree(path: str) -> bool:
    """
    Whether the lock on a file could be had.
    """
    other = LockFile(path, "")
    try:
        other.acquire()
    except InUse:
        return False
    other.release()
    return True


class LockTests(SynchronousTestCase):
    """
    Tests for L{LockFile}.
    """

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.lock = self.another()
        self.addCleanup(self.lock.release)

    def another(self) -> LockFile:
        """
        Another lock on the same file.
        """
        return LockFile(self.path, "the house")

    def test_oneHolder(self) -> None:
        """
        A second holder is refused, until the first lets go. The file stays, for
        its owner alone.
        """
        self.lock.acquire()
        other = self.another()
        error = self.assertRaises(InUse, other.acquire)
        self.assertIn("the house is in use", str(error))
        self.assertIn(self.path, str(error))
        self.lock.release()
        other.acquire()
        other.release()
        self.assertEqual(Path(self.path).stat().st_mode & 0o777, 0o600)

    def test_again(self) -> None:
        """
        Who holds it may ask for it again, and give it back more than once.
        """
        self.lock.acquire()
        self.lock.acquire()
        self.assertRaises(InUse, self.another().acquire)
        self.lock.release()
        self.lock.release()

    def test_refusedLeavesNothing(self) -> None:
        """
        A refusal leaves no descriptor open.
        """
        self.lock.acquire()
        before = len(os.listdir("/proc/self/fd"))
        self.assertRaises(InUse, self.another().acquire)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_noLocks(self) -> None:
        """
        A file system that has no locks is not taken for another daemon.
        """

        def flock(descriptor: int, operation: int) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        self.patch(fcntl, "flock", flock)
        before = len(os.listdir("/proc/self/fd"))
        error = self.assertRaises(OSError, self.lock.acquire)
        self.assertEqual((error.filename, error.strerror), (self.path, "No locks available"))
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_commandsDoNotInherit(self) -> None:
        """
        No command inherits the lock, and so none keeps it.
        """
        self.lock.acquire()
        assert self.lock._descriptor is not None
        self.assertFalse(os.get_inheritable(self.lock._descriptor))


class LocksTests(SynchronousTestCase):
    """
    Tests for L{Locks}.
    """

    def setUp(self) -> None:
        self.locks = [LockFile(self.mktemp(), what) for what in ("one", "two")]
        self.both = Locks(*self.locks)
        self.addCleanup(self.both.release)

    def test_all(self) -> None:
        """
        All are taken, and all given back, each as often as one likes.
        """
        for _ in range(2):
            self.both.acquire()
            self.assertEqual([isFree(lock._path) for lock in self.locks], [False, False])
        for _ in range(2):
            self.both.release()
            self.assertEqual([isFree(lock._path) for lock in self.locks], [True, True])

    def test_none(self) -> None:
        """
        If one is in other hands, or cannot be opened, none is held.
        """
        other = LockFile(self.locks[1]._path, "")
        other.acquire()
        self.assertIn("two is", str(self.assertRaises(InUse, self.both.acquire)))
        self.assertTrue(isFree(self.locks[0]._path))
        other.release()
        self.both = Locks(self.locks[0], LockFile("/nowhere/lock", ""))
        self.assertRaises(FileNotFoundError, self.both.acquire)
        self.assertTrue(isFree(self.locks[0]._path))


class MemoryTests(SynchronousTestCase):
    """
    Tests for L{freezeMemory}.
    """

    def setUp(self) -> None:
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.unfreeze)
        gc.unfreeze()

    def test_whatIsThere(self) -> None:
        """
        The collector goes through what came later alone, and frees of that what is
        garbage.
        """
        kept: list[object] = []
        freezeMemory()
        self.assertFalse(any(kept is known for known in gc.get_objects()))
        garbage: list[object] = []
        garbage.append(garbage)
        del garbage
        self.assertEqual(gc.collect(), 1)

    def test_lessOften(self) -> None:
        """
        More has to come together before it looks.
        """
        before = gc.get_threshold()
        freezeMemory()
        for more, less in zip(gc.get_threshold(), before, strict=True):
            self.assertGreater(more, less)


class FakeSignals:
    """
    Stands for the module C{signal}.
    """

    SIG_DFL = signal.SIG_DFL

    def __init__(self) -> None:
        self.handlers: dict[int, Any] = {}

    def getsignal(self, number: int) -> Any:
        return self.handlers.get(number, signal.SIG_DFL)

    def signal(self, number: int, handler: Any) -> None:
        self.handlers[number] = handler


class SignalTests(SynchronousTestCase):
    """
    Tests for L{endOnSignals}.
    """

    def setUp(self) -> None:
        self.signals = FakeSignals()
        self.calls: list[object] = []
        self.watch()

    def watch(self, **edges: Any) -> None:
        settings: dict[str, Any] = {
            "stop": lambda: self.calls.append("stop"),
            "endAll": lambda: self.calls.append("end all"),
            "signals": self.signals,
            "closeLog": lambda: self.calls.append("close log"),
            "kill": lambda pid, number: self.calls.append((pid, number)),
            "patience": PATIENCE,
        }
        endOnSignals(**{**settings, **edges})

    def slowLog(self, until: Event) -> Event:
        """
        Have the log take a line when an event is set, and the calls tell of it.

        @return: what is set when there is a line to take.
        """
        arrived = Event()

        @implementer(ILogObserver)
        def write(event: LogEvent) -> None:
            arrived.set()
            until.wait(PATIENCE)
            self.calls.append("logged")

        globalLogPublisher.addObserver(write)
        self.addCleanup(globalLogPublisher.removeObserver, write)
        self.addCleanup(until.set)
        return arrived

    def test_first(self) -> None:
        """
        The first signal stops in good order.
        """
        self.signals.handlers[signal.SIGTERM](signal.SIGTERM, None)
        self.assertEqual(self.calls, ["stop"])

    def test_hangup(self) -> None:
        """
        A SIGHUP stops it too.
        """
        self.signals.handlers[signal.SIGHUP](signal.SIGHUP, None)
        self.assertEqual(self.calls, ["stop"])

    def test_quit(self) -> None:
        """
        A SIGQUIT stops it too.
        """
        self.signals.handlers[signal.SIGQUIT](signal.SIGQUIT, None)
        self.assertEqual(self.calls, ["stop"])

    def test_ignored(self) -> None:
        """
        A SIGHUP or SIGQUIT that was ignored stays ignored.
        """
        for number in (signal.SIGHUP, signal.SIGQUIT):
            self.signals.handlers[number] = signal.SIG_IGN
        self.watch()
        for number in (signal.SIGHUP, signal.SIGQUIT):
            self.assertIs(self.signals.handlers[number], signal.SIG_IGN)

    def test_second(self) -> None:
        """
        The second one, also if it is the other, ends the processes of the jobs and
        then this one, by that signal; and says so in one line.
        """
        with capturedLogs() as logged:
            self.signals.handlers[signal.SIGTERM](signal.SIGTERM, None)
            self.assertEqual(logged, [])
            self.signals.handlers[signal.SIGINT](signal.SIGINT, None)
        self.assertEqual(self.calls, ["stop", "end all", "close log", (os.getpid(), signal.SIGINT)])
        self.assertEqual([event["log_level"].name for event in logged], ["warn"])
        self.assertTrue((formatEvent(logged[0]) or "").startswith("SIGINT came while"))

    def test_third(self) -> None:
        """
        A third one, whichever it is, would meet no handler any more.
        """
        self.signals.handlers[signal.SIGTERM](signal.SIGTERM, None)
        self.signals.handlers[signal.SIGINT](signal.SIGINT, None)
        self.assertEqual(set(self.signals.handlers.values()), {signal.SIG_DFL})
        self.assertEqual(len(self.signals.handlers), 4)

    def test_thirdIgnored(self) -> None:
        """
        But a SIGHUP that was ignored stays so even then.
        """
        self.signals = FakeSignals()
        self.signals.handlers[signal.SIGHUP] = signal.SIG_IGN
        self.watch()
        self.signals.handlers[signal.SIGTERM](signal.SIGTERM, None)
        self.signals.handlers[signal.SIGINT](signal.SIGINT, None)
        self.assertIs(self.signals.handlers[signal.SIGHUP], signal.SIG_IGN)

    def test_logBlocked(self) -> None:
        """
        A log that does not take the line does not keep it from its end.
        """
        arrived = self.slowLog(Event())
        self.watch(patience=0)
        self.signals.handlers[signal.SIGTERM](signal.SIGTERM, None)
        self.signals.handlers[signal.SIGINT](signal.SIGINT, None)
        self.assertTrue(arrived.wait(PATIENCE))
        self.assertEqual(self.calls, ["stop", "end all", (os.getpid(), signal.SIGINT)])

    def test_logSlow(self) -> None:
        """
        But it waits until the line is written.
        """
        waits, join = Event(), Thread.join

        def note(thread: Thread, timeout: float | None = None) -> None:
            waits.set()
            join(thread, timeout)

        self.slowLog(waits)
        self.patch(Thread, "join", note)
        self.signals.handlers[signal.SIGTERM](signal.SIGTERM, None)
        self.signals.handlers[signal.SIGINT](signal.SIGINT, None)
        end = (os.getpid(), signal.SIGINT)
        self.assertEqual(self.calls[2:], ["logged", "close log", end])

    def test_noThread(self) -> None:
        """
        Nor does it if the line cannot be written for want of a thread.
        """

        def start(thread: Thread) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(Thread, "start", start)
        self.signals.handlers[signal.SIGTERM](signal.SIGTERM, None)
        with self.assertRaises(RuntimeError):
            self.signals.handlers[signal.SIGINT](signal.SIGINT, None)
        self.assertEqual(self.calls[-1], (os.getpid(), signal.SIGINT))


class SurvivalTests(SynchronousTestCase):
    """
    Tests for L{surviveSignals}.
    """

    def setUp(self) -> None:
        self.signals = FakeSignals()
        self.calls: list[str] = []

    def survive(self) -> None:
        surviveSignals(lambda: self.calls.append("reopen"), self.signals)

    def test_handled(self) -> None:
        """
        Every signal that would end the process is handled, except those that stop the
        daemon, cannot be handled, or say that the process is broken. No signal is ignored,
        since commands would inherit that.
        """
        self.survive()
        for name in ("USR1", "USR2", "ALRM", "VTALRM", "PROF", "POLL", "PWR", "XCPU", "RTMAX"):
            self.assertTrue(callable(self.signals.handlers[getattr(signal, f"SIG{name}")]), name)
        for name in ("TERM", "INT", "QUIT", "HUP", "KILL", "STOP", "TSTP", "CHLD", "SEGV", "ABRT"):
            self.assertNotIn(getattr(signal, f"SIG{name}"), self.signals.handlers)
        self.assertNotIn(signal.SIG_IGN, self.signals.handlers.values())

    def test_log(self) -> None:
        """
        A SIGUSR1 begins a new log file, and the others do nothing.
        """
        self.survive()
        for number, handler in self.signals.handlers.items():
            if number != signal.SIGUSR1:
                handler(number, None)
        self.assertEqual(self.calls, [])
        self.signals.handlers[signal.SIGUSR1](signal.SIGUSR1, None)
        self.assertEqual(self.calls, ["reopen"])

    def test_taken(self) -> None:
        """
        A signal that is handled or ignored already stays so.
        """
        handler = self.signals.handlers[signal.SIGUSR2] = lambda number, frame: None
        self.signals.handlers[signal.SIGALRM] = signal.SIG_IGN
        self.survive()
        self.assertIs(self.signals.handlers[signal.SIGUSR2], handler)
        self.assertIs(self.signals.handlers[signal.SIGALRM], signal.SIG_IGN)

    def test_kept(self) -> None:
        """
        A signal that the C library keeps for itself is left to it.
        """

        def keep(number: int, handler: object) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

        self.patch(self.signals, "signal", keep)
        self.survive()


class StoppableReactor:
    """
    A reactor that can be told to stop.
    """

    stops = 0

    def stop(self) -> None:
        if self.stops:
            raise ReactorNotRunning()
        self.stops += 1


class AbortTests(SynchronousTestCase):
    """
    Tests for L{Abort}.
    """

    def abort(self, stderr: StringIO | None) -> list[int]:
        reactor = StoppableReactor()
        ends: list[Callable[[], object]] = []
        codes: list[int] = []
        Abort(reactor, stderr, ends.append, codes.append, PATIENCE)("it\n is \x1bso")
        self.assertEqual((reactor.stops, codes), (1, []))
        for end in ends:
            end()
        return codes

    def test_sentence(self) -> None:
        """
        One sentence is said, the reactor stops, and the exit code is 1 in the end.
        """
        stderr = StringIO()
        self.assertEqual(self.abort(stderr), [1])
        self.assertEqual(stderr.getvalue(), "ganeti-pool: it is \\x1bso\n")

    def test_noThread(self) -> None:
        """
        The sentence is said even if there are no more threads, which may be its reason.
        """

        def start(thread: Thread) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(Thread, "start", start)
        self.test_sentence()

    def test_blocked(self) -> None:
        """
        A standard error that nobody reads holds up neither the reactor nor the end, and one
        that is closed neither.
        """
        mayGo = Event()
        self.addCleanup(mayGo.set)

        class Blocked(StringIO):
            def flush(self) -> None:
                mayGo.wait(PATIENCE)
                raise BrokenPipeError

        reactor = StoppableReactor()
        codes: list[int] = []
        abort = Abort(reactor, Blocked(), lambda end: None, codes.append, 0)
        abort("it is so")
        self.assertEqual(reactor.stops, 1)
        abort._exit()
        self.assertEqual(codes, [1])
        writing = abort._writing
        assert writing is not None
        mayGo.set()
        writing.join(PATIENCE)

    def test_stopsAlready(self) -> None:
        """
        A reactor that was told to stop, by a signal for instance, is not told again.
        """
        reactor = StoppableReactor()
        stopOnce(reactor)
        stderr = StringIO()
        abort = Abort(reactor, stderr, lambda end: None, lambda code: None, PATIENCE)
        abort("it is so")
        stopOnce(reactor)
        abort._exit()
        self.assertEqual((reactor.stops, stderr.getvalue()), (1, "ganeti-pool: it is so\n"))

    def test_withoutStderr(self) -> None:
        """
        A process without standard error ends the same way.
        """
        self.assertEqual(self.abort(None), [1])


class FakeQueue:
    """
    A queue that starts and stops when a test says so.
    """

    def __init__(self, log: list[object]) -> None:
        self.log = log
        self.started: Deferred[None] = Deferred()
        self.stopped: Deferred[None] = Deferred()

    def start(self) -> Deferred[None]:
        self.log.append("start queue")
        return self.started

    def stop(self, grace: float) -> Deferred[None]:
        self.log.append(("stop queue", grace))
        return self.stopped


class FakeDoor:
    """
    An endpoint, and the port that it gives.
    """

    def __init__(self, log: list[object], name: str) -> None:
        self.log = log
        self.name = name
        self.listening: Deferred[FakeDoor] = Deferred()
        self.closed: Deferred[None] = succeed(None)

    def listen(self, factory: object) -> Deferred[FakeDoor]:
        self.log.append(f"open {self.name}")
        return self.listening

    def stopListening(self) -> Deferred[None]:
        self.log.append(f"close {self.name}")
        return self.closed


class FakeManager:
    """
    Notes down what a service manager would be told.
    """

    def __init__(self) -> None:
        self.told: list[object] = []

    def ready(self, status: str) -> None:
        self.told.append(("ready", status))

    def stopping(self, status: str, seconds: float) -> None:
        self.told.append(("stopping", status, seconds))

    def failed(self, why: str) -> None:
        self.told.append(("failed", why))

    def close(self) -> None:
        self.told.append("close")


class ServiceTests(SynchronousTestCase):
    """
    Tests for L{JobQueueService}.
    """

    def setUp(self) -> None:
        self.log: list[object] = []
        self.reactor = FakeReactor(running=False)
        self.queue = FakeQueue(self.log)
        self.hungUp: Deferred[None] = succeed(None)
        self.doors = [FakeDoor(self.log, "first"), FakeDoor(self.log, "second")]
        self.lockPath = self.mktemp()
        self.socket = self.mktemp()
        self.lock = LockFile(self.lockPath, "the house")
        self.addCleanup(self.lock.release)
        self.manager = FakeManager()
        manager: Any = self.manager
        doors: list[Any] = [(door, Factory()) for door in self.doors]
        self.service = JobQueueService(
            self.reactor,
            self.queue,
            self.lock,
            doors,
            socket=self.socket,
            grace=7.0,
            guard=lambda: self.log.append("guard"),
            freezeMemory=lambda: self.log.append("freeze"),
            killAll=lambda: self.log.append("kill all"),
            hangUp=self.hangUp,
            abort=lambda sentence: self.log.append(("abort", sentence)),
            manager=manager,
        )

    def hangUp(self) -> Deferred[None]:
        self.log.append("hang up")
        return self.hungUp

    def start(self) -> None:
        """
        Start all of it.
        """
        self.service.startService()
        self.reactor.start()
        self.queue.started.callback(None)
        for door in self.doors:
            door.listening.callback(door)

    def test_descriptors(self) -> None:
        """
        The service tells the descriptors of its lock and of the doors that have one.
        """

        class Port(FakeDoor):
            def fileno(self) -> int:
                return 1234

        self.doors[1].listening.addCallback(lambda door: Port(self.log, "second"))
        self.start()
        held = list(self.lock.descriptors())
        self.assertEqual([*self.service.descriptors()], [*held, -1, 1234])

    def test_start(self) -> None:
        """
        The lock comes first; then, when the reactor runs, the queue; then, with all
        that waits in memory, one door after the other.
        """
        self.service.startService()
        self.assertFalse(isFree(self.lockPath))
        self.assertEqual(self.log, [])
        self.reactor.start()
        self.assertEqual(self.log, ["guard", "start queue"])
        self.queue.started.callback(None)
        self.assertEqual(self.log[2:], ["freeze", "open first"])
        self.doors[0].listening.callback(self.doors[0])
        self.assertEqual(self.log[4:], ["open second"])
        self.assertEqual(self.manager.told, [])
        self.doors[1].listening.callback(self.doors[1])
        self.assertEqual(len(self.log), 5)
        self.assertEqual(self.manager.told, [("ready", "Ready for jobs")])

    def test_inUse(self) -> None:
        """
        With the lock in other hands, nothing starts.
        """
        other = LockFile(self.lockPath, "the house")
        other.acquire()
        self.addCleanup(other.release)
        self.assertRaises(InUse, self.service.startService)
        self.reactor.start()
        self.assertEqual((self.log, self.service.running), ([], 0))

    def test_staleSocket(self) -> None:
        """
        A socket that an earlier daemon has left is removed when the reactor runs.
        """
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(self.socket)
        self.service.startService()
        self.assertTrue(os.path.exists(self.socket))
        self.reactor.start()
        self.assertFalse(os.path.exists(self.socket))
        self.assertEqual(self.log, ["guard", "start queue"])

    def test_noSocket(self) -> None:
        """
        Anything else at the path of the socket ends the start before a job runs, and stays.
        """
        Path(self.socket).write_text("notes")
        self.service.startService()
        self.reactor.start()
        guard, aborted = self.log
        self.assertEqual(guard, "guard")
        self.assertIn("it exists and is not a socket", str(aborted))
        self.assertEqual(Path(self.socket).read_text(), "notes")
        self.queue.started.callback(None)

    def test_stop(self) -> None:
        """
        The queue gets its grace, with open doors. After it no process of a job is
        left, the doors close, who is inside is waited for, and the lock is free.
        """
        self.start()
        del self.log[:]
        self.hungUp = Deferred()
        stopped = self.service.stopService()
        self.assertEqual(self.log, [("stop queue", 7.0)])
        self.assertNoResult(stopped)
        self.assertFalse(isFree(self.lockPath))
        stopping = ("stopping", "Stopping; running jobs get 7 seconds", 67.0)
        self.assertEqual(self.manager.told[1:], [stopping])
        self.queue.stopped.callback(None)
        self.assertEqual(self.log[1:], ["kill all", "close first", "close second", "hang up"])
        self.assertNoResult(stopped)
        self.assertFalse(isFree(self.lockPath))
        self.hungUp.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.manager.told[2:], ["close"])
        self.assertTrue(isFree(self.lockPath))
        self.assertFalse(self.service.running)

    def test_stopFails(self) -> None:
        """
        Also if the queue could not be stopped well.
        """
        self.start()
        self.queue.stopped = fail(StoreError("no"))
        self.failureResultOf(self.service.stopService(), StoreError)
        self.assertEqual(self.log[-4:], ["kill all", "close first", "close second", "hang up"])
        self.assertTrue(isFree(self.lockPath))

    def test_doorDoesNotClose(self) -> None:
        """
        The daemon ends well also if a door does not close well.
        """
        self.start()
        self.doors[0].closed = fail(FileNotFoundError("no socket"))
        stopped = self.service.stopService()
        self.queue.stopped.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.log[-3:], ["close first", "close second", "hang up"])
        self.assertTrue(isFree(self.lockPath))

    def test_startBreaks(self) -> None:
        """
        An unexpected failure leaves its traceback in the log.
        """
        self.service.startService()
        self.reactor.start()
        self.queue.started.errback(ZeroDivisionError("why"))
        self.assertEqual(self.log[-1], ("abort", "the daemon cannot start: why"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_broken(self) -> None:
        """
        If the queue breaks, the processes of the jobs are killed, and the daemon ends with the
        reason, which the service manager gets too. It happens once.
        """
        self.service.startService()
        self.reactor.start()
        self.queue.started.callback(None)
        self.log.clear()
        for _ in range(2):
            self.service.broken(Failure(OwnershipLost(1, 2, "host:7")))
        sentence = (
            "the daemon ends: the store is owned by the daemon host:7 (epoch 2), and a write of "
            "epoch 1 was rejected: run one daemon for each store"
        )
        self.assertEqual(self.log, ["kill all", ("abort", sentence), "kill all"])
        self.assertEqual(self.manager.told[-1], ("failed", sentence))

    def test_stopBeforeTheReactorRuns(self) -> None:
        """
        What was not started when the service stops never is.
        """
        self.service.startService()
        self.queue.stopped.callback(None)
        self.successResultOf(self.service.stopService())
        self.reactor.start()
        self.assertEqual(self.log, [("stop queue", 7.0), "kill all", "hang up"])

    def test_stopWhileStarting(self) -> None:
        """
        A stop waits for a start that is under way, which opens no door any more.
        """
        self.service.startService()
        self.reactor.start()
        self.queue.stopped.callback(None)
        stopped = self.service.stopService()
        self.assertNoResult(stopped)
        self.queue.started.callback(None)
        self.successResultOf(stopped)
        ended = [("stop queue", 7.0), "freeze", "kill all", "hang up"]
        self.assertEqual(self.log[2:], ended)

    def test_startFailsWhileStopping(self) -> None:
        """
        A start that fails during the stop is logged, and the stop goes on.
        """
        self.service.startService()
        self.reactor.start()
        self.queue.stopped.callback(None)
        stopped = self.service.stopService()
        with capturedLogs() as logs:
            self.queue.started.errback(StoreError("the disk is gone"))
        self.successResultOf(stopped)
        lines = [formatEvent(event) for event in logs]
        self.assertIn("the daemon cannot start: the disk is gone", lines)
        self.assertEqual(self.log[2:], [("stop queue", 7.0), "kill all", "hang up"])

    def test_stopWhileChecking(self) -> None:
        """
        A start that the stop has ended is no fault: nothing is logged of it.
        """
        self.service.startService()
        self.reactor.start()
        self.queue.stopped.callback(None)
        stopped = self.service.stopService()
        with capturedLogs() as logged:
            self.queue.started.errback(QueueStopping())
        self.successResultOf(stopped)
        self.assertEqual(logged, [])
        self.assertEqual(self.log[2:], [("stop queue", 7.0), "kill all", "hang up"])

    def test_stopWhileOpening(self) -> None:
        """
        A door that opens while the service stops is closed again.
        """
        self.service.startService()
        self.reactor.start()
        self.queue.started.callback(None)
        self.queue.stopped.callback(None)
        stopped = self.service.stopService()
        self.assertNoResult(stopped)
        self.doors[0].listening.callback(self.doors[0])
        self.successResultOf(stopped)
        self.assertEqual(self.log[4:], [("stop queue", 7.0), "kill all", "close first", "hang up"])
        self.assertNotIn(("ready", "Ready for jobs"), self.manager.told)

    def test_queueCannotStart(self) -> None:
        """
        A queue that cannot start ends the daemon with its reason, and no door
        opens. That stays the last word.
        """
        self.service.startService()
        self.reactor.start()
        self.queue.started.errback(StoreError("the schema is newer"))
        sentence = "the daemon cannot start: the schema is newer"
        self.assertEqual(self.log[2:], [("abort", sentence)])
        self.assertEqual(self.manager.told, [("failed", sentence)])
        self.queue.stopped.callback(None)
        with capturedLogs() as logged:
            self.successResultOf(self.service.stopService())
        self.assertEqual(logged, [])
        self.assertEqual(self.manager.told[1:], [("stopping", sentence, 67.0), "close"])

    def test_doorCannotOpen(self) -> None:
        """
        So does a door; those that are open are closed when the service stops.
        """
        self.service.startService()
        self.reactor.start()
        self.queue.started.callback(None)
        self.doors[0].listening.callback(self.doors[0])
        self.doors[1].listening.errback(OSError("taken"))
        self.assertEqual(self.log[-1], ("abort", "the daemon cannot start: taken"))
        self.queue.stopped.callback(None)
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.log[-3:], ["kill all", "close first", "hang up"])
