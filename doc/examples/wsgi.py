from threading import current_thread

import treq
from twisted.internet.task import react
from twisted.web.server import Site
from twisted.web.wsgi import WSGIResource

from ganeti_pool import DeferredWorkerPool


def application(environ, startResponse):
    startResponse("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['PATH_INFO']} was served by {current_thread().name}\n".encode()]


async def main(reactor):
    pool = DeferredWorkerPool(reactor, "web", numWorkers=1)
    site = Site(WSGIResource(reactor, pool.atPriority(-10), application))
    port = reactor.listenTCP(0, site, interface="127.0.0.1")

    url = f"http://127.0.0.1:{port.getHost().port}/hello"
    response = await treq.get(url, persistent=False, reactor=reactor)
    print(await response.text(), end="")
    await port.stopListening()


react(main)
