"""
C{twistd ganeti-pool}: its options, and the service that they ask for.

Importing this needs no extra, so that C{twistd --help} works without; what
does is imported when the service is made.
"""

from __future__ import annotations

import math
import os
import resource
import stat
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXServerEndpoint, serverFromString
from twisted.internet.interfaces import IProtocolFactory, IStreamServerEndpoint
from twisted.internet.threads import deferToThreadPool
from twisted.python import usage
from twisted.python.reflect import namedAny

from .commands import killAll, killSurvivors
from .deferred import DeferredWorkerPool
from .errors import PoolError
from .interfaces import IWorker
from .jobs import OnCrash
from .paths import StatePaths
from .service import JobQueueService
from .service._lock import StateLock
from .service._signals import Abort, endOnSignals

__all__ = ["Options", "makeService"]

# A command takes four for its output and two more while it is started.
_FILES_FOR_ITSELF = 64
_FILES_FOR_A_JOB = 8

_Door = tuple[IStreamServerEndpoint, IProtocolFactory]


class Options(usage.Options):
    """
    The options of C{twistd ganeti-pool}. None is needed.
    """

    optParameters = [  # noqa: RUF012 - twisted's own way to declare them
        ["workers", None, "4", "How many jobs run at once."],
        [
            "worker-class",
            None,
            "ganeti_pool.commands.CommandWorker",
            "The dotted name of the class that runs the jobs.",
        ],
        ["state-dir", None, None, "Where jobs, output and socket are [default: the user's own]."],
        ["token-file", None, None, "A file with the token that requests to --listen must bear."],
        ["grace", None, "30", "How many seconds running jobs get when the daemon stops."],
    ]

    longdesc = (
        "Runs jobs by priority, and loses none when it is killed. The command ganeti-pool submits "
        "them and shows how they do."
    )

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["listen"] = []

    def opt_listen(self, endpoint: str) -> None:
        """
        Listen there too, beside the socket in the state directory: an endpoint as of
        twisted, such as tcp:8080:interface=127.0.0.1. It needs --token-file. With
        CommandWorker, who has the token has a shell. Can be given more than once.
        """
        self["listen"].append(endpoint)

    def postOptions(self) -> None:
        """
        Read the numbers.

        @raise usage.UsageError: if one is none.
        """
        self["workers"] = _number("workers", self["workers"], int, 1)
        self["grace"] = _number("grace", self["grace"], float, 0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Read the options.

        @raise SystemExit: with one sentence, if one is wrong. (Twistd would show
            the whole help before it, on standard output.)
        """
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            raise SystemExit(f"ganeti-pool: {error}") from error


def makeService(options: Options) -> IService:
    """
    Make the daemon's service, and take its state directory.

    @raise SystemExit: with one sentence, for standard error and exit code 1, if
        it cannot be made.
    """
    # Twistd has chosen it by now, and hands it to nobody.
    from twisted.internet import reactor

    try:
        return _makeService(reactor, options)
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"ganeti-pool: the daemon needs {error.name}, which is not installed: "
            "pip install 'ganeti-pool[daemon]'"
        ) from error
    except OSError as error:
        raise SystemExit(
            f"ganeti-pool: {error.filename} cannot be used: {error.strerror}"
        ) from error
    except (PoolError, usage.UsageError) as error:
        raise SystemExit(f"ganeti-pool: {error}") from error


def _makeService(reactor: Any, options: Options) -> IService:
    # Not above: they need the extra, and klein a reactor that has been chosen.
    from .jobqueue import JobQueue
    from .store.sqlite import SQLiteJobStore
    from .web import makeSite

    _raiseLimit(options["workers"])
    workerClass = _workerClass(options["worker-class"])
    stateDir = options["state-dir"]
    paths = StatePaths.default() if stateDir is None else StatePaths.at(stateDir)
    paths.checkSocket()
    token = _readToken(options["token-file"])
    endpoints = [_endpoint(reactor, text, token) for text in options["listen"]]
    _prepareDirectory(paths.directory)
    os.makedirs(paths.output, 0o700, exist_ok=True)
    lock = StateLock(paths.lock)
    lock.acquire()

    def reap(handles: Sequence[str]) -> Deferred[int]:
        return deferToThreadPool(
            reactor, reactor.getThreadPool(), killSurvivors, paths.directory, handles
        )

    # Its workers are started by the service, which says so if they cannot be.
    pool = DeferredWorkerPool(reactor, "ganeti-pool", 0, workerClass)
    queue = JobQueue(
        reactor,
        pool,
        SQLiteJobStore(reactor, paths.store),
        options["worker-class"],
        paths,
        reap=reap,
        checkArgs=getattr(workerClass, "checkArgs", None),
        onCrash=_onCrash(workerClass, options["worker-class"]),
    )
    own = UNIXServerEndpoint(reactor, paths.socket, mode=0o600, wantPID=False)
    doors: list[_Door] = [(own, makeSite(reactor, queue, None))]
    doors += [(endpoint, makeSite(reactor, queue, token)) for endpoint in endpoints]
    endAll = partial(killAll, forGood=True)
    return JobQueueService(
        reactor,
        queue,
        lock,
        doors,
        socket=paths.socket,
        grace=options["grace"],
        guard=partial(endOnSignals, partial(reactor.callFromThread, reactor.stop), endAll),
        hire=partial(pool.resize, options["workers"]),
        killAll=endAll,
        abort=Abort(reactor),
    )


def _number(option: str, text: str, kind: Callable[[str], float], least: int) -> float:
    """
    @raise usage.UsageError: if it is no number of this kind, or too small.
    """
    try:
        number = kind(text)
    except ValueError:
        number = math.nan
    if not least <= number < math.inf:
        what = "whole number" if kind is int else "number of seconds"
        raise usage.UsageError(f"--{option} takes a {what} of at least {least}, not {text!r}")
    return number


def _raiseLimit(workers: int) -> None:
    """
    Let the daemon open as many files as it may.

    @raise usage.UsageError: if these are too few for so many jobs at once.
    """
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = (limit - _FILES_FOR_ITSELF) // _FILES_FOR_A_JOB
    if limit >= 0 and workers > most:
        raise usage.UsageError(
            f"--workers takes at most {most} here, not {workers}, since the daemon may open "
            f"{limit} files (ulimit -Hn)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


def _workerClass(name: str) -> Callable[[Any, str], object]:
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
    return found  # type: ignore[no-any-return]


def _onCrash(workerClass: object, name: str) -> OnCrash:
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


def _readToken(path: str | None) -> bytes | None:
    """
    @raise OSError: if the file cannot be read.
    @raise usage.UsageError: if it is empty, or everybody can use it.
    """
    if path is None:
        return None
    with open(path, "rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        token = file.read(4096).strip()
    if mode & stat.S_IRWXO:
        raise usage.UsageError(
            f"the token file {path} is open to everybody (mode {mode:04o}): chmod 600 {path}"
        )
    if not token:
        raise usage.UsageError(f"the token file {path} is empty: whoever asks would be let in")
    return token


def _endpoint(reactor: Any, text: str, token: bytes | None) -> IStreamServerEndpoint:
    """
    Where C{--listen} says to listen.

    @raise usage.UsageError: if it says nothing that can be understood, or
        something that is open to others.
    """
    try:
        endpoint: Any = serverFromString(reactor, text)
    # Each kind of endpoint reads its own arguments.
    except Exception as error:
        raise usage.UsageError(f"--listen {text} is no endpoint: {error}") from error
    isUnix = isinstance(endpoint, UNIXServerEndpoint)
    # Twisted's own default is 666.
    if token is None and not (isUnix and not endpoint._mode & stat.S_IRWXO):
        needed = "needs --token-file"
        raise usage.UsageError(
            f"--listen {text} {needed}, or a mode= that keeps others out, such as 660"
            if isUnix
            else f"--listen {text} {needed}, since whoever reaches it could run jobs"
        )
    return endpoint  # type: ignore[no-any-return]


def _prepareDirectory(directory: str) -> None:
    """
    Make the state directory, or see that it is the user's.

    @raise OSError: if it cannot be made.
    @raise usage.UsageError: if others could change what is in it.
    """
    os.makedirs(directory, 0o700, exist_ok=True)
    status = os.stat(directory)
    if status.st_uid != os.geteuid():
        raise usage.UsageError(f"the state directory {directory} belongs to another user")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise usage.UsageError(
            f"the state directory {directory} can be written to by others "
            f"(mode {stat.S_IMODE(status.st_mode):04o}): chmod 700 {directory}"
        )
