"""
What the daemon tells Prometheus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Metric,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from twisted.internet.defer import Deferred

from .errors import StoreError
from .interfaces import IJobQueue, QueueStatus
from .jobs import FINISHED, JobEvent, JobEventKind, JobState

__all__ = ["JobMetrics"]

_WAIT_AND_RUN = (0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
_COMMIT = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5)
_GROUP = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

_MOST_PRIORITIES = 100
_MOST_CODES = 50
_LONGEST_CODE = 64

_OTHER = "other"
"""
The label of all that would have a label of its own, were there not so many.
"""


class JobMetrics:
    """
    Counts what happens to jobs and to their store, and asks the queue for the rest
    when somebody wants to know. It has a registry of its own, so there may be more
    than one of it. However many codes and priorities the jobs have, the number of
    time series is bounded.

    Threads: the reactor's.
    """

    def __init__(self, droppedLines: Callable[[], int] = lambda: 0) -> None:
        """
        @param droppedLines: returns the number of log lines that have been dropped.
        """
        self._version = version("ganeti-pool")
        self._droppedLines = droppedLines
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        events = Counter(
            "ganeti_pool_job_events",
            "What has happened to jobs, by kind of event.",
            ["event"],
            registry=self._registry,
        )
        # All are there from the start: a rate wants a zero before the first one.
        self._events = {kind: events.labels(kind.value) for kind in JobEventKind}
        self._finished = Counter(
            "ganeti_pool_jobs_finished",
            "Outcomes of jobs, by final state and the code of the error, which is empty for none.",
            ["outcome", "code"],
            registry=self._registry,
        )
        self._outcomes = {
            (state, ""): self._finished.labels(state.value, "")
            for state in JobState
            if state in FINISHED
        }
        self._waited = Histogram(
            "ganeti_pool_job_wait_seconds",
            "From the submission, retry or deferral of a job to its start.",
            buckets=_WAIT_AND_RUN,
            registry=self._registry,
        )
        self._ran = Histogram(
            "ganeti_pool_job_run_seconds",
            "From the start of an attempt to its end.",
            buckets=_WAIT_AND_RUN,
            registry=self._registry,
        )
        self._commits = Histogram(
            "ganeti_pool_store_commit_seconds",
            "Time to write a group of changes to the store and have the disk confirm it.",
            buckets=_COMMIT,
            registry=self._registry,
        )
        self._groups = Histogram(
            "ganeti_pool_store_commit_changes",
            "How many changes were written to the store in one commit.",
            buckets=_GROUP,
            registry=self._registry,
        )

    def observe(self, event: JobEvent) -> None:
        """
        Count what has happened to a job.
        """
        self._events[event.kind].inc()
        if event.waited is not None:
            self._waited.observe(event.waited)
        if event.ran is not None:
            self._ran.observe(event.ran)
        if event.kind is JobEventKind.FINISHED:
            job = event.job
            self._outcome(job.state, "" if job.error is None else job.error.code).inc()

    def _outcome(self, state: JobState, code: str) -> Counter:
        known = self._outcomes.get((state, code))
        if known is not None:
            return known
        # A worker class may give any code to its failures.
        if len(self._outcomes) >= _MOST_CODES or len(code) > _LONGEST_CODE:
            return self._finished.labels(state.value, _OTHER)
        counter = self._outcomes[state, code] = self._finished.labels(state.value, code)
        return counter

    def committed(self, changes: int, seconds: float) -> None:
        """
        Count a commit of the store.

        @param changes: how many were written in it.
        @param seconds: how long it took.
        """
        self._groups.observe(changes)
        self._commits.observe(seconds)

    def render(self, queue: IJobQueue) -> Deferred[bytes]:
        """
        Ask the queue how it is, and tell everything.

        @return: a Deferred with text in version 0.0.4 of Prometheus' format. If the
            store cannot be asked, it says so, and tells what is known without it.
        """
        return Deferred.fromCoroutine(self._render(queue))

    async def _render(self, queue: IJobQueue) -> bytes:
        try:
            status = await queue.poolStatus()
        except StoreError:
            status = None
        dropped = self._droppedLines()
        return generate_latest(
            _Families(self._version, status, queue.waiting, dropped, self._registry)
        )


class _Families:
    """
    Everything there is to tell at one moment.
    """

    def __init__(
        self,
        version: str,
        status: QueueStatus | None,
        waiting: Mapping[int, int],
        dropped: int,
        registry: CollectorRegistry,
    ) -> None:
        """
        @param version: of the daemon.
        @param status: see L{IJobQueue.poolStatus}; L{None} if it cannot be had.
        @param waiting: see L{IJobQueue.waiting}.
        @param dropped: the number of log lines that have been dropped.
        @param registry: what has been counted.
        """
        self._version = version
        self._status = status
        self._waiting = waiting
        self._dropped = dropped
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """
        Each metric with its values.
        """
        yield InfoMetricFamily(
            "ganeti_pool_build", "The running daemon.", {"version": self._version}
        )
        yield self._depths()
        status = self._status
        isWell = status is not None and status.store.lastError is None
        yield GaugeMetricFamily(
            "ganeti_pool_store_trouble",
            "1 while the store cannot be read, is lost or damaged, has refused the latest change, "
            "or has a job that cannot start; else 0.",
            value=not isWell,
        )
        yield CounterMetricFamily(
            "ganeti_pool_log_dropped_lines",
            "Log lines that were dropped, since the log could not be written.",
            value=self._dropped,
        )
        if status is not None:
            yield from _familiesOf(status)
        for metric in self._registry.collect():
            # When a counter was made is the start time of the process, which is told.
            metric.samples = [one for one in metric.samples if not one.name.endswith("_created")]
            yield metric

    def _depths(self) -> Metric:
        depths = GaugeMetricFamily(
            "ganeti_pool_queue_depth",
            f"Waiting jobs by priority; all as {_OTHER} while there are more than "
            f"{_MOST_PRIORITIES} different ones.",
            labels=["priority"],
        )
        counts: Iterable[tuple[object, int]] = self._waiting.items()
        if len(self._waiting) > _MOST_PRIORITIES:
            counts = [(_OTHER, sum(self._waiting.values()))]
        for priority, count in counts:
            depths.add_metric([str(priority)], count)
        return depths


def _familiesOf(status: QueueStatus) -> Iterator[Metric]:
    jobs = GaugeMetricFamily(
        "ganeti_pool_jobs", "Jobs without an outcome, by state.", labels=["state"]
    )
    jobs.add_metric([JobState.QUEUED.value], status.jobs.queued)
    jobs.add_metric([JobState.RUNNING.value], status.jobs.running)
    yield jobs
    oldest = GaugeMetricFamily(
        "ganeti_pool_quiesce_timestamp_seconds",
        "When the oldest active quiesce began, in seconds since 1970; absent without one.",
    )
    since = status.quiesces.since
    if since is not None:
        oldest.add_metric([], since.timestamp())
    yield oldest
    store = status.store
    for name, what, value in (
        (
            "next_job_wait_seconds",
            "How long the next job to start has waited; 0 if none waits.",
            status.statistics.waited or 0,
        ),
        ("active", "1 if jobs are started, 0 during a pause.", status.active),
        (
            "quiesces",
            "How many clients wait for a quiesce, which holds back jobs submitted since.",
            status.quiesces.count,
        ),
        ("workers", "How many jobs can run at once.", status.statistics.workers),
        ("workers_busy", "How many workers have a job.", status.busy),
        (
            "unwritten_outcomes",
            "Outcomes of jobs that could not be written to the store yet; each holds a worker.",
            store.unwritten,
        ),
        ("store_bytes", "The size of the store on the disk.", store.bytes),
        ("store_free_bytes", "What is free on the disk of the store.", store.freeBytes),
    ):
        # What the store cannot tell now is left out.
        if value is not None:
            yield GaugeMetricFamily(f"ganeti_pool_{name}", what, value=value)
