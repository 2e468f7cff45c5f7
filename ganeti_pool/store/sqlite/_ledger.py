"""
The ledger of a SQLite file: what the writing connection knows, and has yet to write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from json import dumps, loads
from sqlite3 import Connection
from typing import Any

from sqlalchemy import (
    Integer,
    bindparam,
    delete,
    func,
    insert,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects import sqlite

from ...jobs import FINISHED, Attempt, Job, JobState, QueuedJob
from ._reads import (
    getJob,
    getLastID,
    getLatestAttempt,
    getQueuedJobs,
    getRunningJobs,
    getSettings,
    getWorkers,
)
from ._rows import (
    REMOVED,
    allJobs,
    attemptRow,
    changedRow,
    jobOf,
    jobRow,
    microseconds,
    removedRow,
    timeColumn,
    workerKey,
)
from ._statements import Statement
from .schema import CLOSED_CLEANLY, attempts, jobs, journal, labels, settings

__all__ = ["SQLLedger", "wasClosedCleanly"]

_COUNTERS = ("revision", "lastPosition", "waiting", "unfinished")
_theCounters = Statement(select(journal.c.epoch, *(journal.c[key] for key in _COUNTERS)))
_changeCounters = Statement(update(journal), *_COUNTERS)
_acquire = Statement(update(journal), "epoch", "owner", "acquiredAt")
_theOwner = Statement(select(journal.c.owner))

# one parameter, however many keys or IDs: SQLite has a limit for those
_given = select(func.json_each(bindparam("given")).table_valued("value").c.value)
_jobsByID = Statement(allJobs.where(jobs.c.id.in_(_given)))
_jobsByKey = Statement(allJobs.add_columns(jobs.c.fingerprint).where(jobs.c.key.in_(_given)))

_isIt = jobs.c.id == bindparam("jobID")
_setHandle = Statement(update(jobs).where(_isIt), "handle")
_addAttempt = Statement(insert(attempts))
_addLabel = Statement(insert(labels))
_setting = sqlite.insert(settings)
_set = Statement(
    _setting.on_conflict_do_update(index_elements=["name"], set_={"value": _setting.excluded.value})
)

_isMark = settings.c.name == CLOSED_CLEANLY
_theMark = Statement(select(settings.c.value).where(_isMark))
_removeMark = Statement(delete(settings).where(_isMark))

# the first of each state apart, which are read off an index
_limit = bindparam("limit", type_=Integer)
_eachEnded = (
    select(jobs.c.id, jobs.c.finishedAt)
    .where(jobs.c.state == state.value, jobs.c.finishedAt < bindparam("before"))
    .order_by(jobs.c.finishedAt, jobs.c.id)
    .limit(_limit)
    .subquery()
    for state in sorted(FINISHED)
)
_allEnded = union_all(*(select(part) for part in _eachEnded)).subquery()
_theEnded = Statement(
    select(_allEnded.c.id).order_by(_allEnded.c.finishedAt, _allEnded.c.id).limit(_limit)
)
_theLabels = Statement(select(jobs.c.id, jobs.c.labels).where(jobs.c.id.in_(_given)))
_removeLabel = Statement(
    delete(labels).where(*(column == bindparam(column.key) for column in labels.c))
)
_theRemoved = Statement(
    select(jobs.c.state, jobs.c.finishedAt).where(
        jobs.c.id.in_(_given), jobs.c.finishedAt >= bindparam("since")
    )
)
_theCounted = Statement(select(settings.c.value).where(settings.c.name == bindparam("minute")))
_forgetCounted = Statement(
    delete(settings).where(settings.c.name >= REMOVED, settings.c.name < bindparam("since"))
)
_removeAttempts = Statement(delete(attempts).where(attempts.c.jobID.in_(_given)))
_removeJobs = Statement(delete(jobs).where(jobs.c.id.in_(_given)))


_MANY = 8
"""
Fewer jobs than this are read faster one by one.
"""


def wasClosedCleanly(connection: Connection) -> bool:
    """
    Whether nobody has acquired the store since it was closed in good order, or made.
    """
    return _theMark.run(connection).fetchone() is not None


# Only what there is to write, since for the driver nothing is the slowest of values.


@lru_cache(maxsize=64)
def _addJob(columns: tuple[str, ...]) -> Statement:
    return Statement(insert(jobs), *columns)


@lru_cache(maxsize=64)
def _changeJob(columns: tuple[str, ...]) -> Statement:
    return Statement(update(jobs).where(_isIt), *columns)


class SQLLedger:
    """
    A L{Ledger <ganeti_pool.store._base.Ledger>} of a SQLite file.

    What is written stays here until L{flush}, so that a group of writes is a few
    statements, and no row is read twice. The jobs that run stay known from one
    transaction to the next: the end of an attempt has not to look for its beginning.

    Threads: the one that writes.
    """

    def __init__(self, connection: Connection) -> None:
        """
        @param connection: one that begins no transaction by itself.
        """
        self._connection = connection
        # the one that was acquired here
        self._ownEpoch: int | None = None
        self.epoch = self.revision = self.lastPosition = self.lastID = -1
        self._waiting = 0
        self._unfinished: dict[str, int] = {}
        # as the file has them
        self._counters: tuple[Any, ...] = ()
        self._jobs: dict[int, Job] = {}
        self._added: dict[int, str | None] = {}
        # the changed ones as the file has them
        self._changed: dict[int, Job] = {}
        self._handles: dict[int, str | None] = {}

    def begin(self) -> None:
        """
        See how things are at the beginning of a transaction.
        """
        counters = _theCounters.run(self._connection).fetchone()
        if counters != self._counters:
            # the first time; or what was written was rolled back; or another owner came
            self.forget()
            self._counters = counters
            self.epoch, self.revision, self.lastPosition, self._waiting, unfinished = counters
            self._unfinished = loads(unfinished)
            self.lastID = getLastID(self._connection)

    def flush(self) -> None:
        """
        Write what is to be written.
        """
        if self._added:
            added, self._added = self._added, {}
            rows = [jobRow(self._jobs[jobID], mark) for jobID, mark in added.items()]
            self._writeAll(_addJob, rows)
            self._writeLabels(_addLabel, ((jobID, self._jobs[jobID].labels) for jobID in added))
        if self._changed:
            changed, self._changed = self._changed, {}
            rows = [
                {"jobID": jobID, **changedRow(old, self._jobs[jobID])}
                for jobID, old in changed.items()
            ]
            self._writeAll(_changeJob, rows)
        if self._handles:
            handles, self._handles = self._handles, {}
            _setHandle.runAll(
                self._connection,
                [{"jobID": jobID, "handle": handle} for jobID, handle in handles.items()],
            )
        counters = (self.revision, self.lastPosition, self._waiting, dumps(self._unfinished))
        if counters != self._counters[1:]:
            _changeCounters.run(self._connection, **dict(zip(_COUNTERS, counters, strict=True)))
        self._counters = (self.epoch, *counters)

    def _writeAll(
        self, statement: Callable[[tuple[str, ...]], Statement], rows: Iterable[dict[str, Any]]
    ) -> None:
        """
        Write rows, those with the same columns together.
        """
        alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for row in rows:
            alike.setdefault(tuple(row), []).append(row)
        for columns, those in alike.items():
            statement(columns).runAll(self._connection, those)

    def _writeLabels(
        self, statement: Statement, those: Iterable[tuple[int, Mapping[str, str]]]
    ) -> None:
        """
        Add or remove the labels of some jobs.
        """
        rows = (
            {"jobID": jobID, "name": name, "value": value}
            for jobID, labels in those
            for name, value in labels.items()
        )
        statement.runAll(self._connection, rows)

    def end(self) -> None:
        """
        All is committed: what is not known for a reason is forgotten.
        """
        self._jobs = {
            jobID: job for jobID, job in self._jobs.items() if job.state is JobState.RUNNING
        }

    def forget(self) -> None:
        """
        Know nothing, and have nothing to write: what was written is rolled back.
        """
        self._counters = ()
        for known in (self._jobs, self._added, self._changed, self._handles):
            known.clear()

    def acquire(self, owner: str, now: datetime) -> int:
        self.epoch += 1
        _acquire.run(self._connection, epoch=self.epoch, owner=owner, acquiredAt=timeColumn(now))
        _removeMark.run(self._connection)
        self._ownEpoch = self.epoch
        return self.epoch

    def owner(self) -> str | None:
        """
        Return the present owner, such as C{host:pid}.
        """
        ((owner,),) = _theOwner.run(self._connection)
        return None if owner is None else str(owner)

    def markClosed(self) -> None:
        """
        Record that the store is closed in good order, if it was acquired here and
        nobody else has acquired it since.
        """
        if self.epoch == self._ownEpoch:
            self.set({CLOSED_CLEANLY: True})

    def job(self, jobID: int) -> Job:
        job = self._jobs.get(jobID)
        if job is None:
            job = self._jobs[jobID] = getJob(self._connection, jobID)
        return job

    def preload(self, jobIDs: Sequence[int]) -> None:
        missing = [jobID for jobID in jobIDs if jobID not in self._jobs]
        if len(missing) >= _MANY:
            for row in _jobsByID.run(self._connection, given=dumps(missing)):
                job = jobOf(row)
                self._jobs[job.id] = job

    def jobsByKey(self, keys: Sequence[str]) -> Mapping[str, tuple[Job, str]]:
        if not keys:
            return {}
        self.flush()
        found = _jobsByKey.run(self._connection, given=dumps(keys))
        jobs = [(jobOf(row), mark) for *row, mark in found]
        return {job.key: (job, mark) for job, mark in jobs if job.key is not None}

    def add(self, job: Job, fingerprint: str | None) -> None:
        self._jobs[job.id] = job
        self._added[job.id] = fingerprint
        self._count(job, 1)

    def change(self, job: Job) -> None:
        old = self._jobs[job.id]
        if old.state is not job.state:
            self._count(old, -1)
            self._count(job, 1)
        self._jobs[job.id] = job
        if job.id not in self._added:
            self._changed.setdefault(job.id, old)

    def _count(self, job: Job, step: int) -> None:
        if job.state is JobState.QUEUED:
            self._waiting += step
        if job.state not in FINISHED:
            key = workerKey(job)
            count = self._unfinished.get(key, 0) + step
            if count:
                self._unfinished[key] = count
            else:
                del self._unfinished[key]

    def setHandle(self, jobID: int, handle: str) -> None:
        self._handles[jobID] = handle

    def setAside(self, job: Job, **values: Any) -> None:
        self.flush()
        attempt = getLatestAttempt(self._connection, job)
        if attempt is not None:
            row = attemptRow(replace(attempt, **values))
            _addAttempt.run(self._connection, jobID=job.id, deferrals=job.deferrals, **row)
            self._handles[job.id] = None

    def ended(self, before: datetime, limit: int) -> list[int]:
        self.flush()
        found = _theEnded.run(self._connection, before=timeColumn(before), limit=limit)
        return [jobID for (jobID,) in found]

    def remove(self, jobIDs: Sequence[int], since: datetime) -> None:
        self.flush()
        given = dumps(jobIDs)
        self._countRemoved(given, microseconds(since))
        labelled = _theLabels.run(self._connection, given=given).fetchall()
        self._writeLabels(_removeLabel, ((jobID, loads(text)) for jobID, text in labelled))
        _removeAttempts.run(self._connection, given=given)
        _removeJobs.run(self._connection, given=given)
        for jobID in jobIDs:
            self._jobs.pop(jobID, None)

    def _countRemoved(self, given: str, since: int) -> None:
        """
        Keep the outcomes of jobs that are to be removed in the counts of the last day,
        and forget those of before.

        @param given: their IDs, as JSON.
        """
        _forgetCounted.run(self._connection, since=removedRow(since))
        minutes: dict[str, Counter[str]] = {}
        for state, ended in _theRemoved.run(self._connection, given=given, since=since):
            minutes.setdefault(removedRow(ended), Counter())[state] += 1
        for minute, counts in minutes.items():
            for (counted,) in _theCounted.run(self._connection, minute=minute):
                counts.update(loads(counted))
            self.set({minute: counts})

    def set(self, settings: Mapping[str, Any]) -> None:
        _set.runAll(
            self._connection,
            ({"name": name, "value": dumps(value)} for name, value in settings.items()),
        )

    def settings(self) -> dict[str, Any]:
        return getSettings(self._connection)

    def workers(self) -> frozenset[tuple[str, int]]:
        self.flush()
        return getWorkers(self._connection)

    def runningJobs(self) -> list[tuple[Job, Attempt]]:
        self.flush()
        return getRunningJobs(self._connection)

    def queuedJobs(self, limit: int, after: tuple[int, int] | None) -> list[QueuedJob]:
        self.flush()
        return getQueuedJobs(self._connection, limit, after)
