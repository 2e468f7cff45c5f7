from twisted.internet.task import react

from ganeti_pool import DeferredWorkerPool


async def main(reactor):
    pool = DeferredWorkerPool(reactor, "demo", numWorkers=1)
    later = pool.addTask([str.upper, "can wait"], priority=10).addCallback(print)
    urgent = pool.addTask([str.upper, "urgent"], priority=-10).addCallback(print)
    await urgent
    await later


react(main)
