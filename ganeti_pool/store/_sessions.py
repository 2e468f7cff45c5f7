"""
How the two threads of a store in a SQLite file speak to it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from sqlite3 import Connection
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, create_engine, event
from sqlalchemy import Connection as CoreConnection
from sqlalchemy.pool import NullPool

from ..errors import PoolError
from ._lane import Request
from ._ledger import SQLLedger
from ._writes import Ledger
from .schema import prepareSchema

__all__ = ["ReadSession", "WriteSession"]


class _Session:
    """
    One connection, made when it is needed first.

    Threads: one, but for the making of this.
    """

    def __init__(self, location: Mapping[str, Any], pragma: str) -> None:
        """
        @param location: what SQLAlchemy is to connect with.
        @param pragma: how the connection is set up.
        """
        # Neither the driver nor SQLAlchemy is to begin or end a transaction by itself.
        self._engine = create_engine(
            URL.create("sqlite", **location), isolation_level="AUTOCOMMIT", poolclass=NullPool
        )
        self._core: CoreConnection | None = None

        @event.listens_for(self._engine, "connect")
        def connected(connection: Connection, record: object) -> None:
            try:
                connection.execute(f"PRAGMA {pragma}")
            except Exception:
                # a file that is no database: SQLAlchemy would not close it
                connection.close()
                raise

    def close(self) -> None:
        if self._core is not None:
            self._core.close()

    def _connect(self) -> tuple[CoreConnection, Connection]:
        """
        @return: SQLAlchemy's connection, and the driver's in it.
        """
        self._core = self._engine.connect()
        driven = self._core.connection.driver_connection
        assert isinstance(driven, Connection)
        return self._core, driven


class ReadSession(_Session):
    """
    The one that only reads a file, which must be there.

    Threads: one, but for the making of this.
    """

    def __init__(self, path: str) -> None:
        existing = {"database": f"file:{quote(path)}", "query": {"uri": "true", "mode": "rw"}}
        super().__init__(existing, "query_only = ON")
        self._connection: Connection | None = None

    def serve(self, group: Sequence[Request[Connection]]) -> None:
        if self._connection is None:
            _, self._connection = self._connect()
        connection = self._connection
        connection.execute("BEGIN")
        try:
            for request in group:
                try:
                    request.serve(connection)
                except Exception as error:
                    request.fail(error)
        finally:
            connection.rollback()


class WriteSession(_Session):
    """
    The one that makes the file and changes it.

    A group of requests is one transaction. Those that are refused change nothing,
    and what the others change is written at its end, together. If that fails, be it
    for one row that SQLite does not take or for one too large for the disk, all is
    rolled back, and each request is served once more, in a transaction of its own.
    So each has the outcome that it would have alone, and a group costs one commit.

    Threads: one, but for the making of this.
    """

    def __init__(self, path: str) -> None:
        super().__init__({"database": path}, "synchronous = FULL")
        self._path = path
        self._opened: tuple[Connection, SQLLedger] | None = None

    def serve(self, group: Sequence[Request[Ledger]]) -> None:
        if self._opened is None:
            self._opened = self._open()
        connection, ledger = self._opened
        try:
            _serveTogether(connection, ledger, group)
        except Exception:
            if len(group) == 1:
                raise
            for request in group:
                try:
                    _serveTogether(connection, ledger, [request])
                except Exception as error:
                    request.fail(error)

    def _open(self) -> tuple[Connection, SQLLedger]:
        """
        Make the file and its schema, or check them.
        """
        # for its owner alone, whatever the umask: arguments may hold secrets
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        core, connection = self._connect()
        try:
            connection.execute("BEGIN IMMEDIATE")
            prepareSchema(core)
            connection.execute("COMMIT")
            # It is kept in the file, so not before that is known as ours.
            connection.execute("PRAGMA journal_mode = WAL")
        except BaseException:
            connection.rollback()
            core.close()
            raise
        return connection, SQLLedger(connection)


@contextmanager
def _transaction(connection: Connection, ledger: SQLLedger) -> Iterator[None]:
    """
    All or nothing of what is done meanwhile, while nobody else writes.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        ledger.begin()
        yield
        connection.execute("COMMIT")
    except BaseException:
        ledger.forget()
        connection.rollback()
        raise


def _serveTogether(
    connection: Connection, ledger: SQLLedger, group: Sequence[Request[Ledger]]
) -> None:
    """
    Do the requests of a group in one transaction, but for what they refuse.
    """
    with _transaction(connection, ledger):
        for request in group:
            try:
                request.serve(ledger)
            except PoolError as error:
                request.fail(error)
        ledger.flush()
    ledger.end()
