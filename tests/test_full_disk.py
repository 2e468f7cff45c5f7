"""
Tests for a daemon whose disk is full: a small file system in memory.
"""

from __future__ import annotations

import os
import subprocess
from unittest import SkipTest

from .daemoncase import Daemon, DaemonCase, Job

MEBIBYTE = 1024 * 1024

WAITS = 'echo here > "$1"; read line < "$2"'
"""
A script that runs until the test lets it go.
"""


UNWRITTEN = "cannot be written and is tried again"
"""
What a daemon logs of an outcome.
"""


class FullDiskTests(DaemonCase):
    """
    Tests for a disk that is full for a while.
    """

    def setUp(self) -> None:
        super().setUp()
        self.disk = self.scratch / "disk"
        self.disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={4 * MEBIBYTE}", "tmpfs", str(self.disk)]
        mounted = subprocess.run(mount, capture_output=True, text=True)
        if mounted.returncode != 0:
            raise SkipTest(f"no file system can be mounted: {mounted.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", str(self.disk)], check=True)
        # behind the daemons' end, before the umount
        self.state = self.disk / "state"
        self.ballast = self.disk / "ballast"
        self.met = self.meeting()

    def fill(self) -> None:
        """
        Leave no room on the disk, nor in what the store has taken of it.
        """
        with self.ballast.open("ab", buffering=0) as file, self.assertRaises(OSError):
            while True:
                file.write(bytes(os.statvfs(self.disk).f_bsize))

    def fillWith(self, daemon: Daemon) -> list[int]:
        """
        Fill the disk, and then the room that the store has taken, with jobs.

        @return: those which were acknowledged.
        """
        self.fill()
        accepted: list[int] = []
        while True:
            status, answer = daemon.request("POST", "/v1/jobs", self.script("exit 0", priority=1))
            if status != 201:
                self.assertEqual((status, answer["code"]), (507, "store_full"))
                return accepted
            accepted.append(answer["id"])
            self.fill()

    def makeRoom(self) -> None:
        """
        Empty the disk of what is not the daemon's.
        """
        self.ballast.unlink()

    def script(self, script: str, **fields: object) -> Job:
        """
        A job to submit that is a shell script.
        """
        argv = ["sh", "-c", script, "sh", self.met.arrived, self.met.leave]
        return {"args": [argv, {"env": {"PAD": "x" * 2000}}], **fields}

    def assertFull(self, daemon: Daemon, unwritten: int) -> None:
        """
        The status tells that the disk is full, and how many outcomes wait for room.
        """
        status = daemon.ask("GET", "/v1/pool")
        self.assertEqual(status["store"]["unwritten"], unwritten)
        self.assertIn("full", status["store"]["last_error"])
        self.assertEqual(status["busy"], 1)

    def test_whileItIsFull(self) -> None:
        """
        While the disk is full, jobs are refused with 507, an outcome waits and holds
        its worker, the status tells, and what there is can be read. When there is room
        again, all is written, and every job that was acknowledged runs, once.
        """
        daemon = self.start("--workers", "1")
        (first,) = daemon.submit(self.script(WAITS))
        self.met.awaitArrival()
        waiting = daemon.submit(self.script("exit 0"), self.script("exit 3"))
        waiting += self.fillWith(daemon)
        self.assertFull(daemon, 0)
        self.met.letGo()
        daemon.awaitLog(UNWRITTEN)
        self.assertFull(daemon, 1)
        self.assertEqual(daemon.job(first)["state"], "running")
        self.assertEqual(daemon.jobs().keys(), {first, *waiting})
        self.assertEqual(self.run_("status").returncode, 0)
        self.assertEqual(self.run_("submit", "--", "true").returncode, 4)
        self.makeRoom()
        jobs = daemon.awaitEnds(first, *waiting)
        self.assertEqual([job["attempt"] for job in jobs], [1] * len(jobs))
        states = [job["state"] for job in jobs]
        self.assertEqual(states.count("failed"), 1)
        self.assertEqual(states[2], "failed")
        daemon.awaitEnds(*daemon.submit(self.script("exit 0")))
        status = daemon.ask("GET", "/v1/pool")
        self.assertEqual((status["store"]["unwritten"], status["store"]["last_error"]), (0, None))
        self.assertEqual(daemon.stop(), 0, daemon.log)

    def test_cancel(self) -> None:
        """
        A running job that is cancelled while the disk is full ends, since it may be
        what has filled it; but that this was asked for cannot be recorded, and is
        refused with 507. Its outcome is recorded when there is room.
        """
        daemon = self.start("--workers", "1")
        (jobID,) = daemon.submit(self.script(f"{WAITS}; sleep 1000"))
        self.met.awaitArrival()
        waiting = self.fillWith(daemon)
        self.assertEqual(daemon.request("POST", f"/v1/jobs/{jobID}/cancel")[0], 507)
        daemon.awaitLog(UNWRITTEN)
        self.assertEqual(self.processes(), [])
        self.assertFull(daemon, 1)
        self.makeRoom()
        job, *others = daemon.awaitEnds(jobID, *waiting)
        self.assertEqual(job["state"], "cancelled")
        self.assertEqual([other["state"] for other in others], ["succeeded"] * len(others))
        self.assertEqual(daemon.stop(), 0, daemon.log)

    def test_killed(self) -> None:
        """
        A daemon that is killed while the disk is full has lost nothing that it had
        acknowledged. Another one says why it cannot start, until there is room.
        """
        daemon = self.start("--workers", "1")
        (jobID,) = daemon.submit(self.script(WAITS))
        self.met.awaitArrival()
        waiting = self.fillWith(daemon)
        self.met.letGo()
        daemon.awaitLog(UNWRITTEN)
        daemon.kill()
        self.fill()
        daemon = self.launch("--workers", "1")
        self.assertEqual(daemon.awaitEnd(), 1, daemon.log)
        self.assertIn("ganeti-pool: the daemon cannot start: ", daemon.log)
        self.makeRoom()
        daemon = self.start("--workers", "1")
        job, *others = daemon.awaitEnds(jobID, *waiting)
        self.assertEqual((job["state"], job["error"]["code"]), ("failed", "interrupted"))
        self.assertEqual([other["state"] for other in others], ["succeeded"] * len(others))
        self.assertEqual(daemon.stop(), 0, daemon.log)
