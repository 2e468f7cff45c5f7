"""
The tables, and what their columns mean in Python.

A column has the name of its attribute in L{ganeti_pool.jobs} as its key, so
that a row selected with L{allJobs} or L{allAttempts} is the arguments of the
value it stands for.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    insert,
    inspect,
    select,
)

from ..errors import StoreError
from ..jobs import JobFailure, JobState, OnCrash, OutputSize

__all__ = [
    "SCHEMA_VERSION",
    "allAttempts",
    "allJobs",
    "attempts",
    "jobs",
    "journal",
    "prepareSchema",
    "schemaVersion",
    "settings",
]

SCHEMA_VERSION = 1
"""
The one version of the tables that this release reads and writes.
"""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


class _Time(TypeDecorator[datetime]):
    """
    An aware time, kept as microseconds since 1970.
    """

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:
        return None if value is None else _EPOCH + value * _MICROSECOND


class _Word(TypeDecorator[Any]):
    """
    A member of an enumeration, kept as its value.

    @param words: the enumeration.
    """

    impl = Text
    cache_ok = True

    def __init__(self, words: type[Enum]) -> None:
        super().__init__()
        self.words = words

    def process_bind_param(self, value: Enum | None, dialect: Any) -> str | None:
        return None if value is None else value.value

    def process_result_value(self, value: str | None, dialect: Any) -> Enum | None:
        return None if value is None else self.words(value)


class _Arguments(TypeDecorator[tuple[Any, ...]]):
    """
    A tuple of JSON values.
    """

    impl = JSON
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Any) -> tuple[Any, ...]:
        return tuple(value)


class _Failure(TypeDecorator[JobFailure]):
    """
    A L{JobFailure}, kept as a JSON object.
    """

    impl = JSON(none_as_null=True)
    cache_ok = True

    def process_bind_param(self, value: JobFailure | None, dialect: Any) -> dict[str, Any] | None:
        return None if value is None else vars(value)

    def process_result_value(self, value: Any, dialect: Any) -> JobFailure | None:
        return None if value is None else JobFailure(**value)


class _Output(TypeDecorator[Mapping[str, OutputSize]]):
    """
    The sizes of output streams, kept as a JSON object of objects.
    """

    impl = JSON(none_as_null=True)
    cache_ok = True

    def process_bind_param(
        self, value: Mapping[str, OutputSize] | None, dialect: Any
    ) -> dict[str, Any] | None:
        return None if value is None else {name: vars(size) for name, size in value.items()}

    def process_result_value(self, value: Any, dialect: Any) -> Mapping[str, OutputSize] | None:
        return None if value is None else {n: OutputSize(**size) for n, size in value.items()}


_metadata = MetaData()

schemaVersion = Table(
    "schema_version",
    _metadata,
    Column("version", Integer, nullable=False),
)
"""
One row. A release that cannot read it cannot read the rest.
"""

journal = Table(
    "journal",
    _metadata,
    Column("epoch", Integer, nullable=False),
    Column("owner", Text),
    Column("acquired_at", _Time, key="acquiredAt"),
    Column("revision", Integer, nullable=False),
    Column("last_position", Integer, key="lastPosition", nullable=False),
)
"""
One row: who owns the store, and the counters that never go back.
"""

jobs = Table(
    "jobs",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("worker", Text, nullable=False),
    Column("args", _Arguments, nullable=False),
    Column("name", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("on_crash", _Word(OnCrash), key="onCrash", nullable=False),
    Column("max_attempts", Integer, key="maxAttempts", nullable=False),
    Column("key", Text),
    # of a job with a key: what it was submitted as, to tell the same from another
    Column("fingerprint", Text),
    Column("owner", Text),
    Column("labels", JSON, nullable=False),
    Column("timeout", Float),
    Column("state", _Word(JobState), nullable=False),
    Column("reason", Text),
    Column("position", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("deferrals", Integer, nullable=False),
    Column("submitted_at", _Time, key="submittedAt", nullable=False),
    Column("started_at", _Time, key="startedAt"),
    Column("finished_at", _Time, key="finishedAt"),
    Column("cancel_requested_at", _Time, key="cancelRequestedAt"),
    Column("result", JSON(none_as_null=True)),
    Column("error", _Failure),
    Column("output", _Output),
    Column("revision", Integer, nullable=False),
    sqlite_autoincrement=True,
)

# SQLite ends each entry of an index with the row's id, so these give jobs by id.
Index("jobs_by_state", jobs.c.state)
Index("jobs_by_name", jobs.c.name, jobs.c.state)
Index("jobs_by_key", jobs.c.key, unique=True, sqlite_where=jobs.c.key.is_not(None))
Index("jobs_by_revision", jobs.c.revision, unique=True)
Index(
    "jobs_by_end",
    jobs.c.state,
    jobs.c.finishedAt,
    sqlite_where=jobs.c.finishedAt.is_not(None),
)

attempts = Table(
    "attempts",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", ForeignKey(jobs.c.id), key="jobID", nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("started_at", _Time, key="startedAt", nullable=False),
    Column("finished_at", _Time, key="finishedAt"),
    Column("handle", Text),
    Column("outcome", _Word(JobState)),
    Column("error", _Failure),
    Column("output", _Output),
    sqlite_autoincrement=True,
)

settings = Table(
    "settings",
    _metadata,
    Column("name", Text, primary_key=True),
    Column("value", JSON, nullable=False),
)

allJobs = select(*(column.label(column.key) for column in jobs.c if column.key != "fingerprint"))
allAttempts = select(
    *(column.label(column.key) for column in attempts.c if column.key not in {"id", "jobID"})
)


def prepareSchema(connection: Connection) -> None:
    """
    Make the tables in an empty database, or see that they are ours.

    @raise StoreError: if another program's tables, or those of a newer release,
        are there. Nothing has been changed then.
    """
    tables = inspect(connection).get_table_names()
    if not tables:
        _metadata.create_all(connection)
        connection.execute(insert(schemaVersion).values(version=SCHEMA_VERSION))
        connection.execute(insert(journal).values(epoch=0, revision=0, lastPosition=-1))
    elif schemaVersion.name not in tables or journal.name not in tables:
        raise StoreError(
            f"the database {connection.engine.url.database} holds tables of another program, "
            "and is no job store"
        )
    else:
        version = connection.execute(select(schemaVersion.c.version)).scalar_one()
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"the store {connection.engine.url.database} has schema version {version} of a "
                f"newer release, and this one knows versions up to {SCHEMA_VERSION}"
            )
