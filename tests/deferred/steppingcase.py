"""
What the tests of a pool that steps share.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.testing import makeSteppingPool
from ganeti_pool.workerpool import BaseWorker

from ..poolcontract import FunctionWorker

__all__ = ["SteppingCase"]


class SteppingCase(SynchronousTestCase):
    """
    Tests with a pool of two workers whose tasks are functions that get the worker.
    """

    def setUp(self) -> None:
        self.pool, self.stepping, self.reactor = makeSteppingPool(2, FunctionWorker)
        self.seen: list[Any] = []

    def settle(self) -> None:
        """
        Run all that can be run, and fire what is to be fired.
        """
        while self.stepping.runAll() or self.reactor.turn():
            pass

    def see(self, worker: BaseWorker, value: object = None) -> object:
        """
        A task that notes and returns a value.
        """
        self.seen.append(value)
        return value

    def fail1(self, worker: BaseWorker) -> None:
        """
        A task that fails.
        """
        raise ZeroDivisionError

    def note(self, deferred: Deferred[Any], name: object) -> None:
        """
        Note when a Deferred fires, and with what kind of failure if with one.
        """

        def fired(result: object) -> None:
            self.seen.append((name, result.type) if isinstance(result, Failure) else name)

        deferred.addBoth(fired)
