"""
Tests for L{ganeti_pool.web}, from the bytes of a request to those of its answer.
"""

from __future__ import annotations

import json
from http.client import HTTPResponse
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from ganeti_pool.errors import (
    InvalidArgument,
    InvalidJob,
    JobFinished,
    JobNotQueued,
    KeyConflict,
    OwnershipLost,
    QueueFull,
    QueueStopping,
    StoreError,
    StoreFull,
)
from ganeti_pool.interfaces import IJobQueue
from ganeti_pool.jobs import JobFilter, JobState, NewJob, OnCrash
from ganeti_pool.web import makeSite
from ganeti_pool.web._output import readChunk
from ganeti_pool.wire import MAX_BODY, jobToJSON

from .fakequeue import FakeQueue, makeJob


class FakeThreads:
    """
    A thread pool that does what it is given at once.
    """

    def callInThreadWithCallback(self, onResult: Any, f: Any, *args: Any) -> None:
        """
        Call it, here.
        """
        try:
            onResult(True, f(*args))
        except Exception:
            onResult(False, Failure())


class FakeReactor(MemoryReactorClock):
    """
    A clock and a thread pool that a test holds in its hand.
    """

    def getThreadPool(self) -> FakeThreads:
        """
        The pool that does all at once.
        """
        return FakeThreads()

    def callFromThread(self, f: Any, *args: Any, **kwargs: Any) -> None:
        """
        There are no threads.
        """
        f(*args, **kwargs)


class Transport(StringTransport):
    """
    A connection whose end is told to its protocol.
    """

    protocol: Any
    producer: Any

    def loseConnection(self) -> None:
        """
        Close, once.
        """
        if self.connected:
            self.connected = False
            self.protocol.connectionLost(Failure(ConnectionDone()))


class Answer:
    """
    What came back.

    @ivar text: all of it, as it came.
    """

    def __init__(self, text: bytes, method: str = "GET") -> None:
        self.text = text
        parsed = HTTPResponse(self, method=method)  # type: ignore[arg-type]
        parsed.begin()
        self.status = parsed.status
        self.headers = parsed.headers
        self.body = parsed.read()

    def makefile(self, mode: str) -> BytesIO:
        """
        What L{HTTPResponse} wants of a socket.
        """
        return BytesIO(self.text)

    @property
    def value(self) -> Any:
        """
        What the body says.
        """
        return json.loads(self.body)


class WebCase(SynchronousTestCase):
    """
    A site in front of a fake queue, without a token.
    """

    token: bytes | None = None

    def setUp(self) -> None:
        """
        A site and its queue.
        """
        self.reactor = FakeReactor()
        # Not mktemp: under pytest that is in the working directory, and stays.
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.queue = FakeQueue(str(self.directory))
        self.site = makeSite(self.reactor, self.queue, self.token, self.metrics)

    def metrics(self) -> Deferred[bytes]:
        """
        The figures of this daemon.
        """
        return succeed(b"jobs 5\n")

    def connect(self) -> tuple[Any, Transport]:
        """
        A new connection.
        """
        protocol = self.site.buildProtocol(None)
        transport = Transport()
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return protocol, transport

    def begin(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[Any, Transport]:
        """
        Send a whole request.
        """
        lines = [f"{method} {path} HTTP/1.1", "Host: h\xff\xff"]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
            headers.setdefault("content_type", "application/json")
        lines.extend(f"{key.replace('_', '-')}: {value}" for key, value in headers.items())
        protocol, transport = self.connect()
        protocol.dataReceived("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))
        return protocol, transport

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """
        The answer to a request.
        """
        _, transport = self.begin(method, path, body, **headers)
        return Answer(transport.value(), method)

    def assertRefused(self, answer: Answer, status: int, code: str) -> None:
        """
        Check that an answer is a problem with that status and code.
        """
        problem = answer.value
        self.assertEqual(
            (answer.status, problem["status"], problem["code"]), (status, status, code)
        )
        self.assertEqual(answer.headers["content-type"], "application/problem+json")
        self.assertEqual(list(problem), ["type", "title", "status", "code", "detail", "errors"])


class FakeQueueTests(SynchronousTestCase):
    """
    Tests for the fake.
    """

    def test_providesContract(self) -> None:
        """
        The fake has what the contract asks for.
        """
        verifyObject(IJobQueue, FakeQueue())


class JobTests(WebCase):
    """
    Tests for the requests about jobs.
    """

    def test_submitOne(self) -> None:
        """
        One job is answered with 201 and that job.
        """
        answer = self.ask("POST", "/v1/jobs", b'{"args": [["true"]]}')
        self.assertEqual(answer.status, 201)
        self.assertEqual(answer.headers["content-type"], "application/json")
        self.assertEqual(answer.value, json.loads(json.dumps(jobToJSON(self.queue.jobs[1]))))
        new = NewJob(FakeQueue.workerName, (["true"],), "true")
        self.assertEqual(self.queue.calls, [("submit", [new])])

    def test_submitToRetry(self) -> None:
        """
        What a crash does to a job is what the queue's worker class says, if the job
        says nothing.
        """
        self.queue.onCrash = OnCrash.RETRY
        answer = self.ask("POST", "/v1/jobs", b'{"args": [["true"]]}')
        self.assertEqual((answer.value["on_crash"], answer.value["max_attempts"]), ("retry", 3))

    def test_submitList(self) -> None:
        """
        A list is answered with a list, and a list of one too.
        """
        answer = self.ask("POST", "/v1/jobs", b'[{"args": [], "name": "a"}]')
        self.assertEqual([job["name"] for job in answer.value], ["a"])

    def test_submitRefused(self) -> None:
        """
        A job that cannot be read reaches no queue; the answer names its members.
        """
        body = b'[{"args": [], "progress": 5, "priority": NaN}]'
        answer = self.ask("POST", "/v1/jobs", body)
        self.assertRefused(answer, 400, "invalid_field")
        self.assertEqual([error["pointer"] for error in answer.value["errors"]], ["/0/priority"])
        answer = self.ask("POST", "/v1/jobs", b'{"args": [], "progress": 5, "a": 1}')
        self.assertEqual(
            answer.value["errors"],
            [
                {
                    "pointer": "/progress",
                    "code": "not_implemented",
                    "detail": "'progress' is not implemented yet: leave it out",
                },
                {
                    "pointer": "/a",
                    "code": "unknown_key",
                    "detail": "'a' is not known here "
                    "(name, worker, args, priority, on_crash, max_attempts, key, owner, labels, "
                    "timeout)",
                },
            ],
        )
        self.assertEqual(
            answer.value["detail"],
            "/progress: 'progress' is not implemented yet: leave it out (and 1 more)",
        )
        self.assertEqual(self.queue.calls, [])

    def test_queueRefuses(self) -> None:
        """
        What the queue refuses keeps its code, with the status of that code.
        """
        for error, status, code in [
            (InvalidJob([("/worker", "other_worker", "no")]), 400, "invalid_field"),
            (QueueStopping(), 503, "stopping"),
            (StoreFull("the disk is full"), 507, "store_full"),
            (OwnershipLost(1, 2), 503, "ownership_lost"),
            (StoreError("it broke"), 500, "store_failed"),
        ]:
            self.queue.failure = error
            answer = self.ask("POST", "/v1/jobs", b'{"args": []}')
            self.assertRefused(answer, status, code)
        self.assertEqual(answer.value["detail"], "it broke")

    def test_keyConflict(self) -> None:
        """
        A key of another job is a conflict, with a sentence for each such job.
        """
        self.queue.failure = KeyConflict({1: ("k", 7)}, 2)
        answer = self.ask("POST", "/v1/jobs", b'[{"args": []}, {"args": [], "key": "k"}]')
        self.assertRefused(answer, 409, "key_conflict")
        sentence = "the key 'k' belongs to job 7, which differs from this one"
        self.assertEqual(answer.value["detail"], sentence)
        self.assertEqual(
            answer.value["errors"],
            [{"pointer": "/1/key", "code": "key_conflict", "detail": sentence}],
        )

    def test_list(self) -> None:
        """
        A page is asked for with one job more, which tells of a next page.
        """
        self.queue.add(makeJob(1), makeJob(2))
        answer = self.ask("GET", "/v1/jobs?limit=1&state=queued&order=desc&after=9")
        self.assertEqual([job["id"] for job in answer.value["jobs"]], [2])
        self.assertEqual(answer.value["next"], 2)
        which = JobFilter(frozenset({JobState.QUEUED}))
        self.assertEqual(self.queue.calls, [("listJobs", which, True, 2, 9)])

    def test_badQuery(self) -> None:
        """
        A query that cannot be understood is refused on every path.
        """
        self.queue.add(makeJob(1))
        for method, path, body in [
            ("GET", "/v1/jobs", None),
            ("POST", "/v1/jobs", b'{"args": []}'),
            ("GET", "/v1/jobs/1", None),
            ("PATCH", "/v1/jobs/1", b'{"priority": 1}'),
            ("POST", "/v1/jobs/1/cancel", None),
            ("GET", "/v1/jobs/1/output", None),
            ("GET", "/v1/pool", None),
            ("PATCH", "/v1/pool", b'{"active": true}'),
        ]:
            answer = self.ask(method, f"{path}?colour=red", body)
            self.assertRefused(answer, 400, "invalid_field")
        self.assertEqual(self.queue.calls, [])

    def test_changes(self) -> None:
        """
        Changes are answered when the queue has some.
        """
        waiting: Deferred[Any] = Deferred()
        self.queue.held = waiting
        _, transport = self.begin("GET", "/v1/jobs?changed_after=7&wait=5")
        self.assertEqual(self.queue.calls, [("changedJobs", 7, 64, 5.0)])
        self.assertEqual(transport.value(), b"")
        waiting.callback([makeJob(2)])
        self.assertEqual(Answer(transport.value()).value["revision"], 20)

    def test_waiterLeaves(self) -> None:
        """
        A client that goes away while it waits for changes ends the wait.
        """
        cancelled: list[Deferred[Any]] = []
        waiting: Deferred[Any] = Deferred(cancelled.append)
        self.queue.held = waiting
        _, transport = self.begin("GET", "/v1/jobs?changed_after=7&wait=5")
        self.assertEqual(cancelled, [])
        transport.loseConnection()
        self.assertEqual(cancelled, [waiting])

    def test_submitterLeaves(self) -> None:
        """
        A client that goes away while its jobs are written does not stop that,
        and what comes of it then is nobody's.
        """
        outcomes: list[Deferred[Any]] = [Deferred(), Deferred()]
        for outcome in outcomes:
            self.queue.held = outcome
            _, transport = self.begin("POST", "/v1/jobs", b'{"args": []}')
            transport.loseConnection()
            self.assertNoResult(outcome)
        outcomes[0].callback([makeJob(1)])
        outcomes[1].errback(StoreFull("the disk is full"))
        self.assertEqual(transport.value(), b"")

    def test_job(self) -> None:
        """
        One job comes with its attempts.
        """
        self.queue.add(makeJob(17))
        answer = self.ask("GET", "/v1/jobs/17")
        self.assertEqual((answer.status, answer.value["attempts"]), (200, []))
        self.assertEqual(self.queue.calls, [("job", 17), ("attempts", 17)])

    def test_noSuchJob(self) -> None:
        """
        A job that is not there, or that no job can be, is refused everywhere.
        """
        self.queue.add(makeJob(1))
        for jobID in ("4", "x", "-1", "9" * 19, "9" * 9999, "%D9%A1"):
            for method, rest, body in [
                ("GET", "", None),
                ("PATCH", "", b'{"priority": 1}'),
                ("POST", "/cancel", None),
                ("GET", "/output", None),
            ]:
                answer = self.ask(method, f"/v1/jobs/{jobID}{rest}", body)
                self.assertRefused(answer, 404, "no_such_job")

    def test_priority(self) -> None:
        """
        A queued job gets another priority; one that runs is a conflict.
        """
        self.queue.add(makeJob(17))
        answer = self.ask("PATCH", "/v1/jobs/17", b'{"priority": -10}')
        self.assertEqual((answer.status, answer.value["priority"]), (200, -10))
        self.queue.failure = JobNotQueued(17, "running")
        answer = self.ask("PATCH", "/v1/jobs/17", b'{"priority": 1}')
        self.assertRefused(answer, 409, "not_queued")

    def test_cancel(self) -> None:
        """
        A job is cancelled, again and again; one that has ended is a conflict.
        """
        self.queue.add(makeJob(17))
        for body in (None, b""):
            answer = self.ask("POST", "/v1/jobs/17/cancel", body)
            self.assertEqual((answer.status, answer.value["state"]), (200, "cancelled"))
        self.queue.failure = JobFinished(17, "succeeded")
        answer = self.ask("POST", "/v1/jobs/17/cancel")
        self.assertRefused(answer, 409, "finished")

    def test_cancelWithBody(self) -> None:
        """
        A cancellation that says more than that is refused.
        """
        answer = self.ask("POST", "/v1/jobs/17/cancel", b'{"reason": "dull"}')
        self.assertRefused(answer, 400, "invalid_field")
        self.assertEqual(self.queue.calls, [])

    def test_retry(self) -> None:
        """
        A job goes back into the queue; one that succeeded is a conflict, and a body
        is refused.
        """
        self.queue.add(makeJob(17, state=JobState.FAILED))
        answer = self.ask("POST", "/v1/jobs/17/retry")
        self.assertEqual((answer.status, answer.value["state"]), (200, "queued"))
        self.assertRefused(self.ask("POST", "/v1/jobs/17/retry", b"{}"), 400, "invalid_field")
        self.assertEqual(self.queue.calls, [("retry", 17)])
        self.queue.failure = JobFinished(17, "succeeded")
        self.assertRefused(self.ask("POST", "/v1/jobs/17/retry"), 409, "finished")
        self.queue.failure = QueueFull(1, 0)
        self.assertRefused(self.ask("POST", "/v1/jobs/17/retry"), 429, "queue_full")

    def test_remove(self) -> None:
        """
        A finished job is removed, which is answered with nothing at all; one that
        has no outcome is a conflict, and one that is gone is not there.
        """
        self.queue.add(makeJob(17), makeJob(18, state=JobState.FAILED))
        answer = self.ask("DELETE", "/v1/jobs/18")
        self.assertEqual((answer.status, answer.text[-4:]), (204, b"\r\n\r\n"))
        self.assertNotIn("content-type", answer.headers)
        self.assertRefused(self.ask("DELETE", "/v1/jobs/18"), 404, "no_such_job")
        self.assertRefused(self.ask("DELETE", "/v1/jobs/17"), 409, "not_finished")
        self.assertRefused(self.ask("DELETE", "/v1/jobs/17", b"{}"), 400, "invalid_field")
        self.assertEqual(self.queue.calls, [("remove", 18)])


class PageTests(WebCase):
    """
    Tests for how many jobs are told at once.
    """

    def pages(self, query: str, cursor: str, key: str) -> list[list[int]]:
        """
        The ids on each page, from the first to the last.

        @param cursor: the parameter that asks for the next page.
        @param key: the member of a page that goes there.
        """
        pages = []
        after: int | None = 0
        while after is not None:
            answer = self.ask("GET", f"/v1/jobs?{query}&{cursor}={after}").value
            pages.append([job["id"] for job in answer["jobs"]])
            after = answer[key] if answer["jobs"] else None
        return pages

    def test_byNumber(self) -> None:
        """
        A page has as many jobs as it may, whether they are read at once or in parts,
        and a cursor if there are more.
        """
        for size in (63, 64, 65, 128, 150):
            self.queue.add(*(makeJob(1 + n) for n in range(150)))
            ids = list(range(1, 151))
            whole = [ids[start : start + size] for start in range(0, 150, size)]
            self.assertEqual(self.pages(f"limit={size}", "after", "next"), whole)
            changed = self.pages(f"limit={size}", "changed_after", "revision")
            self.assertEqual(changed, [*whole, []])
        most = max(call[3] for call in self.queue.calls if call[0] == "listJobs")
        self.assertEqual(most, 64)

    def test_bySize(self) -> None:
        """
        A page ends with the job that makes it four million bytes long, and the next
        begins behind that; there is one job at least, however long.
        """
        sizes = [1, 5, 2, 1, 1, 9, 9, 1]
        self.queue.add(
            *(makeJob(1 + n, args=("x" * (size << 20),)) for n, size in enumerate(sizes))
        )
        whole = [[1, 2], [3, 4, 5], [6], [7], [8]]
        self.assertEqual(self.pages("limit=1000", "after", "next"), whole)
        changed = self.pages("limit=1000", "changed_after", "revision")
        self.assertEqual(changed, [*whole, []])

    def test_changesMeanwhile(self) -> None:
        """
        A job that changes while the changes are collected is told once, as it is now.
        """
        self.queue.add(*(makeJob(1 + n, revision=1 + n) for n in range(64)))
        first: Deferred[Any] = Deferred()
        self.queue.held = first
        _, transport = self.begin("GET", "/v1/jobs?changed_after=0&wait=5")
        self.queue.add(makeJob(3, revision=70, name="again"))
        first.callback([makeJob(1 + n, revision=1 + n) for n in range(64)])
        answer = Answer(transport.value()).value
        self.assertEqual([job["id"] for job in answer["jobs"]], [1, 2, *range(4, 65), 3])
        self.assertEqual((answer["jobs"][-1]["name"], answer["revision"]), ("again", 70))
        # Only the first is waited for.
        self.assertEqual(
            self.queue.calls, [("changedJobs", 0, 64, 5.0), ("changedJobs", 64, 64, 0.0)]
        )

    def test_noChanges(self) -> None:
        """
        Without a change the revision is the one that was asked with.
        """
        answer = self.ask("GET", "/v1/jobs?changed_after=7")
        self.assertEqual(answer.body, b'{"jobs":[],"revision":7,"next":null}')
        self.assertEqual(self.ask("GET", "/v1/jobs").body, b'{"jobs":[],"next":null}')


class PoolTests(WebCase):
    """
    Tests for the requests about the pool.
    """

    def test_pool(self) -> None:
        """
        The pool is told as the queue tells it.
        """
        self.assertEqual(self.ask("GET", "/v1/pool").value, {"active": True, "workers": 4})

    def test_change(self) -> None:
        """
        What is to change is changed, one thing or both, and the pool told then.
        """
        changes: list[tuple[bytes, list[tuple[object, ...]]]] = [
            (b'{"active": false}', [("setActive", False)]),
            (b'{"workers": 0}', [("resize", 0)]),
            (b'{"workers": 2, "active": true}', [("setActive", True), ("resize", 2)]),
        ]
        for body, expected in changes:
            self.queue.calls.clear()
            answer = self.ask("PATCH", "/v1/pool", body)
            self.assertEqual(answer.value, {"active": True, "workers": 4})
            self.assertEqual(self.queue.calls, [*expected, ("poolStatus",)])

    def test_changeRefused(self) -> None:
        """
        A change that cannot be read changes nothing.
        """
        answer = self.ask("PATCH", "/v1/pool", b'{"active": false, "workers": true}')
        self.assertRefused(answer, 400, "invalid_field")
        self.assertEqual(self.queue.calls, [])

    def test_quiesce(self) -> None:
        """
        The answer comes when the queue is quiet, however long that takes.
        """
        quiet: Deferred[None] = Deferred()
        self.queue.held = quiet
        _, transport = self.begin("POST", "/v1/pool/quiesce")
        self.reactor.advance(100_000)
        self.assertEqual(transport.value(), b"")
        quiet.callback(None)
        self.assertEqual(Answer(transport.value()).value, {"quiesced": True})
        self.assertEqual(self.queue.calls, [("quiesce",)])

    def test_quiesceTimeIsOver(self) -> None:
        """
        The answer says so when the time is over before, and nothing is held back
        any more.
        """
        lifted: list[Deferred[None]] = []
        self.queue.held = Deferred(lifted.append)
        _, transport = self.begin("POST", "/v1/pool/quiesce?wait=1.5")
        self.reactor.advance(1.4)
        self.assertEqual((transport.value(), lifted), (b"", []))
        self.reactor.advance(0.2)
        self.assertEqual(Answer(transport.value()).value, {"quiesced": False})
        self.assertEqual(len(lifted), 1)

    def test_quiesceWithoutClient(self) -> None:
        """
        A client that goes away holds nothing back.
        """
        for path in ("/v1/pool/quiesce", "/v1/pool/quiesce?wait=60"):
            lifted: list[Deferred[None]] = []
            self.queue.held = Deferred(lifted.append)
            _, transport = self.begin("POST", path)
            transport.loseConnection()
            self.assertEqual(len(lifted), 1)
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_quiesceRefused(self) -> None:
        """
        A daemon that stops, a body, and a wait that is none are refused.
        """
        self.assertRefused(self.ask("POST", "/v1/pool/quiesce", b"1"), 400, "invalid_field")
        self.assertRefused(self.ask("POST", "/v1/pool/quiesce?wait=x"), 400, "invalid_field")
        self.assertEqual(self.queue.calls, [])
        self.queue.failure = QueueStopping()
        self.assertRefused(self.ask("POST", "/v1/pool/quiesce?wait=5"), 503, "stopping")


class MetricsTests(WebCase):
    """
    Tests for the figures.
    """

    def test_metrics(self) -> None:
        """
        The figures are told as Prometheus reads them.
        """
        answer = self.ask("GET", "/metrics")
        self.assertEqual((answer.status, answer.body), (200, b"jobs 5\n"))
        kind = "text/plain; version=0.0.4; charset=utf-8"
        self.assertEqual(answer.headers["content-type"], kind)
        self.assertRefused(self.ask("GET", "/metrics?a=1"), 400, "invalid_field")

    def test_none(self) -> None:
        """
        Where no figures are kept there is nothing at their path.
        """
        self.site = makeSite(self.reactor, self.queue, None)
        self.assertRefused(self.ask("GET", "/metrics"), 404, "no_such_path")


class OutputTests(WebCase):
    """
    Tests for the output of a job.
    """

    def write(self, name: str, data: bytes) -> None:
        """
        Add to an output file.
        """
        with (self.directory / name).open("ab") as file:
            file.write(data)

    def test_whole(self) -> None:
        """
        The bytes come as they are, of the stream, attempt and offset asked for.
        """
        self.queue.add(makeJob(17, attempt=2, state=JobState.FAILED))
        self.write("17.2.stdout", bytes(range(256)) * 4096)
        self.write("17.1.stderr", b"0123456789")
        answer = self.ask("GET", "/v1/jobs/17/output")
        self.assertEqual(answer.headers["content-type"], "application/octet-stream")
        self.assertEqual(answer.body, bytes(range(256)) * 4096)
        answer = self.ask("GET", "/v1/jobs/17/output?stream=stderr&attempt=1&offset=7&wait=9")
        self.assertEqual(answer.body, b"789")

    def test_none(self) -> None:
        """
        A file that is not there, and an offset behind the end, give no bytes.
        """
        self.queue.add(makeJob(17))
        self.write("17.1.stderr", b"x")
        self.assertEqual(self.ask("GET", "/v1/jobs/17/output").body, b"")
        answer = self.ask("GET", "/v1/jobs/17/output?stream=stderr&offset=5")
        self.assertEqual((answer.status, answer.body), (200, b""))

    def test_noSuchAttempt(self) -> None:
        """
        An attempt that was never made is refused.
        """
        self.queue.add(makeJob(17, attempt=2, state=JobState.RUNNING))
        answer = self.ask("GET", "/v1/jobs/17/output?attempt=3")
        self.assertRefused(answer, 404, "no_such_attempt")

    def test_head(self) -> None:
        """
        Who asks for the headers alone gets no bytes.
        """
        self.queue.add(makeJob(17))
        self.write("17.1.stdout", b"text")
        answer = self.ask("HEAD", "/v1/jobs/17/output")
        self.assertEqual((answer.status, answer.text[-4:]), (200, b"\r\n\r\n"))

    def test_follow(self) -> None:
        """
        The headers come at once, the bytes as they are written, and the end
        with the end of the job, behind all that it wrote.
        """
        self.queue.add(makeJob(17))
        _, transport = self.begin("GET", "/v1/jobs/17/output?wait=60")
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 200 OK\r\n"))
        transport.clear()
        self.queue.add(makeJob(17, attempt=1, state=JobState.RUNNING))
        self.write("17.1.stdout", b"one")
        self.reactor.advance(0.25)
        self.assertEqual(transport.value(), b"3\r\none\r\n")
        self.write("17.1.stdout", b"three")
        self.queue.add(makeJob(17, attempt=1, state=JobState.SUCCEEDED))
        self.reactor.advance(0.25)
        self.assertEqual(transport.value(), b"3\r\none\r\n5\r\nthree\r\n0\r\n\r\n")

    def test_followUntilNextAttempt(self) -> None:
        """
        An attempt that was followed is over when the next one has begun.
        """
        self.queue.add(makeJob(17, attempt=1, state=JobState.RUNNING))
        _, transport = self.begin("GET", "/v1/jobs/17/output?wait=60&attempt=1")
        self.reactor.advance(0.25)
        self.assertFalse(transport.value().endswith(b"0\r\n\r\n"))
        self.queue.add(makeJob(17, attempt=2, state=JobState.RUNNING))
        self.reactor.advance(0.25)
        self.assertTrue(transport.value().endswith(b"0\r\n\r\n"))

    def test_followUntilTimeIsOver(self) -> None:
        """
        The answer ends when the wait is over, though the job runs.
        """
        self.queue.add(makeJob(17, attempt=1, state=JobState.RUNNING))
        _, transport = self.begin("GET", "/v1/jobs/17/output?wait=0.5")
        self.reactor.advance(0.25)
        self.assertFalse(transport.value().endswith(b"0\r\n\r\n"))
        self.reactor.advance(0.25)
        self.assertTrue(transport.value().endswith(b"0\r\n\r\n"))

    def test_slowReader(self) -> None:
        """
        A client that does not read is sent no more until it does.
        """
        self.queue.add(makeJob(17, attempt=1, state=JobState.RUNNING))
        _, transport = self.begin("GET", "/v1/jobs/17/output?wait=60")
        transport.clear()
        transport.producer.pauseProducing()
        self.write("17.1.stdout", bytes(600_000))
        self.reactor.advance(0.25)
        sent = len(transport.value())
        self.assertLess(sent, 300_000)
        transport.producer.pauseProducing()
        self.reactor.advance(5)
        self.assertEqual(len(transport.value()), sent)
        transport.producer.resumeProducing()
        self.assertGreater(len(transport.value()), 600_000)
        transport.producer.resumeProducing()

    def test_followerLeaves(self) -> None:
        """
        When the client goes, its file is not looked at again.
        """
        self.queue.add(makeJob(17, attempt=1, state=JobState.RUNNING))
        _, transport = self.begin("GET", "/v1/jobs/17/output?wait=60")
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        transport.producer.stopProducing()
        transport.loseConnection()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_breaks(self) -> None:
        """
        An answer that breaks off, for a reason of the queue or another, is cut
        off and does not pass for whole.
        """
        for error in (QueueStopping(), ZeroDivisionError("odd")):
            self.queue.failure = None
            self.queue.add(makeJob(17, attempt=1, state=JobState.RUNNING))
            _, transport = self.begin("GET", "/v1/jobs/17/output?wait=60")
            self.queue.failure = error
            self.reactor.advance(0.25)
            self.assertFalse(transport.connected)
            self.assertNotIn(b"0\r\n\r\n", transport.value())
            self.assertEqual(len(self.flushLoggedErrors(type(error))), 1)

    def test_unreadable(self) -> None:
        """
        A file that is there and cannot be read is an error, and not empty.
        """
        self.assertRaises(OSError, readChunk, str(self.directory), 0)


class RoutingTests(WebCase):
    """
    Tests for what is no request at all.
    """

    def test_unknownPath(self) -> None:
        """
        A path where nothing is gives 404, also one that nearly is one, or that
        no text can say.
        """
        for path in ("/", "/v1", "/v1/jobs/", "/v1//jobs", "/v2/jobs", "/v1/%FF", "http://a/v1"):
            self.assertRefused(self.ask("GET", path), 404, "no_such_path")

    def test_wrongMethod(self) -> None:
        """
        A method that the path does not take gives 405 and says which it takes.
        """
        answer = self.ask("DELETE", "/v1/pool")
        self.assertRefused(answer, 405, "method_not_allowed")
        self.assertEqual(answer.headers["allow"], "GET, HEAD, PATCH")

    def test_contentType(self) -> None:
        """
        A body is JSON by its type, with parameters or without.
        """
        body = b'{"args": []}'
        for kind in ("text/plain", "", "\xff", "application/x-www-form-urlencoded"):
            answer = self.ask("POST", "/v1/jobs", body, content_type=kind)
            self.assertRefused(answer, 415, "unsupported_media_type")
        self.assertRefused(self.ask("POST", "/v1/jobs"), 415, "unsupported_media_type")
        for kind in ("application/json; charset=utf-8", "Application/JSON"):
            self.assertEqual(self.ask("POST", "/v1/jobs", body, content_type=kind).status, 201)

    def test_unexpected(self) -> None:
        """
        What nobody expected is logged, and told as no more than that.
        """
        self.queue.failure = ZeroDivisionError("secret")
        answer = self.ask("GET", "/v1/pool")
        self.assertRefused(answer, 500, "internal_error")
        self.assertNotIn(b"secret", answer.text)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_nextRequest(self) -> None:
        """
        A refusal leaves the connection for the next request.
        """
        protocol, transport = self.begin("GET", "/v1/nothing")
        transport.clear()
        protocol.dataReceived(b"GET /v1/pool HTTP/1.1\r\n\r\n")
        self.assertEqual(Answer(transport.value()).status, 200)


class SizeTests(WebCase):
    """
    Tests for bodies that are too large.
    """

    head = b"POST /v1/jobs HTTP/1.1\r\nContent-Type: application/json\r\n"

    def test_largest(self) -> None:
        """
        A body of just the limit is read, announced or in chunks.
        """
        body = b'{"args": []}'.ljust(MAX_BODY)
        self.assertEqual(self.ask("POST", "/v1/jobs", body).status, 201)
        protocol, transport = self.connect()
        protocol.dataReceived(self.head + b"Transfer-Encoding: chunked\r\n\r\n")
        protocol.dataReceived(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        self.assertEqual(Answer(transport.value()).status, 201)

    def test_announced(self) -> None:
        """
        A body that is announced as too large is refused before it comes, and a
        client that waits for leave to send is not given it.
        """
        protocol, transport = self.connect()
        protocol.dataReceived(
            self.head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1)
        )
        answer = Answer(transport.value())
        self.assertRefused(answer, 413, "body_too_large")
        self.assertEqual(answer.headers["connection"], "close")
        self.assertNotIn(b"100 Continue", answer.text)

    def test_chunked(self) -> None:
        """
        A body in chunks is refused with the byte that is too many, while the
        rest is to come.
        """
        protocol, transport = self.connect()
        protocol.dataReceived(self.head + b"Transfer-Encoding: chunked\r\n\r\n")
        protocol.dataReceived(b"%x\r\n" % (MAX_BODY + 2) + bytes(MAX_BODY))
        self.assertEqual(transport.value(), b"")
        protocol.dataReceived(b"x")
        self.assertRefused(Answer(transport.value()), 413, "body_too_large")

    def test_restIsDropped(self) -> None:
        """
        What still comes of a refused body is dropped, and the connection closed
        behind it.
        """
        protocol, transport = self.connect()
        protocol.dataReceived(self.head + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1))
        protocol.dataReceived(bytes(MAX_BODY))
        self.assertTrue(transport.connected)
        protocol.dataReceived(b"x")
        self.assertFalse(transport.connected)
        self.assertRefused(Answer(transport.value()), 413, "body_too_large")
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.queue.calls, [])

    def test_restIsNotAwaited(self) -> None:
        """
        A refused body that does not end is cut off after two seconds.
        """
        protocol, transport = self.connect()
        protocol.dataReceived(self.head + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1))
        self.reactor.advance(1.9)
        protocol.dataReceived(b"x")
        self.assertTrue(transport.connected)
        self.reactor.advance(0.2)
        self.assertFalse(transport.connected)


class TokenTests(WebCase):
    """
    Tests for the bearer token.
    """

    token = b"s3cret"

    def test_right(self) -> None:
        """
        A request with the token passes; the word before it has no case.
        """
        for header in ("Bearer s3cret", "bearer  s3cret"):
            self.assertEqual(self.ask("GET", "/v1/pool", authorization=header).status, 200)

    def test_wrong(self) -> None:
        """
        A request without it, or with another, is refused on every path.
        """
        for path in ("/v1/pool", "/v1/nothing", "/v1/%FF", "*"):
            for header in ("", "Bearer", "Bearer s3cre", "Basic s3cret", "s3cret", "Bearer \xff"):
                answer = self.ask("GET", path, authorization=header)
                self.assertRefused(answer, 401, "unauthorized")
                self.assertEqual(answer.headers["www-authenticate"], 'Bearer realm="ganeti-pool"')
            self.assertRefused(self.ask("GET", path), 401, "unauthorized")
        self.assertEqual(self.queue.calls, [])

    def test_bodyIsNotRead(self) -> None:
        """
        A request without the token is refused before its body comes.
        """
        protocol, transport = self.connect()
        protocol.dataReceived(b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
        self.assertRefused(Answer(transport.value()), 401, "unauthorized")

    def test_empty(self) -> None:
        """
        An empty token is no token, and makes no site.
        """
        for token in (b"", b" \n"):
            self.assertRaises(InvalidArgument, makeSite, self.reactor, self.queue, token)
