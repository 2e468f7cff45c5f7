"""
Check and create the state directory and its parents.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from twisted.python import usage

from ..paths import StatePaths
from ._user import User

__all__ = ["checkState", "openLogFile", "prepareState", "statePaths"]

_MAX_LINKS = 40
"""
The number of symbolic links that the system follows in one path.
"""

_CANNOT_SYNC = frozenset({errno.EACCES, errno.EINVAL, errno.ENOTSUP})
"""
The errors for a directory that may not be read, or for a file system that does not
support C{fsync} for directories.
"""

_BESIDE_STORE = ("-wal", "-shm", "-journal")
"""
The ends of the names of the files that SQLite reads besides the store.
"""

_MODE_OF_LOG = 0o644


def statePaths(stateDir: str | None, user: User) -> StatePaths:
    """
    The state directory that was chosen, or else the user's own.

    @param stateDir: the value of C{--state-dir}.
    @raise usage.UsageError: if the user that twistd changes to has no home directory.
    @raise InvalidArgument: if there is no home directory otherwise.
    """
    if stateDir is not None:
        return StatePaths.at(stateDir)
    if user.home is None:
        return StatePaths.default()
    if not os.path.isdir(user.home):
        raise usage.UsageError(
            f"the user {user.name} has no home directory for the daemon's state: choose a "
            "directory with --state-dir"
        )
    return StatePaths.ofHome(user.home)


def checkState(paths: StatePaths, store: str, user: User) -> None:
    """
    Reject a state directory or a store that another user owns or could replace. Nothing
    is changed.

    @param store: the path of the store.
    @raise OSError: if a path cannot be looked up.
    @raise usage.UsageError: if one is refused.
    """
    with user.acting():
        _checkInstallation(user)
        _checkPath(paths.directory, "the state directory", user.uid)
        with suppress(FileNotFoundError):
            _checkDirectory(paths.directory, os.stat(paths.directory), user)
            _checkPath(paths.output, "the output directory", user.uid)
            _checkPath(paths.lock, "the lock file", user.uid)
        _checkPath(store, "the store", user.uid)
        lock = f"{os.path.realpath(store)}.lock"
        _checkPath(lock, "the lock file", user.uid)
        beside = [f"{store}{suffix}" for suffix in _BESIDE_STORE]
        for path in (paths.output, paths.lock, store, lock, *beside):
            with suppress(FileNotFoundError):
                if os.stat(path).st_uid not in (0, user.uid):
                    raise usage.UsageError(
                        f"{path} belongs to another user, who could change it: remove it, or "
                        "choose another --state-dir or --store"
                    )


def _checkInstallation(user: User) -> None:
    # Some modules are imported when they are needed.
    for path in (os.__file__, __file__):
        if user.gid is not None:
            try:
                os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            except PermissionError:
                raise usage.UsageError(
                    f"the user that twistd changes to (number {user.uid}) cannot read {path}: "
                    "install Python and the daemon where every user can read them"
                ) from None


def _checkDirectory(directory: str, status: os.stat_result, user: User) -> None:
    if not stat.S_ISDIR(status.st_mode):
        raise usage.UsageError(
            f"the state directory {directory} is not a directory: choose another --state-dir"
        )
    if status.st_uid != user.uid:
        raise usage.UsageError(
            f"the state directory {directory} belongs to another user (the daemon's user is "
            f"number {user.uid}): choose another --state-dir, or chown it"
        )
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise usage.UsageError(
            f"the state directory {directory} is open to others "
            f"(mode {stat.S_IMODE(status.st_mode):04o}): chmod 700 {directory}"
        )


def _checkPath(path: str, what: str, uid: int) -> None:
    """
    Reject a path that another user could redirect: one with a symbolic link of that user
    in a directory that others can write to, or with any entry of that user below a
    directory that everybody can write to, such as C{/tmp}. Root and the daemon's user are
    trusted.

    @param path: an absolute path. Parts that do not exist yet are accepted.
    @param what: the role of the path, for the error.
    @param uid: the daemon's user.
    @raise OSError: if a directory on the way cannot be searched.
    @raise usage.UsageError: if the path is refused.
    """
    parts = [part for part in reversed(path.split("/")) if part]
    root = os.lstat("/")
    # The real directories from the root on, each with its mode and with whether
    # everybody can write to it or to one above it.
    way = [("", root.st_mode, bool(root.st_mode & stat.S_IWOTH))]
    links = 0
    while parts:
        part = parts.pop()
        if part == "..":
            if len(way) > 1:
                way.pop()
            continue
        above, mode, isOpen = way[-1]
        place = f"{above}/{part}"
        try:
            status = os.lstat(place)
        except FileNotFoundError:
            return
        isLink = stat.S_ISLNK(status.st_mode)
        isExchangeable = isOpen or (isLink and mode & stat.S_IWGRP)
        if isExchangeable and status.st_uid not in (0, uid):
            raise usage.UsageError(
                f"{what} {path} is not safe: {place} belongs to another user "
                f"(number {status.st_uid}), who could redirect it. Choose another path"
            )
        if not isLink:
            way.append((place, status.st_mode, isOpen or bool(status.st_mode & stat.S_IWOTH)))
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(place)
        if target.startswith("/"):
            del way[1:]
        parts += [part for part in reversed(target.split("/")) if part not in ("", ".")]


def prepareState(paths: StatePaths, user: User) -> None:
    """
    Create the missing ones of the state directory, its parents and the directory for
    output, for the daemon's user alone. They are synced to disk when this returns.

    @raise OSError: if one cannot be created.
    """
    _makeDirectory(paths.directory, user)
    _makeDirectory(paths.output, user)


def _makeDirectory(directory: str, user: User) -> None:
    parent = os.path.dirname(directory)
    if not os.path.lexists(parent):
        _makeDirectory(parent, user)
    # One that was there may be new all the same: an earlier start may have been killed.
    with suppress(FileExistsError):
        try:
            with user.acting():
                _create(directory)
        except PermissionError:
            if user.gid is None:
                raise
            # Only root can write to the parent, so nobody exchanges the new directory.
            _create(directory)
            os.chown(directory, user.uid, user.gid, follow_symlinks=False)
    _sync(directory)
    _sync(parent)


def _create(directory: str) -> None:
    # The umask may take away what the daemon needs.
    before = os.umask(0o077)
    try:
        os.mkdir(directory, 0o700)
    finally:
        os.umask(before)


def _sync(directory: str) -> None:
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def openLogFile(path: str, user: User) -> int:
    """
    Open a log file for appending, as the daemon's user or, if that user has no permission,
    as the user that started twistd. A new file belongs to the daemon's user, and others
    can read it if the umask allows that.

    @return: its descriptor.
    @raise OSError: if it cannot be opened.
    @raise usage.UsageError: if another user could replace it.
    """
    try:
        with user.acting():
            _checkPath(path, "the log file", user.uid)
            return _openLog(path)
    except PermissionError:
        if user.gid is None or os.geteuid() != 0:
            raise
    # As root, so nothing on the way may be anybody's but root's.
    _checkPath(path, "the log file", 0)
    isNew = not os.path.exists(path)
    descriptor = _openLog(path)
    if isNew:
        os.fchown(descriptor, user.uid, user.gid)
    return descriptor


def _openLog(path: str) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
    return os.open(path, flags, _MODE_OF_LOG)
