"""
The base of the package's exceptions that makes them survive pickle and copy.

It has a module of its own so that the command can use it without importing Twisted.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

__all__ = ["PicklableException"]


class PicklableException(Exception):
    """
    An exception that pickle, C{copy.copy} and C{copy.deepcopy} rebuild unchanged, regardless
    of the parameters of its C{__init__}.

    Python rebuilds an exception by calling its class with C{args}. That fails for a class
    whose C{__init__} takes something other than the text that it passes on. This one is
    rebuilt without calling the C{__init__} or C{__new__} of any class written in Python:
    C{args} and the instance's attributes are restored.

    The rest follows Python's own rules. Notes survive. C{__cause__}, C{__context__} and
    C{__traceback__} do not. An attribute that cannot be pickled, such as a task ID that is a
    lock, makes C{pickle} and C{deepcopy} raise the error of that attribute, usually
    L{TypeError}; C{copy.copy} shares the attribute. A subclass that defines its
    own C{__reduce__} keeps it.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """
        Return the recipe to rebuild this exception. See C{object.__reduce__}.
        """
        # Some of Python's exceptions, such as OSError, keep a part of their state outside
        # args and the attributes: their own __reduce__ adds it.
        reduce: Any = super().__reduce__
        reduced: tuple[Any, ...] = reduce()
        if isinstance(reduce, MethodType):
            # Another base, written in Python, defines its own C{__reduce__}.
            return reduced
        return (_rebuild, reduced[:2], *reduced[2:])


def _rebuild(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """
    Make an exception with these C{args}. Its attributes are still to be restored.
    """
    native: Any = cls
    while native.__module__ != "builtins":
        # The base whose layout the class has, whatever the order of its bases.
        native = native.__base__
    error: BaseException = native.__new__(cls, *args)
    native.__init__(error, *args)
    return error
