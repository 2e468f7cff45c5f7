"""
A pool in every kind of reactor, each in a process of its own.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from .reactor_child import KINDS, UNDER_WAY

ROOT = Path(__file__).parent.parent

CLASSES = {
    "epoll": "EPollReactor",
    "poll": "PollReactor",
    "select": "SelectReactor",
    "asyncio": "AsyncioSelectorReactor",
}
"""
The class of each kind of reactor; the default one depends on the system.
"""


class ReactorTests(SynchronousTestCase):
    """
    Tests for L{DeferredWorkerPool <ganeti_pool.deferred.DeferredWorkerPool>} in the
    reactors that a daemon may run in.
    """

    def life(self, kind: str) -> dict[str, Any]:
        """
        Let a child process run a pool in that reactor.

        @return: what it says of it.
        """
        child = subprocess.run(
            [sys.executable, "-W", "error", "-m", "tests.reactor_child", kind],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(child.returncode, 0, child.stderr)
        seen: dict[str, Any] = json.loads(child.stdout)
        self.assertNotIn("failure", seen, seen.get("failure"))
        return seen

    def assertLives(self, kind: str) -> None:
        """
        In that reactor every Deferred fires, those of 1,000 tasks that have ended
        and of 1,000 that have not started when the reactor is stopped included;
        a task that is added before it runs waits for that, without a thread; and
        no thread stays.
        """
        seen = self.life(kind)
        self.assertEqual(seen["reactor"], CLASSES.get(kind, seen["reactor"]))
        self.assertIn("Reactor", seen["reactor"])
        self.assertEqual(
            seen["fired"],
            {"early": 1, "ended": UNDER_WAY, "unstarted": UNDER_WAY, "late": 1},
        )
        self.assertEqual(seen["under way"], UNDER_WAY)
        self.assertEqual((seen["awaited"], seen["again"]), ([3, 2], 2))
        self.assertEqual(
            [seen[f"threads {when}"] for when in ("before", "between", "after")], [1, 1, 1]
        )
        self.assertEqual(seen.get("future"), 3 if kind == "asyncio" else None)

    def test_default(self) -> None:
        """
        A pool lives in the default reactor.
        """
        self.assertLives("default")

    def test_epoll(self) -> None:
        """
        A pool lives in the epoll reactor.
        """
        if not hasattr(select, "epoll"):
            raise SkipTest("this system has no epoll")  # pragma: no cover: Linux has it
        self.assertLives("epoll")

    def test_poll(self) -> None:
        """
        A pool lives in the poll reactor.
        """
        if not hasattr(select, "poll"):
            raise SkipTest("this system has no poll")  # pragma: no cover: Linux has it
        self.assertLives("poll")

    def test_select(self) -> None:
        """
        A pool lives in the select reactor.
        """
        self.assertLives("select")

    def test_asyncio(self) -> None:
        """
        A pool lives in the asyncio reactor, also when its loop has been closed; a
        Deferred can be had as a future of that loop.
        """
        self.assertLives("asyncio")

    def test_all(self) -> None:
        """
        There is a test for each kind of reactor.
        """
        tests = {name.removeprefix("test_") for name in dir(self) if name.startswith("test_")}
        self.assertEqual(tests - {"all"}, set(KINDS))
