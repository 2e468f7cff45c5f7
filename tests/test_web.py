"""
Tests for the requests that L{ganeti_pool.web} answers.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from ganeti_pool import wire
from ganeti_pool.errors import (
    InvalidJob,
    JobFinished,
    JobNotQueued,
    JobNotRunnable,
    KeyConflict,
    OwnershipLost,
    QueueFull,
    QueueStopping,
    StoreClosed,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreLost,
)
from ganeti_pool.interfaces import IJobQueue
from ganeti_pool.jobs import Job, JobFilter, JobOrigin, JobState, NewJob, OnCrash
from ganeti_pool.web import makeSite
from ganeti_pool.wire import jobToJSON

from .fakequeue import FakeQueue, makeJob, makeStatus
from .webcase import Answer, WebCase


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

    def test_submitForABase(self) -> None:
        """
        A job for a class that the queue's worker class extends becomes one for that.
        """
        self.ask("POST", "/v1/jobs", b'{"args": [["true"]], "worker": "a.Base"}')
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

    def test_refusedAsWhole(self) -> None:
        """
        What is wrong with a body as a whole is said without a place in it.
        """
        answer = self.ask("POST", "/v1/jobs", b"7")
        self.assertEqual(answer.value["detail"], "this must be an object")
        self.assertEqual([error["pointer"] for error in answer.value["errors"]], [""])

    def test_queueRefuses(self) -> None:
        """
        What the queue refuses keeps its code, with the status of that code.
        """
        for error, status, code in [
            (InvalidJob([("/worker", "other_worker", "no")]), 400, "invalid_field"),
            (QueueStopping(), 503, "stopping"),
            (StoreFull("the disk is full"), 507, "store_full"),
            (OwnershipLost(1, 2), 503, "ownership_lost"),
            (StoreClosed("job store"), 503, "stopping"),
            (StoreLost("it is gone"), 500, "store_lost"),
            (StoreDamaged("it is damaged"), 500, "store_failed"),
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
        self.queue.failure = KeyConflict({1: ("k", 7, ["/name"])}, 2)
        answer = self.ask("POST", "/v1/jobs", b'[{"args": []}, {"args": [], "key": "k"}]')
        self.assertRefused(answer, 409, "key_conflict")
        sentence = answer.value["detail"]
        self.assertIn("the key 'k' belongs to job 7, which differs in /name: ", sentence)
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

    def test_storeClosedMeanwhile(self) -> None:
        """
        A page of which a part was read before the store was closed is answered as any
        request that comes while the daemon stops.
        """
        self.queue.held = first = Deferred[Any]()
        _, transport = self.begin("GET", "/v1/jobs?limit=100")
        self.assertEqual(transport.value(), b"")
        self.queue.failure = StoreClosed("job store")
        first.callback([makeJob(number) for number in range(1, 65)])
        self.assertRefused(Answer(transport.value()), 503, "stopping")

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
        self.assertEqual(self.queue.calls, [("changedJobs", 7, 16, 5.0)])
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

    def test_cancelOnlyQueued(self) -> None:
        """
        A job that runs is left alone if the cancellation is for a queued one only.
        """
        self.queue.add(makeJob(17), makeJob(18, state=JobState.RUNNING))
        for jobID, status in ((17, 200), (18, 409)):
            answer = self.ask("POST", f"/v1/jobs/{jobID}/cancel?only_queued=true")
            self.assertEqual(answer.status, status)
        self.assertRefused(answer, 409, "not_queued")
        answer = self.ask("POST", "/v1/jobs/18/cancel?only_queued=yes")
        self.assertRefused(answer, 400, "invalid_field")
        answer = self.ask("POST", "/v1/jobs/18/cancel?only_queued=false")
        self.assertEqual(answer.value["state"], "cancelled")

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
        self.queue.failure = JobNotRunnable(17, "has other args")
        answer = self.ask("POST", "/v1/jobs/17/retry")
        self.assertRefused(answer, 409, "not_runnable")
        self.assertEqual(answer.value["detail"], "job 17 has other args")
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


class PoolTests(WebCase):
    """
    Tests for the requests about the pool.
    """

    def test_pool(self) -> None:
        """
        The pool is told as the queue tells it.
        """
        self.assertEqual(self.ask("GET", "/v1/pool").value, wire.statusToJSON(makeStatus()))

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
            self.assertEqual(answer.value, wire.statusToJSON(makeStatus()))
            self.assertEqual(self.queue.calls, [*expected, ("poolStatus",)])

    def test_changeWithoutClient(self) -> None:
        """
        A client that goes away does not keep the second thing from being changed.
        """
        self.queue.held = paused = Deferred[Any]()
        _, transport = self.begin("PATCH", "/v1/pool", b'{"workers": 2, "active": false}')
        transport.loseConnection()
        self.assertEqual(self.queue.calls, [("setActive", False)])
        paused.callback(None)
        self.assertEqual(self.queue.calls, [("setActive", False), ("resize", 2)])

    def test_changeFails(self) -> None:
        """
        If the first thing fails, the second one is not tried.
        """
        self.queue.failure = StoreFull("the disk is full")
        answer = self.ask("PATCH", "/v1/pool", b'{"workers": 2, "active": false}')
        self.assertRefused(answer, 507, "store_full")
        self.assertEqual(self.queue.calls, [("setActive", False)])

    def test_changeRefused(self) -> None:
        """
        A change that cannot be read changes nothing.
        """
        answer = self.ask("PATCH", "/v1/pool", b'{"active": false, "workers": true}')
        self.assertRefused(answer, 400, "invalid_field")
        self.assertEqual(self.queue.calls, [])

    def test_changeTooLarge(self) -> None:
        """
        More workers than there can be are refused before the pool is paused.
        """
        answer = self.ask("PATCH", "/v1/pool", b'{"active": false, "workers": 101}')
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

    def test_inJob(self) -> None:
        """
        A request that comes from a job says which, and the queue refuses what would wait
        for it; nothing is changed then.
        """
        origin = JobOrigin(17, "h\xe9", "/var/lib/a b")
        header = wire.formatOrigin(origin)
        self.ask("POST", "/v1/pool/quiesce", Ganeti_Pool_Job=header)
        self.assertEqual(self.queue.calls, [("quiesce", origin)])
        self.queue.calls.clear()
        body = b'{"active": false, "workers": 0}'
        answer = self.ask("PATCH", "/v1/pool", body, Ganeti_Pool_Job=header)
        self.assertRefused(answer, 409, "inside_job")
        self.assertIn("job 17", answer.value["detail"])
        self.assertEqual(self.queue.calls, [])

    def test_inJobUnknown(self) -> None:
        """
        A job that cannot be understood is refused, by the name of its header.
        """
        for method, path, body in (
            ("POST", "/v1/pool/quiesce", None),
            ("PATCH", "/v1/pool", b'{"workers": 1}'),
        ):
            answer = self.ask(method, path, body, Ganeti_Pool_Job="17")
            self.assertRefused(answer, 400, "invalid_field")
            (problem,) = answer.value["errors"]
            self.assertEqual(
                (problem["pointer"], problem["code"]), ("Ganeti-Pool-Job", "wrong_type")
            )
        self.assertEqual(self.queue.calls, [])

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


class LogTests(WebCase):
    """
    Tests for what is logged of requests.
    """

    def test_line(self) -> None:
        """
        Method, path, status and length are told, in a line and as fields, and nothing
        of the query, the headers and the body.
        """
        self.queue.add(makeJob(17))
        with capturedLogs() as events:
            answer = self.ask("GET", "/v1/jobs?label=a%3Ds3cret", authorization="Bearer s3cret")
        (event,) = events
        size = len(answer.body)
        self.assertEqual(formatEvent(event), f"192.168.1.1 GET /v1/jobs 200 {size}")
        self.assertEqual((event["path"], event["status"], event["bytes"]), ("/v1/jobs", 200, size))
        self.assertNotIn("s3cret", str(event))

    def logOfChanges(self, query: str, seconds: float, *jobs: Job) -> int:
        """
        Ask for changes, of which there are some in the end.

        @param seconds: until then.
        @return: how many lines that has.
        """
        self.queue.held = waiting = Deferred[Any]()
        with capturedLogs() as events:
            self.begin("GET", f"/v1/jobs?changed_after=7{query}")
            self.reactor.advance(seconds)
            waiting.callback(list(jobs))
        return len(events)

    def test_waitForNothing(self) -> None:
        """
        Who waits for changes, and is told that there are none, leaves no line. Who is
        told some does, and who does not wait.
        """
        self.assertEqual(self.logOfChanges("&wait=5", 5), 0)
        self.assertEqual(self.logOfChanges("&wait=1", 1), 0)
        self.assertEqual(self.logOfChanges("&wait=5", 5, makeJob(2)), 1)
        self.assertEqual(self.logOfChanges("", 5), 1)
        # Of a connection that stays, the next request is another one.
        self.queue.held = waiting = Deferred[Any]()
        protocol, _ = self.begin("GET", "/v1/jobs?changed_after=7&wait=5")
        self.reactor.advance(5)
        waiting.callback([])
        with capturedLogs() as events:
            protocol.dataReceived(b"GET /v1/pool HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(len(events), 1)

    def test_waitForAMoment(self) -> None:
        """
        Who waits for less than a second leaves a line, and so does who is answered
        before the wait is over: nobody can ask often and leave none.
        """
        self.assertEqual(self.logOfChanges("&wait=0.000001", 0.000001), 1)
        self.assertEqual(self.logOfChanges("&wait=0.75", 5), 1)
        self.assertEqual(self.logOfChanges("&wait=5", 4.5), 1)

    def test_oddRequest(self) -> None:
        """
        Whatever a client sends is in one line.
        """
        with capturedLogs() as events:
            self.ask("GET", "/{x}\\\x85?")
        self.assertIn(r" GET /{x}\\\x85 404 ", formatEvent(events[0]))


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
        self.assertEqual(answer.headers["allow"], "GET, PATCH")

    def test_otherMethods(self) -> None:
        """
        Methods that mean nothing here are refused as such, known ones or not, and
        where nothing is, nothing is.
        """
        for method in ("OPTIONS", "TRACE", "CONNECT", "PUT", "BREW", "'"):
            answer = self.ask(method, "/v1/pool")
            self.assertRefused(answer, 405, "method_not_allowed")
            self.assertRefused(self.ask(method, "/v1"), 404, "no_such_path")
        self.assertEqual(self.queue.calls, [])

    def test_head(self) -> None:
        """
        Nobody can ask for the headers alone, and so nobody waits for them.
        """
        for path in ("/v1/pool", "/v1/jobs?changed_after=0&wait=60", "/v1/jobs/1/output?wait=60"):
            answer = self.ask("HEAD", path)
            self.assertEqual((answer.status, answer.body), (405, b""))
            self.assertNotIn("HEAD", answer.headers["allow"])
            self.assertTrue(answer.text.endswith(b"\r\n\r\n"))
        self.assertEqual(self.queue.calls, [])

    def test_star(self) -> None:
        """
        Who asks the server as a whole hears that it is there.
        """
        answer = self.ask("OPTIONS", "*")
        self.assertEqual((answer.status, answer.body), (200, b""))
        answer = self.ask("GET", "*")
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "OPTIONS"))

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
