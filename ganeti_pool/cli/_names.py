"""
What the command is called, by people and by shells.
"""

from __future__ import annotations

__all__ = ["COMPLETION", "PROGRAM"]

PROGRAM = "ganeti-pool"

COMPLETION = "_GANETI_POOL_COMPLETE"
"""
The variable by which a shell asks click to complete a word. What is written then
goes to the line that somebody is typing.
"""
