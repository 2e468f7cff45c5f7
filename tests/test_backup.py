"""
What the documentation says of backup and restore is true.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from textwrap import dedent

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

    def backUp(self, *store: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """
        Run the script.
        """
        return subprocess.run(
            [SCRIPT, self.state, self.scratch / "copy", *store],
            env={**os.environ, **environment},
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

    def test_restoredTwice(self) -> None:
        """
        A copy goes with its output: restored together, both are accepted anywhere; its
        store beside the output of another is rejected, and beside none it starts.
        """
        daemon = self.start()
        (done,) = daemon.submit(command("echo", "kept"))
        daemon.awaitEnds(done)
        self.assertEqual(self.backUp().returncode, 0)
        daemon.stop()
        copy, first = self.scratch / "copy", self.state
        self.state = self.scratch / "elsewhere"
        shutil.copytree(copy, self.state)
        daemon = self.start("--paused")
        self.assertEqual(daemon.ask("GET", f"/v1/jobs/{done}/output"), b"kept\n")
        daemon.stop()

        self.state = self.scratch / "another"
        self.start().stop()
        shutil.copy(copy / "jobs.sqlite", self.state)
        for name in ("jobs.sqlite-wal", "jobs.sqlite-shm"):
            (self.state / name).unlink(missing_ok=True)
        daemon = self.launch("--paused")
        self.assertEqual(daemon.awaitEnd(), 1)
        self.assertIn("put back its store and its output together", daemon.log)
        shutil.rmtree(self.state / "output")
        daemon = self.start("--paused")
        self.assertIn("was empty: the output of earlier jobs is not in it", daemon.log)
        self.assertEqual(daemon.job(done)["state"], "succeeded")
        self.assertEqual(daemon.ask("GET", f"/v1/jobs/{done}/output"), b"")
        daemon.stop()
        self.assertTrue((first / "output" / str(done) / "1.0" / "stdout").exists())

    def test_nothingOverwritten(self) -> None:
        """
        A copy does not go over one that is there.
        """
        self.start().stop()
        (self.scratch / "copy").mkdir()
        backup = self.backUp()
        self.assertEqual(backup.returncode, 1)
        self.assertEqual(list((self.scratch / "copy").iterdir()), [])

    def test_removedMeanwhile(self) -> None:
        """
        Output that is removed while it is copied, as by a prune, is no failure, and what
        stays is copied.
        """
        daemon = self.start()
        jobs = daemon.submit(*(command("echo", "kept") for _ in range(3)))
        daemon.awaitEnds(*jobs)
        daemon.stop()
        kept, dropped, emptied = (self.state / "output" / str(job) / "1.0" for job in jobs)
        code = f"""
            import pathlib, shutil
            listed, isDirectory = pathlib.Path.iterdir, pathlib.Path.is_dir
            def iterdir(path):
                yield from listed(path)
                if path == pathlib.Path({str(emptied)!r}):
                    shutil.rmtree(path)
            def is_dir(path):
                found = isDirectory(path)
                if path == pathlib.Path({str(dropped)!r}):
                    shutil.rmtree(path)
                return found
            pathlib.Path.iterdir, pathlib.Path.is_dir = iterdir, is_dir
        """
        self.assertEqual(self.backUpWith(code), (0, ""))
        self.assertFalse(dropped.exists() or emptied.exists())
        copied = self.scratch / "copy" / kept.relative_to(self.state)
        self.assertEqual((copied / "stdout").read_text(), "kept\n")
        self.assertEqual(copied.joinpath("stdout").stat().st_mode & 0o777, 0o600)

    def test_notOutput(self) -> None:
        """
        What is neither a file nor a directory is left out, which is said, and not waited
        for; no link is followed.
        """
        daemon = self.start()
        (job,) = daemon.submit(command("echo", "kept"))
        daemon.awaitEnds(job)
        daemon.stop()
        run = self.state / "output" / str(job) / "1.0"
        os.mkfifo(run / "fifo")
        (run / "link").symlink_to("/etc/hostname")
        (run / "links").symlink_to(self.state)
        backup = self.backUp()
        self.assertEqual(backup.returncode, 0)
        left = {line.split()[2] for line in backup.stderr.splitlines()}
        self.assertEqual(left, {str(run / name) for name in ("fifo", "link", "links")})
        copied = self.scratch / "copy" / run.relative_to(self.state)
        self.assertEqual(set(os.listdir(copied)), {"stdout"})

    def test_notReadable(self) -> None:
        """
        Whatever else goes wrong is told in a sentence, and is a failure.
        """
        daemon = self.start()
        (job,) = daemon.submit(command("echo", "kept"))
        daemon.awaitEnds(job)
        daemon.stop()
        code = """
            import os
            def open(path, flags):
                raise PermissionError(13, "Permission denied", str(path))
            os.open = open
        """
        status, said = self.backUpWith(code)
        self.assertEqual(status, 1)
        self.assertRegex(said, "^the copy .*/copy is not complete: .*Permission denied: .*\n$")
        shutil.rmtree(self.scratch / "copy")
        shutil.rmtree(self.state / "output")
        status, said = self.backUpWith("")
        self.assertEqual(status, 1)
        self.assertRegex(said, "^the copy .*/copy is not complete: .*/output'\n$")

    def backUpWith(self, code: str) -> tuple[int, str]:
        """
        Run the script, with a Python that has run some code first.

        @return: the exit status, and what it has said.
        """
        site = self.scratch / "site"
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(dedent(code))
        backup = self.backUp(PYTHONPATH=str(site))
        return backup.returncode, backup.stderr
