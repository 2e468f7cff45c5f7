"""
A process that is killed while it migrates a store.

Run it as C{python -m tests.migrating_child STORE STATEMENT}. It dies, as C{kill -9} does,
before the first statement that contains C{STATEMENT}; before the copy gets its name if
that is C{rename}; or while SQLite writes the copy if that is C{vacuum}.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from typing import Any
from unittest.mock import patch

from .groupcase import Grouping


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(path: str, statement: str) -> None:
    """
    Open a store.
    """
    connect = sqlite3.connect

    def authorize(action: int, *names: str | None) -> int:
        if statement == "vacuum" and any((name or "").startswith("vacuum") for name in names):
            _die()
        return sqlite3.SQLITE_OK

    def traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **kwargs)
        # SQLite asks before it writes to the copy, whose name there begins with "vacuum".
        connection.set_authorizer(authorize)
        connection.set_trace_callback(lambda text: _die() if statement in text else None)
        return connection

    with patch("sqlite3.connect", traced), patch("sqlite3.dbapi2.connect", traced):
        if statement == "rename":
            with patch("os.rename", lambda *args: _die()):
                Grouping(path)
        else:
            Grouping(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
