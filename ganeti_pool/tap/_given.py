"""
What the options name: classes, files, endpoints.
"""

from __future__ import annotations

import inspect
import os
import resource
import stat
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from twisted.internet.endpoints import UNIXServerEndpoint, serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.python import usage
from twisted.python.reflect import namedAny, qual

from ..commands import limitFiles
from ..daemon import UnixEndpoint
from ..interfaces import IWorker
from ..jobs import OnCrash
from ..jobs.limits import MAX_INTEGER
from ..paths import checkText, readToken
from ..workerpool import BaseWorker

__all__ = [
    "BACKLOG",
    "FileBudget",
    "argsVersionOf",
    "basesOf",
    "budgetOf",
    "checkStore",
    "findWorkerClass",
    "listenAt",
    "onCrashOf",
    "raiseLimit",
    "readOwnToken",
]

# Its own files, threads that read output, and what a library opens for a moment.
_FILES_FOR_ITSELF = 48

# A command takes seven, and thirteen for the moment in which it is started: one that
# finds too few then waits.
_FILES_FOR_A_JOB = 8

# At the least, and at the most, for the connections to the daemon's own socket and to all of
# --listen: an eighth of the files, beyond those that every daemon needs.
_FEWEST_CONNECTIONS = 8
_FILES_OF_ALL = 96
_MOST_OWN_CONNECTIONS = 1024
_MOST_CONNECTIONS = 256


@dataclass(frozen=True)
class FileBudget:
    """
    What the files that the daemon may open are for. No part can take what another needs:
    without a limit, connections could keep jobs from starting, and the operator from the
    daemon's own socket.

    @ivar jobs: how many jobs may run at once; L{None} for any number.
    @ivar ownConnections: how many connections to the daemon's own socket there may be.
    @ivar connections: how many there may be to all of C{--listen} together.
    """

    jobs: int | None
    ownConnections: int
    connections: int


def budgetOf(limit: int, listens: bool) -> FileBudget:
    """
    Divide the files that the daemon may open.

    @param limit: how many these are; negative for any number.
    @param listens: whether there is a C{--listen}.
    """
    if limit < 0:
        return FileBudget(None, _MOST_OWN_CONNECTIONS, _MOST_CONNECTIONS)
    share = max(_FEWEST_CONNECTIONS, _FEWEST_CONNECTIONS + (limit - _FILES_OF_ALL) // 8)
    own = min(share, _MOST_OWN_CONNECTIONS)
    others = min(share, _MOST_CONNECTIONS) if listens else 0
    return FileBudget((limit - _FILES_FOR_ITSELF - own - others) // _FILES_FOR_A_JOB, own, others)


def _filesFor(workers: int, listens: bool) -> int:
    """
    The number of files with which so many jobs can run.
    """
    return next(
        limit
        for limit in count(_FILES_FOR_ITSELF)
        if (budgetOf(limit, listens).jobs or 0) >= workers
    )


BACKLOG = 1024
"""
How many connections a door keeps that are not accepted yet, if the system allows so many.
Who comes to a Unix socket when there is no room is turned away at once, and elsewhere
tries again after a second.
"""


def raiseLimit(workers: int, listens: bool = False) -> FileBudget:
    """
    Let the daemon open as many files as it may, and its commands as many as before.

    @param listens: whether there is a C{--listen}.
    @return: what these files are for.
    @raise usage.UsageError: if they are too few for C{workers}, or no pool has so many.
    """
    # Not above: it needs the extra.
    from ..wire import MAX_WORKERS

    if workers > MAX_WORKERS:
        raise usage.UsageError(f"--workers takes at most {MAX_WORKERS}, not {workers}")
    startedWith, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    budget = budgetOf(limit, listens)
    most = budget.jobs
    if most is not None and most < 1:
        forMore = f" and {_filesFor(workers, listens)} for --workers {workers}"
        raise usage.UsageError(
            f"the limit of {limit} open files (ulimit -Hn) is too small for the daemon, which "
            f"needs {_filesFor(1, listens)} for one job at a time"
            f"{forMore if workers > 1 else ''}: raise it"
        )
    if most is not None and workers > most:
        raise usage.UsageError(
            f"--workers takes at most {most} here, not {workers}, since the daemon may open "
            f"{limit} files (ulimit -Hn)"
        )
    # A program may want no more than select(2) takes, or close all that it could have.
    limitFiles(startedWith)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    return budget


def findWorkerClass(name: str) -> Callable[[Any, str], object]:
    """
    Find a worker class by its dotted name.

    @raise usage.UsageError: if there is none.
    """
    try:
        found = namedAny(name)
    # Whatever the module that is imported does.
    except Exception as error:
        raise usage.UsageError(
            f"the worker class {name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not callable(found):
        raise usage.UsageError(f"the worker class {name!r} is no class, and cannot be called")
    if isinstance(found, type) and not IWorker.implementedBy(found):
        raise usage.UsageError(
            f"the class {name!r} is no worker: it does not implement "
            "ganeti_pool.interfaces.IWorker, as each subclass of BaseWorker does"
        )
    _checkCall(found, name)
    return found  # type: ignore[no-any-return]


def _checkCall(found: Callable[..., object], name: str) -> None:
    """
    See, as far as that can be done without making one, that something makes workers. What
    it does make is seen when the daemon starts.

    @raise usage.UsageError: if it cannot be called as it will be.
    """
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        # Nothing is known of what it takes, as of much that is written in C.
        return
    try:
        signature.bind("pool", "worker_id")
    except TypeError as error:
        raise usage.UsageError(
            f"the worker class {name!r} cannot be called with a pool and the name of a worker: "
            f"{error}"
        ) from error


def basesOf(workerClass: object) -> frozenset[str]:
    """
    The dotted names of the worker classes that a worker class is or extends: a client that
    submits jobs for one of them can have them run by this one. L{BaseWorker} is not one of
    them, since every worker class extends that.
    """
    classes = inspect.getmro(workerClass) if isinstance(workerClass, type) else ()
    return frozenset(
        qual(base) for base in classes if IWorker.implementedBy(base) and base is not BaseWorker
    )


def onCrashOf(workerClass: object, name: str) -> OnCrash:
    """
    What a worker class says of the jobs that a crash finds running, by its
    attribute C{onCrash}: C{"fail"}, which is the default, or C{"retry"}.

    @raise usage.UsageError: if it says something else.
    """
    said = getattr(workerClass, "onCrash", OnCrash.FAIL)
    try:
        return OnCrash(said)
    except ValueError:
        raise usage.UsageError(
            f'the onCrash of the worker class {name!r} must be "fail" or "retry", not {said!r}'
        ) from None


def argsVersionOf(workerClass: object, name: str) -> int:
    """
    What a worker class says of the form in which it takes the args of its jobs, by its
    attribute C{argsVersion}: a whole number, 1 by default.

    @raise usage.UsageError: if it says something else.
    """
    said = getattr(workerClass, "argsVersion", 1)
    if type(said) is int and 1 <= said <= MAX_INTEGER:
        return said
    raise usage.UsageError(
        f"the argsVersion of the worker class {name!r} must be a whole number from 1 on, of "
        f"64 bits at most, not {said!r}"
    )


def readOwnToken(path: str | None) -> bytes | None:
    """
    @raise OSError: if the file cannot be read.
    @raise InvalidArgument: if it holds no token.
    @raise usage.UsageError: if everybody can use it, or it is no file.
    """
    if path is None:
        return None
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        # To open a FIFO would wait for whoever writes to it.
        raise usage.UsageError(f"--token-file {path} is no regular file")
    token = readToken(path)
    mode = stat.S_IMODE(status.st_mode)
    if mode & stat.S_IRWXO:
        raise usage.UsageError(
            f"the token file {path} is open to everybody (mode {mode:04o}): chmod 600 {path}"
        )
    return token.encode("ascii")


def listenAt(reactor: Any, text: str, token: bytes | None) -> IStreamServerEndpoint:
    """
    Where C{--listen} says to listen.

    @raise usage.UsageError: if it says nothing that can be understood, or
        something that is open to others.
    """
    try:
        endpoint = _endpointOf(reactor, text)
    # Each kind of endpoint reads its own arguments.
    except Exception as error:
        raise usage.UsageError(f"--listen {text} is not a valid endpoint: {error}") from error
    isUnix = isinstance(endpoint, UNIXServerEndpoint)
    # Twisted's own default is 666.
    if token is None and not (isUnix and not endpoint._mode & stat.S_IRWXO):
        needed = "needs --token-file"
        raise usage.UsageError(
            f"--listen {text} {needed}, or a mode= that keeps others out, such as 660"
            if isUnix
            else f"--listen {text} {needed}, since whoever reaches it could run jobs"
        )
    # Twisted has no public name for the path. An abstract socket goes with its process.
    if isUnix and not endpoint._address.startswith("\0"):
        return UnixEndpoint(reactor, endpoint, endpoint._address)
    return endpoint  # type: ignore[no-any-return]


def _endpointOf(reactor: Any, text: str) -> Any:
    kind, _, rest = text.partition(":")
    if kind == "unix":
        # Twisted's lock file can outlive its daemon; the last word counts.
        text = f"{text}:lockfile=0"
        rest = f"{rest}:lockfile=0"
    try:
        # What the text itself says of it stands behind, and counts.
        return serverFromString(reactor, f"{kind}:backlog={BACKLOG}:{rest}")
    # It is none of that kind, or says it without its name, or is wrong anyhow.
    except Exception:
        return serverFromString(reactor, text)


def checkStore(path: str) -> str:
    """
    See that there can be a store at a path.

    @return: the path.
    @raise usage.UsageError: if there is no such directory, or a directory there.
    @raise InvalidArgument: if it is not valid UTF-8.
    """
    checkText("--store", path)
    if os.path.isdir(path) or not os.path.isdir(os.path.dirname(path)):
        raise usage.UsageError(
            f"--store {path} cannot be a file: it must be one in a directory that is there"
        )
    return path
