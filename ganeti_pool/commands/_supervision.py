"""
What a worker does while its command runs.
"""

from __future__ import annotations

import selectors
import signal
from collections.abc import Mapping
from contextlib import closing
from time import monotonic

from ..jobs import AttemptContext
from ._groups import Group
from ._output import OutputFile, unread
from ._scarcity import makeBackoff
from ._session import Session, signalGroup
from ._survivors import handleOf
from ._waiting import Notices, WakeUp, exitDescriptor

__all__ = ["Supervision"]

_HANDLE_DELAY = 0.05
"""
The seconds that a command runs before its handle is computed and recorded. Most commands
end sooner and never need one.
"""


class Supervision:
    """
    The supervision of one started command: copy its output, record its handle, end it
    after a cancellation or its timeout, and notice its exit. All of it waits in one poll,
    and needs no descriptor that could be refused.

    The output is I{held} while a file cannot be created or written for a temporary
    shortage. Then the pipe is not read, writing is tried again with backoff, and the time
    does not count towards the timeout.

    Threads: the worker's.

    @ivar wasCancelled: whether a cancellation was the reason to end the command.
    @ivar timedOut: whether its timeout was. The first of the two counts.
    """

    def __init__(
        self,
        group: Group,
        outputs: Mapping[str, OutputFile],
        attempt: AttemptContext | None,
        wakeUp: WakeUp,
        notices: Notices,
        killDelay: float,
    ) -> None:
        """
        @param outputs: the file of each stream, by its name in C{Popen}.
        @param attempt: receives the handle and the reasons to wait, and has the timeout.
        @param wakeUp: becomes readable when there are new C{notices}.
        @param killDelay: seconds from TERM to KILL.
        """
        self.wasCancelled = False
        self.timedOut = False
        self._leader = group.process.pid
        self._pipes = {getattr(group.process, name).fileno(): outputs[name] for name in outputs}
        self._attempt = attempt
        self._wakeUp = wakeUp
        self._notices = notices
        self._killDelay = killDelay
        self._everyPipe = list(self._pipes)
        now = monotonic()
        timeout = None if attempt is None else attempt.timeout
        self._handleAt = None if attempt is None else now + _HANDLE_DELAY
        self._endAt = None if timeout is None else now + timeout
        self._killAt: float | None = None
        self._retryAt: float | None = None
        self._heldSince = now
        self._backoff = makeBackoff()

    @property
    def wasTold(self) -> bool:
        """
        Whether the command was told to end.
        """
        return self.wasCancelled or self.timedOut

    def awaitExit(self) -> None:
        """
        Copy the output until the leader has exited. After TERM, the other processes of
        the session may run until the kill delay is over; the caller kills the rest.
        """
        everyPipe = self._everyPipe
        with (
            selectors.PollSelector() as selector,
            closing(Session(self._leader, selector)) as session,
            exitDescriptor(self._leader, self._notices) as exited,
        ):
            hasExited = False
            readable = set(everyPipe)
            selector.register(self._wakeUp, selectors.EVENT_READ)
            for descriptor in everyPipe if exited is None else (exited, *everyPipe):
                selector.register(descriptor, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select(self._secondsToWait())}
                self._wakeUp.clear()
                if exited in ready:
                    assert exited is not None
                    selector.unregister(exited)
                    self._notices.hasExited = True
                hasExited = self._notices.hasExited
                if not hasExited:
                    self._tellToEnd(session)
                    self._recordHandle()
                if self._killAt is not None and monotonic() >= self._killAt:
                    signalGroup(self._leader, signal.SIGKILL)
                    self._killAt = None
                for pipe in ready & readable:
                    if not self._pipes[pipe].take(pipe):
                        del self._pipes[pipe]
                self._retryHeld()
                # Only pipes whose stream goes on, and whose output is not held, are read.
                wanted = {pipe for pipe, file in self._pipes.items() if not file.isHeld}
                for pipe in readable - wanted:
                    selector.unregister(pipe)
                for pipe in wanted - readable:
                    selector.register(pipe, selectors.EVENT_READ)
                readable = wanted
                # Without a limit nothing but the leader is waited for.
                if hasExited and (self._killAt is None or session.isEmpty()):
                    return

    def takeRest(self) -> None:
        """
        Take what is in the pipes now, and wait until it is kept. What a process writes
        that outlives the command is not waited for. A cancellation ends the wait, and
        cuts the output off; the exit of the command still decides the outcome.
        """
        left = {pipe: unread(pipe) for pipe in self._pipes}
        self._handleAt = self._endAt = self._killAt = None
        if not any(left.values()) and not self._isHeld():
            return
        with selectors.PollSelector() as selector:
            selector.register(self._wakeUp, selectors.EVENT_READ)
            while True:
                for pipe, file in self._pipes.items():
                    while left[pipe] and not file.isHeld:
                        # nothing is left if another process has read the pipe
                        left[pipe] -= file.take(pipe, left[pipe]) or left[pipe]
                self._retryHeld()
                if not self._isHeld():
                    if any(left.values()):
                        continue
                    return
                if self._notices.isCancelled:
                    for file in [file for file in self._pipes.values() if file.isHeld]:
                        file.cutOff()
                    return
                selector.select(self._secondsToWait())
                self._wakeUp.clear()

    def _secondsToWait(self) -> float | None:
        times = (
            self._handleAt,
            # Held time does not count.
            self._endAt if self._retryAt is None else None,
            self._killAt,
            self._retryAt,
        )
        first = min((time for time in times if time is not None), default=None)
        return None if first is None else max(0.0, first - monotonic())

    def _tellToEnd(self, session: Session) -> None:
        if self.wasTold:
            return
        if self._notices.isCancelled:
            self.wasCancelled = True
        elif self._endAt is not None and self._retryAt is None and monotonic() >= self._endAt:
            self.timedOut = True
        else:
            return
        self._endAt = None
        self._killAt = monotonic() + self._killDelay
        session.terminate()

    def _recordHandle(self) -> None:
        if self._handleAt is None or monotonic() < self._handleAt:
            return
        self._handleAt = None
        assert self._attempt is not None
        handle = handleOf(self._leader, self._everyPipe)
        if handle is not None:
            self._attempt.recordHandle(handle)

    def _isHeld(self) -> bool:
        return any(file.isHeld for file in self._pipes.values())

    def _retryHeld(self) -> None:
        """
        Begin, continue or end the backoff of held output.
        """
        now = monotonic()
        if self._retryAt is None:
            if not self._isHeld():
                return
            self._heldSince = now
            self._backoff.reset()
        elif now < self._retryAt:
            return
        else:
            for file in self._pipes.values():
                file.retry()
        attempt = self._attempt
        assert attempt is not None  # nothing is kept outside a job, or held
        for file in self._pipes.values():
            if file.isHeld:
                self._retryAt = now + self._backoff.next()
                attempt.recordWait(file.why)
                return
        self._retryAt = None
        if self._endAt is not None:
            self._endAt += now - self._heldSince
        attempt.recordStart()
