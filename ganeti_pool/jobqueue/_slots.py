"""
Slots that are threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from zope.interface import implementer

from ..interfaces import ISlot
from ..workerpool import Entry, WorkerHost, newEntry
from ._inbox import Inbox
from ._items import Left, Returned
from ._run import Run
from ._work import Work

__all__ = ["MakeSlot", "ThreadSlot", "threadSlots"]


class MakeSlot(Protocol):
    """
    Makes the slots of a queue.
    """

    def __call__(self, inbox: Inbox, work: Work, name: str) -> ISlot:
        """
        Make a slot, and start it.

        @param inbox: where it reports to.
        @param work: runs a job on the slot's thread.
        @param name: of its worker and its thread.
        @raise RuntimeError: if the system cannot start a thread.
        """


@implementer(ISlot)
class ThreadSlot:
    """
    A slot whose worker has a thread.

    It waits once per job, on C{_park}: from the report of one end to the next run. The
    dispatcher sets C{_current} before it releases C{_park}; L{None} ends the thread.

    Threads: the methods of L{ISlot} belong to the dispatcher's.
    """

    def __init__(self, inbox: Inbox, work: Work, host: WorkerHost) -> None:
        self._inbox = inbox
        self._work = work
        self._host = host
        self._current: tuple[Run, Entry] | None = None
        self._park = threading.Lock()
        self._park.acquire()

    def start(self) -> None:
        """
        Start the thread.

        @raise RuntimeError: if the system cannot.
        """
        self._host.Start(self._loop)

    def run(self, task: Run) -> None:
        job = task.job
        entry = newEntry(
            job.priority,
            job.position,
            job.id,
            job.args,
            None,
            partial(self._work.perform, task),
            task.began,
        )
        entry.attempt = job.attempt
        # Before the release, so that it can be interrupted from now on.
        self._current = (task, entry)
        self._park.release()

    def interrupt(self, task: Run) -> None:
        # It is the slot's latest task, since its end is not committed.
        assert self._current is not None and self._current[0] is task
        self._host.Interrupt(self._current[1])

    def end(self) -> None:
        self._host.isEnding = True
        self._current = None
        self._park.release()

    def _loop(self) -> None:
        while self._runNext():
            pass

    def _runNext(self) -> bool:
        """
        Wait for a run, do it, and report.

        @return: whether there may be another one.
        """
        self._park.acquire()
        if self._current is None:
            self._inbox.put(Left(self))
            return False
        run, entry = self._current
        result, failure = self._host.Perform(entry)
        end = self._work.endOf(run, result, failure)
        # Nothing of the task stays alive while the slot is idle.
        del entry, result, failure
        self._inbox.put(Returned(run, end))
        return True


def threadSlots(pool: str, workerClass: Callable[[Any, str], object]) -> MakeSlot:
    """
    Return what makes slots with workers of a class.

    @param pool: the name of the pool that the workers see.
    """

    def make(inbox: Inbox, work: Work, name: str) -> ISlot:
        slot = ThreadSlot(inbox, work, WorkerHost(pool, workerClass, name))
        slot.start()
        return slot

    return make
