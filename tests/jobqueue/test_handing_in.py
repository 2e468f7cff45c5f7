"""
Tests for a worker that takes its next job while the end of its last is recorded.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError

from ganeti_pool import errors
from ganeti_pool.jobs import JobState
from ganeti_pool.testing import MemoryJobStore

from .outcomecase import OutcomeCase
from .queuecase import FULL, Worker, new


class HandingInTests(OutcomeCase):
    """
    Tests for outcomes that are on their way to the store.
    """

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
        self.step()
        self.assertEqual(self.states(1, 2), ["running", "queued"])
        self.meanwhile.append(lambda: seen.append(len(self.store._waiting)))
        self.step()
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
        self.step()
        self.assertEqual((self.states(1, 2), self.ran), (["running", "queued"], []))
        self.step()
        self.assertEqual((self.states(1), self.ran), (["failed"], [2]))
        self.flushLoggedErrors(ValueError)

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
        self.step()
        self.assertEqual(self.status()["busy"], 0)
        self.step()
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
        self.step()

    def test_cancelled(self) -> None:
        """
        A job whose outcome is on its way is cancelled too late.
        """
        self.submit(new())
        self.hold(self.store.commit)
        self.step()
        cancelled = self.queue.cancel(1)
        self.release()
        self.failureResultOf(cancelled, errors.JobFinished)

    def test_quiesce(self) -> None:
        """
        Whoever waits for quiet waits for an outcome that is on its way.
        """
        self.submit(new())
        self.hold(self.store.commit)
        self.step()
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
        self.assertEqual(self.status()["quiesces"]["count"], 0)
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
        self.step()
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
        self.step()
        self.assertEqual(seen, [(True, False)])
        self.reactor.run()
        self.successResultOf(quiet)

    def test_stopWhileQuiescing(self) -> None:
        """
        A stop lets go who waits for an outcome that is on its way.
        """
        self.submit(new())
        self.hold(self.store.commit)
        self.step()
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

    def test_closedWhileSomebodyWaits(self) -> None:
        """
        That is logged once, also while somebody waits for quiet.
        """
        self.submit(new("note", 1))
        self.queue.quiesce().addErrback(lambda _: None)
        self.refuse(FULL, 100)
        self.queue._journal.close()
        self.step()
        self.assertEqual(len(self.flushLoggedErrors(errors.StoreError)), 1)
