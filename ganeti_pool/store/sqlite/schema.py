"""
The tables.

A column has the name of its attribute in L{ganeti_pool.jobs} as its key. What it
holds of it, L{ganeti_pool.store.sqlite._rows} knows: times are microseconds since 1970, words
are texts, and what has parts is JSON.
"""

from __future__ import annotations

from sqlalchemy import (
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
    insert,
)

from ...jobs import JobState

__all__ = [
    "CLOSED_CLEANLY",
    "SCHEMA_VERSION",
    "attempts",
    "createTables",
    "jobs",
    "journal",
    "labels",
    "schemaVersion",
    "settings",
]

SCHEMA_VERSION = 3
"""
The version of the tables that this release reads and writes. A change of the tables
counts it up and adds a step to L{ganeti_pool.store.sqlite.migrations.STEPS}.
"""

_metadata = MetaData()

schemaVersion = Table(
    "schema_version",
    _metadata,
    Column("version", Integer, nullable=False),
    # of this package, which made or migrated the tables last
    Column("release", Text),
)
"""
One row. A release that cannot read it cannot read the rest.
"""

journal = Table(
    "journal",
    _metadata,
    Column("epoch", Integer, nullable=False),
    Column("owner", Text),
    Column("acquired_at", BigInteger, key="acquiredAt"),
    Column("revision", Integer, nullable=False),
    Column("last_position", Integer, key="lastPosition", nullable=False),
    Column("waiting", Integer, nullable=False),
    Column("unfinished", Text, nullable=False),
)
"""
One row: who owns the store, and what would take long to find out. The revision and the
last position never go back. C{waiting} is the number of queued jobs, and C{unfinished}
a JSON object with the number of jobs without an outcome by the version of their args
and the name of their worker, as C{"1 some.Worker"}.
"""

jobs = Table(
    "jobs",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("worker", Text, nullable=False),
    Column("args", Text, nullable=False),
    Column("args_version", Integer, key="argsVersion", nullable=False),
    Column("name", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("on_crash", Text, key="onCrash", nullable=False),
    Column("max_attempts", Integer, key="maxAttempts", nullable=False),
    Column("key", Text),
    # of a job with a key: what it was submitted as, to tell the same from another
    Column("fingerprint", Text),
    Column("owner", Text),
    Column("labels", Text, nullable=False),
    Column("timeout", Float),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("position", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("deferrals", Integer, nullable=False),
    Column("submitted_at", BigInteger, key="submittedAt", nullable=False),
    Column("started_at", BigInteger, key="startedAt"),
    # of the attempt that runs, or has ended the job
    Column("handle", Text),
    Column("finished_at", BigInteger, key="finishedAt"),
    Column("cancel_requested_at", BigInteger, key="cancelRequestedAt"),
    Column("result", Text),
    Column("error", Text),
    Column("output", Text),
    Column("revision", Integer, nullable=False),
    sqlite_autoincrement=True,
)
"""
The jobs, each with its latest attempt in it: so the start and the end of a job that
has no other are one change of one row each.
"""

# SQLite ends each entry of an index with the row's id, so these give jobs by id.
Index("jobs_by_state", jobs.c.state)
Index("jobs_by_name", jobs.c.name, jobs.c.state)
Index("jobs_by_key", jobs.c.key, unique=True, sqlite_where=jobs.c.key.is_not(None))
# All that is asked of the jobs that wait, so that their rows are not read.
Index(
    "jobs_that_wait",
    *(jobs.c.priority, jobs.c.position, jobs.c.attempt, jobs.c.state),
    sqlite_where=jobs.c.state == JobState.QUEUED.value,
)
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
    Column("job_id", ForeignKey(jobs.c.id), key="jobID", primary_key=True),
    Column("number", Integer, primary_key=True),
    # how many the job had before: one that deferred itself has the number of the next
    Column("deferrals", Integer, primary_key=True),
    Column("started_at", BigInteger, key="startedAt", nullable=False),
    Column("finished_at", BigInteger, key="finishedAt", nullable=False),
    Column("handle", Text),
    Column("outcome", Text, nullable=False),
    Column("error", Text),
    Column("output", Text),
    sqlite_with_rowid=False,
)
"""
The attempts after which a job was to start again.
"""

labels = Table(
    "labels",
    _metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("job_id", ForeignKey(jobs.c.id), key="jobID", primary_key=True),
    sqlite_with_rowid=False,
)
"""
The labels of the jobs once more, to find jobs by: those with one label stand together,
by id. A job has the labels that it was added with as long as it is there.
"""

settings = Table(
    "settings",
    _metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)


CLOSED_CLEANLY = "closed cleanly"
"""
The setting that the store keeps for itself: it is there from the orderly end of one
owner, or from the making of the file, until the next owner comes.
"""


def createTables(connection: Connection, release: str) -> None:
    """
    Create the tables in an empty database.

    @param release: the version of this package.
    """
    _metadata.create_all(connection)
    connection.execute(insert(schemaVersion).values(version=SCHEMA_VERSION, release=release))
    connection.execute(
        insert(journal).values(epoch=0, revision=0, lastPosition=-1, waiting=0, unfinished="{}")
    )
    connection.execute(insert(settings).values(name=CLOSED_CLEANLY, value="true"))
