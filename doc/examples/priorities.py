from twisted.internet.defer import gatherResults
from twisted.internet.task import react

from ganeti_pool import DeferredWorkerPool


async def main(reactor):
    pool = DeferredWorkerPool(reactor, "demo", numWorkers=1)
    pool.setActive(False)  # running tasks would go on; no other is started

    started = []
    tasks = pool.addManyTasks(
        [[started.append, name] for name in ("report", "backup", "login", "mail")],
        priority=[0, 10, -10, 0],
        taskID=["report", "backup", "login", "mail"],
    )
    pool.changeTaskPriority("mail", -20)

    pool.setActive(True)
    await gatherResults(tasks)
    print(*started, sep="\n")


react(main)
