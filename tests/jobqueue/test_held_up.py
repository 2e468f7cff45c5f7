"""
Tests for a worker that takes its next job though the end of its last cannot be
recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred, fail

from ganeti_pool import errors
from ganeti_pool.jobs import Job, JobState, OnCrash
from ganeti_pool.testing import MemoryJobStore

from .outcomecase import OutcomeCase
from .queuecase import FULL, Worker, new


class HeldUpTests(OutcomeCase):
    """
    Tests for jobs that go back to their place.
    """

    def holdUp(self, *meanwhile: Callable[[], object], times: int = 1) -> None:
        """
        Have a worker end job 1, take job 2, and find that the outcome of job 1 cannot
        be written for some time.

        @param meanwhile: is done while it waits, before that is written.
        """
        self.refuse(FULL, times)
        self.step()
        self.meanwhile += [*meanwhile, lambda: self.reactor.advance(1)]
        self.step()

    def test_holdsItsWorker(self) -> None:
        """
        While an outcome cannot be written, the next job of its worker does not start,
        though its start could be written.
        """
        self.submit(new("note", 1), new("note", 2))
        self.refuse(FULL, 2)
        self.step()
        self.assertEqual(self.status()["store"]["unwritten"], 1)
        seen: list[object] = []

        def meanwhile(seconds: float) -> Callable[[], None]:
            def look() -> None:
                seen.append((self.states(1, 2), list(self.ran)))
                self.reactor.advance(seconds)

            return look

        self.meanwhile += [meanwhile(1), meanwhile(2)]
        self.step()
        self.assertEqual(seen, [(["running", "queued"], [1])] * 2)
        self.assertEqual((self.states(1, 2), self.ran), (["succeeded", "queued"], [1]))
        self.step()
        self.assertEqual((self.states(2), self.ran), (["succeeded"], [1, 2]))
        self.assertEqual(self.status()["store"]["unwritten"], 0)

    def test_waitsInItsPlace(self) -> None:
        """
        A job that cannot start since its worker waits is started by the next worker
        that is free, before those behind it; and if its time is limited, that begins
        then.
        """
        self.open(MemoryJobStore(), numWorkers=2)
        self.start()
        seen: list[object] = []

        def look() -> None:
            status = self.status()
            seen.append((self.states(1, 2), status["busy"], dict(self.queue.waiting)))
            # the next try of the outcome, and nothing for the time of job 2
            self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
            # What a worker has handed in is known by its thread.
            other = Thread(target=self.step)
            other.start()
            other.join(10)
            seen.append(list(self.ran))

        self.submit(new("note", 1), new("note", 2, timeout=5.0), new("note", 3, priority=5))
        self.submit(new("note", 4))
        self.holdUp(look)
        self.assertEqual(seen, [(["running", "queued"], 1, {0: 2, 5: 1}), [1, 2]])
        self.assertEqual(self.states(1, 2), ["succeeded"] * 2)
        self.runAll()
        self.assertEqual(self.ran, [1, 2, 4, 3])
        self.assertEqual(self.takeEvents().count((2, "started")), 1)
        self.assertEqual(dict(self.queue.waiting), {})

    def test_withoutOutput(self) -> None:
        """
        A worker waits for one thing at a time, and is counted once: a job that has no
        place for its output goes back to its place, too.
        """
        mended = self.withoutOutput(2)
        self.submit(new("note", 1), new("note", 2))
        seen: list[object] = []

        def look() -> None:
            status = self.status()
            queued = self.pool.statistics().queued
            seen.append((status["busy"], status["store"]["last_error"], queued))
            mended()

        self.holdUp(look)
        self.assertEqual(seen, [(1, str(FULL), 1)])
        self.runAll()
        self.assertEqual((self.ran, self.states(2)), ([1, 2], ["succeeded"]))

    def test_countedOnce(self) -> None:
        """
        It is counted once as well while the start of its next job is asked for.
        """
        self.submit(new("note", 1), new("note", 2))
        self.refuse(FULL)
        self.step()
        busy: list[int] = []
        self.hold(
            lambda: busy.append(self.status()["busy"]),
            self.release,
            lambda: self.reactor.advance(1),
        )
        self.step()
        self.assertEqual(busy, [1])
        self.runAll()
        self.assertEqual((self.ran, self.status()["busy"]), ([1, 2], 0))

    def test_withoutOutputCancelled(self) -> None:
        """
        It does not, if it was being cancelled.
        """
        self.withoutOutput(2)
        make = self.queue._output.make

        def cancelFirst(jobID: int, attempt: int) -> None:
            self.hold(self.release)
            self.queue.cancel(jobID)
            make(jobID, attempt)

        self.submit(new("note", 1), new("note", 2))
        self.refuse(FULL)
        self.step()
        self.patch(self.queue._output, "make", cancelFirst)
        self.step()
        self.assertEqual((self.pool.statistics().queued, self.states(2)), (0, ["cancelled"]))
        self.reactor.advance(1)
        self.assertEqual((self.states(1), self.ran), (["succeeded"], [1]))

    def test_wakesAnother(self) -> None:
        """
        A worker that has nothing to do is woken for it.
        """
        self.open(MemoryJobStore(), numWorkers=2)
        self.start()
        self.submit(new("note", 1))
        self.refuse(FULL)
        self.runAll()
        self.submit(new("note", 2))

        def look() -> None:
            other = Thread(target=self.step)
            other.start()
            other.join(10)
            seen.append(list(self.ran))
            self.reactor.advance(1)

        seen: list[object] = []
        self.meanwhile.append(look)
        self.step()
        self.assertEqual(seen, [[1, 2]])

    def test_movedMeanwhile(self) -> None:
        """
        Meanwhile it can be moved, as any that waits.
        """
        self.submit(new("note", 1), new("note", 2), new("note", 3))
        self.holdUp(lambda: self.successResultOf(self.queue.changePriority(2, 7)))
        self.runAll()
        self.assertEqual(self.ran, [1, 3, 2])

    def test_cancelledMeanwhile(self) -> None:
        """
        It can be cancelled as one that waits.
        """
        self.submit(new("note", 1), new("note", 2))
        self.holdUp(lambda: self.successResultOf(self.queue.cancel(2)))
        self.runAll()
        self.assertEqual((self.ran, self.states(2)), ([1], ["cancelled"]))

    def test_pausedMeanwhile(self) -> None:
        """
        If the queue is paused meanwhile, it starts no more.
        """
        self.submit(new("note", 1), new("note", 2))
        self.holdUp(lambda: self.successResultOf(self.queue.setActive(False)))
        self.runAll()
        self.assertEqual((self.ran, self.states(1, 2)), ([1], ["succeeded", "queued"]))
        self.successResultOf(self.queue.setActive(True))
        self.runAll()
        self.assertEqual(self.ran, [1, 2])

    def test_stoppedMeanwhile(self) -> None:
        """
        If the queue is told to stop, it is for the next daemon, as it is.
        """
        self.submit(new("note", 1), new("note", 2))
        stopped: list[Deferred[None]] = []
        self.holdUp(lambda: stopped.append(self.queue.stop(60)))
        self.runAll()
        self.reactor.run()
        self.successResultOf(stopped[0])
        self.restart()
        self.assertEqual(self.job(2).attempt, 0)
        self.runAll()
        self.assertEqual((self.ran, self.states(1, 2)), ([1, 2], ["succeeded"] * 2))

    def test_quiesceMeanwhile(self) -> None:
        """
        Who waits for quiet waits for it too, and not for what came later.
        """
        self.open(MemoryJobStore(), numWorkers=2)
        self.start()
        quiet: list[Deferred[None]] = []

        def see(worker: Worker) -> None:
            self.reactor.run()
            self.ran.append(quiet[0].called)

        self.tasks["see"] = see
        self.submit(new("note", 1), new("see"))
        self.refuse(FULL)
        self.step()
        # asked when the worker has taken the job, and before it asks to start that
        make = self.queue._output.make

        def makeAndAsk(jobID: int, attempt: int) -> None:
            if not quiet:
                quiet.append(self.queue.quiesce())
                self.submit(new("see"))
            make(jobID, attempt)

        self.patch(self.queue._output, "make", makeAndAsk)
        self.meanwhile.append(lambda: self.reactor.advance(1))
        self.step()
        self.reactor.run()
        self.runAll()
        self.assertEqual(self.ran, [1, False, True])

    def test_nothingCanBeWritten(self) -> None:
        """
        If neither can be written, its worker waits for the outcome alone.
        """
        self.submit(new("note", 1), new("note", 2))
        self.tasks["fill"] = lambda worker: setattr(self.store, "failure", FULL)
        self.submit(new("fill", priority=-1))
        self.step()

        def look() -> None:
            self.assertEqual(self.states(3, 1), ["running", "queued"])
            self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
            self.store.failure = None
            self.reactor.advance(1)

        self.meanwhile.append(look)
        self.runAll()
        self.assertEqual((self.ran, self.states(1, 2, 3)), ([1, 2], ["succeeded"] * 3))

    def test_poolThatHasEnded(self) -> None:
        """
        If the pool has ended meanwhile, the job is for the next daemon.
        """
        self.submit(new("note", 1), new("note", 2))
        self.refuse(FULL)
        self.step()
        make = self.queue._output.make

        def makeAndEnd(jobID: int, attempt: int) -> None:
            self.pool.terminateWorkers()
            make(jobID, attempt)

        self.patch(self.queue._output, "make", makeAndEnd)
        self.meanwhile.append(lambda: self.reactor.advance(1))
        self.step()
        self.assertIsNone(self.queue._roster.find(2))
        self.assertEqual((self.ran, self.states(1, 2)), ([1], ["succeeded", "queued"]))

    def test_outcomeKeptUnheard(self) -> None:
        """
        If the store has kept the outcome, and calls that a failure, the next job runs.
        """
        original = self.store.finishAttempt

        def write(*args: Any) -> Deferred[Job]:
            self.store.finishAttempt = original  # type: ignore[method-assign]
            original(*args)
            return fail(FULL)

        self.store.finishAttempt = write  # type: ignore[assignment,method-assign]
        self.submit(new("note", 1), new("note", 2))
        self.step()
        self.step()
        self.assertEqual((self.ran, self.states(1, 2)), ([1, 2], ["succeeded"] * 2))
        self.reactor.advance(1)
        self.assertEqual(self.queue._roster.running, {})

    def closeMeanwhile(self, **fields: Any) -> None:
        """
        Have the queue stop, and give up, while an outcome cannot be written and the
        next job of its worker waits for that.
        """
        self.submit(new("note", 1), new("note", 2, **fields))
        self.refuse(FULL, 100)
        self.step()
        stops: list[Deferred[None]] = []

        def stop() -> None:
            self.meanwhile += [lambda: self.reactor.advance(15)] * 3
            stops.append(self.queue.stop(10))

        self.meanwhile.append(stop)
        self.step()
        self.assertEqual(self.ran, [1])
        self.reactor.run()
        self.successResultOf(stops[0])
        self.flushLoggedErrors(errors.StoreError)

    def test_closed(self) -> None:
        """
        If the outcome cannot be written for good, the next job does not run; the next
        daemon settles both.
        """
        self.closeMeanwhile(onCrash=OnCrash.RETRY, maxAttempts=2)
        self.restart()
        self.runAll()
        self.assertEqual(self.ran, [1, 2])
        self.assertError(1, JobState.FAILED, "interrupted")
        self.assertEqual(self.states(2), ["succeeded"])
