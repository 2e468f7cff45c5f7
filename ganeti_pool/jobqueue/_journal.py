"""
The store as its owner writes to it, and who waits for what is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..backoff import Backoff
from ..errors import (
    OwnershipLost,
    StaleAttempt,
    StoreClosed,
    StoreDamaged,
    StoreError,
    StoreLost,
)
from ..jobs import Job

__all__ = ["Changes", "Journal", "storeBackoff"]

_log = Logger()

_T = TypeVar("_T")


def storeBackoff() -> Backoff:
    """
    Return the delays between two tries to write to the store or to the output directory.
    """
    return Backoff(first=1.0, longest=30.0)


class Changes:
    """
    Whoever waits for a job to change.

    Threads: the reactor's.

    @ivar latest: the highest revision that was announced.
    @ivar isClosed: whether nobody is to wait any more.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.latest = -1
        self._clock = clock
        self.isClosed = False
        self._waiting: set[Deferred[None]] = set()
        self._byJob: dict[int, set[Deferred[None]]] = {}

    def announce(self, jobID: int, revision: int) -> None:
        """
        A change was committed.
        """
        self.latest = max(self.latest, revision)
        self._wake()
        self.lookAgain(jobID)

    def lookAgain(self, jobID: int) -> None:
        """
        A job is not as it was, though that may have been committed before.
        """
        _callAll(self._byJob.pop(jobID, set()))

    def close(self) -> None:
        """
        Let all who wait go on, and nobody wait any more.
        """
        self.isClosed = True
        self._wake()
        for jobID in list(self._byJob):
            self.lookAgain(jobID)

    def wait(self, seconds: float) -> Deferred[None]:
        """
        @return: a Deferred that fires with the next change, or when the time is
            over. It can be cancelled.
        """
        change: Deferred[None] = Deferred(self._waiting.discard)
        self._waiting.add(change)
        return change.addTimeout(seconds, self._clock, lambda _, timeout: None)

    def waitFor(self, jobID: int) -> Deferred[None]:
        """
        @return: a Deferred that fires with the next change of this job. It can be
            cancelled.
        """

        waiting = self._byJob.setdefault(jobID, set())

        def forget(change: Deferred[None]) -> None:
            waiting.discard(change)
            if not waiting and self._byJob.get(jobID) is waiting:
                del self._byJob[jobID]

        change: Deferred[None] = Deferred(forget)
        waiting.add(change)
        return change

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        _callAll(waiting)


def _callAll(waiting: set[Deferred[None]]) -> None:
    """
    Let go on who waits, but for those whom another one of them gives up just then.
    """
    while waiting:
        waiting.pop().callback(None)


class Journal:
    """
    The reads and writes of a store with the epoch of its owner, and their latest errors.

    Threads: the reactor's.

    @ivar epoch: what the store's C{acquire} gave.
    @ivar lastError: why the latest write failed; L{None} once one has succeeded.
    @ivar readError: why the latest read failed; L{None} once one has succeeded.
    @ivar lasting: the error that lasts until the next start: the store is lost or was
        found damaged; L{None} while the store is healthy.
    @ivar unwritten: how many outcomes wait to be tried again.
    @ivar hindrances: by job ID, why a job that a worker has taken cannot start or begin
        its work, although the store is healthy.
    """

    def __init__(
        self, clock: IReactorTime, changes: Changes, whenLost: Callable[[str], object]
    ) -> None:
        """
        @param changes: is told of every change of a job.
        @param whenLost: called with the reason, possibly more than once, when another
            owner has the store or its files are lost.
        """
        self.epoch = -1
        self.lastError: str | None = None
        self.readError: str | None = None
        self.lasting: str | None = None
        self.unwritten = 0
        self.hindrances: dict[int, str] = {}
        self._clock = clock
        self._changes = changes
        self._whenLost = whenLost
        self._isClosed = False
        self._pauses: set[Deferred[None]] = set()

    @property
    def trouble(self) -> str | None:
        """
        Why jobs do not go on; L{None} while they do.
        """
        error = self.lasting or self.lastError or self.readError
        if error is not None or not self.hindrances:
            return error
        jobID, why = next(iter(self.hindrances.items()))
        more = len(self.hindrances) - 1
        return f"job {jobID} waits: {why}" + (f" (and {more} more)" if more else "")

    def hinder(self, jobID: int, why: str) -> None:
        """
        A job that a worker has taken cannot start yet, though the store is well.
        """
        if jobID not in self.hindrances:
            _log.warn("Job {job} waits: {why}", job=jobID, why=why)
        self.hindrances[jobID] = why

    def write(self, ask: Callable[..., Deferred[_T]], *args: Any) -> Deferred[_T]:
        """
        Write once.

        @param ask: a method of the store, called with the epoch and C{args}.
        @return: a Deferred that fires and fails as that of the store; it fails with
            L{StoreError} before there is an epoch.
        """
        if self.epoch < 0:
            return fail(StoreError("the queue has not been started, so nothing is written"))
        return ask(self.epoch, *args).addCallbacks(self._written, self._refused)

    def read(self, ask: Callable[..., Deferred[_T]], *args: Any) -> Deferred[_T]:
        """
        Read from the store once, and record the outcome.

        @param ask: a method of the store, called with C{args}.
        @return: a Deferred with the result or failure of that call.
        """
        return ask(*args).addCallbacks(self._wasRead, self._notRead)

    def _wasRead(self, found: _T) -> _T:
        self.readError = None
        return found

    def _notRead(self, failure: Failure) -> Failure:
        if failure.check(StoreError) and not failure.check(StoreClosed):
            self.readError = failure.getErrorMessage()
            self._noteLasting(failure)
        return failure

    def _noteLasting(self, failure: Failure) -> None:
        """
        Record an error that lasts until the next start.
        """
        if failure.check(StoreLost, StoreDamaged):
            self.lasting = failure.getErrorMessage()
        if failure.check(StoreLost, OwnershipLost):
            self._whenLost(failure.getErrorMessage())

    def persist(self, write: Callable[[], Deferred[_T]], isOutcome: bool = True) -> Deferred[_T]:
        """
        Write until it is written: while the store fails, try again after a pause
        that grows.

        @param isOutcome: whether to count it as unwritten meanwhile.
        @return: a Deferred that fails with L{StaleAttempt} if it has no place any
            more; with L{OwnershipLost} if another owner has the store; with
            L{StoreLost} if its files are gone; with
            L{StoreError} if the store failed, and L{close} was called.
        """
        return write().addErrback(self._persevere, write, isOutcome)

    def _persevere(
        self, failure: Failure, write: Callable[[], Deferred[_T]], isOutcome: bool
    ) -> Deferred[_T]:
        # Most often the first try succeeds, and needs no coroutine.
        if self._isFinal(failure.value):
            return fail(failure)
        if isOutcome:
            _log.warn(
                "The outcome of a job cannot be written, and waits: {error}", error=failure.value
            )
        return Deferred.fromCoroutine(self._tryAgain(write, isOutcome))

    def _isFinal(self, error: BaseException | None) -> bool:
        """
        Whether a failed write is not tried again.
        """
        return (
            self._isClosed
            or not isinstance(error, StoreError)
            or isinstance(error, (StaleAttempt, OwnershipLost, StoreLost))
        )

    async def _tryAgain(self, write: Callable[[], Deferred[_T]], isOutcome: bool) -> _T:
        self.unwritten += isOutcome
        backoff = storeBackoff()
        try:
            while True:
                await self.rest(backoff.next())
                try:
                    return await write()
                except StoreError as error:
                    if self._isFinal(error):
                        raise
        finally:
            self.unwritten -= isOutcome

    def close(self) -> None:
        """
        Try nothing again: what rests fails with its last error.
        """
        self._isClosed = True
        for pause in list(self._pauses):
            pause.cancel()

    async def rest(self, seconds: float) -> None:
        """
        Wait before something is tried again.

        @raise StoreError: if L{close} was called meanwhile.
        """
        pause: Deferred[None] = deferLater(self._clock, seconds)
        self._pauses.add(pause)
        try:
            await pause
        except CancelledError:
            raise StoreError(f"given up, since the daemon ends: {self.trouble}") from None
        finally:
            self._pauses.discard(pause)

    def _written(self, written: _T) -> _T:
        self.lastError = None
        changed = written if isinstance(written, list) else [written]
        for job in changed:
            if isinstance(job, Job):
                self._changes.announce(job.id, job.revision)
        return written

    def _refused(self, failure: Failure) -> Failure:
        if isinstance(failure.value, StaleAttempt):
            # The store is ahead, whose change was called a failure and so not announced.
            self._changes.lookAgain(failure.value.jobID)
        if failure.check(StoreError) and not failure.check(StaleAttempt):
            self.lastError = failure.getErrorMessage()
            self._noteLasting(failure)
        return failure
