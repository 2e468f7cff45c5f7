"""
Tests for the questions that a queue answers.
"""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail

from ganeti_pool import errors
from ganeti_pool.interfaces import QueueStatus
from ganeti_pool.jobs import (
    Job,
    JobFilter,
    JobOrigin,
)
from ganeti_pool.workerpool import DeferTask

from .queuecase import FULL, NOON, WORKER, QueueCase, StartedCase, Worker, new


class ChangesTests(StartedCase):
    """
    Tests for L{JobQueue.changedJobs} and the other questions.
    """

    def test_atOnce(self) -> None:
        """
        What has changed is told at once, by revision, and nothing too if nobody
        wants to wait.
        """
        self.submit(new(), new())
        jobs = self.successResultOf(self.queue.changedJobs(0, 10, 60))
        self.assertEqual([job.id for job in jobs], [1, 2])
        self.assertEqual(self.successResultOf(self.queue.changedJobs(2, 10, 0)), [])

    def test_waits(self) -> None:
        """
        The answer comes with the first change; all who wait get it.
        """
        answers = [self.queue.changedJobs(0, 10, 60) for _ in range(3)]
        for answer in answers:
            self.assertNoResult(answer)
        self.submit(new())
        for answer in answers:
            self.assertEqual([job.id for job in self.successResultOf(answer)], [1])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_timeout(self) -> None:
        """
        With no change the answer is empty, after the time that was asked for.
        """
        answer = self.queue.changedJobs(0, 10, 60)
        self.reactor.advance(59)
        self.assertNoResult(answer)
        self.reactor.advance(1)
        self.assertEqual(self.successResultOf(answer), [])

    def test_otherChange(self) -> None:
        """
        A change that is not asked for does not end the wait.
        """
        answer = self.queue.changedJobs(1, 10, 60)
        self.submit(new())
        self.assertNoResult(answer)
        self.submit(new())
        self.assertEqual([job.id for job in self.successResultOf(answer)], [2])

    def test_cancelled(self) -> None:
        """
        A wait can be given up, and leaves nothing.
        """
        answer = self.queue.changedJobs(0, 10, 60)
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.queue._changes._waiting, set())

    def test_committedWhileAsked(self) -> None:
        """
        A change that is committed while the store is asked is not missed.
        """
        asked: Deferred[list[Job]] = Deferred()
        read = self.store.changedJobs
        self.patch(self.store, "changedJobs", lambda after, limit: asked)
        answer = self.queue.changedJobs(0, 10, 60)
        self.patch(self.store, "changedJobs", read)
        self.submit(new())
        asked.callback([])
        self.assertEqual([job.id for job in self.successResultOf(answer)], [1])

    def test_removed(self) -> None:
        """
        A job that was removed does not end a wait, and the store is not asked over and
        over for what it no longer has.
        """
        self.submit(new())
        self.successResultOf(self.queue.cancel(1))
        self.successResultOf(self.queue.remove(1))
        questions: list[int] = []
        read = self.store.changedJobs

        def changedJobs(after: int, limit: int) -> Deferred[list[Job]]:
            questions.append(after)
            assert len(questions) < 9, "the store is asked over and over"
            return read(after, limit)

        self.patch(self.store, "changedJobs", changedJobs)
        answer = self.queue.changedJobs(0, 10, 60)
        self.assertNoResult(answer)
        self.submit(new())
        self.assertEqual([job.id for job in self.successResultOf(answer)], [2])
        self.assertEqual(questions, [0, 0])

    def test_stop(self) -> None:
        """
        A queue that has stopped answers all who wait, and lets nobody wait any more;
        while its jobs have their grace, all can wait.
        """
        answers: list[Deferred[Any]] = []

        def task(worker: Worker) -> None:
            jobs = self.successResultOf(self.queue.changedJobs(0, 10, 60))
            answers.append(self.queue.changedJobs(jobs[-1].revision, 10, 60))
            answers.append(self.queue.attemptOver(2, 1))
            stopped.append(self.queue.stop(10))
            for answer in answers:
                self.assertNoResult(answer)

        stopped: list[Deferred[None]] = []
        self.tasks["long"] = task
        self.submit(new("long"), new("note"))
        self.step()
        self.assertEqual([job.id for job in self.successResultOf(answers[0])], [1])
        self.assertNoResult(answers[1])
        last = self.queue.changedJobs(self.job().revision, 10, 60)
        self.reactor.run()
        self.successResultOf(stopped[0])
        self.assertEqual(self.successResultOf(last), [])
        self.assertIsNone(self.successResultOf(answers[1]))
        self.assertIsNone(self.successResultOf(self.queue.attemptOver(2, 1)))

    def test_list(self) -> None:
        """
        Jobs are listed from the store.
        """
        self.submit(new(), new(title="other"))
        listed = self.queue.listJobs(JobFilter(name="other"), True, 10, None)
        self.assertEqual([job.id for job in self.successResultOf(listed)], [2])


class AttemptTests(StartedCase):
    """
    Tests for L{JobQueue.attemptOver}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.submit(new(), new())

    def assertNobodyWaits(self) -> None:
        self.assertEqual(self.queue._changes._byJob, {})

    def test_ends(self) -> None:
        """
        Whoever waits for an attempt hears of its end, and of no other job's.
        """
        answers = [self.queue.attemptOver(jobID, 1) for jobID in (1, 1, 2)]
        self.tasks["note"] = lambda worker: [self.assertNoResult(one) for one in answers]
        self.step()
        self.assertIsNone(self.successResultOf(answers[0]))
        self.assertIsNone(self.successResultOf(answers[1]))
        self.assertNoResult(answers[2])
        self.successResultOf(self.queue.cancel(2))
        self.assertIsNone(self.successResultOf(answers[2]))
        self.assertIsNone(self.successResultOf(self.queue.attemptOver(1, 1)))
        self.assertNobodyWaits()

    def test_givenUpWhileOthersWait(self) -> None:
        """
        Who does not wait any more is told nothing; the others are, also if one of them
        gives another up just then.
        """
        answers = [self.queue.attemptOver(1, 1) for _ in range(4)]
        answers[0].cancel()
        self.failureResultOf(answers[0], CancelledError)
        answers[1].addCallback(lambda _: answers[2].cancel())
        answers[2].addCallback(lambda _: answers[1].cancel())
        for answer in answers[1:3]:
            answer.addErrback(lambda failure: failure.trap(CancelledError))
        self.step()
        self.successResultOf(answers[3])
        self.assertNobodyWaits()

    def test_again(self) -> None:
        """
        An attempt that defers itself is still to come. Nobody need wait for it, and
        who does not takes nobody with him.
        """

        def defer(worker: Worker) -> None:
            raise DeferTask()

        self.tasks["note"] = defer
        answer, other = (self.queue.attemptOver(1, 1) for _ in range(2))
        self.step()
        self.assertEqual(self.job().attempt, 0)
        self.assertNoResult(answer)
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.assertNoResult(other)
        self.successResultOf(self.queue.cancel(1))
        self.successResultOf(other)
        self.assertNobodyWaits()

    def test_gone(self) -> None:
        """
        Nothing more comes of a job that is not there.
        """
        self.assertIsNone(self.successResultOf(self.queue.attemptOver(9, 1)))
        self.assertNobodyWaits()

    def test_changesWhileAsked(self) -> None:
        """
        A change that comes while the store is asked is not missed.
        """
        asked: Deferred[Job] = Deferred()
        before = self.job()
        look = self.patch(self.store, "job", lambda jobID: asked)
        answer = self.queue.attemptOver(1, 1)
        look.restore()
        self.step()
        self.assertNoResult(answer)
        asked.callback(before)
        self.assertIsNone(self.successResultOf(answer))

    def test_unannounced(self) -> None:
        """
        An outcome that the store has kept, and called a failure, is found.
        """
        answer = self.queue.attemptOver(1, 1)
        finish = self.store.finishAttempt

        def finishAndFail(*args: Any) -> Deferred[Job]:
            failing.restore()
            self.successResultOf(finish(*args))
            self.meanwhile.append(lambda: self.reactor.advance(1))
            return fail(errors.StoreError("kept"))

        failing = self.patch(self.store, "finishAttempt", finishAndFail)
        self.step()
        self.assertIsNone(self.successResultOf(answer))


class PoolTests(QueueCase):
    """
    Tests for pause, size and status.
    """

    def test_pause(self) -> None:
        """
        A pause is recorded, and holds for the next daemon too, until it is over.
        """
        self.start()
        self.successResultOf(self.queue.setActive(False))
        self.submit(new("note", 1))
        self.assertFalse(self.step())
        self.restart()
        self.assertFalse(self.step())
        self.assertFalse(self.status()["active"])
        self.successResultOf(self.queue.setActive(True))
        self.assertTrue(self.step())

    def test_startsPaused(self) -> None:
        """
        A queue can start with a pause, which is one like any other.
        """
        self.start()
        self.submit(new("note", 1))
        for isPaused in (True, False):
            self.restart(isPaused=isPaused)
            self.assertFalse(self.step())
            self.assertFalse(self.status()["active"])
        self.successResultOf(self.queue.setActive(True))
        self.runAll()
        self.assertEqual(self.ran, [1])

    def test_pauseNotCommitted(self) -> None:
        """
        A pause that cannot be recorded does not begin.
        """
        self.start()
        self.store.failure = FULL
        self.failureResultOf(self.queue.setActive(False), errors.StoreFull)
        self.assertTrue(self.status()["active"])

    def test_resize(self) -> None:
        """
        The number of workers changes.
        """
        self.start()
        resized = self.queue.resize(3)
        self.reactor.run()
        self.successResultOf(resized)
        self.assertEqual(self.status()["workers"], 3)

    def test_resizeInsideAJob(self) -> None:
        """
        A change to fewer workers is refused to a job if it would wait for running jobs, such
        as that one, and made if enough workers are idle.
        """
        self.open(self.store, numWorkers=3)
        self.start()
        own = JobOrigin(1, socket.gethostname(), os.path.realpath(self.directory))
        asked: list[int] = []

        def ask(worker: Worker) -> None:
            self.queue.checkWorkers(4, own)
            self.queue.checkWorkers(1, own)
            self.queue.checkWorkers(0, replace(own, jobID=2))
            self.queue.checkWorkers(0, None)
            refused = self.assertRaises(errors.InsideJob, self.queue.checkWorkers, 0, own)
            asked.append(refused.jobID)

        self.tasks["ask"] = ask
        # All workers become idle, and one of them gets the job.
        self.assertFalse(self.step())
        self.submit(new("ask"))
        self.step()
        self.assertEqual(asked, [1])
        self.queue.checkWorkers(0, own)

    def test_resizeWithoutThreads(self) -> None:
        """
        A change for which the system gives no more threads fails with what the system says
        and how many workers there are.
        """
        self.start()
        cause = RuntimeError("can't start new thread")
        error = errors.WorkersNotStarted("p", 0, 2, cause)
        error.__cause__ = cause
        self.patch(self.pool, "resize", lambda workers: fail(error))
        failed = self.failureResultOf(self.queue.resize(3), errors.ResizeFailed).value
        self.assertEqual((failed.code, failed.workers), ("internal_error", 1))
        self.assertIn("can't start new thread", str(failed))

    def test_resizeMeetsStop(self) -> None:
        """
        A change that a stop has overtaken is not said to be done.
        """
        self.start()
        resized = self.queue.resize(3)
        stopped = self.queue.stop(0)
        self.reactor.run()
        self.failureResultOf(resized, errors.QueueStopping)
        self.successResultOf(stopped)

    def test_resizeOfAPoolThatEnds(self) -> None:
        """
        A pool that has begun to stop before the queue has is not resized.
        """
        self.start()
        self.pool.terminateWorkers()
        self.failureResultOf(self.queue.resize(3), errors.QueueStopping)

    def test_submitToAPoolThatEnds(self) -> None:
        """
        A job that is taken while the pool stops is for the next daemon.
        """
        self.start()
        self.pool.terminateWorkers()
        self.submit(new("note", 1))
        self.restart()
        self.runAll()
        self.assertEqual(self.ran, [1])

    def test_statusIsAValue(self) -> None:
        """
        The status is a value with aware times, and does not change with the queue.
        """
        self.start()
        self.submit(new())
        status = self.successResultOf(self.queue.poolStatus())
        self.assertIsInstance(status, QueueStatus)
        self.assertEqual(status.statistics.queued, 1)
        self.assertEqual((status.jobs.oldestQueuedAt, status.daemon.startedAt), (NOON, NOON))
        self.queue._output.aside.append("/aside-1")
        self.runAll()
        self.assertEqual((status.jobs.queued, status.output.setAside), (1, ()))

    def test_status(self) -> None:
        """
        The status has every key of the protocol, and times as text.
        """
        self.start()
        self.submit(new(), new(), new())
        self.step()
        status = self.status()
        waited = status["statistics"].pop("waited")
        self.assertGreaterEqual(waited, 0)
        version = status["daemon"].pop("version")
        self.assertRegex(version, r"^\d+\.\d+")
        noon = "2026-01-31T12:00:00.123Z"
        self.assertEqual(
            status,
            {
                "active": True,
                "workers": 1,
                "busy": 0,
                "quiesces": {"count": 0, "since": None},
                "statistics": {
                    "added": 3,
                    "queued": 2,
                    "running": 0,
                    "succeeded": 1,
                    "failed": 0,
                    "cancelled": 0,
                    "unstarted": 0,
                    "deferrals": 0,
                },
                "jobs": {
                    "queued": 2,
                    "running": 0,
                    "oldest_queued_at": noon,
                    "longest_running_at": None,
                    "last_day": {"succeeded": 1, "failed": 0, "cancelled": 0},
                },
                "store": {"bytes": 0, "free_bytes": 0, "unwritten": 0, "last_error": None},
                "output": {"adopted": False, "set_aside": []},
                "daemon": {
                    "pid": os.getpid(),
                    "started_at": noon,
                    "worker": WORKER,
                    "host": socket.gethostname(),
                    "state_directory": os.path.abspath(self.directory),
                    "stopping": False,
                },
            },
        )
