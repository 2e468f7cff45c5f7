"""
Tests for L{ganeti_pool.daemon.Notifier}.
"""

from __future__ import annotations

import os
import tempfile

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.daemon import Notifier

from .managercase import FakeManager


class NotifierTests(SynchronousTestCase):
    """
    Tests for L{Notifier}.
    """

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(dir="/tmp")
        self.addCleanup(directory.cleanup)
        self.address = f"{directory.name}/notify"
        self.manager = FakeManager(self.address)
        self.addCleanup(self.manager.close)
        self.clock = Clock()

    def notifier(self, **environment: str) -> Notifier:
        """
        A notifier of a process with this environment, in which there is the manager's
        socket unless something else is given for it.
        """
        variables = {"NOTIFY_SOCKET": self.address, **environment}
        notifier = Notifier.fromEnvironment(self.clock, variables)
        self.assertEqual(variables, {})
        self.addCleanup(notifier.close)
        return notifier

    def flood(self, notifier: Notifier) -> int:
        """
        Tell the manager something until there is no more room.

        @return: how often it has room for.
        """
        count = 0
        while not self.clock.getDelayedCalls():
            notifier.failed("again")
            count += 1
        return count - 1

    def test_inOrder(self) -> None:
        """
        The manager hears that the daemon is ready, and that it stops; each with a line
        for people, the latter with the time that it takes.
        """
        notifier = self.notifier()
        self.assertIsNone(self.manager.hear())
        notifier.ready("Ready for jobs")
        notifier.stopping("Stopping", 62.5)
        self.assertEqual(self.manager.hear(), ["READY=1", "STATUS=Ready for jobs"])
        self.assertEqual(
            self.manager.hear(), ["STOPPING=1", "STATUS=Stopping", "EXTEND_TIMEOUT_USEC=62500000"]
        )
        self.assertIsNone(self.manager.hear())

    def test_failed(self) -> None:
        """
        It hears why a daemon cannot start, in one line.
        """
        notifier = self.notifier()
        notifier.failed("it cannot\nREADY=1")
        self.assertEqual(self.manager.hear(), ["STATUS=it cannot READY=1"])
        notifier.stopping("it cannot\nREADY=1", 1)
        self.assertEqual(
            (self.manager.hear() or [])[:2], ["STOPPING=1", "STATUS=it cannot READY=1"]
        )

    def test_noText(self) -> None:
        """
        A path that is not valid UTF-8 does not keep the manager from being told.
        """
        self.notifier().failed("/tmp/a\udcff is open")
        self.assertEqual(self.manager.hear(), [r"STATUS=/tmp/a\udcff is open"])

    def test_delayed(self) -> None:
        """
        While the start is delayed, the manager is asked again and again to wait for it;
        not any more when the delay is over, or the daemon is ready, stops or fails.
        """
        for over in (
            lambda notifier: notifier.delayed(False),
            lambda notifier: notifier.ready("yes"),
            lambda notifier: notifier.stopping("no", 1),
            lambda notifier: notifier.failed("no"),
            lambda notifier: notifier.close(),
        ):
            notifier = self.notifier()
            notifier.delayed(True, "Checking\nthe store")
            asked = ["STATUS=Checking the store", "EXTEND_TIMEOUT_USEC=60000000"]
            self.assertEqual(self.manager.hear(), asked)
            for _ in range(2):
                self.clock.advance(19.9)
                self.assertIsNone(self.manager.hear())
                self.clock.advance(0.1)
                self.assertEqual(self.manager.hear(), asked)
            over(notifier)
            self.manager.hear()
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.assertIsNone(self.manager.hear())

    def test_abstractAddress(self) -> None:
        """
        The manager's socket may have an abstract name.
        """
        manager = FakeManager(f"@{self.address}")
        self.addCleanup(manager.close)
        self.notifier(NOTIFY_SOCKET=manager.address).ready("yes")
        self.assertEqual(manager.hear(), ["READY=1", "STATUS=yes"])
        self.assertIsNone(self.manager.hear())

    def test_nobody(self) -> None:
        """
        Without a manager nothing is opened, sent, planned or logged.
        """
        before = os.listdir("/proc/self/fd")
        with capturedLogs() as logged:
            notifier = Notifier.fromEnvironment(self.clock, {"WATCHDOG_USEC": "x"})
            notifier.delayed(True)
            notifier.ready("yes")
            notifier.stopping("no", 1)
            notifier.failed("no")
            notifier.close()
        self.assertEqual(os.listdir("/proc/self/fd"), before)
        self.assertEqual((logged, self.clock.getDelayedCalls()), ([], []))

    def test_watchdog(self) -> None:
        """
        A ready daemon shows that its reactor turns, twice as often as it must, until
        it is closed.
        """
        notifier = self.notifier(WATCHDOG_USEC="3000000", WATCHDOG_PID=str(os.getpid()))
        self.clock.advance(10)
        self.assertIsNone(self.manager.hear())
        notifier.ready("yes")
        self.assertEqual(self.manager.hear(), ["READY=1", "STATUS=yes"])
        self.assertEqual(self.manager.hear(), ["WATCHDOG=1"])
        self.clock.advance(1.4)
        self.assertIsNone(self.manager.hear())
        self.clock.advance(0.1)
        self.assertEqual(self.manager.hear(), ["WATCHDOG=1"])
        notifier.stopping("no", 1)
        self.manager.hear()
        self.clock.advance(1.5)
        self.assertEqual(self.manager.hear(), ["WATCHDOG=1"])
        notifier.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_watchdogWithoutProcess(self) -> None:
        """
        A watchdog that names no process means this one.
        """
        self.notifier(WATCHDOG_USEC="3000000").ready("yes")
        self.manager.hear()
        self.assertEqual(self.manager.hear(), ["WATCHDOG=1"])

    def test_watchdogOfAnother(self) -> None:
        """
        A watchdog that means another process, or none, is not served.
        """
        for environment in (
            {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getppid())},
            {"WATCHDOG_USEC": "0"},
            {"WATCHDOG_USEC": "soon"},
            {"WATCHDOG_USEC": "3_000_000"},
            {"WATCHDOG_PID": str(os.getpid())},
        ):
            self.notifier(**environment).ready("yes")
            self.manager.hear()
            self.assertIsNone(self.manager.hear())
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_noRoom(self) -> None:
        """
        A manager that does not read holds nobody up: what it has no room for reaches
        it later, in order.
        """
        notifier = self.notifier()
        count = self.flood(notifier)
        notifier.ready("yes")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0.5)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for _ in range(count):
            self.assertEqual(self.manager.hear(), ["STATUS=again"])
        self.assertIsNone(self.manager.hear())
        self.clock.advance(0.5)
        self.assertEqual(self.manager.hear(), ["STATUS=again"])
        self.assertEqual(self.manager.hear(), ["READY=1", "STATUS=yes"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_noRoomForBeats(self) -> None:
        """
        Signs of life do not pile up before a manager that does not read.
        """
        notifier = self.notifier(WATCHDOG_USEC="2000000")
        notifier.ready("yes")
        for _ in range(2000):
            self.clock.advance(1.0)
        heard = 0
        while self.manager.hear() is not None:
            heard += 1
        self.clock.advance(0.5)
        self.assertEqual(self.manager.hear(), ["WATCHDOG=1"])
        self.assertIsNone(self.manager.hear())
        self.assertLess(heard, 2000)

    def test_closedWhileWaiting(self) -> None:
        """
        What still waits for room when it is closed is given up.
        """
        notifier = self.notifier()
        self.flood(notifier)
        notifier.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cannotBeTold(self) -> None:
        """
        A manager that is not there is logged once, and harms nothing.
        """
        for address in (f"{self.address}.missing", "vsock:2:1234", "/" + "x" * 200):
            with capturedLogs() as logged:
                notifier = self.notifier(NOTIFY_SOCKET=address, WATCHDOG_USEC="2000000")
                notifier.ready("yes")
                self.clock.advance(1.0)
                notifier.stopping("no", 1)
            self.assertEqual([event["log_level"].name for event in logged], ["warn"], logged)
            notifier.close()
