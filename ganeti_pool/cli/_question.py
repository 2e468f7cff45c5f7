"""
Ask the person at the terminal.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from ._format import escapeControls
from ._session import Session
from ._streams import complain

__all__ = ["confirm"]


@implementer(IReadDescriptor)
class _Answer:
    """
    One line that is typed. The reactor goes on meanwhile: it sees Ctrl-C, and
    that the daemon closes a connection that is not used.

    @ivar line: fires with it; empty if there will be none.
    """

    def __init__(self, reactor: Any, descriptor: int) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self.line: Deferred[bytes] = Deferred(lambda _: reactor.removeReader(self))
        reactor.addReader(self)

    def fileno(self) -> int:
        """
        The terminal.
        """
        return self._descriptor

    def doRead(self) -> None:
        """
        Return was pressed, or Ctrl-D: a terminal gives whole lines.
        """
        self._reactor.removeReader(self)
        self.line.callback(os.read(self._descriptor, 1024))

    def connectionLost(self, reason: Failure) -> None:
        """
        The terminal is gone.
        """
        self._reactor.removeReader(self)
        self.line.callback(b"")

    def logPrefix(self) -> str:
        """
        For Twisted's log.
        """
        return "answer"


async def confirm(session: Session, question: str) -> bool:
    """
    Whether the person says yes.

    @param question: without a space at the end.
    """
    assert session.stdin is not None  # it is a terminal
    session.stderr.write(f"{escapeControls(question)} [y/N] ")
    session.stderr.flush()
    try:
        line = await _Answer(session.reactor, session.stdin.fileno()).line
    except Exception:
        # What is said next begins a line.
        complain("", session.stderr)
        raise
    if not line.endswith(b"\n"):
        complain("", session.stderr)
    return line.strip().lower() in (b"y", b"yes")
