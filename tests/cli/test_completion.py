"""
Tests for what a shell is told that completes a word, and for the script that
makes it ask.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, cast
from unittest import mock

from twisted.internet.defer import Deferred

from ganeti_pool.cli._run import parse
from ganeti_pool.cli._session import Session
from ganeti_pool.client import DaemonUnreachable, JobClient

from .case import CommandCase, FakeClient, Stream, makeFailed, makeJob


class CompletionTests(CommandCase):
    """
    Tests for what is offered.
    """

    def setUp(self) -> None:
        """
        A daemon with some jobs.
        """
        super().setUp()
        self.client = FakeClient(
            makeJob(1, "succeeded"),
            makeFailed(2),
            makeJob(12, "running"),
            makeJob(13),
            makeJob(21, "cancelled"),
        )
        self.code: object = None
        self.reacted = 0
        self.openClient: Callable[[Session], JobClient] = lambda _: cast(JobClient, self.client)

    def react(self, function: Callable[..., Any], arguments: Sequence[object]) -> NoReturn:
        """
        Run something in the reactor, as long as it takes here.
        """
        self.reacted += 1
        failures: list[object] = []
        function(self.reactor, *arguments).addErrback(failures.append)
        self.reactor.advance(10)
        raise SystemExit(len(failures))

    def offered(self, *words: str, shell: str = "bash") -> list[str]:
        """
        What a shell is told for the last of some words.
        """
        known = {
            "_GANETI_POOL_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": " ".join(["ganeti-pool", *words]),
            "COMP_CWORD": words[-1] if shell == "fish" else str(len(words)),
        }
        out = Stream()
        session = Session(None, self.out, self.err, openClient=self.openClient, react=self.react)
        with mock.patch.dict(os.environ, known), mock.patch.object(sys, "stdout", out):
            try:
                self.code = parse(session, [])
            except SystemExit as ended:
                self.code = ended.code
        self.assertEqual((self.out.text(), self.err.text()), ("", ""))
        return out.text().splitlines()

    def words(self, *words: str) -> list[str]:
        """
        The words that bash is offered.
        """
        return [line.removeprefix("plain,") for line in self.offered(*words) if line]

    def test_words(self) -> None:
        """
        Verbs, options and what they take are completed, and no reactor runs for
        them.
        """
        states = ["queued", "running", "succeeded", "failed", "cancelled"]
        for words, offered in (
            (["re"], ["resize", "resume", "retry"]),
            (["list", "--st"], ["--state", "--state-dir"]),
            (["list", "--state", ""], states),
            (["list", "--state", "f"], ["failed"]),
            (["cancel", "--state", ""], ["queued", "running"]),
            (["prune", "--state", ""], states[2:]),
            (["submit", "--priority", ""], ["low", "normal", "high"]),
            (["priority", "h"], ["high"]),
            (["list", "-o", "na"], ["name"]),
            (["list", "-o", "id,st"], ["id,state", "id,started_at"]),
            (["submit", "--on-crash", ""], ["fail", "retry"]),
            (["completion", ""], ["bash", "zsh", "fish"]),
            (["list", "--name", ""], []),
            (["show", "x"], []),
        ):
            self.assertEqual(self.words(*words), offered, words)
            self.assertEqual(self.code, 0)
        self.assertEqual(self.reacted, 0)

    def test_filesAndDirectories(self) -> None:
        """
        Files and directories are left to the shell.
        """
        for words, kind in (
            (["--state-dir", "/v"], "dir"),
            (["submit", "--cwd", "/v"], "dir"),
            (["--token-file", "/v"], "file"),
            (["submit", "--from-file", "/v"], "file"),
            (["submit", "--", "/v"], "file"),
        ):
            self.assertEqual(self.offered(*words), [f"{kind},/v"], words)

    def test_equals(self) -> None:
        """
        The value behind an equals sign is completed, whether the shell takes that
        for a word, as bash does, or for a part of one.
        """
        self.assertEqual(self.words("list", "--state", "=", "r"), ["running"])
        self.assertEqual(self.words("list", "--state", "=")[0], "queued")
        self.assertEqual(
            self.offered("list", "--state=r", shell="zsh"), ["plain", "--state=running", "_"]
        )
        self.assertEqual(self.offered("list", "--state=r", shell="fish"), ["plain,--state=running"])
        self.assertEqual(self.words("show", "a=b"), [])

    def test_jobs(self) -> None:
        """
        The ids of jobs come from the daemon, newest first; of those to which the
        verb can do something, where that depends.
        """
        for words, offered in (
            (["show", ""], ["21", "13", "12", "2", "1"]),
            (["show", "1", "1"], ["13", "12", "1"]),
            (["logs", "-f", "2"], ["21", "2"]),
            (["wait", ""], ["13", "12"]),
            (["cancel", ""], ["13", "12"]),
            (["priority", "low", ""], ["13"]),
            (["retry", ""], ["21", "2"]),
        ):
            self.assertEqual(self.words(*words), offered, words)
        self.assertEqual(self.offered("show", "13", shell="zsh"), ["plain", "13", "queued job13"])
        self.assertEqual(self.reacted, 8)

    def test_nameOfAJob(self) -> None:
        """
        The name of a job can do nothing to the shell or the terminal.
        """
        self.client = FakeClient(makeJob(1, name="a\nplain\n2\x1b[2J"))
        self.assertEqual(
            self.offered("show", "", shell="zsh"),
            ["plain", "1", r"queued a\nplain\n2\x1b[2J"],
        )

    def test_whichDaemon(self) -> None:
        """
        The daemon that is asked is the one that the line names.
        """
        sessions: list[Session] = []

        def openClient(session: Session) -> JobClient:
            sessions.append(session)
            return cast(JobClient, self.client)

        self.openClient = openClient
        self.words("--state-dir", "/a", "show", "")
        self.words("show", "--state-dir", "/b", "")
        self.assertEqual([session.stateDir for session in sessions], ["/a", "/b"])

    def test_noDaemon(self) -> None:
        """
        Where no daemon is, nothing is offered, and nothing said.
        """
        self.client.troubles["listJobs"] = DaemonUnreachable("/socket", "nobody")
        self.assertEqual(self.words("show", ""), [])

    def test_slowDaemon(self) -> None:
        """
        A daemon that does not answer at once is not waited for.
        """
        hung: Deferred[Any] = Deferred()
        self.patch(self.client, "listJobs", lambda **_: hung)
        self.assertEqual(self.words("show", ""), [])
        self.assertTrue(hung.called)

    def test_mistakes(self) -> None:
        """
        What is wrong in the line, and Ctrl-C, end it quietly.
        """
        self.assertEqual(
            self.words("list", "--all", "--limit", "x", "--st"), ["--state", "--state-dir"]
        )
        for error in (KeyboardInterrupt(), ValueError("no such thing")):

            def openClient(_: Session, error: BaseException = error) -> NoReturn:
                raise error

            self.openClient = openClient
            self.assertEqual(self.offered("show", ""), [])
            self.assertEqual(self.code, 1)
        self.assertEqual(self.offered("show", "", shell="csh"), [])
        self.assertEqual(self.code, 1)

    def test_interruptedOtherwise(self) -> None:
        """
        Ctrl-C where no word is completed is the program's to tell.
        """
        with mock.patch("ganeti_pool.cli._run.commands.main", side_effect=KeyboardInterrupt):
            session = Session(None, self.out, self.err)
            self.assertRaises(KeyboardInterrupt, parse, session, ["status"])


class ScriptTests(CommandCase):
    """
    Tests for C{completion}.
    """

    def test_scripts(self) -> None:
        """
        There is a script for each of three shells, which asks this command.
        """
        for shell in ("bash", "zsh", "fish"):
            self.out = Stream()
            self.assertEqual(self.codeOf(self.start("completion", shell)), 0)
            self.assertIn(f"_GANETI_POOL_COMPLETE={shell}_complete", self.out.text())
            script = self.out.text()
            self.out = Stream()
            self.assertEqual(self.codeOf(self.start("completion", shell, "--json")), 0)
            self.assertEqual(
                json.loads(self.out.text()), {"shell": shell, "script": script.removesuffix("\n")}
            )
        self.assertEqual(self.client.calls, [])

    def test_otherShell(self) -> None:
        """
        Another shell is a mistake that names the three.
        """
        running = self.start("completion", "csh")
        self.assertEqual(self.codeOf(running), 2)
        self.assertIn("'csh' is not one of 'bash', 'zsh', 'fish'.", self.err.text())
