"""
Tests for C{list}, C{show} and C{status}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from ganeti_pool.wire import encode

from .case import (
    POOL,
    CommandCase,
    FakeClient,
    PagingClient,
    Stream,
    ago,
    makeFailed,
    makeJob,
)


class ListTests(CommandCase):
    """
    Tests for C{list}.
    """

    def test_columns(self) -> None:
        """
        Jobs are shown newest first, in aligned columns that fit wide characters.
        """
        self.client = FakeClient(
            makeJob(1, "succeeded", name="日本"),
            makeFailed(2, exit_code=3),
            makeFailed(3, signal="SIGKILL"),
            makeFailed(4, code="interrupted"),
            makeJob(5, "running", priority=-10),
            makeJob(16, name="a\x1b[2Jb\n"),
        )
        self.check(
            "list",
            out="ID  STATE      PRIO  TRY  AGE  TIME   EXIT         NAME\n"
            "16  queued     0     0    1h   -      -            a\\x1b[2Jb\\n\n"
            "5   running    -10   1    1h   5m10s  -            job5\n"
            "4   failed     0     1    1h   42s    interrupted  job4\n"
            "3   failed     0     1    1h   42s    SIGKILL      job3\n"
            "2   failed     0     1    1h   42s    3            job2\n"
            "1   succeeded  0     1    1h   42s    0            日本\n",
        )

    def test_exit(self) -> None:
        """
        The signal or status of a command that was made to end does not hide why it was.
        """
        for error, exit in (
            ({"exit_code": 0}, "0"),
            ({"code": "timeout", "signal": "SIGTERM"}, "timeout"),
            ({"code": "timeout", "exit_code": 7}, "timeout"),
            ({"code": "interrupted", "signal": "SIGKILL"}, "interrupted"),
            ({"code": "cancelled", "signal": "SIGTERM"}, "cancelled"),
            ({"code": "not_started"}, "not_started"),
        ):
            self.out = Stream()
            self.client = FakeClient(makeFailed(1, **error))
            self.check("list", "--no-headers", "-o", "exit", out=f"{exit}\n")

    def test_chosenColumns(self) -> None:
        """
        C{-o} chooses columns and keys; widths are those of what a terminal shows.
        """
        self.client = FakeClient(makeJob(1, name="日本"), makeJob(2, name="x"))
        self.check(
            *("list", "-o", "NAME,args,Started_at,id"),
            out='NAME  ARGS           STARTED_AT  ID\nx     [["true"],{}]  -           2\n'
            '日本  [["true"],{}]  -           1\n',
        )

    def test_unknownColumn(self) -> None:
        """
        A column that does not exist is a mistake that names those that do.
        """
        running = self.start("list", "-o", "id,colour")
        self.assertEqual(self.codeOf(running), 2)
        self.assertIn("Invalid value for '-o': 'colour' is none of id, state,", self.err.text())

    def test_noHeaders(self) -> None:
        """
        C{--no-headers} leaves out the first line; with no job there is nothing.
        """
        self.check("list", "--no-headers")
        self.client = FakeClient(makeJob(1))
        self.check("list", "--no-headers", "-o", "id", out="1\n")

    def test_headersOnly(self) -> None:
        """
        With no job, the headings stand alone.
        """
        self.check("list", out="ID  STATE  PRIO  TRY  AGE  TIME  EXIT  NAME\n")

    def test_json(self) -> None:
        """
        With C{--json}, each job is an object on a line, as the daemon sent it; no job is
        no line.
        """
        self.check("--json", "list")
        self.client = FakeClient(makeJob(1, name="é"), makeJob(2))
        self.check("--json", "list", out=f"{self.line(2)}{self.line(1)}")

    def line(self, jobID: int) -> str:
        """
        A job as JSON.
        """
        return encode(self.client.jobs[jobID]).decode() + "\n"

    def test_manyPages(self) -> None:
        """
        Of many jobs no more than one page is kept, whatever is shown of them.
        """
        for options in ((), ("--json",), ("--no-headers", "-o", "id,args")):
            self.out = Stream()
            self.client = client = PagingClient(*map(makeJob, range(1, 3502)))
            self.assertEqual(self.codeOf(self.start("list", "--all", *options)), 0)
            self.assertEqual(len(client.kept), 4)
            self.assertLessEqual(max(client.kept), 1000)
            self.assertEqual(self.out.text().count("\n"), 3501 + (not options))

    def test_longList(self) -> None:
        """
        However long the pages take to come, all ages are of one moment.
        """
        self.client = FakeClient(*map(makeJob, range(1, 2502)))
        listJobs = self.client.listJobs

        def listLate(*args: Any, **options: Any) -> Deferred[Any]:
            self.reactor.advance(3600)
            return listJobs(*args, **options)

        self.patch(self.client, "listJobs", listLate)
        self.assertEqual(self.codeOf(self.start("list", "--all", "--no-headers", "-o", "age")), 0)
        ages = self.out.text().split()
        self.assertEqual((len(ages), len(set(ages))), (2501, 1))

    def test_filters(self) -> None:
        """
        State and name are left to the daemon, and 50 is the limit.
        """
        self.check("list", "--no-headers", "--state", "queued", "--state", "failed", "--name", "a")
        self.assertEqual(
            self.client.calls, [("listJobs", ("queued", "failed"), "a", "desc", 50, None)]
        )

    def test_labels(self) -> None:
        """
        Jobs are found by all of the labels that are asked for, and shown with them.
        """
        labels = {"a": "1", "b": "2"}
        self.client = FakeClient(makeJob(1, labels=labels), makeJob(2, labels={"a": "1"}))
        columns = ("-o", "id,labels,key,owner,timeout", "--no-headers")
        self.check(
            *("list", *columns, "--label", "a=1", "--label", "b=2"),
            out='1  {"a":"1","b":"2"}  -  -  -\n',
        )
        running = self.start("list", "1", "--label", "a=1")
        self.assertEqual(self.codeOf(running), 2)

    def test_since(self) -> None:
        """
        Jobs are found by the time of their submission, and no page is asked for
        behind the first that is older.
        """
        # id N was submitted N - 3000 minutes before now, which is 10:15:02 locally
        jobs = [makeJob(jobID, submitted_at=ago(60 * (3000 - jobID))) for jobID in range(1, 3001)]
        self.client = FakeClient(*jobs)
        for since, count in (
            ("5m", 6),
            ("0", 1),
            ("2026-01-31 10:10:02", 6),
            ("2026-01-31T10:10:02+01:00", 6),
            ("2026-01-31T09:10:02Z", 6),
            ("2026-01-31", 616),
            ("40h", 2401),
        ):
            self.out = Stream()
            self.client.calls.clear()
            newest = "".join(f"{n}\n" for n in range(3000, 3000 - count, -1))
            self.check("list", "--all", "--no-headers", "-o", "id", "--since", since, out=newest)
            self.assertEqual(len(self.client.calls), 1 + count // 1000)

    def test_sinceWithLimit(self) -> None:
        """
        The limit holds for jobs that are found by time too.
        """
        self.client = FakeClient(*map(makeJob, range(1, 101)))
        self.client.jobs[100]["submitted_at"] = ago(0)
        self.check("list", "--no-headers", "-o", "id", "--since", "1m", out="100\n")
        self.out = Stream()
        newest = "".join(f"{n}\n" for n in range(100, 50, -1))
        self.check("list", "--no-headers", "-o", "id", "--since", "2h", out=newest)

    def test_noTime(self) -> None:
        """
        What is no time is a mistake.
        """
        self.check(
            *("list", "--since", "99999d"),
            err="ganeti-pool: Invalid value for '--since': '99999d' is longer than a hundred "
            "years. See --help.\n",
            code=2,
        )
        for since in ("yesterday", "2026-02-30", "10:15"):
            self.err = Stream()
            self.check(
                *("list", "--since", since),
                err=f"ganeti-pool: Invalid value for '--since': {since!r} is neither a duration "
                "such as 2h nor a time such as 2026-01-31 or '2026-01-31 09:15'. See --help.\n",
                code=2,
            )

    def test_limits(self) -> None:
        """
        C{--limit} and C{--all} take as many requests as they need.
        """
        self.client = FakeClient(*map(makeJob, range(1, 2002)))
        for options, first in (
            ((), 1952),
            (("--limit", "3"), 1999),
            (("--limit", "1001"), 1001),
            (("--all",), 1),
        ):
            self.out = Stream()
            self.check(
                *("list", "--no-headers", "-o", "id", *options),
                out="".join(f"{n}\n" for n in range(2001, first - 1, -1)),
            )
        self.assertEqual(
            [call[4:] for call in self.client.calls],
            [
                *((50, None), (3, None), (1000, None), (1, 1002)),
                *((1000, None), (1000, 1002), (1000, 2)),
            ],
        )

    def test_ids(self) -> None:
        """
        Jobs that are named come in that order, each once, with one request for
        neighbours.
        """
        self.client = FakeClient(*map(makeJob, (*range(1, 10), 5000)))
        self.check("list", "--no-headers", "-o", "id", "5000", "7", "3", "7", out="5000\n7\n3\n")
        self.assertEqual(
            [call[4:] for call in self.client.calls],
            [(1000, 2)],
        )

    def test_farIDs(self) -> None:
        """
        What is between jobs far apart is not fetched.
        """
        self.client = FakeClient(*map(makeJob, range(1, 3001)))
        self.check("list", "--no-headers", "-o", "id", "1", "3000", out="1\n3000\n")
        self.assertEqual([call[4:] for call in self.client.calls], [(1000, 0), (1, 2999)])

    def test_missingIDs(self) -> None:
        """
        Those that do not exist are named, and nothing is shown.
        """
        self.client = FakeClient(makeJob(3))
        self.check("list", "2", "3", "9", err="ganeti-pool: there is no job 2, 9\n", code=4)

    def test_contradictions(self) -> None:
        """
        IDs with a filter, all with a limit, and columns with JSON are mistakes.
        """
        both = "Give IDs, or say which jobs; not both."
        for argv, sentence in (
            (("1", "--state", "queued"), both),
            (("1", "--name", ""), both),
            (("1", "--limit", "3"), both),
            (("1", "--all"), both),
            (("1", "--since", "0"), both),
            (("--all", "--limit", "3"), "--all has no --limit."),
            (("-o", "id", "--json"), "-o is for text; --json shows every field."),
        ):
            self.err = Stream()
            self.check("list", *argv, err=f"ganeti-pool: {sentence} See --help.\n", code=2)
        self.assertEqual(self.client.calls, [])

    def test_colours(self) -> None:
        """
        A terminal gets states in colours, unless told not to.
        """
        self.client = FakeClient(makeFailed(1), makeJob(2, name="failed"))
        columns = ("list", "--no-headers", "-o", "state,name")
        plain = "queued  failed\nfailed  job1\n"
        self.out = Stream(terminal=True)
        self.check(*columns, out="queued  failed\n\x1b[31mfailed\x1b[0m  job1\n")
        self.out = Stream(terminal=True)
        self.check("--no-color", *columns, out=plain)
        self.out = Stream()
        self.check(*columns, out=plain)


class ShowTests(CommandCase):
    """
    Tests for C{show} and C{status}.
    """

    def test_show(self) -> None:
        """
        What is known of a job is shown on a line each, with local times and
        nothing that could move the cursor, and then its attempts.
        """
        output = {
            "stdout": {"bytes": 120, "truncated": False},
            "stderr": {"bytes": 64 << 20, "truncated": True},
        }
        attempt = {"number": 1, "started_at": ago(310), "finished_at": None, "outcome": None}
        job = {**makeFailed(7, exit_code=3), "name": "a\x1b", "output": output}
        job.update(key="k", owner="ana", labels={"a": "1"}, timeout=90.0)
        self.client = FakeClient({**job, "attempts": [attempt]}, makeJob(8))
        self.check(
            "show",
            "7",
            out="id                   7\n"
            "key                  k\n"
            "name                 a\\x1b\n"
            "owner                ana\n"
            'labels               {"a":"1"}\n'
            "timeout              90.0\n"
            "worker               ganeti_pool.commands.CommandWorker\n"
            'args                 [["true"],{}]\n'
            "priority             0\n"
            "state                failed\n"
            "attempt              1\n"
            "max attempts         1\n"
            "submitted at         2026-01-31 09:15:02+01:00\n"
            "started at           2026-01-31 10:09:52+01:00\n"
            "finished at          2026-01-31 10:10:34+01:00\n"
            "error                exit_nonzero: it exited with 3\n"
            "output               stdout 120 bytes, stderr 64.0 MiB (truncated)\n"
            "revision             7\n"
            "attempt 1\n"
            "  started at         2026-01-31 10:09:52+01:00\n",
        )

    def test_showExit(self) -> None:
        """
        How a command ended that ran out of time or was interrupted is shown beside that.
        """
        for error, shown in (
            ({"code": "timeout", "signal": "SIGTERM"}, "timeout: it exited with 3 (SIGTERM)"),
            ({"code": "timeout", "exit_code": 0}, "timeout: it exited with 3 (status 0)"),
            ({"code": "interrupted"}, "interrupted: it exited with 3"),
            ({"code": "cancelled", "signal": "SIGTERM"}, "cancelled: it exited with 3"),
        ):
            self.out = Stream()
            self.client = FakeClient(makeFailed(1, **error))
            self.checkEnd(self.start("show", "1"), err="", code=0)
            self.assertIn(f"\nerror                {shown}\n", self.out.text())

    def test_showSeveral(self) -> None:
        """
        Several jobs are shown with a blank line between them; one that does not
        exist is said, and does not hide the others.
        """
        self.client = FakeClient(makeJob(7), makeJob(8))
        running = self.start("show", "7", "9", "8")
        self.checkEnd(running, err="ganeti-pool: there is no job 9\n", code=4)
        first, second = self.out.text().split("\n\n")
        self.assertTrue(first.startswith("id                   7\n"), first)
        self.assertTrue(second.startswith("id                   8\n"), second)

    def test_showJSON(self) -> None:
        """
        With C{--json} a job is one line, in UTC.
        """
        self.client = FakeClient(makeJob(7), makeJob(8))
        lines = [encode(job).decode() + "\n" for job in self.client.jobs.values()]
        self.check("show", "--json", "7", "8", out="".join(lines))

    def test_status(self) -> None:
        """
        The daemon, its pool, the queue and the store have a line each.
        """
        self.check(
            "status",
            out="daemon     pid 4711, version 0.1.0, up 4d\n"
            "worker     ganeti_pool.commands.CommandWorker\n"
            "directory  /var/lib/pool\n"
            "pool       active, 2 of 4 workers busy\n"
            "queued     12, oldest 5m10s\n"
            "running    2, longest 42s\n"
            "last 24 h  310 succeeded, 3 failed, 1 cancelled\n"
            "store      900 bytes, 3.0 TiB free\n",
        )

    def test_statusOfTrouble(self) -> None:
        """
        What is wrong with the daemon is shown, and no age of an empty queue.
        """
        self.client.poolStatus = {
            **POOL,
            "active": False,
            "jobs": {**POOL["jobs"], "queued": 0, "oldest_queued_at": None},
            "store": {**POOL["store"], "unwritten": 2, "last_error": "no room\x1b"},
            "daemon": {**POOL["daemon"], "stopping": True},
        }
        self.assertEqual(self.codeOf(self.start("status")), 0)
        lines = self.out.text().splitlines()
        self.assertEqual(lines[0], "daemon     pid 4711, version 0.1.0, up 4d, stopping")
        self.assertEqual(lines[3:5], ["pool       paused, 2 of 4 workers busy", "queued     0"])
        self.assertEqual(
            lines[-2:],
            ["unwritten  2 outcomes wait for the store", "last error no room\\x1b"],
        )

    def test_statusOfQuiesces(self) -> None:
        """
        Standing quiesces have a line, with the time for which the oldest has held jobs back; an
        older daemon does not count them.
        """
        quiesces = {"count": 2, "since": ago(310)}
        self.client.poolStatus = {**POOL, "workers": 0, "quiesces": quiesces}
        self.assertEqual(self.codeOf(self.start("status")), 0)
        lines = self.out.text().splitlines()
        self.assertEqual(
            [lines[3], lines[-1]],
            [
                "pool       active, no workers, 2 still running: no job can start until resize "
                "adds some",
                "quiesce    2 for 5m10s: jobs submitted since then do not start",
            ],
        )
        self.client.poolStatus = {key: POOL[key] for key in POOL if key != "quiesces"}
        self.out = Stream()
        self.assertEqual(self.codeOf(self.start("status")), 0)
        self.assertNotIn("quiesce", self.out.text())

    def test_statusOfOutput(self) -> None:
        """
        Output that was adopted or moved aside is shown, with what to do; a daemon of an
        earlier release reports nothing of it.
        """
        self.client.poolStatus = {key: POOL[key] for key in POOL if key != "output"}
        self.assertEqual(self.codeOf(self.start("status")), 0)
        self.assertNotIn("output", self.out.text())
        aside = ["/state/output/aside-1", "/state/output/aside-2\x1b"]
        self.client.poolStatus = {**POOL, "output": {"adopted": True, "set_aside": aside}}
        self.assertEqual(self.codeOf(self.start("status")), 0)
        self.assertEqual(
            self.out.text().splitlines()[-3:],
            [
                "output     adopted: it had no store id, so nothing was removed from it",
                "set aside  /state/output/aside-1: check this output, then remove it",
                "set aside  /state/output/aside-2\\x1b: check this output, then remove it",
            ],
        )

    def test_statusOfALostStore(self) -> None:
        """
        What the store cannot tell is said to be unknown, and why.
        """
        self.client.poolStatus = {
            **POOL,
            "jobs": {**POOL["jobs"], "last_day": None},
            "store": {
                "bytes": None,
                "free_bytes": None,
                "unwritten": 0,
                "last_error": "the store was lost",
            },
        }
        self.assertEqual(self.codeOf(self.start("status")), 0)
        self.assertEqual(
            self.out.text().splitlines()[-3:],
            [
                "last 24 h  unknown, since the store cannot be read",
                "store      unknown, since the store cannot be read",
                "last error the store was lost",
            ],
        )

    def test_statusJSON(self) -> None:
        """
        With C{--json} the status is one line, as the daemon sent it.
        """
        self.check("status", "--json", out=encode(POOL).decode() + "\n")
