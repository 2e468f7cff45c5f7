from twisted.internet.defer import gatherResults
from twisted.internet.task import react

from ganeti_pool import BaseWorker, DeferredWorkerPool, DeferTask


class Copier(BaseWorker):
    """
    Copies a file piece by piece, and lets others go first in between.
    """

    def RunTask(self, name, pieces, log):
        log.append(f"{name}: {pieces.pop()}")
        if pieces:
            raise DeferTask(priority=10)
        return f"{name} is copied"


async def main(reactor):
    pool = DeferredWorkerPool(reactor, "copy", 1, Copier)
    log = []
    copied = pool.addManyTasks(
        [["large", ["last piece", "first piece"], log], ["small", ["only piece"], log]]
    )
    print(*await gatherResults(copied), sep="\n")
    print(*log, sep="\n")


react(main)
