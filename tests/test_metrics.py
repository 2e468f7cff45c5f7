"""
Tests for L{ganeti_pool.metrics}.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import metrics
from ganeti_pool.errors import StoreError
from ganeti_pool.interfaces import QueueStatus, QuiescesStatus
from ganeti_pool.jobs import JobEvent, JobEventKind, JobFailure, JobState
from ganeti_pool.metrics import JobMetrics

from .fakequeue import makeJob, makeStatus

Labels = frozenset[tuple[str, str]]


def labels(**given: str) -> Labels:
    """
    Labels as a key.
    """
    return frozenset(given.items())


class QueueToAsk:
    """
    A queue that says how it is.
    """

    def __init__(self) -> None:
        self.waiting: dict[int, int] = {}
        self.status = makeStatus()
        self.failure: Exception | None = None

    def poolStatus(self) -> Deferred[QueueStatus]:
        return succeed(self.status) if self.failure is None else fail(self.failure)


class MetricsTests(SynchronousTestCase):
    """
    Tests for L{JobMetrics}.
    """

    def setUp(self) -> None:
        self.metrics = JobMetrics()
        self.queue = QueueToAsk()

    def render(self) -> str:
        queue: Any = self.queue
        return self.successResultOf(self.metrics.render(queue)).decode()

    def values(self) -> dict[str, dict[Labels, float]]:
        """
        What is told, as Prometheus reads it: values by name and labels.
        """
        found: dict[str, dict[Labels, float]] = {}
        for family in text_string_to_metric_families(self.render()):
            for sample in family.samples:
                key = labels(**sample.labels)
                self.assertNotIn(key, found.setdefault(sample.name, {}), sample)
                found[sample.name][key] = sample.value
        return found

    def test_droppedLines(self) -> None:
        """
        The number of log lines that were dropped is a counter.
        """
        name = "ganeti_pool_log_dropped_lines_total"
        self.assertEqual(self.values()[name], {labels(): 0})
        self.metrics = JobMetrics(lambda: 3)
        self.assertEqual(self.values()[name], {labels(): 3})

    def test_versionIsReadOnce(self) -> None:
        """
        The version of the daemon is not looked up on the disk each time.
        """
        self.patch(metrics, "version", None)
        for _ in range(2):
            self.assertIn("ganeti_pool_build_info{version=", self.render())

    def value(self, name: str, **given: str) -> float:
        """
        One value.
        """
        return self.values()[f"ganeti_pool_{name}"][labels(**given)]

    def finish(self, state: JobState = JobState.FAILED, code: str | None = None) -> None:
        error = None if code is None else JobFailure(code, "why")
        self.metrics.observe(JobEvent(JobEventKind.FINISHED, makeJob(state=state, error=error)))

    def test_status(self) -> None:
        """
        What the queue says of this moment is told as it is.
        """
        values = self.values()
        self.assertEqual(
            values["ganeti_pool_jobs"],
            {labels(state="queued"): 17, labels(state="running"): 3},
        )
        for name, value in (
            ("active", 1),
            ("workers", 4),
            ("workers_busy", 3),
            ("next_job_wait_seconds", 1.5),
            ("unwritten_outcomes", 2),
            ("store_trouble", 0),
            ("store_bytes", 4096),
            ("store_free_bytes", 100),
        ):
            self.assertEqual(values[f"ganeti_pool_{name}"], {labels(): value}, name)

    def test_quiesces(self) -> None:
        """
        Standing quiesces are counted, with the time of the oldest; with none there is no time.
        """
        oldest = "ganeti_pool_quiesce_timestamp_seconds"
        text = self.render()
        self.assertIn("ganeti_pool_quiesces 0.0\n", text)
        self.assertNotIn(f"\n{oldest} ", text)
        since = datetime(1970, 1, 2, 0, 0, 1, 500_000, timezone.utc)
        self.queue.status = replace(self.queue.status, quiesces=QuiescesStatus(2, since))
        text = self.render()
        self.assertIn("ganeti_pool_quiesces 2.0\n", text)
        self.assertIn(f"\n{oldest} 86401.5\n", text)

    def test_otherStatus(self) -> None:
        """
        So are a pause, an empty queue, and a store that refuses what is written.
        """
        status = self.queue.status
        self.queue.status = replace(
            status,
            active=False,
            statistics=replace(status.statistics, waited=None),
            store=replace(status.store, lastError="the disk is full"),
        )
        values = self.values()
        for name, value in (("active", 0), ("next_job_wait_seconds", 0), ("store_trouble", 1)):
            self.assertEqual(values[f"ganeti_pool_{name}"], {labels(): value}, name)

    def test_unreadStore(self) -> None:
        """
        What the store cannot tell is left out, and the rest is told.
        """
        store = replace(self.queue.status.store, bytes=None, freeBytes=None, lastError="it is lost")
        self.queue.status = replace(self.queue.status, store=store)
        values = self.values()
        self.assertEqual(values["ganeti_pool_store_trouble"], {labels(): 1})
        self.assertEqual(values["ganeti_pool_workers"], {labels(): 4})
        self.assertNotIn("ganeti_pool_store_bytes", values)
        self.assertNotIn("ganeti_pool_store_free_bytes", values)

    def test_noStore(self) -> None:
        """
        If the store cannot be asked, that is told, and all that is known without it.
        """
        self.queue.failure = StoreError("it has been closed")
        self.queue.waiting = {0: 2}
        values = self.values()
        self.assertEqual(values["ganeti_pool_store_trouble"], {labels(): 1})
        self.assertEqual(values["ganeti_pool_queue_depth"], {labels(priority="0"): 2})
        self.assertIn("process_open_fds", values)
        self.assertNotIn("ganeti_pool_jobs", values)

    def test_depth(self) -> None:
        """
        Waiting jobs are counted by priority.
        """
        self.queue.waiting = {-10: 2, 0: 5}
        self.assertEqual(
            self.values()["ganeti_pool_queue_depth"],
            {labels(priority="-10"): 2, labels(priority="0"): 5},
        )

    def test_manyPriorities(self) -> None:
        """
        Very many priorities are told as one.
        """
        self.queue.waiting = dict.fromkeys(range(100), 2)
        self.assertEqual(len(self.values()["ganeti_pool_queue_depth"]), 100)
        self.queue.waiting[100] = 2
        self.assertEqual(self.value("queue_depth", priority="other"), 202)
        self.assertEqual(len(self.values()["ganeti_pool_queue_depth"]), 1)

    def test_events(self) -> None:
        """
        Each kind of event is counted, from zero.
        """
        counts = {labels(event=kind.value): 0.0 for kind in JobEventKind}
        self.assertEqual(self.values()["ganeti_pool_job_events_total"], counts)
        for number, kind in enumerate(JobEventKind):
            for _ in range(number):
                self.metrics.observe(JobEvent(kind, makeJob()))
            counts[labels(event=kind.value)] = number
        self.assertEqual(self.values()["ganeti_pool_job_events_total"], counts)

    def test_durations(self) -> None:
        """
        How long jobs have waited and run is told in buckets; a duration that nobody
        knows is in none.
        """
        for waited in (0.05, 2, None):
            self.metrics.observe(JobEvent(JobEventKind.STARTED, makeJob(), waited=waited))
        for ran in (70, 100000, None):
            self.metrics.observe(JobEvent(JobEventKind.FINISHED, makeJob(), ran=ran))
        self.assertEqual(self.value("job_wait_seconds_count"), 2)
        self.assertEqual(self.value("job_wait_seconds_sum"), 2.05)
        self.assertEqual(self.value("job_wait_seconds_bucket", le="0.01"), 0)
        self.assertEqual(self.value("job_wait_seconds_bucket", le="0.1"), 1)
        self.assertEqual(self.value("job_wait_seconds_bucket", le="5.0"), 2)
        self.assertEqual(self.value("job_run_seconds_bucket", le="60.0"), 0)
        self.assertEqual(self.value("job_run_seconds_bucket", le="86400.0"), 1)
        self.assertEqual(self.value("job_run_seconds_bucket", le="+Inf"), 2)

    def test_outcomes(self) -> None:
        """
        Outcomes are counted by state and by the code of the error; only a finish is an
        outcome.
        """
        self.finish(JobState.SUCCEEDED)
        self.finish(code="exit_nonzero")
        self.finish(code="exit_nonzero")
        self.finish(JobState.CANCELLED, code="cancelled")
        self.metrics.observe(JobEvent(JobEventKind.RETRIED, makeJob(state=JobState.QUEUED)))
        self.assertEqual(
            self.values()["ganeti_pool_jobs_finished_total"],
            {
                labels(outcome="succeeded", code=""): 1,
                labels(outcome="failed", code=""): 0,
                labels(outcome="cancelled", code=""): 0,
                labels(outcome="failed", code="exit_nonzero"): 2,
                labels(outcome="cancelled", code="cancelled"): 1,
            },
        )

    def test_manyCodes(self) -> None:
        """
        A worker class that makes up codes, or very long ones, does not make as many
        time series.
        """
        self.finish(code="x" * 65)
        for number in range(1000):
            self.finish(code=f"made_up_{number}")
        outcomes = self.values()["ganeti_pool_jobs_finished_total"]
        self.assertLess(len(outcomes), 60)
        self.assertEqual(sum(outcomes.values()), 1001)
        self.assertEqual(outcomes[labels(outcome="failed", code="made_up_0")], 1)
        self.assertGreater(outcomes[labels(outcome="failed", code="other")], 900)

    def test_commits(self) -> None:
        """
        Commits are told by the time that they took, and by how much was in them.
        """
        self.metrics.committed(3, 0.003)
        self.metrics.committed(300, 10)
        self.assertEqual(self.value("store_commit_seconds_sum"), 10.003)
        self.assertEqual(self.value("store_commit_seconds_bucket", le="0.005"), 1)
        self.assertEqual(self.value("store_commit_seconds_bucket", le="5.0"), 1)
        self.assertEqual(self.value("store_commit_changes_bucket", le="2.0"), 0)
        self.assertEqual(self.value("store_commit_changes_bucket", le="4.0"), 1)
        self.assertEqual(self.value("store_commit_changes_sum"), 303)

    def test_process(self) -> None:
        """
        There are figures of the process, and the version of what runs.
        """
        values = self.values()
        self.assertGreater(values["process_resident_memory_bytes"][labels()], 1_000_000)
        self.assertGreater(values["process_open_fds"][labels()], 0)
        (build,) = values["ganeti_pool_build_info"]
        self.assertEqual([name for name, _ in build], ["version"])

    def test_format(self) -> None:
        """
        Every metric has a help text of its own and a type, and none is told twice.
        """
        self.finish(code='we"ird\n\\code')
        families = list(text_string_to_metric_families(self.render()))
        names = [family.name for family in families]
        self.assertEqual(len(names), len(set(names)))
        for family in families:
            self.assertNotEqual(family.type, "unknown", family.name)
            self.assertTrue(family.documentation.endswith("."), family.name)
            self.assertRegex(family.name, "^(ganeti_pool|process)_[a-z_]+$")
            for sample in family.samples:
                self.assertFalse(sample.name.endswith("_created"))
        self.assertEqual(
            self.value("jobs_finished_total", outcome="failed", code='we"ird\n\\code'), 1
        )

    def test_noneInCommon(self) -> None:
        """
        Two of them count apart.
        """
        self.finish()
        self.metrics = JobMetrics()
        self.assertEqual(self.value("jobs_finished_total", outcome="failed", code=""), 0)
