"""
Do the same to many jobs.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, FirstError, gatherResults

from ..client import RequestRefused
from ..jobs import JobState
from ._changes import Change
from ._endings import Ending, ExitCode, judge
from ._find import Selection, listPages
from ._format import Wire, toJSON
from ._question import confirm
from ._session import Session

if TYPE_CHECKING:
    from ..client import JobClient

__all__ = ["askEach", "changeAll", "changeEach"]

_AT_A_TIME = 8
"""
So many requests are under way at most: as many as the client keeps connections.
"""

_CHANGED = (404, 409)
"""
What is said of a job that is not any more as it was when it was found, unless it is the next.
"""

_NOT_RUNNABLE = "not_runnable"
"""
What is said of a job that is as it was, and that this daemon cannot run.
"""

_WORTH_A_BAR = 100
"""
Fewer jobs than that are changed before somebody has seen a bar.
"""


@dataclass
class _Tally:
    """
    What has become of the jobs.

    @ivar outcomes: how many have had each.
    @ivar changed: how many had changed meanwhile.
    @ivar refused: how many the daemon cannot run.
    @ivar why: what it said of the first of these.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    changed: int = 0
    refused: int = 0
    why: str = ""


def _count(number: int) -> str:
    return f"{number} job" if number == 1 else f"{number} jobs"


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _note(session: Session, change: Change, done: int, total: int) -> None:
    """
    Remember what to say if it ends here.
    """
    progress = f"{done} of {total} jobs are known to be {change.participle}"
    session.interruption = f"interrupted: {progress}"
    session.aftermath = progress if total > 1 else ""
    session.doubt = "the daemon may have done it anyway" if total == 1 else ""


async def askEach(
    session: Session,
    client: JobClient,
    ids: Sequence[int],
    ask: Callable[[JobClient, Wire], Awaitable[Wire]],
    describe: Callable[[Wire], str],
    note: Callable[[int], object] = lambda done: None,
) -> int:
    """
    Ask the same of the jobs that were named, one after the other, and tell of
    each. One that is refused does not stop the others.

    @param note: told before each how many are done.
    @return: the exit code.
    """
    worst = ExitCode.DONE
    for done, jobID in enumerate(ids):
        note(done)
        try:
            job = await ask(client, {"id": jobID})
        except RequestRefused as refusal:
            code, sentence = judge(refusal)
            if code != ExitCode.REFUSED:
                raise
            session.say(sentence)
            worst = code
        else:
            session.emit(job, describe(job))
    return worst


async def changeEach(session: Session, ids: Sequence[int], change: Change) -> int:
    """
    Change the jobs that were named. See L{askEach}.
    """

    def note(done: int) -> None:
        _note(session, change, done, len(ids))

    return await askEach(session, session.connect(), ids, change.ask, change.describe, note)


async def changeAll(session: Session, which: Selection, change: Change, isSure: bool) -> int:
    """
    Find jobs, ask whether to change them, change them, and tell how many there
    were. One that is not any more as it was found is counted, and left alone; so is one
    that the daemon cannot run.

    @param isSure: whether not to ask.
    @return: the exit code.

    @raise Ending: if the answer is no.
    """
    client = session.connect()
    session.interruption = "interrupted: nothing was changed"
    # There may be a million, and as JSON a job takes a fifth of the room.
    turns: defaultdict[tuple[bool, int], dict[int, str]] = defaultdict(dict)
    states: Counter[str] = Counter()
    sketches = {state.value: toJSON({"state": state.value}) for state in JobState}
    async for page in listPages(client, which, "desc" if change.lastFirst else "asc"):
        for job in page:
            turn = (job["state"] == JobState.QUEUED.value, job["priority"])
            # Only what is printed later is kept whole.
            kept = toJSON(job) if session.json else sketches[job["state"]]
            turns[turn if change.lastFirst else (False, 0)][job["id"]] = kept
        states.update(job["state"] for job in page)
    found = {
        jobID: kept
        for turn in sorted(turns, reverse=True)
        for jobID, kept in turns.pop(turn).items()
    }
    if found and not isSure:
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        if not await confirm(
            session, f"{_count(len(found))} would be {change.participle} ({counts}). Go on?"
        ):
            raise Ending(ExitCode.FAILED, "nothing was changed")
    tally = await _change(session, client, found, change)
    if not session.json:
        session.write(
            ", ".join(f"{count} {outcome}" for outcome, count in tally.outcomes.items())
            or f"0 {change.participle}"
        )
    if changed := tally.changed:
        session.say(f"{_count(changed)} had changed meanwhile, and {_were(changed)} left alone")
    if not (refused := tally.refused):
        return ExitCode.DONE
    more = f" (and {refused - 1} more)" if refused > 1 else ""
    session.say(f"{_count(refused)} {_were(refused)} refused: {tally.why}{more}")
    return ExitCode.REFUSED


async def _change(
    session: Session, client: JobClient, found: Mapping[int, str], change: Change
) -> _Tally:
    """
    Change jobs, with a bounded number of requests under way.

    @param found: by ID, what is to be known of each, in JSON.
    """
    tally = _Tally()
    left = iter(found.items())

    async def work(report: Callable[[int], object]) -> None:
        for jobID, kept in left:
            try:
                job = await change.ask(client, {**json.loads(kept), "id": jobID})
            except RequestRefused as refusal:
                if refusal.code == _NOT_RUNNABLE:
                    tally.refused += 1
                    tally.why = tally.why or str(refusal)
                elif refusal.status in _CHANGED:
                    tally.changed += 1
                else:
                    raise
            else:
                tally.outcomes[change.outcome(job)] += 1
                if session.json:
                    session.write(toJSON(job))
            _note(session, change, tally.outcomes.total(), len(found))
            report(1)

    _note(session, change, 0, len(found))
    with _reporting(session, len(found)) as report:
        workers = [Deferred.fromCoroutine(work(report)) for _ in range(_AT_A_TIME)]
        try:
            await gatherResults(workers, consumeErrors=True)
        except FirstError as first:
            # What else is under way would only fail the same way, or be done
            # without anybody being told.
            for worker in workers:
                worker.cancel()
            first.subFailure.raiseException()
    return tally


@contextmanager
def _reporting(session: Session, total: int) -> Iterator[Callable[[int], object]]:
    if session.json or total < _WORTH_A_BAR or not session.canDraw(session.stderr):
        yield lambda count: None
        return
    # Not above: only a terminal gets a bar.
    from ._bar import showBar

    with showBar(session.stderr, total, session.noColor) as bar:
        yield bar.advance
