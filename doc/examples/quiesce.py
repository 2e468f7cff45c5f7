from twisted.internet.task import react

from ganeti_pool import DeferredWorkerPool


async def main(reactor):
    pool = DeferredWorkerPool(reactor, "demo", numWorkers=4)
    lines = []
    pool.addManyTasks([[lines.append, "before"]] * 100)
    quiet = pool.quiesce()
    held = pool.addTask([lines.append, "after"])

    await quiet
    print("the pool was quiet after", lines.count("before"), "tasks")
    await held
    print("the held task is number", lines.index("after") + 1)


react(main)
