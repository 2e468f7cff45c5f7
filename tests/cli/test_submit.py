"""
Tests for C{submit}.
"""

from __future__ import annotations

import errno
import io
import json
import os
import pwd
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast
from unittest import mock

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.reflect import qual

from ganeti_pool.client import DaemonSilent, DaemonUnreachable, RequestRefused
from ganeti_pool.commands import CommandWorker
from ganeti_pool.wire import MAX_BODY, encode

from .case import (
    OWNER,
    CommandCase,
    FakeClient,
    Input,
    Stream,
    makeFailed,
    makeJob,
)

WORKER = qual(CommandWorker)


class SubmitTests(CommandCase):
    """
    Tests for C{submit}.
    """

    def setUp(self) -> None:
        """
        A umask that is known.
        """
        super().setUp()
        self.addCleanup(os.umask, os.umask(0o027))

    def submitted(self) -> list[dict[str, Any]]:
        """
        All jobs that were submitted.
        """
        return [job for call in self.client.calls if call[0] == "submit" for job in call[1]]

    def fromFile(self, content: str | bytes, *argv: str, **expected: Any) -> None:
        """
        Check C{submit --from-file}.
        """
        path = Path(self.mktemp())
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        if "err" in expected:
            expected["err"] = expected["err"].format(path=path)
        self.check("submit", "--from-file", str(path), *argv, **expected)

    def test_printsTheIDAlone(self) -> None:
        """
        A command is submitted with this process's directory, umask and PATH, and
        what was not said is left to the daemon; the id alone is printed.
        """
        self.check("submit", "ls", "-l", "--json", out="1\n")
        options = {"cwd": os.getcwd(), "umask": "0027", "env": {"PATH": "/bin"}}
        self.assertEqual(
            self.submitted(),
            [{"worker": WORKER, "args": [["ls", "-l", "--json"], options], "owner": OWNER}],
        )

    def test_umaskStays(self) -> None:
        """
        To read the umask does not change it.
        """
        self.check("submit", "ls", out="1\n")
        self.assertEqual(os.umask(0o027), 0o027)

    def test_options(self) -> None:
        """
        Every option is sent under its key, and C{--} ends the options.
        """
        os.environ["HOME"] = "/home/ana"
        self.check(
            *("submit", "--priority", "-5", "--name", "Lists", "--cwd", "/a/../src"),
            *("--env", "HOME", "--env", "A=b=c", "--env", "E=", "--env", "PATH=/opt/bin"),
            *("--max-attempts", "3", "--on-crash", "retry", "--label", "a=b=c", "--label", "d="),
            *("--key", "k", "--timeout", "1m30s", "--", "--ls"),
            out="1\n",
        )
        env = {"PATH": "/opt/bin", "HOME": "/home/ana", "A": "b=c", "E": ""}
        self.assertEqual(
            self.submitted(),
            [
                {
                    "worker": WORKER,
                    "args": [["--ls"], {"cwd": "/src", "umask": "0027", "env": env}],
                    "priority": -5,
                    "name": "Lists",
                    "owner": OWNER,
                    "labels": {"a": "b=c", "d": ""},
                    "timeout": 90.0,
                    "key": "k",
                    "max_attempts": 3,
                    "on_crash": "retry",
                }
            ],
        )

    def test_keyOfAFile(self) -> None:
        """
        The jobs of a file get keys by the numbers of their lines.
        """
        self.fromFile('["a"]\n\n["b"]\n', "--key", "k", out="1\n2\n")
        self.assertEqual([job["key"] for job in self.submitted()], ["k-1", "k-3"])

    def test_wrongLabels(self) -> None:
        """
        A label that is none, or is there twice, is a wrong call.
        """
        for labels, sentence in [
            (("a",), "'a' is no label as K=V."),
            (("=a",), "'=a' is no label as K=V."),
            (("a=1", "a=2"), "the label 'a' is there twice."),
            ([f"a{n}=1" for n in range(33)], "33 labels are too many: 32 can be given."),
        ]:
            given = [f"--label={label}" for label in labels]
            for verb in (("submit", "ls"), ("list",), ("cancel", "--yes")):
                self.err = Stream()
                running = self.start(*verb[:1], *given, *verb[1:])
                self.assertEqual(self.codeOf(running), 2)
                self.assertIn(sentence, self.err.text())
        self.assertEqual(self.client.calls, [])
        self.err = Stream()
        self.check("list", "--no-headers", *(f"--label=a{n}=1" for n in range(32)))

    def test_outOfRange(self) -> None:
        """
        A number that no daemon takes is a mistake.
        """
        least, most = -1 << 63, (1 << 63) - 1
        for option, value, sentence in (
            ("--timeout", "0s", "it must be more than nothing."),
            ("--priority", str(most + 1), f"{most + 1} is not from {least} to {most}."),
            ("--priority", str(least - 1), f"{least - 1} is not from {least} to {most}."),
            (
                "--max-attempts",
                str(most + 1),
                f"{most + 1} is not in the range 1<=x<={most}.",
            ),
        ):
            self.err = Stream()
            self.check(
                *("submit", option, value, "ls"),
                err=f"ganeti-pool: Invalid value for '{option}': {sentence} See --help.\n",
                code=2,
            )
        self.assertEqual(self.client.calls, [])
        self.err = Stream()
        self.check("submit", "--priority", str(least), "ls", out="1\n")

    def test_namelessOwner(self) -> None:
        """
        Where the system has no name for the user, the owner is the number.
        """

        def getpwuid(uid: int) -> object:
            raise KeyError(uid)

        self.patch(pwd, "getpwuid", getpwuid)
        self.check("submit", "ls", out="1\n")
        self.assertEqual(self.submitted()[0]["owner"], str(os.getuid()))

    def test_noPath(self) -> None:
        """
        Where there is no PATH, none is sent.
        """
        del os.environ["PATH"]
        self.check("submit", "ls", out="1\n")
        self.assertEqual(self.submitted()[0]["args"][1]["env"], {})

    def test_priorityWords(self) -> None:
        """
        Low, normal and high are 10, 0 and -10; other words are refused.
        """
        for word in ("low", "normal", "high"):
            self.assertEqual(self.codeOf(self.start("submit", "--priority", word, "ls")), 0)
        self.assertEqual([job["priority"] for job in self.submitted()], [10, 0, -10])
        self.out = Stream()
        self.check(
            *("submit", "--priority", "urgent", "ls"),
            err="ganeti-pool: Invalid value for '--priority': 'urgent' is neither an "
            "integer such as -5 nor low, normal or high. See --help.\n",
            code=2,
        )

    def test_numbers(self) -> None:
        """
        A number is written with the digits 0 to 9 alone, wherever one is given.
        """
        for number in ("1_000", "\u0663", "+5", " 5 ", "5.0", "0x10", "1e3", "\uff15", ""):
            for argv in (
                ("submit", f"--priority={number}", "ls"),
                ("submit", f"--max-attempts={number}", "ls"),
                ("submit", f"--timeout={number}s", "ls"),
                ("priority", number, "1"),
                ("list", f"--limit={number}"),
                ("list", f"--since={number}d"),
                ("logs", f"--tail={number}", "1"),
                ("logs", "--attempt", number, "1"),
                ("wait", number),
                ("wait", f"--timeout={number}m", "1"),
                ("resize", number),
                ("prune", f"--older-than={number}d", "--yes"),
            ):
                if number == "5.0" and argv[1].endswith("=5.0s"):
                    continue
                self.assertEqual(self.codeOf(self.start(*argv)), 2, argv)
        self.assertEqual(self.client.calls, [])

    def test_unanswered(self) -> None:
        """
        Where no answer comes, it is said that the job may have been added, and what makes
        submitting again safe; with C{--key} that it is; not if nothing was sent.
        """
        lost = DaemonSilent("/socket", 30)
        said = "whether this job was added is unknown: "
        for options, trouble, expected in (
            ((), lost, said + "check `ganeti-pool list` before you submit again"),
            (("--key", "k"), lost, said + "submit again with the same --key"),
            ((), DaemonSilent("/socket", 30, False), None),
        ):
            self.err = Stream()
            self.client.troubles["submit"] = trouble
            self.assertEqual(self.codeOf(self.start("submit", *options, "ls")), 3)
            if expected is None:
                self.assertNotIn(said, self.err.text())
            else:
                self.assertIn(f"({expected}", self.err.text())

    def test_answeredBefore(self) -> None:
        """
        A daemon that is lost after it has added the jobs leaves no doubt about that.
        """
        running = self.start("submit", "--wait", "ls")
        self.client.changes.pop().errback(DaemonSilent("/socket", 90))
        self.patch(self.client, "listJobs", lambda **_: fail(DaemonSilent("/socket", 30)))
        for _ in range(63):
            self.reactor.advance(1)
        self.assertEqual(self.codeOf(running), 3)
        self.assertNotIn("unknown", self.err.text())

    def test_jsonIsTheJob(self) -> None:
        """
        With C{--json}, before or behind the verb, the job is printed.
        """
        job = makeJob(
            1,
            args=[["ls"], {"cwd": os.getcwd(), "umask": "0027", "env": {"PATH": "/bin"}}],
            owner=OWNER,
        )
        self.check("--json", "submit", "ls", out=encode(job).decode() + "\n")
        self.client = FakeClient()
        self.out = Stream()
        self.check("submit", "--json", "ls", out=encode(job).decode() + "\n")

    def test_nothingToSubmit(self) -> None:
        """
        Neither a command nor a file, and both, are mistakes.
        """
        err = "ganeti-pool: Give a command, or --from-file. See --help.\n"
        self.check("submit", err=err, code=2)
        self.err = Stream()
        self.fromFile("", "ls", err=err, code=2)

    def test_unsetVariable(self) -> None:
        """
        A variable without a value here or there is refused, and one without a name.
        """
        for setting in ("HOME", "=x"):
            self.err = Stream()
            self.check(
                *("submit", "--env", setting, "ls"),
                err=f"ganeti-pool: --env {setting}: say NAME=VALUE, or the NAME of a variable "
                "that is set here. See --help.\n",
                code=2,
            )

    def test_empty(self) -> None:
        """
        A directory, a name or a key that is empty, as of a variable that is not set, is a
        mistake.
        """
        for option in ("--cwd", "--name", "--key"):
            self.err = Stream()
            self.check(
                *("submit", option, "", "ls"),
                err=f"ganeti-pool: Invalid value for '{option}': it is empty. See --help.\n",
                code=2,
            )
        self.assertEqual(self.client.calls, [])

    def test_directoryIsGone(self) -> None:
        """
        A working directory that was removed is said, unless another is named.
        """
        with mock.patch("os.getcwd", side_effect=FileNotFoundError):
            self.check(
                *("submit", "ls"),
                err="ganeti-pool: The working directory has been removed: name another with "
                "--cwd. See --help.\n",
                code=2,
            )
            self.err = Stream()
            self.check("submit", "--cwd", "/", "ls", out="1\n")

    def test_notUTF8(self) -> None:
        """
        An argument of bytes that are not UTF-8 is refused, and nothing is asked.
        """
        self.check(
            *("submit", "ls", os.fsdecode(b"caf\xe9")),
            err="ganeti-pool: the command: '\\udce9' is not UTF-8, which is all that a job can "
            "hold. See --help.\n",
            code=2,
        )
        self.assertEqual(self.client.calls, [])

    def test_fromFile(self) -> None:
        """
        Each line of a file is an argv in JSON; blank ones count for nothing.
        """
        self.fromFile('["sha256sum", "é"]\n\n["ls"]', out="1\n2\n")
        self.assertEqual([job["args"][0] for job in self.submitted()], [["sha256sum", "é"], ["ls"]])

    def test_emptyFile(self) -> None:
        """
        A file without lines is no job, and no mistake.
        """
        self.fromFile("")
        self.assertEqual(self.client.calls, [])

    def test_fromStandardInput(self) -> None:
        """
        C{-} is standard input.
        """
        self.patch(sys, "stdin", io.TextIOWrapper(Input(b'["ls"]\n')))
        self.check("submit", "--from-file", "-", out="1\n")

    def test_closedStandardInput(self) -> None:
        """
        Standard input that the caller has closed is a mistake, where it is to be read.
        """
        self.patch(sys, "stdin", None)
        self.check(
            *("submit", "--from-file", "-"),
            err="ganeti-pool: Invalid value for '--from-file': standard input is closed. "
            "See --help.\n",
            code=2,
        )
        self.err = Stream()
        self.fromFile('["true"]', out="1\n")

    def test_wrongLines(self) -> None:
        """
        A wrong line is named, and nothing is submitted.
        """
        shape = 'not an array of strings such as ["sha256sum", "README.md"]'
        for line, problem in (
            (b"ls", "no JSON (Expecting value: line 1 column 1 (char 0))"),
            (b"{}", shape),
            (b"[]", shape),
            (b"[1]", shape),
            (
                b'["\xff"]',
                "byte 3 of the line, 0xff, is not valid UTF-8: the file must be UTF-8",
            ),
            (
                b'["a\0b"]',
                "the line has a NUL byte, and the file must be UTF-8: convert it, for example with "
                "iconv -f UTF-16 -t UTF-8",
            ),
            (
                b'\xef\xbb\xbf["ls"]',
                "a byte order mark is valid only at the start of the file: remove it",
            ),
            (b'["\\ud800"]', "'\\ud800' is not UTF-8, which is all that a job can hold"),
        ):
            self.err = Stream()
            # The error has backslashes, and no braces.
            err = "ganeti-pool: {path}, line 2: " + problem + ". See --help.\n"
            self.fromFile(b'["ls"]\n' + line + b"\n", err=err, code=2)
        self.assertEqual(self.client.calls, [])

    def test_byteOrderMark(self) -> None:
        """
        A byte order mark at the start of a file, and line ends of Windows, are skipped.
        """
        self.fromFile(b'\xef\xbb\xbf["a"]\r\n\r\n["b"]\r\n', out="1\n2\n")
        self.assertEqual([job["args"][0] for job in self.client.calls[0][1]], [["a"], ["b"]])
        self.out = Stream()
        self.fromFile(b"\xef\xbb\xbf")

    def test_wideFile(self) -> None:
        """
        A file in UTF-16 or UTF-32 is rejected by name, with what to do.
        """
        for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
            self.err = Stream()
            self.fromFile(
                '\ufeff["ls"]\n'.encode(encoding),
                err="ganeti-pool: {path} is UTF-16 or UTF-32, and the file must be UTF-8: convert "
                "it, for example with iconv -f UTF-16 -t UTF-8. See --help.\n",
                code=2,
            )
        self.assertEqual(self.client.calls, [])

    def test_deepLine(self) -> None:
        """
        A line that nests without end is refused like any other.
        """
        running = self.start("submit", "--from-file", self.write(b"[" * 200_000))
        self.assertEqual(self.codeOf(running), 2)
        self.assertIn("line 1: no JSON (", self.err.text())

    def submitFile(self, content: bytes) -> None:
        """
        Submit a file that is right.
        """
        running = self.start("submit", "--cwd", "/", "--from-file", self.write(content))
        self.assertEqual(self.codeOf(running), 0)

    def write(self, content: bytes) -> str:
        """
        Make a file.
        """
        path = Path(self.mktemp())
        path.write_bytes(content)
        return str(path)

    def test_noFile(self) -> None:
        """
        A file that cannot be opened is a mistake in the call.
        """
        self.check(
            *("submit", "--from-file", "/nowhere/at-all"),
            err="ganeti-pool: Invalid value for '--from-file': '/nowhere/at-all': No such file "
            "or directory. See --help.\n",
            code=2,
        )

    def test_hugeJob(self) -> None:
        """
        A job that no request can hold is refused with its line; the largest one
        that fits is sent.
        """
        self.submitFile(b'[""]')
        room = MAX_BODY - len(encode(self.submitted()))
        self.submitFile(b'["%s"]' % (b"x" * room))
        self.assertEqual(len(encode(self.client.calls[-1][1])), MAX_BODY)
        self.out = Stream()
        big = b'["ls"]\n["%s"]' % (b"x" * (room + 1))
        self.fromFile(
            big,
            *("--cwd", "/"),
            err="ganeti-pool: {path}, line 2: a job of 1048576 bytes, and a request has 1048576 "
            "at most. See --help.\n",
            code=2,
        )

    def test_batches(self) -> None:
        """
        No request has more than 1,000 jobs or more bytes than are read.
        """
        self.fromFile('["ls"]\n' * 2500, out="".join(f"{n}\n" for n in range(1, 2501)))
        self.assertEqual([len(call[1]) for call in self.client.calls], [1000, 1000, 500])
        self.client = FakeClient()
        line = '["%s"]\n' % ("x" * 300_000)
        self.out = Stream()
        self.fromFile(line * 7, out="".join(f"{n}\n" for n in range(1, 8)))
        self.assertEqual([len(call[1]) for call in self.client.calls], [3, 3, 1])

    def test_refused(self) -> None:
        """
        A refusal is passed on.
        """
        self.client.troubles["submit"] = RequestRefused(429, "queue_full", "the queue is full")
        self.check("submit", "ls", err="ganeti-pool: the queue is full\n", code=4)

    def refuse(self, code: str, *errors: tuple[str, str]) -> None:
        """
        Have the next submission refused, for what is wrong at some pointers.
        """
        self.client.troubles["submit"] = RequestRefused(
            400,
            code,
            "it is wrong",
            [{"pointer": pointer, "code": "x", "detail": text} for pointer, text in errors],
        )

    def test_refusedLine(self) -> None:
        """
        A refusal says which line of the file is wrong, and how much is besides.
        """
        lines = '["a"]\n\n["b"]\n["c"]\n'
        for code, errors, said in (
            ("invalid_field", [("/1/args/0/0", "no")], "{path}, line 3: /args/0/0: no"),
            ("invalid_field", [("/2", "no"), ("/0/a", "no")], "{path}, line 4: no (and 1 more)"),
            ("key_conflict", [("/0/key", "taken")], "{path}, line 1: taken"),
            ("invalid_field", [("", "too long")], "it is wrong"),
            ("invalid_field", [("/3/args", "no")], "it is wrong"),
        ):
            self.err = Stream()
            self.refuse(code, *errors)
            self.fromFile(
                lines,
                err=f"ganeti-pool: {said} (0 of 3 jobs are known to be submitted)\n",
                code=4,
            )

    def test_refusedLineOfOne(self) -> None:
        """
        So it does of a line that is alone in its request, whether or not the daemon
        counts it; and of a command.
        """
        for pointer in ("/0/args/0/0", "/args/0/0"):
            self.err = Stream()
            self.refuse("invalid_field", (pointer, "no"))
            self.fromFile('\n["a"]', err="ganeti-pool: {path}, line 2: /args/0/0: no\n", code=4)
        self.err = Stream()
        self.refuse("invalid_field", ("/args/0/0", "no"))
        self.fromFile(
            '["%s"]\n' % ("x" * 600_000) * 2,
            err="ganeti-pool: {path}, line 1: /args/0/0: no (0 of 2 jobs are known to be "
            "submitted)\n",
            code=4,
        )
        self.err = Stream()
        self.refuse("invalid_field", ("/args/0/0", "no"))
        self.check("submit", "ls", err="ganeti-pool: the command: /args/0/0: no\n", code=4)

    def stopInTheMiddle(
        self, stop: Callable[[], object], err: str, code: int, doubt: str = ""
    ) -> None:
        """
        Submit 1,500 jobs, of which the second request does not get through.

        @param stop: called before that, to see to it.
        """
        accept = self.client.submit

        def submit(jobs: Sequence[dict[str, Any]]) -> Deferred[Any]:
            if self.client.jobs:
                stop()
            return accept(jobs)

        self.patch(self.client, "submit", submit)
        self.fromFile(
            '["ls"]\n' * 1500,
            out="".join(f"{n}\n" for n in range(1, 1001)),
            err=f"ganeti-pool: {err} (1000 of 1500 jobs are known to be submitted{doubt})\n",
            code=code,
        )

    def test_refusedLineOfLaterBatch(self) -> None:
        """
        The lines of earlier requests count.
        """
        self.stopInTheMiddle(
            lambda: self.refuse("invalid_field", ("/4/args/0/0", "no")),
            err="{path}, line 1005: /args/0/0: no",
            code=4,
        )

    def test_refusedInTheMiddle(self) -> None:
        """
        Of several batches, those before a refusal are submitted, and it is said so.
        """
        trouble = DaemonUnreachable("/socket", "it broke")
        self.stopInTheMiddle(
            lambda: self.client.troubles.update(submit=trouble),
            err="there is no answer from a daemon at /socket: it broke",
            doubt="; whether the next 500 jobs were added is unknown: check `ganeti-pool list` "
            "before you submit again; with --key, submitting again adds nothing twice",
            code=3,
        )

    def test_outputLost(self) -> None:
        """
        Where the ids cannot be written, or nobody reads them, it is said how many jobs are
        submitted; of one, which it is.
        """
        path = Path(self.mktemp())
        path.write_text('["ls"]\n' * 1500)
        full = "the output cannot be written: No space left on device"
        for error, code, why in (
            (OSError(errno.ENOSPC, "No space left on device"), 1, full),
            (BrokenPipeError(), 141, "nobody reads the output any more"),
        ):
            for argv, said in (
                (["--from-file", str(path)], "1000 of 1500 jobs are submitted, and go on"),
                (["ls"], "job 1 is submitted, and goes on"),
            ):
                self.client = FakeClient()
                self.err = Stream()
                with open("/dev/full", "w", encoding="utf-8") as stream:
                    self.patch(stream, "write", mock.Mock(side_effect=error))
                    self.out = cast(Stream, stream)
                    running = self.start("submit", *argv)
                self.checkEnd(
                    running, err=f"ganeti-pool: {why}: {said} without this command\n", code=code
                )

    def test_interrupted(self) -> None:
        """
        Ctrl-C before the answer says how many jobs are known to be submitted.
        """
        self.patch(self.client, "submit", lambda jobs: Deferred())
        running = self.start("submit", "ls")
        self.interrupt()
        self.checkEnd(
            running,
            err="ganeti-pool: interrupted: 0 of 1 jobs are known to be submitted\n",
            code=130,
        )

    def test_wait(self) -> None:
        """
        With C{--wait} the id alone goes to standard output at once, what becomes of
        the job to standard error, and the exit code tells it.
        """
        running = self.start("submit", "--wait", "ls")
        self.assertEqual((self.out.text(), self.err.text()), ("1\n", ""))
        self.assertEqual(self.client.calls[-1], ("changedJobs", 1, 60))
        self.client.change(makeFailed(1))
        self.assertEqual(self.codeOf(running), 1)
        self.assertEqual(
            (self.out.text(), self.err.text()), ("1\n", "1 failed: it exited with 3\n")
        )

    def test_waitForAnOldKey(self) -> None:
        """
        A job that had its key before and is finished does not have the daemon tell all
        that has changed since.
        """
        jobs = [makeJob(1, "succeeded", revision=4), makeJob(2, revision=5000)]
        self.patch(self.client, "submit", lambda _: succeed(jobs))
        running = self.start("submit", "--wait", "ls")
        self.assertEqual(self.client.calls, [("pool",), ("changedJobs", 5000, 60)])
        self.client.change(makeJob(2, "succeeded", revision=5001))
        self.checkEnd(running, err="1 succeeded\n2 succeeded\n", code=0)
        jobs.pop()
        self.check("submit", "--wait", "ls", out="1\n2\n1\n", err=self.err.text() + "1 succeeded\n")

    def test_waitJSON(self) -> None:
        """
        With C{--wait --json} the job is printed as submitted and as finished.
        """
        running = self.start("submit", "--wait", "--json", "ls")
        self.client.change(makeJob(1, "succeeded"))
        self.assertEqual(self.codeOf(running), 0)
        states = [json.loads(line)["state"] for line in self.out.text().splitlines()]
        self.assertEqual((states, self.err.text()), (["queued", "succeeded"], ""))
