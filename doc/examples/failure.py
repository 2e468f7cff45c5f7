from twisted.internet.task import react

from ganeti_pool import DeferredWorkerPool


async def main(reactor):
    pool = DeferredWorkerPool(reactor, "demo", numWorkers=1)
    try:
        await pool.addTask([int, "twelve"])
    except ValueError as error:
        print("the task failed:", error)
    print("the worker goes on:", await pool.addTask([int, "12"]))


react(main)
