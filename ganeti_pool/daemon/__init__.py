"""
The daemon's process: what it holds, in which order its parts start and stop, how it
ends, and whom it tells.
"""

from ._clock import goSteady
from ._forks import releaseInChildren
from ._inherited import forgetCoercedLocale, unblockSignals, unignoreSignals
from ._init import runBelowInit
from ._joblog import logEvent
from ._lock import InUse, LockFile, Locks
from ._log import DescriptorSink, FileSink, LogSink, LogWriter, SyslogSink, escapeControls
from ._memory import freezeMemory
from ._service import JobQueueService
from ._signals import Abort, endOnSignals, stopOnce, surviveSignals
from ._systemd import Notifier
from ._unix import UnixEndpoint

__all__ = [
    "Abort",
    "DescriptorSink",
    "FileSink",
    "InUse",
    "JobQueueService",
    "LockFile",
    "Locks",
    "LogSink",
    "LogWriter",
    "Notifier",
    "SyslogSink",
    "UnixEndpoint",
    "endOnSignals",
    "escapeControls",
    "forgetCoercedLocale",
    "freezeMemory",
    "goSteady",
    "logEvent",
    "releaseInChildren",
    "runBelowInit",
    "stopOnce",
    "surviveSignals",
    "unblockSignals",
    "unignoreSignals",
]
