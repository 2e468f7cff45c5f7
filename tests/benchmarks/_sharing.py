"""
What durable jobs take at the least: threads that share the commits of a SQLite file,
and nothing around them.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["SharedCommits"]

_TABLE = """
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY, state TEXT, args TEXT, started REAL, finished REAL, result TEXT
)
"""

_ADD = "INSERT INTO jobs (id, state, args) VALUES (?, 'queued', '[1]')"

_START = "UPDATE jobs SET state = 'running', started = ? WHERE id = ?"

_FINISH = "UPDATE jobs SET state = 'succeeded', finished = ?, result = '1' WHERE id = ?"


@dataclass
class _Request:
    """
    What one thread has to write, and the lock that is released when it is written.
    """

    added: Sequence[int] = ()
    started: Sequence[int] = ()
    finished: Sequence[int] = ()
    isWritten: threading.Lock = field(default_factory=threading.Lock)


class SharedCommits:
    """
    Jobs that are queued, started and finished, each of it on the disk before
    anything follows; one thread writes what all others ask for meanwhile, in one
    transaction. A worker asks for the end of its job together with the start of its
    next one, so that of all that start one job for each worker none commits less often.

    There is no priority, no owner, no attempt and no outcome but one, nothing can be
    looked at, and nobody is told anything.
    """

    def __init__(self, path: str, workers: int) -> None:
        self._path = path
        self._asked: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._waiting: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._finished = threading.Semaphore(0)
        self._writer = threading.Thread(target=self._write)
        self._workers = [threading.Thread(target=self._work) for _ in range(workers)]
        for thread in (self._writer, *self._workers):
            thread.start()

    def submit(self, numbers: Sequence[int]) -> None:
        """
        Queue jobs, and wait until they are on the disk.
        """
        self._ask(_Request(added=numbers)).acquire()
        for number in numbers:
            self._waiting.put(number)

    def wait(self, count: int) -> None:
        """
        Wait for as many to be finished.
        """
        for _ in range(count):
            self._finished.acquire()

    def close(self) -> int:
        """
        End the threads.

        @return: how many jobs the file says have succeeded.
        """
        for _ in self._workers:
            self._waiting.put(None)
        for worker in self._workers:
            worker.join()
        self._asked.put(None)
        self._writer.join()
        connection = sqlite3.connect(self._path)
        ((count,),) = connection.execute("SELECT count(*) FROM jobs WHERE state = 'succeeded'")
        connection.close()
        return int(count)

    def _ask(self, request: _Request) -> threading.Lock:
        request.isWritten.acquire()
        self._asked.put(request)
        return request.isWritten

    def _work(self) -> None:
        last: Sequence[int] = ()
        while True:
            try:
                number = self._waiting.get_nowait()
            except queue.Empty:
                self._ask(_Request(finished=last))
                last = ()
                number = self._waiting.get()
            if number is None:
                return
            self._ask(_Request(started=[number], finished=last)).acquire()
            last = [number]

    def _write(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(_TABLE)
        while requests := _taken(self._asked):
            now = time.time()
            connection.execute("BEGIN IMMEDIATE")
            for sql, rows in (
                (_ADD, [(number,) for each in requests for number in each.added]),
                (_START, [(now, number) for each in requests for number in each.started]),
                (_FINISH, [(now, number) for each in requests for number in each.finished]),
            ):
                if rows:
                    connection.executemany(sql, rows)
            connection.execute("COMMIT")
            for request in requests:
                request.isWritten.release()
                for _ in request.finished:
                    self._finished.release()
        connection.close()


def _taken(asked: queue.SimpleQueue[_Request | None]) -> list[_Request]:
    """
    All that was asked for, one request at least; none at the end.
    """
    requests: list[_Request] = []
    request = asked.get()
    # Whoever is about to ask does so first, as with the store.
    time.sleep(0)
    while request is not None:
        requests.append(request)
        try:
            request = asked.get_nowait()
        except queue.Empty:
            break
    return requests
