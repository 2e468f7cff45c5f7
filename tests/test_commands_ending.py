"""
Tests for how the processes of a command are ended.
"""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Callable
from dataclasses import replace
from subprocess import DEVNULL, Popen

from twisted.logger import capturedLogs, formatEvent

from ganeti_pool.commands._processes import ProcessSet, hasEnded, statusOf
from ganeti_pool.commands._session import _awaitEnd, killSessions
from ganeti_pool.commands._survivors import handleOf, killAttempts
from ganeti_pool.errors import PoolError

from .commandcase import PATIENCE, CommandCase, Running, endAfter, onTERM

TIDY = 'read line < "$1.go"; echo tidied'
"""
Shell code that tidies up, once the test lets it.
"""


class EndingCase(CommandCase):
    """
    A test of processes that are ended.
    """

    def setUp(self) -> None:
        super().setUp()
        self.path, self.met = self.meeting()
        os.mkfifo(f"{self.path}.go")
        self.go = os.open(f"{self.path}.go", os.O_RDWR)
        self.addCleanup(os.close, self.go)

    def letGo(self) -> None:
        """
        Let what tidies up end.
        """
        os.write(self.go, b"\n")

    def session(self, script: str) -> Popen[bytes]:
        """
        The leader of a session, once it has written to C{$1}.
        """
        child = Popen(
            ["sh", "-c", script, "sh", self.path],
            stdin=DEVNULL,
            stdout=DEVNULL,
            start_new_session=True,
        )
        endAfter(self, child)
        self.addCleanup(killSessions, [child.pid])
        self.met()
        return child

    def hold(self, pid: int) -> int:
        """
        A descriptor of a living process.
        """
        descriptor = os.pidfd_open(pid)
        self.addCleanup(os.close, descriptor)
        return descriptor


class CleanUpTests(EndingCase):
    """
    Tests for the time that the processes of a cancelled command get.
    """

    def assertTidiesUp(self, script: str, tidy: str = TIDY, tidied: bytes = b"tidied\n") -> None:
        """
        In a script that the cancellation ends at once, the program C{$2} tidies up, and
        what it writes is kept.
        """
        running = self.start(script, self.path, onTERM(self.state), tidy)
        self.met()
        leader = self.hold(self.pidOf())
        running.cancel()
        self.assertTrue(select.select([leader], [], [], PATIENCE)[0], "the leader lives")
        self.letGo()
        self.assertEqual(running.failure().code, "cancelled")
        self.assertEqual(self.kept("stdout"), tidied)

    def test_inAList(self) -> None:
        """
        A program that its shell waits for tidies up, though the shell dies first.
        """
        self.assertTidiesUp('"$2" "$1" "$3"; true')

    def test_inAPipe(self) -> None:
        """
        A program in a pipe tidies up, though the shell dies first.
        """
        self.assertTidiesUp('"$2" "$1" "$3" | (trap "" TERM; cat)')

    def test_inTheBackground(self) -> None:
        """
        A program in the background tidies up, though the shell dies first.
        """
        self.assertTidiesUp('"$2" "$1" "$3" & wait')

    def test_inAGroupOfItsOwn(self) -> None:
        """
        A program below C{timeout}, which makes a process group, tidies up.
        """
        self.assertTidiesUp('timeout 1000 "$2" "$1" "$3"; true')

    def test_startedWhileTidying(self) -> None:
        """
        A program that is started to tidy up gets no TERM, and is waited for though its
        parent is gone, in whatever group it is.
        """
        later = 'timeout 1000 sh -c \'read line < "$1.go"; echo later\' sh "$1" &'
        self.assertTidiesUp('"$2" "$1" "$3"; true', later, b"later\n")

    def test_many(self) -> None:
        """
        All processes of a session are waited for, however many there are: more than are
        watched at a time.
        """
        script = 'for each in $(seq 20); do "$2" "$1.$each" "$3" & read up < "$1.$each"; done; '
        for number in range(1, 21):
            os.mkfifo(f"{self.path}.{number}")
            os.mkfifo(f"{self.path}.{number}.go")
            leave = os.open(f"{self.path}.{number}.go", os.O_RDWR)
            self.addCleanup(os.close, leave)
            os.write(leave, b"\n")
        self.assertTidiesUp(script + 'echo > "$1"; wait', tidied=b"tidied\n" * 20)

    def test_notHeld(self) -> None:
        """
        Where processes cannot be held, the command ends when the delay is over.
        """

        def refuse(pid: int) -> int:
            raise OSError(errno.EMFILE, "Too many open files")

        running = Running(
            lambda callWhenCancelled: self.run_(
                ["sh", "-c", '"$2" "$1" "$3"; true', "sh", self.path, onTERM(self.state), TIDY],
                callWhenCancelled=callWhenCancelled,
                killDelay=0.05,
            )
        )
        self.met()
        self.patch(os, "pidfd_open", refuse)
        with capturedLogs() as logged:
            running.cancel()
            self.assertEqual(running.failure().signal, "SIGTERM")
        self.assertIn("Too many open files", "".join(str(formatEvent(each)) for each in logged))
        self.assertEqual(self.sizes["stdout"].bytes, 0)


class EverythingTests(EndingCase):
    """
    Tests for what is left of a command's session when the command is over.
    """

    LEAVE = 'timeout 1000 sh -c \'echo $$ > "$1"; exec sleep 1000\' sh "$1" & read line < "$1.go"; '

    def run__(self, end: str) -> int:
        """
        Run a command that leaves a program in a process group of its own.

        @param end: how it ends.
        @return: a descriptor of the program.
        """
        running = Running(lambda _: self.run_(["sh", "-c", self.LEAVE + end, "sh", self.path]))
        left = self.hold(int(self.met()))
        self.letGo()
        running.join()
        return left

    def test_failed(self) -> None:
        """
        What a command has left in a group of its own is gone when the command has
        failed, since its job may be started again.
        """
        self.assertTrue(hasEnded(self.run__("exit 3")))

    def test_succeeded(self) -> None:
        """
        It outlives a command that has succeeded, whose job is never started again.
        """
        left = self.run__("exit 0")
        self.assertFalse(hasEnded(left))
        signal.pidfd_send_signal(left, signal.SIGKILL)

    def test_handleRefused(self) -> None:
        """
        It is gone if the function that records the handle raises.
        """
        left: list[int] = []

        def refuse(handle: str) -> None:
            left.append(self.hold(int(self.met())))
            raise PoolError("full")

        self.attempt = replace(self.attempt, recordHandle=refuse)
        self.assertRaises(PoolError, self.run_, ["sh", "-c", self.LEAVE, "sh", self.path])
        self.assertTrue(hasEnded(left[0]))

    def test_killAll(self) -> None:
        """
        It is killed when all commands are killed at once.
        """
        running = self.start(self.LEAVE, self.path)
        left = self.hold(int(self.met()))
        self.groups.killAll()
        self.assertEqual(running.failure().code, "interrupted")
        self.assertTrue(hasEnded(left))


class EarlierAttemptTests(EndingCase):
    """
    Tests for what an earlier attempt has left in a session of its own.
    """

    def setUp(self) -> None:
        super().setUp()
        script = 'setsid sh -c \'echo $$ > "$1"; exec sleep 1000\' sh "$1" & read line < "$1.go"'
        running = Running(lambda _: self.run_(["sh", "-c", script, "sh", self.path]))
        self.left = self.hold(int(self.met()))
        self.letGo()
        running.join()
        self.assertFalse(hasEnded(self.left))
        self.addCleanup(signal.pidfd_send_signal, self.left, signal.SIGKILL)
        self.reports.clear()

    def runAgain(self) -> None:
        """
        Run the next attempt.
        """
        self.attempt = replace(self.attempt, hasRunBefore=True)
        self.run_(["true"])

    def test_ended(self) -> None:
        """
        It is killed before the next attempt starts, and the log says so.
        """
        ended: list[bool] = []
        self.attempt = replace(self.attempt, recordStart=lambda: ended.append(hasEnded(self.left)))
        with capturedLogs() as logged:
            self.runAgain()
        self.assertEqual(ended, [True])
        self.assertIn("earlier attempts of job 7", str(formatEvent(logged[0])))
        with capturedLogs() as logged:
            self.runAgain()
        self.assertEqual(logged, [])

    def test_firstAttempt(self) -> None:
        """
        Nothing is looked for before the first run of a job.
        """
        self.run_(["true"])
        self.assertFalse(hasEnded(self.left))

    def test_anotherJob(self) -> None:
        """
        What another job has left, and what the daemon's user runs otherwise, goes on.
        """
        self.attempt = replace(self.attempt, jobID=70)
        self.runAgain()
        self.assertFalse(hasEnded(self.left))

    def assertWaits(self, why: str) -> None:
        """
        The next attempt waits until what is left has ended, and reports why.
        """
        self.attempt = replace(self.attempt, hasRunBefore=True)
        ended: list[bool] = []

        def wait(event: object, pause: float) -> bool:
            ended.append(hasEnded(self.left))
            self.relieve()
            return False

        self.run_(["echo", "text"], wait=wait)
        self.assertEqual(ended, [False])
        self.assertEqual(self.reports[1:], ["start"])
        self.assertIn(why, self.reports[0])
        self.assertTrue(hasEnded(self.left))

    def forbid(self, module: object, name: str, error: OSError) -> None:
        """
        Have a call fail until the next attempt waits.
        """

        def refuse(*args: object) -> None:
            raise error

        self.relieve: Callable[[], object] = self.patch(module, name, refuse).restore

    def test_notHeld(self) -> None:
        """
        The next attempt waits while it cannot be killed.
        """
        self.forbid(os, "pidfd_open", OSError(errno.EMFILE, "Too many open files"))
        self.assertWaits("Too many open files")

    def test_notSeen(self) -> None:
        """
        The next attempt waits while it cannot be looked for.
        """
        self.forbid(os, "scandir", OSError(errno.EMFILE, "Too many open files"))
        self.assertWaits("cannot be searched for")

    def test_notGone(self) -> None:
        """
        The next attempt waits while it is killed and not gone.
        """
        self.forbid(signal, "pidfd_send_signal", PermissionError(1, "Operation not permitted"))
        timeout = self.patch(killAttempts, "__defaults__", (0.0,))
        allow = self.relieve
        self.relieve = lambda: (allow(), timeout.restore())
        self.assertWaits("not gone within 0 seconds")


class ProcessTests(EndingCase):
    """
    Tests for how processes are read of and killed.
    """

    def test_notReadable(self) -> None:
        """
        A process that cannot be read of now is not taken for gone; it gets no handle.
        """

        def refuse(path: str, flags: int) -> int:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(os, "open", refuse)
        self.assertRaises(OSError, statusOf, os.getpid())
        self.assertIsNone(handleOf(os.getpid()))

    def test_notKilled(self) -> None:
        """
        A process that KILL does not end is logged, and not waited for any longer.
        """
        child = self.session('timeout 1000 sh -c \'echo > "$1"; exec sleep 1000\' sh "$1"')

        def refuse(descriptor: int, number: int) -> None:
            raise PermissionError(1, "Operation not permitted")

        with capturedLogs() as logged:
            patch = self.patch(signal, "pidfd_send_signal", refuse)
            killSessions([child.pid], 0.001)
            patch.restore()
        self.assertIn("are still alive", str(formatEvent(logged[0])))

    def test_notSeen(self) -> None:
        """
        What cannot be looked for is logged when a command ends, and not when a signal
        handler kills all.
        """

        def refuse(path: str) -> object:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(os, "scandir", refuse)
        with capturedLogs() as logged:
            killSessions([])
        self.assertEqual(logged, [])
        with capturedLogs() as logged:
            killSessions([], PATIENCE)
        self.assertIn("Too many open files", str(formatEvent(logged[0])))

    def test_goneInRounds(self) -> None:
        """
        The wait for the killed goes on until a look finds none of them.
        """
        child = self.session('echo > "$1"; exec sleep 1000')
        awaitEnd = ProcessSet.awaitEnd
        waits: list[float] = []

        def killAndWait(held: ProcessSet, timeout: float) -> list[int]:
            waits.append(timeout)
            child.kill()
            return awaitEnd(held, timeout)

        self.patch(ProcessSet, "awaitEnd", killAndWait)
        self.assertEqual(_awaitEnd(lambda pid: pid == child.pid, PATIENCE), [])
        self.assertEqual(len(waits), 1)

    def test_anotherNamespace(self) -> None:
        """
        Where C{/proc} shows the processes of another PID namespace, none is taken for one
        of a session.
        """
        self.patch(os, "readlink", lambda path: "1")
        with ProcessSet(lambda pid: True) as held:
            self.assertFalse(held.look())

    def test_notLookedAtAgain(self) -> None:
        """
        The descriptor of a process that cannot be looked at again is given back at once.
        """
        looks = iter([True])

        def isWanted(pid: int) -> bool:
            for isFirst in looks:
                return isFirst
            raise OSError(errno.EMFILE, "Too many open files")

        opened: list[int] = []
        hold = os.pidfd_open

        def note(pid: int) -> int:
            opened.append(hold(pid))
            return opened[-1]

        self.patch(os, "pidfd_open", note)
        with ProcessSet(isWanted) as held:
            self.assertRaises(OSError, held.look)
            (descriptor,) = opened
            self.assertRaises(OSError, os.fstat, descriptor)
