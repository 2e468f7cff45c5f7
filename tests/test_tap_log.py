"""
Tests for the log of C{twistd ganeti-pool}.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import syslog
from functools import partial
from pathlib import Path
from typing import Any

from twisted.application.app import ServerOptions
from twisted.application.service import Application, IService, Service
from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    capturedLogs,
    formatEventAsClassicLogText,
)
from twisted.python import usage
from twisted.python.failure import Failure
from twisted.python.log import err, msg
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.daemon import DescriptorSink
from ganeti_pool.tap import _make
from ganeti_pool.tap._log import (
    Log,
    LoggedService,
    _SyslogObserver,
    eventAsLine,
    eventAsTextLine,
    openLog,
)

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
        for text in ("a\nb", "\u2028", "é", "\udc80", '"', "{", "\x7f", "\x1b"):
            # not through the log, since another observer may not take it
            event = {"log_time": 0, "log_format": "{text}", "text": text}
            self.assertEqual(self.read(event)["text"], text)
            self.assertTrue(eventAsLine(event).rstrip("\n").isprintable())

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


class TextTests(SynchronousTestCase):
    """
    Tests for L{eventAsTextLine}.
    """

    def line(self, says: str, **fields: object) -> str:
        """
        The line of something that was logged.
        """
        with capturedLogs() as logged:
            Logger(namespace="house").info(says, **fields)
        logged[0]["log_time"] = 1769850902
        line = eventAsTextLine(logged[0])
        assert line is not None
        return line[line.index(" ") + 1 :]

    def test_asTwistd(self) -> None:
        """
        A line is as twistd writes it.
        """
        event = {"log_time": 0, "log_format": "{word}", "word": "é", "log_system": "house"}
        self.assertEqual(eventAsTextLine(event), formatEventAsClassicLogText(event))
        self.assertEqual(self.line("a"), "[house#info] a\n")

    def test_nothing(self) -> None:
        """
        An event without a text has no line.
        """
        self.assertIsNone(eventAsTextLine({"log_time": 0}))

    def test_controls(self) -> None:
        """
        Whatever is logged has no effect on a terminal and is not taken for another line.
        """
        line = self.line("{text}", text="a\x1b[2Jb\rc\x7f\u2028\u202ed\ne\tf")
        self.assertEqual(line, "[house#info] a\\x1b[2Jb\\rc\\x7f\\u2028\\u202ed\n\te\tf\n")

    def test_traceback(self) -> None:
        """
        Nor has the text of an exception in a traceback.
        """
        with capturedLogs() as logged:
            Logger().failure("It broke", Failure(ZeroDivisionError("a\x1b[2Jb")))
            err(Failure(ZeroDivisionError("a\x1b[2Jb")), "it broke")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        for event in logged:
            line = eventAsTextLine(event) or ""
            self.assertIn("builtins.ZeroDivisionError: a\\x1b[2Jb\n", line)
            self.assertNotIn("\x1b", line)


class OpenTests(TapCase):
    """
    Tests for L{openLog}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.path = self.scratch / "log"
        reader, pipe = os.pipe()
        os.set_blocking(reader, False)
        self.stdout = os.fdopen(reader, "rb", 0)
        self.addCleanup(self.stdout.close)
        stdout = os.fdopen(pipe, "w", encoding="latin-1")
        self.addCleanup(stdout.close)
        self.patch(sys, "stdout", stdout)
        self.ends: list[Any] = []

    def open(self, form: str = "json", **ofTwistd: Any) -> Log:
        """
        Open the log that twistd's options name.
        """
        log = openLog(ofTwistd, form, self.openFile, self.ends.append)
        assert log is not None
        return log

    def openFile(self, path: str) -> int:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        self.addCleanup(os.close, descriptor)
        return descriptor

    def write(self, word: str, **ofTwistd: Any) -> None:
        """
        Log a word to where twistd's options say.
        """
        self.open(**ofTwistd).observer({"log_time": 0, "log_format": word})

    def words(self, text: str) -> list[str]:
        return [json.loads(line)["message"] for line in text.splitlines()]

    def test_foreground(self) -> None:
        """
        In the foreground it is standard output, unless there is a file.
        """
        self.write("one", nodaemon=1, logfile=None)
        self.write("two", nodaemon=1, logfile="-")
        self.write("three", nodaemon=1, logfile=str(self.path))
        self.assertEqual(self.words(self.stdout.read().decode()), ["one", "two"])
        self.assertEqual(self.words(self.path.read_text()), ["three"])

    def test_text(self) -> None:
        """
        Text has the encoding of standard output.
        """
        event = {"log_time": 0, "log_format": "é漢", "log_system": "house"}
        self.open("text", nodaemon=1).observer(event)
        self.assertTrue(self.stdout.read().endswith(b"[house] \xe9\\u6f22\n"))

    def test_nothing(self) -> None:
        """
        An event without a text writes nothing.
        """
        self.open("text", nodaemon=1).observer({"log_time": 0})
        self.assertIsNone(self.stdout.read())

    def test_noStandardOutput(self) -> None:
        """
        A closed standard output takes no log.
        """
        self.patch(sys, "stdout", None)
        error = self.assertRaises(usage.UsageError, self.open, nodaemon=1)
        self.assertIn("--logfile", str(error))

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

    def test_ownObserver(self) -> None:
        """
        With C{--logger} the log is the observer's that it names.
        """
        self.assertIsNone(openLog({"logger": Service}, "text", self.openFile))

    def test_syslog(self) -> None:
        """
        With C{--syslog} lines go to syslog as Twisted has them, without control characters.
        """
        sent: list[object] = []
        self.patch(_SyslogObserver, "openlog", lambda observer, *given: sent.append(given))
        self.patch(syslog, "syslog", lambda priority, text: sent.append((priority, text)))
        log = self.open(syslog=True, prefix="house", nodaemon=1)
        with capturedLogs() as logged:
            Logger(namespace="place").info("a\0b")
            Logger(namespace="place").critical("c\nd")
        for event in logged:
            log.observer(event)
        self.assertEqual(
            sent,
            [
                ("house", 0, syslog.LOG_USER),
                (syslog.LOG_INFO, "[-] a\\x00b"),
                (syslog.LOG_ALERT, "[-] c"),
                (syslog.LOG_ALERT, "[-] \td"),
            ],
        )

    def test_dropped(self) -> None:
        """
        A log that could not be written says in its own form how many lines are missing.
        """
        says = "1 lines were dropped here, since the log could not be written"
        log = self.open(nodaemon=1)
        with open(os.devnull) as null:
            # Nothing can be written to it.
            kept, log.writer._sink = log.writer._sink, DescriptorSink(null.fileno())
            log.observer({"log_time": 0, "log_format": "one"})
        log.writer._sink = kept
        log.observer({"log_time": 0, "log_format": "two"})
        self.assertEqual(log.writer.dropped, 1)
        notice, line = self.stdout.read().splitlines()
        self.assertEqual(json.loads(line)["message"], "two")
        fields = json.loads(notice)
        self.assertEqual((fields["message"], fields["dropped"], fields["level"]), (says, 1, "warn"))

        def refuse(priority: int, text: str) -> None:
            raise OSError

        self.patch(_SyslogObserver, "openlog", lambda observer, *given: None)
        self.patch(syslog, "syslog", refuse)
        log = self.open(syslog=True, prefix="house", nodaemon=1)
        with capturedLogs() as logged:
            Logger().info("a")
        log.observer(logged[0])
        sent: list[object] = []
        self.patch(syslog, "syslog", lambda priority, text: sent.append((priority, text)))
        log.observer(logged[0])
        self.assertEqual(sent[0], (syslog.LOG_WARNING, f"[ganeti_pool.tap._log] {says}"))

    def test_thread(self) -> None:
        """
        Once it is started, the log is written on a thread, which the end of the process
        waits for.
        """
        log = self.open(nodaemon=1)
        log.start()
        log.start()
        (end,) = self.ends
        log.observer({"log_time": 0, "log_format": "one"})
        end()
        self.assertEqual(self.words(self.stdout.read().decode()), ["one"])


class ServiceTests(TapCase):
    """
    Tests for L{LoggedService}.
    """

    def log(self, **ofTwistd: object) -> Log:
        log = openLog(
            {"logfile": str(self.scratch / "log"), **ofTwistd},
            "text",
            lambda path: os.open(path, os.O_RDWR | os.O_CREAT),
            lambda end: None,
        )
        assert log is not None
        self.addCleanup(os.close, log.writer._sink._descriptor)  # type: ignore[attr-defined]
        self.addCleanup(log.close)
        return log

    def test_application(self) -> None:
        """
        Twistd's application has the observer, and starts and stops the service.
        """
        log = self.log(nodaemon=1)
        inner = Service()
        service = LoggedService(inner, log)
        application = Application("house")
        service.setServiceParent(application)
        self.assertIs(application.getComponent(ILogObserver), log.observer)
        IService(application).startService()
        self.assertTrue(inner.running)
        IService(application).stopService()
        self.assertFalse(inner.running)

    def test_thread(self) -> None:
        """
        The log has its thread before twistd begins to log, but in the background after
        twistd has forked, since the thread would not be in the child.
        """
        for isForeground in (True, False):
            log = self.log(nodaemon=isForeground)
            service = LoggedService(Service(), log)
            application = Application("house")
            service.setServiceParent(application)
            self.assertEqual(log.writer._thread is not None, isForeground)
            IService(application).startService()
            self.assertIsNotNone(log.writer._thread)
            IService(application).stopService()

    def test_made(self) -> None:
        """
        The daemon's service has a log if twistd runs it.
        """
        self.assertNotIsInstance(self.make(), LoggedService)
        for form in ("json", "text"):
            self.state = self.scratch / form
            options = self.parse("--log-format", form)
            options.parent = ServerOptions()
            options.parent["logfile"] = str(self.scratch / "log")
            service: Any = _make.makeDaemon(self.reactor, options)
            self.assertIsInstance(service, LoggedService)
            inner = service.services[0]
            inner._lock.release()
            os.close(service._log.writer._sink._descriptor)

    def test_signals(self) -> None:
        """
        A SIGUSR1 begins a new file, and the end by a second signal waits for the log, if
        there is one.
        """
        self.patch(os, "kill", lambda pid, number: None)
        for isLogged in (True, False):
            handlers: dict[int, Any] = {}
            self.patch(signal, "getsignal", lambda number: signal.SIG_DFL)
            self.patch(signal, "signal", handlers.__setitem__)
            self.state = self.scratch / str(isLogged)
            options = self.parse()
            calls: list[str] = []
            if isLogged:
                options.parent = ServerOptions()
                options.parent["logfile"] = str(self.scratch / "log")
            service: Any = _make.makeDaemon(self.reactor, options)
            if isLogged:
                (inner,) = service.services
                self.addCleanup(os.close, service._log.writer._sink._descriptor)
                self.patch(service._log.writer, "reopen", partial(calls.append, "reopen"))
                self.patch(service._log, "close", partial(calls.append, "close"))
            else:
                inner = service
            inner._lock.release()
            inner._guard()
            handlers[signal.SIGUSR1](signal.SIGUSR1, None)
            self.assertEqual(calls, [])
            self.reactor.run()
            self.assertEqual(calls, ["reopen"] * isLogged)
            left: list[int] = []
            self.patch(os, "_exit", left.append)
            inner._abort._leave(1)
            self.assertEqual(left, [1])
            self.assertEqual(calls, ["reopen", "close"] * isLogged)
