"""
The log: what a line looks like, and where the lines go.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import sys
import syslog
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import partial
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.logger import (
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    LogLevel,
    eventAsText,
    formatEvent,
    formatEventAsClassicLogText,
)
from twisted.python import usage
from twisted.python.syslog import SyslogObserver
from zope.interface import implementer

from ..daemon import DescriptorSink, FileSink, LogSink, LogWriter, SyslogSink, escapeControls

__all__ = ["Log", "LoggedService", "eventAsLine", "eventAsTextLine", "openLog"]

_OF_THE_OLD_LOG = frozenset(
    {"debug", "error", "failure", "format", "isError", "message", "system", "time", "why"}
)
"""
What C{twisted.python.log} puts into each event, and says again in other fields.
"""

_PATIENCE = 2.0
"""
The seconds that the last lines get before the process ends.
"""

_MISSING = "{dropped} lines were dropped here, since the log could not be written"


class Log:
    """
    An observer for twistd, and the writer that takes its lines.

    @ivar observer: what formats an event and queues its line.
    @ivar writer: what writes the lines.
    @ivar forks: whether twistd forks before the services start.
    """

    def __init__(
        self,
        observer: Any,
        writer: LogWriter[Any],
        forks: bool,
        atEnd: Callable[[Callable[[], object]], object] = atexit.register,
    ) -> None:
        """
        @param atEnd: C{atexit.register}. Twistd logs its last line after the services have
            stopped.
        """
        self.observer = observer
        self.writer = writer
        self.forks = forks
        self._atEnd = atEnd
        self._isStarted = False

    def start(self) -> None:
        """
        Write on a thread from now on, until the process ends.
        """
        if not self._isStarted:
            self._isStarted = True
            self._atEnd(self.close)
            self.writer.start()

    def close(self) -> None:
        """
        Wait until the last lines are written, but not for long.
        """
        self.writer.close(_PATIENCE)


class LoggedService(MultiService):
    """
    Has twistd log with an observer of its own. Twistd asks its application for one
    when the services have been made, and keeps to its options if there is none.
    """

    def __init__(self, service: IService, log: Log) -> None:
        """
        @param service: what is to be started and stopped.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        service.setServiceParent(self)
        self._log = log

    def setServiceParent(self, parent: Any) -> None:
        """
        Give the observer to twistd, which begins to log.

        @param parent: twistd's application.
        """
        parent.setComponent(ILogObserver, self._log.observer)
        if not self._log.forks:
            self._log.start()
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    def startService(self) -> None:
        """
        Write the log on a thread, now that twistd has forked, and start the service.
        """
        self._log.start()
        super().startService()  # type: ignore[no-untyped-call]


@implementer(ILogObserver)
class _LineObserver:
    """
    Queues each event as a line.
    """

    def __init__(self, writer: LogWriter[str], form: Callable[[LogEvent], str | None]) -> None:
        self._writer = writer
        self._form = form

    def __call__(self, event: LogEvent) -> None:
        """
        Queue an event.
        """
        line = self._form(event)
        if line:
            self._writer.put(line)


class _SyslogObserver(SyslogObserver):
    """
    Queues what Twisted's own observer would send.
    """

    def __init__(self, prefix: str, writer: LogWriter[tuple[int, str]]) -> None:
        super().__init__(prefix)  # type: ignore[no-untyped-call]
        self._writer = writer

    def syslog(self, priority: int, text: str) -> None:
        """
        Queue a line.
        """
        self._writer.put((priority, escapeControls(text)))


def openLog(
    ofTwistd: Mapping[str, Any],
    form: str,
    openFile: Callable[[str], int],
    atEnd: Callable[[Callable[[], object]], object] = atexit.register,
) -> Log | None:
    """
    Log to where twistd's options say: to syslog, to the end of C{--logfile}, or to
    standard output in the foreground.

    @param form: C{text} or C{json}; syslog has a form of its own.
    @param openFile: see L{FileSink}.
    @param atEnd: see L{Log}.
    @return: L{None} if C{--logger} names an observer, which is the user's own.
    @raise usage.UsageError: if there is no standard output.
    @raise OSError: if the file cannot be opened.
    """
    if ofTwistd.get("logger"):
        return None
    forks = not ofTwistd.get("nodaemon")
    if ofTwistd.get("syslog"):
        lines = LogWriter(SyslogSink(), _syslogNotice, lambda line: len(line[1]))
        observer = _SyslogObserver(ofTwistd["prefix"], lines)
        return Log(LegacyLogObserverWrapper(observer.emit), lines, forks, atEnd)  # type: ignore[arg-type]
    asLine = eventAsLine if form == "json" else eventAsTextLine
    writer = LogWriter(_sinkOf(ofTwistd, openFile), partial(_notice, asLine), len)
    return Log(_LineObserver(writer, asLine), writer, forks, atEnd)


def _sinkOf(ofTwistd: Mapping[str, Any], openFile: Callable[[str], int]) -> LogSink[str]:
    name = ofTwistd.get("logfile")
    isForeground = ofTwistd.get("nodaemon")
    if name == "-" and not isForeground:
        raise usage.UsageError("--logfile - needs --nodaemon: a daemon has no standard output")
    if name == "-" or (isForeground and not name):
        if sys.stdout is None:
            raise usage.UsageError(
                "the log cannot be written, since standard output is closed: name a file with "
                "--logfile"
            )
        sys.stdout.flush()
        return DescriptorSink(sys.stdout.fileno(), sys.stdout.encoding)
    return FileSink(os.path.abspath(name or "twistd.log"), openFile)


def _notice(asLine: Callable[[LogEvent], str | None], count: int) -> str:
    event = {
        "log_time": time.time(),
        "log_level": LogLevel.warn,
        "log_namespace": __name__,
        "log_format": _MISSING,
        "dropped": count,
    }
    return asLine(event) or ""


def _syslogNotice(count: int) -> tuple[int, str]:
    return syslog.LOG_WARNING, f"[{__name__}] {_MISSING.format(dropped=count)}"


def eventAsTextLine(event: LogEvent) -> str | None:
    """
    One log event as twistd writes it. What could do something to a terminal, or look like
    another line, is escaped; the further lines of an event begin with a tab.
    """
    text = formatEventAsClassicLogText(event)
    return None if text is None else escapeControls(text)


def eventAsLine(event: LogEvent) -> str:
    """
    One log event as one line: a JSON object with C{time} (RFC 3339, in UTC),
    C{level}, C{namespace} and C{message}; the event's own fields, as far as they are
    texts, numbers, booleans or null; and C{traceback} if a failure was logged.
    """
    moment = datetime.fromtimestamp(event["log_time"], timezone.utc)
    fields = {
        "time": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": event.get("log_level", LogLevel.info).name,
        "namespace": event.get("log_namespace"),
        "message": formatEvent(event),
    }
    failure = event.get("log_failure")
    if failure is None and "failure" in event:
        # The old log has it in the text of the event as well.
        failure = event["failure"]
        fields["message"] = event.get("why") or "Unhandled Error"
    if failure is not None:
        # Alone, it is as text a traceback, whatever the failure holds.
        alone = {"log_failure": failure}
        fields["traceback"] = eventAsText(
            alone, includeTimestamp=False, includeSystem=False
        ).strip()
    for name, value in event.items():
        if not name.startswith("log_") and name not in _OF_THE_OLD_LOG and _isPlain(value):
            fields.setdefault(name, value)
    # ASCII, whatever the encoding of the file. Only DEL is a control character there.
    return json.dumps(fields).replace("\x7f", "\\u007f") + "\n"


def _isPlain(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, (str, int))
