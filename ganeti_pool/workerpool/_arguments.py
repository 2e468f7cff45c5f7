"""
What may be given to a pool, checked before the pool's lock is taken.

The results are of built-in types, so that no code of a user runs when the heap
compares or releases them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from operator import index
from typing import Any

from .._text import nameOfType, safeRepr, safeStr
from ..errors import InvalidArgument, ProgrammerError
from ..interfaces import ICompletion

__all__ = [
    "CheckArgs",
    "CheckCompletion",
    "CheckCount",
    "CheckPriority",
    "CheckSequence",
    "CheckTaskId",
    "OneForEach",
]


def CheckArgs(args: object) -> tuple[Any, ...] | list[Any]:
    """
    @return: the arguments of a task as a plain tuple or list.
    @raise InvalidArgument: if they are neither.
    """
    if type(args) is tuple or type(args) is list:
        return args
    if isinstance(args, tuple):
        return tuple(args)
    if isinstance(args, list):
        return list(args)
    raise InvalidArgument(
        f"the arguments of a task must be a tuple or a list, not {safeRepr(args)} "
        f"({nameOfType(args)})"
    )


def CheckPriority(priority: object) -> float:
    """
    @return: a priority as a plain int or float.
    @raise InvalidArgument: if it is neither, or has no order.
    """
    if type(priority) is int:
        return priority
    # Check the type and call float's own method: a subclass may override comparison
    # and conversion.
    if issubclass(type(priority), float):
        plain = float.__pos__(priority)  # type: ignore[arg-type]
        if plain == plain:
            return plain
    else:
        try:
            return index(priority)  # type: ignore[arg-type]
        except TypeError:
            pass
    raise InvalidArgument(
        f"a priority must be an int or a float other than NaN, not {safeRepr(priority)} "
        f"({nameOfType(priority)})"
    )


def CheckTaskId(task_id: Hashable) -> None:
    """
    @raise InvalidArgument: if it cannot be a key.
    """
    try:
        hash(task_id)
    except TypeError as error:
        raise InvalidArgument(f"a task ID must be hashable: {safeStr(error)}") from None


def CheckCompletion(completion: object) -> None:
    """
    @raise InvalidArgument: if it is neither L{None} nor an L{ICompletion}.
    """
    if completion is not None and not ICompletion.providedBy(completion):
        raise InvalidArgument(
            f"a completion must provide ICompletion, and {safeRepr(completion)} "
            f"({nameOfType(completion)}) does not"
        )


def CheckCount(num_workers: object) -> int:
    """
    @return: a number of workers as a plain int.
    @raise InvalidArgument: if it is none.
    """
    try:
        count = index(num_workers)  # type: ignore[arg-type]
    except TypeError:
        count = -1
    if count < 0:
        raise InvalidArgument(
            f"the number of workers must be an integer of at least 0, not {safeRepr(num_workers)}"
        )
    return count


def CheckSequence(what: str, value: object) -> Sequence[Any]:
    """
    @raise InvalidArgument: if it is no sequence.
    """
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)):
        return value
    raise InvalidArgument(
        f"{what} must be given as a sequence, not {safeRepr(value)} ({nameOfType(value)})"
    )


def OneForEach(what: str, values: object, count: int) -> Sequence[Any]:
    """
    @return: the values, one for each of C{count} tasks; L{None} stands for none.
    @raise InvalidArgument: if they are no sequence.
    @raise ProgrammerError: if their number is another.
    """
    if values is None:
        return [None] * count
    values = CheckSequence(what, values)
    if len(values) != count:
        raise ProgrammerError(
            f"{len(values)} {what} were given for {count} tasks; no task was added"
        )
    return values
