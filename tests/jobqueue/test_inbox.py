"""
Tests for the dispatcher's inbox.
"""

from __future__ import annotations

import threading

from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.jobqueue._inbox import Inbox

TIMEOUT = 30.0


class InboxTests(SynchronousTestCase):
    """
    Tests for L{Inbox}.
    """

    def setUp(self) -> None:
        self.now = 100.0
        self.inbox = Inbox(0.05, lambda: self.now)

    def waits(self, timeout: float) -> list[float]:
        """
        Note for how long the inbox waits for items.
        """
        waited: list[float] = []
        get = self.inbox._items.get

        class Items:
            put = self.inbox._items.put
            get_nowait = self.inbox._items.get_nowait

            def get(self, block: bool, timeout: float) -> object:
                waited.append(timeout if block else 0)
                return get(False)

        self.inbox._items = Items()  # type: ignore[assignment]
        self.inbox.take(timeout)
        return waited

    def test_order(self) -> None:
        """
        Items are taken in order, all at once, and lazy ones after the others.
        """
        for number in range(3):
            self.inbox.put(number)
        self.inbox.putLazily("lazy")
        self.assertEqual(self.inbox.take(30), [0, 1, 2, "lazy"])
        self.assertEqual(self.inbox.take(0), [])

    def test_waits(self) -> None:
        """
        Without an item the inbox waits for as long as it is asked to.
        """
        self.assertEqual(self.waits(30.0), [30.0])

    def test_lazyItem(self) -> None:
        """
        With a lazy item it waits for a moment at most, and then gives the item.
        """
        self.inbox.putLazily("lazy")
        self.assertEqual(self.waits(30.0), [0.05])

    def test_wakes(self) -> None:
        """
        A lazy item wakes a dispatcher that would wait for longer, and does not wake one that
        wakes up soon anyway or that is at work.
        """
        for wakesAt, expected in ((0.0, True), (self.now + 0.05, True), (self.now + 0.06, False)):
            self.inbox._wakesAt = wakesAt
            self.inbox.putLazily("lazy")
            self.assertEqual(self.inbox._items.empty(), expected)
        self.assertEqual(self.inbox.take(0), ["lazy"] * 3)

    def test_wakesThread(self) -> None:
        """
        An item ends the wait of a thread, and so does a lazy one.
        """
        inbox = Inbox()
        for put in (inbox.put, inbox.putLazily):
            taken: list[object] = []
            waiting = threading.Event()

            def take(taken: list[object] = taken, waiting: threading.Event = waiting) -> None:
                waiting.set()
                taken.extend(inbox.take(TIMEOUT))

            thread = threading.Thread(target=take)
            thread.start()
            self.assertTrue(waiting.wait(TIMEOUT))
            put("item")
            thread.join(TIMEOUT)
            self.assertEqual(taken, ["item"])
