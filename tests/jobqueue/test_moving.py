"""
Tests for changes of priority.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from ganeti_pool import errors
from ganeti_pool.jobs import (
    Job,
)

from .queuecase import FULL, StartedCase, Worker, new


class PriorityTests(StartedCase):
    """
    Tests for L{JobQueue.changePriority}.
    """

    def order(self) -> list[object]:
        self.store.held = False
        self.store.failure = None
        self.store.commit()
        self.runAll()
        return self.ran

    def test_moves(self) -> None:
        """
        A queued job moves in the heap and in the store.
        """
        self.submit(new("note", 1), new("note", 2))
        self.assertEqual(self.successResultOf(self.queue.changePriority(2, -1)).priority, -1)
        self.assertEqual(self.job(2).priority, -1)
        self.assertEqual(self.order(), [2, 1])

    def test_notCommitted(self) -> None:
        """
        If the commit fails, the job is where it was.
        """
        self.submit(new("note", 1), new("note", 2), new("note", 3))
        self.store.failure = FULL
        self.failureResultOf(self.queue.changePriority(2, -1), errors.StoreFull)
        self.assertEqual(self.order(), [1, 2, 3])

    def test_twoAtOnce(self) -> None:
        """
        Two changes of one job are made one after the other, so that the second
        stands though the first has failed.
        """
        self.submit(new("note", 1), new("note", 2), new("note", 3))
        self.store.held = True
        first = self.queue.changePriority(2, 10)
        second = self.queue.changePriority(2, -10)
        self.store.failure = FULL
        self.store.commit()
        self.store.failure = None
        self.failureResultOf(first, errors.StoreFull)
        self.assertNoResult(second)
        self.store.commit()
        self.assertEqual(self.successResultOf(second).priority, -10)
        self.assertEqual(self.order(), [2, 1, 3])
        self.assertEqual(self.queue._runs.turns._lines, {})

    def test_laterFails(self) -> None:
        """
        If the later of two fails, the job stays where the first has put it.
        """
        self.submit(new("note", 1), new("note", 2), new("note", 3))
        self.successResultOf(self.queue.changePriority(2, -10))
        self.store.failure = FULL
        self.failureResultOf(self.queue.changePriority(2, 10), errors.StoreFull)
        self.assertEqual(self.order(), [2, 1, 3])

    def test_notQueued(self) -> None:
        """
        A job that runs, has ended, or never was, cannot be moved.
        """
        refused: list[str] = []

        def task(worker: Worker) -> None:
            failure = self.failureResultOf(self.queue.changePriority(1, 5), errors.JobNotQueued)
            refused.append(failure.value.state)

        self.tasks["move"] = task
        self.submit(new("move"))
        self.step()
        failure = self.failureResultOf(self.queue.changePriority(1, 5), errors.JobNotQueued)
        self.assertEqual([*refused, failure.value.state], ["running", "succeeded"])
        self.failureResultOf(self.queue.changePriority(2, 5), errors.NoSuchJob)

    def test_justTaken(self) -> None:
        """
        A job that a worker has taken is not queued, though its start is not
        committed yet.
        """
        self.submit(new("note", 1))
        changes: list[Deferred[Job]] = []

        def change() -> None:
            self.store.failure = FULL
            self.store.commit()
            # now the start rests, and the job is queued in the store
            changes.append(self.queue.changePriority(1, 5))
            self.store.failure = None
            self.reactor.advance(1)

        self.hold(change)
        self.step()
        failure = self.failureResultOf(changes[0], errors.JobNotQueued)
        self.assertEqual(failure.value.state, "running")
        self.assertEqual(self.ran, [1])

    def test_startWaits(self) -> None:
        """
        A start waits for a change that is being committed; if that fails, there is
        nothing to put back.
        """
        self.submit(new("note", 1))
        self.store.held = True
        change = self.queue.changePriority(1, 5)

        def refuse() -> None:
            self.store.failure = FULL
            self.store.commit()
            self.store.failure = None

        self.meanwhile = [refuse]
        self.step()
        self.failureResultOf(change, errors.StoreFull)
        self.assertEqual((self.ran, self.job().priority), ([1], 0))
