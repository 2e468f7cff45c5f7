from hashlib import sha256
from threading import current_thread

from twisted.internet.task import react

from ganeti_pool import DeferredWorkerPool


def checksum(data):
    return current_thread().name, sha256(data).hexdigest()[:8]


async def main(reactor):
    pool = DeferredWorkerPool(reactor, "checksum", numWorkers=2)
    thread, digest = await pool.addTask([checksum, b"some bytes"])
    print("the result is", digest)
    print("it was computed on a thread of the pool:", thread.startswith("checksum"))
    print("and arrives on the reactor thread:", current_thread().name)


react(main)
