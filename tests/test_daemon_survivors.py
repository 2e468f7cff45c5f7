"""
Tests for what is left of a job when its daemon was killed: no process of an earlier
attempt lives when the next one starts, and no other process is harmed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sqlite3
import sys
from pathlib import Path
from subprocess import DEVNULL, Popen

from ganeti_pool.commands._survivors import handleOf
from ganeti_pool.paths import StatePaths

from .commandcase import endAfter, onTERM
from .daemoncase import PATIENCE, Daemon, DaemonCase, DaemonGone, Job, Meeting

ATTEMPT = """
if test "$GANETI_POOL_ATTEMPT" = 2; then
    for pid in $(cat "$1.pids"); do
        # what is dead may not have been reaped yet
        grep -s '^State:' /proc/$pid/status | grep -v '[ZX]' && echo "$pid lives"
    done
    echo alone
    exit
fi
echo $$ >> "$1.pids"
"""
"""
The beginning of a script whose second attempt says which processes of the first one
it has found alive. Its argument is the path of a meeting.
"""

STAYS = 'trap "" TERM HUP INT; echo $$ >> "$1.pids"; echo $$ > "$1.arrived"; exec sleep 1000'
"""
A script of a process that stays when its parent has gone.
"""

DOUBLE_FORK = f"(sh -c '{STAYS}' sh \"$1\" &)\n"

LEAVES_LATER = 'read _ < "$1.leave"\n'
"""
The end of a script that runs until its handle is stored, and exits when the test says so.
"""


class SurvivorCase(DaemonCase):
    """
    Daemons that die while a job runs.
    """

    def setUp(self) -> None:
        super().setUp()
        self.met = self.meeting()
        self.armed = self.scratch / "armed"
        self.pids: list[int] = []

    def job(self, script: str) -> Job:
        """
        A job to submit that may be tried again.
        """
        argv = ["sh", "-c", ATTEMPT + script, "sh", str(self.met.path)]
        return {"args": [argv, {}], "on_crash": "retry", "max_attempts": 2}

    def dieAt(self, point: str, job: Job) -> int:
        """
        Have a job run by a daemon that dies at a point, and wait for what that leaves.

        @return: the ID of the job.
        """
        launcher = [sys.executable, "-m", "tests.crashing_daemon", point, str(self.armed)]
        daemon = self.launch(launcher=launcher)
        daemon.awaitReady()
        self.armed.touch()
        self.submitLast(daemon, job)
        return 1

    def submitLast(self, daemon: Daemon, job: Job) -> None:
        """
        Submit the job at which a daemon dies. Its start shares the commit of the submission, so
        the daemon may die before it answers.
        """
        with contextlib.suppress(DaemonGone):
            self.assertEqual(daemon.submit(job), [1])
        self.assertEqual(daemon.awaitEnd(), -signal.SIGKILL, daemon.log)

    def awaitStay(self, count: int) -> None:
        """
        Wait until so many processes have told that they stay.
        """
        while len(self.pids) < count:
            for pid in map(int, self.met.awaitArrival().split()):
                self.pids.append(pid)
                self.addCleanup(self.endProcess, os.pidfd_open(pid))

    def endLeader(self) -> None:
        """
        Let the command of the job exit, and wait until it has.
        """
        leader = os.pidfd_open(int(Path(f"{self.met.path}.pids").read_text().split()[0]))
        self.met.letGo()
        hasEnded = select.select([leader], [], [], PATIENCE)[0]
        os.close(leader)
        self.assertTrue(hasEnded)

    def adoptOrphans(self) -> None:
        """
        Become, for this test, the parent of processes that lose theirs, to reap them when
        it needs: the first process of a system may take its time.
        """
        prctl, option = ctypes.CDLL(None).prctl, 36  # PR_SET_CHILD_SUBREAPER
        self.assertEqual(prctl(option, 1), 0)
        self.addCleanup(prctl, option, 0)

    def endProcess(self, descriptor: int) -> None:
        """
        Kill what stays in spite of all, if the test has failed.
        """
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except ProcessLookupError:
            pass  # as it should be
        finally:
            os.close(descriptor)

    def assertAlone(self, jobID: int, left: int = 1) -> None:
        """
        So many processes of the first attempt have told that they stay, and do; and
        the second attempt finds none of them.
        """
        self.awaitStay(left)
        for pid in self.pids:
            os.kill(pid, 0)
        daemon = self.start()
        (job,) = daemon.awaitEnds(jobID)
        self.assertEqual((job["state"], job["attempt"]), ("succeeded", 2))
        _, output = daemon.request("GET", f"/v1/jobs/{jobID}/output")
        self.assertEqual(output, b"alone\n")
        self.assertEqual(daemon.stop(), 0, daemon.log)


class LeftTests(SurvivorCase):
    """
    Tests for what a job can leave.
    """

    def test_beforeTheHandle(self) -> None:
        """
        If the daemon dies between the start of a process and the commit of its handle,
        the process is found by its environment.
        """
        jobID = self.dieAt("child spawned", self.job(f"echo runs; {STAYS}"))
        self.assertAlone(jobID)

    def test_doubleForkBeforeTheHandle(self) -> None:
        """
        So is a process that it has left in its group, and has gone itself.
        """
        jobID = self.dieAt("child spawned", self.job(f"{DOUBLE_FORK} echo runs"))
        self.assertAlone(jobID)

    def test_doubleForkAfterTheHandle(self) -> None:
        """
        Also if the handle of the one that has gone was stored.
        """
        jobID = self.dieAt("handle committed", self.job(DOUBLE_FORK + LEAVES_LATER))
        self.endLeader()
        self.assertAlone(jobID)

    def test_doubleForkOfOneThatStays(self) -> None:
        """
        Also if that is still there: both end.
        """
        script = f"{DOUBLE_FORK} exec sleep 1000"
        self.assertAlone(self.dieAt("handle committed", self.job(script)))

    def test_ownSession(self) -> None:
        """
        What has made a session of its own is found by its environment too.
        """
        script = f"setsid sh -c '{STAYS}' sh \"$1\" & exec sleep 1000"
        self.assertAlone(self.dieAt("handle committed", self.job(script)))

    def test_withoutEnvironment(self) -> None:
        """
        What has cleared its environment is found by the handle, with its group.
        """
        clear = f"{DOUBLE_FORK} exec sleep 1000"
        job = self.job('exec env -i PATH="$PATH" sh -c "$2" sh "$1"')
        job["args"][0].append(clear)
        jobID = self.dieAt("handle committed", job)
        self.assertAlone(jobID)

    def test_leaderGone(self) -> None:
        """
        So is what has cleared its environment when the one that started it is gone: by
        the output, which it holds.
        """
        clear = f'(env -i PATH="$PATH" sh -c \'{STAYS}\' sh "$1" &)\n'
        self.adoptOrphans()
        jobID = self.dieAt("handle committed", self.job(clear + LEAVES_LATER))
        self.endLeader()
        self.awaitStay(1)
        leader, other = map(int, Path(f"{self.met.path}.pids").read_text().split())
        os.waitpid(leader, 0)
        self.addCleanup(os.waitpid, other, 0)
        self.addCleanup(os.kill, other, signal.SIGKILL)
        self.assertAlone(jobID)

    def test_killedByTheJob(self) -> None:
        """
        A job that kills its daemon as its first deed, whatever that does just then,
        does not outlive it for long.
        """
        daemon = self.start()
        self.submitLast(daemon, self.job(f"kill -9 $PPID; {DOUBLE_FORK} {STAYS}"))
        self.assertAlone(1, 2)

    def test_secondSignal(self) -> None:
        """
        What a second signal to the daemon has not reached, since it has a session of
        its own, is found at the next start.
        """
        daemon = self.start()
        script = f"setsid sh -c '{STAYS}' sh \"$1\" & exec sleep 1000"
        (jobID,) = daemon.submit(self.job(script))
        self.awaitStay(1)
        daemon.process.send_signal(signal.SIGTERM)
        daemon.awaitLog("Stopping")
        self.assertEqual(daemon.stop(), -signal.SIGTERM)
        self.assertAlone(jobID)


class SameDaemonTests(SurvivorCase):
    """
    Tests for what is left of an attempt while the daemon goes on, or stops in good order.
    """

    HASTY = ("--worker-class", "tests.daemonworkers.HastyWorker")

    GROUP = f"timeout 1000 sh -c '{STAYS}' sh \"$1\""

    def begin_(self, script: str, *options: str) -> tuple[Daemon, int]:
        """
        Have a job run, one process of which stays.

        @return: the daemon and the ID of the job.
        """
        daemon = self.start(*self.HASTY, *options)
        (jobID,) = daemon.submit({**self.job(script), "worker": self.HASTY[1]})
        self.awaitStay(1)
        return daemon, jobID

    def retry(self, daemon: Daemon, jobID: int) -> None:
        """
        Have the job tried again, whose second attempt finds nothing of the first.
        """
        daemon.ask("POST", f"/v1/jobs/{jobID}/retry")
        daemon.awaitJobs([jobID], lambda job: job["state"] == "succeeded")
        _, output = daemon.request("GET", f"/v1/jobs/{jobID}/output")
        self.assertEqual(output, b"alone\n")
        self.assertEqual(daemon.stop(), 0, daemon.log)

    def test_cancelled(self) -> None:
        """
        A program below C{timeout} does not outlive the cancellation of its job.
        """
        daemon, jobID = self.begin_(self.GROUP)
        daemon.ask("POST", f"/v1/jobs/{jobID}/cancel")
        self.assertEqual(daemon.awaitEnds(jobID)[0]["state"], "cancelled")
        self.assertNothingLeft()
        self.retry(daemon, jobID)

    def test_failed(self) -> None:
        """
        A program below C{timeout} in the background does not outlive a job that fails.
        """
        daemon, jobID = self.begin_(f'{self.GROUP} & read line < "$1.leave"; exit 3')
        self.met.letGo()
        self.assertEqual(daemon.awaitEnds(jobID)[0]["error"]["exit_code"], 3)
        self.assertNothingLeft()
        self.retry(daemon, jobID)

    def test_stopped(self) -> None:
        """
        A program below C{timeout} does not outlive a daemon that stops in good order.
        """
        daemon, _ = self.begin_(self.GROUP, "--grace", "0")
        self.assertEqual(daemon.stop(), 0, daemon.log)
        self.assertNothingLeft()

    def test_secondSignal(self) -> None:
        """
        A program below C{timeout} does not outlive a daemon that gets a second signal.
        """
        daemon, _ = self.begin_(self.GROUP)
        daemon.process.send_signal(signal.SIGTERM)
        daemon.awaitLog("Stopping")
        self.assertEqual(daemon.stop(), -signal.SIGTERM)
        self.assertNothingLeft()

    def test_ownSession(self) -> None:
        """
        What has made a session of its own outlives a failed job, and is ended before the
        job is tried again.
        """
        script = f'setsid sh -c \'{STAYS}\' sh "$1" & read line < "$1.leave"; exit 3'
        daemon, jobID = self.begin_(script)
        self.met.letGo()
        daemon.awaitEnds(jobID)
        os.kill(self.pids[0], 0)
        self.retry(daemon, jobID)


class TidyingTests(DaemonCase):
    """
    Tests for the time that a program gets to tidy up when its shell has died first.
    """

    def begin_(self, **fields: object) -> tuple[Daemon, int, Meeting, int]:
        """
        Have a job run, whose program tidies up once it is let go.

        @return: the daemon, the ID of the job, where it is let go, and a descriptor of
            its shell.
        """
        name = "tests.daemonworkers.PatientWorker"
        shell, tidies = self.meeting("shell"), self.meeting("tidies")
        daemon = self.start("--worker-class", name, "--grace", "0")
        script = 'echo $$ > "$3"; "$2" "$1" "$4"; true'
        argv = ["sh", "-c", script, "sh", tidies.arrived, onTERM(self.scratch), shell.arrived]
        tidy = f"read line < '{tidies.leave}'; echo tidied"
        (jobID,) = daemon.submit({"args": [[*argv, tidy], {}], "worker": name, **fields})
        leader = os.pidfd_open(int(shell.awaitArrival()))
        self.addCleanup(os.close, leader)
        tidies.awaitArrival()
        return daemon, jobID, tidies, leader

    def letGo(self, tidies: Meeting, leader: int) -> None:
        """
        Let the program tidy up once its shell has ended.
        """
        self.assertTrue(select.select([leader], [], [], PATIENCE)[0], "the shell lives")
        tidies.letGo()

    def test_timeout(self) -> None:
        """
        It tidies up when the time of its job is over.
        """
        daemon, jobID, tidies, leader = self.begin_(timeout=5)
        self.letGo(tidies, leader)
        self.assertEqual(daemon.awaitEnds(jobID)[0]["error"]["code"], "timeout")
        self.assertEqual(daemon.ask("GET", f"/v1/jobs/{jobID}/output"), b"tidied\n")
        self.assertEqual(daemon.stop(), 0, daemon.log)

    def test_stop(self) -> None:
        """
        It tidies up when the daemon stops.
        """
        daemon, jobID, tidies, leader = self.begin_()
        daemon.process.send_signal(signal.SIGTERM)
        self.letGo(tidies, leader)
        self.assertEqual(daemon.awaitEnd(), 0, daemon.log)
        daemon = self.start("--worker-class", "tests.daemonworkers.PatientWorker")
        self.assertEqual(daemon.job(jobID)["error"]["code"], "interrupted")
        self.assertEqual(daemon.ask("GET", f"/v1/jobs/{jobID}/output"), b"tidied\n")
        self.assertEqual(daemon.stop(), 0, daemon.log)


class OthersTests(SurvivorCase):
    """
    Tests for processes that only look as if they were of a job.
    """

    def bystander(self, **environment: str) -> Popen[bytes]:
        """
        A process that is none of the daemon's business.
        """
        bystander = Popen(
            ["tail", "-f", "/dev/null"],
            env={"PATH": os.environ["PATH"], **environment},
            stdin=DEVNULL,
            start_new_session=True,
        )
        endAfter(self, bystander)
        return bystander

    def test_recycled(self) -> None:
        """
        A process that has got the ID of a job's process, and with that the one of its
        group, is spared: it was started at another time.
        """
        jobID = self.dieAt("handle committed", self.job(STAYS))
        bystander = self.bystander()
        handle = json.loads(handleOf(bystander.pid) or "")
        handle["start"] -= 1
        self.assertEqual(self.replaceHandles(json.dumps(handle)), 1)
        self.assertAlone(jobID)
        self.assertIsNone(bystander.poll())

    def replaceHandles(self, handle: str) -> int:
        """
        Change each handle in the store.

        @return: how many there are.
        """
        count = 0
        with sqlite3.connect(StatePaths.at(str(self.state)).store) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            for (table,) in tables.fetchall():
                columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
                if "handle" in {name for _, name, *_ in columns}:
                    change = f"UPDATE {table} SET handle = ? WHERE handle IS NOT NULL"
                    count += connection.execute(change, (handle,)).rowcount
        connection.close()
        return count

    def test_otherDaemons(self) -> None:
        """
        A process of a job of another state directory is spared.
        """
        jobID = self.dieAt("handle committed", self.job(STAYS))
        bystander = self.bystander(GANETI_POOL_JOB=str(jobID), GANETI_POOL_STATE=f"{self.state}x")
        self.assertAlone(jobID)
        self.assertIsNone(bystander.poll())
