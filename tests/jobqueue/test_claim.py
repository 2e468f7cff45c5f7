"""
Tests for whether a store and an output directory belong together.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.errors import StoreError
from ganeti_pool.jobqueue import _claim, checkNewStore
from ganeti_pool.jobqueue._claim import (
    STORE_ID,
    FoundOutput,
    OutputKind,
    StoreKind,
    Verdict,
    decide,
    examine,
    writeStoreID,
)
from ganeti_pool.jobs import currentAttempt
from ganeti_pool.testing import MemoryJobStore

from .queuecase import FULL, NOON, QueueCase, Worker, new

OTHER = "0123456789abcdef0123456789abcdef"


class TableTests(SynchronousTestCase):
    """
    Tests for L{decide}, each cell.
    """

    def assertRow(self, store: StoreKind, **verdicts: str) -> None:
        """
        A store of some kind has these verdicts, by the kind of output.
        """
        found = {kind.name: decide(store, kind).name for kind in OutputKind}
        self.assertEqual(found, verdicts)

    def test_new(self) -> None:
        """
        A store that has never had a job marks what is empty, and is rejected beside
        files that have not its own ID.
        """
        self.assertRow(
            StoreKind.NEW,
            MISSING="MARK",
            EMPTY="MARK",
            UNMARKED="REJECT",
            OWN="KEEP",
            OTHER="REJECT",
        )

    def test_unmarked(self) -> None:
        """
        A store with jobs, of an earlier release, adopts what has no ID or, after a crash,
        its own.
        """
        self.assertRow(
            StoreKind.UNMARKED,
            MISSING="MARK",
            EMPTY="MARK",
            UNMARKED="ADOPT",
            OWN="ADOPT",
            OTHER="REJECT",
        )

    def test_marked(self) -> None:
        """
        A store with an ID keeps its own output, marks what is empty, and is rejected beside
        anything else.
        """
        self.assertRow(
            StoreKind.MARKED,
            MISSING="MARK",
            EMPTY="MARK",
            UNMARKED="REJECT",
            OWN="KEEP",
            OTHER="REJECT",
        )

    def test_adoptionIsTheOnlyOne(self) -> None:
        """
        Nothing is removed beside files that have not the ID of the store.
        """
        keeping = {
            (store, output)
            for store in StoreKind
            for output in OutputKind
            if decide(store, output) is Verdict.KEEP
        }
        self.assertEqual({output for _, output in keeping}, {OutputKind.OWN})


class ExamineTests(SynchronousTestCase):
    """
    Tests for L{examine} and L{writeStoreID}.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def test_missing(self) -> None:
        """
        A directory that does not exist is missing, and is not made.
        """
        self.assertEqual(examine(str(self.path)), FoundOutput(str(self.path), False, True, None))
        self.assertFalse(self.path.exists())

    def test_empty(self) -> None:
        """
        The rest of a crash and what mkfs makes are nothing.
        """
        self.path.mkdir()
        (self.path / "store-id.new").touch()
        (self.path / "lost+found").mkdir()
        self.assertEqual(examine(str(self.path)).kindFor("a"), OutputKind.EMPTY)
        self.assertEqual(examine(str(self.path)).kindFor(None), OutputKind.EMPTY)

    def test_unmarked(self) -> None:
        """
        Any other file makes it one without an ID.
        """
        self.path.mkdir()
        (self.path / ".hidden").touch()
        self.assertEqual(examine(str(self.path)).kindFor(OTHER), OutputKind.UNMARKED)

    def test_written(self) -> None:
        """
        An ID that was written is read, over the rest of a crash too; it is the own one of
        that store alone.
        """
        self.path.mkdir()
        (self.path / "store-id.new").write_text("half")
        writeStoreID(str(self.path), OTHER)
        found = examine(str(self.path))
        self.assertEqual(found.storeID, OTHER)
        kinds = [found.kindFor(own) for own in (OTHER, "another", None)]
        self.assertEqual(kinds, [OutputKind.OWN, OutputKind.OTHER, OutputKind.OTHER])
        self.assertEqual(os.listdir(self.path), ["store-id"])

    def test_nonsense(self) -> None:
        """
        An ID that is none is that of another store, however long.
        """
        self.path.mkdir()
        for nonsense in (b"", b"\xff\x1b\n", b"x" * 10_000):
            (self.path / "store-id").write_bytes(nonsense)
            found = examine(str(self.path))
            self.assertEqual(found.kindFor(OTHER), OutputKind.OTHER)
            self.assertTrue((found.storeID or "").isprintable())

    def test_inTheWay(self) -> None:
        """
        A FIFO or a link in place of the ID, and a file in place of the directory, are
        refused with a sentence, and not waited for.
        """
        self.path.mkdir()
        os.mkfifo(self.path / "store-id")
        error = self.assertRaises(StoreError, examine, str(self.path))
        self.assertIn("store-id is not a regular file", str(error))
        (self.path / "store-id").unlink()
        (self.path / "store-id").symlink_to("/etc/hostname")
        self.assertRaises(StoreError, examine, str(self.path))
        file = Path(self.mktemp())
        file.touch()
        error = self.assertRaises(StoreError, examine, str(file))
        self.assertIn(f"the output directory {file} cannot be used: Not a directory", str(error))

    def test_newStore(self) -> None:
        """
        A store that does not exist may have an output directory that is empty, and no
        other.
        """
        checkNewStore(str(self.path))
        self.path.mkdir()
        checkNewStore(str(self.path))
        (self.path / "2024").mkdir()
        error = self.assertRaises(StoreError, checkNewStore, str(self.path))
        self.assertEqual(
            str(error),
            f"{self.path} belongs to another store or to you: it has files, and the store of "
            "this daemon is new; choose another --state-dir, or correct --store",
        )


class ClaimTests(QueueCase):
    """
    Tests for the start of a queue with an output directory.
    """

    @property
    def output(self) -> Path:
        return Path(self.directory, "output")

    def leave(self, *paths: str) -> None:
        """
        Have some files in the output directory.
        """
        for path in paths:
            (self.output / path).parent.mkdir(parents=True, exist_ok=True)
            (self.output / path).write_text(path)

    def files(self) -> set[str]:
        """
        The files in the output directory, without the mark.
        """
        found = (path for path in self.output.rglob("*") if not path.is_dir())
        return {str(path.relative_to(self.output)) for path in found} - {"store-id"}

    def mark(self) -> str:
        return (self.output / "store-id").read_text().strip()

    def setting(self) -> dict[str, object]:
        mark: dict[str, object] = self.store._journal.values[STORE_ID]
        return mark

    def age(self) -> None:
        """
        Make the store, and the output, one of an earlier release.
        """
        del self.store._journal.values[STORE_ID]
        (self.output / "store-id").unlink()

    def rejected(self) -> str:
        """
        A start is rejected, and changes nothing.

        @return: why.
        """
        before = self.files(), dict(self.store._journal.values)
        error = self.failureResultOf(self.queue.start(), StoreError).value
        self.assertEqual((self.files(), self.store._journal.values), before)
        self.assertEqual((self.removed, self.queue._claim.adopted), ([], False))
        return str(error)

    def restarted(self) -> list[str]:
        """
        Start another daemon on the same store.

        @return: the warnings.
        """
        with capturedLogs() as logged:
            self.restart()
        return [formatEvent(one) for one in logged if one["log_level"] is LogLevel.warn]

    def gone(self, jobs: int) -> None:
        """
        Have given out some IDs, of jobs that are gone.
        """
        self.start()
        for job in self.submit(*[new()] * jobs):
            self.successResultOf(self.queue.cancel(job))
            with self.write() as unit:
                unit.removeJob(job)

    def test_new(self) -> None:
        """
        A new store and an empty directory get the same ID, at once and later.
        """
        self.start()
        self.assertEqual(self.setting(), {"id": self.mark(), "confirmed": True})
        self.assertRegex(self.mark(), "^[0-9a-f]{32}$")
        mark = self.mark()
        self.assertEqual(self.restarted(), [])
        self.assertEqual((self.mark(), self.setting()["id"]), (mark, mark))
        self.assertEqual(self.status()["output"], {"adopted": False, "set_aside": []})

    def test_newBesideFiles(self) -> None:
        """
        A new store beside files without an ID is rejected, with what to do.
        """
        self.leave("2024/raw/data.csv")
        self.assertIn("choose another --state-dir, or correct --store", self.rejected())

    def test_newBesideAnother(self) -> None:
        """
        A new store beside the output of another is rejected, with the ID of that.
        """
        self.leave("17/1.0/stdout")
        writeStoreID(str(self.output), OTHER)
        why = self.rejected()
        self.assertIn(f"belongs to the store with the id {OTHER}, and the store of this", why)
        self.assertIn("daemon is new: correct --state-dir or --store", why)

    def test_other(self) -> None:
        """
        A store with an ID beside the output of another is rejected, with both IDs; and
        so is one of an earlier release.
        """
        self.gone(1)
        own = self.mark()
        writeStoreID(str(self.output), OTHER)
        self.leave("1/1.0/stdout")
        self.open(self.store.reopened())
        why = self.rejected()
        self.assertIn(f"the store with the id {OTHER}, and the store of this daemon has the", why)
        self.assertIn(f"has the id {own}: correct --state-dir or --store; to restore", why)
        del self.store._journal.values[STORE_ID]
        self.open(self.store.reopened())
        self.assertIn("has the id (none): ", self.rejected())

    def test_markedBesideFiles(self) -> None:
        """
        A store with an ID beside files without one is rejected, and told how to take them.
        """
        self.gone(1)
        own = self.mark()
        (self.output / "store-id").unlink()
        self.leave("1/1.0/stdout")
        self.open(self.store.reopened())
        self.assertIn(f"write the id {own} into {self.queue._output.directory}", self.rejected())
        writeStoreID(str(self.output), own)
        self.start()
        self.assertEqual(self.removed, [["output/1"]])

    def test_adopted(self) -> None:
        """
        A store of an earlier release adopts its output, which the log and the status say;
        nothing is removed before the next start.
        """
        self.gone(1)
        self.age()
        self.leave("1/1/stdout")
        (warning,) = self.restarted()
        self.assertIn("had no store id and is adopted: nothing in it is removed", warning)
        self.assertEqual(self.removed, [])
        self.assertEqual(self.status()["output"], {"adopted": True, "set_aside": []})
        self.assertEqual(self.setting(), {"id": self.mark(), "confirmed": True})
        self.assertEqual(self.restarted(), [])
        self.assertEqual(self.removed, [["output/1"]])
        self.assertFalse(self.status()["output"]["adopted"])

    def test_crashes(self) -> None:
        """
        After a crash between the writes of the ID, the next start goes on with the same
        one, and with the adoption.
        """
        for isOutputMarked in (False, True):
            self.open(MemoryJobStore(lambda: NOON))
            self.gone(1)
            own = self.mark()
            self.leave("1/1/stdout")
            self.store._journal.values[STORE_ID] = {"id": own, "confirmed": False}
            if not isOutputMarked:
                (self.output / "store-id").rename(self.output / "store-id.new")
            self.restart()
            self.assertTrue(self.status()["output"]["adopted"])
            self.assertEqual((self.removed, self.mark()), ([], own))
            self.assertEqual(self.setting(), {"id": own, "confirmed": True})

    def test_crashOfANewStore(self) -> None:
        """
        The same holds for a store without jobs.
        """
        for isOutputMarked in (False, True):
            self.open(MemoryJobStore(lambda: NOON))
            self.start()
            own = self.mark()
            self.store._journal.values[STORE_ID] = {"id": own, "confirmed": False}
            if not isOutputMarked:
                (self.output / "store-id").unlink()
            self.assertEqual(self.restarted(), [])
            self.assertEqual(self.setting(), {"id": self.mark(), "confirmed": True})
            self.assertEqual(self.mark(), own)

    def test_unfinishedWrites(self) -> None:
        """
        The ID is in the store before it is in the directory, and confirmed after that.
        """
        seen: list[object] = []
        write = _claim.writeStoreID

        def writing(path: str, storeID: str) -> None:
            seen.append((self.output.exists(), self.setting()["confirmed"]))
            write(path, storeID)

        self.patch(_claim, "writeStoreID", writing)
        self.start()
        self.assertEqual(seen, [(False, False)])
        self.assertTrue(self.setting()["confirmed"])

    def test_storeAlone(self) -> None:
        """
        A store without its output starts, and a warning says that it is missing.
        """
        self.gone(1)
        own = self.mark()
        (self.output / "store-id").unlink()
        self.output.rmdir()
        (warning,) = self.restarted()
        self.assertIn("was empty: the output of earlier jobs is not in it", warning)
        self.assertEqual((self.mark(), self.removed), (own, []))

    def test_olderStore(self) -> None:
        """
        The output of jobs that a restored store has not given out is moved aside, which
        the log says, and the status until it is removed; nothing of it is deleted.
        """
        self.gone(2)
        self.leave("1/1.0/stdout", "3/1.0/stdout", "17/1/stderr", "007/x", "notes", "aside-x/y")
        (warning,) = self.restarted()
        self.assertIn("Moved 2 directories", warning)
        self.assertIn(f"to {self.queue._output.directory}/aside-1", warning)
        kept = {"1/1.0/stdout", "007/x", "notes", "aside-x/y"}
        aside = {"aside-1/3/1.0/stdout", "aside-1/17/1/stderr"}
        self.assertEqual(self.files(), kept | aside)
        self.assertEqual(self.removed, [["output/1"]])
        self.leave("3/1.0/stderr")
        self.restarted()
        self.assertIn("aside-2/3/1.0/stderr", self.files())
        directories = [f"{self.queue._output.directory}/aside-{n}" for n in (1, 2)]
        self.assertEqual(self.status()["output"]["set_aside"], directories)
        self.submit(new())
        self.runAll()
        self.assertEqual(self.restarted(), [])
        self.assertEqual(self.status()["output"]["set_aside"], directories)

    def test_cannotBePrepared(self) -> None:
        """
        If the directory cannot be changed, the start is rejected with a sentence.
        """
        self.gone(1)
        self.leave("3/1.0/stdout")
        self.open(self.store.reopened())

        def refuse(names: object) -> None:
            raise OSError(30, "Read-only file system")

        self.patch(self.queue._output, "setAside", refuse)
        self.assertIn("cannot be used: Read-only file system: make it writable", self.rejected())

    def test_fullStore(self) -> None:
        """
        If the store takes no ID, the directory gets none either.
        """
        self.patch(self.queue._claim, "_confirm", self.refuse)
        self.failureResultOf(self.queue.start(), StoreError)
        self.assertFalse(self.output.exists())

    def refuse(self, epoch: int, confirmed: bool) -> None:
        raise FULL

    def run_(self) -> list[str]:
        """
        Run a job that makes its output directory.

        @return: the errors of the system.
        """
        refusals: list[str] = []

        def task(worker: Worker) -> None:
            attempt = currentAttempt.get()
            assert attempt is not None
            try:
                self.assertIsNotNone(attempt.outputDirectory)
            except OSError as error:
                refusals.append(str(error.strerror))

        self.tasks["make"] = task
        self.submit(new("make"))
        self.step()
        return refusals

    def test_emptied(self) -> None:
        """
        An output directory that is emptied while the daemon runs is marked again with the next
        run, and one that has lost the ID alone is not.
        """
        self.start()
        own = self.mark()
        (self.output / "store-id").unlink()
        self.assertEqual(self.run_(), [])
        self.assertEqual(self.mark(), own)
        (self.output / "store-id").unlink()
        self.assertEqual(self.run_(), [])
        self.assertFalse((self.output / "store-id").exists())
        shutil.rmtree(self.output)
        self.assertEqual(self.run_(), [])
        self.assertEqual(self.mark(), own)

    def test_unableToMark(self) -> None:
        """
        If that is impossible, the run has no directory, and its worker gets the error.
        """
        self.start()
        (self.output / "store-id").unlink()
        (self.output / "store-id.new").mkdir()
        self.assertEqual(self.run_(), ["Is a directory"])
