"""
Tests for a worker that takes its next job while the end of its last is recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail

from ganeti_pool import errors
from ganeti_pool.jobs import Job, JobState, OnCrash
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
        While an outcome cannot be written, the next job of its worker does not run,
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
        self.assertEqual(seen, [(["running", "running"], [1])] * 2)
        self.assertEqual((self.states(1, 2), self.ran), (["succeeded"] * 2, [1, 2]))
        self.assertEqual(self.status()["store"]["unwritten"], 0)

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
        A fault of the store is logged, and is none of the next job.
        """
        self.submit(new("note", 1), new("note", 2))
        self.refuse(ZeroDivisionError())
        self.stepping.runAll()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((self.states(2), self.ran), (["succeeded"], [1, 2]))
