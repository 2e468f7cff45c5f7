"""
Tests for jobs whose args a daemon would misread, since they are in another form.
"""

from __future__ import annotations

import os

from ganeti_pool import errors
from ganeti_pool.jobs import Job, JobFilter, JobState

from .againcase import AgainCase
from .queuecase import WORKER, new


class VersionTests(AgainCase):
    """
    Tests for the version of args of the worker class.
    """

    def setUp(self) -> None:
        super().setUp()
        self.restart(argsVersion=2)

    def jobs(self) -> list[Job]:
        return self.successResultOf(self.queue.listJobs(JobFilter(), False, 99, None))

    def test_stamped(self) -> None:
        """
        A job gets the version of the worker class, whatever it was submitted with.
        """
        self.submit(new("note", 1), new("note", 2, argsVersion=2), new("note", 3, argsVersion=3))
        self.assertEqual([job.argsVersion for job in self.jobs()], [2, 2, 2])
        self.runAll()
        self.assertEqual(self.ran, [1, 2, 3])

    def test_atStart(self) -> None:
        """
        A queue does not start over unfinished jobs of an earlier or a later version,
        which it says; they stay as they are, for a daemon of theirs.
        """
        self.submit(new("note", 1))
        before = self.jobs()
        for version in (1, 3):
            self.open(self.store.reopened(), argsVersion=version)
            failure = self.failureResultOf(self.queue.start(), errors.StoreError)
            sentence = failure.getErrorMessage()
            self.assertIn(f"unfinished jobs of {WORKER} with args of version 2 in", sentence)
            self.assertIn(f"in the store of {os.path.abspath(self.directory)}, ", sentence)
            self.assertIn(f"this daemon runs {WORKER} with args of version {version}: ", sentence)
            self.assertIn("start it with the class and the version", sentence)
            self.assertFalse(self.step())
            self.assertEqual([self.stored()], before)
        self.restart(argsVersion=2)
        self.runAll()
        self.assertEqual(self.ran, [1])

    def test_finishedAtStart(self) -> None:
        """
        Finished jobs of another version are no obstacle, and can be looked at.
        """
        self.submit(new("note", 1))
        self.runAll()
        self.restart(argsVersion=3)
        self.assertEqual(self.job().argsVersion, 2)

    def test_retry(self) -> None:
        """
        A finished job of an earlier or a later version is not started once more, and
        stays as it is.
        """
        self.failOne()
        before = self.jobs()
        for version in (1, 3):
            self.restart(argsVersion=version)
            failure = self.failureResultOf(self.queue.retry(1), errors.JobNotRunnable)
            self.assertEqual(failure.value.jobID, 1)
            sentence = failure.getErrorMessage()
            self.assertTrue(sentence.startswith(f"job 1 has args of version 2 of {WORKER}, "))
            self.assertIn(f"runs version {version}: submit a new job", sentence)
            self.assertEqual(self.jobs(), before)
        self.restart(argsVersion=2)
        self.assertEqual(self.retry().state, JobState.QUEUED)
