"""
Tests for changes of priority.
"""

from __future__ import annotations

from ganeti_pool import errors

from .queuecase import FULL, StartedCase, Worker, new


class PriorityTests(StartedCase):
    """
    Tests for L{JobQueue.changePriority}.
    """

    def order(self) -> list[object]:
        """
        Run all jobs, and return their arguments in order.
        """
        self.recover()
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
        If the commit fails, the job stays in its place.
        """
        self.submit(new("note", 1), new("note", 2), new("note", 3))
        self.store.failure = FULL
        self.failureResultOf(self.queue.changePriority(2, -1), errors.StoreFull)
        self.assertEqual(self.order(), [1, 2, 3])

    def test_backAndForth(self) -> None:
        """
        Of two changes in one batch the second stands; and both are undone if the commit fails.
        """
        self.submit(new("note", 1), new("note", 2), new("note", 3))
        self.store.failure = FULL
        with self.oneBatch():
            refused = [self.queue.changePriority(2, 10), self.queue.changePriority(2, 0)]
        for change in refused:
            self.failureResultOf(change, errors.StoreFull)
        self.recover()
        with self.oneBatch():
            first = self.queue.changePriority(2, 10)
            second = self.queue.changePriority(2, -10)
        self.assertEqual(self.successResultOf(first).priority, 10)
        self.assertEqual(self.successResultOf(second).priority, -10)
        self.assertEqual(self.order(), [2, 1, 3])

    def test_laterFails(self) -> None:
        """
        If a later change fails, the job stays where an earlier one has put it.
        """
        self.submit(new("note", 1), new("note", 2), new("note", 3))
        self.successResultOf(self.queue.changePriority(2, -10))
        self.store.failure = FULL
        self.failureResultOf(self.queue.changePriority(2, 10), errors.StoreFull)
        self.assertEqual(self.order(), [2, 1, 3])

    def test_notQueued(self) -> None:
        """
        A job that runs, has ended, or does not exist cannot be moved.
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

    def test_besideATakenJob(self) -> None:
        """
        A change that shares its batch with the start of jobs is decided first.
        """
        self.submit(new("note", 1), new("note", 2))
        with self.oneBatch(mayStart=True):
            moved = self.queue.changePriority(2, -1)
        self.assertEqual(self.successResultOf(moved).priority, -1)
        self.assertEqual(self.states(1, 2), ["queued", "running"])
        self.assertEqual(self.order(), [2, 1])
