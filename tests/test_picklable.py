"""
Tests for L{ganeti_pool._picklable}, and that every exception of the package uses it.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import pkgutil
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import ganeti_pool
from ganeti_pool.errors import DeferTask, JobError, NoSuchTask, PoolError
from ganeti_pool.jobs import JobFailure


def throughPickle(protocol: int, error: Any) -> Any:
    """
    What pickle makes of an exception.
    """
    return pickle.loads(pickle.dumps(error, protocol))


COPIES: Mapping[str, Callable[[Any], Any]] = {
    **{
        f"protocol {protocol}": partial(throughPickle, protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}
"""
The ways to copy an exception.
"""

SAMPLES: Mapping[str, object] = {
    "BaseException": ValueError("a cause"),
    "Hashable": ("a", 1),
    "Iterable[int]": [4711, 4712],
    "JobFailure": JobFailure("exit_nonzero", "it exited with 3", 3, None),
    "Mapping[int, tuple[str, int | None, Sequence[str]]]": {1: ("k", 7, ["/args"])},
    "OSError": BrokenPipeError(32, "Broken pipe"),
    "Sequence[Mapping[str, str]]": [{"pointer": "/a", "code": "c", "detail": "d"}],
    "bool": True,
    "float": 1.5,
    "float | None": 2.5,
    "int": 3,
    "list[tuple[str, str, str]]": [("/a", "wrong_type", "this must be a number")],
    "object": object,
    "str": "some text",
    "str | None": "a reason",
}
"""
An argument for each annotation that an exception's C{__init__} has.
"""


def exceptions() -> Iterator[type[BaseException]]:
    """
    Every exception class that a module of the package defines.
    """
    for found in pkgutil.walk_packages(ganeti_pool.__path__, "ganeti_pool."):
        module = importlib.import_module(found.name)
        for value in vars(module).values():
            if (
                isinstance(value, type)
                and issubclass(value, BaseException)
                and value.__module__ == module.__name__
            ):
                yield value


def make(cls: type[BaseException]) -> BaseException:
    """
    An exception of a class, with an argument for each parameter.
    """
    if not inspect.isfunction(cls.__init__):
        # It has the __init__ of Exception.
        return cls("some text")
    parameters = inspect.signature(cls).parameters.values()
    module = importlib.import_module(cls.__module__)
    arguments = {
        parameter.name: (
            module.ExitCode.FAILED
            if parameter.annotation == "ExitCode"
            else SAMPLES[parameter.annotation]
        )
        for parameter in parameters
    }
    keywords = {
        parameter.name: arguments.pop(parameter.name)
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    return cls(*arguments.values(), **keywords)


class Coded(PoolError):
    """
    A subclass with an C{__init__} of its own, such as a program may have.
    """

    def __init__(self, first: int, *, second: str) -> None:
        super().__init__(f"{first} and {second}")
        self.first = first
        self.second = second


class Silent(PoolError):
    """
    One that passes nothing on to its base.
    """

    def __init__(self, *, only: str) -> None:
        self.only = only


class Made(JobError):
    """
    One with a C{__new__} of its own.
    """

    def __new__(cls, first: int, second: int) -> Made:
        return super().__new__(cls)

    def __init__(self, first: int, second: int) -> None:
        super().__init__("made")
        self.sum = first + second


class Disk(PoolError, OSError):
    """
    One that is an exception of the system too.
    """

    def __init__(self, path: str) -> None:
        super().__init__(28, "No space left", path)
        self.disk = "sda"


class Reduced(PoolError):
    """
    One that says itself how to rebuild it.
    """

    def __init__(self, value: int) -> None:
        super().__init__("reduced")
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return Reduced, (self.value + 1,)


class Mixin(Exception):
    """
    Another base that says itself how to rebuild it.
    """

    value = 1

    def __reduce__(self) -> tuple[Any, ...]:
        return Mixed, (self.value + 1,)


class Mixed(PoolError, Mixin):
    """
    One that leaves that to its other base.
    """

    def __init__(self, value: int) -> None:
        super().__init__("mixed")
        self.value = value


class PicklableTests(SynchronousTestCase):
    """
    Tests for what survives pickle and copy.
    """

    def assertCopied(self, error: BaseException) -> None:
        """
        Check that every copy of an exception is as the exception.
        """
        for way, makeCopy in COPIES.items():
            twin = makeCopy(error)
            self.assertIsNot(twin, error)
            self.assertIs(type(twin), type(error), way)
            self.assertEqual(str(twin), str(error), way)
            self.assertEqual(repr(twin.args), repr(error.args), way)
            self.assertEqual(repr(vars(twin)), repr(vars(error)), way)

    def test_everyException(self) -> None:
        """
        Every exception class of the package survives with type, text, args and attributes.
        """
        classes = set(exceptions())
        self.assertIn(NoSuchTask, classes)
        for cls in classes:
            error = make(cls)
            # PEP 678: what add_note of Python 3.11 does.
            vars(error)["__notes__"] = ["a note"]
            self.assertCopied(error)

    def test_otherSignatures(self) -> None:
        """
        A program's own subclasses survive, whatever their C{__init__} and C{__new__} take.
        """
        for error in (Coded(1, second="two"), Silent(only="this"), Made(1, 2)):
            self.assertCopied(error)

    def test_stateOfTheSystem(self) -> None:
        """
        A subclass that is an L{OSError} too keeps what only that knows.
        """
        error = Disk("/var")
        self.assertCopied(error)
        for makeCopy in COPIES.values():
            twin = makeCopy(error)
            self.assertEqual(
                (twin.errno, twin.strerror, twin.filename), (28, "No space left", "/var")
            )

    def test_ownReduce(self) -> None:
        """
        A class that says how it is rebuilt, or has a base that does, is rebuilt so.
        """
        self.assertEqual(pickle.loads(pickle.dumps(Reduced(1))).value, 2)
        self.assertEqual(pickle.loads(pickle.dumps(Mixed(1))).value, 2)

    def test_deferTask(self) -> None:
        """
        A deferral keeps its priority and its reason, though it is outside the tree.
        """
        twin = pickle.loads(pickle.dumps(DeferTask(3.5, reason="later")))
        self.assertEqual((twin.priority, twin.reason), (3.5, "later"))

    def test_causeIsPythons(self) -> None:
        """
        A cause is dropped, as from Python's own exceptions.
        """
        for error in (NoSuchTask("a", "p", 0), ValueError("a")):
            error.__cause__ = KeyError("k")
            for makeCopy in COPIES.values():
                self.assertIsNone(makeCopy(error).__cause__)

    def test_attributeThatCannotBePickled(self) -> None:
        """
        An attribute that cannot be pickled fails as it does alone, and a plain copy shares it.
        """
        lock = threading.Lock()
        error = NoSuchTask(lock, "p", 0)
        self.assertIs(copy.copy(error).task_id, lock)
        for way, makeCopy in COPIES.items():
            if way != "copy":
                self.assertRaises((TypeError, pickle.PicklingError), makeCopy, error)
