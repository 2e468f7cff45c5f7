"""
Tests for who does not wait any more for what the queue is asked to do.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from ganeti_pool.errors import StoreFull
from ganeti_pool.jobs import JobState

from .queuecase import StartedCase, new


class GivenUpTests(StartedCase):
    """
    Tests for Deferreds that are cancelled.
    """

    def giveUp(self, ask: Callable[[], Deferred[Any]]) -> None:
        """
        Ask for something, do not wait for it, and let it be committed.
        """
        self.store.held = True
        asked = ask()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.release()

    def test_submit(self) -> None:
        """
        Jobs that were added run.
        """
        self.giveUp(lambda: self.queue.submit([new("note", 1)]))
        self.assertEqual(dict(self.queue.waiting), {0: 1})
        self.runAll()
        self.assertEqual(self.ran, [1])

    def test_failure(self) -> None:
        """
        What cannot be written is nobody's, and has no effect.
        """
        self.store.failure = StoreFull("the disk is full")
        self.giveUp(lambda: self.queue.submit([new()]))
        self.assertEqual((dict(self.queue.waiting), self.takeEvents()), ({}, []))
        # What nobody has taken is logged when all have let go of it.
        self.store.failure = None
        gc.collect()

    def test_cancel(self) -> None:
        """
        A job that was cancelled does not wait, and does not run.
        """
        self.submit(new("note", 1))
        self.giveUp(lambda: self.queue.cancel(1))
        self.assertEqual(self.takeEvents(), [(1, "submitted"), (1, "finished")])
        self.assertEqual(dict(self.queue.waiting), {})
        self.runAll()
        self.assertEqual((self.ran, self.job().state), ([], JobState.CANCELLED))

    def test_changePriority(self) -> None:
        """
        A job that was moved has moved.
        """
        self.submit(new("note", 1), new("note", 2))
        self.giveUp(lambda: self.queue.changePriority(1, 5))
        self.assertEqual(dict(self.queue.waiting), {0: 1, 5: 1})
        self.runAll()
        self.assertEqual(self.ran, [2, 1])

    def test_retry(self) -> None:
        """
        A job that is to start once more does.
        """
        self.submit(new("note", 1))
        self.successResultOf(self.queue.cancel(1))
        self.giveUp(lambda: self.queue.retry(1))
        self.runAll()
        self.assertEqual(self.ran, [1])

    def test_remove(self) -> None:
        """
        What a job has written that was removed is removed.
        """
        self.submit(new("note", 1))
        self.runAll()
        self.giveUp(lambda: self.queue.remove(1))
        self.assertEqual(self.removed, [["output/1"]])

    def test_setActive(self) -> None:
        """
        A pause is one.
        """
        self.giveUp(lambda: self.queue.setActive(False))
        self.assertFalse(self.status()["active"])

    def test_resize(self) -> None:
        """
        Workers come and go.
        """
        asked = self.queue.resize(3)
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.reactor.run()
        self.assertEqual(self.status()["workers"], 3)
