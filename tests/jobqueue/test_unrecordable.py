"""
Tests for outcomes that cannot be recorded as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from ganeti_pool import errors
from ganeti_pool.jobs import (
    FINISHED,
    Job,
    JobFailure,
    JobState,
    Outcome,
    OutputSize,
    currentAttempt,
    transitions,
)
from ganeti_pool.store._base import UnitOfWork

from .queuecase import JobFailed, StartedCase, Worker, new


class UnrecordableTests(StartedCase):
    """
    Tests for the outcomes that are recorded instead.
    """

    def test_badResult(self) -> None:
        """
        A job whose result cannot be stored fails, before the next job runs.
        """
        self.tasks["set"] = lambda worker: {1, 2}
        self.tasks["see"] = lambda worker: self.ran.append(self.states(1))
        self.submit(new("set"), new("see"))
        self.runAll()
        self.assertError(1, JobState.FAILED, "bad_result")
        self.assertEqual(self.ran, [["failed"]])

    def test_resultWithCode(self) -> None:
        """
        Code of a result is run by its slot and not by the store. If it raises, the result
        cannot be stored, and the failure has as much of it as can be read.
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
        self.submit(new("words"), new("sound"))
        self.runAll()
        self.assertIn("JSON", self.assertError(1, JobState.FAILED, "bad_result").message)
        self.assertEqual((self.job(2).result, self.states(2)), ({"a": 1}, ["succeeded"]))
        self.assertIs(type(self.job(2).result), dict)

    def refuse(self, times: int) -> None:
        """
        Let the store refuse the next outcomes when they are to be committed.
        """
        left = [errors.InvalidArgument("it cannot be stored")] * times
        transaction = self.store.transaction

        @contextmanager
        def refusing(epoch: int) -> Iterator[UnitOfWork]:
            with transaction(epoch) as unit:
                yield unit
                if left and unit._ledger.job(1).state in FINISHED:
                    raise left.pop()

        self.patch(self.store, "transaction", refusing)

    def test_replaced(self) -> None:
        """
        An outcome that the store can never keep is replaced by a failure with the reason.
        """
        self.tasks["end"] = lambda worker: self.recordOutput()
        self.submit(new("end"), new("note", 2))
        self.refuse(1)
        self.runAll()
        error = self.assertError(1, JobState.FAILED, "bad_result")
        self.assertEqual(error.message, "it cannot be stored")
        self.assertEqual(self.job().output, {"stdout": OutputSize(5, False)})
        self.assertEqual(self.ran, [2])

    def test_nothingStorable(self) -> None:
        """
        If that failure cannot be stored either, one is recorded that has nothing of the run.
        """
        self.tasks["end"] = lambda worker: self.recordOutput()
        self.submit(new("end"), new("note", 2))
        self.refuse(2)
        self.runAll()
        self.assertError(1, JobState.FAILED, "bad_result")
        self.assertIsNone(self.job().output)
        self.assertEqual(self.ran, [2])

    def test_inTheTransaction(self) -> None:
        """
        The same holds where the value is rejected before it is written; then the other items
        of the transaction are not affected.
        """
        surrogate = JobFailure("code", "\udc80")

        def end(worker: Worker) -> None:
            raise JobFailed(surrogate)

        finished = transitions.finished
        refusals = [errors.InvalidArgument("no")] * 3

        def picky(job: Job, attempt: int, outcome: Outcome, now: datetime) -> Job:
            if outcome.error is not None and outcome.error.code != "bad_result":
                raise refusals.pop()
            if job.id == 2 and len(refusals) == 1:
                raise refusals.pop()
            return finished(job, attempt, outcome, now)

        self.patch(transitions, "finished", picky)
        self.tasks["end"] = end
        self.submit(new("end"), new("end"))
        self.runAll()
        self.assertEqual(self.assertError(1, JobState.FAILED, "bad_result").message, "no")
        self.assertIn("log", self.assertError(2, JobState.FAILED, "bad_result").message)

    def test_neverStorable(self) -> None:
        """
        An outcome for which even that fails holds its slot, as one for which there is no room,
        and is tried again.
        """
        self.submit(new("note", 1), new("note", 2))
        self.refuse(3)
        self.step()
        self.assertEqual(self.status()["store"]["unwritten"], 1)
        self.assertFalse(self.step())
        self.advance(1)
        self.assertError(1, JobState.FAILED, "bad_result")
        self.runAll()
        self.assertEqual(self.ran, [1, 2])

    def recordOutput(self) -> None:
        attempt = currentAttempt.get()
        assert attempt is not None
        attempt.recordOutput({"stdout": OutputSize(5, False)})

    def test_badResultKeepsOutput(self) -> None:
        """
        The output of a job whose result cannot be stored is recorded.
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
        A worker that records something else than a mapping of texts to sizes gets an exception:
        its job fails, and the worker goes on.
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
        The output is recorded as it was when the worker reported it, whatever the worker does
        with the mapping afterwards.
        """

        class Size(OutputSize):
            """
            A size with more in it than is recorded.
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

    def test_unspeakable(self) -> None:
        """
        If an exception raises when its failure or its text is read, its job fails, and the next
        one runs.
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
        The failure that an exception carries counts only if it can be recorded.
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
        Only the fields of a failure are recorded.
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

    def test_onItsThread(self) -> None:
        """
        The code of an exception is run by the slot, and not by the dispatcher.
        """
        handling: list[bool] = []

        class Speaking(Exception):
            @property
            def failure(self) -> object:
                handling.append(case.isHandling)
                return JobFailure("spoken", "it was asked")

        def end(worker: Worker) -> None:
            raise Speaking()

        case = self
        self.tasks["end"] = end
        self.submit(new("end"))
        self.step()
        self.assertError(1, JobState.FAILED, "spoken")
        self.assertEqual(handling, [False])
