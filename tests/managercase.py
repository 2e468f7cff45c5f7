"""
A service manager as systemd is one, for the tests of what it is told.
"""

from __future__ import annotations

import select
import socket

__all__ = ["FakeManager"]


class FakeManager:
    """
    Hears what it is told on a datagram socket.

    @ivar address: the socket, as C{NOTIFY_SOCKET} names it.
    """

    def __init__(self, address: str) -> None:
        """
        @param address: a path, or a C{@} and an abstract name.
        """
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)

    def hear(self, patience: float = 0.0) -> list[str] | None:
        """
        Take one message.

        @param patience: for how many seconds to wait for it.
        @return: its lines; L{None} if there is none.
        """
        if not select.select([self._socket], [], [], patience)[0]:
            return None
        return self._socket.recv(4096).decode().split("\n")

    def close(self) -> None:
        """
        Hear no more.
        """
        self._socket.close()
