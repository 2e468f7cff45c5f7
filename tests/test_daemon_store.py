"""
Tests for a real daemon whose store is taken away, damaged, or was not closed.
"""

from __future__ import annotations

import shutil
import signal
import sqlite3

from ganeti_pool.store.sqlite import SQLiteJobStore

from .daemoncase import PATIENCE, DaemonCase, Job
from .managercase import FakeManager
from .storecase import Turns
from .test_store_migrations import EARLIER

TRUE: Job = {"args": [["true"], {}]}


class LostStoreTests(DaemonCase):
    """
    Tests for a store that vanishes while a daemon uses it.
    """

    def lose(self) -> None:
        """
        Remove the store, as a careless operator does.
        """
        for path in self.state.glob("jobs.sqlite*"):
            path.unlink()

    def test_removed(self) -> None:
        """
        Nothing is acknowledged or told any more, with 500 C{store_lost}, and no job is
        started; the status, the metrics and the log say why. The stop ends in good order.
        """
        daemon = self.start("--workers", "1")
        daemon.awaitEnds(*daemon.submit(TRUE))
        daemon.ask("PATCH", "/v1/pool", {"active": False})
        daemon.submit(TRUE)
        self.lose()
        for method, path, body in (
            ("GET", "/v1/jobs/1", None),
            ("GET", "/v1/jobs", None),
            ("POST", "/v1/jobs", TRUE),
            ("POST", "/v1/jobs/2/cancel", None),
            ("PATCH", "/v1/pool", {"active": True}),
        ):
            status, answer = daemon.request(method, path, body)
            self.assertEqual((status, answer["code"]), (500, "store_lost"), answer)
            self.assertIn("jobs.sqlite no longer exists", answer["detail"])
        pool = daemon.ask("GET", "/v1/pool")
        self.assertEqual((pool["active"], pool["jobs"]["queued"]), (False, 1))
        self.assertIn("jobs.sqlite no longer exists", pool["store"]["last_error"])
        self.assertIn(b"ganeti_pool_store_trouble 1.0", daemon.ask("GET", "/metrics"))
        told = self.run_("status")
        self.assertEqual((told.returncode, told.stderr), (0, ""))
        self.assertIn("last error the store ", told.stdout)
        self.assertEqual(self.run_("submit", "--", "true").returncode, 3)
        self.assertEqual(daemon.log.count("No job is started any more: the store "), 1)
        self.assertEqual(daemon.stop(), 0, daemon.log)
        self.assertNotIn("Traceback", daemon.log)

    def test_whileAJobRuns(self) -> None:
        """
        A job that runs then can be cancelled, and the stop does not wait for its outcome.
        """
        met = self.meeting()
        daemon = self.start("--workers", "1", "--grace", "300")
        script = 'echo here > "$1"; exec sleep 1000'
        argv = ["sh", "-c", script, "sh", met.arrived]
        (jobID,) = daemon.submit({"args": [argv, {}]})
        met.awaitArrival()
        self.lose()
        status, answer = daemon.request("POST", f"/v1/jobs/{jobID}/cancel")
        self.assertEqual((status, answer["code"]), (500, "store_lost"))
        self.assertIn(f"job {jobID} is told to end, but that cannot be recorded", answer["detail"])
        daemon.awaitLog(f"The outcome of job {jobID} cannot be written")
        self.assertEqual(self.processes(), [])
        self.assertEqual(daemon.stop(), 0, daemon.log)

    def test_anotherOwner(self) -> None:
        """
        When another daemon has acquired the store, this one kills the processes of its jobs,
        names the new owner and exits with 1. The next daemon continues from the store.
        """
        met = self.meeting()
        daemon = self.start("--workers", "1")
        script = 'echo here > "$1"; exec sleep 1000'
        argv = ["sh", "-c", script, "sh", met.arrived]
        running, queued = daemon.submit({"args": [argv, {}]}, TRUE)
        met.awaitArrival()
        other = SQLiteJobStore(Turns(), str(self.state / "jobs.sqlite"))
        other.acquire("elsewhere:7")
        status, answer = daemon.request("POST", "/v1/jobs", TRUE)
        self.assertEqual((status, answer["code"]), (503, "ownership_lost"))
        self.assertEqual(daemon.awaitEnd(), 1)
        self.assertIn("the store is owned by the daemon elsewhere:7", daemon.log)
        self.assertNotIn("Traceback", daemon.log)
        self.assertEqual(self.processes(), [])
        other.release()
        daemon = self.start("--workers", "1")
        (ended,) = daemon.awaitEnds(queued)
        self.assertEqual(ended["state"], "succeeded")
        self.assertEqual(daemon.job(running)["error"]["code"], "interrupted")
        self.assertEqual(daemon.stop(), 0, daemon.log)

    def test_logOnly(self) -> None:
        """
        When the log alone was removed, an orderly stop saves what was acknowledged.
        """
        daemon = self.start()
        ids = daemon.submit(TRUE, TRUE)
        daemon.awaitEnds(*ids)
        (self.state / "jobs.sqlite-wal").unlink()
        status, answer = daemon.request("POST", "/v1/jobs", TRUE)
        self.assertEqual((status, answer["code"]), (500, "store_lost"))
        self.assertEqual(daemon.stop(), 0, daemon.log)
        daemon = self.start()
        self.assertEqual(sorted(daemon.jobs()), ids)
        self.assertEqual(daemon.stop(), 0, daemon.log)


class UncleanStoreTests(DaemonCase):
    """
    Tests for the start of a daemon after the death of another.
    """

    def setUp(self) -> None:
        super().setUp()
        self.manager = FakeManager(f"{self.scratch}/notify")
        self.addCleanup(self.manager.close)

    def heard(self) -> list[list[str]]:
        """
        What a service manager hears of a daemon until it is ready.
        """
        daemon = self.launch(environment={"NOTIFY_SOCKET": self.manager.address})
        heard: list[list[str]] = []
        while not heard or heard[-1][0] != "READY=1":
            heard.append(self.manager.hear(PATIENCE) or self.fail(daemon.log))
        self.daemon = daemon
        return heard

    def test_checked(self) -> None:
        """
        The store of a daemon that was killed is checked before the next one is ready, and
        the manager is asked to wait; that of one that was stopped is not.
        """
        ready = ["READY=1", "STATUS=Ready for jobs"]
        self.assertEqual(self.heard(), [ready])
        self.daemon.submit(TRUE)
        self.daemon.kill()
        self.assertEqual(
            self.heard(), [["STATUS=Checking the store", "EXTEND_TIMEOUT_USEC=60000000"], ready]
        )
        self.assertIn("was not closed cleanly", self.daemon.log)
        self.assertEqual(self.daemon.stop(), 0, self.daemon.log)
        self.manager.hear()
        self.assertEqual(self.heard(), [ready])
        self.assertEqual(self.daemon.stop(signal.SIGINT), 0, self.daemon.log)

    def test_damaged(self) -> None:
        """
        A daemon does not start with a damaged store: it says so in one sentence, with what
        to do.
        """
        daemon = self.start()
        daemon.submit(*[TRUE] * 200)
        daemon.ask("PATCH", "/v1/pool", {"active": False})
        self.assertEqual(daemon.stop(), 0, daemon.log)
        daemon = self.start()
        daemon.kill()
        store = self.state / "jobs.sqlite"
        content = store.read_bytes()
        pages = len(content) // 4096
        store.write_bytes(content[:4096] + bytes(4096 * (pages - 1)))
        daemon = self.launch()
        self.assertEqual(daemon.awaitEnd(), 1, daemon.log)
        (sentence,) = [line for line in daemon.log.splitlines() if line.startswith("ganeti-pool: ")]
        self.assertIn(f"the daemon cannot start: the store {store} ", sentence)
        self.assertIn("Restore a backup", sentence)
        self.assertNotIn("Traceback", daemon.log)

    def test_restored(self) -> None:
        """
        A backup of a store in use is checked and used, since nobody has closed the copy.
        """
        daemon = self.start()
        ids = daemon.submit(TRUE, TRUE)
        daemon.awaitEnds(*ids)
        copy = self.scratch / "copy"
        connection = sqlite3.connect(self.state / "jobs.sqlite")
        connection.execute(f"VACUUM INTO '{copy}'")
        connection.close()
        self.assertEqual(daemon.request("GET", "/v1/jobs/1")[0], 200)
        self.assertEqual(daemon.stop(), 0, daemon.log)
        shutil.copy(copy, self.state / "jobs.sqlite")
        daemon = self.start()
        self.assertIn("was not closed cleanly", daemon.log)
        self.assertEqual(sorted(daemon.jobs()), ids)
        self.assertEqual(daemon.stop(), 0, daemon.log)


class EarlierStoreTests(DaemonCase):
    """
    Tests for a daemon that starts on the store of an earlier release.
    """

    def test_migrated(self) -> None:
        """
        The daemon migrates the store, says where the copy is, and runs the jobs that
        waited and the one that is to run again after a crash.
        """
        self.state.mkdir(mode=0o700, exist_ok=True)
        store = self.state / "jobs.sqlite"
        shutil.copyfile(EARLIER, store)
        store.chmod(0o600)
        daemon = self.start()
        copy = f"{store}.v2-backup-20260131T120000Z"
        self.assertIn(f"after a copy of it to {copy}", daemon.log)
        self.assertIn(f"Its content before that is in {copy}", daemon.log)
        # All that waited, and a job with an id that none had before.
        self.assertEqual(daemon.submit(TRUE), [13])
        ended = daemon.awaitEnds(7, 8, 9, 10, 11, 13)
        self.assertEqual({job["state"] for job in ended}, {"succeeded"}, daemon.log)
        self.assertEqual(daemon.job(6)["error"]["code"], "interrupted")
        self.assertEqual(daemon.stop(), 0, daemon.log)
