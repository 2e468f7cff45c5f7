"""
Tests for the check that no link in the documentation leads nowhere.

C{make docs} runs it on the pages that it has built. They take too long to build here.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

CHECK = Path(__file__).parent.parent / "doc" / "deadlinks.py"


class DeadLinksTests(SynchronousTestCase):
    """
    Tests for C{doc/deadlinks.py}.
    """

    def setUp(self) -> None:
        """
        Two pages that link to each other.
        """
        self.root = Path(self.mktemp())
        (self.root / "api").mkdir(parents=True)
        self.write("index.html", '<h1 id="a b">x</h1><a href="api/p.html#q">q</a>')
        self.write("api/p.html", '<a name="q" href="../index.html#a%20b">x</a>')

    def write(self, name: str, body: str) -> None:
        """
        Write a page.
        """
        (self.root / name).write_text(f"<html>\n{body}</html>", encoding="utf-8")

    def check(self, code: int, *expected: str) -> None:
        """
        Check the exit code and the lines that are printed.
        """
        done = subprocess.run(
            [sys.executable, str(CHECK), str(self.root)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual((done.stderr.splitlines(), done.returncode), (list(expected), code))

    def test_good(self) -> None:
        """
        Links to pages, anchors and directories that are there, and to other sites, are fine.
        """
        self.write(
            "more.html",
            '<a href>x</a><a href="">x</a><a href="#">x</a><a href="#top">x</a><a href=".">x</a>'
            '<a href="https://example.org/x#y">x</a><a href="//example.org">x</a>'
            '<a href="mailto:a@example.org">x</a><a href="api/../index.html?q=1#a%20b">x</a>',
        )
        self.check(0)

    def test_dead(self) -> None:
        """
        A link to an anchor or a file that is not there is named with its page and line.
        """
        self.write("api/p.html", '<a href="#q">x</a>\n<img src="no.png"><a href="../api/">x</a>')
        self.check(
            1,
            "api/p.html:2: #q: the page does not have this anchor",
            "api/p.html:3: no.png: the file does not exist",
            "api/p.html:3: ../api/: the file does not exist",
            "index.html:2: api/p.html#q: the page does not have this anchor",
        )

    def test_nothingBuilt(self) -> None:
        """
        A directory without pages is not taken for one without dead links.
        """
        self.root = Path(self.mktemp())
        self.check(2, f"{self.root} has no HTML pages: build them first, with `make docs`")
