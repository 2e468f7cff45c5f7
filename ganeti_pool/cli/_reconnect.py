"""
Reconnect after a restart of the daemon, and detect a daemon that stops answering.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from ..backoff import Backoff
from ..client import DaemonUnreachable, RequestRefused
from ._endings import judge
from ._format import formatDuration
from ._session import Session

if TYPE_CHECKING:
    from ..client import JobClient

__all__ = ["attend", "reconnect"]

_T = TypeVar("_T")

_PATIENCE = 60.0
"""
The seconds after which reconnecting fails.
"""

_FIRST_DELAY, _LONGEST_DELAY = 0.1, 2.0
"""
The seconds between two tries to reconnect, see L{Backoff}.
"""

_BEAT = 30.0
"""
The seconds between two checks of whether a daemon still answers.
"""

_STOPPING = "stopping"


def _why(error: Exception) -> str:
    """
    Return why the connection is lost, as part of a sentence.

    @raise Exception: the error itself, if it is the daemon's answer to the request.
    """
    if isinstance(error, DaemonUnreachable):
        return judge(error)[1]
    if isinstance(error, RequestRefused) and error.code == _STOPPING:
        return "it is stopping"
    raise error


async def reconnect(
    session: Session,
    error: Exception,
    ask: Callable[[], Awaitable[_T]],
    say: Callable[[str], object],
    aftermath: str,
) -> _T:
    """
    Retry until the daemon answers, after a request has failed because the daemon is stopping,
    has ended or is silent.

    The 60 seconds begin when the daemon no longer reports that it is stopping.

    @param error: the failure of the request. Any other error is raised unchanged.
    @param ask: sends a request that is answered quickly and changes nothing.
    @param say: reports the loss and the return.
    @param aftermath: what is unknown while the daemon is unreachable.
    @return: the answer.

    @raise DaemonUnreachable: if the daemon has not answered for 60 seconds.
    """
    reason = _why(error)
    session.aftermath = aftermath
    clock = session.reactor
    lostAt = clock.seconds()
    backoff = Backoff(_FIRST_DELAY, _LONGEST_DELAY)
    session.isAway = True
    say(f"the daemon is unreachable ({reason}): reconnecting for up to {formatDuration(_PATIENCE)}")
    while True:
        await deferLater(clock, backoff.next())
        try:
            answer = await ask()
        except (DaemonUnreachable, RequestRefused) as latest:
            _why(latest)
            if isinstance(latest, RequestRefused):
                lostAt = clock.seconds()
            elif clock.seconds() - lostAt >= _PATIENCE:
                tried = f"tried again for {formatDuration(clock.seconds() - lostAt)}"
                session.aftermath = "; ".join(filter(None, (tried, session.aftermath)))
                raise
        else:
            session.isAway = False
            say("the daemon is back")
            return answer


async def attend(session: Session, client: JobClient, asking: Deferred[_T]) -> _T:
    """
    Wait for an answer without a time limit, and check every 30 seconds that the daemon still
    answers other requests.

    @return: the answer.

    @raise DaemonUnreachable: if the daemon does not; the request is cancelled then.
    """
    lost: list[DaemonUnreachable] = []

    async def check() -> None:
        while not lost:
            await deferLater(session.reactor, _BEAT)
            try:
                await client.pool()
            except RequestRefused:
                pass  # a daemon that answers
            except DaemonUnreachable as error:
                lost.append(error)
                asking.cancel()

    checking = Deferred.fromCoroutine(check())
    # It is cancelled below.
    checking.addErrback(lambda _: None)
    try:
        return await asking
    except Exception:
        if lost:
            raise lost[0] from None
        raise
    finally:
        checking.cancel()
