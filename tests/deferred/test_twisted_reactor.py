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
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThreadPool
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.server import Site
from twisted.web.wsgi import WSGIResource

from ganeti_pool.interfaces import ICallInThread

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


class Asked:
    """
    A view that says when it is asked for the first time.

    @ivar first: fires then.
    """

    def __init__(self, view: ICallInThread) -> None:
        self._view = view
        self.first: Deferred[None] = Deferred()

    def callInThread(self, f: Callable[..., object], *args: object) -> None:
        self._view.callInThread(f, *args)
        self.first.callback(None)


@pytest_twisted.ensureDeferred
async def test_wsgi() -> None:
    """
    A WSGI application that is served over a view answers a real client while the pool
    has a thousand tasks of lower priority to do, before the first of them.
    """
    ran: list[object] = []

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        ran.append(threading.current_thread().name)
        body = environ["wsgi.input"].read()
        start("200 OK", [("Content-Type", "text/plain")])
        return [b"you sent " + body, b" to " + environ["PATH_INFO"].encode()]

    async with Pool(1) as pool:
        asked = Asked(pool.atPriority(-1))
        site = Site(WSGIResource(reactor, asked, application))
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        busy = Gate()
        pool.callInThread(busy)
        await reached(busy)
        results = pool.addManyTasks([(ran.append, n) for n in range(1000)], priority=9)
        url = f"http://127.0.0.1:{port.getHost().port}/path"
        connections = HTTPConnectionPool(reactor, persistent=False)
        client = treq.client.HTTPClient(Agent(reactor, pool=connections))
        answer = client.post(url, data=b"text")
        await soon(asked.first)
        busy.open()
        response = await soon(answer)
        assert (response.code, await response.content()) == (200, b"you sent text to /path")
        await gatherResults(results)
        assert ran == ["real1", *range(1000)]
        await port.stopListening()
