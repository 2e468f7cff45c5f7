"""
Tests for a worker that takes its next job while the end of its last is recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail

from ganeti_pool import errors
from ganeti_pool.jobqueue._handover import Ask
from ganeti_pool.jobs import Job, JobFailure, JobState, OnCrash, OutputSize, currentAttempt
from ganeti_pool.testing import MemoryJobStore

from .queuecase import FULL, QueueCase, Worker, new


class HandingInTests(QueueCase):
    """
    Tests for outcomes that are on their way to the store.
    """

    def setUp(self) -> None:
        super().setUp()
        self.start()
        self.isPosting = True

    def states(self, *jobIDs: int) -> list[str]:
        return [self.job(jobID).state.value for jobID in jobIDs]

    def refuse(self, failure: Exception, times: int = 1) -> None:
        """
        Have the store not take the next outcome.
        """
        original = self.store.finishAttempt
        left = [failure] * times

        def write(*args: Any) -> Deferred[Job]:
            return fail(left.pop()) if left else original(*args)

        self.store.finishAttempt = write  # type: ignore[assignment,method-assign]

    def test_oneCommit(self) -> None:
        """
        The outcome of a job and the start of the next on its worker are one commit,
        and the next runs after it.
        """
        seen: list[object] = []

        def end(worker: Worker) -> None:
            self.store.held = True

        def note(worker: Worker) -> None:
            seen.append(self.states(1, 2))

        self.tasks.update(end=end, see=note)
        self.submit(new("end"), new("see"))
        self.stepping.step()
        self.assertEqual(self.states(1, 2), ["running", "queued"])
        self.meanwhile.append(lambda: seen.append(len(self.store._waiting)))
        self.stepping.step()
        self.assertEqual(seen, [2, ["succeeded", "running"]])

    def test_failures(self) -> None:
        """
        So is a failure.
        """

        def end(worker: Worker) -> None:
            self.store.held = True
            raise ValueError()

        self.tasks["end"] = end
        self.submit(new("end"), new("note", 2))
        self.stepping.step()
        self.assertEqual((self.states(1, 2), self.ran), (["running", "queued"], []))
        self.stepping.step()
        self.assertEqual((self.states(1), self.ran), (["failed"], [2]))
        self.flushLoggedErrors(ValueError)

    def test_holdsItsWorker(self) -> None:
        """
        While an outcome cannot be written, the next job of its worker does not start,
        though its start could be written.
        """
        self.submit(new("note", 1), new("note", 2))
        self.refuse(FULL, 2)
        self.stepping.step()
        self.assertEqual(self.status()["store"]["unwritten"], 1)
        seen: list[object] = []

        def meanwhile(seconds: float) -> Callable[[], None]:
            def look() -> None:
                seen.append((self.states(1, 2), list(self.ran)))
                self.reactor.advance(seconds)

            return look

        self.meanwhile += [meanwhile(1), meanwhile(2)]
        self.stepping.step()
        self.assertEqual(seen, [(["running", "queued"], [1])] * 2)
        self.assertEqual((self.states(1, 2), self.ran), (["succeeded", "queued"], [1]))
        self.stepping.step()
        self.assertEqual((self.states(2), self.ran), (["succeeded"], [1, 2]))
        self.assertEqual(self.status()["store"]["unwritten"], 0)

    def holdUp(self, *meanwhile: Callable[[], object], times: int = 1) -> None:
        """
        Have a worker end job 1, take job 2, and find that the outcome of job 1 cannot
        be written for some time.

        @param meanwhile: is done while it waits, before that is written.
        """
        self.refuse(FULL, times)
        self.stepping.step()
        self.meanwhile += [*meanwhile, lambda: self.reactor.advance(1)]
        self.stepping.step()

    def test_waitsInItsPlace(self) -> None:
        """
        A job that cannot start since its worker waits is started by the next worker
        that is free, before those behind it; and if its time is limited, that begins
        then.
        """
        self.open(MemoryJobStore(), numWorkers=2)
        self.start()
        seen: list[object] = []

        def look() -> None:
            status = self.status()
            seen.append((self.states(1, 2), status["busy"], dict(self.queue.waiting)))
            # the next try of the outcome, and nothing for the time of job 2
            self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
            # What a worker has handed in is known by its thread.
            other = Thread(target=self.stepping.step)
            other.start()
            other.join(10)
            seen.append(list(self.ran))

        self.submit(new("note", 1), new("note", 2, timeout=5.0), new("note", 3, priority=5))
        self.submit(new("note", 4))
        self.holdUp(look)
        self.assertEqual(seen, [(["running", "queued"], 1, {0: 2, 5: 1}), [1, 2]])
        self.assertEqual(self.states(1, 2), ["succeeded"] * 2)
        self.stepping.runAll()
        self.assertEqual(self.ran, [1, 2, 4, 3])
        self.assertEqual(self.told().count((2, "started")), 1)
        self.assertEqual(dict(self.queue.waiting), {})

    def test_wakesAnother(self) -> None:
        """
        A worker that has nothing to do is woken for it.
        """
        self.open(MemoryJobStore(), numWorkers=2)
        self.start()
        self.submit(new("note", 1))
        self.refuse(FULL)
        self.stepping.runAll()
        self.submit(new("note", 2))

        def look() -> None:
            other = Thread(target=self.stepping.step)
            other.start()
            other.join(10)
            seen.append(list(self.ran))
            self.reactor.advance(1)

        seen: list[object] = []
        self.meanwhile.append(look)
        self.stepping.step()
        self.assertEqual(seen, [[1, 2]])

    def test_movedMeanwhile(self) -> None:
        """
        Meanwhile it can be moved, as any that waits.
        """
        self.submit(new("note", 1), new("note", 2), new("note", 3))
        self.holdUp(lambda: self.successResultOf(self.queue.changePriority(2, 7)))
        self.stepping.runAll()
        self.assertEqual(self.ran, [1, 3, 2])

    def test_cancelledMeanwhile(self) -> None:
        """
        It can be cancelled as one that waits.
        """
        self.submit(new("note", 1), new("note", 2))
        self.holdUp(lambda: self.successResultOf(self.queue.cancel(2)))
        self.stepping.runAll()
        self.assertEqual((self.ran, self.states(2)), ([1], ["cancelled"]))

    def test_pausedMeanwhile(self) -> None:
        """
        If the queue is paused meanwhile, it starts no more.
        """
        self.submit(new("note", 1), new("note", 2))
        self.holdUp(lambda: self.successResultOf(self.queue.setActive(False)))
        self.stepping.runAll()
        self.assertEqual((self.ran, self.states(1, 2)), ([1], ["succeeded", "queued"]))
        self.successResultOf(self.queue.setActive(True))
        self.stepping.runAll()
        self.assertEqual(self.ran, [1, 2])

    def test_stoppedMeanwhile(self) -> None:
        """
        If the queue is told to stop, it is for the next daemon, as it is.
        """
        self.submit(new("note", 1), new("note", 2))
        stopped: list[Deferred[None]] = []
        self.holdUp(lambda: stopped.append(self.queue.stop(60)))
        self.stepping.runAll()
        self.reactor.run()
        self.successResultOf(stopped[0])
        self.restart()
        self.assertEqual(self.job(2).attempt, 0)
        self.stepping.runAll()
        self.assertEqual((self.ran, self.states(1, 2)), ([1, 2], ["succeeded"] * 2))

    def test_quiesceMeanwhile(self) -> None:
        """
        Who waits for quiet waits for it too, and not for what came later.
        """
        self.open(MemoryJobStore(), numWorkers=2)
        self.start()
        quiet: list[Deferred[None]] = []

        def see(worker: Worker) -> None:
            self.reactor.run()
            self.ran.append(quiet[0].called)

        self.tasks["see"] = see
        self.submit(new("note", 1), new("see"))
        self.refuse(FULL)
        self.stepping.step()
        # asked when the worker has taken the job, and before it asks to start that
        make = self.queue._output.make

        def makeAndAsk(jobID: int, attempt: int) -> None:
            if not quiet:
                quiet.append(self.queue.quiesce())
                self.submit(new("see"))
            make(jobID, attempt)

        self.patch(self.queue._output, "make", makeAndAsk)
        self.meanwhile.append(lambda: self.reactor.advance(1))
        self.stepping.step()
        self.reactor.run()
        self.stepping.runAll()
        self.assertEqual(self.ran, [1, False, True])

    def test_nothingCanBeWritten(self) -> None:
        """
        If neither can be written, its worker waits for the outcome alone.
        """
        self.submit(new("note", 1), new("note", 2))
        self.tasks["fill"] = lambda worker: setattr(self.store, "failure", FULL)
        self.submit(new("fill", priority=-1))
        self.stepping.step()

        def look() -> None:
            self.assertEqual(self.states(3, 1), ["running", "queued"])
            self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
            self.store.failure = None
            self.reactor.advance(1)

        self.meanwhile.append(look)
        self.stepping.runAll()
        self.assertEqual((self.ran, self.states(1, 2, 3)), ([1, 2], ["succeeded"] * 3))

    def test_poolThatHasEnded(self) -> None:
        """
        If the pool has ended meanwhile, the job is for the next daemon.
        """
        self.submit(new("note", 1), new("note", 2))
        self.refuse(FULL)
        self.stepping.step()
        make = self.queue._output.make

        def makeAndEnd(jobID: int, attempt: int) -> None:
            self.pool.terminateWorkers()
            make(jobID, attempt)

        self.patch(self.queue._output, "make", makeAndEnd)
        self.meanwhile.append(lambda: self.reactor.advance(1))
        self.stepping.step()
        self.assertIsNone(self.queue._roster.find(2))
        self.assertEqual((self.ran, self.states(1, 2)), ([1], ["succeeded", "queued"]))

    def test_outcomeKeptUnheard(self) -> None:
        """
        If the store has kept the outcome, and calls that a failure, the next job runs.
        """
        original = self.store.finishAttempt

        def write(*args: Any) -> Deferred[Job]:
            self.store.finishAttempt = original  # type: ignore[method-assign]
            original(*args)
            return fail(FULL)

        self.store.finishAttempt = write  # type: ignore[assignment,method-assign]
        self.submit(new("note", 1), new("note", 2))
        self.stepping.step()
        self.stepping.step()
        self.assertEqual((self.ran, self.states(1, 2)), ([1, 2], ["succeeded"] * 2))
        self.reactor.advance(1)
        self.assertEqual(self.queue._roster.running, {})

    def test_badResult(self) -> None:
        """
        One whose result cannot be stored fails before the next job runs.
        """
        self.tasks["set"] = lambda worker: {1, 2}
        self.tasks["see"] = lambda worker: self.ran.append(self.states(1))
        self.submit(new("set"), new("see"))
        self.stepping.runAll()
        self.assertError(1, JobState.FAILED, "bad_result")
        self.assertEqual(self.ran, [["failed"]])

    def test_busy(self) -> None:
        """
        A worker is busy with the job that it runs, or with the one whose outcome
        cannot be written, and not with one whose outcome is on its way.
        """
        busy: list[int] = []
        self.tasks["see"] = lambda worker: busy.append(self.status()["busy"])
        self.submit(new("see"), new("see"))
        self.store.held = True
        self.meanwhile.append(self.store.commit)
        self.stepping.step()
        self.assertEqual(self.status()["busy"], 0)
        self.stepping.step()
        self.release()
        self.assertEqual(busy, [1, 1])
        self.store.failure = FULL
        self.submitUnwritten()
        self.assertEqual(self.status()["busy"], 1)
        self.store.failure = None
        self.reactor.advance(1)
        self.assertEqual(self.status()["busy"], 0)

    def submitUnwritten(self) -> None:
        """
        Have a job end when nothing can be written.
        """
        failure, self.store.failure = self.store.failure, None

        def end(worker: Worker) -> None:
            self.store.failure = failure

        self.tasks["end"] = end
        self.submit(new("end"))
        self.stepping.step()

    def test_cancelled(self) -> None:
        """
        A job whose outcome is on its way is cancelled too late.
        """
        self.submit(new())
        self.hold(self.store.commit)
        self.stepping.step()
        cancelled = self.queue.cancel(1)
        self.release()
        self.failureResultOf(cancelled, errors.JobFinished)

    def test_quiesce(self) -> None:
        """
        Whoever waits for quiet waits for an outcome that is on its way.
        """
        self.submit(new())
        self.hold(self.store.commit)
        self.stepping.step()
        quiet = [self.queue.quiesce(), self.queue.quiesce()]
        self.reactor.run()
        self.assertNoResult(quiet[0])
        quiet[1].cancel()
        self.failureResultOf(quiet[1], CancelledError)
        self.assertEqual(len(self.queue._roster._waiters), 1)
        # what comes later is not waited for
        self.store.held = False
        later = self.queue.submit([new()])
        self.store.commit()
        self.successResultOf(later)
        self.successResultOf(quiet[0])
        self.assertEqual(self.queue._fences, set())
        self.assertEqual(self.queue._roster._waiters, {})

    def test_quiesceSeveral(self) -> None:
        """
        It waits for each of them.
        """
        self.open(MemoryJobStore(), numWorkers=2)
        self.start()
        self.runNested()
        self.submit(new("nested"), new())
        self.hold(self.store.commit, self.store.commit)
        self.stepping.step()
        quiet = self.queue.quiesce()
        self.reactor.run()
        (first, *rest) = self.store._waiting
        self.store._waiting = [first]
        self.store.commit()
        self.store._waiting = rest
        self.assertNoResult(quiet)
        self.release()
        self.successResultOf(quiet)

    def test_whileSomebodyWaits(self) -> None:
        """
        While somebody waits for quiet, a worker is busy until its outcome is recorded.
        """
        self.submit(new("note", 1))
        quiet = self.queue.quiesce()
        self.submit(new("note", 2))
        seen: list[object] = []

        def meanwhile() -> None:
            self.reactor.run()
            seen.append((self.queue._core.HasRunningTasks(), quiet.called))
            self.release()

        self.hold(self.store.commit, meanwhile)
        self.stepping.step()
        self.assertEqual(seen, [(True, False)])
        self.reactor.run()
        self.successResultOf(quiet)

    def test_stopWhileQuiescing(self) -> None:
        """
        A stop lets go who waits for an outcome that is on its way.
        """
        self.submit(new())
        self.hold(self.store.commit)
        self.stepping.step()
        quiet = self.queue.quiesce()
        self.reactor.run()
        stopped = self.queue.stop(10)
        self.failureResultOf(quiet, errors.QueueStopping)
        self.reactor.run()
        self.assertNoResult(stopped)
        self.release()
        self.reactor.run()
        self.successResultOf(stopped)
        self.assertEqual(self.store.reopened()._journal.jobs[1].state, JobState.SUCCEEDED)

    def closeMeanwhile(self, **fields: Any) -> None:
        """
        Have the queue stop, and give up, while an outcome cannot be written and the
        next job of its worker waits for that.
        """
        self.submit(new("note", 1), new("note", 2, **fields))
        self.refuse(FULL, 100)
        self.stepping.step()
        stops: list[Deferred[None]] = []

        def stop() -> None:
            self.meanwhile += [lambda: self.reactor.advance(15)] * 3
            stops.append(self.queue.stop(10))

        self.meanwhile.append(stop)
        self.stepping.step()
        self.assertEqual(self.ran, [1])
        self.reactor.run()
        self.successResultOf(stops[0])
        self.flushLoggedErrors(errors.StoreError)

    def test_closed(self) -> None:
        """
        If the outcome cannot be written for good, the next job does not run; the next
        daemon settles both.
        """
        self.closeMeanwhile(onCrash=OnCrash.RETRY, maxAttempts=2)
        self.restart()
        self.stepping.runAll()
        self.assertEqual(self.ran, [1, 2])
        self.assertError(1, JobState.FAILED, "interrupted")
        self.assertEqual(self.states(2), ["succeeded"])

    def test_closedWhileSomebodyWaits(self) -> None:
        """
        That is logged once, also while somebody waits for quiet.
        """
        self.submit(new("note", 1))
        self.queue.quiesce().addErrback(lambda _: None)
        self.refuse(FULL, 100)
        self.queue._journal.close()
        self.stepping.step()
        self.assertEqual(len(self.flushLoggedErrors(errors.StoreError)), 1)

    def test_fault(self) -> None:
        """
        A fault of the store is logged, and the job has failed; it is none of the next.
        """
        self.submit(new("note", 1), new("note", 2))
        self.refuse(ZeroDivisionError("no"))
        self.stepping.runAll()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.assertError(1, JobState.FAILED, "bad_result").message, "no")
        self.assertEqual((self.states(2), self.ran), (["succeeded"], [1, 2]))

    def test_nothingStorable(self) -> None:
        """
        If what says that an outcome cannot be stored cannot be either, a failure is
        recorded that has nothing of it.
        """
        self.tasks["end"] = lambda worker: self.recordOutput()
        self.submit(new("end"), new("note", 2))
        self.refuse(errors.InvalidArgument("it cannot be stored"), 2)
        self.stepping.runAll()
        self.assertError(1, JobState.FAILED, "bad_result")
        self.assertIsNone(self.job().output)
        self.assertEqual(self.ran, [2])

    def recordOutput(self) -> None:
        attempt = currentAttempt.get()
        assert attempt is not None
        attempt.recordOutput({"stdout": OutputSize(5, False)})

    def test_badResultKeepsOutput(self) -> None:
        """
        What was kept of the output of one whose result cannot be stored is recorded.
        """

        def end(worker: Worker) -> object:
            self.recordOutput()
            return {1, 2}

        self.tasks["end"] = end
        self.submit(new("end"))
        self.stepping.step()
        self.assertError(1, JobState.FAILED, "bad_result")
        self.assertEqual(self.job().output, {"stdout": OutputSize(5, False)})

    def giveUp(self, failure: Exception, times: int) -> None:
        """
        Have the store take the outcome of a job for none of its tries, and see that
        nobody waits for that.
        """
        self.submit(new("note", 1), new("note", 2))
        self.refuse(failure, times)
        self.stepping.runAll()
        self.assertEqual((self.states(1, 2), self.ran), (["running", "succeeded"], [1, 2]))
        self.assertEqual(self.queue._roster.running, {})
        quiet = self.queue.quiesce()
        stopped = self.queue.stop(60)
        self.reactor.run()
        self.assertTrue(quiet.called)
        self.failureResultOf(quiet, errors.QueueStopping)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_givenUp(self) -> None:
        """
        What cannot be recorded in any form is logged, and is for the next daemon:
        neither a worker, nor who waits for quiet, nor a stop waits for it.
        """
        self.giveUp(errors.InvalidArgument("it cannot be stored"), 3)
        self.assertEqual(len(self.flushLoggedErrors(errors.InvalidArgument)), 1)

    def test_givenUpAfterFaults(self) -> None:
        """
        So is what meets one fault after another.
        """
        self.giveUp(ZeroDivisionError(), 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_insteadIsStale(self) -> None:
        """
        What says that an outcome cannot be stored is dropped if another is first.
        """
        original = self.store.finishAttempt

        def write(*args: Any) -> Deferred[Job]:
            self.store.finishAttempt = original  # type: ignore[method-assign]
            original(*args)
            return fail(errors.InvalidArgument("no"))

        self.store.finishAttempt = write  # type: ignore[assignment,method-assign]
        self.submit(new("note", 1))
        self.stepping.step()
        self.assertEqual(self.states(1), ["succeeded"])
        self.assertEqual(self.queue._roster.running, {})

    def test_unspeakable(self) -> None:
        """
        Whatever an exception does when it is asked for its failure or its text, its
        job has failed, and the next one runs.
        """

        class Unspeakable(Exception):
            @property
            def failure(self) -> object:
                raise KeyError("lazy")

            def __str__(self) -> str:
                raise KeyError("text")

        def end(worker: Worker) -> None:
            raise Unspeakable()

        self.tasks["end"] = end
        self.submit(new("end"), new("note", 2))
        self.stepping.runAll()
        error = self.assertError(1, JobState.FAILED, "exception")
        self.assertTrue(error.message.startswith("Unspeakable: "), error.message)
        self.assertEqual(self.ran, [2])
        self.flushLoggedErrors(Unspeakable)

    def test_speaksOnItsThread(self) -> None:
        """
        An exception is asked before anything is put on the reactor thread.
        """
        threads: list[bool] = []
        inErrand: list[bool] = []

        class Speaking(Exception):
            @property
            def failure(self) -> object:
                threads.append(bool(inErrand))
                return JobFailure("spoken", "it was asked")

        post = self.post

        def posting(ask: Ask) -> None:
            inErrand.append(True)
            post(ask)

        self.patch(self, "post", posting)

        def end(worker: Worker) -> None:
            raise Speaking()

        self.tasks["end"] = end
        self.submit(new("end"))
        self.stepping.step()
        self.assertError(1, JobState.FAILED, "spoken")
        self.assertEqual(threads, [False])

    def test_handedInTooLate(self) -> None:
        """
        An attempt that is found to be over before its end comes to the reactor's
        thread has nothing to record.
        """
        post = self.post

        def forgetting(ask: Ask) -> None:
            self.queue._runs.forget(self.task())
            post(ask)

        self.patch(self, "post", forgetting)
        self.submit(new("note", 1))
        self.stepping.step()
        self.assertEqual(self.states(1), ["running"])
        self.assertEqual(self.posted, [None])
