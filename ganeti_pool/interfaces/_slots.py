"""
The contracts of a slot, which runs one task at a time, and of what a worker sees of the
program that runs it.
"""

from __future__ import annotations

from typing import Any

from zope.interface import Attribute, Interface

__all__ = ["ISlot", "IWorkerHost"]


class ISlot(Interface):
    """
    A place where one task runs at a time. A slot chooses nothing: it reports the end of its
    task to its owner, and the report is also its request for the next task.

    A slot need not be a thread. Its owner gave it a function to report to, which any thread
    may call.

    Threads: every method belongs to the owner's thread and returns at once.
    """

    def run(task: Any) -> None:
        """
        Begin a task. The slot is idle.
        """

    def interrupt(task: Any) -> None:
        """
        Tell a task that it is to end. Does nothing if the slot has finished it.
        """

    def end() -> None:
        """
        End the slot, which is idle. It reports that it has left, and runs nothing more.
        """


class IWorkerHost(Interface):
    """
    The C{pool} of a worker that runs the jobs of a daemon. The worker's own methods work as
    in a L{WorkerPool <ganeti_pool.workerpool.WorkerPool>}: its name, the cancellation, the
    priority, the order number and the ID of its task. Every other method of a pool raises
    L{NotInADaemon <ganeti_pool.errors.NotInADaemon>}.

    Threads: any.
    """

    name = Attribute("The name of the pool, a C{str}.")
