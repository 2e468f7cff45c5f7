"""
Tests for what a job store takes, and refuses, of new jobs.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import errors
from ganeti_pool.jobs import Job, JobFilter, JobState, NewJob, OnCrash, Outcome

from .storecase import NOON, InFile, InMemory, StoreCase, new


class AddingContract(StoreCase):
    """
    What becomes of new jobs in every store.
    """

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
        self.takeOver()
        self.assertEqual(self.add(new("a", key="a"), firstPosition=99), [old])
        self.assertEqual(self.wait(self.store.lastPosition()), 6)
        self.assertEqual([job.id for job in self.add(new())], [5])

    def test_keyOfFinishedJob(self) -> None:
        """
        The key of a job that has ended gives that job.
        """
        self.add(new(key="a"))
        self.end(1)
        (job,) = self.add(new(key="a"))
        self.assertEqual((job.id, job.state), (1, JobState.SUCCEEDED))

    def test_keyAfterRetry(self) -> None:
        """
        A key still tells the job that it was submitted with when a retry has raised
        its attempts.
        """
        self.add(new("a", key="a"))
        self.end(1, JobState.FAILED)
        again = self.wait(self.store.retryJob(self.epoch, 1, 5))
        self.assertEqual(self.add(new("a", key="a")), [again])

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


class MemoryAddingTests(InMemory, AddingContract, SynchronousTestCase):
    """
    Tests for L{MemoryJobStore}.
    """


class SQLiteAddingTests(InFile, AddingContract, SynchronousTestCase):
    """
    Tests for L{SQLiteJobStore}.
    """
