"""
The statements that list jobs by id, whatever they are looked for by.

What they read are entries of indices in the order of ids, and the rows of the jobs that
are listed. Without labels these are as many as the list is long, times the states that
are asked for. With labels, what is looked for lies in several indices, and as many are
read as L{_labelled} says.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    bindparam,
    case,
    func,
    literal,
    select,
    union_all,
)

from ...jobs import JobState
from ...jobs.limits import MAX_INTEGER
from ._rows import allJobs
from ._statements import Statement
from .schema import jobs, labels

__all__ = ["listing"]

_limit = bindparam("limit", type_=Integer)
_after = bindparam("after", type_=Integer)

_Conditions = Sequence[ColumnElement[bool]]


@lru_cache(maxsize=64)
def listing(states: frozenset[JobState], isNamed: bool, count: int, newestFirst: bool) -> Statement:
    """
    The statement for lists of one kind, which takes longer to make than to run.

    It is to be given C{limit}, C{after} (0 or C{MAX_INTEGER} for all jobs), C{name}, and
    C{label0} and C{value0} of the first label, C{label1} and C{value1} of the next.

    @param states: any of these; empty for all.
    @param isNamed: whether they have a name.
    @param count: how many labels they have, L{MAX_LABELS
        <ganeti_pool.jobs.MAX_LABELS>} at most: SQLite's functions take a hundred arguments.
    """
    order = jobs.c.id.desc() if newestFirst else jobs.c.id.asc()
    isNamedSo = [jobs.c.name == bindparam("name")] if isNamed else []
    # The name's index needs a state too.
    of = states or (JobState if isNamed else ())
    ranges = [[*isNamedSo, jobs.c.state == state.value] for state in of]
    chosen = _labelled(count, ranges, newestFirst) if count else _first(ranges, newestFirst)
    return Statement(allJobs.where(jobs.c.id.in_(chosen)).order_by(order).limit(_limit))


def _first(ranges: Sequence[_Conditions], newestFirst: bool) -> Select[Any]:
    """
    The ids of the first jobs of some ranges of an index, or of all jobs if there are
    none.

    The first of each range apart, then the first of all: so each is read off its
    index in the order of ids, where several at once would be sorted whole.

    @param ranges: what holds in each.
    """
    order = jobs.c.id.desc() if newestFirst else jobs.c.id.asc()
    behind = select(jobs.c.id).where(_isBehind(jobs.c.id, newestFirst))
    behind = behind.order_by(order).limit(_limit)
    each = (behind.where(*conditions).subquery() for conditions in ranges or [[]])
    return select(union_all(*(select(part.c.id) for part in each)).subquery().c.id)


def _labelled(count: int, ranges: Sequence[_Conditions], newestFirst: bool) -> Select[Any]:
    """
    The ids of the first jobs that have all of some labels and are in one of some ranges
    of an index, if there are any.

    Each label gives ids in order, and so do the ranges together. All of these are asked
    for their next ID, at some place or behind it. No job before the furthest answer is
    in all of them, so that is the next place; one that is every answer itself is found.
    So there are at most twice as many steps as the rarest of them has jobs, however many
    the others have. SQLite by itself would go through one of them, and not know which.

    @param count: how many labels there are, one at least.
    @param ranges: what holds in each.
    """
    nearest, furthest = (func.max, func.min) if newestFirst else (func.min, func.max)
    steps = select(_after.label("id"), _after.label("last")).cte("steps", recursive=True)
    behind = steps.c.id - 1 if newestFirst else steps.c.id + 1
    place: ColumnElement[Any] = case((steps.c.id == steps.c.last, behind), else_=steps.c.id)

    def nextOf(
        jobID: ColumnElement[int], place: ColumnElement[Any], *conditions: ColumnElement[bool]
    ) -> ColumnElement[Any]:
        isThere = jobID <= place if newestFirst else jobID >= place
        found = select(nearest(jobID)).where(*conditions, isThere)
        return found.correlate(steps).scalar_subquery()

    def nextLabelled(number: int, place: ColumnElement[Any]) -> ColumnElement[Any]:
        isIt = labels.c.name == bindparam(f"label{number}")
        return nextOf(labels.c.jobID, place, isIt, labels.c.value == bindparam(f"value{number}"))

    answers = [nextLabelled(number, place) for number in range(1, count)]
    if ranges:
        # One range has no more jobs, and the others may have some.
        end = literal(0 if newestFirst else MAX_INTEGER)
        each = (nextOf(jobs.c.id, place, *conditions) for conditions in ranges)
        answers.append(nearest(end, *(func.coalesce(answer, end) for answer in each)))
    if answers:
        # An answer is NULL when there are no more jobs, and then the furthest is.
        place = furthest(place, *answers)
    # The first label goes on from there: half as many steps where two take turns.
    furthestOf = nextLabelled(0, place)
    steps = steps.union_all(select(furthestOf, steps.c.id).where(steps.c.id.is_not(None)))
    # Each step is made of the one before, so they come in order, and no more are made
    # than it takes to fill the list.
    found = (steps.c.id == steps.c.last, _isBehind(steps.c.id, newestFirst))
    return select(steps.c.id).where(*found).limit(_limit)


def _isBehind(jobID: ColumnElement[int], newestFirst: bool) -> ColumnElement[bool]:
    return jobID < _after if newestFirst else jobID > _after
