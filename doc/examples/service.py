from twisted.application.service import MultiService, Service
from twisted.internet.task import react
from twisted.python.usage import Options

from ganeti_pool import DeferredWorkerPool, WorkerPoolService, deferToPool


class Thumbnails(Service):
    """
    What your daemon does. It is given the pool, and makes none.
    """

    def __init__(self, pool):
        self.pool = pool

    def make(self, name):
        return deferToPool(self.pool, "{}.thumbnail".format, name)


class ThumbnailOptions(Options):
    optParameters = (("workers", "w", 4, "How many threads make thumbnails.", int),)


def buildServices(reactor, options):
    pool = DeferredWorkerPool(reactor, "thumbnails", options["workers"])
    services = MultiService()
    WorkerPoolService(pool, drain=True, deadline=10).setServiceParent(services)
    Thumbnails(pool).setServiceParent(services)
    return services


def makeService(options):
    # twistd has chosen its reactor by now. No thread starts before it forks.
    from twisted.internet import reactor

    return buildServices(reactor, options)


async def main(reactor):
    """
    What twistd does with the services, but for the waiting in between.
    """
    options = ThumbnailOptions()
    options.parseOptions(["--workers", "2"])
    services = buildServices(reactor, options)
    services.startService()
    _, thumbnails = services
    print(await thumbnails.make("cat.png"))
    last = thumbnails.make("dog.png")
    await services.stopService()
    print(await last)


if __name__ == "__main__":
    react(main)
