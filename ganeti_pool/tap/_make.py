"""
From the options to the service.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from itertools import chain
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import gatherResults
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.python import usage

from ..commands import killAll, killSurvivors
from ..daemon import (
    Abort,
    JobQueueService,
    LockFile,
    Locks,
    Notifier,
    endOnSignals,
    forgetCoercedLocale,
    freezeMemory,
    goSteady,
    logEvent,
    releaseInChildren,
    runBelowInit,
    stopOnce,
    surviveSignals,
    unblockSignals,
    unignoreSignals,
)
from ..errors import PoolError
from ._given import (
    BACKLOG,
    argsVersionOf,
    basesOf,
    checkStore,
    findWorkerClass,
    listenAt,
    onCrashOf,
    raiseLimit,
    readOwnToken,
)
from ._log import LoggedService, openLog
from ._options import Options
from ._refusal import refusal
from ._state import checkState, openLogFile, prepareState, statePaths
from ._user import userOf

__all__ = ["makeDaemon", "makeService"]


def makeService(options: Options) -> IService:
    """
    Make the daemon's service, and take its state directory and store.

    @raise SystemExit: with one sentence, for standard error and exit code 1, if
        it cannot be made. The service manager has been told so then.
    """
    # Twistd has chosen it by now, and hands it to nobody.
    from twisted.internet import reactor

    goSteady(reactor)
    try:
        # Before there is a thread, or anything that two processes must not have.
        runBelowInit(os.environ)
        unblockSignals()
        forgetCoercedLocale(os.environ)
        return makeDaemon(reactor, options)
    except ModuleNotFoundError as error:
        raise refusal(
            f"the daemon needs {error.name}, which is not installed: "
            "pip install 'ganeti-pool[daemon]'"
        ) from error
    except OSError as error:
        what = "" if error.filename is None else f"{error.filename} cannot be used: "
        raise refusal(f"{what}{error.strerror or error}") from error
    except (PoolError, usage.UsageError) as error:
        raise refusal(str(error)) from error


def makeDaemon(reactor: Any, options: Options) -> IService:
    """
    As L{makeService}, for a reactor.

    @raise usage.UsageError: if what an option names cannot be used.
    @raise PoolError: if another daemon has what this one needs.
    @raise OSError: if a file cannot be used.
    @raise ModuleNotFoundError: if the extra is not installed.
    """
    # Not above: they need the extra, and klein a reactor that has been chosen.
    from ..jobqueue import (
        Edges,
        Hooks,
        JobQueue,
        QueueLimits,
        WorkerRules,
        checkNewStore,
        threadSlots,
    )
    from ..metrics import JobMetrics
    from ..store.sqlite import SQLiteJobStore
    from ..web import AnswerMemory, Connections, CountedEndpoint, JobSite, makeSite

    files = raiseLimit(options["workers"], bool(options["listen"]))
    workerClass = findWorkerClass(options["worker-class"])
    onCrash = onCrashOf(workerClass, options["worker-class"])
    argsVersion = argsVersionOf(workerClass, options["worker-class"])
    ofTwistd: Mapping[str, Any] = options.parent or {}
    user = userOf(ofTwistd)
    paths = statePaths(options["state-dir"], user)
    paths.checkSocket()
    storePath = paths.store if options["store"] is None else checkStore(options["store"])
    token = readOwnToken(options["token-file"])
    endpoints = [listenAt(reactor, text, token) for text in options["listen"]]
    checkState(paths, storePath, user)
    if not os.path.exists(storePath):
        # Again when the queue starts; but here no store is made in a wrong directory.
        checkNewStore(paths.output)
    log = None
    # Without twistd, the log is not the daemon's.
    if options.parent is not None:
        log = openLog(ofTwistd, options["log-format"], partial(openLogFile, user=user))
    # What can be refused has been, and nothing is made yet but a file for the log.
    prepareState(paths, user)
    lock = Locks(
        LockFile(paths.lock, f"the state directory {paths.directory}"),
        # Through links too: two daemons on one store would run its jobs twice.
        LockFile(f"{os.path.realpath(storePath)}.lock", f"the store {storePath}"),
    )
    with user.acting():
        lock.acquire()

    metrics = JobMetrics(lambda: 0 if log is None else log.writer.dropped)
    manager = Notifier.fromEnvironment(reactor, os.environ)
    queue = JobQueue(
        reactor,
        SQLiteJobStore(
            reactor,
            storePath,
            onCheck=partial(manager.delayed, status="Checking the store"),
        ),
        WorkerRules(
            options["worker-class"],
            bases=basesOf(workerClass),
            onCrash=onCrash,
            argsVersion=argsVersion,
            checkArgs=getattr(workerClass, "checkArgs", None),
            keepsOutput=getattr(workerClass, "keepsOutput", False),
            keepsTimeout=getattr(workerClass, "keepsTimeout", False),
        ),
        paths,
        threadSlots("ganeti-pool", workerClass),
        options["workers"],
        QueueLimits(options["max-queued"], files.jobs, options["keep-finished"]),
        isPaused=bool(options["paused"]),
        hooks=Hooks(
            [logEvent, metrics.observe],
            committed=metrics.committed,
            onBroken=lambda failure: service.broken(failure),
        ),
        edges=Edges(reap=partial(killSurvivors, paths.directory)),
    )
    makeDoor = partial(makeSite, reactor, queue, metrics=partial(metrics.render, queue))
    own = UNIXServerEndpoint(reactor, paths.socket, backlog=BACKLOG, mode=0o600, wantPID=False)
    doors: list[tuple[IStreamServerEndpoint, JobSite]] = []
    for secret, where, most, group in (
        (None, "the socket of the daemon", files.ownConnections, [own]),
        (token, "the endpoints of --listen", files.connections, endpoints),
    ):
        connections = Connections(reactor, most, where)
        makeSiteOf = partial(
            makeDoor, secret, connections=connections, memory=AnswerMemory(reactor)
        )
        doors += [(CountedEndpoint(endpoint, connections), makeSiteOf()) for endpoint in group]
    endAll = partial(killAll, forGood=True)

    def reopenLog() -> None:
        if log is not None:
            log.writer.reopen()

    def closeLog() -> None:
        if log is not None:
            log.close()

    def guard() -> None:
        stop = partial(reactor.callFromThread, stopOnce, reactor)
        endOnSignals(stop, endAll, closeLog=closeLog)
        surviveSignals(partial(reactor.callFromThread, reopenLog))
        # Last: what is still ignored is ignored by the daemon alone from now on.
        unignoreSignals()
        # Not before: twistd has forked to go into the background, and its child goes on.
        releaseInChildren(
            lambda: chain(service.descriptors(), *(site.descriptors() for _, site in doors))
        )

    def leave(code: int) -> None:
        closeLog()
        os._exit(code)

    service = JobQueueService(
        reactor,
        queue,
        lock,
        doors,
        socket=paths.socket,
        grace=options["grace"],
        guard=guard,
        freezeMemory=freezeMemory,
        killAll=endAll,
        hangUp=lambda: gatherResults([site.hangUp() for _, site in doors]),
        abort=Abort(reactor, leave=leave),
        manager=manager,
    )
    return service if log is None else LoggedService(service, log)
