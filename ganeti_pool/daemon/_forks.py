"""
Release descriptors of the daemon in forked children.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress

__all__ = ["Descriptors", "releaseInChildren"]

Descriptors = Callable[[], Iterable[int]]
"""
Returns the descriptors that are open now; negative numbers are ignored.
"""

_sources: list[Descriptors] = []


def releaseInChildren(
    descriptors: Descriptors, register: Callable[..., object] = os.register_at_fork
) -> None:
    """
    Release some descriptors in each process that is forked from now on. A command closes
    them on C{exec}, but a worker class may fork without C{exec}. Such a child would hold
    the daemon's lock, its sockets and its clients' connections after the daemon dies, and
    the next start would be rejected.

    @param descriptors: called in the child.
    @param register: C{os.register_at_fork}.
    """
    if not _sources:
        register(after_in_child=_releaseAll)
    _sources.append(descriptors)


def _releaseAll() -> None:
    for descriptors in _sources:
        _release(descriptors())


def _release(descriptors: Iterable[int]) -> None:
    """
    Put the null device in the place of each. Closed numbers would be given to files of the
    child, and objects that the child has inherited might close them.
    """
    null = -1
    with suppress(OSError):  # no descriptor left
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in descriptors:
        if descriptor >= 0:
            with suppress(OSError):
                if null < 0:
                    os.close(descriptor)
                else:
                    os.dup2(null, descriptor, inheritable=False)
    if null >= 0:
        os.close(null)
