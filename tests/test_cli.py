"""
Tests for L{ganeti_pool.cli}.

They run the command against a fake client, a fake reactor and streams in
memory; a few at the end run it as a program.
"""

from __future__ import annotations

import io
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NoReturn, cast
from unittest import mock

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import globalLogBeginner
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import cli
from ganeti_pool.cli._format import escapeControls, formatDuration, parseDuration
from ganeti_pool.cli._run import perform, run
from ganeti_pool.cli._session import Session, connectToDaemon
from ganeti_pool.client import DaemonUnreachable, JobClient, RequestRefused
from ganeti_pool.wire import MAX_BODY, encode

NOW = datetime(2026, 1, 31, 9, 15, 2, tzinfo=timezone.utc)

MAIN = [sys.executable, "-c", "from ganeti_pool.cli import main; main()"]

OWNER = pwd.getpwuid(os.getuid()).pw_name


def ago(seconds: float) -> str:
    """
    A time before L{NOW}, as the daemon writes it.
    """
    moment = NOW - timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def makeJob(jobID: int, state: str = "queued", **changes: Any) -> dict[str, Any]:
    """
    A job as the daemon sends it.
    """
    started = state != "queued"
    finished = state in ("succeeded", "failed", "cancelled")
    return {
        "id": jobID,
        "key": None,
        "name": f"job{jobID}",
        "owner": None,
        "labels": {},
        "timeout": None,
        "worker": "ganeti_pool.commands.CommandWorker",
        "args": [["true"], {}],
        "priority": 0,
        "state": state,
        "attempt": int(started),
        "max_attempts": 1,
        "submitted_at": ago(3600),
        "started_at": ago(310) if started else None,
        "finished_at": ago(268) if finished else None,
        "cancel_requested_at": None,
        "result": None,
        "error": None,
        "output": None,
        "revision": jobID,
        **changes,
    }


def makeFailed(jobID: int, code: str = "exit_nonzero", **error: Any) -> dict[str, Any]:
    """
    A job that failed.
    """
    reason = {"code": code, "message": "it exited with 3", "exit_code": None, "signal": None}
    return makeJob(jobID, "failed", error={**reason, **error})


POOL: dict[str, Any] = {
    "active": True,
    "workers": 4,
    "busy": 2,
    "statistics": {},
    "jobs": {
        "queued": 12,
        "running": 2,
        "oldest_queued_at": ago(310),
        "longest_running_at": ago(42),
        "last_day": {"succeeded": 310, "failed": 3, "cancelled": 1},
    },
    "store": {"bytes": 900, "free_bytes": 3 << 40, "unwritten": 0, "last_error": None},
    "daemon": {
        "pid": 4711,
        "version": "0.1.0",
        "started_at": ago(4 * 86400),
        "worker": "ganeti_pool.commands.CommandWorker",
        "state_directory": "/var/lib/pool",
        "stopping": False,
    },
}


class FakeClient:
    """
    A daemon in memory, with the face of L{JobClient}.

    @ivar calls: what was asked, each as (method, arguments).
    @ivar troubles: what the next call of a method fails with.
    @ivar changes: the requests for changes that wait.
    @ivar output: what every output stream has.
    """

    def __init__(self, *jobs: dict[str, Any]) -> None:
        self.jobs = {job["id"]: job for job in jobs}
        self.calls: list[tuple[Any, ...]] = []
        self.troubles: dict[str, Exception] = {}
        self.changes: list[Deferred[dict[str, Any]]] = []
        self.cancelled = 0
        self.written = b""
        self.follow: list[Deferred[None]] = []
        self.poolStatus = POOL

    def _answer(self, call: tuple[Any, ...], answer: Callable[[], Any]) -> Deferred[Any]:
        self.calls.append(call)
        trouble = self.troubles.pop(call[0], None)
        if trouble is not None:
            return fail(trouble)
        return succeed(answer())

    def _find(self, method: str, jobID: int, *rest: Any, **changes: Any) -> Deferred[Any]:
        if jobID not in self.jobs:
            self.troubles[method] = RequestRefused(404, "no_such_job", f"there is no job {jobID}")
        return self._answer((method, jobID, *rest), lambda: {**self.jobs[jobID], **changes})

    def submit(self, jobs: Sequence[dict[str, Any]]) -> Deferred[Any]:
        """
        Take jobs.
        """

        def accept() -> list[dict[str, Any]]:
            first = len(self.jobs) + 1
            new = [makeJob(number, **job) for number, job in enumerate(jobs, first)]
            self.jobs.update((job["id"], job) for job in new)
            return new

        return self._answer(("submit", jobs), accept)

    def job(self, jobID: int) -> Deferred[Any]:
        """
        One job.
        """
        return self._find("job", jobID)

    def listJobs(
        self,
        state: Sequence[str] = (),
        name: str | None = None,
        order: str = "asc",
        limit: int = 100,
        after: int | None = None,
        labels: dict[str, str] | None = None,
    ) -> Deferred[Any]:
        """
        A page, as the daemon makes it.
        """

        def page() -> dict[str, Any]:
            found = [
                job
                for job in sorted(
                    self.jobs.values(), key=lambda job: job["id"], reverse=order == "desc"
                )
                if (not state or job["state"] in state)
                and name in (None, job["name"])
                and (labels or {}).items() <= job["labels"].items()
                and (after is None or (job["id"] > after) == (order == "asc"))
                and job["id"] != after
            ]
            more = len(found) > limit
            return {"jobs": found[:limit], "next": found[limit - 1]["id"] if more else None}

        return self._answer(("listJobs", state, name, order, limit, after), page)

    def changedJobs(self, after: int, wait: float) -> Deferred[Any]:
        """
        Wait until the test says what has changed.
        """
        self.calls.append(("changedJobs", after, wait))

        def stop(_: object) -> None:
            self.cancelled += 1

        waiting: Deferred[dict[str, Any]] = Deferred(stop)
        self.changes.append(waiting)
        return waiting

    def change(self, *jobs: dict[str, Any]) -> None:
        """
        Answer the request for changes that waits.
        """
        revision = max((job["revision"] for job in jobs), default=0)
        self.changes.pop(0).callback({"jobs": list(jobs), "revision": revision, "next": None})

    def changePriority(self, jobID: int, priority: int) -> Deferred[Any]:
        """
        Move a job.
        """
        return self._find("changePriority", jobID, priority, priority=priority)

    def cancel(self, jobID: int) -> Deferred[Any]:
        """
        Cancel a job.
        """
        state = self.jobs[jobID]["state"] if jobID in self.jobs else ""
        return self._find("cancel", jobID, state="running" if state == "running" else "cancelled")

    def output(
        self,
        jobID: int,
        stream: str,
        attempt: int | None = None,
        offset: int = 0,
        wait: float = 0,
        *,
        collector: Callable[[bytes], object],
    ) -> Deferred[None]:
        """
        What is written so far; with a wait, the test fires the end.
        """
        self.calls.append(("output", jobID, stream, attempt, offset, wait))
        self.collector = collector
        try:
            for start in range(offset, len(self.written), 5):
                collector(self.written[start : start + 5])
        except OSError:
            return fail()
        if not wait:
            return succeed(None)
        self.follow.append(Deferred())
        return self.follow[-1]

    def pool(self) -> Deferred[Any]:
        """
        The status.
        """
        return self._answer(("pool",), lambda: self.poolStatus)

    def changePool(self, active: bool | None = None, workers: int | None = None) -> Deferred[Any]:
        """
        Pause, resume, resize.
        """
        changes = {"active": active, "workers": workers}
        given = {key: value for key, value in changes.items() if value is not None}
        return self._answer(("changePool", given), lambda: {**self.poolStatus, **given})


class Stream(io.TextIOWrapper):
    """
    A text stream in memory.

    @ivar terminal: whether it says that it is one.
    """

    def __init__(self, terminal: bool = False) -> None:
        self.memory = io.BytesIO()
        super().__init__(self.memory, encoding="utf-8", write_through=True)
        self.terminal = terminal

    def isatty(self) -> bool:
        """
        Whether this is a terminal.
        """
        return self.terminal

    def text(self) -> str:
        """
        What was written.
        """
        return self.memory.getvalue().decode()


class Input(io.BytesIO):
    """
    Standard input in memory.
    """

    name = "<stdin>"


class CommandCase(SynchronousTestCase):
    """
    Runs the command against a L{FakeClient}.
    """

    def setUp(self) -> None:
        """
        The environment is known, and the local time is one hour ahead of UTC.
        """
        known = {"PATH": "/bin", "TERM": "xterm", "COLUMNS": "80", "TZ": "XST-1"}
        environment = mock.patch.dict(os.environ, known, clear=True)
        environment.start()
        self.addCleanup(time.tzset)
        self.addCleanup(environment.stop)
        time.tzset()
        self.reactor = MemoryReactorClock()
        self.reactor.advance(NOW.timestamp())
        self.client = FakeClient()
        self.out = Stream()
        self.err = Stream()

    def start(self, *argv: str) -> Deferred[NoReturn]:
        """
        Begin to run the command.
        """
        client = cast(JobClient, self.client)
        session = Session(self.reactor, self.out, self.err, openClient=lambda _: client)
        return perform(session, argv)

    def codeOf(self, running: Deferred[NoReturn]) -> int:
        """
        The exit code of a command that has ended.
        """
        code = self.failureResultOf(running, SystemExit).value.code
        assert isinstance(code, int)
        return code

    def check(self, *argv: str, out: str = "", err: str = "", code: int = 0) -> None:
        """
        Run a command that ends at once, and check all that can be seen of it.
        """
        running = self.start(*argv)
        self.assertEqual((self.out.text(), self.err.text()), (out, err))
        self.assertEqual(self.codeOf(running), code)

    def interrupt(self) -> None:
        """
        What Ctrl-C makes the reactor do.
        """
        for trigger, args, kwargs in self.reactor.triggers["before"]["shutdown"]:
            trigger(*args, **kwargs)


class SubmitTests(CommandCase):
    """
    Tests for C{submit}.
    """

    def setUp(self) -> None:
        """
        A umask that is known.
        """
        super().setUp()
        self.addCleanup(os.umask, os.umask(0o027))

    def submitted(self) -> list[dict[str, Any]]:
        """
        All jobs that were submitted.
        """
        return [job for call in self.client.calls if call[0] == "submit" for job in call[1]]

    def fromFile(self, content: str | bytes, *argv: str, **expected: Any) -> None:
        """
        Check C{submit --from-file}.
        """
        path = Path(self.mktemp())
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        if "err" in expected:
            expected["err"] = expected["err"].format(path=path)
        self.check("submit", "--from-file", str(path), *argv, **expected)

    def test_printsTheIDAlone(self) -> None:
        """
        A command is submitted with this process's directory, umask and PATH, and
        what was not said is left to the daemon; the id alone is printed.
        """
        self.check("submit", "ls", "-l", "--json", out="1\n")
        options = {"cwd": os.getcwd(), "umask": "0027", "env": {"PATH": "/bin"}}
        self.assertEqual(
            self.submitted(), [{"args": [["ls", "-l", "--json"], options], "owner": OWNER}]
        )

    def test_umaskStays(self) -> None:
        """
        To read the umask does not change it.
        """
        self.check("submit", "ls", out="1\n")
        self.assertEqual(os.umask(0o027), 0o027)

    def test_options(self) -> None:
        """
        Every option is sent under its key, and C{--} ends the options.
        """
        os.environ["HOME"] = "/home/ana"
        self.check(
            *("submit", "--priority", "-5", "--name", "Lists", "--cwd", "/a/../src"),
            *("--env", "HOME", "--env", "A=b=c", "--env", "E=", "--env", "PATH=/opt/bin"),
            *("--max-attempts", "3", "--on-crash", "retry", "--label", "a=b=c", "--label", "d="),
            *("--key", "k", "--timeout", "1m30s", "--", "--ls"),
            out="1\n",
        )
        env = {"PATH": "/opt/bin", "HOME": "/home/ana", "A": "b=c", "E": ""}
        self.assertEqual(
            self.submitted(),
            [
                {
                    "args": [["--ls"], {"cwd": "/src", "umask": "0027", "env": env}],
                    "priority": -5,
                    "name": "Lists",
                    "owner": OWNER,
                    "labels": {"a": "b=c", "d": ""},
                    "timeout": 90.0,
                    "key": "k",
                    "max_attempts": 3,
                    "on_crash": "retry",
                }
            ],
        )

    def test_keyOfAFile(self) -> None:
        """
        The jobs of a file get keys by the numbers of their lines.
        """
        self.fromFile('["a"]\n\n["b"]\n', "--key", "k", out="1\n2\n")
        self.assertEqual([job["key"] for job in self.submitted()], ["k-1", "k-3"])

    def test_wrongLabels(self) -> None:
        """
        A label that is none, or is there twice, is a wrong call.
        """
        for labels, sentence in [
            (("a",), "'a' is no label as K=V."),
            (("=a",), "'=a' is no label as K=V."),
            (("a=1", "a=2"), "the label 'a' is there twice."),
        ]:
            running = self.start("submit", *(f"--label={label}" for label in labels), "ls")
            self.assertEqual(self.codeOf(running), 2)
            self.assertIn(sentence, self.err.text())
        self.assertEqual(self.client.calls, [])

    def test_noTimeAtAll(self) -> None:
        """
        A timeout of nothing is left to the daemon, which refuses it.
        """
        self.check("submit", "--timeout", "0", "ls", out="1\n")
        self.assertEqual(self.submitted()[0]["timeout"], 0.0)

    def test_namelessOwner(self) -> None:
        """
        Where the system has no name for the user, the owner is the number.
        """

        def getpwuid(uid: int) -> object:
            raise KeyError(uid)

        self.patch(pwd, "getpwuid", getpwuid)
        self.check("submit", "ls", out="1\n")
        self.assertEqual(self.submitted()[0]["owner"], str(os.getuid()))

    def test_noPath(self) -> None:
        """
        Where there is no PATH, none is sent.
        """
        del os.environ["PATH"]
        self.check("submit", "ls", out="1\n")
        self.assertEqual(self.submitted()[0]["args"][1]["env"], {})

    def test_priorityWords(self) -> None:
        """
        Low, normal and high are 10, 0 and -10; other words are refused.
        """
        for word in ("low", "normal", "high"):
            self.assertEqual(self.codeOf(self.start("submit", "--priority", word, "ls")), 0)
        self.assertEqual([job["priority"] for job in self.submitted()], [10, 0, -10])
        self.out = Stream()
        self.check(
            *("submit", "--priority", "urgent", "ls"),
            err="ganeti-pool: Invalid value for '--priority': 'urgent' is neither a whole "
            "number nor low, normal or high. See --help.\n",
            code=2,
        )

    def test_jsonIsTheJob(self) -> None:
        """
        With C{--json}, before or behind the verb, the job is printed.
        """
        job = makeJob(
            1,
            args=[["ls"], {"cwd": os.getcwd(), "umask": "0027", "env": {"PATH": "/bin"}}],
            owner=OWNER,
        )
        self.check("--json", "submit", "ls", out=encode(job).decode() + "\n")
        self.client = FakeClient()
        self.out = Stream()
        self.check("submit", "--json", "ls", out=encode(job).decode() + "\n")

    def test_nothingToSubmit(self) -> None:
        """
        Neither a command nor a file, and both, are mistakes.
        """
        err = "ganeti-pool: Give a command, or --from-file. See --help.\n"
        self.check("submit", err=err, code=2)
        self.err = Stream()
        self.fromFile("", "ls", err=err, code=2)

    def test_unsetVariable(self) -> None:
        """
        A variable without a value here or there is refused, and one without a name.
        """
        for setting in ("HOME", "=x"):
            self.err = Stream()
            self.check(
                *("submit", "--env", setting, "ls"),
                err=f"ganeti-pool: --env {setting}: say NAME=VALUE, or the NAME of a variable "
                "that is set here. See --help.\n",
                code=2,
            )

    def test_directoryIsGone(self) -> None:
        """
        A working directory that was removed is said, unless another is named.
        """
        with mock.patch("os.getcwd", side_effect=FileNotFoundError):
            self.check(
                *("submit", "ls"),
                err="ganeti-pool: The working directory has been removed: name another with "
                "--cwd. See --help.\n",
                code=2,
            )
            self.err = Stream()
            self.check("submit", "--cwd", "/", "ls", out="1\n")

    def test_notUTF8(self) -> None:
        """
        An argument of bytes that are not UTF-8 is refused, and nothing is asked.
        """
        self.check(
            *("submit", "ls", os.fsdecode(b"caf\xe9")),
            err="ganeti-pool: the command: '\\udce9' is not UTF-8, which is all that a job can "
            "hold. See --help.\n",
            code=2,
        )
        self.assertEqual(self.client.calls, [])

    def test_fromFile(self) -> None:
        """
        Each line of a file is an argv in JSON; blank ones count for nothing.
        """
        self.fromFile('["sha256sum", "é"]\n\n["ls"]', out="1\n2\n")
        self.assertEqual([job["args"][0] for job in self.submitted()], [["sha256sum", "é"], ["ls"]])

    def test_emptyFile(self) -> None:
        """
        A file without lines is no job, and no mistake.
        """
        self.fromFile("")
        self.assertEqual(self.client.calls, [])

    def test_fromStandardInput(self) -> None:
        """
        C{-} is standard input.
        """
        self.patch(sys, "stdin", io.TextIOWrapper(Input(b'["ls"]\n')))
        self.check("submit", "--from-file", "-", out="1\n")

    def test_wrongLines(self) -> None:
        """
        A wrong line is named, and nothing is submitted.
        """
        shape = 'not an array of strings such as ["sha256sum", "README.md"]'
        for line, problem in (
            (b"ls", "no JSON (Expecting value: line 1 column 1 (char 0))"),
            (b"{}", shape),
            (b"[]", shape),
            (b"[1]", shape),
            (
                b'["\xff"]',
                "no JSON ('utf-8' codec can't decode byte 0xff in position 2: invalid start byte)",
            ),
            (b'["\\ud800"]', "'\\ud800' is not UTF-8, which is all that a job can hold"),
        ):
            self.err = Stream()
            # The error has backslashes, and no braces.
            err = "ganeti-pool: {path}, line 2: " + problem + ". See --help.\n"
            self.fromFile(b'["ls"]\n' + line + b"\n", err=err, code=2)
        self.assertEqual(self.client.calls, [])

    def test_deepLine(self) -> None:
        """
        A line that nests without end is refused like any other.
        """
        running = self.start("submit", "--from-file", self.write(b"[" * 200_000))
        self.assertEqual(self.codeOf(running), 2)
        self.assertIn("line 1: no JSON (", self.err.text())

    def submitFile(self, content: bytes) -> None:
        """
        Submit a file that is right.
        """
        running = self.start("submit", "--cwd", "/", "--from-file", self.write(content))
        self.assertEqual(self.codeOf(running), 0)

    def write(self, content: bytes) -> str:
        """
        Make a file.
        """
        path = Path(self.mktemp())
        path.write_bytes(content)
        return str(path)

    def test_noFile(self) -> None:
        """
        A file that cannot be opened is a mistake in the call.
        """
        self.check(
            *("submit", "--from-file", "/nowhere/at-all"),
            err="ganeti-pool: Invalid value for '--from-file': '/nowhere/at-all': No such file "
            "or directory See --help.\n",
            code=2,
        )

    def test_hugeJob(self) -> None:
        """
        A job that no request can hold is refused with its line; the largest one
        that fits is sent.
        """
        self.submitFile(b'[""]')
        room = MAX_BODY - len(encode(self.submitted()))
        self.submitFile(b'["%s"]' % (b"x" * room))
        self.assertEqual(len(encode(self.client.calls[-1][1])), MAX_BODY)
        self.out = Stream()
        big = b'["ls"]\n["%s"]' % (b"x" * (room + 1))
        self.fromFile(
            big,
            *("--cwd", "/"),
            err="ganeti-pool: {path}, line 2: a job of 1048576 bytes, and a request has 1048576 "
            "at most. See --help.\n",
            code=2,
        )

    def test_batches(self) -> None:
        """
        No request has more than 1,000 jobs or more bytes than are read.
        """
        self.fromFile('["ls"]\n' * 2500, out="".join(f"{n}\n" for n in range(1, 2501)))
        self.assertEqual([len(call[1]) for call in self.client.calls], [1000, 1000, 500])
        self.client = FakeClient()
        line = '["%s"]\n' % ("x" * 300_000)
        self.out = Stream()
        self.fromFile(line * 7, out="".join(f"{n}\n" for n in range(1, 8)))
        self.assertEqual([len(call[1]) for call in self.client.calls], [3, 3, 1])

    def test_refused(self) -> None:
        """
        A refusal is passed on.
        """
        self.client.troubles["submit"] = RequestRefused(429, "queue_full", "the queue is full")
        self.check("submit", "ls", err="ganeti-pool: the queue is full\n", code=4)

    def test_refusedInTheMiddle(self) -> None:
        """
        Of several batches, those before a refusal are submitted, and it is said so.
        """
        accept = self.client.submit

        def submit(jobs: Sequence[dict[str, Any]]) -> Deferred[Any]:
            if self.client.jobs:
                self.client.troubles["submit"] = DaemonUnreachable("/socket", "it broke")
            return accept(jobs)

        self.patch(self.client, "submit", submit)
        self.fromFile(
            '["ls"]\n' * 1500,
            out="".join(f"{n}\n" for n in range(1, 1001)),
            err="ganeti-pool: there is no answer from a daemon at /socket: it broke (1000 of "
            "1500 jobs are known to be submitted)\n",
            code=3,
        )

    def test_interrupted(self) -> None:
        """
        Ctrl-C before the answer says how many jobs are known to be submitted.
        """
        self.patch(self.client, "submit", lambda jobs: Deferred())
        running = self.start("submit", "ls")
        self.interrupt()
        self.assertEqual(self.codeOf(running), 130)
        self.assertEqual(
            self.err.text(),
            "ganeti-pool: interrupted: 0 of 1 jobs are known to be submitted\n",
        )

    def test_wait(self) -> None:
        """
        With C{--wait} the id alone goes to standard output at once, what becomes of
        the job to standard error, and the exit code tells it.
        """
        running = self.start("submit", "--wait", "ls")
        self.assertEqual((self.out.text(), self.err.text()), ("1\n", ""))
        self.assertEqual(self.client.calls[-1], ("changedJobs", 1, 60))
        self.client.change(makeFailed(1))
        self.assertEqual(self.codeOf(running), 1)
        self.assertEqual(
            (self.out.text(), self.err.text()), ("1\n", "1 failed: it exited with 3\n")
        )

    def test_waitJSON(self) -> None:
        """
        With C{--wait --json} the job is printed as submitted and as finished.
        """
        running = self.start("submit", "--wait", "--json", "ls")
        self.client.change(makeJob(1, "succeeded"))
        self.assertEqual(self.codeOf(running), 0)
        states = [json.loads(line)["state"] for line in self.out.text().splitlines()]
        self.assertEqual((states, self.err.text()), (["queued", "succeeded"], ""))


class ListTests(CommandCase):
    """
    Tests for C{list}.
    """

    def test_columns(self) -> None:
        """
        Jobs are shown newest first, in aligned columns that fit wide characters.
        """
        self.client = FakeClient(
            makeJob(1, "succeeded", name="日本"),
            makeFailed(2, exit_code=3),
            makeFailed(3, signal="SIGKILL"),
            makeFailed(4, code="interrupted"),
            makeJob(5, "running", priority=-10),
            makeJob(16, name="a\x1b[2Jb\n"),
        )
        self.check(
            "list",
            out="ID  STATE      PRIO  TRY  AGE  TIME   EXIT         NAME\n"
            "16  queued     0     0    1h   -      -            a\\x1b[2Jb\\n\n"
            "5   running    -10   1    1h   5m10s  -            job5\n"
            "4   failed     0     1    1h   42s    interrupted  job4\n"
            "3   failed     0     1    1h   42s    SIGKILL      job3\n"
            "2   failed     0     1    1h   42s    3            job2\n"
            "1   succeeded  0     1    1h   42s    0            日本\n",
        )

    def test_chosenColumns(self) -> None:
        """
        C{-o} chooses columns and keys; widths are those of what a terminal shows.
        """
        self.client = FakeClient(makeJob(1, name="日本"), makeJob(2, name="x"))
        self.check(
            *("list", "-o", "NAME,args,Started_at,id"),
            out='NAME  ARGS           STARTED_AT  ID\nx     [["true"],{}]  -           2\n'
            '日本  [["true"],{}]  -           1\n',
        )

    def test_unknownColumn(self) -> None:
        """
        A column that does not exist is a mistake that names those that do.
        """
        running = self.start("list", "-o", "id,colour")
        self.assertEqual(self.codeOf(running), 2)
        self.assertIn("Invalid value for '-o': 'colour' is none of id, state,", self.err.text())

    def test_noHeaders(self) -> None:
        """
        C{--no-headers} leaves out the first line; with no job there is nothing.
        """
        self.check("list", "--no-headers")
        self.client = FakeClient(makeJob(1))
        self.check("list", "--no-headers", "-o", "id", out="1\n")

    def test_headersOnly(self) -> None:
        """
        With no job, the headings stand alone.
        """
        self.check("list", out="ID  STATE  PRIO  TRY  AGE  TIME  EXIT  NAME\n")

    def test_json(self) -> None:
        """
        With C{--json}, each job is an object on a line, as the daemon sent it.
        """
        self.client = FakeClient(makeJob(1, name="é"), makeJob(2))
        self.check("--json", "list", out=f"{self.line(2)}{self.line(1)}")

    def line(self, jobID: int) -> str:
        """
        A job as JSON.
        """
        return encode(self.client.jobs[jobID]).decode() + "\n"

    def test_filters(self) -> None:
        """
        State and name are left to the daemon, and 50 is the limit.
        """
        self.check("list", "--no-headers", "--state", "queued", "--state", "failed", "--name", "a")
        self.assertEqual(
            self.client.calls, [("listJobs", ("queued", "failed"), "a", "desc", 50, None)]
        )

    def test_labels(self) -> None:
        """
        Jobs are found by all of the labels that are asked for, and shown with them.
        """
        labels = {"a": "1", "b": "2"}
        self.client = FakeClient(makeJob(1, labels=labels), makeJob(2, labels={"a": "1"}))
        columns = ("-o", "id,labels,key,owner,timeout", "--no-headers")
        self.check(
            *("list", *columns, "--label", "a=1", "--label", "b=2"),
            out='1  {"a":"1","b":"2"}  -  -  -\n',
        )
        running = self.start("list", "1", "--label", "a=1")
        self.assertEqual(self.codeOf(running), 2)

    def test_limits(self) -> None:
        """
        C{--limit} and C{--all} take as many requests as they need.
        """
        self.client = FakeClient(*map(makeJob, range(1, 2002)))
        for options, first in (
            ((), 1952),
            (("--limit", "3"), 1999),
            (("--limit", "1001"), 1001),
            (("--all",), 1),
        ):
            self.out = Stream()
            self.check(
                *("list", "--no-headers", "-o", "id", *options),
                out="".join(f"{n}\n" for n in range(2001, first - 1, -1)),
            )
        self.assertEqual(
            [call[4:] for call in self.client.calls],
            [
                *((50, None), (3, None), (1000, None), (1, 1002)),
                *((1000, None), (1000, 1002), (1000, 2)),
            ],
        )

    def test_ids(self) -> None:
        """
        Jobs that are named come in that order, each once, with one request for
        neighbours.
        """
        self.client = FakeClient(*map(makeJob, (*range(1, 10), 5000)))
        self.check("list", "--no-headers", "-o", "id", "5000", "7", "3", "7", out="5000\n7\n3\n")
        self.assertEqual(
            [call[4:] for call in self.client.calls],
            [(1000, 2)],
        )

    def test_farIDs(self) -> None:
        """
        What is between jobs far apart is not fetched.
        """
        self.client = FakeClient(*map(makeJob, range(1, 3001)))
        self.check("list", "--no-headers", "-o", "id", "1", "3000", out="1\n3000\n")
        self.assertEqual([call[4:] for call in self.client.calls], [(1000, 0), (1, 2999)])

    def test_missingIDs(self) -> None:
        """
        Those that do not exist are named, and nothing is shown.
        """
        self.client = FakeClient(makeJob(3))
        self.check("list", "2", "3", "9", err="ganeti-pool: there is no job 2, 9\n", code=4)

    def test_contradictions(self) -> None:
        """
        IDs with a filter, all with a limit, and columns with JSON are mistakes.
        """
        both = "Give IDs, or say which jobs; not both."
        for argv, sentence in (
            (("1", "--state", "queued"), both),
            (("1", "--name", ""), both),
            (("1", "--limit", "3"), both),
            (("1", "--all"), both),
            (("--all", "--limit", "3"), "--all has no --limit."),
            (("-o", "id", "--json"), "-o is for text; --json shows every field."),
        ):
            self.err = Stream()
            self.check("list", *argv, err=f"ganeti-pool: {sentence} See --help.\n", code=2)
        self.assertEqual(self.client.calls, [])

    def test_colours(self) -> None:
        """
        A terminal gets states in colours, unless told not to.
        """
        self.client = FakeClient(makeFailed(1), makeJob(2, name="failed"))
        columns = ("list", "--no-headers", "-o", "state,name")
        plain = "queued  failed\nfailed  job1\n"
        self.out = Stream(terminal=True)
        self.check(*columns, out="queued  failed\n\x1b[31mfailed\x1b[0m  job1\n")
        self.out = Stream(terminal=True)
        self.check("--no-color", *columns, out=plain)
        self.out = Stream()
        self.check(*columns, out=plain)


class ShowTests(CommandCase):
    """
    Tests for C{show} and C{status}.
    """

    def test_show(self) -> None:
        """
        What is known of a job is shown on a line each, with local times and
        nothing that could move the cursor, and then its attempts.
        """
        output = {
            "stdout": {"bytes": 120, "truncated": False},
            "stderr": {"bytes": 64 << 20, "truncated": True},
        }
        attempt = {"number": 1, "started_at": ago(310), "finished_at": None, "outcome": None}
        job = {**makeFailed(7, exit_code=3), "name": "a\x1b", "output": output}
        job.update(key="k", owner="ana", labels={"a": "1"}, timeout=90.0)
        self.client = FakeClient({**job, "attempts": [attempt]}, makeJob(8))
        self.check(
            "show",
            "7",
            out="id                   7\n"
            "key                  k\n"
            "name                 a\\x1b\n"
            "owner                ana\n"
            'labels               {"a":"1"}\n'
            "timeout              90.0\n"
            "worker               ganeti_pool.commands.CommandWorker\n"
            'args                 [["true"],{}]\n'
            "priority             0\n"
            "state                failed\n"
            "attempt              1\n"
            "max attempts         1\n"
            "submitted at         2026-01-31 09:15:02+01:00\n"
            "started at           2026-01-31 10:09:52+01:00\n"
            "finished at          2026-01-31 10:10:34+01:00\n"
            "error                exit_nonzero: it exited with 3\n"
            "output               stdout 120 bytes, stderr 64.0 MiB (truncated)\n"
            "revision             7\n"
            "attempt 1\n"
            "  started at         2026-01-31 10:09:52+01:00\n",
        )

    def test_showSeveral(self) -> None:
        """
        Several jobs are shown with a blank line between them; one that does not
        exist is said, and does not hide the others.
        """
        self.client = FakeClient(makeJob(7), makeJob(8))
        running = self.start("show", "7", "9", "8")
        self.assertEqual(self.codeOf(running), 4)
        self.assertEqual(self.err.text(), "ganeti-pool: there is no job 9\n")
        first, second = self.out.text().split("\n\n")
        self.assertTrue(first.startswith("id                   7\n"), first)
        self.assertTrue(second.startswith("id                   8\n"), second)

    def test_showJSON(self) -> None:
        """
        With C{--json} a job is one line, in UTC.
        """
        self.client = FakeClient(makeJob(7), makeJob(8))
        lines = [encode(job).decode() + "\n" for job in self.client.jobs.values()]
        self.check("show", "--json", "7", "8", out="".join(lines))

    def test_status(self) -> None:
        """
        The daemon, its pool, the queue and the store have a line each.
        """
        self.check(
            "status",
            out="daemon     pid 4711, version 0.1.0, up 4d\n"
            "worker     ganeti_pool.commands.CommandWorker\n"
            "directory  /var/lib/pool\n"
            "pool       active, 2 of 4 workers busy\n"
            "queued     12, oldest 5m10s\n"
            "running    2, longest 42s\n"
            "last 24 h  310 succeeded, 3 failed, 1 cancelled\n"
            "store      900 bytes, 3.0 TiB free\n",
        )

    def test_statusOfTrouble(self) -> None:
        """
        What is wrong with the daemon is shown, and no age of an empty queue.
        """
        self.client.poolStatus = {
            **POOL,
            "active": False,
            "jobs": {**POOL["jobs"], "queued": 0, "oldest_queued_at": None},
            "store": {**POOL["store"], "unwritten": 2, "last_error": "no room\x1b"},
            "daemon": {**POOL["daemon"], "stopping": True},
        }
        self.assertEqual(self.codeOf(self.start("status")), 0)
        lines = self.out.text().splitlines()
        self.assertEqual(lines[0], "daemon     pid 4711, version 0.1.0, up 4d, stopping")
        self.assertEqual(lines[3:5], ["pool       paused, 2 of 4 workers busy", "queued     0"])
        self.assertEqual(
            lines[-2:],
            ["unwritten  2 outcomes wait for the store", "last error no room\\x1b"],
        )

    def test_statusJSON(self) -> None:
        """
        With C{--json} the status is one line, as the daemon sent it.
        """
        self.check("status", "--json", out=encode(POOL).decode() + "\n")


class LogsTests(CommandCase):
    """
    Tests for C{logs}.
    """

    def setUp(self) -> None:
        """
        A job that runs and has written something.
        """
        super().setUp()
        self.client = FakeClient(makeJob(7, "running"))
        self.client.written = b"one\ntwo\n\xff\x1b\nfour"

    def written(self) -> bytes:
        """
        The bytes on standard output.
        """
        return self.out.memory.getvalue()

    def test_bytesAsTheyAre(self) -> None:
        """
        The output is copied byte for byte, also to a terminal.
        """
        self.out = Stream(terminal=True)
        self.assertEqual(self.codeOf(self.start("logs", "7")), 0)
        self.assertEqual(self.written(), self.client.written)
        self.assertEqual(self.client.calls, [("output", 7, "stdout", None, 0, 0)])

    def test_stderrOfAnAttempt(self) -> None:
        """
        The stream and the attempt can be chosen.
        """
        self.assertEqual(self.codeOf(self.start("logs", "--stderr", "--attempt", "2", "7")), 0)
        self.assertEqual(self.client.calls, [("output", 7, "stderr", 2, 0, 0)])

    def test_tail(self) -> None:
        """
        C{--tail} gives the last lines, of which one need not have ended.
        """
        for lines, expected in (
            ("0", b""),
            ("1", b"four"),
            ("2", b"\xff\x1b\nfour"),
            ("9", self.client.written),
        ):
            self.out = Stream()
            self.assertEqual(self.codeOf(self.start("logs", "--tail", lines, "7")), 0)
            self.assertEqual(self.written(), expected)
        self.client.written += b"\n"
        self.out = Stream()
        self.assertEqual(self.codeOf(self.start("logs", "--tail", "1", "7")), 0)
        self.assertEqual(self.written(), b"four\n")

    def test_follow(self) -> None:
        """
        C{-f} writes what comes until the attempt has ended.
        """
        running = self.start("logs", "-f", "7")
        self.client.collector(b"more")
        self.assertEqual(self.written(), self.client.written + b"more")
        self.assertNoResult(running)
        self.client.jobs[7] = makeJob(7, "succeeded")
        self.client.follow.pop().callback(None)
        self.assertEqual(self.codeOf(running), 0)

    def test_followGoesOn(self) -> None:
        """
        An answer that ends before the attempt does is asked for again, from where it
        ended and for the same attempt.
        """
        running = self.start("logs", "-f", "--tail", "1", "7")
        self.assertEqual(self.written(), b"four")
        self.client.written += b"teen"
        self.client.follow.pop().callback(None)
        self.assertEqual(self.written(), b"fourteen")
        size = len(self.client.written)
        self.assertEqual(
            [call[3:5] for call in self.client.calls if call[0] == "output"],
            [(1, 0), (1, size - 4), (1, size - 4)],
        )
        self.client.jobs[7] = makeJob(7, "running", attempt=2)
        self.client.follow.pop().callback(None)
        self.assertEqual(self.codeOf(running), 0)

    def test_followWaits(self) -> None:
        """
        C{-f} on a job that has not started follows its first attempt.
        """
        self.client.jobs[7] = makeJob(7)
        running = self.start("logs", "-f", "7")
        self.assertEqual(self.client.calls[-1][3], 1)
        self.interrupt()
        self.assertEqual(self.codeOf(running), 130)
        self.assertEqual(self.err.text(), "ganeti-pool: interrupted: job 7 goes on\n")

    def test_nobodyReads(self) -> None:
        """
        When the reader of a pipe has gone, the command ends quietly, and what is
        still in its buffers goes nowhere.
        """
        readEnd, writeEnd = os.pipe()
        os.close(readEnd)
        with io.TextIOWrapper(os.fdopen(writeEnd, "wb"), encoding="utf-8") as pipe:
            self.out = cast(Stream, pipe)
            running = self.start("logs", "7")
            self.assertEqual(self.codeOf(running), 141)
            pipe.write("left")
        self.assertEqual(self.err.text(), "")


class WaitTests(CommandCase):
    """
    Tests for C{wait}.
    """

    def setUp(self) -> None:
        """
        Two jobs that are not finished, one that is, and one of somebody else.
        """
        super().setUp()
        self.client = FakeClient(
            makeJob(1), makeJob(2, "running"), makeJob(3, "succeeded"), makeJob(9, revision=50)
        )

    def test_tellsOfEach(self) -> None:
        """
        Each job is told of when it is finished, one that was finished before at
        once, others not at all; the next request begins where the last one ended.
        """
        running = self.start("wait", "1", "2", "3", "1")
        self.assertEqual(self.out.text(), "3 succeeded\n")
        self.assertEqual(self.client.calls[-1], ("changedJobs", 50, 60))
        self.client.change(makeJob(1, "running", revision=51), makeJob(9, "failed", revision=52))
        self.assertEqual(self.client.calls[-1], ("changedJobs", 52, 60))
        self.client.change(makeJob(2, "succeeded", revision=53))
        self.assertEqual(self.out.text(), "3 succeeded\n2 succeeded\n")
        self.assertNoResult(running)
        self.client.change(makeJob(1, "succeeded", revision=54))
        self.assertEqual(self.codeOf(running), 0)
        self.assertEqual(self.out.text(), "3 succeeded\n2 succeeded\n1 succeeded\n")
        self.assertEqual(self.client.changes, [])

    def test_revisionIsOlderThanTheJobs(self) -> None:
        """
        The revision to ask changes from is learnt before the jobs are looked at, so
        that no change between falls through.
        """
        self.start("wait", "1")
        self.assertEqual(
            [call[3:] for call in self.client.calls[:2]],
            [("desc", 1, None), ("asc", 1, 0)],
        )

    def test_failed(self) -> None:
        """
        The exit code is 1 if one of them failed or was cancelled.
        """
        for end, text in (
            (makeFailed(1), "1 failed: it exited with 3\n"),
            (makeJob(1, "cancelled"), "1 cancelled\n"),
        ):
            self.out = Stream()
            running = self.start("wait", "1", "2")
            self.client.change(end)
            self.client.change(makeJob(2, "succeeded"))
            self.assertEqual(self.codeOf(running), 1)
            self.assertEqual(self.out.text(), text + "2 succeeded\n")

    def test_json(self) -> None:
        """
        With C{--json} each finished job is an object, also on a terminal.
        """
        self.out = Stream(terminal=True)
        self.check("wait", "--json", "3", out=encode(self.client.jobs[3]).decode() + "\n")

    def test_all(self) -> None:
        """
        C{--all} waits for what is queued or running now.
        """
        running = self.start("wait", "--all")
        finished = (makeJob(jobID, "succeeded") for jobID in (1, 2, 9))
        self.client.change(*finished)
        self.assertEqual(self.codeOf(running), 0)

    def test_nothingToWaitFor(self) -> None:
        """
        C{--all} with nothing to wait for ends at once.
        """
        self.client = FakeClient()
        self.check("wait", "--all")
        self.client = FakeClient(makeJob(3, "failed"))
        self.check("wait", "--all", "--any")

    def test_any(self) -> None:
        """
        C{--any} ends with the first, and its outcome is the exit code.
        """
        running = self.start("wait", "--any", "1", "2")
        self.client.change(makeFailed(2))
        self.assertEqual(self.codeOf(running), 1)
        self.check("wait", "--any", "1", "3", out="2 failed: it exited with 3\n3 succeeded\n")

    def test_which(self) -> None:
        """
        Which jobs must be said, in one way.
        """
        for argv in ((), ("--all", "1")):
            self.err = Stream()
            self.check("wait", *argv, err="ganeti-pool: Give IDs, or --all. See --help.\n", code=2)

    def test_noSuchJob(self) -> None:
        """
        A job that does not exist is refused before any waiting.
        """
        self.check("wait", "1", "4", err="ganeti-pool: there is no job 4\n", code=4)

    def test_timeout(self) -> None:
        """
        When the time is up, the request is given up and the exit code is 124.
        """
        running = self.start("wait", "--timeout", "1m30s", "1", "2")
        self.reactor.advance(89)
        self.assertNoResult(running)
        self.reactor.advance(1)
        self.assertEqual(self.codeOf(running), 124)
        self.assertEqual(self.client.cancelled, 1)
        self.assertEqual(self.err.text(), "ganeti-pool: not finished after 1m30s: 2 jobs go on\n")

    def test_timeoutNotReached(self) -> None:
        """
        A wait that ends in time leaves no timer.
        """
        running = self.start("wait", "--timeout", "90", "1")
        self.client.change(makeJob(1, "succeeded"))
        self.assertEqual(self.codeOf(running), 0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_wrongTimeout(self) -> None:
        """
        A time that is none is a mistake.
        """
        self.check(
            *("wait", "--timeout", "soon", "1"),
            err="ganeti-pool: Invalid value for '--timeout': 'soon' is no duration such as 90, "
            "42s, 5m10s or 4d. See --help.\n",
            code=2,
        )

    def test_interrupted(self) -> None:
        """
        Ctrl-C says what goes on, gives up the request, and exits with 130.
        """
        running = self.start("wait", "1", "2")
        self.client.change(makeJob(2, "succeeded"))
        self.interrupt()
        self.assertEqual(self.codeOf(running), 130)
        self.assertEqual(self.client.cancelled, 1)
        self.assertEqual(self.err.text(), "ganeti-pool: interrupted: job 1 goes on\n")

    def test_daemonVanishes(self) -> None:
        """
        A daemon that goes away while one waits is said, with exit code 3.
        """
        running = self.start("wait", "1")
        self.client.changes.pop().errback(DaemonUnreachable("/socket", "it hung up"))
        self.assertEqual(self.codeOf(running), 3)
        self.assertEqual(
            self.err.text(),
            "ganeti-pool: there is no answer from a daemon at /socket: it hung up\n",
        )

    def test_bar(self) -> None:
        """
        A terminal gets a bar with the count, and a line for each job that did not
        succeed; the cursor is back at the end.
        """
        self.out = Stream(terminal=True)
        running = self.start("wait", "1", "2", "3")
        self.assertIn("1/3", self.out.text())
        self.client.change(makeFailed(2))
        self.client.change(makeJob(1, "succeeded"))
        self.assertEqual(self.codeOf(running), 1)
        text = self.out.text()
        self.assertIn("2 failed: it exited with 3", text)
        self.assertIn("3/3", text)
        self.assertNotIn("succeeded", text)
        self.assertEqual(text.count("\x1b[?25l"), text.count("\x1b[?25h"))
        self.assertIn("\x1b[31m", text)

    def test_barWithoutColour(self) -> None:
        """
        C{--no-color} holds for the bar.
        """
        self.out = Stream(terminal=True)
        running = self.start("wait", "--no-color", "1")
        self.client.change(makeFailed(1))
        self.assertEqual(self.codeOf(running), 1)
        self.assertNotIn("\x1b[3", self.out.text())

    def test_barOfSubmit(self) -> None:
        """
        The bar of C{submit --wait} is on standard error, where the id is not.
        """
        self.err = Stream(terminal=True)
        self.client = FakeClient()
        running = self.start("submit", "--wait", "ls")
        self.client.change(makeJob(1, "succeeded"))
        self.assertEqual(self.codeOf(running), 0)
        self.assertEqual(self.out.text(), "1\n")
        self.assertIn("1/1", self.err.text())


class ChangeTests(CommandCase):
    """
    Tests for C{cancel}, C{priority}, C{pause}, C{resume} and C{resize}.
    """

    def setUp(self) -> None:
        """
        A job that is queued and one that runs.
        """
        super().setUp()
        self.client = FakeClient(makeJob(1), makeJob(2, "running"))

    def test_cancel(self) -> None:
        """
        A queued job is cancelled, a running one told.
        """
        self.check("cancel", "1", "2", out="1 cancelled\n2 running, told to end\n")

    def test_cancelRefused(self) -> None:
        """
        A job that is refused does not keep the others from being cancelled.
        """
        self.client.troubles["cancel"] = RequestRefused(409, "finished", "job 2 has failed")
        self.check(
            *("cancel", "2", "1"),
            out="1 cancelled\n",
            err="ganeti-pool: job 2 has failed\n",
            code=4,
        )

    def test_cancelBroken(self) -> None:
        """
        A daemon that is broken is asked no further.
        """
        self.client.troubles["cancel"] = RequestRefused(500, "store_failed", "no disk")
        self.check("cancel", "1", "2", err="ganeti-pool: no disk\n", code=3)
        self.assertEqual(len(self.client.calls), 1)

    def test_priority(self) -> None:
        """
        A priority may be negative or a word; an id may follow.
        """
        self.check("priority", "-5", "1", "2", out="1 priority -5\n2 priority -5\n")
        self.out = Stream()
        self.check("priority", "--", "-10", "1", out="1 priority -10\n")
        self.out = Stream()
        self.check("priority", "low", "1", out="1 priority 10\n")

    def test_priorityJSON(self) -> None:
        """
        With C{--json} the job is printed.
        """
        job = {**self.client.jobs[1], "priority": 3}
        self.check("priority", "3", "1", "--json", out=encode(job).decode() + "\n")

    def test_wrongIDs(self) -> None:
        """
        What is no id is a mistake, and so is none at all.
        """
        for argv in (("cancel", "x"), ("cancel", "0"), ("cancel",), ("priority", "1", "-2")):
            self.err = Stream()
            running = self.start(*argv)
            self.assertEqual(self.codeOf(running), 2)
            self.assertEqual(self.err.text().count("\n"), 1)
        self.assertEqual(self.client.calls, [])

    def test_pool(self) -> None:
        """
        Pausing, resuming and resizing say how the pool is then.
        """
        self.check("pause", out="paused, 2 of 4 workers busy\n")
        self.out = Stream()
        self.check("resume", out="active, 2 of 4 workers busy\n")
        self.out = Stream()
        self.check("resize", "8", out="active, 2 of 8 workers busy\n")
        self.assertEqual(
            [call[1] for call in self.client.calls],
            [{"active": False}, {"active": True}, {"workers": 8}],
        )

    def test_poolJSON(self) -> None:
        """
        With C{--json} the pool is printed.
        """
        pool = {**POOL, "active": False}
        self.check("pause", "--json", out=encode(pool).decode() + "\n")

    def test_resizeInterrupted(self) -> None:
        """
        Ctrl-C while workers finish says that the change goes on.
        """
        self.patch(self.client, "changePool", lambda **_: Deferred())
        running = self.start("resize", "1")
        self.interrupt()
        self.assertEqual(self.codeOf(running), 130)
        self.assertEqual(
            self.err.text(),
            "ganeti-pool: interrupted: the daemon goes on to change the number of workers\n",
        )


class EndingTests(CommandCase):
    """
    Tests for how the command ends.
    """

    def test_refusals(self) -> None:
        """
        What a daemon that is well refuses is 4, what a broken one says is 3.
        """
        for status, code in ((401, 4), (404, 4), (503, 4), (507, 4), (500, 3), (502, 3)):
            self.err = Stream()
            self.client.troubles["pool"] = RequestRefused(status, "x", "no")
            self.check("status", err="ganeti-pool: no\n", code=code)

    def test_oneSentence(self) -> None:
        """
        What the daemon says cannot move the cursor, nor fill more than a line.
        """
        self.client.troubles["pool"] = RequestRefused(404, "x", "a\n b\x1b[2J")
        self.check("status", err="ganeti-pool: a b\\x1b[2J\n", code=4)

    def test_unexpected(self) -> None:
        """
        An answer that makes no sense is one sentence too.
        """
        self.client.poolStatus = {}
        self.check(
            "status",
            err="ganeti-pool: this should not have happened: KeyError: 'daemon'\n",
            code=3,
        )

    def test_missingExtra(self) -> None:
        """
        A package that a verb needs and that is not there is named.
        """
        self.client.troubles["pool"] = ImportError("no", name="treq")
        self.check(
            "status",
            err="ganeti-pool: this needs treq, which is not installed: "
            "pip install 'ganeti-pool[daemon]'\n",
            code=1,
        )

    def test_mistakes(self) -> None:
        """
        A mistake in the call is one sentence.
        """
        for argv, sentence in (
            ((), "Missing command."),
            (("stop",), "No such command 'stop'."),
            (("status", "--verbose"), "No such option"),
        ):
            self.err = Stream()
            running = self.start(*argv)
            self.assertEqual(self.codeOf(running), 2)
            self.assertTrue(self.err.text().startswith(f"ganeti-pool: {sentence}"))
            self.assertEqual(self.err.text().count("\n"), 1)

    def test_help(self) -> None:
        """
        C{--help} explains every verb, with exit code 0.
        """
        self.patch(sys, "stdout", self.out)
        self.assertEqual(self.codeOf(self.start("--help")), 0)
        for verb in (
            *("submit", "list", "show", "logs", "wait", "cancel", "priority"),
            *("pause", "resume", "resize", "status"),
        ):
            self.assertRegex(self.out.text(), rf"(?m)^  {verb} ")
            self.assertEqual(self.codeOf(self.start(verb, "-h")), 0)
        self.assertEqual((self.client.calls, self.err.text()), ([], ""))

    def test_interruptedWhileReading(self) -> None:
        """
        Ctrl-C while the command reads its standard input ends it.
        """

        class Terminal(Input):
            def __next__(self) -> bytes:
                raise KeyboardInterrupt

        self.patch(sys, "stdin", io.TextIOWrapper(Terminal()))
        self.patch(sys, "stderr", Stream())
        self.check(
            *("submit", "--from-file", "-"),
            err="ganeti-pool: interrupted before anything was done\n",
            code=130,
        )

    def test_interruptedAfterTheEnd(self) -> None:
        """
        The stop of the reactor after the end says nothing.
        """
        running = self.start("status")
        self.interrupt()
        self.assertEqual(self.codeOf(running), 0)
        self.assertEqual(self.err.text(), "")


class ConnectTests(CommandCase):
    """
    Tests for L{connectToDaemon}.
    """

    def connect(self, **options: Any) -> JobClient:
        """
        A client of the daemon that some options name.
        """
        return connectToDaemon(Session(self.reactor, self.out, self.err, **options))

    def refuse(self, *argv: str, err: str) -> None:
        """
        Check that options are refused before anything is connected to.
        """
        session = Session(self.reactor, self.out, self.err)
        running = perform(session, argv)
        self.assertEqual(self.codeOf(running), 2)
        self.assertEqual(self.err.text(), err)
        self.assertEqual((self.reactor.unixClients, self.reactor.tcpClients), ([], []))

    def ask(self, client: JobClient) -> None:
        """
        Send a request, which nobody answers.
        """
        client.pool().addErrback(lambda _: None)

    def test_stateDirectory(self) -> None:
        """
        The socket in the named state directory is connected to.
        """
        self.ask(self.connect(stateDir="/var/lib/pool"))
        self.assertEqual(self.reactor.unixClients[0][0], "/var/lib/pool/ganeti-pool.sock")

    def test_default(self) -> None:
        """
        Without options it is the one of the user.
        """
        os.environ["XDG_STATE_HOME"] = "/home/ana/state"
        self.ask(self.connect())
        self.assertEqual(
            self.reactor.unixClients[0][0], "/home/ana/state/ganeti-pool/ganeti-pool.sock"
        )

    def test_url(self) -> None:
        """
        C{--url} is connected to, with the token of the file if one is named.
        """
        path = Path(self.mktemp())
        path.write_text("s3cret\n")
        made: list[tuple[Any, ...]] = []
        self.patch(
            sys.modules["ganeti_pool.client"], "connectHTTP", lambda *args: made.append(args)
        )
        self.connect(url="http://pool:8080", tokenFile=str(path))
        self.connect(url="http://pool:8080")
        self.assertEqual(
            made,
            [
                (self.reactor, "http://pool:8080", "s3cret"),
                (self.reactor, "http://pool:8080", None),
            ],
        )

    def test_contradictions(self) -> None:
        """
        Two daemons, and a token for the socket, are mistakes.
        """
        self.refuse(
            *("--url", "http://pool", "--state-dir", "/x", "status"),
            err="ganeti-pool: --url and --state-dir name two daemons: give one of them. "
            "See --help.\n",
        )
        self.err = Stream()
        self.refuse(
            *("status", "--token-file", "/x"),
            err="ganeti-pool: --token-file goes with --url: the socket needs no token. "
            "See --help.\n",
        )

    def test_unreadableToken(self) -> None:
        """
        A token file that cannot be read is a mistake.
        """
        self.refuse(
            *("status", "--url", "http://pool", "--token-file", "/nowhere/at-all"),
            err="ganeti-pool: The token file /nowhere/at-all cannot be read: [Errno 2] No such "
            "file or directory: '/nowhere/at-all'. See --help.\n",
        )

    def test_deepDirectory(self) -> None:
        """
        A state directory too deep for a socket is a mistake.
        """
        deep = "/" + "x" * 107
        self.refuse(
            *("status", "--state-dir", deep),
            err=f"ganeti-pool: the socket path {deep}/ganeti-pool.sock has 125 bytes, and the "
            "system takes 107 at most: choose a shorter state directory\n",
        )


class DurationTests(SynchronousTestCase):
    """
    Tests for how durations and texts are written.
    """

    def test_written(self) -> None:
        """
        A duration has its two largest units, without zeros.
        """
        for seconds, text in (
            (-3, "0s"),
            (0.9, "0s"),
            (42, "42s"),
            (60, "1m"),
            (310, "5m10s"),
            (3605, "1h"),
            (3660, "1h1m"),
            (4 * 86400, "4d"),
            (4 * 86400 + 3 * 3600 + 59, "4d3h"),
        ):
            self.assertEqual(formatDuration(seconds), text)

    def test_read(self) -> None:
        """
        What is written can be read, and so can a number of seconds.
        """
        for text, seconds in (("42", 42), ("0.5", 0.5), ("5m10s", 310), ("1d1h", 90000)):
            self.assertEqual(parseDuration(text), seconds)

    def test_unreadable(self) -> None:
        """
        Anything else is refused.
        """
        for text in ("", "-1", "5x", "10s5m", "m", "٣"):
            self.assertRaises(ValueError, parseDuration, text)

    def test_controls(self) -> None:
        """
        What is not printable is written as its escape sequence.
        """
        self.assertEqual(escapeControls("é\n\x1b\x9b\u202e"), "é\\n\\x1b\\x9b\\u202e")


class MainTests(SynchronousTestCase):
    """
    Tests for L{cli.main}, as the program that it is.
    """

    def runMain(self, outcome: BaseException | None = None) -> list[Any]:
        """
        Run L{cli.main} up to the reactor.
        """
        seen: list[Any] = []

        def react(function: object, argv: object) -> None:
            seen.append((function, argv))
            if outcome is not None:
                raise outcome

        def begin(observers: object, **_: object) -> None:
            seen.append(observers)

        self.patch(cli, "react", react)
        self.patch(globalLogBeginner, "beginLoggingTo", begin)
        self.patch(sys, "stderr", Stream())
        self.patch(sys, "argv", ["ganeti-pool", "list"])
        return seen

    def test_reacts(self) -> None:
        """
        The arguments go to L{run} in the reactor, and the log goes nowhere.
        """
        seen = self.runMain(SystemExit(3))
        self.assertEqual(self.assertRaises(SystemExit, cli.main).code, 3)
        self.assertRaises(SystemExit, cli.main, ["status"])
        self.assertEqual(seen, [[], (run, (["list"],)), [], (run, (["status"],))])

    def test_interruptedAtTheStart(self) -> None:
        """
        Ctrl-C before the reactor runs is no traceback.
        """
        self.runMain(KeyboardInterrupt())
        self.assertEqual(self.assertRaises(SystemExit, cli.main, []).code, 130)
        self.assertEqual(
            cast(Stream, sys.stderr).text(), "ganeti-pool: interrupted before anything was done\n"
        )

    def test_baseInstall(self) -> None:
        """
        Without click one sentence names it and the extra, with exit code 1.
        """
        without = [*MAIN[:2], "import sys; sys.modules['click'] = None; " + MAIN[2], "status"]
        ended = subprocess.run(without, capture_output=True, text=True, timeout=60)
        self.assertEqual(
            (ended.returncode, ended.stdout, ended.stderr),
            (
                1,
                "",
                "ganeti-pool: the command needs click, which is not installed: "
                "pip install 'ganeti-pool[daemon]'\n",
            ),
        )

    def test_missingExtra(self) -> None:
        """
        What is missing is named in what the program exits with.
        """
        self.runMain(ImportError("no", name="click"))
        self.assertEqual(
            self.assertRaises(SystemExit, cli.main, []).code,
            "ganeti-pool: the command needs click, which is not installed: "
            "pip install 'ganeti-pool[daemon]'",
        )

    def test_streamsAndColour(self) -> None:
        """
        The session has the process's streams, which escape what their encoding
        lacks, and heeds NO_COLOR.
        """
        made: list[Session] = []
        memory = io.BytesIO()
        self.patch(sys, "stdout", io.TextIOWrapper(memory, encoding="ascii"))
        self.patch(sys, "stderr", io.StringIO())
        self.patch(sys.modules[run.__module__], "perform", lambda session, _: made.append(session))
        for value in ("", "1"):
            with mock.patch.dict(os.environ, {"NO_COLOR": value}):
                run(MemoryReactorClock(), [])
        self.assertEqual([session.noColor for session in made], [False, True])
        made[0].write("é")
        self.assertEqual(memory.getvalue(), b"\\xe9\n")
        self.assertIs(made[0].stderr, sys.stderr)

    def test_noDaemon(self) -> None:
        """
        Where no daemon listens, that is one sentence and exit code 3.
        """
        path = os.path.abspath(self.mktemp())
        ended = subprocess.run(
            [*MAIN, "--state-dir", os.path.relpath(path), "status"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual((ended.returncode, ended.stdout), (3, ""))
        self.assertIn(f"no answer from a daemon at {path}/ganeti-pool.sock: ", ended.stderr)
        self.assertEqual(ended.stderr.count("\n"), 1)

    def test_interrupted(self) -> None:
        """
        Ctrl-C on the program, while a daemon keeps it waiting, is one sentence and
        exit code 130.
        """
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(60)
        with closing(listener):
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            process = subprocess.Popen(
                [*MAIN, "--url", url, "resize", "1"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            connection, _ = listener.accept()
            with closing(connection):
                connection.settimeout(60)
                self.assertTrue(connection.recv(1).startswith(b"P"))
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=60)
        self.assertEqual(
            (process.returncode, out, err),
            (
                130,
                "",
                "ganeti-pool: interrupted: the daemon goes on to change the number of workers\n",
            ),
        )
