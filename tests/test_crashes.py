"""
What an acknowledged job becomes when the daemon is killed.

The commands write down that they run: each appends the number of its attempt to
a file that is named by its job. So what ran is known without asking the daemon.
"""

from __future__ import annotations

import random
import signal
import sys
from pathlib import Path
from threading import Timer
from typing import Any

from .daemoncase import Daemon, DaemonCase, DaemonGone, Job

WORKER = ("--worker-class", "tests.daemonworkers.AgainWorker")

SEED = 20260131
ROUNDS = 50

RECORD = """
import fcntl, os, sys
job, attempt = os.environ["GANETI_POOL_JOB"], os.environ["GANETI_POOL_ATTEMPT"]
def tell(name, text):
    file = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{text}\\n".encode())
    return file
file = tell(f"ran.{job}", attempt)
tell("order", job)
try:
    # as long as this process lives, and its children do
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.set_inheritable(file, True)
except BlockingIOError:
    tell("overlaps", job)
print("runs", flush=True)
os.execvp("sh", ["sh", "-c", *sys.argv[1:]])
"""

LINGERS = 'test "$GANETI_POOL_ATTEMPT" = 2 || exec tail -f /dev/null'
"""
A script that does not end by itself in the first attempt.
"""


class CrashCase(DaemonCase):
    """
    Daemons that die, and commands that tell that they run.
    """

    def setUp(self) -> None:
        super().setUp()
        self.ran = self.scratch / "ran"
        self.ran.mkdir()
        self.armed = self.scratch / "armed"

    def command(self, script: str = ":", *arguments: str, **fields: Any) -> Job:
        """
        A job to submit: it writes down that it runs, and becomes a shell script.
        """
        argv = [sys.executable, "-ISc", RECORD, script, "sh", *arguments]
        return {"args": [argv, {"cwd": str(self.ran)}], **fields}

    def crashing(self, point: str, *options: str) -> Daemon:
        """
        Start a daemon that dies at a point, once it was armed.
        """
        launcher = [sys.executable, "-m", "tests.crashing_daemon", point, str(self.armed)]
        return self.launch(*WORKER, *options, launcher=launcher)

    def awaitDeath(self, daemon: Daemon) -> None:
        """
        Wait until a daemon has killed itself.
        """
        self.assertEqual(daemon.awaitEnd(), -signal.SIGKILL, daemon.log)

    def attemptsOf(self, jobID: int) -> list[int]:
        """
        The attempts of a job that ran, in the order in which they did.
        """
        return [int(line) for line in _linesOf(self.ran / f"ran.{jobID}")]

    def startOrder(self) -> list[int]:
        """
        The jobs in the order in which they ran.
        """
        return [int(line) for line in _linesOf(self.ran / "order")]

    def assertNoOverlap(self) -> None:
        """
        No attempt started while a process of another one was alive.
        """
        self.assertEqual(_linesOf(self.ran / "overlaps"), [])


def _linesOf(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


class KillPointTests(CrashCase):
    """
    Tests for a kill at each step in the life of a job, with others in the queue.
    """

    def fillQueue(self, daemon: Daemon) -> list[int]:
        """
        Pause a daemon of one worker, and have it hold a deferred job, three that
        were added at once, and one that was given another priority.

        @return: their ids, in the order in which they have to start.
        """
        daemon.awaitReady()
        meeting = self.meeting()
        script = 'test -e again && exit; : > again; echo here > "$1"; read line < "$2"; exit 75'
        (deferred,) = daemon.submit(self.command(script, meeting.arrived, meeting.leave))
        meeting.awaitArrival()
        daemon.ask("PATCH", "/v1/pool", {"active": False})
        bulk = daemon.submit(self.command(), self.command(), self.command())
        (moved,) = daemon.submit(self.command(priority=10))
        daemon.ask("PATCH", f"/v1/jobs/{moved}", {"priority": -1})
        meeting.letGo()
        daemon.awaitJobs([deferred], lambda job: job["deferrals"] == 1)
        (self.ran / "order").unlink()
        return [moved, *bulk, deferred]

    def recover(self, queued: list[int], *victims: int) -> tuple[Job, ...]:
        """
        Start a daemon, let it work, and see that the queue was as it had been.

        @return: the victims at the end.
        """
        daemon = self.start(*WORKER, "--workers", "1")
        daemon.ask("PATCH", "/v1/pool", {"active": True})
        jobs = daemon.awaitEnds(*queued, *victims)
        others = jobs[: len(queued)]
        self.assertEqual([job["state"] for job in others], ["succeeded"] * 5)
        self.assertEqual([job["priority"] for job in others], [-1, 0, 0, 0, 0])
        self.assertEqual([one for one in self.startOrder() if one in queued], queued)
        for one in queued[:-1]:
            self.assertEqual(self.attemptsOf(one), [1])
        self.assertEqual(daemon.stop(), 0, daemon.log)
        self.assertNoOverlap()
        return tuple(jobs[len(queued) :])

    def killTwice(self, point: str, *jobs: Job) -> tuple[Job, ...]:
        """
        Kill a daemon at a point, and the next one again, then let one work.

        @param jobs: more urgent than all others.
        @return: these at the end.
        """
        daemon = self.crashing(point, "--workers", "1")
        queued = self.fillQueue(daemon)
        victims = daemon.submit(*jobs)
        self.armed.touch()
        self.assertRaises(DaemonGone, self.resume, daemon)
        self.awaitDeath(daemon)
        self.awaitDeath(self.crashing(point, "--workers", "1"))
        return self.recover(queued, *victims)

    def assertInterrupted(self, job: Job) -> None:
        """
        A job has ended with its daemon, in its first attempt.
        """
        self.assertEqual((job["state"], job["error"]["code"]), ("failed", "interrupted"))
        self.assertEqual(job["attempt"], 1)

    def assertSucceeded(self, job: Job, attempt: int) -> None:
        """
        A job has succeeded in an attempt.
        """
        self.assertEqual((job["state"], job["attempt"]), ("succeeded", attempt))

    def resume(self, daemon: Daemon) -> None:
        """
        Let a daemon go on, to its death.
        """
        daemon.ask("PATCH", "/v1/pool", {"active": True})
        daemon.awaitJobs([0], lambda job: False)

    def test_submitNotCommitted(self) -> None:
        """
        Jobs whose submission was not committed are not there; their client has no
        answer.
        """
        daemon = self.crashing("submit not committed", "--workers", "1")
        queued = self.fillQueue(daemon)
        self.armed.touch()
        self.assertRaises(DaemonGone, daemon.submit, self.command(), self.command())
        self.awaitDeath(daemon)
        self.recover(queued)
        self.assertEqual(set(self.startOrder()), set(queued))

    def test_submitNotAnswered(self) -> None:
        """
        Jobs that were committed are there, all of them, and run once, though their
        client has no answer.
        """
        daemon = self.crashing("submit not answered", "--workers", "1")
        queued = self.fillQueue(daemon)
        self.armed.touch()
        self.assertRaises(DaemonGone, daemon.submit, self.command(), self.command())
        self.awaitDeath(daemon)
        for job in self.recover(queued, max(queued) + 1, max(queued) + 2):
            self.assertEqual(job["state"], "succeeded")
            self.assertEqual(self.attemptsOf(job["id"]), [1])

    def test_startNotCommitted(self) -> None:
        """
        A job whose start was not committed has not started, and starts later.
        """
        daemon = self.crashing("start not committed", "--workers", "1")
        queued = self.fillQueue(daemon)
        (first,) = daemon.submit(self.command(priority=-50))
        self.armed.touch()
        self.assertRaises(DaemonGone, self.resume, daemon)
        self.awaitDeath(daemon)
        (job,) = self.recover(queued, first)
        self.assertEqual((job["state"], job["attempt"]), ("succeeded", 1))
        self.assertEqual(self.attemptsOf(first), [1])

    def test_startCommitted(self) -> None:
        """
        A job whose start was committed is not started again unless it may be.
        """
        once, again = self.killTwice(
            "start committed",
            self.command(priority=-51, max_attempts=2),
            self.command(priority=-50, on_crash="retry", max_attempts=2),
        )
        self.assertInterrupted(once)
        self.assertEqual(self.attemptsOf(once["id"]), [])
        self.assertSucceeded(again, 2)
        self.assertEqual(self.attemptsOf(again["id"]), [2])

    def test_childSpawned(self) -> None:
        """
        A command that runs when its daemon dies is killed before anything starts,
        and runs again only if it may.
        """
        once, again = self.killTwice(
            "child spawned",
            self.command(LINGERS, priority=-51, max_attempts=2),
            self.command(LINGERS, priority=-50, on_crash="retry", max_attempts=2),
        )
        self.assertInterrupted(once)
        self.assertEqual(self.attemptsOf(once["id"]), [1])
        self.assertSucceeded(again, 2)
        self.assertEqual(self.attemptsOf(again["id"]), [1, 2])

    def test_handleCommitted(self) -> None:
        """
        The same holds when the handle of the process has been stored; and no job
        runs more often than its C{max_attempts}.
        """
        once, again = self.killTwice(
            "handle committed",
            self.command(LINGERS, priority=-51, on_crash="retry", max_attempts=1),
            self.command(LINGERS, priority=-50, on_crash="retry", max_attempts=2),
        )
        self.assertInterrupted(once)
        self.assertEqual(self.attemptsOf(once["id"]), [1])
        self.assertSucceeded(again, 2)
        self.assertEqual(self.attemptsOf(again["id"]), [1, 2])

    def test_childExited(self) -> None:
        """
        A command whose end was not recorded does not run again, also when the next
        daemon dies before it could record that.
        """
        once, unharmed = self.killTwice(
            "child exited", self.command(priority=-51), self.command(priority=-50)
        )
        self.assertInterrupted(once)
        self.assertEqual(self.attemptsOf(once["id"]), [1])
        self.assertSucceeded(unharmed, 1)
        self.assertEqual(self.attemptsOf(unharmed["id"]), [1])

    def test_outcomeNotCommitted(self) -> None:
        """
        It does if it may, also when the daemon dies in the transaction that records
        its end, and the next one does so again.
        """
        (again,) = self.killTwice(
            "outcome not committed",
            self.command(priority=-51, on_crash="retry", max_attempts=3),
        )
        self.assertSucceeded(again, 3)
        self.assertEqual(self.attemptsOf(again["id"]), [1, 2, 3])

    def killWhileAsked(self, point: str, method: str, path: str) -> tuple[list[int], int]:
        """
        Kill a daemon that is asked for something about a job that has failed.

        @param path: of the request, behind that of the job.
        @return: the queue, and the job.
        """
        daemon = self.crashing(point, "--workers", "1")
        daemon.awaitReady()
        script = 'test "$GANETI_POOL_ATTEMPT" = 2'
        (failed,) = daemon.submit(self.command(script))
        daemon.awaitEnds(failed)
        queued = self.fillQueue(daemon)
        self.armed.touch()
        self.assertRaises(DaemonGone, daemon.ask, method, f"/v1/jobs/{failed}{path}")
        self.awaitDeath(daemon)
        return queued, failed

    def test_retryNotCommitted(self) -> None:
        """
        A job whose retry was not committed stays as it was.
        """
        queued, failed = self.killWhileAsked("retry not committed", "POST", "/retry")
        (job,) = self.recover(queued, failed)
        self.assertEqual((job["state"], job["attempt"]), ("failed", 1))
        self.assertEqual(self.attemptsOf(failed), [1])

    def test_retryNotAnswered(self) -> None:
        """
        One whose retry was committed starts once more, behind the others, though its
        client has no answer.
        """
        queued, failed = self.killWhileAsked("retry not answered", "POST", "/retry")
        (job,) = self.recover(queued, failed)
        self.assertSucceeded(job, 2)
        self.assertEqual(self.attemptsOf(failed), [1, 2])
        self.assertEqual(self.startOrder(), [*queued, failed])

    def test_removalNotCommitted(self) -> None:
        """
        A job whose removal was not committed is there, with what it has written.
        """
        queued, failed = self.killWhileAsked("removal not committed", "DELETE", "")
        (job,) = self.recover(queued, failed)
        self.assertEqual((job["state"], job["output"]["stdout"]["bytes"]), ("failed", 5))
        self.assertTrue(list(self.state.glob(f"output/{failed}/1.0/stdout")))

    def test_removalNotAnswered(self) -> None:
        """
        One whose removal was committed is gone, and its number is not used again.
        """
        queued, failed = self.killWhileAsked("removal not answered", "DELETE", "")
        daemon = self.start(*WORKER, "--workers", "1")
        self.assertEqual(daemon.request("GET", f"/v1/jobs/{failed}")[0], 404)
        (last,) = daemon.submit(self.command())
        self.assertEqual(last, max(queued) + 1)
        self.assertEqual(daemon.stop(), 0, daemon.log)
        self.recover(queued, last)


class RandomKillTests(CrashCase):
    """
    Tests for a kill at any moment.
    """

    def setUp(self) -> None:
        super().setUp()
        self.random = random.Random(SEED)
        # of each acknowledged job; two, where the answer to a change was lost
        self.priorities: dict[int, set[int]] = {}
        self.cancelled: set[int] = set()

    def work(self, daemon: Daemon) -> None:
        """
        Give a daemon things to do until it is gone, and keep what it acknowledges.
        """
        while True:
            mayRetry = {"on_crash": "retry", "max_attempts": 2 * ROUNDS}
            new = [
                self.command(
                    self.random.choice([":", "exit 3", "sleep 0.1"]),
                    priority=self.random.randrange(-5, 5),
                    **self.random.choice([{}, mayRetry]),
                )
                for _ in range(self.random.choice([1, 3, 6]))
            ]
            jobs = daemon.ask("POST", "/v1/jobs", new)
            self.priorities.update((job["id"], {job["priority"]}) for job in jobs)
            # refused if it has started meanwhile
            last = jobs[-1]["id"]
            priority = self.random.randrange(-5, 5)
            before = self.priorities[last]
            self.priorities[last] = before | {priority}
            status, _ = daemon.request("PATCH", f"/v1/jobs/{last}", {"priority": priority})
            self.priorities[last] = {priority} if status == 200 else before
            if self.random.random() < 0.3:
                status, job = daemon.request("POST", f"/v1/jobs/{last}/cancel")
                if status == 200 and job["state"] == "cancelled":
                    self.cancelled.add(last)
            # no more than it can do, and always some in the queue
            daemon.awaitEnds(jobs[0]["id"])

    def test_killedAtAnyMoment(self) -> None:
        """
        However often a daemon is killed, no acknowledged job is lost, each has one
        outcome, which never changes, and none runs twice unless it may.
        """
        print(f"seed {SEED}")
        ended: dict[int, Job] = {}
        for _ in range(ROUNDS):
            daemon = self.start(*WORKER, "--workers", "2")
            jobs = daemon.jobs()
            self.assertEqual(self.priorities.keys() - jobs.keys(), set())
            self.assertEqual({one: jobs[one] for one in ended}, ended)
            ended = {one: job for one, job in jobs.items() if job["finished_at"] is not None}
            killer = Timer(self.random.uniform(0, 0.4), daemon.process.kill)
            killer.start()
            self.assertRaises(DaemonGone, self.work, daemon)
            killer.join()
            self.awaitDeath(daemon)
        daemon = self.start(*WORKER, "--workers", "2")
        jobs = {job["id"]: job for job in daemon.awaitEnds(*daemon.jobs())}
        self.assertEqual(self.priorities.keys() - jobs.keys(), set())
        for one, possible in self.priorities.items():
            self.assertIn(jobs[one]["priority"], possible)
        for job in jobs.values():
            self.check(job)
        self.assertNoOverlap()
        self.assertEqual(daemon.stop(), 0, daemon.log)

    def check(self, job: Job) -> None:
        """
        Compare what a job came to with what it wrote down.
        """
        attempts = self.attemptsOf(job["id"])
        self.assertEqual(attempts, sorted(set(attempts)))
        if job["id"] in self.cancelled:
            self.assertEqual((job["state"], attempts), ("cancelled", []))
        elif job["state"] == "failed" and job["error"]["code"] == "interrupted":
            self.assertEqual(job["on_crash"], "fail")
        elif job["state"] != "cancelled":
            self.assertEqual(attempts[-1:], [job["attempt"]])
        if job["on_crash"] == "fail":
            self.assertIn(len(attempts), (0, 1))
