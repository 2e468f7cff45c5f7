"""
The accounts of a soak: what was done, what was told, and what does not fit.
"""

from __future__ import annotations

import faulthandler
import threading
from collections import Counter
from typing import Any

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

from ganeti_pool.interfaces import PoolStatistics

__all__ = ["Books"]

MOST_FAULTS = 20
"""
So many faults are kept in words; of the others only the number.
"""

BEATS = 200
"""
So many signs of life make the watchdog look up once.
"""

LOGGED = ("DuplicateTaskID", "Planned", "TaskAbandoned", "TaskNotStarted")
"""
What may be logged: the failures of tasks that nobody waits for.
"""


@implementer(ILogObserver)
class Books:
    """
    Counts, by the name of the account. They are all that is kept, so that the
    harness does not grow with the number of operations.

    As an observer of the log they count the failures that are logged, by type.

    Threads: any, but for C{reactorThread}, which is set while no other runs.
    C{lock} guards the counts and the faults; nothing is called while it is held.

    @ivar reactorThread: the identifier of the thread of the reactor, or L{None}
        where there is none.
    @ivar faults: what does not fit, in words.
    """

    def __init__(self, patience: float) -> None:
        """
        @param patience: after so many seconds without a sign of life the process
            shows where its threads are, and exits with code 1.
        """
        self.lock = threading.Lock()
        self.reactorThread: int | None = None
        self.faults: list[str] = []
        self._counts: Counter[str] = Counter()
        self._unsaid = 0
        self._patience = patience
        self._beats = 0
        self._watch = threading.Lock()

    def count(self, account: str, number: int = 1) -> None:
        """
        Enter something.
        """
        with self.lock:
            self._counts[account] += number

    def of(self, *accounts: str) -> int:
        """
        @return: the sum of some accounts.
        """
        with self.lock:
            return sum(self._counts[account] for account in accounts)

    def wrong(self, fault: str) -> None:
        """
        Enter something that must not be.
        """
        with self.lock:
            if len(self.faults) < MOST_FAULTS:
                self.faults.append(fault)
            else:
                self._unsaid += 1

    def balance(self, what: str, counted: int, expected: int) -> None:
        """
        Enter a fault if two numbers differ.
        """
        if counted != expected:
            self.wrong(f"{what}: {counted} != {expected}")

    def identity(self, statistics: PoolStatistics) -> None:
        """
        Enter a fault if the numbers of a snapshot do not add up.
        """
        s = statistics
        if s.added != s.queued + s.running + s.succeeded + s.failed + s.cancelled + s.unstarted:
            self.wrong(f"it does not add up: {s}")

    def settled(self, statistics: PoolStatistics, workers: int) -> None:
        """
        Compare the accounts with the numbers of a pool of which all is over.
        """
        s = statistics
        self.identity(s)
        self.balance("tasks queued or running in the end", s.queued + s.running, 0)
        self.balance("workers", s.workers, workers)
        # A Deferred may say that its task was not taken.
        taken = self.of("tasks added") - self.of("told PoolTerminated")
        self.balance("tasks added", s.added, taken)
        self.balance(
            "tasks that succeeded, and runs that returned", s.succeeded, self.of("runs returned")
        )
        duplicates = self.of("told DuplicateTaskID", "logged DuplicateTaskID")
        failures = self.of("runs failed")
        self.balance("tasks that failed, and runs that did", s.failed, failures + duplicates)
        # Somebody hears of each failure: who waits for it, or else the log.
        self.balance("failures heard of", self.of("told Planned", "logged Planned"), failures)
        self.balance("completions told", self.of("completions told"), self.of("completions added"))

    def report(self) -> list[str]:
        """
        @return: all faults, as lines; none if everything fits.
        """
        with self.lock:
            more = [f"and {self._unsaid} more"] if self._unsaid else []
            return self.faults + more

    def summary(self) -> str:
        """
        @return: the accounts, as one line for each.
        """
        with self.lock:
            return "\n".join(
                f"  {number:>12,} {name}" for name, number in sorted(self._counts.items())
            )

    def beat(self) -> None:
        """
        Give a sign of life.
        """
        with self.lock:
            self._beats += 1
            due = self._beats % BEATS == 0
        if due:
            self.watch()

    def watch(self) -> None:
        """
        Begin to wait for signs of life, or begin anew.
        """
        with self._watch:
            faulthandler.dump_traceback_later(self._patience, exit=True)

    def __call__(self, event: LogEvent) -> None:
        """
        Something was logged.
        """
        failure = event.get("log_failure")
        if failure is not None and type(failure.value).__name__ in LOGGED:
            self.count(f"logged {type(failure.value).__name__}")
        elif event["log_level"] >= LogLevel.error:
            self.wrong(f"logged: {formatEvent(event)}: {failure}")

    def threadFailed(self, args: Any) -> None:
        """
        A thread of the soak has ended with an exception. For
        C{threading.excepthook}.
        """
        self.wrong(f"{args.thread} failed: {args.exc_type.__name__}: {args.exc_value}")

    def unraisable(self, args: Any) -> None:
        """
        Something could not be raised. For C{sys.unraisablehook}.
        """
        self.wrong(f"{args.err_msg or 'ignored'}: {args.object!r}: {args.exc_value!r}")
