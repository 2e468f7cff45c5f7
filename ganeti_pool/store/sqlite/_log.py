"""
Find damage in a write-ahead log that was not closed.

SQLite takes a log as ended at the first frame that is not valid. That is right for a
transaction that was being written when the power failed, but it also drops, without a
word, all that was committed behind a damaged frame.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from typing import BinaryIO

__all__ = ["droppedFrame"]

_HEADER = 32
_FRAME_HEADER = 24
_MAGIC = 0x377F0682

_ENOUGH = 2
"""
The second of two commits in a row was begun when the disk had confirmed the first, so
what is before the first one was intact.
"""

_Sums = tuple[int, int]


def droppedFrame(file: BinaryIO, isInterrupted: Callable[[], bool]) -> int | None:
    """
    Find a frame that is not valid though the disk has confirmed it.

    Frames that stay from an earlier use of the log have other salts, and those of a
    transaction that failed end with one commit at most; neither is taken for damage.

    Threads: not the reactor's, since a log of some megabytes takes part of a second.

    @param file: the log, at its beginning.
    @param isInterrupted: whether to give up.
    @return: the number of the first such frame, from 1, or 0 for the header; L{None} if
        there is none, or it was given up.
    """
    header = file.read(_HEADER)
    if len(header) < _HEADER:
        return None
    magic, pageSize = _word(header, 0), _word(header, 8)
    isBig = bool(magic & 1)
    sums = _summed(header[:24], (0, 0), isBig)
    isValid = magic & ~1 == _MAGIC and sums == (_word(header, 24), _word(header, 28))
    salts, broken = (header[16:24], None) if isValid else (None, 0)
    if not isValid:
        # Most likely it was written on this machine.
        isBig = sys.byteorder == "big"
    if not 512 <= pageSize <= 65536 or pageSize & (pageSize - 1):
        # The header says nothing: the size that every store has.
        pageSize = 4096
    number = commits = 0
    while len(frame := file.read(_FRAME_HEADER + pageSize)) == _FRAME_HEADER + pageSize:
        if isInterrupted():
            return None
        number += 1
        stored = (_word(frame, 16), _word(frame, 20))
        expected = _summed(frame[_FRAME_HEADER:], _summed(frame[:8], sums, isBig), isBig)
        # The next frame goes on from what this one says, even if that is wrong.
        sums = stored
        if expected == stored and salts in (None, frame[8:16]):
            if broken is not None and _word(frame, 4):
                commits += 1
                if commits == _ENOUGH:
                    return broken
        else:
            commits = 0
            broken = number if broken is None else broken
    return None


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _summed(data: bytes | bytearray, sums: _Sums, isBig: bool) -> _Sums:
    """
    SQLite's checksum of what is before and of some data.
    """
    words = array("I", data)
    if isBig == (sys.byteorder == "little"):
        words.byteswap()
    first, second = sums
    pairs = iter(words)
    for one, other in zip(pairs, pairs, strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
