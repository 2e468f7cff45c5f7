"""
Tests for what L{ganeti_pool.web} sends in parts: pages of jobs, and output.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent

from ganeti_pool.errors import QueueStopping
from ganeti_pool.jobs import JobState

from .fakequeue import makeJob
from .webcase import Answer, WebCase


class PageTests(WebCase):
    """
    Tests for how many jobs are told at once.
    """

    def pages(self, query: str, cursor: str, key: str) -> list[list[int]]:
        """
        The ids on each page, from the first to the last.

        @param cursor: the parameter that asks for the next page.
        @param key: the member of a page that goes there.
        """
        pages = []
        after: int | None = 0
        while after is not None:
            answer = self.ask("GET", f"/v1/jobs?{query}&{cursor}={after}").value
            pages.append([job["id"] for job in answer["jobs"]])
            after = answer[key] if answer["jobs"] else None
        return pages

    def test_byNumber(self) -> None:
        """
        A page has as many jobs as it may, whether they are read at once or in parts,
        and a cursor if there are more.
        """
        for size in (63, 64, 65, 128, 150):
            self.queue.add(*(makeJob(1 + n) for n in range(150)))
            ids = list(range(1, 151))
            whole = [ids[start : start + size] for start in range(0, 150, size)]
            self.assertEqual(self.pages(f"limit={size}", "after", "next"), whole)
            changed = self.pages(f"limit={size}", "changed_after", "revision")
            self.assertEqual(changed, [*whole, []])
        most = max(call[3] for call in self.queue.calls if call[0] == "listJobs")
        self.assertEqual(most, 64)

    def test_bySize(self) -> None:
        """
        A page ends with the job that makes it four million bytes long, and the next
        begins behind that; there is one job at least, however long.
        """
        sizes = [1, 5, 2, 1, 1, 9, 9, 1]
        self.queue.add(
            *(makeJob(1 + n, args=("x" * (size << 20),)) for n, size in enumerate(sizes))
        )
        whole = [[1, 2], [3, 4, 5], [6], [7], [8]]
        self.assertEqual(self.pages("limit=1000", "after", "next"), whole)
        changed = self.pages("limit=1000", "changed_after", "revision")
        self.assertEqual(changed, [*whole, []])

    def test_changesMeanwhile(self) -> None:
        """
        A job that changes while the changes are collected is told once, as it is now.
        """
        self.queue.add(*(makeJob(1 + n, revision=1 + n) for n in range(16)))
        first: Deferred[Any] = Deferred()
        self.queue.held = first
        _, transport = self.begin("GET", "/v1/jobs?changed_after=0&wait=5")
        self.queue.add(makeJob(3, revision=70, name="again"))
        first.callback([makeJob(1 + n, revision=1 + n) for n in range(16)])
        answer = Answer(transport.value()).value
        self.assertEqual([job["id"] for job in answer["jobs"]], [1, 2, *range(4, 17), 3])
        self.assertEqual((answer["jobs"][-1]["name"], answer["revision"]), ("again", 70))
        # Only the first is waited for.
        self.assertEqual(
            self.queue.calls, [("changedJobs", 0, 16, 5.0), ("changedJobs", 16, 64, 0.0)]
        )

    def test_noChanges(self) -> None:
        """
        Without a change the revision is the one that was asked with.
        """
        answer = self.ask("GET", "/v1/jobs?changed_after=7")
        self.assertEqual(answer.body, b'{"jobs":[],"revision":7,"next":null}')
        self.assertEqual(self.ask("GET", "/v1/jobs").body, b'{"jobs":[],"next":null}')


class OutputTests(WebCase):
    """
    Tests for the output of a job.
    """

    def write(self, name: str, data: bytes) -> None:
        """
        Add to an output file.
        """
        with (self.directory / name).open("ab") as file:
            file.write(data)

    def test_whole(self) -> None:
        """
        The bytes come as they are, of the stream, attempt and offset asked for.
        """
        self.queue.add(makeJob(17, attempt=2, state=JobState.FAILED))
        self.write("17.2.stdout", bytes(range(256)) * 4096)
        self.write("17.1.stderr", b"0123456789")
        answer = self.ask("GET", "/v1/jobs/17/output")
        self.assertEqual(answer.headers["content-type"], "application/octet-stream")
        self.assertEqual(answer.body, bytes(range(256)) * 4096)
        answer = self.ask("GET", "/v1/jobs/17/output?stream=stderr&attempt=1&offset=7&wait=9")
        self.assertEqual(answer.body, b"789")

    def test_none(self) -> None:
        """
        A file that is not there, and an offset behind the end, give no bytes.
        """
        self.queue.add(makeJob(17))
        self.write("17.1.stderr", b"x")
        self.assertEqual(self.ask("GET", "/v1/jobs/17/output").body, b"")
        answer = self.ask("GET", "/v1/jobs/17/output?stream=stderr&offset=5")
        self.assertEqual((answer.status, answer.body), (200, b""))

    def test_noSuchAttempt(self) -> None:
        """
        An attempt that was never made is refused.
        """
        self.queue.add(makeJob(17, attempt=2, state=JobState.RUNNING))
        answer = self.ask("GET", "/v1/jobs/17/output?attempt=3")
        self.assertRefused(answer, 404, "no_such_attempt")

    def test_follow(self) -> None:
        """
        The headers come at once, the bytes as they are written, and the end
        with the end of the attempt, behind all that it wrote. The queue is asked
        for no more than that end, however long it takes.
        """
        self.queue.add(makeJob(17))
        _, transport = self.begin("GET", "/v1/jobs/17/output?wait=60")
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 200 OK\r\n"))
        transport.clear()
        self.queue.add(makeJob(17, attempt=1, state=JobState.RUNNING))
        self.write("17.1.stdout", b"one")
        self.reactor.advance(0.25)
        self.assertEqual(transport.value(), b"3\r\none\r\n")
        self.write("17.1.stdout", b"three")
        self.reactor.pump([0.25] * 40)
        self.write("17.1.stdout", b"!")
        self.queue.over.callback(None)
        self.assertEqual(transport.value(), b"3\r\none\r\n5\r\nthree\r\n1\r\n!\r\n0\r\n\r\n")
        self.assertEqual(self.queue.calls, [("job", 17), ("attemptOver", 17, 1)])
        # One is for the silence of the connection.
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)

    def test_followWhatIsOver(self) -> None:
        """
        There is nothing to wait for in an attempt that is over.
        """
        self.queue.add(makeJob(17, attempt=2, state=JobState.RUNNING))
        self.write("17.1.stdout", b"one")
        answer = self.ask("GET", "/v1/jobs/17/output?wait=60&attempt=1")
        self.assertEqual(answer.body, b"one")

    def test_endsWhileItIsRead(self) -> None:
        """
        An attempt that ends while its file is read is read once more.
        """
        self.queue.add(makeJob(17, attempt=1, state=JobState.RUNNING))
        self.write("17.1.stdout", b"one")
        reads: list[tuple[Deferred[bytes], bytes]] = []
        self.queue.reads = reads
        _, transport = self.begin("GET", "/v1/jobs/17/output?wait=60")

        def answer() -> None:
            read, data = reads.pop(0)
            read.callback(data)

        answer()
        self.write("17.1.stdout", b"one")
        self.queue.over.callback(None)
        self.assertFalse(transport.value().endswith(b"0\r\n\r\n"))
        for _ in range(3):
            answer()
        self.assertTrue(transport.value().endswith(b"3\r\none\r\n0\r\n\r\n"))

    def test_followUntilTimeIsOver(self) -> None:
        """
        The answer ends when the wait is over, though the job runs.
        """
        self.queue.add(makeJob(17, attempt=1, state=JobState.RUNNING))
        _, transport = self.begin("GET", "/v1/jobs/17/output?wait=0.5")
        self.reactor.advance(0.25)
        self.assertFalse(transport.value().endswith(b"0\r\n\r\n"))
        self.reactor.advance(0.25)
        self.assertTrue(transport.value().endswith(b"0\r\n\r\n"))

    def test_logOfFollowing(self) -> None:
        """
        Who follows a silent job until the wait is over leaves no line in the log. Who
        gets anything does, or hears of the end, or does not wait for a second.
        """

        def count(query: str, *meanwhile: Callable[[], object]) -> int:
            with capturedLogs() as events:
                self.begin("GET", f"/v1/jobs/17/output?{query}")
                for act in meanwhile:
                    act()
            return len(events)

        self.queue.add(makeJob(17, attempt=1, state=JobState.RUNNING))
        later = partial(self.reactor.advance, 0.5)
        self.assertEqual(count("wait=1", later, later), 0)
        self.assertEqual(count("wait=1", later, lambda: self.queue.over.callback(None)), 1)
        self.assertEqual(count("stream=stdout"), 1)
        self.assertEqual(count("wait=0.5", later), 1)
        self.write("17.1.stdout", b"one")
        self.assertEqual(count("wait=1", later, later), 1)
        self.assertEqual(count("wait=1&offset=3", later, later), 0)

    def test_slowReader(self) -> None:
        """
        A client that does not read is sent no more until it does.
        """
        self.queue.add(makeJob(17, attempt=1, state=JobState.RUNNING))
        _, transport = self.begin("GET", "/v1/jobs/17/output?wait=60")
        transport.clear()
        transport.producer.pauseProducing()
        self.write("17.1.stdout", bytes(600_000))
        self.reactor.advance(0.25)
        sent = len(transport.value())
        self.assertLess(sent, 300_000)
        transport.producer.pauseProducing()
        self.reactor.advance(5)
        self.assertEqual(len(transport.value()), sent)
        transport.producer.resumeProducing()
        self.assertGreater(len(transport.value()), 600_000)
        transport.producer.resumeProducing()

    def test_followerLeaves(self) -> None:
        """
        When the client goes, its file is not looked at again.
        """
        self.queue.add(makeJob(17, attempt=1, state=JobState.RUNNING))
        _, transport = self.begin("GET", "/v1/jobs/17/output?wait=60")
        self.assertEqual(len(self.reactor.getDelayedCalls()), 2)
        transport.producer.stopProducing()
        transport.loseConnection()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertTrue(self.queue.over.called)

    def test_breaks(self) -> None:
        """
        An answer that breaks off, for a reason of the queue or another, is cut
        off and does not pass for whole.
        """
        for error in (QueueStopping(), ZeroDivisionError("odd")):
            self.queue.add(makeJob(17, attempt=1, state=JobState.RUNNING))
            _, transport = self.begin("GET", "/v1/jobs/17/output?wait=60")
            self.queue.over.errback(error)
            self.assertFalse(transport.connected)
            self.assertNotIn(b"0\r\n\r\n", transport.value())
            self.assertEqual(len(self.flushLoggedErrors(type(error))), 1)

    def test_unreadable(self) -> None:
        """
        Output that is there and cannot be read is refused with a sentence that names it.
        """
        self.queue.add(makeJob(17, attempt=1, state=JobState.FAILED))
        self.queue.unreadable = "it is not a regular file"
        answer = self.ask("GET", "/v1/jobs/17/output?wait=60")
        self.assertRefused(answer, 500, "output_unreadable")
        self.assertIn("17.1.stdout: it is not a regular file; ", answer.value["detail"])

    def test_unreadableLater(self) -> None:
        """
        Output that cannot be read any more cuts the answer off, with a line in the log and
        no traceback.
        """
        self.queue.add(makeJob(17, attempt=1, state=JobState.RUNNING))
        _, transport = self.begin("GET", "/v1/jobs/17/output?wait=60")
        self.queue.unreadable = "it is not a regular file"
        with capturedLogs() as events:
            self.reactor.advance(0.25)
        self.assertFalse(transport.connected)
        self.assertNotIn(b"0\r\n\r\n", transport.value())
        (warning,) = [event for event in events if event["log_level"] is LogLevel.warn]
        self.assertNotIn("log_failure", warning)
        self.assertIn("/v1/jobs/17/output is cut off: the output of job 17 ", formatEvent(warning))
