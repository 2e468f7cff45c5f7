"""
The house: which room may import which.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import ganeti_pool

PACKAGE = Path(ganeti_pool.__file__).parent

FACE = "ganeti_pool"
"""
The package's own C{__init__.py}, which shows what rooms below it hold.
"""

HOUSE = (
    # What errors are made with, and arithmetic.
    {"_picklable", "_text", "backoff"},
    # Values and words; the contracts are written in them, and so stand above.
    {"errors", "numerals"},
    {"jobs"},
    {"interfaces"},
    {"paths"},
    {"workerpool", "wire"},
    {"workers", "commands", "store"},
    {"deferred"},
    {"jobqueue"},
    {"daemon", "metrics", "service", "web"},
    {"tap", "client"},
    {"cli"},
    {"testing", FACE},
)
"""
The floors, from the ground up. A room imports only from floors below its own.
"""

SPEAKS_ONLY = {
    "web": {"errors", "interfaces", "jobs", "numerals", "paths", "wire"},
    "jobqueue": {"backoff", "errors", "interfaces", "jobs", "paths", "workerpool"},
    "cli": {"_picklable", "backoff", "client", "errors", "jobs", "numerals", "paths", "wire"},
}
"""
Rooms that must not reach past their one neighbour: the HTTP interface past
L{IJobQueue <ganeti_pool.interfaces.IJobQueue>}, the command past the client. The queue
knows no JSON and no HTTP, so it does not import C{wire}.
"""

FLOOR = {room: floor for floor, rooms in enumerate(HOUSE) for room in rooms}


def roomOf(module: str) -> str:
    """
    The room that a module is in: a folder is one room.

    @param module: its full name.
    """
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else FACE


def sources() -> Iterator[tuple[str, bool, ast.Module]]:
    """
    Every module of the package: its full name, whether it is a folder's
    C{__init__.py}, and what it says.
    """
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = (FACE, *path.relative_to(PACKAGE).with_suffix("").parts)
        isFolder = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if isFolder else parts)
        yield name, isFolder, ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(module: str, isFolder: bool, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """
    The line and the full name of everything that a module imports, wherever in
    it, and also for type checkers alone. For C{from x import y} that is C{x.y}.
    """
    package = module if isFolder else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            origin = ".".join([*(base if node.level else []), *filter(None, [node.module])])
            for alias in node.names:
                yield node.lineno, f"{origin}.{alias.name}"


def roomsImported(module: str, isFolder: bool, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """
    The line and the name of every other room that a module imports from.
    """
    for line, name in imported(module, isFolder, tree):
        if name.split(".")[0] != FACE:
            continue
        room = roomOf(name)
        # A name that is no room is one that the face shows.
        room = room if room in FLOOR else FACE
        if room != roomOf(module):
            yield line, room


class HouseTests(SynchronousTestCase):
    """
    Tests for who imports whom in L{ganeti_pool}.
    """

    def test_everyRoomHasAFloor(self) -> None:
        """
        Every module of the package is in a room of the house.
        """
        strangers = {roomOf(name) for name, _, _ in sources()} - FLOOR.keys()
        self.assertEqual(strangers, set())

    def test_importsGoDown(self) -> None:
        """
        A room imports only from floors below its own, so none imports C{testing}.
        """
        wrong = [
            f"{name}:{line} imports {room}, which is not below it"
            for name, isFolder, tree in sources()
            for line, room in roomsImported(name, isFolder, tree)
            if FLOOR[room] >= FLOOR[roomOf(name)]
        ]
        self.assertEqual(wrong, [])

    def test_neighboursOnly(self) -> None:
        """
        The HTTP interface speaks to the queue's contract alone, and the command
        to the client alone; the queue does not know the wire format.
        """
        wrong = [
            f"{name}:{line} imports {room}, past its neighbour"
            for name, isFolder, tree in sources()
            for line, room in roomsImported(name, isFolder, tree)
            if room not in SPEAKS_ONLY.get(roomOf(name), {room})
        ]
        self.assertEqual(wrong, [])

    def test_noGlobalReactor(self) -> None:
        """
        No module imports the global reactor, which is always a parameter; but for
        C{tap}, to which twistd does not hand it.
        """
        wrong = [
            f"{name}:{line}"
            for name, isFolder, tree in sources()
            for line, what in imported(name, isFolder, tree)
            if what.startswith("twisted.internet.reactor") and roomOf(name) != "tap"
        ]
        self.assertEqual(wrong, [])

    def test_whoWakesTheReactor(self) -> None:
        """
        Only C{deferred}, the job queue and the store call C{callFromThread}: outcomes, batches
        and reads reach the reactor together, with one wake-up for all.
        """
        wrong = [
            f"{name}:{node.lineno}"
            for name, _, tree in sources()
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "callFromThread"
            and roomOf(name) not in {"deferred", "jobqueue", "store"}
        ]
        self.assertEqual(wrong, [])

    def test_noCycles(self) -> None:
        """
        The modules of the job queue, the store and what they stand on import each other in one
        direction, even for type checkers.
        """
        packages = ("jobqueue", "store", "jobs", "interfaces")
        modules = {name for name, _, _ in sources() if roomOf(name) in packages}
        order = {
            name: {
                what if what in modules else what.rpartition(".")[0]
                for _, what in imported(name, isFolder, tree)
            }
            for name, isFolder, tree in sources()
            if name in modules
        }
        while ends := [name for name, below in order.items() if not below & order.keys()]:
            for name in ends:
                del order[name]
        self.assertEqual(order, {})

    def test_noNamesOfOthers(self) -> None:
        """
        The job queue and the store import nothing with an underscore from another package.
        """
        wrong = [
            f"{name}:{line} imports {what}"
            for name, isFolder, tree in sources()
            for line, what in imported(name, isFolder, tree)
            if roomOf(name) in {"jobqueue", "store"}
            and what.startswith(f"{FACE}.")
            and roomOf(what) != roomOf(name)
            and any(part.startswith("_") for part in what.split(".")[1:])
        ]
        self.assertEqual(wrong, [])
