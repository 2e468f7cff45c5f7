"""
Tests for the daemon as a process: its start, its stop, and what it refuses.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import signal
import sqlite3
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import SkipTest

from .daemoncase import COMMAND, LISTENS, PATIENCE, ROOT, TWISTD, Daemon, DaemonCase, Job
from .managercase import FakeManager


def shell(script: str, *arguments: str, **fields: object) -> Job:
    """
    A job to submit that is a shell script.
    """
    return {"args": [["sh", "-c", script, "sh", *arguments], {}], **fields}


FOREVER = 'echo "$$" > "$1"; exec tail -f /dev/null'
"""
Tells that it runs, and never ends by itself.
"""

STUBBORN = 'trap "" TERM; echo "$$" > "$1"; while :; do read line < "$2"; done'
"""
Does not end when it is asked to, either.
"""


def awaitText(pipe: int, text: str) -> None:
    """
    Read a pipe until it has told a text.
    """
    told = b""
    while text.encode() not in told:
        assert select.select([pipe], [], [], PATIENCE)[0], told
        told = told[-1000:] + os.read(pipe, 1000)


def fill(pipe: int) -> None:
    """
    Fill a pipe, so that nobody can write to it.
    """
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, bytes(100_000))


class StopTests(DaemonCase):
    """
    Tests for the end of a daemon.
    """

    def test_idle(self) -> None:
        """
        At SIGTERM, SIGINT, SIGQUIT and SIGHUP an idle daemon ends with 0, and takes its socket
        with it.
        """
        # These tests may run under nohup or in the background, which the daemon would honour.
        for number in (signal.SIGHUP, signal.SIGQUIT):
            before = signal.signal(number, signal.SIG_DFL)
            self.addCleanup(signal.signal, number, before)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            daemon = self.start()
            mode = os.stat(daemon.paths.socket).st_mode
            self.assertTrue(stat.S_ISSOCK(mode))
            self.assertEqual(stat.S_IMODE(mode), 0o600)
            self.assertEqual(daemon.stop(number), 0, daemon.log)
            self.assertFalse(os.path.exists(daemon.paths.socket))
            self.assertNotIn("Traceback", daemon.log)

    def test_otherSignals(self) -> None:
        """
        Other signals that would end a process do nothing to a daemon.
        """
        daemon = self.start()
        for name in ("USR1", "USR2", "ALRM", "VTALRM", "PROF", "IO", "PWR", "XCPU", "PIPE"):
            daemon.process.send_signal(getattr(signal, f"SIG{name}"))
        daemon.process.send_signal(signal.SIGRTMIN + 3)
        daemon.ask("GET", "/v1/pool")
        self.assertEqual(daemon.stop(), 0, daemon.log)

    def test_logMoved(self) -> None:
        """
        At SIGUSR1 a daemon whose log file was moved, as logrotate does, goes on in a new
        one.
        """
        log, old = self.scratch / "log", self.scratch / "log.old"
        manager = FakeManager(f"{self.scratch}/notify")
        self.addCleanup(manager.close)
        daemon = self.launch(
            launcher=(TWISTD, f"--logfile={log}"), environment={"NOTIFY_SOCKET": manager.address}
        )
        while "READY=1" not in (message := manager.hear(PATIENCE) or [""]):
            self.assertNotEqual(message, [""], daemon.log)
        log.rename(old)
        daemon.process.send_signal(signal.SIGUSR1)
        daemon.ask("GET", "/v1/pool")
        self.assertEqual(daemon.stop(), 0, daemon.log)
        self.assertIn(LISTENS, old.read_text())
        self.assertNotIn("Server Shut Down", old.read_text())
        self.assertIn("Server Shut Down", log.read_text())

    def test_grace(self) -> None:
        """
        What runs at SIGTERM may end within the grace; what is queued waits for the
        next daemon.
        """
        meeting = self.meeting()
        daemon = self.start("--workers", "1", "--grace", str(PATIENCE))
        script = 'echo here > "$1"; read line < "$2"'
        ends, waits = daemon.submit(shell(script, meeting.arrived, meeting.leave), shell("exit 0"))
        meeting.awaitArrival()
        daemon.process.send_signal(signal.SIGTERM)
        meeting.letGo()
        self.assertEqual(daemon.awaitEnd(), 0, daemon.log)
        daemon = self.start("--workers", "1")
        jobs = daemon.awaitEnds(ends, waits)
        self.assertEqual([job["state"] for job in jobs], ["succeeded"] * 2)
        self.assertEqual([job["attempt"] for job in jobs], [1, 1])
        self.assertEqual(daemon.stop(), 0, daemon.log)

    def test_lookedAtMeanwhile(self) -> None:
        """
        During the grace a daemon says that it stops, takes no jobs, tells what runs,
        and ends the answer of whoever follows it with its end.
        """
        meeting = self.meeting()
        daemon = self.start("--grace", str(PATIENCE))
        script = 'echo here > "$1"; read line < "$2"; echo done'
        (jobID,) = daemon.submit(shell(script, meeting.arrived, meeting.leave))
        meeting.awaitArrival()
        daemon.process.send_signal(signal.SIGTERM)
        daemon.awaitLog("Stopping")
        self.assertTrue(daemon.ask("GET", "/v1/pool")["daemon"]["stopping"])
        status, problem = daemon.request("POST", "/v1/jobs", shell("exit 0"))
        self.assertEqual((status, problem["code"]), (503, "stopping"))
        self.assertEqual(daemon.job(jobID)["state"], "running")
        with ThreadPoolExecutor() as threads:
            output = threads.submit(daemon.ask, "GET", f"/v1/jobs/{jobID}/output?wait={PATIENCE:g}")
            meeting.letGo()
            self.assertEqual(output.result(PATIENCE), b"done\n")
        self.assertEqual(daemon.awaitEnd(), 0, daemon.log)
        self.assertFalse(os.path.exists(daemon.paths.socket))

    def test_graceWithoutSocket(self) -> None:
        """
        Also if somebody has removed the socket.
        """
        meeting = self.meeting()
        daemon = self.start("--grace", str(PATIENCE))
        script = 'echo here > "$1"; read line < "$2"'
        (jobID,) = daemon.submit(shell(script, meeting.arrived, meeting.leave))
        meeting.awaitArrival()
        os.unlink(daemon.paths.socket)
        daemon.process.send_signal(signal.SIGTERM)
        meeting.letGo()
        self.assertEqual(daemon.awaitEnd(), 0, daemon.log)
        self.assertIn("did not close well", daemon.log)
        daemon = self.start()
        self.assertEqual(daemon.awaitEnds(jobID)[0]["state"], "succeeded")
        self.assertEqual(daemon.stop(), 0, daemon.log)

    def test_graceIsOver(self) -> None:
        """
        What runs longer is ended: it has failed as interrupted, or is tried again
        by the next daemon if it may be. No process is left.
        """
        meeting = self.meeting()
        daemon = self.start("--grace", "0")
        failed, retried = daemon.submit(
            shell(FOREVER, meeting.arrived),
            shell(
                'test "$GANETI_POOL_ATTEMPT" = 2 && exit; ' + FOREVER,
                meeting.arrived,
                on_crash="retry",
                max_attempts=2,
            ),
        )
        daemon.awaitJobs([failed, retried], lambda job: job["state"] == "running")
        arrived = meeting.awaitArrival()
        while len(arrived.split()) < 2:
            arrived += "\n" + meeting.awaitArrival()
        self.assertEqual(daemon.stop(), 0, daemon.log)
        self.assertNothingLeft()
        daemon = self.start()
        first, second = daemon.awaitEnds(failed, retried)
        self.assertEqual((first["state"], first["error"]["code"]), ("failed", "interrupted"))
        self.assertEqual((second["state"], second["attempt"]), ("succeeded", 2))
        self.assertEqual(daemon.stop(), 0, daemon.log)

    def test_secondSignal(self) -> None:
        """
        A second signal ends the jobs' processes and the daemon at once, and is in the
        log; the next daemon settles what was left.
        """
        meeting = self.meeting()
        daemon = self.start("--grace", str(PATIENCE))
        (jobID,) = daemon.submit(shell(STUBBORN, meeting.arrived, meeting.leave))
        meeting.awaitArrival()
        daemon.process.send_signal(signal.SIGTERM)
        daemon.awaitLog("Stopping")
        self.assertEqual(daemon.stop(signal.SIGINT), -signal.SIGINT)
        self.assertIn("SIGINT came while the daemon stops", daemon.log)
        self.assertNothingLeft()
        daemon = self.start()
        self.assertEqual(daemon.awaitEnds(jobID)[0]["error"]["code"], "interrupted")
        self.assertEqual(daemon.stop(), 0, daemon.log)

    def launchWithLogPipe(self, *options: str) -> tuple[Daemon, int]:
        """
        Start a daemon that logs to a pipe, and wait until it listens.

        @return: it, and the pipe.
        """
        path = str(self.scratch / "log")
        os.mkfifo(path)
        log = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.addCleanup(os.close, log)
        daemon = self.launch(
            *options,
            launcher=("sh", "-c", 'exec "$0" "$@" > "$LOG" 2>&1', TWISTD),
            environment={"LOG": path},
        )
        awaitText(log, LISTENS)
        return daemon, log

    def test_logBlocked(self) -> None:
        """
        A daemon whose log is a full pipe that nobody reads answers requests, runs jobs,
        and stops in good order.
        """
        for form in ("text", "json"):
            self.state = self.scratch / form
            daemon, log = self.launchWithLogPipe("--log-format", form)
            fill(log)
            (jobID,) = daemon.submit(shell("exit 0"))
            self.assertEqual(daemon.awaitEnds(jobID)[0]["state"], "succeeded")
            self.assertEqual(daemon.stop(), 0)
            os.unlink(self.scratch / "log")

    def test_logReadLater(self) -> None:
        """
        What the log could not take is written when it is read again, and so are the last
        lines before the process ends.
        """
        daemon, log = self.launchWithLogPipe()
        fill(log)
        (jobID,) = daemon.submit(shell("exit 0"))
        daemon.awaitEnds(jobID)
        awaitText(log, f"job {jobID} submitted")
        daemon.process.send_signal(signal.SIGTERM)
        awaitText(log, "Server Shut Down")
        self.assertEqual(daemon.awaitEnd(), 0)

    def test_secondSignalWithLogBlocked(self) -> None:
        """
        So does it if its log is a pipe that is full and that nobody reads.
        """
        meeting = self.meeting()
        daemon, log = self.launchWithLogPipe("--grace", str(PATIENCE))
        (jobID,) = daemon.submit(shell(STUBBORN, meeting.arrived, meeting.leave))
        meeting.awaitArrival()
        daemon.process.send_signal(signal.SIGTERM)
        awaitText(log, "Stopping")
        fill(log)
        self.assertEqual(daemon.stop(signal.SIGINT), -signal.SIGINT)
        self.assertNothingLeft()
        daemon = self.start()
        self.assertEqual(daemon.awaitEnds(jobID)[0]["error"]["code"], "interrupted")
        self.assertEqual(daemon.stop(), 0, daemon.log)


class StartTests(DaemonCase):
    """
    Tests for the start of a daemon.
    """

    def refuse(self, *options: str) -> str:
        """
        Run a daemon that cannot start.

        @return: what it said on standard error.
        """
        child = subprocess.run(
            [TWISTD, "-n", "--pidfile=", "ganeti-pool", "--state-dir", str(self.state), *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=PATIENCE,
        )
        self.assertEqual(child.returncode, 1, child.stdout + child.stderr)
        self.assertEqual(child.stderr.count("\n"), 1, child.stderr)
        self.assertTrue(child.stderr.startswith("ganeti-pool: "), child.stderr)
        self.assertNotIn("Traceback", child.stdout)
        return child.stderr

    def test_afterKill(self) -> None:
        """
        A daemon that was killed is followed by another, without anything to tidy; and
        this one keeps others out, as the first one did.
        """
        daemon = self.start()
        self.assertIn("in use", self.refuse())
        daemon.kill()
        self.assertTrue(os.path.exists(daemon.paths.socket))
        daemon = self.start()
        self.assertIn("in use", self.refuse())
        daemon.ask("GET", "/v1/pool")
        self.assertEqual(daemon.stop(), 0, daemon.log)

    def test_afterKillWithJob(self) -> None:
        """
        Also if a job has outlived it: that holds no lock.
        """
        meeting = self.meeting()
        daemon = self.start()
        # not tail, which ends when nobody reads what it says
        daemon.submit(shell('echo here > "$1"; exec sleep 1000', meeting.arrived))
        meeting.awaitArrival()
        daemon.kill()
        self.assertEqual(len(self.processes()), 1)
        daemon = self.start()
        self.assertEqual(self.processes(), [])
        self.assertEqual(daemon.stop(), 0, daemon.log)

    def test_inUse(self) -> None:
        """
        A second daemon on the same state directory is refused, and the first one
        does not notice.
        """
        daemon = self.start()
        self.assertIn("in use", self.refuse())
        (jobID,) = daemon.submit(shell("exit 0"))
        self.assertEqual(daemon.awaitEnds(jobID)[0]["state"], "succeeded")
        self.assertEqual(daemon.stop(), 0, daemon.log)

    def test_storeInUse(self) -> None:
        """
        So is one on the same store, which two daemons would run the jobs of twice.
        """
        store = ("--store", f"sqlite://{self.scratch}/jobs.sqlite")
        daemon = self.start(*store)
        (jobID,) = daemon.submit(shell("exit 0"))
        daemon.awaitEnds(jobID)
        self.assertFalse(os.path.exists(daemon.paths.store))
        state, self.state = self.state, self.scratch / "another"
        self.assertIn("in use", self.refuse(*store))
        self.state = state
        self.assertEqual(daemon.stop(), 0, daemon.log)
        self.state = self.scratch / "another"
        daemon = self.start(*store)
        self.assertEqual(daemon.job(jobID)["state"], "succeeded")
        self.assertEqual(daemon.stop(), 0, daemon.log)

    def test_wrongOption(self) -> None:
        """
        A wrong option is told in one sentence, and nothing is made.
        """
        for option, value in (
            ("--workers", "none"),
            ("--worker-class", "tests.daemonworkers.NoWorker"),
            ("--worker-class", "builtins.abs"),
            ("--store", "postgresql://host/jobs"),
            ("--store", "sqlite:///nowhere/jobs.sqlite"),
            ("--max-queued", "0"),
            ("--keep-finished", "always"),
            ("--log-format", "xml"),
            ("--listen", "tcp:0:interface=127.0.0.1"),
            ("--listen", f"unix:{self.scratch}/socket"),
            ("--token-file", f"{self.scratch}/missing"),
        ):
            self.assertIn(value.rpartition(".")[2], self.refuse(option, value))
        self.assertEqual(os.listdir(self.scratch), [])

    def test_openDirectory(self) -> None:
        """
        A state directory that is open to others is told in one sentence, and left as
        it is.
        """
        self.state.mkdir()
        self.state.chmod(0o750)
        self.assertIn("0750", self.refuse())
        self.assertEqual(self.state.stat().st_mode & 0o777, 0o750)
        self.assertEqual(os.listdir(self.state), [])

    def test_maxQueued(self) -> None:
        """
        With C{--max-queued} so many jobs may wait, and those of an earlier daemon count.
        """
        daemon = self.start("--workers", "1", "--max-queued", "2")
        daemon.ask("PATCH", "/v1/pool", {"active": False})
        jobs = daemon.submit(shell("exit 0"), shell("exit 0"))
        status, problem = daemon.request("POST", "/v1/jobs", shell("exit 0"))
        self.assertEqual((status, problem["code"]), (429, "queue_full"))
        self.assertEqual(daemon.stop(), 0, daemon.log)
        daemon = self.start("--workers", "1", "--max-queued", "2")
        self.assertEqual(daemon.request("POST", "/v1/jobs", shell("exit 0"))[0], 429)
        daemon.ask("PATCH", "/v1/pool", {"active": True})
        daemon.awaitEnds(*jobs)
        daemon.awaitEnds(*daemon.submit(shell("exit 0")))
        self.assertEqual(daemon.stop(), 0, daemon.log)

    def test_keepFinished(self) -> None:
        """
        With C{--keep-finished} a daemon forgets what had finished long before it, and
        removes what that has written.
        """
        daemon = self.start()
        (jobID,) = daemon.submit(shell("echo here"))
        daemon.awaitEnds(jobID)
        output = Path(daemon.paths.output) / str(jobID)
        self.assertTrue(output.exists())
        self.assertEqual(daemon.stop(), 0, daemon.log)
        daemon = self.start("--keep-finished", "1")
        self.assertEqual(daemon.job(jobID)["state"], "succeeded")
        self.assertEqual(daemon.stop(), 0, daemon.log)
        daemon = self.start("--keep-finished", "0")
        daemon.awaitLog("Removed 1 finished")
        self.assertEqual(daemon.request("GET", f"/v1/jobs/{jobID}")[0], 404)
        self.assertFalse(output.exists())
        self.assertEqual(daemon.stop(), 0, daemon.log)

    def test_noWorkers(self) -> None:
        """
        What takes a pool and a name and makes no worker of them is told in one sentence,
        with exit code 1.
        """
        self.assertIn("made False, which is no", self.refuse("--worker-class", "operator.eq"))

    def test_newerStore(self) -> None:
        """
        The store of a newer release is told in one sentence, with exit code 1,
        and left as it is.
        """
        daemon = self.start()
        self.assertEqual(daemon.stop(), 0, daemon.log)
        with sqlite3.connect(daemon.paths.store) as connection:
            connection.execute("UPDATE schema_version SET version = 1000")
        connection.close()
        self.assertIn("1000", self.refuse())
        self.assertFalse(os.path.exists(daemon.paths.socket))

    def test_doorTaken(self) -> None:
        """
        A port that cannot be listened on is told in one sentence, with exit code 1.
        """
        token = self.scratch / "token"
        token.write_text("secret")
        token.chmod(0o600)
        door = "tcp:1:interface=192.0.2.1"
        self.assertIn("192.0.2.1", self.refuse("--listen", door, "--token-file", str(token)))

    def test_noHome(self) -> None:
        """
        A user without a home directory is asked for the state directory, by the daemon and
        by the command.
        """
        environment = {**os.environ, "HOME": "", "XDG_STATE_HOME": ""}
        for program in ([TWISTD, "-n", "--pidfile=", "ganeti-pool"], [COMMAND, "status"]):
            child = subprocess.run(
                program,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                cwd=ROOT,
                env=environment,
                timeout=PATIENCE,
            )
            self.assertIn("--state-dir", child.stderr)
            self.assertEqual(child.stderr.count("\n"), 1, child.stderr)
            self.assertNotIn("should not have happened", child.stderr)

    def test_anotherUser(self) -> None:
        """
        A daemon that twistd makes another user's has a state directory of that user.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can become another user")
        nobody = pwd.getpwnam("nobody")
        # The state directory is below one that only this user can search.
        self.scratch.chmod(0o711)
        try:
            subprocess.run(
                [TWISTD, "--version"], user=nobody.pw_uid, cwd="/", capture_output=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            raise SkipTest("the user nobody cannot run this Python") from None
        self.state = self.scratch / "parent" / "state"
        launcher = (TWISTD, "--uid", "nobody", "--gid", str(nobody.pw_gid))
        daemon = self.launch(launcher=launcher)
        daemon.awaitReady()
        (jobID,) = daemon.submit(shell("id -u"))
        self.assertEqual(daemon.awaitEnds(jobID)[0]["state"], "succeeded")
        output = daemon.ask("GET", f"/v1/jobs/{jobID}/output?stream=stdout")
        self.assertEqual(output, f"{nobody.pw_uid}\n".encode())
        for path in (self.state.parent, self.state, *self.state.iterdir()):
            self.assertEqual(path.lstat().st_uid, nobody.pw_uid, path)
        self.assertEqual(daemon.stop(), 0, daemon.log)

    def test_daemonized(self) -> None:
        """
        A daemon that goes into the background keeps the lock, has its threads, and
        runs jobs.
        """
        pidfile = self.scratch / "pid"
        child = subprocess.run(
            [
                *(TWISTD, f"--pidfile={pidfile}", f"--logfile={self.scratch}/log"),
                *("ganeti-pool", "--state-dir", str(self.state)),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=ROOT,
            timeout=PATIENCE,
        )
        self.assertEqual(child.returncode, 0, child.stderr)
        descriptor = os.pidfd_open(int(Path(pidfile).read_text()))
        try:
            self.assertIn("in use", self.refuse())
            done = self.run_("submit", "--wait", "--", "sh", "-c", "exit 0")
            self.assertEqual(done.returncode, 0, done.stderr)
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            ended = select.select([descriptor], [], [], PATIENCE)[0]
            self.assertEqual(ended, [descriptor])
        finally:
            os.close(descriptor)
        self.assertFalse(pidfile.exists())
