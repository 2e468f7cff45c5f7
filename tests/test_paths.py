"""
Tests for L{ganeti_pool.paths}.
"""

from __future__ import annotations

import os
import sys
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.errors import InvalidArgument
from ganeti_pool.paths import LONGEST_SOCKET_PATH, StatePaths, readToken


class StatePathsTests(SynchronousTestCase):
    """
    Tests for L{StatePaths}.
    """

    def test_everythingIsBelowTheDirectory(self) -> None:
        """
        Socket, store, lock and output have fixed names in the state directory.
        """
        paths = StatePaths.at("/var/lib/pool")
        self.assertEqual(
            (paths.directory, paths.socket, paths.store, paths.lock, paths.output),
            (
                "/var/lib/pool",
                "/var/lib/pool/ganeti-pool.sock",
                "/var/lib/pool/jobs.sqlite",
                "/var/lib/pool/lock",
                "/var/lib/pool/output",
            ),
        )

    def test_relativeDirectoryIsMadeAbsolute(self) -> None:
        """
        A relative directory starts at the working directory of that moment.
        """
        self.assertEqual(StatePaths.at("a/../b").directory, os.path.join(os.getcwd(), "b"))

    def test_homeIsExpanded(self) -> None:
        """
        C{~} is the home of the user.
        """
        self.patch(os, "environ", {**os.environ, "HOME": "/home/ana"})
        self.assertEqual(StatePaths.at("~/pool").directory, "/home/ana/pool")

    def test_emptyName(self) -> None:
        """
        An empty name is rejected. It does not mean the working directory.
        """
        error = self.assertRaises(InvalidArgument, StatePaths.at, "")
        self.assertIn("--state-dir", str(error))

    def test_noText(self) -> None:
        """
        A directory whose name is not valid UTF-8 is refused with a sentence that shows it.
        """
        error = self.assertRaises(InvalidArgument, StatePaths.at("/tmp/a\udcff").checkSocket)
        self.assertEqual(
            str(error), r"the state directory b'/tmp/a\xff' is not valid UTF-8: choose one that is"
        )

    def test_defaultFollowsThePlatform(self) -> None:
        """
        The default is the user's directory for state.
        """
        self.patch(os, "environ", {**os.environ, "XDG_STATE_HOME": "/home/ana/state"})
        self.assertEqual(StatePaths.default().directory, "/home/ana/state/ganeti-pool")

    def test_noHome(self) -> None:
        """
        Without a home directory the user is asked for a state directory, unless the
        environment names one.
        """
        self.patch(os.path, "expanduser", lambda path: path)
        for environment, why in (
            ({}, "HOME is not set"),
            ({"HOME": ""}, "HOME is not an absolute path"),
            ({"HOME": "here", "XDG_STATE_HOME": ""}, "HOME is not an absolute path"),
        ):
            self.patch(os, "environ", environment)
            error = self.assertRaises(InvalidArgument, StatePaths.default)
            self.assertIn(why, str(error))
            self.assertIn("--state-dir", str(error))
        self.patch(os, "environ", {"XDG_STATE_HOME": "/var/state"})
        self.assertEqual(StatePaths.default().directory, "/var/state/ganeti-pool")

    def test_unknownHome(self) -> None:
        """
        A C{~} whose home directory is not known is not taken for a file name, which can be
        written with C{./} in front.
        """
        error = self.assertRaises(InvalidArgument, StatePaths.at, "~nobody-has-this-name/a")
        self.assertIn("~nobody-has-this-name is not known", str(error))
        here = os.path.join(os.getcwd(), "~nobody-has-this-name")
        self.assertEqual(StatePaths.at("./~nobody-has-this-name").directory, here)

    def test_homeOfAnotherUser(self) -> None:
        """
        The state directory of another user is in that user's home directory.
        """
        self.patch(os, "environ", {**os.environ, "XDG_STATE_HOME": "/home/root/state"})
        self.assertEqual(
            StatePaths.ofHome("/home/ana").directory, "/home/ana/.local/state/ganeti-pool"
        )

    def test_defaultNeedsTheExtra(self) -> None:
        """
        Without platformdirs the default fails with an L{ImportError} that names it.
        """
        with mock.patch.dict(sys.modules, {"platformdirs": None}):
            error = self.assertRaises(ImportError, StatePaths.default)
        self.assertEqual(error.name, "platformdirs")

    def test_deepSocketIsRefused(self) -> None:
        """
        A socket path of 107 bytes is taken; one of 108 is refused with a sentence
        that has the path and both lengths.
        """
        room = LONGEST_SOCKET_PATH - len("/é/ganeti-pool.sock".encode())
        StatePaths.at("/é" + "x" * room).checkSocket()
        deep = StatePaths.at("/é" + "x" * (room + 1))
        error = self.assertRaises(InvalidArgument, deep.checkSocket)
        self.assertEqual(
            str(error),
            f"the socket path {deep.socket} has 108 bytes, and the system takes 107 at most: "
            "choose a shorter state directory",
        )


class TokenTests(SynchronousTestCase):
    """
    Tests for L{readToken}.
    """

    def read(self, content: bytes) -> str:
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(content)
        self.path = path
        return readToken(path)

    def test_taken(self) -> None:
        """
        A token is one word of printable ASCII, with or without white space around it.
        """
        word = "".join(map(chr, range(33, 127)))
        for content in (word, f" \t{word}\r\n", word.ljust(4096)):
            self.assertEqual(self.read(content.encode()), word)

    def test_refused(self) -> None:
        """
        Whatever else is in the file is refused by the name of the file, without saying
        what that is.
        """
        for content, why in (
            (b"", "is empty"),
            (b" \n", "is empty"),
            (b"TOP-S3CRet".ljust(4097), "is longer than 4096 bytes"),
            (b"TOP-S3CRet two", "one word"),
            (b"TOP-S3CRet\ntwo", "one word"),
            (b"TOP-S3CRet\x00", "one word"),
            ("TOP-S3CRét".encode(), "one word"),
            (b"\xef\xbb\xbfTOP-S3CRet", "one word"),
        ):
            error = self.assertRaises(InvalidArgument, self.read, content)
            self.assertIn(self.path, str(error))
            self.assertIn(why, str(error))
            self.assertNotIn("TOP-S3CR", str(error))

    def test_missing(self) -> None:
        """
        A file that is not there is said to be so.
        """
        self.assertRaises(FileNotFoundError, readToken, self.mktemp())
