"""
Workers that come with the package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .workerpool import BaseWorker

__all__ = ["CallableWorker"]


class CallableWorker(BaseWorker):
    """
    A worker whose tasks are calls: the first argument is called with the others.
    """

    def RunTask(self, f: Callable[..., object], *args: Any) -> object:
        """
        Call C{f(*args)}.

        @return: what it returned.
        """
        return f(*args)
