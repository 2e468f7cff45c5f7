"""
Format objects of user classes for messages, without ever raising.

An error text is often made in the middle of an operation that must be finished, such
as reporting an outcome or a termination.
"""

from __future__ import annotations

__all__ = ["nameOfType", "safeRepr", "safeStr"]

_typeName = type.__dict__["__name__"].__get__


def nameOfType(value: object) -> str:
    """
    Return the name of an object's type, as the class statement gave it.
    """
    # Use the descriptor itself: a metaclass may define its own C{__name__}.
    name: str = _typeName(type(value))
    return name


def safeRepr(value: object) -> str:
    """
    Return C{repr(value)}, or a substitute if that raises.

    L{twisted.python.reflect.safe_repr} inserts a whole traceback, which turns a one-line
    message into ten lines. Python itself rejects the C{repr} of an integer of more than
    4,300 digits.
    """
    try:
        # An exact string: a subclass could raise when it is put into the message.
        return str.__str__(repr(value))
    except BaseException as error:
        return f"<{nameOfType(value)} whose repr raises {nameOfType(error)}>"


def safeStr(value: object) -> str:
    """
    Return C{str(value)}, or a substitute if that raises.
    """
    try:
        return str.__str__(str(value))
    except BaseException as error:
        return f"<{nameOfType(value)} whose str raises {nameOfType(error)}>"
