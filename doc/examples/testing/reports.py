from ganeti_pool import TaskCancelled, TaskNotStarted


class ReportOffice:
    """
    Writes reports on a pool's threads, urgent ones first.
    """

    def __init__(self, pool, write):
        self._pool = pool
        self._write = write

    def order(self, title, urgent=False):
        """
        @return: a Deferred with the report, or with L{None} if there will be none.
        """
        report = self._pool.addTask(
            [self._write, title], priority=-10 if urgent else 0, taskID=title
        )
        return report.addErrback(self._withdrawn)

    def withdraw(self, title):
        self._pool.cancelTask(title)

    def _withdrawn(self, failure):
        failure.trap(TaskCancelled, TaskNotStarted)
