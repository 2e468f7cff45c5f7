"""
Tests for the signals that end the command.
"""

from __future__ import annotations

import signal
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.cli._group import Verb
from ganeti_pool.cli._run import perform
from ganeti_pool.cli._session import Session
from ganeti_pool.cli._signals import watchSignals

from .case import CommandCase


class FakeReactor:
    """
    A reactor that notes how it is stopped.
    """

    def __init__(self) -> None:
        self.stopped: list[int] = []

    def sigTerm(self, number: int, frame: object = None) -> None:
        """
        Stop.
        """
        self.stopped.append(number)


class SignalTests(SynchronousTestCase):
    """
    Tests for L{watchSignals}.
    """

    def setUp(self) -> None:
        """
        The handlers of the tests' own process come back.
        """
        for number in (signal.SIGTERM, signal.SIGHUP):
            self.addCleanup(signal.signal, number, signal.getsignal(number))

    def test_stops(self) -> None:
        """
        SIGTERM and SIGHUP are noted and stop the reactor.
        """
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        reactor = FakeReactor()
        noted: list[int] = []
        watchSignals(reactor, noted.append)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(number)
        self.assertEqual(noted, [signal.SIGTERM, signal.SIGHUP])
        self.assertEqual(reactor.stopped, noted)

    def test_ignored(self) -> None:
        """
        A SIGHUP that is ignored stays ignored.
        """
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        watchSignals(FakeReactor(), bool)
        self.assertEqual(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)


class ExitCodeTests(CommandCase):
    """
    Tests for what a verb makes of a signal.
    """

    def perform(self, session: Session, todo: Verb) -> Any:
        """
        Run a verb that gets a signal when the test says so.
        """
        session.watchSignals = lambda reactor, note: self.noters.append(note)
        return perform(self.reactor, session, todo)

    def test_codes(self) -> None:
        """
        The exit code is 128 and the number of the first signal, and what goes on is said.
        """
        self.noters: list[Any] = []
        for numbers, code in (
            ([], 130),
            ([signal.SIGTERM], 143),
            ([signal.SIGHUP, signal.SIGTERM], 129),
        ):
            running = self.start("submit", "--wait", "ls")
            for number in numbers:
                self.noters[-1](number)
            self.interrupt()
            self.assertEqual(self.codeOf(running), code)
        self.assertIn("ganeti-pool: interrupted: job 3 goes on\n", self.err.text())
