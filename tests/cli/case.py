"""
What the tests of the command share: a daemon in memory, a reactor in memory, and
streams in memory.
"""

from __future__ import annotations

import io
import os
import pwd
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, NoReturn, TextIO, cast
from unittest import mock

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.cli._group import Verb
from ganeti_pool.cli._run import parse, perform
from ganeti_pool.cli._session import Session
from ganeti_pool.client import JobClient, RequestRefused

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
        "reason": None,
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
    "quiesces": {"count": 0, "since": None},
    "statistics": {},
    "jobs": {
        "queued": 12,
        "running": 2,
        "oldest_queued_at": ago(310),
        "longest_running_at": ago(42),
        "last_day": {"succeeded": 310, "failed": 3, "cancelled": 1},
    },
    "store": {"bytes": 900, "free_bytes": 3 << 40, "unwritten": 0, "last_error": None},
    "output": {"adopted": False, "set_aside": []},
    "daemon": {
        "pid": 4711,
        "version": "0.1.0",
        "started_at": ago(4 * 86400),
        "worker": "ganeti_pool.commands.CommandWorker",
        "host": "pluto",
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
    @ivar fences: the requests for quiet that wait.
    @ivar cancelled: how many of those that wait were given up.
    @ivar output: what every output stream has.
    """

    def __init__(self, *jobs: dict[str, Any]) -> None:
        self.jobs = {job["id"]: job for job in jobs}
        self.calls: list[tuple[Any, ...]] = []
        self.troubles: dict[str, Exception] = {}
        self.changes: list[Deferred[dict[str, Any]]] = []
        self.fences: list[Deferred[bool]] = []
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

    def _wait(self, waiting: list[Deferred[Any]]) -> Deferred[Any]:
        def stop(_: object) -> None:
            self.cancelled += 1

        waiting.append(Deferred(stop))
        return waiting[-1]

    def changedJobs(self, after: int, wait: float, limit: int) -> Deferred[Any]:
        """
        Wait until the test says what has changed.
        """
        self.calls.append(("changedJobs", after, wait))
        return self._wait(self.changes)

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

    def cancel(self, jobID: int, onlyQueued: bool = False) -> Deferred[Any]:
        """
        Cancel a job, but for one that is to be queued and is not.
        """
        state = self.jobs[jobID]["state"] if jobID in self.jobs else ""
        if onlyQueued and state != "queued":
            self.troubles["cancel"] = RequestRefused(409, "not_queued", f"job {jobID} is {state}")
        return self._find("cancel", jobID, state="running" if state == "running" else "cancelled")

    def retry(self, jobID: int) -> Deferred[Any]:
        """
        Queue a job again.
        """
        return self._find("retry", jobID, state="queued")

    def remove(self, jobID: int) -> Deferred[Any]:
        """
        Forget a job.
        """
        return self._find("remove", jobID).addCallback(
            lambda job: self.jobs.pop(job["id"]) and None
        )

    def quiesce(self) -> Deferred[Any]:
        """
        Wait until the test says that all is quiet.
        """
        self.calls.append(("quiesce",))
        return self._wait(self.fences)

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


class _Traced(dict[str, Any]):
    """
    A job of which can be seen whether anybody has it still.
    """


class PagingClient(FakeClient):
    """
    One that notes how much of its answers is kept.

    @ivar kept: at each page that is asked for, how many jobs of the earlier ones are
        still there.
    """

    def __init__(self, *jobs: dict[str, Any]) -> None:
        super().__init__(*jobs)
        self.kept: list[int] = []
        self._told: list[weakref.ref[_Traced]] = []

    def listJobs(self, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """
        A page, whose jobs nobody has but who asks.
        """
        self.kept.append(sum(told() is not None for told in self._told))

        def trace(page: dict[str, Any]) -> dict[str, Any]:
            jobs = [_Traced(job) for job in page["jobs"]]
            self._told += map(weakref.ref, jobs)
            return {**page, "jobs": jobs}

        return super().listJobs(*args, **kwargs).addCallback(trace)


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
        self.reactor.run()
        self.client = FakeClient()
        self.input: TextIO | None = Stream()
        self.out = Stream()
        self.err = Stream()

    def start(self, *argv: str) -> Deferred[NoReturn]:
        """
        Begin to run the command.
        """
        client = cast(JobClient, self.client)
        session = Session(self.input, self.out, self.err, openClient=lambda _: client)
        todo = parse(session, argv)
        return fail(SystemExit(todo)) if isinstance(todo, int) else self.perform(session, todo)

    def perform(self, session: Session, todo: Verb) -> Deferred[NoReturn]:
        """
        Run a verb as the reactor would.
        """
        return perform(self.reactor, session, todo)

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

    def checkEnd(self, running: Deferred[NoReturn], err: str, code: int) -> None:
        """
        Check what a command that has ended says, and its exit code.
        """
        self.assertEqual((self.err.text(), self.codeOf(running)), (err, code))

    def interrupt(self) -> None:
        """
        What Ctrl-C makes the reactor do.
        """
        for trigger, args, kwargs in self.reactor.triggers["before"]["shutdown"]:
            trigger(*args, **kwargs)
