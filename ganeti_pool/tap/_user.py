"""
The user that the daemon runs as, who may differ from the user that starts it.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from twisted.python import usage

__all__ = ["User", "userOf"]


@dataclass(frozen=True)
class User:
    """
    The user and the group that the daemon's process has when its reactor runs.

    @ivar uid: the user.
    @ivar gid: the group that twistd changes to; L{None} if it changes neither.
    @ivar name: the name of a user that twistd changes to; L{None} if it does not.
    @ivar home: the home directory of that user.
    """

    uid: int
    gid: int | None = None
    name: str | None = None
    home: str | None = None

    @contextmanager
    def acting(self) -> Iterator[None]:
        """
        Use files with the permissions of this user, who owns the files created in this
        context, even while the process still runs as root.

        Threads: the main thread's, as long as the process has no other.
        """
        if self.gid is None or os.geteuid() != 0:
            # It is this user, or has become it.
            yield
            return
        groups, gid, uid = os.getgroups(), os.getegid(), os.geteuid()
        try:
            if self.name is not None:
                os.initgroups(self.name, self.gid)
            os.setegid(self.gid)
            os.seteuid(self.uid)
            yield
        finally:
            os.seteuid(uid)
            os.setegid(gid)
            os.setgroups(groups)


def userOf(ofTwistd: Mapping[str, Any]) -> User:
    """
    Read twistd's C{--uid} and C{--gid}. Twistd changes its user after it has made the
    service.

    @param ofTwistd: twistd's options.
    @raise usage.UsageError: if it cannot become that user, or is to change its root too.
    """
    if ofTwistd.get("chroot") is not None:
        raise usage.UsageError(
            "twistd's --chroot is refused, since twistd changes its root after the daemon has "
            "prepared its state directory: start twistd by chroot(8) instead"
        )
    uid, gid = ofTwistd.get("uid"), ofTwistd.get("gid")
    mine = os.geteuid()
    if uid in (None, mine):
        # Twistd leaves the user as it is, and changes the group only.
        return User(mine, gid)
    if mine != 0:
        raise usage.UsageError(
            f"twistd's --uid {uid} is refused: only root can become another user. "
            "Start the daemon as that user instead"
        )
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise usage.UsageError(
            f"twistd's --uid {uid} is refused: no user has this number, and twistd needs the "
            "groups of the user. Add one with that number, or start the daemon by setpriv(1)"
        ) from None
    return User(uid, entry.pw_gid if gid is None else gid, entry.pw_name, entry.pw_dir)
