"""
Tests for the log of C{twistd ganeti-pool} as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.application.app import ServerOptions
from twisted.application.service import Application, IService, Service
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, capturedLogs
from twisted.python import usage
from twisted.python.failure import Failure
from twisted.python.log import err, msg
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.tap import _make
from ganeti_pool.tap._log import LoggedService, eventAsLine, openLog

from .test_tap import TapCase


class LineTests(SynchronousTestCase):
    """
    Tests for L{eventAsLine}.
    """

    def read(self, event: LogEvent) -> dict[str, Any]:
        """
        What the line of an event says.
        """
        line = eventAsLine(event)
        self.assertEqual(line.index("\n"), len(line) - 1)
        self.assertTrue(line.isascii())
        found: dict[str, Any] = json.loads(line, parse_constant=self.fail)
        return found

    def log(self, says: str, **fields: object) -> dict[str, Any]:
        """
        What the line of something that was logged says.
        """
        with capturedLogs() as logged:
            Logger(namespace="house").info(says, **fields)
        return self.read(logged[0])

    def test_line(self) -> None:
        """
        A line says when, how grave, from where and what.
        """
        event = {
            "log_time": 1769850902.123456,
            "log_level": LogLevel.warn,
            "log_namespace": "house",
            "log_format": "{what} burns",
            "what": "it",
        }
        self.assertEqual(
            self.read(event),
            {
                "time": "2026-01-31T09:15:02.123456Z",
                "level": "warn",
                "namespace": "house",
                "message": "it burns",
                "what": "it",
            },
        )

    def test_wholeSecond(self) -> None:
        """
        Times have one form, also at a whole second.
        """
        self.assertEqual(self.read({"log_time": 0})["time"], "1970-01-01T00:00:00.000000Z")

    def test_fields(self) -> None:
        """
        Plain values are fields of their own; other ones are in the message alone, and
        none hides what each line has.
        """
        found = self.log(
            "{job} {path}",
            job=17,
            ran=0.5,
            isSo=True,
            owner=None,
            path=Path("/tmp"),
            ratio=float("nan"),
            many=[1],
            message="theirs",
            namespace="theirs",
        )
        self.assertEqual(found["message"], "17 /tmp")
        for name, value in (("job", 17), ("ran", 0.5), ("isSo", True), ("owner", None)):
            self.assertEqual(found[name], value)
        self.assertEqual(found["namespace"], "house")
        self.assertEqual(found.keys() & {"path", "ratio", "many"}, set())

    def test_text(self) -> None:
        """
        Any text fits into a line.
        """
        for text in ("a\nb", "\u2028", "é", "\udc80", '"', "{"):
            # not through the log, since another observer may not take it
            event = {"log_time": 0, "log_format": "{text}", "text": text}
            self.assertEqual(self.read(event)["text"], text)

    def test_failure(self) -> None:
        """
        A failure brings its traceback, in a field of its own.
        """
        with capturedLogs() as logged:
            Logger().failure("It broke at {place}", Failure(ZeroDivisionError("why")), place=3)
        found = self.read(logged[0])
        self.assertEqual((found["level"], found["message"]), ("critical", "It broke at 3"))
        self.assertTrue(found["traceback"].startswith("Traceback"), found)
        self.assertTrue(found["traceback"].endswith("ZeroDivisionError: why"), found)
        self.flushLoggedErrors(ZeroDivisionError)

    def test_oldLog(self) -> None:
        """
        What comes by way of C{twisted.python.log} is a line like any other.
        """
        with capturedLogs() as logged:
            msg("a word", system="house", job=17)
            err(Failure(ZeroDivisionError("why")), "it broke")
            err(Failure(ZeroDivisionError("why")))
        word, failure, nameless = map(self.read, logged)
        self.assertEqual(word["message"], "a word")
        self.assertEqual(word["job"], 17)
        self.assertEqual(word.keys() - {"job"}, {"time", "level", "namespace", "message"})
        self.assertEqual(failure["message"], "it broke")
        self.assertEqual(nameless["message"], "Unhandled Error")
        for each in (failure, nameless):
            self.assertIn("ZeroDivisionError: why", each["traceback"])
        self.flushLoggedErrors(ZeroDivisionError)

    def test_broken(self) -> None:
        """
        An event that cannot be formatted is told all the same.
        """
        found = self.log("{missing.attribute}")
        self.assertIn("missing", found["message"])


class FakeSignals:
    """
    Stands for the module C{signal}.
    """

    def __init__(self, handler: Any = signal.SIG_DFL) -> None:
        self.handler = handler

    def getsignal(self, number: int) -> Any:
        assert number == signal.SIGUSR1
        return self.handler

    def signal(self, number: int, handler: Any) -> None:
        assert number == signal.SIGUSR1
        self.handler = handler


class OpenTests(TapCase):
    """
    Tests for L{openLog}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.signals = FakeSignals()
        self.path = self.scratch / "log"
        self.stdout = StringIO()
        self.patch(sys, "stdout", self.stdout)

    def write(self, word: str, **ofTwistd: object) -> None:
        """
        Log a word to where twistd's options say.
        """
        observer = openLog(ofTwistd, self.reactor.callFromThread, self.signals)
        if observer._outFile is not self.stdout:
            self.addCleanup(observer._outFile.close)
        observer({"log_time": 0, "log_format": word})

    def words(self, text: str) -> list[str]:
        return [json.loads(line)["message"] for line in text.splitlines()]

    def test_foreground(self) -> None:
        """
        In the foreground it is standard output, unless there is a file.
        """
        self.write("one", nodaemon=1, logfile=None)
        self.write("two", nodaemon=1, logfile="-")
        self.write("three", nodaemon=1, logfile=str(self.path))
        self.assertEqual(self.words(self.stdout.getvalue()), ["one", "two"])
        self.assertEqual(self.words(self.path.read_text()), ["three"])

    def test_background(self) -> None:
        """
        In the background it is the file, by default C{twistd.log} in the working
        directory; there is no standard output.
        """
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.scratch)
        self.write("one", nodaemon=0, logfile=None)
        self.assertEqual(self.words((self.scratch / "twistd.log").read_text()), ["one"])
        error = self.assertRaises(usage.UsageError, self.write, "two", nodaemon=0, logfile="-")
        self.assertIn("--nodaemon", str(error))

    def test_appends(self) -> None:
        """
        What is in the file stays there.
        """
        for word in ("one", "two"):
            self.write(word, logfile=str(self.path))
        self.assertEqual(self.words(self.path.read_text()), ["one", "two"])

    def test_rotation(self) -> None:
        """
        A SIGUSR1 begins a new file, on the reactor thread.
        """
        self.write("one", logfile=str(self.path))
        self.signals.handler(signal.SIGUSR1, None)
        self.assertEqual(self.words(self.path.read_text()), ["one"])
        self.reactor.run()
        self.assertEqual(self.path.read_text(), "")
        self.assertEqual(self.words(Path(f"{self.path}.1").read_text()), ["one"])

    def test_signalTaken(self) -> None:
        """
        A SIGUSR1 that has a meaning already keeps it.
        """
        handler = self.signals.handler = lambda number, frame: None
        self.write("one", logfile=str(self.path))
        self.assertIs(self.signals.handler, handler)


class ServiceTests(TapCase):
    """
    Tests for L{LoggedService}.
    """

    def test_application(self) -> None:
        """
        Twistd's application has the observer, and starts and stops the service.
        """
        observer = openLog({"nodaemon": 1}, self.reactor.callFromThread)
        inner = Service()
        service = LoggedService(inner, observer)
        application = Application("house")
        service.setServiceParent(application)
        self.assertIs(application.getComponent(ILogObserver), observer)
        IService(application).startService()
        self.assertTrue(inner.running)
        IService(application).stopService()
        self.assertFalse(inner.running)

    def test_made(self) -> None:
        """
        The daemon's service has one only if its log is to be JSON.
        """
        self.assertNotIsInstance(self.make(), LoggedService)
        self.state = self.scratch / "another"
        options = self.parse("--log-format", "json")
        options.parent = ServerOptions()
        options.parent["nodaemon"] = 1
        service: Any = _make.makeDaemon(self.reactor, options)
        self.assertIsInstance(service, LoggedService)
        self.addCleanup(service.services[0]._lock.release)
