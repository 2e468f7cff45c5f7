from ganeti_pool import workerpool


class Doubler(workerpool.BaseWorker):
    def RunTask(self, number, results):
        if number == 3 and self.GetCurrentPriority() == 0:
            raise workerpool.DeferTask(priority=5)
        results.append(2 * number)


results = []
pool = workerpool.WorkerPool("Double", 1, Doubler)
try:
    pool.SetActive(False)
    pool.AddManyTasks(
        [(1, results), (2, results), (3, results), (4, results)],
        priority=[0, 1, 0, 1],
        task_id=["one", "two", "three", "four"],
    )
    pool.ChangeTaskPriority("four", -1)
    pool.SetActive(True)
    pool.Quiesce()
    try:
        pool.ChangeTaskPriority("one", 9)
    except workerpool.NoSuchTask as error:
        print(error)
finally:
    pool.TerminateWorkers()
print(results)
