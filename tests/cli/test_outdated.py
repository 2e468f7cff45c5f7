"""
Tests for a daemon that is older than the command.
"""

from __future__ import annotations

from importlib.metadata import version

from ganeti_pool.client import DaemonUnreachable, RequestRefused

from .case import CommandCase

UNKNOWN = {"pointer": "/0/worker", "code": "unknown_key", "detail": "there is no such key"}


class OutdatedTests(CommandCase):
    """
    Tests for a key that the daemon does not know.
    """

    def refuse(self, code: str = "unknown_key") -> None:
        """
        Refuse the next submission.
        """
        problem = {**UNKNOWN, "code": code}
        self.client.troubles["submit"] = RequestRefused(
            400, "invalid_field", "/0/worker: there is no such key", [problem]
        )

    def test_older(self) -> None:
        """
        A daemon of another version is to be restarted, and its version is named.
        """
        daemon = {**self.client.poolStatus["daemon"], "version": "0.0.1"}
        self.client.poolStatus = {**self.client.poolStatus, "daemon": daemon}
        self.refuse()
        self.check(
            *("submit", "true"),
            err="ganeti-pool: the command: /worker: there is no such key: this command is version "
            f"{version('ganeti-pool')}; restart the daemon (version 0.0.1) to update it too\n",
            code=4,
        )

    def assertAsItWas(self) -> None:
        """
        The refusal is told as the daemon said it.
        """
        self.check(
            *("submit", "true"),
            err="ganeti-pool: the command: /worker: there is no such key\n",
            code=4,
        )

    def test_sameVersion(self) -> None:
        """
        A daemon of the same version is not to be restarted.
        """
        own = version("ganeti-pool")
        daemon = {**self.client.poolStatus["daemon"], "version": own}
        self.client.poolStatus = {**self.client.poolStatus, "daemon": daemon}
        self.refuse()
        self.assertAsItWas()

    def test_versionUnknown(self) -> None:
        """
        A daemon that does not tell its version leaves the refusal as it is.
        """
        self.client.troubles["pool"] = DaemonUnreachable("/socket", "it hung up")
        self.refuse()
        self.assertAsItWas()

    def test_otherCode(self) -> None:
        """
        Any other refusal is told as it is, and nothing more is asked.
        """
        self.refuse("other_worker")
        self.assertAsItWas()
        self.assertNotIn(("pool",), self.client.calls)
