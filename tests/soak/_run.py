"""
A run of the soaks that were asked for.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
import threading

from twisted.logger import globalLogBeginner, globalLogPublisher

from ganeti_pool.workerpool import WorkerPool

from ._books import Books
from ._deferred import DeferredSoak
from ._settings import MakePool, Settings
from ._threaded import ThreadedSoak

__all__ = ["run"]

Soak = type[ThreadedSoak] | type[DeferredSoak]

_LEAVING = 5.0
"""
The seconds that a thread gets to end, if it is about to.
"""


def run(options: argparse.Namespace, makePool: MakePool | None) -> int:
    """
    Soak the pools, one after the other.

    @param options: of the command line.
    @return: 1 if something does not fit, else 0.
    """
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    settings = Settings(
        options.count, options.workers, options.submitters, options.seed, makePool or WorkerPool
    )
    soaks: dict[str, Soak] = {"threaded": ThreadedSoak, "deferred": DeferredSoak}
    faults: list[str] = []
    for name in options.soaks or soaks:
        books = Books(options.patience)
        _soak(soaks[name], books, settings)
        print(books.summary(), flush=True)
        faults += [f"{name}: {fault}" for fault in books.report()]
    for fault in faults:
        print(f"WRONG: {fault}", file=sys.stderr)
    if faults:
        print(f"To repeat this: --seed {options.seed}", file=sys.stderr)
    return 1 if faults else 0


def _soak(soak: Soak, books: Books, settings: Settings) -> None:
    """
    Soak one of the pools, from before its first thread to after its last.
    """
    threading.excepthook = books.threadFailed
    sys.unraisablehook = books.unraisable
    globalLogPublisher.addObserver(books)
    before = set(threading.enumerate())
    books.watch()
    soak(books, settings).run()
    faulthandler.cancel_dump_traceback_later()
    for thread in set(threading.enumerate()) - before:
        # A worker whose Resize another one has overtaken is not waited for by either.
        thread.join(_LEAVING)
        if thread.is_alive():
            books.wrong(f"{thread} is left")
    globalLogPublisher.removeObserver(books)
