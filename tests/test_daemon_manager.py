"""
Tests for what the daemon as a process tells those who look after it: a service
manager, and the readers of its log.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from .daemoncase import PATIENCE, TWISTD, Daemon, DaemonCase
from .managercase import FakeManager


class ManagedCase(DaemonCase):
    """
    Daemons under a service manager.
    """

    def setUp(self) -> None:
        super().setUp()
        self.manager = FakeManager(f"{self.scratch}/notify")
        self.addCleanup(self.manager.close)

    def startManaged(self, *options: str, **environment: str) -> Daemon:
        """
        Start a daemon, and wait until its manager knows that it is ready.
        """
        daemon = self.launch(
            *options, environment={"NOTIFY_SOCKET": self.manager.address, **environment}
        )
        self.assertEqual(self.manager.hear(PATIENCE), ["READY=1", "STATUS=Ready for jobs"])
        return daemon

    def hearStop(self) -> None:
        """
        Wait until the manager hears that the daemon stops; until then it hears nothing
        but that it lives.
        """
        message = ["WATCHDOG=1"]
        while message == ["WATCHDOG=1"]:
            message = self.manager.hear(PATIENCE) or []
        self.assertEqual(message[0], "STOPPING=1")


class NotifyTests(ManagedCase):
    """
    Tests for what a service manager hears.
    """

    def test_life(self) -> None:
        """
        It hears in this order that the daemon is ready, that it lives, and that it
        stops, with the time that this may take; and of no socket before it serves.
        """
        daemon = self.startManaged("--grace", "3", WATCHDOG_USEC="200000")
        self.assertEqual(daemon.request("GET", "/v1/pool")[0], 200)
        for _ in range(3):
            self.assertEqual(self.manager.hear(PATIENCE), ["WATCHDOG=1"])
        daemon.process.send_signal(signal.SIGTERM)
        message = ["WATCHDOG=1"]
        while message == ["WATCHDOG=1"]:
            message = self.manager.hear(PATIENCE) or []
        self.assertEqual(
            message,
            [
                "STOPPING=1",
                "STATUS=Stopping; running jobs get 3 seconds",
                "EXTEND_TIMEOUT_USEC=63000000",
            ],
        )
        self.assertEqual(daemon.awaitEnd(), 0, daemon.log)

    def test_forTheDaemonAlone(self) -> None:
        """
        No job can speak for the daemon: the variables do not reach it.
        """
        daemon = self.startManaged(WATCHDOG_USEC="60000000")
        (jobID,) = daemon.submit({"args": [["env"], {}]})
        self.assertEqual(daemon.awaitEnds(jobID)[0]["state"], "succeeded")
        _, output = daemon.request("GET", f"/v1/jobs/{jobID}/output")
        self.assertIn(b"GANETI_POOL_JOB", output)
        self.assertNotIn(b"NOTIFY", output)
        self.assertNotIn(b"WATCHDOG", output)
        self.assertEqual(daemon.stop(), 0, daemon.log)

    def test_cannotStart(self) -> None:
        """
        It hears why a daemon cannot start, and nothing else after that.
        """
        daemon = self.launch(
            *("--worker-class", "operator.eq"),
            environment={"NOTIFY_SOCKET": self.manager.address},
        )
        message = self.manager.hear(PATIENCE) or [""]
        self.assertTrue(message[0].startswith("STATUS=the daemon cannot start: "), message)
        self.assertEqual((self.manager.hear(PATIENCE) or [])[:2], ["STOPPING=1", *message])
        self.assertEqual(daemon.awaitEnd(), 1)

    def test_refused(self) -> None:
        """
        It hears so too where the daemon is refused before it has a service: for an option
        that is wrong, for what one names, and for a directory that another daemon has.
        """
        other = self.launch()
        other.awaitReady()
        for options, why in (
            (("--workers", "0"), "--workers takes a whole number"),
            (("--worker-class", "no.such"), "the worker class 'no.such' cannot be imported"),
            ((), "the state directory"),
        ):
            daemon = self.launch(*options, environment={"NOTIFY_SOCKET": self.manager.address})
            self.assertEqual(daemon.awaitEnd(), 1)
            (line,) = self.manager.hear() or [""]
            self.assertTrue(line.startswith(f"STATUS=the daemon cannot start: {why}"), line)
            self.assertIsNone(self.manager.hear())
        self.assertEqual(other.stop(), 0, other.log)

    def test_gone(self) -> None:
        """
        A daemon whose manager is gone says so once, and serves.
        """
        self.manager.close()
        daemon = self.launch(
            environment={"NOTIFY_SOCKET": self.manager.address, "WATCHDOG_USEC": "2000"}
        )
        daemon.awaitReady()
        for _ in range(10):
            daemon.ask("GET", "/v1/pool")
        self.assertEqual(daemon.stop(), 0, daemon.log)
        self.assertEqual(daemon.log.count("manager cannot be told"), 1, daemon.log)


class LogTests(ManagedCase):
    """
    Tests for the log.
    """

    def lines(self, text: str) -> list[dict[str, Any]]:
        """
        What a log in JSON says, each line of it.
        """
        return [json.loads(line) for line in text.splitlines()]

    def runJobs(self, daemon: Daemon) -> tuple[int, int]:
        """
        Run a job that succeeds and one that fails, with secrets in them.
        """
        secret = {"env": {"TOKEN": "hunter2"}}
        good, bad = daemon.submit(
            {"args": [["sh", "-c", "exit 0", "hunter2"], secret], "name": "good"},
            {"args": [["sh", "-c", "exit 3", "hunter2"], secret], "labels": {"l": "hunter2"}},
        )
        daemon.awaitEnds(good, bad)
        return good, bad

    def test_text(self) -> None:
        """
        There is a line for each thing that happens to a job, and neither a secret nor a
        traceback in it.
        """
        daemon = self.start("--workers", "1")
        good, bad = self.runJobs(daemon)
        self.assertEqual(daemon.stop(), 0, daemon.log)
        for line in (
            f"job {good} submitted with priority 0",
            f"job {good} attempt 1 started after 0.",
            f"job {good} attempt 1 succeeded after ",
            f"job {bad} attempt 1 failed after ",
        ):
            self.assertEqual(daemon.log.count(f"[ganeti_pool.job#info] {line}"), 1, daemon.log)
        self.assertIn(": exit_nonzero: 'sh' exited with status 3\n", daemon.log)
        self.assertNotIn("hunter2", daemon.log)
        self.assertNotIn("Traceback", daemon.log)

    def test_json(self) -> None:
        """
        With C{--log-format json} every line is a JSON object, and what has happened to
        a job is in its fields.
        """
        daemon = self.startManaged("--workers", "1", "--log-format", "json")
        good, bad = self.runJobs(daemon)
        self.assertEqual(daemon.stop(), 0, daemon.log)
        lines = self.lines(daemon.log)
        for line in lines:
            self.assertLessEqual({"time", "level", "namespace", "message"}, line.keys())
        ofJobs = [line for line in lines if line["namespace"] == "ganeti_pool.job"]
        for jobID in (good, bad):
            kinds = [line["kind"] for line in ofJobs if line["job"] == jobID]
            self.assertEqual(kinds, ["submitted", "started", "finished"])
        (end,) = (line for line in ofJobs if (line["job"], line["kind"]) == (bad, "finished"))
        self.assertEqual((end["attempt"], end["state"]), (1, "failed"))
        self.assertEqual(end["code"], "exit_nonzero")
        self.assertGreater(end["ran"], 0)
        self.assertNotIn("hunter2", daemon.log)

    def rotate(self, form: str) -> tuple[str, str]:
        """
        Run a daemon that logs to a file, and rotate that once it is ready.

        @return: the older and the newer part.
        """
        path = self.scratch / form
        daemon = self.launch(
            *("--log-format", form),
            launcher=(TWISTD, f"--logfile={path}"),
            environment={"NOTIFY_SOCKET": self.manager.address},
        )
        self.assertEqual((self.manager.hear(PATIENCE) or [""])[0], "READY=1")
        daemon.process.send_signal(signal.SIGUSR1)
        # the signal has come before this, and so the file is another one after it
        daemon.ask("GET", "/v1/pool")
        self.assertEqual(daemon.stop(), 0, path.read_text())
        self.hearStop()
        self.assertEqual(daemon.log, "")
        return Path(f"{path}.1").read_text(), path.read_text()

    def test_rotation(self) -> None:
        """
        A log in a file is rotated at SIGUSR1, as JSON and as text.
        """
        older, newer = self.rotate("text")
        self.assertIn("Ready for jobs", older)
        self.assertIn("Stopping", newer)
        older, newer = self.rotate("json")
        self.assertIn("Ready for jobs", [line["message"] for line in self.lines(older)])
        self.assertIn("Server Shut Down.", [line["message"] for line in self.lines(newer)])
