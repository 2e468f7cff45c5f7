"""
Tests for L{ganeti_pool.daemon.logEvent}.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.daemon import logEvent
from ganeti_pool.jobs import JobEvent, JobEventKind, JobFailure, JobState

from .fakequeue import NOON, makeJob


class JobLogTests(SynchronousTestCase):
    """
    Tests for L{logEvent}.
    """

    def log(
        self,
        kind: JobEventKind,
        waited: float | None = None,
        ran: float | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        """
        What the log is told of an event.
        """
        with capturedLogs() as logged:
            logEvent(JobEvent(kind, makeJob(**changes), waited, ran))
        (event,) = logged
        return event

    def line(self, *given: Any, **changes: Any) -> str:
        """
        The line of an event.
        """
        return formatEvent(self.log(*given, **changes))

    def test_waiting(self) -> None:
        """
        What happens to a job that waits is told with its place.
        """
        self.assertEqual(
            self.line(JobEventKind.SUBMITTED, priority=-5), "job 17 submitted with priority -5"
        )
        self.assertEqual(self.line(JobEventKind.MOVED, priority=3), "job 17 moved to priority 3")
        self.assertEqual(
            self.line(JobEventKind.RETRIED, attempt=2),
            "job 17 is to be tried again after attempt 2",
        )

    def test_started(self) -> None:
        """
        A start is told with the attempt, and with how long the job has waited, if that
        is known.
        """
        started = {"attempt": 1, "state": JobState.RUNNING, "startedAt": NOON}
        self.assertEqual(
            self.line(JobEventKind.STARTED, 3.14159, **started),
            "job 17 attempt 1 started after 3.14 s",
        )
        self.assertEqual(self.line(JobEventKind.STARTED, **started), "job 17 attempt 1 started")
        self.assertEqual(
            self.line(JobEventKind.CANCEL_REQUESTED, **started),
            "job 17 attempt 1 is to be cancelled",
        )

    def test_finished(self) -> None:
        """
        An end is told with how long the attempt ran, and with the error.
        """
        ended = {"attempt": 1, "startedAt": NOON, "finishedAt": NOON + timedelta(seconds=1)}
        self.assertEqual(
            self.line(JobEventKind.FINISHED, None, 0.516, state=JobState.SUCCEEDED, **ended),
            "job 17 attempt 1 succeeded after 0.52 s",
        )
        error = JobFailure("exit_nonzero", "'x' exited with status 3", 3)
        ended.update(state=JobState.FAILED, error=error)
        self.assertEqual(
            self.line(JobEventKind.FINISHED, None, 0.516, **ended),
            "job 17 attempt 1 failed after 0.52 s: exit_nonzero: 'x' exited with status 3",
        )

    def test_cancelledWhileItWaited(self) -> None:
        """
        A job that ended before an attempt began is told without one.
        """
        for attempt in (0, 1):
            line = self.line(JobEventKind.FINISHED, attempt=attempt, state=JobState.CANCELLED)
            self.assertEqual(line, "job 17 cancelled")

    def test_waitsAgain(self) -> None:
        """
        A job that waits again is told with the reason. A deferral is of the attempt
        whose number it gives back.
        """
        event = self.log(JobEventKind.DEFERRED, None, 2.0, attempt=1, reason="the disk is busy")
        self.assertEqual(
            formatEvent(event), "job 17 attempt 2 deferred after 2.00 s: the disk is busy"
        )
        self.assertEqual(event["attempt"], 2)
        self.assertEqual(
            self.line(JobEventKind.INTERRUPTED, attempt=1, reason="its daemon died"),
            "job 17 attempt 1 interrupted: its daemon died",
        )
        self.assertEqual(
            self.line(JobEventKind.INTERRUPTED, attempt=1), "job 17 attempt 1 interrupted"
        )

    def test_fields(self) -> None:
        """
        The numbers are fields of the event too; arguments, labels and key are not.
        """
        event = self.log(
            JobEventKind.FINISHED,
            None,
            1.25,
            attempt=3,
            state=JobState.FAILED,
            error=JobFailure("timeout", "too long"),
            owner="ana",
            key="secret",
            labels={"token": "secret"},
            args=(["curl", "-H", "secret"], {"env": {"TOKEN": "secret"}}),
            result="secret",
        )
        fields = {
            "job": 17,
            "attempt": 3,
            "kind": "finished",
            "state": "failed",
            "priority": 0,
            "name": "README.md",
            "owner": "ana",
            "waited": None,
            "ran": 1.25,
            "code": "timeout",
        }
        self.assertEqual({name: event[name] for name in fields}, fields)
        self.assertEqual(event["log_namespace"], "ganeti_pool.job")
        self.assertEqual(event["log_level"].name, "info")
        self.assertNotIn("secret", repr(event))

    def test_oneLine(self) -> None:
        """
        Whatever a program has said, it is one line, and goes into a file as it is.
        """
        said = "{a}\n2026-01-31 job 18\x1b[1m \udc80é"
        line = self.line(
            JobEventKind.FINISHED, state=JobState.FAILED, error=JobFailure("exception", said)
        )
        self.assertEqual(line, "job 17 failed: exception: {a} 2026-01-31 job 18 [1m  é")

    def test_everyKind(self) -> None:
        """
        There is a line for each kind of event.
        """
        lines = {self.line(kind) for kind in JobEventKind}
        self.assertEqual(len(lines), len(JobEventKind))
