"""
What a queue allows, and what it knows of its worker class.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from ..errors import InvalidJob, JobNotRunnable
from ..jobs import Job, NewJob, OnCrash

__all__ = ["QueueLimits", "WorkerRules", "describeWorker"]

_MOST_PROBLEMS = 50
"""
Stop validating a submission after this many problems.
"""


@dataclass(frozen=True)
class QueueLimits:
    """
    @ivar queued: how many jobs may be queued; L{None} for any number. A job that defers
        itself, or is tried again after a crash, is always queued.
    @ivar workers: how many workers the daemon may have, by the limit on open files; L{None}
        for any number.
    @ivar keepFinished: for how many seconds finished jobs and their output are kept; L{None}
        for indefinitely.
    """

    queued: int | None = None
    workers: int | None = None
    keepFinished: float | None = None


@dataclass(frozen=True)
class WorkerRules:
    """
    The worker class of a queue, as the queue needs to know it.

    @ivar name: its dotted name.
    @ivar bases: the dotted names of the classes that it extends.
    @ivar onCrash: the C{on_crash} of a job that does not set it.
    @ivar argsVersion: the version of the args that it accepts.
    @ivar checkArgs: raises L{InvalidJob} for args that it cannot run; L{None} to accept all.
    @ivar keepsOutput: whether each run may have a directory for its output.
    @ivar keepsTimeout: whether it ends a job after its timeout itself. Otherwise the queue
        does, and the time counts from the call of C{RunTask}.
    """

    name: str
    bases: Collection[str] = ()
    onCrash: OnCrash = OnCrash.FAIL
    argsVersion: int = 1
    checkArgs: Callable[[object], object] | None = None
    keepsOutput: bool = False
    keepsTimeout: bool = False

    def check(self, jobs: Sequence[NewJob]) -> None:
        """
        Check that a worker can run these jobs.

        Threads: the reactor's, since C{checkArgs} is code of the worker's author.

        @raise InvalidJob: if it cannot.
        """
        problems: list[tuple[str, str, str]] = []
        for number, job in enumerate(jobs):
            if len(problems) >= _MOST_PROBLEMS:
                break
            where = f"/{number}" if len(jobs) > 1 else ""
            if job.worker != self.name:
                sentence = (
                    f"this daemon runs jobs of {self.name}, not of {job.worker}: submit "
                    "the job to a daemon of that class"
                )
                problems.append((f"{where}/worker", "other_worker", sentence))
            elif self.checkArgs is not None:
                try:
                    self.checkArgs(job.args)
                except InvalidJob as error:
                    problems += (
                        (where + pointer, code, sentence)
                        for pointer, code, sentence in error.problems
                    )
        if problems:
            raise InvalidJob(problems[:_MOST_PROBLEMS])

    def checkRunnable(self, job: Job) -> None:
        """
        @raise JobNotRunnable: if a job in the store is for another worker class, or for
            another version of its args.
        """
        if job.worker != self.name:
            raise JobNotRunnable(
                job.id,
                f"is for {job.worker}, and this daemon runs jobs of {self.name}: retry it "
                "with a daemon of that class",
            )
        if job.argsVersion != self.argsVersion:
            raise JobNotRunnable(
                job.id,
                f"has args of version {job.argsVersion} of {job.worker}, and this daemon runs "
                f"version {self.argsVersion}: submit a new job with args of that version",
            )

    def stamped(self, jobs: Sequence[NewJob]) -> list[NewJob]:
        """
        Return jobs with the version of args by which they were checked.
        """
        version = self.argsVersion
        return [
            job if job.argsVersion == version else replace(job, argsVersion=version) for job in jobs
        ]


def describeWorker(name: str, argsVersion: int) -> str:
    """
    Return a worker class and the version of its args as words of a sentence.
    """
    return f"{name} with args of version {argsVersion}"
