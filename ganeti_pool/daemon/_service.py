"""
The job queue and its HTTP interface as a service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import PoolError, QueueStopping
from ._lock import Lock
from ._systemd import Notifier
from ._unix import removeOwnSocket

__all__ = ["JobQueueService", "StartableQueue"]

_log = Logger()

_READY = "Ready for jobs"

_WIND_DOWN = 60.0
"""
The seconds that a stop takes at most beyond the grace, on a disk that is not too slow.
"""


class StartableQueue(Protocol):
    """
    What the service needs of the queue.
    """

    def start(self) -> Deferred[None]:
        """
        Take over what is in the store, and run it.
        """

    def stop(self, grace: float) -> Deferred[None]:
        """
        Let what runs end, and close the store.
        """


class JobQueueService(Service):
    """
    Starts the parts of the daemon one after another, and stops them in the other
    direction: the lock on the state directory and the store, the workers, the queue,
    the doors. The doors close behind the queue, though: while running jobs get their
    grace, they can be looked at and cancelled.

    The lock is taken at once; the rest waits until the reactor runs, since a
    thread that is started before twistd forks does not survive that. It cannot
    be started again, since a queue cannot.

    Threads: the reactor's.
    """

    def __init__(
        self,
        reactor: Any,
        queue: StartableQueue,
        lock: Lock,
        doors: Sequence[tuple[IStreamServerEndpoint, IProtocolFactory]],
        *,
        socket: str,
        grace: float,
        guard: Callable[[], object],
        freezeMemory: Callable[[], object],
        killAll: Callable[[], object],
        hangUp: Callable[[], Deferred[Any]],
        abort: Callable[[str], object],
        manager: Notifier,
    ) -> None:
        """
        @param doors: where to listen, and with what.
        @param socket: the path of the daemon's own socket, which an earlier
            daemon may have left: who has the lock may remove it.
        @param grace: seconds that running jobs get when the service stops.
        @param guard: called when the reactor runs, to watch for signals.
        @param freezeMemory: called when all that waits has been taken over.
        @param killAll: ends every process of the jobs, and lets none start.
        @param hangUp: closes the connections, when no more come.
        @param abort: told, in one sentence, why the daemon cannot start.
        @param manager: told when the daemon is ready, and when it stops.
        """
        self._reactor = reactor
        self._queue = queue
        self._lock = lock
        self._doors = doors
        self._socket = socket
        self._grace = grace
        self._guard = guard
        self._freezeMemory = freezeMemory
        self._killAll = killAll
        self._hangUp = hangUp
        self._abort = abort
        self._manager = manager
        self._ports: list[IListeningPort] = []
        self._trigger: Any = None
        self._isStopping = False
        # Why it cannot start; None as long as it can.
        self._why: str | None = None
        # The start and the stop, one at a time.
        self._life = DeferredLock()

    def startService(self) -> None:
        """
        Take the state directory, and start the rest when the reactor runs.

        @raise InUse: if another daemon has it, or the store.
        """
        self._lock.acquire()
        super().startService()  # type: ignore[no-untyped-call]
        self._trigger = self._reactor.callWhenRunning(self._run)

    def _run(self) -> None:
        self._trigger = None
        self._guard()
        self._life.run(lambda: Deferred.fromCoroutine(self._start())).addErrback(self._failed)

    async def _start(self) -> None:
        # Before any job runs, since something else there ends the start.
        removeOwnSocket(self._socket)
        await self._queue.start()
        self._freezeMemory()
        for endpoint, factory in self._doors:
            # What comes up now would not be taken down again.
            if not self._isStopping:
                self._ports.append(await endpoint.listen(factory))
        if not self._isStopping:
            _log.info(_READY)
            self._manager.ready(_READY)

    def _failed(self, failure: Failure) -> None:
        if self._isStopping and failure.check(QueueStopping):
            # The stop has ended the check of the store.
            return
        sentence = f"the daemon cannot start: {failure.getErrorMessage()}"
        if failure.check(PoolError, CannotListenError, OSError):
            _log.critical("{sentence}", sentence=sentence)
        else:
            _log.failure("The daemon cannot start", failure)
        # Else the reactor stops already, and may be the reason.
        if not self._isStopping:
            self._why = sentence
            self._manager.failed(sentence)
            self._abort(sentence)

    def broken(self, failure: Failure) -> None:
        """
        End the daemon with an error, because its queue is broken. The processes of the jobs
        are killed, and the next daemon continues from the store.
        """
        self._killAll()
        sentence = f"the daemon ends: {failure.getErrorMessage()}"
        _log.critical("{sentence}", sentence=sentence)
        if self._why is None:
            self._why = sentence
            self._manager.failed(sentence)
            self._abort(sentence)

    def stopService(self) -> Deferred[None]:
        """
        Stop the queue, close the doors, and give the state directory back.

        @return: a Deferred that fires when all is done. No process of a job is
            left then.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        self._isStopping = True
        status = self._why
        if status is None:
            status = f"Stopping; running jobs get {self._grace:g} seconds"
            _log.info("{status}", status=status)
        self._manager.stopping(status, self._grace + _WIND_DOWN)
        if self._trigger is not None:
            self._reactor.removeSystemEventTrigger(self._trigger)
            self._trigger = None
        return Deferred.fromCoroutine(self._stop())

    def descriptors(self) -> Iterator[int]:
        """
        The descriptors of the locks and of the sockets where it listens.
        """
        yield from self._lock.descriptors()
        for port in self._ports:
            # Those of Twisted's own kinds have one, -1 once they are closed.
            fileno: Callable[[], int] = getattr(port, "fileno", lambda: -1)
            yield fileno()

    async def _stop(self) -> None:
        # Asked first, so that a queue which is still starting starts no job.
        stopped = self._queue.stop(self._grace)
        try:
            await self._life.acquire()
            await stopped
        finally:
            self._killAll()
            await gatherResults(
                [maybeDeferred(port.stopListening).addErrback(_notClosed) for port in self._ports]
            )
            await self._hangUp()
            self._lock.release()
            self._manager.close()


def _notClosed(failure: Failure) -> None:
    # Such as a socket whose file is gone. The rest ends well all the same.
    _log.warn("A door did not close well: {reason}", reason=failure.getErrorMessage())
