"""
Tests for how many connections the command makes to a daemon with many jobs.

The daemon is a server on threads that knows as much of the HTTP interface as they
need, and counts.
"""

from __future__ import annotations

import json
import re
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from twisted.trial.unittest import SynchronousTestCase

from ..daemoncase import PATIENCE
from .case import MAIN, POOL, makeJob


class Handler(BaseHTTPRequestHandler):
    """
    One connection.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *args: object) -> None:
        """
        Say nothing.
        """

    def do_GET(self) -> None:
        """
        A page of jobs, all queued; or of changes, of which each ends one job.
        """
        if self.path == "/v1/pool":
            self.answer(POOL)
            return
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        limit, total = int(query["limit"]), self.server.total
        if "changed_after" in query:
            # the jobs have revisions up to the total
            first = int(query["changed_after"]) - total + 1
            ids = range(first, min(first + limit, total + 1))
            jobs = [makeJob(n, "succeeded", revision=n + total) for n in ids]
            self.answer({"jobs": jobs, "revision": jobs[-1]["revision"], "next": None})
        elif query["order"] == "desc":
            last = int(query.get("after", total + 1)) - 1
            first = max(last - limit + 1, 1)
            jobs = [makeJob(n) for n in range(last, first - 1, -1)]
            self.answer({"jobs": jobs, "next": first if first > 1 else None})
        else:
            first = int(query.get("after", 0)) + 1
            last = min(first + limit - 1, total)
            jobs = [makeJob(n) for n in range(first, last + 1)]
            self.answer({"jobs": jobs, "next": last if last < total else None})

    def do_POST(self) -> None:
        """
        Cancel a job, while others are under way.
        """
        found = re.fullmatch(r"/v1/jobs/(\d+)/cancel\?only_queued=true", self.path)
        assert found is not None
        with self.server.lock:
            self.server.cancelled.add(int(found[1]))
            self.server.underWay += 1
            self.server.most = max(self.server.most, self.server.underWay)
        self.answer(makeJob(int(found[1]), "cancelled"))

    def answer(self, value: object) -> None:
        """
        Send a value.
        """
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command == "POST":
            # before the answer: the next request may come on its heels
            with self.server.lock:
                self.server.underWay -= 1
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """
    The daemon.

    @ivar total: how many jobs it has.
    @ivar accepted: how many connections it had.
    @ivar most: how many requests were under way at a time, at most.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = Lock()
        self.total = 10_000
        self.accepted = 0
        self.underWay = 0
        self.most = 0
        self.cancelled: set[int] = set()

    def get_request(self) -> Any:
        """
        Accept a connection.
        """
        self.accepted += 1
        return super().get_request()


class ConnectionTests(SynchronousTestCase):
    """
    Tests for how many connections there are.
    """

    def setUp(self) -> None:
        """
        A daemon with many jobs.
        """
        self.server = Server()
        thread = Thread(target=self.server.serve_forever)
        thread.start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(self.server.shutdown)

    def run_(self, *arguments: str) -> list[str]:
        """
        Run the command, which does what it is told.

        @return: the lines that it prints.
        """
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        done = subprocess.run(
            [*MAIN, "--url", url, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.splitlines()

    def test_wait(self) -> None:
        """
        To wait for 10,000 jobs takes one connection, whether they are named or not.
        """
        ended = [f"{jobID} succeeded" for jobID in range(1, 10_001)]
        self.assertEqual(self.run_("wait", "--all"), ended)
        self.assertEqual(self.server.accepted, 1)
        self.assertEqual(self.run_("wait", *(str(jobID) for jobID in range(1, 10_001))), ended)
        self.assertEqual(self.server.accepted, 2)

    def test_bulk(self) -> None:
        """
        To change many jobs takes eight connections at most, which are kept.
        """
        self.server.total = 1500
        self.assertEqual(self.run_("cancel", "--state", "queued", "--yes"), ["1500 cancelled"])
        self.assertEqual(self.server.cancelled, set(range(1, 1501)))
        self.assertLessEqual(self.server.accepted, 8)
        self.assertLessEqual(self.server.most, 8)
