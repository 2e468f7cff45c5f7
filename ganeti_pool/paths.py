"""
Where the daemon keeps what it keeps, and where the command looks for it.

One answer for both, so that neither needs to be told where the other is.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from .errors import InvalidArgument
from .jobs.limits import loneSurrogate

__all__ = ["LONGEST_SOCKET_PATH", "StatePaths", "checkText", "readToken"]

LONGEST_SOCKET_PATH = 107
"""
How many bytes the path of a Unix socket has at most: C{sun_path} without the
null byte that ends it.
"""

_LONGEST_TOKEN_FILE = 4096


def readToken(path: str) -> str:
    """
    The bearer token in a file, without the white space around it. The daemon and the
    command take the same ones.

    @raise OSError: if the file cannot be read.
    @raise InvalidArgument: if it holds no token: printable ASCII without spaces. The
        token is not in the sentence.
    """
    with open(path, "rb") as file:
        text = file.read(_LONGEST_TOKEN_FILE + 1)
    token = text.strip()
    if len(text) > _LONGEST_TOKEN_FILE:
        why = f"is longer than {_LONGEST_TOKEN_FILE} bytes"
    elif not token:
        why = "is empty"
    elif not re.fullmatch(rb"[!-~]+", token):
        why = "holds something else than one word of printable ASCII"
    else:
        return token.decode("ascii")
    raise InvalidArgument(f"the token file {path} {why}")


def checkText(what: str, path: str) -> None:
    """
    Refuse a path that is not valid UTF-8, which neither SQLite nor JSON can say.

    @param what: the path's name in the sentence.
    @raise InvalidArgument: if it is none.
    """
    if loneSurrogate(path):
        raise InvalidArgument(
            f"{what} {os.fsencode(path)!r} is not valid UTF-8: choose one that is"
        )


@dataclass(frozen=True)
class StatePaths:
    """
    The paths below one state directory. Nothing is made or looked at.

    Threads: a value; any thread may use it.

    @ivar directory: the state directory, absolute.
    """

    directory: str

    @classmethod
    def default(cls) -> StatePaths:
        """
        The state directory of the user, by the custom of the platform.

        @raise ImportError: if platformdirs, which C{ganeti-pool[daemon]} brings,
            is not installed.
        @raise InvalidArgument: if the user has no home directory.
        """
        # Here and not above: a base install has no platformdirs, and may import
        # this module and name a directory itself.
        from platformdirs import user_state_dir

        home = os.environ.get("HOME", os.path.expanduser("~"))
        if not (os.path.isabs(home) or os.environ.get("XDG_STATE_HOME")):
            raise InvalidArgument(
                "the default state directory cannot be found: HOME is "
                f"{'not an absolute path' if 'HOME' in os.environ else 'not set'}, and user ID "
                f"{os.getuid()} has no home directory. Name a directory with --state-dir"
            )
        return cls.at(user_state_dir("ganeti-pool"))

    @classmethod
    def ofHome(cls, home: str) -> StatePaths:
        """
        The state directory of another user, who may have chosen one in an environment
        that is not known here.

        @param home: the home directory of that user.
        """
        return cls.at(os.path.join(home, ".local", "state", "ganeti-pool"))

    @classmethod
    def at(cls, directory: str) -> StatePaths:
        """
        A state directory that somebody named: C{~} is expanded, and a relative
        path starts at the working directory of this moment.

        @raise InvalidArgument: if the name is empty, or the home directory of C{~} is not
            known.
        """
        if not directory:
            raise InvalidArgument(
                "the name of the state directory is empty: name a directory with --state-dir, or "
                "leave the option out for the user's own"
            )
        path = os.path.expanduser(directory)
        if path.startswith("~"):
            user = path.split("/")[0]
            raise InvalidArgument(
                f"the state directory {directory} cannot be found, since the home directory of "
                f"{user} is not known: write the whole path, or ./{path} if {user} is a file name"
            )
        return cls(os.path.abspath(path))

    @property
    def socket(self) -> str:
        """
        The Unix socket on which the daemon listens.
        """
        return os.path.join(self.directory, "ganeti-pool.sock")

    @property
    def store(self) -> str:
        """
        The SQLite file.
        """
        return os.path.join(self.directory, "jobs.sqlite")

    @property
    def lock(self) -> str:
        """
        The file whose lock says that a daemon owns the directory.
        """
        return os.path.join(self.directory, "lock")

    @property
    def output(self) -> str:
        """
        The directory with what the jobs write.
        """
        return os.path.join(self.directory, "output")

    def checkSocket(self) -> None:
        """
        Refuse a directory that is too deep for a socket, or is not valid UTF-8.

        @raise InvalidArgument: if the path of the socket is longer than the
            system can take, or no text.
        """
        checkText("the state directory", self.directory)
        length = len(os.fsencode(self.socket))
        if length > LONGEST_SOCKET_PATH:
            raise InvalidArgument(
                f"the socket path {self.socket} has {length} bytes, and the system takes "
                f"{LONGEST_SOCKET_PATH} at most: choose a shorter state directory"
            )
