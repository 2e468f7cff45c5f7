"""
The requests and their answers.
"""
# Much of twisted.web has no types.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from .. import wire
from ..errors import JobError
from ..interfaces import IJobQueue
from ..jobs import JobOrigin
from ..numerals import isDigits
from ._memory import AnswerMemory, Share
from ._operations import OPERATIONS, PROMETHEUS, openAPI
from ._output import Growth, Valve
from ._pages import changes, page
from ._request import PIECE, JobRequest, Refusal

__all__ = ["JobAPI"]

_app = Klein()

_ONE_JOB = 2 << 20
"""
The bytes that a job takes while its answer is made. Most are far shorter, and few are
longer.
"""

_LEAST_WAIT = 1.0
"""
The seconds from which on who waited for news that did not come needs no line in the log.
With less, a client could ask as often as it likes and leave none.
"""


def _query(request: JobRequest) -> bytes:
    return bytes(request.uri.partition(b"?")[2])


def _origin(request: JobRequest) -> JobOrigin | None:
    """
    The job that a request comes from, if it comes from one.
    """
    return wire.parseOrigin(request.requestHeaders.getRawHeaders(wire.ORIGIN_HEADER.encode(), []))


def _jobID(part: str) -> int:
    """
    The job that a part of a path names.

    @raise Refusal: if no job can have such an ID.
    """
    # What is longer than any ID is not worth the reading.
    if not (isDigits(part) and len(part) < 19):
        raise Refusal("no_such_job", f"there is no job {part[:40]!r}")
    return int(part)


def _body(request: JobRequest) -> bytes:
    """
    The JSON text of a request.

    @raise Refusal: if it is declared to be something else.
    """
    kind = (request.getHeader(b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise Refusal("unsupported_media_type", "this takes a body of type application/json")
    return request.content.read()


def _serve(handler: Callable[..., Coroutine[Any, Any, None]]) -> Any:
    """
    Make a method the handler of the operation that has its name.
    """
    operation = OPERATIONS[handler.__name__]
    served = _app.route(operation.route, methods=[operation.method])(handler)
    for rule in _app.url_map.iter_rules(operation.name):
        assert rule.methods is not None
        # Werkzeug has it go with GET; nobody describes it, and it would wait as that.
        rule.methods.discard("HEAD")
    return served


class JobAPI:
    """
    The handlers, each of which reads a request, asks the queue, and writes the answer.
    A client that goes away cancels what its handler waits for, which is what the queue
    allows: what it was to change, it changes all the same. A quiesce ends, though.

    Threads: used on the reactor thread only.

    @ivar app: the routes.
    """

    app = _app

    def __init__(
        self,
        clock: IReactorTime,
        queue: IJobQueue,
        metrics: Callable[[], Deferred[bytes]] | None = None,
        memory: AnswerMemory | None = None,
    ) -> None:
        """
        @param memory: for the answers that may be large; L{None} for some of its own.
        """
        self._memory = AnswerMemory(clock) if memory is None else memory
        self._clock = clock
        self._queue = queue
        self._metrics = metrics

    # Klein names no more than IRequest, which has not half of what a Request has.
    @_app.handle_errors(JobError)  # type: ignore[arg-type]
    def refused(self, request: JobRequest, failure: Failure) -> None:
        """
        The queue, or the reading of the request, says no.
        """
        error = failure.value
        assert isinstance(error, JobError)
        if request.startedWriting:
            request.processingFailed(failure)
        else:
            request.tell(error)

    @_app.handle_errors(HTTPException)  # type: ignore[arg-type]
    def notRouted(self, request: JobRequest, failure: Failure) -> None:
        """
        No handler has this path and method.
        """
        error = failure.value
        if isinstance(error, MethodNotAllowed):
            allowed = ", ".join(sorted(error.valid_methods or ()))
            request.setHeader("allow", allowed)
            request.tell(Refusal("method_not_allowed", f"this path takes {allowed}"))
        else:
            request.tell(Refusal("no_such_path", "there is nothing at this path"))

    @_serve
    async def submit(self, request: JobRequest) -> None:
        """
        Take one job or a list of them.
        """
        wire.checkNoQuery(_query(request))
        new, wasList = wire.parseNewJobs(
            _body(request),
            self._queue.workerName,
            self._queue.onCrash,
            self._queue.workerBases,
        )
        jobs = await self._queue.submit(new)
        documents = [wire.jobToJSON(job) for job in jobs]
        await request.answer(201, documents if wasList else documents[0])

    @_serve
    async def jobs(self, request: JobRequest) -> None:
        """
        A page of jobs, or what has changed.
        """
        query = wire.parseJobsQuery(_query(request))
        async with Share(self._memory) as share:
            if isinstance(query, wire.ChangesQuery):
                asked = self._clock.seconds()
                found = await request.untilClientEnds(
                    Deferred.fromCoroutine(changes(self._queue, query, share)), None
                )
                if found is None:
                    # Without a wait, what has changed is known at once.
                    share.shrink(0)
                    found = await changes(self._queue, replace(query, wait=0.0), share)
                text, isNews = found
                request.waitedInVain = not isNews and self._isOver(query.wait, asked)
            else:
                text = await page(self._queue, query, share)
            await self._send(request, text, share)

    @_serve
    async def job(self, request: JobRequest, jobID: str) -> None:
        """
        One job and its attempts.
        """
        wire.checkNoQuery(_query(request))
        number = _jobID(jobID)
        async with Share(self._memory) as share:
            await share.take(_ONE_JOB)
            job = await self._queue.job(number)
            attempts = await self._queue.attempts(number)
            text = bytearray(wire.encode(wire.jobToJSON(job, attempts)))
            await self._send(request, text, share)

    async def _send(self, request: JobRequest, text: bytearray, share: Share) -> None:
        """
        Send a JSON text, and keep its share of the memory until the client has taken it.
        """
        share.shrink(len(text) if len(text) > PIECE else 0)
        await request.answerText(text, "application/json", share)

    @_serve
    async def changeJob(self, request: JobRequest, jobID: str) -> None:
        """
        Another priority.
        """
        wire.checkNoQuery(_query(request))
        number = _jobID(jobID)
        priority = wire.parsePriority(_body(request))
        job = await self._queue.changePriority(number, priority)
        await request.answer(200, wire.jobToJSON(job))

    @_serve
    async def cancelJob(self, request: JobRequest, jobID: str) -> None:
        """
        Cancel a job. Asking again is fine.
        """
        onlyQueued = wire.parseCancelQuery(_query(request))
        wire.checkNoBody(request.content.read())
        job = await self._queue.cancel(_jobID(jobID), onlyQueued)
        await request.answer(200, wire.jobToJSON(job))

    @_serve
    async def retryJob(self, request: JobRequest, jobID: str) -> None:
        """
        Put a job that did not succeed back into the queue. Asking again is fine.
        """
        wire.checkNoQuery(_query(request))
        wire.checkNoBody(request.content.read())
        job = await self._queue.retry(_jobID(jobID))
        await request.answer(200, wire.jobToJSON(job))

    @_serve
    async def removeJob(self, request: JobRequest, jobID: str) -> None:
        """
        Forget a finished job and its output.
        """
        wire.checkNoQuery(_query(request))
        wire.checkNoBody(request.content.read())
        await self._queue.remove(_jobID(jobID))
        request.setResponseCode(204)

    @_serve
    async def output(self, request: JobRequest, jobID: str) -> None:
        """
        The bytes of an output stream, as they come.
        """
        query = wire.parseOutputQuery(_query(request))
        number = _jobID(jobID)
        asked = self._clock.seconds()
        job = await self._queue.job(number)
        # A job that has not started has its first attempt to come.
        latest = max(job.attempt, 1)
        attempt = query.attempt or latest
        if attempt > latest:
            raise Refusal("no_such_attempt", f"job {number} has no attempt {attempt}")
        read = partial(self._queue.readOutput, number, attempt, query.stream)
        # Before the headers: what cannot be read is refused.
        first = await read(query.offset)

        request.setHeader("content-type", "application/octet-stream")
        request.write(first)
        valve = Valve()
        request.registerProducer(valve, True)
        offset = query.offset + len(first)
        left = query.wait - (self._clock.seconds() - asked)
        if left > 0:
            over = self._queue.attemptOver(number, attempt)
            over.addTimeout(left, self._clock, lambda _, seconds: None)
            request.untilClientEnds(over, None)
            async with Growth(self._clock, over) as growth:
                while not growth.isOver:
                    offset = await self._sendFrom(request, valve, read, offset)
                    await growth.more()
        # Also what it wrote since, before it ended.
        offset = await self._sendFrom(request, valve, read, offset)
        request.waitedInVain = offset == query.offset and self._isOver(query.wait, asked)
        request.unregisterProducer()

    def _isOver(self, wait: float, asked: float) -> bool:
        """
        Whether a wait has passed that is worth the name.

        @param asked: the time when it began.
        """
        return _LEAST_WAIT <= wait <= self._clock.seconds() - asked

    async def _sendFrom(
        self,
        request: JobRequest,
        valve: Valve,
        read: Callable[[int], Deferred[bytes]],
        offset: int,
    ) -> int:
        """
        Send what is in a file from an offset on, and give the offset behind it.
        """
        await valve.opened()
        while data := await read(offset):
            request.write(data)
            offset += len(data)
            await valve.opened()
        return offset

    @_serve
    async def pool(self, request: JobRequest) -> None:
        """
        The pool, the store, the daemon.
        """
        wire.checkNoQuery(_query(request))
        await request.answer(200, wire.statusToJSON(await self._queue.poolStatus()))

    @_serve
    async def changePool(self, request: JobRequest) -> None:
        """
        Pause, resume, resize. A pool that shrinks answers when the surplus
        workers have ended their jobs.
        """
        wire.checkNoQuery(_query(request))
        change = wire.parsePoolChange(_body(request))
        if change.workers is not None:
            # before the pool is paused, which it would stay
            self._queue.checkWorkers(change.workers, _origin(request))

        async def makeChange() -> None:
            if change.active is not None:
                await self._queue.setActive(change.active)
            if change.workers is not None:
                await self._queue.resize(change.workers)

        # Who goes away cancels this one, and not the change halfway.
        changed: Deferred[None] = Deferred()
        Deferred.fromCoroutine(makeChange()).chainDeferred(changed)
        await changed
        await request.answer(200, wire.statusToJSON(await self._queue.poolStatus()))

    @_serve
    async def quiesce(self, request: JobRequest) -> None:
        """
        Wait until every job submitted before has its outcome, or the time is over.
        What is submitted later is held back until then, or until the client goes.
        """
        wait = wire.parseQuiesceQuery(_query(request))
        wire.checkNoBody(request.content.read())
        # Who goes away cancels this as well, and so holds nothing back.
        quiet = self._queue.quiesce(_origin(request)).addCallback(lambda _: True)
        if wait is not None:
            quiet.addTimeout(wait, self._clock, lambda _, seconds: False)
        request.untilClientEnds(quiet, False)
        await request.answer(200, {"quiesced": await quiet})

    @_serve
    async def metrics(self, request: JobRequest) -> None:
        """
        The figures of the daemon, for Prometheus.
        """
        wire.checkNoQuery(_query(request))
        if self._metrics is None:
            raise Refusal("no_such_path", "this daemon keeps no metrics")
        await request.answerText(await self._metrics(), PROMETHEUS)

    @_serve
    async def openAPI(self, request: JobRequest) -> None:
        """
        What can be asked, and what is answered.
        """
        wire.checkNoQuery(_query(request))
        await request.answer(200, openAPI())
