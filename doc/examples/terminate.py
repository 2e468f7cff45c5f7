from twisted.internet.task import react

from ganeti_pool import DeferredWorkerPool, PoolTerminated, TaskNotStarted


async def main(reactor):
    pool = DeferredWorkerPool(reactor, "demo", numWorkers=1)
    pool.setActive(False)
    waiting = pool.addTask([print, "this is never run"], taskID="waiting")

    await pool.terminateWorkers()
    try:
        await waiting
    except TaskNotStarted as error:
        print(error)

    try:
        await pool.addTask([print, "nor is this"])
    except PoolTerminated as error:
        print(error)


react(main)
