"""
Tests for C{logs}.
"""

from __future__ import annotations

import io
import json
import os
from typing import cast

from .case import (
    CommandCase,
    FakeClient,
    Stream,
    makeJob,
)


class LogsTests(CommandCase):
    """
    Tests for C{logs}.
    """

    def setUp(self) -> None:
        """
        A job that runs and has written something.
        """
        super().setUp()
        self.client = FakeClient(makeJob(7, "running"))
        self.client.written = b"one\ntwo\n\xff\x1b\nfour"

    def written(self) -> bytes:
        """
        The bytes on standard output.
        """
        return self.out.memory.getvalue()

    def test_bytesAsTheyAre(self) -> None:
        """
        The output is copied byte for byte, also to a terminal.
        """
        self.out = Stream(terminal=True)
        self.assertEqual(self.codeOf(self.start("logs", "7")), 0)
        self.assertEqual(self.written(), self.client.written)
        self.assertEqual(self.client.calls, [("output", 7, "stdout", None, 0, 0)])

    def test_stderrOfAnAttempt(self) -> None:
        """
        The stream and the attempt can be chosen.
        """
        self.assertEqual(self.codeOf(self.start("logs", "--stderr", "--attempt", "2", "7")), 0)
        self.assertEqual(self.client.calls, [("output", 7, "stderr", 2, 0, 0)])

    def test_tail(self) -> None:
        """
        C{--tail} gives the last lines, of which one need not have ended.
        """
        for lines, expected in (
            ("0", b""),
            ("1", b"four"),
            ("2", b"\xff\x1b\nfour"),
            ("9", self.client.written),
        ):
            self.out = Stream()
            self.assertEqual(self.codeOf(self.start("logs", "--tail", lines, "7")), 0)
            self.assertEqual(self.written(), expected)
        self.client.written += b"\n"
        self.out = Stream()
        self.assertEqual(self.codeOf(self.start("logs", "--tail", "1", "7")), 0)
        self.assertEqual(self.written(), b"four\n")

    def test_follow(self) -> None:
        """
        C{-f} writes what comes until the attempt has ended.
        """
        running = self.start("logs", "-f", "7")
        self.client.collector(b"more")
        self.assertEqual(self.written(), self.client.written + b"more")
        self.assertNoResult(running)
        self.client.jobs[7] = makeJob(7, "succeeded")
        self.client.follow.pop().callback(None)
        self.assertEqual(self.codeOf(running), 0)

    def test_followGoesOn(self) -> None:
        """
        An answer that ends before the attempt does is asked for again, a second later if
        it was empty, from where it ended and for the same attempt.
        """
        running = self.start("logs", "-f", "--tail", "1", "7")
        self.assertEqual(self.written(), b"four")
        self.client.written += b"teen"
        self.client.follow.pop().callback(None)
        self.reactor.advance(1)
        self.assertEqual(self.written(), b"fourteen")
        size = len(self.client.written)
        self.assertEqual(
            [call[3:5] for call in self.client.calls if call[0] == "output"],
            [(1, 0), (1, size - 4), (1, size - 4)],
        )
        self.client.jobs[7] = makeJob(7, "running", attempt=2)
        self.client.follow.pop().callback(None)
        self.assertEqual(self.codeOf(running), 0)

    def test_followMore(self) -> None:
        """
        An answer that has brought something is followed by the next one at once.
        """
        running = self.start("logs", "-f", "7")
        self.client.follow.pop().callback(None)
        self.assertEqual(len(self.client.follow), 1)
        self.interrupt()
        self.assertEqual(self.codeOf(running), 130)

    def test_followRetried(self) -> None:
        """
        C{-f} on a job that is to be tried again waits for that start, and does not
        take the output of what is over for it.
        """
        self.client.jobs[7] = makeJob(7, attempt=1)
        running = self.start("logs", "-f", "7")
        self.assertEqual(self.client.calls[-1][:2], ("changedJobs", 7))
        self.client.change(makeJob(8, "running", revision=30))
        self.assertEqual(self.client.calls[-1][:2], ("changedJobs", 30))
        self.client.jobs[7] = makeJob(7, "running", attempt=2, revision=31)
        self.client.change(self.client.jobs[7])
        self.assertEqual(self.client.calls[-1], ("output", 7, "stdout", 2, 0, 60))
        self.client.jobs[7] = makeJob(7, "succeeded", attempt=2)
        self.client.follow.pop().callback(None)
        self.assertEqual(self.codeOf(running), 0)

    def test_followRemoved(self) -> None:
        """
        C{-f} on a job that is to be tried again and is removed before ends, whatever else
        happens meanwhile.
        """
        self.client.jobs[7] = makeJob(7, attempt=1)
        running = self.start("logs", "-f", "7")
        del self.client.jobs[7]
        self.client.change(makeJob(8, "running", revision=30))
        self.checkEnd(running, err="ganeti-pool: there is no job 7\n", code=4)

    def test_json(self) -> None:
        """
        With C{--json} the text comes in pieces, an object each; a character that is
        cut in two is put together, and what is none is replaced.
        """
        self.client.written = "1234é\n".encode() + b"\xff\xc3"
        self.assertEqual(self.codeOf(self.start("logs", "7", "--json")), 0)
        pieces = [json.loads(line) for line in self.out.text().splitlines()]
        self.assertEqual(pieces[0], {"id": 7, "attempt": 1, "stream": "stdout", "text": "1234"})
        self.assertEqual([piece["text"] for piece in pieces], ["1234", "é\n\ufffd", "\ufffd"])

    def test_jsonOfNothing(self) -> None:
        """
        Without output there is no object.
        """
        self.client.written = b""
        self.check("logs", "7", "--json", "--attempt", "1")

    def test_followWaits(self) -> None:
        """
        C{-f} on a job that has not started follows its first attempt.
        """
        self.client.jobs[7] = makeJob(7)
        running = self.start("logs", "-f", "7")
        self.assertEqual(self.client.calls[-1][3], 1)
        self.interrupt()
        self.checkEnd(running, err="ganeti-pool: interrupted: job 7 goes on\n", code=130)

    def test_nobodyReads(self) -> None:
        """
        When the reader of a pipe has gone, the command ends quietly, and what is
        still in its buffers goes nowhere.
        """
        readEnd, writeEnd = os.pipe()
        os.close(readEnd)
        with io.TextIOWrapper(os.fdopen(writeEnd, "wb"), encoding="utf-8") as pipe:
            self.out = cast(Stream, pipe)
            running = self.start("logs", "7")
            self.assertEqual(self.codeOf(running), 141)
            pipe.write("left")
        self.assertEqual(self.err.text(), "")
