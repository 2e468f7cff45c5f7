"""
Tests for the job store in a file, with a real reactor.
"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from ganeti_pool.errors import StoreError
from ganeti_pool.jobs import JobState, NewJob, Outcome
from ganeti_pool.store.sqlite import SQLiteJobStore


@pytest_twisted.ensureDeferred
async def test_life(tmp_path: Path) -> None:
    """
    Jobs go through a store from the reactor thread, and every Deferred fires there.
    """
    store = SQLiteJobStore(reactor, str(tmp_path / "jobs.sqlite"))  # type: ignore[arg-type]
    threads = set()
    epoch = await store.acquire("host:1")

    async def life(n: int) -> JobState:
        (job,) = await store.addJobs(epoch, [NewJob("w", (n,), str(n))], n)
        threads.add(threading.current_thread())
        await store.startAttempt(epoch, job.id, 1)
        await store.finishAttempt(epoch, job.id, 1, Outcome(JobState.SUCCEEDED, result=n))
        found = await store.job(job.id)
        threads.add(threading.current_thread())
        assert (found.args, found.result) == ((n,), n)
        return found.state

    lives = [Deferred.fromCoroutine(life(n)) for n in range(100)]
    assert set(await gatherResults(lives)) == {JobState.SUCCEEDED}
    await store.close()
    assert threads == {threading.current_thread()}
    with pytest.raises(StoreError):
        await store.settings()
