"""
The daemon and its command as an operator has them: real processes, from the
start to the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import stat
import subprocess
import textwrap
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic
from typing import Any

from .daemoncase import COMMAND, PATIENCE, ROOT, TWISTD, Daemon, DaemonCase, Job

SESSION = r"""
status=0
for line; do
    printf '$ %s\n' "$line"
    (exit "$status")
    eval "$line"
    status=$?
done
"""
"""
Types each argument as a command, and shows it and what it says as a terminal does.
"""


def shell(script: str, *arguments: str, **fields: Any) -> Job:
    """
    A job to submit that is a shell script.
    """
    return {"args": [["sh", "-c", script, "sh", *arguments], {}], **fields}


class StartTests(DaemonCase):
    """
    Tests for how the daemon starts, and why it does not.
    """

    def refusal(self, *options: str, environment: dict[str, str] | None = None) -> str:
        """
        Start a daemon that does not start.

        @return: the sentence that it says.
        """
        done = subprocess.run(
            [TWISTD, "-n", "--pidfile=", "ganeti-pool", *options],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "HOME": str(self.scratch), **(environment or {})},
        )
        self.assertEqual(done.returncode, 1, done)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertNotIn("Traceback", done.stdout)
        return done.stderr

    def test_noOption(self) -> None:
        """
        No option is needed: daemon and command meet in the user's state directory,
        into which nobody else sees.
        """
        environment = {**os.environ, "HOME": str(self.scratch)}
        environment.pop("XDG_STATE_HOME", None)
        self.state = self.scratch / ".local" / "state" / "ganeti-pool"
        daemon = Daemon(str(self.state), environment=environment)
        self.addCleanup(self._end, daemon)
        daemon.awaitReady()
        done = subprocess.run(
            [COMMAND, "submit", "--wait", "--", "true"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual((done.returncode, done.stdout), (0, "1\n"), done.stderr)
        self.assertEqual(stat.S_IMODE(self.state.stat().st_mode), 0o700)
        mode = os.stat(daemon.paths.socket).st_mode
        self.assertTrue(stat.S_ISSOCK(mode))
        self.assertEqual(stat.S_IMODE(mode), 0o600)
        self.assertEqual(daemon.stop(), 0, daemon.log)
        self.assertNotIn("Traceback", daemon.log)

    def test_oneDaemonADirectory(self) -> None:
        """
        A second daemon on the directory is refused, and leaves the first alone; one
        that was killed is in nobody's way.
        """
        daemon = self.start()
        self.assertIn(str(self.state), self.refusal("--state-dir", str(self.state)))
        self.assertEqual(daemon.request("GET", "/v1/pool")[0], 200)
        daemon.kill()
        self.assertEqual(self.start().stop(), 0)

    def test_daemonized(self) -> None:
        """
        It works in the background too, with a pid file.
        """
        pidfile = self.scratch / "pid"
        daemonize = [TWISTD, f"--pidfile={pidfile}", f"--logfile={self.scratch / 'log'}"]
        subprocess.run(
            [*daemonize, "ganeti-pool", "--state-dir", str(self.state)],
            check=True,
            timeout=PATIENCE,
            cwd=self.scratch,
        )
        pid = int(pidfile.read_text())
        process = os.pidfd_open(pid)
        self.addCleanup(os.close, process)
        self.addCleanup(self.killIfAlive, process)
        deadline = monotonic() + PATIENCE
        done = self.run_("submit", "--wait", "--", "true")
        # it may not listen yet, and each try takes its time
        while done.returncode == 3 and monotonic() < deadline:
            done = self.run_("submit", "--wait", "--", "true")
        os.kill(pid, signal.SIGTERM)
        self.assertTrue(select.select([process], [], [], PATIENCE)[0])
        self.assertEqual((done.returncode, done.stdout), (0, "1\n"), done.stderr)
        self.assertFalse(pidfile.exists())

    def killIfAlive(self, process: int) -> None:
        """
        Kill what a descriptor stands for, unless it has ended.
        """
        # a module with the name suppress tells trial which warnings to suppress
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)

    def test_wrongOptions(self) -> None:
        """
        An option that is not known, or a value that makes no sense, is named.
        """
        self.assertIn("--nonsense", self.refusal("--nonsense"))
        self.assertIn("many", self.refusal("--workers", "many"))
        self.assertIn("soon", self.refusal("--grace", "soon"))
        token = self.scratch / "token"
        self.assertIn(str(token), self.refusal("--token-file", str(token)))
        token.write_text("secret")
        token.chmod(0o600)
        listen = ("--token-file", str(token), "--listen", "nonsense:1")
        self.assertIn("nonsense:1", self.refusal(*listen))

    def test_wrongWorkerClass(self) -> None:
        """
        A class that cannot be imported or is no worker is named.
        """
        for name in ("tests.nowhere.Worker", "tests.daemonworkers.NoWorker", "tests"):
            state = ("--state-dir", str(self.state))
            self.assertIn(name, self.refusal("--worker-class", name, *state))

    def test_unusableDirectory(self) -> None:
        """
        A directory that is too deep for a socket or that cannot be written is named.
        """
        deep = str(self.scratch / ("d" * 100))
        self.assertIn(deep, self.refusal("--state-dir", deep))
        file = self.scratch / "file"
        file.touch()
        self.assertIn(str(file), self.refusal("--state-dir", str(file / "state")))
        self.assertIn("/proc/state", self.refusal("--state-dir", "/proc/state"))

    def test_noToken(self) -> None:
        """
        Who listens elsewhere than on a Unix socket needs a token.
        """
        listen = ("--listen", "tcp:0:interface=127.0.0.1", "--state-dir", str(self.state))
        self.assertIn("--token-file", self.refusal(*listen))

    def test_missingExtra(self) -> None:
        """
        Without what C{ganeti-pool[daemon]} brings, daemon and command say what to
        install.
        """
        for name in ("sqlalchemy", "klein", "treq", "click"):
            fake = f"raise ModuleNotFoundError('no {name}', name={name!r})"
            (self.scratch / f"{name}.py").write_text(fake)
        environment = {"PYTHONPATH": str(self.scratch)}
        refusal = self.refusal("--state-dir", str(self.state), environment=environment)
        self.assertIn("ganeti-pool[daemon]", refusal)
        done = self.run_("status", env={**os.environ, **environment})
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("ganeti-pool[daemon]", done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1)


class StopTests(DaemonCase):
    """
    Tests for how the daemon stops.
    """

    def test_grace(self) -> None:
        """
        A running job that ends in the time of grace is recorded; one that does not
        is killed, and becomes what C{on_crash} says. What is queued stays.
        """
        meeting = self.meeting()
        daemon = self.start("--grace", "1", "--workers", "3")
        wait = 'echo here > "$1"; read line < "$2"'
        linger = 'test "$GANETI_POOL_ATTEMPT" = 2 || { echo here > "$1"; exec tail -f /dev/null; }'
        ids = []
        for job in (
            shell(wait, meeting.arrived, meeting.leave),
            shell(linger, meeting.arrived),
            shell(linger, meeting.arrived, on_crash="retry", max_attempts=2),
        ):
            ids += daemon.submit(job)
            meeting.awaitArrival()
        ids += daemon.submit(shell(":"))
        daemon.process.send_signal(signal.SIGTERM)
        meeting.letGo()
        self.assertEqual(daemon.awaitEnd(), 0, daemon.log)
        self.assertEqual(self.processes(), [])
        daemon = self.start()
        ended, killed, again, queued = daemon.awaitEnds(*ids)
        self.assertEqual((ended["state"], ended["attempt"]), ("succeeded", 1))
        self.assertEqual((killed["state"], killed["error"]["code"]), ("failed", "interrupted"))
        self.assertEqual((again["state"], again["attempt"]), ("succeeded", 2))
        self.assertEqual((queued["state"], queued["attempt"]), ("succeeded", 1))

    def test_secondSignal(self) -> None:
        """
        A second signal ends it at once, with the processes of its jobs.
        """
        meeting = self.meeting()
        daemon = self.start("--grace", "3600")
        stubborn = 'trap "" TERM; echo here > "$1"; while :; do read line < "$2"; done'
        (stuck,) = daemon.submit(shell(stubborn, meeting.arrived, meeting.leave))
        meeting.awaitArrival()
        daemon.process.send_signal(signal.SIGTERM)
        # another number, since two of the same may arrive as one
        daemon.process.send_signal(signal.SIGINT)
        self.assertNotEqual(daemon.awaitEnd(), 0)
        self.assertNothingLeft()
        (job,) = self.start().awaitEnds(stuck)
        self.assertEqual((job["state"], job["error"]["code"]), ("failed", "interrupted"))

    def test_pauseSurvives(self) -> None:
        """
        A paused daemon is paused after a restart.
        """
        daemon = self.start()
        self.assertEqual(self.run_("pause").returncode, 0)
        daemon.submit(shell(":"))
        daemon.stop()
        daemon = self.start()
        self.assertIn("paused", self.run_("status").stdout)
        self.assertEqual(daemon.job(1)["state"], "queued")
        self.assertEqual(self.run_("resume").returncode, 0)
        self.assertEqual(daemon.awaitEnds(1)[0]["state"], "succeeded")


class CommandTests(DaemonCase):
    """
    Tests for each verb of the command.
    """

    def done(self, *arguments: str, code: int = 0) -> str:
        """
        Run the command, which ends with an exit code, and with a sentence if that
        says that something is wrong.

        @return: its standard output.
        """
        done = self.run_(*arguments)
        self.assertEqual(done.returncode, code, done)
        self.assertEqual(len(done.stderr.splitlines()), code > 1, done)
        return done.stdout

    def value(self, *arguments: str) -> Any:
        """
        Run the command with C{--json}.

        @return: the value of the one line that it prints.
        """
        return json.loads(self.done("--json", *arguments))

    def test_verbs(self) -> None:
        """
        Every verb does what it says, in words and in JSON.
        """
        daemon = self.start("--workers", "1")
        self.assertEqual(self.done("pause"), "paused, 0 of 1 workers busy\n")
        self.assertEqual(self.done("submit", "--name", "one", "--", "echo", "hello"), "1\n")
        self.assertEqual(self.value("submit", "--", "false")["id"], 2)
        self.assertEqual(self.done("submit", "--priority", "low", "--", "true"), "3\n")
        self.assertEqual(self.done("priority", "-5", "3"), "3 priority -5\n")
        self.assertEqual(self.value("priority", "high", "3")["priority"], -10)
        self.assertEqual(self.done("cancel", "3"), "3 cancelled\n")
        self.done("cancel", "3")
        waited = self.run_("wait", "1", "--timeout", "0.1")
        self.assertEqual(waited.returncode, 124, waited)
        self.assertIn("the pool is paused, and job 1 is queued", waited.stderr)
        self.assertIn("active", self.done("resume"))
        self.assertEqual(self.done("wait", "1"), "1 succeeded\n")
        self.assertEqual(self.value("wait", "1")["state"], "succeeded")
        self.assertIn("2 failed", self.done("wait", "2", code=1))
        self.assertEqual(self.done("logs", "1"), "hello\n")
        table = self.done("list")
        self.assertEqual([line.split()[0] for line in table.splitlines()], ["ID", "3", "2", "1"])
        lines = self.done("list", "--json", "1", "3").splitlines()
        self.assertEqual([json.loads(line)["name"] for line in lines], ["one", "true"])
        self.assertIn("exit_nonzero", self.done("show", "2"))
        self.assertEqual(self.value("show", "2")["error"]["exit_code"], 1)
        self.assertEqual(self.done("resize", "2"), "active, 0 of 2 workers busy\n")
        self.assertEqual(self.value("resize", "3")["workers"], 3)
        self.assertIn("3 workers", self.done("status"))
        self.assertEqual(self.value("status")["jobs"]["queued"], 0)
        failed = self.run_("submit", "--wait", "--", "false")
        self.assertEqual((failed.returncode, failed.stdout), (1, "4\n"))
        self.assertIn("4 failed", failed.stderr)
        self.assertEqual(self.done("retry", "2"), "2 queued\n")
        self.assertEqual(self.done("quiesce", "--timeout", "1m"), "quiesced\n")
        self.assertEqual(self.value("quiesce"), {"quiesced": True})
        self.assertEqual(self.value("show", "2")["attempt"], 2)
        self.done("retry", "1", code=4)
        newest = self.done("list", "--since", "1h", "--no-headers", "-o", "id")
        self.assertEqual(newest.split(), ["4", "3", "2", "1"])
        self.assertEqual(self.done("list", "--since", "0", "--no-headers"), "")
        self.assertEqual(self.done("prune", "--state", "succeeded", "--yes"), "1 removed\n")
        self.assertEqual(self.value("prune", "--state", "cancelled", "--yes")["id"], 3)
        self.done("show", "1", code=4)
        self.done("show", "99", code=4)
        self.done("cancel", "2", code=4)
        self.done("show", "nothing", code=2)
        self.assertEqual(daemon.stop(), 0, daemon.log)
        self.assertNotIn("Traceback", daemon.log)
        self.done("status", code=3)

    def test_bulk(self) -> None:
        """
        Jobs are changed by name, label or state, once somebody is sure.
        """
        daemon = self.start("--workers", "1")
        self.done("pause")
        daemon.submit(*(shell(":", name="a", labels={"n": str(n % 3)}) for n in range(300)))
        daemon.submit(shell(":", name="b"))
        refused = self.run_("cancel", "--name", "a")
        self.assertEqual((refused.returncode, len(refused.stderr.splitlines())), (2, 1), refused)
        self.assertEqual(daemon.ask("GET", "/v1/pool")["jobs"]["queued"], 301)
        self.assertEqual(
            self.done("priority", "-5", "--label", "n=1", "--yes"), "100 moved to priority -5\n"
        )
        self.assertEqual(self.done("cancel", "--name", "a", "--yes"), "300 cancelled\n")
        self.assertEqual(self.done("cancel", "--name", "a", "--yes"), "0 cancelled\n")
        self.assertEqual(self.done("retry", "--label", "n=2", "--yes"), "100 queued again\n")
        self.assertEqual(daemon.ask("GET", "/v1/pool")["jobs"]["queued"], 101)
        self.assertEqual(self.done("prune", "--older-than", "0s", "--yes"), "200 removed\n")
        self.done("resume")
        self.assertEqual(self.done("quiesce"), "quiesced\n")
        self.assertEqual({job["state"] for job in daemon.jobs().values()}, {"succeeded"})
        self.assertEqual(len(daemon.jobs()), 101)

    def test_retryInterrupted(self) -> None:
        """
        What a crash of the daemon has ended is tried again with one command.
        """
        meeting = self.meeting()
        daemon = self.start("--workers", "2")
        once = 'test "$GANETI_POOL_ATTEMPT" = 2 || { echo here > "$1"; exec tail -f /dev/null; }'
        (stuck,) = daemon.submit(shell(once, meeting.arrived))
        meeting.awaitArrival()
        (failed,) = daemon.submit(shell("exit 3"))
        daemon.awaitEnds(failed)
        daemon.kill()
        daemon = self.start()
        self.assertEqual(daemon.job(stuck)["error"]["code"], "interrupted")
        self.assertEqual(self.done("retry", "--interrupted", "--yes"), "1 queued again\n")
        self.assertIn("succeeded", self.done("wait", str(stuck)))
        self.assertEqual(daemon.job(failed)["attempt"], 1)

    def test_fenceIsLifted(self) -> None:
        """
        A quiesce that ends early holds nothing back any more.
        """
        meeting = self.meeting()
        daemon = self.start("--workers", "2")
        daemon.submit(shell('echo here > "$1"; read line < "$2"', meeting.arrived, meeting.leave))
        meeting.awaitArrival()
        self.done("quiesce", "--timeout", "0.1", code=124)
        self.assertEqual(self.done("submit", "--", "true"), "2\n")
        # Its standard error may say that the quiesce holds the job back: the daemon notices
        # up to a second later that the client has gone.
        waited = self.run_("wait", "2")
        self.assertEqual((waited.returncode, waited.stdout), (0, "2 succeeded\n"))
        meeting.letGo()

    def test_daemonRestarts(self) -> None:
        """
        A command that waits or follows when the daemon is killed, or stops, reports the loss and
        the return, and goes on with the next daemon and the next attempt of the job.
        """
        daemon = self.start("--grace", "0")
        for number in (signal.SIGKILL, signal.SIGTERM):
            meeting = self.meeting(number.name)
            script = 'echo first; read line < "$1"; echo last'
            submit = ["submit", "--wait", "--on-crash", "retry", "--", "sh", "-c", script, "sh"]
            with self.begin(*submit, meeting.leave) as waiter:
                assert waiter.stdout is not None
                jobID = waiter.stdout.readline().strip()
                with self.begin("logs", "-f", jobID) as follower:
                    assert follower.stdout is not None
                    self.assertEqual(follower.stdout.readline(), "first\n")
                    daemon.stop(number)
                    daemon = self.start("--grace", "0")
                    self.assertEqual(follower.stdout.readline(), "first\n")
                    meeting.letGo()
                    out, said = follower.communicate(timeout=PATIENCE)
                    self.assertEqual((out, follower.returncode), ("last\n", 0), said)
                    self.assertIn("the daemon is back\nganeti-pool: job", said)
                said = waiter.communicate(timeout=PATIENCE)[1]
                self.assertEqual(waiter.returncode, 0, said)
                self.assertRegex(
                    said,
                    rf"\Aganeti-pool: the daemon is unreachable \([^\n]*\n"
                    rf"ganeti-pool: the daemon is back\n{jobID} succeeded\n\Z",
                )

    def test_suspended(self) -> None:
        """
        C{--timeout} of a verb holds for a daemon that is suspended from the start.
        """
        daemon = self.start()
        self.addCleanup(daemon.process.send_signal, signal.SIGCONT)
        daemon.process.send_signal(signal.SIGSTOP)
        for verb in (["wait", "1"], ["wait", "--all"], ["quiesce"], ["resize", "1"]):
            self.done(*verb, "--timeout", "0.1", code=124)
        daemon.process.send_signal(signal.SIGCONT)
        self.assertEqual(self.done("submit", "--", "true"), "1\n")

    def test_pipe(self) -> None:
        """
        Who reads no further than C{head} ends the command quietly.
        """
        daemon = self.start()
        self.done("pause")
        daemon.submit(*(shell(":") for _ in range(1000)))
        for verb in ("list --all", "list --all --json", "--help"):
            done = subprocess.run(
                ["sh", "-c", f'"$0" --state-dir "$1" {verb} | head -n 1', COMMAND, str(self.state)],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(len(done.stdout.splitlines()), 1)

    def test_reference(self) -> None:
        """
        The session in the reference of the command is one that happens.
        """
        page = (ROOT / "doc" / "reference" / "command.rst").read_text(encoding="utf-8")
        (session,) = re.findall(
            r"^Examples\n.*?^\.\. code-block:: console\n\n(.*)", page, re.MULTILINE | re.DOTALL
        )
        expected = textwrap.dedent(session)
        commands = [line[2:] for line in expected.splitlines() if line.startswith("$ ")]
        self.state = self.scratch / "ganeti-pool"
        self.start("--workers", "2")
        done = subprocess.run(
            ["bash", "-c", SESSION, "bash", *commands],
            cwd=ROOT,
            env={
                **os.environ,
                "PATH": os.pathsep.join([os.path.dirname(COMMAND), os.environ["PATH"]]),
                "XDG_STATE_HOME": str(self.scratch),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual(done.stdout, expected)

    def test_follow(self) -> None:
        """
        C{logs -f} shows what a running job writes, as it does, and ends with it.
        """
        meeting = self.meeting()
        daemon = self.start()
        script = 'echo first; read line < "$1"; echo last'
        (jobID,) = daemon.submit(shell(script, meeting.leave))
        with self.begin("logs", "-f", str(jobID)) as follower:
            assert follower.stdout is not None
            self.assertEqual(follower.stdout.readline(), "first\n")
            meeting.letGo()
            self.assertEqual(follower.communicate(timeout=PATIENCE), ("last\n", ""))
            self.assertEqual(follower.returncode, 0)

    def test_interrupted(self) -> None:
        """
        Ctrl-C ends the command with exit code 130, and not the job.
        """
        meeting = self.meeting()
        daemon = self.start()
        script = 'read line < "$1"'
        submit = ["submit", "--wait", "--", "sh", "-c", script, "sh", meeting.leave]
        with self.begin(*submit) as command:
            assert command.stdout is not None
            self.assertEqual(command.stdout.readline(), "1\n")
            command.send_signal(signal.SIGINT)
            _, said = command.communicate(timeout=PATIENCE)
            self.assertEqual(command.returncode, 130)
        self.assertEqual(said, "ganeti-pool: interrupted: job 1 goes on\n")
        meeting.letGo()
        self.assertEqual(daemon.awaitEnds(1)[0]["state"], "succeeded")

    def test_token(self) -> None:
        """
        Over TCP every request needs the token, those for what is not there too.
        """
        token = self.scratch / "token"
        token.write_text("secret\n")
        token.chmod(0o600)
        listen = ("--listen", "tcp:0:interface=127.0.0.1", "--token-file", str(token))
        daemon = self.start(*listen)
        found = re.search(r" starting on (\d+)", daemon.log)
        assert found is not None, daemon.log
        port = int(found[1])
        for path, given, status in (
            ("/v1/pool", None, 401),
            ("/v1/pool", "Bearer secre", 401),
            ("/nowhere", None, 401),
            ("/nowhere", "Bearer secret", 404),
            ("/v1/pool", "Bearer secret", 200),
        ):
            connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            self.addCleanup(connection.close)
            connection.request(
                "GET", path, headers={} if given is None else {"Authorization": given}
            )
            self.assertEqual(connection.getresponse().status, status, (path, given))
        url = ["--url", f"http://127.0.0.1:{port}"]
        for options, code in ([], 4), (["--token-file", str(token)], 0):
            done = subprocess.run(
                [COMMAND, *url, *options, "status"], capture_output=True, timeout=PATIENCE
            )
            self.assertEqual(done.returncode, code, done)


class WorkTests(DaemonCase):
    """
    Tests for what the jobs of a daemon can do.
    """

    def test_commands(self) -> None:
        """
        However a command ends and whatever it writes, its job says so.
        """
        daemon = self.start("--workers", "2")
        jobs = daemon.awaitEnds(
            *daemon.submit(
                shell("tail -f /dev/null & echo done"),
                shell("kill -9 $$"),
                {"args": [["/no/such/program"], {}]},
                shell("printf '\\377\\n\\000'"),
                shell("head -c 1073741824 /dev/zero"),
            )
        )
        background, killed, missing, binary, huge = jobs
        self.assertEqual(background["state"], "succeeded")
        self.assertNothingLeft()
        self.assertEqual((killed["state"], killed["error"]["signal"]), ("failed", "SIGKILL"))
        self.assertEqual(killed["error"]["code"], "exit_nonzero")
        self.assertEqual((missing["state"], missing["error"]["code"]), ("failed", "not_started"))
        self.assertIn("/no/such/program", missing["error"]["message"])
        output = daemon.request("GET", f"/v1/jobs/{binary['id']}/output")
        self.assertEqual(output, (200, b"\377\n\0"))
        self.assertEqual(huge["state"], "succeeded")
        limit = 64 * 1024 * 1024
        self.assertEqual(huge["output"]["stdout"], {"bytes": limit, "truncated": True})
        kept = sum(path.stat().st_size for path in Path(daemon.paths.output).rglob("*"))
        self.assertLess(kept, limit + 1024 * 1024)
        self.assertNotIn("Traceback", daemon.log)

    def test_timeout(self) -> None:
        """
        A command that runs for too long fails for that, also one that ignores TERM,
        and nothing of it is left.
        """
        daemon = self.start("--worker-class", "tests.daemonworkers.HastyWorker", "--workers", "2")
        jobs = daemon.awaitEnds(
            *daemon.submit(
                shell("tail -f /dev/null", timeout=0.2),
                shell('trap "" TERM; while :; do tail -f /dev/null; done', timeout=0.2),
            )
        )
        self.assertEqual([job["state"] for job in jobs], ["failed"] * 2)
        self.assertEqual([job["error"]["code"] for job in jobs], ["timeout"] * 2)
        self.assertEqual([job["error"]["signal"] for job in jobs], ["SIGTERM", "SIGKILL"])
        self.assertNothingLeft()

    def test_submittedAgain(self) -> None:
        """
        A file of 5,000 jobs whose client was killed in the middle is submitted again,
        and again, and no job is there twice; what else has its keys is refused.
        """
        count = 5000
        path = self.scratch / "jobs"
        path.write_text("".join(f'["echo", "{n}"]\n' for n in range(count)))
        daemon = self.start()
        self.run_("pause", check=True)
        arguments = ("submit", "--key", "night", "--from-file", str(path))
        # as JSON it is more than a pipe holds, so the client waits in the first batch
        with self.begin("--json", *arguments) as client:
            assert client.stdout is not None
            self.assertEqual(json.loads(client.stdout.readline())["id"], 1)
            client.kill()
        self.assertEqual(client.returncode, -signal.SIGKILL)
        self.assertEqual(daemon.ask("GET", "/v1/pool")["jobs"]["queued"], 1000)
        for _ in range(2):
            done = self.run_(*arguments)
            self.assertEqual(done.stdout.split(), [str(n) for n in range(1, count + 1)], done)
        self.assertEqual(daemon.ask("GET", "/v1/pool")["jobs"]["queued"], count)
        last = json.loads(self.run_("--json", "show", str(count)).stdout)
        self.assertEqual((last["key"], last["args"][0]), (f"night-{count}", ["echo", "4999"]))
        done = self.run_(*arguments, "--priority", "1")
        self.assertEqual(done.returncode, 4, done)
        self.assertIn("the key 'night-1' belongs to job 1", done.stderr)

    def test_cancelStubborn(self) -> None:
        """
        A command that ignores TERM is killed, and is cancelled when it is gone.
        """
        meeting = self.meeting()
        daemon = self.start("--worker-class", "tests.daemonworkers.HastyWorker")
        stubborn = 'trap "" TERM; echo here > "$1"; while :; do read line < "$2"; done'
        (stuck,) = daemon.submit(shell(stubborn, meeting.arrived, meeting.leave))
        meeting.awaitArrival()
        asked = daemon.ask("POST", f"/v1/jobs/{stuck}/cancel")
        self.assertIsNotNone(asked["cancel_requested_at"])
        (job,) = daemon.awaitEnds(stuck)
        self.assertEqual((job["state"], job["error"]["signal"]), ("cancelled", "SIGKILL"))
        self.assertNothingLeft()

    def test_commandOfASubclass(self) -> None:
        """
        A daemon whose worker class extends the command worker takes commands, and a command
        with the same key is the same job, whether the client names a class or not.
        """
        daemon = self.start("--worker-class", "tests.daemonworkers.HastyWorker")
        done = self.run_("submit", "--wait", "--key", "k", "--", "true")
        self.assertEqual((done.returncode, done.stdout), (0, "1\n"), done)
        job = daemon.job(1)
        self.assertEqual(job["worker"], "tests.daemonworkers.HastyWorker")
        again = {name: job[name] for name in ("args", "key", "owner")}
        self.assertEqual(daemon.submit(again), [1])

    def test_inAJob(self) -> None:
        """
        What a job does to wait for its own end is refused; after that it goes on, and so
        does the queue. It may quiesce another daemon.
        """
        daemon = self.start("--workers", "1")
        other = Daemon(str(self.scratch / "other"), ["--state-dir", str(self.scratch / "other")])
        self.addCleanup(self._end, other)
        other.awaitReady()
        script = f"""
            for verb in quiesce "wait $GANETI_POOL_JOB" "wait --all" "resize 0" \
                "logs -f $GANETI_POOL_JOB"
            do
                {COMMAND} --state-dir {self.state} $verb; echo $?
            done
            {COMMAND} --state-dir {self.scratch}/other quiesce; echo $?
        """
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.scratch)}
        jobID, nextID = daemon.submit(
            {"args": [["sh", "-c", script], {"env": environment}]}, shell("true")
        )
        job, after = daemon.awaitEnds(jobID, nextID)
        self.assertEqual([job["state"], after["state"]], ["succeeded"] * 2)
        output = f"/v1/jobs/{jobID}/output?stream="
        self.assertEqual(daemon.ask("GET", f"{output}stdout"), b"4\n4\n4\n4\n4\nquiesced\n0\n")
        sentences = daemon.ask("GET", f"{output}stderr").decode().splitlines()
        self.assertEqual(len(sentences), 5, sentences)
        for sentence in sentences:
            self.assertIn(f"would wait for the end of job {jobID}", sentence)
        self.assertEqual(daemon.ask("GET", "/v1/pool")["workers"], 1)
        self.assertEqual(other.stop(), 0)

    def test_otherWorker(self) -> None:
        """
        Any worker class can do the jobs, take JSON, return JSON, and defer itself; a command
        for it is refused, and nothing is added.
        """
        daemon = self.start("--worker-class", "tests.daemonworkers.CountingWorker")
        refused = self.run_("submit", "--", "true")
        self.assertEqual((refused.returncode, refused.stdout), (4, ""), refused)
        self.assertIn("tests.daemonworkers.CountingWorker", refused.stderr)
        self.assertEqual(daemon.jobs(), {})
        (jobID,) = daemon.submit({"args": [str(self.scratch / "runs"), 3]})
        (job,) = daemon.awaitEnds(jobID)
        self.assertEqual((job["state"], job["result"]), ("succeeded", {"runs": 3}))
        self.assertEqual((job["deferrals"], job["attempt"], job["priority"]), (2, 1, 2))
        self.assertIsNone(job["output"])
        attempts = daemon.job(jobID)["attempts"]
        outcomes = [attempt["outcome"] for attempt in attempts]
        self.assertEqual(outcomes, ["queued", "queued", "succeeded"])

    def test_anotherClass(self) -> None:
        """
        A job for another worker class is refused with a sentence, and so are
        arguments that are no command.
        """
        daemon = self.start()
        status, answer = daemon.request("POST", "/v1/jobs", {"args": [], "worker": "a.Worker"})
        self.assertEqual((status, answer["code"]), (400, "invalid_field"))
        self.assertIn("a.Worker", answer["detail"])
        status, answer = daemon.request("POST", "/v1/jobs", {"args": [["true"], {"x": 1}]})
        self.assertEqual((status, answer["errors"][0]["pointer"]), (400, "/args/1/x"))
