"""
The contracts of the pool, its workers and its completions; and of the pool as
seen from a reactor.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface

from ._statistics import PoolStatistics

__all__ = ["ICallInThread", "ICompletion", "IDeferredWorkerPool", "IWorker", "IWorkerPool"]


class IWorker(Interface):
    """
    What runs tasks. A pool makes its workers by calling
    C{worker_class(pool, worker_id)}, which may be any callable.

    Threads: one worker runs one task at a time, each on the thread that the
    pool keeps for it. Inside C{RunTask}, C{threading.current_thread()} is a
    L{BaseWorker <ganeti_pool.workerpool.BaseWorker>}: the worker itself if it
    derives from that, else the one that hosts it.
    """

    def RunTask(*args: Any) -> object:
        """
        Do one task.

        It may raise anything. L{DeferTask <ganeti_pool.workerpool.DeferTask>}
        puts the task back in the queue; everything else is the task's failure.

        @param args: what was given to C{AddTask}.
        @return: the result. A Deferred or a coroutine is a failure, since
            nothing waits for it on this thread.
        """


class ICompletion(Interface):
    """
    Who is told what became of one task.

    L{begin} before each run, L{deferred} when it is put back, and in the end
    exactly one of L{succeed} and L{fail}.

    Threads: called on the thread that decides: the worker's, or the one that
    cancels or terminates. No lock of the pool is held, so every method of the
    pool may be called; but what would wait for the worker that calls is refused.
    When the outcome is told, the ID of the task is free again, while the worker
    still counts as running: C{Quiesce} returns after the last completion.
    """

    def begin(attempt: int) -> None:
        """
        The task is about to run. It may block. What it raises counts as if
        C{RunTask} had raised it, and then the task does not run.

        @param attempt: 1 for the first run, and one more for each that follows.
        """

    def deferred(priority: float, order: int) -> None:
        """
        The task deferred itself and is about to be put back, with this priority
        and order ID. What this raises is the task's failure, and then the task
        is not put back. Should the ID have been queued again by someone
        else meanwhile, or the pool terminated, L{fail} follows all the same.
        """

    def succeed(value: object) -> None:
        """
        Accept what the task returned.

        @param value: the result; L{None} is valid.
        @raise AlreadyCompleted: if an outcome was recorded before.
        """

    def fail(failure: Failure) -> None:
        """
        Accept why there is no result: what the task raised, or L{TaskCancelled
        <ganeti_pool.errors.TaskCancelled>} or L{TaskNotStarted
        <ganeti_pool.errors.TaskNotStarted>}.

        @raise AlreadyCompleted: if an outcome was recorded before.
        """


class IWorkerPool(Interface):
    """
    A pool of workers behind one priority queue, in Ganeti's dialect.

    Tasks start in order of (priority, order of adding), exactly: the lower
    number first, and first in, first out within a priority.

    Threads: every method may be called from any thread, a worker's and a
    completion's included; but a worker of the pool that calls L{Quiesce},
    L{TerminateWorkers} or a shrinking L{Resize} would wait for itself, and gets
    L{WouldWaitForItself <ganeti_pool.errors.WouldWaitForItself>} at once. The
    hash and the equality of task IDs are used with the pool's lock held, and
    must not call the pool.
    """

    def AddTask(
        args: Sequence[Any],
        priority: float = 0,
        task_id: Hashable | None = None,
        *,
        completion: object | None = None,
    ) -> None:
        """
        Add a task. Waits while another thread quiesces the pool.

        @param args: a tuple or list, what C{RunTask} is called with.
        @param priority: a number, lower ones first.
        @param task_id: any hashable, unique among the queued tasks; L{None} for
            a task that nobody will ask for.
        @param completion: an L{ICompletion}, or L{None}: then a failure is
            logged, at critical level.
        @raise InvalidArgument: for arguments that are no sequence, a priority
            that is no number, or an ID that is not hashable.
        @raise DuplicateTaskID: if a queued task has the ID. One that is running
            may; but should that one be deferred then, its deferral fails.
        @raise PoolTerminated: if there is a completion and the pool has been
            terminated. Without one the task waits for a later L{Resize}.
        """

    def AddManyTasks(
        tasks: Sequence[Sequence[Any]],
        priority: float | Sequence[float] = 0,
        task_id: Sequence[Hashable | None] | None = None,
        *,
        completion: Sequence[object | None] | None = None,
    ) -> None:
        """
        Add tasks, all or none, at one go: no other task comes between them.
        Waits while another thread quiesces the pool.

        @param tasks: a sequence of what L{AddTask} takes as C{args}.
        @param priority: one for all, or a sequence with one for each.
        @param task_id: a sequence with one for each, or L{None}.
        @param completion: a sequence with one for each, or L{None}.
        @raise ProgrammerError: if the lengths differ.
        @raise InvalidArgument: as for L{AddTask}.
        @raise DuplicateTaskID: as for L{AddTask}, or if two of the tasks have
            the same ID.
        @raise PoolTerminated: as for L{AddTask}.
        """

    def ChangeTaskPriority(task_id: Hashable, priority: float) -> None:
        """
        Move a queued task. It keeps its order number, so that among tasks of
        its new priority it stands where its age puts it.

        @raise NoSuchTask: if it never existed, is running, or has ended.
        @raise InvalidArgument: if the priority is no number.
        """

    def CancelTask(task_id: Hashable) -> None:
        """
        Withdraw a queued task. It never runs, and its completion gets
        L{TaskCancelled <ganeti_pool.errors.TaskCancelled>}.

        @raise NoSuchTask: if it never existed, is running, or has ended.
        """

    def InterruptTask(task_id: Hashable) -> None:
        """
        Tell a running task that it is cancelled: its C{IsCancelled()} becomes
        true, and what it gave to C{CallWhenCancelled} is called, on this thread.
        What the task makes of it is up to the task; should it defer itself, it
        ends as cancelled.

        @raise NoSuchTask: if no task of this ID runs.
        """

    def SetActive(active: bool) -> None:
        """
        With a false value, start no task until further notice. Running tasks go
        on, and tasks can be added.
        """

    def HasRunningTasks() -> bool:
        """
        Whether some worker runs a task, or is about to tell its outcome.
        """

    def Quiesce() -> None:
        """
        Wait until no task is queued, none runs, and all outcomes were told (but
        for what a C{CancelTask} on another thread is just telling).
        Meanwhile other threads wait in L{AddTask}; what the pool's own workers
        add is let in and waited for. Several threads may do so at once. On a
        pool that is paused, or has no worker, the wait lasts until that changes.

        @raise PoolTerminated: if the pool is terminated before that.
        @raise WouldWaitForItself: on a worker of this pool.
        """

    def Resize(num_workers: int) -> None:
        """
        Change the number of workers. Growing is done at once. Shrinking lets
        idle workers go first and busy ones end their task, and returns when the
        surplus threads have ended. No task fails: with 0 workers the queue
        waits. A pool that was terminated is open again.

        @raise InvalidArgument: if it is no number of workers.
        @raise WorkersNotStarted: if some could not be made or started; those
            that were, stay.
        @raise WouldWaitForItself: if a worker of this pool would shrink it.
        """

    def TerminateWorkers() -> None:
        """
        Let the running tasks end, end the threads, and wait for them. Queued
        tasks that have a completion leave the queue and fail with
        L{TaskNotStarted <ganeti_pool.errors.TaskNotStarted>}; the others wait
        for a later L{Resize}. Whoever waits in L{AddTask} goes on, and whoever
        waits in L{Quiesce} gets L{PoolTerminated
        <ganeti_pool.errors.PoolTerminated>}.

        @raise WouldWaitForItself: on a worker of this pool.
        """

    def GetStatistics() -> PoolStatistics:
        """
        A snapshot, of one moment, in constant time but for a step for each
        entry that a change of priority has left at the head of the queue.
        """


class ICallInThread(Interface):
    """
    What C{twisted.internet.threads.deferToThreadPool} and
    C{twisted.web.wsgi.WSGIResource} need of a thread pool. The source of both
    methods is L{twisted.python.threadpool.ThreadPool}.

    Threads: any thread. The calls never block.
    """

    def callInThread(f: Callable[..., object], *args: object, **kwargs: object) -> None:
        """
        Call C{f} on a worker's thread. What it raises is logged.

        @raise PoolTerminated: if the pool is stopping or has stopped.
        """

    def callInThreadWithCallback(
        onResult: Callable[[bool, Any], object] | None,
        f: Callable[..., object],
        *args: object,
        **kwargs: object,
    ) -> None:
        """
        Call C{f} on a worker's thread, and there C{onResult(True, result)} or
        C{onResult(False, failure)}. If C{f} never starts, because the pool is
        terminated, that is told on the thread that terminates, or on the
        calling one; if it still runs after the deadline of a termination,
        L{TaskAbandoned <ganeti_pool.errors.TaskAbandoned>} is told on the reactor
        thread, and nothing after it.
        """


class IDeferredWorkerPool(ICallInThread):
    """
    The same pool as seen from a reactor.

    Every Deferred fires, unless the reactor never runs or is crashed: on the
    reactor thread, with no lock held, in the order in which the outcomes came.

    Threads: all methods are the reactor thread's, and raise L{WrongThread
    <ganeti_pool.errors.WrongThread>} elsewhere, but for those of
    L{ICallInThread}, L{atPriority} and C{statistics}. No method waits.
    """

    pool = Attribute(
        """
        The L{IWorkerPool} below. What blocks there (C{Quiesce},
        C{TerminateWorkers}, a shrinking C{Resize}, C{AddTask} during a quiesce)
        must not be called on the reactor thread.
        """
    )

    def start() -> None:
        """
        Start the threads, if they do not run. A pool starts by itself when the
        reactor runs; after a termination, this opens it again. (Not while the
        reactor shuts down: nothing would stop it any more.)

        @raise WorkersNotStarted: if some could not be started.
        @raise PoolTerminated: while it is stopping.
        """

    def shutdownPolicy(drain: bool = False, deadline: float | None = None) -> None:
        """
        Say how the pool stops when the reactor shuts down: as
        L{terminateWorkers} called with these. Until this is called, with its
        defaults. A termination that is under way by then keeps its drain, and the
        earlier of the deadlines holds.

        @raise InvalidArgument: if the deadline is no number of seconds.
        """

    def addTask(
        args: Sequence[Any], priority: float = 0, taskID: Hashable | None = None
    ) -> Deferred[Any]:
        """
        Add a task.

        @param args: a tuple or list, what C{RunTask} is called with.
        @param priority: a number, lower ones first.
        @param taskID: any hashable that no queued, held or running task has.
        @return: a Deferred with what C{RunTask} returned in the end. It fails
            with what C{RunTask} raised; with C{CancelledError} when it is
            cancelled (L{TaskCancelled <ganeti_pool.errors.TaskCancelled>} by
            L{cancelTask}); with L{TaskNotStarted
            <ganeti_pool.errors.TaskNotStarted>} when the pool is terminated
            first, L{PoolTerminated <ganeti_pool.errors.PoolTerminated>} when it
            was so already, and L{TaskAbandoned
            <ganeti_pool.errors.TaskAbandoned>} when it ran past a deadline.
            Cancelling it withdraws a waiting task; a running one is told, and
            its outcome is dropped (a failure is logged).
        @raise InvalidArgument: as C{AddTask}.
        @raise DuplicateTaskID: if the ID is taken.
        """

    def addManyTasks(
        tasks: Sequence[Sequence[Any]],
        priority: float | Sequence[float] = 0,
        taskID: Sequence[Hashable | None] | None = None,
    ) -> list[Deferred[Any]]:
        """
        Add tasks, all or none, at one go.

        @return: a Deferred for each, as of L{addTask}.
        @raise ProgrammerError: if the lengths differ.
        @raise InvalidArgument: as C{AddTask}.
        @raise DuplicateTaskID: if an ID is taken or given twice.
        """

    def changeTaskPriority(taskID: Hashable, priority: float) -> None:
        """
        Move a queued or held task.

        @raise NoSuchTask: if no waiting task has the ID.
        """

    def cancelTask(taskID: Hashable) -> None:
        """
        Withdraw a queued or held task. Its Deferred fails with
        L{TaskCancelled <ganeti_pool.errors.TaskCancelled>}, in its turn.

        @raise NoSuchTask: if no waiting task has the ID.
        """

    def setActive(active: bool) -> None:
        """
        Pause, or go on. A drain under way ends when the pool is paused: what has
        not started is given up.
        """

    def hasRunningTasks() -> bool:
        """
        Whether some worker runs a task.
        """

    def statistics() -> PoolStatistics:
        """
        A snapshot of one moment, from any thread. Held tasks count as queued.
        """

    def quiesce() -> Deferred[None]:
        """
        A fence: wait for all that was submitted before. What is submitted later
        gets its ID and order, can be moved and cancelled, and is held until the
        fence is over.

        @return: a Deferred that fails with L{PoolTerminated
            <ganeti_pool.errors.PoolTerminated>} when the pool is terminated
            first. Cancelling it lifts the fence.
        """

    def resize(n: int) -> Deferred[None]:
        """
        Change the number of workers.

        @return: a Deferred that fires when the surplus threads have ended. It
            fails with L{WorkersNotStarted
            <ganeti_pool.errors.WorkersNotStarted>}, or with L{PoolTerminated
            <ganeti_pool.errors.PoolTerminated>} if the pool is stopping or has
            stopped, or stops at a deadline before they have. Before the reactor
            runs the number is noted. Cancelling it stops the wait and not the change.
        """

    def terminateWorkers(drain: bool = False, deadline: float | None = None) -> Deferred[None]:
        """
        Stop: take nothing more, let running tasks end, and end the threads.

        @param drain: run what is queued first. A pool that is paused or has no
            worker cannot, and gives the queue up.
        @param deadline: seconds after which the running tasks are left to
            themselves: their Deferreds fail with L{TaskAbandoned
            <ganeti_pool.errors.TaskAbandoned>}; the waiting ones with
            L{TaskNotStarted <ganeti_pool.errors.TaskNotStarted>}.
        @return: a Deferred that fires after those of all tasks. Cancelling it
            stops the wait and not the termination. A second call joins the
            first; one without C{drain} ends a drain, and the earlier
            of the deadlines holds.
        @raise InvalidArgument: if the deadline is no number of seconds.
        """

    def atPriority(n: float) -> ICallInThread:
        """
        A view that submits at priority C{n}, for C{deferToThreadPool},
        C{WSGIResource}, L{deferToPool <ganeti_pool.deferred.deferToPool>} and
        all that calls only the methods of L{ICallInThread}. Any thread.
        """
