from threading import Event

from twisted.internet.defer import CancelledError
from twisted.internet.task import react

from ganeti_pool import BaseWorker, DeferredWorkerPool


class Waiter(BaseWorker):
    """
    Waits until it is told that its task is cancelled.
    """

    def RunTask(self, running, ended):
        cancelled = Event()
        self.CallWhenCancelled(cancelled.set)
        running()
        cancelled.wait()
        ended.set()


async def main(reactor):
    pool = DeferredWorkerPool(reactor, "demo", 1, Waiter)
    ended = Event()

    def cancelBoth():
        waiting.cancel()
        running.cancel()

    running = pool.addTask([lambda: reactor.callFromThread(cancelBoth), ended])
    waiting = pool.addTask([print, "this is never run"])

    for name, task in (("waiting", waiting), ("running", running)):
        try:
            await task
        except CancelledError:
            print(f"the {name} task was cancelled")

    await pool.quiesce()
    print("the worker has ended it:", ended.is_set())
    print("tasks cancelled in the queue:", pool.statistics().cancelled)


react(main)
