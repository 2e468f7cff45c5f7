"""
What the tests with a real daemon share: its process, ways to talk to it, and the
promise that nothing is left.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Condition, Thread
from time import monotonic
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.paths import StatePaths

__all__ = [
    "COMMAND",
    "LISTENS",
    "PATIENCE",
    "ROOT",
    "TWISTD",
    "Daemon",
    "DaemonCase",
    "DaemonGone",
    "Job",
    "Meeting",
]

ROOT = Path(__file__).parent.parent
SCRIPTS = sysconfig.get_path("scripts")
TWISTD = os.path.join(SCRIPTS, "twistd")
COMMAND = os.path.join(SCRIPTS, "ganeti-pool")

PATIENCE = 60.0
"""
Seconds after which something that should have happened never will.
"""

LISTENS = "Ready for jobs"
"""
What a daemon logs when it listens.
"""

Job = dict[str, Any]
"""
A job as the daemon sends it.
"""


class DaemonGone(Exception):
    """
    The daemon broke off the connection, or was not there.
    """


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        """
        Connect to the socket, whatever the host.
        """
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


class Daemon:
    """
    A C{twistd -n ganeti-pool} in a process of its own.

    @ivar process: it; its output goes to C{log}.
    """

    def __init__(
        self,
        directory: str,
        options: Sequence[str] = (),
        launcher: Sequence[str] = (TWISTD,),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.paths = StatePaths.at(directory)
        self._lines: list[bytes] = []
        self._changed = Condition()
        self._hasEnded = False
        self.process = subprocess.Popen(
            [*launcher, "-n", "--pidfile=", "ganeti-pool", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment,
        )
        # it would block when nobody reads what it logs
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def log(self) -> str:
        """
        What it has logged until now.
        """
        return b"".join(self._lines).decode(errors="replace")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._hasEnded = True
            self._changed.notify_all()

    def awaitLog(self, text: str) -> None:
        """
        Wait until it has logged something.
        """
        with self._changed:
            self._changed.wait_for(lambda: text in self.log or self._hasEnded, PATIENCE)
        assert text in self.log, f"the daemon does not say {text!r}:\n{self.log}"

    def awaitReady(self) -> None:
        """
        Wait until it listens.
        """
        self.awaitLog(LISTENS)

    def awaitEnd(self) -> int:
        """
        Wait for its end.

        @return: its exit code, negative for a signal.
        """
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        with self.process:  # closes the pipe
            return code

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """
        Send a signal, and wait for the end.

        @return: see L{awaitEnd}.
        """
        self.process.send_signal(number)
        return self.awaitEnd()

    def kill(self) -> None:
        """
        Kill it.
        """
        self.stop(signal.SIGKILL)

    def request(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """
        Ask it something.

        @return: the status, and the value of the JSON or the bytes of the answer.
        @raise DaemonGone: if there is no whole answer.
        """
        connection = _UnixConnection(self.paths.socket)
        headers = {} if body is None else {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        try:
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, HTTPException) as error:
            raise DaemonGone(str(error)) from error
        finally:
            connection.close()
        isJSON = "json" in response.headers.get("content-type", "")
        return response.status, json.loads(answer) if isJSON else answer

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """
        Ask it something that it does not refuse.
        """
        status, answer = self.request(method, path, body)
        assert status < 300, (status, answer)
        return answer

    def submit(self, *jobs: Job) -> list[int]:
        """
        Submit jobs in one request.

        @return: their ids.
        """
        return [job["id"] for job in self.ask("POST", "/v1/jobs", jobs)]

    def job(self, jobID: int) -> Job:
        """
        One job.
        """
        job: Job = self.ask("GET", f"/v1/jobs/{jobID}")
        return job

    def jobs(self) -> dict[int, Job]:
        """
        All jobs by id.
        """
        found: dict[int, Job] = {}
        after: int | None = 0
        while after is not None:
            page = self.ask("GET", f"/v1/jobs?limit=1000&after={after}")
            found.update((job["id"], job) for job in page["jobs"])
            after = page["next"]
        return found

    def awaitJobs(self, ids: Iterable[int], isSo: Callable[[Job], bool]) -> dict[int, Job]:
        """
        Wait until something is so for each of some jobs.

        @return: the jobs as they were when it was.
        """
        wanted = set(ids)
        found: dict[int, Job] = {}
        revision = 0
        deadline = monotonic() + PATIENCE
        while wanted - found.keys():
            assert monotonic() < deadline, (wanted - found.keys(), self.log)
            changes = self.ask("GET", f"/v1/jobs?changed_after={revision}&wait=10")
            revision = changes["revision"]
            for job in changes["jobs"]:
                if job["id"] in wanted and isSo(job):
                    found[job["id"]] = job
        return found

    def awaitEnds(self, *ids: int) -> list[Job]:
        """
        Wait for the outcomes of jobs.
        """
        found = self.awaitJobs(ids, lambda job: job["finished_at"] is not None)
        return [found[jobID] for jobID in ids]


class DaemonCase(SynchronousTestCase):
    """
    A test with daemons of one state directory, after which nothing of them is
    left.

    @ivar state: the state directory, not yet made; its path is short.
    @ivar scratch: a directory for whatever the test needs.
    """

    def setUp(self) -> None:
        # in /tmp, whatever TMPDIR says, for the sake of the socket's path
        directory = TemporaryDirectory(prefix="ganeti-pool-test-", dir="/tmp")
        self.addCleanup(directory.cleanup)
        self.scratch = Path(directory.name)
        self.state = self.scratch / "state"
        self.addCleanup(self.assertNothingLeft)

    def launch(
        self,
        *options: str,
        launcher: Sequence[str] = (TWISTD,),
        environment: Mapping[str, str] | None = None,
    ) -> Daemon:
        """
        Start a daemon, and do not wait for it.
        """
        daemon = Daemon(
            str(self.state),
            ["--state-dir", str(self.state), *options],
            launcher,
            {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        )
        self.addCleanup(self._end, daemon)
        return daemon

    def start(self, *options: str) -> Daemon:
        """
        Start a daemon, and wait until it listens.
        """
        daemon = self.launch(*options)
        daemon.awaitReady()
        return daemon

    def _end(self, daemon: Daemon) -> None:
        if daemon.process.poll() is None:
            daemon.kill()

    def run_(self, *arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        """
        Run the command on the state directory.
        """
        return subprocess.run(
            [COMMAND, "--state-dir", str(self.state), *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
            **settings,
        )

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """
        Begin to run the command on the state directory.
        """
        return subprocess.Popen(
            [COMMAND, "--state-dir", str(self.state), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def processes(self) -> list[int]:
        """
        The living processes of jobs, those of dead daemons too.
        """
        return list(_processesOf(self.state))

    def assertNothingLeft(self) -> None:
        """
        No process of a job is alive. What was killed a moment ago may take that
        moment to end.
        """
        left = [pid for pid in self.processes() if not _endsWithin(pid, 5.0)]
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.assertEqual(left, [], "processes are left")

    def meeting(self, name: str = "meeting") -> Meeting:
        """
        A place where commands and the test wait for each other.
        """
        meeting = Meeting(self.scratch / name)
        self.addCleanup(meeting.close)
        return meeting


class Meeting:
    """
    Two named pipes: commands tell the test a line by C{arrived}, and wait for
    one in C{leave}.

    @ivar path: what the names of both begin with.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.arrived = f"{path}.arrived"
        self.leave = f"{path}.leave"
        self._descriptors = []
        for name in (self.arrived, self.leave):
            os.mkfifo(name)
            # for both, so that no end is ever missing
            self._descriptors.append(os.open(name, os.O_RDWR))

    def awaitArrival(self) -> str:
        """
        Wait for a command.

        @return: what it wrote.
        """
        ready = select.select([self._descriptors[0]], [], [], PATIENCE)[0]
        assert ready, f"nobody came to {self.path}"
        return os.read(self._descriptors[0], 1000).decode().strip()

    def letGo(self) -> None:
        """
        Let one command go on.
        """
        os.write(self._descriptors[1], b"\n")

    def close(self) -> None:
        """
        Give the descriptors back.
        """
        for descriptor in self._descriptors:
            os.close(descriptor)


def _processesOf(state: Path) -> Iterator[int]:
    mark = os.fsencode(f"GANETI_POOL_STATE={os.path.realpath(state)}")
    for entry in Path("/proc").glob("[0-9]*"):
        # it has ended, or is no business of ours
        with suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)


def _endsWithin(pid: int, seconds: float) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)
