"""
Tests for what the command imports: what a verb does not need, somebody would wait
for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping

from twisted.trial.unittest import SynchronousTestCase

PROBE = """
import atexit, json, sys
atexit.register(lambda: print("\\n" + json.dumps(sorted(sys.modules))))
from ganeti_pool.cli import main
main()
"""
"""
The command, which says at its end which modules it has imported.
"""

NEVER = {
    # the daemon's
    *("klein", "sqlalchemy", "prometheus_client", "werkzeug"),
    *("ganeti_pool.daemon", "ganeti_pool.deferred", "ganeti_pool.jobqueue", "ganeti_pool.service"),
    *("ganeti_pool.store", "ganeti_pool.web", "ganeti_pool.workerpool", "ganeti_pool.commands"),
    "twisted.application.service",
    # only for a bar on a terminal, and for what is wider than ASCII
    "rich",
}
"""
What no verb needs where nobody looks at it.
"""

CLIENT = {
    *("asyncio", "cattrs", "platformdirs", "ssl", "treq", "twisted", "zope"),
    *("ganeti_pool.client", "ganeti_pool.errors", "ganeti_pool.wire"),
}
"""
What only a verb needs that asks the daemon.
"""


class StartTests(SynchronousTestCase):
    """
    Tests for what is imported until the end.
    """

    def imported(
        self, arguments: Iterable[str], environment: Mapping[str, str] | None = None
    ) -> set[str]:
        """
        The modules that a call imports.
        """
        done = subprocess.run(
            [sys.executable, "-c", PROBE, *arguments],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return set(json.loads(done.stdout.splitlines()[-1]))

    def test_withoutDaemon(self) -> None:
        """
        Help, the version, a mistake, a script and the completion of a word need
        neither Twisted nor the client.
        """
        word = {
            "_GANETI_POOL_COMPLETE": "bash_complete",
            "COMP_WORDS": "ganeti-pool list --sta",
            "COMP_CWORD": "2",
        }
        for arguments, environment in (
            (["--help"], {}),
            (["wait", "--help"], {}),
            (["--version"], {}),
            (["nonsense"], {}),
            (["submit", "--nonsense"], {}),
            (["cancel", "--state", "queued"], {}),
            (["completion", "zsh"], {}),
            ([], word),
        ):
            found = self.imported(arguments, environment)
            self.assertIn("click", found)
            self.assertEqual(found & (NEVER | CLIENT), set(), arguments)

    def test_withDaemon(self) -> None:
        """
        A verb that asks the daemon needs the client, and nothing of the daemon.
        """
        nowhere = ["--state-dir", "/nonexistent"]
        for arguments in (
            ["list"],
            ["status"],
            ["wait", "1"],
            ["cancel", "1"],
            ["prune", "--older-than", "7d", "--yes"],
            ["submit", "true"],
            ["logs", "-f", "1"],
        ):
            found = self.imported([*nowhere, *arguments])
            self.assertIn("ganeti_pool.client", found)
            self.assertEqual(found & NEVER, set(), arguments)

    def test_looking(self) -> None:
        """
        A verb that sends nothing needs no schemas either.
        """
        nowhere = ["--state-dir", "/nonexistent"]
        for arguments in (["list"], ["status"], ["show", "1"], ["wait", "--all"], ["cancel", "1"]):
            found = self.imported([*nowhere, *arguments])
            self.assertEqual(found & {"cattrs", "ganeti_pool.wire"}, set(), arguments)
