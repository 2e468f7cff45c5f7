"""
Tests for the state directory of C{twistd ganeti-pool}: whose it is, that nobody can
exchange it, and that it lasts.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.application.app import ServerOptions
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.daemon import JobQueueService
from ganeti_pool.paths import StatePaths
from ganeti_pool.tap import _make, _state
from ganeti_pool.tap._state import checkState, openLogFile, prepareState, statePaths
from ganeti_pool.tap._user import User, userOf

from .test_tap import TapCase

MALLORY = 4321
"""
The number of another user.
"""


class FakeFiles:
    """
    Lets files have other owners and modes than they have.
    """

    def __init__(self, case: SynchronousTestCase) -> None:
        self._changes: dict[str, tuple[int | None, int | None]] = {}
        for name in ("stat", "lstat"):
            case.patch(os, name, self._altered(getattr(os, name), follows=name == "stat"))

    def _altered(self, look: Any, follows: bool) -> Any:
        def altered(path: Any, **settings: Any) -> os.stat_result:
            found: os.stat_result = look(path, **settings)
            # What is asked of a link by its name is about the file behind it.
            name = os.path.realpath(path) if follows else os.fspath(path)
            owner, bits = self._changes.get(name, (None, None))
            fields = list(found)
            if owner is not None:
                fields[stat.ST_UID] = owner
            if bits is not None:
                fields[stat.ST_MODE] = stat.S_IFMT(found.st_mode) | bits
            return os.stat_result(fields)

        return altered

    def change(self, path: Path | str, owner: int | None = None, mode: int | None = None) -> None:
        """
        Give a file to another user, or another mode.
        """
        self._changes[str(path)] = (owner, mode)


class StateCase(TapCase):
    """
    A state directory whose files may be another user's.
    """

    def setUp(self) -> None:
        super().setUp()
        self.files = FakeFiles(self)
        self.user = User(os.geteuid())
        # Whatever mode it has here.
        self.files.change("/tmp", 0, 0o1777)

    def check(self, store: str | None = None) -> None:
        paths = StatePaths.at(str(self.state))
        checkState(paths, paths.store if store is None else store, self.user)

    def refuse(self, *parts: object, store: str | None = None) -> None:
        """
        The state directory is refused with a sentence that names something.
        """
        error = self.assertRaises(usage.UsageError, self.check, store)
        for part in parts:
            self.assertIn(str(part), str(error))


class CheckTests(StateCase):
    """
    Tests for L{checkState}.
    """

    def test_new(self) -> None:
        """
        What is not there yet is not refused, and nothing is made.
        """
        self.state = self.scratch / "a" / "b"
        self.check()
        self.assertEqual(os.listdir(self.scratch), [])

    def test_whole(self) -> None:
        """
        Nor is what the daemon has left.
        """
        service = self.make()
        self.check()
        assert isinstance(service, JobQueueService)

    def test_file(self) -> None:
        """
        A file is refused as the state directory.
        """
        self.state = self.scratch / "file"
        self.state.touch()
        self.refuse(self.state, "is not a directory")

    def test_link(self) -> None:
        """
        A link of another user's is refused as the state directory and anywhere before it;
        one of the daemon's user or root's is followed.
        """
        real = self.scratch / "real"
        real.mkdir(0o700)
        link = self.scratch / "link"
        link.symlink_to(real)
        for self.state in (link, link / "below" / "state"):
            self.check()
            self.files.change(link, MALLORY)
            self.refuse(link, "another user", MALLORY)
            self.files.change(link, 0)
            self.check()

    def test_linkElsewhere(self) -> None:
        """
        In a directory that others cannot write to, a link may be anybody's; not so if a
        group can write to it.
        """
        self.files.change("/tmp", 0, 0o755)
        link = self.scratch / "link"
        link.symlink_to(".")
        self.state = link / "state"
        self.files.change(link, MALLORY)
        self.check()
        self.files.change(self.scratch, mode=0o770)
        self.refuse(link)

    def test_directory(self) -> None:
        """
        Below a directory that everybody can write to, a directory of another user's is
        refused too, since that user can exchange what is in it.
        """
        parent = self.scratch / "parent"
        parent.mkdir()
        self.state = parent / "state"
        self.files.change(parent, MALLORY)
        self.refuse(parent)
        self.files.change("/tmp", 0, 0o755)
        self.check()

    def test_linksAreFollowed(self) -> None:
        """
        The way behind a link is checked as well, whether that is absolute or relative.
        """
        (self.scratch / "a").mkdir()
        theirs = self.scratch / "theirs"
        theirs.mkdir()
        self.files.change(theirs, MALLORY)
        for target in (str(theirs), "../theirs", f"../../../../../../..{theirs}", "./../theirs/."):
            link = self.scratch / "a" / "link"
            link.symlink_to(target)
            self.state = link / "state"
            self.refuse(theirs)
            link.unlink()

    def test_endlessLinks(self) -> None:
        """
        Links that lead nowhere are refused as the system does.
        """
        self.state = self.scratch / "link"
        self.state.symlink_to("link")
        error = self.assertRaises(OSError, self.check)
        self.assertEqual((error.errno, error.filename), (errno.ELOOP, str(self.state)))

    def test_contents(self) -> None:
        """
        Lock, output and store may not be another user's, nor links of one.
        """
        self.state.mkdir(0o700)
        for name in ("lock", "output", "jobs.sqlite", "jobs.sqlite.lock"):
            path = self.state / name
            path.symlink_to(self.scratch / "elsewhere")
            self.check()
            self.files.change(path, MALLORY)
            self.refuse(path, "another user")
            path.unlink()
            path.touch()
            self.refuse(path, "another user")
            # Nobody else can have put it there, but it could be changed.
            self.files.change("/tmp", 0, 0o755)
            self.refuse(path, "another user")
            self.files.change("/tmp", 0, 0o1777)
            path.unlink()

    def test_store(self) -> None:
        """
        So for a store elsewhere, and for its lock behind a link.
        """
        store = self.scratch / "jobs.sqlite"
        self.check(str(store))
        store.symlink_to(self.scratch / "real.sqlite")
        lock = self.scratch / "real.sqlite.lock"
        lock.touch()
        self.check(str(store))
        self.files.change(lock, MALLORY)
        self.refuse(lock, store=str(store))
        self.files.change(lock)
        for suffix in ("-wal", "-shm", "-journal"):
            path = Path(f"{store}{suffix}")
            path.touch()
            self.check(str(store))
            self.files.change(path, MALLORY)
            self.refuse(path, store=str(store))
            self.files.change(path)
        self.files.change(store, MALLORY)
        self.refuse(store, store=str(store))

    def test_refusedStart(self) -> None:
        """
        A start with such a directory makes nothing.
        """
        link = self.scratch / "link"
        link.symlink_to(self.scratch / "real")
        self.state = link / "state"
        self.files.change(link, MALLORY)
        self.assertRaises(usage.UsageError, self.make)
        self.assertEqual(os.listdir(self.scratch), ["link"])

    def test_installation(self) -> None:
        """
        A user who cannot read Python is refused, since modules are imported later too.
        """
        self.user = User(self.user.uid, 0, "ana", "/home/ana")

        def refuse(path: str, flags: int) -> int:
            raise PermissionError(errno.EACCES, "Permission denied", path)

        self.patch(User, "acting", nothing)
        self.check()
        self.patch(os, "open", refuse)
        self.refuse(os.__file__, self.user.uid)


class PrepareTests(StateCase):
    """
    Tests for L{prepareState}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.state = self.scratch / "a" / "b" / "state"
        self.synced: list[str] = []
        self.patch(os, "fsync", self.sync)

    def sync(self, descriptor: int) -> None:
        self.synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    def prepare(self) -> None:
        prepareState(StatePaths.at(str(self.state)), self.user)

    def test_modes(self) -> None:
        """
        Whatever the umask, the directory and its new parents are their owner's alone.
        """
        for umask in (0, 0o777):
            before = os.umask(umask)
            try:
                self.prepare()
                self.assertEqual(os.umask(umask), umask)
            finally:
                os.umask(before)
            for path in (self.state / "output", self.state, *self.state.parents[:2]):
                self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o700, path)
            self.state = self.scratch / "c" / "d" / "state"

    def test_synced(self) -> None:
        """
        The entries of all new directories are on the disk, up to the first directory that
        was there.
        """
        self.prepare()
        made = [self.state / "output", self.state, *self.state.parents[:3]]
        self.assertEqual(made[-1], self.scratch)
        self.assertEqual(set(self.synced), set(map(str, made)))

    def test_again(self) -> None:
        """
        Those of a directory that was there too, since its daemon may have been killed
        before they were.
        """
        self.prepare()
        self.synced.clear()
        self.prepare()
        self.assertLessEqual({str(self.state), str(self.state.parent)}, set(self.synced))

    def test_cannotSync(self) -> None:
        """
        A directory that cannot be synced, since the file system has no such thing, is no
        obstacle; an error of the disk is one.
        """
        for number in (errno.EINVAL, errno.EACCES, errno.EIO):

            def fail(descriptor: int, number: int = number) -> None:
                raise OSError(number, os.strerror(number))

            self.patch(os, "fsync", fail)
            if number == errno.EIO:
                self.assertRaises(OSError, self.prepare)
            else:
                self.prepare()

    def test_noDirectory(self) -> None:
        """
        A file in the place of the directory is refused.
        """
        self.state = self.scratch / "file"
        self.state.touch()
        error = self.assertRaises(NotADirectoryError, self.prepare)
        self.assertEqual(error.filename, str(self.state))

    def test_forAnotherUser(self) -> None:
        """
        Directories for another user are made as that user, or else as root and given away.
        """
        made: list[object] = []
        mkdir = os.mkdir

        @contextmanager
        def acting(user: User) -> Iterator[None]:
            made.append("acting")
            yield
            made.append("root")

        def fake(path: str, mode: int) -> None:
            if made[-1] == "acting" and path in (str(self.state), str(self.state.parent)):
                made.append("root")
                raise PermissionError(errno.EACCES, "Permission denied", path)
            made.append(path)
            mkdir(path, mode)

        self.patch(User, "acting", acting)
        self.patch(os, "mkdir", fake)
        self.patch(os, "chown", lambda *given, **settings: made.append((*given, settings)))
        self.user = User(MALLORY, 99, "ana", "/home/ana")
        self.state = self.scratch / "a" / "b"
        self.prepare()
        first, second = str(self.state.parent), str(self.state)
        links = {"follow_symlinks": False}
        self.assertEqual(
            made,
            [
                *("acting", "root", first, (first, MALLORY, 99, links)),
                *("acting", "root", second, (second, MALLORY, 99, links)),
                *("acting", f"{second}/output", "root"),
            ],
        )
        self.user = User(MALLORY)
        self.state = self.scratch / "c"
        self.assertRaises(PermissionError, self.prepare)


@contextmanager
def nothing(user: User) -> Iterator[None]:
    """
    Stands for L{User.acting}.
    """
    yield


class LogFileTests(StateCase):
    """
    Tests for L{openLogFile}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.path = self.scratch / "log"
        self.given: list[object] = []
        self.patch(os, "fchown", lambda descriptor, *given: self.given.append(given))

    def open(self) -> None:
        os.close(openLogFile(str(self.path), self.user))

    def test_mode(self) -> None:
        """
        A new log file cannot be written to by others, whatever the umask.
        """
        before = os.umask(0)
        try:
            self.open()
        finally:
            os.umask(before)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o644)

    def test_link(self) -> None:
        """
        A link of another user's is refused.
        """
        self.path.symlink_to(self.scratch / "elsewhere")
        self.files.change(self.path, MALLORY)
        error = self.assertRaises(usage.UsageError, self.open)
        self.assertIn(str(self.path), str(error))
        self.assertEqual(os.listdir(self.scratch), ["log"])

    def deny(self, first: int) -> None:
        """
        Refuse to open the log, once or always.
        """
        left = [first]
        openLog = _state._openLog

        def fake(path: str) -> int:
            if left[0]:
                left[0] -= 1
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return openLog(path)

        self.patch(_state, "_openLog", fake)
        self.patch(User, "acting", nothing)

    def test_asRoot(self) -> None:
        """
        What the user that twistd changes to cannot open is opened by root, and a new file
        is the user's. Nothing on the way may be that user's then.
        """
        self.patch(os, "geteuid", lambda: 0)
        self.files.change(self.scratch, 0)
        self.user = User(MALLORY, 99, "ana", "/home/ana")
        for given in ([(MALLORY, 99)], []):
            self.deny(1)
            self.open()
            self.assertEqual(self.given, given)
            self.given.clear()
            self.files.change(self.path, 0)
        self.deny(1)
        self.files.change(self.scratch, MALLORY)
        self.assertRaises(usage.UsageError, self.open)

    def test_denied(self) -> None:
        """
        A user that does not change, or has changed, is refused.
        """
        self.patch(os, "geteuid", lambda: MALLORY)
        uid = self.user.uid
        for self.user in (User(uid), User(uid, 99, "ana", "/home/ana")):
            self.deny(1)
            self.assertRaises(PermissionError, self.open)


class UserTests(SynchronousTestCase):
    """
    Tests for L{userOf} and L{User}.
    """

    def setUp(self) -> None:
        self.calls: list[object] = []
        self.patch(os, "geteuid", lambda: 0)
        self.patch(os, "getegid", lambda: 7)
        self.patch(os, "getgroups", lambda: [7, 8])
        for name in ("initgroups", "setgroups", "setegid", "seteuid"):
            self.patch(os, name, self.note(name))
        self.patch(pwd, "getpwuid", self.entry)

    def note(self, name: str) -> Any:
        return lambda *given: self.calls.append((name, *given))

    def entry(self, uid: int) -> Any:
        if uid != MALLORY:
            raise KeyError(uid)
        return SimpleNamespace(pw_gid=99, pw_name="ana", pw_dir="/home/ana")

    def test_same(self) -> None:
        """
        Without options twistd changes nothing, nor if it has the user already.
        """
        for options in ({}, {"uid": None, "gid": None}, {"uid": 0}):
            user = userOf(options)
            self.assertEqual(user, User(0))
            with user.acting():
                self.assertEqual(self.calls, [])

    def test_user(self) -> None:
        """
        With C{--uid} the files are used as that user, in its groups or in the one that
        C{--gid} names, and as root again in the end.
        """
        for gid in (99, 5):
            user = userOf({"uid": MALLORY, "gid": None if gid == 99 else gid})
            self.assertEqual(user, User(MALLORY, gid, "ana", "/home/ana"))
            before = [("initgroups", "ana", gid), ("setegid", gid), ("seteuid", MALLORY)]
            after = [("seteuid", 0), ("setegid", 7), ("setgroups", [7, 8])]
            with self.assertRaises(ZeroDivisionError), user.acting():
                self.assertEqual(self.calls, before)
                raise ZeroDivisionError
            self.assertEqual(self.calls, before + after)
            self.calls.clear()

    def test_group(self) -> None:
        """
        With C{--gid} alone the user stays.
        """
        user = userOf({"uid": None, "gid": 5})
        self.assertEqual(user, User(0, 5))
        with user.acting():
            self.assertEqual(self.calls, [("setegid", 5), ("seteuid", 0)])

    def test_changed(self) -> None:
        """
        When twistd has changed the user, nothing is left to change.
        """
        user = userOf({"uid": MALLORY})
        self.patch(os, "geteuid", lambda: MALLORY)
        with user.acting():
            self.assertEqual(self.calls, [])

    def test_refused(self) -> None:
        """
        A user that twistd cannot become is refused, and so is another root.
        """
        error = self.assertRaises(usage.UsageError, userOf, {"uid": 1234})
        self.assertIn("1234", str(error))
        error = self.assertRaises(usage.UsageError, userOf, {"chroot": "/srv"})
        self.assertIn("--chroot", str(error))
        self.patch(os, "geteuid", lambda: 5)
        error = self.assertRaises(usage.UsageError, userOf, {"uid": MALLORY})
        self.assertIn("only root", str(error))

    def test_statePaths(self) -> None:
        """
        Without C{--state-dir} the directory is in the home directory of the user that
        twistd changes to, which must be there.
        """
        home = self.mktemp()
        user = User(MALLORY, 99, "ana", home)
        error = self.assertRaises(usage.UsageError, statePaths, None, user)
        self.assertIn("--state-dir", str(error))
        self.assertIn("ana", str(error))
        self.assertEqual(statePaths("/var/x", user).directory, "/var/x")
        os.mkdir(home)
        expected = os.path.abspath(f"{home}/.local/state/ganeti-pool")
        self.assertEqual(statePaths(None, user).directory, expected)


class MakeTests(StateCase):
    """
    Tests for the daemon of another user.
    """

    def test_locks(self) -> None:
        """
        Directory and locks are made as the user that twistd changes to.
        """
        acting: list[bool] = [False]
        made: list[object] = []
        opened = os.open

        @contextmanager
        def act(user: User) -> Iterator[None]:
            self.assertEqual(user.uid, MALLORY)
            acting[0] = True
            yield
            acting[0] = False

        def note(path: str, flags: int, *given: Any, **settings: Any) -> int:
            if flags & os.O_CREAT:
                made.append((os.path.basename(path), acting[0]))
            return opened(path, flags, *given, **settings)

        self.patch(User, "acting", act)
        self.patch(os, "open", note)
        user = User(MALLORY, 99, "ana", "/home/ana")
        self.patch(_make, "userOf", lambda ofTwistd: user)
        for path in (self.scratch, self.state, self.state / "output"):
            self.files.change(path, MALLORY)
        options = self.parse()
        options.parent = ServerOptions()
        options.parent["logfile"] = str(self.scratch / "log")
        service: Any = _make.makeDaemon(self.reactor, options)
        service.services[0]._lock.release()
        os.close(service._log.writer._sink._descriptor)
        self.assertEqual(made, [("log", True), ("lock", True), ("jobs.sqlite.lock", True)])
