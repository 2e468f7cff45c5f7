"""
Tests for what is submitted, once and again.
"""

from __future__ import annotations

from zope.interface.verify import verifyObject

from ganeti_pool import errors
from ganeti_pool.interfaces import IJobQueue
from ganeti_pool.jobs import (
    NewJob,
)

from .queuecase import FULL, WORKER, StartedCase, new


class SubmitTests(StartedCase):
    """
    Tests for L{JobQueue.submit}.
    """

    def test_interface(self) -> None:
        """
        The queue keeps its contract.
        """
        self.assertTrue(verifyObject(IJobQueue, self.queue))

    def test_order(self) -> None:
        """
        Jobs start by priority, and in the order of submission within one.
        """
        self.submit(new("note", 1), new("note", 2, priority=-5))
        self.submit(new("note", 3, priority=-5), new("note", 4))
        self.runAll()
        self.assertEqual(self.ran, [2, 3, 1, 4])

    def test_afterCommit(self) -> None:
        """
        A job is answered and enters the heap after its commit, not before.
        """
        self.store.held = True
        answer = self.queue.submit([new()])
        self.assertNoResult(answer)
        self.assertFalse(self.step())
        self.release()
        self.assertEqual([job.id for job in self.successResultOf(answer)], [1])
        self.assertTrue(self.step())

    def test_notCommitted(self) -> None:
        """
        A job that the store has no room for is refused, and never runs.
        """
        self.store.failure = FULL
        self.failureResultOf(self.queue.submit([new()]), errors.StoreFull)
        self.assertEqual(self.status()["store"]["last_error"], "the disk is full")
        self.recover()
        self.submit(new("note", "later"))
        self.runAll()
        self.assertEqual(self.ran, ["later"])
        self.assertIsNone(self.status()["store"]["last_error"])

    def test_otherWorker(self) -> None:
        """
        A job of another worker class is refused, and all that came with it.
        """
        other = NewJob("some.Other", (), "x")
        failure = self.failureResultOf(self.queue.submit([new(), other]), errors.InvalidJob)
        self.assertEqual(
            [problem[:2] for problem in failure.value.problems], [("/1/worker", "other_worker")]
        )
        failure = self.failureResultOf(self.queue.submit([other]), errors.InvalidJob)
        self.assertEqual(failure.value.problems[0][0], "/worker")
        self.assertEqual(self.status()["jobs"]["queued"], 0)

    def test_manyProblems(self) -> None:
        """
        Of very many wrong jobs some are told.
        """
        wrong = [NewJob("some.Other", (), "x")] * 1000
        failure = self.failureResultOf(self.queue.submit(wrong), errors.InvalidJob)
        self.assertEqual(len(failure.value.problems), 50)

        def check(args: object) -> None:
            raise errors.InvalidJob([("/args", "bad", "it is bad")] * 40)

        self.patch(self.queue, "_checkArgs", check)
        failure = self.failureResultOf(self.queue.submit([new(), new()]), errors.InvalidJob)
        self.assertEqual(len(failure.value.problems), 50)

    def test_waitingForAnotherClass(self) -> None:
        """
        A queue does not start over unfinished jobs of another worker class, which
        stay as they are.
        """
        self.submit(new("note", 1))
        self.open(self.store.reopened())
        self.queue.workerName = "some.Other"
        failure = self.failureResultOf(self.queue.start(), errors.StoreError)
        self.assertIn(f"unfinished jobs of {WORKER}", failure.getErrorMessage())
        self.assertIn("runs some.Other", failure.getErrorMessage())
        self.restart()
        self.runAll()
        self.assertEqual(self.ran, [1])

    def test_checkedArguments(self) -> None:
        """
        What the worker class says of arguments is told for each job.
        """

        def check(args: object) -> None:
            if args != ("note",):
                raise errors.InvalidJob([("/args/0", "bad", "it is bad")])

        self.queue._checkArgs = check
        refused = self.queue.submit([new(), new("other")])
        problems = self.failureResultOf(refused, errors.InvalidJob).value.problems
        self.assertEqual(problems, [("/1/args/0", "bad", "it is bad")])
        self.assertEqual(self.submit(new()), [1])


class KeyTests(StartedCase):
    """
    Tests for jobs that are submitted again.
    """

    def test_runsOnce(self) -> None:
        """
        A job that is submitted again, waiting or running or ended, or twice in a
        list, runs once.
        """
        job = new("again", key="k")
        self.tasks["again"] = lambda worker: self.ran.append(self.submit(job))
        self.assertEqual(self.submit(job, job), [1, 1])
        self.assertEqual(self.submit(job, new("note", 2)), [1, 2])
        self.runAll()
        self.assertEqual(self.submit(job), [1])
        self.assertFalse(self.step())
        self.assertEqual(self.ran, [[1], 2])

    def test_afterRestart(self) -> None:
        """
        The next daemon knows the keys too.
        """
        self.submit(new("note", 1, key="k"))
        self.restart()
        self.assertEqual(self.submit(new("note", 1, key="k")), [1])
        self.runAll()
        self.assertEqual(self.ran, [1])

    def test_conflict(self) -> None:
        """
        Another job of the same key is refused, with all that came with it.
        """
        self.submit(new("note", 1, key="k"))
        submitted = self.queue.submit([new("note", 2), new("note", 3, key="k")])
        self.failureResultOf(submitted, errors.KeyConflict)
        self.runAll()
        self.assertEqual(self.ran, [1])

    def test_keptButCalledFailure(self) -> None:
        """
        A job that the store has kept, and called a failure, waits once it is
        submitted again.
        """
        self.successResultOf(
            self.store.addJobs(self.queue._journal.epoch, [new("note", 1, key="k")], 0)
        )
        self.assertFalse(self.step())
        self.assertEqual(self.submit(new("note", 1, key="k")), [1])
        self.runAll()
        self.assertEqual(self.ran, [1])
