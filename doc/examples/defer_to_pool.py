from twisted.internet.task import react
from twisted.internet.threads import deferToThreadPool

from ganeti_pool import DeferredWorkerPool, deferToPool


def greet(name, mark="."):
    return f"hello, {name}{mark}"


async def main(reactor):
    pool = DeferredWorkerPool(reactor, "greetings", numWorkers=2)

    # what you have, on the new pool: only the second argument is another one
    print(await deferToThreadPool(reactor, pool, greet, "Ana", mark="!"))

    # the same with a Deferred that can be cancelled
    print(await deferToPool(pool, greet, "Ben", mark="!"))

    # and with a priority
    print(await deferToPool(pool.atPriority(-10), greet, "Cleo", mark="!"))


react(main)
