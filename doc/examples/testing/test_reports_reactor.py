import threading

import pytest
import pytest_twisted
from reports import ReportOffice

from ganeti_pool import DeferredWorkerPool


@pytest_twisted.async_yield_fixture
async def pool():
    from twisted.internet import reactor

    pool = DeferredWorkerPool(reactor, "reports", numWorkers=2)
    yield pool
    await pool.terminateWorkers(deadline=10)


@pytest_twisted.ensureDeferred
async def test_writtenElsewhere(pool):
    """
    Reports are written on a thread of the pool.
    """
    office = ReportOffice(pool, lambda title: threading.current_thread().name)
    assert (await office.order("sales")).startswith("reports")


@pytest_twisted.ensureDeferred
async def test_brokenReport(pool):
    """
    What goes wrong with a report is told to whoever ordered it.
    """
    office = ReportOffice(pool, int)
    with pytest.raises(ValueError):
        await office.order("no number")
