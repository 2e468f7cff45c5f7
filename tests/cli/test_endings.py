"""
Tests for how the command ends, and for how it finds its daemon.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import succeed
from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError
from twisted.internet.testing import MemoryReactorClock

from ganeti_pool.cli._run import parse
from ganeti_pool.cli._session import Session, connectToDaemon
from ganeti_pool.client import DaemonUnreachable, JobClient, RequestRefused

from .case import (
    POOL,
    CommandCase,
    Input,
    Stream,
    ago,
    makeJob,
)


class EndingTests(CommandCase):
    """
    Tests for how the command ends.
    """

    def test_refusals(self) -> None:
        """
        What a daemon that is well refuses is 4, what a broken one says is 3.
        """
        for status, code in ((401, 4), (404, 4), (503, 4), (507, 4), (500, 3), (502, 3)):
            self.err = Stream()
            self.client.troubles["pool"] = RequestRefused(status, "x", "no")
            self.check("status", err="ganeti-pool: no\n", code=code)

    def test_oneSentence(self) -> None:
        """
        What the daemon says cannot move the cursor, nor fill more than a line.
        """
        self.client.troubles["pool"] = RequestRefused(404, "x", "a\n b\x1b[2J")
        self.check("status", err="ganeti-pool: a b\\x1b[2J\n", code=4)

    def test_nobodyListens(self) -> None:
        """
        Where nobody listens, it is said where that is and how to start a daemon there;
        where somebody hung up, it is not.
        """
        lost = ConnectError(2, "No such file or directory")
        refused = ConnectionRefusedError(111, "Connection refused")
        for options, where, cause, sentence in (
            (
                ["--state-dir", "/a b"],
                "/a b/pool.sock",
                lost,
                "no daemon listens in the state directory /a b; to start one: "
                "twistd -n --pidfile= ganeti-pool --state-dir '/a b'",
            ),
            (
                [],
                "/a/pool.sock",
                refused,
                "no daemon listens in the state directory /a; to start one: "
                "twistd -n --pidfile= ganeti-pool",
            ),
            (
                ["--url", "http://pool:80"],
                "http://pool:80",
                refused,
                "no daemon listens at http://pool:80; to start one: "
                "twistd -n --pidfile= ganeti-pool --listen ENDPOINT --token-file FILE",
            ),
            *(
                (
                    [],
                    "/a/pool.sock",
                    cause,
                    "there is no answer from a daemon at /a/pool.sock: why",
                )
                for cause in (
                    ConnectError(13, "Permission denied"),
                    DNSLookupError("no address"),
                    None,
                )
            ),
        ):
            self.err = Stream()
            trouble = DaemonUnreachable(where, "why.")
            trouble.__cause__ = cause
            self.client.troubles["pool"] = trouble
            self.check("status", *options, err=f"ganeti-pool: {sentence}\n", code=3)

    def test_whichTwistd(self) -> None:
        """
        Where a shell would find no C{twistd}, or another installation's, it is said where
        that of this one is.
        """
        ours, others = (Path(self.mktemp()).resolve() for _ in range(2))
        for directory in (ours, others):
            directory.mkdir()
            (directory / "twistd").touch(0o755)
        (others / "ganeti-pool").symlink_to(ours / "ganeti-pool")
        self.patch(sys, "argv", [str(others / "ganeti-pool"), "status"])
        for path, expected in (
            (ours, "twistd"),
            (others, f"{ours}/twistd"),
            ("/nowhere", f"{ours}/twistd"),
        ):
            os.environ["PATH"] = str(path)
            self.err = Stream()
            trouble = DaemonUnreachable("/a/pool.sock", "why")
            trouble.__cause__ = ConnectError(2, "No such file or directory")
            self.client.troubles["pool"] = trouble
            self.assertEqual(self.codeOf(self.start("status")), 3)
            self.assertIn(f"; to start one: {expected} -n", self.err.text())

    def test_unexpected(self) -> None:
        """
        An answer that makes no sense is one sentence too.
        """
        self.client.poolStatus = {}
        self.check(
            "status",
            err="ganeti-pool: this should not have happened: KeyError: 'daemon'\n",
            code=3,
        )

    def test_missingExtra(self) -> None:
        """
        A package that a verb needs and that is not there is named.
        """
        self.client.troubles["pool"] = ImportError("no", name="treq")
        self.check(
            "status",
            err="ganeti-pool: this needs treq, which is not installed: "
            "pip install 'ganeti-pool[daemon]'\n",
            code=2,
        )

    def test_nobodyIsTold(self) -> None:
        """
        Where standard error takes no more, the exit code says what it says, and what is
        still in a buffer goes nowhere.
        """
        self.client.troubles["pool"] = DaemonUnreachable("/socket", "it hung up")
        with open("/dev/full", "w", encoding="utf-8") as full:
            self.err = cast(Stream, full)
            running = self.start("status")
            full.write("left")
        self.assertEqual(self.codeOf(running), 3)

    def test_endsAreToldToNobody(self) -> None:
        """
        What C{submit --wait} says on standard error is nothing to its exit code.
        """
        with open("/dev/full", "w", encoding="utf-8") as full:
            self.err = cast(Stream, full)
            running = self.start("submit", "--wait", "ls")
            self.client.change(makeJob(1, "succeeded"))
        self.assertEqual(self.codeOf(running), 0)
        self.assertEqual(self.out.text(), "1\n")

    def test_diskIsFull(self) -> None:
        """
        Output that cannot be written is one sentence, also when it is still in a
        buffer at the end.
        """
        with open("/dev/full", "w", encoding="utf-8") as full:
            self.out = cast(Stream, full)
            running = self.start("status")
            full.write("left")
        self.checkEnd(
            running,
            err="ganeti-pool: the output cannot be written: No space left on device\n",
            code=1,
        )

    def test_helpOnAFullDisk(self) -> None:
        """
        Help that cannot be written is one sentence too.
        """

        def write(text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        full = Stream()
        self.patch(full, "write", write)
        self.patch(sys, "stdout", full)
        self.check("--help", err="ganeti-pool: No space left on device\n", code=1)

    def test_nobodyReadsHelp(self) -> None:
        """
        Help that nobody reads any more ends like any other output.
        """

        def write(text: str) -> int:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

        for argv in (["--help"], ["wait", "--help"], ["--version"]):
            pipe = Stream()
            self.patch(pipe, "write", write)
            self.patch(sys, "stdout", pipe)
            self.patch(sys, "stderr", Stream())
            self.check(*argv, code=141)

    def test_terminalIsSafe(self) -> None:
        """
        What a daemon sends does nothing to the terminal, in a text, in JSON, in a sentence
        and in a question, whatever has it where a number or a word is expected.
        """
        bad = "\x1b[2J\x7f\x9b1m\u202e"
        pool = {**POOL, "busy": bad, "workers": bad}
        job: dict[str, Any] = dict.fromkeys(makeJob(1), bad)
        job.update(
            dict.fromkeys(("submitted_at", "started_at", "finished_at"), ago(1)),
            error={"code": bad, "message": bad, "exit_code": bad, "signal": bad},
            cancel_requested_at=None,
            output=None,
        )
        self.client.poolStatus = pool
        for method in ("job", "cancel", "retry", "changePriority", "submit"):
            answer = [job] if method == "submit" else job
            self.patch(self.client, method, lambda *_, answer=answer, **__: succeed(answer))
        for argv in (
            *(["status"], ["pause"], ["show", "1"], ["cancel", "1"], ["retry", "1"]),
            *(["priority", "1", "1"], ["submit", "ls"]),
        ):
            for options in ([], ["--json"]):
                self.out, self.err = Stream(), Stream()
                running = self.start(*argv, *options)
                self.assertEqual(self.codeOf(running), 0, argv)
                for char in set(bad) - set("[2J1m"):
                    self.assertNotIn(char, self.out.text() + self.err.text())

    def test_mistakes(self) -> None:
        """
        A mistake in the call is one sentence.
        """
        for argv, sentence in (
            ((), "Missing command."),
            (("stop",), "No such command 'stop'."),
            (("status", "--verbose"), "No such option"),
            (("show", "x"), "Invalid value for 'ID...': 'x' is not a valid job id."),
            (("resize", "x"), "Invalid value for 'N': 'x' is not a valid whole number."),
        ):
            self.err = Stream()
            running = self.start(*argv)
            self.assertEqual(self.codeOf(running), 2)
            self.assertTrue(self.err.text().startswith(f"ganeti-pool: {sentence}"))
            self.assertEqual(self.err.text().count("\n"), 1)

    def test_notUTF8(self) -> None:
        """
        A name or a label of bytes that are not UTF-8 is a mistake wherever jobs are looked
        for, and where one gets it.
        """
        why = "'\\udcff' is not UTF-8, which is all that a job can hold. See --help."
        word = os.fsdecode(b"\xff")
        for option, value in (("--name", word), ("--label", f"{word}=1"), ("--label", f"a={word}")):
            for verb in (["list"], ["cancel"], ["priority", "3"], ["retry"]):
                self.err = Stream()
                self.check(
                    *(*verb, option, value),
                    err=f"ganeti-pool: Invalid value for '{option}': {why}\n",
                    code=2,
                )
        self.err = Stream()
        self.check(
            *("submit", "--label", f"a={word}", "ls"),
            err=f"ganeti-pool: Invalid value for '--label': {why}\n",
            code=2,
        )
        self.assertEqual(self.client.calls, [])

    def test_help(self) -> None:
        """
        C{--help} explains every verb, with exit code 0.
        """
        self.patch(sys, "stdout", self.out)
        self.assertEqual(self.codeOf(self.start("--help")), 0)
        for verb in (
            *("submit", "list", "show", "logs", "wait", "cancel", "priority"),
            *("pause", "resume", "resize", "status"),
        ):
            self.assertRegex(self.out.text(), rf"(?m)^  {verb} ")
            self.assertEqual(self.codeOf(self.start(verb, "-h")), 0)
        self.assertEqual((self.client.calls, self.err.text()), ([], ""))

    def test_interruptedWhileReading(self) -> None:
        """
        Ctrl-C while the command reads its standard input ends it.
        """

        class Terminal(Input):
            def __next__(self) -> bytes:
                raise KeyboardInterrupt

        self.patch(sys, "stdin", io.TextIOWrapper(Terminal()))
        self.patch(sys, "stderr", Stream())
        self.check(
            *("submit", "--from-file", "-"),
            err="ganeti-pool: interrupted before anything was done\n",
            code=130,
        )

    def test_beginsInTheReactor(self) -> None:
        """
        A verb begins when the reactor runs, which then sees Ctrl-C.
        """
        self.reactor = MemoryReactorClock()
        running = self.start("resume")
        self.assertEqual(self.client.calls, [])
        self.assertNoResult(running)
        self.reactor.run()
        self.assertEqual(self.client.calls, [("changePool", {"active": True})])
        self.assertEqual(self.codeOf(running), 0)

    def test_interruptedAfterTheEnd(self) -> None:
        """
        The stop of the reactor after the end says nothing.
        """
        running = self.start("status")
        self.interrupt()
        self.checkEnd(running, err="", code=0)


class ConnectTests(CommandCase):
    """
    Tests for L{connectToDaemon}.
    """

    def connect(self, **options: Any) -> JobClient:
        """
        A client of the daemon that some options name.
        """
        return connectToDaemon(Session(None, self.out, self.err, reactor=self.reactor, **options))

    def refuse(self, *argv: str, err: str) -> None:
        """
        Check that options are refused before anything is connected to.
        """
        session = Session(None, self.out, self.err)
        todo = parse(session, argv)
        assert not isinstance(todo, int)
        running = self.perform(session, todo)
        self.checkEnd(running, err=err, code=2)
        self.assertEqual((self.reactor.unixClients, self.reactor.tcpClients), ([], []))

    def ask(self, client: JobClient) -> None:
        """
        Send a request, which nobody answers.
        """
        client.pool().addErrback(lambda _: None)

    def test_stateDirectory(self) -> None:
        """
        The socket in the named state directory is connected to.
        """
        self.ask(self.connect(stateDir="/var/lib/pool"))
        self.assertEqual(self.reactor.unixClients[0][0], "/var/lib/pool/ganeti-pool.sock")

    def test_default(self) -> None:
        """
        Without options it is the one of the user.
        """
        os.environ["XDG_STATE_HOME"] = "/home/ana/state"
        self.ask(self.connect())
        self.assertEqual(
            self.reactor.unixClients[0][0], "/home/ana/state/ganeti-pool/ganeti-pool.sock"
        )

    def test_url(self) -> None:
        """
        C{--url} is connected to, with the token of the file if one is named.
        """
        path = Path(self.mktemp())
        path.write_text("s3cret\n")
        made: list[tuple[Any, ...]] = []
        self.patch(
            sys.modules["ganeti_pool.client"], "connectHTTP", lambda *args: made.append(args)
        )
        self.connect(url="http://pool:8080", tokenFile=str(path))
        self.connect(url="http://pool:8080")
        self.assertEqual(
            made,
            [
                (self.reactor, "http://pool:8080", "s3cret", 30),
                (self.reactor, "http://pool:8080", None, 30),
            ],
        )

    def test_contradictions(self) -> None:
        """
        Two daemons, and a token for the socket, are mistakes.
        """
        self.refuse(
            *("--url", "http://pool", "--state-dir", "/x", "status"),
            err="ganeti-pool: --url and --state-dir name two daemons: give one of them. "
            "See --help.\n",
        )
        self.err = Stream()
        self.refuse(
            *("status", "--token-file", "/x"),
            err="ganeti-pool: --token-file goes with --url: the socket needs no token. "
            "See --help.\n",
        )

    def test_empty(self) -> None:
        """
        An option that is there and empty, as of a variable that is not set, does not mean
        the daemon that is asked without it.
        """
        for option in ("--state-dir", "--url", "--token-file"):
            for argv in (
                (option, "", "prune", "--state", "failed", "--yes"),
                ("prune", "--state", "failed", "--yes", f"{option}="),
            ):
                self.err = Stream()
                self.check(
                    *argv,
                    err=f"ganeti-pool: Invalid value for '{option}': it is empty. See --help.\n",
                    code=2,
                )
        self.assertEqual(self.client.calls, [])

    def test_unreadableToken(self) -> None:
        """
        A token file that cannot be read is a mistake.
        """
        self.refuse(
            *("status", "--url", "http://pool", "--token-file", "/nowhere/at-all"),
            err="ganeti-pool: The token file /nowhere/at-all cannot be read: No such file or "
            "directory. See --help.\n",
        )

    def test_noToken(self) -> None:
        """
        A token file in which the daemon would find no token is a mistake.
        """
        path = Path(self.mktemp())
        for content, why in (
            (b" \n", "is empty"),
            (b"two words", "holds something else than one word of printable ASCII"),
            (b"\xff", "holds something else than one word of printable ASCII"),
        ):
            path.write_bytes(content)
            self.err = Stream()
            self.refuse(
                *("status", "--url", "http://pool", "--token-file", str(path)),
                err=f"ganeti-pool: the token file {path} {why}\n",
            )

    def test_deepDirectory(self) -> None:
        """
        A state directory too deep for a socket is a mistake.
        """
        deep = "/" + "x" * 107
        self.refuse(
            *("status", "--state-dir", deep),
            err=f"ganeti-pool: the socket path {deep}/ganeti-pool.sock has 125 bytes, and the "
            "system takes 107 at most: choose a shorter state directory\n",
        )
