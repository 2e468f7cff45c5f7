"""
What a measurement raises if a program that it needs is not there.
"""

from __future__ import annotations

__all__ = ["NotInstalled"]


class NotInstalled(Exception):
    """
    A program is not installed.

    @ivar name: the program, as the report names it.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
