"""
The log as JSON: one object a line.
"""

from __future__ import annotations

import json
import math
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import IO, Any

from twisted.application.service import IService, MultiService
from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    eventAsText,
    formatEvent,
)
from twisted.python import usage
from twisted.python.logfile import LogFile

__all__ = ["LoggedService", "eventAsLine", "openLog"]

_OF_THE_OLD_LOG = frozenset(
    {"debug", "error", "failure", "format", "isError", "message", "system", "time", "why"}
)
"""
What C{twisted.python.log} puts into each event, and says again in other fields.
"""


class LoggedService(MultiService):
    """
    Has twistd log with an observer of its own. Twistd asks its application for one
    when the services have been made, and keeps to its options if there is none.
    """

    def __init__(self, service: IService, observer: FileLogObserver) -> None:
        """
        @param service: what is to be started and stopped.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        service.setServiceParent(self)
        self._observer = observer

    def setServiceParent(self, parent: Any) -> None:
        """
        @param parent: twistd's application.
        """
        parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]


def openLog(
    ofTwistd: Mapping[str, Any], callFromThread: Callable[..., object], signals: Any = signal
) -> FileLogObserver:
    """
    Log to where twistd's options say: to the end of C{--logfile}, which a SIGUSR1
    rotates, or to standard output in the foreground.

    @param callFromThread: the reactor's: the log is written on its thread.
    @param signals: the module C{signal}, or what stands for it in a test.
    @raise usage.UsageError: if there is no standard output.
    @raise OSError: if the file cannot be opened.
    """
    name = ofTwistd.get("logfile")
    isForeground = ofTwistd.get("nodaemon")
    if name == "-" and not isForeground:
        raise usage.UsageError("--logfile - needs --nodaemon: a daemon has no standard output")
    if name == "-" or (isForeground and not name):
        return _observer(sys.stdout)
    file = LogFile.fromFullPath(name or "twistd.log")
    # As twistd does with the file that it opens itself.
    if not signals.getsignal(signal.SIGUSR1):
        signals.signal(signal.SIGUSR1, lambda number, frame: callFromThread(file.rotate))
    return _observer(file)


def _observer(file: IO[Any]) -> FileLogObserver:
    return FileLogObserver(file, eventAsLine)


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
    # ASCII, whatever the encoding of the file.
    return json.dumps(fields) + "\n"


def _isPlain(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, (str, int))
