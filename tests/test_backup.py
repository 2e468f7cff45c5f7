"""
What the documentation says of backup and restore is true.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

from .daemoncase import PATIENCE, ROOT, DaemonCase, Job

SCRIPT = ROOT / "doc" / "examples" / "backup.sh"


def command(*argv: str) -> Job:
    """
    A job that runs a command.
    """
    return {"args": [argv, {}]}


class BackupTests(DaemonCase):
    """
    Tests for C{doc/examples/backup.sh}, and for a daemon that starts with its copy.
    """

    def backUp(self, *store: Path) -> subprocess.CompletedProcess[str]:
        """
        Run the script.
        """
        return subprocess.run(
            [SCRIPT, self.state, self.scratch / "copy", *store],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def test_restore(self) -> None:
        """
        A copy made while the daemon runs has all that was acknowledged before, and a
        daemon that is started with it knows what was finished, calls interrupted what
        ran, and has the rest wait until it is told to go on.
        """
        meeting = self.meeting()
        daemon = self.start("--workers", "1")
        done, running, waiting = daemon.submit(
            command("echo", "kept"),
            command("sh", "-c", f"echo here > {meeting.arrived}; read line < {meeting.leave}"),
            command("echo", "later"),
        )
        meeting.awaitArrival()
        backup = self.backUp()
        self.assertEqual((backup.returncode, backup.stderr), (0, ""))
        lost = daemon.submit(command("echo", "too late"))
        daemon.stop(signal.SIGKILL)
        shutil.rmtree(self.state)

        shutil.copytree(self.scratch / "copy", self.state)
        daemon = self.start("--workers", "1", "--paused")
        jobs = daemon.jobs()
        self.assertNotIn(lost[0], jobs)
        self.assertEqual(
            {number: job["state"] for number, job in jobs.items()},
            {done: "succeeded", running: "failed", waiting: "queued"},
        )
        self.assertEqual(jobs[running]["error"]["code"], "interrupted")
        self.assertEqual(daemon.ask("GET", f"/v1/jobs/{done}/output"), b"kept\n")
        daemon.ask("PATCH", "/v1/pool", {"active": True})
        (ended,) = daemon.awaitEnds(waiting)
        self.assertEqual(ended["state"], "succeeded")
        self.assertEqual(daemon.ask("GET", f"/v1/jobs/{waiting}/output"), b"later\n")
        daemon.stop()

    def test_storeElsewhere(self) -> None:
        """
        A store that is not in the state directory is copied if the script is told of it;
        if not, the script says so and copies nothing.
        """
        store = self.scratch / "else where.sqlite"
        daemon = self.start("--store", f"sqlite:///{store}")
        (done,) = daemon.submit(command("true"))
        daemon.awaitEnds(done)
        backup = self.backUp()
        self.assertEqual(backup.returncode, 1)
        self.assertIn(f"there is no store {self.state}/jobs.sqlite", backup.stderr)
        self.assertFalse((self.scratch / "copy").exists())
        backup = self.backUp(store)
        self.assertEqual((backup.returncode, backup.stderr), (0, ""))
        daemon.stop()
        shutil.rmtree(self.state)

        shutil.copytree(self.scratch / "copy", self.state)
        daemon = self.start()
        self.assertEqual(daemon.job(done)["state"], "succeeded")
        daemon.stop()

    def test_nothingOverwritten(self) -> None:
        """
        A copy does not go over one that is there.
        """
        self.start().stop()
        (self.scratch / "copy").mkdir()
        backup = self.backUp()
        self.assertEqual(backup.returncode, 1)
        self.assertEqual(list((self.scratch / "copy").iterdir()), [])
