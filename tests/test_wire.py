"""
Tests for L{ganeti_pool.wire}.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlencode

import jsonschema_rs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import wire
from ganeti_pool.errors import InvalidJob
from ganeti_pool.interfaces import JobsStatus, PoolStatistics, QuiescesStatus, StoreStatus
from ganeti_pool.jobs import (
    Attempt,
    JobFailure,
    JobFilter,
    JobOrigin,
    JobState,
    NewJob,
    OnCrash,
    OutputSize,
)
from ganeti_pool.jobs.idempotency import fingerprint, submitted

from .fakequeue import NOON, makeJob, makeStatus

WORKER = "ganeti_pool.commands.CommandWorker"

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class OriginTests(SynchronousTestCase):
    """
    Tests for L{wire.formatOrigin} and L{wire.parseOrigin}.
    """

    def test_roundTrip(self) -> None:
        """
        Any host and any directory come back as they were sent, and match the schema.
        """
        schema = wire.ORIGIN[wire.ORIGIN_HEADER].schema
        for host in ("pluto", "a b", "h\xe9", "%41"):
            for directory in ("/", "/var/lib/pool", "/a b/\N{SNOWMAN}/%20", "/\udcff\n"):
                origin = JobOrigin(17, host, directory)
                text = wire.formatOrigin(origin)
                self.assertEqual(wire.parseOrigin([text.encode("ascii")]), origin)
                self.assertTrue(jsonschema_rs.is_valid(dict(schema), text))

    def test_none(self) -> None:
        """
        A request without the header comes from no job.
        """
        self.assertIsNone(wire.parseOrigin([]))

    def test_refused(self) -> None:
        """
        Anything else is refused, and the header is named.
        """
        whole = b"17 pluto /var"
        for values, code in (
            ([b""], "wrong_type"),
            ([b"17"], "wrong_type"),
            ([b"17 pluto"], "wrong_type"),
            ([b"17 pluto var"], "wrong_type"),
            ([b"17 pluto /var lib"], "wrong_type"),
            ([b"-1 pluto /var"], "wrong_type"),
            ([b"1" * 19 + b" pluto /var"], "wrong_type"),
            ([b"\xb2 pluto /var"], "wrong_type"),
            ([b"17 plut\xe9 /var"], "wrong_type"),
            ([whole + b"\n"], "wrong_type"),
            ([whole, whole], "duplicate_key"),
        ):
            refusal = self.assertRaises(InvalidJob, wire.parseOrigin, values)
            (problem,) = refusal.problems
            self.assertEqual(problem[:2], ("Ganeti-Pool-Job", code), values)


class DecodeTests(SynchronousTestCase):
    """
    Tests for L{wire.decode}.
    """

    def refused(self, body: bytes) -> list[tuple[str, str]]:
        """
        Where and why a body is refused.
        """
        error = self.assertRaises(InvalidJob, wire.decode, body)
        return [(pointer, code) for pointer, code, _ in error.problems]

    @given(VALUES)
    def test_roundTrip(self, value: Any) -> None:
        """
        What was encoded is read again as it was.
        """
        self.assertEqual(wire.decode(wire.encode(value)), value)

    def test_halfSurrogate(self) -> None:
        """
        Half of a surrogate pair is refused, in a value and in a key.
        """
        self.assertEqual(self.refused(rb'{"a": ["\ud800"]}'), [("/a/0", "not_text")])
        self.assertEqual(self.refused(rb'[{"\udc00": 1}]'), [("/0", "not_text")])

    def test_badUTF8(self) -> None:
        """
        Bytes that are no UTF-8 are refused, and so is JSON in another encoding.
        """
        self.assertEqual(self.refused(b'"\xff"'), [("", "bad_encoding")])
        self.assertEqual(self.refused('"a"'.encode("utf-16")), [("", "bad_encoding")])
        self.assertEqual(self.refused(b"\xef\xbb\xbf1"), [("", "bad_syntax")])

    def test_badSyntax(self) -> None:
        """
        What is no JSON is refused, an empty body too.
        """
        for body in (b"", b"{", b"[1,]", b"{'a': 1}"):
            self.assertEqual(self.refused(body), [("", "bad_syntax")])

    def test_sentence(self) -> None:
        """
        The error says what is wrong behind the place, if it is not the whole.
        """
        for body, sentence in (
            (b"{", "the body is no JSON: "),
            (rb'{"a": ["\ud800"]}', "/a/0: "),
        ):
            error = self.assertRaises(InvalidJob, wire.decode, body)
            self.assertTrue(str(error).startswith(sentence), error)

    def test_duplicateKey(self) -> None:
        """
        A key that is there twice is refused, however deep, and once.
        """
        self.assertEqual(
            self.refused(b'[{"a": {"b/~": 1, "b/~": 2, "b/~": 3}}]'),
            [("/0/a/b~1~0", "duplicate_key")],
        )

    def test_noNumbers(self) -> None:
        """
        NaN and the infinities are refused, written out or too large to hold.
        """
        self.assertEqual(
            self.refused(b"[NaN, Infinity, -Infinity, 1e999, -1e999, 1.5]"),
            [
                ("/0", "not_a_number"),
                ("/1", "not_a_number"),
                ("/2", "not_a_number"),
                ("/3", "out_of_range"),
                ("/4", "out_of_range"),
            ],
        )

    def test_64Bits(self) -> None:
        """
        A whole number is read up to the ends of 64 bits and refused beyond,
        without reading a million digits.
        """
        ends = [2**63 - 1, -(2**63)]
        self.assertEqual(wire.decode(json.dumps(ends).encode()), ends)
        beyond = f"[{2**63}, {-(2**63) - 1}, {'9' * 1_000_000}]"
        self.assertEqual(
            self.refused(beyond.encode()),
            [("/0", "out_of_range"), ("/1", "out_of_range"), ("/2", "out_of_range")],
        )

    def test_depth(self) -> None:
        """
        Nesting is read up to 64 levels, and refused beyond, however far.
        """
        wire.decode(b"[" * 64 + b"]" * 64)
        pointer = "/0" * 64
        self.assertEqual(self.refused(b"[" * 65 + b"]" * 65), [(pointer, "too_deep")])
        self.assertEqual(self.refused(b"[" * 500_000 + b"]" * 500_000), [("", "too_deep")])

    def test_someOfManyProblems(self) -> None:
        """
        Of a flood of problems, fifty are told.
        """
        self.assertEqual(len(self.refused(b"[" + b"NaN," * 999 + b"NaN]")), 50)


class EncodeTests(SynchronousTestCase):
    """
    Tests for L{wire.encode} and L{wire.timestamp}.
    """

    def test_anyText(self) -> None:
        """
        Text that UTF-8 cannot say is sent in ASCII.
        """
        self.assertEqual(wire.encode({"é": "\udcff"}), rb'{"\u00e9":"\udcff"}')

    def test_noNumber(self) -> None:
        """
        What is no number is not sent as one.
        """
        self.assertRaises(ValueError, wire.encode, float("nan"))

    def test_timestamp(self) -> None:
        """
        A time is told in UTC and to the millisecond, also a full one.
        """
        self.assertEqual(wire.timestamp(NOON), "2026-01-31T09:15:02.123Z")
        east = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
        self.assertEqual(wire.timestamp(east), "2025-12-31T23:00:00.000Z")


class JobDocumentTests(SynchronousTestCase):
    """
    Tests for L{wire.jobToJSON} and what is made of it.
    """

    def test_whole(self) -> None:
        """
        A job has every key of the documented object in that order, null for
        what it has not.
        """
        job = makeJob(
            17,
            state=JobState.FAILED,
            attempt=1,
            startedAt=NOON,
            finishedAt=NOON,
            error=JobFailure("exit_nonzero", "it exited with 3", exitCode=3),
            output={"stdout": OutputSize(120, False), "stderr": OutputSize(0, True)},
            revision=5,
        )
        moment = "2026-01-31T09:15:02.123Z"
        expected = {
            "id": 17,
            "key": None,
            "name": "README.md",
            "owner": None,
            "labels": {},
            "worker": WORKER,
            "args": [["sha256sum", "README.md"], {"cwd": "/src"}],
            "priority": 0,
            "state": "failed",
            "reason": None,
            "attempt": 1,
            "max_attempts": 1,
            "deferrals": 0,
            "on_crash": "fail",
            "timeout": None,
            "not_before": None,
            "depends_on": None,
            "progress": None,
            "submitted_at": moment,
            "started_at": moment,
            "finished_at": moment,
            "cancel_requested_at": None,
            "result": None,
            "error": {
                "code": "exit_nonzero",
                "message": "it exited with 3",
                "exit_code": 3,
                "signal": None,
            },
            "output": {
                "stdout": {"bytes": 120, "truncated": False},
                "stderr": {"bytes": 0, "truncated": True},
            },
            "revision": 5,
        }
        self.assertEqual(wire.encode(wire.jobToJSON(job)), wire.encode(expected))

    def test_attempts(self) -> None:
        """
        With attempts they stand beside it, without what only the store can read.
        """
        attempt = Attempt(
            number=1,
            startedAt=NOON,
            finishedAt=None,
            handle="42:7",
            outcome=JobState.QUEUED,
            error=None,
            output=None,
        )
        document = wire.jobToJSON(makeJob(), [attempt])
        self.assertEqual(
            document["attempts"],
            [
                {
                    "number": 1,
                    "started_at": "2026-01-31T09:15:02.123Z",
                    "finished_at": None,
                    "outcome": "queued",
                    "error": None,
                    "output": None,
                }
            ],
        )
        self.assertEqual(wire.jobToJSON(makeJob(), [])["attempts"], [])
        self.assertNotIn("attempts", wire.jobToJSON(makeJob()))

    def test_many(self) -> None:
        """
        Jobs that were encoded one by one stand in one object.
        """
        self.assertEqual(wire.encodeJobs([], {"next": None}), b'{"jobs":[],"next":null}')
        self.assertEqual(
            wire.encodeJobs([b"{}", b"[]"], {"next": 5, "revision": 7}),
            b'{"jobs":[{},[]],"next":5,"revision":7}',
        )

    def test_problem(self) -> None:
        """
        A refusal has the shape of RFC 9457, and the status of its code; an
        unknown code is the daemon's own trouble.
        """
        self.assertEqual(
            wire.problem("not_queued", "job 1 runs", [("/a", "missing", "it is missing")]),
            {
                "type": "about:blank",
                "title": "Conflict",
                "status": 409,
                "code": "not_queued",
                "detail": "job 1 runs",
                "errors": [{"pointer": "/a", "code": "missing", "detail": "it is missing"}],
            },
        )
        self.assertEqual(wire.problem("store_failed", "")["status"], 500)


class NewJobTests(SynchronousTestCase):
    """
    Tests for L{wire.parseNewJobs}.
    """

    def refused(self, value: object) -> list[tuple[str, str]]:
        """
        Where and why what is submitted is refused.
        """
        error = self.assertRaises(InvalidJob, wire.parseNewJobs, json.dumps(value).encode(), WORKER)
        return [(pointer, code) for pointer, code, _ in error.problems]

    def test_baseOfTheWorker(self) -> None:
        """
        A job that names the worker class, or one that it extends, is the same as one that names
        none, also in the name that it gets; any other class stays as it was named.
        """
        bases = ("a.Base", "a.Root")
        text = json.dumps([{"args": [], "worker": name} for name in ("b.Own", *bases)])
        named, _ = wire.parseNewJobs(text.encode(), "b.Own", workerBases=bases)
        (unnamed,), _ = wire.parseNewJobs(b'[{"args": []}]', "b.Own", workerBases=bases)
        self.assertEqual(named, [unnamed] * 3)
        self.assertEqual((unnamed.worker, unnamed.name), ("b.Own", "Own"))
        (other,), _ = wire.parseNewJobs(
            b'[{"args": [], "worker": "a.Other"}]', "b.Own", workerBases=bases
        )
        self.assertEqual((other.worker, other.name), ("a.Other", "Other"))

    def test_least(self) -> None:
        """
        A job needs its args, and gets the rest: its name from its program.
        """
        jobs, wasList = wire.parseNewJobs(b'{"args": [["/usr/bin/sha256sum", "a"]]}', WORKER)
        self.assertEqual(
            jobs, [NewJob(WORKER, (["/usr/bin/sha256sum", "a"],), "sha256sum", 0, OnCrash.FAIL, 1)]
        )
        self.assertFalse(wasList)

    def test_all(self) -> None:
        """
        Everything that a job can say is taken as it is, in a list too.
        """
        body = json.dumps(
            [
                {
                    "name": "one",
                    "worker": "a.B",
                    "args": [],
                    "priority": -5,
                    "on_crash": "retry",
                    "max_attempts": 3,
                    "key": "k",
                    "owner": "ana",
                    "labels": {"a b": "", "é": "1\n"},
                    "timeout": 2,
                },
                {"args": [], "name": "two", "key": None, "owner": None, "timeout": None},
            ]
        )
        jobs, wasList = wire.parseNewJobs(body.encode(), WORKER)
        labels = {"a b": "", "é": "1\n"}
        one = NewJob("a.B", (), "one", -5, OnCrash.RETRY, 3, "k", "ana", labels, 2.0)
        self.assertEqual(jobs, [one, NewJob(WORKER, (), "two")])
        self.assertIs(type(jobs[0].timeout), float)
        self.assertIs(type(jobs[0].onCrash), OnCrash)
        self.assertTrue(wasList)

    def test_defaultName(self) -> None:
        """
        A name that is not given is the last part of the first text of the first
        argument, the whole of it if that part names nothing, or else the class of the
        worker, and is cut where names end.
        """
        for args, name in [
            ([["/bin/tool/", "x"]], "tool"),
            (["plain/text"], "text"),
            ([["/"]], "/"),
            ([["//"]], "//"),
            ([["."]], "."),
            ([["./.."]], "./.."),
            ([["dir/"]], "dir"),
            ([["dir/ "]], "dir/ "),
            ([["a b\x1b"]], "a b\x1b"),
            ([[" \t"]], "CommandWorker"),
            ([["\x1b\x00"]], "CommandWorker"),
            ([[""]], "CommandWorker"),
            ([[]], "CommandWorker"),
            ([[1, "a"]], "CommandWorker"),
            ([{}], "CommandWorker"),
            ([], "CommandWorker"),
            (["x" * 500], "x" * 200),
        ]:
            jobs, _ = wire.parseNewJobs(json.dumps({"args": args}).encode(), WORKER)
            self.assertEqual(jobs[0].name, name)

    def test_noFunctionYet(self) -> None:
        """
        A key that has no function yet is refused by that name, also with null.
        """
        later = [
            "reason",
            "not_before",
            "depends_on",
            "progress",
        ]
        self.assertEqual(
            self.refused({"args": [], **dict.fromkeys(later)}),
            [(f"/{key}", "not_implemented") for key in later],
        )

    def test_wrongFields(self) -> None:
        """
        A key, owner, label or timeout that cannot be one is refused.
        """
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"key": ""}, "out_of_range"),
            ({"key": "k" * 201}, "out_of_range"),
            ({"key": "a\nb"}, "out_of_range"),
            ({"key": 1}, "wrong_type"),
            ({"owner": ["ana"]}, "wrong_type"),
            ({"owner": "\x1b"}, "out_of_range"),
            ({"labels": None}, "wrong_type"),
            ({"labels": ["a"]}, "wrong_type"),
            ({"labels": {"a": 1}}, "wrong_type"),
            ({"labels": {"": "a"}}, "out_of_range"),
            ({"labels": {"a=b": "a"}}, "out_of_range"),
            ({"labels": {"\t": "a"}}, "out_of_range"),
            ({"labels": {"a": "b" * 201}}, "out_of_range"),
            ({"labels": {str(n): "" for n in range(33)}}, "out_of_range"),
            ({"timeout": 0}, "out_of_range"),
            ({"timeout": -1.5}, "out_of_range"),
            ({"timeout": 1e10}, "out_of_range"),
            ({"timeout": True}, "wrong_type"),
            ({"timeout": "5"}, "wrong_type"),
        ]
        for fields, code in wrong:
            (name,) = fields
            self.assertEqual(self.refused({"args": [], **fields}), [(f"/{name}", code)], fields)
        most = {"labels": {str(n): "b" * 200 for n in range(32)}, "key": "k" * 200}
        wire.parseNewJobs(json.dumps({"args": [], **most}).encode(), WORKER)

    def test_unknownKey(self) -> None:
        """
        An unknown key is refused, and so is one that only the daemon writes.
        """
        self.assertEqual(
            self.refused([{"args": [], "prio": 1}, {"args": [], "state": "queued"}]),
            [("/0/prio", "unknown_key"), ("/1/state", "unknown_key")],
        )
        # the daemon's worker class says it, and nobody else
        self.assertEqual(
            self.refused({"args": [], "args_version": 1}), [("/args_version", "unknown_key")]
        )

    def test_wrongValues(self) -> None:
        """
        Each member is refused with a value of another kind, such as true for a
        number, and all that is wrong is told at once.
        """
        self.assertEqual(
            self.refused(
                {
                    "name": 1,
                    "worker": None,
                    "args": {},
                    "priority": True,
                    "on_crash": "explode",
                    "max_attempts": 1.5,
                }
            ),
            [
                ("/name", "wrong_type"),
                ("/worker", "wrong_type"),
                ("/args", "wrong_type"),
                ("/priority", "wrong_type"),
                ("/on_crash", "out_of_range"),
                ("/max_attempts", "wrong_type"),
            ],
        )

    def test_outOfRange(self) -> None:
        """
        Values beyond their range are refused, and the ends of it are not.
        """
        self.assertEqual(
            self.refused(
                {"args": [], "name": "", "worker": "no class", "max_attempts": 0, "on_crash": []}
            ),
            [
                ("/name", "out_of_range"),
                ("/worker", "out_of_range"),
                ("/max_attempts", "out_of_range"),
                ("/on_crash", "out_of_range"),
            ],
        )
        self.assertEqual(self.refused({"args": [], "name": "n" * 201}), [("/name", "out_of_range")])
        wire.parseNewJobs(
            json.dumps({"args": [], "name": "n" * 200, "max_attempts": 1}).encode(), WORKER
        )

    def test_missing(self) -> None:
        """
        A job without args, or one that is no object, is refused where it stands.
        """
        self.assertEqual(self.refused({}), [("/args", "missing")])
        self.assertEqual(self.refused([{"args": []}, 5]), [("/1", "wrong_type")])
        self.assertEqual(self.refused("job"), [("", "wrong_type")])

    def test_listLength(self) -> None:
        """
        An empty list and one that is too long are refused, a full one is not.
        """
        self.assertEqual(self.refused([]), [("", "out_of_range")])
        self.assertEqual(self.refused([{"args": []}] * 1001), [("", "out_of_range")])
        full = json.dumps([{"args": []}] * wire.MAX_JOBS).encode()
        self.assertEqual(len(wire.parseNewJobs(full, WORKER)[0]), 1000)

    def test_attemptsOfRetry(self) -> None:
        """
        A job that is to be tried again, and does not say how often, is started
        three times at most.
        """
        for fields, attempts in (
            ({}, 1),
            ({"on_crash": "fail"}, 1),
            ({"on_crash": "retry"}, 3),
            ({"on_crash": "retry", "max_attempts": 1}, 1),
        ):
            (job,), _ = wire.parseNewJobs(json.dumps({"args": [], **fields}).encode(), WORKER)
            self.assertEqual(job.maxAttempts, attempts)

    def test_defaultOnCrash(self) -> None:
        """
        A job that does not say what a crash does to it is one as the worker class
        has them.
        """
        jobs, _ = wire.parseNewJobs(
            b'[{"args": []}, {"args": [], "on_crash": "fail"}]', WORKER, OnCrash.RETRY
        )
        self.assertEqual(
            [(job.onCrash, job.maxAttempts) for job in jobs],
            [(OnCrash.RETRY, 3), (OnCrash.FAIL, 1)],
        )

    def test_integralNumbers(self) -> None:
        """
        A number without a fraction is an integer, however it is written, and a job that
        is submitted so is the same.
        """
        plain, spelled = (
            wire.parseNewJobs(body, WORKER)[0][0]
            for body in (
                b'{"args": [], "priority": 1, "max_attempts": 1000, "timeout": 2}',
                b'{"args": [], "priority": 1.0, "max_attempts": 1e3, "timeout": 2.0}',
            )
        )
        self.assertEqual(plain, spelled)
        self.assertEqual(fingerprint(submitted(plain)), fingerprint(submitted(spelled)))
        self.assertIs(type(spelled.priority), int)
        self.assertEqual(wire.parsePriority(b'{"priority": -9223372036854775808.0}'), -(2**63))
        for number, code in (
            (b"1.5", "wrong_type"),
            (b"true", "wrong_type"),
            (b"1e400", "out_of_range"),
            (b"9223372036854775808.0", "out_of_range"),
        ):
            body = b'{"priority": %b}' % number
            error = self.assertRaises(InvalidJob, wire.parsePriority, body)
            self.assertEqual([problem[1] for problem in error.problems], [code], number)


class ChangeTests(SynchronousTestCase):
    """
    Tests for the bodies that change something.
    """

    def test_priority(self) -> None:
        """
        A change of a job says its priority, all of 64 bits, and nothing else.
        """
        self.assertEqual(wire.parsePriority(b'{"priority": -9223372036854775808}'), -(2**63))
        for body in (b"{}", b'{"priority": null}', b'{"priority": 1, "name": "x"}', b"[]"):
            self.assertRaises(InvalidJob, wire.parsePriority, body)

    def test_pool(self) -> None:
        """
        A change of the pool says one thing or both.
        """
        self.assertEqual(
            wire.parsePoolChange(b'{"active": false, "workers": 0}'), wire.PoolChange(False, 0)
        )
        self.assertEqual(wire.parsePoolChange(b'{"workers": 1000}'), wire.PoolChange(None, 1000))
        self.assertEqual(wire.parsePoolChange(b'{"active": true}'), wire.PoolChange(True, None))

    def test_poolRefused(self) -> None:
        """
        A change of the pool that says nothing, or what cannot be, is refused.
        """
        for body, expected in [
            (b"{}", ("", "missing")),
            (b'{"active": 1}', ("/active", "wrong_type")),
            (b'{"workers": true}', ("/workers", "wrong_type")),
            (b'{"workers": -1}', ("/workers", "out_of_range")),
            (b'{"workers": 1001}', ("/workers", "out_of_range")),
            (b'{"busy": 1}', ("/busy", "unknown_key")),
        ]:
            error = self.assertRaises(InvalidJob, wire.parsePoolChange, body)
            self.assertEqual([problem[:2] for problem in error.problems], [expected])

    def test_noBody(self) -> None:
        """
        A body is refused where none has a meaning.
        """
        wire.checkNoBody(b"")
        self.assertRaises(InvalidJob, wire.checkNoBody, b"{}")


class QueryTests(SynchronousTestCase):
    """
    Tests for what is asked in a URL.
    """

    def refused(self, query: bytes) -> list[tuple[str, str]]:
        """
        Where and why a query about jobs is refused.
        """
        error = self.assertRaises(InvalidJob, wire.parseJobsQuery, query)
        return [(pointer, code) for pointer, code, _ in error.problems]

    def test_list(self) -> None:
        """
        A list is asked for by any of the states, name, order, limit, cursor.
        """
        self.assertEqual(wire.parseJobsQuery(b""), wire.ListQuery(JobFilter(), False, 100, None))
        self.assertEqual(
            wire.parseJobsQuery(
                b"state=queued&state=running&name=a%20%C3%A9+b&order=desc&limit=1000&after=0"
            ),
            wire.ListQuery(
                JobFilter(frozenset({JobState.QUEUED, JobState.RUNNING}), "a é b"), True, 1000, 0
            ),
        )
        asked = wire.parseJobsQuery(b"label=a=1&label=b=%3D&label=c=")
        assert isinstance(asked, wire.ListQuery)
        labels = frozenset({("a", "1"), ("b", "="), ("c", "")})
        self.assertEqual(asked.which, JobFilter(labels=labels))
        asked = wire.parseJobsQuery(b"&".join(b"label=a%d=1" % n for n in range(32)))
        assert isinstance(asked, wire.ListQuery)
        self.assertEqual(len(asked.which.labels), 32)
        asked = wire.parseJobsQuery(b"order=asc&limit=1")
        self.assertEqual(asked, wire.ListQuery(JobFilter(), False, 1, None))

    def test_changes(self) -> None:
        """
        Changes are asked for by revision, with a wait that is cut to a minute.
        """
        self.assertEqual(wire.parseJobsQuery(b"changed_after=7"), wire.ChangesQuery(7, 1000, 0.0))
        self.assertEqual(
            wire.parseJobsQuery(b"changed_after=7&wait=1.5&limit=5"), wire.ChangesQuery(7, 5, 1.5)
        )
        self.assertEqual(
            wire.parseJobsQuery(b"changed_after=7&wait=3600"), wire.ChangesQuery(7, 1000, 60.0)
        )

    def test_output(self) -> None:
        """
        Output is asked for by stream, attempt, offset and wait, all of which
        may be left out.
        """
        self.assertEqual(wire.parseOutputQuery(b""), wire.OutputQuery("stdout", None, 0, 0.0))
        self.assertEqual(
            wire.parseOutputQuery(b"stream=stderr&attempt=2&offset=10&wait=3600"),
            wire.OutputQuery("stderr", 2, 10, 3600.0),
        )
        for query in (b"stream=both", b"attempt=0", b"offset=-1", b"wait=86401", b"wait=-1"):
            self.assertRaises(InvalidJob, wire.parseOutputQuery, query)

    def test_quiesce(self) -> None:
        """
        How long to wait until the queue is quiet may be said.
        """
        self.assertIsNone(wire.parseQuiesceQuery(b""))
        self.assertEqual(wire.parseQuiesceQuery(b"wait=0"), 0.0)
        for query in (b"wait=", b"wait=86401", b"timeout=5"):
            self.assertRaises(InvalidJob, wire.parseQuiesceQuery, query)

    def test_cancel(self) -> None:
        """
        A cancellation may be of a queued job only, and says so by a boolean.
        """
        for query, onlyQueued in ((b"", False), (b"only_queued=false", False)):
            self.assertIs(wire.parseCancelQuery(query), onlyQueued)
        self.assertIs(wire.parseCancelQuery(b"only_queued=true"), True)
        for query in (b"only_queued=1", b"only_queued", b"only_queued=", b"wait=1"):
            self.assertRaises(InvalidJob, wire.parseCancelQuery, query)

    def test_refused(self) -> None:
        """
        What cannot be understood is refused by the name of the parameter.
        """
        for query, expected in [
            (b"colour=red", ("/colour", "unknown_key")),
            (b"label=a", ("/label", "out_of_range")),
            (b"label=a=1&label==b", ("/label", "out_of_range")),
            (b"&".join(b"label=a=%d" % n for n in range(33)), ("/label", "out_of_range")),
            (b"&".join([b"label=a=1"] * 33), ("/label", "out_of_range")),
            (b"state=done", ("/state", "out_of_range")),
            (b"order=up", ("/order", "out_of_range")),
            (b"limit=0", ("/limit", "out_of_range")),
            (b"limit=1001", ("/limit", "out_of_range")),
            (b"limit=1&limit=2", ("/limit", "duplicate_key")),
            (b"limit=", ("/limit", "wrong_type")),
            (b"after=1.0", ("/after", "wrong_type")),
            (b"after=%D9%A1", ("/after", "wrong_type")),
            (b"after=1_0", ("/after", "wrong_type")),
            (b"after=%2B1", ("/after", "wrong_type")),
            (b"after=+1", ("/after", "wrong_type")),
            (b"after=" + b"9" * 401, ("/after", "wrong_type")),
            (b"after=" + b"9" * 400, ("/after", "out_of_range")),
            (b"changed_after=1&wait=1_0", ("/wait", "wrong_type")),
            (b"changed_after=1&wait=%D9%A1", ("/wait", "wrong_type")),
            (b"after=9223372036854775808", ("/after", "out_of_range")),
            (b"changed_after=1&state=queued", ("/state", "unknown_key")),
            (b"changed_after=1&wait=inf", ("/wait", "wrong_type")),
            (b"wait=1", ("/wait", "unknown_key")),
            (b"limit", ("", "bad_syntax")),
            (b"name=%FF", ("", "bad_syntax")),
            (b"name=\xb0", ("", "bad_syntax")),
        ]:
            self.assertEqual(self.refused(query), [expected], query)

    def test_noQuery(self) -> None:
        """
        A query is refused where none has a meaning.
        """
        wire.checkNoQuery(b"")
        self.assertRaises(InvalidJob, wire.checkNoQuery, b"a=1")


LONGEST = "x" * 200

CANDIDATES: list[Any] = [
    None,
    False,
    True,
    *(-(2**63) - 1, -(2**63), -1, 0, 1, 999, 1000, 1001, 10**9, 10**9 + 1, 2**63 - 1, 2**63),
    # JSON has one kind of number: some of these are integers.
    *(-1.5, -1.0, -0.0, 0.5, 1.0, 1e3, 1000.0, 1e18, 1e300),
    *("", " ", "x", LONGEST, LONGEST + "x", "\U0001f40d" * 200, "a\nb", "\u00a0", "a=b", "\x7f"),
    *("fail", "retry", "Fail"),
    [],
    [[], {"a": [None]}],
    {},
    *(dict.fromkeys(labels, "") for labels in ((), "ab", [LONGEST], [LONGEST + "x"], [""])),
    *({"a": text} for text in (LONGEST, LONGEST + "x", "", "\n", 1, None)),
    *({label: ""} for label in ("a=b", "=", "a\tb", " ", "\u2028", "\u00ad")),
    *({str(n): "" for n in range(count)} for count in (32, 33)),
]
"""
Values at both sides of what is allowed, here or there.
"""


class StatisticsTests(SynchronousTestCase):
    """
    Tests for L{wire.STATISTICS}.
    """

    def test_all(self) -> None:
        """
        All that a pool says of itself is described, there or beside it.
        """
        pool = wire.components()["Pool"]["properties"]
        described = {*pool["statistics"]["properties"], *pool} | {"idle"}
        names = {field.name for field in dataclasses.fields(PoolStatistics)}
        self.assertEqual(names - described, set())
        self.assertEqual(list(pool["statistics"]["properties"]), list(wire.STATISTICS))


class SchemaTests(SynchronousTestCase):
    """
    Tests for the JSON Schemas that the checks say.
    """

    def isValid(self, schema: wire.Schema, value: object) -> bool:
        """
        Whether a schema allows a value.
        """
        whole = {"components": {"schemas": wire.components()}, "allOf": [schema]}
        return jsonschema_rs.Draft202012Validator(whole).is_valid(value)

    def isTaken(self, read: Callable[[bytes], object], value: object) -> bool:
        """
        Whether a body with a value is taken.
        """
        try:
            read(wire.encode(value))
        except InvalidJob:
            return False
        return True

    def assertSame(
        self, schema: wire.Schema, read: Callable[[bytes], object], values: Iterable[object]
    ) -> None:
        """
        Check that a schema allows those of some values that are taken.
        """
        for value in values:
            shown = str(value)[:100]
            self.assertEqual(self.isValid(schema, value), self.isTaken(read, value), shown)

    def test_job(self) -> None:
        """
        Each member of a job is allowed what is taken of it. That the name of a class has
        to be one is not said.
        """
        for name in wire.components()["NewJob"]["properties"]:
            self.assertSame(
                wire.JOBS,
                lambda body: wire.parseNewJobs(body, WORKER),
                (
                    {"args": [], name: value}
                    for value in CANDIDATES
                    if name != "worker" or not isinstance(value, str) or len(value) in (0, 201)
                ),
            )

    def test_jobs(self) -> None:
        """
        One job is allowed or a list of them, with their args and with no other member.
        """
        job: dict[str, Any] = {"args": []}
        values: list[object] = [
            job,
            [job],
            [job] * 1000,
            [job] * 1001,
            [],
            {},
            [job, {}],
            [[job]],
            5,
            None,
        ]
        values += [{**job, "id": 5}, {**job, "reason": "r"}, {"name": "n"}]
        self.assertSame(wire.JOBS, lambda body: wire.parseNewJobs(body, WORKER), values)

    def test_changes(self) -> None:
        """
        A change of a job or of the pool is allowed what is taken of it.
        """
        for schema, read, names in (
            (wire.PRIORITY, wire.parsePriority, ["priority"]),
            (wire.POOL_CHANGE, wire.parsePoolChange, ["active", "workers"]),
        ):
            values: list[object] = [{name: value} for name in names for value in CANDIDATES]
            values += [{}, [], None, {"name": "n"}, {"active": True, "workers": 1}]
            self.assertSame(schema, read, values)

    def test_queries(self) -> None:
        """
        Each parameter of a query is allowed what is taken of it.
        """
        words = [str(value) for value in CANDIDATES if isinstance(value, (int, float, str))]
        words += [
            "asc",
            "desc",
            "stdout",
            "stderr",
            "queued",
            "86400",
            "86401",
            "a=",
            "1e-7",
            "true",
        ]
        for known, path in (
            (wire.JOBS_QUERY, wire.parseJobsQuery),
            (wire.OUTPUT_QUERY, wire.parseOutputQuery),
            (wire.QUIESCE_QUERY, wire.parseQuiesceQuery),
            (wire.CANCEL_QUERY, wire.parseCancelQuery),
        ):
            for name, check in known.items():
                self.assertSameQuery(name, check.schema, path, words)

    def test_repeated(self) -> None:
        """
        A parameter that may be there more than once is allowed as often as it is taken.
        """
        for name, word in (("label", "a=1"), ("state", "queued")):
            for count in (1, 2, 32, 33):
                words = [word] * count
                isTaken = True
                try:
                    wire.parseJobsQuery(urlencode([(name, word) for word in words]).encode())
                except InvalidJob:
                    isTaken = False
                self.assertEqual(self.isValid(wire.JOBS_QUERY[name].schema, words), isTaken)

    def assertSameQuery(
        self,
        name: str,
        schema: wire.Schema,
        read: Callable[[bytes], object],
        words: Iterable[str],
    ) -> None:
        """
        Check that the schema of a parameter allows those of some words that are taken.
        """
        other = {"changed_after": "1"} if (name, read) == ("wait", wire.parseJobsQuery) else {}
        for word in words:
            value: Any = word
            if schema["type"] in ("integer", "number"):
                # That a whole number is written as one, no schema says.
                if re.fullmatch(r"-?[0-9]+(\.0+|e\+[0-9]+)", word):
                    continue
                value = json.loads(word) if re.fullmatch(r"-?[0-9][0-9.e+-]*", word) else word
            elif schema["type"] == "boolean":
                value = word == "true" or word
            elif schema["type"] == "array":
                value = [word]
            query = urlencode({**other, name: word}).encode()
            try:
                read(query)
                isTaken = True
            except InvalidJob:
                isTaken = False
            self.assertEqual(self.isValid(schema, value), isTaken, (name, word[:100]))


class StatusTests(SynchronousTestCase):
    """
    Tests for L{wire.statusToJSON}.
    """

    def test_bytes(self) -> None:
        """
        The status is one JSON object whose keys keep their order, with times in UTC to the
        millisecond.
        """
        self.assertEqual(
            wire.encode(wire.statusToJSON(makeStatus())),
            b'{"active":true,"workers":4,"busy":3,"quiesces":{"count":0,"since":null},'
            b'"statistics":{"added":30,"queued":17,"running":3,"succeeded":5,"failed":3,'
            b'"cancelled":2,"unstarted":0,"deferrals":1,"waited":1.5},'
            b'"jobs":{"queued":17,"running":3,"oldest_queued_at":"2026-01-31T09:15:02.123Z",'
            b'"longest_running_at":null,"last_day":{"cancelled":2,"failed":3,"succeeded":5}},'
            b'"store":{"bytes":4096,"free_bytes":100,"unwritten":2,"last_error":null},'
            b'"output":{"adopted":false,"set_aside":["/state/output/aside-1"]},'
            b'"daemon":{"pid":4242,"version":"1.2.3",'
            b'"started_at":"2026-01-31T09:15:02.123Z",'
            b'"worker":"ganeti_pool.commands.CommandWorker","host":"pluto",'
            b'"state_directory":"/state","stopping":false}}',
        )

    def test_unknown(self) -> None:
        """
        What is not known is null, in every place where the schema allows it.
        """
        known = makeStatus()
        status = dataclasses.replace(
            known,
            quiesces=QuiescesStatus(1, NOON.astimezone(timezone(timedelta(hours=2)))),
            statistics=dataclasses.replace(known.statistics, waited=None),
            jobs=JobsStatus(1, 0, None, None, None),
            store=StoreStatus(None, None, 0, "it is lost"),
        )
        document = wire.statusToJSON(status)
        self.assertEqual(document["quiesces"], {"count": 1, "since": "2026-01-31T09:15:02.123Z"})
        self.assertIsNone(document["statistics"]["waited"])
        self.assertEqual(
            document["jobs"],
            {
                "queued": 1,
                "running": 0,
                "oldest_queued_at": None,
                "longest_running_at": None,
                "last_day": None,
            },
        )
        self.assertEqual(
            document["store"],
            {"bytes": None, "free_bytes": None, "unwritten": 0, "last_error": "it is lost"},
        )
        schema = dict(wire.components()["Pool"])
        for each in (document, wire.statusToJSON(known)):
            self.assertTrue(jsonschema_rs.is_valid(schema, each))
