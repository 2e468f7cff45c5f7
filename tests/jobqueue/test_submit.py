"""
Tests for submissions.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from zope.interface.verify import verifyObject

from ganeti_pool import errors
from ganeti_pool.interfaces import IJobQueue
from ganeti_pool.jobqueue import Hooks, WorkerRules, _dispatcher, _projection, _sender
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
        The queue provides its interface.
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

    def test_withItsStart(self) -> None:
        """
        A submission and its start share a commit if a slot is idle, and so do the end of one
        job and the start of the next.
        """
        commits: list[int] = []
        hooks = Hooks(committed=lambda changes, seconds: commits.append(changes))
        self.patch(self.queue._projection, "_hooks", hooks)
        self.mayStart = True
        self.submit(new("note", 1), new("note", 2))
        self.assertEqual((self.states(1, 2), commits), (["running", "queued"], [2]))
        self.waiting.pop().step()
        self.assertEqual((self.states(1, 2), commits), (["succeeded", "running"], [2, 2]))

    def test_severalSlots(self) -> None:
        """
        Jobs start on all idle slots in one commit, in order, and no slot gets two.
        """
        self.restart(3)
        self.submit(*(new("note", n, priority=-n) for n in range(4)))
        self.startJobs()
        running = [slot._current[0] for slot in self.waiting if slot._current]
        self.assertEqual([run.job.id for run in running], [4, 3, 2])
        self.assertEqual(len({id(run.slot) for run in running}), 3)
        self.runAll()
        self.assertEqual(self.ran, [3, 2, 1, 0])

    def test_busy(self) -> None:
        """
        While too many requests wait, further ones are rejected. They are accepted again when
        some have been answered; requests that were accepted are not lost.
        """
        self.patch(_sender, "_MOST_REQUESTS", 2)
        with self.oneBatch():
            answers = [self.queue.submit([new("note", n)]) for n in range(3)]
            moved = self.queue.changePriority(1, 5)
            quiet = self.queue.quiesce()
        for refused in (answers[2], moved):
            failure = self.failureResultOf(refused, errors.QueueBusy)
            self.assertEqual((failure.value.code, failure.value.requests), ("busy", 2))
        for answer in answers[:2]:
            self.successResultOf(answer)
        self.assertNoResult(quiet)
        self.submit(new("note", 2))

    def test_busyWithBytes(self) -> None:
        """
        So are requests that are too large together. A single one of any size is accepted.
        """
        self.patch(_sender, "_MOST_BYTES", 1000)
        large = new("note", {"text": ["x" * 1000, 5, None]})
        with self.oneBatch():
            first, second = self.queue.submit([large]), self.queue.submit([new()])
            third = self.queue.cancel(7)
        self.assertEqual(len(self.successResultOf(first)), 1)
        self.failureResultOf(second, errors.QueueBusy)
        self.failureResultOf(third, errors.QueueBusy)
        self.submit(large)

    def test_reactorFallsBehind(self) -> None:
        """
        No job starts while too many batches wait for the reactor. When it has caught up, jobs
        start by themselves.
        """
        self.patch(_projection, "_MOST_BATCHES", 1)
        self.isReactorHeld = self.mayStart = True
        self.queue.submit([new("note", 1)])
        self.queue.cancel(7).addErrback(lambda _: None)
        self.queue.submit([new("note", 2)])
        self.waiting.pop().step()
        self.assertEqual(self.states_(), ["succeeded", "queued"])
        self.reactor.run()
        self.isReactorHeld = False
        self.assertEqual(self.states_(), ["succeeded", "running"])

    def states_(self) -> list[str]:
        """
        Return the states in the store.
        """
        return [job.state.value for job in self.store._journal.jobs.values()]

    def test_longTurn(self) -> None:
        """
        The reactor applies batches for a short time, and the rest in the next turn.
        """
        self.patch(_projection, "_TURN", -1.0)
        self.isReactorHeld = True
        answers = [self.queue.submit([new()]) for _ in range(3)]
        for answer in answers:
            self.assertNoResult(answer)
            self.reactor.turn()
            self.successResultOf(answer)

    def test_longBatch(self) -> None:
        """
        A transaction takes no further request after some time; the rest follows in the next.
        """
        commits: list[int] = []
        hooks = Hooks(committed=lambda changes, seconds: commits.append(changes))
        self.patch(self.queue._projection, "_hooks", hooks)
        self.patch(_dispatcher, "_BATCH_TIME", -1.0)
        with self.oneBatch():
            answers = [self.queue.submit([new()]) for _ in range(3)]
        self.assertEqual([self.successResultOf(answer)[0].id for answer in answers], [1, 2, 3])
        self.assertEqual(commits, [1, 1, 1])

    def test_givenUp(self) -> None:
        """
        A request whose client does not wait for the answer is done all the same, and its
        failure is nobody's.
        """
        with self.oneBatch():
            given: list[Deferred[Any]] = [self.queue.submit([new("note", 1)])]
            given.append(self.queue.cancel(7))
            given.append(self.queue.setActive(False))
            for answer in given:
                answer.cancel()
                self.failureResultOf(answer, CancelledError)
        self.assertFalse(self.status()["active"])
        self.assertEqual(dict(self.queue.waiting), {0: 1})

    def test_notCommitted(self) -> None:
        """
        A job for which the store has no room is rejected, and never runs.
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
        A job of another worker class is rejected, and so is the whole list.
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
        Validation stops after some problems.
        """
        wrong = [NewJob("some.Other", (), "x")] * 1000
        failure = self.failureResultOf(self.queue.submit(wrong), errors.InvalidJob)
        self.assertEqual(len(failure.value.problems), 50)

        def check(args: object) -> None:
            raise errors.InvalidJob([("/args", "bad", "it is bad")] * 40)

        self.restart(checkArgs=check)
        failure = self.failureResultOf(self.queue.submit([new(), new()]), errors.InvalidJob)
        self.assertEqual(len(failure.value.problems), 50)

    def test_waitingForAnotherClass(self) -> None:
        """
        A queue does not start over unfinished jobs of another worker class, which
        stay as they are.
        """
        self.submit(new("note", 1))
        self.open(self.store.reopened())
        self.patch(self.dispatcher._recovery, "_rules", WorkerRules("some.Other"))
        failure = self.failureResultOf(self.queue.start(), errors.StoreError)
        self.assertIn(f"unfinished jobs of {WORKER}", failure.getErrorMessage())
        self.assertIn("runs some.Other", failure.getErrorMessage())
        self.restart()
        self.runAll()
        self.assertEqual(self.ran, [1])

    def test_checkedArguments(self) -> None:
        """
        The problems that the worker class finds in arguments are reported for each job.
        """

        def check(args: object) -> None:
            if args != ("note",):
                raise errors.InvalidJob([("/args/0", "bad", "it is bad")])

        self.restart(checkArgs=check)
        refused = self.queue.submit([new(), new("other")])
        problems = self.failureResultOf(refused, errors.InvalidJob).value.problems
        self.assertEqual(problems, [("/1/args/0", "bad", "it is bad")])
        self.assertEqual(self.submit(new()), [1])


class KeyTests(StartedCase):
    """
    Tests for jobs with a key.
    """

    def test_runsOnce(self) -> None:
        """
        A job that is submitted again, while it is queued, runs or has ended, or twice in a
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
        The next daemon knows the keys.
        """
        self.submit(new("note", 1, key="k"))
        self.restart()
        self.assertEqual(self.submit(new("note", 1, key="k")), [1])
        self.runAll()
        self.assertEqual(self.ran, [1])

    def test_conflict(self) -> None:
        """
        Another job with the same key is rejected, and so is the whole list.
        """
        self.submit(new("note", 1, key="k"))
        submitted = self.queue.submit([new("note", 2), new("note", 3, key="k")])
        self.failureResultOf(submitted, errors.KeyConflict)
        self.runAll()
        self.assertEqual(self.ran, [1])
