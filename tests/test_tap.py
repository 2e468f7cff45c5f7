"""
Tests for C{twistd ganeti-pool}: its options, and the service made of them.
"""

from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import Mock

from twisted.application.app import ServerOptions
from twisted.application.service import IService
from twisted.internet.endpoints import (
    AdoptedStreamServerEndpoint,
    TCP4ServerEndpoint,
    UNIXServerEndpoint,
    _SystemdParser,
)
from twisted.internet.protocol import Factory
from twisted.plugin import IPlugin
from twisted.python import usage
from twisted.python.failure import Failure
from twisted.python.reflect import qual
from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from ganeti_pool import jobqueue, tap, web
from ganeti_pool.commands import CommandWorker, checkArgs
from ganeti_pool.commands._groups import processGroups
from ganeti_pool.daemon import InUse, JobQueueService, LockFile, UnixEndpoint
from ganeti_pool.errors import InvalidJob, StoreError
from ganeti_pool.interfaces import IWorker
from ganeti_pool.jobs import OnCrash
from ganeti_pool.metrics import JobMetrics
from ganeti_pool.paths import StatePaths
from ganeti_pool.tap import _make
from ganeti_pool.tap._given import FileBudget, basesOf, budgetOf, listenAt
from ganeti_pool.testing import FakeReactor
from ganeti_pool.web import CountedEndpoint, JobSite
from ganeti_pool.workerpool import BaseWorker
from twisted.plugins import ganeti_pool_plugin

from .managercase import FakeManager


@implementer(IWorker)
class PlainWorker:
    """
    A worker that is no L{BaseWorker <ganeti_pool.workerpool.BaseWorker>}.
    """

    onCrash = "fail"

    def __init__(self, pool: object, workerID: str) -> None:
        pass

    def RunTask(self, *args: Any) -> None:
        """
        Do nothing.
        """


class WorkerOfOne(PlainWorker):
    """
    A worker that nobody can make.
    """

    def __init__(self, pool: object) -> None:
        super().__init__(pool, "")


class VersionedWorker(PlainWorker):
    """
    A worker that has changed the form of its args.
    """

    argsVersion: ClassVar[Any] = 2


class NoWorker:
    """
    A class, and no worker.
    """


def makePlainWorker(pool: object, workerID: str) -> PlainWorker:
    """
    Make a worker.
    """
    return PlainWorker(pool, workerID)


NO_CLASS = 42


def _innermost(endpoint: Any) -> Any:
    """
    An endpoint of Twisted's, without what the daemon puts around it.
    """
    while isinstance(endpoint, (CountedEndpoint, UnixEndpoint)):
        endpoint = endpoint.endpoint
    return endpoint


class TapCase(SynchronousTestCase):
    """
    A directory with a short path, and options that name it.
    """

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(dir="/tmp")
        self.addCleanup(directory.cleanup)
        self.scratch = Path(directory.name)
        self.state = self.scratch / "state"
        self.reactor = FakeReactor(running=False)
        self.slots: list[tuple[str, object]] = []

    def parse(self, *arguments: str) -> tap.Options:
        options = tap.Options()
        options.parseOptions(["--state-dir", str(self.state), *arguments])
        return options

    def make(self, *arguments: str) -> JobQueueService:
        """
        Make the service with a reactor of the test's.
        """
        threadSlots = jobqueue.threadSlots

        def noting(pool: str, workerClass: Any) -> Any:
            self.slots.append((pool, workerClass))
            return threadSlots(pool, workerClass)

        patch = self.patch(jobqueue, "threadSlots", noting)
        service = _make.makeDaemon(self.reactor, self.parse(*arguments))
        patch.restore()
        assert isinstance(service, JobQueueService)
        self.addCleanup(service._lock.release)
        return service

    def file(self, content: bytes) -> str:
        path = self.scratch / "file"
        path.write_bytes(content)
        path.chmod(0o600)
        return str(path)

    def assertSentence(self, error: SystemExit, *parts: str) -> None:
        """
        It is one line for standard error, from this program, that says so.
        """
        sentence = str(error.code)
        self.assertTrue(sentence.startswith("ganeti-pool: "), sentence)
        self.assertNotIn("\n", sentence)
        for part in parts:
            self.assertIn(part, sentence)


class OptionsTests(TapCase):
    """
    Tests for L{tap.Options}.
    """

    def test_defaults(self) -> None:
        """
        No option is needed.
        """
        options = tap.Options()
        options.parseOptions([])
        self.assertEqual(
            dict(options),
            {
                "workers": 4,
                "worker-class": "ganeti_pool.commands.CommandWorker",
                "state-dir": None,
                "store": None,
                "token-file": None,
                "grace": 30.0,
                "max-queued": None,
                "keep-finished": None,
                "log-format": "text",
                "paused": 0,
                "listen": [],
            },
        )

    def test_given(self) -> None:
        """
        Options have their values; C{--listen} collects them.
        """
        options = self.parse(
            *("--workers", "2", "--grace", "0.5", "--listen", "tcp:1", "--listen", "tcp:2")
        )
        self.assertEqual((options["workers"], options["grace"]), (2, 0.5))
        self.assertEqual(options["listen"], ["tcp:1", "tcp:2"])
        options = self.parse("--max-queued", "1", "--log-format", "json")
        self.assertEqual((options["max-queued"], options["log-format"]), (1, "json"))

    def test_keepFinished(self) -> None:
        """
        Days may be fractions; none at all is a time too.
        """
        for days, seconds in (("0", 0), ("0.5", 43200), ("36500", 36500 * 86400)):
            self.assertEqual(self.parse("--keep-finished", days)["keep-finished"], seconds)

    def test_store(self) -> None:
        """
        C{--store} names a file from the root on, with three slashes or with the four
        that SQLAlchemy wants.
        """
        for url, path in (
            ("sqlite:///var/jobs.sqlite", "/var/jobs.sqlite"),
            ("sqlite:////var/jobs.sqlite", "/var/jobs.sqlite"),
            ("sqlite:///a%20b/../c", "/c"),
        ):
            self.assertEqual(self.parse("--store", url)["store"], path)

    def test_wrong(self) -> None:
        """
        A wrong option ends the program with one sentence that names it.
        """
        for option, value in (
            ("--workers", "0"),
            ("--workers", "x"),
            ("--workers", "1.5"),
            ("--grace", "-1"),
            ("--grace", "inf"),
            ("--grace", "nan"),
            ("--grace", "soon"),
            ("--grace", "1e3"),
            ("--grace", "0x10"),
            ("--grace", "1_0"),
            ("--workers", "1_0"),
            ("--workers", "\u0664"),
            ("--workers", " 4 "),
            ("--workers", "+4"),
            ("--max-queued", "\u0664"),
            ("--keep-finished", "1_0"),
            ("--keep-finished", "\uff17"),
            ("--max-queued", "0"),
            ("--max-queued", "1.5"),
            ("--keep-finished", "-1"),
            ("--keep-finished", "36501"),
            ("--keep-finished", "7d"),
            ("--keep-finished", "inf"),
            ("--store", "postgresql://host/jobs"),
            ("--store", "/var/jobs.sqlite"),
            ("--store", "sqlite://host/var/jobs.sqlite"),
            ("--store", "sqlite:///"),
            ("--store", "sqlite:///jobs?mode=ro"),
            ("--store", "sqlite:///jobs#1"),
            ("--store", "sqlite:///a%00b"),
            ("--store", "sqlite://[/jobs"),
            *(
                ("--listen", endpoint)
                for endpoint in (
                    *("tcp:x", "tcp:80_80", "tcp6:+80", "ssl: 443 :privateKey=k"),
                    *("tcp:\u0668\u0660", "tcp:port=80_80", "tcp:interface=a:port=80_80:backlog=5"),
                )
            ),
            ("--log-format", "xml"),
            ("--color", "red"),
        ):
            error = self.assertRaises(SystemExit, self.parse, option, value)
            self.assertSentence(error, option)

    def test_help(self) -> None:
        """
        The help names every option.
        """
        text = str(tap.Options())
        for option in tap.Options():
            self.assertIn(f"--{option}", text)

    def test_logOfTwistd(self) -> None:
        """
        A log in JSON cannot be had together with an option of twistd's that says how
        to log.
        """
        for option, value in (("syslog", 1), ("logger", "twisted.logger.STDLibLogObserver")):
            options = tap.Options()
            options.parent = ServerOptions()
            options.parent[option] = value
            options.parseOptions([])
            error = self.assertRaises(SystemExit, options.parseOptions, ["--log-format", "json"])
            self.assertSentence(error, "--log-format", f"--{option}")


class MakeTests(TapCase):
    """
    Tests for what the service is made of.
    """

    def test_directory(self) -> None:
        """
        The state directory is made for its owner alone, and locked; nothing is
        started.
        """
        service = self.make()
        self.assertEqual(self.state.stat().st_mode & 0o777, 0o700)
        self.assertEqual((self.state / "output").stat().st_mode & 0o777, 0o700)
        self.assertEqual(sorted(os.listdir(self.state)), ["jobs.sqlite.lock", "lock", "output"])
        other = LockFile(StatePaths.at(str(self.state)).lock, "it")
        self.assertRaises(InUse, other.acquire)
        self.assertFalse(service.running)

    def test_ownDoor(self) -> None:
        """
        The daemon's own socket is for its user alone, and needs no token.
        """
        service = self.make()
        ((endpoint, site),) = service._doors
        assert isinstance(endpoint, CountedEndpoint) and isinstance(site, JobSite)
        own = endpoint.endpoint
        assert isinstance(own, UNIXServerEndpoint)
        self.assertEqual(own._address, str(self.state / "ganeti-pool.sock"))
        self.assertEqual((own._mode, own._wantPID), (0o600, False))
        self.assertTrue(site.admits(None))
        self.assertEqual(service._socket, own._address)

    def test_otherDoors(self) -> None:
        """
        What C{--listen} names is open to the token alone.
        """
        token = self.file(b"  secret \n")
        service = self.make("--listen", "tcp:8080", "--token-file", token)
        _, (endpoint, site) = service._doors
        assert isinstance(endpoint, CountedEndpoint) and isinstance(site, JobSite)
        self.assertIsInstance(endpoint.endpoint, TCP4ServerEndpoint)
        self.assertFalse(site.admits(None))
        self.assertTrue(site.admits(b"Bearer secret"))

    def test_otherSocket(self) -> None:
        """
        Another Unix socket needs no token if it says who may use it.
        """
        service = self.make("--listen", f"unix:{self.scratch}/s:mode=660")
        _, (_, site) = service._doors
        assert isinstance(site, JobSite)
        self.assertTrue(site.admits(None))

    def test_backlog(self) -> None:
        """
        Many may come to each door at once, unless C{--listen} says how many; a kind of
        endpoint that has no say in it, or has another in front, is one all the same.
        """
        token = self.file(b"secret")
        for text, backlog in (
            ("tcp:8080:interface=127.0.0.1", 1024),
            (f"unix:{self.scratch}/s:mode=660", 1024),
            (f"unix:{self.scratch}/s:mode=660:backlog=7", 7),
            ("tcp:8080:127.0.0.1:9", 9),
        ):
            service = self.make("--listen", text, "--token-file", token)
            endpoints = [_innermost(endpoint) for endpoint, _ in service._doors]
            self.assertEqual([each._backlog for each in endpoints], [1024, backlog], text)
            service._lock.release()
        service = self.make("--listen", "haproxy:tcp:8080", "--token-file", token)
        wrapped = _innermost(service._doors[1][0])
        self.assertEqual(wrapped._wrappedEndpoint._backlog, 1024)
        service._lock.release()
        self.patch(_SystemdParser, "_sddaemon", ListenFDs([3], ["a"]))
        service = self.make("--listen", "systemd:domain=INET:name=a", "--token-file", token)
        self.assertIsInstance(_innermost(service._doors[1][0]), AdoptedStreamServerEndpoint)

    def test_store(self) -> None:
        """
        The store is in the state directory, or where C{--store} says.
        """
        queue: Any = self.make()._queue
        self.assertEqual(queue._store.path, str(self.state / "jobs.sqlite"))
        self.state = self.scratch / "another"
        queue = self.make("--store", f"sqlite://{self.scratch}/x.sqlite")._queue
        self.assertEqual(queue._store.path, str(self.scratch / "x.sqlite"))

    def test_limits(self) -> None:
        """
        The queue knows how many jobs may wait, for how long finished ones are kept, and
        whether it starts with a pause.
        """
        queue: Any = self.make("--max-queued", "3", "--keep-finished", "2")._queue
        limits = queue._limits
        self.assertEqual((limits.queued, limits.keepFinished), (3, 172800))
        self.assertFalse(queue._dispatcher._recovery._isPaused)
        self.state = self.scratch / "another"
        queue = self.make("--paused")._queue
        self.assertTrue(queue._dispatcher._recovery._isPaused)

    def test_metrics(self) -> None:
        """
        Each door tells the metrics of this queue and of its store.
        """
        told: list[Any] = []
        self.patch(JobMetrics, "render", lambda metrics, queue: told.append((metrics, queue)))
        made: list[Any] = []

        def makeSite(
            reactor: object, queue: object, token: object, metrics: Any, **limits: object
        ) -> Factory:
            made.append((queue, metrics))
            return Factory()

        self.patch(web, "makeSite", makeSite)
        token = self.file(b"secret")
        self.make("--listen", "tcp:8080", "--token-file", token)
        for _, render in made:
            render()
        (first, queue), second = told
        self.assertEqual((first, queue), second)
        self.assertEqual({queue for queue, _ in made}, {queue})
        hooks = queue._projection._hooks
        self.assertIn(first.observe, hooks.observers)
        self.assertEqual(hooks.committed, first.committed)

    def test_manager(self) -> None:
        """
        What a service manager has told the daemon is for the daemon alone.
        """
        manager = FakeManager(f"{self.scratch}/notify")
        self.addCleanup(manager.close)
        told = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "60000000"}
        self.patch(os, "environ", {**os.environ, **told})
        service = self.make()
        self.addCleanup(service._manager.close)
        self.assertEqual(told.keys() & os.environ.keys(), set())
        service._manager.ready("yes")
        self.assertEqual(manager.hear(), ["READY=1", "STATUS=yes"])

    def test_openFiles(self) -> None:
        """
        The daemon may open as many files as the system lets it.
        """
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        self.patch(processGroups, "fileLimit", None)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1] - 1, limits[1]))
        self.make()
        self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE), (limits[1],) * 2)
        # Commands as many as it would have.
        self.assertEqual(processGroups.fileLimit, (limits[1] - 1, limits[1]))

    def test_errorWithoutFile(self) -> None:
        """
        An error of the system that names no file is said as it is.
        """
        for error, sentence in (
            (OSError(24, "Too many open files"), "ganeti-pool: Too many open files"),
            (OSError("odd"), "ganeti-pool: odd"),
        ):

            def fail(*args: object, error: OSError = error) -> None:
                raise error

            self.patch(tap._make, "makeDaemon", fail)
            self.patch(tap._make, "goSteady", lambda reactor: None)
            refused = self.assertRaises(SystemExit, tap.makeService, self.parse())
            self.assertEqual(refused.code, sentence)

    def test_workersStartWithTheService(self) -> None:
        """
        The queue has no worker before the service starts it.
        """
        queue: Any = self.make("--workers", "3")._queue
        self.assertEqual(queue._dispatcher._firstSlots, 3)
        self.assertEqual(queue._dispatcher._decisions.slots, 0)

    def test_broken(self) -> None:
        """
        A queue that breaks ends the daemon.
        """
        service = self.make()
        ends: list[object] = []
        self.patch(service, "_abort", ends.append)
        self.patch(service, "_killAll", lambda: ends.append("kill"))
        queue: Any = service._queue
        queue._projection._hooks.onBroken(Failure(StoreError("why")))
        self.assertEqual(ends, ["kill", "the daemon ends: why"])

    def test_resize(self) -> None:
        """
        More workers than there can be files for are rejected later too.
        """
        self.patch(resource, "getrlimit", lambda which: (256, 1024))
        self.patch(resource, "setrlimit", lambda which, limits: None)
        queue: Any = self.make()._queue
        error = self.failureResultOf(queue.resize(107), InvalidJob).value
        ((where, code, sentence),) = error.problems
        self.assertEqual((where, code), ("/workers", "out_of_range"))
        self.assertIn("106", sentence)
        queue.checkWorkers(106)

    def test_budget(self) -> None:
        """
        Files are kept back for jobs, for the daemon's own socket and for other
        connections, and together they are no more than there are.
        """
        for limit in (96, 128, 256, 1024, 4096, 20000, 1 << 20):
            for listens in (False, True):
                budget = budgetOf(limit, listens)
                assert budget.jobs is not None
                self.assertGreaterEqual(budget.jobs, 4)
                self.assertGreaterEqual(budget.ownConnections, 8)
                self.assertEqual(budget.connections >= 8, listens)
                used = budget.jobs * 8 + budget.ownConnections + budget.connections + 48
                self.assertLessEqual(used, limit)
        self.assertEqual(budgetOf(20000, True), FileBudget(2334, 1024, 256))
        self.assertEqual(budgetOf(resource.RLIM_INFINITY, True), FileBudget(None, 1024, 256))

    def test_connectionLimits(self) -> None:
        """
        Other endpoints share one limit, and the daemon's own socket has another.
        """
        token = self.file(b"secret")
        other = ("--listen", f"unix:{self.scratch}/s")
        service = self.make("--listen", "tcp:8080", *other, "--token-file", token)
        doors: list[Any] = list(service._doors)
        own, tcp, unix = ((door._connections, site._connections) for door, site in doors)
        self.assertIs(own[0], own[1])
        self.assertIsNot(own[0], tcp[0])
        self.assertEqual({tcp[0], tcp[1]}, {unix[0], unix[1]})

    def test_lockFile(self) -> None:
        """
        A Unix socket of C{--listen} has no lock file, whatever it says, and replaces one
        that was left. An abstract one cannot be left.
        """
        for more in ("", ":lockfile=1", ":lockfile=0:backlog=9"):
            path = f"{self.scratch}/s"
            endpoint = listenAt(FakeReactor(), f"unix:{path}:mode=600{more}", None)
            assert isinstance(endpoint, UnixEndpoint)
            self.assertEqual((endpoint.path, endpoint.endpoint._wantPID), (path, False))
        abstract = listenAt(FakeReactor(), "unix:\0s:mode=600", None)
        self.assertIsInstance(abstract, UNIXServerEndpoint)

    def test_anyNumber(self) -> None:
        """
        Where there can be any number of files, there can be any number of workers.
        """
        unlimited = (256, resource.RLIM_INFINITY)
        self.patch(resource, "getrlimit", lambda which: unlimited)
        self.patch(resource, "setrlimit", lambda which, limits: None)
        queue: Any = self.make("--workers", "1000")._queue
        queue.checkWorkers(60000)

    def test_commandWorker(self) -> None:
        """
        Without C{--worker-class} the jobs are commands, which are checked.
        """
        queue: Any = self.make()._queue
        self.assertEqual(queue.workerName, "ganeti_pool.commands.CommandWorker")
        self.assertIs(queue._rules.checkArgs, checkArgs)
        self.assertTrue(queue._rules.keepsTimeout and queue._rules.keepsOutput)
        self.assertEqual(self.slots, [("ganeti-pool", CommandWorker)])

    def test_newStore(self) -> None:
        """
        A new store beside files that are not its output is rejected before anything is made.
        One that exists is left to the queue, which can read its ID.
        """
        output = self.state / "output" / "2024"
        self.state.mkdir(0o700)
        output.mkdir(parents=True)
        (output / "data.csv").write_text("1")
        error = self.assertRaises(StoreError, self.make)
        self.assertIn("belongs to another store or to you", str(error))
        self.assertEqual(os.listdir(self.state), ["output"])
        (self.state / "jobs.sqlite").touch(0o600)
        self.make()

    def test_guard(self) -> None:
        """
        When the reactor runs, signals get their handlers; then those that are ignored are
        ignored by the daemon alone. A child that is forked gives up the locks and the
        connections.
        """
        guards: list[str] = []
        sources: list[Any] = []
        self.patch(_make, "endOnSignals", lambda *args, **others: guards.append("end"))
        self.patch(_make, "surviveSignals", lambda reopen: guards.append("survive"))
        self.patch(_make, "unignoreSignals", lambda: guards.append("unignore"))
        self.patch(_make, "releaseInChildren", sources.append)
        service = self.make()
        self.assertEqual((guards, sources), ([], []))
        service._guard()
        self.assertEqual(guards, ["end", "survive", "unignore"])
        channel: Any = Mock()
        channel.transport.fileno.return_value = 1234
        site: Any = service._doors[0][1]
        site.opened(channel)
        (descriptors,) = sources
        self.assertEqual([*descriptors()], [*service._lock.descriptors(), 1234])

    def test_onCrash(self) -> None:
        """
        A worker class may have its jobs started again after a crash; a word for it
        that means nothing is refused.
        """
        self.addCleanup(setattr, PlainWorker, "onCrash", PlainWorker.onCrash)
        name = f"{__name__}.PlainWorker"
        for said, means in (("retry", OnCrash.RETRY), ("fail", OnCrash.FAIL)):
            PlainWorker.onCrash = said
            service = self.make("--worker-class", name)
            queue: Any = service._queue
            self.assertIs(queue.onCrash, means)
            service._lock.release()
        PlainWorker.onCrash = "perhaps"
        error = self.assertRaises(usage.UsageError, self.make, "--worker-class", name)
        self.assertIn("not 'perhaps'", str(error))

    def test_workerBases(self) -> None:
        """
        A job may name the worker class or one that it extends, but not the base of all; what is
        not a class extends none.
        """

        class Own(CommandWorker):
            """
            Runs commands.
            """

        command = "ganeti_pool.commands.CommandWorker"
        self.assertEqual(basesOf(Own), {qual(Own), command})
        self.assertEqual(basesOf(CommandWorker), {command})
        self.assertEqual(basesOf(BaseWorker), frozenset())
        self.assertEqual(basesOf(lambda pool, name: None), frozenset())
        service = self.make("--worker-class", "tests.daemonworkers.HastyWorker")
        queue: Any = service._queue
        self.assertIn(command, queue.workerBases)
        service._lock.release()

    def test_argsVersion(self) -> None:
        """
        A worker class may say in which version it takes its args, which is 1 if it does
        not; what is no such number is refused.
        """
        for workerClass, means in ((PlainWorker, 1), (VersionedWorker, 2)):
            service = self.make("--worker-class", f"{__name__}.{workerClass.__name__}")
            queue: Any = service._queue
            self.assertEqual(queue._rules.argsVersion, means)
            service._lock.release()
        name = f"{__name__}.VersionedWorker"
        for wrong in (0, "2", True, 1 << 63):
            self.patch(VersionedWorker, "argsVersion", wrong)
            error = self.assertRaises(usage.UsageError, self.make, "--worker-class", name)
            self.assertIn(f"the argsVersion of the worker class '{name}'", str(error))
            self.assertIn(f"not {wrong!r}", str(error))

    def test_workerClass(self) -> None:
        """
        Any factory of workers can be named.
        """
        for name in ("PlainWorker", "makePlainWorker"):
            service = self.make("--worker-class", f"{__name__}.{name}")
            queue: Any = service._queue
            self.assertEqual(self.slots[-1], ("ganeti-pool", globals()[name]))
            self.assertIsNone(queue._rules.checkArgs)
            self.assertFalse(queue._rules.keepsTimeout or queue._rules.keepsOutput)
            service._lock.release()

    def test_reap(self) -> None:
        """
        The processes of an earlier daemon are searched for by its state directory.
        """
        queue: Any = self.make()._queue
        reap = queue._dispatcher._recovery._reap
        self.assertEqual((reap.args, reap([])), ((str(self.state),), 0))

    def test_defaultDirectory(self) -> None:
        """
        Without C{--state-dir} the state directory is the user's own.
        """
        self.patch(StatePaths, "default", lambda: StatePaths.at(str(self.state)))
        options = tap.Options()
        options.parseOptions([])
        service = _make.makeDaemon(self.reactor, options)
        assert isinstance(service, JobQueueService)
        service._lock.release()
        self.assertTrue(self.state.is_dir())

    def test_plugin(self) -> None:
        """
        twistd finds all this under the name C{ganeti-pool}.
        """
        plugin = ganeti_pool_plugin.ganetiPool
        self.assertTrue(IPlugin.providedBy(plugin))
        self.assertEqual((plugin.tapname, plugin.module), ("ganeti-pool", "ganeti_pool.tap"))


class RefusalTests(TapCase):
    """
    Tests for what no service can be made of.
    """

    def setUp(self) -> None:
        super().setUp()
        make = _make.makeDaemon
        self.patch(_make, "makeDaemon", lambda _, options: make(self.reactor, options))
        self.steady: list[object] = []
        self.patch(_make, "goSteady", self.steady.append)

    def refuse(self, *arguments: str) -> SystemExit:
        """
        @return: what ends the program.
        """
        error = self.assertRaises(SystemExit, tap.makeService, self.parse(*arguments))
        assert isinstance(error, SystemExit)
        return error

    def test_accepted(self) -> None:
        """
        With nothing wrong there is a service, and the reactor goes by a steady clock.
        """
        from twisted.internet import reactor

        service = tap.makeService(self.parse())
        self.assertTrue(IService.providedBy(service))
        self.assertEqual(self.steady, [reactor])
        assert isinstance(service, JobQueueService)
        service._lock.release()

    def test_workerClass(self) -> None:
        """
        A worker class must be there, be callable, and be one; else nothing is
        made.
        """
        for name, why in (
            ("nowhere.Worker", "imported"),
            (f"{__name__}.Missing", "imported"),
            (f"{__name__}.NO_CLASS", "no class"),
            (f"{__name__}.NoWorker", "IWorker"),
        ):
            self.assertSentence(self.refuse("--worker-class", name), name, why)
        self.assertFalse(self.state.exists())

    def test_longPath(self) -> None:
        """
        A state directory that is too deep for a socket is refused.
        """
        self.state = self.scratch / ("x" * 120)
        self.assertSentence(self.refuse(), "107")

    def test_inUse(self) -> None:
        """
        A state directory in use is refused.
        """
        self.make()
        self.assertSentence(self.refuse(), str(self.state), "in use")

    def test_storeInUse(self) -> None:
        """
        So is the store of another daemon, by whatever name, and the state directory is
        free again.
        """
        self.make()
        link = self.scratch / "link"
        link.symlink_to(self.state / "jobs.sqlite")
        self.state = self.scratch / "another"
        self.assertSentence(self.refuse("--store", f"sqlite://{link}"), str(link), "in use")
        self.make()

    def test_noStore(self) -> None:
        """
        A store where no file can be is refused, and nothing is made.
        """
        for path in ("/nowhere/jobs.sqlite", str(self.scratch)):
            self.assertSentence(self.refuse("--store", f"sqlite://{path}"), path)
        self.assertFalse(self.state.exists())

    def test_noText(self) -> None:
        """
        A state directory or a store whose name is not valid UTF-8 is refused, and nothing is made.
        """
        for option, path in (
            ("--state-dir", f"{self.scratch}/a\udcff"),
            ("--store", f"sqlite://{self.scratch}/a\udcff"),
        ):
            self.assertSentence(self.refuse(option, path), r"a\xff", "UTF-8")
        self.assertEqual(os.listdir(self.scratch), [])

    def test_noDirectory(self) -> None:
        """
        A state directory that cannot be made is refused.
        """
        self.state = Path(self.file(b"")) / "below"
        self.assertSentence(self.refuse(), str(self.state))

    def test_othersDirectory(self) -> None:
        """
        A state directory that is open to others is refused, and left as it is.
        """
        self.state.mkdir()
        for mode in (0o770, 0o702, 0o755, 0o710, 0o704):
            self.state.chmod(mode)
            self.assertSentence(self.refuse(), f"{mode:04o}", f"chmod 700 {self.state}")
            self.assertEqual(self.state.stat().st_mode & 0o777, mode)
        self.assertEqual(os.listdir(self.state), [])

    def test_anotherUsersDirectory(self) -> None:
        """
        A state directory of another user is refused.
        """
        self.state.mkdir()
        self.patch(os, "geteuid", lambda: self.state.stat().st_uid + 1)
        self.assertSentence(self.refuse(), "another user")

    def test_token(self) -> None:
        """
        A token file must be there, and hold one.
        """
        missing = str(self.scratch / "missing")
        self.assertSentence(self.refuse("--token-file", missing), missing)
        self.assertSentence(self.refuse("--token-file", self.file(b" \n")), "empty")
        self.assertSentence(self.refuse("--token-file", self.file(b"two words")), "one word")
        pipe = str(self.scratch / "pipe")
        os.mkfifo(pipe, 0o600)
        self.assertSentence(self.refuse("--token-file", pipe), pipe, "no regular file")
        token = self.file(b"secret")
        os.chmod(token, 0o604)
        self.assertSentence(self.refuse("--token-file", token), token, "0604")

    def test_tooManyWorkers(self) -> None:
        """
        More workers than there can be files for are refused.
        """
        self.patch(resource, "getrlimit", lambda which: (256, 1024))
        self.patch(resource, "setrlimit", lambda which, limits: None)
        self.assertSentence(self.refuse("--workers", "107"), "--workers", "106", "1024")
        self.assertSentence(self.refuse("--workers", "1001"), "--workers", "at most 1000")
        tap.makeService(self.parse("--workers", "106"))._lock.release()  # type: ignore[attr-defined]

    def test_tooFewFiles(self) -> None:
        """
        A limit of open files that is too small for any worker is named, with the least
        one that is enough.
        """
        self.patch(resource, "setrlimit", lambda which, limits: None)
        for limit, isEnough in ((40, False), (63, False), (64, True)):
            self.patch(resource, "getrlimit", lambda which, limit=limit: (limit, limit))
            if isEnough:
                tap.makeService(self.parse("--workers", "1"))._lock.release()  # type: ignore[attr-defined]
            else:
                refused = self.refuse("--workers", "1")
                self.assertSentence(refused, f"limit of {limit} open files", "needs 64")
        self.patch(resource, "getrlimit", lambda which: (40, 40))
        self.assertSentence(self.refuse(), "needs 64", "88 for --workers 4")

    def test_controls(self) -> None:
        """
        The text of an exception that is part of the sentence has no effect on a terminal.
        """
        name = "a\x1b[2J\n\u2028b.C"
        self.assertSentence(self.refuse("--worker-class", name), "cannot be imported")
        self.assertTrue(str(self.refuse("--worker-class", name).code).isprintable())

    def test_openDoor(self) -> None:
        """
        A door that whoever passes could use is refused.
        """
        for endpoint in (
            "tcp:8080",
            "unix:/tmp/s",
            "unix:/tmp/s:mode=662",
            r"unix:/tmp/a\:mode\=600",
        ):
            self.assertSentence(self.refuse("--listen", endpoint), endpoint, "--token-file")

    def test_makesNone(self) -> None:
        """
        What cannot be called with a pool and a name is refused, and nothing is made. What
        does not tell what it takes is tried when the daemon starts.
        """
        for name in ("builtins.abs", "builtins.len", f"{__name__}.WorkerOfOne"):
            error = self.refuse("--worker-class", name)
            self.assertSentence(error, name, "with a pool and the name of a worker")
        self.assertFalse(self.state.exists())
        # It has no signature that Python knows.
        self.make("--worker-class", "builtins.min")

    def test_noEndpoint(self) -> None:
        """
        An invalid endpoint is rejected.
        """
        token = self.file(b"secret")
        for endpoint in ("nonsense:1", "tcp:"):
            error = self.refuse("--listen", endpoint, "--token-file", token)
            self.assertSentence(error, endpoint, "not a valid endpoint")

    def test_missingExtra(self) -> None:
        """
        A missing extra is named.
        """

        def fail(reactor: object, options: object) -> None:
            raise ModuleNotFoundError("No module named 'klein'", name="klein")

        self.patch(_make, "makeDaemon", fail)
        self.assertSentence(self.refuse(), "klein", "ganeti-pool[daemon]")
