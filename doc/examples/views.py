from twisted.internet.defer import gatherResults
from twisted.internet.task import react
from twisted.internet.threads import deferToThreadPool

from ganeti_pool import DeferredWorkerPool, deferToPool


async def main(reactor):
    pool = DeferredWorkerPool(reactor, "all", numWorkers=1)
    logins = pool.atPriority(-10)
    reports = pool.atPriority(10)

    pool.setActive(False)
    done = []
    calls = [
        deferToPool(reports, done.append, "report"),
        deferToPool(pool, done.append, "no view: priority 0"),
        deferToThreadPool(reactor, logins, done.append, "login"),
    ]
    pool.setActive(True)
    await gatherResults(calls)
    print(*done, sep="\n")


react(main)
