"""
Statements that are said some thousand times a second.

SQLAlchemy writes them, once, and they run on the driver's own connection: through
SQLAlchemy's, the same one takes ten times as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from sqlite3 import Connection, Cursor
from typing import Any

from sqlalchemy import ClauseElement
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.compiler import SQLCompiler

__all__ = ["Statement"]

_DIALECT = sqlite.dialect()


class Statement:
    """
    A statement in SQLite's words, with names for what is to be given.

    Threads: any, each with its own connection.

    @ivar sql: the words.
    """

    def __init__(self, statement: ClauseElement, *columns: str) -> None:
        """
        @param columns: those that are set with what is given under their keys, if not
            all.
        """
        compiled = statement.compile(dialect=_DIALECT, column_keys=columns or None)
        assert isinstance(compiled, SQLCompiler)
        self.sql = str(compiled)
        # By place in the words: the driver looks up names anew for each row.
        self._names = compiled.positiontup or []
        self._known = {
            name: bind.effective_value
            for bind, name in compiled.bind_names.items()
            if not bind.required
        }

    def run(self, connection: Connection, **values: Any) -> Cursor:
        return connection.execute(self.sql, self._given({**self._known, **values}))

    def runAll(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """
        Run it once for each row, by the keys of its columns; what else is in the row is
        not looked at.
        """
        connection.executemany(self.sql, map(self._given, rows))

    def _given(self, values: Mapping[str, Any]) -> list[Any]:
        return [values[name] for name in self._names]
