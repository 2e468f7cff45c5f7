"""
See the daemon work: a checksum job for every file of the checkout.

The program starts a daemon of its own, pauses it, submits the jobs at three
priorities, raises one, cancels one, and resumes. Then it compares the order in
which they ran with the order that was asked for, and every checksum with the
one that hashlib computes in another process. It exits with 0 only if all is
right, and leaves no process and no file, also after Ctrl-C. It speaks to the
daemon through L{ganeti_pool.client}, which is for your programs too.

Run it with C{make demo}, or as C{python doc/demo.py [DIRECTORY]}.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from tempfile import mkdtemp
from typing import Any, NoReturn

from rich.progress import Progress
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import react
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure

from ganeti_pool.client import JobClient, connectUnix
from ganeti_pool.paths import StatePaths

Job = Mapping[str, Any]

HIGHEST, HIGH, NORMAL, LOW = -20, -10, 0, 10

# What tools make of a checkout; some of it changes while they run.
MADE = (
    *(".git", ".venv*", ".coverage*", ".hypothesis", ".*_cache", "__pycache__", "*.py[co]"),
    *("*.egg-info", "dropin.cache", "_build", "_trial_temp*", "build", "dist", "htmlcov"),
    "benchmarks-out",
)

HASH = """
import hashlib, sys
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        print(hashlib.sha256(file.read()).hexdigest())
"""


class DemoFailed(Exception):
    """
    Something is not as it should be.
    """


class Daemon(ProcessProtocol):
    """
    A daemon of our own, with one worker: so the jobs run one after the other,
    and the order in which they ended is the one in which they started.

    @ivar ready: fires when it listens.
    @ivar ended: fires when its process is gone.
    """

    def __init__(self, reactor: Any, directory: str) -> None:
        self.ready: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self._reactor = reactor
        self._log = b""
        twistd = os.path.join(sysconfig.get_path("scripts"), "twistd")
        options = ["--workers", "1", "--state-dir", directory]
        self._process = reactor.spawnProcess(
            self, twistd, [twistd, "-n", "--pidfile=", "ganeti-pool", *options], env=os.environ
        )

    def outReceived(self, data: bytes) -> None:
        """
        Some of its log has come.
        """
        self._log += data
        if b"Ready for jobs" in self._log and not self.ready.called:
            self.ready.callback(None)

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        """
        It is gone.
        """
        if not self.ready.called:
            log = self._log.decode(errors="replace")
            self.ready.errback(DemoFailed(f"The daemon did not start:\n{log}"))
        self.ended.callback(None)

    async def stop(self) -> None:
        """
        Stop it as C{kill} does, and wait for its end.
        """
        self._signal("TERM")
        insist = self._reactor.callLater(15, self._signal, "KILL")
        await self.ended
        if insist.active():
            insist.cancel()

    def _signal(self, name: str) -> None:
        with suppress(ProcessExitedAlready):
            self._process.signalProcess(name)


def findFiles(root: str) -> list[str]:
    """
    The files below a directory that no tool has made, relative to it.
    """

    def isMade(name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in MADE)

    found = []
    for directory, below, names in os.walk(root):
        below[:] = [name for name in below if not isMade(name)]
        paths = (os.path.join(directory, name) for name in names if not isMade(name))
        found += [os.path.relpath(path, root) for path in paths if os.path.isfile(path)]
    return sorted(found)


def checksumJob(root: str, path: str, priority: int) -> dict[str, Any]:
    """
    What to submit: the arguments are a command and its options.
    """
    program = ["sha256sum", "--"] if shutil.which("sha256sum") else [sys.executable, "-c", HASH]
    return {"args": [[*program, path], {"cwd": root}], "name": path[-200:], "priority": priority}


async def submitJobs(client: JobClient, root: str, files: Sequence[str]) -> list[Job]:
    """
    Submit a job for each file, those that are to start last first; then raise
    the last of them, and cancel the first.

    @return: the jobs, in the order of C{files}.
    """
    jobs: dict[str, Job] = {}
    for start, priority in enumerate((LOW, NORMAL, HIGH)):
        share = files[start::3]
        accepted = await client.submit([checksumJob(root, path, priority) for path in share])
        jobs.update(zip(share, accepted, strict=True))
    print(f"Submitted a checksum job for each of {len(files)} files, at three priorities.")

    raised, cancelled = files[0::3][-1], files[0]
    if raised == cancelled:
        raise DemoFailed(f"There are too few files in {root}.")
    jobs[raised] = await client.changePriority(jobs[raised]["id"], HIGHEST)
    print(f"Raised the one for {raised} from priority {LOW} to {HIGHEST}.")
    jobs[cancelled] = await client.cancel(jobs[cancelled]["id"])
    print(f"Cancelled the one for {cancelled}.")
    return [jobs[path] for path in files]


async def awaitJobs(client: JobClient, jobs: Sequence[Job]) -> list[Job]:
    """
    Wait until all jobs have finished, and show how far they are.

    @return: the jobs as they are then, in the order given.
    """
    finished: dict[int, Job] = {}
    revision = 0
    with Progress(disable=not sys.stdout.isatty()) as progress:
        bar = progress.add_task("Checksums", total=len(jobs))
        while len(finished) < len(jobs):
            # answers as soon as something has changed since that revision
            changes = await client.changedJobs(revision, wait=60)
            revision = changes["revision"]
            before = len(finished)
            finished.update((job["id"], job) for job in changes["jobs"] if job["finished_at"])
            progress.update(bar, completed=len(finished))
            if progress.disable and len(finished) * 4 // len(jobs) > before * 4 // len(jobs):
                print(f"  {len(finished)} of {len(jobs)} jobs have finished.")
    return [finished[job["id"]] for job in jobs]


def checkOrder(jobs: Sequence[Job]) -> None:
    """
    Compare the order in which jobs ran with the one that was asked for: by
    priority, and within one as they were submitted.
    """
    asked = sorted(jobs, key=lambda job: (job["priority"], job["id"]))
    ran = sorted(jobs, key=lambda job: job["revision"])
    for place, (expected, job) in enumerate(zip(asked, ran, strict=True), 1):
        if job is not expected:
            raise DemoFailed(
                f"Number {place} was job {job['id']} (priority {job['priority']}) instead of "
                f"job {expected['id']} (priority {expected['priority']})."
            )
    starts = [job["started_at"] for job in ran]
    if starts != sorted(starts):
        raise DemoFailed("The jobs did not start in the order in which they ended.")


async def checkOutput(client: JobClient, jobs: Sequence[Job], checksums: Sequence[str]) -> None:
    """
    Compare the output of each job with the checksum of its file.
    """
    for job, checksum in zip(jobs, checksums, strict=True):
        pieces: list[bytes] = []
        await client.output(job["id"], "stdout", collector=pieces.append)
        words = b"".join(pieces).decode().split()
        if job["state"] != "succeeded" or words[:1] != [checksum]:
            raise DemoFailed(
                f"Job {job['id']} ({job['name']}) has {job['state']} with the output {words[:1]}, "
                f"and hashlib computes {checksum}."
            )


def computeChecksums(root: str, files: Sequence[str]) -> list[str]:
    """
    The checksums of files, by hashlib in another process.
    """
    shown = subprocess.check_output(
        [sys.executable, "-c", HASH, *files], cwd=root, text=True, stderr=subprocess.DEVNULL
    )
    return shown.split()


async def demonstrate(reactor: Any, daemon: Daemon, directory: str, root: str) -> None:
    """
    All the steps, with a sentence for each.
    """
    await daemon.ready
    print(f"Started a daemon with one worker, which keeps everything in {directory}.")
    client = connectUnix(reactor, StatePaths.at(directory).socket)
    await client.changePool(active=False)
    print("Paused it, so that nothing starts yet.")
    files = findFiles(root)
    first, *others = await submitJobs(client, root, files)
    await client.changePool(active=True)
    print("Resumed it.")
    cancelled, *ran = await awaitJobs(client, [first, *others])
    if cancelled["state"] != "cancelled" or cancelled["attempt"] != 0:
        raise DemoFailed(f"The cancelled job has {cancelled['state']}.")
    checkOrder(ran)
    print("They ran exactly by priority, and within one as they were submitted.")
    checksums = await deferToThread(computeChecksums, root, files[1:])
    await checkOutput(client, ran, checksums)
    print(f"All {len(ran)} checksums are those that hashlib computes in another process.")


async def main(reactor: Any, root: str) -> NoReturn:
    """
    Demonstrate, and clean up whatever happens.

    @raise SystemExit: always, with the exit code.
    """
    running: Deferred[None] = Deferred()
    reactor.callWhenRunning(running.callback, None)
    await running
    # From here on Ctrl-C is an event like others, and comes in between nothing.
    # The directory is not in the checkout, which may be too deep for a socket.
    directory = mkdtemp(prefix="ganeti-pool-demo-", dir="/tmp")
    daemon = Daemon(reactor, directory)
    demonstration = Deferred.fromCoroutine(demonstrate(reactor, daemon, directory, root))
    cleaned: Deferred[None] = Deferred()
    interrupted = False

    def interrupt() -> Deferred[None]:
        nonlocal interrupted
        interrupted = True
        demonstration.cancel()
        return cleaned

    reactor.addSystemEventTrigger("before", "shutdown", interrupt)
    failure: Exception | None = None
    try:
        await demonstration
    except Exception as error:
        failure = error
    await daemon.stop()
    # Asked now: Ctrl-C on a terminal ends the daemon too, which may be the first.
    if interrupted or failure is not None:
        print("Interrupted." if interrupted else f"{type(failure).__name__}: {failure}")
    shutil.rmtree(directory)
    print("Stopped the daemon; no process and no file is left.")
    cleaned.callback(None)
    raise SystemExit(130 if interrupted else 0 if failure is None else 1)


if __name__ == "__main__":
    # What Twisted would log is said in a sentence here.
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    checkout = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with suppress(KeyboardInterrupt):
        react(main, [os.path.abspath(sys.argv[1]) if sys.argv[1:] else checkout])
    sys.exit(130)
