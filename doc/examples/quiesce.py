from twisted.internet.task import react

from ganeti_pool import DeferredWorkerPool


async def main(reactor):
    pool = DeferredWorkerPool(reactor, "demo", numWorkers=4)
    lines = []
    pool.addManyTasks([[lines.append, "before"]] * 100)
    quiet = pool.quiesce()
    held = pool.addTask([lines.append, "after"])

    await quiet
    print(lines.count("before"), "tasks were done when the pool was quiet")
    print("the one that came later has run:", "after" in lines)

    await held
    print("and now it has:", "after" in lines)


react(main)
