"""
What the tests of commands share: a job's attempt, commands on threads, and the
promise that no process is left.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import Popen
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.commands import CommandFailed, _supervision
from ganeti_pool.commands._groups import ProcessGroups
from ganeti_pool.commands._run import CommandRunner
from ganeti_pool.jobs import AttemptContext, JobFailure, OutputSize

__all__ = ["PATIENCE", "CommandCase", "Running", "endAfter", "onTERM"]

_ON_TERM = """
import os, signal, subprocess, sys

def handle(number, frame):
    # timeout sends it twice: to its child and to the group
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(subprocess.call(["sh", "-c", sys.argv[2], "sh", *sys.argv[1:2]]))

signal.signal(signal.SIGTERM, handle)
with open(sys.argv[1], "w") as file:
    file.write("up")
while True:
    signal.pause()
"""

PATIENCE = 60.0
"""
Seconds after which something that should have happened never will.
"""


class Running:
    """
    A command that runs on a thread of its own.
    """

    def __init__(self, run: Callable[[Callable[[Callable[[], object]], object]], object]) -> None:
        self.error: BaseException | None = None
        self._cancellers: list[Callable[[], object]] = []
        self._thread = Thread(target=self._run, args=(run,))
        self._thread.start()

    def _run(self, run: Callable[[Callable[[Callable[[], object]], object]], object]) -> None:
        try:
            run(self._cancellers.append)
        except BaseException as error:
            self.error = error

    def cancel(self) -> None:
        """
        Cancel it. Needs a command that has told that it runs.
        """
        for canceller in self._cancellers:
            canceller()

    def join(self) -> None:
        """
        Wait until it has ended.
        """
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the command goes on"

    def failure(self) -> JobFailure:
        """
        Why it failed, once it has.
        """
        self.join()
        assert isinstance(self.error, CommandFailed), self.error
        return self.error.failure


def onTERM(directory: Path) -> str:
    """
    Make a program that writes to its first argument and, when it gets TERM, runs its second
    one as shell code with the first. (A shell with a trap needs a child to wait for, which
    may be forked too late to get TERM itself.)

    @param directory: where it is made.
    @return: its path.
    """
    code = directory / "onTERM.py"
    code.write_text(_ON_TERM)
    program = directory / "onTERM"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -IS '{code}' \"$@\"\n")
    program.chmod(0o700)
    return str(program)


def endAfter(test: SynchronousTestCase, child: Popen[bytes]) -> None:
    """
    Have a child killed and reaped when a test has ended.
    """
    test.addCleanup(child.wait)
    test.addCleanup(child.kill)


class CommandCase(SynchronousTestCase):
    """
    A test of commands, after which no process with its mark is alive.

    @ivar attempt: attempt 2 of job 7, which records into C{handles}, C{sizes} and
        C{reports}: C{"start"} for the start, and each reason to wait.
    """

    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.state = Path(directory.name)
        self.output = self.state / "output"
        self.output.mkdir(parents=True)
        self.groups = ProcessGroups()
        self.handles: list[str] = []
        self.sizes: dict[str, OutputSize] = {}
        self.reports: list[str] = []
        self.attempt = AttemptContext(
            7,
            2,
            lambda: str(self.output),
            str(self.state),
            self.handles.append,
            self.sizes.update,
            recordStart=lambda: self.reports.append("start"),
            recordWait=self.reports.append,
        )
        self.addCleanup(self.assertNothingLeft)

    def assertNothingLeft(self) -> None:
        """
        Nothing that carries this test's mark in its environment lives on. What
        was killed a moment ago may take that moment to end.
        """
        mark = os.fsencode(f"GANETI_POOL_STATE={os.path.realpath(self.state)}")
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if mark not in (entry / "environ").read_bytes().split(b"\0"):
                    continue
                descriptor = os.pidfd_open(int(entry.name))
            except OSError:  # it has ended, or is no business of ours
                continue
            try:
                ended = select.select([descriptor], [], [], PATIENCE)[0]
                self.assertTrue(ended, f"process {entry.name} is left")
            finally:
                os.close(descriptor)

    def recordHandlesAtOnce(self) -> None:
        """
        Have the handle of a command recorded at its start, if it has not exited by then.
        """
        self.patch(_supervision, "_HANDLE_DELAY", 0.0)

    def pidOf(self) -> int:
        """
        Return the ID of the only command that runs.
        """
        (pid,) = self.groups._live
        return pid

    def meeting(self) -> tuple[str, Callable[[], str]]:
        """
        A path that a command writes one line to, and a function that waits for
        the line.
        """
        path = str(self.state / "meeting")
        os.mkfifo(path)
        descriptor = os.open(path, os.O_RDWR)
        self.addCleanup(os.close, descriptor)

        def wait() -> str:
            self.assertTrue(select.select([descriptor], [], [], PATIENCE)[0], "nobody came")
            return os.read(descriptor, 1000).decode()

        return path, wait

    def run_(
        self,
        argv: Sequence[str],
        options: Mapping[str, Any] | None = None,
        callWhenCancelled: Callable[[Callable[[], object]], object] = lambda f: None,
        outputLimit: int = 100_000,
        killDelay: float = PATIENCE,
        **settings: Any,
    ) -> None:
        """
        Run a command here, as the attempt.
        """
        CommandRunner(self.groups, **settings).run(
            argv, options or {}, self.attempt, callWhenCancelled, outputLimit, killDelay
        )

    def failureOf(
        self, argv: Sequence[str], options: Mapping[str, Any] | None = None
    ) -> JobFailure:
        """
        Run a command that fails, as the attempt.
        """
        error: CommandFailed = self.assertRaises(CommandFailed, self.run_, argv, options)
        return error.failure

    def start(self, script: str, *args: str, killDelay: float = PATIENCE) -> Running:
        """
        Start a shell script as the attempt, on a thread.
        """
        return Running(
            lambda callWhenCancelled: self.run_(
                ["sh", "-c", script, "sh", *args],
                callWhenCancelled=callWhenCancelled,
                killDelay=killDelay,
            )
        )

    def kept(self, stream: str) -> bytes:
        """
        What was kept of an output stream.
        """
        return (self.output / stream).read_bytes()
