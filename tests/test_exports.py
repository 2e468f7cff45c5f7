"""
Public names, and what an import does not do.
"""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib import import_module

from twisted.trial.unittest import SynchronousTestCase

import ganeti_pool

SHOW_ALL = """
import sys, threading
import ganeti_pool
for name in ganeti_pool.__all__:
    getattr(ganeti_pool, name)
unwanted = {
    "twisted.internet.reactor",
    "klein", "treq", "click", "rich", "sqlalchemy", "cattrs", "platformdirs",
}
print(sorted(unwanted & sys.modules.keys()), threading.active_count())
"""
"""
A program that uses every name of the package, and says which modules that
brought that it must not, and how many threads there are.
"""


class ExportsTests(SynchronousTestCase):
    """
    Tests for C{__all__} of the package and of its modules.
    """

    def test_publicNamesExist(self) -> None:
        """
        Every module lists its public names, and has what it lists.
        """
        modules = pkgutil.walk_packages(ganeti_pool.__path__, "ganeti_pool.")
        missing = []
        for name in ["ganeti_pool", *(module.name for module in modules)]:
            module = import_module(name)
            if not hasattr(module, "__all__"):
                missing.append(f"{name} has no __all__")
            missing.extend(
                f"{name}.{public}"
                for public in getattr(module, "__all__", ())
                if not hasattr(module, public)
            )
        self.assertEqual(missing, [])

    def test_packageHasPublicNames(self) -> None:
        """
        The package itself shows something, and each name once.
        """
        self.assertNotEqual(ganeti_pool.__all__, [])
        self.assertEqual(len(ganeti_pool.__all__), len(set(ganeti_pool.__all__)))

    def test_namesComeWhenAskedFor(self) -> None:
        """
        The package tells its names before they are used, and has no others.
        """
        self.assertEqual(set(ganeti_pool.__all__) - set(dir(ganeti_pool)), set())
        self.assertFalse(hasattr(ganeti_pool, "workerPool"))

    def test_importDoesNothing(self) -> None:
        """
        To import the package and use its names installs no reactor, starts no
        thread, and imports nothing that only an extra brings.
        """
        child = subprocess.run(
            [sys.executable, "-W", "error", "-c", SHOW_ALL],
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual((child.stdout, child.stderr, child.returncode), ("[] 1\n", "", 0))
