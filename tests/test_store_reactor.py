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
    Jobs that one thread writes are read from the reactor thread, where every Deferred fires.
    """
    store = SQLiteJobStore(reactor, str(tmp_path / "jobs.sqlite"))  # type: ignore[arg-type]

    def write() -> None:
        epoch = store.acquire("host:1")
        for n in range(100):
            with store.transaction(epoch) as unit:
                unit.addJobs([NewJob("w", (n,), str(n))], n)
                unit.startAttempt(n + 1, 1)
                unit.finishAttempt(n + 1, 1, Outcome(JobState.SUCCEEDED, result=n))
        store.release()

    writer = threading.Thread(target=write)
    writer.start()
    writer.join(60)
    threads = set()

    async def read(n: int) -> None:
        found = await store.job(n + 1)
        threads.add(threading.current_thread())
        assert (found.value.args, found.value.result, found.number) == ((n,), n, 300)

    await gatherResults([Deferred.fromCoroutine(read(n)) for n in range(100)])
    await store.close()
    assert threads == {threading.current_thread()}
    with pytest.raises(StoreError):
        await store.job(1)
