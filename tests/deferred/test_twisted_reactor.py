"""
Tests for what others than this package do with a pool, in a real reactor.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
import treq
from twisted.internet.defer import (
    gatherResults,
)
from twisted.internet.threads import deferToThreadPool
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.server import Site
from twisted.web.wsgi import WSGIResource

from ..workerpool.threadcase import Gate
from .realpool import Pool, reached, reactor, soon


@pytest_twisted.ensureDeferred
async def test_asFuture() -> None:
    """
    A task's Deferred can be had as a future of asyncio.
    """
    loop = asyncio.new_event_loop()
    try:
        async with Pool() as pool:
            future = pool.addTask((abs, -5)).asFuture(loop)
            failing = pool.addTask((divmod, 1, 0)).asFuture(loop)
            await pool.quiesce()
            assert future.result() == 5
            assert isinstance(failing.exception(), ZeroDivisionError)
    finally:
        loop.close()


@pytest_twisted.ensureDeferred
async def test_deferToThreadPool() -> None:
    """
    Twisted's own C{deferToThreadPool} works with a pool and with its views.
    """
    async with Pool(2) as pool:
        both: tuple[Any, ...] = (pool, pool.atPriority(-1))
        for served in both:
            assert await deferToThreadPool(reactor, served, divmod, 9, 4) == (2, 1)
            with pytest.raises(ZeroDivisionError):
                await deferToThreadPool(reactor, served, divmod, 9, 0)


@pytest_twisted.ensureDeferred
async def test_wsgi() -> None:
    """
    A WSGI application that is served over a view answers a real client while the pool
    has more work of lower priority than it can do.
    """
    names: list[str] = []

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        names.append(threading.current_thread().name)
        body = environ["wsgi.input"].read()
        start("200 OK", [("Content-Type", "text/plain")])
        return [b"you sent " + body, b" to " + environ["PATH_INFO"].encode()]

    async with Pool(2) as pool:
        site = Site(WSGIResource(reactor, pool.atPriority(-1), application))
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        busy, lazy = Gate(), pool.atPriority(10)
        ran: list[int] = []
        lazy.callInThread(busy)
        results = pool.addManyTasks([(ran.append, n) for n in range(1000)], priority=9)
        await reached(busy)
        url = f"http://127.0.0.1:{port.getHost().port}/path"
        connections = HTTPConnectionPool(reactor, persistent=False)
        client = treq.client.HTTPClient(Agent(reactor, pool=connections))
        for n in range(3):
            response = await soon(client.post(url, data=b"%d" % n))
            assert (response.code, await response.content()) == (
                200,
                b"you sent %d to /path" % n,
            )
        assert len(names) == 3 and all(name.startswith("real") for name in names)
        busy.open()
        await gatherResults(results)
        assert ran == list(range(1000))
        await port.stopListening()
