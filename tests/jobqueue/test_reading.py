"""
Tests for reads, the status and the number of workers.
"""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from ganeti_pool import errors
from ganeti_pool.interfaces import ISlot, QueueStatus, Snapshot
from ganeti_pool.jobqueue import QueueLimits
from ganeti_pool.jobqueue._items import Quiesce, Resize
from ganeti_pool.jobs import (
    Job,
    JobFilter,
    JobOrigin,
)
from ganeti_pool.workerpool import DeferTask

from .queuecase import FULL, NOON, WORKER, QueueCase, StartedCase, Worker, new


class ChangesTests(StartedCase):
    """
    Tests for L{JobQueue.changedJobs} and other reads.
    """

    def test_atOnce(self) -> None:
        """
        Changes are the answer at once, by revision. Without a time to wait, so is none.
        """
        self.submit(new(), new())
        jobs = self.successResultOf(self.queue.changedJobs(0, 10, 60))
        self.assertEqual([job.id for job in jobs], [1, 2])
        self.assertEqual(self.successResultOf(self.queue.changedJobs(2, 10, 0)), [])

    def test_waits(self) -> None:
        """
        The answer comes with the first change, for every reader that waits.
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
        Without a change the answer is empty, after the time to wait.
        """
        answer = self.queue.changedJobs(0, 10, 60)
        self.reactor.advance(59)
        self.assertNoResult(answer)
        self.reactor.advance(1)
        self.assertEqual(self.successResultOf(answer), [])

    def test_otherChange(self) -> None:
        """
        A change before the given revision does not end the wait.
        """
        answer = self.queue.changedJobs(1, 10, 60)
        self.submit(new())
        self.assertNoResult(answer)
        self.submit(new())
        self.assertEqual([job.id for job in self.successResultOf(answer)], [2])

    def test_cancelled(self) -> None:
        """
        A wait that is cancelled leaves nothing.
        """
        answer = self.queue.changedJobs(0, 10, 60)
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.queue._projection.changes._waiting, set())

    def test_committedWhileAsked(self) -> None:
        """
        A change that is committed during the read is not missed.
        """
        asked: Deferred[Snapshot[list[Job]]] = Deferred()
        read = self.store.changedJobs
        self.patch(self.store, "changedJobs", lambda after, limit: asked)
        answer = self.queue.changedJobs(0, 10, 60)
        self.patch(self.store, "changedJobs", read)
        self.submit(new())
        asked.callback(Snapshot([], 0))
        self.assertEqual([job.id for job in self.successResultOf(answer)], [1])

    def test_removed(self) -> None:
        """
        A job that was removed does not end a wait, and is not read over and over.
        """
        self.submit(new())
        self.successResultOf(self.queue.cancel(1))
        self.successResultOf(self.queue.remove(1))
        questions: list[int] = []
        read = self.store.changedJobs

        def changedJobs(after: int, limit: int) -> Deferred[Snapshot[list[Job]]]:
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
        A queue that has stopped answers all readers, and lets none wait any longer. While its
        jobs have their grace, they can wait.
        """
        answers: list[Deferred[Any]] = []

        def task(worker: Worker) -> None:
            jobs = self.successResultOf(self.queue.changedJobs(0, 10, 60))
            answers.append(self.queue.changedJobs(jobs[-1].revision, 10, 60))
            answers.append(self.queue.attemptOver(2, 1))
            stopped.append(self.queue.stop(10))
            self.reactor.run()
            for answer in answers:
                self.assertNoResult(answer)

        stopped: list[Deferred[None]] = []
        self.tasks["long"] = task
        self.submit(new("long"), new("note"))
        self.step()
        self.assertEqual([job.id for job in self.successResultOf(answers[0])], [1])
        self.successResultOf(stopped[0])
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
        self.assertEqual(self.queue._projection.changes._byJob, {})

    def test_ends(self) -> None:
        """
        The wait for an attempt ends with it, and not with another job.
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
        A reader that has cancelled its wait gets nothing. The others are answered, even if one
        of them cancels another at that moment.
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
        An attempt that defers itself is still to come. A reader that cancels its wait for it
        does not end the wait of another.
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
        The attempts of a job that does not exist are over.
        """
        self.assertIsNone(self.successResultOf(self.queue.attemptOver(9, 1)))
        self.assertNobodyWaits()

    def test_changesWhileAsked(self) -> None:
        """
        A change that comes during the read is not missed.
        """
        asked: Deferred[Snapshot[Job]] = Deferred()
        before = self.job()
        look = self.patch(self.store, "job", lambda jobID: asked)
        answer = self.queue.attemptOver(1, 1)
        look.restore()
        self.step()
        self.assertNoResult(answer)
        asked.callback(Snapshot(before, 2))
        self.assertIsNone(self.successResultOf(answer))


class ReadYourWritesTests(StartedCase):
    """
    Tests for reads whose snapshot is newer than the reactor's memory.
    """

    def test_waits(self) -> None:
        """
        The answer of a read waits until the reactor has applied what is in its snapshot; so
        the counters agree with it.
        """
        self.isReactorHeld = True
        submitted = self.queue.submit([new()])
        read = self.queue.job(1)
        listed = self.queue.listJobs(JobFilter(), True, 9, None)
        status = self.queue.poolStatus()
        for answer in (submitted, read, listed, status):
            self.assertNoResult(answer)
        self.reactor.run()
        self.assertEqual(self.successResultOf(read).id, 1)
        self.assertEqual(len(self.successResultOf(listed)), 1)
        counters = self.successResultOf(status)
        self.assertEqual((counters.statistics.queued, counters.jobs.queued), (1, 1))
        self.successResultOf(submitted)

    def test_order(self) -> None:
        """
        A batch is applied first, then its clients are answered, then the reads that waited,
        then the events are sent.
        """
        order: list[object] = []
        self.isReactorHeld = True
        submitted = self.queue.submit([new()])
        read = self.queue.job(1)
        submitted.addCallback(lambda jobs: order.append(("answer", dict(self.queue.waiting))))
        read.addCallback(lambda job: order.append(("read", len(self.events))))
        self.reactor.run()
        self.assertEqual(order, [("answer", {0: 1}), ("read", 0)])
        self.assertEqual(len(self.events), 1)

    def test_own(self) -> None:
        """
        A client that has its answer finds the job by a read, from the same callback.
        """
        found: list[Deferred[Job]] = []
        self.isReactorHeld = True
        for _ in range(2):
            submitted = self.queue.submit([new()])
            submitted.addCallback(lambda jobs: found.append(self.queue.job(jobs[0].id)))
        self.reactor.turn()
        self.assertEqual([self.successResultOf(job).id for job in found], [1, 2])

    def test_broken(self) -> None:
        """
        A read that waits is answered if the queue breaks.
        """
        self.isReactorHeld = True
        submitted = self.queue.submit([new()])
        read = self.queue.job(1)
        self.queue._projection.breakDown(Failure(ZeroDivisionError()))
        self.assertEqual(self.successResultOf(read).id, 1)
        self.failureResultOf(submitted, errors.QueueBroken)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.reactor.run()
        self.queue._projection.breakDown(Failure(ZeroDivisionError()))
        self.assertEqual(len(self.broken), 1)


class PoolTests(QueueCase):
    """
    Tests for pauses, the number of workers and the status.
    """

    def test_pause(self) -> None:
        """
        A pause is stored, and lasts over a restart until it is ended.
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
        A queue can start with a pause, which lasts like any other.
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
        A pause that cannot be stored does not begin.
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
        self.successResultOf(self.queue.resize(3))
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
        self.submit(new("ask"))
        self.step()
        self.assertEqual(asked, [1])
        self.queue.checkWorkers(0, own)

    def test_resizeWithoutThreads(self) -> None:
        """
        If the system cannot start enough threads, the change fails with the system's error
        and the number of workers, and those that were started stay.
        """
        self.start()
        make = self.dispatcher._makeSlot

        def makeSome(name: str) -> ISlot:
            if len(self.slots) == 2:
                raise RuntimeError("can't start new thread")
            return make(name)

        self.patch(self.dispatcher, "_makeSlot", makeSome)
        failed = self.failureResultOf(self.queue.resize(3), errors.ResizeFailed).value
        self.assertEqual((failed.code, failed.workers), ("internal_error", 2))
        self.assertIn("can't start new thread", str(failed))
        self.assertEqual(self.status()["workers"], 2)

    def test_startWithoutThreads(self) -> None:
        """
        If the system cannot start enough threads, the queue does not start.
        """
        self.patch(self.dispatcher, "_makeSlot", lambda name: 1 / 0)
        self.failureResultOf(self.queue.start(), errors.WorkersNotStarted)
        self.assertEqual(self.store._journal.epoch, 0)
        self.successResultOf(self.queue.stop(0))

    def test_shrink(self) -> None:
        """
        Fewer workers are there when those that are too many have ended their jobs, idle ones
        first. Their names are not used again.
        """
        self.open(self.store, numWorkers=3)
        self.start()
        self.submit(new("note", 1), new("note", 2))
        self.startJobs()
        resized = self.queue.resize(1)
        self.assertEqual(self.status()["workers"], 1)
        self.assertNoResult(resized)
        again = self.queue.resize(1)
        self.waiting.pop(0).step()
        self.successResultOf(resized)
        self.successResultOf(again)
        self.step()
        self.submit(new("note", 3))
        self.runAll()
        self.assertEqual(self.ran, [1, 2, 3])
        self.successResultOf(self.queue.resize(2))
        self.assertEqual([slot.host.worker.name[-1] for slot in self.slots], ["1", "2", "3", "4"])

    def test_shrinkTwice(self) -> None:
        """
        A second change to fewer workers counts those that are about to leave.
        """
        self.open(self.store, numWorkers=3)
        self.start()
        self.submit(*(new("note", n) for n in range(3)))
        self.startJobs()
        resized = [self.queue.resize(2), self.queue.resize(1)]
        self.assertEqual(self.status()["workers"], 1)
        for change in resized:
            self.assertNoResult(change)
        self.runAll()
        for change in resized:
            self.successResultOf(change)
        self.assertEqual(self.status()["workers"], 1)

    def test_tooManyWorkers(self) -> None:
        """
        More workers than the limit on open files allows are rejected.
        """
        self.open(self.store, limits=QueueLimits(workers=2))
        self.start()
        failure = self.failureResultOf(self.queue.resize(3), errors.InvalidJob)
        self.assertIn("2 workers at most, not 3", failure.getErrorMessage())
        self.successResultOf(self.queue.resize(2))

    def test_shrinkAndGrow(self) -> None:
        """
        A change to more workers keeps those that were to end after their jobs.
        """
        self.open(self.store, numWorkers=2)
        self.start()
        self.submit(new("note", 1), new("note", 2))
        self.startJobs()
        shrunk = self.queue.resize(0)
        self.assertNoResult(shrunk)
        self.successResultOf(self.queue.resize(3))
        self.successResultOf(shrunk)
        self.assertEqual(self.status()["workers"], 3)
        self.assertEqual(len(self.slots), 3)
        self.runAll()
        self.assertEqual(self.ran, [1, 2])

    def test_shrinkMeetsStop(self) -> None:
        """
        A change that a stop overtakes fails.
        """
        self.start()
        self.submit(new("note", 1))
        self.startJobs()
        resized = self.queue.resize(0)
        stopped = self.queue.stop(0)
        self.reactor.advance(0)
        self.advance(15)
        self.failureResultOf(resized, errors.QueueStopping)
        self.successResultOf(stopped)

    def test_endsMeetsStop(self) -> None:
        """
        So does one whose workers end after the stop has begun.
        """
        self.start()
        self.submit(new("note", 1))
        self.startJobs()
        resized = self.queue.resize(0)
        with self.oneBatch():
            self.queue.stop(10)
            resizedAgain = self.queue._sender.put(lambda number: Resize(number, 1))
            quiesced = self.queue._sender.put(Quiesce)
        self.failureResultOf(resizedAgain, errors.QueueStopping)
        self.failureResultOf(quiesced, errors.QueueStopping)
        self.waiting.pop().step()
        self.failureResultOf(resized, errors.QueueStopping)

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
