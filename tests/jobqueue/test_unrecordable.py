"""
Tests for outcomes that cannot be recorded as they are.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail

from ganeti_pool import errors
from ganeti_pool.jobqueue._handover import Ask
from ganeti_pool.jobs import Job, JobFailure, JobState, Outcome, OutputSize, currentAttempt

from .outcomecase import OutcomeCase
from .queuecase import JobFailed, Worker, new


class UnrecordableTests(OutcomeCase):
    """
    Tests for what is recorded instead, and for who waits for that.
    """

    def test_badResult(self) -> None:
        """
        One whose result cannot be stored fails before the next job runs.
        """
        self.tasks["set"] = lambda worker: {1, 2}
        self.tasks["see"] = lambda worker: self.ran.append(self.states(1))
        self.submit(new("set"), new("see"))
        self.runAll()
        self.assertError(1, JobState.FAILED, "bad_result")
        self.assertEqual(self.ran, [["failed"]])

    def test_resultWithCode(self) -> None:
        """
        Code of a result is run by its worker and not by the store, and whatever it
        raises is a result that cannot be stored, of which as much is said as can be.
        """

        class Nameless:
            def __str__(self) -> str:
                raise KeyboardInterrupt

        class Words(dict[str, int]):
            def items(self) -> Any:
                raise SystemExit(Nameless())

        class Sound(dict[str, int]):
            pass

        self.tasks["words"] = lambda worker: Words(a=1)
        self.tasks["sound"] = lambda worker: Sound(a=1)
        finish = self.store.finishAttempt
        results: list[object] = []

        def note(epoch: int, jobID: int, attempt: int, outcome: Outcome) -> Deferred[Job]:
            results.append(outcome.result)
            return finish(epoch, jobID, attempt, outcome)

        self.patch(self.store, "finishAttempt", note)
        self.submit(new("words"), new("sound"))
        self.runAll()
        self.assertIn("JSON", self.assertError(1, JobState.FAILED, "bad_result").message)
        self.assertEqual((results, self.states(2)), ([None, {"a": 1}], ["succeeded"]))
        self.assertIs(type(results[1]), dict)

    def test_fault(self) -> None:
        """
        A fault of the store is logged, and the job has failed; it is none of the next.
        """
        self.submit(new("note", 1), new("note", 2))
        self.refuse(ZeroDivisionError("no"))
        self.runAll()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.assertError(1, JobState.FAILED, "bad_result").message, "no")
        self.assertEqual((self.states(2), self.ran), (["succeeded"], [1, 2]))

    def test_nothingStorable(self) -> None:
        """
        If what says that an outcome cannot be stored cannot be either, a failure is
        recorded that has nothing of it.
        """
        self.tasks["end"] = lambda worker: self.recordOutput()
        self.submit(new("end"), new("note", 2))
        self.refuse(errors.InvalidArgument("it cannot be stored"), 2)
        self.runAll()
        self.assertError(1, JobState.FAILED, "bad_result")
        self.assertIsNone(self.job().output)
        self.assertEqual(self.ran, [2])

    def recordOutput(self) -> None:
        attempt = currentAttempt.get()
        assert attempt is not None
        attempt.recordOutput({"stdout": OutputSize(5, False)})

    def test_badResultKeepsOutput(self) -> None:
        """
        What was kept of the output of one whose result cannot be stored is recorded.
        """

        def end(worker: Worker) -> object:
            self.recordOutput()
            return {1, 2}

        self.tasks["end"] = end
        self.submit(new("end"))
        self.step()
        self.assertError(1, JobState.FAILED, "bad_result")
        self.assertEqual(self.job().output, {"stdout": OutputSize(5, False)})

    def test_malformedOutput(self) -> None:
        """
        What a worker tells of its output is refused where it is told if it is no mapping
        of texts to sizes: the job has failed, and the worker goes on.
        """
        sizes: list[Any] = ["5", True, -1, 1 << 63]
        malformed: list[Any] = [
            None,
            [("stdout", OutputSize(5, False))],
            {1: OutputSize(5, False)},
            {"stdout": 5},
            {"stdout": OutputSize(5, False), "stderr": {"bytes": 5, "truncated": False}},
            *({"stdout": OutputSize(size, False)} for size in sizes),
            {"stdout": OutputSize(5, None)},  # type: ignore[arg-type]
        ]

        def end(worker: Worker) -> None:
            attempt = currentAttempt.get()
            assert attempt is not None
            attempt.recordOutput(malformed[attempt.jobID - 1])

        self.tasks["end"] = end
        jobIDs = self.submit(*[new("end")] * len(malformed))
        self.submit(new("note", "next"))
        self.runAll()
        for jobID in jobIDs:
            error = self.assertError(jobID, JobState.FAILED, "exception")
            self.assertIn("InvalidArgument: what a job records of its output", error.message)
            self.assertIn(f"job {jobID} recorded {malformed[jobID - 1]!r}", error.message)
            self.assertIsNone(self.job(jobID).output)
        self.assertEqual(self.ran, ["next"])
        self.flushLoggedErrors(errors.InvalidArgument)

    def test_laterOutput(self) -> None:
        """
        What a worker has told of its output is recorded as it was told, whatever it does
        with that afterwards.
        """

        class Size(OutputSize):
            """
            One that has more in it than is recorded.
            """

        def end(worker: Worker) -> None:
            attempt = currentAttempt.get()
            assert attempt is not None
            told: dict[str, OutputSize] = {"stdout": Size(5, True)}
            attempt.recordOutput(told)
            told["stderr"] = OutputSize(-1, False)

        self.tasks["end"] = end
        self.submit(new("end"))
        self.step()
        self.assertEqual(self.job().output, {"stdout": OutputSize(5, True)})

    def giveUp(self, failure: Exception, times: int) -> None:
        """
        Have the store take the outcome of a job for none of its tries, and see that
        nobody waits for that.
        """
        self.submit(new("note", 1), new("note", 2))
        self.refuse(failure, times)
        self.runAll()
        self.assertEqual((self.states(1, 2), self.ran), (["running", "succeeded"], [1, 2]))
        self.assertEqual(self.queue._roster.running, {})
        quiet = self.queue.quiesce()
        stopped = self.queue.stop(60)
        self.reactor.run()
        self.assertTrue(quiet.called)
        self.failureResultOf(quiet, errors.QueueStopping)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_givenUp(self) -> None:
        """
        What cannot be recorded in any form is logged, and is for the next daemon:
        neither a worker, nor who waits for quiet, nor a stop waits for it.
        """
        self.giveUp(errors.InvalidArgument("it cannot be stored"), 3)
        self.assertEqual(len(self.flushLoggedErrors(errors.InvalidArgument)), 1)

    def test_givenUpAfterFaults(self) -> None:
        """
        So is what meets one fault after another.
        """
        self.giveUp(ZeroDivisionError(), 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_insteadIsStale(self) -> None:
        """
        What says that an outcome cannot be stored is dropped if another is first.
        """
        original = self.store.finishAttempt

        def write(*args: Any) -> Deferred[Job]:
            self.store.finishAttempt = original  # type: ignore[method-assign]
            original(*args)
            return fail(errors.InvalidArgument("no"))

        self.store.finishAttempt = write  # type: ignore[assignment,method-assign]
        self.submit(new("note", 1))
        self.step()
        self.assertEqual(self.states(1), ["succeeded"])
        self.assertEqual(self.queue._roster.running, {})

    def test_unspeakable(self) -> None:
        """
        Whatever an exception does when it is asked for its failure or its text, its
        job has failed, and the next one runs.
        """

        class Unspeakable(Exception):
            @property
            def failure(self) -> object:
                raise KeyError("lazy")

            def __str__(self) -> str:
                raise KeyError("text")

        def end(worker: Worker) -> None:
            raise Unspeakable()

        self.tasks["end"] = end
        self.submit(new("end"), new("note", 2))
        self.runAll()
        error = self.assertError(1, JobState.FAILED, "exception")
        self.assertTrue(error.message.startswith("Unspeakable: "), error.message)
        self.assertEqual(self.ran, [2])
        self.flushLoggedErrors(Unspeakable)

    def test_nonsense(self) -> None:
        """
        What an exception says of itself counts only if it can be recorded.
        """
        nonsense: list[Any] = [
            JobFailure("code", b"bytes"),  # type: ignore[arg-type]
            JobFailure(5, "text"),  # type: ignore[arg-type]
            JobFailure("code", "text", "3"),  # type: ignore[arg-type]
            JobFailure("code", "text", 1 << 63),
            JobFailure("code", "text", -(1 << 63) - 1),
            JobFailure("code", "text", None, 9),  # type: ignore[arg-type]
            "text",
        ]

        def end(worker: Worker) -> None:
            error = ValueError("no")
            error.failure = nonsense.pop()  # type: ignore[attr-defined]
            raise error

        self.tasks["end"] = end
        for jobID in self.submit(*[new("end")] * len(nonsense)):
            self.step()
            error = self.assertError(jobID, JobState.FAILED, "exception")
            self.assertEqual(error.message, "ValueError: no")
        self.flushLoggedErrors(ValueError)

    def test_moreThanAFailure(self) -> None:
        """
        Of what an exception says of itself that is recorded which a failure has.
        """

        class Detailed(JobFailure):
            """
            A failure with something in it that nobody could read back.
            """

        def end(worker: Worker) -> None:
            raise JobFailed(Detailed("code", "text", 3, "SIGKILL"))

        self.tasks["end"] = end
        self.submit(new("end"))
        self.step()
        self.assertEqual(self.job().error, JobFailure("code", "text", 3, "SIGKILL"))

    def test_speaksOnItsThread(self) -> None:
        """
        An exception is asked before anything is put on the reactor thread.
        """
        threads: list[bool] = []
        inErrand: list[bool] = []

        class Speaking(Exception):
            @property
            def failure(self) -> object:
                threads.append(bool(inErrand))
                return JobFailure("spoken", "it was asked")

        post = self.post

        def posting(ask: Ask) -> None:
            inErrand.append(True)
            post(ask)

        self.patch(self, "post", posting)

        def end(worker: Worker) -> None:
            raise Speaking()

        self.tasks["end"] = end
        self.submit(new("end"))
        self.step()
        self.assertError(1, JobState.FAILED, "spoken")
        self.assertEqual(threads, [False])

    def test_handedInTooLate(self) -> None:
        """
        An attempt that is found to be over before its end comes to the reactor's
        thread has nothing to record.
        """
        post = self.post

        def forgetting(ask: Ask) -> None:
            self.queue._runs.forget(self.task())
            post(ask)

        self.patch(self, "post", forgetting)
        self.submit(new("note", 1))
        self.step()
        self.assertEqual(self.states(1), ["running"])
        self.assertEqual(self.posted, [None])
