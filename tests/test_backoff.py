"""
Tests for L{ganeti_pool.backoff}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.backoff import Backoff


class BackoffTests(SynchronousTestCase):
    """
    Tests for L{Backoff}.
    """

    def test_doublesUpToTheLongest(self) -> None:
        """
        Each delay is twice the one before, and the longest one repeats.
        """
        backoff = Backoff(1.0, 5.0)
        self.assertEqual([backoff.next() for _ in range(5)], [1.0, 2.0, 4.0, 5.0, 5.0])

    def test_neverLongerThanTheLongest(self) -> None:
        """
        The first delay is not longer than the longest one either.
        """
        self.assertEqual(Backoff(8.0, 5.0).next(), 5.0)

    def test_manyTries(self) -> None:
        """
        The delay is the longest one after any number of tries.
        """
        backoff = Backoff(0.1, 2.0)
        self.assertEqual({backoff.next() for _ in range(5_000)}, {0.1, 0.2, 0.4, 0.8, 1.6, 2.0})

    def test_reset(self) -> None:
        """
        After a reset the delays begin with the first one again.
        """
        backoff = Backoff(1.0, 5.0)
        for _ in range(3):
            backoff.next()
        backoff.reset()
        self.assertEqual([backoff.next(), backoff.next()], [1.0, 2.0])
