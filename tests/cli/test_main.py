"""
Tests for L{cli.main}, as the program that it is.
"""

from __future__ import annotations

import gc
import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from inspect import CORO_CLOSED, getcoroutinestate
from typing import Any, NoReturn, cast
from unittest import mock

from twisted.internet import task
from twisted.logger import globalLogBeginner
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import cli
from ganeti_pool.cli._endings import OutputLost
from ganeti_pool.cli._run import perform, run
from ganeti_pool.cli._session import Session, runInReactor

from .case import (
    MAIN,
    Stream,
)


class RunTests(SynchronousTestCase):
    """
    Tests for L{run} and for L{runInReactor}.
    """

    def setUp(self) -> None:
        """
        A session whose reactor is not run.
        """
        self.seen: list[tuple[Any, ...]] = []
        self.outcome: BaseException = SystemExit(3)
        self.session = Session(None, Stream(), Stream(), react=self.react)

    def react(self, function: object, arguments: Sequence[object]) -> NoReturn:
        """
        See what is to run.
        """
        self.seen.append((function, *arguments))
        raise self.outcome

    def test_reacts(self) -> None:
        """
        A verb runs in the reactor, whose exit code is that of the program.
        """
        self.assertEqual(self.assertRaises(SystemExit, run, self.session, ["status"]).code, 3)
        ((function, session, _),) = self.seen
        self.assertEqual((function, session), (perform, self.session))

    def test_interruptedAtTheStart(self) -> None:
        """
        Ctrl-C before the reactor runs the verb leaves nothing that warns of itself.
        """
        self.outcome = KeyboardInterrupt()
        self.assertRaises(KeyboardInterrupt, run, self.session, ["status"])
        self.assertEqual(getcoroutinestate(self.seen[0][2]), CORO_CLOSED)

    def test_noReactor(self) -> None:
        """
        A mistake ends the program before there is a reactor.
        """
        self.assertEqual(self.assertRaises(SystemExit, run, self.session, ["x"]).code, 2)
        self.assertEqual(self.seen, [])

    def test_logGoesNowhere(self) -> None:
        """
        What Twisted logs goes nowhere while the reactor runs, and garbage is
        collected.
        """
        self.patch(task, "react", self.react)
        self.addCleanup(gc.enable)
        gc.disable()
        self.patch(globalLogBeginner, "beginLoggingTo", lambda log, **_: self.seen.append((log,)))
        self.assertRaises(SystemExit, runInReactor, perform, ())
        self.assertEqual(self.seen, [([],), (perform,)])
        self.assertTrue(gc.isenabled())


class MainTests(SynchronousTestCase):
    """
    Tests for L{cli.main}, as the program that it is.
    """

    def setUp(self) -> None:
        """
        A garbage collector that is not the one of the tests.
        """
        self.collector = mock.Mock(spec=gc)

    def runMain(self, outcome: BaseException) -> list[Sequence[str]]:
        """
        Have L{cli.main} end in a certain way.

        @return: the arguments that it is to run.
        """
        seen: list[Sequence[str]] = []

        def run(session: Session, argv: Sequence[str]) -> NoReturn:
            seen.append(argv)
            raise outcome

        self.patch(sys.modules[perform.__module__], "run", run)
        self.patch(cli, "gc", self.collector)
        self.patch(sys, "stderr", Stream())
        self.patch(sys, "argv", ["ganeti-pool", "list"])
        return seen

    def test_arguments(self) -> None:
        """
        The arguments are those of the process, and no garbage is looked for until the
        reactor runs, nor at the end.
        """
        seen = self.runMain(SystemExit(3))
        self.assertEqual(self.assertRaises(SystemExit, cli.main).code, 3)
        self.assertEqual(seen, [["list"]])
        self.assertEqual(self.collector.mock_calls, [mock.call.disable(), mock.call.freeze()])

    def test_interruptedAtTheStart(self) -> None:
        """
        Ctrl-C before the reactor runs is no traceback.
        """
        self.runMain(KeyboardInterrupt())
        self.assertEqual(self.assertRaises(SystemExit, cli.main).code, 130)
        self.assertEqual(
            cast(Stream, sys.stderr).text(), "ganeti-pool: interrupted before anything was done\n"
        )

    def test_interruptedUnheard(self) -> None:
        """
        Ctrl-C has its exit code also where standard error is closed.
        """
        self.runMain(KeyboardInterrupt())
        self.patch(Session, "ofProcess", object)
        self.patch(sys, "stderr", None)
        self.assertEqual(self.assertRaises(SystemExit, cli.main).code, 130)

    def test_interruptedCompletion(self) -> None:
        """
        Ctrl-C while a shell waits for a word says nothing, for that would go into
        the line that is typed.
        """
        self.runMain(KeyboardInterrupt())
        with mock.patch.dict(os.environ, {"_GANETI_POOL_COMPLETE": "bash_complete"}):
            self.assertEqual(self.assertRaises(SystemExit, cli.main).code, 130)
        self.assertEqual(cast(Stream, sys.stderr).text(), "")

    def test_baseInstall(self) -> None:
        """
        Without click one sentence names it and the extra, with exit code 2.
        """
        without = [*MAIN[:2], "import sys; sys.modules['click'] = None; " + MAIN[2], "status"]
        ended = subprocess.run(without, capture_output=True, text=True, timeout=60)
        self.assertEqual(
            (ended.returncode, ended.stdout, ended.stderr),
            (
                2,
                "",
                "ganeti-pool: the command needs click, which is not installed: "
                "pip install 'ganeti-pool[daemon]'\n",
            ),
        )

    def test_missingExtra(self) -> None:
        """
        What is missing is named.
        """
        self.runMain(ImportError("no", name="click"))
        self.assertEqual(self.assertRaises(SystemExit, cli.main).code, 2)
        self.assertEqual(
            cast(Stream, sys.stderr).text(),
            "ganeti-pool: the command needs click, which is not installed: "
            "pip install 'ganeti-pool[daemon]'\n",
        )

    def test_streamsAndColour(self) -> None:
        """
        The session has the process's streams, which escape what their encoding
        lacks, and heeds NO_COLOR and a terminal that is dumb.
        """
        memory = io.BytesIO()
        self.patch(sys, "stdout", io.TextIOWrapper(memory, encoding="ascii"))
        self.patch(sys, "stderr", io.StringIO())
        sessions = []
        for value, terminal in (("", "xterm"), ("1", "xterm"), ("", "dumb")):
            with mock.patch.dict(os.environ, {"NO_COLOR": value, "TERM": terminal}):
                sessions.append(Session.ofProcess())
        self.assertEqual([session.noColor for session in sessions], [False, True, True])
        sessions[0].write("\xe9")
        self.assertEqual(memory.getvalue(), b"\\xe9\n")
        self.assertIs(sessions[0].stderr, sys.stderr)
        self.assertIs(sessions[0].stdin, sys.stdin)

    def test_closedStreams(self) -> None:
        """
        Of streams that the caller has closed, standard output cannot be written, which is
        an end like others, and there is nobody to tell or to ask.
        """
        for name in ("stdin", "stdout", "stderr"):
            self.patch(sys, name, None)
        session = Session.ofProcess()
        with session.stdout, session.stderr:
            lost = self.assertRaises(OutputLost, session.write, "nobody reads this")
            self.assertEqual(session.explain(lost), 1)
        self.assertEqual(str(lost), "the output cannot be written: Bad file descriptor")
        self.assertFalse(session.canAsk())

    def test_noDaemon(self) -> None:
        """
        Where no daemon listens, that is one sentence and exit code 3.
        """
        path = "/nonexistent/state"
        ended = subprocess.run(
            [*MAIN, "--state-dir", os.path.relpath(path), "status"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual((ended.returncode, ended.stdout), (3, ""))
        self.assertEqual(
            ended.stderr,
            f"ganeti-pool: no daemon listens in the state directory {path}; to start one: "
            f"twistd -n --pidfile= ganeti-pool --state-dir {path}\n",
        )

    def test_noRoomForASentence(self) -> None:
        """
        The exit code is the same where standard error takes no more or is closed.
        """
        nowhere = ["--state-dir", "/nonexistent", "status"]
        without = [*MAIN[:2], "import sys; sys.modules['click'] = None; " + MAIN[2]]
        with open("/dev/full", "wb") as full:
            codes = [
                subprocess.run(
                    ["sh", "-c", f'exec "$@" {redirection}', "sh", *command],
                    stdout=subprocess.DEVNULL,
                    stderr=full,
                    timeout=60,
                ).returncode
                for redirection in ("", "2>&-")
                for command in ([*MAIN, *nowhere], without)
            ]
        self.assertEqual(codes, [3, 2, 3, 2])

    def test_interruptedInTheFirstTurn(self) -> None:
        """
        Ctrl-C while a verb begins, and before it has waited for anything, is one sentence
        and exit code 130.
        """
        begin = (
            "import signal; from ganeti_pool.cli._session import Session; connect = "
            "Session.connect; Session.connect = lambda session: "
            "(signal.raise_signal(signal.SIGINT), connect(session))[1]; "
        )
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            ended = subprocess.run(
                [*MAIN[:2], begin + MAIN[2], "--url", url, "pause"],
                capture_output=True,
                text=True,
                timeout=60,
            )
        self.assertEqual(
            (ended.returncode, ended.stdout, ended.stderr),
            (130, "", "ganeti-pool: interrupted: the daemon may have done it anyway\n"),
        )

    def endBy(self, number: int, prefix: Sequence[str] = ()) -> tuple[int, str, str]:
        """
        Send a signal to the program while a daemon keeps it waiting, then SIGINT.

        @param prefix: starts the program.
        @return: its exit code, and what it wrote.
        """
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(60)
        with closing(listener):
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            process = subprocess.Popen(
                [*prefix, *MAIN, "--url", url, "resize", "1"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            connection, _ = listener.accept()
            with closing(connection):
                connection.settimeout(60)
                self.assertTrue(connection.recv(1).startswith(b"P"))
                process.send_signal(number)
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def test_interrupted(self) -> None:
        """
        Ctrl-C on the program, while a daemon keeps it waiting, is one sentence and
        exit code 130; SIGTERM is 143, and SIGHUP 129.
        """
        # These tests may run under nohup, which the program would honour.
        hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        self.addCleanup(signal.signal, signal.SIGHUP, hangup)
        said = "ganeti-pool: interrupted: the daemon goes on to change the number of workers\n"
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
            self.assertEqual(self.endBy(number), (code, "", said))

    def test_nohup(self) -> None:
        """
        A SIGHUP that the caller has set to be ignored ends nothing.
        """
        ignoring = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh"]
        self.assertEqual(self.endBy(signal.SIGHUP, ignoring)[0], 130)
