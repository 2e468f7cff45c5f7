"""
One-line faults, each of which lets a race go wrong, and the test that sees it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["FAULTS", "ROOT", "Fault", "listing"]

ROOT = Path(__file__).parents[2]
"""
The checkout.
"""


@dataclass(frozen=True)
class Fault:
    """
    A fault to put into the code, and what notices.

    @ivar race: what the line guards, as a sentence.
    @ivar test: the test that fails with the fault, as pytest names it, below
        C{tests/}.
    @ivar path: the file, below C{ganeti_pool/}.
    @ivar line: the whole line as it is, indentation included; the file has it once.
    @ivar instead: what the fault has in its place, less the indentation.
    """

    race: str
    test: str
    path: str
    line: str
    instead: str

    @property
    def node(self) -> str:
        """
        The test, as pytest is told of it.
        """
        return f"tests/{self.test}"

    @property
    def file(self) -> Path:
        """
        The file, below the checkout.
        """
        return Path("ganeti_pool", self.path)

    def places(self, source: str) -> int:
        """
        How often the line stands in the text of the file.
        """
        return source.split("\n").count(self.line)

    def put(self, source: str) -> str:
        """
        The text of the file, with the fault.
        """
        indentation = self.line[: len(self.line) - len(self.line.lstrip())]
        lines = source.split("\n")
        lines[lines.index(self.line)] = indentation + self.instead
        return "\n".join(lines)


WAITING = "workerpool/_waiting.py"
FENCES = "workerpool/_fences.py"
SCHEDULER = "workerpool/_scheduler.py"
STAFF = "workerpool/_staff.py"
POOL = "workerpool/_pool.py"
WORKER = "workerpool/_worker.py"
OUTCOMES = "workerpool/_outcomes.py"
DELIVERY = "deferred/_delivery.py"
TASKS = "deferred/_tasks.py"
LIFE = "deferred/_life.py"

QUEUE = "workerpool/test_interleavings.py::QueueTests::"
RESIZE = "workerpool/test_interleavings.py::ResizeTests::"
TERMINATION = "workerpool/test_interleavings.py::TerminationTests::"
COMPLETION = "workerpool/test_interleavings.py::CompletionTests::"
CALLS = "workerpool/test_interleavings.py::CallsTests::"
REACTOR = "deferred/test_interleavings.py::InterleavingTests::"
WAKING = "workerpool/test_waking.py::WakingTests::"
QUIESCING = "workerpool/test_quiescing.py::QuiescingTests::"
RESIZING = "workerpool/test_resizing.py::ResizingTests::"
INTERRUPTED = "workerpool/test_interrupted.py::InterruptedTests::"
FOREIGN = "workerpool/test_foreign_code.py::"
FORKING = "workerpool/test_forking.py::"
RELEASING = "workerpool/test_releasing.py::ReleasingTests::"
GIVEN_UP = "workerpool/test_given_up.py::GivenUpTests::"
LINGERING = "deferred/test_resize.py::LingeringThreadTests::"

FAULTS = (
    Fault(
        "A worker that looks for a task does not see a change of priority half done.",
        QUEUE + "test_popWhileMoving",
        WAITING,
        "                queue.reprioritise(task_id, priority)",
        "lock.release(); queue.reprioritise(task_id, priority); lock.acquire()",
    ),
    Fault(
        "A change of priority does not find a task that a worker is taking.",
        QUEUE + "test_moveWhilePopping",
        POOL,
        "            worker._taken = task = self._queue.pop()",
        "self._lock.release(); worker._taken = task = self._queue.pop(); self._lock.acquire()",
    ),
    Fault(
        "A worker that looks for a task does not see a cancellation half done.",
        QUEUE + "test_popWhileCancelling",
        WAITING,
        "            queue.abandon(entry)",
        "self._lock.release(); queue.abandon(entry); self._lock.acquire()",
    ),
    Fault(
        "A cancellation does not find a task that a worker is taking.",
        QUEUE + "test_cancelWhilePopping",
        POOL,
        "            worker._taken = task = self._queue.pop()",
        "self._lock.release(); worker._taken = task = self._queue.pop(); self._lock.acquire()",
    ),
    Fault(
        "A wake-up that comes before the worker waits is not lost.",
        QUEUE + "test_addBeforePark",
        POOL,
        "            worker._Park()",
        "worker._park.acquire(False); worker._Park()",
    ),
    Fault(
        "Nobody can add a task after a worker has found none and before it is idle.",
        QUEUE + "test_addBeforeIdle",
        POOL,
        "        self._idle.append(worker)",
        "self._lock.release(); self._idle.append(worker); self._lock.acquire()",
    ),
    Fault(
        "A worker that takes a task wakes the next one, while tasks are left.",
        WAKING + "test_allAtOnce",
        SCHEDULER,
        "        wake = self._NextToWakeUnlocked() if self._idle else None",
        "wake = None",
    ),
    Fault(
        "While one worker is being woken no other is.",
        WAKING + "test_addedWhileWaking",
        FENCES,
        "        if self._idle and self._waking is None and self._tasks and self._active:",
        "if self._idle and self._tasks and self._active:",
    ),
    Fault(
        "A woken worker that leaves instead of looking for a task passes the wake on.",
        WAKING + "test_leavesWhereItWaits",
        STAFF,
        "            actions.append(wake._Wake)",
        "pass",
    ),
    Fault(
        "A worker that leaves passes the wake on before it drops objects.",
        GIVEN_UP + "test_wakeBeforeRelease",
        WORKER,
        "        wake = pool._NextToWakeUnlocked()",
        "wake = None",
    ),
    Fault(
        "A worker that was just woken can be surplus like any other.",
        RESIZE + "test_resizePicksTheWoken",
        STAFF,
        "            worker._retired = True",
        "worker._retired = worker is not self._waking",
    ),
    Fault(
        "Of two sizes the last holds, also for threads that the first has started.",
        RESIZE + "test_smallerWhileGrowing",
        STAFF,
        "            worker._retired = len(workers) >= self._size",
        "worker._retired = False",
    ),
    Fault(
        "Workers that another thread is starting count.",
        RESIZE + "test_largerWhileGrowing",
        STAFF,
        "        missing = max(0, size - len(self._workers) - self._starting)",
        "missing = max(0, size - len(self._workers))",
    ),
    Fault(
        "Workers that another thread is starting count when a worker would shrink the pool.",
        RESIZE + "test_ownWorkerWhileGrowing",
        POOL,
        "                if done is None and num_workers < len(self._workers) + self._starting:",
        "if done is None and num_workers < len(self._workers):",
    ),
    Fault(
        "Workers that could not be started do not count any more.",
        RESIZING + "test_failureWhileOthersGrow",
        STAFF,
        "        self._starting -= count",
        "self._starting -= len(started)",
    ),
    Fault(
        "A termination waits for the threads that a C{Resize} is starting.",
        RESIZE + "test_terminatedWhileGrowing",
        POOL,
        "            while self._starting:",
        "while False:",
    ),
    Fault(
        "A task that was checked before a termination is refused after it.",
        TERMINATION + "test_terminatedBeforeAdding",
        WAITING,
        "        if self._terminated and entry.completion is not None:",
        "if False:",
    ),
    Fault(
        "No termination comes between the check of a task and its place in the queue.",
        TERMINATION + "test_terminatedWhileAdding",
        WAITING,
        "                    refusal = self._RefusalUnlocked(entry, new)",
        "lock.release(); refusal = self._RefusalUnlocked(entry, new); lock.acquire()",
    ),
    Fault(
        "A task is not put back if the pool was terminated while that was told.",
        TERMINATION + "test_terminatedWhileDeferring",
        SCHEDULER,
        "            hindrance = self._HindranceUnlocked(worker, entry)",
        "hindrance = None",
    ),
    Fault(
        "A task that was abandoned is not put back, though the pool is open again.",
        GIVEN_UP + "test_deferralOfAbandoned",
        SCHEDULER,
        "        if self._terminated or worker._abandoned:",
        "if self._terminated:",
    ),
    Fault(
        "A task that was told that it is cancelled is not put back.",
        QUIESCING + "test_deferAfterCancellation",
        SCHEDULER,
        "        if entry.cancellation is True:",
        "if False:",
    ),
    Fault(
        "Who waits for quiet goes on when the last busy worker is abandoned.",
        QUIESCING + "test_abandonedToQuiet",
        STAFF,
        "            self._TakeDownFencesUnlocked(actions)",
        "pass",
    ),
    Fault(
        "An ID is freed before the outcome is told, and never after.",
        COMPLETION + "test_readded",
        SCHEDULER,
        "                Tell(self._name, entry, outcome, value)",
        "Tell(self._name, entry, outcome, value); self._running_ids.pop(entry[2], None)",
    ),
    Fault(
        "A task that ends does not free the ID of another one that runs.",
        QUIESCING + "test_twoOfOneIDRun",
        SCHEDULER,
        "            if self._running_ids.get(entry[2]) is entry:",
        "if self._running_ids.pop(entry[2], None) and False:",
    ),
    Fault(
        "When the later of two tasks of one ID ends, the earlier one is found by it.",
        QUIESCING + "test_laterOfOneIDEndsFirst",
        SCHEDULER,
        "                older = {twin[2]: twin for twin in self._older_twins}.get(entry[2])",
        "older = None",
    ),
    Fault(
        "A worker counts as running until the outcome was told.",
        COMPLETION + "test_quiesceWaitsForTheTeller",
        SCHEDULER,
        "                Tell(self._name, entry, outcome, value)",
        "self._busy -= 1; Tell(self._name, entry, outcome, value); self._busy += 1",
    ),
    Fault(
        "A task whose outcome is being told cannot be cancelled.",
        COMPLETION + "test_cancelledWhileTelling",
        SCHEDULER,
        "                self._CountUnlocked(worker, entry, outcome)",
        "self._CountUnlocked(worker, entry, outcome); self._running_ids[entry[2]] = entry",
    ),
    Fault(
        "Who listens for a cancellation is called without the lock.",
        COMPLETION + "test_endsWhileBeingCancelled",
        WAITING,
        "                    self._InterruptUnlocked(entry, actions)  # it runs",
        "self._InterruptUnlocked(entry, actions); Do(actions)",
    ),
    Fault(
        "The objects of a task are dropped without the lock.",
        CALLS + "test_finaliserAdds",
        SCHEDULER,
        "        worker._garbage.append(entry)",
        "pass",
    ),
    Fault(
        "Those who listened in a task are dropped without the lock.",
        RELEASING + "test_deferral",
        SCHEDULER,
        "            worker._garbage.append(entry.cancellation)",
        "pass",
    ),
    Fault(
        "Abandoned entries are dropped without the lock.",
        CALLS + "test_finaliserOfPassedEntry",
        SCHEDULER,
        "            worker._garbage.append(self._queue.release())",
        "self._queue.release()",
    ),
    Fault(
        "A finaliser that adds a task in the middle of a section does not free the lock.",
        GIVEN_UP + "test_finaliserAddsDuringQuiesce",
        FENCES,
        "            isNested = self._lock._is_owned()  # type: ignore[attr-defined]",
        "isNested = False",
    ),
    Fault(
        "What a finaliser adds while the heap is swept is not lost.",
        CALLS + "test_finaliserWhileSweeping",
        "workerpool/_taskheap.py",
        "            tasks += kept",
        "tasks[:] = [entry for entry, _ in [(entry, {id(entry)}) for entry in kept]]",
    ),
    Fault(
        "Each who waits for quiet is told of it, however many they are.",
        CALLS + "test_twoQuiesce",
        FENCES,
        "            fence = self._fences[0]",
        "fence = self._fences[0]; del self._fences[1:]",
    ),
    Fault(
        "Who waits to add goes on when the pool is quiet.",
        QUIESCING + "test_quietReleases",
        FENCES,
        "            self._changed.notify_all()",
        "pass",
    ),
    Fault(
        "Who waits to add goes on when nobody waits for quiet any more.",
        QUIESCING + "test_liftReleases",
        FENCES,
        "                    self._changed.notify_all()",
        "pass",
    ),
    Fault(
        "Who waits to add goes on when the pool is terminated.",
        QUIESCING + "test_terminateReleases",
        FENCES,
        "        self._changed.notify_all()",
        "pass",
    ),
    Fault(
        "A wait for quiet that is interrupted leaves nothing behind.",
        QUIESCING + "test_interrupted",
        POOL,
        "            self._LiftFence(fence)",
        "pass",
    ),
    Fault(
        "What the pool's own workers add does not wait for quiet.",
        QUIESCING + "test_ownTasksAreLetIn",
        FENCES,
        "            if not isNested and not self._OnOwnWorker():",
        "if not isNested:",
    ),
    Fault(
        "A worker of another pool waits like every other thread.",
        QUIESCING + "test_anotherPoolsWorkerWaits",
        STAFF,
        "        return thread if isinstance(thread, BaseWorker) and thread.pool is self else None",
        "return thread if isinstance(thread, BaseWorker) else None",
    ),
    Fault(
        "A task that would wait for itself is refused.",
        CALLS + "test_everyCallFromATask",
        POOL,
        '        self._RefuseOwnWorker("TerminateWorkers")',
        "pass",
    ),
    Fault(
        "The result of a task whose Deferred was cancelled is dropped.",
        REACTOR + "test_cancelledAfterTheOutcome",
        TASKS,
        "        self.result = None",
        "pass",
    ),
    Fault(
        "A result that comes while a cancellation is told is dropped.",
        REACTOR + "test_outcomeWhileCancelling",
        TASKS,
        "        self.result = None",
        "pass",
    ),
    Fault(
        "The cancellation of a Deferred leaves a later task of the same ID alone.",
        REACTOR + "test_cancelledWhileWithdrawing",
        WAITING,
        "            if current is not None and current.completion is entry.completion:",
        "if current is not None:",
    ),
    Fault(
        "An ID is free when the Deferred fires, though the worker still tells the outcome.",
        REACTOR + "test_readdedWhileTelling",
        SCHEDULER,
        "                self._CountUnlocked(worker, entry, outcome)",
        "self._CountUnlocked(worker, entry, outcome); self._running_ids[entry[2]] = entry",
    ),
    Fault(
        "An outcome that is put when the reactor has found none left is not missed.",
        REACTOR + "test_putWhileADrainEnds",
        DELIVERY,
        "            self._armed = bool(self._batch)",
        "self._lock.release(); self._armed = bool(self._batch); self._lock.acquire()",
    ),
    Fault(
        "A shutdown of the reactor does not cut a drain that is under way.",
        REACTOR + "test_shutdownWhileDraining",
        LIFE,
        "        return self.terminateWorkers(drain or self._state is State.DRAINING, deadline)",
        "return self.terminateWorkers(drain, deadline)",
    ),
    Fault(
        "The reactor stops after the outcomes that are on the way.",
        REACTOR + "test_shutdownWhileDelivering",
        LIFE,
        '            "before", "shutdown", self._shutDown',
        '"during", "shutdown", self._shutDown',
    ),
    Fault(
        "The end of a drain that was overtaken does not end a later one.",
        "deferred/test_drain.py::DrainTests::test_laterDrain",
        LIFE,
        "        if stop == self._stops and self._state is State.DRAINING:",
        "if self._state is State.DRAINING:",
    ),
    Fault(
        "A thread that has left the pool is waited for until it is gone.",
        LINGERING + "test_resize",
        LIFE,
        "        if any(thread.is_alive() for thread in threads):",
        "if False:",
    ),
    Fault(
        "A termination waits for the threads of an earlier C{resize}.",
        LINGERING + "test_terminateAfterResize",
        LIFE,
        "        leaving = [worker for surplus in self._resizes.values() for worker in surplus]",
        "leaving: list[BaseWorker] = []",
    ),
    Fault(
        "A callback is told one outcome, by the worker or by the deadline.",
        "deferred/test_calls.py::CallTests::test_abandonedAfterItWasTold",
        TASKS,
        "        if not self._claim.locked():",
        "if True:",
    ),
    Fault(
        "What is the reactor thread's is refused on a worker.",
        REACTOR + "test_everyCallFromATask",
        LIFE,
        "        if threading.get_ident() != self._thread:",
        "if False:",
    ),
    Fault(
        "An exception from a signal handler does not leave the lock taken.",
        INTERRUPTED + "test_addTask",
        WAITING,
        "            with lock:",
        "with lock if lock.acquire() and lock.release() is None else lock:",
    ),
    Fault(
        "A worker that was chosen before such an exception is woken all the same.",
        INTERRUPTED + "test_addTask",
        FENCES,
        "            wake = self._waking",
        "return",
    ),
    Fault(
        "Many tasks of which some were added before such an exception are taken back.",
        INTERRUPTED + "test_addManyTasks",
        WAITING,
        "                        self._TakeBackUnlocked(entries, withdrawn)",
        "pass",
    ),
    Fault(
        "A task that was withdrawn before such an exception has its outcome told.",
        INTERRUPTED + "test_cancelTask",
        WAITING,
        "            if entry.queue is None:  # pragma: no branch - it has left without an error",
        "if False:",
    ),
    Fault(
        "A Deferred fires even if such an exception comes where its completion begins.",
        "deferred/test_interrupted.py::InterruptedTests::test_cancelTask",
        OUTCOMES,
        '            if getattr(completion, "isRepeatable", False):',
        "if False:",
    ),
    Fault(
        "Threads that are being started when such an exception comes are not waited for.",
        INTERRUPTED + "test_resize",
        POOL,
        "                if starting.count:",
        "if False:",
    ),
    Fault(
        "A worker that was woken without a reason is idle once.",
        WAKING + "test_wokenTwice",
        POOL,
        "        if worker._isIdle:",
        "if False:",
    ),
    Fault(
        "A worker that meets an exception where it waits for its start has its wake.",
        FOREIGN + "WorkerTests::test_exceptionForNewWorker",
        WORKER,
        "                isReady = pool._IsEnlisted(self)",
        "pass",
    ),
    Fault(
        "A task whose ID cannot be hashed when a worker takes it fails alone.",
        FOREIGN + "IDTests::test_hashOfStart",
        SCHEDULER,
        "                broken = error",
        "raise",
    ),
    Fault(
        "A task that a hook had taken when it failed is run.",
        "workerpool/test_ganeti.py::HookTests::test_failingHookHasTheTask",
        POOL,
        "        task: Any = worker._taken",
        "task: Any = None",
    ),
    Fault(
        "What a queued task is called with is released before it is told that it will not run.",
        "workerpool/test_releasing.py::EarlyReleaseTests::test_unstarted",
        OUTCOMES,
        "    _Release(entry)  # unstarted",
        "pass",
    ),
    Fault(
        "What a task was called with is released before its outcome is told.",
        "workerpool/test_releasing.py::EarlyReleaseTests::test_completion",
        OUTCOMES,
        "    _Release(entry)",
        "pass",
    ),
    Fault(
        "A worker whose task has forked does nothing more in the child.",
        FORKING + "ForkingTests::test_workerEnds",
        WORKER,
        "            if pool._isForked:",
        "if False:",
    ),
    Fault(
        "A lock that another thread holds at the time of a fork is not waited for in the child.",
        FORKING + "ForkingTests::test_noThreads",
        "workerpool/_forking.py",
        "    pool._lock = threading.RLock()",
        "pass",
    ),
)


def listing() -> str:
    """
    The faults as doc/explanation/proof.rst shows them.
    """
    return "\n".join(map(_entry, FAULTS))


def _entry(fault: Fault) -> str:
    """
    What the page says of one fault.
    """
    path, _, name = fault.node.partition("::")
    return f"""\
{fault.race.replace("C{", "``").replace("}", "``")}
    ``{name.replace("::", ".")}`` in ``{path}``; the fault, in ``{fault.file.as_posix()}``:

    .. code-block:: diff

       - {fault.line.strip()}
       + {fault.instead}
"""
