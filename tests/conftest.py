"""
What pytest needs to run the tests as trial does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from tempfile import TemporaryDirectory

import pytest

__all__ = ["scratch"]


@pytest.fixture(scope="session", autouse=True)
def scratch() -> Iterator[None]:
    """
    A working directory for the tests, which goes with them: what C{mktemp} of a test case
    makes lies in there, and not in the checkout.
    """
    before = os.getcwd()
    with TemporaryDirectory(prefix="ganeti-pool-test-") as directory:
        os.chdir(directory)
        yield
        os.chdir(before)
