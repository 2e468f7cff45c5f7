"""
Tests for the output directory of a daemon as a process: whose it is, and what stands in
the way in it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

from .daemoncase import PATIENCE, ROOT, TWISTD, Daemon, DaemonCase, Job
from .managercase import FakeManager


def echo(text: str) -> Job:
    """
    A job that writes something.
    """
    return {"args": [["echo", text], {}]}


def tree(directory: Path) -> dict[str, bytes | None]:
    """
    What is in a directory: the text of each file, L{None} for a directory.
    """
    return {
        str(path.relative_to(directory)): None if path.is_dir() else path.read_bytes()
        for path in directory.rglob("*")
    }


class OutputCase(DaemonCase):
    """
    A daemon with an output directory.
    """

    @property
    def output(self) -> Path:
        return self.state / "output"

    def ran(self, *texts: str) -> list[int]:
        """
        Have a daemon run a job for each of some texts, and stop.
        """
        daemon = self.start()
        jobs = daemon.submit(*map(echo, texts))
        daemon.awaitEnds(*jobs)
        self.assertEqual(daemon.stop(), 0, daemon.log)
        return jobs

    def rejected(self, *options: str) -> str:
        """
        Start a daemon that is rejected before it is ready, in one sentence, which the
        service manager gets too.

        @return: the sentence.
        """
        manager = FakeManager("@" + str(self.scratch))
        self.addCleanup(manager.close)
        child = subprocess.run(
            [TWISTD, "-n", "--pidfile=", "ganeti-pool", "--state-dir", str(self.state), *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "NOTIFY_SOCKET": manager.address},
            timeout=PATIENCE,
        )
        heard = [line for message in iter(manager.hear, None) for line in message]
        manager.close()
        status = next(line for line in heard if line.startswith("STATUS="))
        sentence = child.stderr.removeprefix("ganeti-pool: ").rstrip()
        sentence = sentence.removeprefix("the daemon cannot start: ")
        self.assertEqual(status, f"STATUS=the daemon cannot start: {sentence}")
        self.assertNotIn("READY=1", heard)
        self.assertEqual((child.returncode, child.stderr.count("\n")), (1, 1), child)
        self.assertNotIn("Traceback", child.stdout)
        self.assertNotIn("Ready", child.stdout)
        return child.stderr

    def text(self, daemon: Daemon, job: int) -> bytes:
        output: bytes = daemon.ask("GET", f"/v1/jobs/{job}/output")
        return output


class OwnershipTests(OutputCase):
    """
    Tests for a start with an output directory that may not be the daemon's.
    """

    def test_privateDirectory(self) -> None:
        """
        A state directory with output that is the user's own is rejected, twice, and not
        a single file in it is changed or made.
        """
        self.state.mkdir(mode=0o700)
        data = self.output / "2024" / "raw" / "data.csv"
        data.parent.mkdir(parents=True)
        data.write_text("precious")
        before = tree(self.state)
        for _ in range(2):
            said = self.rejected()
            self.assertIn(f"{self.output} belongs to another store or to you: it has files", said)
            self.assertIn("choose another --state-dir", said)
            self.assertEqual(tree(self.state), before)

    def test_wrongStore(self) -> None:
        """
        A store that does not exist, beside the output of another, is rejected, paused or
        not, and not made; the right one goes on with all of its output.
        """
        job, other = self.ran("one", "two")
        before = tree(self.output)
        typo = self.scratch / "typo.sqlite"
        for options in ([], ["--paused"]):
            said = self.rejected("--store", f"sqlite:///{typo}", *options)
            self.assertIn(f"{self.output} belongs to the store with the id ", said)
            self.assertIn("correct --state-dir or --store", said)
            self.assertEqual(tree(self.output), before)
            self.assertFalse(typo.exists())
        daemon = self.start()
        self.assertEqual([self.text(daemon, one) for one in (job, other)], [b"one\n", b"two\n"])
        daemon.stop()

    def test_anotherStore(self) -> None:
        """
        The store of another state directory is rejected, and neither store nor output is
        changed: both daemons start as before.
        """
        (job,) = self.ran("here")
        here, self.state = self.state, self.scratch / "there"
        (other,) = self.ran("there")
        store = f"sqlite:///{self.state}/jobs.sqlite"
        there, self.state = self.state, here
        before = tree(self.output), tree(there / "output")
        said = self.rejected("--store", store)
        self.assertIn("to restore a backup, put back its store and its output together", said)
        self.assertEqual((tree(self.output), tree(there / "output")), before)
        for state, text in ((here, b"here\n"), (there, b"there\n")):
            self.state = state
            daemon = self.start()
            self.assertEqual(self.text(daemon, job), text)
            daemon.stop()
        self.assertEqual(job, other)

    def test_upgrade(self) -> None:
        """
        A state directory of an earlier release is adopted, which log and status say, with
        its output as it was; at the next start that is history, and what is left of jobs
        that are gone is removed.
        """
        job, gone = self.ran("earlier", "gone")
        for number in (job, gone):
            (self.output / str(number) / "1.0").rename(self.output / str(number) / "1")
        (self.output / "store-id").unlink()
        store = sqlite3.connect(self.state / "jobs.sqlite")
        store.execute("DELETE FROM settings")
        store.execute("DELETE FROM jobs WHERE id = ?", [gone])
        store.commit()
        store.close()
        daemon = self.start()
        self.assertIn("had no store id and is adopted", daemon.log)
        self.assertTrue(daemon.ask("GET", "/v1/pool")["output"]["adopted"])
        self.assertIn("output     adopted: ", self.run_("status").stdout)
        self.assertEqual(self.text(daemon, job), b"earlier\n")
        (later,) = daemon.submit(echo("later"))
        daemon.awaitEnds(later)
        daemon.stop()
        self.assertTrue((self.output / str(gone)).exists())
        daemon = self.start()
        daemon.awaitLog("Removed the output of 1 jobs that are gone")
        self.assertNotIn("adopted: ", self.run_("status").stdout)
        self.assertEqual(daemon.request("DELETE", f"/v1/jobs/{job}")[0], 204)
        daemon.stop()
        self.assertEqual(set(os.listdir(self.output)), {"store-id", str(later)})

    def test_olderStore(self) -> None:
        """
        With a store that was restored without its output, the output of later jobs is moved
        aside, which log and status say, and that of a job that runs again as well; nothing
        is deleted.
        """
        daemon = self.start("--workers", "1")
        (early,) = daemon.submit(echo("early"))
        daemon.awaitEnds(early)
        daemon.ask("PATCH", "/v1/pool", {"active": False})
        (waits,) = daemon.submit(echo("waits"))
        daemon.stop()
        shutil.copy(self.state / "jobs.sqlite", self.scratch)
        daemon = self.start("--workers", "1")
        daemon.ask("PATCH", "/v1/pool", {"active": True})
        (late,) = daemon.submit(echo("late"))
        daemon.awaitEnds(waits, late)
        daemon.stop()
        shutil.copy(self.scratch / "jobs.sqlite", self.state)

        daemon = self.start("--workers", "1", "--paused")
        aside = self.output / "aside-1"
        self.assertIn(f"not of a run of this store, to {aside}", daemon.log)
        self.assertEqual(daemon.ask("GET", "/v1/pool")["output"]["set_aside"], [str(aside)])
        self.assertIn(f"set aside  {aside}: check", self.run_("status").stdout)
        self.assertEqual((aside / str(late) / "1.0" / "stdout").read_text(), "late\n")
        daemon.ask("PATCH", "/v1/pool", {"active": True})
        (again,) = daemon.submit(echo("again"))
        daemon.awaitEnds(waits, again)
        self.assertEqual(again, late)
        self.assertEqual(self.text(daemon, again), b"again\n")
        self.assertEqual(self.text(daemon, early), b"early\n")
        second = self.output / "aside-2"
        self.assertEqual((second / str(waits) / "1.0" / "stdout").read_text(), "waits\n")
        daemon.stop()


class ObstacleTests(OutputCase):
    """
    Tests for what jobs can put in the place of output.
    """

    def test_reading(self) -> None:
        """
        A FIFO, a link and a directory in place of a file are refused at once, as often as
        it is asked, and the rest goes on; an offset beyond all ends gives nothing.
        """
        daemon = self.start()
        jobs = daemon.submit(*map(echo, ("fifo", "link", "directory", "text")))
        daemon.awaitEnds(*jobs)
        fifo, link, directory = (self.output / str(job) / "1.0" / "stdout" for job in jobs[:3])
        for path in (fifo, link, directory):
            path.unlink()
        os.mkfifo(fifo)
        link.symlink_to("/etc/hostname")
        directory.mkdir()
        # More than the threads that the daemon reads with.
        for _ in range(12):
            for job, path in zip(jobs[:3], (fifo, link, directory), strict=True):
                status, problem = daemon.request("GET", f"/v1/jobs/{job}/output")
                self.assertEqual((status, problem["code"]), (500, "output_unreadable"))
                why = f"the output of job {job} cannot be read at {path}: it "
                self.assertIn(why, problem["detail"])
        logs = self.run_("logs", str(jobs[0]))
        self.assertEqual((logs.returncode, logs.stdout), (3, ""))
        self.assertIn("is not a regular file; remove what is there", logs.stderr)
        for offset in (5, 17592186044416, 2**63 - 1):
            address = f"/v1/jobs/{jobs[3]}/output?offset={offset}"
            self.assertEqual(daemon.request("GET", address), (200, b""))
        self.assertEqual(self.text(daemon, jobs[3]), b"text\n")
        self.assertEqual(daemon.stop(), 0, daemon.log)
        self.assertNotIn("Traceback", daemon.log)

    def test_removing(self) -> None:
        """
        What stands in the place of output is removed with its job, links without what they
        lead to; what stands in the place of the job's directory stays. Neither a removal
        nor the stop waits.
        """
        precious = self.scratch / "precious"
        precious.mkdir()
        (precious / "file").write_text("precious")
        daemon = self.start()
        jobs = daemon.submit(*map(echo, ("file", "run", "job", "link")))
        daemon.awaitEnds(*jobs)
        file, run, job, link = (self.output / str(number) for number in jobs)
        (file / "1.0" / "stdout").unlink()
        os.mkfifo(file / "1.0" / "stdout")
        (file / "1.0" / "link").symlink_to(precious)
        shutil.rmtree(run / "1.0")
        (run / "1.0").symlink_to(precious)
        for path in (job, link):
            shutil.rmtree(path)
        os.mkfifo(job)
        link.symlink_to(precious)
        for number in jobs:
            self.assertEqual(daemon.request("DELETE", f"/v1/jobs/{number}")[0], 204)
        self.assertEqual(daemon.stop(), 0, daemon.log)
        left = {entry.name for entry in self.output.iterdir()}
        self.assertEqual(left, {"store-id", job.name, link.name})
        self.assertEqual((precious / "file").read_text(), "precious")
        self.assertNotIn("Traceback", daemon.log)

    def test_lastDay(self) -> None:
        """
        C{prune} does not change the counts of the last 24 hours, nor does a restart.
        """
        daemon = self.start()
        jobs = daemon.submit(echo("one"), echo("two"), {"args": [["false"], {}]})
        daemon.awaitEnds(*jobs)
        counts = {"succeeded": 2, "failed": 1, "cancelled": 0}
        self.assertEqual(daemon.ask("GET", "/v1/pool")["jobs"]["last_day"], counts)
        pruned = self.run_("prune", "--older-than", "0s", "--yes")
        self.assertEqual(pruned.returncode, 0, pruned.stderr)
        self.assertEqual(daemon.jobs(), {})
        self.assertEqual(daemon.ask("GET", "/v1/pool")["jobs"]["last_day"], counts)
        daemon.stop()
        daemon = self.start()
        self.assertIn("2 succeeded, 1 failed, 0 cancelled", self.run_("status").stdout)
        daemon.stop()
