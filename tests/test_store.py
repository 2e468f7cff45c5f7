"""
Tests for the job stores: one contract, which both pass, and what is particular
to each.
"""

from __future__ import annotations

import os
import queue
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Engine, event
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from ganeti_pool import errors
from ganeti_pool.interfaces import IJobStore
from ganeti_pool.jobs import (
    FINISHED,
    TRANSITIONS,
    Attempt,
    Job,
    JobFailure,
    JobFilter,
    JobState,
    NewJob,
    OnCrash,
    Outcome,
    OutputSize,
    QueuedJob,
)
from ganeti_pool.store.schema import SCHEMA_VERSION
from ganeti_pool.store.sqlite import SQLiteJobStore
from ganeti_pool.testing._store import MemoryJobStore

if TYPE_CHECKING:
    _Mixin = SynchronousTestCase
else:
    _Mixin = object

_T = TypeVar("_T")

TIMEOUT = 30.0
"""
Seconds after which a thread that should have spoken is given up.
"""

Watcher = Callable[[sqlite3.Connection, str, Any], None]
"""
Called with a connection, what is said to it, and the parameters.
"""

NOON = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=timezone.utc)

DONE = Outcome(JobState.SUCCEEDED)


@implementer(IReactorFromThreads)
class Turns:
    """
    A reactor's one thread-safe call, whose turns a test takes itself.
    """

    def __init__(self) -> None:
        self.calls: queue.Queue[Callable[[], object]] = queue.Queue()

    def callFromThread(self, callable: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.calls.put(lambda: callable(*args, **kwargs))

    def turn(self) -> None:
        self.calls.get(timeout=TIMEOUT)()

    def wait(self, deferred: Deferred[_T]) -> _T:
        """
        Take turns until a Deferred has fired.
        """
        results: list[_T | Failure] = []
        deferred.addBoth(results.append)
        while not results:
            self.turn()
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]


def temporary(case: SynchronousTestCase) -> str:
    """
    A path at which nothing is, alone in a directory that goes with the test.
    """
    directory = tempfile.TemporaryDirectory()
    case.addCleanup(directory.cleanup)
    return os.path.join(directory.name, "new")


class Time:
    """
    A clock that stands still until it is moved.
    """

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


def new(name: str = "job", **values: Any) -> NewJob:
    """
    Some job to add.
    """
    return NewJob(worker="some.Worker", args=(["true"], {"cwd": "/"}), name=name, **values)


class StoreContract(_Mixin):
    """
    What holds for every store.
    """

    store: IJobStore

    def setUp(self) -> None:
        self.time = Time()
        self.turns = Turns()
        self.commits: list[int] = []
        self.store = self.makeStore()
        self.epoch = self.wait(self.store.acquire("host:1"))

    def makeStore(self) -> IJobStore:
        """
        A new store that nobody has acquired yet.
        """
        raise NotImplementedError

    def reopen(self) -> IJobStore:
        """
        Another store over what C{self.store} keeps.
        """
        raise NotImplementedError

    def committed(self, requests: int, seconds: float) -> None:
        """
        What the stores tell of their commits.
        """
        self.assertGreaterEqual(seconds, 0.0)
        self.commits.append(requests)

    def wait(self, deferred: Deferred[_T]) -> _T:
        return self.turns.wait(deferred)

    def refused(self, kind: type[Exception], deferred: Deferred[Any]) -> str:
        """
        Check that a request fails with exactly this, and return its sentence.
        """
        with self.assertRaises(kind) as caught:
            self.wait(deferred)
        self.assertIs(type(caught.exception), kind)
        return str(caught.exception)

    def add(self, *jobs: NewJob, firstPosition: int = 0) -> list[Job]:
        return self.wait(self.store.addJobs(self.epoch, jobs or (new(),), firstPosition))

    def start(self, jobID: int, attempt: int = 1) -> Job:
        return self.wait(self.store.startAttempt(self.epoch, jobID, attempt))

    def finish(self, jobID: int, outcome: Outcome = DONE, attempt: int = 1) -> Job:
        return self.wait(self.store.finishAttempt(self.epoch, jobID, attempt, outcome))

    def inState(self, state: JobState) -> Job:
        """
        A new job in this state.
        """
        (job,) = self.add()
        if state is not JobState.QUEUED:
            job = self.start(job.id)
        return self.finish(job.id, Outcome(state)) if state in FINISHED else job

    def everything(self) -> list[tuple[Job, list[Attempt]]]:
        """
        All that a store tells of its jobs.
        """
        jobs = self.wait(self.store.listJobs(JobFilter(), False, 1000, None))
        return [(job, self.wait(self.store.attempts(job.id))) for job in jobs]

    def test_interface(self) -> None:
        """
        It provides the contract.
        """
        verifyObject(IJobStore, self.store)

    def test_addedJob(self) -> None:
        """
        A job that was added is queued, with what was submitted, and nothing else.
        """
        own: dict[str, Any] = {"key": "k", "owner": "ana", "labels": {"b": "1"}, "timeout": 2.5}
        submitted = new("a", priority=-3, onCrash=OnCrash.RETRY, maxAttempts=4, **own)
        (job,) = self.add(submitted, firstPosition=7)
        self.assertEqual(
            job,
            Job(
                id=1,
                worker="some.Worker",
                args=(["true"], {"cwd": "/"}),
                name="a",
                priority=-3,
                onCrash=OnCrash.RETRY,
                maxAttempts=4,
                **own,
                state=JobState.QUEUED,
                reason=None,
                position=7,
                attempt=0,
                deferrals=0,
                submittedAt=NOON,
                startedAt=None,
                finishedAt=None,
                cancelRequestedAt=None,
                result=None,
                error=None,
                output=None,
                revision=1,
            ),
        )
        self.assertEqual(self.wait(self.store.job(job.id)), job)
        self.assertEqual(self.wait(self.store.attempts(job.id)), [])

    def test_keyGivesTheOldJob(self) -> None:
        """
        A job whose key is there already gives the job that has it, as it is now, in
        the same list too; only the others are added, without a gap.
        """
        (old,) = self.add(new("a", key="a"), firstPosition=1)
        old = self.wait(self.store.changePriority(self.epoch, old.id, -9))
        again = [new("a", key="a"), new("b", key="b"), new("c"), new("b", key="b"), new("c")]
        jobs = self.add(*again, firstPosition=2)
        self.assertEqual(jobs[0], old)
        self.assertEqual([job.id for job in jobs], [1, 2, 3, 2, 4])
        self.assertEqual([job.revision for job in jobs[1:]], [3, 4, 3, 5])
        self.assertEqual([job.position for job in jobs[1:]], [3, 4, 3, 6])
        store = self.reopen()
        self.epoch = self.wait(store.acquire("host:2"))
        self.store = store
        self.assertEqual(self.add(new("a", key="a"), firstPosition=99), [old])
        self.assertEqual(self.wait(self.store.lastPosition()), 6)
        self.assertEqual([job.id for job in self.add(new())], [5])

    def test_keyOfFinishedJob(self) -> None:
        """
        The key of a job that has ended gives that job.
        """
        self.add(new(key="a"))
        self.start(1)
        self.finish(1)
        (job,) = self.add(new(key="a"))
        self.assertEqual((job.id, job.state), (1, JobState.SUCCEEDED))

    def test_keyConflict(self) -> None:
        """
        A key of a job that was submitted with anything else is refused with its
        whole list, for each such job, and the group goes on.
        """
        self.add(new("a", key="a"))
        for other in (
            {"priority": 1},
            {"onCrash": OnCrash.RETRY},
            {"maxAttempts": 2},
            {"owner": "ana"},
            {"labels": {"a": "b"}},
            {"timeout": 1.0},
        ):
            self.refused(
                errors.KeyConflict, self.store.addJobs(self.epoch, [new("a", key="a", **other)], 1)
            )
        listed = [new("b", key="b"), new("x", key="a"), new("x", key="b")]
        refused = self.store.addJobs(self.epoch, listed, 1)
        fine = self.store.addJobs(self.epoch, [new("b", key="b")], 4)
        sentence = self.refused(errors.KeyConflict, refused)
        self.assertEqual(
            sentence,
            "the key 'a' belongs to job 1, which differs in /name: submit it as that one was, or "
            "with another key (and 1 more)",
        )
        (job,) = self.wait(fine)
        self.assertEqual((job.id, job.revision), (2, 2))

    def test_sameTimeout(self) -> None:
        """
        A timeout in whole seconds is the same as a number or as one with a fraction, and
        comes back as the latter.
        """
        for key, (first, second) in {"a": (5, 5.0), "b": (5.0, 5)}.items():
            (job,) = self.add(new(key=key, timeout=first))
            self.assertEqual(self.add(new(key=key, timeout=second)), [job])
            for one in (job, self.wait(self.store.job(job.id))):
                self.assertEqual(repr(one.timeout), "5.0")

    def test_anyMapping(self) -> None:
        """
        The labels of a job with a key may be any mapping.
        """
        labels = MappingProxyType({"a": "b"})
        (job,) = self.add(new(key="a", labels=labels))
        self.assertEqual(job.labels, {"a": "b"})
        self.assertEqual(self.add(new(key="a", labels=dict(labels))), [job])

    def test_conflictsAreNamed(self) -> None:
        """
        A conflict names the places of the jobs that are refused, and the older jobs.
        """
        self.add(new("a", key="a"))
        listed = [new("b", key="b"), new("x", key="a"), new("x", key="b")]
        seen: list[Failure] = []
        self.wait(self.store.addJobs(self.epoch, listed, 1).addErrback(seen.append))
        error = seen[0].value
        assert isinstance(error, errors.KeyConflict)
        self.assertEqual(error.conflicts, {1: 1, 2: None})
        self.assertEqual(
            [problem[:2] for problem in error.problems],
            [("/1/key", "key_conflict"), ("/2/key", "key_conflict")],
        )
        self.assertIn("a job before it in the list", error.problems[1][2])
        self.assertIn("differs in /name:", error.problems[1][2])
        alone = errors.KeyConflict({0: ("a", 1, [])}, 1)
        self.assertEqual(alone.problems[0][0], "/key")
        self.assertIn("the key 'a' belongs to job 1, which differs in ", str(alone))

    def test_listByLabels(self) -> None:
        """
        A list has the jobs that have all of the labels, whatever is in their names.
        """
        odd = "a.\"b'$[0]"
        self.add(
            new("1", labels={"team": "x", odd: ""}),
            new("2", labels={"team": "x", odd: "é"}),
            new("3", labels={"team": "y"}),
            new("4"),
        )
        self.start(2)
        for labels, states, expected in [
            ({("team", "x")}, (), [1, 2]),
            ({("team", "x"), (odd, "é")}, (), [2]),
            ({(odd, "")}, (), [1]),
            ({("team", "x"), ("team", "y")}, (), []),
            ({("x", "team")}, (), []),
            ({("team", "x")}, (JobState.QUEUED, JobState.FAILED), [1]),
        ]:
            which = JobFilter(frozenset(states), None, frozenset(labels))
            listed = self.wait(self.store.listJobs(which, False, 9, None))
            self.assertEqual([job.id for job in listed], expected)

    def test_tooManyLabels(self) -> None:
        """
        Jobs can be listed by some labels at once, and not by any number.
        """
        self.add(new(labels={str(n): "" for n in range(33)}))
        for count in (32, 33):
            which = JobFilter(labels=frozenset((str(n), "") for n in range(count)))
            listed = self.store.listJobs(which, False, 9, None)
            if count == 32:
                self.assertEqual([job.id for job in self.wait(listed)], [1])
            else:
                self.assertIn("33 labels", self.refused(errors.InvalidArgument, listed))

    def test_addedJobsAreInOrder(self) -> None:
        """
        Jobs added together get ids, positions and revisions in their order.
        """
        self.add(new("first"))
        jobs = self.add(new("a"), new("b"), new("c"), firstPosition=5)
        self.assertEqual(
            [(job.id, job.name, job.position, job.revision) for job in jobs],
            [(2, "a", 5, 2), (3, "b", 6, 3), (4, "c", 7, 4)],
        )

    def test_unusable(self) -> None:
        """
        A priority of more than 64 bits, a timeout that is no number, and a reason or a handle
        that is no Unicode, are refused by name.
        """
        bad, large = "\udc80", 2**63
        job = self.inState(JobState.RUNNING)
        (waiting,) = self.add()
        before = self.everything()
        store, epoch = self.store, self.epoch
        unusable: list[tuple[str, Any]] = [
            ("priority", -large - 1),
            *(("timeout", seconds) for seconds in (float("nan"), float("inf"), 10**400)),
        ]
        for name, value in unusable:
            added = store.addJobs(epoch, [new(), new(**{name: value})], 0)
            self.assertIn(name, self.refused(errors.InvalidArgument, added))
        for words, call in (
            ("priority", store.changePriority(epoch, waiting.id, large)),
            ("priority", store.requeueAttempt(epoch, job.id, 1, large, 0, True, None)),
            ("reason", store.requeueAttempt(epoch, job.id, 1, 0, 0, True, bad)),
            ("handle", store.recordHandle(epoch, job.id, 1, bad)),
        ):
            self.assertIn(words, self.refused(errors.InvalidArgument, call))
        self.assertEqual(self.everything(), before)
        moved = self.wait(store.changePriority(epoch, waiting.id, large - 1))
        self.assertEqual(moved.priority, large - 1)

    def test_addNone(self) -> None:
        """
        No jobs can be added too.
        """
        self.assertEqual(self.wait(self.store.addJobs(self.epoch, [], 0)), [])
        self.assertEqual(self.everything(), [])
        self.assertEqual(self.wait(self.store.lastPosition()), -1)

    def test_addAllOrNone(self) -> None:
        """
        Of jobs with one that JSON cannot say, none is added, and no id is spent.
        """
        bad = NewJob(worker="some.Worker", args=(float("nan"),), name="bad")
        sentence = self.refused(
            errors.InvalidArgument, self.store.addJobs(self.epoch, [new(), bad], 0)
        )
        self.assertIn("'bad'", sentence)
        self.assertEqual(self.everything(), [])
        self.assertEqual(self.add()[0].id, 1)

    def test_argumentsAreAsRead(self) -> None:
        """
        What a write returns is what a read returns, also where JSON has fewer types.
        """
        (job,) = self.add(NewJob(worker="w", args=((1, "\udc80"),), name="n"))
        self.assertEqual(job.args, ([1, "\udc80"],))
        self.start(job.id)
        ended = self.finish(job.id, Outcome(JobState.SUCCEEDED, result=(1, 2)))
        self.assertEqual(ended.result, [1, 2])
        self.assertEqual(self.wait(self.store.job(job.id)), ended)

    def test_start(self) -> None:
        """
        A started job runs, and its attempt is listed, without an end.
        """
        (job,) = self.add()
        then = self.time.advance(1)
        running = self.start(job.id)
        self.assertEqual(
            (running.state, running.attempt, running.startedAt, running.finishedAt),
            (JobState.RUNNING, 1, then, None),
        )
        attempt = Attempt(1, then, None, None, None, None, None)
        self.assertEqual(self.wait(self.store.attempts(job.id)), [attempt])
        self.assertEqual(self.wait(self.store.runningJobs()), [(running, attempt)])
        self.assertEqual(self.wait(self.store.queuedJobs(9)), [])

    def test_startWrongAttempt(self) -> None:
        """
        Only the attempt after the latest one can start.
        """
        (job,) = self.add()
        for attempt in (0, 2):
            self.refused(errors.StaleAttempt, self.store.startAttempt(self.epoch, job.id, attempt))
        self.assertEqual(self.everything(), [(job, [])])

    def test_startAfter(self) -> None:
        """
        A job that is to start after the end of another one's attempt does not start
        before, not even in one commit with an end that is refused; another attempt of
        that job, or none, is no matter.
        """
        before = self.inState(JobState.RUNNING)
        (job, other) = self.add(new(), new())
        start = self.store.startAttempt
        bad = Outcome(JobState.SUCCEEDED, result={1, 2})
        asked = [
            self.store.finishAttempt(self.epoch, before.id, 1, bad),
            start(self.epoch, job.id, 1, (before.id, 1)),
        ]
        self.refused(errors.InvalidArgument, asked[0])
        self.refused(errors.JobNotFinished, asked[1])
        self.assertEqual(self.wait(self.store.job(job.id)), job)
        self.assertEqual(
            self.wait(start(self.epoch, other.id, 1, (before.id, 2))).state, JobState.RUNNING
        )
        good = Outcome(JobState.SUCCEEDED)
        asked = [
            self.store.finishAttempt(self.epoch, before.id, 1, good),
            start(self.epoch, job.id, 1, (before.id, 1)),
        ]
        self.assertEqual(
            [self.wait(one).state for one in asked], [JobState.SUCCEEDED, JobState.RUNNING]
        )
        (last,) = self.add()
        self.wait(self.store.removeJob(self.epoch, before.id))
        self.wait(start(self.epoch, last.id, 1, (before.id, 1)))

    def test_known(self) -> None:
        """
        One can ask which of some jobs there are.
        """
        first, second, third = self.add(new(), new(), new())
        self.wait(self.store.cancelQueued(self.epoch, second.id))
        self.wait(self.store.removeJob(self.epoch, second.id))
        asked = [third.id, second.id, first.id, 99, 2**63 - 1, 0]
        self.assertEqual(self.wait(self.store.known(asked)), {first.id, third.id})
        self.assertEqual(self.wait(self.store.known([])), frozenset())

    def test_handle(self) -> None:
        """
        A handle belongs to the running attempt alone, and changes no job.
        """
        job = self.inState(JobState.RUNNING)
        self.wait(self.store.recordHandle(self.epoch, job.id, 1, "pgid 17"))
        ((found, attempt),) = self.wait(self.store.runningJobs())
        self.assertEqual((found, attempt.handle), (job, "pgid 17"))
        before = self.everything()
        self.refused(errors.StaleAttempt, self.store.recordHandle(self.epoch, job.id, 2, "pgid 18"))
        self.refused(errors.NoSuchJob, self.store.recordHandle(self.epoch, 99, 1, "pgid 18"))
        self.assertEqual(self.everything(), before)

    def test_handleIsOpaque(self) -> None:
        """
        A handle comes back as it was given, whatever is in it, and the last one
        counts, also when the attempt is over.
        """
        job = self.inState(JobState.RUNNING)
        for handle in ("", '{"pgid": 17, "é": "\\u0000\x00"}', "x" * 100_000, " 017 "):
            self.wait(self.store.recordHandle(self.epoch, job.id, 1, handle))
            ((_, attempt),) = self.wait(self.store.runningJobs())
            self.assertEqual(attempt.handle, handle)
        self.finish(job.id)
        (attempt,) = self.wait(self.store.attempts(job.id))
        self.assertEqual(attempt.handle, " 017 ")

    def test_finish(self) -> None:
        """
        An outcome is kept with the job and with its attempt.
        """
        job = self.inState(JobState.RUNNING)
        then = self.time.advance(2)
        failure = JobFailure("exit_nonzero", "it exited with 3", exitCode=3)
        output = {"stdout": OutputSize(120, False), "stderr": OutputSize(9, True)}
        ended = self.finish(
            job.id, Outcome(JobState.FAILED, result={"a": [1]}, error=failure, output=output)
        )
        self.assertEqual(
            (ended.state, ended.finishedAt, ended.result, ended.error, ended.output),
            (JobState.FAILED, then, {"a": [1]}, failure, output),
        )
        self.assertEqual(self.wait(self.store.job(job.id)), ended)
        self.assertEqual(
            self.wait(self.store.attempts(job.id)),
            [Attempt(1, NOON, then, None, JobState.FAILED, failure, output)],
        )
        self.assertEqual(self.wait(self.store.runningJobs()), [])

    def test_firstOutcomeWins(self) -> None:
        """
        A second outcome of an attempt is refused, and the first stays.
        """
        job = self.inState(JobState.SUCCEEDED)
        before = self.everything()
        self.refused(
            errors.StaleAttempt,
            self.store.finishAttempt(self.epoch, job.id, 1, Outcome(JobState.FAILED)),
        )
        self.assertEqual(self.everything(), before)

    def test_unfinishedOutcome(self) -> None:
        """
        An outcome that is none, or that JSON cannot say, is a mistake.
        """
        job = self.inState(JobState.RUNNING)
        before = self.everything()
        for outcome in (
            Outcome(JobState.QUEUED),
            Outcome(JobState.RUNNING),
            Outcome(JobState.SUCCEEDED, result=object()),
        ):
            self.refused(
                errors.InvalidArgument,
                self.store.finishAttempt(self.epoch, job.id, 1, outcome),
            )
        self.assertEqual(self.everything(), before)

    def test_deferral(self) -> None:
        """
        A deferral is counted, and the same attempt starts again at another place.
        """
        job = self.inState(JobState.RUNNING)
        then = self.time.advance(3)
        back = self.wait(self.store.requeueAttempt(self.epoch, job.id, 1, 5, 40, True, None))
        self.assertEqual(
            (back.state, back.priority, back.position, back.attempt, back.deferrals),
            (JobState.QUEUED, 5, 40, 0, 1),
        )
        self.assertEqual((back.startedAt, back.finishedAt), (None, None))
        self.assertEqual(self.wait(self.store.job(job.id)), back)
        self.assertEqual(self.wait(self.store.lastPosition()), 40)
        self.start(job.id)
        self.assertEqual(
            self.wait(self.store.attempts(job.id)),
            [
                Attempt(1, NOON, then, None, JobState.QUEUED, None, None),
                Attempt(1, then, None, None, None, None, None),
            ],
        )

    def test_interrupted(self) -> None:
        """
        A job that is tried again after a crash starts with the next attempt.
        """
        job = self.inState(JobState.RUNNING)
        self.add(new(), firstPosition=9)
        back = self.wait(self.store.requeueAttempt(self.epoch, job.id, 1, 0, 3, False, None))
        self.assertEqual((back.attempt, back.deferrals, back.position), (1, 0, 3))
        self.assertEqual(self.wait(self.store.lastPosition()), 9)
        self.refused(errors.StaleAttempt, self.store.startAttempt(self.epoch, job.id, 1))
        self.assertEqual(self.start(job.id, 2).attempt, 2)
        then = self.time.advance(6)
        self.finish(job.id, Outcome(JobState.FAILED), 2)
        self.assertEqual(
            self.wait(self.store.attempts(job.id)),
            [
                Attempt(1, NOON, NOON, None, JobState.QUEUED, None, None),
                Attempt(2, NOON, then, None, JobState.FAILED, None, None),
            ],
        )

    def test_transitions(self) -> None:
        """
        A job goes from each state to those that the table names, by whatever
        call, and a call that is refused changes nothing at all.
        """
        store, epoch = self.store, self.epoch
        calls: list[tuple[JobState, Callable[[Job], Deferred[Job]]]] = [
            (JobState.RUNNING, lambda job: store.startAttempt(epoch, job.id, job.attempt + 1)),
            (JobState.CANCELLED, lambda job: store.cancelQueued(epoch, job.id)),
            (
                JobState.QUEUED,
                lambda job: store.requeueAttempt(epoch, job.id, job.attempt, 0, 0, True, None),
            ),
            (
                JobState.QUEUED,
                lambda job: store.requeueAttempt(epoch, job.id, job.attempt, 0, 0, False, None),
            ),
            (JobState.QUEUED, lambda job: store.retryJob(epoch, job.id, 0)),
        ]

        def finishing(state: JobState) -> Callable[[Job], Deferred[Job]]:
            return lambda job: store.finishAttempt(epoch, job.id, job.attempt, Outcome(state))

        calls.extend((state, finishing(state)) for state in FINISHED)
        seen = set()
        for state in JobState:
            for target, call in calls:
                job = self.inState(state)
                before = self.everything()
                try:
                    moved = self.wait(call(job))
                except (errors.StaleAttempt, errors.JobNotQueued, errors.JobFinished):
                    moved = job
                if moved == job:
                    self.assertEqual(self.everything(), before)
                else:
                    self.assertEqual(moved.state, target)
                    self.assertEqual(self.wait(store.job(job.id)), moved)
                    seen.add((state, target))
        table = {(state, target) for state in JobState for target in TRANSITIONS[state]}
        self.assertEqual(seen, table)

    def test_earlierAttempts(self) -> None:
        """
        Each attempt is listed in its turn, with its own times and handle, by whatever
        the job came to start again.
        """
        (job,) = self.add()
        store, epoch = self.store, self.epoch
        listed: list[Attempt] = []
        for number, isDeferred in ((1, True), (1, True), (1, False), (2, True), (2, False)):
            start = self.time.advance(1)
            self.start(job.id, number)
            handle = f"pgid {len(listed)}"
            self.wait(store.recordHandle(epoch, job.id, number, handle))
            end = self.time.advance(1)
            self.wait(store.requeueAttempt(epoch, job.id, number, 0, 0, isDeferred, None))
            listed.append(Attempt(number, start, end, handle, JobState.QUEUED, None, None))
        self.assertEqual(self.wait(store.attempts(job.id)), listed)
        start = self.time.advance(1)
        self.start(job.id, 3)
        ended = Outcome(JobState.FAILED, error=JobFailure("x", "y"))
        self.finish(job.id, ended, 3)
        self.wait(store.retryJob(epoch, job.id, 9))
        listed.append(Attempt(3, start, start, None, JobState.FAILED, ended.error, None))
        self.assertEqual(self.wait(store.attempts(job.id)), listed)
        self.start(job.id, 4)
        listed.append(Attempt(4, start, None, None, None, None, None))
        self.assertEqual(self.wait(store.attempts(job.id)), listed)

    def test_reason(self) -> None:
        """
        A job that has begun before says why it waits, until it starts or ends.
        """
        waiting = JobFilter(frozenset({JobState.QUEUED}))
        attempt = 1
        for isDeferred in (True, False):
            (job,) = self.add()
            for end in ("start", "cancel"):
                self.start(job.id, attempt)
                requeue = self.store.requeueAttempt
                back = self.wait(
                    requeue(self.epoch, job.id, attempt, 0, 9, isDeferred, "a lock é is held")
                )
                self.assertEqual(back.reason, "a lock é is held")
                self.assertEqual(self.wait(self.store.listJobs(waiting, False, 9, None)), [back])
                attempt = back.attempt + 1
                if end == "start":
                    self.assertIsNone(self.start(job.id, attempt).reason)
                    self.wait(requeue(self.epoch, job.id, attempt, 0, 9, True, None))
                else:
                    ended = self.wait(self.store.cancelQueued(self.epoch, job.id))
                    self.assertIsNone(ended.reason)
                    self.assertEqual(self.wait(self.store.job(job.id)), ended)
            attempt = 1

    def test_retry(self) -> None:
        """
        A job that failed or was cancelled waits again at another place, as if it had
        not run, with its attempts kept and room for one more.
        """
        output = {"stdout": OutputSize(1, False)}
        for state in (JobState.FAILED, JobState.CANCELLED):
            own: dict[str, Any] = {"key": state.value, "labels": {"a": "b"}, "timeout": 1.5}
            (submitted,) = self.add(new("a", priority=4, **own), firstPosition=3)
            self.start(submitted.id)
            self.wait(self.store.requestCancel(self.epoch, submitted.id))
            ended = self.finish(
                submitted.id, Outcome(state, result=1, error=JobFailure("x", "y"), output=output)
            )
            attempts = self.wait(self.store.attempts(submitted.id))
            self.time.advance(1)
            again = self.wait(self.store.retryJob(self.epoch, submitted.id, 50))
            expected = replace(
                submitted,
                position=50,
                attempt=1,
                maxAttempts=2,
                revision=ended.revision + 1,
            )
            self.assertEqual(again, expected)
            self.assertEqual(self.wait(self.store.job(submitted.id)), again)
            self.assertEqual(self.wait(self.store.attempts(submitted.id)), attempts)
            self.assertEqual(self.wait(self.store.lastPosition()), 50)
            queued = self.wait(self.store.queuedJobs(9))
            self.assertEqual(queued, [QueuedJob(submitted.id, 4, 50, 1)])
            self.refused(errors.StaleAttempt, self.store.startAttempt(self.epoch, submitted.id, 1))
            self.start(submitted.id, 2)
            self.finish(submitted.id, DONE, 2)
            numbers = [attempt.number for attempt in self.wait(self.store.attempts(submitted.id))]
            self.assertEqual(numbers, [1, 2])

    def test_retryKeepsWhatIsEnough(self) -> None:
        """
        The number of attempts is raised only where it would not let the job start,
        and the highest position stays the highest.
        """
        self.add(new(maxAttempts=3), new(), firstPosition=70)
        self.start(1)
        self.finish(1, Outcome(JobState.FAILED))
        self.assertEqual(self.wait(self.store.retryJob(self.epoch, 1, 60)).maxAttempts, 3)
        self.wait(self.store.cancelQueued(self.epoch, 2))
        never = self.wait(self.store.retryJob(self.epoch, 2, 61))
        self.assertEqual((never.attempt, never.maxAttempts), (0, 1))
        self.assertEqual(self.wait(self.store.lastPosition()), 71)

    def test_retryWithoutOutcome(self) -> None:
        """
        A retry of a job that waits or runs is no change.
        """
        for state in (JobState.QUEUED, JobState.RUNNING):
            job = self.inState(state)
            self.assertEqual(self.wait(self.store.retryJob(self.epoch, job.id, 99)), job)
            self.assertEqual(self.wait(self.store.job(job.id)), job)
        self.assertEqual(self.wait(self.store.lastPosition()), 0)

    def test_retryOfSuccess(self) -> None:
        """
        A job that succeeded cannot be tried again.
        """
        job = self.inState(JobState.SUCCEEDED)
        before = self.everything()
        sentence = self.refused(errors.JobFinished, self.store.retryJob(self.epoch, job.id, 9))
        self.assertIn("succeeded", sentence)
        self.assertEqual(self.everything(), before)
        self.assertEqual(self.wait(self.store.lastPosition()), 0)

    def test_keyAfterRetry(self) -> None:
        """
        A key still tells the job that it was submitted with when a retry has raised
        its attempts.
        """
        self.add(new("a", key="a"))
        self.start(1)
        self.finish(1, Outcome(JobState.FAILED))
        again = self.wait(self.store.retryJob(self.epoch, 1, 5))
        self.assertEqual(self.add(new("a", key="a")), [again])

    def test_remove(self) -> None:
        """
        A finished job is forgotten with its attempts; its ID is never used again, and
        its key may be.
        """
        self.add(new(key="a"), new(key="b"), new())
        for jobID in (2, 3):
            self.start(jobID)
            self.finish(jobID)
        before = self.everything()
        self.assertIsNone(self.wait(self.store.removeJob(self.epoch, 2)))
        self.assertIsNone(self.wait(self.store.removeJob(self.epoch, 3)))
        self.assertEqual(self.everything(), before[:1])
        for jobID in (2, 3):
            for call in (
                self.store.job(jobID),
                self.store.attempts(jobID),
                self.store.removeJob(self.epoch, jobID),
            ):
                self.refused(errors.NoSuchJob, call)
        other, same = self.add(new("other", key="b"), new(key="a"))
        self.assertEqual((other.id, other.revision, same.id), (4, 8, 1))
        self.store = self.reopen()
        self.epoch = self.wait(self.store.acquire("host:2"))
        self.start(4)
        self.finish(4)
        self.wait(self.store.removeJob(self.epoch, 4))
        self.assertEqual(self.add()[0].id, 5)
        self.assertEqual(self.wait(self.store.attempts(5)), [])

    def test_removeUnfinished(self) -> None:
        """
        A job without an outcome is not removed.
        """
        for state in (JobState.QUEUED, JobState.RUNNING):
            job = self.inState(state)
            before = self.everything()
            sentence = self.refused(errors.JobNotFinished, self.store.removeJob(self.epoch, job.id))
            self.assertIn(state.value, sentence)
            self.assertEqual(self.everything(), before)

    def test_removeFinished(self) -> None:
        """
        Jobs that finished before a time are forgotten, the oldest first, so many of
        them at most; the others stay.
        """
        self.add(*(new(str(n), key=str(n)) for n in range(1, 8)))
        ends = [JobState.FAILED, JobState.SUCCEEDED, JobState.CANCELLED, JobState.SUCCEEDED]
        for jobID, state in zip((6, 2, 5, 3), ends, strict=True):
            self.start(jobID)
            self.time.advance(1)
            self.finish(jobID, Outcome(state))
        self.start(4)
        self.wait(self.store.cancelQueued(self.epoch, 7))
        last = self.time.now

        def removed(before: datetime, limit: int) -> list[int]:
            return self.wait(self.store.removeFinished(self.epoch, before, limit))

        self.assertEqual(removed(NOON + timedelta(seconds=1), 9), [])
        self.assertEqual(removed(last, 2), [6, 2])
        self.assertEqual(removed(last, 0), [])
        self.assertEqual(removed(last, 9), [5])
        self.assertEqual(removed(last, 9), [])
        left = self.wait(self.store.listJobs(JobFilter(), False, 9, None))
        self.assertEqual([job.id for job in left], [1, 3, 4, 7])
        self.refused(errors.NoSuchJob, self.store.attempts(5))
        self.assertEqual([attempt.number for attempt in self.wait(self.store.attempts(3))], [1])
        self.assertEqual([job.id for job in self.add(new(key="2"), new("3", key="3"))], [8, 3])
        self.assertEqual(removed(self.time.advance(1), 9), [3, 7])

    def test_room(self) -> None:
        """
        No more jobs are added than there is room for: all or none, and those that
        are there already take no room.
        """
        self.add(new("a", key="a"), new("b", key="b"))
        listed = [new("a", key="a"), new(), new("c", key="c"), new("c", key="c"), new()]
        sentence = self.refused(errors.QueueFull, self.store.addJobs(self.epoch, listed, 2, room=2))
        self.assertIn("3 more", sentence)
        self.assertEqual(len(self.wait(self.store.listJobs(JobFilter(), False, 9, None))), 2)
        self.assertEqual(self.wait(self.store.lastPosition()), 1)
        jobs = self.wait(self.store.addJobs(self.epoch, listed, 2, room=3))
        self.assertEqual([job.id for job in jobs], [1, 3, 4, 4, 5])
        known = self.store.addJobs(self.epoch, [new("a", key="a")], 9, room=0)
        self.assertEqual(self.wait(known)[0].id, 1)
        self.refused(errors.QueueFull, self.store.addJobs(self.epoch, [new()], 9, room=0))
        self.refused(
            errors.KeyConflict, self.store.addJobs(self.epoch, [new("x", key="a"), new()], 9, 0)
        )

    def test_wrongAttempt(self) -> None:
        """
        Outcome and requeue of an attempt that is not the running one are refused.
        """
        job = self.inState(JobState.RUNNING)
        before = self.everything()
        for attempt in (0, 2):
            self.refused(
                errors.StaleAttempt,
                self.store.finishAttempt(self.epoch, job.id, attempt, DONE),
            )
            self.refused(
                errors.StaleAttempt,
                self.store.requeueAttempt(self.epoch, job.id, attempt, 0, 0, True, None),
            )
        self.assertEqual(self.everything(), before)

    def test_changePriority(self) -> None:
        """
        A queued job gets another priority, and keeps its position.
        """
        (job,) = self.add(firstPosition=3)
        moved = self.wait(self.store.changePriority(self.epoch, job.id, -7))
        self.assertEqual((moved.priority, moved.position), (-7, 3))
        self.assertEqual(self.wait(self.store.queuedJobs(9)), [QueuedJob(job.id, -7, 3, 0)])

    def test_leftQueue(self) -> None:
        """
        What holds for a queued job is refused for any other, with its state.
        """
        for state in set(JobState) - {JobState.QUEUED}:
            job = self.inState(state)
            for call in (
                self.store.changePriority(self.epoch, job.id, 1),
                self.store.cancelQueued(self.epoch, job.id),
            ):
                self.assertIn(state.value, self.refused(errors.JobNotQueued, call))
            self.assertEqual(self.wait(self.store.job(job.id)), job)

    def test_cancelQueued(self) -> None:
        """
        A queued job that is cancelled is finished, and never started.
        """
        (job,) = self.add()
        then = self.time.advance(4)
        ended = self.wait(self.store.cancelQueued(self.epoch, job.id))
        self.assertEqual((ended.state, ended.finishedAt), (JobState.CANCELLED, then))
        self.assertEqual(self.wait(self.store.queuedJobs(9)), [])
        self.assertEqual(self.everything(), [(ended, [])])

    def test_requestCancel(self) -> None:
        """
        A running job keeps the time of the first request to cancel it, and the
        second is no change.
        """
        job = self.inState(JobState.RUNNING)
        then = self.time.advance(5)
        told = self.wait(self.store.requestCancel(self.epoch, job.id))
        self.assertEqual((told.state, told.cancelRequestedAt), (JobState.RUNNING, then))
        self.assertGreater(told.revision, job.revision)
        self.time.advance(5)
        self.assertEqual(self.wait(self.store.requestCancel(self.epoch, job.id)), told)
        self.assertEqual(self.wait(self.store.job(job.id)), told)
        for state in set(JobState) - {JobState.RUNNING}:
            other = self.inState(state)
            self.refused(errors.StaleAttempt, self.store.requestCancel(self.epoch, other.id))

    def test_noSuchJob(self) -> None:
        """
        An id that no job has is refused, however large.
        """
        self.add()
        store, epoch = self.store, self.epoch
        for jobID in (0, -1, 2, 2**63, 10**30):
            for call in (
                store.job(jobID),
                store.attempts(jobID),
                store.startAttempt(epoch, jobID, 1),
                store.finishAttempt(epoch, jobID, 1, DONE),
                store.requeueAttempt(epoch, jobID, 1, 0, 0, False, None),
                store.changePriority(epoch, jobID, 1),
                store.cancelQueued(epoch, jobID),
                store.requestCancel(epoch, jobID),
                store.retryJob(epoch, jobID, 0),
                store.removeJob(epoch, jobID),
            ):
                self.refused(errors.NoSuchJob, call)

    def test_settings(self) -> None:
        """
        Settings are kept by name, and those not named stay.
        """
        self.assertEqual(self.wait(self.store.settings()), {})
        self.wait(self.store.setSettings(self.epoch, {"active": False, "a": {"b": [1]}}))
        self.wait(self.store.setSettings(self.epoch, {"active": None}))
        self.wait(self.store.setSettings(self.epoch, {}))
        kept = {"active": None, "a": {"b": [1]}}
        self.assertEqual(self.wait(self.store.settings()), kept)
        self.refused(
            errors.InvalidArgument, self.store.setSettings(self.epoch, {"a": 1, "b": object()})
        )
        self.assertEqual(self.wait(self.store.settings()), kept)

    def test_queuedJobs(self) -> None:
        """
        The queue is in the order of priority and position.
        """
        self.add(new(priority=5), new(priority=-1), new(priority=5))
        self.add(new(priority=-1), firstPosition=10)
        self.wait(self.store.requeueAttempt(self.epoch, self.start(2).id, 1, -1, 30, False, None))
        self.assertEqual(
            self.wait(self.store.queuedJobs(9)),
            [
                QueuedJob(4, -1, 10, 0),
                QueuedJob(2, -1, 30, 1),
                QueuedJob(1, 5, 0, 0),
                QueuedJob(3, 5, 2, 0),
            ],
        )

    def test_queuedJobsByPage(self) -> None:
        """
        Pages of the queue, each behind the last job of the one before, are the queue.
        """
        self.add(*(new(priority=priority) for priority in (1, -1, 1, 0, 1, -1, 0)))
        whole = self.wait(self.store.queuedJobs(9))
        self.assertEqual([job.id for job in whole], [2, 6, 4, 7, 1, 3, 5])
        for size in (1, 2, 3, 7):
            pages: list[QueuedJob] = []
            page = self.wait(self.store.queuedJobs(size))
            while page:
                self.assertLessEqual(len(page), size)
                pages.extend(page)
                last = page[-1]
                page = self.wait(self.store.queuedJobs(size, (last.priority, last.position)))
            self.assertEqual(pages, whole)

    def test_nestedResult(self) -> None:
        """
        A result that is nested too deep for those who read it is refused, and the
        job still runs.
        """
        self.add(new(), new())
        for levels, isKept in ((64, True), (65, False)):
            result: Any = 1
            for level in range(levels - 1):
                result = [result] if level % 2 else {"in": result}
            job = self.start(1 if isKept else 2)
            outcome = Outcome(JobState.SUCCEEDED, result=result)
            finished = self.store.finishAttempt(self.epoch, job.id, 1, outcome)
            if isKept:
                self.assertEqual(self.wait(finished).result, result)
            else:
                self.assertIn("64 levels", self.refused(errors.InvalidArgument, finished))
                self.assertEqual(self.wait(self.store.job(2)).state, JobState.RUNNING)

    def test_wideResult(self) -> None:
        """
        A result of many parts is kept, if they are not nested too deep.
        """
        self.add(new())
        result = [[[n]] for n in range(100)]
        job = self.start(1)
        ended = self.finish(job.id, Outcome(JobState.SUCCEEDED, result=result))
        self.assertEqual(ended.result, result)

    def test_resultThatRaises(self) -> None:
        """
        A result that cannot even be looked at is refused, whatever it raises.
        """

        class Sly(dict[str, int]):
            def items(self) -> Any:
                raise KeyError("sly")

        self.add(new())
        job = self.start(1)
        outcome = Outcome(JobState.SUCCEEDED, result=Sly(a=1))
        finished = self.store.finishAttempt(self.epoch, job.id, 1, outcome)
        self.assertIn("sly", self.refused(errors.InvalidArgument, finished))

    def test_workers(self) -> None:
        """
        The worker classes of unfinished jobs are known, and no others.
        """
        self.assertEqual(self.wait(self.store.workers()), frozenset())
        waiting, running, ended = (replace(new(), worker=name) for name in ("a.A", "b.B", "c.C"))
        self.add(waiting, running, ended)
        self.start(2)
        self.wait(
            self.store.finishAttempt(self.epoch, self.start(3).id, 1, Outcome(JobState.SUCCEEDED))
        )
        self.assertEqual(self.wait(self.store.workers()), frozenset({("a.A", 1), ("b.B", 1)}))

    def test_runningJobs(self) -> None:
        """
        Running jobs come by id, each with the attempt that runs.
        """
        self.add(new(), new(), new())
        for jobID in (3, 1):
            self.start(jobID)
        self.wait(self.store.requeueAttempt(self.epoch, 1, 1, 0, 5, False, None))
        self.start(1, 2)
        running = self.wait(self.store.runningJobs())
        found = [(job.id, attempt.number, attempt.outcome) for job, attempt in running]
        self.assertEqual(found, [(1, 2, None), (3, 1, None)])

    def test_lastPosition(self) -> None:
        """
        The last position never goes back.
        """
        self.assertEqual(self.wait(self.store.lastPosition()), -1)
        self.add(new(), new(), firstPosition=10)
        self.add(firstPosition=2)
        self.assertEqual(self.wait(self.store.lastPosition()), 11)

    def test_listJobs(self) -> None:
        """
        A list has the jobs of some states and a name, from behind an id, in
        either direction, up to its limit.
        """
        self.add(*(new("odd" if n % 2 else "even") for n in range(1, 9)))
        for jobID in (2, 3, 4, 7):
            self.start(jobID)
        for jobID in (3, 4):
            self.finish(jobID)
        queued, running, succeeded = JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED
        for states, name, newestFirst, limit, after, expected in [
            ((), None, False, 9, None, [1, 2, 3, 4, 5, 6, 7, 8]),
            ((), None, True, 3, None, [8, 7, 6]),
            ((), None, True, 3, 6, [5, 4, 3]),
            ((), None, False, 2, 6, [7, 8]),
            ((queued,), None, False, 9, None, [1, 5, 6, 8]),
            ((queued, running), None, False, 3, 1, [2, 5, 6]),
            ((queued, running), None, True, 3, 8, [7, 6, 5]),
            ((), "odd", False, 9, None, [1, 3, 5, 7]),
            ((), "odd", True, 2, 7, [5, 3]),
            ((succeeded, queued), "odd", False, 9, 1, [3, 5]),
            ((JobState.FAILED,), None, False, 9, None, []),
            ((), "none", False, 9, None, []),
        ]:
            listed = self.wait(
                self.store.listJobs(JobFilter(frozenset(states), name), newestFirst, limit, after)
            )
            self.assertEqual([job.id for job in listed], expected)
            self.assertEqual(listed, [self.wait(self.store.job(n)) for n in expected])

    def test_revisions(self) -> None:
        """
        Every change of any job has the next revision, and what changed is found
        by it.
        """
        self.add(new(), new(), new())
        started = self.start(2)
        moved = self.wait(self.store.changePriority(self.epoch, 1, 4))
        ended = self.finish(2)
        revisions = [started.revision, moved.revision, ended.revision]
        self.assertEqual(revisions, [4, 5, 6])

        def changed(after: int, limit: int) -> list[tuple[int, int]]:
            found = self.wait(self.store.changedJobs(after, limit))
            return [(job.id, job.revision) for job in found]

        self.assertEqual(changed(0, 9), [(3, 3), (1, 5), (2, 6)])
        self.assertEqual(changed(0, 2), [(3, 3), (1, 5)])
        self.assertEqual(changed(5, 9), [(2, 6)])
        self.assertEqual(changed(6, 9), [])

    def test_revisionOfNoChange(self) -> None:
        """
        To record what is so already is no change.
        """
        (job,) = self.add()
        self.assertEqual(self.wait(self.store.changePriority(self.epoch, job.id, 0)), job)
        self.assertEqual(self.wait(self.store.changedJobs(job.revision, 9)), [])

    def test_emptySummary(self) -> None:
        """
        A store without jobs sums up to nothing.
        """
        summary = self.wait(self.store.summary())
        self.assertIsInstance(summary.pop("bytes"), int)
        self.assertIsInstance(summary.pop("freeBytes"), int)
        self.assertEqual(
            summary,
            {
                "states": {"queued": 0, "running": 0},
                "oldestQueuedAt": None,
                "longestRunningAt": None,
                "lastDay": {"succeeded": 0, "failed": 0, "cancelled": 0},
            },
        )

    def test_summary(self) -> None:
        """
        The summary counts what waits, runs, and ended in the last 24 hours, and
        says since when.
        """
        self.inState(JobState.FAILED)
        self.time.advance(1)
        for state in (JobState.SUCCEEDED, JobState.SUCCEEDED, JobState.CANCELLED):
            self.inState(state)
        waits = self.time.advance(1)
        self.add(new(), new())
        runs = self.time.advance(1)
        self.inState(JobState.RUNNING)
        self.time.advance(1)
        self.inState(JobState.RUNNING)
        self.add()
        self.time.now = NOON + timedelta(days=1, seconds=1)
        summary = self.wait(self.store.summary())
        self.assertEqual(summary["states"], {"queued": 3, "running": 2})
        self.assertEqual(summary["oldestQueuedAt"], waits)
        self.assertEqual(summary["longestRunningAt"], runs)
        self.assertEqual(summary["lastDay"], {"succeeded": 2, "failed": 0, "cancelled": 1})

    def test_epochs(self) -> None:
        """
        Another owner has a larger epoch, and each method that takes an epoch refuses
        the earlier one and changes nothing.
        """
        arguments: dict[str, tuple[Any, ...]] = {
            "addJobs": ([new()], 0),
            "startAttempt": (1, 1),
            "recordHandle": (2, 1, "pgid 1"),
            "finishAttempt": (2, 1, DONE),
            "requeueAttempt": (2, 1, 0, 9, True, None),
            "changePriority": (1, 9),
            "cancelQueued": (1,),
            "requestCancel": (2,),
            "retryJob": (3, 9),
            "removeJob": (3,),
            "removeFinished": (NOON + timedelta(days=1), 9),
            "setSettings": ({"a": 1},),
        }
        writes = {
            name
            for name, what in IJobStore.namesAndDescriptions()
            if what.getSignatureInfo()["positional"][:1] == ("epoch",)
        }
        self.assertEqual(set(arguments), writes)
        self.add(new(), new(), new())
        self.start(2)
        self.start(3)
        self.finish(3, Outcome(JobState.FAILED))
        before = self.everything()
        later = self.wait(self.store.acquire("host:2"))
        self.assertGreater(later, self.epoch)
        for name, others in {**arguments, "addJobs": ([], 0)}.items():
            call = getattr(self.store, name)(self.epoch, *others)
            self.assertIn(f"epoch {later}", self.refused(errors.OwnershipLost, call))
        call = self.store.addJobs(self.epoch, *arguments["addJobs"])
        self.assertIn(f"epoch {later}", self.refused(errors.OwnershipLost, call))
        self.assertEqual(self.everything(), before)
        self.assertEqual(self.wait(self.store.settings()), {})
        self.epoch = later
        self.assertEqual(self.start(1).state, JobState.RUNNING)

    def test_reopened(self) -> None:
        """
        What was committed is there for the next owner, whose epoch and ids are
        larger than any before.
        """
        self.add(new(), new(), firstPosition=4)
        self.start(2)
        self.wait(self.store.recordHandle(self.epoch, 2, 1, "pgid 1"))
        self.wait(self.store.setSettings(self.epoch, {"active": False}))
        running = self.wait(self.store.runningJobs())
        before, settings = self.everything(), self.wait(self.store.settings())
        self.wait(self.store.close())
        self.store = self.reopen()
        earlier, self.epoch = self.epoch, self.wait(self.store.acquire("host:3"))
        self.assertGreater(self.epoch, earlier)
        self.assertEqual(self.everything(), before)
        self.assertEqual(self.wait(self.store.runningJobs()), running)
        self.assertEqual(self.wait(self.store.settings()), settings)
        self.assertEqual(self.wait(self.store.lastPosition()), 5)
        self.assertEqual([(job.id, job.revision) for job in self.add()], [(3, 4)])

    def test_commitsAreTold(self) -> None:
        """
        A commit is told once, with the number of its writes, before they are answered;
        a read is none.
        """
        self.commits.clear()
        written = self.store.addJobs(self.epoch, [new(), new()], 0)
        written.addCallback(lambda _: self.assertEqual(self.commits, [1]))
        self.wait(written)
        self.wait(self.store.job(1))
        self.start(1)
        self.assertEqual(self.commits, [1, 1])

    def test_order(self) -> None:
        """
        Writes are committed and answered in the order in which they were asked for.
        """
        answered: list[int] = []

        def note(jobs: list[Job], n: int) -> int:
            answered.append(n)
            return jobs[0].id

        asked = [
            self.store.addJobs(self.epoch, [new(str(n))], n).addCallback(note, n) for n in range(50)
        ]
        self.assertEqual([self.wait(deferred) for deferred in asked], list(range(1, 51)))
        self.assertEqual(answered, list(range(50)))

    def test_closed(self) -> None:
        """
        A store that is being closed commits what was asked for, and refuses all
        that is asked for later; closing it again is fine.
        """
        last = self.store.addJobs(self.epoch, [new("last")], 0)
        closing = [self.store.close(), self.store.close()]
        for call in (
            self.store.addJobs(self.epoch, [new()], 1),
            self.store.job(1),
            self.store.acquire("host:4"),
        ):
            self.assertIn("closed", self.refused(errors.StoreError, call))
        for deferred in closing:
            self.wait(deferred)
        self.assertEqual(self.wait(last)[0].name, "last")
        self.wait(self.store.close())
        self.store = self.reopen()
        self.wait(self.store.acquire("host:5"))
        listed = self.wait(self.store.listJobs(JobFilter(), False, 9, None))
        self.assertEqual([job.name for job in listed], ["last"])


class MemoryJobStoreTests(StoreContract, SynchronousTestCase):
    """
    Tests for L{MemoryJobStore}.
    """

    store: MemoryJobStore

    def makeStore(self) -> MemoryJobStore:
        return MemoryJobStore(self.time, self.committed)

    def reopen(self) -> MemoryJobStore:
        return self.store.reopened()

    def test_held(self) -> None:
        """
        Writes that are held are committed and answered in order, when told.
        """
        self.store.held = True
        first = self.store.addJobs(self.epoch, [new("a")], 0)
        second = self.store.startAttempt(self.epoch, 1, 1)
        self.assertNoResult(first)
        self.store.held = False
        third = self.store.cancelQueued(self.epoch, 1)
        self.assertNoResult(third)
        self.assertEqual(self.everything(), [])
        self.commits.clear()
        self.store.commit()
        self.assertEqual(self.commits, [3])
        self.assertEqual(self.successResultOf(first)[0].name, "a")
        self.assertEqual(self.successResultOf(second).state, JobState.RUNNING)
        self.failureResultOf(third, errors.JobNotQueued)

    def test_heldIsNotInJournal(self) -> None:
        """
        A write that waits when a daemon dies was never made.
        """
        self.store.held = True
        lost = self.store.addJobs(self.epoch, [new("a")], 0)
        self.store = self.store.reopened()
        self.assertEqual(self.everything(), [])
        self.assertNoResult(lost)

    def test_failure(self) -> None:
        """
        While a failure is set, each write fails with it and changes nothing.
        """
        self.store.failure = errors.StoreFull("no room")
        self.refused(errors.StoreFull, self.store.addJobs(self.epoch, [new()], 0))
        self.assertEqual(self.everything(), [])
        self.store.failure = None
        self.assertEqual(self.add()[0].id, 1)

    def test_ownClock(self) -> None:
        """
        By default the time is the real one, in UTC.
        """
        self.store = MemoryJobStore()
        self.epoch = self.wait(self.store.acquire("host:1"))
        self.assertEqual(self.add()[0].submittedAt.utcoffset(), timedelta(0))


class SQLiteJobStoreTests(StoreContract, SynchronousTestCase):
    """
    Tests for L{SQLiteJobStore}.
    """

    store: SQLiteJobStore

    def setUp(self) -> None:
        watchers: list[Watcher] = []
        self.watchers = watchers

        class Watched(sqlite3.Connection):
            def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
                for watch in tuple(watchers):
                    watch(self, sql, parameters)
                return super().execute(sql, parameters)

        def connecting(dialect: Any, record: Any, args: Any, keywords: dict[str, Any]) -> None:
            keywords["factory"] = Watched

        event.listen(Engine, "do_connect", connecting)
        self.addCleanup(event.remove, Engine, "do_connect", connecting)
        self.addCleanup(self.noThreads)
        super().setUp()

    def makeStore(self) -> SQLiteJobStore:
        directory = Path(temporary(self)).parent
        # all that a URL could misread
        self.path = str(directory / "jobs ?#%20&.sqlite")
        return self.reopen()

    def reopen(self) -> SQLiteJobStore:
        return self.openAt(self.path)

    def openAt(self, path: str) -> SQLiteJobStore:
        store = SQLiteJobStore(self.turns, path, self.time, self.committed)
        self.addCleanup(self.closed, store)
        return store

    def closed(self, store: SQLiteJobStore) -> None:
        self.wait(store.close())

    def noThreads(self) -> None:
        """
        See that the threads of all stores end.
        """
        for thread in self.threads():
            thread.join(TIMEOUT)
        self.assertEqual(self.threads(), [])

    def threads(self) -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if "job store" in thread.name]

    @contextmanager
    def watching(self, watch: Watcher) -> Iterator[None]:
        """
        Have something called before each statement that is executed meanwhile, on the
        thread that does it. What it raises, the statement raises.
        """
        self.watchers.append(watch)
        try:
            yield
        finally:
            self.watchers.remove(watch)

    @contextmanager
    def heldCommit(self) -> Iterator[None]:
        """
        Hold the writing thread in the commit of one write until the end, so
        that all that is asked for meanwhile makes one group.
        """
        reached, gate = threading.Event(), threading.Event()

        def hold(connection: sqlite3.Connection, sql: str, parameters: Any) -> None:
            if sql == "COMMIT" and not reached.is_set():
                reached.set()
                self.assertTrue(gate.wait(TIMEOUT))

        with self.watching(hold):
            first = self.store.setSettings(self.epoch, {"held": True})
            self.assertTrue(reached.wait(TIMEOUT))
            try:
                yield
            finally:
                gate.set()
                self.wait(first)

    @contextmanager
    def statements(self) -> Iterator[list[tuple[str, Any]]]:
        """
        The statements, with their parameters, that are executed meanwhile.
        """
        seen: list[tuple[str, Any]] = []
        with self.watching(lambda connection, sql, given: seen.append((sql, given))):
            yield seen

    def test_group(self) -> None:
        """
        Writes that wait together share one commit, and each is answered.
        """
        with self.statements() as seen:
            with self.heldCommit():
                asked = [self.store.addJobs(self.epoch, [new()], n) for n in range(20)]
            self.assertEqual([self.wait(d)[0].id for d in asked], list(range(1, 21)))
        begins = [statement for statement, _ in seen if statement.startswith("BEGIN")]
        self.assertEqual(begins, ["BEGIN IMMEDIATE"] * 2)
        self.assertTrue(self.turns.calls.empty())

    def test_refusedInGroup(self) -> None:
        """
        Requests of a group that are refused, or that SQLite cannot take, fail
        alone and leave nothing.
        """
        store, epoch = self.store, self.epoch
        self.add()
        with self.heldCommit():
            good = [store.addJobs(epoch, [new("good 1")], 1)]
            bad: list[tuple[type[Exception], Deferred[Any]]] = [
                (errors.InvalidArgument, store.addJobs(epoch, [new("fine"), new("\udc80")], 2)),
                (errors.StaleAttempt, store.startAttempt(epoch, 1, 2)),
                (errors.NoSuchJob, store.cancelQueued(epoch, 77)),
                (errors.InvalidArgument, store.changePriority(epoch, 1, 2**63)),
                (errors.OwnershipLost, store.setSettings(epoch - 1, {"a": 1})),
                (
                    errors.InvalidArgument,
                    store.setSettings(epoch, {"first": 1, "second": float("inf")}),
                ),
            ]
            good.append(store.addJobs(epoch, [new("good 2")], 3))
        self.assertEqual([self.wait(d)[0].id for d in good], [2, 3])
        for kind, deferred in bad:
            self.refused(kind, deferred)
        listed = self.wait(store.listJobs(JobFilter(), False, 9, None))
        self.assertEqual([(job.name, job.priority) for job in listed[:1]], [("job", 0)])
        self.assertEqual([job.name for job in listed[1:]], ["good 1", "good 2"])
        self.assertEqual(self.wait(store.settings()), {"held": True})

    def test_readsDoNotWaitForCommit(self) -> None:
        """
        A read is answered while a commit is under way, with what was before it.
        """
        with self.heldCommit():
            self.assertEqual(self.wait(self.store.settings()), {})
        self.assertEqual(self.wait(self.store.settings()), {"held": True})

    def test_failedCommit(self) -> None:
        """
        When a commit fails for want of room, all of its group fail with
        C{StoreFull}, nothing has changed, and the next group is fine.
        """
        isFull = threading.Event()

        def full(connection: sqlite3.Connection, sql: str, parameters: Any) -> None:
            if sql == "COMMIT" and isFull.is_set():
                raise sqlite3.OperationalError("database or disk is full")

        self.add()
        before = self.everything()
        with self.watching(full):
            with self.heldCommit():
                added = self.store.addJobs(self.epoch, [new()], 1)
                cancelled = self.store.cancelQueued(self.epoch, 1)
                isFull.set()
            self.refused(errors.StoreFull, added)
            self.refused(errors.StoreFull, cancelled)
        self.assertEqual(self.everything(), before)
        self.assertEqual([(job.id, job.revision) for job in self.add()], [(2, 2)])

    def test_full(self) -> None:
        """
        What SQLite has no room for fails with C{StoreFull}, and what fits is taken.
        """

        def limit(connection: sqlite3.Connection, sql: str, parameters: Any) -> None:
            if sql == "BEGIN IMMEDIATE":
                connection.cursor().execute("PRAGMA max_page_count = 40")

        big = NewJob(worker="w", args=("x" * 1_000_000,), name="big")
        with self.watching(limit):
            sentence = self.refused(errors.StoreFull, self.store.addJobs(self.epoch, [big], 0))
            self.assertEqual(self.everything(), [])
            self.assertEqual(self.add(new("small"))[0].id, 1)
        self.assertIn(self.path, sentence)
        self.assertNotIn("xxx", sentence)

    def test_twoOwners(self) -> None:
        """
        Of two stores over one file, only the later owner writes.
        """
        another = self.reopen()
        self.wait(another.acquire("host:2"))
        self.refused(errors.OwnershipLost, self.store.addJobs(self.epoch, [new()], 0))
        self.assertEqual(self.wait(another.lastPosition()), -1)

    def test_durable(self) -> None:
        """
        Every commit of the write-ahead log is synchronised with the disk, and
        the reading connection cannot write.
        """
        pragmas: list[list[Any]] = []

        def ask(connection: sqlite3.Connection, sql: str, parameters: Any) -> None:
            if sql.startswith("BEGIN"):
                names = ("synchronous", "journal_mode", "query_only")
                asked = [connection.cursor().execute(f"PRAGMA {name}") for name in names]
                pragmas.append([value for ((value,),) in asked])

        with self.watching(ask):
            self.add()
            self.wait(self.store.settings())
        self.assertEqual([pragmas[0], pragmas[1][1:]], [[2, "wal", 0], ["wal", 1]])

    def test_files(self) -> None:
        """
        The file is its owner's alone, and the log is gone after the close.
        """
        self.add()
        mode = stat.S_IMODE(os.stat(self.path).st_mode)
        self.assertEqual(mode, 0o600)
        self.assertTrue(os.path.exists(self.path + "-wal"))
        self.closed(self.store)
        self.assertEqual(os.listdir(os.path.dirname(self.path)), [os.path.basename(self.path)])

    def test_sizes(self) -> None:
        """
        The summary has the size of the files and the room that is left.
        """
        directory = os.path.dirname(self.path)
        summary = self.wait(self.store.summary())
        sizes = [os.stat(os.path.join(directory, name)).st_size for name in os.listdir(directory)]
        self.assertEqual((len(sizes), summary["bytes"]), (3, sum(sizes)))
        self.assertGreater(summary["freeBytes"], 0)

    def test_sizesWithoutLog(self) -> None:
        """
        The size is told too while no log is there.
        """
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        os.rename(self.path + "-wal", self.path + "-moved")
        summary = self.wait(self.store.summary())
        os.rename(self.path + "-moved", self.path + "-wal")
        self.assertGreater(summary["bytes"], 0)

    def test_idle(self) -> None:
        """
        A store that was not acquired has no thread and no file, and closes at once.
        """
        path = os.path.join(os.path.dirname(self.path), "other")
        before = self.threads()
        store = SQLiteJobStore(self.turns, path)
        self.assertEqual(self.threads(), before)
        self.successResultOf(store.close())
        self.assertFalse(os.path.exists(path))

    def test_readBeforeAcquire(self) -> None:
        """
        A read of a store that is not there fails, and makes none.
        """
        path = os.path.join(os.path.dirname(self.path), "other")
        self.refused(errors.StoreError, self.openAt(path).settings())
        self.assertFalse(os.path.exists(path))

    def test_ownClock(self) -> None:
        """
        By default the time is the real one, in UTC.
        """
        self.closed(self.store)
        self.store = SQLiteJobStore(self.turns, self.path)
        self.addCleanup(self.closed, self.store)
        self.epoch = self.wait(self.store.acquire("host:1"))
        self.assertEqual(self.add()[0].submittedAt.utcoffset(), timedelta(0))

    def test_relativePath(self) -> None:
        """
        The file stays where it was when the process changes its directory.
        """
        store = SQLiteJobStore(self.turns, "jobs.sqlite")
        self.assertEqual(store.path, os.path.abspath("jobs.sqlite"))

    def test_noDirectory(self) -> None:
        """
        A directory that is missing is told, and one can try again.
        """
        directory = temporary(self)
        store = self.openAt(os.path.join(directory, "jobs.sqlite"))
        sentence = self.refused(errors.StoreError, store.acquire("host:1"))
        self.assertIn(directory, sentence)
        os.mkdir(directory)
        self.assertEqual(self.wait(store.acquire("host:1")), 1)

    def unchanged(self, path: str) -> str:
        """
        Check that a file cannot be acquired and stays as it is; return why.
        """
        before = Path(path).read_bytes()
        store = self.openAt(path)
        sentence = self.refused(errors.StoreError, store.acquire("host:1"))
        self.closed(store)
        self.assertEqual(Path(path).read_bytes(), before)
        return sentence

    def test_newerSchema(self) -> None:
        """
        A store of a newer version is refused in one sentence, and stays as it is.
        """
        self.closed(self.store)
        connection = sqlite3.connect(self.path)
        connection.execute("UPDATE schema_version SET version = 99")
        connection.commit()
        connection.close()
        sentence = self.unchanged(self.path)
        self.assertIn("version 99", sentence)
        self.assertIn(f"a newer release, and this one needs version {SCHEMA_VERSION}", sentence)
        self.assertNotIn("\n", sentence)

    def test_otherProgram(self) -> None:
        """
        Another program's database, or a file that is none, is refused and stays
        as it is.
        """
        database = temporary(self)
        connection = sqlite3.connect(database)
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
        connection.close()
        self.assertIn("another program", self.unchanged(database))
        garbage = temporary(self)
        Path(garbage).write_text("To whom it may concern. " * 100)
        self.assertIn("not a database", self.unchanged(garbage))

    def test_removedAttempts(self) -> None:
        """
        Nothing is left in the file of a job that is removed.
        """
        self.inState(JobState.RUNNING)
        self.wait(self.store.requeueAttempt(self.epoch, 1, 1, 0, 0, False, None))
        self.start(1, 2)
        self.finish(1, DONE, 2)
        self.wait(self.store.removeJob(self.epoch, 1))
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        for table in ("jobs", "attempts"):
            ((count,),) = connection.execute(f"SELECT count(*) FROM {table}")
            self.assertEqual(count, 0)

    def test_keysAreUnique(self) -> None:
        """
        The file itself holds no two jobs of one key, and any number without one.
        """
        self.add(new(key="a"), new(key="b"), new(), new())
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        with self.assertRaises(sqlite3.IntegrityError):
            connection.execute("UPDATE jobs SET key = 'a' WHERE id = 2")
        connection.rollback()

    def test_plans(self) -> None:
        """
        What is asked of a store with many finished jobs is read off an index.
        """
        store = self.store
        some = frozenset({JobState.SUCCEEDED, JobState.FAILED})
        labels = frozenset({("a", "1")})
        with self.statements() as seen:
            self.add(new(key="a"), new(key="b"))
            self.start(1)
            self.wait(store.requeueAttempt(self.epoch, 1, 1, 0, 9, False, None))
            self.start(1, 2)
            self.finish(1, DONE, 2)
            self.wait(store.attempts(1))
            self.wait(store.queuedJobs(9))
            self.wait(store.queuedJobs(9, (0, 1)))
            self.wait(store.runningJobs())
            self.wait(store.changedJobs(3, 9))
            self.wait(store.summary())
            self.wait(store.workers())
            for which in (
                *(JobFilter(), JobFilter(some), JobFilter(name="a"), JobFilter(some, "a")),
                *(JobFilter(labels=labels), JobFilter(some, "a", labels)),
            ):
                self.wait(store.listJobs(which, True, 9, None))
                self.wait(store.listJobs(which, False, 9, 4))
            self.wait(store.removeJob(self.epoch, 1))
            self.wait(store.removeFinished(self.epoch, NOON, 9))
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        plans = {
            sql: [step for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {sql}", given)]
            for sql, given in seen
            if sql.startswith(("SELECT", "WITH", "DELETE"))
        }
        self.assertGreaterEqual(len(plans), 25)
        for sql, steps in plans.items():
            for step in steps:
                if step.startswith("SCAN"):
                    isOneRow = step in ("SCAN journal", "SCAN sqlite_sequence", "SCAN settings")
                    isIndex = "COVERING INDEX jobs_that_wait" in step
                    # what was chosen by others
                    isGiven = step.split()[1].startswith(("anon", "json_each", "steps", "CONSTANT"))
                    self.assertTrue(isOneRow or isIndex or isGiven, (sql, steps))
                if "jobs.name = " in sql and "jobs_by" in step:
                    self.assertIn("name=? AND state=?", step)
                if "TEMP B-TREE" in step:
                    # of the first of each state, which are no more than three limits
                    self.assertIn("ORDER BY anon_1.finished_at", sql)
