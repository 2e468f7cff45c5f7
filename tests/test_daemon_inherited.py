"""
Tests for what the daemon has inherited and what its children inherit of it, and for the
daemon as process 1 of a container.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL, run
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.daemon import (
    LockFile,
    Locks,
    _forks,
    forgetCoercedLocale,
    releaseInChildren,
    runBelowInit,
    unblockSignals,
    unignoreSignals,
)

from .daemoncase import PATIENCE, TWISTD, DaemonCase
from .test_daemon_process import shell

CATCHABLE = frozenset(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}

WITHOUT_LOCALE = ("env", "-u", "LANG", "-u", "LC_ALL", "-u", "LC_CTYPE", TWISTD)

IGNORING = (
    sys.executable,
    "-c",
    "import os, signal, sys\n"
    "for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:\n"
    "    signal.signal(number, signal.SIG_IGN)\n"
    "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
    "os.execv(sys.argv[1], sys.argv[1:])",
    TWISTD,
)
"""
Starts what follows with every signal ignored and blocked.
"""

INIT = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", TWISTD)
"""
Starts what follows as process 1.
"""


class LocaleTests(SynchronousTestCase):
    """
    Tests for L{forgetCoercedLocale}.
    """

    def setUp(self) -> None:
        self.initial = Path(self.mktemp())

    def forget(self, locale: str, initial: bytes | None) -> bool:
        """
        @return: whether C{LC_CTYPE} is removed.
        """
        if initial is not None:
            self.initial.write_bytes(initial)
        environment = {"LC_CTYPE": locale, "PATH": "/bin"}
        forgetCoercedLocale(environment, self.initial)
        self.assertEqual(environment["PATH"], "/bin")
        return "LC_CTYPE" not in environment

    def test_coerced(self) -> None:
        """
        A locale that Python has set is forgotten.
        """
        self.assertTrue(self.forget("C.UTF-8", b"PATH=/bin\0HOME=LC_CTYPE=C\0"))

    def test_given(self) -> None:
        """
        A locale that the user has set stays.
        """
        self.assertFalse(self.forget("C.UTF-8", b"PATH=/bin\0LC_CTYPE=C.UTF-8\0"))

    def test_another(self) -> None:
        """
        A locale that Python does not set stays.
        """
        self.assertFalse(self.forget("de_DE.UTF-8", b"PATH=/bin\0"))

    def test_unknown(self) -> None:
        """
        Where the system does not show what the process was started with, nothing is
        forgotten.
        """
        self.assertFalse(self.forget("C.UTF-8", None))


class SignalTests(SynchronousTestCase):
    """
    Tests for L{unblockSignals} and L{unignoreSignals}.
    """

    def test_unblocked(self) -> None:
        """
        No signal is blocked any more.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        self.addCleanup(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        unblockSignals()
        self.assertEqual(signal.pthread_sigmask(signal.SIG_BLOCK, ()), set())

    def test_unignored(self) -> None:
        """
        An ignored signal gets a handler that does nothing; any other keeps its own.
        """
        for number in CATCHABLE:
            self.addCleanup(signal.signal, number, signal.getsignal(number) or signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, signal.SIG_DFL)
        unignoreSignals()
        self.assertTrue(callable(signal.getsignal(signal.SIGUSR1)))
        signal.raise_signal(signal.SIGUSR1)
        self.assertEqual(signal.getsignal(signal.SIGUSR2), signal.SIG_DFL)


class ForkTests(SynchronousTestCase):
    """
    Tests for L{releaseInChildren}, with no fork: what is called in a child is called here.
    """

    def setUp(self) -> None:
        self.patch(_forks, "_sources", [])
        self.hooks: list[Callable[[], object]] = []
        self.readEnd, self.writeEnd = os.pipe()
        self.addCleanup(os.close, self.readEnd)

    def register(self, after_in_child: Callable[[], object]) -> None:
        self.hooks.append(after_in_child)

    def assertGivenUp(self) -> None:
        """
        The pipe has no writer.
        """
        self.assertEqual(os.read(self.readEnd, 1), b"")

    def test_givenUp(self) -> None:
        """
        A child gives up what is open when it is forked; the numbers stay taken, and no
        program inherits them.
        """
        releaseInChildren(lambda: [self.writeEnd, -1], self.register)
        releaseInChildren(list, self.register)
        (hook,) = self.hooks
        hook()
        self.addCleanup(os.close, self.writeEnd)
        self.assertGivenUp()
        self.assertFalse(os.get_inheritable(self.writeEnd))

    def test_noDescriptors(self) -> None:
        """
        Where the null device cannot be opened, it closes them.
        """

        def refuse(*args: object) -> int:
            raise OSError(24, "Too many open files")

        self.patch(os, "open", refuse)
        releaseInChildren(lambda: [self.writeEnd], self.register)
        self.hooks[0]()
        self.assertGivenUp()

    def test_locks(self) -> None:
        """
        Locks tell which descriptors hold them, while they are held.
        """
        locks = Locks(LockFile(self.mktemp(), "one"), LockFile(self.mktemp(), "two"))
        os.close(self.writeEnd)
        self.assertEqual(list(locks.descriptors()), [])
        locks.acquire()
        self.addCleanup(locks.release)
        self.assertEqual(len(set(map(os.fstat, locks.descriptors()))), 2)


class FakeSystem:
    """
    What L{runBelowInit} needs of the modules C{os} and C{signal}.

    @ivar events: what happens: a signal, or a child's ID and its wait status, for which
        there is a SIGCHLD.
    @ivar log: what was called.
    """

    def __init__(self, pid: int, child: int, *events: Any) -> None:
        self.pid = pid
        self.child = child
        self.events = list(events)
        self.log: list[Any] = []

    def getpid(self) -> int:
        return self.pid

    def fork(self) -> int:
        self.log.append("fork")
        if not self.child:
            self.pid = 2
        return self.child

    def setpgid(self, pid: int, group: int) -> None:
        self.log.append(("setpgid", pid, group))

    def signal(self, number: int, handler: object) -> None:
        self.log.append(("signal", number, handler))

    def pthread_sigmask(self, how: int, mask: object) -> object:
        self.log.append(("mask", how, frozenset(cast("set[int]", mask))))
        return {signal.SIGUSR1}

    def sigwait(self, numbers: set[int]) -> int:
        assert numbers == signal.valid_signals()
        event = self.events[0]
        return signal.SIGCHLD if isinstance(event, tuple) else self.events.pop(0)

    def waitpid(self, pid: int, options: int) -> tuple[int, int]:
        assert (pid, options) == (-1, os.WNOHANG)
        if not self.events:
            raise ChildProcessError()
        return self.events.pop(0) if isinstance(self.events[0], tuple) else (0, 0)

    def kill(self, pid: int, number: int) -> None:
        self.log.append(("kill", pid, number))

    def _exit(self, code: int) -> None:
        self.log.append(("exit", code))
        raise SystemExit(code)


class InitTests(SynchronousTestCase):
    """
    Tests for L{runBelowInit}.
    """

    def test_ordinary(self) -> None:
        """
        A process that is not the first one goes on as it is.
        """
        system = FakeSystem(17, 0)
        runBelowInit({}, system, system)
        self.assertEqual(system.log, [])
        runBelowInit({})

    def test_child(self) -> None:
        """
        The child goes on with the signals that were blocked before, in a group of its
        own, and is the one that the service manager's watchdog watches.
        """
        system = FakeSystem(1, 0)
        environment = {"WATCHDOG_PID": "1"}
        runBelowInit(environment, system, system)
        self.assertEqual(environment, {"WATCHDOG_PID": "2"})
        self.assertEqual(
            system.log[2:],
            [
                "fork",
                ("setpgid", 0, 0),
                ("mask", signal.SIG_SETMASK, frozenset({signal.SIGUSR1})),
            ],
        )
        environment = {"WATCHDOG_PID": "17"}
        system.pid = 1
        runBelowInit(environment, system, system)
        self.assertEqual(environment, {"WATCHDOG_PID": "17"})

    def supervise(self, *events: Any) -> tuple[int, list[Any]]:
        """
        @return: the exit code of process 1, and which signals it has passed on.
        """
        system = FakeSystem(1, 7, *events)
        end = self.assertRaises(SystemExit, runBelowInit, {}, system, system)
        self.assertEqual(
            system.log[:3],
            [
                ("signal", signal.SIGCHLD, signal.SIG_DFL),
                ("mask", signal.SIG_BLOCK, frozenset(signal.valid_signals())),
                "fork",
            ],
        )
        return end.code, system.log[3:-1]

    def test_exit(self) -> None:
        """
        The first process reaps orphans, and ends with the exit code of the child.
        """
        self.assertEqual(self.supervise((8, 0), (9, 9), (7, 3 << 8)), (3, []))

    def test_orphanAfterwards(self) -> None:
        """
        What ends together with the child is reaped too.
        """
        self.assertEqual(self.supervise((7, 0), (8, 0)), (0, []))

    def test_killed(self) -> None:
        """
        It ends with 128 and the number of the signal that has killed the child.
        """
        self.assertEqual(self.supervise((7, signal.SIGKILL)), (137, []))

    def test_signals(self) -> None:
        """
        It passes each signal on to the child.
        """
        code, passed = self.supervise(signal.SIGTERM, (8, 0), signal.SIGHUP, (7, 0))
        self.assertEqual(passed, [("kill", 7, signal.SIGTERM), ("kill", 7, signal.SIGHUP)])
        self.assertEqual(code, 0)


class JobTests(DaemonCase):
    """
    Tests for what a job finds, whatever the daemon was started with.
    """

    def outputOf(self, *argv: str, launcher: tuple[str, ...]) -> str:
        """
        What a command writes that runs as a job of a daemon which is started so.
        """
        daemon = self.launch(launcher=launcher, environment={"PYTHONCOERCECLOCALE": "1"})
        daemon.awaitReady()
        (jobID,) = daemon.submit({"args": [list(argv), {}]})
        self.assertEqual(daemon.awaitEnds(jobID)[0]["state"], "succeeded")
        output: bytes = daemon.ask("GET", f"/v1/jobs/{jobID}/output")
        self.assertEqual(daemon.stop(), 0, daemon.log)
        return output.decode()

    def test_noLocale(self) -> None:
        """
        A job gets no locale from a daemon that was started without one.
        """
        self.assertNotIn("LC_CTYPE", self.outputOf("env", launcher=WITHOUT_LOCALE))

    def test_signals(self) -> None:
        """
        A job starts with no signal ignored, blocked or handled, though the daemon was
        started with every one ignored and blocked.
        """
        lines = self.outputOf("cat", "/proc/self/status", launcher=IGNORING).splitlines()
        masks = dict(line.split() for line in lines if line.startswith("Sig") and "/" not in line)
        # The C library keeps two for itself, and make starts its programs with one of them
        # ignored, which no program can change.
        valid = sum(1 << (number - 1) for number in signal.valid_signals())
        self.assertEqual({int(mask, 16) & valid for mask in masks.values()}, {0}, masks)


class ForkingWorkerTests(DaemonCase):
    """
    Tests for a worker class that forks.
    """

    def test_afterKill(self) -> None:
        """
        A child of a worker that outlives the daemon holds neither its lock nor its
        socket nor the connections of its clients.
        """
        name = "tests.daemonworkers.ForkingWorker"
        meeting = self.meeting()
        daemon = self.start("--worker-class", name)
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.settimeout(PATIENCE)
        client.connect(daemon.paths.socket)
        client.sendall(b"GET /v1/pool HTTP/1.1\r\nHost: here\r\n\r\n")
        self.assertTrue(client.recv(1000).startswith(b"HTTP/1.1 200"))
        (jobID,) = daemon.submit({"args": [meeting.arrived], "worker": name})
        child = os.pidfd_open(int(meeting.awaitArrival()))
        self.addCleanup(os.close, child)
        self.addCleanup(signal.pidfd_send_signal, child, signal.SIGKILL)
        daemon.awaitEnds(jobID)
        daemon.kill()
        while client.recv(100_000):
            pass
        self.assertRaises(ConnectionRefusedError, self.connect, daemon.paths.socket)
        daemon = self.start("--worker-class", name)
        self.assertEqual(daemon.stop(), 0, daemon.log)
        self.assertFalse(select.select([child], [], [], 0)[0], "the child has not outlived it")

    def connect(self, path: str) -> None:
        """
        Connect to a socket.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)


class ContainerTests(DaemonCase):
    """
    Tests for a daemon that is process 1 of a PID namespace.
    """

    def setUp(self) -> None:
        super().setUp()
        done = run([*INIT[:-1], "true"], stdin=DEVNULL, capture_output=True)
        if done.returncode:
            self.skipTest(f"no PID namespace can be made here: {done.stderr!r}")

    def test_reaps(self) -> None:
        """
        An orphan that ends is reaped; jobs have their exit codes; SIGTERM stops the
        daemon in good order, and its exit code is that of the container.
        """
        job, orphan = self.meeting("job"), self.meeting("orphan")
        daemon = self.launch(launcher=INIT)
        daemon.awaitReady()
        script = """
            setsid sh -c 'echo $$ > "$1.arrived"; read line < "$1.leave"' sh "$1" &
            read line < "$2"
        """
        leaves, fails = daemon.submit(shell(script, str(orphan.path), job.leave), shell("exit 3"))
        self.assertEqual(daemon.awaitEnds(fails)[0]["error"]["exit_code"], 3)
        pid = orphan.awaitArrival()
        job.letGo()
        daemon.awaitEnds(leaves)
        # It ends when the process is gone; for one that is not reaped it waits.
        (waits,) = daemon.submit({"args": [["tail", "-f", "/dev/null", f"--pid={pid}"], {}]})
        orphan.letGo()
        self.assertEqual(daemon.awaitEnds(waits)[0]["state"], "succeeded")
        (first,) = children(daemon.process.pid)
        os.kill(first, signal.SIGTERM)
        self.assertEqual(daemon.awaitEnd(), 0, daemon.log)
        self.assertNotIn("Traceback", daemon.log)
        self.assertFalse(os.path.exists(daemon.paths.socket))

    def test_killed(self) -> None:
        """
        If the daemon is killed, the container ends, and says so by its exit code.
        """
        daemon = self.launch(launcher=INIT)
        daemon.awaitReady()
        (first,) = children(daemon.process.pid)
        (second,) = children(first)
        os.kill(second, signal.SIGKILL)
        self.assertEqual(daemon.awaitEnd(), 128 + signal.SIGKILL)


def children(pid: int) -> list[int]:
    """
    The children of a process.
    """
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
