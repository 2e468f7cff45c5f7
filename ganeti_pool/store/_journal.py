"""
What each request of the store is in SQL.

The functions do what L{IJobStore <ganeti_pool.interfaces.IJobStore>} says of
the methods of their names (C{get} added, where it only reads). Each runs in the
transaction of the connection that it is given, and knows nothing of threads or
Deferreds. A write starts by checking the epoch that it carries. Where a
function refuses, the caller rolls back what it did.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    text,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects import sqlite

from ..errors import NoSuchJob, OwnershipLost
from ..jobs import FINISHED, Attempt, Job, JobFilter, JobState, NewJob, Outcome, QueuedJob
from . import _transitions
from .schema import allAttempts, allJobs, attempts, jobs, journal, settings

__all__ = [
    "acquire",
    "addJobs",
    "cancelQueued",
    "changePriority",
    "finishAttempt",
    "getAttempts",
    "getChangedJobs",
    "getJob",
    "getLastPosition",
    "getQueuedJobs",
    "getRunningJobs",
    "getSettings",
    "getSummary",
    "getWorkers",
    "listJobs",
    "recordHandle",
    "removeFinished",
    "removeJob",
    "requestCancel",
    "requeueAttempt",
    "retryJob",
    "setSettings",
    "startAttempt",
]

_LARGEST = 2**63 - 1
"""
The largest integer that SQLite holds.
"""

# Part of every write, so made once.
_theCounters = select(*(column.label(column.key) for column in journal.c))
_oneJob = allJobs.where(jobs.c.id == bindparam("jobID"))


def acquire(connection: Connection, owner: str, now: datetime) -> int:
    """
    Begin another epoch, and return it.
    """
    connection.execute(
        update(journal).values(epoch=journal.c.epoch + 1, owner=owner, acquiredAt=now)
    )
    return int(connection.execute(select(journal.c.epoch)).scalar_one())


def addJobs(
    connection: Connection,
    epoch: int,
    new: Sequence[NewJob],
    firstPosition: int,
    now: datetime,
    room: int | None,
) -> list[Job]:
    counters = _counters(connection, epoch)
    if not new:
        return []
    # What AUTOINCREMENT would take next. Nobody else adds while this transaction
    # has the write lock, and rows that bring their ids go in as one statement.
    lastID = connection.scalar(text("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'")) or 0
    known = _jobsByKey(connection, [job.key for job in new if job.key is not None])
    addition = _transitions.addedAll(
        new, lastID, firstPosition, now, counters.revision, known, room
    )
    if addition.new:
        rows = [{**vars(job), "fingerprint": mark} for job, mark in addition.new]
        connection.execute(insert(jobs), rows)
        last, _ = addition.new[-1]
        connection.execute(
            update(journal).values(
                revision=last.revision,
                lastPosition=max(counters.lastPosition, last.position),
            )
        )
    return addition.jobs


def _jobsByKey(connection: Connection, keys: Sequence[str]) -> dict[str, tuple[Job, str]]:
    """
    The jobs that have these keys, and their fingerprints.
    """
    if not keys:
        return {}
    # one parameter, however many keys: SQLite has a limit for those
    wanted = func.json_each(json.dumps(keys)).table_valued("value")
    having = jobs.c.key.in_(select(wanted.c.value))
    found = _allOf(connection, allJobs.where(having))
    marks = dict(connection.execute(select(jobs.c.key, jobs.c.fingerprint).where(having)).all())
    return {job.key: (job, marks[job.key]) for job in found if job.key is not None}


def startAttempt(
    connection: Connection, epoch: int, jobID: int, attempt: int, now: datetime
) -> Job:
    counters = _counters(connection, epoch)
    job = getJob(connection, jobID)
    started = _save(connection, counters, job, _transitions.started(job, attempt, now))
    connection.execute(insert(attempts).values(jobID=jobID, number=attempt, startedAt=now))
    return started


def recordHandle(connection: Connection, epoch: int, jobID: int, attempt: int, handle: str) -> None:
    _counters(connection, epoch)
    _transitions.checkRunning(getJob(connection, jobID), attempt)
    _changeAttempt(connection, jobID, handle=handle)


def finishAttempt(
    connection: Connection,
    epoch: int,
    jobID: int,
    attempt: int,
    outcome: Outcome,
    now: datetime,
) -> Job:
    counters = _counters(connection, epoch)
    job = getJob(connection, jobID)
    ended = _save(connection, counters, job, _transitions.finished(job, attempt, outcome, now))
    _changeAttempt(
        connection,
        jobID,
        finishedAt=now,
        outcome=outcome.state,
        error=outcome.error,
        output=outcome.output,
    )
    return ended


def requeueAttempt(
    connection: Connection,
    epoch: int,
    jobID: int,
    attempt: int,
    priority: int,
    position: int,
    deferred: bool,
    reason: str | None,
    now: datetime,
) -> Job:
    counters = _counters(connection, epoch)
    job = getJob(connection, jobID)
    waiting = _transitions.requeued(job, attempt, priority, position, deferred, reason)
    waiting = _save(connection, counters, job, waiting)
    _changeAttempt(connection, jobID, finishedAt=now, outcome=JobState.QUEUED)
    connection.execute(update(journal).values(lastPosition=max(counters.lastPosition, position)))
    return waiting


def retryJob(connection: Connection, epoch: int, jobID: int, position: int) -> Job:
    counters = _counters(connection, epoch)
    job = getJob(connection, jobID)
    waiting = _save(connection, counters, job, _transitions.retried(job, position))
    if waiting is not job:
        connection.execute(
            update(journal).values(lastPosition=max(counters.lastPosition, position))
        )
    return waiting


def removeJob(connection: Connection, epoch: int, jobID: int) -> None:
    _counters(connection, epoch)
    _transitions.checkRemovable(getJob(connection, jobID))
    _remove(connection, [jobID])


def removeFinished(connection: Connection, epoch: int, before: datetime, limit: int) -> list[int]:
    _counters(connection, epoch)
    # the first of each state apart, which are read off an index
    each = (
        select(jobs.c.id, jobs.c.finishedAt)
        .where(jobs.c.state == state, jobs.c.finishedAt < before)
        .order_by(jobs.c.finishedAt)
        .limit(limit)
        .subquery()
        for state in FINISHED
    )
    merged = union_all(*(select(part) for part in each)).subquery()
    oldest = select(merged.c.id).order_by(merged.c.finishedAt, merged.c.id).limit(limit)
    found = list(connection.scalars(oldest))
    _remove(connection, found)
    return found


def changePriority(connection: Connection, epoch: int, jobID: int, priority: int) -> Job:
    counters = _counters(connection, epoch)
    job = getJob(connection, jobID)
    return _save(connection, counters, job, _transitions.reprioritised(job, priority))


def cancelQueued(connection: Connection, epoch: int, jobID: int, now: datetime) -> Job:
    counters = _counters(connection, epoch)
    job = getJob(connection, jobID)
    return _save(connection, counters, job, _transitions.withdrawn(job, now))


def requestCancel(connection: Connection, epoch: int, jobID: int, now: datetime) -> Job:
    counters = _counters(connection, epoch)
    job = getJob(connection, jobID)
    return _save(connection, counters, job, _transitions.cancelRequested(job, now))


def setSettings(connection: Connection, epoch: int, values: Mapping[str, Any]) -> None:
    _counters(connection, epoch)
    for name, value in values.items():
        plain = _transitions.plainJSON(value, f"the setting {name!r}")
        connection.execute(
            sqlite.insert(settings)
            .values(name=name, value=plain)
            .on_conflict_do_update(index_elements=["name"], set_={"value": plain})
        )


def getSettings(connection: Connection) -> dict[str, Any]:
    return {row.name: row.value for row in connection.execute(select(settings))}


def getQueuedJobs(
    connection: Connection, limit: int, after: tuple[int, int] | None
) -> list[QueuedJob]:
    waiting = (
        select(jobs.c.id, jobs.c.priority, jobs.c.position, jobs.c.attempt)
        .where(jobs.c.state == JobState.QUEUED)
        .order_by(jobs.c.priority, jobs.c.position)
        .limit(limit)
    )
    if after is not None:
        waiting = waiting.where(tuple_(jobs.c.priority, jobs.c.position) > tuple_(*after))
    return [QueuedJob(*row) for row in connection.execute(waiting)]


def getWorkers(connection: Connection) -> frozenset[str]:
    unfinished = select(jobs.c.worker).where(jobs.c.state.not_in(FINISHED)).distinct()
    return frozenset(connection.scalars(unfinished))


def getRunningJobs(connection: Connection) -> list[tuple[Job, Attempt]]:
    running = allJobs.where(jobs.c.state == JobState.RUNNING).order_by(jobs.c.id)
    # one select for each: there are never more than workers
    return [
        (
            job,
            _attempt(
                connection.execute(
                    allAttempts.where(attempts.c.jobID == job.id, attempts.c.outcome.is_(None))
                ).one()
            ),
        )
        for job in _allOf(connection, running)
    ]


def getLastPosition(connection: Connection) -> int:
    return int(connection.execute(select(journal.c.lastPosition)).scalar_one())


def getJob(connection: Connection, jobID: int) -> Job:
    """
    @raise NoSuchJob: if there is none.
    """
    row = (
        connection.execute(_oneJob, {"jobID": jobID}).one_or_none()
        if 0 < jobID <= _LARGEST
        else None
    )
    if row is None:
        raise NoSuchJob(jobID)
    return _job(row)


def getAttempts(connection: Connection, jobID: int) -> list[Attempt]:
    """
    @raise NoSuchJob: if there is no such job.
    """
    getJob(connection, jobID)
    rows = connection.execute(allAttempts.where(attempts.c.jobID == jobID).order_by(attempts.c.id))
    return [_attempt(row) for row in rows]


def listJobs(
    connection: Connection, which: JobFilter, newestFirst: bool, limit: int, after: int | None
) -> list[Job]:
    order = jobs.c.id.desc() if newestFirst else jobs.c.id.asc()
    behind = select(jobs.c.id).order_by(order).limit(limit)
    if after is not None:
        behind = behind.where(jobs.c.id < after if newestFirst else jobs.c.id > after)
    if which.name is not None:
        behind = behind.where(jobs.c.name == which.name)
    for label, value in which.labels:
        # by rows, since a path could not hold every label
        pair = func.json_each(jobs.c.labels).table_valued("key", "value")
        behind = behind.where(exists().where(pair.c.key == label, pair.c.value == value))
    # The first of each state apart, then the first of all: so each is read off
    # an index in the order of ids, where several states at once would be sorted
    # whole. The name's index needs a state too.
    states = which.states or (JobState if which.name is not None else ())
    if states:
        each = (behind.where(jobs.c.state == state).subquery() for state in states)
        merged = union_all(*(select(part.c.id) for part in each)).subquery()
        chosen = select(merged.c.id)
    else:
        chosen = select(behind.subquery().c.id)
    return _allOf(connection, allJobs.where(jobs.c.id.in_(chosen)).order_by(order).limit(limit))


def getChangedJobs(connection: Connection, after: int, limit: int) -> list[Job]:
    changed = allJobs.where(jobs.c.revision > after).order_by(jobs.c.revision).limit(limit)
    return _allOf(connection, changed)


def getSummary(connection: Connection, now: datetime) -> dict[str, Any]:
    """
    What L{IJobStore.summary <ganeti_pool.interfaces.IJobStore.summary>} says of
    the jobs.
    """

    def one(column: Any, state: JobState, *more: Any) -> Any:
        return connection.scalar(select(column).where(jobs.c.state == state, *more))

    lately = jobs.c.finishedAt >= now - timedelta(days=1)
    # the smallest id, which an index finds, is the one submitted first
    oldest = select(func.min(jobs.c.id)).where(jobs.c.state == JobState.QUEUED)
    return {
        "states": {
            state.value: one(func.count(), state) for state in (JobState.QUEUED, JobState.RUNNING)
        },
        "oldestQueuedAt": connection.scalar(
            select(jobs.c.submittedAt).where(jobs.c.id == oldest.scalar_subquery())
        ),
        "longestRunningAt": one(func.min(jobs.c.startedAt), JobState.RUNNING),
        # one count for each state: a GROUP BY would walk the whole index
        "lastDay": {
            state.value: one(func.count(), state, lately) for state in JobState if state in FINISHED
        },
    }


def _counters(connection: Connection, epoch: int) -> Row[Any]:
    """
    The journal's row, which is the counters before a write.

    @raise OwnershipLost: if the epoch is over.
    """
    counters = connection.execute(_theCounters).one()
    if counters.epoch != epoch:
        raise OwnershipLost(epoch, counters.epoch)
    return counters


def _save(connection: Connection, counters: Row[Any], old: Job, new: Job) -> Job:
    """
    Write what differs, under the next revision; nothing, if nothing does.
    """
    if new == old:
        return old
    new = replace(new, revision=counters.revision + 1)
    before = vars(old)
    changed = {name: value for name, value in vars(new).items() if value != before[name]}
    connection.execute(update(jobs).where(jobs.c.id == old.id).values(changed))
    connection.execute(update(journal).values(revision=new.revision))
    return new


def _remove(connection: Connection, jobIDs: Sequence[int]) -> None:
    """
    Forget jobs and their attempts.
    """
    gone = func.json_each(json.dumps(jobIDs)).table_valued("value")
    chosen = select(gone.c.value)
    connection.execute(delete(attempts).where(attempts.c.jobID.in_(chosen)))
    connection.execute(delete(jobs).where(jobs.c.id.in_(chosen)))


def _changeAttempt(connection: Connection, jobID: int, **values: Any) -> None:
    """
    Write something of the running attempt of a job.
    """
    running = (attempts.c.jobID == jobID, attempts.c.outcome.is_(None))
    connection.execute(update(attempts).where(*running).values(values))


def _job(row: Row[Any]) -> Job:
    return Job(**row._mapping)


def _attempt(row: Row[Any]) -> Attempt:
    return Attempt(**row._mapping)


def _allOf(connection: Connection, chosen: Select[Any]) -> list[Job]:
    return [_job(row) for row in connection.execute(chosen)]
