"""
The verbs and their options.

A verb checks what was typed, and returns a coroutine that does it and gives
the exit code. Nothing is asked of the daemon before that runs, and what it needs
beside this room is imported by then: each verb imports what it needs alone.
"""

from __future__ import annotations

from .._group import commands

# To import them is to declare their verbs.
from . import _change, _completion, _look, _pool, _submit  # noqa: F401

__all__ = ["commands"]
