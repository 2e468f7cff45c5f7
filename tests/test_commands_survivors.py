"""
Tests for L{ganeti_pool.commands.killSurvivors}.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, run

from ganeti_pool.commands import SurvivorsLeft, _survivors, killSurvivors
from ganeti_pool.commands._arguments import childEnvironment, inheritedEnvironment
from ganeti_pool.commands._processes import Status
from ganeti_pool.commands._survivors import handleOf

from .commandcase import PATIENCE, CommandCase, endAfter

SILENT = "printf '%s ' $({} sleep 1000 > /dev/null & echo $!);"
"""
Shell code of a process that has given up its output when its id is printed.
"""

HOLDER = "sleep 1000 & printf '%s ' $!;"
"""
Shell code of a process that keeps it.
"""


class KillSurvivorsTests(CommandCase):
    """
    Tests for L{killSurvivors}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.marked = childEnvironment(inheritedEnvironment(), {}, self.attempt)
        self.bare = childEnvironment(inheritedEnvironment(), {}, None)

    def child(
        self, *argv: str, environment: Mapping[str, str], newSession: bool = True
    ) -> Popen[bytes]:
        """
        A child, which is ended and reaped after the test.
        """
        child = Popen(
            argv, env=environment, stdin=DEVNULL, stdout=DEVNULL, start_new_session=newSession
        )
        endAfter(self, child)
        return child

    def kill(self, *handles: str | None, timeout: float = PATIENCE) -> int:
        """
        Kill the survivors of this test's state directory.
        """
        known = [handle for handle in handles if handle is not None]
        return killSurvivors(str(self.state), known, timeout)

    def assertKilled(self, child: Popen[bytes]) -> None:
        """
        A child is dead by now.
        """
        status = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        assert status is not None
        self.assertEqual((status.si_code, status.si_status), (os.CLD_KILLED, signal.SIGKILL))

    def leaderless(self, script: str, environment: Mapping[str, str]) -> tuple[str, list[int]]:
        """
        A group whose leader is gone.

        @param script: what the leader does; it prints the ids of the others.
        @return: its handle, and descriptors of the others.
        """
        leader = Popen(
            ["sh", "-c", f"{script} echo"], env=environment, stdout=PIPE, start_new_session=True
        )
        assert leader.stdout is not None
        self.addCleanup(leader.stdout.close)
        others = [os.pidfd_open(int(pid)) for pid in leader.stdout.readline().split()]
        for other in others:
            self.addCleanup(self.end, other)
        handle = handleOf(leader.pid, [leader.stdout.fileno()])
        assert handle is not None
        leader.wait(PATIENCE)
        return handle, others

    def end(self, descriptor: int) -> None:
        """
        Kill what is still alive.
        """
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)

    def alive(self, descriptors: Sequence[int]) -> list[bool]:
        """
        Which processes are alive at this moment.
        """
        return [not select.select([each], [], [], 0)[0] for each in descriptors]

    def test_none(self) -> None:
        """
        Where nothing is left, nothing is killed.
        """
        self.assertEqual(self.kill(), 0)

    def test_byHandle(self) -> None:
        """
        The whole group of a handle is killed, though no environment shows it.
        """
        path, met = self.meeting()
        child = self.child(
            "sh", "-c", 'sleep 1000 & echo ready > "$1"; wait', "sh", path, environment=self.bare
        )
        met()
        self.assertEqual(self.kill(handleOf(child.pid)), 2)
        self.assertKilled(child)

    def test_leaderGone(self) -> None:
        """
        Where the leader is gone and no environment shows it, one process that holds the
        output tells of the whole group; in another group of that id it would not.
        """
        silent = SILENT.format("")
        handle, others = self.leaderless(f"{silent} {HOLDER} {silent}", self.bare)
        earlier = json.dumps({**json.loads(handle), "start": 1, "pipes": []})
        self.assertEqual(self.kill(handle, earlier), 3)
        self.assertEqual(self.alive(others), [False] * 3)

    def test_markedWithoutLeader(self) -> None:
        """
        So does one that carries the mark.
        """
        script = f"{SILENT.format('env -i')} {SILENT.format('')}"
        handle, others = self.leaderless(script, self.marked)
        self.assertEqual(self.kill(handle), 2)
        self.assertEqual(self.alive(others), [False] * 2)

    def test_recycledWithoutLeader(self) -> None:
        """
        A group that has got the id of a handle, and whose leader is gone too, is spared
        if nothing in it is known.
        """
        handle, others = self.leaderless(HOLDER, self.bare)
        for descriptor in (pipe := os.pipe()):
            self.addCleanup(os.close, descriptor)
        foreign = json.dumps({**json.loads(handle), "pipes": [os.fstat(pipe[0]).st_ino]})
        self.assertEqual(self.kill(foreign), 0)
        self.assertEqual(self.alive(others), [True])

    def test_deadWitness(self) -> None:
        """
        What has ended tells nothing of its group any more, which may be another one by
        then.
        """
        handle, others = self.leaderless(f"{SILENT.format('')} {HOLDER}", self.bare)
        send = signal.pidfd_send_signal

        def killAtOnce(descriptor: int, number: int) -> None:
            send(descriptor, signal.SIGKILL)
            self.assertTrue(select.select([descriptor], [], [], PATIENCE)[0])

        self.patch(signal, "pidfd_send_signal", killAtOnce)
        self.assertEqual(self.kill(handle), 1)
        self.assertEqual(self.alive(others), [True, False])

    def test_reapedMeanwhile(self) -> None:
        """
        One that has ended and is reaped when it should be stopped is no trouble.
        """
        child = self.child("sleep", "1000", environment=self.marked)
        send = signal.pidfd_send_signal

        def endAtOnce(descriptor: int, number: int) -> None:
            send(descriptor, signal.SIGKILL)
            child.wait(PATIENCE)

        self.patch(signal, "pidfd_send_signal", endAtOnce)
        self.assertEqual(self.kill(), 1)

    def test_closedMeanwhile(self) -> None:
        """
        A file that is closed while they are looked at hides no other.
        """
        handle, others = self.leaderless(HOLDER, self.bare)
        names = os.listdir
        self.patch(os, "listdir", lambda path: ["closed", *names(path)])
        self.assertEqual(self.kill(handle), 1)
        self.assertEqual(self.alive(others), [False])

    def test_unreadable(self) -> None:
        """
        A process whose files may not be looked at is spared.
        """
        handle, others = self.leaderless(HOLDER, self.bare)

        def refuse(path: str) -> list[str]:
            raise PermissionError(13, "Permission denied")

        self.patch(os, "listdir", refuse)
        self.assertEqual(self.kill(handle), 0)
        self.assertEqual(self.alive(others), [True])

    def test_stoppedFirst(self) -> None:
        """
        Nothing is killed before all that was found is stopped: so nothing forks
        between a look and the kill.
        """
        sent: list[tuple[int, int]] = []
        send = signal.pidfd_send_signal

        def sendAndTell(descriptor: int, number: int) -> None:
            sent.append((descriptor, number))
            send(descriptor, number)

        self.patch(signal, "pidfd_send_signal", sendAndTell)
        for _ in range(2):
            self.child("sleep", "1000", environment=self.marked)
        self.kill()
        self.assertEqual([n for _, n in sent], [signal.SIGSTOP] * 2 + [signal.SIGKILL] * 2)
        self.assertEqual(len(set(sent)), 4)

    def test_byEnvironment(self) -> None:
        """
        What carries the mark is killed without a handle, in whatever session.
        """
        path, met = self.meeting()
        child = self.child(
            "sh",
            "-c",
            'setsid sh -c \'echo ready > "$1"; exec sleep 1000\' sh "$1" & wait',
            "sh",
            path,
            environment=self.marked,
        )
        met()
        self.assertEqual(self.kill(), 2)
        self.assertKilled(child)

    def test_escaped(self) -> None:
        """
        A child that left the group outlives its command, and is found here.
        """
        path, met = self.meeting()
        script = """
            mkfifo "$1.2"
            setsid sh -c 'echo $$ > "$1"; echo > "$1.2"; exec sleep 1000' sh "$1" &
            read line < "$1.2"
        """
        self.run_(["sh", "-c", script, "sh", path])
        pid = int(met())
        os.kill(pid, 0)
        self.assertEqual(self.kill(*self.handles), 1)

    def test_ignoringTerm(self) -> None:
        """
        What ignores every signal that can be ignored is killed all the same.
        """
        path, met = self.meeting()
        script = 'trap "" TERM HUP INT; echo ready > "$1"; while :; do sleep 1000; done'
        child = self.child("sh", "-c", script, "sh", path, environment=self.marked)
        met()
        self.kill()
        self.assertKilled(child)

    def test_recycled(self) -> None:
        """
        A process that has the id of a handle, and was started at another time or
        in another boot, is spared; so is one of a handle of another kind.
        """
        child = self.child("sleep", "1000", environment=self.bare)
        handle = json.loads(handleOf(child.pid) or "")
        later = json.dumps({**handle, "start": handle["start"] + 1})
        earlier = json.dumps({**handle, "boot": "another"})
        foreign = ["namespace/pod", "[]", "{}", "7", json.dumps({**handle, "start": None})]
        self.assertEqual(self.kill(later, earlier, *foreign), 0)
        self.assertIsNone(child.poll())

    def test_otherMarks(self) -> None:
        """
        A mark of another state directory is none, and neither is one without a job.
        """
        other = {**self.marked, "GANETI_POOL_STATE": f"{self.state}x"}
        jobless = {k: v for k, v in self.marked.items() if k != "GANETI_POOL_JOB"}
        children = [self.child("sleep", "1000", environment=each) for each in (other, jobless)]
        self.assertEqual(self.kill(), 0)
        for child in children:
            self.assertIsNone(child.poll())
            child.kill()

    def test_linkedStateDirectory(self) -> None:
        """
        The state directory is the same one through a link.
        """
        link = self.state / "link"
        link.symlink_to(self.state)
        child = self.child("sleep", "1000", environment=self.marked)
        self.assertEqual(killSurvivors(str(link), [], PATIENCE), 1)
        self.assertKilled(child)

    def test_ownSession(self) -> None:
        """
        What is in the session of this process is spared, whatever it carries.
        """
        child = self.child("sleep", "1000", environment=self.marked, newSession=False)
        self.assertEqual(self.kill(handleOf(child.pid)), 0)
        self.assertIsNone(child.poll())
        child.kill()

    def test_ancestors(self) -> None:
        """
        A daemon that was started from a job, in a session of its own, kills
        neither itself nor the job.
        """
        code = "import sys; from ganeti_pool.commands import killSurvivors as kill; "
        code += "print(kill(sys.argv[1], [], 60))"
        script = 'setsid -w "$1" -c "$2" "$3"; echo alive'
        done = run(
            ["sh", "-c", script, "sh", sys.executable, code, str(self.state)],
            env={**self.marked, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=PIPE,
            start_new_session=True,
            timeout=PATIENCE,
            check=True,
        )
        # setsid -w forks only where it must, and then is an ancestor too
        self.assertEqual(done.stdout, b"0\nalive\n")

    def test_exited(self) -> None:
        """
        A process that has exited and is not reaped is no survivor.
        """
        child = self.child("true", environment=self.bare)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        self.assertEqual(self.kill(handleOf(child.pid)), 0)

    def test_goneMeanwhile(self) -> None:
        """
        A process that ends when it is about to be held is no survivor.
        """
        child = self.child("sleep", "1000", environment=self.marked)

        def vanish(pid: int) -> int:
            child.kill()
            child.wait()
            raise ProcessLookupError(3, "No such process")

        self.patch(os, "pidfd_open", vanish)
        self.assertEqual(self.kill(), 0)

    def test_replacedMeanwhile(self) -> None:
        """
        A process that took the place of a survivor before it was held is spared.
        """
        child = self.child("sleep", "1000", environment=self.bare)
        looks = iter([True])
        self.patch(
            _survivors._Hunt,
            "isSurvivor",
            lambda hunt, pid: pid == child.pid and next(looks, False),
        )
        self.assertEqual(self.kill(), 0)
        self.assertIsNone(next(looks, None))
        self.assertIsNone(child.poll())

    def test_nothingToHoldWith(self) -> None:
        """
        Where a process cannot be held, it is not killed but told.
        """
        child = self.child("sleep", "1000", environment=self.marked)

        def refuse(pid: int) -> int:
            raise OSError(38, "Function not implemented")

        self.patch(os, "pidfd_open", refuse)
        error = self.assertRaises(SurvivorsLeft, self.kill)
        self.assertEqual(error.pids, [child.pid])
        self.assertIn("Function not implemented", str(error))
        self.assertIsNone(child.poll())
        child.kill()

    def test_killedWhenAnotherIsRefused(self) -> None:
        """
        What was stopped is killed, though the next one cannot be held.
        """
        children = [self.child("sleep", "1000", environment=self.marked) for _ in range(2)]
        hold = os.pidfd_open
        held: list[int] = []

        def holdOne(pid: int) -> int:
            if held:
                raise OSError(24, "Too many open files")
            held.append(pid)
            return hold(pid)

        self.patch(os, "pidfd_open", holdOne)
        error = self.assertRaises(SurvivorsLeft, self.kill)
        self.assertEqual({*held, *error.pids}, {child.pid for child in children})
        (killed,) = (child for child in children if child.pid in held)
        self.assertEqual(killed.wait(PATIENCE), -signal.SIGKILL)

    def test_notKilled(self) -> None:
        """
        One that cannot be killed is told after the timeout.
        """
        child = self.child("sleep", "1000", environment=self.marked)

        def refuse(descriptor: int, number: int) -> None:
            raise PermissionError(1, "Operation not permitted")

        self.patch(signal, "pidfd_send_signal", refuse)
        error = self.assertRaises(SurvivorsLeft, self.kill, timeout=0.0)
        self.assertEqual(error.pids, [child.pid])
        self.assertIn(str(child.pid), str(error))
        child.kill()

    def test_noProc(self) -> None:
        """
        A system that tells nothing of its processes has no handles and no
        survivors.
        """

        def refuse(path: object, flags: int = 0) -> bytes:
            raise FileNotFoundError(2, "No such file or directory")

        child = self.child("sleep", "1000", environment=self.marked)
        self.patch(os, "open", refuse)
        self.patch(Path, "read_bytes", refuse)
        self.patch(Path, "read_text", refuse)
        self.assertIsNone(handleOf(child.pid))
        self.assertEqual(self.kill(), 0)
        self.patch(_survivors, "statusOf", lambda pid: Status(0, pid, pid, 5))
        self.assertEqual(self.kill(), 0)
        child.kill()
