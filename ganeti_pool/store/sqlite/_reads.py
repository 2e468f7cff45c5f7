"""
The reads of the store in SQL.

The functions do what L{IJobStore <ganeti_pool.interfaces.IJobStore>} and L{IUnitOfWork
<ganeti_pool.interfaces.IUnitOfWork>} promise for the methods of their names (C{get}
added). Each runs in the transaction of its connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from json import dumps, loads
from sqlite3 import Connection
from typing import Any

from sqlalchemy import Integer, and_, bindparam, func, not_, select, table, text
from sqlalchemy import column as columnOf

from ...errors import NoSuchJob
from ...jobs import FINISHED, Attempt, Job, JobFilter, JobState, QueuedJob, transitions
from ...jobs.checks import checkFilter
from ...jobs.limits import MAX_INTEGER
from ._listing import listing
from ._rows import (
    REMOVED,
    REMOVED_END,
    allAttempts,
    allJobs,
    attemptOf,
    jobOf,
    microseconds,
    removedRow,
    timeOf,
    workerOf,
)
from ._statements import Statement
from .schema import CLOSED_CLEANLY, attempts, jobs, journal, settings

__all__ = [
    "getAttempts",
    "getChangedJobs",
    "getJob",
    "getKnown",
    "getLastID",
    "getLatestAttempt",
    "getListedJobs",
    "getQueuedJobs",
    "getRevision",
    "getRunningJobs",
    "getSettings",
    "getSummary",
    "getWorkers",
]

_limit = bindparam("limit", type_=Integer)

# The counts of removed jobs and the note of an orderly end are rows of the same table, and
# not settings.
_isRemoved = and_(settings.c.name >= REMOVED, settings.c.name < REMOVED_END)
_theSettings = Statement(
    select(settings.c.name, settings.c.value).where(
        not_(_isRemoved), settings.c.name != CLOSED_CLEANLY
    )
)
_theRemoved = Statement(
    select(settings.c.value).where(
        settings.c.name >= bindparam("since"), settings.c.name < REMOVED_END
    )
)

# By name, since SQLite would take the index of the states instead, and sort.
_waiting = "FROM jobs INDEXED BY jobs_that_wait WHERE state = 'queued'"
_page = "ORDER BY priority, position LIMIT :limit"
_theFirstThatWait = Statement(text(f"SELECT id, priority, position, attempt {_waiting} {_page}"))
_theNextThatWait = Statement(
    text(
        f"SELECT id, priority, position, attempt {_waiting} "
        f"AND (priority, position) > (:priority, :position) {_page}"
    )
)

_theNumberThatWait = Statement(select(journal.c.waiting))
_theWorkers = Statement(select(journal.c.unfinished))
_isRunning = jobs.c.state == JobState.RUNNING.value
_theRunning = Statement(allJobs.add_columns(jobs.c.handle).where(_isRunning).order_by(jobs.c.id))
_theRevision = Statement(select(journal.c.revision))
_sequence = table("sqlite_sequence", columnOf("name"), columnOf("seq", Integer))
_theLastID = Statement(select(_sequence.c.seq).where(_sequence.c.name == jobs.name))
_isIt = jobs.c.id == bindparam("jobID")
_theJob = Statement(allJobs.where(_isIt))
_given = func.json_each(bindparam("jobIDs")).table_valued("value")
_theKnown = Statement(select(jobs.c.id).where(jobs.c.id.in_(select(_given.c.value))))
_theHandle = Statement(select(jobs.c.handle).where(_isIt))
_theAttempts = Statement(
    allAttempts.where(attempts.c.jobID == bindparam("jobID")).order_by(
        attempts.c.number, attempts.c.deferrals
    )
)
_theChanged = Statement(
    allJobs.where(jobs.c.revision > bindparam("after")).order_by(jobs.c.revision).limit(_limit)
)

# the smallest id, which an index finds, is the one submitted first
_oldest = select(func.min(jobs.c.id)).where(jobs.c.state == JobState.QUEUED.value)
_whenOldest = Statement(select(jobs.c.submittedAt).where(jobs.c.id == _oldest.scalar_subquery()))
_theNumberThatRun = Statement(select(func.count(), func.min(jobs.c.startedAt)).where(_isRunning))
# one count for each state: a GROUP BY would walk the whole index
_theNumberThatEnded = Statement(
    select(func.count()).where(
        jobs.c.state == bindparam("state"), jobs.c.finishedAt >= bindparam("since")
    )
)


def getSettings(connection: Connection) -> dict[str, Any]:
    return {name: loads(value) for name, value in _theSettings.run(connection)}


def getQueuedJobs(
    connection: Connection, limit: int, after: tuple[int, int] | None
) -> list[QueuedJob]:
    if after is None:
        rows = _theFirstThatWait.run(connection, limit=limit)
    else:
        priority, position = after
        rows = _theNextThatWait.run(connection, limit=limit, priority=priority, position=position)
    return [QueuedJob(*row) for row in rows]


def getWorkers(connection: Connection) -> frozenset[tuple[str, int]]:
    ((unfinished,),) = _theWorkers.run(connection)
    return frozenset(map(workerOf, loads(unfinished)))


def getRunningJobs(connection: Connection) -> list[tuple[Job, Attempt]]:
    running = [(jobOf(row), handle) for *row, handle in _theRunning.run(connection)]
    attempts = [(job, transitions.latestAttempt(job, handle)) for job, handle in running]
    return [(job, attempt) for job, attempt in attempts if attempt]


def getRevision(connection: Connection) -> int:
    ((revision,),) = _theRevision.run(connection)
    return int(revision)


def getLastID(connection: Connection) -> int:
    for (last,) in _theLastID.run(connection):
        return int(last)
    return 0


def getJob(connection: Connection, jobID: int) -> Job:
    """
    @raise NoSuchJob: if there is none.
    """
    if 0 < jobID <= MAX_INTEGER:
        for row in _theJob.run(connection, jobID=jobID):
            return jobOf(row)
    raise NoSuchJob(jobID)


def getKnown(connection: Connection, jobIDs: Sequence[int]) -> frozenset[int]:
    return frozenset(jobID for (jobID,) in _theKnown.run(connection, jobIDs=dumps(jobIDs)))


def getLatestAttempt(connection: Connection, job: Job) -> Attempt | None:
    """
    @return: the one that runs or ended the job; L{None}, if it waits or never ran.
    """
    ((handle,),) = _theHandle.run(connection, jobID=job.id)
    return transitions.latestAttempt(job, handle)


def getAttempts(connection: Connection, jobID: int) -> list[Attempt]:
    """
    @raise NoSuchJob: if there is no such job.
    """
    latest = getLatestAttempt(connection, getJob(connection, jobID))
    earlier = [attemptOf(row) for row in _theAttempts.run(connection, jobID=jobID)]
    return earlier if latest is None else [*earlier, latest]


def getListedJobs(
    connection: Connection, which: JobFilter, newestFirst: bool, limit: int, after: int | None
) -> list[Job]:
    checkFilter(which)
    wanted = sorted(which.labels)
    if len(dict(wanted)) < len(wanted):
        # no job has two values of one label
        return []
    if after is None:
        after = MAX_INTEGER if newestFirst else 0
    values: dict[str, Any] = {"limit": limit, "after": after, "name": which.name}
    for number, (label, value) in enumerate(wanted):
        values[f"label{number}"] = label
        values[f"value{number}"] = value
    statement = listing(which.states, which.name is not None, len(wanted), newestFirst)
    return [jobOf(row) for row in statement.run(connection, **values)]


def getChangedJobs(connection: Connection, after: int, limit: int) -> list[Job]:
    return [jobOf(row) for row in _theChanged.run(connection, after=after, limit=limit)]


def getSummary(connection: Connection, now: datetime) -> dict[str, Any]:
    """
    What L{IJobStore.summary <ganeti_pool.interfaces.IJobStore.summary>} says of
    the jobs.
    """
    ((waiting,),) = _theNumberThatWait.run(connection)
    oldest = [timeOf(time) for (time,) in _whenOldest.run(connection)]
    ((running, longest),) = _theNumberThatRun.run(connection)
    lastDay = {}
    since = microseconds(now - timedelta(days=1))
    for state in sorted(FINISHED):
        counts = _theNumberThatEnded.run(connection, state=state.value, since=since)
        ((lastDay[state.value],),) = counts
    for (counted,) in _theRemoved.run(connection, since=removedRow(since)):
        for state, count in loads(counted).items():
            lastDay[state] += count
    return {
        "states": {JobState.QUEUED.value: waiting, JobState.RUNNING.value: running},
        "oldestQueuedAt": oldest[0] if oldest else None,
        "longestRunningAt": timeOf(longest),
        "lastDay": lastDay,
    }
