"""
Tests for L{ganeti_pool.commands}.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import select
import signal
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from subprocess import DEVNULL, Popen
from threading import Event
from typing import Any

from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from ganeti_pool import commands
from ganeti_pool.commands import (
    CommandFailed,
    CommandWorker,
    NoMoreCommands,
    _run,
    _scarcity,
    _supervision,
    _waiting,
    checkArgs,
)
from ganeti_pool.commands._output import OutputFile
from ganeti_pool.commands._run import CommandRunner
from ganeti_pool.commands._waiting import WakeUp, exitDescriptor
from ganeti_pool.errors import DeferTask, InvalidJob, PoolError
from ganeti_pool.interfaces import ICompletion
from ganeti_pool.jobs import JobFailure, OutputSize, currentAttempt
from ganeti_pool.workerpool import WorkerPool

from .commandcase import PATIENCE, CommandCase, Running, endAfter, onTERM


class ArgumentTests(SynchronousTestCase):
    """
    Tests for L{checkArgs}.
    """

    def problems(self, args: object) -> list[tuple[str, str]]:
        """
        Where and what is wrong.
        """
        error = self.assertRaises(InvalidJob, checkArgs, args)
        return [(where, code) for where, code, _ in error.problems]

    def test_valid(self) -> None:
        """
        A command with all options passes, as JSON gives it or as a job holds it.
        """
        options = {"cwd": "/tmp", "umask": "0022", "env": {"PATH": "/bin", "EMPTY": ""}}
        checkArgs([["ls", "-l", ""], options])
        checkArgs((("ls",), {}))
        for umask in ("0", "27", "077", "0777"):
            checkArgs([["ls"], {"umask": umask}])

    def test_undecodedBytes(self) -> None:
        """
        Bytes that are no UTF-8, as Python decodes them, pass; a surrogate that
        stands for no byte does not.
        """
        checkArgs([["ls", os.fsdecode(b"caf\xe9")], {}])
        self.assertEqual(self.problems([["ls", "\ud800"], {}]), [("/args/0/1", "unusable_text")])

    def test_noCommand(self) -> None:
        """
        Anything but a command and its options is refused.
        """
        for args in ("ls", [], [["ls"]], [["ls"], {}, 1], None):
            self.assertEqual(self.problems(args), [("/args", "not_a_command")])
        noCommands: tuple[object, ...] = ("ls", [], None, {"ls": 1})
        for argv in noCommands:
            self.assertEqual(self.problems([argv, {}]), [("/args/0", "not_a_command")])

    def test_arguments(self) -> None:
        """
        Every argument is a string that a process can get, and the first is not empty.
        """
        self.assertEqual(
            self.problems([["ls", 1, True, None, "a\0b"], {}]),
            [
                ("/args/0/1", "not_a_string"),
                ("/args/0/2", "not_a_string"),
                ("/args/0/3", "not_a_string"),
                ("/args/0/4", "unusable_text"),
            ],
        )
        self.assertEqual(self.problems([[""], {}]), [("/args/0/0", "empty")])

    def test_options(self) -> None:
        """
        Options that are no object, an unknown one and values of another form are
        refused, all at once.
        """
        self.assertEqual(self.problems([["ls"], None]), [("/args/1", "not_an_object")])
        self.assertEqual(
            self.problems([["ls"], {"cwd": "src", "umask": "0028", "a/b~": 1}]),
            [
                ("/args/1/cwd", "relative_path"),
                ("/args/1/umask", "bad_umask"),
                ("/args/1/a~1b~0", "unknown_option"),
            ],
        )
        self.assertEqual(self.problems([["ls"], {"cwd": 1}]), [("/args/1/cwd", "not_a_string")])
        for umask in (22, "", "1000", "u=rwx", "0022\n", None):
            self.assertEqual(
                self.problems([["ls"], {"umask": umask}]), [("/args/1/umask", "bad_umask")]
            )

    def test_manyProblems(self) -> None:
        """
        Of very many problems some are told, wherever they are, and no sentence
        repeats what was sent.
        """
        many = {f"{'x' * 1000}={number}": number for number in range(1000)}
        for args in ([["ls", *range(1000)], {}], [["ls"], {"env": many}], [["ls"], many]):
            problems = self.assertRaises(InvalidJob, checkArgs, args).problems
            self.assertEqual(len(problems), 50)
            self.assertLess(max(len(sentence) for _, _, sentence in problems), 100)
        args = [["ls"], {"cwd": "x" * 1000, "umask": [0] * 1000}]
        self.assertLess(len(str(self.assertRaises(InvalidJob, checkArgs, args))), 200)

    def test_environment(self) -> None:
        """
        The environment holds strings under names that can be set and that the
        daemon does not set itself.
        """
        self.assertEqual(self.problems([["ls"], {"env": []}]), [("/args/1/env", "not_an_object")])
        environment = {"A": 1, "": "x", "B=C": "x", "GANETI_POOL_JOB": "9", "D": "\0"}
        self.assertEqual(
            self.problems([["ls"], {"env": environment}]),
            [
                ("/args/1/env/A", "not_a_string"),
                ("/args/1/env/", "bad_name"),
                ("/args/1/env/B=C", "bad_name"),
                ("/args/1/env/GANETI_POOL_JOB", "reserved"),
                ("/args/1/env/D", "unusable_text"),
            ],
        )


class OutcomeTests(CommandCase):
    """
    Tests for what L{runCommand} makes of the end of a command.
    """

    def test_success(self) -> None:
        """
        Exit status 0 is a success, and its output is kept and counted.
        """
        self.run_(["sh", "-c", "printf out; printf error >&2"])
        self.assertEqual((self.kept("stdout"), self.kept("stderr")), (b"out", b"error"))
        self.assertEqual(
            self.sizes, {"stdout": OutputSize(3, False), "stderr": OutputSize(5, False)}
        )
        self.assertEqual((self.output / "stdout").stat().st_mode & 0o777, 0o600)

    def test_exitStatus(self) -> None:
        """
        Another exit status is a failure that tells it, and the output is kept.
        """
        self.assertEqual(
            self.failureOf(["sh", "-c", "echo no; exit 3"]),
            JobFailure("exit_nonzero", "'sh' exited with status 3", 3),
        )
        self.assertEqual(self.sizes["stdout"], OutputSize(3, False))

    def test_signal(self) -> None:
        """
        Death by a signal is a failure that names it, a real-time signal too.
        """
        self.assertEqual(
            self.failureOf(["sh", "-c", "kill -SEGV $$"]),
            JobFailure("exit_nonzero", "'sh' was ended by SIGSEGV", None, "SIGSEGV"),
        )
        number = signal.SIGRTMIN + 3
        self.assertEqual(self.failureOf(["sh", "-c", f"kill -{number} $$"]).signal, "SIGRTMIN+3")

    def test_missingProgram(self) -> None:
        """
        A program that is not there has not started.
        """
        self.assertEqual(
            self.failureOf(["no-such-program"]),
            JobFailure(
                "not_started",
                "the program 'no-such-program' cannot be run: No such file or directory",
            ),
        )
        self.assertEqual((self.handles, self.sizes), ([], {}))

    def test_notExecutable(self) -> None:
        """
        A file that is no program has not started.
        """
        path = self.state / "text"
        path.write_text("text")
        self.assertEqual(
            self.failureOf([str(path)]),
            JobFailure("not_started", f"the program '{path}' cannot be run: Permission denied"),
        )

    def test_badDirectory(self) -> None:
        """
        With a working directory that is not there, nothing is started.
        """
        self.assertEqual(
            self.failureOf(["true"], {"cwd": "/no/such"}),
            JobFailure(
                "not_started",
                "the working directory '/no/such' cannot be used: No such file or directory",
            ),
        )

    def test_noOutputDirectory(self) -> None:
        """
        A command runs where its output can never be kept, which is then cut off.
        """
        self.output.rmdir()
        self.run_(["echo", "text"])
        self.assertEqual(self.sizes["stdout"], OutputSize(0, True))

    def test_wrongArguments(self) -> None:
        """
        Arguments that were never checked are refused as at submission.
        """
        self.assertRaises(InvalidJob, self.run_, [])

    def test_reapedByAnother(self) -> None:
        """
        If somebody else takes the exit status, the command is not taken for a
        success.
        """
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGCHLD, before)
        self.assertRaises(ChildProcessError, self.run_, ["true"])


class ScarcityTests(CommandCase):
    """
    Tests for a command that cannot be started for want of something.
    """

    def setUp(self) -> None:
        super().setUp()
        self.pauses: list[float] = []
        self.cancellers: list[Callable[[], object]] = []
        self.lastPause = 3
        self.relieve: Callable[[], object] = self.cancel

    def cancel(self) -> None:
        for canceller in self.cancellers:
            canceller()

    def wait(self, event: Event, pause: float) -> bool:
        """
        Do not wait; after the last time there is what was wanted.
        """
        self.pauses.append(pause)
        if len(self.pauses) == self.lastPause:
            self.relieve()
        return event.is_set()

    def runWhenPossible(self) -> None:
        """
        Run a command as soon as it can be.
        """
        self.run_(["echo", "text"], callWhenCancelled=self.cancellers.append, wait=self.wait)

    def assertHeld(self) -> None:
        """
        A command runs once there is what it needs. It reports why it waits, and its start
        once it has been started.
        """
        self.reports.clear()
        self.runWhenPossible()
        self.assertEqual(self.pauses, [1, 2, 4])
        self.assertEqual(self.kept("stdout"), b"text\n")
        *reasons, start = self.reports
        self.assertEqual((len(reasons), start), (3, "start"))
        self.assertNotIn("start", reasons)

    def forbid(self, module: object, name: str, number: int) -> None:
        """
        Have a call fail until the last pause.
        """
        original = getattr(module, name)

        def refuse(*args: object, **kwargs: object) -> None:
            raise OSError(number, os.strerror(number))

        setattr(module, name, refuse)
        self.addCleanup(setattr, module, name, original)
        self.relieve = lambda: setattr(module, name, original)

    def test_noDescriptors(self) -> None:
        """
        Where no file can be opened, a command waits for that, however many it needs.
        """
        for room in range(12):
            self.pauses.clear()
            self.takeDescriptors(room)
            self.runWhenPossible()
            self.relieve()
            self.assertEqual(self.kept("stdout"), b"text\n")
            if room == 0:
                self.assertEqual(self.pauses, [1, 2, 4])
        self.assertEqual(self.pauses, [])

    def takeDescriptors(self, room: int) -> None:
        """
        Let so many more files be opened until the last pause, and no more.
        """
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.relieve = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        self.addCleanup(self.relieve)
        free = os.open(os.devnull, os.O_RDONLY)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + room, limits[1]))

    def test_noDescriptorsLeft(self) -> None:
        """
        A command that has been started goes on without any more of them.
        """
        self.attempt = replace(self.attempt, recordStart=partial(self.takeDescriptors, 0))
        self.run_(["true"])
        self.relieve()
        self.assertEqual((self.pauses, self.reports), ([], []))

    def test_noProcesses(self) -> None:
        """
        Where no process can be made, it waits for that.
        """
        self.forbid(_run, "Popen", errno.EAGAIN)
        self.assertHeld()

    def test_noMemory(self) -> None:
        """
        Where there is no memory for one, it waits for that.
        """
        self.forbid(_run, "Popen", errno.ENOMEM)
        self.assertHeld()

    def test_pauses(self) -> None:
        """
        It tries again ever more seldom, down to twice a minute.
        """
        self.forbid(_run, "Popen", errno.EAGAIN)
        self.lastPause = 8
        self.runWhenPossible()
        self.assertEqual(self.pauses, [1, 2, 4, 8, 16, 30, 30, 30])

    def test_told(self) -> None:
        """
        A command that is told to end while it waits has not begun: it defers itself,
        and says why, for the case that only its daemon ends.
        """
        self.forbid(_run, "Popen", errno.EAGAIN)
        self.relieve = self.cancel
        error = self.assertRaises(DeferTask, self.runWhenPossible)
        self.assertIn(os.strerror(errno.EAGAIN), error.reason)
        self.assertEqual((self.pauses, self.handles), ([1, 2, 4], []))

    def test_outsideAJob(self) -> None:
        """
        Outside a job it waits too.
        """
        self.forbid(_run, "Popen", errno.EAGAIN)
        with capturedLogs() as logged:
            runner = CommandRunner(self.groups, self.wait)
            runner.run(["true"], {}, None, lambda f: None, 1, PATIENCE)
        self.assertIn("A command waits", formatEvent(logged[0]))


class SurroundingTests(CommandCase):
    """
    Tests for what a command finds around it.
    """

    def test_environment(self) -> None:
        """
        The environment is a part of the daemon's, then the job's, then the marks.
        """
        self.patch(
            os,
            "environ",
            {"HOME": "/h", "TOKEN": "x", "LC_ALL": "C", "LC_TIME": "C", "PATH": "/none"},
        )
        self.run_(["env"], {"env": {"PATH": "/usr/bin:/bin", "LC_TIME": "x"}})
        self.assertEqual(
            dict(line.split("=", 1) for line in self.kept("stdout").decode().splitlines()),
            {
                "HOME": "/h",
                "LC_ALL": "C",
                "LC_TIME": "x",
                "PATH": "/usr/bin:/bin",
                "GANETI_POOL_JOB": "7",
                "GANETI_POOL_ATTEMPT": "2",
                "GANETI_POOL_STATE": os.path.realpath(self.state),
            },
        )

    def test_options(self) -> None:
        """
        Working directory and umask are those of the job.
        """
        self.run_(["sh", "-c", "pwd; umask"], {"cwd": "/", "umask": "0037"})
        self.assertEqual(self.kept("stdout"), b"/\n0037\n")

    def test_session(self) -> None:
        """
        A command leads a session of its own, and its input is empty.
        """
        self.run_(["sh", "-c", "cat; echo $$; cut -d' ' -f6 /proc/$$/stat"])
        pid, session = self.kept("stdout").split()
        self.assertEqual(pid, session)

    def test_bytes(self) -> None:
        """
        Arguments and output that are no UTF-8 go through as they are.
        """
        self.run_(["printf", "%s", os.fsdecode(b"caf\xe9\xff")])
        self.assertEqual(self.kept("stdout"), b"caf\xe9\xff")

    def runUntilHandle(self, script: str) -> None:
        """
        Run a shell script that ends once its handle is recorded.
        """
        go = self.state / "go"
        os.mkfifo(go)
        # Both ends, so that nobody waits for the other.
        descriptor = os.open(go, os.O_RDWR)
        self.addCleanup(os.close, descriptor)

        def letGo(handle: str) -> None:
            self.handles.append(handle)
            os.write(descriptor, b"\n")

        self.attempt = replace(self.attempt, recordHandle=letGo)
        self.run_(["sh", "-c", f'{script}; read line < "$1"', "sh", str(go)])

    def test_handle(self) -> None:
        """
        The handle names the group, its leader's start, this boot and the pipes that
        take the output. It is recorded once.
        """
        script = "echo $$; cut -d' ' -f22 /proc/$$/stat; stat -Lc %i /proc/$$/fd/1 /proc/$$/fd/2"
        self.runUntilHandle(script)
        pid, start, *pipes = map(int, self.kept("stdout").split())
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
        (handle,) = self.handles
        self.assertEqual(
            json.loads(handle), {"pgid": pid, "start": start, "boot": boot, "pipes": pipes}
        )

    def test_handleOfClosedOutput(self) -> None:
        """
        The handle names the pipes even if the leader has closed one of them.
        """
        self.runUntilHandle("exec 2>&-")
        self.assertEqual(len(json.loads(self.handles[0])["pipes"]), 2)

    def test_endsBeforeHandle(self) -> None:
        """
        A command that ends soon costs no look into C{/proc}, no directory and no thread.
        """
        self.patch(_supervision, "_HANDLE_DELAY", PATIENCE)
        self.patch(_supervision, "handleOf", lambda *args: self.fail("looked at"))
        self.patch(_waiting, "Thread", lambda **settings: self.fail("started"))
        self.attempt = replace(self.attempt, makeOutputDirectory=lambda: self.fail("made"))
        self.run_(["true"])
        self.assertEqual(
            self.sizes, {"stdout": OutputSize(0, False), "stderr": OutputSize(0, False)}
        )

    def test_noHandle(self) -> None:
        """
        Where the system tells no start times, a command runs without a handle.
        """
        go = self.state / "go"
        os.mkfifo(go)
        descriptor = os.open(go, os.O_RDWR)
        self.addCleanup(os.close, descriptor)
        self.patch(
            _supervision, "handleOf", lambda pid, pipes: os.write(descriptor, b"\n") and None
        )
        self.run_(["sh", "-c", 'read line < "$1"', "sh", str(go)])
        self.assertEqual(self.handles, [])

    def test_handleRefused(self) -> None:
        """
        A command is killed if the function that records its handle raises.
        """

        def refuse(handle: str) -> None:
            self.handles.append(handle)
            raise PoolError("full")

        self.attempt = replace(self.attempt, recordHandle=refuse)
        self.assertRaises(PoolError, self.run_, ["sleep", "1000"])
        pid = json.loads(self.handles[0])["pgid"]
        self.assertRaises(ProcessLookupError, os.kill, pid, 0)

    def test_outsideAJob(self) -> None:
        """
        Outside a job a command runs too; it bears no mark, and its output is
        dropped.
        """
        path = self.state / "environment"
        CommandRunner(self.groups).run(
            ["sh", "-c", 'env > "$1"; head -c 1000000 /dev/zero', "sh", str(path)],
            {},
            None,
            lambda f: None,
            100,
            PATIENCE,
        )
        self.assertNotIn("GANETI_POOL", path.read_text())
        self.assertEqual(list(self.output.iterdir()), [])

    def test_nothingKept(self) -> None:
        """
        In a job that keeps nothing, output is dropped and not counted.
        """
        self.attempt = replace(self.attempt, makeOutputDirectory=None)
        self.assertIsNone(self.attempt.outputDirectory)
        self.run_(["echo", "text"])
        self.assertEqual(self.sizes, {})


class FileLimitTests(CommandCase):
    """
    Tests for L{limitFiles}.
    """

    def limits(self) -> bytes:
        """
        How many files a command may open, and at most, once it is registered.
        """
        go = self.state / "go"
        os.mkfifo(go)
        # Both ends, so that nobody waits for the other.
        descriptor = os.open(go, os.O_RDWR)
        self.addCleanup(os.close, descriptor)

        def letGo() -> None:
            os.write(descriptor, b"\n")

        self.attempt = replace(self.attempt, recordStart=letGo)
        self.run_(["sh", "-c", 'read line < "$1"; ulimit -Sn; ulimit -Hn', "sh", str(go)])
        return self.kept("stdout")

    def test_asTheDaemonWasStarted(self) -> None:
        """
        A command may open as many files as was said, and could allow itself more.
        """
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.patch(commands._groups.processGroups, "fileLimit", None)
        commands.limitFiles(123)
        self.groups.fileLimit = commands._groups.processGroups.fileLimit
        self.assertEqual(self.limits(), b"123\n%d\n" % hard)

    def test_programOfAnother(self) -> None:
        """
        A program whose limit is not ours to set runs with the one of this process.
        """

        def prlimit(*args: object) -> None:
            raise PermissionError()

        self.patch(resource, "prlimit", prlimit)
        self.groups.fileLimit = (123, 123)
        self.assertEqual(self.limits(), b"%d\n%d\n" % resource.getrlimit(resource.RLIMIT_NOFILE))

    def test_missing(self) -> None:
        """
        A program that is missing is told as such.
        """
        self.groups.fileLimit = (123, 123)
        self.assertEqual(self.failureOf(["/no/such"]).code, "not_started")


class OutputTests(CommandCase):
    """
    Tests for how output is kept.
    """

    def test_limit(self) -> None:
        """
        Output of just the limit is whole; a byte more is cut off, and told.
        """
        self.run_(["printf", "12345"], outputLimit=5)
        self.assertEqual(self.sizes["stdout"], OutputSize(5, False))
        self.run_(["printf", "123456"], outputLimit=5)
        self.assertEqual(self.sizes["stdout"], OutputSize(5, True))
        self.assertEqual(self.kept("stdout"), b"12345")

    def test_gibibyte(self) -> None:
        """
        A gibibyte of output is drained to its end; the limit of it is on disk,
        and little in memory.
        """
        limit = 1_000_000
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.run_(["sh", "-c", "head -c 1073741824 /dev/zero; echo done >&2"], outputLimit=limit)
        self.assertLess(tracemalloc.get_traced_memory()[1], 1_000_000)
        self.assertEqual(self.sizes["stdout"], OutputSize(limit, True))
        self.assertEqual((self.output / "stdout").stat().st_size, limit)
        self.assertEqual(self.kept("stderr"), b"done\n")

    def test_endOfStream(self) -> None:
        """
        A stream that has ended is looked at once, however long the other goes on.
        """
        ends: list[OutputFile] = []
        take = OutputFile.take

        def takeAndCount(file: OutputFile, pipe: int) -> int:
            more = take(file, pipe)
            if not more:
                ends.append(file)
            return more

        self.patch(OutputFile, "take", takeAndCount)
        self.run_(["sh", "-c", "exec >&-; head -c 2000000 /dev/zero >&2"])
        self.assertEqual(len(ends), len(set(ends)))

    def test_closedByTheCommand(self) -> None:
        """
        A command that closes its output goes on, and its end is still seen.
        """
        failure = self.failureOf(["sh", "-c", "echo text; exec >&- 2>&-; exit 4"])
        self.assertEqual(failure.exitCode, 4)
        self.assertEqual(self.kept("stdout"), b"text\n")

    def test_rest(self) -> None:
        """
        What is in the pipe when the command has exited is kept, more than a chunk too.
        """
        self.patch(commands._output, "CHUNK", 40000)

        def exitFirst() -> None:
            os.waitid(os.P_PID, self.pidOf(), os.WEXITED | os.WNOWAIT)

        self.attempt = replace(self.attempt, recordStart=exitFirst)
        # The child in another session holds the pipe open.
        script = "setsid sleep 1000 & head -c 65536 /dev/zero; echo $! >&2"
        self.run_(["sh", "-c", script])
        self.addCleanup(os.kill, int(self.kept("stderr")), signal.SIGKILL)
        self.assertEqual(self.kept("stdout"), bytes(65536))

    def failWrites(self, number: int) -> None:
        """
        Have each write to an output file fail.
        """
        write = os.write

        def refuse(descriptor: int, data: bytes) -> int:
            if os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(self.output)):
                raise OSError(number, os.strerror(number))
            return write(descriptor, data)

        self.patch(os, "write", refuse)

    def test_brokenDisk(self) -> None:
        """
        An error that waiting does not cure ends what is kept, not the command.
        """
        self.failWrites(errno.EIO)
        self.run_(["sh", "-c", "head -c 300000 /dev/zero; exec >&-; echo done >&2"])
        self.assertEqual(self.sizes["stdout"], OutputSize(0, True))
        self.assertEqual(self.sizes["stderr"], OutputSize(0, True))
        self.assertEqual(self.reports, ["start"])

    def test_again(self) -> None:
        """
        A run that makes its files again replaces what was kept.
        """
        self.run_(["echo", "first and long"])
        self.run_(["echo", "second"])
        self.assertEqual(self.kept("stdout"), b"second\n")

    def test_notEmptied(self) -> None:
        """
        The descriptor of a file that cannot be emptied is closed.
        """
        opened: list[int] = []

        def refuse(descriptor: int, size: int) -> None:
            opened.append(descriptor)
            raise OSError(errno.EIO, "Input/output error")

        self.patch(os, "ftruncate", refuse)
        self.run_(["echo", "text"])
        (descriptor,) = opened
        self.assertRaises(OSError, os.fstat, descriptor)
        self.assertEqual(self.sizes["stdout"], OutputSize(0, True))

    def test_inTheWay(self) -> None:
        """
        An entry of another type in the place of an output file cuts the output off: the
        worker follows no link, waits for no FIFO and changes nothing.
        """
        other = self.state / "other"
        other.write_text("precious")
        stdout = self.output / "stdout"
        makers: list[Callable[[], object]] = [
            partial(stdout.symlink_to, other),
            partial(stdout.hardlink_to, other),
            partial(os.mkfifo, stdout),
            partial(stdout.symlink_to, self.state / "nothing"),
        ]
        for make in makers:
            make()
            with capturedLogs() as logged:
                self.run_(["echo", "text"])
            self.assertEqual(self.sizes["stdout"], OutputSize(0, True))
            self.assertIn("its output cannot be kept: ", str(formatEvent(logged[0])))
            stdout.unlink()
        self.assertEqual(other.read_text(), "precious")
        self.assertFalse((self.state / "nothing").exists())

    def test_fifoWithReader(self) -> None:
        """
        A FIFO in the place of an output file is rejected even while somebody reads it.
        """
        os.mkfifo(self.output / "stdout")
        reader = os.open(self.output / "stdout", os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        self.run_(["echo", "text"])
        self.assertEqual(self.sizes["stdout"], OutputSize(0, True))
        self.assertEqual(os.read(reader, 10), b"")


class HeldOutputTests(CommandCase):
    """
    Tests for output that cannot be kept for a temporary shortage.
    """

    def setUp(self) -> None:
        super().setUp()
        self.patch(_scarcity, "FIRST_PAUSE", 0.001)
        self.tries = 0
        self.hook: Callable[[], object] = lambda: None
        self.isFull = True
        self.attempt = replace(
            self.attempt, makeOutputDirectory=self.makeDirectory, recordWait=self.report
        )

    def makeDirectory(self) -> str:
        if self.isFull:
            raise OSError(errno.ENOSPC, "No space left on device")
        return str(self.output)

    def report(self, why: str) -> None:
        """
        At the third report to wait, call the hook.
        """
        self.reports.append(why)
        self.tries += 1
        if self.tries == 3:
            self.hook()

    def makeRoom(self) -> None:
        """
        Have the next try succeed.
        """
        self.isFull = False

    def test_held(self) -> None:
        """
        The output of a command waits for room, even if the command has exited, and the job
        ends then. C{status} gets the reasons, and that the job goes on.
        """
        self.hook = self.makeRoom
        self.run_(["echo", "text"])
        self.assertEqual(self.kept("stdout"), b"text\n")
        why = "its output cannot be kept: [Errno 28] No space left on device"
        self.assertEqual(self.reports, ["start", why, why, why, "start"])

    def test_moreThanThePipe(self) -> None:
        """
        A command waits while its pipe is full, and nothing of its output is lost.
        """
        self.hook = self.makeRoom
        self.run_(["head", "-c", "90001", "/dev/zero"])
        self.assertEqual(self.sizes["stdout"], OutputSize(90001, False))
        self.assertEqual(self.kept("stdout"), bytes(90001))

    def test_rest(self) -> None:
        """
        What is left in the pipe when the command has exited is kept when there is room.
        """

        def exitFirst() -> None:
            if not self.tries:
                os.waitid(os.P_PID, self.pidOf(), os.WEXITED | os.WNOWAIT)

        self.patch(commands._output, "CHUNK", 1000)
        self.attempt = replace(self.attempt, recordStart=exitFirst)
        self.hook = self.makeRoom
        self.run_(["head", "-c", "50000", "/dev/zero"])
        self.assertEqual(self.kept("stdout"), bytes(50000))

    def test_timeout(self) -> None:
        """
        The time in which output waits does not count towards the timeout.
        """
        now = [0.0]
        self.patch(_supervision, "monotonic", lambda: now[0])
        go = str(self.state / "go")
        os.mkfifo(go)
        descriptor = os.open(go, os.O_RDWR)
        self.addCleanup(os.close, descriptor)
        self.patch(_scarcity, "FIRST_PAUSE", 0.0)

        def passTime() -> None:
            now[0] += 1000
            self.makeRoom()
            os.write(descriptor, b"\n")

        self.hook = passTime
        self.attempt = replace(self.attempt, timeout=10.0)
        self.run_(["sh", "-c", 'echo text; read line < "$1"', "sh", go])
        self.assertEqual(self.kept("stdout"), b"text\n")

    def test_cancelled(self) -> None:
        """
        A cancellation ends a command whose output waits, and cuts the output off.
        """
        cancellers: list[Callable[[], object]] = []
        self.hook = lambda: cancellers[0]()
        error = self.assertRaises(
            CommandFailed,
            self.run_,
            ["sh", "-c", "echo text; exec sleep 1000"],
            callWhenCancelled=cancellers.append,
        )
        self.assertEqual(error.failure.code, "cancelled")
        self.assertEqual(self.sizes["stdout"], OutputSize(0, True))

    def test_cancelledAfterExit(self) -> None:
        """
        A cancellation of a job whose command has exited ends the wait; the exit status
        stands.
        """
        cancellers: list[Callable[[], object]] = []

        def exitFirst() -> None:
            os.waitid(os.P_PID, self.pidOf(), os.WEXITED | os.WNOWAIT)

        self.attempt = replace(self.attempt, recordStart=exitFirst)
        self.hook = lambda: cancellers[0]()
        self.run_(["echo", "text"], callWhenCancelled=cancellers.append)
        self.assertEqual(self.sizes["stdout"], OutputSize(0, True))

    def test_backgroundChild(self) -> None:
        """
        A background child does not live on while the output of its command waits.
        """
        path, met = self.meeting()
        ended: list[bool] = []

        def look() -> None:
            ended.append(bool(select.select([child[0]], [], [], PATIENCE)[0]))
            self.makeRoom()

        def exitFirst() -> None:
            if not child:
                child.append(os.pidfd_open(int(met())))
                self.addCleanup(os.close, child[0])
                os.waitid(os.P_PID, self.pidOf(), os.WEXITED | os.WNOWAIT)

        child: list[int] = []
        self.hook = look
        self.attempt = replace(self.attempt, recordStart=exitFirst)
        self.run_(["sh", "-c", 'sleep 1000 & echo $! > "$1"; echo text', "sh", path])
        self.assertEqual((ended, self.kept("stdout")), ([True], b"text\n"))


class EndTests(CommandCase):
    """
    Tests for the end of a command and of what it started.
    """

    def test_backgroundChild(self) -> None:
        """
        A command is over when it exits, though a child holds its output open;
        that child is killed.
        """
        path, met = self.meeting()
        self.run_(["sh", "-c", 'sleep 1000 & echo $! > "$1"; echo text', "sh", path])
        self.assertEqual(self.kept("stdout"), b"text\n")
        pid = int(met())
        # whose own parent is gone: so it is nobody's here to be reaped
        self.assertEnds(pid)

    def assertEnds(self, pid: int) -> None:
        """
        A process is gone, or going.
        """
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        self.addCleanup(os.close, descriptor)
        self.assertTrue(select.select([descriptor], [], [], PATIENCE)[0])

    def test_cancelledBefore(self) -> None:
        """
        A command that is cancelled before it is spawned never is.
        """
        error = self.assertRaises(
            CommandFailed,
            self.run_,
            ["touch", str(self.state / "ran")],
            callWhenCancelled=lambda f: f(),
        )
        self.assertEqual(
            error.failure, JobFailure("cancelled", "'touch' was cancelled before it was started")
        )
        self.assertFalse((self.state / "ran").exists())

    def test_cancelledWhileSpawned(self) -> None:
        """
        A cancellation that comes while the command is being spawned ends it.
        """
        cancellers: list[Callable[[], object]] = []

        spawn = _run._spawn

        def cancelAndSpawn(*args: Any) -> Popen[bytes]:
            cancellers[0]()
            return spawn(*args)

        self.patch(_run, "_spawn", cancelAndSpawn)
        error = self.assertRaises(
            CommandFailed, self.run_, ["sleep", "1000"], callWhenCancelled=cancellers.append
        )
        self.assertEqual(
            error.failure,
            JobFailure(
                "cancelled", "'sleep' was cancelled and was ended by SIGTERM", None, "SIGTERM"
            ),
        )

    def test_cancelled(self) -> None:
        """
        A cancellation sends TERM to the whole group, and what that does on TERM it
        may still do.
        """
        path, met = self.meeting()
        running = self.start(
            'trap "wait; exit 5" TERM; "$2" "$1" "echo child" & wait', path, onTERM(self.state)
        )
        met()
        running.cancel()
        self.assertEqual(
            running.failure(),
            JobFailure("cancelled", "'sh' was cancelled and exited with status 5", 5),
        )
        self.assertEqual(self.kept("stdout"), b"child\n")

    def test_termIgnored(self) -> None:
        """
        What ignores TERM is killed after the delay.
        """
        path, met = self.meeting()
        running = self.start(
            'trap "" TERM; echo ready > "$1"; while :; do sleep 1000; done', path, killDelay=0.05
        )
        met()
        running.cancel()
        self.assertEqual(running.failure().signal, "SIGKILL")

    def test_childIgnoresTerm(self) -> None:
        """
        A child that ignores TERM is killed after the delay when its command has exited.
        """
        path, met = self.meeting()
        running = self.start(
            '(trap "" TERM; echo ready > "$1"; while :; do sleep 1000; done) & wait',
            path,
            killDelay=0.05,
        )
        met()
        running.cancel()
        self.assertEqual(running.failure().signal, "SIGTERM")

    def test_outputAfterTerm(self) -> None:
        """
        Between TERM and KILL output is still taken, and the delay holds.
        """
        path, met = self.meeting()
        running = self.start('exec "$2" "$1" "head -c 300000 /dev/zero"', path, onTERM(self.state))
        met()
        running.cancel()
        self.assertEqual(running.failure().exitCode, 0)
        self.assertEqual(self.sizes["stdout"].bytes, 100_000)

    def test_cancelledAtTheEnd(self) -> None:
        """
        A cancellation that comes when the command has exited changes nothing.
        """
        cancellers: list[Callable[[], object]] = []

        def exitFirst() -> None:
            os.waitid(os.P_PID, self.pidOf(), os.WEXITED | os.WNOWAIT)
            cancellers[0]()

        self.attempt = replace(self.attempt, recordStart=exitFirst)
        self.run_(["true"], callWhenCancelled=cancellers.append)
        cancellers[0]()


class GroupTests(CommandCase):
    """
    Tests for L{ProcessGroups} and L{commands.killAll}.
    """

    def test_killAll(self) -> None:
        """
        All groups are killed at once, from any thread, and their commands fail as
        interrupted.
        """
        self.patch(commands._groups, "processGroups", self.groups)
        path, met = self.meeting()
        script = 'trap "" TERM; echo ready > "$1"; sleep 1000'
        first = self.start(script, path)
        met()
        second = self.start(script, path)
        met()
        commands.killAll()
        for running in (first, second):
            self.assertEqual(
                running.failure(),
                JobFailure("interrupted", "'sh' was killed as its daemon ended", None, "SIGKILL"),
            )
        self.run_(["true"])

    def test_forGood(self) -> None:
        """
        After a kill for good, no command is started.
        """
        self.groups.killAll(forGood=True)
        self.assertRaises(NoMoreCommands, self.run_, ["touch", str(self.state / "ran")])
        self.assertFalse((self.state / "ran").exists())

    def test_exitedBefore(self) -> None:
        """
        A command that had exited when all were killed keeps its own outcome.
        """

        def exitFirst() -> None:
            os.waitid(os.P_PID, self.pidOf(), os.WEXITED | os.WNOWAIT)
            self.groups.killAll()

        self.attempt = replace(self.attempt, recordStart=exitFirst)
        self.run_(["true"])
        self.assertEqual(self.failureOf(["false"]).code, "exit_nonzero")

    def test_spawning(self) -> None:
        """
        A command that is being spawned when all are killed is waited for and
        killed.
        """
        spawning = Event()
        waitedFor = Event()
        groups = self.groups
        waitFor = groups._changed.wait_for

        def tellAndWait(predicate: Callable[[], bool], timeout: float) -> bool:
            waitedFor.set()
            return waitFor(predicate, PATIENCE)

        self.patch(groups._changed, "wait_for", tellAndWait)

        def spawn() -> Popen[bytes]:
            spawning.set()
            self.assertTrue(waitedFor.wait(PATIENCE))
            return Popen(["sleep", "1000"], start_new_session=True)

        def run(_: object) -> None:
            with groups.running(spawn) as group:
                group.process.wait()
                raise CommandFailed(
                    JobFailure(str(group.interrupted), "", group.process.returncode)
                )

        running = Running(run)
        self.assertTrue(spawning.wait(PATIENCE))
        groups.killAll()
        self.assertEqual(running.failure(), JobFailure("True", "", -signal.SIGKILL))

    def test_killedBeforeTheWait(self) -> None:
        """
        What lives does not wait for what is being spawned.
        """
        interrupted: list[bool] = []

        def spawn() -> Popen[bytes]:
            return Popen(["sleep", "1000"], start_new_session=True)

        with self.groups.running(spawn) as group:
            self.patch(
                self.groups._changed,
                "wait_for",
                lambda predicate, timeout: interrupted.append(group.interrupted),
            )
            self.groups.killAll()
        self.assertEqual(interrupted, [True])

    def test_spawnFails(self) -> None:
        """
        A spawn that failed is waited for no more.
        """
        self.failureOf(["no-such-program"])
        self.assertEqual(self.groups._spawning, 0)


class WaitingTests(SynchronousTestCase):
    """
    Tests for L{WakeUp} and L{exitDescriptor}.
    """

    def setUp(self) -> None:
        self.wakeUp = WakeUp()

    def isReadable(self, descriptor: int | None = None, timeout: float = 0) -> bool:
        """
        Whether there is something to read, or is in time.
        """
        if descriptor is None:
            descriptor = self.wakeUp.fileno()
        return bool(select.select([descriptor], [], [], timeout)[0])

    def test_notice(self) -> None:
        """
        The descriptor is readable from a notice on, however often it is posted, until it
        is cleared.
        """
        notices = self.wakeUp.begin()
        self.assertFalse(self.isReadable())
        self.assertEqual((notices.isCancelled, notices.hasExited), (False, False))
        notices.cancel()
        notices.cancel()
        self.assertTrue(self.isReadable())
        self.wakeUp.clear()
        self.assertFalse(self.isReadable())
        self.assertEqual((notices.isCancelled, notices.hasExited), (True, False))
        notices.exit()
        self.assertTrue(self.isReadable())
        self.assertTrue(notices.hasExited)

    def test_nextCommand(self) -> None:
        """
        A notice for one command is not seen by the next one, whether it was posted before
        the next one began or later.
        """
        first = self.wakeUp.begin()
        first.cancel()
        second = self.wakeUp.begin()
        self.assertFalse(self.isReadable())
        first.cancel()
        first.exit()
        self.assertFalse(self.isReadable())
        self.assertEqual((second.isCancelled, second.hasExited), (False, False))

    def test_lateCancel(self) -> None:
        """
        A cancellation that has begun when the next command begins does not reach that.
        """
        first = self.wakeUp.begin()
        lock = self.wakeUp._lock
        begun: list[_waiting.Notices] = []

        class Late:
            """
            A lock that the canceller gets only when the next command has begun.
            """

            def __enter__(late) -> None:
                self.wakeUp._lock = lock
                begun.append(self.wakeUp.begin())
                lock.acquire()

            def __exit__(late, *args: object) -> None:
                lock.release()

        self.wakeUp._lock = Late()  # type: ignore[assignment]
        first.cancel()
        self.assertFalse(begun[0].isCancelled)
        self.assertFalse(self.isReadable())

    def test_closed(self) -> None:
        """
        The descriptors live as long as somebody may write to them, and no longer.
        """
        descriptor = self.wakeUp.fileno()
        notices = self.wakeUp.begin()
        del self.wakeUp
        os.fstat(descriptor)
        notices.cancel()
        del notices
        self.assertRaises(OSError, os.fstat, descriptor)

    def test_noDescriptors(self) -> None:
        """
        Without a descriptor, none is made.
        """

        def refuse() -> tuple[int, int]:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(os, "pipe", refuse)
        self.assertRaises(OSError, WakeUp)

    def childOf(self, *argv: str) -> Popen[bytes]:
        """
        A child that is reaped in the end.
        """
        child = Popen(argv, stdin=DEVNULL)
        endAfter(self, child)
        return child

    def test_exit(self) -> None:
        """
        The descriptor is readable after the exit and not before, and the child
        is not reaped.
        """
        child = self.childOf("sleep", "1000")
        with exitDescriptor(child.pid, self.wakeUp.begin()) as descriptor:
            assert descriptor is not None
            self.assertFalse(self.isReadable(descriptor))
            child.kill()
            self.assertTrue(self.isReadable(descriptor, PATIENCE))
        self.assertEqual(child.wait(), -signal.SIGKILL)

    def test_exitWithoutDescriptor(self) -> None:
        """
        Where the system has no such descriptor, the exit is a notice, and the child is not
        reaped.
        """

        def refuse(pid: int) -> int:
            raise OSError(errno.ENOSYS, "Function not implemented")

        self.patch(os, "pidfd_open", refuse)
        child = self.childOf("sleep", "1000")
        notices = self.wakeUp.begin()
        with exitDescriptor(child.pid, notices) as descriptor:
            self.assertIsNone(descriptor)
            self.assertFalse(self.isReadable())
            child.kill()
            self.assertTrue(self.isReadable(timeout=PATIENCE))
            self.assertTrue(notices.hasExited)
        self.assertEqual(child.wait(), -signal.SIGKILL)

    def test_noChild(self) -> None:
        """
        A child that was reaped by somebody else has exited.
        """
        child = self.childOf("true")
        child.wait()
        with exitDescriptor(child.pid, self.wakeUp.begin()) as descriptor:
            self.assertIsNone(descriptor)
            self.assertTrue(self.isReadable(timeout=PATIENCE))


class TimeoutTests(CommandCase):
    """
    Tests for the timeout of an attempt.
    """

    def test_timesOut(self) -> None:
        """
        A command that runs for too long gets TERM, and its failure reports the timeout and
        how it ended.
        """
        self.attempt = replace(self.attempt, timeout=0.001)
        self.assertEqual(
            self.failureOf(["sleep", "1000"]),
            JobFailure(
                "timeout",
                "it ran for longer than its timeout of 0.001 seconds",
                None,
                "SIGTERM",
            ),
        )

    def test_success(self) -> None:
        """
        A command that exits with 0 after TERM has timed out all the same.
        """
        path, met = self.meeting()
        self.attempt = replace(self.attempt, timeout=3600.0)
        now = [0.0]
        self.patch(_supervision, "monotonic", lambda: now[0])

        def passTime(handle: str) -> None:
            met()
            now[0] = 3600.0

        self.patch(_supervision, "_HANDLE_DELAY", 0.0)
        self.attempt = replace(self.attempt, recordHandle=passTime)
        failure = self.failureOf([onTERM(self.state), path, "exit 0"])
        self.assertEqual((failure.code, failure.exitCode), ("timeout", 0))

    def test_inTime(self) -> None:
        """
        A command that ends in time succeeds.
        """
        self.attempt = replace(self.attempt, timeout=3600.0)
        self.run_(["true"])

    def test_cancelled(self) -> None:
        """
        A cancellation that comes first is what the failure reports.
        """
        self.attempt = replace(self.attempt, timeout=0.0)
        cancellers: list[Callable[[], object]] = []
        self.attempt = replace(self.attempt, recordStart=lambda: cancellers[0]())
        error = self.assertRaises(
            CommandFailed, self.run_, ["sleep", "1000"], callWhenCancelled=cancellers.append
        )
        self.assertEqual(error.failure.code, "cancelled")


@implementer(ICompletion)
class Completion:
    """
    Keeps what it is told.
    """

    def __init__(self) -> None:
        self.told: list[object] = []

    def begin(self, attempt: int) -> None:
        """
        Accept the start.
        """

    def deferred(self, priority: float, order: int) -> None:
        """
        Accept a deferral.
        """

    def succeed(self, value: object) -> None:
        """
        Keep the result.
        """
        self.told.append(value)

    def fail(self, failure: Failure) -> None:
        """
        Keep the error.
        """
        self.told.append(failure.value)


class CommandWorkerTests(CommandCase):
    """
    Tests for L{CommandWorker} in a pool.
    """

    def setUp(self) -> None:
        super().setUp()
        attempt = self.attempt

        class Worker(CommandWorker):
            def RunTask(self, *args: Any) -> None:
                currentAttempt.set(attempt)
                super().RunTask(*args)

        pool = WorkerPool("commands", 1, Worker)
        self.addCleanup(pool.TerminateWorkers)
        self.pool = pool
        self.completion = Completion()

    def test_job(self) -> None:
        """
        A job's command runs as its attempt and results in L{None}.
        """
        self.pool.AddTask((["echo", "text"], {}), completion=self.completion)
        self.pool.Quiesce()
        self.assertEqual(self.completion.told, [None])
        self.assertEqual(self.kept("stdout"), b"text\n")

    def test_next(self) -> None:
        """
        A worker runs one command after another with the same descriptors.
        """
        self.pool.AddTask((["echo", "first"], {}), completion=self.completion)
        self.pool.AddTask((["echo", "second"], {}), completion=self.completion)
        self.pool.Quiesce()
        self.assertEqual(self.completion.told, [None, None])
        self.assertEqual(self.kept("stdout"), b"second\n")

    def test_cancelled(self) -> None:
        """
        A command is ended when its task is interrupted.
        """
        path, met = self.meeting()
        argv = ["sh", "-c", 'echo ready > "$1"; sleep 1000', "sh", path]
        self.pool.AddTask((argv, {}), task_id=1, completion=self.completion)
        met()
        self.pool.InterruptTask(1)
        self.pool.Quiesce()
        (error,) = self.completion.told
        assert isinstance(error, CommandFailed)
        self.assertEqual(error.failure.code, "cancelled")

    def test_constants(self) -> None:
        """
        Of each stream 64 MiB are kept, and TERM has five seconds; the check of
        arguments is the class's, for who knows only that.
        """
        self.assertEqual((CommandWorker.outputLimit, CommandWorker.killDelay), (67108864, 5.0))
        self.assertRaises(InvalidJob, CommandWorker.checkArgs, [])
