"""
Exponential backoff between retries.
"""

from __future__ import annotations

__all__ = ["Backoff"]


class Backoff:
    """
    The delays between the tries of one operation. Each delay is twice the one before, up to a
    longest one. There is no jitter: one daemon retries its own operations, so retries do not
    arrive in herds.

    Threads: not thread-safe. Each retry loop has its own.
    """

    def __init__(self, first: float, longest: float) -> None:
        """
        @param first: the delay before the second try, in seconds.
        @param longest: the longest delay, in seconds.
        """
        self._first = first
        self._longest = longest
        self._next = first

    def next(self) -> float:
        """
        Return the delay before the next try, in seconds.
        """
        delay = min(self._next, self._longest)
        # Bounded, so that it stays a finite number however often this is called.
        self._next = min(2 * delay, self._longest)
        return delay

    def reset(self) -> None:
        """
        Begin again with the first delay, because a try has succeeded.
        """
        self._next = self._first
