"""
Tests for what is said of two jobs with the same key.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime, timezone
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.errors import KeyConflict
from ganeti_pool.jobs import NewJob, OnCrash, idempotency
from ganeti_pool.jobs.transitions import added, addedAll, changed

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


class ConflictTests(SynchronousTestCase):
    """
    Tests for the sentence of a L{KeyConflict}.
    """

    def conflict(self, new: NewJob, old: NewJob, **since: Any) -> str:
        """
        Submit a job with the key of another one.

        @param since: what has changed of that one.
        @return: what is said.
        """
        job = changed(added(old, 7, 0, NOON, 1), **since)
        known = {"k": (job, idempotency.fingerprint(idempotency.submitted(old)))}
        error = self.assertRaises(KeyConflict, addedAll, [new], 7, 1, NOON, 1, known, None)
        return str(error)

    def assertPlaces(self, places: str, one: dict[str, Any], other: dict[str, Any]) -> None:
        """
        Check which differences between two jobs are named, whichever was the first.
        """
        jobs = [
            NewJob(**{"worker": "w", "args": (), "name": "n", "key": "k", **fields})
            for fields in (one, other)
        ]
        expected = (
            f"the key 'k' belongs to job 7, which differs in {places}: submit it as that one "
            "was, or with another key"
        )
        self.assertEqual(self.conflict(*jobs), expected)
        self.assertEqual(self.conflict(*reversed(jobs)), expected)

    def test_fields(self) -> None:
        """
        Each member that differs is named as in a request.
        """
        for name, place, value in (
            ("worker", "/worker", "v"),
            ("name", "/name", "m"),
            ("onCrash", "/on_crash", OnCrash.RETRY),
            ("owner", "/owner", "ana"),
            ("timeout", "/timeout", 1.5),
            ("labels", "/labels/a~1b~0", {"a/b~": "c"}),
            ("args", "/args", (1,)),
        ):
            self.assertPlaces(place, {}, {name: value})

    def test_args(self) -> None:
        """
        In the arguments the places are named, as deep as they are.
        """
        env = {"A": "1", "PATH": "/bin"}
        for one, other, place in (
            ((["ls"], {"cwd": "/a", "env": env}), (["ls"], {"cwd": "/b", "env": env}), "/1/cwd"),
            ((["ls"], {"env": env}), (["ls"], {"env": {"A": "1"}}), "/1/env/PATH"),
            ((["ls"],), (["ls", "-l"],), "/0"),
            ((["ls", "a"],), (["ls", "b"],), "/0/1"),
            ((["ls"],), ({"ls": 1},), "/0"),
            ((1,), (True,), "/0"),
            ((1,), (1.0,), "/0"),
        ):
            self.assertPlaces(f"/args{place}", {"args": one}, {"args": other})

    def test_tuples(self) -> None:
        """
        A tuple is a list, as it is in a store.
        """
        self.assertPlaces(
            "/name", {"args": (("ls", "-l"),)}, {"args": (["ls", "-l"],), "name": "m"}
        )

    def test_numbers(self) -> None:
        """
        A timeout in whole seconds is no difference from the same one with a fraction.
        """
        for timeouts in ((5, 5.0), (5.0, 5)):
            one, other = ({"timeout": timeout} for timeout in timeouts)
            self.assertPlaces("/priority or /max_attempts", one, {**other, "priority": 1})
            self.assertPlaces("/name", one, {**other, "name": "m"})

    def test_allFields(self) -> None:
        """
        Whatever a job is submitted with is compared, or known to change, or no part of what
        a client says.
        """
        changing = {"priority", "maxAttempts"}
        known = {*idempotency.LASTING, *changing, "key", "argsVersion"}
        self.assertEqual({field.name for field in fields(NewJob)}, known)

    def test_several(self) -> None:
        """
        Three of many differences are named, and no more of a long name than fits a
        sentence.
        """
        self.assertPlaces("/args, /name", {}, {"args": (1,), "name": "m"})
        self.assertPlaces(
            "/args/0, /args/1, /args/2",
            {"args": (1, 2, 3, 4)},
            {"args": (2, 3, 4, 5), "name": "m"},
        )
        self.assertPlaces(f"/args/0/{'x' * 72}…", {"args": ({},)}, {"args": ({"x" * 1000: 1},)})

    def test_changing(self) -> None:
        """
        What may have changed since the job was submitted is named if nothing else
        differs, whatever it is now.
        """
        for name, value in (("priority", 5), ("maxAttempts", 3)):
            self.assertPlaces("/priority or /max_attempts", {}, {name: value})
        moved = NewJob("w", (), "n", 5, key="k")
        sentence = self.conflict(moved, NewJob("w", (), "n", key="k"), priority=5)
        self.assertIn("differs in /priority or /max_attempts", sentence)
        sentence = self.conflict(moved, NewJob("w", (), "m", 5, key="k"), priority=0)
        self.assertIn("differs in /name:", sentence)
